//! Thousands of conversions of real private memory, on a whole machine with devices at work.
//!
//! The guest (tests/payloads/demo/src/conversion) looks at what is in its memory after each of them; here
//! it is looked at from outside what the host gives for it, and what the host says of the devices.

use std::fs;

use cloister_tests::{HeldBefore, Run, Started};

/// What `cloister demo` gives its guest, and what that may take of the host.
const GUEST: u64 = 64 << 20;
const MOST: u64 = GUEST + GUEST / 20;
/// The guest puts something into nearly every page before it begins; what four vCPUs convert at a time, 2 MiB
/// each, is on neither side for a moment, and the host counts to a few MiB only.
const LEAST: u64 = GUEST - (16 << 20);

const CONVERSIONS: u64 = 10_000;

/// The number before `what` in what the run said.
fn count(run: &Run, what: &str) -> u64 {
    let before = run.stdout.lines().find_map(|line| Some(line.split_once(what)?.0));
    let number = before.and_then(|text| text.split_whitespace().next_back()?.parse().ok());
    run.expect(number.is_some(), &format!("stdout lacks `N {what}`"));
    number.unwrap_or_default()
}

/// A disk of which every word says where it lies, as the guest expects it (`pattern` and `ON_DISK` there).
fn disk() -> Vec<u8> {
    let word = |at: u64| (at ^ 0xd15c_u64.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1 << 63;
    (0..4 << 20).step_by(8).flat_map(|at| word(at).to_le_bytes()).collect()
}

fn converts(cpus: u32) {
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("disk"), disk());
    fs::write(&path, &image).unwrap();
    let disk = format!("path={},readonly=on", path.display());
    let payload = std::env::var("CLOISTER_CONVERSION_PAYLOAD").expect("it names the conversion guest");
    let cpus = cpus.to_string();
    let before = HeldBefore::now();
    let mut started = Started::new([
        "demo",
        "--coco",
        "protected",
        "--cpus",
        &cpus,
        "--payload",
        &payload,
        "--disk",
        &disk,
    ]);
    let mut line = started.wait_for("processors convert");
    let held = before.guest_of(started.id());
    let mut seen = Vec::new();
    while !line.contains("ended") {
        line = started.wait_for("");
        if line.contains("conversions so far") {
            seen.push(held.bytes());
        }
    }
    let run = started.end();
    run.said("guest_memfd")
        .said(&format!("conversions by {cpus} processors"))
        .said("ended itself: done")
        // It is not the demo's guest, and gets no secret.
        .told("ended without its secret");
    run.expect(count(&run, "conversions by") >= CONVERSIONS, "the guest did too little");
    let (most, least) = (seen.iter().max(), seen.iter().min());
    run.expect(seen.len() >= 8, "the guest's memory was looked at too rarely");
    run.expect(
        most.is_some_and(|most| *most <= MOST) && least.is_some_and(|least| *least >= LEAST),
        &format!("the guest of {GUEST} bytes held {least:?} to {most:?}"),
    );
    // Each descriptor that pointed to a private page was refused to the device, and nothing else was.
    let pointed = count(&run, "descriptors that pointed to private pages");
    let empty = count(&run, "came back empty");
    run.expect(pointed >= 20 && count(&run, "answers of the device") >= 100, "the device had little to do");
    let (private, snatched) =
        (count(&run, "requests to the disk with private"), count(&run, "of them refused"));
    run.expect(count(&run, "blocks of the disk") >= 100 && private >= 20, "the disk had little to do");
    run.expect(count(&run, "writes to the disk, all refused") >= 10, "the disk was hardly written to");
    run.expect(fs::read(&path).unwrap() == image, "the disk was written");
    let refused = count(&run, "accesses of devices refused");
    let counted = pointed + empty + private + snatched;
    run.expect(
        refused == counted,
        &format!("{counted} refusals as the guest counts them, {refused} by the host"),
    );
}

#[test]
fn one_vcpu_converts_and_memory_is_clean_and_single() {
    converts(1);
}

#[test]
fn four_vcpus_convert_at_once_and_memory_is_clean_and_single() {
    converts(4);
}
