//! The events of a TD that boots through OVMF, in the order of the firmware.

use super::Rtmr;
use super::habits::Habits;
use super::variables::{is_secure, secure_boot_variables};
use crate::measure::Digest384;
use crate::ovmf::Firmware;
use crate::plan::MemoryRange;
use crate::tdvf::{END_HOB_LEN, Tdvf, TdvfError, TdvfSection, td_hob};

/// How the firmware tells a kernel about its initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadOptions {
    /// `initrd=initrd` before the command line: edk2 since 2025.
    #[default]
    InitrdFirst,
    /// ` initrd=initrd` behind it: edk2 before.
    InitrdLast,
}

/// A kernel that the firmware is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdKernel {
    /// Authenticode hash of the file as it is handed over, not patched.
    pub image: Digest384,
    /// SHA-384 of the initrd, if there is one.
    pub initrd: Option<Digest384>,
    /// The command line.
    pub cmdline: String,
    /// How the initrd is told of; `None` for what the firmware's code says.
    pub options: Option<LoadOptions>,
}

/// What a TD boots with.
#[derive(Debug, Clone)]
pub struct TdBoot<'a> {
    /// The firmware.
    pub firmware: &'a Firmware,
    /// The guest's RAM, ascending. `None` if it is not known.
    pub ram: Option<&'a [MemoryRange]>,
    /// Files that the board offers through fw_cfg, those with ACPI tables left out. Newer firmware measures
    /// some of them. `None` if they are not known.
    pub fw_cfg: Option<&'a [(String, Vec<u8>)]>,
    /// Name and SHA-384 of the files with ACPI tables, in the order of the firmware's reading:
    /// `etc/table-loader`, then each that it allocates. `None` if they are not known.
    pub acpi: Option<&'a [(String, Digest384)]>,
    /// A kernel, if the firmware is handed one.
    pub kernel: Option<TdKernel>,
}

const FROM_STORE: &str = "the variables are those of the configuration firmware volume";
const ONE_BOOT: &str = "the kernel is the first program that the firmware starts, and leaves boot services";
const NOTHING_ELSE: &str =
    "no boot option is made before the kernel is started but that of the setup program";
const ACCEPTED: &str = "Secure Boot accepts the kernel";
const NO_CODE: &str = "the firmware measures as edk2 does: its drivers cannot be unpacked";

/// A number of fw_cfg, not a file, that newer firmware measures too: 0 here, no menu (QEMU's
/// `FW_CFG_BOOT_MENU`).
const BOOT_MENU: (&str, [u8; 2]) = ("BootMenu", [0; 2]);
/// What else it measures, with the size that it must have to be (0: any), around that, in order
/// (`OvmfPkg/Library/QemuFwCfgLib/QemuFwCfgCacheInit.c` of edk2).
const FW_CFG_BEFORE: [(&str, usize); 1] = [("etc/extra-pci-roots", 8)];
const FW_CFG_AFTER: [(&str, usize); 4] = [
    ("etc/boot-menu-wait", 2),
    ("etc/reserved-memory-end", 8),
    ("opt/ovmf/X-PciMmio64Mb", 0),
    ("bootorder", 0),
];

/// Predicts the events of all four registers.
pub fn predict_rtmrs(boot: &TdBoot<'_>) -> Result<[Rtmr; 4], TdvfError> {
    let Some(tdvf) = Tdvf::parse(boot.firmware)? else { return crate::tdvf::NotForTdxSnafu.fail() };
    let habits = Habits::read(boot.firmware.bytes());
    let hob = boot.ram.map(|ram| td_hob(&tdvf, ram)).transpose()?;
    let mut firmware = Rtmr::new();
    if let Err(unknown) = firmware_events(&mut firmware, boot, &tdvf, hob.as_deref(), habits.as_ref()) {
        firmware.unknown.push(unknown);
    }
    let kernel = boot.kernel.as_ref();
    let accepted = has_secure_boot(boot.firmware, &tdvf, habits.as_ref()).then_some(ACCEPTED);
    let [programs, handed] =
        [program_events, kernel_events].map(|events| events(kernel, habits.as_ref(), accepted));
    Ok([firmware, programs, handed, Rtmr::new()])
}

