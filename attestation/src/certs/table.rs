//! The GUID certificate table: what SNP_EXT_GUEST_REQUEST and configfs-tsm's `auxblob` give (GHCB
//! specification, "SNP Extended Guest Request").
//!
//! Entries of 24 bytes {GUID 16, offset u32, length u32}, ended by one of zeros; the blobs after it.
//! The host writes it, so every number in it is hostile. Blobs may be DER or PEM.

use std::fmt;

use snafu::{OptionExt, Snafu, ensure};

use super::CertificateRole;

/// Largest table that is read (GHCB: the guest offers a few pages).
const MAX_TABLE: usize = 64 << 10;
/// Most entries; six kinds are known.
const MAX_ENTRIES: usize = 32;
const ENTRY_LEN: usize = 24;

/// A GUID in the order of its text, which is how the table stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// c0b406a4-a803-4952-9743-3fb6014cd0ae
    pub const ARK: Self = Self(0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes());
    /// 4ab7b379-bbac-4fe4-a02f-05aef327c782; the ASVK too
    pub const ASK: Self = Self(0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes());
    /// 63da758d-e664-4564-adc5-f4b93be8accd
    pub const VCEK: Self = Self(0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes());
    /// a8074bc2-a25a-483e-aae6-39c045a0b8a1
    pub const VLEK: Self = Self(0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes());
    /// 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
    pub const CRL: Self = Self(0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea_u128.to_be_bytes());
}

/// Why a table was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum TableError {
    /// Longer than what is read.
    #[snafu(display("the certificate table has {len} bytes, more than the {MAX_TABLE} that are read"))]
    TableTooLong {
        /// Its length.
        len: usize,
    },
    /// No entry of zeros ends it.
    #[snafu(display("the certificate table has no end within {MAX_ENTRIES} entries"))]
    NoEnd,
    /// An entry points outside.
    #[snafu(display(
        "entry {entry} of the certificate table points outside of it (offset {offset}, length {length})"
    ))]
    OutOfBounds {
        /// Number of the entry.
        entry: usize,
        /// Its offset.
        offset: u32,
        /// Its length.
        length: u32,
    },
    /// A kind of certificate is there twice.
    #[snafu(display("the certificate table has more than one {role}"))]
    Duplicate {
        /// The kind.
        role: CertificateRole,
    },
    /// A blob that begins like PEM is not PEM.
    #[snafu(display("the {role} in the certificate table is not proper PEM"))]
    BadPem {
        /// The kind.
        role: CertificateRole,
    },
}

/// The certificates that came with a report, as DER.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CertTable {
    /// The root. Only compared with the pinned ones.
    pub ark: Option<Vec<u8>>,
    /// ASK or ASVK.
    pub ask: Option<Vec<u8>>,
    /// The chip's key.
    pub vcek: Option<Vec<u8>>,
    /// The provider's key.
    pub vlek: Option<Vec<u8>>,
    /// The root's revocation list.
    pub crl: Option<Vec<u8>>,
}

impl fmt::Debug for CertTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = |blob: &Option<Vec<u8>>| blob.as_ref().map(Vec::len);
        write!(
            f,
            "CertTable {{ ark: {:?}, ask: {:?}, vcek: {:?}, vlek: {:?}, crl: {:?} bytes }}",
            len(&self.ark),
            len(&self.ask),
            len(&self.vcek),
            len(&self.vlek),
            len(&self.crl)
        )
    }
}

impl CertTable {
    /// Reads a table. No bytes at all are an empty table; unknown GUIDs are left out.
    pub fn parse(blob: &[u8]) -> Result<Self, TableError> {
        let mut table = Self::default();
        if blob.is_empty() {
            return Ok(table);
        }
        ensure!(blob.len() <= MAX_TABLE, TableTooLongSnafu { len: blob.len() });
        for (entry, bytes) in blob.chunks_exact(ENTRY_LEN).take(MAX_ENTRIES).enumerate() {
            let (guid, offset, length) = split_entry(bytes).context(NoEndSnafu)?;
            if guid == Guid([0; 16]) && offset == 0 && length == 0 {
                return Ok(table);
            }
            let data = slice(blob, offset, length).context(OutOfBoundsSnafu { entry, offset, length })?;
            let Some((role, slot)) = table.slot(guid) else { continue };
            ensure!(slot.is_none(), DuplicateSnafu { role });
            *slot = Some(to_der(data).context(BadPemSnafu { role })?);
        }
        NoEndSnafu.fail()
    }

    fn slot(&mut self, guid: Guid) -> Option<(CertificateRole, &mut Option<Vec<u8>>)> {
        Some(match guid {
            Guid::ARK => (CertificateRole::Ark, &mut self.ark),
            Guid::ASK => (CertificateRole::Ask, &mut self.ask),
            Guid::VCEK => (CertificateRole::Vcek, &mut self.vcek),
            Guid::VLEK => (CertificateRole::Vlek, &mut self.vlek),
            Guid::CRL => (CertificateRole::Crl, &mut self.crl),
            _ => return None,
        })
    }

    /// This table, with what it lacks taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            ark: self.ark.or_else(|| other.ark.clone()),
            ask: self.ask.or_else(|| other.ask.clone()),
            vcek: self.vcek.or_else(|| other.vcek.clone()),
            vlek: self.vlek.or_else(|| other.vlek.clone()),
            crl: self.crl.or_else(|| other.crl.clone()),
        }
    }

    /// Writes the table, for whoever serves it to a guest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all = [
            (Guid::ARK, &self.ark),
            (Guid::ASK, &self.ask),
            (Guid::VCEK, &self.vcek),
            (Guid::VLEK, &self.vlek),
            (Guid::CRL, &self.crl),
        ];
        let entries: Vec<_> = all.iter().filter_map(|(guid, blob)| Some((*guid, blob.as_deref()?))).collect();
        encode_table(&entries)
    }
}

