use super::*;
use crate::cli::run::test_files::Files;
use PlatformKind::*;

fn guest(files: &Files, firmware: Option<&str>, kernel: bool) -> Guest {
    Guest::new(&files.spec(firmware, kernel, "auto")).unwrap()
}

#[test]
fn what_can_be_launched_where() {
    let files = Files::new();
    for (firmware, kernel, able) in [
        (None, true, &[Sim, Off][..]),
        (Some("amdsev"), false, &[Snp, Sim, Off]),
        (Some("amdsev"), true, &[Snp, Sim, Off]),
        (Some("x64"), false, &[Snp, Sim, Off]),
        (Some("x64"), true, &[Off]),
        (Some("tdvf"), false, &[Tdx, Off]),
        (Some("tdvf"), true, &[Tdx, Off]),
        (Some("bare"), false, &[Off]),
    ] {
        let guest = guest(&files, firmware, kernel);
        for kind in [Snp, Tdx, Protected, Sim, Off] {
            let found = can_launch(&guest, kind);
            assert_eq!(found.is_ok(), able.contains(&kind), "{firmware:?} {kernel} {kind}: {found:?}");
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let files = Files::new();
    for (firmware, kernel, kind, missing) in [
        (None, true, Snp, "PVALIDATE"),
        (None, true, Tdx, "--firmware OVMF.inteltdx.fd"),
        (None, true, Protected, "every conversion"),
        (Some("bare"), false, Snp, "no SEV metadata"),
        (Some("bare"), true, Sim, "no SEV metadata"),
        (Some("bare"), false, Tdx, "no TDVF metadata"),
        (Some("x64"), true, Snp, "hashes of the kernel"),
        (Some("amdsev"), true, Protected, "every conversion"),
    ] {
        let refusal = can_launch(&guest(&files, firmware, kernel), kind).unwrap_err().to_string();
        assert_eq!(refusal.lines().count(), 3, "{refusal}");
        assert!(refusal.contains(missing) && refusal.contains(&kind.to_string()), "{refusal}");
    }
}

#[test]
fn firmware_that_cannot_be_read_is_named() {
    let files = Files::new();
    let refusal = can_launch(&guest(&files, Some("none"), false), Snp).unwrap_err().to_string();
    assert!(refusal.contains("none") && refusal.lines().count() == 3, "{refusal}");
}
