//! GUIDs as UEFI stores them.

use std::fmt;

use crate::bytes::bytes_at;

/// A GUID in its stored form: the first three groups little-endian (UEFI specification, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the number that its text is: `0x96b582de_1fb2_45f7_baea_a366c55a082d`.
    pub const fn new(text: u128) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = text.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = rest;
        Guid([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// The GUID at `at` of `buf`.
    pub(crate) fn at(buf: &[u8], at: usize) -> Option<Self> {
        bytes_at(buf, at).map(Guid)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d, c, b, a, e1, e0, g1, g0, i, j, k, l, m, n, o, p] = self.0;
        let first = u32::from_be_bytes([a, b, c, d]);
        let (second, third) = (u16::from_be_bytes([e0, e1]), u16::from_be_bytes([g0, g1]));
        let fourth = u16::from_be_bytes([i, j]);
        let fifth = u64::from_be_bytes([0, 0, k, l, m, n, o, p]);
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{fifth:012x}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The entries of OVMF's table that have a name (`OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm` of edk2).
pub mod known {
    use super::Guid;

    /// Footer of the table itself.
    pub const TABLE_FOOTER: Guid = Guid::new(0x96b582de_1fb2_45f7_baea_a366c55a082d);
    /// SEV-ES reset block: where other vCPUs start.
    pub const RESET_BLOCK: Guid = Guid::new(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
    /// SEV launch secret area.
    pub const SECRET_BLOCK: Guid = Guid::new(0x4c2eb361_7d9b_4cc3_8081_127c90d3d294);
    /// Area for the table of kernel hashes.
    pub const HASH_BLOCK: Guid = Guid::new(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
    /// Offset of the SEV metadata.
    pub const SEV_METADATA: Guid = Guid::new(0xdc886566_984a_4798_a75e_5585a7bf67cc);
    /// Offset of the TDX metadata.
    pub const TDX_METADATA: Guid = Guid::new(0xe47a6535_984a_4798_865e_4685a7bf8ec2);
    /// Offset of the IGVM parameter metadata.
    pub const IGVM_METADATA: Guid = Guid::new(0x784fa70e_3176_4677_8a20_04b68699e374);
    /// Launch offset of an SVSM (coconut-svsm).
    pub const SVSM_INFO: Guid = Guid::new(0xa789a612_0597_4c4b_a49f_cbb1fe9d1ddd);

    /// What an entry is, for people.
    pub fn name(guid: &Guid) -> Option<&'static str> {
        Some(match *guid {
            TABLE_FOOTER => "table footer",
            RESET_BLOCK => "SEV-ES reset block",
            SECRET_BLOCK => "SEV secret block",
            HASH_BLOCK => "SEV hash table block",
            SEV_METADATA => "SEV metadata offset",
            TDX_METADATA => "TDX metadata offset",
            IGVM_METADATA => "IGVM metadata offset",
            SVSM_INFO => "SVSM info",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_stored_form() {
        let text = "96b582de-1fb2-45f7-baea-a366c55a082d";
        assert_eq!(known::TABLE_FOOTER.to_string(), text);
        assert_eq!(known::TABLE_FOOTER.0[..8], [0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45]);
        assert_eq!(known::TABLE_FOOTER.0[8..10], [0xba, 0xea]);
    }
}
