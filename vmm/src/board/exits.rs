//! A guest's exits, decoded: each to the bus or the function that answers it.
//!
//! Everything in an exit was chosen by the guest. Nothing here panics on it, and nothing is answered by
//! guessing: what cannot be answered ends the guest with a message.
//!
//! - [`hypercall`]: conversions that the guest asks for.
//! - [`coco`]: what confidential guests ask at run time.
//! - [`race`]: memory faults after which the guest just goes on.
//! - [`told`]: what the operator is told of exits that end a guest.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod coco;
mod hypercall;
mod race;
mod told;

use std::sync::Arc;

use cloister_coco::memory::{AccessError, Converter};
use cloister_coco::snp::certs::HeldLocks;
use cloister_devices::bus::Bus;
use cloister_devices::platform::Ioapic;
use kvm_ioctls::{HypercallExit, VcpuExit};

pub(crate) use coco::{CocoExits, CocoServices};
pub(crate) use race::Row;
use told::Side;

use super::event::{Event, Events};
use super::handover::Progress;
use crate::kvm::{PageExit, RunPage};

/// What answers a guest's exits. Shared by all vCPUs.
pub(crate) struct Exits {
    pub(crate) pio: Bus,
    pub(crate) mmio: Bus,
    pub(crate) ioapic: Ioapic,
    pub(crate) converter: Arc<Converter>,
    pub(crate) coco: CocoExits,
    pub(crate) events: Events,
    /// What the vCPUs did that was not merely looking.
    pub(crate) progress: Arc<Progress>,
}

/// Whether the vCPU goes back into the guest.
#[derive(Debug)]
pub(crate) enum Next {
    Run,
    /// Back into the kernel, but not into the guest: KVM finishes what it asked for, and comes back. The
    /// locks are to be held until then.
    Finish(HeldLocks),
    Stop,
}

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
            VcpuExit::Shutdown => return self.end(told::shutdown(self.coco.kind)),
            VcpuExit::FailEntry(reason, cpu) => {
                return self.crash(format!(
                    "the processor refuses to enter the guest (reason {reason:#x}, host CPU {cpu})"
                ));
            }
            VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => {}
            other => return self.crash(format!("unexpected exit {other:?}")),
        }
        Next::Run
    }

    /// Answers an exit of the vCPU `apic_id` that stands in its page. `errno` is that of KVM_RUN, if it
    /// failed; `faults` are the memory faults that came right before.
    pub(crate) fn handle_page(
        &self,
        mut page: RunPage<'_>,
        apic_id: u32,
        errno: i32,
        faults: &mut Row,
    ) -> Next {
        self.progress.count();
        let exit = page.exit();
        if !matches!(exit, Some(PageExit::MemoryFault { .. })) {
            faults.end();
        }
        match exit {
            Some(PageExit::Tdx(call)) => {
                page.answer_tdx(self.coco.td_call(call, apic_id));
                Next::Run
            }
            Some(PageExit::CertRequest(request)) => {
                let answer = self.coco.certs(self.converter.memory(), request);
                page.answer_certs(&answer);
                if answer.locks.is_empty() { Next::Run } else { Next::Finish(answer.locks) }
            }
            Some(PageExit::MemoryFault { flags, gpa, size }) => {
                let is = self.side(gpa);
                if self.coco.may_be_a_race(errno, flags, is) && faults.again(gpa) {
                    return Next::Run;
                }
                self.end(told::memory_fault(errno, flags, gpa, size, is))
            }
            Some(PageExit::SystemEvent { kind, data }) => self.end(told::system_event(kind, &data)),
            Some(PageExit::InternalError { suberror }) => self.end(told::internal_error(suberror)),
            None => self.crash(format!("KVM reports an exit {}, which is not known here", page.reason())),
        }
    }

    /// KVM_RUN failed, and no exit says why.
    pub(crate) fn run_failed(&self, errno: i32) -> Next {
        self.end(told::run_error(self.coco.kind, errno))
    }

    fn crash(&self, what: String) -> Next {
        self.end(Event::Crash(what))
    }

    fn end(&self, event: Event) -> Next {
        self.events.send(event);
        Next::Stop
    }

    fn hypercall(&self, call: HypercallExit<'_>) {
        *call.ret = hypercall::answer(self.coco.kind, call.nr, &call.args, |asked| {
            let done = self.converter.convert(asked.gpa, asked.pages, asked.to);
            if let Err(error) = &done {
                self.coco.warn(format_args!("refused: {error}"));
            }
            done
        });
    }

    /// Which side of memory `gpa` is on.
    fn side(&self, gpa: u64) -> Side {
        let memory = self.converter.memory();
        if memory.is_private(gpa) {
            return Side::Private;
        }
        match memory.check(gpa, 1) {
            Ok(()) => Side::Shared,
            Err(AccessError::NotRam { .. }) => Side::Nowhere,
            // It has turned private just now.
            Err(_) => Side::Private,
        }
    }
}

#[cfg(test)]
mod tests;
