//! RTMR0 to RTMR3, with the events that lead to them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cloister_firmware::fw_cfg::AcpiFiles;
use cloister_firmware::measure::Digest384;
use cloister_firmware::measure::rtmr::{
    LoadOptions, PeError, Rtmr, TdBoot, TdKernel, authenticode_sha384, predict_rtmrs,
};
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::GuestLayout;
use serde_json::{Value, json};
use sha2::{Digest, Sha384};

use super::args::KernelArgs;
use super::{print, refuse, work};
use crate::refusal::Refusal;

/// What a board of ours has beside memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Board {
    /// Number of vCPUs.
    pub(super) cpus: u32,
    /// Whether there is a serial console.
    pub(super) serial: bool,
    /// Whether there are disks.
    pub(super) disks: bool,
}

/// Predicts the registers of a guest with this memory and this board, if they are known.
pub(super) fn predict(
    path: &Path,
    firmware: &Firmware,
    layout: Option<&GuestLayout>,
    board: Option<Board>,
    handed: &KernelArgs,
    options: Option<LoadOptions>,
) -> Result<[Rtmr; 4], Refusal> {
    let kernel = handed.kernel.as_deref().map(|path| kernel(path, handed, options)).transpose()?;
    let acpi = board.zip(layout).map(|(board, layout)| tables(board, layout)).transpose()?;
    // A board that is not known may offer anything. Disks have a place in the order of booting, which depends on
    // the slots that they get.
    let fw_cfg = board.filter(|board| !board.disks).map(|_| &[][..]);
    let ram = layout.map(|layout| layout.ram.as_slice());
    let boot = TdBoot { firmware, ram, fw_cfg, acpi: acpi.as_deref(), kernel };
    predict_rtmrs(&boot).map_err(|e| refuse(format_args!("cannot use the firmware {}", path.display()), e))
}

/// The ACPI tables of our board, in the order in which firmware measures them: the script, then what it
/// allocates.
fn tables(board: Board, layout: &GuestLayout) -> Result<Vec<(String, Digest384)>, Refusal> {
    let files = AcpiFiles::of_board(layout, board.cpus, board.serial)
        .map_err(|e| refuse("cannot build the ACPI tables", e))?;
    let [tables, rsdp, loader] = files.named();
    let hash = |bytes: Vec<u8>| Digest384(Sha384::digest(bytes).into());
    Ok([loader, rsdp, tables].map(|(name, bytes)| (name.to_owned(), hash(bytes))).into())
}

/// Hashes kernel and initrd side by side.
fn kernel(path: &Path, handed: &KernelArgs, options: Option<LoadOptions>) -> Result<TdKernel, Refusal> {
    let paths: Vec<&Path> = std::iter::once(path).chain(handed.initrd.as_deref()).collect();
    let hashes = work::all(paths.len(), |n| {
        let mut file = File::open(paths[n]).map_err(|source| PeError::Read { source })?;
        match n {
            0 => authenticode_sha384(&mut file),
            _ => sha384(file).map_err(|source| PeError::Read { source }),
        }
    });
    let mut hashes = hashes
        .into_iter()
        .zip(&paths)
        .map(|(hash, path)| hash.map_err(|e| refuse(format_args!("cannot use {}", path.display()), e)));
    let image = hashes.next().unwrap_or(Ok(Digest384::ZERO))?;
    let initrd = hashes.next().transpose()?;
    Ok(TdKernel { image, initrd, cmdline: handed.cmdline.clone().unwrap_or_default(), options })
}

fn sha384(mut file: File) -> io::Result<Digest384> {
    let mut hasher = Sha384::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest384(hasher.finalize().into())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// One line a register, its events below it.
pub(super) fn tell(rtmrs: &[Rtmr; 4], found: Option<&[Digest384; 4]>) {
    for (n, rtmr) in rtmrs.iter().enumerate() {
        let so_far = if rtmr.is_complete() { "" } else { " (so far)" };
        print::line(format_args!("RTMR{n} {}{so_far}", rtmr.value()));
        for event in &rtmr.events {
            let assumed = event.assumption.map_or(String::new(), |a| format!(" (if {a})"));
            print::line(format_args!("  {} {}{assumed}", event.digest, event.what));
        }
        rtmr.unknown.iter().for_each(|what| print::line(format_args!("  not predicted: {what}")));
        let Some(found) = found.map(|f| f[n]) else { continue };
        let verdict = match (found == rtmr.value(), rtmr.is_complete()) {
            (true, _) => "the same".to_owned(),
            (false, true) => format!("evidence says {found}: one of the events above was another"),
            (false, false) => format!("evidence says {found}: nothing can be said against it"),
        };
        print::line(format_args!("  {verdict}"));
    }
}

pub(super) fn report(rtmrs: &[Rtmr; 4], found: Option<&[Digest384; 4]>) -> Value {
    let event = |e: &cloister_firmware::measure::rtmr::Event| {
        json!({
            "what": e.what,
            "digest": e.digest.to_string(),
            "value": e.value.to_string(),
            "assumption": e.assumption,
        })
    };
    let register = |(n, rtmr): (usize, &Rtmr)| {
        json!({
            "value": rtmr.value().to_string(),
            "complete": rtmr.is_complete(),
            "evidence": found.map(|f| f[n].to_string()),
            "events": rtmr.events.iter().map(event).collect::<Vec<_>>(),
            "unknown": rtmr.unknown,
        })
    };
    rtmrs.iter().enumerate().map(register).collect()
}