/// RTMR0: memory, variables, tables, boot options. Ends before the first event that is not known.
fn firmware_events(
    rtmr: &mut Rtmr,
    boot: &TdBoot<'_>,
    tdvf: &Tdvf,
    hob: Option<&[u8]>,
    habits: Option<&Habits>,
) -> Result<(), String> {
    let hob =
        hob.ok_or("anything: it starts with the hand-off blocks, and the guest's memory is not known here")?;
    let measured = hob.get(..hob.len().saturating_sub(END_HOB_LEN)).unwrap_or_default();
    rtmr.measure("hand-off blocks (TD HOB)", measured, None);
    let cfv =
        tdvf.configuration().ok_or("everything else: the image has no configuration firmware volume")?;
    let volume = bytes(boot.firmware, cfv);
    rtmr.measure("configuration firmware volume", volume, None);
    driver_events(rtmr, boot, volume, habits)
}

fn bytes<'a>(firmware: &'a Firmware, section: &TdvfSection) -> &'a [u8] {
    let start = section.data_offset as usize;
    let end = start.saturating_add(section.data_size as usize);
    firmware.bytes().get(start..end).unwrap_or_default()
}

/// Whether the firmware starts no kernel but one that its variables accept.
fn has_secure_boot(firmware: &Firmware, tdvf: &Tdvf, habits: Option<&Habits>) -> bool {
    let variables = tdvf
        .configuration()
        .zip(habits)
        .and_then(|(cfv, habits)| secure_boot_variables(bytes(firmware, cfv), habits.secure_boot));
    variables.is_some_and(|variables| is_secure(&variables))
}

/// What the drivers measure.
fn driver_events(
    rtmr: &mut Rtmr,
    boot: &TdBoot<'_>,
    volume: &[u8],
    habits: Option<&Habits>,
) -> Result<(), String> {
    let habits = habits.ok_or("everything else: the firmware's drivers cannot be unpacked")?;
    if habits.fw_cfg {
        let files = boot.fw_cfg.ok_or("fw_cfg files, of which this firmware measures some (bootorder)")?;
        fw_cfg_events(rtmr, files);
    }
    if !habits.measures {
        return Err("everything else: no driver is known in the firmware that measures".to_owned());
    }
    let Some(variables) = secure_boot_variables(volume, habits.secure_boot) else {
        return Err("Secure Boot variables: the volume has no variable store that is understood".to_owned());
    };
    let secure = is_secure(&variables);
    for variable in variables {
        rtmr.measure(format!("variable {}", variable.name), &variable.measured_bytes(), Some(FROM_STORE));
    }
    rtmr.measure("separator", &[0; 4], None);
    let tables = boot.acpi.ok_or("ACPI tables: what the board hands over is not known here")?;
    tables.iter().for_each(|(name, digest)| rtmr.extend(name.as_str(), *digest, None));
    if secure {
        return Err("the key that the kernel is accepted with: Secure Boot is on".to_owned());
    }
    if boot.kernel.is_none() {
        return Err("BootOrder and Boot####: the firmware makes them from the devices it finds".to_owned());
    }
    if habits.smbios {
        return Err(
            "SMBIOS tables, BootOrder and Boot####: this firmware measures all of them, with its own \
                    version among the tables, in the order of its drivers"
                .to_owned(),
        );
    }
    let Some(setup) = &habits.setup else {
        return Err("BootOrder and Boot####: this firmware's boot options are not known here".to_owned());
    };
    // Only the values: not the names, as it is with the variables above.
    rtmr.measure("BootOrder", &[0; 2], Some(NOTHING_ELSE));
    rtmr.measure("Boot0000", &setup.bytes(), Some(NOTHING_ELSE));
    Ok(())
}

