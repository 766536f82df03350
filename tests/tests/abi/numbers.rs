//! Every number that our ABI modules have a name for.

use cloister_coco::launch::kernel::Call;
use cloister_coco::snp::abi::{CommandId, FirmwareCode, KVM_MEMORY_ENCRYPT_OP, PageType, SevCmd};
use cloister_coco::tdx::abi::{
    KVM_X86_TDX_VM, MEASURE_MEMORY_REGION, SIGNIFICANT_INDEX, TdxCmd, TdxCommandId,
};
use kvm_bindings::*;

use super::claim::Claim;
use super::headers::check;

/// Every ioctl of a launch, under the name that a trace gives it.
#[test]
fn ioctls() {
    let mut cpuid = CpuId::new(1).unwrap();
    let (mut regs, mut sregs) = (kvm_regs::default(), kvm_sregs::default());
    let (msrs, table) = (Msrs::new(1).unwrap(), CpuId::new(1).unwrap());
    let calls = [
        Call::GetApiVersion,
        Call::CreateVm(0),
        Call::CheckExtension(0),
        Call::GetSupportedCpuid(&mut cpuid),
        Call::CreateVcpu(0),
        Call::SetUserMemoryRegion(&Default::default()),
        Call::SetTssAddr(0),
        Call::SetIdentityMapAddr(&0),
        Call::SetUserMemoryRegion2(&Default::default()),
        Call::GetRegs(&mut regs),
        Call::SetRegs(&Default::default()),
        Call::GetSregs(&mut sregs),
        Call::SetSregs(&Default::default()),
        Call::SetMsrs(&msrs),
        Call::SetCpuid2(&table),
        Call::EnableCap(&Default::default()),
        Call::Sev(&mut SevCmd::default()),
        Call::Tdx(&mut TdxCmd::default()),
        Call::SetMemoryAttributes(&Default::default()),
        Call::CreateGuestMemfd(&Default::default()),
        Call::PreFaultMemory(&mut Default::default()),
        Call::GetDeviceAttr { group: 0, attr: 0, value: &mut 0 },
    ];
    let mut claims: Vec<_> = calls.iter().map(|call| Claim::number(call.name(), call.number())).collect();
    claims.push(Claim::number("KVM_MEMORY_ENCRYPT_OP", KVM_MEMORY_ENCRYPT_OP));
    check("ioctls", &claims);
}

/// All numbers below `end` that we have a name for.
fn named(end: u32, name: impl Fn(u32) -> String) -> Vec<Claim> {
    let claims: Vec<_> = (0..end)
        .map(|number| (number, name(number)))
        .filter(|(_, name)| !name.contains("unknown"))
        .map(|(number, name)| Claim::number(&name, number))
        .collect();
    assert!(!claims.is_empty(), "names are not found any more");
    claims
}

/// Commands, page types and codes by the names that we give them, which are the header's.
#[test]
fn names() {
    let tdx = named(64, |id| format!("KVM_{}", TdxCommandId(id).name()));
    // One more would be one that we do not know.
    let count = Claim::number("KVM_TDX_CMD_NR_MAX", tdx.len() as u64);
    let sev = named(256, |id| format!("KVM_SEV_{}", CommandId(id).name().trim_start_matches("SEV_")));
    let pages = named(16, |kind| match PageType(kind as u8) {
        // Only the firmware's own specification has a name for it: KVM adds these pages itself.
        PageType::VMSA => "unknown".to_owned(),
        kind => format!("KVM_SEV_SNP_PAGE_TYPE_{}", kind.name()),
    });
    let codes = named(256, |code| format!("SEV_RET_{}", FirmwareCode(code).name()));
    let claims: Vec<_> = [tdx, vec![count], sev, pages, codes].into_iter().flatten().collect();
    check("names", &claims);
}

#[test]
fn flags_and_types() {
    check(
        "flags",
        &[
            Claim::number("KVM_TDX_MEASURE_MEMORY_REGION", MEASURE_MEMORY_REGION),
            Claim::number("KVM_CPUID_FLAG_SIGNIFCANT_INDEX", SIGNIFICANT_INDEX),
            Claim::number("KVM_X86_TDX_VM", KVM_X86_TDX_VM),
        ],
    );
}

/// What we take from kvm-bindings, which is generated from an older header.
#[test]
fn numbers_of_kvm_bindings() {
    /// `(name, value)` of constants of kvm-bindings.
    macro_rules! named {
        ($($name:ident),+ $(,)?) => { [$(Claim::number(stringify!($name), $name)),+] };
    }
    check(
        "kvm-bindings",
        &named!(
            KVM_CAP_EXIT_HYPERCALL,
            KVM_CAP_GUEST_MEMFD,
            KVM_CAP_MEMORY_ATTRIBUTES,
            KVM_CAP_SPLIT_IRQCHIP,
            KVM_CAP_VM_TYPES,
            KVM_CAP_X2APIC_API,
            KVM_CAP_X86_APIC_BUS_CYCLES_NS,
            KVM_CAP_PRE_FAULT_MEMORY,
            KVM_EXIT_HYPERCALL,
            KVM_EXIT_MEMORY_FAULT,
            KVM_EXIT_SYSTEM_EVENT,
            KVM_IRQ_ROUTING_MSI,
            KVM_MEMORY_ATTRIBUTE_PRIVATE,
            KVM_MEMORY_EXIT_FLAG_PRIVATE,
            KVM_MEM_GUEST_MEMFD,
            KVM_SYSTEM_EVENT_SEV_TERM,
            KVM_X2APIC_API_USE_32BIT_IDS,
            KVM_X86_SNP_VM,
            KVM_X86_SW_PROTECTED_VM,
        ),
    );
}
