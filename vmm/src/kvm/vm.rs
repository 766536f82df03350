//! Making a VM: its type, its interrupt controllers.

use std::sync::Arc;

use kvm_bindings::{KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap};
use kvm_ioctls::{Kvm, VmFd};
use snafu::{ResultExt, Snafu};

/// A step of making a VM that the kernel refused.
#[derive(Debug, Snafu)]
#[snafu(display("{step}: {source}"))]
pub(crate) struct VmError {
    pub(crate) step: &'static str,
    pub(crate) source: kvm_ioctls::Error,
}

/// Pins of the I/O APIC; the first GSIs are theirs.
pub(crate) const IOAPIC_PINS: u32 = 24;

/// Three pages that KVM on Intel needs for real mode; in the gap between I/O APIC and local APIC.
const TSS_ADDRESS: usize = 0xfed0_0000;
/// One page more that it needs there: where KVM puts it unless told is where firmware may be.
const IDENTITY_MAP_ADDRESS: u64 = 0xfed0_3000;

/// Makes a VM of type `vm_type` with local APICs in the kernel and the I/O APIC in our hands: the only
/// arrangement that SNP, TDX and plain guests all allow.
pub(crate) fn create_vm(kvm: &Kvm, vm_type: u64) -> Result<Arc<VmFd>, VmError> {
    let vm = kvm.create_vm_with_type(vm_type).context(VmSnafu { step: "KVM_CREATE_VM" })?;
    vm.set_tss_address(TSS_ADDRESS).context(VmSnafu { step: "KVM_SET_TSS_ADDR" })?;
    vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
        .context(VmSnafu { step: "KVM_SET_IDENTITY_MAP_ADDR" })?;
    let mut cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    cap.args[0] = u64::from(IOAPIC_PINS);
    vm.enable_cap(&cap).context(VmSnafu { step: "KVM_ENABLE_CAP(SPLIT_IRQCHIP)" })?;
    Ok(Arc::new(vm))
}
