//! Model-specific registers that firmware would have set before a kernel starts.

use kvm_bindings::{Msrs, kvm_msr_entry};

/// IA32_MTRR_DEF_TYPE: MTRRs on (bit 11), everything write-back (6) (Intel SDM vol. 3, 12.11.2.1).
const MTRR_DEF_TYPE: u32 = 0x2ff;
/// IA32_MISC_ENABLE: fast strings (bit 0) (Intel SDM vol. 4, table 2-2).
const MISC_ENABLE: u32 = 0x1a0;

/// The registers for every vCPU. Those of a confidential guest are not measured through here: KVM puts
/// none of these into a VMSA.
pub(crate) fn boot_msrs() -> Result<Msrs, vmm_sys_util::fam::Error> {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    Msrs::from_entries(&[entry(MTRR_DEF_TYPE, 1 << 11 | 6), entry(MISC_ENABLE, 1)])
}
