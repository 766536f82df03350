//! LAUNCH_UPDATE: pages come in.

use std::ops::ControlFlow;

use super::cpuid_page::corrected;
use super::{Guest, Refusal, SimPsp, Stage, fill_random, firmware, kvm};
use crate::memory::PAGE_SIZE;
use crate::sim::user::{read, write};
use crate::snp::abi::{FirmwareCode, LaunchUpdate, PageType};

type Page = [u8; PAGE_SIZE as usize];

/// KVM's answer for anything that goes wrong with the first page, with the firmware's code or 0.
fn eio(code: FirmwareCode) -> Refusal {
    (libc::EIO, Some(code))
}

impl SimPsp {
    pub(super) fn update(&self, fd: u32, address: u64) -> Result<(), Refusal> {
        let mut guest = self.guest();
        if guest.stage < Stage::Started {
            return Err(kvm(libc::EINVAL));
        }
        let mut update: LaunchUpdate = read(address).map_err(kvm)?;
        let kind = PageType(update.page_type);
        let known = matches!(
            kind,
            PageType::NORMAL | PageType::ZERO | PageType::UNMEASURED | PageType::SECRETS | PageType::CPUID
        );
        // The source of zeros is not looked at.
        let source = kind != PageType::ZERO;
        let aligned = update.len != 0
            && update.len.is_multiple_of(PAGE_SIZE)
            && (!source || update.uaddr.is_multiple_of(PAGE_SIZE));
        let padded = update.flags == 0 && update.pad0 == 0 && update.pad1 == 0 && update.pad2 == [0; 4];
        if !known || !aligned || !padded {
            return Err(kvm(libc::EINVAL));
        }
        // What does not fit into the slot is left for the next call.
        let pages = self.pages_in_slot(update.gfn_start).ok_or(kvm(libc::EINVAL))?;
        let asked = pages.min(update.len / PAGE_SIZE);
        let mut done = 0;
        let stopped = (0..asked).try_for_each(|n| {
            let uaddr = if source { update.uaddr + n * PAGE_SIZE } else { 0 };
            let added = if guest.weather.strikes(1) {
                // A signal is pending.
                Err(eio(FirmwareCode::NONE))
            } else {
                self.add_page(&mut guest, fd, kind, update.gfn_start + n, uaddr)
            };
            match added {
                Ok(()) => done += 1,
                Err(refusal) => return ControlFlow::Break(refusal),
            }
            ControlFlow::Continue(())
        });
        // Progress is reported first, a refusal at the next call.
        if let (0, ControlFlow::Break(refusal)) = (done, stopped) {
            return Err(refusal);
        }
        update.gfn_start += done;
        update.len -= done * PAGE_SIZE;
        if source {
            update.uaddr += done * PAGE_SIZE;
        }
        write(address, &update);
        Ok(())
    }

    /// Pages from `gfn` to the end of its memory slot.
    fn pages_in_slot(&self, gfn: u64) -> Option<u64> {
        let gpa = gfn.checked_mul(PAGE_SIZE)?;
        let slot = self.ram.ranges().iter().find(|r| (r.start..r.end()).contains(&gpa))?;
        Some((slot.end() - gpa) / PAGE_SIZE)
    }

    fn add_page(
        &self,
        guest: &mut Guest,
        fd: u32,
        kind: PageType,
        gfn: u64,
        uaddr: u64,
    ) -> Result<(), Refusal> {
        let gpa = gfn * PAGE_SIZE;
        // KVM's own conditions; it sees in the RMP that a page is assigned already.
        if !self.memory.is_private(gpa) || guest.assigned.contains(&gfn) {
            return Err(eio(FirmwareCode::NONE));
        }
        let mut page: Page = [0; PAGE_SIZE as usize];
        if kind != PageType::ZERO {
            page = read(uaddr).map_err(|_| eio(FirmwareCode::NONE))?;
        }
        self.dev_sev(guest, fd).map_err(|_| eio(FirmwareCode::NONE))?;
        if guest.stage == Stage::Running {
            return Err(firmware(FirmwareCode::INVALID_GUEST_STATE));
        }
        match kind {
            PageType::SECRETS => page = secrets_page().map_err(|_| eio(FirmwareCode::NONE))?,
            PageType::CPUID => {
                let corrected = corrected(&page, self.platform.cpuid_policy);
                if corrected != page {
                    // KVM copies what the firmware would take back to where the page came from.
                    write(uaddr, &corrected);
                    return Err(firmware(FirmwareCode::INVALID_PARAM));
                }
            }
            _ => {}
        }
        self.ram.load(gpa, &page).map_err(|_| eio(FirmwareCode::NONE))?;
        guest.digest.add(kind, gpa, &page);
        guest.assigned.insert(gfn);
        Ok(())
    }
}

/// A secrets page (coco.md 2.8): version 3, fresh VM platform communication keys.
fn secrets_page() -> std::io::Result<Page> {
    let mut page: Page = [0; PAGE_SIZE as usize];
    page[0] = 3;
    fill_random(&mut page[0x20..0xa0])?;
    Ok(page)
}
