//! Guest memory that is there before the guest asks for it.
#![allow(unsafe_code, reason = "madvise(2) of our own mapping of guest memory")]

use std::io;

use snafu::{ResultExt, Snafu};

use super::{Converter, RamRange};

/// Bytes that are populated in one system call: often enough to show progress and to be interrupted.
const CHUNK: u64 = 64 << 20;

/// `MADV_POPULATE_WRITE` (include/uapi/asm-generic/mman-common.h), since Linux 5.14.
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// Guest memory could not be populated. The guest can run all the same: its memory comes when it is touched.
#[derive(Debug, Snafu)]
#[snafu(display("populating guest memory at {gpa:#x} ({side}): {source}{}", advice(source)))]
pub struct PrefaultError {
    gpa: u64,
    side: &'static str,
    source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => " (KVM does this for a confidential guest only once its launch is closed)",
        Some(libc::ENOTTY | libc::EINVAL) => " (KVM_PRE_FAULT_MEMORY needs Linux 6.11 or later)",
        Some(libc::ENOENT) => " (no memory slot there)",
        Some(libc::ENOMEM) => " (the host has too little free memory)",
        _ => "",
    }
}

/// How the private side of a guest is populated: `KVM_PRE_FAULT_MEMORY` on one of its vCPUs. It may do less
/// than it was asked for; it says how many bytes it did.
pub trait PreFault {
    /// Populates from `gpa` on, at most `len` bytes (both whole pages).
    fn pre_fault(&mut self, gpa: u64, len: u64) -> io::Result<u64>;
}

/// Populates all RAM of a guest, each page on the side that it is on. `progress` is told the bytes done, of
/// how many.
///
/// For a guest that does not run yet: what it converts meanwhile would be populated on both sides.
pub fn prefault(
    converter: &Converter,
    private: &mut dyn PreFault,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), PrefaultError> {
    let total = converter.memory().ram().size();
    let mut done: u64 = 0;
    progress(done, total);
    for (range, is_private) in converter.sides() {
        let mut at = range.start;
        while at < range.end() {
            let len = CHUNK.min(range.end().saturating_sub(at));
            let part = RamRange { start: at, size: len };
            let step = if is_private {
                again(|| private.pre_fault(at, len)).context(PrefaultSnafu { gpa: at, side: "private" })?
            } else {
                again(|| populate(converter, part)).context(PrefaultSnafu { gpa: at, side: "shared" })?;
                len
            };
            // What does nothing and says so for ever would hang us.
            if step == 0 || step > len {
                let source = io::Error::other("the kernel says that it populated nothing, or too much");
                return Err(PrefaultError { gpa: at, side: "private", source });
            }
            at = at.saturating_add(step);
            done = done.saturating_add(step);
            progress(done, total);
        }
    }
    Ok(())
}

/// Populates the host's mapping of `range`, which lies in one range of RAM.
fn populate(converter: &Converter, range: RamRange) -> io::Result<()> {
    for (ram, host) in converter.memory().ram().host_mappings() {
        if range.start < ram.start || range.end() > ram.end() {
            continue;
        }
        let at = host.saturating_add(range.start.saturating_sub(ram.start));
        let len = usize::try_from(range.size).map_err(io::Error::other)?;
        // SAFETY: the range lies in a mapping of ours that lives as long as `converter`; populating it for
        // writing reads and changes nothing.
        if unsafe { libc::madvise(at as *mut libc::c_void, len, MADV_POPULATE_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Calls `f` until it is neither interrupted nor told to come again.
fn again<T>(mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match f() {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{GuestRam, PAGE_SIZE, PrivateBacking, SharedMemory, Target};

    struct Apart;

    impl PrivateBacking for Apart {
        fn set_private(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
            Ok(())
        }
        fn discard_private(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn separate(&self) -> bool {
            true
        }
        fn held(&self) -> Option<u64> {
            Some(0)
        }
    }

    /// Does a page at a time, and says EAGAIN before each.
    #[derive(Default)]
    struct Vcpu {
        done: Vec<u64>,
        again: bool,
    }

    impl PreFault for Vcpu {
        fn pre_fault(&mut self, gpa: u64, len: u64) -> io::Result<u64> {
            assert!(len >= PAGE_SIZE);
            self.again = !self.again;
            if self.again {
                return Err(io::Error::from_raw_os_error(libc::EAGAIN));
            }
            self.done.push(gpa);
            Ok(PAGE_SIZE)
        }
    }

    struct Stuck;

    impl PreFault for Stuck {
        fn pre_fault(&mut self, _: u64, _: u64) -> io::Result<u64> {
            Ok(0)
        }
    }

    fn converter(backing: impl PrivateBacking + 'static) -> Converter {
        let ram = GuestRam::new(&[
            RamRange { start: 0, size: 8 * PAGE_SIZE },
            RamRange { start: 1 << 32, size: 4 * PAGE_SIZE },
        ])
        .unwrap();
        Converter::new(SharedMemory::new(ram), Box::new(backing))
    }

    #[test]
    fn each_page_is_populated_on_its_side() {
        let c = converter(Apart);
        c.convert(2 * PAGE_SIZE, 2, Target::Private).unwrap();
        c.convert(1 << 32, 1, Target::Private).unwrap();
        let (mut vcpu, mut told) = (Vcpu::default(), Vec::new());
        prefault(&c, &mut vcpu, &mut |done, total| told.push((done, total))).unwrap();
        assert_eq!(vcpu.done, [2 * PAGE_SIZE, 3 * PAGE_SIZE, 1 << 32]);
        assert_eq!(told.first(), Some(&(0, 12 * PAGE_SIZE)));
        assert_eq!(told.last(), Some(&(12 * PAGE_SIZE, 12 * PAGE_SIZE)));
        if let Some(held) = c.host_memory() {
            assert_eq!(held.shared, 9 * PAGE_SIZE, "the private pages' shared side stays empty");
        }
    }

    #[test]
    fn without_a_private_side_all_of_it_is_the_hosts() {
        let c = converter(crate::memory::NoPrivateBacking);
        c.convert(0, 8, Target::Private).unwrap();
        let mut vcpu = Vcpu::default();
        prefault(&c, &mut vcpu, &mut |_, _| {}).unwrap();
        assert!(vcpu.done.is_empty());
        assert!(c.host_memory().is_none_or(|held| held.shared == 12 * PAGE_SIZE));
    }

    #[test]
    fn a_kernel_that_does_nothing_does_not_hang_us() {
        let c = converter(Apart);
        c.convert(0, 1, Target::Private).unwrap();
        let refused = prefault(&c, &mut Stuck, &mut |_, _| {}).unwrap_err().to_string();
        assert!(refused.contains("populated nothing"), "{refused}");
    }
}
