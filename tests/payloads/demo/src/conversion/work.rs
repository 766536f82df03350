//! What every processor does with the memory that it has, and with the memory that all have.

use demo_guest::boot_info::PAGE_SIZE;

use crate::pages::{Pages, To, Trouble, read, write};
use crate::random::Choices;
use crate::sync::Lock;

const MIB: u64 = 1 << 20;
/// Pages of 4 KiB in one of 2 MiB.
const LARGE: u64 = 512;
/// Memory of its own for each processor.
const OWN: u64 = 20 * MIB;
const OWN_PAGES: u64 = 2048;
/// Memory of all, one at a time.
const COMMON: Pages = Pages { gpa: 52 * MIB, count: 2048 };
/// Memory that all convert at once.
const CONTESTED: Pages = Pages { gpa: 60 * MIB, count: 512 };

static COMMON_LOCK: Lock = Lock::new();

/// A processor at work. What it works on is private before and after each round, but for what is contested.
#[derive(Debug)]
pub struct Worker {
    own: Pages,
    choices: Choices,
    tag: u64,
}

impl Worker {
    /// Processor `index`.
    pub fn new(index: u32) -> Self {
        let index = u64::from(index);
        let own = Pages { gpa: OWN + index * OWN_PAGES * PAGE_SIZE, count: OWN_PAGES };
        Worker { own, choices: Choices::new(index), tag: index << 32 }
    }

    /// One round; between 2 and 5 conversions.
    pub fn round(&mut self) -> Result<(), Trouble> {
        let own = self.own;
        self.cycle(own)?;
        match self.choices.below(4) {
            // Where another is at it, there is more to be done than to wait.
            0 => COMMON_LOCK.try_hold(|| self.cycle(COMMON)).unwrap_or(Ok(())),
            1 => self.contest(),
            _ => Ok(()),
        }
    }

    /// Some of these pages, with a neighbour on either side.
    fn choose(&mut self, from: Pages) -> Pages {
        let count = match self.choices.below(128) {
            // A page of 2 MiB, and one page more than that, wherever.
            0 => {
                let large = LARGE * PAGE_SIZE * (1 + self.choices.below(from.count / LARGE - 2));
                return Pages { gpa: from.gpa + large, count: LARGE };
            }
            1 => LARGE + 1,
            2..7 => 2 + self.choices.below(40),
            7..20 => 3,
            _ => 1,
        };
        let first = 1 + self.choices.below(from.count - count - 1);
        Pages { gpa: from.gpa + first * PAGE_SIZE, count }
    }

    /// To shared and back, with another pattern on either side, and neither of them ever on the other.
    fn cycle(&mut self, from: Pages) -> Result<(), Trouble> {
        let pages = self.choose(from);
        let neighbours =
            [Pages { gpa: pages.gpa - PAGE_SIZE, count: 1 }, Pages { gpa: pages.end(), count: 1 }];
        self.tag += 2;
        let (private, shared) = (self.tag, self.tag + 1);
        for neighbour in neighbours {
            neighbour.fill(private);
        }
        pages.fill(private);
        pages.convert(To::Shared)?;
        pages.expect_zero("after pages turned shared")?;
        pages.fill(shared);
        pages.expect(shared, "in shared pages")?;
        pages.convert(To::Private)?;
        pages.expect_zero("after pages turned private")?;
        for neighbour in neighbours {
            neighbour.expect(private, "beside pages that were converted")?;
        }
        Ok(())
    }

    /// Pages that others convert at the same time, any way: nothing is known of what is in them, but
    /// every conversion is done, and every access finds a page.
    fn contest(&mut self) -> Result<(), Trouble> {
        let count = 1 + self.choices.below(32);
        let first = self.choices.below(CONTESTED.count - count);
        let pages = Pages { gpa: CONTESTED.gpa + first * PAGE_SIZE, count };
        pages.convert(if self.choices.below(2) == 0 { To::Private } else { To::Shared })?;
        write(pages.gpa, self.tag);
        read(pages.end() - 8);
        Ok(())
    }
}

/// After all: what was contested is whole, and as any other memory.
pub fn settle() -> Result<(), Trouble> {
    CONTESTED.convert(To::Private)?;
    CONTESTED.fill(1);
    CONTESTED.convert(To::Shared)?;
    CONTESTED.expect_zero("in contested pages turned shared")?;
    CONTESTED.fill(2);
    CONTESTED.convert(To::Private)?;
    CONTESTED.expect_zero("in contested pages turned private")?;
    // In small pieces, no two neighbours alike.
    for first in (0..CONTESTED.count).step_by(2) {
        Pages { gpa: CONTESTED.gpa + first * PAGE_SIZE, count: 1 }.convert(To::Shared)?;
    }
    CONTESTED.fill(3);
    CONTESTED.expect(3, "in pages shared one by one")?;
    CONTESTED.convert(To::Shared)?;
    for first in (0..CONTESTED.count).step_by(2) {
        let page = Pages { gpa: CONTESTED.gpa + first * PAGE_SIZE, count: 1 };
        let next = Pages { gpa: page.end(), count: 1 };
        next.expect_zero("in the pages between that turned shared")?;
    }
    CONTESTED.convert(To::Private)
}
