//! The boot-info page: what the loader tells the payload. Fixed offsets, little-endian, one page.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0x00 | 8 | magic, the bytes `CLSTBOOT` |
//! | 0x08 | 4 | version, 1 |
//! | 0x0c | 4 | platform: 0 plain, 1 simulated, 2 software-protected |
//! | 0x10 | 4 | how pages are converted: 0 not at all, 1 mailbox doorbell, 2 `vmcall`, 3 `vmmcall` |
//! | 0x14 | 4 | flags, see [`flags`] |
//! | 0x18 | 8 | bounce region: guest-physical address, page-aligned, below 4 GiB |
//! | 0x20 | 4 | bounce region: number of 4 KiB pages |
//! | 0x24 | 4 | vsock port of the broker on CID 2 |
//! | 0x28 | 12 | reserved, zero |
//! | 0x34 | 4 | length of the secret's name, 0 for `demo` |
//! | 0x38 | 64 | the secret's name, UTF-8 |
//!
//! The page should be measured. Where it is not, a host can change where the payload looks for things,
//! but not whom it believes: that hangs on the HOST_DATA in its evidence.

use core::fmt;

use crate::vsock::BOUNCE_PAGES;

/// First bytes of the page.
pub const MAGIC: [u8; 8] = *b"CLSTBOOT";
/// The only version.
pub const VERSION: u32 = 1;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
/// Most bytes of a secret's name.
pub const MAX_SECRET_NAME: usize = 64;

/// Flags of the boot-info page.
pub mod flags {
    /// Print the banner and exit with 0.
    pub const BOOT_ONLY: u32 = 1 << 0;
    /// Check and time the processor first: interrupt gate, SSE, hashing, curve arithmetic.
    pub const SELF_TEST: u32 = 1 << 1;
}

/// What the payload runs on. Open: the loader may say something that we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform(pub u32);

impl Platform {
    /// A plain VM: no mailbox, no evidence.
    pub const PLAIN: Self = Self(0);
    /// A simulated confidential platform: evidence and conversions through the mailbox.
    pub const SIMULATED: Self = Self(1);
    /// KVM's software-protected VM: memory is private, there may be a mailbox.
    pub const PROTECTED: Self = Self(2);
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PLAIN => f.write_str("plain"),
            Self::SIMULATED => f.write_str("simulated"),
            Self::PROTECTED => f.write_str("protected"),
            Self(other) => write!(f, "unknown ({other})"),
        }
    }
}

/// How pages turn from private to shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion(pub u32);

impl Conversion {
    /// Memory is shared as it is.
    pub const NONE: Self = Self(0);
    /// The simulated platform's mailbox.
    pub const DOORBELL: Self = Self(1);
    /// KVM's MAP_GPA_RANGE by Intel's `vmcall`.
    pub const VMCALL: Self = Self(2);
    /// KVM's MAP_GPA_RANGE by AMD's `vmmcall`.
    pub const VMMCALL: Self = Self(3);
}

/// Why a boot-info page was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootInfoError {
    /// The page does not begin with the magic.
    Magic,
    /// A version that we do not know.
    Version(u32),
    /// The bounce region is not page-aligned, empty, or not below 4 GiB.
    Bounce,
    /// The bounce region covers what must stay private.
    BounceOverlap,
    /// The bounce region has fewer than [`crate::vsock::BOUNCE_PAGES`] pages.
    BounceSize(u32),
    /// The secret's name is too long or no UTF-8.
    SecretName,
}

impl fmt::Display for BootInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no magic"),
            Self::Version(v) => write!(f, "version {v} is not known"),
            Self::Bounce => f.write_str("the bounce region is not made of pages below 4 GiB"),
            Self::BounceOverlap => f.write_str("the bounce region covers the payload itself"),
            Self::BounceSize(pages) => write!(f, "a bounce region of {pages} pages is too small"),
            Self::SecretName => f.write_str("the secret's name is not valid"),
        }
    }
}

/// A half-open range of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
}

impl Range {
    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Range) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The page, copied out and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootInfo {
    /// What we run on.
    pub platform: Platform,
    /// How pages are converted.
    pub conversion: Conversion,
    /// [`flags`].
    pub flags: u32,
    /// Where everything lies that a device may see.
    pub bounce: Range,
    /// The broker's port.
    pub port: u32,
    secret: [u8; MAX_SECRET_NAME],
    secret_len: usize,
}

