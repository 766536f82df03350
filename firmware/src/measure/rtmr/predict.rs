//! The events of a TD that boots through OVMF, in the order of the firmware.

use sha2::{Digest, Sha384};

use super::Rtmr;
use super::variables::secure_boot_variables;
use crate::measure::Digest384;
use crate::ovmf::Firmware;
use crate::plan::MemoryRange;
use crate::tdvf::{END_HOB_LEN, Tdvf, TdvfError, td_hob};

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
    /// How the initrd is told of.
    pub options: LoadOptions,
}

/// What a TD boots with.
#[derive(Debug, Clone)]
pub struct TdBoot<'a> {
    /// The firmware.
    pub firmware: &'a Firmware,
    /// The guest's RAM, ascending.
    pub ram: &'a [MemoryRange],
    /// What the board offers through fw_cfg and the firmware measures, in the order of its reading:
    /// `etc/table-loader`, then each table that it allocates. `None` if that is not known.
    pub acpi: Option<&'a [(String, Vec<u8>)]>,
    /// A kernel, if the firmware is handed one.
    pub kernel: Option<TdKernel>,
}

const FROM_STORE: &str = "the variables are those of the configuration firmware volume";
const ONE_BOOT: &str = "the kernel is the first program that the firmware starts, and leaves boot services";

/// Predicts the events of all four registers.
pub fn predict_rtmrs(boot: &TdBoot<'_>) -> Result<[Rtmr; 4], TdvfError> {
    let Some(tdvf) = Tdvf::parse(boot.firmware)? else { return crate::tdvf::NotForTdxSnafu.fail() };
    let kernel = boot.kernel.as_ref();
    Ok([firmware_events(boot, &tdvf)?, program_events(kernel), kernel_events(kernel), Rtmr::new()])
}

/// RTMR0: memory, variables, tables.
fn firmware_events(boot: &TdBoot<'_>, tdvf: &Tdvf) -> Result<Rtmr, TdvfError> {
    let mut rtmr = Rtmr::new();
    let hob = td_hob(tdvf, boot.ram)?;
    let measured = hob.get(..hob.len().saturating_sub(END_HOB_LEN)).unwrap_or_default();
    rtmr.measure("hand-off blocks (TD HOB)", measured, None);
    let volume = tdvf.configuration().map(|cfv| {
        let start = cfv.data_offset as usize;
        let end = start.saturating_add(cfv.data_size as usize);
        boot.firmware.bytes().get(start..end).unwrap_or_default()
    });
    let Some(volume) = volume else {
        rtmr.unknown.push("Secure Boot variables: the image has no configuration firmware volume".into());
        return Ok(rtmr);
    };
    rtmr.measure("configuration firmware volume", volume, None);
    let Some(variables) = secure_boot_variables(volume) else {
        rtmr.unknown
            .push("Secure Boot variables: the volume has no variable store that is understood".into());
        return Ok(rtmr);
    };
    for variable in variables {
        rtmr.measure(format!("variable {}", variable.name), &variable.measured_bytes(), Some(FROM_STORE));
    }
    rtmr.measure("separator", &[0; 4], None);
    match boot.acpi {
        Some(items) => items.iter().for_each(|(name, bytes)| rtmr.measure(name.as_str(), bytes, None)),
        None => rtmr.unknown.push("ACPI tables: what the board hands over is not known here".into()),
    }
    rtmr.unknown.push(
        "BootOrder and Boot####: the firmware makes them from its own version and the devices it finds"
            .into(),
    );
    Ok(rtmr)
}

/// RTMR1: programs that the firmware starts.
fn program_events(kernel: Option<&TdKernel>) -> Rtmr {
    let mut rtmr = Rtmr::new();
    let Some(kernel) = kernel else {
        rtmr.unknown.push("boot loader or kernel: the firmware takes it from a disk".into());
        return rtmr;
    };
    rtmr.extend("kernel (Authenticode)", kernel.image, None);
    rtmr.measure("calling a boot option", b"Calling EFI Application from Boot Option", Some(ONE_BOOT));
    rtmr.measure("separator", &[0; 4], Some(ONE_BOOT));
    rtmr.measure("leaving boot services", b"Exit Boot Services Invocation", Some(ONE_BOOT));
    rtmr.measure("left boot services", b"Exit Boot Services Returned with Success", Some(ONE_BOOT));
    rtmr
}

/// RTMR2: what the kernel's EFI stub measures.
fn kernel_events(kernel: Option<&TdKernel>) -> Rtmr {
    let mut rtmr = Rtmr::new();
    let Some(kernel) = kernel else {
        rtmr.unknown.push("command line and initrd: the boot loader on the disk hands them over".into());
        return rtmr;
    };
    let options = match (&kernel.initrd, kernel.options) {
        (None, _) => kernel.cmdline.clone(),
        (Some(_), LoadOptions::InitrdFirst) => format!("initrd=initrd {}", kernel.cmdline),
        (Some(_), LoadOptions::InitrdLast) => format!("{} initrd=initrd", kernel.cmdline),
    };
    let wide: Vec<u8> = options.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let digest = Digest384(Sha384::digest(&wide).into());
    rtmr.extend(
        format!("load options `{options}`"),
        digest,
        Some("edk2 adds the initrd as it did in this version"),
    );
    if let Some(initrd) = kernel.initrd {
        rtmr.extend("initrd", initrd, None);
    }
    rtmr
}
