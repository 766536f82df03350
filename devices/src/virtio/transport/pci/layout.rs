//! Where things are in the BAR, and the capabilities that say so (virtio 1.3 §4.1.4).

use crate::pci::{CAP_VENDOR, ConfigSpace, LayoutError};

/// The only BAR.
pub(super) const BAR: u8 = 0;
/// Its size.
pub(super) const BAR_SIZE: u32 = 0x8000;

/// Common configuration (§4.1.4.3).
pub(super) const COMMON: u64 = 0x0000;
pub(super) const COMMON_LEN: u64 = 0x40;
/// ISR status (§4.1.4.5).
pub(super) const ISR: u64 = 0x1000;
pub(super) const ISR_LEN: u64 = 4;
/// Device-specific configuration (§4.1.4.6).
pub(super) const DEVICE: u64 = 0x2000;
pub(super) const DEVICE_LEN: u64 = 0x1000;
/// Doorbells (§4.1.4.4), four bytes for each queue.
pub(super) const NOTIFY: u64 = 0x3000;
/// `notify_off_multiplier`.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;
/// The MSI-X table, on a page of its own, and its pending bits, too.
pub(super) const MSIX_TABLE: u64 = 0x4000;
pub(super) const MSIX_TABLE_LEN: u64 = 0x1000;
pub(super) const MSIX_PENDING: u64 = 0x5000;
pub(super) const MSIX_PENDING_LEN: u64 = 0x1000;

/// The most queues: with one vector each and one for configuration changes they fill the table's page.
pub(super) const MAX_QUEUES: u16 = 255;

/// Capability types (§4.1.4, `cfg_type`).
pub(super) const CFG_COMMON: u8 = 1;
pub(super) const CFG_NOTIFY: u8 = 2;
pub(super) const CFG_ISR: u8 = 3;
pub(super) const CFG_DEVICE: u8 = 4;
pub(super) const CFG_PCI: u8 = 5;

/// In `struct virtio_pci_cap`: `bar`.
pub(super) const CAP_BAR: u16 = 4;
/// `offset`.
pub(super) const CAP_OFFSET: u16 = 8;
/// `length`.
pub(super) const CAP_LENGTH: u16 = 12;
/// In `struct virtio_pci_cfg_cap`: `pci_cfg_data`.
pub(super) const CAP_DATA: u16 = 16;
/// Bytes of `struct virtio_pci_cap` after the id and the link.
const CAP_BODY: u8 = 14;

/// Adds all virtio capabilities; gives the offset of the PCI_CFG one.
pub(super) fn add_capabilities(space: &mut ConfigSpace, queues: u16) -> Result<u16, LayoutError> {
    let notify_len = u64::from(queues).saturating_mul(u64::from(NOTIFY_MULTIPLIER));
    let multiplier = NOTIFY_MULTIPLIER.to_le_bytes();
    for (kind, offset, len, tail) in [
        (CFG_COMMON, COMMON, COMMON_LEN, &[][..]),
        (CFG_NOTIFY, NOTIFY, notify_len, &multiplier[..]),
        (CFG_ISR, ISR, ISR_LEN, &[]),
        (CFG_DEVICE, DEVICE, DEVICE_LEN, &[]),
    ] {
        space.add_capability(CAP_VENDOR, &body(kind, offset, len, tail), &[])?;
    }
    // The driver chooses bar, offset and length, then reads or writes the data (§4.1.4.9).
    let mut writable = [0u8; CAP_BODY as usize + 4];
    for field in
        [CAP_BAR..CAP_BAR + 1, CAP_OFFSET..CAP_OFFSET + 4, CAP_LENGTH..CAP_LENGTH + 4, CAP_DATA..CAP_DATA + 4]
    {
        for at in field {
            if let Some(mask) = writable.get_mut(usize::from(at.saturating_sub(2))) {
                *mask = 0xff;
            }
        }
    }
    space.add_capability(CAP_VENDOR, &body(CFG_PCI, 0, 0, &[0; 4]), &writable)
}

/// `struct virtio_pci_cap` from `cap_len` on, and what follows it.
fn body(kind: u8, offset: u64, len: u64, tail: &[u8]) -> Vec<u8> {
    let cap_len = CAP_BODY.saturating_add(2).saturating_add(u8::try_from(tail.len()).unwrap_or(0));
    let word = |v: u64| u32::try_from(v).unwrap_or(0).to_le_bytes();
    [&[cap_len, kind, BAR, 0, 0, 0][..], &word(offset), &word(len), tail].concat()
}
