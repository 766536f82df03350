//! The C program: what the kernel's headers say.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use cloister_rig::Headers;

use super::claim::Claim;

/// The headers that declare what claims are about.
const INCLUDES: [&str; 8] = [
    "stddef.h",
    "stdio.h",
    "linux/kvm.h",
    "linux/kvm_para.h",
    "linux/psp-sev.h",
    "linux/falloc.h",
    "asm/kvm.h",
    "asm/kvm_para.h",
];

/// Panics with every claim that does not hold.
pub(super) fn check(name: &str, claims: &[Claim]) {
    let headers = headers();
    let theirs = values(name, headers, claims);
    let wrong = differences(claims, &theirs, headers.version());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} sizes, offsets and numbers agree with linux-libc-dev {}", claims.len(), headers.version());
}

/// The headers, fetched by the first test that wants them.
fn headers() -> &'static Headers {
    static HEADERS: OnceLock<Headers> = OnceLock::new();
    HEADERS
        .get_or_init(|| Headers::newest().unwrap_or_else(|why| panic!("no headers to compare with: {why}")))
}

fn differences(claims: &[Claim], theirs: &[u64], version: &str) -> Vec<String> {
    let both = claims.iter().zip(theirs);
    both.filter(|(claim, theirs)| claim.ours != **theirs)
        .map(|(claim, theirs)| {
            let Claim { what, ours, .. } = claim;
            format!("{what}: {ours} ({ours:#x}) here, {theirs} ({theirs:#x}) in linux-libc-dev {version}")
        })
        .collect()
}

/// What the headers say to each claim's expression.
fn values(name: &str, headers: &Headers, claims: &[Claim]) -> Vec<u64> {
    let mut source: String = INCLUDES.iter().fold(String::new(), |mut source, header| {
        let _ = writeln!(source, "#include <{header}>");
        source
    });
    source.push_str("int main(void) {\n");
    for claim in claims {
        let _ = writeln!(source, "printf(\"%llu\\n\", (unsigned long long)({}));", claim.c);
    }
    source.push_str("return 0;\n}\n");

    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi");
    fs::create_dir_all(&dir).unwrap();
    let (c, program) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&c, source).unwrap();
    let mut cc = Command::new("cc");
    for dir in headers.include_dirs() {
        cc.arg("-I").arg(dir);
    }
    run(cc.args(["-std=gnu11", "-o"]).arg(&program).arg(&c));
    let values: Vec<_> = run(&mut Command::new(&program)).lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(values.len(), claims.len());
    values
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The comparison itself: claims that are wrong are named, with both values.
#[test]
fn a_difference_names_field_ours_and_theirs() {
    let field = "struct kvm_sev_snp_launch_finish, field host_data: offset";
    let claims = [
        Claim::new(field, "offsetof(struct kvm_sev_snp_launch_finish, host_data)", 20),
        Claim::new("right", "sizeof(struct kvm_tdx_cmd)", 24),
        Claim::number("KVM_CAP_VM_TYPES", 234u64),
    ];
    let wrong = differences(&claims, &values("wrong", headers(), &claims), "V");
    assert_eq!(
        wrong,
        [
            format!("{field}: 20 (0x14) here, 19 (0x13) in linux-libc-dev V"),
            "KVM_CAP_VM_TYPES: 234 (0xea) here, 235 (0xeb) in linux-libc-dev V".to_owned(),
        ]
    );
}
