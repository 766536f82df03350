//! Random walks over the launch state machines: commands in any order against small models of them, and
//! the production launchers through bad weather and hard failures.

mod launchers;
mod snp;
mod tdx;

use crate::memory::{Converter, GuestRam, RamRange, SharedMemory, Target};

/// Two memory slots with a hole between them, in pages.
const SLOTS: [std::ops::Range<u64>; 2] = [0..16, 32..48];
/// Pages that a walk may name: the slots, the hole, and some behind.
const NAMED: u64 = 52;

/// A page of source per page of a walk, and their bytes.
#[repr(C, align(4096))]
struct Source([[u8; 4096]; 12]);

impl Source {
    fn new() -> Box<Self> {
        Box::new(Source(std::array::from_fn(|page| [page as u8 + 1; 4096])))
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

fn memory() -> (GuestRam, SharedMemory, Converter) {
    let ranges = SLOTS.map(|s| RamRange { start: s.start * 4096, size: (s.end - s.start) * 4096 });
    let ram = GuestRam::new(&ranges).unwrap();
    let memory = SharedMemory::new(ram.clone());
    let converter = Converter::plain(memory.clone());
    for range in ranges {
        converter.convert(range.start, range.size / 4096, Target::Private).unwrap();
    }
    (ram, memory, converter)
}

/// What a model knows of memory.
#[derive(Debug)]
struct Pages {
    private: [bool; NAMED as usize],
    added: [bool; NAMED as usize],
}

impl Pages {
    fn new() -> Self {
        Pages {
            private: std::array::from_fn(|n| in_slot(n as u64).is_some()),
            added: [false; NAMED as usize],
        }
    }

    fn can_take(&self, page: u64) -> bool {
        self.private[page as usize] && !self.added[page as usize]
    }

    /// A conversion, in the model and beneath it.
    fn convert(&mut self, converter: &Converter, page: u64, private: bool) {
        let target = if private { Target::Private } else { Target::Shared };
        if converter.convert(page * 4096, 1, target).is_ok() && in_slot(page).is_some() {
            self.private[page as usize] = private;
        }
    }
}

/// The end of the slot that holds a page.
fn in_slot(page: u64) -> Option<u64> {
    SLOTS.iter().find(|s| s.contains(&page)).map(|s| s.end)
}
