//! Stock firmware, and what it boots.

use std::path::PathBuf;

use cloister_rig::{firmware_images, stock_firmware};

use crate::Guest;
use crate::esp::{esp_disk, unified_kernel};

/// Debian's OVMF.
pub fn ovmf() -> PathBuf {
    stock_firmware().expect("OVMF; `cargo xtask test` fetches it").join("OVMF.fd")
}

/// Debian's OVMF for SEV guests, which checks the kernel that it is handed.
pub fn ovmf_amdsev() -> PathBuf {
    firmware_images().expect("OVMF; `cargo xtask test` fetches it").join("OVMF.amdsev.fd")
}

/// A disk in the guest's directory that boots its kernel and initrd, as a unified kernel image.
pub fn boot_disk(guest: &Guest, cmdline: &str) -> PathBuf {
    let stub = stock_firmware().expect("systemd's EFI stub; `cargo xtask test` fetches it");
    let [stub, kernel, initrd] = [&stub.join("linuxx64.efi.stub"), &guest.kernel, &guest.initrd]
        .map(|path| std::fs::read(path).expect("a file of the guest's"));
    let path = guest.path("disk.raw");
    std::fs::write(&path, esp_disk(&unified_kernel(&stub, &kernel, &initrd, cmdline))).expect("a disk");
    path
}
