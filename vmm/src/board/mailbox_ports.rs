//! The simulator's mailbox on the port bus.

use cloister_coco::sim::Mailbox;
use cloister_devices::bus::BusDevice;

/// Every access is four bytes wide; others read ones and write nothing.
pub(crate) struct MailboxPorts(pub(crate) Mailbox);

impl BusDevice for MailboxPorts {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Ok(data) = <&mut [u8; 4]>::try_from(data) {
            *data = self.0.read(offset).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Ok(data) = <[u8; 4]>::try_from(data) {
            self.0.write(offset, u32::from_le_bytes(data));
        }
    }
}