fn fw_cfg_events(rtmr: &mut Rtmr, files: &[(String, Vec<u8>)]) {
    let offered = |rtmr: &mut Rtmr, wanted: &[(&str, usize)]| {
        for (name, size) in wanted {
            let file = files.iter().find(|(n, bytes)| n == name && !bytes.is_empty());
            if let Some((_, bytes)) = file.filter(|(_, bytes)| *size == 0 || bytes.len() == *size) {
                rtmr.measure(format!("fw_cfg {name}"), bytes, None);
            }
        }
    };
    offered(rtmr, &FW_CFG_BEFORE);
    rtmr.measure(format!("fw_cfg {}", BOOT_MENU.0), &BOOT_MENU.1, None);
    offered(rtmr, &FW_CFG_AFTER);
}

/// What events of the later registers rest on; `None` if the firmware is known not to measure.
fn assumption(habits: Option<&Habits>, otherwise: Option<&'static str>) -> Option<Option<&'static str>> {
    match habits {
        Some(habits) => habits.measures.then_some(otherwise),
        None => Some(Some(NO_CODE)),
    }
}

/// RTMR1: programs that the firmware starts.
fn program_events(
    kernel: Option<&TdKernel>,
    habits: Option<&Habits>,
    accepted: Option<&'static str>,
) -> Rtmr {
    let mut rtmr = Rtmr::new();
    let Some(kernel) = kernel else {
        rtmr.unknown.push("boot loader or kernel: the firmware takes it from a disk".into());
        return rtmr;
    };
    let (Some(image), Some(rest)) = (assumption(habits, accepted), assumption(habits, Some(ONE_BOOT))) else {
        rtmr.unknown.push("kernel: no driver is known in the firmware that measures".into());
        return rtmr;
    };
    rtmr.extend("kernel (Authenticode)", kernel.image, image);
    rtmr.measure("calling a boot option", b"Calling EFI Application from Boot Option", rest);
    rtmr.measure("separator", &[0; 4], rest);
    rtmr.measure("leaving boot services", b"Exit Boot Services Invocation", rest);
    rtmr.measure("left boot services", b"Exit Boot Services Returned with Success", rest);
    rtmr
}

/// RTMR2: what the kernel's EFI stub measures.
fn kernel_events(kernel: Option<&TdKernel>, habits: Option<&Habits>, accepted: Option<&'static str>) -> Rtmr {
    let mut rtmr = Rtmr::new();
    let Some(kernel) = kernel else {
        rtmr.unknown.push("command line and initrd: the boot loader on the disk hands them over".into());
        return rtmr;
    };
    let Some(basis) = assumption(habits, accepted) else {
        rtmr.unknown.push("command line and initrd: no driver is known in the firmware that measures".into());
        return rtmr;
    };
    let cmdline = &kernel.cmdline;
    let options = match (&kernel.initrd, kernel.options.or(habits.and_then(|h| h.options))) {
        (None, _) => cmdline.clone(),
        (Some(_), Some(LoadOptions::InitrdFirst)) => format!("initrd=initrd {cmdline}"),
        (Some(_), Some(LoadOptions::InitrdLast)) => format!("{cmdline} initrd=initrd"),
        (Some(_), None) => {
            rtmr.unknown.push("load options: how this firmware tells of the initrd is not known here".into());
            return rtmr;
        }
    };
    // Without options there is no event. The firmware widens bytes, whatever characters they are of.
    if !options.is_empty() {
        let wide: Vec<u8> = options.bytes().chain([0]).flat_map(|b| u16::from(b).to_le_bytes()).collect();
        rtmr.measure(format!("load options `{options}`"), &wide, basis);
    }
    if let Some(initrd) = kernel.initrd {
        rtmr.extend("initrd", initrd, basis);
    }
    rtmr
}
