//! `cloister measure` for a whole guest says what `cloister run` with the same flags launches.

mod images;

use std::fs;
use std::process::{Command, Output};

use cloister_firmware::igvm::write::Writer;
use cloister_firmware::igvm::{PageDataType, PageFlags, PlatformType};
use images::{boot_header, tdvf};

/// A directory with a kernel, an initrd, firmware for SNP and for TDX, and a guest's configuration.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let suffix = include_str!("../../tests/vectors/measure/ovmf_AmdSev_suffix.hex");
        let amdsev = hex::decode(suffix.split_whitespace().collect::<String>()).unwrap();
        for (name, bytes) in
            [("kernel", kernel()), ("initrd", vec![7; 300_000]), ("amdsev", amdsev), ("tdvf", tdvf())]
        {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        Files(dir)
    }

    /// Runs a command line in which @ stands for the directory.
    fn run(&self, line: &str) -> Output {
        let line = line.replace('@', self.0.path().to_str().unwrap());
        Command::new(env!("CARGO_BIN_EXE_cloister")).args(line.split_whitespace()).output().unwrap()
    }

    /// What it prints when it succeeds.
    fn output(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.output(line)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text.replace('@', self.0.path().to_str().unwrap())).unwrap();
    }
}

/// A bzImage with a few pages of code, which is a program for EFI as well: a PE header, no sections, all of it
/// hashed.
fn kernel() -> Vec<u8> {
    let mut image = vec![0x90; 0x8000];
    image[..0x400].fill(0);
    for (at, bytes) in [
        (0, &b"MZ"[..]),
        (0x3c, &[0x40]),
        (0x40, b"PE\0\0"),
        (0x54, &[0xa0, 0]),
        (0x58, &0x20bu16.to_le_bytes()),
        (0x58 + 60, &0x200u32.to_le_bytes()),
        (0x58 + 108, &6u32.to_le_bytes()),
    ] {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    boot_header(&mut image);
    image
}

/// Guests, as both commands take them.
const GUESTS: [&str; 4] = [
    "--coco sim --kernel @/kernel --initrd @/initrd --cmdline quiet --cpus 3 --memory 256M",
    "--coco sim --kernel @/kernel --console stdio",
    "--coco snp,vmsa-features=0x21 --cpu-model EPYC-Genoa --firmware @/amdsev --kernel @/kernel --cpus 2",
    "--coco tdx --firmware @/tdvf --cpus 2 --memory 256M",
];

#[test]
fn the_measured_guest_is_the_one_that_is_launched() {
    let files = Files::new();
    for guest in GUESTS {
        let measured = files.output(&format!("measure {guest}"));
        let digest = measured.trim_end();
        assert_eq!((digest.len(), measured.lines().count()), (96, 1), "{guest}: {measured}");
        // The launch is hashed beneath, from the pages that arrive.
        let launched = files.run(&format!("run {guest} --dry-run"));
        let told = String::from_utf8_lossy(&launched.stderr).into_owned();
        assert!(
            launched.status.success() && told.contains("launch digest, computed beneath"),
            "{guest}: {told}"
        );
        assert_eq!(told.matches(digest).count(), 2, "{guest}: predicted and computed\n{told}");
        if !guest.contains("tdx") {
            assert!(files.output(&format!("run {guest} --print-policy")).contains(digest), "{guest}");
        }
    }
}

#[test]
fn a_configuration_and_flags_say_the_same() {
    let files = Files::new();
    files.write(
        "vm.toml",
        "kernel = '@/kernel'\ninitrd = '@/initrd'\ncmdline = 'quiet'\ncpus = 3\nmemory = '256M'\ncoco = 'sim'\n",
    );
    files.write("vm.json", r#"{ "kernel": "@/kernel", "initrd": "@/initrd", "cpus": 3, "memory": "256M" }"#);
    let flags = files.output(&format!("measure {}", GUESTS[0]));
    assert_eq!(files.output("measure --config @/vm.toml"), flags);
    assert_eq!(files.output("measure --config @/vm.json --cmdline quiet --coco sim"), flags);
    assert_ne!(files.output("measure --config @/vm.toml --cpus 2"), flags);

    let report = files.json("measure --config @/vm.toml --json");
    assert_eq!(report["digest"], flags.trim_end());
    assert_eq!((&report["platform"], &report["inputs"]["cpus"]), (&"sim".into(), &3.into()));
    assert_eq!(report["inputs"]["initrd"]["size"], 300_000);
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.last().unwrap()["digest"], flags.trim_end());
    assert!(stages.iter().any(|s| s["what"] == "initrd"));
}

#[test]
fn a_guest_s_digest_is_explained() {
    let files = Files::new();
    let guest = |more: &str| format!("measure --coco sim --kernel @/kernel --cmdline quiet {more}");
    let given = guest("--initrd @/initrd --cpus 2");
    for (other, differences) in [
        ("--initrd @/initrd --cpus 2", &[][..]),
        ("--initrd @/initrd --cpus 7", &["7 vCPUs, not 2"]),
        ("--cpus 2 --console stdio", &["no initrd", "a serial console"]),
        ("--initrd @/initrd --cpus 2 --memory 2G", &["2048 MiB of memory"]),
    ] {
        let digest = files.output(&guest(other));
        let told = files.json(&format!("{given} --json --explain {digest}"));
        assert_eq!(told["found"]["differences"], serde_json::json!(differences), "{other}");
        let text = files.output(&format!("{given} --explain {digest}"));
        assert!(differences.iter().all(|d| text.contains(d)) && text.contains(digest.trim_end()), "{text}");
    }
    let hopeless = files.run(&format!("{given} --explain {}", "00".repeat(48)));
    assert_eq!(hopeless.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&hopeless.stdout).contains("what can still differ"));

    let snp = |more: &str| format!("measure --coco snp --firmware @/amdsev --kernel @/kernel {more}");
    let digest = files.output(&snp("--cpu-model EPYC-Milan --cpus 5"));
    let told = files.output(&snp(&format!("--cpu-model EPYC-Genoa --explain {digest}")));
    assert!(told.contains("5 vCPUs, not 1") && told.contains("EPYC-Milan"), "{told}");
}

