//! Rules between headers: masks, parameter areas, pages, vCPUs.

use std::collections::HashMap;

use snafu::{OptionExt, ensure};

use super::defs::{MAX_PARAMETER_BYTES, PAGE, PlatformType};
use super::error::*;
use super::file::IgvmFile;
use super::{Directive, Header, Initialization, Platform};

/// Checks everything that one header alone cannot tell.
pub(super) fn check(file: &mut IgvmFile) -> Result<(), IgvmError> {
    platforms(&file.platforms)?;
    masks(file)?;
    areas(&mut file.directives)?;
    for platform in file.platforms.iter().map(|p| p.body) {
        policies(&file.initializations, &platform)?;
        vp_contexts(file, &platform)?;
        overlaps(&file.directives, &platform)?;
    }
    Ok(())
}

fn platforms(all: &[Header<Platform>]) -> Result<(), IgvmError> {
    ensure!(!all.is_empty(), NoPlatformSnafu);
    for (i, this) in all.iter().enumerate() {
        let (offset, found) = (this.offset, this.body.platform);
        for first in all.iter().take(i) {
            ensure!(first.body.platform != found, PlatformTwiceSnafu { offset, found, first: first.offset });
            ensure!(
                first.body.mask != this.body.mask,
                MaskSnafu {
                    name: "SUPPORTED_PLATFORM",
                    offset,
                    found: this.body.mask,
                    wanted: "a bit of its own"
                }
            );
        }
    }
    Ok(())
}

/// A header that names platforms must name some, and only those that are declared.
fn masks(file: &IgvmFile) -> Result<(), IgvmError> {
    let declared = file.platforms.iter().fold(0, |all, p| all | p.body.mask);
    let check = |name, offset, found: u32| {
        let wanted = || format!("some of {declared:#x}");
        ensure!(found != 0 && found & !declared == 0, MaskSnafu { name, offset, found, wanted: wanted() });
        Ok(())
    };
    for header in &file.initializations {
        if let Initialization::GuestPolicy { mask, .. } = header.body {
            check("GUEST_POLICY", header.offset, mask)?;
        }
    }
    for header in &file.directives {
        if let Some(mask) = header.body.mask() {
            check(header.body.name(), header.offset, mask)?;
        }
    }
    Ok(())
}

fn policies(all: &[Header<Initialization>], platform: &Platform) -> Result<(), IgvmError> {
    let mut first = None;
    for header in all {
        let Initialization::GuestPolicy { mask, .. } = header.body else { continue };
        if mask & platform.mask == 0 {
            continue;
        }
        if let Some(first) = first {
            return PolicyTwiceSnafu { offset: header.offset, found: platform.platform, first }.fail();
        }
        first = Some(header.offset);
    }
    Ok(())
}

struct Area {
    declared: u64,
    bytes: u64,
    inserted: Option<u64>,
}

/// Areas are declared before they are used, used before they are inserted, and inserted once. Tells
/// every PARAMETER_INSERT the length of its area.
fn areas(directives: &mut [Header<Directive>]) -> Result<(), IgvmError> {
    let mut areas: HashMap<u32, Area> = HashMap::new();
    let mut total = 0u64;
    for header in directives {
        let (offset, name) = (header.offset, header.body.name());
        match &mut header.body {
            &mut Directive::ParameterArea { bytes, index, .. } => {
                total = total.saturating_add(bytes);
                let fits = bytes > 0 && total <= MAX_PARAMETER_BYTES;
                ensure!(fits, AreaSizeSnafu { offset, found: bytes, wanted: MAX_PARAMETER_BYTES });
                if let Some(first) = areas.get(&index) {
                    return AreaTwiceSnafu { offset, found: index, first: first.declared }.fail();
                }
                areas.insert(index, Area { declared: offset, bytes, inserted: None });
            }
            &mut Directive::Parameter { kind, index, at } => {
                let area = usable(&mut areas, name, offset, index)?;
                let (size, least) = (area.bytes, kind.least_bytes());
                let fits = u64::from(at).saturating_add(least) <= size;
                ensure!(fits, ParameterRangeSnafu { name, offset, found: at, least, index, size });
            }
            Directive::ParameterInsert { gpa, index, bytes, .. } => {
                let area = usable(&mut areas, name, offset, *index)?;
                area.inserted = Some(offset);
                *bytes = area.bytes;
                let end = gpa.checked_add(area.bytes);
                ensure!(
                    end.is_some_and(|end| end <= super::defs::ADDRESS_END),
                    AddressSnafu { name, offset, found: *gpa, size: area.bytes }
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn usable<'a>(
    areas: &'a mut HashMap<u32, Area>,
    name: &'static str,
    offset: u64,
    found: u32,
) -> Result<&'a mut Area, IgvmError> {
    let area = areas.get_mut(&found).context(AreaUnknownSnafu { name, offset, found })?;
    match area.inserted {
        Some(first) => AreaInsertedSnafu { name, offset, found, first }.fail(),
        None => Ok(area),
    }
}

/// Every vCPU has one state at most, on a platform that knows such a thing, with all of its bytes.
fn vp_contexts(file: &IgvmFile, on: &Platform) -> Result<(), IgvmError> {
    let mut seen: HashMap<u16, u64> = HashMap::new();
    let mut id_block = None;
    for header in file.directives_for(on) {
        let (offset, platform) = (header.offset, on.platform);
        if matches!(header.body, Directive::SnpIdBlock(_))
            && let Some(first) = id_block.replace(offset)
        {
            return IdBlockTwiceSnafu { offset, first }.fail();
        }
        let Directive::VpContext { data, vp_index, .. } = header.body else { continue };
        ensure!(platform != PlatformType::TDX, ContextPlatformSnafu { offset, found: platform });
        if platform.has_vmsa() || platform.has_registers() {
            let end = file.fixed.file_len;
            let inside = data.checked_add(PAGE).is_some_and(|to| to <= end);
            let begin = file.fixed.data_at();
            let name = header.body.name();
            ensure!(inside, DataRangeSnafu { name, offset, found: data, len: PAGE, data: begin, end });
        }
        if let Some(first) = seen.insert(vp_index, offset) {
            return ContextTwiceSnafu { offset, found: vp_index, platform, first }.fail();
        }
    }
    Ok(())
}

/// No page is filled twice on one platform.
fn overlaps(directives: &[Header<Directive>], platform: &Platform) -> Result<(), IgvmError> {
    let mut filled: Vec<(u64, u64, u64, &'static str)> = directives
        .iter()
        .filter(|h| h.body.mask().is_some_and(|mask| mask & platform.mask != 0))
        .filter_map(|h| h.body.fills().map(|(gpa, size)| (gpa, size, h.offset, h.body.name())))
        .collect();
    filled.sort_unstable_by_key(|&(gpa, _, offset, _)| (gpa, offset));
    for pair in filled.windows(2) {
        let &[(gpa, size, first, _), (found, _, offset, name)] = pair else { continue };
        let apart = gpa.saturating_add(size) <= found;
        ensure!(apart, OverlapSnafu { name, offset, first, found, platform: platform.platform });
    }
    Ok(())
}
