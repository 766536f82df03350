//! Interrupts into the guest: MSI routes, irqfds, and messages sent at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use cloister_coco::launch::IOAPIC_PINS;
use cloister_devices::irq::{MsiAllocator, MsiMessage, MsiVector};
use cloister_devices::limit::LogLimit;
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
        table.change(gsi, message, |entries| {
            let routing = KvmIrqRouting::from_entries(entries)
                .map_err(|e| io::Error::other(format!("GSI routing table: {e:?}")))?;
            self.vm.set_gsi_routing(&routing).map_err(io::Error::from)
        })
    }
}

impl Table {
    /// Changes one route and has `apply` take the whole table. A route that KVM refuses is not kept: with it
    /// in the table all others would be refused from then on. The guest chose the message.
    fn change(
        &mut self,
        gsi: u32,
        message: Option<MsiMessage>,
        apply: impl FnOnce(&[kvm_irq_routing_entry]) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = self.put(gsi, message);
        if before == message {
            return Ok(());
        }
        let entries: Vec<_> = self.messages.iter().map(|(gsi, m)| entry(*gsi, *m)).collect();
        let applied = apply(&entries);
        if applied.is_err() {
            self.put(gsi, before);
        }
        applied
    }

    /// Puts a route, or none; the one that was there.
    fn put(&mut self, gsi: u32, message: Option<MsiMessage>) -> Option<MsiMessage> {
        match message {
            Some(message) => self.messages.insert(gsi, message),
            None => self.messages.remove(&gsi),
        }
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

/// What the userspace I/O APIC speaks to. The guest chose every message: a bad one is its own loss, and no
/// reason to fill the host's log.
pub(crate) struct IoapicSink {
    vm: Arc<VmFd>,
    routes: Arc<Routes>,
    log: LogLimit,
}

impl IoapicSink {
    pub(crate) fn new(vm: Arc<VmFd>, routes: Arc<Routes>) -> Self {
        IoapicSink { vm, routes, log: LogLimit::default() }
    }

    fn warn(&self, what: &str, pin: Option<u8>, error: &dyn std::fmt::Display) {
        if let Some(kept_back) = self.log.allow() {
            warn!(%error, pin, kept_back, "KVM did not take an I/O APIC {what}");
        }
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
            self.warn("interrupt", None, &error);
        }
    }

    fn routes_changed(&self, pin: u8, message: Option<MsiMessage>, _level: bool) {
        // With a split irqchip KVM reads the routes of the first 24 GSIs to learn which vectors are
        // level-triggered, and reports their end of interrupt to us.
        if let Err(error) = self.routes.set(u32::from(pin), message) {
            self.warn("route", Some(pin), &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Option<MsiMessage> = Some(MsiMessage { address: 0xfee0_0000, data: 0x41 });
    /// KVM takes no destination in the low byte there (arch/x86/kvm/irq.c, kvm_msi_route_invalid).
    const BAD: Option<MsiMessage> = Some(MsiMessage { address: 0x1_fee0_0000, data: 0x41 });

    /// Takes a table as KVM does: all of it or nothing.
    fn kvm(entries: &[kvm_irq_routing_entry]) -> io::Result<()> {
        // SAFETY: every entry here is an MSI's.
        #[allow(unsafe_code, reason = "a field of a union")]
        let bad = entries.iter().any(|e| unsafe { e.u.msi.address_hi } & 0xff != 0);
        if bad { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
    }

    #[test]
    fn a_route_that_kvm_refuses_does_not_stand_in_the_way_of_others() {
        let mut table = Table::default();
        table.change(24, GOOD, kvm).unwrap();
        table.change(25, BAD, kvm).unwrap_err();
        table.change(24, BAD, kvm).unwrap_err();
        table.change(26, GOOD, kvm).unwrap();
        assert_eq!(table.messages, BTreeMap::from([(24, GOOD.unwrap()), (26, GOOD.unwrap())]));
        table.change(24, None, kvm).unwrap();
        table.change(24, None, |_| panic!("nothing changed")).unwrap();
        assert_eq!(table.messages.len(), 1);
    }
}
