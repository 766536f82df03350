//! `struct kvm_run`: the exits that confidential guests have.

use std::mem::offset_of;

use kvm_bindings::kvm_run;

use super::claim::Claim;
use super::headers::check;

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
