//! KVM_HC_MAP_GPA_RANGE: a guest has pages converted.

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

use cloister_coco::launch::PlatformKind;
use cloister_coco::memory::{ConvertError, Target};

/// The hypercall and its attributes (include/uapi/linux/kvm_para.h).
const KVM_HC_MAP_GPA_RANGE: u64 = 12;
const ENCRYPTED: u64 = 1 << 4;
/// A hint only: KVM passes a hint of 2 MiB also with fewer pages than that.
const PAGE_SIZE_HINT: u64 = 0xf;

/// A conversion that a guest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversion {
    pub(super) gpa: u64,
    pub(super) pages: u64,
    pub(super) to: Target,
}

/// What came of a hypercall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Invalid,
    /// The kernel was interrupted; the guest may ask again.
    Again,
}

/// Answers hypercall `nr`, through `convert`; the value for KVM's `ret`.
pub(super) fn answer(
    kind: PlatformKind,
    nr: u64,
    args: &[u64; 6],
    convert: impl FnOnce(Conversion) -> Result<(), ConvertError>,
) -> u64 {
    ret(kind, conversion(nr, args).map_or(Outcome::Invalid, |asked| outcome(&convert(asked))))
}

/// Reads the request. Where the guest itself makes the hypercall nobody else has looked at it.
fn conversion(nr: u64, args: &[u64; 6]) -> Option<Conversion> {
    let [gpa, pages, attributes, ..] = *args;
    let known = attributes & !(ENCRYPTED | PAGE_SIZE_HINT) == 0;
    let to = if attributes & ENCRYPTED != 0 { Target::Private } else { Target::Shared };
    (nr == KVM_HC_MAP_GPA_RANGE && known).then_some(Conversion { gpa, pages, to })
}

fn outcome(converted: &Result<(), ConvertError>) -> Outcome {
    match converted {
        Ok(()) => Outcome::Done,
        Err(ConvertError::Kernel { source, .. })
            if matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) =>
        {
            Outcome::Again
        }
        Err(_) => Outcome::Invalid,
    }
}

/// Who reads `ret` differs. KVM makes these calls itself for SNP (page state change) and TDX (MapGPA), and
/// wants a *positive* errno; any other value there ends the guest. A guest's own hypercall finds `ret` in
/// its RAX as it is: a negative errno, as all of KVM's hypercalls have it.
fn ret(kind: PlatformKind, outcome: Outcome) -> u64 {
    let errno = match outcome {
        Outcome::Done => return 0,
        Outcome::Invalid => libc::EINVAL,
        Outcome::Again => libc::EAGAIN,
    };
    match kind {
        PlatformKind::Snp | PlatformKind::Tdx => u64::from(errno.unsigned_abs()),
        // These have no way to be told to retry.
        PlatformKind::Protected | PlatformKind::Sim | PlatformKind::Off => {
            i64::from(libc::EINVAL).wrapping_neg() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    const ALL: [PlatformKind; 5] =
        [PlatformKind::Snp, PlatformKind::Tdx, PlatformKind::Protected, PlatformKind::Sim, PlatformKind::Off];

    fn kernel(errno: i32) -> ConvertError {
        ConvertError::Kernel { gpa: 0, pages: 1, source: io::Error::from_raw_os_error(errno) }
    }

    fn convert_gives(kind: PlatformKind, result: Result<(), ConvertError>) -> u64 {
        answer(kind, 12, &[0x1000, 1, 1 << 4, 0, 0, 0], |_| result)
    }

    /// The trap: positive for SNP and TDX, or KVM_RUN fails; a negative errno in RAX for all others, or
    /// guests take 22 for success.
    #[test]
    fn the_sign_of_ret_is_the_platforms() {
        let minus_22 = 0xffff_ffff_ffff_ffea;
        for kind in ALL {
            let by_kvm = matches!(kind, PlatformKind::Snp | PlatformKind::Tdx);
            let (invalid, again) = if by_kvm { (22, 11) } else { (minus_22, minus_22) };
            assert_eq!(convert_gives(kind, Ok(())), 0, "{kind}");
            for errno in [libc::EINVAL, libc::ENOMEM, libc::EIO, libc::EPERM] {
                assert_eq!(convert_gives(kind, Err(kernel(errno))), invalid, "{kind}");
            }
            for errno in [libc::EAGAIN, libc::EINTR] {
                assert_eq!(convert_gives(kind, Err(kernel(errno))), again, "{kind}");
            }
            let bad = || ConvertError::BadRange { gpa: 1, pages: 0 };
            assert_eq!(convert_gives(kind, Err(bad())), invalid, "{kind}");
            let not_ram = ConvertError::NotRam { gpa: 1 << 40, pages: 1 };
            assert_eq!(convert_gives(kind, Err(not_ram)), invalid, "{kind}");
        }
    }

    #[test]
    fn whatever_happens_kvm_knows_the_value_for_snp_and_tdx() {
        for kind in [PlatformKind::Snp, PlatformKind::Tdx] {
            for errno in 0..200 {
                assert!(matches!(convert_gives(kind, Err(kernel(errno))), 0 | 11 | 22));
            }
            for nr in 0..32 {
                let ret = answer(kind, nr, &[0, 1, u64::MAX, 0, 0, 0], |_| Ok(()));
                assert_eq!(ret, 22, "{nr}");
            }
        }
    }

    #[test]
    fn unknown_calls_and_reserved_bits_convert_nothing() {
        for kind in ALL {
            let refused = |nr, attributes| {
                let ret =
                    answer(kind, nr, &[0x1000, 1, attributes, 0, 0, 0], |_| panic!("{nr} {attributes:#x}"));
                assert_ne!(ret, 0);
            };
            (0..256).filter(|&nr| nr != 12).for_each(|nr| refused(nr, 0));
            (5..64).for_each(|bit| refused(12, 1 << bit));
            (5..64).for_each(|bit| refused(12, 1 << bit | ENCRYPTED));
        }
    }

    #[test]
    fn address_and_count_are_believed_and_the_page_size_is_not() {
        for hint in 0..16 {
            for (bit, to) in [(0, Target::Shared), (ENCRYPTED, Target::Private)] {
                let seen = Cell::new(None);
                let args = [0x20_0000, 3, hint | bit, 7, 8, 9];
                let ret = answer(PlatformKind::Snp, 12, &args, |c| {
                    seen.set(Some(c));
                    Ok(())
                });
                assert_eq!((ret, seen.get()), (0, Some(Conversion { gpa: 0x20_0000, pages: 3, to })));
            }
        }
    }
}
