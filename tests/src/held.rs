//! Host memory behind a running guest with private memory, seen from outside the VMM.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Our name for the shared side of RAM, and the kernel's for the private side, in /proc/PID/fd.
const SHARED: &str = "memfd:cloister-ram";
const PRIVATE: &str = "kvm-gmem";

/// What this host held before a guest was there.
///
/// A guest_memfd does not tell how many pages it has (its `st_blocks` is 0, and cachestat(2) is not in
/// every kernel). But all of them are on the list of pages that cannot be evicted, and in a test's
/// lifetime hardly anything else comes to it or goes.
#[derive(Debug, Clone, Copy)]
pub struct HeldBefore {
    unevictable: u64,
}

impl HeldBefore {
    /// Looks now. No other guest with private memory may begin or end from here on.
    pub fn now() -> Self {
        HeldBefore { unevictable: unevictable() }
    }

    /// The memory of the guest that process `pid`, a `cloister` or we, has had since then.
    pub fn guest_of(self, pid: u32) -> HeldMemory {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the descriptors of a child of ours");
        let paths: Vec<_> = entries.map(|entry| entry.expect("a descriptor").path()).collect();
        let named = |name| {
            let is = |path: &&PathBuf| {
                fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains(name))
            };
            paths.iter().find(is).unwrap_or_else(|| panic!("a guest with private memory has a {name}"))
        };
        named(PRIVATE);
        HeldMemory { before: self, shared: named(SHARED).clone() }
    }
}

/// A guest's memory.
#[derive(Debug)]
pub struct HeldMemory {
    before: HeldBefore,
    shared: PathBuf,
}

impl HeldMemory {
    /// Bytes that both sides hold together; right to a MiB or two, for the kernel counts in batches.
    pub fn bytes(&self) -> u64 {
        // The link of a descriptor leads to the file itself. Blocks are of 512 bytes (stat(2)).
        let shared = fs::metadata(&self.shared).expect("the guest's memory").blocks() * 512;
        shared + unevictable().saturating_sub(self.before.unevictable)
    }
}

/// `Unevictable` of /proc/meminfo, in bytes.
fn unevictable() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("Unevictable:"));
    let kib: u64 = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).expect("a number");
    kib * 1024
}