impl BootInfo {
    /// Reads and checks the page. `private` are the ranges that must not become shared.
    pub fn parse(page: &[u8; PAGE_SIZE as usize], private: &[Range]) -> Result<Self, BootInfoError> {
        let mut fields = Fields(page);
        if fields.take::<8>() != MAGIC {
            return Err(BootInfoError::Magic);
        }
        let version = fields.u32();
        if version != VERSION {
            return Err(BootInfoError::Version(version));
        }
        let (platform, conversion, flags) = (Platform(fields.u32()), Conversion(fields.u32()), fields.u32());
        let (gpa, pages, port) = (fields.u64(), fields.u32(), fields.u32());
        let bounce =
            low_range(gpa, u64::from(pages).saturating_mul(PAGE_SIZE)).ok_or(BootInfoError::Bounce)?;
        if gpa % PAGE_SIZE != 0 || pages == 0 {
            return Err(BootInfoError::Bounce);
        }
        if pages < BOUNCE_PAGES {
            return Err(BootInfoError::BounceSize(pages));
        }
        if private.iter().any(|range| range.overlaps(bounce)) {
            return Err(BootInfoError::BounceOverlap);
        }
        let _reserved = fields.take::<12>();
        let secret_len = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
        let secret = fields.take::<MAX_SECRET_NAME>();
        let name = secret.get(..secret_len).ok_or(BootInfoError::SecretName)?;
        core::str::from_utf8(name).map_err(|_| BootInfoError::SecretName)?;
        Ok(BootInfo { platform, conversion, flags, bounce, port, secret, secret_len })
    }

    /// The name of the secret to ask for.
    pub fn secret(&self) -> &str {
        match self.secret.get(..self.secret_len).and_then(|name| core::str::from_utf8(name).ok()) {
            None | Some("") => "demo",
            Some(name) => name,
        }
    }
}

fn low_range(start: u64, len: u64) -> Option<Range> {
    let end = start.checked_add(len)?;
    (end <= 1 << 32).then_some(Range { start, end })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeros past the end, which the fixed layout never reaches.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> [u8; 4096] {
        let mut page = [0; 4096];
        page[..8].copy_from_slice(&MAGIC);
        page[8..0x0c].copy_from_slice(&1u32.to_le_bytes());
        page[0x18..0x20].copy_from_slice(&0x40_0000u64.to_le_bytes());
        page[0x20..0x24].copy_from_slice(&64u32.to_le_bytes());
        page[0x24..0x28].copy_from_slice(&4226u32.to_le_bytes());
        page
    }

    const IMAGE: Range = Range { start: 0x20_0000, end: 0x30_0000 };

    #[test]
    fn a_good_page_is_read() {
        let info = BootInfo::parse(&page(), &[IMAGE]).unwrap();
        assert_eq!(info.bounce, Range { start: 0x40_0000, end: 0x44_0000 });
        assert_eq!((info.port, info.secret(), info.platform), (4226, "demo", Platform::PLAIN));
        let mut named = page();
        named[0x34] = 3;
        named[0x38..0x3b].copy_from_slice(b"key");
        assert_eq!(BootInfo::parse(&named, &[IMAGE]).unwrap().secret(), "key");
    }

    #[test]
    fn every_bad_field_is_refused() {
        let bad = |f: fn(&mut [u8; 4096])| {
            let mut page = page();
            f(&mut page);
            BootInfo::parse(&page, &[IMAGE]).unwrap_err()
        };
        assert_eq!(bad(|p| p[0] = 0), BootInfoError::Magic);
        assert_eq!(bad(|p| p[8] = 2), BootInfoError::Version(2));
        assert_eq!(bad(|p| p[0x18] = 1), BootInfoError::Bounce);
        assert_eq!(bad(|p| p[0x20] = 0), BootInfoError::Bounce);
        assert_eq!(bad(|p| p[0x1f] = 0xff), BootInfoError::Bounce);
        assert_eq!(bad(|p| p[0x1a] = 0x2f), BootInfoError::BounceOverlap);
        assert_eq!(bad(|p| p[0x20] = 9), BootInfoError::BounceSize(9));
        assert_eq!(bad(|p| p[0x34] = 65), BootInfoError::SecretName);
        assert_eq!(bad(|p| (p[0x34], p[0x38]) = (1, 0xff)), BootInfoError::SecretName);
    }
}
