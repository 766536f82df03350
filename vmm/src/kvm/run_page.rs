//! The exits that kvm-ioctls does not know, or tells too little of, read from the page that KVM shares with
//! us (`struct kvm_run`, include/uapi/linux/kvm.h). The kernel writes the page; the guest chose what is in it.

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

use cloister_coco::snp::certs::{CertAnswer, CertRequest};
use cloister_coco::tdx::fatal::TdRegisters;
use cloister_coco::tdx::quote::{TdAnswer, TdCall};
use cloister_coco::tdx::vmcall::{TdvmcallLeaf, TdvmcallStatus};
use kvm_ioctls::VcpuFd;

/// Exit reasons. kvm-bindings is made from headers that are older than the last two.
pub(crate) mod reason {
    pub(crate) const INTERNAL_ERROR: u32 = 17;
    pub(crate) const SYSTEM_EVENT: u32 = 24;
    pub(crate) const MEMORY_FAULT: u32 = 39;
    pub(crate) const TDX: u32 = 40;
    pub(crate) const SNP_REQ_CERTS: u32 = 43;
}

/// Where the union of the exits begins in the page.
const UNION: usize = 32;

/// Offsets in the page of the fields of exits.
mod at {
    pub(super) const SUBERROR: usize = 32;
    pub(super) const EVENT_TYPE: usize = 32;
    pub(super) const EVENT_NDATA: usize = 36;
    pub(super) const EVENT_DATA: usize = 40;
    pub(super) const FAULT_FLAGS: usize = 32;
    pub(super) const FAULT_GPA: usize = 40;
    pub(super) const FAULT_SIZE: usize = 48;
    pub(super) const TDX_NR: usize = 40;
    pub(super) const TDX_RET: usize = 48;
    /// First argument; `leaf` and `vector` stand there, and `gpa`.
    pub(super) const TDX_ARGUMENT: usize = 56;
    pub(super) const TDX_QUOTE_SIZE: usize = 64;
    pub(super) const TDX_R11: usize = 64;
    pub(super) const CERTS_GPA: usize = 32;
    pub(super) const CERTS_NPAGES: usize = 40;
    pub(super) const CERTS_RET: usize = 48;
}

/// An exit, read from the page once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageExit {
    /// KVM cannot go on; `suberror` says why.
    InternalError { suberror: u32 },
    /// The guest ended itself, in one way or another. Data that KVM did not give is 0.
    SystemEvent { kind: u32, data: TdRegisters },
    /// The guest touched a page as what it is not, or the host could not provide it. KVM_RUN failed with
    /// this, which tells the two apart (EFAULT, EHWPOISON).
    MemoryFault { flags: u64, gpa: u64, size: u64 },
    /// A TDVMCALL.
    Tdx(TdCall),
    /// An SNP guest wants certificates with its report.
    CertRequest(CertRequest),
}

/// The union of exits in a vCPU's page.
pub(crate) struct RunPage<'a> {
    reason: u32,
    union: &'a mut [u8],
}

