//! A plan for a TD: the sections of its firmware, in their order.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::Arc;

use snafu::{OptionExt, ResultExt, ensure};

use super::error::*;
use super::{
    CpuState, GuestLayout, Identity, InitialPrivacy, LaunchPlan, MemoryRange, PageKind, PageRun, PlanError,
    Source,
};
use crate::ovmf::Firmware;
use crate::tdvf::{NotForTdxSnafu, SectionType, TdShimSnafu, Tdvf, TdvfError, TdvfSection, td_hob};

/// What a TD is made of.
#[derive(Debug, Clone)]
pub struct TdxBoot<'a> {
    /// The firmware.
    pub firmware: &'a Firmware,
    /// The guest's memory; its firmware range is filled in.
    pub layout: GuestLayout,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Policy and identity.
    pub identity: Identity,
}

/// Plans a TD. [`PageKind::Measured`] is added and extended, every other kind only added.
pub fn plan_tdx(boot: TdxBoot<'_>) -> Result<LaunchPlan, PlanError> {
    let TdxBoot { firmware, mut layout, vcpus, identity } = boot;
    let (pages, hob) = pages(firmware, &layout).context(TdvfSnafu)?;
    layout.firmware = Some(MemoryRange::new(firmware.base(), firmware.bytes().len() as u64));
    // The TDX module sets the registers; nothing of them is measured.
    let vcpus = vec![CpuState::reset(0); vcpus as usize];
    let plan = LaunchPlan { pages, vcpus, identity, layout, initial: InitialPrivacy::Private, td_hob: hob };
    plan.check()?;
    Ok(plan)
}

/// The sections' pages, and where the hand-off blocks are.
fn pages(firmware: &Firmware, layout: &GuestLayout) -> Result<(Vec<PageRun>, Option<u64>), TdvfError> {
    let tdvf = Tdvf::parse(firmware)?.context(NotForTdxSnafu)?;
    let hob = td_hob(&tdvf, &layout.ram)?;
    let mut pages = Vec::with_capacity(tdvf.sections.len());
    for (index, section) in tdvf.sections.iter().enumerate().filter(|(_, s)| s.size > 0) {
        let (label, source) = match section.kind {
            SectionType::BFV => ("boot firmware volume", data(firmware, section)),
            SectionType::CFV => ("configuration firmware volume", data(firmware, section)),
            SectionType::TD_HOB => ("hand-off blocks", Source::Bytes(hob.as_slice().into())),
            SectionType::TEMP_MEM => ("temporary memory", Source::Zero),
            other => return TdShimSnafu { index, name: other.name() }.fail(),
        };
        ensure!(
            !section.attributes.is_augmented(),
            TdShimSnafu { index, name: "left to the guest to accept" }
        );
        let kind = match section.attributes.is_measured() {
            true => PageKind::Measured,
            false => PageKind::Unmeasured,
        };
        let count = section.size.div_ceil(PageRun::PAGE_SIZE as u64);
        pages.push(PageRun { gpa: section.gpa, pages: count, kind, source, label });
    }
    Ok((pages, tdvf.hob().map(|section| section.gpa)))
}

fn data(firmware: &Firmware, section: &TdvfSection) -> Source {
    let start = section.data_offset as usize;
    let end = start.saturating_add(section.data_size as usize);
    Source::Bytes(Arc::from(firmware.bytes().get(start..end).unwrap_or_default()))
}
