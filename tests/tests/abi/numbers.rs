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

/// Commands by the names that we give them, which are the header's.
#[test]
fn commands() {
    let tdx = [
        TdxCommandId::CAPABILITIES,
        TdxCommandId::INIT_VM,
        TdxCommandId::INIT_VCPU,
        TdxCommandId::INIT_MEM_REGION,
        TdxCommandId::FINALIZE_VM,
        TdxCommandId::GET_CPUID,
    ];
    // A seventh command would be one that we do not know.
    let seventh = Claim::number("KVM_TDX_CMD_NR_MAX", tdx.len() as u64);
    let tdx = tdx.map(|command| Claim::number(&format!("KVM_{}", command.name()), command.0));
    let sev = [CommandId::INIT2, CommandId::LAUNCH_START, CommandId::LAUNCH_UPDATE, CommandId::LAUNCH_FINISH];
    let name = |command: &CommandId| format!("KVM_SEV_{}", command.name().trim_start_matches("SEV_"));
    let sev = sev.map(|command| Claim::number(&name(&command), command.0));
    let claims: Vec<_> = tdx.into_iter().chain([seventh]).chain(sev).collect();
    check("commands", &claims);
}

#[test]
fn flags_and_types() {
    check(
        "flags",
        &[
            Claim::number("KVM_TDX_MEASURE_MEMORY_REGION", MEASURE_MEMORY_REGION),
            Claim::number("KVM_CPUID_FLAG_SIGNIFCANT_INDEX", SIGNIFICANT_INDEX),
            Claim::number("KVM_X86_TDX_VM", KVM_X86_TDX_VM),
            Claim::number("KVM_SEV_SNP_PAGE_TYPE_NORMAL", PageType::NORMAL.0),
            Claim::number("KVM_SEV_SNP_PAGE_TYPE_ZERO", PageType::ZERO.0),
            Claim::number("KVM_SEV_SNP_PAGE_TYPE_UNMEASURED", PageType::UNMEASURED.0),
            Claim::number("KVM_SEV_SNP_PAGE_TYPE_SECRETS", PageType::SECRETS.0),
            Claim::number("KVM_SEV_SNP_PAGE_TYPE_CPUID", PageType::CPUID.0),
            Claim::number("SEV_RET_SUCCESS", FirmwareCode::NONE.0),
            Claim::number("SEV_RET_INVALID_GUEST_STATE", FirmwareCode::INVALID_GUEST_STATE.0),
            Claim::number("SEV_RET_POLICY_FAILURE", FirmwareCode::POLICY_FAILURE.0),
            Claim::number("SEV_RET_INVALID_PARAM", FirmwareCode::INVALID_PARAM.0),
            Claim::number("SEV_RET_INVALID_PAGE_STATE", FirmwareCode::INVALID_PAGE_STATE.0),
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
