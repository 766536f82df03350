//! `struct kvm_run`: the exits that confidential guests have.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use kvm_bindings::kvm_run;

use super::claim::Claim;
use super::headers::check;
use super::sources::constants;

/// Claims that fields of `struct kvm_run` lie where kvm-bindings has them.
macro_rules! offsets {
    ($($c_field:literal = $($path:tt).+),+ $(,)?) => {
        [$(
            Claim::new(
                concat!("struct kvm_run, field ", $c_field, ": offset"),
                concat!("offsetof(struct kvm_run, ", $c_field, ")"),
                offset_of!(kvm_run, $($path).+) as u64,
            )
        ),+]
    };
}

#[test]
fn exits_of_kvm_bindings() {
    check(
        "exits",
        &offsets! {
            "immediate_exit" = immediate_exit,
            "exit_reason" = exit_reason,
            "hypercall.nr" = __bindgen_anon_1.hypercall.nr,
            "hypercall.args" = __bindgen_anon_1.hypercall.args,
            "hypercall.ret" = __bindgen_anon_1.hypercall.ret,
            "hypercall.flags" = __bindgen_anon_1.hypercall.__bindgen_anon_1.flags,
            "memory_fault.flags" = __bindgen_anon_1.memory_fault.flags,
            "memory_fault.gpa" = __bindgen_anon_1.memory_fault.gpa,
            "memory_fault.size" = __bindgen_anon_1.memory_fault.size,
            "system_event.type" = __bindgen_anon_1.system_event.type_,
            "system_event.ndata" = __bindgen_anon_1.system_event.ndata,
            "system_event.data" = __bindgen_anon_1.system_event.__bindgen_anon_1.data,
        },
    );
}

/// What the constants of `vmm/src/kvm/run_page.rs` are in the header: reasons of exits, and offsets in
/// `struct kvm_run`. One that stands for several fields is where all of them are.
const RUN_PAGE: [(&str, &[&str]); 21] = [
    ("INTERNAL_ERROR", &["KVM_EXIT_INTERNAL_ERROR"]),
    ("SYSTEM_EVENT", &["KVM_EXIT_SYSTEM_EVENT"]),
    ("MEMORY_FAULT", &["KVM_EXIT_MEMORY_FAULT"]),
    ("TDX", &["KVM_EXIT_TDX"]),
    ("SNP_REQ_CERTS", &["KVM_EXIT_SNP_REQ_CERTS"]),
    ("UNION", &["hw"]),
    ("SUBERROR", &["internal.suberror"]),
    ("EVENT_TYPE", &["system_event.type"]),
    ("EVENT_NDATA", &["system_event.ndata"]),
    ("EVENT_DATA", &["system_event.data"]),
    ("FAULT_FLAGS", &["memory_fault.flags"]),
    ("FAULT_GPA", &["memory_fault.gpa"]),
    ("FAULT_SIZE", &["memory_fault.size"]),
    ("TDX_NR", &["tdx.nr"]),
    (
        "TDX_RET",
        &["tdx.unknown.ret", "tdx.get_quote.ret", "tdx.get_tdvmcall_info.ret", "tdx.setup_event_notify.ret"],
    ),
    ("TDX_ARGUMENT", &["tdx.get_quote.gpa", "tdx.get_tdvmcall_info.leaf", "tdx.setup_event_notify.vector"]),
    ("TDX_QUOTE_SIZE", &["tdx.get_quote.size"]),
    ("TDX_R11", &["tdx.get_tdvmcall_info.r11"]),
    ("CERTS_GPA", &["snp_req_certs.gpa"]),
    ("CERTS_NPAGES", &["snp_req_certs.npages"]),
    ("CERTS_RET", &["snp_req_certs.ret"]),
];

#[test]
fn exits_that_we_read_ourselves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmm/src/kvm/run_page.rs");
    let text = fs::read_to_string(path).unwrap();
    let mut claims: Vec<_> = constants(&text)
        .into_iter()
        .flat_map(|(name, value)| {
            let theirs = RUN_PAGE.iter().find(|(known, _)| *known == name);
            let (_, theirs) = theirs.unwrap_or_else(|| panic!("{name} is new: say what it is in RUN_PAGE"));
            theirs.iter().map(move |theirs| {
                let c = match theirs.starts_with("KVM_") {
                    true => (*theirs).to_owned(),
                    false => format!("offsetof(struct kvm_run, {theirs})"),
                };
                Claim::new(format!("{name} of run_page.rs ({theirs})"), c, value)
            })
        })
        .collect();
    assert!(claims.len() >= RUN_PAGE.len(), "constants of run_page.rs are not found any more");
    for (place, register) in [(8, "r12"), (16, "r13"), (24, "r14")] {
        let registers = "struct kvm_run, tdx.get_tdvmcall_info";
        let c = format!("offsetof({registers}.{register}) - offsetof({registers}.r11)");
        claims.push(Claim::new(format!("{register} behind TDX_R11 of run_page.rs"), c, place));
    }
    check("run-page", &claims);
}
