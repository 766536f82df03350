//! Assembly of a machine around a launch plan, in the one order that every platform allows:
//! VM → RAM → platform (memory slots, launch opened) → vCPUs → devices → pages loaded → launch closed.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cloister_coco::launch::{FirstVcpu, Kernel, KvmKernel, Platform, PlatformKind, Trace};
use cloister_coco::memory::{self, Converter, GuestRam, PrefaultError};
use cloister_coco::sim::Mailbox;
use cloister_devices::bus::{Bus, BusDevice, OverlapError, SharedDevice};
use cloister_devices::irq::IrqLine;
use cloister_devices::notify::DoorbellRegistry;
use cloister_devices::pci::{
    ConfigPorts, Ecam, HostBridge, LayoutError, LpcBridge, PanicEvents, PciError, PciMmio, PciRoot, Pvpanic,
    Slot,
};
use cloister_devices::platform::{
    CmosRtc, FwCfg, I8042, Ioapic, PmRegisters, PostCode, PowerDevice, PowerEvent, PowerEvents, Serial,
    SerialInput,
};
use cloister_devices::virtio::VirtioDevice;
use cloister_devices::virtio::dev::blk::{Blk, Disk};
use cloister_devices::virtio::dev::rng::Rng;
use cloister_devices::virtio::dev::vsock::{Vsock, VsockConfig, VsockError};
use cloister_devices::virtio::transport::pci::{Environment, TransportError, VirtioPci};
use cloister_firmware::plan::{GuestLayout, LaunchPlan};
use kvm_ioctls::VmFd;
use snafu::{OptionExt, ResultExt, Snafu};

use super::debug_ports::{DEBUG_CONSOLE, DEBUG_EXIT, DebugConsole, DebugExit, FIRMWARE_LOG, FirmwareLog};
use super::event::{Event, Events};
use super::exits::{CocoExits, CocoServices, Exits};
use super::firmware::{self, FirmwareItemsError, FirmwareSpec};
use super::handover::Progress;
use super::launch::{Launch, LaunchError, LaunchOptions, guest_ram};
use super::mailbox_ports::MailboxPorts;
use super::vcpu::VcpuThreads;
use super::watchdog::Watchdog;
use crate::kvm::{Host, IoapicSink, KvmDoorbells, MsiVectors, Routes};

/// A machine to be made.
pub(crate) struct MachineSpec<'a> {
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) kind: PlatformKind,
    /// A plain guest: its memory is to be a guest_memfd.
    pub(crate) guest_memfd: bool,
    /// All memory is to be there before the guest runs; it is told the bytes done, of how many.
    pub(crate) prefault: Option<ProgressSink>,
    /// Takes down what the launch asks of the kernel.
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) devices: DeviceSpec,
}

/// Takes how much of something is done: so many, of so many.
pub(crate) type ProgressSink = Box<dyn FnMut(u64, u64)>;

/// The devices of a machine, beside those that every machine has.
#[derive(Default)]
pub(crate) struct DeviceSpec {
    /// What the guest's own requests of its platform are answered with.
    pub(crate) services: CocoServices,
    pub(crate) vsock: Option<VsockDevice>,
    pub(crate) rng: bool,
    /// Disks, in the order in which firmware tries to boot from them.
    pub(crate) disks: Vec<Disk>,
    /// What firmware is told; with it come the devices that firmware looks for.
    pub(crate) firmware: Option<FirmwareSpec>,
    /// Takes the firmware's log.
    pub(crate) firmware_log: Option<File>,
    /// Output of the serial port; no port without.
    pub(crate) serial: Option<Box<dyn Write + Send>>,
    /// Takes the lines of the debug console; with it comes the exit port.
    pub(crate) debug: Option<LineSink>,
}

/// Takes a guest's lines one by one.
pub(crate) type LineSink = Box<dyn FnMut(&str) + Send>;

/// A vsock device.
#[derive(Debug, Clone)]
pub(crate) struct VsockDevice {
    pub(crate) cid: u64,
    pub(crate) path: PathBuf,
}