#[test]
fn a_td_and_its_registers() {
    let files = Files::new();
    files.write(
        "vm.json",
        r#"{ "firmware": "@/tdvf", "kernel": "@/kernel", "initrd": "@/initrd", "cmdline": "quiet", "cpus": 2,
             "memory": "256M", "coco": "tdx" }"#,
    );
    let mrtd = files.output("measure --config @/vm.json");
    assert_eq!(mrtd, files.output("measure tdx --firmware @/tdvf"));
    let report = files.json("measure tdx --config @/vm.json --json");
    assert_eq!(report["mrtd"], mrtd.trim_end());
    assert_eq!(report["rtmrs"].as_array().unwrap().len(), 4);
    assert_eq!(report["rtmrs"], files.json("measure --config @/vm.json --json")["rtmrs"]);
    let [rtmr0, rtmr1] = [0, 1].map(|n| &report["rtmrs"][n]);
    assert_eq!((&rtmr0["complete"], rtmr0["events"].as_array().unwrap().len()), (&false.into(), 2));
    assert!(rtmr0["unknown"][0].as_str().unwrap().contains("cannot be unpacked"), "{rtmr0}");
    assert_eq!(rtmr1["events"][0]["what"], "kernel (Authenticode)");

    let text = files.output("measure tdx --config @/vm.json");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("MRTD  {}", mrtd.trim_end()));
    assert!(lines.iter().any(|l| l.starts_with("RTMR0 ") && l.ends_with("(so far)")), "{text}");
    assert!(lines.iter().any(|l| l.starts_with("  not predicted: ")), "{text}");
    // Flags win; the firmware's own order of older stacks is another value for several pages only.
    let more = files.json("measure tdx --config @/vm.json --memory 512M --json");
    assert_ne!(more["rtmrs"][0]["value"], rtmr0["value"]);
    assert_eq!(more["mrtd"], report["mrtd"]);
}

