//! SMBIOS: what the machine is called (DSP0134 3.0). Nothing of the host: no serial number, no UUID.

/// The anchor's length and version (DSP0134 5.2.2, the 64-bit entry point).
const ANCHOR_LEN: usize = 24;
const ANCHOR_CHECKSUM: usize = 5;
const ANCHOR_TABLES: usize = 12;
/// System information (7.2): 27 bytes, then its strings.
const SYSTEM: [u8; 27] = [
    1, 27, 0x00, 0x01, // type, length, handle 0x0100
    1, 2, 0, 0, // manufacturer, product; no version, no serial number
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // no UUID
    6, // woken by the power switch
    0, 0, // no SKU, no family
];
const SYSTEM_STRINGS: &[u8] = b"Cloister\0Confidential virtual machine\0\0";
/// End of table (7.45), and no strings.
const END: [u8; 6] = [127, 4, 0x00, 0x7f, 0, 0];

/// The two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbiosFiles {
    /// `etc/smbios/smbios-anchor`.
    pub anchor: Vec<u8>,
    /// `etc/smbios/smbios-tables`.
    pub tables: Vec<u8>,
}

impl SmbiosFiles {
    /// The files of every machine. The firmware adds what it says of itself.
    pub fn new() -> Self {
        let tables = [&SYSTEM[..], SYSTEM_STRINGS, &END].concat();
        let mut anchor = b"_SM3_\0".to_vec();
        // Length, version 3.0, entry point revision 1; the firmware sets the tables' address.
        anchor.extend([ANCHOR_LEN as u8, 3, 0, 0, 1, 0]);
        debug_assert_eq!(anchor.len(), ANCHOR_TABLES);
        anchor.extend((tables.len() as u32).to_le_bytes());
        anchor.resize(ANCHOR_LEN, 0);
        anchor[ANCHOR_CHECKSUM] = anchor.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
        SmbiosFiles { anchor, tables }
    }

    /// The files' names with their contents.
    pub fn named(self) -> [(&'static str, Vec<u8>); 2] {
        [("etc/smbios/smbios-anchor", self.anchor), ("etc/smbios/smbios-tables", self.tables)]
    }
}

impl Default for SmbiosFiles {
    fn default() -> Self {
        SmbiosFiles::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchor_adds_up_and_the_tables_can_be_walked() {
        let SmbiosFiles { anchor, tables } = SmbiosFiles::new();
        assert_eq!(anchor.len(), 24);
        assert_eq!(anchor.iter().fold(0u8, |s, b| s.wrapping_add(*b)), 0);
        assert_eq!(u32::from_le_bytes(anchor[12..16].try_into().unwrap()) as usize, tables.len());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < tables.len() {
            kinds.push(tables[at]);
            let strings = at + usize::from(tables[at + 1]);
            at = strings + tables[strings..].windows(2).position(|w| w == [0, 0]).unwrap() + 2;
        }
        assert_eq!((kinds, at), (vec![1, 127], tables.len()));
    }
}