/// Why a machine could not be made.
#[derive(Debug, Snafu)]
pub(crate) enum MachineError {
    #[snafu(display("{source}"))]
    Launch { source: LaunchError },
    #[snafu(display("the board's address map: {source}"))]
    Overlap { source: OverlapError },
    #[snafu(display("a PCI device: {source}"))]
    Pci { source: PciError },
    #[snafu(display("a PCI device: {source}"))]
    Layout { source: LayoutError },
    #[snafu(display("a virtio device: {source}"))]
    Virtio { source: TransportError },
    #[snafu(display("the vsock device: {source}"))]
    Vsock { source: VsockError },
    #[snafu(display("what the firmware is told: {source}"))]
    Firmware { source: FirmwareItemsError },
    #[snafu(display("the launch made no VM"))]
    NoVm,
    #[snafu(display("{source}; leave --prefault away to have memory come when it is touched"))]
    Prefault { source: PrefaultError },
    #[snafu(display("services for the guest: {source}"))]
    Services { source: io::Error },
    #[snafu(display("starting vCPU threads: {source}"))]
    Threads { source: io::Error },
}

/// A launched machine. Dropping it stops its vCPUs, then its devices, then frees its memory.
pub(crate) struct Machine {
    // Declared, and so dropped, from the outside in.
    threads: VcpuThreads,
    exits: Arc<Exits>,
    serial_input: Option<SerialInput>,
    watchdog: Option<Watchdog>,
    platform: Box<dyn Platform>,
    _vm: Arc<VmFd>,
    _ram: GuestRam,
}

impl Machine {
    /// Makes the machine and launches its guest; the vCPUs are there and wait.
    pub(crate) fn launch(host: &Host, spec: MachineSpec<'_>, events: &Events) -> Result<Self, MachineError> {
        let MachineSpec { plan, kind, guest_memfd, prefault, trace, devices } = spec;
        let ram = guest_ram(plan).context(LaunchSnafu)?;
        let kvm = Arc::new(KvmKernel::new(Arc::clone(&host.kvm)));
        let kernel = Kernel::new(Arc::clone(&kvm) as _).traced(trace);
        let options = LaunchOptions { kind, certificates: devices.services.certs.is_some(), guest_memfd };
        let launch = Launch::begin(kernel, ram.clone(), plan, options).context(LaunchSnafu)?;
        let vm = Arc::clone(kvm.vm().context(NoVmSnafu)?);

        let Built { exits, serial_input, watchdog } =
            Assembly { vm: &vm, plan, kind, platform: launch.platform(), events }.build(devices)?;

        let platform = launch.close(plan).context(LaunchSnafu)?;
        if let Some(mut progress) = prefault {
            let mut vcpu = FirstVcpu(platform.kernel());
            memory::prefault(platform.converter(), &mut vcpu, &mut progress).context(PrefaultSnafu)?;
        }
        let exits = Arc::new(exits);
        let threads = VcpuThreads::start(kvm.take_vcpus(), &exits).context(ThreadsSnafu)?;
        Ok(Machine { threads, exits, serial_input, watchdog, platform, _vm: vm, _ram: ram })
    }

    /// Lets the guest run.
    pub(crate) fn run(&self) {
        self.threads.run();
    }

    /// The launch digest, computed by the simulator from what arrived at it.
    pub(crate) fn launched_digest(&self) -> Option<[u8; 48]> {
        self.platform.simulator().map(|psp| psp.digest())
    }

    /// The one that converts pages: what it counted, and the devices' memory behind it.
    pub(crate) fn converter(&self) -> &Converter {
        &self.exits.converter
    }

    /// Looks after firmware that checks what it is handed.
    pub(crate) fn watchdog(&mut self) -> Option<&mut Watchdog> {
        self.watchdog.as_mut()
    }

    /// Where the operator's keys go.
    pub(crate) fn serial_input(&self) -> Option<SerialInput> {
        self.serial_input.clone()
    }
}

