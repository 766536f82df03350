//! The table of certificates (GHCB specification, "SNP Extended Guest Request"): entries of 24 bytes
//! {GUID 16, offset u32, length u32}, ended by one of zeros; the certificates after it.

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

/// Bytes of an entry.
const ENTRY: usize = 24;

/// Longest table that is served, in bytes: the longest that guests read.
pub(super) const MAX_TABLE: usize = 64 << 10;

/// What a certificate is; the GUIDs are those of the GHCB specification, stored in the order of their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// AMD's root.
    Ark,
    /// AMD's signing key, for chips (ASK) or for providers (ASVK).
    Ask,
    /// The chip's key.
    Vcek,
    /// The provider's key.
    Vlek,
    /// The root's revocation list.
    Crl,
}

impl Role {
    fn guid(self) -> [u8; 16] {
        let text: u128 = match self {
            Role::Ark => 0xc0b406a4_a803_4952_9743_3fb6014cd0ae,
            Role::Ask => 0x4ab7b379_bbac_4fe4_a02f_05aef327c782,
            Role::Vcek => 0x63da758d_e664_4564_adc5_f4b93be8accd,
            Role::Vlek => 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1,
            Role::Crl => 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea,
        };
        text.to_be_bytes()
    }

    /// By the name of a file, without its ending.
    pub(super) fn of_name(stem: &str) -> Option<Self> {
        Some(match stem.to_ascii_lowercase().as_str() {
            "ark" => Role::Ark,
            "ask" | "asvk" => Role::Ask,
            "vcek" => Role::Vcek,
            "vlek" => Role::Vlek,
            "crl" => Role::Crl,
            _ => return None,
        })
    }
}

/// The table with these certificates; `None` if it would be longer than what is served.
pub(super) fn encode(certs: &[(Role, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut offset = certs.len().checked_add(1)?.checked_mul(ENTRY)?;
    let mut table = Vec::new();
    for (role, der) in certs {
        table.extend(role.guid());
        table.extend(u32::try_from(offset).ok()?.to_le_bytes());
        table.extend(u32::try_from(der.len()).ok()?.to_le_bytes());
        offset = offset.checked_add(der.len())?;
    }
    table.extend([0; ENTRY]);
    certs.iter().for_each(|(_, der)| table.extend(der));
    (table.len() <= MAX_TABLE).then_some(table)
}

/// Whether `table` is a whole table: it has an end, and no entry points outside.
pub(super) fn is_table(table: &[u8]) -> bool {
    for entry in table.chunks_exact(ENTRY) {
        if entry == [0; ENTRY] {
            return true;
        }
        let word = |at: usize| {
            let bytes = entry.get(at..)?.first_chunk::<4>()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        let end = word(16).zip(word(20)).and_then(|(offset, length)| offset.checked_add(length));
        if end.is_none_or(|end| end > table.len()) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_as_the_specification_has_it() {
        let table = encode(&[(Role::Vcek, b"chip".to_vec()), (Role::Ark, b"root!".to_vec())]).unwrap();
        let expected = [
            &hex::decode("63da758de6644564adc5f4b93be8accd").unwrap()[..],
            &[72, 0, 0, 0, 4, 0, 0, 0],
            &hex::decode("c0b406a4a803495297433fb6014cd0ae").unwrap(),
            &[76, 0, 0, 0, 5, 0, 0, 0],
            &[0; 24],
            b"chiproot!",
        ];
        assert_eq!(table, expected.concat());
        assert!(is_table(&table));
        assert_eq!(encode(&[]).unwrap(), [0; 24]);
        assert!(encode(&[(Role::Ark, vec![0; MAX_TABLE])]).is_none());
    }

    #[test]
    fn what_is_no_table_is_told_apart() {
        let table = encode(&[(Role::Ask, vec![1; 10])]).unwrap();
        assert!(!is_table(&table[..table.len() - 1]));
        assert!(!is_table(&table[..24]));
        assert!(!is_table(&[]));
        assert!(!is_table(b"-----BEGIN CERTIFICATE-----"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            is_table(&bytes);
        }
    }
}
