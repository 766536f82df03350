//! What the command says of recorded hosts, and its exit status.

use std::path::PathBuf;

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: DoctorArgs,
}

fn tree(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../coco/src/doctor/testdata").join(name)
}

/// The exit status and output for a recorded host.
fn doctor(name: &str, flags: &[&str]) -> (u8, String) {
    let root = tree(name);
    let named = ["doctor", "--root", root.to_str().unwrap()];
    let args = named.iter().chain(flags);
    let mut out = Vec::new();
    let status = examine(Command::parse_from(args).args, &mut out).unwrap();
    (status, String::from_utf8(out).unwrap())
}

#[test]
fn the_exit_status_answers_what_was_required() {
    for (name, flags, wanted) in [
        ("genoa-snp", &["--require", "snp"][..], 0),
        ("genoa-snp", &["--require", "snp,kvm"], 0),
        ("genoa-snp", &["--require", "snp", "--require", "tdx"], 8),
        ("genoa-snp", &["--require", "protected"], 8),
        ("genoa-snp", &[], 0),
        ("emerald-tdx", &["--require", "tdx", "--json"], 0),
        ("emerald-tdx-param-off", &["--require", "tdx", "--json"], 8),
        ("emerald-tdx-param-off", &["--require", "sim,off"], 0),
        ("nested-protected", &["--require", "protected"], 0),
        ("no-kvm", &[], 8),
        ("kvm-denied", &["--quiet"], 8),
    ] {
        assert_eq!(doctor(name, flags).0, wanted, "{name} {flags:?}");
    }
}

#[test]
fn the_text_ends_with_what_can_run_and_what_to_mend_first() {
    let (_, text) = doctor("genoa-iommu-pt", &["--require", "snp"]);
    assert!(text.contains("\nthis host can run: sim, off\n"), "{text}");
    assert!(text.contains("cannot run snp: "), "{text}");
    assert!(text.contains("first: take iommu=pt off the kernel's command line, and reboot\n"), "{text}");
    assert!(text.ends_with("required: snp: MISSING\n"), "{text}");
}

#[test]
fn quiet_leaves_out_what_is_well() {
    let (_, all) = doctor("genoa-snp", &[]);
    let (_, quiet) = doctor("genoa-snp", &["-q"]);
    assert!(
        all.lines().filter(|line| line.starts_with("  ok ")).all(|line| line.contains("; expected: ")),
        "{all}"
    );
    assert!(all.contains("  ok      "), "{all}");
    assert!(!quiet.contains("  ok      ") && quiet.contains("  missing "), "{quiet}");
}

/// The names in the document are a promise: docs/doctor.md has them.
#[test]
fn the_document_has_the_form_that_is_documented() {
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let (_, text) = doctor("milan-bios-off", &["--json", "--require", "snp"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        names(&document),
        ["findings", "format", "machine", "platforms", "required", "satisfied", "summary"]
    );
    assert_eq!(document["format"], 1);
    assert_eq!(document["required"], serde_json::json!(["snp"]));
    assert_eq!(document["satisfied"], false);
    assert_eq!(names(&document["machine"]), ["bios", "cpu", "kernel", "origin", "virtual_machine"]);
    assert_eq!(names(&document["summary"]), ["missing", "note", "ok", "unknown"]);
    for platform in document["platforms"].as_array().unwrap() {
        assert_eq!(names(platform), ["because", "platform", "verdict"]);
    }
    let finding = &document["findings"][1];
    assert_eq!(
        names(finding),
        ["area", "expected", "id", "level", "observed", "platforms", "remedy", "role", "source", "what"]
    );
    let rmp = document["findings"].as_array().unwrap().iter().find(|f| f["id"] == "bios.rmp").unwrap();
    assert_eq!(
        (&rmp["level"], &rmp["role"], &rmp["area"]),
        (&"missing".into(), &"explains".into(), &"bios".into())
    );
    assert_eq!(rmp["platforms"], serde_json::json!(["snp"]));
    assert_eq!(document["platforms"][0]["verdict"], "cannot");
    assert_eq!(document["platforms"][0]["because"][0], "bios.sev-es-asids");
}

#[test]
fn what_is_no_recording_is_refused_in_three_lines() {
    let args = Command::parse_from(["doctor", "--root", "/nonexistent"]).args;
    let refusal = examine(args, &mut Vec::new()).unwrap_err();
    assert_eq!(refusal.to_string().lines().count(), 3, "{refusal}");
}

#[test]
fn a_platform_that_the_host_lacks_is_refused_with_the_first_cause() {
    let report = Report::of(&Host::recorded(&tree("genoa-iommu-pt")).unwrap());
    let first = report.suspects(PlatformKind::Snp)[0];
    let text = refusal(PlatformKind::Snp, Some(first), "no such VMs", "use --coco sim").to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("iommu=pt (/proc/cmdline)") && text.contains("reboot; `cloister doctor"), "{text}");
    let text = refusal(PlatformKind::Snp, None, "no such VMs", "use --coco sim").to_string();
    assert!(text.ends_with("do:  use --coco sim"), "{text}");
}

#[test]
fn a_failed_launch_shows_what_is_missing() {
    let report = Report::of(&Host::recorded(&tree("genoa-iommu-pt")).unwrap());
    let found: Vec<_> = report.suspects(PlatformKind::Snp).into_iter().cloned().collect();
    let text = print::suspects(&found);
    assert!(text.starts_with("\nthe doctor finds:\n  missing an IOMMU"), "{text}");
    assert!(!text.contains("  ok ") && !text.ends_with('\n'), "{text}");
    assert_eq!(print::suspects(&[]), "");
}