/// Writes a table of these entries, in this order.
pub fn encode_table(entries: &[(Guid, &[u8])]) -> Vec<u8> {
    let mut head = Vec::new();
    let mut blobs: Vec<u8> = Vec::new();
    let start = entries.len().saturating_add(1).saturating_mul(ENTRY_LEN);
    for (guid, blob) in entries {
        let offset = start.saturating_add(blobs.len());
        head.extend_from_slice(&guid.0);
        head.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        head.extend_from_slice(&u32::try_from(blob.len()).unwrap_or(u32::MAX).to_le_bytes());
        blobs.extend_from_slice(blob);
    }
    head.extend_from_slice(&[0; ENTRY_LEN]);
    head.extend(blobs);
    head
}

fn split_entry(bytes: &[u8]) -> Option<(Guid, u32, u32)> {
    let (guid, rest) = bytes.split_first_chunk::<16>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    Some((Guid(*guid), u32::from_le_bytes(*offset), u32::from_le_bytes(*length)))
}

fn slice(blob: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    blob.get(start..end)
}

/// DER as it is, PEM decoded.
fn to_der(data: &[u8]) -> Option<Vec<u8>> {
    if !data.starts_with(b"-----BEGIN ") {
        return Some(data.to_vec());
    }
    // Some hosts pad PEM blobs with zeros up to a page.
    let end = data.iter().rposition(|&b| b != 0)?;
    let (_, der) = der::pem::decode_vec(data.get(..=end)?).ok()?;
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(guid: Guid, offset: u32, length: u32) -> Vec<u8> {
        [&guid.0[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat()
    }

    #[test]
    fn guids_are_stored_in_text_order() {
        assert_eq!(hex::encode(Guid::VCEK.0), "63da758de6644564adc5f4b93be8accd");
        assert_eq!(hex::encode(Guid::ARK.0), "c0b406a4a803495297433fb6014cd0ae");
    }

    #[test]
    fn a_real_table_of_pem_is_read() {
        let blob = include_bytes!("../../tests/vectors/genoa-v3-vcek-veraison/auxblob.bin");
        let table = CertTable::parse(blob).unwrap();
        assert_eq!(table.ark.unwrap(), include_bytes!("../snp/roots/genoa_ark.der"));
        assert_eq!(table.ask.unwrap(), include_bytes!("../snp/roots/genoa_ask.der"));
        assert_eq!(table.vcek.unwrap(), include_bytes!("../../tests/vectors/genoa-v3-vcek-veraison/vek.der"));
    }

    #[test]
    fn the_simulators_table_may_be_pem() {
        let pem = [
            (Guid::ARK, &include_bytes!("../../sim-pki/ark.pem")[..]),
            (Guid::ASK, include_bytes!("../../sim-pki/ask.pem")),
            (Guid::VCEK, include_bytes!("../../sim-pki/vcek.pem")),
        ];
        assert_eq!(CertTable::parse(&encode_table(&pem)), Ok(crate::testing::certs()));
        let padded = [pem[0].1, &[0; 100]].concat();
        let table = CertTable::parse(&encode_table(&[(Guid::ARK, &padded)])).unwrap();
        assert_eq!(table.ark, crate::testing::certs().ark);
    }

    #[test]
    fn entries_outside_the_table_are_refused() {
        for (offset, length) in [(0, 49), (48, 1), (u32::MAX, 2), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            let blob = [entry(Guid::ARK, offset, length), vec![0; 24]].concat();
            let error = CertTable::parse(&blob).unwrap_err();
            assert_eq!(error, TableError::OutOfBounds { entry: 0, offset, length });
        }
    }

    #[test]
    fn a_table_has_an_end_and_one_of_each() {
        assert_eq!(CertTable::parse(&[1; 23]), Err(TableError::NoEnd));
        assert_eq!(CertTable::parse(&entry(Guid::CRL, 0, 1).repeat(1)), Err(TableError::NoEnd));
        let many = encode_table(&[(Guid([9; 16]), &[][..]); 40]);
        assert_eq!(CertTable::parse(&many), Err(TableError::NoEnd));
        let twice = encode_table(&[(Guid::ASK, b"a"), (Guid::ASK, b"b")]);
        assert_eq!(CertTable::parse(&twice), Err(TableError::Duplicate { role: CertificateRole::Ask }));
        let pem = encode_table(&[(Guid::ASK, b"-----BEGIN nonsense")]);
        assert_eq!(CertTable::parse(&pem), Err(TableError::BadPem { role: CertificateRole::Ask }));
        assert_eq!(
            CertTable::parse(&vec![0; MAX_TABLE + 1]),
            Err(TableError::TableTooLong { len: MAX_TABLE + 1 })
        );
        assert_eq!(CertTable::parse(&[]), Ok(CertTable::default()));
    }

    proptest! {
        #[test]
        fn tables_round_trip(ark: Option<Vec<u8>>, vcek: Option<Vec<u8>>, crl: Option<Vec<u8>>) {
            let table = CertTable { ark, ask: None, vcek, vlek: None, crl };
            prop_assert_eq!(CertTable::parse(&table.to_bytes()), Ok(table));
        }

        #[test]
        fn hostile_bytes_never_panic(head: Vec<u8>, guid in prop::sample::select(vec![Guid::ARK, Guid::VCEK]), offset: u32, length: u32) {
            let _ = CertTable::parse(&head);
            let _ = CertTable::parse(&[entry(guid, offset, length), vec![0; 24], head.clone()].concat());
            let _ = CertTable::parse(&[entry(guid, offset % 64, length % 64), vec![0; 24], head].concat());
        }
    }
}
