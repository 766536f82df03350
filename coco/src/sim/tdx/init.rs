//! What KVM and the TDX module refuse of an INIT_VM (arch/x86/kvm/vmx/tdx.c, tdx_td_init, setup_tdparams
//! and setup_tdparams_cpuids; for the module, TDH.MNG.INIT).

use super::cpuid::{self, ADDRESS_WIDTHS, GUEST_WIDTH};
use super::platform::TdxPlatform;
use crate::tdx::abi::{CpuidEntry, SIGNIFICANT_INDEX, TdxInitVm};

/// TDX_OPERAND_INVALID of a SEAMCALL's completion status; the operand's number is in the low half
/// (arch/x86/kvm/vmx/tdx_errno.h).
const OPERAND_INVALID: u64 = 0xc000_0100_0000_0000;
/// Operands of TDH.MNG.INIT (TDX module ABI, "TDX SEAM operand IDs").
const OPERAND_XFAM: u64 = 65;
const OPERAND_CPUID_CONFIG: u64 = 69;

/// TSX (HLE, RTM) in 7.0 EBX and WAITPKG in 7.0 ECX: KVM takes neither.
const TSX: u32 = 1 << 4 | 1 << 11;
const WAITPKG: u32 = 1 << 5;

/// A refusal: errno, and the module's status if it was the module that refused.
pub(super) type Refusal = (i32, u64);

/// What a TD is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TdParams {
    pub(super) attributes: u64,
    pub(super) xfam: u64,
    pub(super) mrconfigid: [u8; 48],
    pub(super) mrowner: [u8; 48],
    pub(super) mrownerconfig: [u8; 48],
    /// The bit of a guest-physical address that says "shared".
    pub(super) shared_bit: u64,
    pub(super) cpuid: Vec<CpuidEntry>,
}

/// Judges an INIT_VM on a VM that is in the right state for it.
pub(super) fn judge(
    platform: &TdxPlatform,
    init: &TdxInitVm,
    entries: &[CpuidEntry],
) -> Result<TdParams, Refusal> {
    let invalid = Err((libc::EINVAL, 0));
    if init.attributes & !platform.attributes != 0 || init.xfam & !platform.xfam != 0 {
        return invalid;
    }
    let Some(widths) = find(entries, ADDRESS_WIDTHS, 0) else { return invalid };
    let shared_bit = match (widths.eax & GUEST_WIDTH) >> 16 {
        48 => 1 << 47,
        52 if platform.five_level_ept => 1 << 51,
        _ => return invalid,
    };
    let configured = configuration(platform, entries).ok_or((libc::EINVAL, 0))?;

    // From here on it is the module that refuses.
    let xfam = init.xfam | platform.xfam_fixed1;
    if !xfam_holds_together(xfam) {
        return Err((libc::EINVAL, OPERAND_INVALID | OPERAND_XFAM));
    }
    if configured.iter().any(|(value, mask)| cpuid::beyond(value, mask)) {
        return Err((libc::EINVAL, OPERAND_INVALID | OPERAND_CPUID_CONFIG));
    }
    Ok(TdParams {
        attributes: init.attributes | platform.attributes_fixed1,
        xfam,
        mrconfigid: init.mrconfigid,
        mrowner: init.mrowner,
        mrownerconfig: init.mrownerconfig,
        shared_bit,
        cpuid: configured.into_iter().map(|(value, _)| value).collect(),
    })
}

/// Every configurable leaf that `entries` has a value for, with that value and its mask. None if KVM
/// cannot place all of `entries`, or takes one of them never.
fn configuration(platform: &TdxPlatform, entries: &[CpuidEntry]) -> Option<Vec<(CpuidEntry, CpuidEntry)>> {
    let mut placed = Vec::new();
    for mask in &platform.cpuid {
        let Some(value) = find(entries, mask.function, mask.index) else { continue };
        if (value.function, value.index) == (7, 0) && (value.ebx & TSX != 0 || value.ecx & WAITPKG != 0) {
            return None;
        }
        placed.push((CpuidEntry { index: mask.index, ..*value }, *mask));
    }
    (placed.len() == entries.len()).then_some(placed)
}

/// The first entry for a leaf, as KVM looks it up: the subleaf counts only where the entry says so.
fn find(entries: &[CpuidEntry], function: u32, index: u32) -> Option<&CpuidEntry> {
    entries.iter().find(|e| e.function == function && (e.flags & SIGNIFICANT_INDEX == 0 || e.index == index))
}

/// AVX-512, CET and AMX come whole or not at all, AVX-512 only with AVX.
fn xfam_holds_together(xfam: u64) -> bool {
    let whole = |bits: u64| xfam & bits == 0 || xfam & bits == bits;
    let avx512 = 0b111 << 5;
    whole(avx512) && whole(0b11 << 11) && whole(0b11 << 17) && (xfam & avx512 == 0 || xfam & 1 << 2 != 0)
}
