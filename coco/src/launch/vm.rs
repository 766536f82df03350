//! What every launch begins with: the VM, its interrupt controllers, and what must be switched on before
//! there are vCPUs.

use kvm_bindings::{
    KVM_CAP_EXIT_HYPERCALL, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_VM_TYPES, KVM_CAP_X2APIC_API,
    KVM_CAP_X86_APIC_BUS_CYCLES_NS,
};
use snafu::{ResultExt, ensure};

use super::PlatformKind;
use super::kernel::Kernel;
use super::platform::{KernelSnafu, NoSuchVmSnafu, PlatformError};

/// Pins of the I/O APIC, which is in our hands; the first GSIs are theirs.
pub const IOAPIC_PINS: u32 = 24;

/// Three pages that KVM on Intel needs for real mode; in the gap between I/O APIC and local APIC.
const TSS_ADDRESS: u64 = 0xfed0_0000;
/// One page more that it needs there: where KVM puts it unless told is where firmware may be.
const IDENTITY_MAP_ADDRESS: u64 = 0xfed0_3000;

/// Number of the hypercall that converts pages (include/uapi/linux/kvm_para.h): as a mask, what
/// KVM_CAP_EXIT_HYPERCALL takes.
const MAP_GPA_RANGE: u64 = 1 << 12;
/// KVM_X2APIC_API_USE_32BIT_IDS and _DISABLE_BROADCAST_QUIRK: as TDX wants it (coco.md 3.2).
const X2APIC_API: u64 = 3;
/// Period of a TD's APIC timer in nanoseconds: the module's clock has 25 MHz (coco.md 3.2).
const TD_APIC_BUS_CYCLE_NS: u64 = 40;

/// Whether this KVM makes such VMs at all.
pub(super) fn check_type(kernel: &Kernel, kind: PlatformKind) -> Result<(), PlatformError> {
    let vm_type = kind.vm_type();
    if vm_type != 0 {
        let types = kernel.check_extension(KVM_CAP_VM_TYPES);
        let types = types.context(KernelSnafu { step: "KVM_CHECK_EXTENSION(VM_TYPES)" })?;
        ensure!(types & 1 << vm_type != 0, NoSuchVmSnafu { kind, vm_type });
    }
    Ok(())
}

/// Makes the VM with local APICs in the kernel and the I/O APIC in our hands: the only arrangement that
/// SNP, TDX and plain guests all allow.
pub(super) fn make(kernel: &Kernel, kind: PlatformKind) -> Result<(), PlatformError> {
    let vm_type = kind.vm_type();
    kernel.create_vm(vm_type).context(KernelSnafu { step: "KVM_CREATE_VM" })?;
    let enable = |step, cap, argument| kernel.enable_cap(cap, argument).context(KernelSnafu { step });
    if vm_type != 0 {
        enable("KVM_ENABLE_CAP(EXIT_HYPERCALL)", KVM_CAP_EXIT_HYPERCALL, MAP_GPA_RANGE)?;
    }
    if !kind.is_hardware() {
        // SVM has no use for them, and a TD is never in real mode.
        kernel.set_tss_addr(TSS_ADDRESS).context(KernelSnafu { step: "KVM_SET_TSS_ADDR" })?;
        let identity = kernel.set_identity_map_addr(IDENTITY_MAP_ADDRESS);
        identity.context(KernelSnafu { step: "KVM_SET_IDENTITY_MAP_ADDR" })?;
    }
    enable("KVM_ENABLE_CAP(SPLIT_IRQCHIP)", KVM_CAP_SPLIT_IRQCHIP, u64::from(IOAPIC_PINS))?;
    if kind == PlatformKind::Tdx {
        enable("KVM_ENABLE_CAP(X2APIC_API)", KVM_CAP_X2APIC_API, X2APIC_API)?;
        let step = "KVM_ENABLE_CAP(X86_APIC_BUS_CYCLES_NS)";
        enable(step, KVM_CAP_X86_APIC_BUS_CYCLES_NS, TD_APIC_BUS_CYCLE_NS)?;
    }
    Ok(())
}
