//! The hand-off blocks that a TD finds at the address its vCPUs are started with: which memory it has
//! (UEFI PI specification, volume 3, chapter 5; QEMU's `hw/i386/tdvf-hob.c`).

use snafu::{OptionExt, ensure};

use super::Tdvf;
use super::error::*;
use super::section::{SectionType, TdvfSection};
use crate::plan::MemoryRange;

/// Bytes of the block that ends the list, which is not measured.
pub const END_HOB_LEN: usize = 8;

const HOB_HANDOFF: u16 = 1;
const HOB_RESOURCE: u16 = 3;
const HOB_END: u16 = 0xffff;
const HANDOFF_LEN: u16 = 56;
const RESOURCE_LEN: u16 = 48;
/// EFI_HOB_HANDOFF_TABLE_VERSION.
const VERSION: u32 = 9;
/// EFI_RESOURCE_SYSTEM_MEMORY: added to the TD before it starts.
const SYSTEM_MEMORY: u32 = 0;
/// EFI_RESOURCE_MEMORY_UNACCEPTED.
const UNACCEPTED: u32 = 7;
/// Present, initialised, tested.
const ATTRIBUTES: u32 = 7;

/// Builds the list for the guest's RAM, ascending, to lie in the firmware's TD_HOB section.
///
/// One range for every section in RAM, in memory order, and for what lies between: the content, and so
/// RTMR0, depends on nothing but the sizes.
pub fn td_hob(tdvf: &Tdvf, ram: &[MemoryRange]) -> Result<Vec<u8>, TdvfError> {
    let place = tdvf.hob().context(HobCountSnafu { offset: tdvf.offset, found: 0usize })?;
    let mut list = Vec::new();
    header(&mut list, HOB_HANDOFF, HANDOFF_LEN);
    list.extend_from_slice(&VERSION.to_le_bytes());
    // Boot mode, then top and bottom of memory and of free memory: the firmware knows better.
    list.extend_from_slice(&[0; 4 + 4 * 8]);
    let end_field = list.len();
    list.extend_from_slice(&[0; 8]);
    for (kind, range) in ranges(tdvf, ram)? {
        header(&mut list, HOB_RESOURCE, RESOURCE_LEN);
        list.extend_from_slice(&[0; 16]);
        list.extend_from_slice(&kind.to_le_bytes());
        list.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        list.extend_from_slice(&range.start.to_le_bytes());
        list.extend_from_slice(&range.size.to_le_bytes());
    }
    header(&mut list, HOB_END, END_HOB_LEN as u16);
    let (len, gpa, size) = (list.len(), place.gpa, place.size);
    ensure!(len as u64 <= size, HobTooLongSnafu { len, gpa, size });
    let end = gpa.saturating_add(len as u64).to_le_bytes();
    list.iter_mut().skip(end_field).zip(end).for_each(|(to, from)| *to = from);
    Ok(list)
}

fn header(list: &mut Vec<u8>, kind: u16, len: u16) {
    list.extend_from_slice(&kind.to_le_bytes());
    list.extend_from_slice(&len.to_le_bytes());
    list.extend_from_slice(&[0; 4]);
}

/// RAM in pieces: what is added before the start, and what the guest accepts itself.
fn ranges(tdvf: &Tdvf, ram: &[MemoryRange]) -> Result<Vec<(u32, MemoryRange)>, TdvfError> {
    let mut added: Vec<(usize, &TdvfSection)> = tdvf
        .sections
        .iter()
        .enumerate()
        .filter(|(_, s)| matches!(s.kind, SectionType::TD_HOB | SectionType::TEMP_MEM) && s.size > 0)
        .collect();
    added.sort_by_key(|(_, s)| s.gpa);
    for &(index, &TdvfSection { gpa, size, kind, .. }) in &added {
        let inside = ram.iter().any(|r| gpa >= r.start && gpa.saturating_add(size) <= r.end());
        ensure!(inside, OutsideRamSnafu { index, name: kind.name(), gpa, size });
    }
    let mut all = Vec::new();
    for range in ram {
        let mut at = range.start;
        let mut push = |kind, start: u64, end: u64| {
            if start < end {
                all.push((kind, MemoryRange::new(start, end.saturating_sub(start))));
            }
        };
        for (_, s) in added.iter().filter(|(_, s)| s.gpa >= range.start && s.gpa < range.end()) {
            let end = s.gpa.saturating_add(s.size);
            push(UNACCEPTED, at, s.gpa);
            push(SYSTEM_MEMORY, s.gpa, end);
            at = end;
        }
        push(UNACCEPTED, at, range.end());
    }
    Ok(all)
}
