//! Interrupts sent at once, as messages.

use std::io;
use std::sync::Arc;

use cloister_coco::tdx::vmcall::{InjectMsi, Msi};
use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;

/// Sends messages through KVM_SIGNAL_MSI.
pub(crate) struct KvmMessages(pub(crate) Arc<VmFd>);

impl InjectMsi for KvmMessages {
    fn inject(&self, message: Msi) -> io::Result<()> {
        let msi = kvm_msi {
            address_lo: message.address as u32,
            address_hi: (message.address >> 32) as u32,
            data: message.data,
            ..Default::default()
        };
        // 0: the guest blocks it, which is its own business.
        self.0.signal_msi(msi).map(drop).map_err(io::Error::from)
    }
}
