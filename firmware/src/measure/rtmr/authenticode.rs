//! The hash that an EFI program is measured by: SHA-384 of a PE file without its checksum and its signatures
//! (Microsoft, "Windows Authenticode Portable Executable Signature Format"; `DxeTpmMeasureBootLib` of edk2).

use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest, Sha384};
use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::bytes::{bytes_at, u16_at, u32_at};
use crate::measure::Digest384;

/// The most header that is read. Kernels have 4 KiB at most.
const MAX_HEADERS: u32 = 1 << 16;
/// Offset of the PE header's offset.
const E_LFANEW: usize = 0x3c;
/// Signature and file header, before the optional header.
const FILE_HEADER: usize = 24;
/// PE32+.
const MAGIC_64: u16 = 0x20b;
/// PE32.
const MAGIC_32: u16 = 0x10b;
/// Of the optional header: where the checksum is.
const CHECKSUM: usize = 64;
/// Bytes in a section header.
const SECTION: usize = 40;
/// Of the data directories, the one of signatures.
const SECURITY: u32 = 4;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A file is not an EFI program that can be measured.
#[derive(Debug, Snafu)]
pub enum PeError {
    /// It cannot be read, or ends too early.
    #[snafu(display("it cannot be read to its end: {source}"))]
    Read {
        /// Why.
        source: io::Error,
    },
    /// It is no PE file.
    #[snafu(display(
        "it is no EFI program (no PE header), so firmware cannot start it. Build the kernel with CONFIG_EFI_STUB"
    ))]
    NotPe,
    /// Its header makes no sense.
    #[snafu(display("PE header at {offset:#x}: {what} {found:#x}, which cannot be. The file is broken"))]
    Header {
        /// Offset of the header.
        offset: usize,
        /// Name of the field.
        what: &'static str,
        /// Value found.
        found: u64,
    },
}

/// Where the parts that count are.
struct Layout {
    /// Bytes of all headers.
    headers: Vec<u8>,
    /// What of them is left out: checksum, entry of the signatures.
    skipped: Vec<(usize, usize)>,
    /// Offset and length of every section with bytes, in file order.
    sections: Vec<(u64, u64)>,
    /// Bytes of signatures at the end of the file.
    signatures: u64,
}

/// Hashes the EFI program that `file` is, read piece by piece.
pub fn authenticode_sha384(file: &mut (impl Read + Seek)) -> Result<Digest384, PeError> {
    let len = file.seek(SeekFrom::End(0)).context(ReadSnafu)?;
    let layout = layout(file, len)?;
    let mut hasher = Sha384::new();
    let mut at = 0;
    for (start, end) in &layout.skipped {
        hasher.update(layout.headers.get(at..*start).unwrap_or_default());
        at = *end;
    }
    hasher.update(layout.headers.get(at..).unwrap_or_default());
    let mut hashed = layout.headers.len() as u64;
    for &(offset, size) in &layout.sections {
        hash_range(file, &mut hasher, offset, size)?;
        hashed = hashed.saturating_add(size);
    }
    // What lies behind the sections, before the signatures.
    let rest = len.saturating_sub(hashed).saturating_sub(layout.signatures);
    hash_range(file, &mut hasher, hashed, rest)?;
    Ok(Digest384(hasher.finalize().into()))
}

fn layout(file: &mut (impl Read + Seek), len: u64) -> Result<Layout, PeError> {
    let mut start = vec![0; usize::try_from(len.min(u64::from(MAX_HEADERS))).unwrap_or(0)];
    file.seek(SeekFrom::Start(0)).context(ReadSnafu)?;
    file.read_exact(&mut start).context(ReadSnafu)?;
    ensure!(start.starts_with(b"MZ"), NotPeSnafu);
    let offset = u32_at(&start, E_LFANEW).context(NotPeSnafu)? as usize;
    ensure!(bytes_at(&start, offset) == Some(*b"PE\0\0"), NotPeSnafu);
    let wrong = |what, found: u64| HeaderSnafu { offset, what, found };
    let field = |n: usize| offset.saturating_add(n);
    let optional = field(FILE_HEADER);
    let magic = u16_at(&start, optional).context(NotPeSnafu)?;
    // Where the number of data directories is.
    let directories = match magic {
        MAGIC_64 => 108usize,
        MAGIC_32 => 92,
        other => return wrong("magic of the optional header", other.into()).fail(),
    };
    let of_optional = |n: usize| u32_at(&start, optional.saturating_add(n)).context(NotPeSnafu);
    let headers = of_optional(60)?;
    let fits = headers as usize <= start.len() && headers > 0;
    ensure!(fits, wrong("size of headers", headers.into()));
    let count = of_optional(directories)?;
    let entry = directories.saturating_add(4).saturating_add((SECURITY as usize).saturating_mul(8));
    let mut skipped =
        vec![(optional.saturating_add(CHECKSUM), optional.saturating_add(CHECKSUM).saturating_add(4))];
    let mut signatures = 0;
    if count > SECURITY {
        let at = optional.saturating_add(entry);
        skipped.push((at, at.saturating_add(8)));
        signatures = u64::from(of_optional(entry.saturating_add(4))?);
        ensure!(signatures <= len, wrong("size of signatures", signatures));
    }
    let inside = skipped.iter().all(|(_, end)| *end <= headers as usize);
    ensure!(inside, wrong("size of headers", headers.into()));

    let optional_size = u16_at(&start, field(20)).context(NotPeSnafu)?;
    let number = u16_at(&start, field(6)).context(NotPeSnafu)?;
    let table = optional.saturating_add(usize::from(optional_size));
    let mut sections = Vec::new();
    for n in 0..usize::from(number) {
        let at = table.saturating_add(n.saturating_mul(SECTION));
        let (size, from) = (u32_at(&start, at.saturating_add(16)), u32_at(&start, at.saturating_add(20)));
        let (size, from) = size.zip(from).context(wrong("number of sections", number.into()))?;
        ensure!(u64::from(from).saturating_add(size.into()) <= len, wrong("end of a section", from.into()));
        if size > 0 {
            sections.push((u64::from(from), u64::from(size)));
        }
    }
    sections.sort_by_key(|(from, _)| *from);
    // Overlapping sections would be read over and over.
    let sum: u64 = sections.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    ensure!(sum <= len, wrong("sum of section sizes", sum));
    start.truncate(headers as usize);
    Ok(Layout { headers: start, skipped, sections, signatures })
}

fn hash_range(
    file: &mut (impl Read + Seek),
    hasher: &mut Sha384,
    offset: u64,
    mut size: u64,
) -> Result<(), PeError> {
    file.seek(SeekFrom::Start(offset)).context(ReadSnafu)?;
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    while size > 0 {
        let n = usize::try_from(size).unwrap_or(CHUNK).min(buffer.len());
        let piece = buffer.get_mut(..n).unwrap_or_default();
        file.read_exact(piece).context(ReadSnafu)?;
        hasher.update(piece);
        size = size.saturating_sub(n as u64);
    }
    Ok(())
}
