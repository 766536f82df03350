//! The vCPUs of a dry run: registers that can be set and read.

use std::sync::{Mutex, MutexGuard};

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

use super::{Call, Errno};
use crate::sim::VcpuRegisters;

/// All vCPUs, by id.
#[derive(Default)]
pub(super) struct DryVcpus {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    vcpus: Vec<(kvm_regs, kvm_sregs)>,
    /// The firmware has taken the registers: nobody sees or sets them any more.
    protected: bool,
}

impl DryVcpus {
    pub(super) fn add(&self, id: u32) -> Result<(), Errno> {
        let mut state = self.state();
        if id as usize != state.vcpus.len() {
            return Err(libc::EEXIST);
        }
        state.vcpus.push(at_reset());
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.state().vcpus.len()
    }

    pub(super) fn protect(&self) {
        self.state().protected = true;
    }

    pub(super) fn call(&self, id: u32, call: &mut Call<'_>) -> Result<i32, Errno> {
        let mut state = self.state();
        let protected = state.protected;
        let (regs, sregs) = state.vcpus.get_mut(id as usize).ok_or(libc::EBADF)?;
        match call {
            Call::SetCpuid2(_) => Ok(0),
            _ if protected => Err(libc::EINVAL),
            Call::SetMsrs(msrs) => i32::try_from(msrs.as_slice().len()).map_err(|_| libc::E2BIG),
            Call::GetRegs(out) => {
                **out = *regs;
                Ok(0)
            }
            Call::SetRegs(new) => {
                *regs = **new;
                Ok(0)
            }
            Call::GetSregs(out) => {
                **out = *sregs;
                Ok(0)
            }
            Call::SetSregs(new) => {
                *sregs = **new;
                Ok(0)
            }
            _ => Err(libc::EINVAL),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl VcpuRegisters for DryVcpus {
    fn registers(&self) -> std::io::Result<Vec<(kvm_regs, kvm_sregs)>> {
        Ok(self.state().vcpus.clone())
    }
}

/// What KVM holds for a new vCPU, as far as a launch that forgot to set registers would show it
/// (arch/x86/kvm/x86.c, `kvm_vcpu_reset`).
fn at_reset() -> (kvm_regs, kvm_sregs) {
    let data = kvm_segment { limit: 0xffff, type_: 3, present: 1, s: 1, ..Default::default() };
    let cs = kvm_segment { selector: 0xf000, base: 0xffff_0000, type_: 0xb, ..data };
    let sregs = kvm_sregs {
        cs,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        cr0: 0x6000_0010,
        apic_base: 0xfee0_0800,
        ..Default::default()
    };
    (kvm_regs { rip: 0xfff0, rflags: 2, rdx: 0x600, ..Default::default() }, sregs)
}
