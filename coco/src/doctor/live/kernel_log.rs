//! Lines of the kernel's log that are about confidential guests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::doctor::answer::Answer;

/// What the lines that say something here contain: who printed them. The rest of the log is not our business.
const WANTED: [&str; 9] =
    ["SEV", "RMP", "SNP", "AMD-Vi", "virt/tdx", "x86/tme", "kvm_amd:", "kvm_intel:", "DMAR: IOMMU enabled"];
/// The longest record (CONSOLE_EXT_LOG_MAX in kernel/printk), and more than a log of the largest size holds.
const MAX_RECORD: usize = 8192;
const MAX_RECORDS: usize = 1 << 18;
/// Lines kept.
const MAX_LINES: usize = 200;

pub(super) fn read() -> Answer<Vec<String>> {
    let now =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").and_then(records);
    match now {
        Ok(lines) if !lines.is_empty() => Answer::Value(lines),
        // The log may have lost its beginning, or be for root only: some distributions save it at boot.
        other => match fs::read_to_string("/var/log/dmesg") {
            Ok(saved) => {
                Answer::Value(saved.lines().filter(|l| wanted(l)).take(MAX_LINES).map(strip).collect())
            }
            Err(_) => Answer::from(other),
        },
    }
}

/// Records are `priority,sequence,microseconds,flags;text`, one for each read.
fn records(mut log: File) -> io::Result<Vec<String>> {
    let mut buffer = [0; MAX_RECORD];
    let mut lines = Vec::new();
    for _ in 0..MAX_RECORDS {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                let record = String::from_utf8_lossy(&buffer[..n]);
                let text = record.split_once(';').map_or("", |(_, text)| text);
                let line = text.lines().next().unwrap_or_default();
                if wanted(line) && lines.len() < MAX_LINES {
                    lines.push(line.to_owned());
                }
            }
            // The oldest record was overwritten meanwhile: the next read goes on behind it.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(lines)
}

fn wanted(line: &str) -> bool {
    WANTED.iter().any(|text| line.contains(text))
}

/// A line without its time stamp.
fn strip(line: &str) -> String {
    line.split_once("] ").map_or(line, |(_, text)| text).to_owned()
}
