//! What both platforms share: a measured Linux that tells its evidence on the console, and the host's doctor.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use cloister_rig::firmware_images;
use cloister_tests::{Guest, Image, Run, cloister, kernels};
use serde_json::Value;

/// A platform of this lane.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    /// As `--coco` and `--require` have it.
    pub(crate) name: &'static str,
    /// Debian's firmware for it.
    pub(crate) firmware: &'static str,
}

/// The console of a confidential guest is off unless asked for: these guests have no secrets to tell.
pub(crate) const CMDLINE: &str = "console=ttyS0 panic=-1";

impl Lane {
    /// A guest of the newest kernel here that runs `script`: the interfaces for evidence are young.
    pub(crate) fn guest(self, script: &str) -> Guest {
        let kernels = kernels();
        Guest::new(kernels.last().expect("a guest kernel"), Image::BzImage, script)
    }

    /// The flags of a measured direct boot.
    pub(crate) fn args(self, guest: &Guest) -> Vec<String> {
        let firmware =
            firmware_images().expect("OVMF; `cargo xtask hardware` fetches it").join(self.firmware);
        let mut args = vec!["run".to_owned(), "--firmware".to_owned(), text(firmware)];
        args.extend(guest.flags());
        let coco = match self.name {
            "tdx" => ["--quote-service".to_owned(), quote_service()].to_vec(),
            _ => Vec::new(),
        };
        args.extend(coco);
        args.extend(["--coco", self.name, "--cmdline", CMDLINE].map(String::from));
        args.extend(["--memory", "2G", "--cpus", "2", "--console", "stdio"].map(String::from));
        args
    }

    /// Runs the guest with further flags, to its end.
    pub(crate) fn run(self, guest: &Guest, further: &[&str]) -> Run {
        let further = further.iter().map(|flag| (*flag).to_owned());
        Run::of(self.args(guest).into_iter().chain(further))
    }

    /// The order of a launch's ioctls, as a trace of it has them.
    pub(crate) fn traced(self, guest: &Guest, name: &str, further: &[&str]) -> Vec<String> {
        let path = text(guest.path(name));
        let flags: Vec<_> = ["--trace-launch", &path].iter().chain(further).copied().collect();
        self.run(guest, &flags).code(0);
        let trace = std::fs::read_to_string(&path).expect("the trace");
        let name = |line: &str| {
            let call: Value = serde_json::from_str(line).expect("a line of JSON");
            let command = call["command"].as_str().unwrap_or_default();
            format!("{} {command}", call["ioctl"].as_str().expect("the ioctl's name"))
        };
        let mut names: Vec<_> = trace.lines().map(name).collect();
        // How many pages one call gets done is the kernel's affair.
        names.dedup();
        names
    }

    /// What the doctor says of this host.
    pub(crate) fn doctor(self) -> Value {
        let output = Command::new(cloister())
            .args(["doctor", "--json", "--require", self.name])
            .stdin(Stdio::null())
            .output()
            .expect("cloister");
        serde_json::from_slice(&output.stdout).expect("the doctor's document")
    }

    /// The host is what this lane is for, and the doctor says so.
    pub(crate) fn host_is_ready(self) {
        let document = self.doctor();
        assert_eq!(document["satisfied"], true, "{document:#}");
        let bad = document["findings"].as_array().expect("findings").iter().filter(|finding| {
            let about = finding["platforms"].as_array().is_some_and(|p| p.contains(&self.name.into()));
            about && finding["level"] == "missing"
        });
        assert_eq!(bad.count(), 0, "{document:#}");
    }

    /// The launch is the one that a dry run goes through, ioctl for ioctl.
    pub(crate) fn launches_as_its_dry_run(self, model: &[&str]) {
        let guest = self.guest("true\n");
        let dry: Vec<_> = ["--dry-run"].iter().chain(model).copied().collect();
        let dry = self.traced(&guest, "dry.jsonl", &dry);
        assert!(!dry.is_empty());
        assert_eq!(self.traced(&guest, "real.jsonl", &[]), dry);
    }

    /// A Linux guest converts memory for its devices: there is something to count, and nothing refused.
    pub(crate) fn counts_conversions(self) {
        let guest = self.guest("true\n");
        let run = self.run(&guest, &["--stats", "json"]);
        let line = run.code(0).stderr.lines().find_map(|line| line.get(line.find("{\"")?..));
        let stats: Value = serde_json::from_str(line.expect("the counters")).expect("JSON");
        run.expect(stats["to-shared"]["pages"].as_u64() > Some(0), "nothing was converted");
        run.expect(stats["refused"] == 0, "a conversion was refused");
        run.expect(stats["refused-accesses"] == 0, "a device was refused a page");
        // The host's memory never doubles: within 5 % of the guest's.
        let bytes = |side: &str| stats["host-memory"][side].as_u64().unwrap_or(0);
        let sum = bytes("shared-bytes") + bytes("private-bytes");
        run.expect(sum <= (2 << 30) / 100 * 105, &format!("{sum} bytes of the host's memory"));
    }

    /// A guest that asks for a reset comes back, and is measured to the same.
    pub(crate) fn comes_back_from_a_reset(self, script: &str, mark: &str) {
        let guest = self.guest(&format!("{script}reboot -f\n"));
        let mut started = cloister_tests::Started::new(self.args(&guest));
        let first = after(&started.wait_for(mark), mark);
        let second = after(&started.wait_for(mark), mark);
        started.signal("INT");
        started.end().expect(first == second, "the guest is another after its reset");
        assert_eq!(first.len(), 96, "{first}");
    }
}

/// What follows `mark` in a line.
pub(crate) fn after(line: &str, mark: &str) -> String {
    line.split_once(mark).map_or(line, |(_, rest)| rest).trim().to_owned()
}

/// What follows `mark` in the line of the console that has it.
#[track_caller]
pub(crate) fn said(run: &Run, mark: &str) -> String {
    let line = run.stdout.lines().find(|line| line.contains(mark));
    run.expect(line.is_some(), &format!("the guest said no {mark}"));
    after(line.unwrap_or_default(), mark)
}

/// The digest that was predicted before the launch.
#[track_caller]
pub(crate) fn predicted(run: &Run) -> String {
    let mark = "predicted launch digest ";
    let line = run.stderr.lines().find(|line| line.contains(mark));
    run.expect(line.is_some(), "no digest was predicted");
    after(line.unwrap_or_default(), mark)
}

/// The quote service of this host: `CLOISTER_QUOTE_SERVICE`, or where Intel's listens.
pub(crate) fn quote_service() -> String {
    setting("CLOISTER_QUOTE_SERVICE").unwrap_or_else(|| "vsock:2:4050".to_owned())
}

/// What the environment says, if it says anything.
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a UTF-8 path")
}
