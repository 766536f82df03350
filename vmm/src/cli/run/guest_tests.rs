use super::*;
use crate::config::CpuModel;

fn guest(f: impl FnOnce(&mut VmSpec)) -> Result<Guest, Refusal> {
    let mut spec = VmSpec { kernel: Some("k".into()), ..VmSpec::default() };
    f(&mut spec);
    Guest::new(&spec)
}

fn refusal(f: impl FnOnce(&mut VmSpec)) -> String {
    let text = guest(f).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    text
}

fn coco(text: &str) -> impl Fn(&mut VmSpec) {
    move |s| s.coco = Some(text.parse().unwrap())
}

#[test]
fn firmware_needs_no_kernel_but_what_comes_with_a_kernel_does() {
    let firmware = |s: &mut VmSpec| (s.kernel, s.firmware) = (None, Some("f".into()));
    assert!(guest(firmware).is_ok());
    assert!(guest(|s| s.firmware = Some("f".into())).is_ok());
    let initrd = |s: &mut VmSpec| (firmware(s), s.initrd = Some("i".into())).1;
    assert!(refusal(initrd).contains("--initrd without --kernel"));
    let cmdline = |s: &mut VmSpec| (firmware(s), s.cmdline = Some(String::new())).1;
    assert!(refusal(cmdline).contains("--cmdline without --kernel"));
    assert!(refusal(|s| s.kernel = None).contains("no kernel"));
}

#[test]
fn sizes() {
    assert!(refusal(|s| s.cpus = Some(0)).contains("between 1 and 254"));
    assert!(refusal(|s| s.cpus = Some(255)).contains("between 1 and 254"));
    assert!(refusal(|s| s.memory = Some(Size(0))).contains("without memory"));
    for bad in [4096, (512 << 20) + 1, 64 << 40, u64::MAX] {
        assert!(refusal(|s| s.memory = Some(Size(bad))).contains("whole pages"), "{bad}");
    }
    assert_eq!(guest(|s| s.memory = Some(Size(MAX_MEMORY))).unwrap().memory, MAX_MEMORY);
}

#[test]
fn a_confidential_guest_has_no_console_unless_asked_for() {
    let silent = guest(|_| ()).unwrap();
    for kind in [PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected, PlatformKind::Sim] {
        assert_eq!(silent.console(kind), ConsoleSpec::Off);
    }
    assert_eq!(silent.console(PlatformKind::Off), ConsoleSpec::Stdio);
    let asked = guest(|s| s.console = Some(ConsoleSpec::Stdio)).unwrap();
    assert_eq!(asked.console(PlatformKind::Snp), ConsoleSpec::Stdio);
}

#[test]
fn a_broker_binds_the_launch_by_itself_and_judges_no_td() {
    let attested = |text: &'static str| move |s: &mut VmSpec| (coco(text)(s), s.attest = Some("p".into())).1;
    assert!(guest(attested("snp")).unwrap().attested);
    let zeros = format!("snp,host-data={}", "0".repeat(64)).leak();
    assert!(refusal(attested(zeros)).contains("--attest with host-data="), "also if it is all zeros");
    assert!(refusal(attested("tdx")).contains("--attest with a TD"));
}

#[test]
fn what_may_be_debugged_is_not_what_was_required() {
    let required = |text: &'static str| move |s: &mut VmSpec| (coco(text)(s), s.require_coco = Some(true)).1;
    assert!(guest(required("snp")).is_ok() && guest(coco("snp,debug=on")).is_ok());
    assert!(refusal(required("snp,debug=on")).contains("bit 19"));
    assert!(refusal(required("snp,policy=0xb0000")).contains("bit 19"));
    assert!(guest(required("snp,policy=0xb0000,debug=off")).is_ok());
}

#[test]
fn one_file_serves_every_platform() {
    for platform in ["snp", "tdx", "sim", "off", "auto"] {
        let named = guest(|s| (coco(platform)(s), s.cpu_model = Some(CpuModel(7))).1).unwrap();
        assert_eq!(named.signature, Some(7), "{platform}");
    }
}
