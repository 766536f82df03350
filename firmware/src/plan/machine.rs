//! What every plan checks first: memory, vCPUs; and last: where the pages lie.

use snafu::ensure;

use super::error::*;
use super::{CpuState, GuestLayout, LaunchPlan, MemoryRange, PageKind, PageRun, PlanError, low};

/// The least memory a guest can have, in bytes.
pub const MIN_MEMORY: u64 = 32 << 20;
/// The most memory a guest can have, in bytes: what 46 physical address bits reach, with the device
/// window beside it.
pub const MAX_MEMORY: u64 = 32 << 40;
/// The most vCPUs: APIC ids 0 to 253 in eight bits; 255 is broadcast, 254 stays free.
pub const MAX_VCPUS: u32 = 254;

/// Checks the sizes of a machine and lays out its memory.
pub(super) fn layout(memory: u64, vcpus: u32) -> Result<GuestLayout, PlanError> {
    ensure!(memory.is_multiple_of(4096), MemoryNotPagesSnafu { memory });
    ensure!(memory >= MIN_MEMORY, MemoryTooSmallSnafu { memory });
    ensure!(memory <= MAX_MEMORY, MemoryTooLargeSnafu { memory });
    ensure!((1..=MAX_VCPUS).contains(&vcpus), VcpusSnafu { vcpus });
    Ok(GuestLayout::new(memory))
}

/// The bit that page tables mark private memory with, as a mask; 0 for none.
pub(super) fn private_bit(c_bit: Option<u8>) -> Result<u64, PlanError> {
    let Some(bit) = c_bit else { return Ok(0) };
    ensure!((32..=51).contains(&bit), EncryptionBitSnafu { bit });
    Ok(1 << bit)
}

/// The first vCPU as it boots, the others at reset until it starts them.
pub(super) fn vcpus(bsp: CpuState, count: u32, signature: u32) -> Vec<CpuState> {
    let mut all = vec![bsp];
    all.resize(count as usize, CpuState::reset(signature));
    all
}

/// The SNP pages at their fixed places.
pub(super) fn snp_page_runs() -> [PageRun; 2] {
    [
        PageRun::empty(low::SECRETS.start, 1, PageKind::Secrets, "secrets page"),
        PageRun::empty(low::CPUID.start, 1, PageKind::Cpuid, "CPUID page"),
    ]
}

/// A range that the platform fills with zeros.
pub(super) fn zero_run(at: MemoryRange, label: &'static str) -> PageRun {
    PageRun::empty(at.start, at.size.div_ceil(PageRun::PAGE_SIZE as u64), PageKind::Zero, label)
}

impl LaunchPlan {
    /// Checks that every run of pages lies in RAM or in the firmware and that no two share a page.
    pub fn check(&self) -> Result<(), PlanError> {
        let mut runs: Vec<&PageRun> = self.pages.iter().collect();
        runs.sort_by_key(|r| r.gpa);
        for run in &runs {
            let PageRun { gpa, label, .. } = **run;
            ensure!(gpa.is_multiple_of(4096) && run.pages > 0, NotPagesSnafu { label, gpa });
            let size = run.pages.saturating_mul(4096);
            ensure!(self.layout.is_launchable(gpa, size), OutsideRamSnafu { label, gpa, size });
        }
        for pair in runs.windows(2) {
            let [a, b] = pair else { continue };
            let overlap = OverlapSnafu { first: a.label, second: b.label, gpa: b.gpa };
            ensure!(a.end() <= b.gpa, overlap);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Identity, InitialPrivacy};

    #[test]
    fn sizes_are_checked() {
        assert!(layout(MIN_MEMORY, 1).is_ok() && layout(MAX_MEMORY, MAX_VCPUS).is_ok());
        assert!(matches!(layout(0, 1), Err(PlanError::MemoryTooSmall { .. })));
        assert!(matches!(layout(MIN_MEMORY - 4096, 1), Err(PlanError::MemoryTooSmall { .. })));
        assert!(matches!(layout(MIN_MEMORY + 1, 1), Err(PlanError::MemoryNotPages { .. })));
        assert!(matches!(layout(!4095, 1), Err(PlanError::MemoryTooLarge { .. })));
        assert!(matches!(layout(MIN_MEMORY, 0), Err(PlanError::Vcpus { .. })));
        assert!(matches!(layout(MIN_MEMORY, 255), Err(PlanError::Vcpus { .. })));
        assert!(matches!(private_bit(Some(12)), Err(PlanError::EncryptionBit { .. })));
        assert!(matches!(private_bit(Some(64)), Err(PlanError::EncryptionBit { .. })));
        assert_eq!(private_bit(Some(51)).unwrap(), 1 << 51);
    }

    fn plan(pages: Vec<PageRun>) -> LaunchPlan {
        LaunchPlan {
            pages,
            vcpus: vec![],
            identity: Identity::default(),
            layout: GuestLayout::new(MIN_MEMORY),
            initial: InitialPrivacy::Private,
            td_hob: None,
        }
    }

    fn run(gpa: u64, pages: u64) -> PageRun {
        PageRun::empty(gpa, pages, PageKind::Zero, "x")
    }

    #[test]
    fn runs_lie_apart_inside_ram_on_whole_pages() {
        plan(vec![run(0x3000, 1), run(0x1000, 2)]).check().unwrap();
        let err = |pages| plan(pages).check().unwrap_err();
        assert!(matches!(err(vec![run(0x2000, 1), run(0x1000, 2)]), PlanError::Overlap { gpa: 0x2000, .. }));
        assert!(matches!(err(vec![run(0x1000, 4), run(0x2000, 1)]), PlanError::Overlap { .. }));
        assert!(matches!(err(vec![run(MIN_MEMORY - 4096, 2)]), PlanError::OutsideRam { .. }));
        assert!(matches!(err(vec![run(4096, u64::MAX)]), PlanError::OutsideRam { .. }));
        assert!(matches!(err(vec![run(1, 1)]), PlanError::NotPages { .. }));
        assert!(matches!(err(vec![run(4096, 0)]), PlanError::NotPages { .. }));
    }
}
