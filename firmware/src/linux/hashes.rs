//! The table of kernel hashes: how firmware knows that the kernel it is handed is the one that was
//! measured (`OvmfPkg/AmdSev/BlobVerifierLibSevHashes` of edk2, and QEMU's `target/i386/sev.c`).

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use snafu::{OptionExt, Snafu, ensure};

use crate::bytes::{bytes_at, u16_at};
use crate::ovmf::Guid;

/// Bytes in a table with its padding: a multiple of 16.
pub const TABLE_SIZE: usize = 176;

const TABLE: Guid = Guid::new(0x9438d606_4f22_4cc9_b479_a793d411fd21);
const CMDLINE: Guid = Guid::new(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);
const INITRD: Guid = Guid::new(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
const KERNEL: Guid = Guid::new(0x4de79437_abd2_427f_b835_d5b172d2045b);

/// GUID and length, before the hash of every entry and before the first entry of the table.
const HEADER: usize = 18;
/// Bytes in an entry: header and SHA-256.
const ENTRY: usize = HEADER + 32;
/// Bytes that the table says it has: without the padding.
const LENGTH: usize = HEADER + 3 * ENTRY;
/// Bytes read from a file at once.
const CHUNK: usize = 256 << 10;

/// A table is not one that firmware would accept.
#[derive(Debug, Snafu)]
pub enum HashTableError {
    /// Too short for its header.
    #[snafu(display("kernel hash table: {found} bytes, wanted at least {HEADER}"))]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Another GUID than the table's.
    #[snafu(display("kernel hash table: GUID {found}, wanted {TABLE}"))]
    Header {
        /// GUID found.
        found: Guid,
    },
    /// A length beyond the bytes that there are.
    #[snafu(display("kernel hash table: length {found}, wanted {HEADER} to {max}"))]
    Length {
        /// Length found.
        found: usize,
        /// Bytes that there are.
        max: usize,
    },
    /// An entry that is no hash.
    #[snafu(display("kernel hash table, entry {guid} at {offset}: length {found}, wanted {ENTRY}"))]
    EntryLength {
        /// Its GUID.
        guid: Guid,
        /// Its offset in the table.
        offset: usize,
        /// Length found.
        found: usize,
    },
    /// The same entry twice.
    #[snafu(display("kernel hash table, entry {guid} at {offset}: a second one, wanted one"))]
    EntryTwice {
        /// Its GUID.
        guid: Guid,
        /// Its offset in the table.
        offset: usize,
    },
    /// An entry is not there: firmware would accept that blob unchecked.
    #[snafu(display("kernel hash table: no entry for the {what}, wanted one: nobody would check it"))]
    Missing {
        /// `"kernel"`, …
        what: &'static str,
    },
}

/// Length and SHA-256 of something that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Bytes.
    pub len: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

impl Blob {
    /// Nothing: what an initrd that is not there counts as.
    pub fn empty() -> Self {
        Blob { len: 0, sha256: Sha256::digest([]).into() }
    }

    /// Reads `reader` to its end, piece by piece.
    pub fn read(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = BlobHasher::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            hasher.update(buffer.get(..n).unwrap_or_default());
        }
    }
}

/// A [`Blob`] whose bytes somebody else reads.
#[derive(Debug, Clone, Default)]
pub struct BlobHasher {
    hasher: Sha256,
    len: u64,
}

impl BlobHasher {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// There are no more.
    pub fn finish(self) -> Blob {
        Blob { len: self.len, sha256: self.hasher.finalize().into() }
    }
}

/// SHA-256 of what a direct boot consists of, each exactly as firmware gets it: the whole kernel file
/// with its setup header unpatched, the initrd or nothing, the command line with its NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHashes {
    /// The kernel file.
    pub kernel: [u8; 32],
    /// The initrd file; of nothing if there is none.
    pub initrd: [u8; 32],
    /// The command line and the NUL behind it.
    pub cmdline: [u8; 32],
}

impl KernelHashes {
    /// Hashes of a kernel and an initrd that were read, and of `cmdline`, which has no NUL yet.
    pub fn new(kernel: &Blob, initrd: Option<&Blob>, cmdline: &str) -> Self {
        let cmdline = Sha256::new().chain_update(cmdline).chain_update([0]).finalize().into();
        let initrd = initrd.copied().unwrap_or_else(Blob::empty).sha256;
        KernelHashes { kernel: kernel.sha256, initrd, cmdline }
    }

    /// The table.
    pub fn table(&self) -> [u8; TABLE_SIZE] {
        let mut bytes = Vec::with_capacity(TABLE_SIZE);
        bytes.extend_from_slice(&TABLE.0);
        bytes.extend_from_slice(&(LENGTH as u16).to_le_bytes());
        for (guid, hash) in [(CMDLINE, &self.cmdline), (INITRD, &self.initrd), (KERNEL, &self.kernel)] {
            bytes.extend_from_slice(&guid.0);
            bytes.extend_from_slice(&(ENTRY as u16).to_le_bytes());
            bytes.extend_from_slice(hash);
        }
        let mut table = [0; TABLE_SIZE];
        table.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        table
    }

    /// Reads a table as firmware does: by GUIDs, in any order, unknown ones skipped. Stricter than
    /// firmware in that all three must be there, once.
    pub fn parse(bytes: &[u8]) -> Result<Self, HashTableError> {
        let header = Guid::at(bytes, 0).zip(u16_at(bytes, 16));
        let (found, length) = header.context(ShortSnafu { found: bytes.len() })?;
        ensure!(found == TABLE, HeaderSnafu { found });
        let (length, max) = (usize::from(length), bytes.len());
        let inside = bytes.get(HEADER..length);
        let mut rest = inside.context(LengthSnafu { found: length, max })?;
        let mut slots = [(CMDLINE, "command line", None), (INITRD, "initrd", None), (KERNEL, "kernel", None)];
        while !rest.is_empty() {
            let offset = length.saturating_sub(rest.len());
            let entry = Guid::at(rest, 0).zip(u16_at(rest, 16)).map(|(guid, len)| (guid, usize::from(len)));
            let (guid, len) = entry.context(LengthSnafu { found: length, max })?;
            let skipped = rest.get(len..).filter(|_| len >= HEADER);
            let next = skipped.context(EntryLengthSnafu { guid, offset, found: len })?;
            if let Some((.., slot)) = slots.iter_mut().find(|(known, ..)| *known == guid) {
                let hash = bytes_at::<32>(rest, HEADER).filter(|_| len == ENTRY);
                let hash = hash.context(EntryLengthSnafu { guid, offset, found: len })?;
                ensure!(slot.replace(hash).is_none(), EntryTwiceSnafu { guid, offset });
            }
            rest = next;
        }
        let [cmdline, initrd, kernel] = slots.map(|(_, what, hash)| hash.context(MissingSnafu { what }));
        Ok(KernelHashes { kernel: kernel?, initrd: initrd?, cmdline: cmdline? })
    }
}

#[cfg(test)]
#[path = "hashes_tests.rs"]
mod tests;
