//! Which pages of guest RAM are private: one bit a page.

use super::{PAGE_SIZE, RamRange};

/// One bit per page of guest RAM; set means private.
///
/// KVM has no ioctl that reads memory attributes back (Documentation/virt/kvm/api.rst,
/// KVM_SET_MEMORY_ATTRIBUTES), so this map is the VMM's only record of them.
#[derive(Debug, Clone)]
pub struct PrivacyMap {
    regions: Vec<Region>,
}

#[derive(Debug, Clone)]
struct Region {
    range: RamRange,
    private: Vec<u64>,
}

impl PrivacyMap {
    /// A map over `ranges` (page aligned, sorted, apart) in which every page is shared, as in a new VM.
    pub fn all_shared(ranges: &[RamRange]) -> Self {
        let regions = ranges
            .iter()
            .map(|&range| {
                let words = (range.size / PAGE_SIZE).div_ceil(64);
                Region { range, private: vec![0; usize::try_from(words).unwrap_or(0)] }
            })
            .collect();
        PrivacyMap { regions }
    }

    /// Marks every page of `[gpa, gpa + len)` that is RAM; says how many pages changed.
    ///
    /// `gpa` and `len` are page aligned; parts outside RAM are passed over.
    pub fn set(&mut self, gpa: u64, len: u64, private: bool) -> u64 {
        let mut changed: u64 = 0;
        for region in &mut self.regions {
            let Some(pages) = region.pages_within(gpa, len) else { continue };
            for (word, mask) in words(pages) {
                let Some(bits) = region.private.get_mut(word) else { continue };
                let before = *bits;
                *bits = if private { before | mask } else { before & !mask };
                changed = changed.saturating_add(u64::from((before ^ *bits).count_ones()));
            }
        }
        changed
    }

    /// The first private page that `[gpa, gpa + len)` touches, if any. `len` of 0 touches nothing.
    pub fn first_private(&self, gpa: u64, len: u64) -> Option<u64> {
        for region in &self.regions {
            let Some(pages) = region.pages_within(gpa, len) else { continue };
            for (word, mask) in words(pages) {
                // A page without a bit cannot be vouched for: private.
                let found = region.private.get(word).copied().unwrap_or(u64::MAX) & mask;
                if found != 0 {
                    let page = (word as u64).saturating_mul(64).saturating_add(found.trailing_zeros().into());
                    return Some(region.range.start.saturating_add(page.saturating_mul(PAGE_SIZE)));
                }
            }
        }
        None
    }

    /// All RAM in runs of pages that are alike, ascending, and whether each is private.
    pub fn runs(&self) -> Vec<(RamRange, bool)> {
        let mut runs: Vec<(RamRange, bool)> = Vec::new();
        for region in &self.regions {
            let mut at = region.range.start;
            while at < region.range.end() {
                // Whole words of one kind at a time, else page by page.
                let page = at.saturating_sub(region.range.start) / PAGE_SIZE;
                let word = usize::try_from(page / 64).ok().and_then(|w| region.private.get(w).copied());
                let word = word.unwrap_or(u64::MAX);
                let (private, pages) = match (page % 64, word) {
                    (0, 0) => (false, 64),
                    (0, u64::MAX) => (true, 64),
                    (bit, _) => (word >> bit & 1 != 0, 1),
                };
                let left = region.range.end().saturating_sub(at);
                let size = PAGE_SIZE.saturating_mul(pages).min(left);
                match runs.last_mut() {
                    Some((run, kind)) if *kind == private && run.end() == at && at != region.range.start => {
                        run.size = run.size.saturating_add(size);
                    }
                    _ => runs.push((RamRange { start: at, size }, private)),
                }
                at = at.saturating_add(size);
            }
        }
        runs
    }

    /// The runs of shared pages in `[gpa, gpa + len)`, ascending.
    pub fn shared_within(&self, gpa: u64, len: u64) -> Vec<RamRange> {
        let mut runs: Vec<RamRange> = Vec::new();
        for region in &self.regions {
            let Some(pages) = region.pages_within(gpa, len) else { continue };
            for (word, mask) in words(pages) {
                let mut shared = !region.private.get(word).copied().unwrap_or(u64::MAX) & mask;
                while shared != 0 {
                    let first = shared.trailing_zeros();
                    let count = (shared >> first).trailing_ones();
                    let page = (word as u64).saturating_mul(64).saturating_add(first.into());
                    let start = region.range.start.saturating_add(page.saturating_mul(PAGE_SIZE));
                    let size = PAGE_SIZE.saturating_mul(count.into());
                    match runs.last_mut() {
                        Some(run) if run.end() == start => run.size = run.size.saturating_add(size),
                        _ => runs.push(RamRange { start, size }),
                    }
                    let done = u64::MAX.checked_shl(first.saturating_add(count)).unwrap_or(0);
                    shared &= done;
                }
            }
        }
        runs
    }

    /// How many pages are private now.
    pub fn private_pages(&self) -> u64 {
        self.regions.iter().flat_map(|r| &r.private).map(|w| u64::from(w.count_ones())).sum()
    }
}