/// What sev-snp-measure publishes, through the command line: the library is held to the same rows elsewhere.
#[test]
fn published_rows_are_printed_and_nothing_else() {
    let files = Files::new();
    let suffix = include_str!("../../tests/vectors/measure/ovmf_OvmfX64_suffix.hex");
    let x64 = hex::decode(suffix.split_whitespace().collect::<String>()).unwrap();
    fs::write(files.0.path().join("x64"), x64).unwrap();
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/measure/vectors.json")).unwrap();
    let mut seen = 0;
    for row in vectors["sev_snp_measure_published"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str();
        // The images of one mode are not here, and one row is not of the image that it names.
        if text("mode") == Some("SEV_SNP_SVSM") || text("test") == Some("test_snp_dump_vmsa") {
            continue;
        }
        let image = if text("ovmf").unwrap().contains("OvmfX64") { "x64" } else { "amdsev" };
        let firmware = files.0.path().join(image).display().to_string();
        let cpus = row["vcpus"].to_string();
        let mut args = vec!["measure"];
        match text("mode").unwrap() {
            "SEV_SNP" => {
                args.extend(["snp", "--cpus", &cpus, "--guest-features", text("guest_features").unwrap()]);
                args.extend(["--profile", text("vmm").unwrap()]);
            }
            "SEV_ES" => args.extend(["sev", "--es", "--cpus", &cpus]),
            _ => args.push("sev"),
        }
        args.extend(["--firmware", &firmware]);
        for (flag, key) in
            [("--cpu-sig", "sig"), ("--kernel", "kernel"), ("--initrd", "initrd"), ("--cmdline", "append")]
        {
            args.extend(text(key).map(|value| [flag, value]).into_iter().flatten());
        }
        let output = Command::new(env!("CARGO_BIN_EXE_cloister")).args(&args).output().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(
            (out.as_str(), err.as_str()),
            (&*format!("{}\n", text("digest").unwrap()), ""),
            "{args:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 22);
}

#[test]
fn a_register_that_starts_with_the_memory_is_not_guessed() {
    let files = Files::new();
    let text = files.output("measure tdx --firmware @/tdvf --kernel @/kernel");
    let rtmr0: Vec<_> = text.lines().skip(1).take_while(|l| !l.starts_with("RTMR1")).collect();
    assert_eq!(rtmr0[0], format!("RTMR0 {} (so far)", "00".repeat(48)));
    assert!(
        rtmr0.len() == 2 && rtmr0[1].starts_with("  not predicted: ") && rtmr0[1].contains("memory"),
        "{text}"
    );
    let known = files.output("measure tdx --firmware @/tdvf --kernel @/kernel --memory 256M");
    assert!(known.contains("hand-off blocks (TD HOB)"), "{known}");
    let after = |text: &str| text.split_once("RTMR1").unwrap().1.to_owned();
    assert_eq!(after(&text), after(&known));
}

/// The page of firmware with one more entry in its table: where an SVSM starts.
fn svsm(mut image: Vec<u8>) -> Vec<u8> {
    let footer = image.len() - 0x32;
    let len = u16::from_le_bytes([image[footer], image[footer + 1]]);
    let start = footer + 18 - usize::from(len);
    let mut entry = 0x40u32.to_le_bytes().to_vec();
    entry.extend(22u16.to_le_bytes());
    // a789a612-0597-4c4b-a49f-cbb1fe9d1ddd
    entry.extend(hex::decode("12a689a797054b4ca49fcbb1fe9d1ddd").unwrap());
    image[start - 22..start].copy_from_slice(&entry);
    image[footer..footer + 2].copy_from_slice(&(len + 22).to_le_bytes());
    image
}

/// sev-snp-measure's published digests with an SVSM name features 0x21, and are of launches with 0x1.
#[test]
fn with_an_svsm_features_are_those_of_the_published_digests() {
    let files = Files::new();
    let firmware = fs::read(files.0.path().join("amdsev")).unwrap();
    fs::write(files.0.path().join("svsm"), svsm(firmware)).unwrap();
    let line = "measure snp --firmware @/amdsev --svsm @/svsm --vars-size 540672 --cpus 2 --cpu-sig 0x800f12";
    let usual = files.run(line);
    let other = files.run(&format!("{line} --guest-features 0x21"));
    assert!(usual.status.success() && other.status.success());
    assert_eq!(usual.stdout, other.stdout);
    assert!(usual.stderr.is_empty());
    let note = String::from_utf8(other.stderr).unwrap();
    assert!(note.contains("0x21 are not in this digest") && note.lines().count() == 3, "{note}");

    let inputs = &files.json(&format!("{line} --guest-features 0x21 --json"))["inputs"];
    assert_eq!((&inputs["guest_features"], &inputs["vars_size"]), (&"0x1".into(), &540_672.into()));
    assert_eq!(
        (&inputs["svsm"]["size"], inputs["svsm"]["sha256"].as_str().unwrap().len()),
        (&4096.into(), 64)
    );
    let clouds = files.run(&format!("{line} --profile GCE"));
    assert_eq!(clouds.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&clouds.stderr).contains("only how QEMU launches one is known"));
}

#[test]
fn a_loader_is_told_in_json_as_well() {
    let files = Files::new();
    let page = |w: Writer| w.page(1, 0x1000, PageFlags::default(), PageDataType::NORMAL, &[]);
    let file = page(Writer::new(2).platform(1, PlatformType::SEV_SNP)).build();
    fs::write(files.0.path().join("guest.igvm"), file).unwrap();
    let measure = "measure igvm @/guest.igvm --platform snp";
    let digest = files.output(&format!("{measure} --loader cloud-hypervisor"));
    let told = files.json(&format!("{measure} --json --explain {digest}"));
    assert_eq!(told["loaders"], serde_json::json!(["cloud-hypervisor"]));
    let hopeless = files.run(&format!("{measure} --json --explain {}", "00".repeat(48)));
    assert_eq!(hopeless.status.code(), Some(6));
    let told: serde_json::Value = serde_json::from_slice(&hopeless.stdout).unwrap();
    assert_eq!(told["loaders"], serde_json::json!([]));
    // Where firmware is wanted, what to do with the file is said.
    for platform in ["snp --cpus 1 --cpu-sig 1", "tdx"] {
        let refused = files.run(&format!("measure {platform} --firmware @/guest.igvm"));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains("IGVM") && text.contains("measure igvm"), "{text}");
    }
}