/// Puts the devices onto the buses.
struct Assembly<'a> {
    vm: &'a Arc<VmFd>,
    plan: &'a LaunchPlan,
    kind: PlatformKind,
    platform: &'a dyn Platform,
    events: &'a Events,
}

/// What comes of it.
struct Built {
    exits: Exits,
    serial_input: Option<SerialInput>,
    watchdog: Option<Watchdog>,
}

impl Assembly<'_> {
    fn build(&self, devices: DeviceSpec) -> Result<Built, MachineError> {
        let routes = Routes::new(Arc::clone(self.vm));
        let ioapic = Ioapic::new(Box::new(IoapicSink::new(Arc::clone(self.vm), Arc::clone(&routes))));
        let (mut pio, mut mmio) = (Bus::new(), Bus::new());
        mmio.insert(Ioapic::ADDRESS, Ioapic::LEN, shared(ioapic.clone())).context(OverlapSnafu)?;

        let serial_input = self.legacy(&mut pio, &ioapic, devices.serial)?;
        if let Some(file) = devices.firmware_log {
            pio.insert(FIRMWARE_LOG, 1, shared(FirmwareLog::new(file))).context(OverlapSnafu)?;
        }
        if let Some(sink) = devices.debug {
            pio.insert(DEBUG_CONSOLE, 1, shared(DebugConsole::new(sink))).context(OverlapSnafu)?;
            let exit = DebugExit::new(self.events.clone());
            pio.insert(DEBUG_EXIT, 1, shared(exit)).context(OverlapSnafu)?;
        }
        if let Some(psp) = self.platform.simulator() {
            let mailbox = Mailbox::new(Arc::clone(psp), Arc::clone(self.platform.converter()));
            let (port, len) = (u64::from(Mailbox::PORT), u64::from(Mailbox::PORTS));
            pio.insert(port, len, shared(MailboxPorts(mailbox))).context(OverlapSnafu)?;
        }

        let window = self.plan.layout.pci_window();
        let root = PciRoot::new(window.start, window.size);
        root.add(Arc::new(Mutex::new(HostBridge::new(GuestLayout::ECAM.start)))).context(PciSnafu)?;
        let events = self.events.clone();
        let report = move |what: PanicEvents| {
            if what.contains(PanicEvents::PANICKED) {
                events.send(Event::Panic);
            }
        };
        let pvpanic = Pvpanic::new(report).context(LayoutSnafu)?;
        root.add(Arc::new(Mutex::new(pvpanic))).context(PciSnafu)?;
        if let Some(VsockDevice { cid, path }) = devices.vsock {
            let vsock = Vsock::new(VsockConfig::new(cid, path)).context(VsockSnafu)?;
            self.virtio(&root, &routes, Box::new(vsock))?;
        }
        if devices.rng {
            self.virtio(&root, &routes, Box::new(Rng::new()))?;
        }
        let disks =
            devices.disks.into_iter().map(|disk| self.virtio(&root, &routes, Box::new(Blk::new(disk))));
        let disks = disks.collect::<Result<Vec<_>, _>>()?;
        let progress = Arc::default();
        let watchdog = match devices.firmware {
            Some(spec) => self.firmware(&mut pio, &root, &spec, serial_input.is_some(), &disks, &progress)?,
            None => None,
        };
        let events = self.events.clone();
        let ports = ConfigPorts::new(root.clone()).with_reset(move || events.send(Event::Reset));
        pio.insert(ConfigPorts::BASE, ConfigPorts::LEN, shared(ports)).context(OverlapSnafu)?;
        let ecam = GuestLayout::ECAM;
        mmio.insert(ecam.start, ecam.size, shared(Ecam::new(root.clone()))).context(OverlapSnafu)?;
        mmio.insert(window.start, window.size, shared(PciMmio::new(root))).context(OverlapSnafu)?;

        let converter = Arc::clone(self.platform.converter());
        let (memory, td) = (converter.memory(), self.platform.td());
        let coco = CocoExits::new(self.kind, memory, self.vm, td, devices.services).context(ServicesSnafu)?;
        let exits = Exits { pio, mmio, ioapic, converter, coco, events: self.events.clone(), progress };
        Ok(Built { exits, serial_input, watchdog })
    }

    /// What firmware looks for on a Q35.
    fn firmware(
        &self,
        pio: &mut Bus,
        root: &PciRoot,
        spec: &FirmwareSpec,
        serial: bool,
        disks: &[Slot],
        progress: &Arc<Progress>,
    ) -> Result<Option<Watchdog>, MachineError> {
        let bridge = Arc::new(Mutex::new(LpcBridge::new(PmRegisters::BASE)));
        root.add_at(LpcBridge::SLOT, bridge).context(PciSnafu)?;
        let registers = PmRegisters::new(self.power_events());
        pio.insert(PmRegisters::PORT, PmRegisters::LEN, shared(registers)).context(OverlapSnafu)?;
        let (items, witness) =
            firmware::items(self.plan, spec, serial, disks, progress).context(FirmwareSnafu)?;
        let fw_cfg = FwCfg::new(items, self.platform.converter().memory().clone());
        pio.insert(FwCfg::PORT, FwCfg::LEN, shared(fw_cfg)).context(OverlapSnafu)?;
        Ok(witness.map(|w| Watchdog::new(w, Arc::clone(progress))))
    }

    fn power_events(&self) -> PowerEvents {
        let events = self.events.clone();
        Arc::new(move |event| {
            events.send(match event {
                PowerEvent::PowerOff => Event::PowerOff,
                PowerEvent::Reset => Event::Reset,
            });
        })
    }

    /// Serial port, clock, power and the ports that kernels poke at.
    fn legacy(
        &self,
        pio: &mut Bus,
        ioapic: &Ioapic,
        serial: Option<Box<dyn Write + Send>>,
    ) -> Result<Option<SerialInput>, MachineError> {
        let line = |pin: u8| -> Arc<dyn IrqLine> {
            // Pins below 24 have lines.
            ioapic.line(pin).map_or_else(|| Arc::new(NoLine) as _, |l| Arc::new(l) as _)
        };
        let power = self.power_events();
        let (registers, _button) = PowerDevice::new(Arc::clone(&power), line(GED_IRQ));
        let mut put = |base, len, device| pio.insert(base, len, device).context(OverlapSnafu);
        put(PowerDevice::PORT, PowerDevice::LEN, shared(registers))?;
        put(I8042::PORT, I8042::LEN, shared(I8042::new(power)))?;
        put(CmosRtc::PORT, CmosRtc::LEN, shared(CmosRtc::new()))?;
        put(PostCode::PORT, PostCode::LEN, shared(PostCode))?;
        let Some(output) = serial else { return Ok(None) };
        let (serial, input) = Serial::new(output, line(Serial::COM1_IRQ));
        put(Serial::COM1, Serial::LEN, shared(serial))?;
        Ok(Some(input))
    }

    fn virtio(
        &self,
        root: &PciRoot,
        routes: &Arc<Routes>,
        device: Box<dyn VirtioDevice>,
    ) -> Result<Slot, MachineError> {
        let doorbells: Arc<dyn DoorbellRegistry> = Arc::new(KvmDoorbells::new(Arc::clone(self.vm)));
        let environment = Environment {
            mem: self.platform.converter().memory(),
            msi: &MsiVectors(Arc::clone(routes)),
            doorbells: &doorbells,
            // A guest that holds memory private must know that devices reach only what it shares.
            access_platform: self.kind.has_evidence(),
        };
        let function = VirtioPci::new(device, &environment).context(VirtioSnafu)?;
        root.add(Arc::new(Mutex::new(function))).context(PciSnafu)
    }
}

/// The generic event device's interrupt, as the ACPI tables say.
const GED_IRQ: u8 = 9;

struct NoLine;

impl IrqLine for NoLine {
    fn set(&self, _high: bool) {}
}

fn shared(device: impl BusDevice + 'static) -> SharedDevice {
    Arc::new(Mutex::new(device))
}
