use super::*;
use crate::cli::run::test_files::Files;

/// The choice without a host.
fn chosen(files: &Files, firmware: Option<&str>, coco: &str) -> Result<PlatformKind, String> {
    let guest = Guest::new(&files.spec(firmware, firmware.is_none(), coco)).unwrap();
    choose_platform(&guest, None).map(|c| c.kind).map_err(|r| {
        assert_eq!(r.to_string().lines().count(), 3, "{r}");
        r.to_string()
    })
}

#[test]
fn a_platform_by_name_needs_no_host_to_be_planned_for() {
    let files = Files::new();
    assert_eq!(chosen(&files, Some("amdsev"), "snp"), Ok(PlatformKind::Snp));
    assert_eq!(chosen(&files, Some("tdvf"), "tdx"), Ok(PlatformKind::Tdx));
    assert_eq!(chosen(&files, None, "sim"), Ok(PlatformKind::Sim));
    assert_eq!(chosen(&files, Some("bare"), "off"), Ok(PlatformKind::Off));
}

#[test]
fn what_the_guest_lacks_is_said_first() {
    let files = Files::new();
    assert!(chosen(&files, None, "snp").unwrap_err().contains("PVALIDATE"));
    assert!(chosen(&files, Some("tdvf"), "snp").unwrap_err().contains("no SEV metadata"));
    assert!(chosen(&files, Some("bare"), "tdx").unwrap_err().contains("no TDVF metadata"));
    assert!(chosen(&files, None, "protected").unwrap_err().contains("every conversion"));
}

#[test]
fn auto_takes_what_guest_and_host_can_and_says_why_not_the_rest() {
    let files = Files::new();
    let choice = |firmware: Option<&str>, attest: bool, host: HostAbilities| {
        let mut spec = files.spec(firmware, firmware.is_none(), "auto");
        spec.attest = attest.then(|| "policy".into());
        let guest = Guest::new(&spec).unwrap();
        choose(Request::Auto, host, |kind| why_not(&guest, kind)).unwrap()
    };
    let kind = |firmware, attest, host| choice(firmware, attest, host).kind;
    let all = HostAbilities::ALL;
    assert_eq!(kind(Some("amdsev"), false, all), PlatformKind::Snp);
    assert_eq!(kind(Some("tdvf"), false, all), PlatformKind::Tdx);
    assert_eq!(kind(Some("tdvf"), true, all), PlatformKind::Off, "nobody judges quotes");
    assert_eq!(kind(Some("bare"), false, all), PlatformKind::Off);
    assert_eq!(kind(Some("amdsev"), false, HostAbilities::default()), PlatformKind::Off);

    let plain = choice(None, false, all);
    assert_eq!(plain.kind, PlatformKind::Off, "never the simulator");
    let why: Vec<_> = plain.passed_over.iter().map(|c| c.why_not.as_str()).collect();
    assert_eq!(why.len(), 4);
    for (why, text) in why.iter().zip(["PVALIDATE", "starts in its firmware", "conversion", "by name"]) {
        assert!(why.contains(text), "{why}");
    }
}

#[test]
fn confidential_hardware_can_be_required() {
    let files = Files::new();
    for (coco, able) in [("snp", true), ("sim", false), ("off", false)] {
        let mut spec = files.spec(Some("amdsev"), false, coco);
        spec.require_coco = Some(true);
        let found = choose_platform(&Guest::new(&spec).unwrap(), None);
        assert_eq!(found.is_ok(), able, "{coco}");
        if let Err(refusal) = found {
            assert!(refusal.to_string().contains("--require-coco"), "{refusal}");
        }
    }
}

#[test]
fn a_td_has_no_more_vcpus_than_the_host_has_processors() {
    assert_eq!((present_cpus("0-3,6\n"), present_cpus("0")), (Some(5), Some(1)));
    for bad in ["", "3-0", "x", "0-4294967295"] {
        assert_eq!(present_cpus(bad), None, "{bad}");
    }
    assert!(check_td_cpus(4, Some(4)).is_ok() && check_td_cpus(4, None).is_ok());
    let refusal = check_td_cpus(5, Some(4)).unwrap_err().to_string();
    assert!(refusal.contains("has 4 processors") && refusal.lines().count() == 3, "{refusal}");
}
