//! Numbers that are written down where they are used: every constant in our sources that has a name of the
//! kernel's is compared with it.

use std::fs;
use std::path::{Path, PathBuf};

use super::claim::Claim;
use super::headers::check;

/// Sources that speak to the kernel.
const SOURCES: [&str; 3] = ["coco/src", "vmm/src", "devices/src"];
/// How constants are named that the headers have.
const PREFIXES: [&str; 4] = ["KVM_", "GUEST_MEMFD_", "SEV_", "SNP_PLATFORM_"];
/// Names of ours that only look like the kernel's, and constants of the kernel's own that no header has.
const OURS: [&str; 1] = ["KVM_MAX_CPUID_ENTRIES"];

#[test]
fn constants_with_a_name_of_the_kernel_s() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut claims = Vec::new();
    for path in SOURCES.iter().flat_map(|dir| rust_files(&root.join(dir))) {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for (name, value) in named_as_the_kernel_s(&text) {
            claims.push(Claim::new(format!("{name} in {place}"), name, value));
        }
    }
    assert!(claims.len() > 3, "the search finds nothing any more");
    check("sources", &claims);
}

/// Numbers that have a name of ours: file, name, and what they are in the header.
const OTHERWISE_NAMED: [(&str, &str, &str); 9] = [
    ("coco/src/launch/snp_host.rs", "GROUP", "KVM_X86_GRP_SEV"),
    ("coco/src/launch/snp_host.rs", "VMSA_FEATURES", "KVM_X86_SEV_VMSA_FEATURES"),
    ("coco/src/launch/snp_host.rs", "POLICY_BITS", "KVM_X86_SNP_POLICY_BITS"),
    ("coco/src/launch/snp_host.rs", "REQ_CERTS", "KVM_X86_SEV_SNP_REQ_CERTS"),
    ("coco/src/launch/vm.rs", "MAP_GPA_RANGE", "1 << KVM_HC_MAP_GPA_RANGE"),
    (
        "coco/src/launch/vm.rs",
        "X2APIC_API",
        "KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK",
    ),
    ("coco/src/plain/mod.rs", "MAPPED_AND_SHARED", "GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED"),
    ("coco/src/doctor/check/kvm.rs", "MAP_GPA_RANGE", "KVM_HC_MAP_GPA_RANGE"),
    ("coco/src/doctor/live/kvm.rs", "GROUP_SEV", "KVM_X86_GRP_SEV"),
];

#[test]
fn constants_with_a_name_of_our_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let claims: Vec<_> = OTHERWISE_NAMED
        .iter()
        .map(|(file, name, theirs)| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
            let ours = constants(&text).into_iter().find(|(found, _)| found == name);
            let (_, ours) = ours.unwrap_or_else(|| panic!("{file} has no {name} any more: change the table"));
            Claim::new(format!("{name} in {file}"), *theirs, ours)
        })
        .collect();
    check("otherwise-named", &claims);
}

/// The tables of the doctor: capabilities and types of VM, under names of its own.
#[test]
fn the_doctor_asks_about_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../coco/src/doctor/answer.rs");
    let text = fs::read_to_string(path).unwrap();
    let capabilities = table(&text, "CAPABILITIES").into_iter().map(|(name, value)| {
        Claim::new(format!("the doctor's {name}"), format!("KVM_CAP_{}", name.to_uppercase()), value)
    });
    let types = table(&text, "VM_TYPES").into_iter().map(|(name, value)| {
        let theirs = if name == "protected" { "SW_PROTECTED".to_owned() } else { name.to_uppercase() };
        Claim::new(format!("the doctor's {name}"), format!("KVM_X86_{theirs}_VM"), value)
    });
    let claims: Vec<_> = capabilities.chain(types).collect();
    assert!(claims.len() > 10, "the tables are not found any more");
    check("doctor", &claims);
}

/// The pairs of `const NAME: … = [("name", number), …];`.
fn table<'a>(text: &'a str, name: &str) -> Vec<(&'a str, u64)> {
    let start = text.find(&format!("const {name}:")).unwrap_or_else(|| panic!("no table {name}"));
    let table = text[start..].split_once("= [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    let pairs = table.split("(\"").skip(1).map(|pair| {
        let (name, rest) = pair.split_once("\",").unwrap();
        (name, number(rest.split_once(')').unwrap().0).unwrap())
    });
    pairs.collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
    files
}

/// The constants that have a name which the kernel may have.
fn named_as_the_kernel_s(text: &str) -> Vec<(&str, u64)> {
    let of_the_kernel =
        |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !OURS.contains(&name);
    constants(text).into_iter().filter(|(name, _)| of_the_kernel(name)).collect()
}

/// `const NAME: T = VALUE;` wherever the value is what [`number`] knows.
pub(super) fn constants(text: &str) -> Vec<(&str, u64)> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("pub").map_or(line, |rest| {
                let rest = rest.trim_start();
                if rest.starts_with('(') { rest.split_once(')').map_or(rest, |(_, rest)| rest) } else { rest }
            });
            let (name, rest) = line.trim_start().strip_prefix("const ")?.split_once(':')?;
            let value = rest.split_once('=')?.1.split_once(';')?.0;
            Some((name, number(value)?))
        })
        .collect()
}

/// The value of a number in hex or decimal, shifted or not, or of several with `|` between them.
fn number(text: &str) -> Option<u64> {
    if let Some((first, rest)) = text.split_once('|') {
        return Some(number(first)? | number(rest)?);
    }
    if let Some((mantissa, bits)) = text.split_once("<<") {
        return number(mantissa)?.checked_shl(u32::try_from(number(bits)?).ok()?);
    }
    let text = text.trim().replace('_', "");
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[test]
fn constants_are_found() {
    let text = "
        const KVM_A: u32 = 0x1_0a;
        pub(crate) const KVM_B: u64 = 1 << 3 | 1; // const KVM_C: u32 = 1;
        /// const KVM_D: u32 = 1;
        pub const KVM_E: u32 = KVM_A + 1;
        const OTHER: u32 = 1;
        pub const GUEST_MEMFD_F: u64 = 7;
    ";
    assert_eq!(named_as_the_kernel_s(text), [("KVM_A", 0x10a), ("KVM_B", 9), ("GUEST_MEMFD_F", 7)]);
}
