//! What a machine has for firmware: fw_cfg with all that firmware asks for, the chipset's power
//! management, and a port for its log.

use std::sync::Arc;

use cloister_devices::pci::Slot;
use cloister_devices::platform::{FwCfgItems, ItemError, Key};
use cloister_firmware::acpi::AcpiError;
use cloister_firmware::fw_cfg::{AcpiFiles, SYSTEM_STATES, SmbiosFiles, e820};
use cloister_firmware::plan::LaunchPlan;
use snafu::{ResultExt, Snafu};

use super::handover::{Handover, Progress, Witness};

/// What a firmware guest is told, beside what its plan says.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirmwareSpec {
    /// What it is to boot, if not from a disk.
    pub(crate) handover: Option<Handover>,
}

/// Why firmware cannot be told.
#[derive(Debug, Snafu)]
pub(crate) enum FirmwareItemsError {
    #[snafu(display("{source}"))]
    Acpi { source: AcpiError },
    #[snafu(display("{source}"))]
    Item { source: ItemError },
}

/// All items of fw_cfg for a guest of this plan with disks in these slots.
pub(super) fn items(
    plan: &LaunchPlan,
    spec: &FirmwareSpec,
    serial: bool,
    disks: &[Slot],
    progress: &Arc<Progress>,
) -> Result<(FwCfgItems, Option<Arc<Witness>>), FirmwareItemsError> {
    let mut items = FwCfgItems::new();
    // A plan has at most 254 vCPUs.
    let cpus = plan.vcpus.len() as u16;
    let acpi = AcpiFiles::of_board(&plan.layout, u32::from(cpus), serial).context(AcpiSnafu)?;
    let mut files = acpi.named().to_vec();
    files.extend(SmbiosFiles::new().named());
    files.push(("etc/e820", e820(&plan.layout)));
    files.push(("etc/system-states", SYSTEM_STATES.to_vec()));
    if !disks.is_empty() {
        files.push(("bootorder", boot_order(disks)));
    }
    for (name, bytes) in files {
        items.add_file(name, bytes).context(ItemSnafu)?;
    }
    items.add(Key::CPUS, cpus.to_le_bytes().to_vec()).context(ItemSnafu)?;
    items.add(Key::MAX_CPUS, cpus.to_le_bytes().to_vec()).context(ItemSnafu)?;
    let witness =
        spec.handover.as_ref().map(|h| h.offer(&mut items, progress)).transpose().context(ItemSnafu)?;
    Ok((items, witness.flatten()))
}

/// Disks in the order in which they are to be tried: an Open Firmware path a line (QEMU's `bootorder`,
/// edk2's OvmfPkg/Library/QemuBootOrderLib, which knows virtio disks by the name `scsi`).
fn boot_order(disks: &[Slot]) -> Vec<u8> {
    let mut text: String =
        disks.iter().map(|slot| format!("/pci@i0cf8/scsi@{:x}/disk@0,0\n", slot.0)).collect();
    text.push('\0');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_tried_in_their_order() {
        assert_eq!(boot_order(&[Slot(3)]), b"/pci@i0cf8/scsi@3/disk@0,0\n\0");
        let two = String::from_utf8(boot_order(&[Slot(0x1e), Slot(2)])).unwrap();
        assert_eq!(two, "/pci@i0cf8/scsi@1e/disk@0,0\n/pci@i0cf8/scsi@2/disk@0,0\n\0");
    }
}
