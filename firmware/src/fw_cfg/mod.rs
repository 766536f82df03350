//! What firmware is told about its machine through fw_cfg, as bytes: the same on every host.
//!
//! | file | what |
//! |---|---|
//! | `etc/e820` | [`e820`]: where RAM is |
//! | `etc/acpi/tables`, `etc/acpi/rsdp`, `etc/table-loader` | [`AcpiFiles`]: tables, and how to place them |
//! | `etc/smbios/smbios-tables`, `etc/smbios/smbios-anchor` | [`SmbiosFiles`]: what the machine is called |
//! | `etc/system-states` | [`SYSTEM_STATES`]: no sleep |

mod acpi;
mod e820;
mod smbios;

pub use acpi::AcpiFiles;
pub use e820::e820;
pub use smbios::SmbiosFiles;

/// A byte for each of ACPI's system states S0 to S5: bit 7 if it is there, and its sleep type
/// (QEMU's hw/acpi/core.c, edk2's OvmfPkg/Library/QemuFwCfgS3Lib). Only S0 and S5 are.
pub const SYSTEM_STATES: [u8; 6] = [0x80, 0, 0, 0, 0, 0x80 | crate::acpi::ports::SLEEP_TYPE_S5];
