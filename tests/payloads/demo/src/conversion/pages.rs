//! Pages: converting them, filling them, and looking at what is in them.
#![allow(unsafe_code, reason = "hypercalls, and memory at addresses that were never a Rust object")]

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use demo_guest::boot_info::{Conversion, PAGE_SIZE};
use demo_guest::error::HostError;

/// KVM_HC_MAP_GPA_RANGE and the bit of its third argument that says private
/// (include/uapi/linux/kvm_para.h).
const MAP_GPA_RANGE: u64 = 12;
const ENCRYPTED: u64 = 1 << 4;

/// Conversions done by all processors.
static DONE: AtomicU64 = AtomicU64::new(0);
/// Whether the hypercall is Intel's instruction.
static INTEL: AtomicBool = AtomicBool::new(false);

/// What is to become of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Only we may read them.
    Private,
    /// The host may as well.
    Shared,
}

/// Whole pages of RAM that hold nothing of the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Guest-physical address of the first.
    pub gpa: u64,
    /// How many.
    pub count: u64,
}

/// What was found and should not have been.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The hypercall failed.
    Refused(Pages, To, i64),
    /// A word that is not what it should be: its address, the word, and when.
    Word(u64, u64, &'static str),
    /// The device did what it must not, or not what it must.
    Device(&'static str),
    /// The device broke the rules of virtio.
    Host(HostError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(pages, to, result) => {
                write!(f, "{} pages at {:#x} to {to:?}: {result}", pages.count, pages.gpa)
            }
            Self::Word(gpa, word, when) => write!(f, "{word:#x} at {gpa:#x} {when}"),
            Self::Device(what) => f.write_str(what),
            Self::Host(error) => write!(f, "{error}"),
        }
    }
}

/// Learns which hypercall there is.
pub fn hypercalls_by(method: Conversion) -> bool {
    INTEL.store(method == Conversion::VMCALL, Ordering::Relaxed);
    matches!(method, Conversion::VMCALL | Conversion::VMMCALL)
}

/// Conversions done so far.
pub fn conversions() -> u64 {
    DONE.load(Ordering::Relaxed)
}

impl Pages {
    /// The address behind the last one.
    pub fn end(self) -> u64 {
        self.gpa + self.count * PAGE_SIZE
    }

    /// Converts them.
    pub fn convert(self, to: To) -> Result<(), Trouble> {
        let attributes = if to == To::Private { ENCRYPTED } else { 0 };
        let (gpa, count, result): (u64, u64, i64) = (self.gpa, self.count, 0);
        let mut result = result;
        // SAFETY: KVM's ABI keeps every register but RAX; RBX is the compiler's and exchanged around the
        // call. What the pages hold changes, and nobody has references into them.
        unsafe {
            if INTEL.load(Ordering::Relaxed) {
                asm!("xchg rbx, {a}", "vmcall", "xchg rbx, {a}",
                    a = inout(reg) gpa => _, inlateout("rax") MAP_GPA_RANGE => result,
                    in("rcx") count, in("rdx") attributes);
            } else {
                asm!("xchg rbx, {a}", "vmmcall", "xchg rbx, {a}",
                    a = inout(reg) gpa => _, inlateout("rax") MAP_GPA_RANGE => result,
                    in("rcx") count, in("rdx") attributes);
            }
        }
        if result != 0 {
            return Err(Trouble::Refused(self, to, result));
        }
        DONE.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Fills every word with what [`pattern`] says for it.
    pub fn fill(self, tag: u64) {
        for gpa in self.words() {
            write(gpa, pattern(gpa, tag));
        }
    }

    /// Finds a word that is not what [`Pages::fill`] wrote.
    pub fn expect(self, tag: u64, when: &'static str) -> Result<(), Trouble> {
        self.find(|gpa, word| word != pattern(gpa, tag), when)
    }

    /// Finds a word that is not zero.
    pub fn expect_zero(self, when: &'static str) -> Result<(), Trouble> {
        self.find(|_, word| word != 0, when)
    }

    /// Finds a word that is `wrong` at its address.
    pub fn find(self, wrong: impl Fn(u64, u64) -> bool, when: &'static str) -> Result<(), Trouble> {
        for gpa in self.words() {
            let word = read(gpa);
            if wrong(gpa, word) {
                return Err(Trouble::Word(gpa, word, when));
            }
        }
        Ok(())
    }

    fn words(self) -> impl Iterator<Item = u64> {
        (self.gpa..self.end()).step_by(size_of::<u64>())
    }
}

/// What belongs at an address: another word for every address and every tag, and never zero.
pub fn pattern(gpa: u64, tag: u64) -> u64 {
    (gpa ^ tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1 << 63
}

/// Reads a word of memory that belongs to nobody.
pub fn read(gpa: u64) -> u64 {
    // SAFETY: callers name aligned addresses of RAM outside of the program, which is mapped to itself.
    unsafe { core::ptr::with_exposed_provenance::<u64>(gpa as usize).read_volatile() }
}

/// Writes a word of memory that belongs to nobody.
pub fn write(gpa: u64, word: u64) {
    // SAFETY: as in `read`; nobody has references there.
    unsafe { core::ptr::with_exposed_provenance_mut::<u64>(gpa as usize).write_volatile(word) }
}
