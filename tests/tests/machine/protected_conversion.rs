//! Thousands of conversions of real private memory, on a whole machine with a device at work.
//!
//! The guest (tests/payloads/demo/src/conversion) looks at what is in its memory after each of them; here
//! it is looked at from outside what the host gives for it, and what the host says of the devices.

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

fn converts(cpus: u32) {
    let payload = std::env::var("CLOISTER_CONVERSION_PAYLOAD").expect("it names the conversion guest");
    let cpus = cpus.to_string();
    let before = HeldBefore::now();
    let mut started = Started::new(["demo", "--coco", "protected", "--cpus", &cpus, "--payload", &payload]);
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
    // Each descriptor that pointed to a private page was refused, and nothing else was.
    let pointed = count(&run, "descriptors that pointed to private pages");
    let empty = count(&run, "came back empty");
    run.expect(pointed >= 20 && count(&run, "answers of the device") >= 100, "the device had little to do");
    let refused = count(&run, "accesses of devices refused");
    run.expect(refused == pointed + empty, "refusals as the guest counts them and as the host does");
}

#[test]
fn one_vcpu_converts_and_memory_is_clean_and_single() {
    converts(1);
}

#[test]
fn four_vcpus_convert_at_once_and_memory_is_clean_and_single() {
    converts(4);
}
