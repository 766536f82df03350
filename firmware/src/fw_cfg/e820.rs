//! `etc/e820`: RAM, in the form of the BIOS call of that number (QEMU's hw/i386/e820_memory_layout.h).

use crate::plan::{GuestLayout, MemoryRange};

/// Usable memory.
const RAM: u32 = 1;
/// Not to be touched.
const RESERVED: u32 = 2;

/// An entry for each range of RAM, below 1 MiB included: what firmware keeps to itself it knows. PCIe
/// configuration space is not free for anything else.
pub fn e820(layout: &GuestLayout) -> Vec<u8> {
    let ram = layout.ram.iter().map(|r| (*r, RAM));
    ram.chain([(GuestLayout::ECAM, RESERVED)]).flat_map(|(range, kind)| entry(range, kind)).collect()
}

/// Address and length in 64 bits, kind in 32.
fn entry(range: MemoryRange, kind: u32) -> Vec<u8> {
    [&range.start.to_le_bytes()[..], &range.size.to_le_bytes(), &kind.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ram_is_told() {
        let bytes = e820(&GuestLayout::new(4 << 30));
        assert_eq!(bytes.len(), 60);
        let low = [&[0; 8][..], &0xc000_0000u64.to_le_bytes(), &[1, 0, 0, 0]].concat();
        let high = [&0x1_0000_0000u64.to_le_bytes()[..], &(1u64 << 30).to_le_bytes(), &[1, 0, 0, 0]].concat();
        assert_eq!((&bytes[..20], &bytes[20..40]), (&low[..], &high[..]));
    }
}
