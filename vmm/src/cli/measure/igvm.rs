//! `cloister measure igvm`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloister_firmware::explain::Evidence;
use cloister_firmware::igvm::{IgvmFile, PlatformType};
use cloister_firmware::measure::{Digest384, Measurement, measure_igvm};
use cloister_firmware::plan::{ImageFile, Loader};
use serde_json::json;

use super::args::Hex;
use super::explain::evidence;
use super::{End, print, refuse};
use crate::refusal::Refusal;

/// Flags of `cloister measure igvm`.
#[derive(Debug, Args)]
pub(super) struct IgvmArgs {
    /// The IGVM file
    file: PathBuf,
    /// Where it will be launched
    #[arg(long, value_enum, value_name = "PLATFORM")]
    platform: On,
    /// What will load it [default: cloister]
    #[arg(long, value_enum, default_value_t = By::Cloister, hide_default_value = true, value_name = "LOADER")]
    loader: By,
    /// Print inputs and stages as JSON
    #[arg(long)]
    json: bool,
    /// Say which loader makes the file measure to this digest
    #[arg(long, value_name = "DIGEST", conflicts_with = "diff")]
    explain: Option<Hex<48>>,
    /// The same for what a report or quote says
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
}

/// Platforms with a launch measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// AMD SEV-SNP: the launch digest
    Snp,
    /// Intel TDX: MRTD
    Tdx,
}

/// Loaders, where they differ in what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// This VMM: as the format says, on KVM
    Cloister,
    /// QEMU 11.1
    Qemu,
    /// cloud-hypervisor: pages without data are the platform's own zero pages
    CloudHypervisor,
    /// None of KVM's: every header in its place, as the format's own tools compute it
    Igvm,
}

impl On {
    fn platform(self) -> PlatformType {
        match self {
            On::Snp => PlatformType::SEV_SNP,
            On::Tdx => PlatformType::TDX,
        }
    }
}

impl By {
    const ALL: [By; 4] = [By::Cloister, By::Qemu, By::CloudHypervisor, By::Igvm];

    fn loader(self) -> Loader {
        match self {
            By::Cloister => Loader::Cloister,
            By::Qemu => Loader::Qemu,
            By::CloudHypervisor => Loader::CloudHypervisor,
            By::Igvm => Loader::Igvm,
        }
    }

    fn name(self) -> &'static str {
        match self {
            By::Cloister => "cloister",
            By::Qemu => "qemu",
            By::CloudHypervisor => "cloud-hypervisor",
            By::Igvm => "igvm",
        }
    }
}

pub(super) fn run(args: &IgvmArgs) -> Result<End, Refusal> {
    let what = format!("cannot measure {}", args.file.display());
    let image = ImageFile::open(&args.file).map_err(|e| refuse(&what, e))?;
    let file = IgvmFile::read(image).map_err(|e| refuse(&what, e))?;
    let by =
        |by: By| measure_igvm(&file, args.platform.platform(), by.loader()).map_err(|e| refuse(&what, e));
    if let Some(wanted) = wanted(args)? {
        return Ok(explain(wanted, by, args));
    }
    let measured = by(args.loader)?;
    let expected = expected(&file, args.platform);
    if args.json {
        print::json(&json!({
            "platform": args.platform.platform().to_string(),
            "digest": measured.digest.to_string(),
            "inputs": {
                "file": args.file.to_string_lossy(),
                "size": file.image().len(),
                "loader": args.loader.name(),
            },
            "id_block_expects": expected.map(|d| d.to_string()),
            "stages": print::stages(&measured.stages),
        }));
    } else {
        print::line(measured.digest);
    }
    if let Some(expected) = expected.filter(|d| *d != measured.digest) {
        eprintln!(
            "cloister measure igvm: the file's ID block expects another digest\n  why: it was signed for {expected}\n  \
             do:  see which loader that is with --explain {expected}, or have the file signed again"
        );
    }
    Ok(End::Measured)
}

