//! A guest's exits, decoded: each to the bus or the function that answers it.
//!
//! Everything in an exit was chosen by the guest. Nothing here panics on it, and nothing is answered by
//! guessing: what cannot be answered ends the guest with a message.

use std::sync::Arc;

use cloister_coco::memory::{Converter, Target};
use cloister_devices::bus::Bus;
use cloister_devices::platform::Ioapic;
use kvm_ioctls::{HypercallExit, VcpuExit};
use tracing::debug;

use super::event::{Event, Events};
use super::handover::Progress;

/// What answers a guest's exits. Shared by all vCPUs.
pub(crate) struct Exits {
    pub(crate) pio: Bus,
    pub(crate) mmio: Bus,
    pub(crate) ioapic: Ioapic,
    pub(crate) converter: Arc<Converter>,
    pub(crate) events: Events,
    /// What the vCPUs did that was not merely looking.
    pub(crate) progress: Arc<Progress>,
}

/// Whether the vCPU goes back into the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Run,
    Stop,
}

/// KVM_HC_MAP_GPA_RANGE and the attributes that it takes (include/uapi/linux/kvm_para.h).
const KVM_HC_MAP_GPA_RANGE: u64 = 12;
const MAP_GPA_RANGE_ENCRYPTED: u64 = 1 << 4;
const MAP_GPA_RANGE_PAGE_SIZE: u64 = 0xf;

/// A guest's own view of errors in RAX: a negative errno.
const EINVAL: u64 = (-(libc::EINVAL as i64)) as u64;

impl Exits {
    /// Answers one exit. `width` is the width of a port access, in bytes: a string instruction makes many
    /// in one exit, all at the same port.
    pub(crate) fn handle(&self, exit: VcpuExit<'_>, width: usize) -> Next {
        let width = width.max(1);
        match exit {
            VcpuExit::IoIn(port, data) => {
                data.chunks_mut(width).for_each(|d| self.pio.read(u64::from(port), d));
                return Next::Run;
            }
            VcpuExit::MmioRead(address, data) => {
                self.mmio.read(address, data);
                return Next::Run;
            }
            _ => self.progress.count(),
        }
        match exit {
            VcpuExit::IoOut(port, data) => data.chunks(width).for_each(|d| {
                self.pio.write(u64::from(port), d);
            }),
            VcpuExit::MmioWrite(address, data) => {
                self.mmio.write(address, data);
            }
            VcpuExit::IoapicEoi(vector) => self.ioapic.eoi(vector),
            VcpuExit::Hypercall(call) => self.hypercall(call),
            VcpuExit::MemoryFault { flags, gpa, size } => return self.memory_fault(flags, gpa, size),
            VcpuExit::SystemEvent(kind, data) => {
                self.events.send(system_event(kind, data));
                return Next::Stop;
            }
            VcpuExit::Shutdown => return self.crash("triple fault".to_owned()),
            VcpuExit::FailEntry(reason, cpu) => {
                return self.crash(format!(
                    "the processor refuses to enter the guest (reason {reason:#x}, host CPU {cpu})"
                ));
            }
            VcpuExit::InternalError => {
                return self
                    .crash("KVM cannot emulate what the guest did (KVM_EXIT_INTERNAL_ERROR)".to_owned());
            }
            VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => {}
            other => return self.crash(format!("unexpected exit {other:?}")),
        }
        Next::Run
    }

    fn crash(&self, what: String) -> Next {
        self.events.send(Event::Crash(what));
        Next::Stop
    }

    fn hypercall(&self, call: HypercallExit<'_>) {
        let [gpa, pages, attributes, ..] = call.args;
        let known = attributes & !(MAP_GPA_RANGE_ENCRYPTED | MAP_GPA_RANGE_PAGE_SIZE) == 0;
        if call.nr != KVM_HC_MAP_GPA_RANGE || !known {
            *call.ret = EINVAL;
            return;
        }
        // The page size is a hint, and not believed.
        let to = if attributes & MAP_GPA_RANGE_ENCRYPTED != 0 { Target::Private } else { Target::Shared };
        *call.ret = match self.converter.convert(gpa, pages, to) {
            Ok(()) => 0,
            Err(error) => {
                debug!(%error, "conversion refused");
                EINVAL
            }
        };
    }

    /// The guest touched a page as what it is not. It did not ask for a conversion: refused.
    fn memory_fault(&self, flags: u64, gpa: u64, size: u64) -> Next {
        let wanted = if flags & 1 << 3 != 0 { "private" } else { "shared" };
        self.crash(format!(
            "the guest used {size:#x} bytes at {gpa:#x} as {wanted} memory without having them converted"
        ))
    }
}

/// KVM_EXIT_SYSTEM_EVENT (include/uapi/linux/kvm.h, KVM_SYSTEM_EVENT_*).
fn system_event(kind: u32, data: &[u64]) -> Event {
    match kind {
        1 => Event::PowerOff,
        2 => Event::Reset,
        3 => Event::Crash("the guest reported a crash to KVM".to_owned()),
        6 => {
            // GHCB MSR protocol, termination request: set in bits 15:12, code in bits 23:16.
            let value = data.first().copied().unwrap_or(0);
            let (set, code) = (value >> 12 & 0xf, value >> 16 & 0xff);
            Event::Crash(format!("the SEV guest ended itself: reason set {set}, code {code}"))
        }
        7 => Event::Crash("the TDX guest reported a fatal error".to_owned()),
        _ => Event::Crash(format!("unknown system event {kind}")),
    }
}
