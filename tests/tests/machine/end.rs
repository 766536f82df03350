//! Each way that a guest can end has an exit status of its own.

use cloister_tests::{Guest, Run, Started};

fn args(guest: &Guest, more: &[&str]) -> Vec<String> {
    let mut args = vec!["run".to_owned()];
    args.extend(guest.flags());
    args.extend(["--coco", "off", "--memory", "256M"].map(String::from));
    args.extend(["--cmdline", "console=ttyS0 quiet panic=-1"].map(String::from));
    args.extend(more.iter().map(|s| (*s).to_owned()));
    args
}

#[test]
fn power_off_is_success() {
    let guest = Guest::running("echo done");
    Run::of(args(&guest, &[])).code(0).said("done").told("switched itself off");
}

#[test]
fn a_kernel_panic_is_three() {
    let guest = Guest::running("echo about to panic; echo c > /proc/sysrq-trigger");
    Run::of(args(&guest, &[])).code(3).said("about to panic").told("kernel panicked");
}

#[test]
fn a_reset_builds_the_guest_anew() {
    let guest = Guest::running("echo one more life; reboot -f");
    let mut run = Started::new(args(&guest, &[]));
    run.wait_for("one more life");
    run.wait_for("one more life");
    run.signal("TERM");
    run.end().code(143).told("built anew");
}

#[test]
fn a_reset_is_five_where_it_ends_the_guest() {
    let guest = Guest::running("reboot -f");
    Run::of(args(&guest, &["--no-reboot"])).code(5).told("asked for a reset");
}

#[test]
fn ctrl_c_ends_cleanly() {
    let guest = Guest::running("echo waiting; sleep 1000");
    let mut run = Started::new(args(&guest, &["--vsock", &guest.vsock()]));
    run.wait_for("waiting");
    assert!(guest.path("vm.sock").exists());
    run.signal("INT");
    run.end().code(130).told("ended by signal 2");
    assert!(!guest.path("vm.sock").exists(), "the socket is left behind");
}
