//! Firmware volumes and the files in them (PI specification 1.8, volume 3, 3.2).

use crate::bytes::{bytes_at, u16_at, u32_at, u64_at};
use crate::ovmf::Guid;

/// Type of a section that is a volume, and of one that is a file's name for people.
const VOLUME: u8 = 0x17;
const USER_INTERFACE: u8 = 0x15;
/// A section's size that says: the size is in the 32 bits behind the header.
const EXTENDED: u32 = 0xff_ffff;
/// Places in a volume's header.
const LENGTH: usize = 0x20;
const SIGNATURE: (usize, [u8; 4]) = (0x28, *b"_FVH");
const HEADER_LENGTH: usize = 0x30;
const EXTENSION: usize = 0x34;
/// Where the extended header, which begins with the volume's name, has its own size.
const EXTENSION_SIZE: usize = 16;
/// Places in a file's header.
const ATTRIBUTES: usize = 19;
const SIZE: usize = 20;
const LARGE_SIZE: usize = 24;
/// Bytes in a file's header, and in that of one that says its size in 64 bits.
const FILE_HEADER: usize = 24;
const LARGE_FILE_HEADER: usize = 32;
const LARGE: u8 = 1;
/// The most sections, and files of a volume, that are looked at.
const MAX_PARTS: usize = 4096;

/// A volume with a name, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume<'a> {
    /// Its name: what device paths call it.
    pub(super) name: Guid,
    /// Name and sections of each file.
    pub(super) files: Vec<(Guid, &'a [u8])>,
}

/// The volumes among the sections of `bytes`, if they can be read.
pub(super) fn volumes(bytes: &[u8]) -> Option<Vec<Volume<'_>>> {
    let sections = sections(bytes)?;
    Some(sections.into_iter().filter(|(kind, _)| *kind == VOLUME).filter_map(|(_, v)| volume(v)).collect())
}

/// What a file is called for people.
pub(super) fn user_interface(file: &[u8]) -> Option<String> {
    let (_, text) = sections(file)?.into_iter().find(|(kind, _)| *kind == USER_INTERFACE)?;
    let units = text.as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c)).take_while(|c| *c != 0);
    String::from_utf16(&units.collect::<Vec<_>>()).ok()
}

/// Type and contents of each section; each begins at a multiple of 4.
fn sections(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    let mut at = 0usize;
    while let Some([a, b, c, kind]) = bytes_at(bytes, at) {
        let (size, header) = match u32::from_le_bytes([a, b, c, 0]) {
            EXTENDED => (u32_at(bytes, at.checked_add(4)?)?, 8),
            size => (size, 4),
        };
        let end = at.checked_add(size as usize)?;
        all.push((kind, bytes.get(at.checked_add(header)?..end)?));
        if all.len() > MAX_PARTS {
            return None;
        }
        // Every section is longer than its header: this ends.
        at = end.checked_next_multiple_of(4)?;
    }
    Some(all)
}

fn volume(bytes: &[u8]) -> Option<Volume<'_>> {
    let (at, signature) = SIGNATURE;
    if bytes_at(bytes, at)? != signature {
        return None;
    }
    let bytes = bytes.get(..usize::try_from(u64_at(bytes, LENGTH)?).ok()?)?;
    let extension = usize::from(u16_at(bytes, EXTENSION)?);
    if extension < usize::from(u16_at(bytes, HEADER_LENGTH)?) {
        return None;
    }
    let name = Guid::at(bytes, extension)?;
    let size = u32_at(bytes, extension.checked_add(EXTENSION_SIZE)?)?;
    let first = extension.checked_add(size as usize)?;
    Some(Volume { name, files: files(bytes, first)? })
}

/// The files from `first` on; each begins at a multiple of 8.
fn files(volume: &[u8], first: usize) -> Option<Vec<(Guid, &[u8])>> {
    let mut all = Vec::new();
    let mut at = first.checked_next_multiple_of(8)?;
    while let Some(name) = Guid::at(volume, at).filter(|name| *name != Guid([0xff; 16])) {
        let [attributes] = bytes_at(volume, at.checked_add(ATTRIBUTES)?)?;
        let (size, header) = match attributes & LARGE {
            0 => {
                let [a, b, c] = bytes_at(volume, at.checked_add(SIZE)?)?;
                (u64::from(u32::from_le_bytes([a, b, c, 0])), FILE_HEADER)
            }
            _ => (u64_at(volume, at.checked_add(LARGE_SIZE)?)?, LARGE_FILE_HEADER),
        };
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        all.push((name, volume.get(at.checked_add(header)?..end)?));
        if all.len() > MAX_PARTS {
            return None;
        }
        at = end.checked_next_multiple_of(8)?;
    }
    Some(all)
}
