//! What a platform does to launch a guest, in the order in which the board asks for it.

use std::sync::Arc;

use cloister_firmware::plan::{InitialPrivacy, LaunchPlan, PageKind, PageRun, SourceError};
use kvm_bindings::{KVM_CAP_EXIT_HYPERCALL, kvm_enable_cap};
use kvm_ioctls::VmFd;
use snafu::{ResultExt, Snafu};

use super::PlatformKind;
use crate::memory::{ConvertError, Converter, GuestRam, PAGE_SIZE, RamError, SharedMemory, Target};
use crate::protected::GuestMemfd;
use crate::sim::{SimPsp, VcpuRegisters};
use crate::snp::{LaunchError, SnpLaunch};

/// What a platform is built on: the parts of the machine that the launch touches.
#[derive(Clone)]
pub struct Ground {
    /// The VM, of the type that [`PlatformKind::vm_type`] says, without vCPUs.
    pub vm: Arc<VmFd>,
    /// The guest's RAM, without memory slots yet.
    pub ram: GuestRam,
    /// The registers of the vCPUs that will be made.
    pub vcpus: Arc<dyn VcpuRegisters>,
}

/// What can go wrong on the way to a running guest.
#[derive(Debug, Snafu)]
pub enum PlatformError {
    /// The kernel refused a step.
    #[snafu(display("{step}: {source}"))]
    Kernel {
        /// What was to be done.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A launch command was refused.
    #[snafu(display("{source}"))]
    Launch {
        /// The refusal.
        source: LaunchError,
    },
    /// A page's privacy could not be set.
    #[snafu(display("setting up private memory: {source}"))]
    Convert {
        /// The cause.
        source: ConvertError,
    },
    /// The bytes of a page could not be read.
    #[snafu(display("{source}"))]
    Read {
        /// The cause.
        source: SourceError,
    },
    /// A page of the plan is not in RAM.
    #[snafu(display("loading {label}: {source}"))]
    Load {
        /// What was being loaded.
        label: &'static str,
        /// The cause.
        source: RamError,
    },
    /// The platform was chosen by name, and this version cannot launch it.
    #[snafu(display("{kind} guests cannot be launched by this version"))]
    Unsupported {
        /// Which platform.
        kind: PlatformKind,
    },
}

/// A platform under a guest. The board calls the steps in the order in which they stand here.
pub trait Platform: Send + Sync {
    /// Before any vCPU: the launch is opened, memory turns private.
    fn start(&self, plan: &LaunchPlan) -> Result<(), PlatformError>;
    /// vCPUs are there with their launch state: the plan's pages go in, in order. `cpuid` fills the
    /// plan's CPUID page.
    fn load(&self, plan: &LaunchPlan, cpuid: &[u8; 4096]) -> Result<(), PlatformError>;
    /// The launch is closed; the guest may run.
    fn finish(&self, plan: &LaunchPlan) -> Result<(), PlatformError>;
    /// The one that converts pages, and through it the devices' memory.
    fn converter(&self) -> &Arc<Converter>;
    /// The simulator, where there is one beneath.
    fn simulator(&self) -> Option<&Arc<SimPsp>>;
}

/// Builds the platform `kind` on `ground`: memory slots, and what privacy needs of the kernel.
pub fn platform(
    kind: PlatformKind,
    ground: Ground,
    plan: &LaunchPlan,
) -> Result<Box<dyn Platform>, PlatformError> {
    let memory = SharedMemory::new(ground.ram.clone());
    let slots = |ground: &Ground| {
        crate::plain::set_memory_slots(&ground.vm, &ground.ram)
            .context(KernelSnafu { step: "setting up memory slots" })
    };
    match kind {
        PlatformKind::Off => {
            slots(&ground)?;
            let converter = Arc::new(Converter::plain(memory));
            Ok(Box::new(Plain { ram: ground.ram, converter }))
        }
        PlatformKind::Sim => {
            slots(&ground)?;
            Simulated::over(ground, memory.clone(), Converter::plain(memory))
        }
        PlatformKind::Protected => {
            let mut cap = kvm_enable_cap { cap: KVM_CAP_EXIT_HYPERCALL, ..Default::default() };
            cap.args[0] = 1 << KVM_HC_MAP_GPA_RANGE;
            ground
                .vm
                .enable_cap(&cap)
                .map_err(std::io::Error::from)
                .context(KernelSnafu { step: "KVM_ENABLE_CAP(EXIT_HYPERCALL)" })?;
            let backing = GuestMemfd::new(Arc::clone(&ground.vm), &ground.ram, plan)
                .context(KernelSnafu { step: "making guest_memfd and its memory slots" })?;
            let converter = Converter::new(memory.clone(), Box::new(backing));
            Simulated::over(ground, memory, converter)
        }
        PlatformKind::Snp | PlatformKind::Tdx => UnsupportedSnafu { kind }.fail(),
    }
}

/// Number of the hypercall that converts pages (include/uapi/linux/kvm_para.h).
const KVM_HC_MAP_GPA_RANGE: u32 = 12;

/// Plain memory, no launch but loading.
struct Plain {
    ram: GuestRam,
    converter: Arc<Converter>,
}

impl Platform for Plain {
    fn start(&self, _plan: &LaunchPlan) -> Result<(), PlatformError> {
        Ok(())
    }

