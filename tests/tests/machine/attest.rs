//! The agent's dance in a Linux guest: challenge, evidence, verdict, secret.

use std::fmt::Write;
use std::path::PathBuf;

use cloister_tests::{Guest, Run};

const SCRIPT: &str = "\
echo secret file before: $(ls /secret 2>/dev/null)
cloister-agent --allow-sim --secret disk-key --out /secret
echo agent ended with $?
sha256sum /secret 2>/dev/null
";
const CMDLINE: &str = "console=ttyS0 quiet panic=-1";
/// printf 'open sesame' | sha256sum
const SECRET: &str = "open sesame";
const SECRET_SHA256: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

fn args(guest: &Guest, coco: &str, cmdline: &str) -> Vec<String> {
    let mut args = vec!["run".to_owned()];
    args.extend(guest.flags());
    args.extend(["--memory", "512M", "--cpus", "2", "--console", "stdio"].map(String::from));
    args.extend(["--coco", coco, "--cmdline", cmdline, "--vsock", &guest.vsock()].map(String::from));
    args
}

/// The policy that `--print-policy` gives for the guest, with a secret in it.
fn policy(guest: &Guest) -> PathBuf {
    let mut print = args(guest, "sim", CMDLINE);
    print.push("--print-policy".into());
    let run = Run::of(print);
    let mut text = run.code(0).stdout.clone();
    let _ = write!(text, "\n[secrets.disk-key]\ntext = \"{SECRET}\"\n");
    let path = guest.path("policy.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn attested(guest: &Guest, coco: &str, cmdline: &str) -> Run {
    let policy = policy(guest);
    let mut args = args(guest, coco, cmdline);
    args.extend(["--attest".into(), policy.to_str().unwrap().to_owned()]);
    Run::of(args)
}

#[test]
fn the_guest_gets_its_secret() {
    let guest = Guest::running(SCRIPT);
    attested(&guest, "sim", CMDLINE)
        .code(0)
        .said(SECRET_SHA256)
        .said("agent ended with 0")
        .told("SIMULATED")
        .told("confirmed");
}

#[test]
fn another_command_line_is_another_guest() {
    let guest = Guest::running(SCRIPT);
    let run = attested(&guest, "sim", "console=ttyS0 quiet panic=-1 init=/bin/sh.not");
    run.code(6).said("agent ended with 1").told("measurement");
    run.expect(!run.stdout.contains(SECRET_SHA256), "the secret got out");
}

#[test]
fn a_plain_guest_has_no_evidence() {
    let guest = Guest::running(SCRIPT);
    let run = attested(&guest, "off", CMDLINE);
    run.code(6).said("agent ended with 1").told("evidence");
    run.expect(!run.stdout.contains(SECRET_SHA256), "the secret got out");
}

/// A policy that does not say so does not take the simulator's word.
#[test]
fn simulated_evidence_is_refused_by_default() {
    let guest = Guest::running(SCRIPT);
    let path = policy(&guest);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("allow-sim = true"), "{text}");
    std::fs::write(&path, text.replace("allow-sim = true", "allow-sim = false")).unwrap();
    let mut args = args(&guest, "sim", CMDLINE);
    args.extend(["--attest".into(), path.to_str().unwrap().to_owned()]);
    let run = Run::of(args);
    run.code(6).told("simulat").said("agent ended with 1");
}
