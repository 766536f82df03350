//! An ioctl's argument as JSON, with the kernel's names of its fields. What goes into the guest's memory is
//! never shown: only how much it is, and its SHA-256.

use kvm_bindings::{CpuId, Msrs, kvm_cpuid_entry2, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use serde_json::{Map, Value, json};

use super::Call;
use super::{decode_sev, decode_tdx};

/// Numbers that are addresses, masks or bit fields.
pub(super) fn hex(value: impl Into<u64>) -> Value {
    Value::String(format!("{:#x}", value.into()))
}

/// The argument as it is now. `hashing`: whether the bytes of pages are still there to be hashed, which
/// they are before the call only.
pub(super) fn arguments(call: &Call<'_>, hashing: bool) -> Value {
    match call {
        Call::GetApiVersion => json!({}),
        Call::CheckExtension(cap) => json!({ "cap": cap, "name": capability(*cap) }),
        Call::GetSupportedCpuid(table) => cpuid(table),
        Call::GetDeviceAttr { group, attr, value } => {
            json!({ "group": group, "attr": attr, "value": hex(**value) })
        }
        Call::CreateVm(vm_type) => json!({ "type": vm_type }),
        Call::SetTssAddr(address) => json!({ "addr": hex(*address) }),
        Call::SetIdentityMapAddr(address) => json!({ "addr": hex(**address) }),
        Call::EnableCap(x) => {
            let args: Vec<_> = x.args.iter().map(|a| hex(*a)).collect();
            json!({ "cap": x.cap, "name": capability(x.cap), "flags": x.flags, "args": args })
        }
        Call::CreateGuestMemfd(x) => json!({ "size": hex(x.size), "flags": hex(x.flags) }),
        Call::SetUserMemoryRegion(x) => json!({
            "slot": x.slot,
            "flags": hex(x.flags),
            "guest_phys_addr": hex(x.guest_phys_addr),
            "memory_size": hex(x.memory_size),
            "userspace_addr": hex(x.userspace_addr),
        }),
        Call::SetUserMemoryRegion2(x) => json!({
            "slot": x.slot,
            "flags": hex(x.flags),
            "guest_phys_addr": hex(x.guest_phys_addr),
            "memory_size": hex(x.memory_size),
            "userspace_addr": hex(x.userspace_addr),
            "guest_memfd_offset": hex(x.guest_memfd_offset),
            "guest_memfd": x.guest_memfd,
        }),
        Call::SetMemoryAttributes(x) => json!({
            "address": hex(x.address),
            "size": hex(x.size),
            "attributes": hex(x.attributes),
            "flags": hex(x.flags),
        }),
        Call::CreateVcpu(id) => json!({ "id": id }),
        Call::SetCpuid2(table) => cpuid(table),
        Call::SetMsrs(msrs) => model_specific(msrs),
        Call::GetSregs(x) => system_registers(x),
        Call::SetSregs(x) => system_registers(x),
        Call::GetRegs(x) => registers(x),
        Call::SetRegs(x) => registers(x),
        Call::Sev(cmd) => decode_sev::arguments(cmd, hashing),
        Call::Tdx(cmd) => decode_tdx::arguments(cmd, hashing),
        Call::PreFaultMemory(x) => {
            json!({ "gpa": hex(x.gpa), "size": hex(x.size), "flags": hex(x.flags) })
        }
    }
}

/// The command inside a call that carries one.
pub(super) fn command(call: &Call<'_>) -> Option<String> {
    match call {
        Call::Sev(cmd) => Some(decode_sev::name(cmd)),
        Call::Tdx(cmd) => Some(decode_tdx::name(cmd)),
        _ => None,
    }
}

/// What firmware or module said about a call that failed.
pub(super) fn firmware_error(call: &Call<'_>) -> Option<Value> {
    match call {
        Call::Sev(cmd) => Some(decode_sev::firmware_error(cmd)),
        Call::Tdx(cmd) => decode_tdx::module_error(cmd),
        _ => None,
    }
}

fn capability(cap: u32) -> &'static str {
    match cap {
        kvm_bindings::KVM_CAP_SPLIT_IRQCHIP => "KVM_CAP_SPLIT_IRQCHIP",
        kvm_bindings::KVM_CAP_X2APIC_API => "KVM_CAP_X2APIC_API",
        kvm_bindings::KVM_CAP_EXIT_HYPERCALL => "KVM_CAP_EXIT_HYPERCALL",
        kvm_bindings::KVM_CAP_MEMORY_ATTRIBUTES => "KVM_CAP_MEMORY_ATTRIBUTES",
        kvm_bindings::KVM_CAP_GUEST_MEMFD => "KVM_CAP_GUEST_MEMFD",
        kvm_bindings::KVM_CAP_VM_TYPES => "KVM_CAP_VM_TYPES",
        kvm_bindings::KVM_CAP_X86_APIC_BUS_CYCLES_NS => "KVM_CAP_X86_APIC_BUS_CYCLES_NS",
        // include/uapi/linux/kvm.h, Linux 6.18
        244 => "KVM_CAP_GUEST_MEMFD_FLAGS",
        _ => "other",
    }
}

fn cpuid(table: &CpuId) -> Value {
    let entries = table.as_slice();
    let empty = |e: &kvm_cpuid_entry2| *e == kvm_cpuid_entry2::default();
    // A buffer that waits to be filled.
    let shown = if entries.iter().all(empty) { &[][..] } else { entries };
    json!({ "nent": entries.len(), "entries": shown.iter().map(cpuid_entry).collect::<Vec<_>>() })
}

/// One leaf in a line of its own: a table has dozens of them for every vCPU.
pub(super) fn cpuid_entry(e: &kvm_cpuid_entry2) -> Value {
    Value::String(format!(
        "function={:#x} index={:#x} flags={:#x} eax={:#010x} ebx={:#010x} ecx={:#010x} edx={:#010x}",
        e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx
    ))
}

fn model_specific(msrs: &Msrs) -> Value {
    let entry = |e: &kvm_bindings::kvm_msr_entry| json!({ "index": hex(e.index), "data": hex(e.data) });
    json!({ "nmsrs": msrs.as_slice().len(), "entries": msrs.as_slice().iter().map(entry).collect::<Vec<_>>() })
}

macro_rules! fields {
    ($value:expr; $($field:ident)*) => {{
        let mut map = Map::new();
        $( map.insert(stringify!($field).to_owned(), hex($value.$field)); )*
        map
    }};
}

fn registers(r: &kvm_regs) -> Value {
    Value::Object(fields!(r; rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags))
}

fn system_registers(s: &kvm_sregs) -> Value {
    let mut map = fields!(s; cr0 cr2 cr3 cr4 cr8 efer apic_base);
    let segments = [
        ("cs", &s.cs),
        ("ds", &s.ds),
        ("es", &s.es),
        ("fs", &s.fs),
        ("gs", &s.gs),
        ("ss", &s.ss),
        ("tr", &s.tr),
        ("ldt", &s.ldt),
    ];
    let segment = |s: &kvm_segment| {
        Value::Object(fields!(s; base limit selector type_ present dpl db s l g avl unusable))
    };
    let table = |t: &kvm_dtable| Value::Object(fields!(t; base limit));
    map.extend(segments.map(|(name, s)| (name.to_owned(), segment(s))));
    map.extend([("gdt".to_owned(), table(&s.gdt)), ("idt".to_owned(), table(&s.idt))]);
    Value::Object(map)
}