/// The digest to explain, if there is one.
fn wanted(args: &IgvmArgs) -> Result<Option<Digest384>, Refusal> {
    let Some(path) = &args.diff else { return Ok(args.explain.map(Digest384::from)) };
    match (evidence(path)?, args.platform) {
        (Evidence::Snp(claims), On::Snp) => Ok(Some(claims.measurement)),
        (Evidence::Tdx(claims), On::Tdx) => Ok(Some(claims.mrtd)),
        (evidence, _) => Err(Refusal::new(
            format_args!("{} is evidence of the other platform", path.display()),
            format_args!("the file is measured for {}", args.platform.platform()),
            match evidence {
                Evidence::Snp(_) => "give --platform snp",
                Evidence::Tdx(_) => "give --platform tdx",
            },
        )),
    }
}

/// The digest that the file's author signed.
fn expected(file: &IgvmFile, on: On) -> Option<Digest384> {
    let platform = file.platform(on.platform())?;
    file.id_block(platform).map(|block| block.launch_digest)
}

fn explain(wanted: Digest384, by: impl Fn(By) -> Result<Measurement, Refusal>, args: &IgvmArgs) -> End {
    let mut found = Vec::new();
    for loader in By::ALL {
        match by(loader) {
            Ok(measured) if measured.digest == wanted => found.push(loader.name()),
            Ok(_) => {}
            Err(refusal) => eprintln!("with --loader {}: {refusal}", loader.name()),
        }
    }
    if args.json {
        print::json(&json!({
            "platform": args.platform.platform().to_string(),
            "wanted": wanted.to_string(),
            "loaders": found,
        }));
    } else {
        let loaded = |loader: &&str| print::line(format_args!("{wanted}: this file, loaded by {loader}"));
        found.iter().for_each(loaded);
        if found.is_empty() {
            print::line(format_args!(
                "{wanted}: no loader makes this file measure to it, so it comes from another file or platform"
            ));
        }
    }
    if found.is_empty() { End::Unexplained } else { End::Measured }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_firmware::igvm::write::Writer;
    use cloister_firmware::igvm::{PageDataType, PageFlags};

    fn args(file: PathBuf, platform: On) -> IgvmArgs {
        IgvmArgs { file, platform, loader: By::Cloister, json: true, explain: None, diff: None }
    }

    #[test]
    fn a_digest_is_predicted_and_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.igvm");
        let page = |w: Writer| w.page(1, 0x1000, PageFlags::default(), PageDataType::NORMAL, &[]);
        std::fs::write(&path, page(Writer::new(2).platform(1, PlatformType::SEV_SNP)).build()).unwrap();
        assert_eq!(run(&args(path.clone(), On::Snp)).unwrap(), End::Measured);

        let file = IgvmFile::read(ImageFile::open(&path).unwrap()).unwrap();
        let zero_pages = measure_igvm(&file, PlatformType::SEV_SNP, Loader::CloudHypervisor).unwrap().digest;
        let explain = |digest: Digest384| {
            let explain = Some(Hex(digest.0));
            run(&IgvmArgs { explain, ..args(path.clone(), On::Snp) }).unwrap()
        };
        assert_eq!(explain(zero_pages), End::Measured);
        assert_eq!(explain(Digest384::ZERO), End::Unexplained);

        let report = dir.path().join("report.bin");
        let diff = |platform| run(&IgvmArgs { diff: Some(report.clone()), ..args(path.clone(), platform) });
        let mut bytes = vec![0; 1184];
        bytes[0] = 3;
        std::fs::write(&report, &bytes).unwrap();
        assert_eq!(diff(On::Snp).unwrap(), End::Unexplained);
        bytes[0x90..0xc0].copy_from_slice(&zero_pages.0);
        std::fs::write(&report, &bytes).unwrap();
        assert_eq!(diff(On::Snp).unwrap(), End::Measured);
        assert!(diff(On::Tdx).unwrap_err().to_string().contains("--platform snp"));

        let refusal = run(&args(path.clone(), On::Tdx)).unwrap_err().to_string();
        assert!(refusal.contains("the file is for SEV-SNP, and TDX is asked for"), "{refusal}");
        std::fs::write(&path, b"IGVM").unwrap();
        assert_eq!(run(&args(path.clone(), On::Snp)).unwrap_err().to_string().lines().count(), 3);
    }
}
