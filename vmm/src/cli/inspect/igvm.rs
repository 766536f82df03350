//! An IGVM file: its headers, and its launch on each platform.

use cloister_firmware::igvm::{
    Directive, Header, IgvmFile, Initialization, PageFlags, Platform, PlatformType,
};
use cloister_firmware::measure::measure_igvm;
use cloister_firmware::plan::{IgvmStep, Loader, igvm_steps};

use super::report::{Cell, Launch, Report, Table, step, vcpu_step};

/// Fills the report.
pub(super) fn describe(file: &IgvmFile, all: bool, report: &mut Report) {
    report.format = format!("IGVM, version {}", file.fixed().version);
    report.tables.push(platforms(file));
    report.tables.push(initializations(file));
    report.tables.push(directives(file, all));
    for platform in file.platforms() {
        report.launches.extend(launch(file, &platform.body));
    }
}

fn platforms(file: &IgvmFile) -> Table {
    let row = |header: &Header<Platform>| {
        let p = &header.body;
        let boundary = match p.shared_boundary {
            0 => Cell::Empty,
            boundary => Cell::Hex(boundary),
        };
        vec![
            Cell::Hex(header.offset),
            Cell::text(p.platform.to_string()),
            Cell::Hex(p.mask.into()),
            Cell::Number(p.highest_vtl.into()),
            boundary,
        ]
    };
    Table {
        title: "Platforms".to_owned(),
        columns: &["offset", "platform", "mask", "highest VTL", "shared from"],
        rows: file.platforms().iter().map(row).collect(),
    }
}

fn initializations(file: &IgvmFile) -> Table {
    let row = |header: &Header<Initialization>| {
        let (name, mask, details) = match header.body {
            Initialization::GuestPolicy { policy, mask } => {
                (header.body.name(), names(file, Some(mask)), format!("policy {policy:#x}"))
            }
            Initialization::Passed { kind, len } => {
                (header.body.name(), String::new(), format!("type {kind:#x}, {len} bytes, passed over"))
            }
        };
        vec![Cell::Hex(header.offset), Cell::text(name), Cell::text(mask), Cell::text(details)]
    };
    Table {
        title: "Initialization".to_owned(),
        columns: &["offset", "header", "for", "says"],
        rows: file.initializations().iter().map(row).collect(),
    }
}

/// The platforms of a mask; `None` means all.
fn names(file: &IgvmFile, mask: Option<u32>) -> String {
    let Some(mask) = mask else { return "all".to_owned() };
    let of = file.platforms().iter().filter(|p| p.body.mask & mask != 0);
    of.map(|p| p.body.platform.to_string()).collect::<Vec<_>>().join(", ")
}

/// Directives in file order; pages that follow each other and are alike become one row.
fn directives(file: &IgvmFile, all: bool) -> Table {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut rest = file.directives();
    while let Some(first) = rest.first() {
        let same =
            if all { 1 } else { 1 + rest.windows(2).take_while(|w| follows(&w[0].body, &w[1].body)).count() };
        rows.push(row(file, first, same as u64));
        rest = &rest[same..];
    }
    Table {
        title: format!("Directives, {} in all", file.directives().len()),
        columns: &["offset", "directive", "for", "address", "size", "says"],
        rows,
    }
}

/// Whether a page of data comes right after another of the same kind.
fn follows(a: &Directive, b: &Directive) -> bool {
    match (a, b) {
        (
            Directive::PageData { gpa, mask, data, flags, data_type },
            Directive::PageData { gpa: gpa2, mask: mask2, data: data2, flags: flags2, data_type: type2 },
        ) => {
            (mask, flags, data_type) == (mask2, flags2, type2)
                && data.is_some() == data2.is_some()
                && gpa + 4096 == *gpa2
        }
        _ => false,
    }
}

