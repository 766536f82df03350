//! The story: bring up what there is, convert until there were enough conversions, say what came of it.
#![allow(unsafe_code, reason = "the loader's page is at an address, and the linker's symbols are")]

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use demo_guest::boot_info::{BootInfo, PAGE_SIZE, Range};
use demo_guest::exit::ExitCode;

use crate::device::Asker;
use crate::disk::Reader;
use crate::pages::{self, Pages, To, Trouble};
use crate::sync::{Lock, Meeting};
use crate::work::{self, Worker};
use crate::{println, smp};

/// Conversions of all processors together; then each ends its round.
const ENOUGH: u64 = 10_000;
/// Conversions between two lines that say how many there have been.
const LINE: u64 = 500;
/// Where the loader keeps its tables and stacks.
const LOADER: Range = Range { start: 0, end: 1 << 20 };
/// The end of memory: what `cloister demo` gives its guest.
const END: u64 = 64 << 20;

/// Somebody found something wrong.
static FAILED: AtomicBool = AtomicBool::new(false);
static CONSOLE: Lock = Lock::new();
static READY: Meeting = Meeting::new();
static DONE: Meeting = Meeting::new();

/// All of it, on the first processor.
pub fn run(boot_info: u64) -> ExitCode {
    match first(boot_info) {
        Ok(()) if !FAILED.load(Ordering::SeqCst) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::CONVERSION,
        Err(code) => code,
    }
}

/// What every other processor does.
pub fn other(index: u32) {
    READY.arrive();
    READY.wait(smp::count());
    let mut worker = Worker::new(index);
    while go_on() {
        if let Err(trouble) = worker.round() {
            report(index, &trouble);
        }
    }
    DONE.arrive();
}

fn first(boot_info: u64) -> Result<(), ExitCode> {
    // SAFETY: the boot contract: RDI is the address of a page that nobody writes while we run.
    let page =
        unsafe { core::ptr::with_exposed_provenance::<[u8; PAGE_SIZE as usize]>(boot_info as usize).read() };
    let own = Range { start: boot_info, end: boot_info + PAGE_SIZE };
    let info = BootInfo::parse(&page, &[image(), LOADER, own]);
    let info = info.map_err(|error| failed(&error, ExitCode::BAD_BOOT_INFO))?;
    if !pages::hypercalls_by(info.conversion) {
        return Err(failed(&"this guest converts by hypercalls, and has none", ExitCode::BAD_BOOT_INFO));
    }
    touch(info.bounce);
    let bounce = Pages { gpa: info.bounce.start, count: (info.bounce.end - info.bounce.start) / PAGE_SIZE };
    bounce.convert(To::Shared).map_err(conversion)?;
    let (ours, theirs) = halves(info.bounce);
    let no_device = |error| failed(&error, ExitCode::NO_DEVICE);
    let mut devices = Devices {
        asker: Asker::open(ours).map_err(no_device)?,
        reader: Reader::open(theirs).map_err(no_device)?,
    };
    let count = smp::count();
    if count > 1 {
        smp::start_others().map_err(conversion)?;
    }
    READY.arrive();
    READY.wait(count);
    println!("{count} processors convert");

    let mut worker = Worker::new(0);
    let (mut round, mut line) = (0, 0);
    while go_on() {
        if let Err(trouble) = all(&mut worker, &mut devices, round) {
            report(0, &trouble);
        }
        round += 1;
        if pages::conversions() >= line {
            line += LINE;
            CONSOLE.hold(|| println!("{} conversions so far", pages::conversions()));
        }
    }
    DONE.arrive();
    DONE.wait(count);
    work::settle().map_err(conversion)?;
    println!("{} conversions by {count} processors", pages::conversions());
    devices.close();
    Ok(())
}

fn go_on() -> bool {
    pages::conversions() < ENOUGH && !FAILED.load(Ordering::Relaxed)
}

/// What is at work on shared memory beside the processors.
struct Devices {
    asker: Asker,
    reader: Reader,
}

impl Devices {
    /// Says what they did, and ends them.
    fn close(self) {
        let (asked, read) = (self.asker.counts(), self.reader.counts());
        self.asker.close();
        self.reader.close();
        println!("{} answers of the device", asked.answers);
        println!("{} buffers taken away from it, {} came back empty", asked.snatched, asked.snatched_empty);
        println!("{} descriptors that pointed to private pages", asked.private);
        println!("{} blocks of the disk", read.blocks);
        println!(
            "{} pages taken away from the disk, {} of them refused",
            read.snatched, read.snatched_refused
        );
        println!("{} requests to the disk with private pages", read.private);
        println!("{} writes to the disk, all refused", read.writes);
    }
}

/// A round with a request to each device in flight, and now and then a trick on them.
fn all(worker: &mut Worker, devices: &mut Devices, round: u32) -> Result<(), Trouble> {
    let Devices { asker, reader } = devices;
    let question = asker.ask(round)?;
    let request = reader.ask(round)?;
    worker.round()?;
    asker.answered(question)?;
    reader.answered(request)?;
    match round % 8 {
        1 => reader.snatch(round),
        3 => asker.snatch(round),
        5 => reader.trespass(round),
        7 => asker.trespass(round),
        _ => Ok(()),
    }
}

/// A region for each device.
fn halves(bounce: Range) -> (Range, Range) {
    let middle = bounce.start + (bounce.end - bounce.start) / 2;
    (Range { end: middle, ..bounce }, Range { start: middle, ..bounce })
}

/// Puts something into every page, so that a page that is held twice shows in what the host has to give.
fn touch(bounce: Range) {
    for gpa in (image().end..END).step_by(PAGE_SIZE as usize) {
        if !(bounce.start..bounce.end).contains(&gpa) {
            pages::write(gpa, gpa);
        }
    }
}

fn image() -> Range {
    unsafe extern "C" {
        static __image_start: u8;
        static __image_end: u8;
    }
    Range { start: (&raw const __image_start).addr() as u64, end: (&raw const __image_end).addr() as u64 }
}

fn report(index: u32, trouble: &Trouble) {
    FAILED.store(true, Ordering::SeqCst);
    CONSOLE.hold(|| println!("processor {index}: {trouble}"));
}

fn conversion(trouble: Trouble) -> ExitCode {
    failed(&trouble, ExitCode::CONVERSION)
}

fn failed(why: &dyn fmt::Display, code: ExitCode) -> ExitCode {
    println!("{why}");
    code
}
