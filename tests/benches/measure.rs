//! How fast and how small `cloister measure snp` is, beside sev-snp-measure and beside the bare hash.
//!
//! `cargo build --release -p cloister-vmm && cargo bench -p cloister-tests --bench measure`
//!
//! Every round runs everything once, one after the other, and the medians of the rounds are compared: on a
//! busy machine the ratios stay what they are. `CLOISTER_BIN` names the program, if it is not
//! `target/release/cloister`; a number as argument is the number of rounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use sha2::{Digest, Sha256, Sha384};

/// Runs a command and prints wall-clock seconds, processor seconds, and peak memory in MiB.
const TIMER: &str = "\
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
wall = time.perf_counter() - began
if status != 0: sys.exit(f'{sys.argv[1:]}: status {status}')
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
";

fn main() {
    let rounds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(15);
    let python = cloister_rig::sev_snp_measure().unwrap_or_else(|why| panic!("{why}"));
    let firmware =
        cloister_rig::firmware_images().unwrap_or_else(|why| panic!("{why}")).join("OVMF.amdsev.fd");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (kernel, initrd) = (dir.path().join("kernel"), dir.path().join("initrd"));
    fs::write(&kernel, noise(10 << 20)).expect("a kernel");
    fs::write(&initrd, noise(100 << 20)).expect("an initrd");
    let bin = std::env::var_os("CLOISTER_BIN").map(PathBuf::from);
    let bin = bin.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/cloister"));

    let handed = |flag: &str| {
        let path = |p: &Path| p.display().to_string();
        [
            "--kernel".into(),
            path(&kernel),
            "--initrd".into(),
            path(&initrd),
            flag.into(),
            "console=ttyS0".into(),
        ]
    };
    let ours = |cpus: &str, more: &[String]| {
        let mut c = vec![bin.display().to_string()];
        c.extend(
            ["measure", "snp", "--cpu-model", "EPYC-Milan", "--cpus", cpus, "--firmware"].map(str::to_owned),
        );
        c.push(firmware.display().to_string());
        c.extend_from_slice(more);
        c
    };
    let theirs = |cpus: &str, more: &[String]| {
        // What the tool's own start script does.
        let start = "import sys; from sevsnpmeasure.cli import main; sys.exit(main())";
        let mut c = vec![python.display().to_string(), "-c".into(), start.into()];
        c.extend(
            ["--mode", "snp", "--vcpu-type", "EPYC-Milan", "--vcpus", cpus, "--ovmf"].map(str::to_owned),
        );
        c.push(firmware.display().to_string());
        c.extend_from_slice(more);
        c
    };
    let commands = [
        ("with a kernel, 64 vCPUs", ours("64", &handed("--cmdline"))),
        ("  sev-snp-measure", theirs("64", &handed("--append"))),
        ("without a kernel, 64 vCPUs", ours("64", &[])),
        ("  sev-snp-measure", theirs("64", &[])),
        ("1 to 512 vCPUs", ours("1-512", &[])),
    ];
    let blobs = [fs::read(&initrd).expect("the initrd"), fs::read(&kernel).expect("the kernel")];
    let image = fs::read(&firmware).expect("the firmware");

    let mut runs = vec![Vec::new(); commands.len()];
    let (mut bare_with, mut bare_without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (run, (_, command)) in runs.iter_mut().zip(&commands) {
            run.push(time(&python, command));
        }
        bare_with.push(bare(&blobs, &image));
        bare_without.push(bare(&[], &image));
    }
    let median = |run: &[[f64; 3]], of: usize| middle(run.iter().map(|r| r[of]).collect());
    println!("{rounds} rounds, medians:      wall ms  processor ms  peak MiB");
    for ((name, _), run) in commands.iter().zip(&runs) {
        let (wall, cpu, memory) = (median(run, 0) * 1e3, median(run, 1) * 1e3, median(run, 2));
        println!("{name:28} {wall:8.1} {cpu:13.1} {memory:9.1}");
    }
    let (bare_with, bare_without) = (middle(bare_with) * 1e3, middle(bare_without) * 1e3);
    println!("{:28} {bare_with:8.1}", "bare sha2, with a kernel");
    println!("{:28} {bare_without:8.1}", "bare sha2, without");
    let wall = |n: usize| median(&runs[n], 0);
    let peak = [0, 2, 4].map(|n| median(&runs[n], 2)).into_iter().fold(0.0, f64::max);
    for (what, ratio, limit) in [
        ("with a kernel, of sev-snp-measure's time", wall(0) / wall(1), Some(0.6)),
        ("without, of sev-snp-measure's time", wall(2) / wall(3), Some(0.2)),
        ("with a kernel, of bare sha2", wall(0) * 1e3 / bare_with, Some(1.15)),
        // So little to hash that the start of the process is most of it.
        ("without, of bare sha2", wall(2) * 1e3 / bare_without, None),
        ("1-512, of a single run", wall(4) / wall(2), Some(2.0)),
        ("peak MiB of any of ours", peak, Some(32.0)),
    ] {
        let Some(limit) = limit else {
            println!("{what:45} {ratio:6.2}");
            continue;
        };
        println!("{what:45} {ratio:6.2}  limit {limit}{}", if ratio > limit { "  EXCEEDED" } else { "" });
    }
}

/// The same bytes hashed in the same number of threads, in memory, and nothing else: SHA-256 of the blobs,
/// SHA-384 of every page of the image, and of a record a page.
fn bare(blobs: &[Vec<u8>], image: &[u8]) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    thread::scope(|scope| {
        let mut rest = blobs.iter();
        if let Some(first) = rest.next() {
            scope.spawn(move || std::hint::black_box(Sha256::digest(first)));
            rest.for_each(|blob| _ = std::hint::black_box(Sha256::digest(blob)));
            pages(image);
        } else {
            let piece = image.len().div_ceil(cores).next_multiple_of(4096);
            image.chunks(piece).for_each(|piece| drop(scope.spawn(move || pages(piece))));
        }
    });
    began.elapsed().as_secs_f64()
}

fn pages(image: &[u8]) {
    for page in image.chunks(4096) {
        let hash = Sha384::digest(page);
        std::hint::black_box(Sha384::digest([&hash[..], &hash, &[0; 16]].concat()));
    }
}

fn time(python: &Path, command: &[String]) -> [f64; 3] {
    let out = Command::new(python).args(["-c", TIMER]).args(command).output().expect("python");
    let text = String::from_utf8_lossy(&out.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{command:?}: {}", String::from_utf8_lossy(&out.stderr)))
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.extend(state.to_be_bytes());
    }
    bytes
}
