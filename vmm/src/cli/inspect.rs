//! `cloister inspect`: what is in a firmware image or an IGVM file, and what of it is measured.

mod boxes;
mod firmware;
mod igvm;
mod report;
mod svg;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use cloister_firmware::igvm::IgvmFile;
use cloister_firmware::ovmf::Firmware;
use cloister_firmware::plan::ImageFile;
use sha2::{Digest, Sha256};

use self::report::Report;
use super::story::To;
use crate::exit;
use crate::refusal::Refusal;

/// Flags of `cloister inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// An OVMF or TDVF image, or an IGVM file
    file: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Draw what is in the guest's memory at launch, measured and unmeasured
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Do not fold pages of an IGVM file that follow each other
    #[arg(long)]
    all: bool,
}

pub(super) fn main(args: InspectArgs) -> ExitCode {
    match run(&args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(refusal) => {
            eprintln!("cloister inspect: {refusal}");
            ExitCode::from(exit::BAD_INPUT)
        }
    }
}

fn run(args: &InspectArgs) -> Result<(), Refusal> {
    let report = inspect(&args.file, args.all)?;
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::draw(&report)).map_err(|e| {
            Refusal::new(
                format_args!("cannot write {}", path.display()),
                e,
                "give a path in a directory that you may write to",
            )
        })?;
    }
    let text = if args.json {
        serde_json::to_string_pretty(&report)
            .map_err(|e| Refusal::new("cannot print as JSON", e, "print it without --json"))?
    } else {
        text::print(&report)
    };
    // A reader that has seen enough is no failure.
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    if let Some(path) = &args.svg
        && !args.json
    {
        To::Stderr.line(format_args!("picture: {}", path.display()));
    }
    Ok(())
}

fn inspect(path: &Path, all: bool) -> Result<Report, Refusal> {
    let what = format!("cannot inspect {}", path.display());
    let refuse = |e: &dyn std::fmt::Display| {
        Refusal::from_message(&what, &e.to_string(), "give an OVMF or TDVF image, or an IGVM file")
    };
    let image = ImageFile::open(path).map_err(|e| refuse(&e))?;
    let mut report = Report::new(&image, hash(path).map_err(|e| refuse(&e))?);
    if IgvmFile::is_igvm(&image) {
        let file = IgvmFile::read(image).map_err(|e| refuse(&e))?;
        igvm::describe(&file, all, &mut report);
    } else {
        let firmware = Firmware::read(&image).map_err(|e| refuse(&e))?;
        if firmware.table().entries.is_empty() {
            return Err(Refusal::new(
                what,
                "it does not begin as IGVM files do, and has no table of GUIDs at its end as OVMF has",
                "give an OVMF or TDVF image, or an IGVM file",
            ));
        }
        firmware::describe(&firmware, &mut report);
    }
    Ok(report)
}

/// SHA-256 of a file, read piece by piece.
fn hash(path: &Path) -> io::Result<String> {
    struct Sink(Sha256);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(Sha256::new());
    io::copy(&mut std::fs::File::open(path)?, &mut sink)?;
    Ok(hex::encode(sink.0.finalize()))
}

#[cfg(test)]
mod tests;
