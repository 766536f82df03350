//! The checks: what is read, and what is made of it. One file for each part of a host.

mod bios;
mod cpu;
mod device;
mod facts;
mod firmware;
mod iommu;
mod kernel;
mod kvm;
mod limits;
mod memory;
mod module;
mod psp;
mod quotes;
mod tdx;

use super::finding::{Area, Finding, Level, Role};
use super::host::Host;
use crate::launch::PlatformKind;
pub(super) use facts::Facts;
pub(super) use firmware::IMAGES;

const SNP: &[PlatformKind] = &[PlatformKind::Snp];
const TDX: &[PlatformKind] = &[PlatformKind::Tdx];
const PROTECTED: &[PlatformKind] = &[PlatformKind::Protected];
const OFF: &[PlatformKind] = &[PlatformKind::Off, PlatformKind::Sim];
const HARDWARE: &[PlatformKind] = &[PlatformKind::Snp, PlatformKind::Tdx];
/// Those with memory that the host does not map.
const PRIVATE: &[PlatformKind] = &[PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected];
/// All of them, the best first.
pub(super) const ALL: &[PlatformKind] =
    &[PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected, PlatformKind::Sim, PlatformKind::Off];

/// Every check, causes before what they cause: the first that is missing is the one to mend.
pub(super) fn run(host: &Host) -> Vec<Finding> {
    let facts = Facts::of(host);
    let checks: [fn(&Facts, &mut Vec<Finding>); 13] = [
        cpu::check,
        bios::check,
        kernel::check,
        iommu::check,
        module::check,
        psp::check,
        tdx::check,
        device::check,
        kvm::check,
        quotes::check,
        firmware::check,
        limits::check,
        memory::check,
    ];
    let mut findings = Vec::new();
    for check in checks {
        check(&facts, &mut findings);
    }
    // A platform of the other vendor's is out of the question, and all that is only about it with it.
    let other: Vec<_> = findings
        .iter()
        .filter(|f| f.area == Area::Cpu && f.role == Role::Decides && f.level == Level::Missing)
        .map(|f| (f.id, f.platforms))
        .collect();
    findings.retain(|f| !other.iter().any(|(id, platforms)| f.platforms == *platforms && f.id != *id));
    findings
}