fn row(file: &IgvmFile, header: &Header<Directive>, count: u64) -> Vec<Cell> {
    let (mut address, mut bytes) = (Cell::Empty, Cell::Empty);
    let says = match &header.body {
        Directive::PageData { gpa, data, flags, data_type, .. } => {
            (address, bytes) = (Cell::Hex(*gpa), Cell::Size(4096 * count));
            let contents = data.map_or("zeros".to_owned(), |at| format!("data at {at:#x}"));
            let mut says = vec![data_type.to_string(), contents];
            for (flag, name) in [(PageFlags::UNMEASURED, "unmeasured"), (PageFlags::SHARED, "shared")] {
                if flags.has(flag) {
                    says.push(name.to_owned());
                }
            }
            if count > 1 {
                says.push(format!("{count} directives"));
            }
            says.join(", ")
        }
        Directive::ParameterArea { bytes: size, index, data } => {
            bytes = Cell::Size(*size);
            let contents = data.map_or("zeros".to_owned(), |at| format!("data at {at:#x}"));
            format!("area {index}, {contents}")
        }
        Directive::ParameterInsert { gpa, index, bytes: size, .. } => {
            (address, bytes) = (Cell::Hex(*gpa), Cell::Size(*size));
            format!("area {index}, unmeasured")
        }
        Directive::Parameter { index, at, .. } => format!("into area {index} at {at:#x}"),
        Directive::VpContext { gpa, data, vp_index, .. } => {
            address = Cell::Hex(*gpa);
            format!("vCPU {vp_index}, state at {data:#x}")
        }
        Directive::RequiredMemory { gpa, bytes: size, .. } => {
            (address, bytes) = (Cell::Hex(*gpa), Cell::Size(*size));
            "must be RAM".to_owned()
        }
        Directive::ErrorRange { gpa, bytes: size, .. } => {
            (address, bytes) = (Cell::Hex(*gpa), Cell::Size(*size));
            "shared, for errors".to_owned()
        }
        Directive::SnpIdBlock(block) => {
            format!("SVN {}, expects {}", block.guest_svn, block.launch_digest)
        }
        Directive::Passed { kind, len } => format!("type {kind:#x}, {len} bytes, passed over"),
    };
    vec![
        Cell::Hex(header.offset),
        Cell::text(header.body.name()),
        Cell::text(names(file, header.body.mask())),
        address,
        bytes,
        Cell::text(says),
    ]
}

/// The launch on one platform, if we know how it is launched and measured there.
fn launch(file: &IgvmFile, on: &Platform) -> Option<Launch> {
    let (platform, measurement) = match on.platform {
        PlatformType::SEV_SNP => ("SEV-SNP", "launch digest"),
        PlatformType::TDX => ("TDX", "MRTD"),
        PlatformType::NATIVE => ("plain hardware", "nothing is measured"),
        _ => return None,
    };
    let (tdx, plain) = (on.platform == PlatformType::TDX, on.platform == PlatformType::NATIVE);
    let mut launch = Launch { platform, measurement, digest: None, notes: Vec::new(), steps: Vec::new() };
    match igvm_steps(file, on, Loader::Cloister) {
        Ok(steps) => {
            let made = steps.iter().map(|s| match s {
                IgvmStep::Run(run) => step(run, tdx),
                IgvmStep::Context { gpa, data, vp_index } => {
                    vcpu_step((*vp_index).into(), *gpa, &format!("file {data:#x}"))
                }
            });
            launch.steps = made.collect();
        }
        Err(error) => launch.notes.push(error.to_string()),
    }
    if plain {
        launch.steps.iter_mut().for_each(|s| s.measured = super::report::Measured::Nothing);
        return Some(launch);
    }
    match measure_igvm(file, on.platform, Loader::Cloister) {
        Ok(measurement) => launch.digest = Some(measurement.digest),
        Err(error) => {
            launch.notes.push(format!("KVM cannot launch it as it stands: {error}"));
            if let Ok(measurement) = measure_igvm(file, on.platform, Loader::Igvm) {
                launch.digest = Some(measurement.digest);
                launch.notes.push("the digest is that of the format, in the order of the file".to_owned());
            }
        }
    }
    if let (Some(block), Some(digest)) = (file.id_block(on), launch.digest) {
        launch.notes.push(match block.launch_digest == digest {
            true => "the ID block expects this digest".to_owned(),
            false => format!("the ID block expects another digest: {}", block.launch_digest),
        });
    }
    Some(launch)
}