impl Region {
    /// The page numbers, counted from the region's start, that `[gpa, gpa + len)` touches.
    fn pages_within(&self, gpa: u64, len: u64) -> Option<std::ops::Range<u64>> {
        let end = gpa.checked_add(len)?.min(self.range.end());
        let start = gpa.max(self.range.start);
        if start >= end {
            return None;
        }
        let first = start.checked_sub(self.range.start)? / PAGE_SIZE;
        let last = end.checked_sub(self.range.start)?.div_ceil(PAGE_SIZE);
        Some(first..last)
    }
}

/// The words of a bitmap that hold the bits `pages`, each with a mask of those of its bits that count.
fn words(pages: std::ops::Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let (first, end) = (pages.start / 64, pages.end.div_ceil(64));
    (first..end).map(move |word| {
        let low = word.saturating_mul(64);
        let from = pages.start.saturating_sub(low).min(63);
        let until = pages.end.saturating_sub(low).min(64);
        // `end` was rounded up, so at least one bit of every word counts: until is 1 to 64.
        let mask = (u64::MAX << from) & (u64::MAX >> 64u64.saturating_sub(until).min(63));
        (usize::try_from(word).unwrap_or(usize::MAX), mask)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PrivacyMap {
        PrivacyMap::all_shared(&[
            RamRange { start: 0, size: 100 * PAGE_SIZE },
            RamRange { start: 1 << 32, size: 70 * PAGE_SIZE },
        ])
    }

    #[test]
    fn a_new_map_is_shared() {
        assert_eq!(map().private_pages(), 0);
        assert_eq!(map().first_private(0, 100 * PAGE_SIZE), None);
    }

    #[test]
    fn one_byte_touches_its_whole_page() {
        let mut m = map();
        assert_eq!(m.set(65 * PAGE_SIZE, PAGE_SIZE, true), 1);
        assert_eq!(m.first_private(65 * PAGE_SIZE + 4095, 1), Some(65 * PAGE_SIZE));
        assert_eq!(m.first_private(64 * PAGE_SIZE, PAGE_SIZE), None);
        assert_eq!(m.first_private(64 * PAGE_SIZE, PAGE_SIZE + 1), Some(65 * PAGE_SIZE));
        assert_eq!(m.first_private(66 * PAGE_SIZE, 10), None);
        assert_eq!(m.first_private(65 * PAGE_SIZE, 0), None);
    }

    #[test]
    fn setting_twice_changes_nothing_and_spans_regions() {
        let mut m = map();
        assert_eq!(m.set(0, (1 << 32) + 2 * PAGE_SIZE, true), 102);
        assert_eq!(m.set(0, (1 << 32) + 2 * PAGE_SIZE, true), 0);
        assert_eq!(m.private_pages(), 102);
        assert_eq!(m.set(1 << 32, PAGE_SIZE, false), 1);
        assert_eq!(m.first_private(1 << 32, PAGE_SIZE), None);
    }

    #[test]
    fn words_and_bits_say_the_same() {
        for (start, end) in [(0, 1), (0, 64), (1, 63), (63, 65), (64, 128), (5, 200), (127, 128), (70, 70)] {
            let bits: Vec<u64> = words(start..end)
                .flat_map(|(word, mask)| {
                    (0..64).filter(move |b| mask >> b & 1 == 1).map(move |b| word as u64 * 64 + b)
                })
                .collect();
            assert_eq!(bits, (start..end).collect::<Vec<_>>(), "{start}..{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn runs_say_what_the_pages_say(changes in proptest::collection::vec((0u64..170, 1u64..100, proptest::bool::ANY), 0..12)) {
            let mut m = map();
            for (page, pages, private) in changes {
                // Pages from 100 on stand for the second region.
                let gpa = if page < 100 { page * PAGE_SIZE } else { (1 << 32) + (page - 100) * PAGE_SIZE };
                m.set(gpa, pages * PAGE_SIZE, private);
            }
            let runs = m.runs();
            for (run, private) in &runs {
                for page in (run.start..run.end()).step_by(PAGE_SIZE as usize) {
                    proptest::prop_assert_eq!(m.first_private(page, 1).is_some(), *private);
                }
            }
            proptest::prop_assert_eq!(runs.iter().map(|(r, _)| r.size).sum::<u64>(), 170 * PAGE_SIZE);
            let shared: u64 = m.shared_within(0, u64::MAX).iter().map(|r| r.size).sum();
            proptest::prop_assert_eq!(shared, 170 * PAGE_SIZE - m.private_pages() * PAGE_SIZE);
            for run in m.shared_within(3 * PAGE_SIZE, 70 * PAGE_SIZE) {
                proptest::prop_assert!(run.start >= 3 * PAGE_SIZE && run.end() <= 73 * PAGE_SIZE);
                proptest::prop_assert_eq!(m.first_private(run.start, run.size), None);
            }
            for pair in runs.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                proptest::prop_assert!(a.0.end() <= b.0.start);
                proptest::prop_assert!(a.0.end() < b.0.start || a.1 != b.1, "runs that belong together");
            }
        }
    }
}