    fn load(&self, plan: &LaunchPlan, cpuid: &[u8; 4096]) -> Result<(), PlatformError> {
        let mut buffer = vec![0u8; 256 * PageRun::PAGE_SIZE];
        for run in &plan.pages {
            if run.kind == PageKind::Cpuid {
                self.ram.load(run.gpa, cpuid).context(LoadSnafu { label: run.label })?;
                continue;
            }
            let mut done = 0;
            while done < run.size() {
                let n = (run.size() - done).min(buffer.len() as u64);
                let chunk = &mut buffer[..n as usize];
                run.read(done, chunk).context(ReadSnafu)?;
                self.ram.load(run.gpa + done, chunk).context(LoadSnafu { label: run.label })?;
                done += n;
            }
        }
        Ok(())
    }

    fn finish(&self, _plan: &LaunchPlan) -> Result<(), PlatformError> {
        Ok(())
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }

    fn simulator(&self) -> Option<&Arc<SimPsp>> {
        None
    }
}

/// The simulator's PSP over plain memory, or over the private memory of a software-protected VM: an
/// SNP launch in every step, with software in the hardware's place.
struct Simulated {
    ram: GuestRam,
    converter: Arc<Converter>,
    psp: Arc<SimPsp>,
}

/// The simulator needs no `/dev/sev`.
const NO_SEV_FD: u32 = u32::MAX;

impl Simulated {
    fn over(
        ground: Ground,
        memory: SharedMemory,
        converter: Converter,
    ) -> Result<Box<dyn Platform>, PlatformError> {
        let psp = SimPsp::new(ground.ram.clone(), memory, ground.vcpus)
            .context(KernelSnafu { step: "making the simulated PSP" })?;
        Ok(Box::new(Simulated { ram: ground.ram, converter: Arc::new(converter), psp: Arc::new(psp) }))
    }

    fn launch(&self) -> SnpLaunch<'_> {
        SnpLaunch::new(&*self.psp, NO_SEV_FD)
    }

    fn convert_all(&self, to: Target) -> Result<(), PlatformError> {
        for r in self.ram.ranges() {
            self.converter.convert(r.start, r.size / PAGE_SIZE, to).context(ConvertSnafu)?;
        }
        Ok(())
    }
}

impl Platform for Simulated {
    fn start(&self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        self.launch().start(&plan.identity).context(LaunchSnafu)?;
        self.convert_all(Target::Private)
    }

    fn load(&self, plan: &LaunchPlan, cpuid: &[u8; 4096]) -> Result<(), PlatformError> {
        self.launch().load(plan, cpuid).context(LaunchSnafu)
    }

    fn finish(&self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        self.launch().finish(&plan.identity).context(LaunchSnafu)?;
        match plan.initial {
            InitialPrivacy::Private => Ok(()),
            InitialPrivacy::Shared => self.convert_all(Target::Shared),
        }
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }

    fn simulator(&self) -> Option<&Arc<SimPsp>> {
        Some(&self.psp)
    }
}
