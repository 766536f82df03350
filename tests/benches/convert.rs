//! What `Converter::convert` costs beside a bare loop of the same system calls, on VMs of the same kind.
//!
//! Needs a KVM with private memory, so mostly the rig:
//!
//! ```text
//! cargo bench -p cloister-tests --bench convert --no-run
//! cargo xtask rig -- cargo bench -p cloister-tests --bench convert --offline
//! ```
//!
//! Both take turns, and the ratio is the median of each turn's own: on a busy or emulated machine it stays
//! what it is. A number as argument is the number of turns.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use cloister_coco::launch::{Kernel, KvmKernel};
use cloister_coco::memory::{Converter, GuestRam, PAGE_SIZE, RamRange, Target};
use cloister_tests::BareVm;
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_memory_attributes, kvm_userspace_memory_region2,
};
use kvm_ioctls::{Kvm, VmFd};
use rustix::fs::{FallocateFlags, fallocate};

/// Memory for each thread, apart from that of others.
const OWN: u64 = 16 << 20;
const THREADS: u64 = 4;
const LIMIT: f64 = 1.15;
/// KVM_X86_SW_PROTECTED_VM.
const PROTECTED_VM: u64 = 1;

/// Bytes of a conversion, and conversions of a thread in a turn.
const SIZES: [(u64, u64); 2] = [(PAGE_SIZE, 1000), (2 << 20, 12)];

fn main() {
    let turns = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(101);
    let ours = BareVm::new(THREADS * OWN);
    let bare = BareLoop::new(THREADS * OWN);
    println!("{turns} turns, medians: pages a second            convert     bare loop   bare / convert");
    let mut exceeded = false;
    for (size, count) in SIZES {
        for threads in [1, THREADS] {
            let turns: Vec<_> = (0..turns)
                .map(|_| (time(threads, &*ours.converter, size, count), time(threads, &bare, size, count)))
                .collect();
            let pages = (threads * count * size / PAGE_SIZE) as f64;
            let ratio = middle(turns.iter().map(|(with, without)| with / without).collect());
            let with = middle(turns.iter().map(|(with, _)| *with).collect());
            let without = middle(turns.iter().map(|(_, without)| *without).collect());
            exceeded |= ratio > LIMIT;
            println!(
                "{:>5} KiB a conversion, {threads} thread(s)     {:>12.0}  {:>12.0}  {ratio:>6.2}  limit {LIMIT}{}",
                size >> 10,
                pages / with,
                pages / without,
                if ratio > LIMIT { "  EXCEEDED" } else { "" }
            );
        }
    }
    std::process::exit(i32::from(exceeded));
}

/// Seconds that `threads` threads take for `count` conversions each, to private and back.
fn time(threads: u64, vm: &(impl Convert + Sync), size: u64, count: u64) -> f64 {
    let start = Barrier::new(threads as usize);
    let start = &start;
    let took: Duration = thread::scope(|scope| {
        let work = move |thread: u64| {
            start.wait();
            let began = Instant::now();
            for n in 0..count / 2 {
                let gpa = thread * OWN + n * size % OWN;
                vm.convert(gpa, size, true).expect("a conversion");
                vm.convert(gpa, size, false).expect("a conversion");
            }
            began.elapsed()
        };
        let others: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        others.into_iter().filter_map(|other| other.join().ok()).max().unwrap_or_default()
    });
    took.as_secs_f64()
}

trait Convert {
    fn convert(&self, gpa: u64, len: u64, private: bool) -> io::Result<()>;
}

impl Convert for Converter {
    fn convert(&self, gpa: u64, len: u64, private: bool) -> io::Result<()> {
        let to = if private { Target::Private } else { Target::Shared };
        self.convert(gpa, len / PAGE_SIZE, to).map_err(io::Error::other)
    }
}

/// A VM of the same kind, and nothing that knows what is private.
struct BareLoop {
    kvm: Arc<KvmKernel>,
    ram: GuestRam,
    private: File,
}

impl BareLoop {
    fn new(size: u64) -> Self {
        let kvm = Arc::new(KvmKernel::new(Arc::new(Kvm::new().expect("/dev/kvm"))));
        let kernel = Kernel::new(Arc::clone(&kvm) as _);
        kernel.create_vm(PROTECTED_VM).expect("a software-protected VM");
        let ram = GuestRam::new(&[RamRange { start: 0, size }]).expect("RAM");
        let private = File::from(kernel.create_guest_memfd(size, 0).expect("guest_memfd"));
        let region = kvm_userspace_memory_region2 {
            flags: KVM_MEM_GUEST_MEMFD,
            memory_size: size,
            userspace_addr: ram.host_mappings()[0].1,
            guest_memfd: private.as_raw_fd().unsigned_abs(),
            ..Default::default()
        };
        kernel.set_user_memory_region2(&region).expect("a memory slot");
        BareLoop { kvm, ram, private }
    }

    fn vm(&self) -> &VmFd {
        self.kvm.vm().expect("it was made")
    }
}

impl Convert for BareLoop {
    /// RAM begins at 0, so a guest address is an offset into both files.
    fn convert(&self, gpa: u64, len: u64, private: bool) -> io::Result<()> {
        let attributes = if private { u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) } else { 0 };
        let request = kvm_memory_attributes { address: gpa, size: len, attributes, flags: 0 };
        self.vm().set_memory_attributes(request)?;
        let file = if private { self.ram.file() } else { &self.private };
        fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, gpa, len)?;
        Ok(())
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