#[test]
fn mistakes_have_three_lines_and_status_2() {
    let files = Files::new();
    files.write("snp.toml", "firmware = '@/amdsev'\ncoco = 'snp'\n");
    let explained = format!(
        "measure snp --firmware @/amdsev --cpus 1 --cpu-sig 1 --id-block @/id --id-key @/key --explain {}",
        "00".repeat(48)
    );
    for (line, why) in [
        ("measure --kernel @/kernel", "which platform"),
        ("measure --coco off --kernel @/kernel", "no launch measurement"),
        ("measure --coco snp --firmware @/amdsev", "--cpu-model"),
        ("measure --coco tdx --kernel @/kernel", "without firmware"),
        ("measure --coco sim --kernel @/none", "none"),
        ("measure --config @/none --coco sim", "configuration"),
        ("measure tdx --config @/snp.toml", "not a TD"),
        ("measure tdx --firmware @/tdvf --cpus 2", "--memory"),
        ("measure tdx", "--firmware"),
        ("measure sev --firmware @/amdsev --es --cpu-sig 1 --cpus 0", "is not in 1..=4096"),
        ("measure sev --firmware @/amdsev --es --cpu-sig 1 --cpus 4294967295", "is not in 1..=4096"),
        ("measure --coco sim snp", "the command line"),
        (explained.as_str(), "cannot be used with"),
    ] {
        let output = files.run(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 3), "{line}: {text}");
        assert!(text.contains(why), "{line}: {text}");
        assert!(output.stdout.is_empty());
    }
}
