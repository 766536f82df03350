use super::*;
use crate::config::CocoPlatform;

#[test]
fn a_file_and_flags_have_one_schema() {
    let file: VmSpec = toml::from_str(
        "kernel = 'k'\nmemory = '1G'\ncpus = 2\ncoco = 'sim'\nno-reboot = true\n\
         vsock = { cid = 3, path = 's' }\nconsole = 'file=log'\nfirmware = 'f'\n\
         disk = [{ path = 'd', readonly = true }]\ndebug-console = 'file=log'",
    )
    .unwrap();
    let flags = VmSpec { cpus: Some(4), ..VmSpec::default() };
    let both = flags.over(file);
    assert_eq!((both.cpus, both.memory), (Some(4), Some(Size(1 << 30))));
    assert_eq!(both.coco, Some(CocoPlatform::Sim.into()));
    assert_eq!(both.disk, Some(vec!["path=d,readonly=on".parse().unwrap()]));
    assert_eq!(both.debug_console, Some(FileSpec("log".into())));
    assert_eq!(both.console, Some(ConsoleSpec::File("log".into())));
}

#[test]
fn unknown_keys_are_errors_with_their_place() {
    for bad in ["kernal = 'k'", "vsock = { cid = 3, path = 's', uid = 0 }", "memory = 5"] {
        assert!(toml::from_str::<VmSpec>(bad).is_err(), "{bad}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.toml");
    std::fs::write(&path, "cpus = 1\nkernal = 'k'\n").unwrap();
    let message = VmSpec::read(&path).unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("kernal"), "{message}");
}

#[test]
fn a_file_is_json_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.json");
    let text = r#"{
  "kernel": "k", "memory": "1G", "cpus": 2, "disk": [{ "path": "d", "readonly": true }],
  "coco": { "platform": "snp", "debug": true }, "stats": "json", "prefault": true,
  "cpu-model": "EPYC-Milan", "quote-service": "unix:/run/qgs", "certs": "c"
}"#;
    std::fs::write(&path, text).unwrap();
    let spec = VmSpec::read(&path).unwrap();
    assert_eq!((spec.cpus, spec.stats, spec.prefault), (Some(2), Some(StatsSpec::Json), Some(true)));
    assert_eq!(spec.coco, Some("snp,debug=on".parse().unwrap()));
    assert_eq!((spec.cpu_model, spec.certs), (Some(CpuModel(0xa0_0f11)), Some("c".into())));
    assert_eq!(spec.quote_service, Some("unix:/run/qgs".parse().unwrap()));

    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let message = VmSpec::read(&path).unwrap_err().to_string();
        assert_eq!(message.lines().count(), 3, "{message}");
        message
    };
    let unknown = refused("{\n  \"kernal\": \"k\"\n}");
    assert!(unknown.contains("line 2: unknown field `kernal`"), "{unknown}");
    assert!(!unknown.contains("column"), "{unknown}");
    assert!(refused("kernel = 'k'").contains("line 1"));
    assert!(refused(r#"{ "quote-service": "/run/qgs" }"#).contains("unix:PATH"));
    assert!(refused("{ \"coco\": { \"platform\": \"snp\", \"polcy\": 1 } }").contains("host-data"));
}

#[test]
fn a_flag_for_the_cpu_wins_over_the_file_s_other_way_to_say_it() {
    let file = || VmSpec { cpu_model: Some(CpuModel(1)), ..VmSpec::default() };
    let flags = VmSpec { cpu_sig: Some(CpuSig(2)), ..VmSpec::default() };
    let both = flags.over(file());
    assert_eq!((both.cpu_model, both.cpu_sig), (None, Some(CpuSig(2))));
    assert_eq!(VmSpec::default().over(file()).cpu_model, Some(CpuModel(1)));
    let number: VmSpec = toml::from_str("cpu-sig = 0xa00f11").unwrap();
    assert_eq!(number.cpu_sig, Some(CpuSig(0x00a0_0f11)));
    assert!(toml::from_str::<VmSpec>("cpu-sig = true").is_err());
    let both: VmSpec = toml::from_str("cpu-model = 'EPYC'\ncpu-sig = '0x1'").unwrap();
    assert_eq!(both.cpu_model, Some(CpuModel(0x80_0f12)));
}

#[test]
fn every_flag_has_a_key_and_every_key_a_flag() {
    use clap::Args;
    let command = VmSpec::augment_args(clap::Command::new("run"));
    let error = toml::from_str::<VmSpec>("no-such-key = 1").unwrap_err().to_string();
    let mut keys: Vec<_> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    let mut flags: Vec<_> = command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned).collect();
    keys.sort();
    flags.sort();
    assert_eq!(keys, flags);
}

#[test]
fn help_names_every_key_of_every_platform() {
    let help = coco_keys::help();
    for key in coco_keys::KEYS {
        assert!(help.contains(&format!("  {}=<", key.name)), "{}", key.name);
    }
}
