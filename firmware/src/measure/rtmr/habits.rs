//! What a firmware measures beside its inputs, as the code in its image tells: versions differ, and no image
//! says which it is.

use super::predict::LoadOptions;
use super::unpack::unpack;
use super::volume::{Volume, user_interface, volumes};
use crate::ovmf::Guid;

/// `OvmfPkg/Tcg/TdTcg2Dxe`: measures variables and boot options of a TD.
const TD_MEASUREMENT: Guid = Guid::new(0xf062221e_c607_44c2_b0b4_c3886331d351);
/// `MdeModulePkg/Universal/SmbiosMeasurementDxe`.
const SMBIOS_MEASUREMENT: Guid = Guid::new(0xd27fed59_abb4_4fed_bead_2a878c7e4a7e);
/// `MdeModulePkg/Application/UiApp`: the setup program, for a long time the boot manager's menu as well.
const SETUP: Guid = Guid::new(0x462caa21_7614_4503_836e_8ab6f4662331);
/// `MdeModulePkg/Application/BootManagerMenuApp`: a menu apart from it.
const MENU: Guid = Guid::new(0xeec25bdc_67f2_4d95_b1d5_f81b2039d11d);
/// The event of `OvmfPkg/Library/QemuFwCfgLib/QemuFwCfgCacheInit.c`.
const FW_CFG_EVENT: &[u8] = b"QEMU FW CFG\0";
/// A variable of `SecurityPkg/Library/AuthVariableLib`, which makes `SecureBoot`.
const AUTHENTICATED: &str = "certdb\0";
/// What newer versions of `OvmfPkg/Library/PlatformBootManagerLib` call the setup program.
const NEWER_SETUP: &str = "EFI Firmware Setup\0";
/// What `OvmfPkg/Library/GenericQemuLoadImageLib` adds to the command line.
const INITRD_FIRST: &[u8] = b"initrd=initrd \0";
const INITRD_LAST: &[u8] = b" initrd=initrd\0";

/// What is known of a firmware's ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Habits {
    /// Whether it measures TDs at all, beyond its first steps.
    pub(super) measures: bool,
    /// Whether it measures fw_cfg items that it keeps.
    pub(super) fw_cfg: bool,
    /// Whether it has Secure Boot, and so a variable that says whether it is on.
    pub(super) secure_boot: bool,
    /// Whether it measures SMBIOS tables.
    pub(super) smbios: bool,
    /// How it tells a kernel of its initrd.
    pub(super) options: Option<LoadOptions>,
    /// The boot option that there is before a kernel is started, if it is the only one.
    pub(super) setup: Option<BootOption>,
}

/// A boot option for a program in the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootOption {
    /// What people call it.
    description: String,
    /// The volume it is in.
    volume: Guid,
}

impl Habits {
    /// Reads them from an image; `None` if its drivers cannot be found.
    pub(super) fn read(image: &[u8]) -> Option<Self> {
        let drivers = unpack(image)?;
        let volumes = volumes(&drivers)?;
        let file = |name| volumes.iter().any(|v| v.files.iter().any(|(file, _)| *file == name));
        let has = |text: &[u8]| [image, &drivers].iter().any(|b| b.windows(text.len()).any(|w| w == text));
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let options = match (has(INITRD_FIRST), has(INITRD_LAST)) {
            (true, false) => Some(LoadOptions::InitrdFirst),
            (false, true) => Some(LoadOptions::InitrdLast),
            _ => None,
        };
        let known = !file(MENU) && !has(&wide(NEWER_SETUP));
        Some(Habits {
            measures: file(TD_MEASUREMENT),
            fw_cfg: has(FW_CFG_EVENT),
            secure_boot: has(&wide(AUTHENTICATED)),
            smbios: file(SMBIOS_MEASUREMENT),
            options,
            setup: if known { volumes.iter().find_map(BootOption::setup) } else { None },
        })
    }
}

impl BootOption {
    /// The one that the boot manager makes for its menu (`BmRegisterBootManagerMenu` of
    /// `MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c`).
    fn setup(volume: &Volume<'_>) -> Option<Self> {
        let (_, file) = volume.files.iter().find(|(name, _)| *name == SETUP)?;
        let description = user_interface(file).unwrap_or_else(|| "Boot Manager Menu".to_owned());
        Some(BootOption { description, volume: volume.name })
    }

    /// EFI_LOAD_OPTION (UEFI specification 2.10, 3.1.3): what the variable holds, and what is measured.
    pub(super) fn bytes(&self) -> Vec<u8> {
        /// LOAD_OPTION_ACTIVE, LOAD_OPTION_HIDDEN, LOAD_OPTION_CATEGORY_APP.
        const ATTRIBUTES: u32 = 0x1 | 0x8 | 0x100;
        /// Media device paths of a volume and of a file in it, 20 bytes each; the end of a path, 4 bytes.
        const PATH_VOLUME: [u8; 4] = [4, 7, 20, 0];
        const PATH_FILE: [u8; 4] = [4, 6, 20, 0];
        const PATH_END: [u8; 4] = [0x7f, 0xff, 4, 0];
        let path = [&PATH_VOLUME[..], &self.volume.0, &PATH_FILE, &SETUP.0, &PATH_END].concat();
        let description = self.description.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.extend(description);
        bytes.extend(path);
        bytes
    }
}
