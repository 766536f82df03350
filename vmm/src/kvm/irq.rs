//! Interrupts into the guest: MSI routes, irqfds, and messages sent at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use cloister_coco::launch::IOAPIC_PINS;
use cloister_devices::irq::{MsiAllocator, MsiMessage, MsiVector};
use cloister_devices::platform::MsiSink;
use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_msi, kvm_msi,
};
use kvm_ioctls::VmFd;
use tracing::warn;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// The VM's GSI routing table. KVM takes it whole, so it is kept here whole.
pub(crate) struct Routes {
    vm: Arc<VmFd>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    messages: BTreeMap<u32, MsiMessage>,
    allocated: u32,
}

/// KVM_MAX_IRQ_ROUTES of x86 (arch/x86/include/asm/kvm_host.h).
const MAX_GSI: u32 = 4096;

impl Routes {
    pub(crate) fn new(vm: Arc<VmFd>) -> Arc<Self> {
        let table = Table { allocated: IOAPIC_PINS, ..Table::default() };
        Arc::new(Routes { vm, table: Mutex::new(table) })
    }

    /// Routes `gsi` to `message`, or nowhere.
    fn set(&self, gsi: u32, message: Option<MsiMessage>) -> io::Result<()> {
        let mut table = self.table.lock().unwrap_or_else(|e| e.into_inner());
        let before = match message {
            Some(message) => table.messages.insert(gsi, message),
            None => table.messages.remove(&gsi),
        };
        if before == message {
            return Ok(());
        }
        let entries: Vec<_> = table.messages.iter().map(|(gsi, m)| entry(*gsi, *m)).collect();
        let routing = KvmIrqRouting::from_entries(&entries)
            .map_err(|e| io::Error::other(format!("GSI routing table: {e:?}")))?;
        self.vm.set_gsi_routing(&routing).map_err(io::Error::from)
    }
}

fn entry(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let msi = kvm_irq_routing_msi {
        address_lo: message.address as u32,
        address_hi: (message.address >> 32) as u32,
        data: message.data,
        ..Default::default()
    };
    let u = kvm_irq_routing_entry__bindgen_ty_1 { msi };
    kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, flags: 0, u, ..Default::default() }
}

/// One MSI-X vector: an irqfd on a GSI of its own.
struct KvmMsi {
    gsi: u32,
    event: EventFd,
    routes: Arc<Routes>,
}

impl MsiVector for KvmMsi {
    fn trigger(&self) -> io::Result<()> {
        self.event.write(1)
    }

    fn program(&self, message: Option<MsiMessage>) -> io::Result<()> {
        self.routes.set(self.gsi, message)
    }
}

/// Hands out MSI-X vectors of the VM that the routes belong to.
pub(crate) struct MsiVectors(pub(crate) Arc<Routes>);

impl MsiAllocator for MsiVectors {
    fn allocate(&self, count: u16) -> io::Result<Vec<Arc<dyn MsiVector>>> {
        let routes = &self.0;
        let first = {
            let mut table = routes.table.lock().unwrap_or_else(|e| e.into_inner());
            let first = table.allocated;
            let next = first + u32::from(count);
            if next > MAX_GSI {
                return Err(io::Error::other("no interrupt numbers left (KVM has 4096)"));
            }
            table.allocated = next;
            first
        };
        (first..first + u32::from(count))
            .map(|gsi| {
                let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
                routes.vm.register_irqfd(&event, gsi)?;
                Ok(Arc::new(KvmMsi { gsi, event, routes: Arc::clone(routes) }) as Arc<dyn MsiVector>)
            })
            .collect()
    }
}

/// What the userspace I/O APIC speaks to.
pub(crate) struct IoapicSink {
    vm: Arc<VmFd>,
    routes: Arc<Routes>,
}

impl IoapicSink {
    pub(crate) fn new(vm: Arc<VmFd>, routes: Arc<Routes>) -> Self {
        IoapicSink { vm, routes }
    }
}

impl MsiSink for IoapicSink {
    fn send(&self, message: MsiMessage) {
        let msi = kvm_msi {
            address_lo: message.address as u32,
            address_hi: (message.address >> 32) as u32,
            data: message.data,
            ..Default::default()
        };
        if let Err(error) = self.vm.signal_msi(msi) {
            // The guest chose the message; a bad one is its own loss.
            warn!(%error, "KVM did not take an I/O APIC interrupt");
        }
    }

    fn routes_changed(&self, pin: u8, message: Option<MsiMessage>, _level: bool) {
        // With a split irqchip KVM reads the routes of the first 24 GSIs to learn which vectors are
        // level-triggered, and reports their end of interrupt to us.
        if let Err(error) = self.routes.set(u32::from(pin), message) {
            warn!(%error, pin, "KVM did not take an I/O APIC route");
        }
    }
}
