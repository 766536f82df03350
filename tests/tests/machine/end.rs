//! Each way that a guest can end has an exit status of its own.

use std::fs::File;
use std::os::unix::fs::FileExt;

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

/// Lives as long as its disk says so, and rests in the last one.
const LIVES: &str = "\
if [ \"$(head -c 4 /dev/vda)\" = live ]; then echo one more life; reboot -f; fi
echo resting
sleep 1000
";

/// Descriptors and threads of the VMM.
fn held(run: &Started) -> (usize, usize) {
    let entries = |what| std::fs::read_dir(format!("/proc/{}/{what}", run.id())).unwrap().count();
    (entries("fd"), entries("task"))
}

/// Each life has a VM, memory, devices and threads of its own, and takes them with it: a guest that was reset
/// again and again holds what one holds that never was.
#[test]
fn nothing_is_left_of_a_confidential_guest_that_was_reset() {
    let guest = Guest::running(LIVES);
    let path = guest.path("disk");
    let disk = format!("path={},readonly=on", path.display());
    let mut args = args(&guest, &["--cpus", "2", "--console", "stdio", "--disk", &disk]);
    args.extend(["--vsock".into(), guest.vsock()]);
    args.iter_mut().filter(|arg| *arg == "off").for_each(|arg| *arg = "sim".to_owned());
    let disk_says = |what: &[u8; 4]| {
        let file = File::options().write(true).create(true).truncate(false).open(&path).unwrap();
        file.set_len(4096).unwrap();
        file.write_all_at(what, 0).unwrap();
    };
    let end = |run: Started| {
        run.signal("TERM");
        run.end()
    };

    disk_says(b"rest");
    let mut run = Started::new(&args);
    run.wait_for("resting");
    let once = held(&run);
    end(run).code(143);

    disk_says(b"live");
    let mut run = Started::new(&args);
    (0..2).for_each(|_| _ = run.wait_for("one more life"));
    disk_says(b"rest");
    run.wait_for("resting");
    let after_resets = held(&run);
    end(run).code(143).told("built anew");
    assert_eq!(after_resets, once, "descriptors and threads");
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