impl<'a> RunPage<'a> {
    /// The page of `vcpu`, between two KVM_RUNs.
    #[allow(unsafe_code, reason = "a union of plain integers is looked at as bytes")]
    pub(crate) fn of(vcpu: &'a mut VcpuFd) -> Self {
        let run = vcpu.get_kvm_run();
        let reason = run.exit_reason;
        let union = &mut run.__bindgen_anon_1;
        let len = size_of_val(union);
        // SAFETY: all of the union is memory that the kernel has mapped and initialised, any bytes are
        // valid in it, and it is borrowed for as long as the slice lives. The kernel writes it in KVM_RUN
        // only, which wants the same borrow; the bytes that other threads write (immediate_exit) are not
        // in it.
        let union = unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(union).cast::<u8>(), len) };
        RunPage { reason, union }
    }

    /// Why KVM_RUN came back.
    pub(crate) fn reason(&self) -> u32 {
        self.reason
    }

    /// The exit, if it is one of those that are read here.
    pub(crate) fn exit(&self) -> Option<PageExit> {
        Some(match self.reason {
            reason::INTERNAL_ERROR => PageExit::InternalError { suberror: self.u32(at::SUBERROR) },
            reason::SYSTEM_EVENT => self.system_event(),
            reason::MEMORY_FAULT => PageExit::MemoryFault {
                flags: self.u64(at::FAULT_FLAGS),
                gpa: self.u64(at::FAULT_GPA),
                size: self.u64(at::FAULT_SIZE),
            },
            reason::TDX => PageExit::Tdx(self.tdx()),
            reason::SNP_REQ_CERTS => PageExit::CertRequest(CertRequest {
                gpa: self.u64(at::CERTS_GPA),
                npages: self.u64(at::CERTS_NPAGES),
            }),
            _ => return None,
        })
    }

    fn system_event(&self) -> PageExit {
        let given = usize::try_from(self.u32(at::EVENT_NDATA)).unwrap_or(usize::MAX);
        let mut data = TdRegisters::default();
        let places = (at::EVENT_DATA..).step_by(8);
        data.iter_mut().zip(places).take(given).for_each(|(value, place)| *value = self.u64(place));
        PageExit::SystemEvent { kind: self.u32(at::EVENT_TYPE), data }
    }

    fn tdx(&self) -> TdCall {
        let argument = self.u64(at::TDX_ARGUMENT);
        match TdvmcallLeaf(self.u64(at::TDX_NR)) {
            TdvmcallLeaf::GET_QUOTE => TdCall::GetQuote { gpa: argument, size: self.u64(at::TDX_QUOTE_SIZE) },
            TdvmcallLeaf::GET_TD_VM_CALL_INFO => TdCall::GetTdVmCallInfo { leaf: argument },
            TdvmcallLeaf::SETUP_EVENT_NOTIFY_INTERRUPT => {
                TdCall::SetupEventNotifyInterrupt { vector: argument }
            }
            other => TdCall::Unknown(other),
        }
    }

    /// Answers a TDVMCALL.
    pub(crate) fn answer_tdx(&mut self, answer: TdAnswer) {
        match answer {
            TdAnswer::AsKvmHasIt => {}
            TdAnswer::Status(status) => self.put_u64(at::TDX_RET, status.0),
            TdAnswer::Info(registers) => {
                self.put_u64(at::TDX_RET, TdvmcallStatus::SUCCESS.0);
                let places = (at::TDX_R11..).step_by(8);
                registers.iter().zip(places).for_each(|(value, place)| self.put_u64(place, *value));
            }
        }
    }

    /// Answers a request for certificates.
    pub(crate) fn answer_certs(&mut self, answer: &CertAnswer) {
        self.put_u64(at::CERTS_NPAGES, answer.npages);
        self.put_u64(at::CERTS_RET, answer.ret);
    }

    // The offsets are constants within the union, which the tests walk; what is not there reads as 0.

    fn u32(&self, place: usize) -> u32 {
        let bytes = place.checked_sub(UNION).and_then(|at| self.union.get(at..)?.first_chunk());
        bytes.map_or(0, |b| u32::from_le_bytes(*b))
    }

    fn u64(&self, place: usize) -> u64 {
        let bytes = place.checked_sub(UNION).and_then(|at| self.union.get(at..)?.first_chunk());
        bytes.map_or(0, |b| u64::from_le_bytes(*b))
    }

    fn put_u64(&mut self, place: usize, value: u64) {
        let bytes = place.checked_sub(UNION).and_then(|at| self.union.get_mut(at..)?.first_chunk_mut());
        if let Some(bytes) = bytes {
            *bytes = value.to_le_bytes();
        }
    }
}

const _: () = {
    use std::mem::offset_of;

    use kvm_bindings::kvm_run;
    assert!(offset_of!(kvm_run, exit_reason) == 8);
    assert!(offset_of!(kvm_run, __bindgen_anon_1) == UNION);
    assert!(kvm_bindings::KVM_EXIT_INTERNAL_ERROR == reason::INTERNAL_ERROR);
    assert!(kvm_bindings::KVM_EXIT_SYSTEM_EVENT == reason::SYSTEM_EVENT);
    assert!(kvm_bindings::KVM_EXIT_MEMORY_FAULT == reason::MEMORY_FAULT);
};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
