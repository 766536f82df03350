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
            for page in pages {
                let (word, mask) = (page / 64, 1u64 << (page % 64));
                if let Some(bits) = usize::try_from(word).ok().and_then(|w| region.private.get_mut(w)) {
                    let was = *bits & mask != 0;
                    if was != private {
                        *bits ^= mask;
                        changed = changed.saturating_add(1);
                    }
                }
            }
        }
        changed
    }

    /// The first private page that `[gpa, gpa + len)` touches, if any. `len` of 0 touches nothing.
    pub fn first_private(&self, gpa: u64, len: u64) -> Option<u64> {
        for region in &self.regions {
            let Some(pages) = region.pages_within(gpa, len) else { continue };
            for page in pages {
                let (word, mask) = (page / 64, 1u64 << (page % 64));
                let bits = usize::try_from(word).ok().and_then(|w| region.private.get(w)).copied();
                // A page without a bit cannot be vouched for: private.
                if bits.unwrap_or(u64::MAX) & mask != 0 {
                    return Some(region.range.start.saturating_add(page.saturating_mul(PAGE_SIZE)));
                }
            }
        }
        None
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
}
