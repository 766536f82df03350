//! An OVMF image: its table of GUIDs, its SEV, TDVF and IGVM metadata, and its launches.

use cloister_firmware::measure::{Passes, VMSA_GPA, measure_tdx};
use cloister_firmware::ovmf::{Firmware, GuidEntry, known};
use cloister_firmware::plan::{
    FirmwareBoot, GuestLayout, Identity, Profile, TdxBoot, cpu_signature, plan_firmware, plan_tdx,
};
use cloister_firmware::tdvf::Tdvf;

use super::report::{Cell, Launch, Report, Table, step, vcpu_step};

/// RAM of the guest that is drawn. What a launch measures does not depend on it.
const MEMORY: u64 = 2 << 30;

/// Fills the report.
pub(super) fn describe(firmware: &Firmware, report: &mut Report) {
    report.format = match is_svsm(firmware) {
        true => "SVSM, which is launched below its firmware".to_owned(),
        false => format!("firmware image, at {:#x} to {:#x}", firmware.base(), firmware.end()),
    };
    report.tables.push(guids(firmware));
    report.tables.extend(sev(firmware));
    report.tables.extend(tdvf(firmware));
    report.tables.extend(igvm(firmware));
    report.launches.extend(snp(firmware));
    report.launches.extend(tdx(firmware));
}

/// Whether the image is a coconut-svsm binary: its table says where it starts, and not where it lies.
fn is_svsm(firmware: &Firmware) -> bool {
    firmware.table().entries.iter().any(|entry| entry.guid == known::SVSM_INFO)
}

fn guids(firmware: &Firmware) -> Table {
    let row = |entry: &GuidEntry| {
        let name = known::name(&entry.guid).unwrap_or("unknown");
        vec![
            Cell::Hex(entry.offset as u64),
            Cell::text(entry.guid.to_string()),
            Cell::text(name),
            Cell::text(hex::encode(firmware.data(entry))),
            Cell::text(meaning(firmware, entry)),
        ]
    };
    let legacy = if firmware.table().legacy { " (none: a lone reset block of an old image)" } else { "" };
    Table {
        title: format!("GUID table, from its footer backwards{legacy}"),
        columns: &["offset", "GUID", "name", "data", "says"],
        rows: firmware.table().entries.iter().map(row).collect(),
    }
}

/// An entry's data for people.
fn meaning(firmware: &Firmware, entry: &GuidEntry) -> String {
    let data = firmware.data(entry);
    let word = |at: usize| data.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    match (entry.guid, word(0), word(4)) {
        (known::RESET_BLOCK, Some(eip), _) => format!("other vCPUs start at {eip:#x}"),
        (known::SVSM_INFO, Some(offset), _) => format!("starts at offset {offset:#x}"),
        (known::SECRET_BLOCK | known::HASH_BLOCK, Some(_), Some(0)) => "not supported".to_owned(),
        (known::SECRET_BLOCK | known::HASH_BLOCK, Some(at), Some(size)) => {
            format!("{size:#x} bytes at {at:#x}")
        }
        (known::SEV_METADATA | known::TDX_METADATA | known::IGVM_METADATA, Some(distance), _) => {
            match (firmware.bytes().len() as u64).checked_sub(distance.into()) {
                Some(offset) => format!("at offset {offset:#x}"),
                None => "outside the image".to_owned(),
            }
        }
        _ => String::new(),
    }
}

/// A table that cannot be read, with the reason.
fn broken(title: &str, error: &dyn std::fmt::Display) -> Table {
    Table { title: title.to_owned(), columns: &["error"], rows: vec![vec![Cell::text(error.to_string())]] }
}

fn sev(firmware: &Firmware) -> Option<Table> {
    let metadata = match firmware.sev_metadata() {
        Ok(metadata) => metadata?,
        Err(error) => return Some(broken("SEV metadata", &error)),
    };
    let rows = metadata.sections.iter().zip(0u64..).map(|(s, i)| {
        let note = if s.size == 0 { "empty, passed over" } else { "" };
        vec![
            Cell::Number(i),
            Cell::Hex(s.gpa),
            Cell::Size(s.size),
            Cell::Hex(s.kind.0.into()),
            Cell::text(s.kind.name()),
            Cell::text(note),
        ]
    });
    Some(Table {
        title: format!("SEV metadata at {:#x}", metadata.offset),
        columns: &["", "address", "size", "type", "name", ""],
        rows: rows.collect(),
    })
}

fn tdvf(firmware: &Firmware) -> Option<Table> {
    let tdvf = match Tdvf::parse(firmware) {
        Ok(tdvf) => tdvf?,
        Err(error) => return Some(broken("TDVF metadata", &error)),
    };
    let rows = tdvf.sections.iter().zip(0u64..).map(|(s, i)| {
        let attributes = match (s.attributes.is_measured(), s.attributes.is_augmented()) {
            (true, true) => "MR_EXTEND, PAGE_AUG",
            (true, false) => "MR_EXTEND",
            (false, true) => "PAGE_AUG",
            (false, false) => "",
        };
        vec![
            Cell::Number(i),
            Cell::Hex(s.gpa),
            Cell::Size(s.size),
            Cell::Hex(s.data_offset.into()),
            Cell::Size(s.data_size.into()),
            Cell::text(s.kind.name()),
            Cell::text(attributes),
        ]
    });
    Some(Table {
        title: format!("TDVF metadata at {:#x}", tdvf.offset),
        columns: &["", "address", "size", "data at", "data", "name", "attributes"],
        rows: rows.collect(),
    })
}

fn igvm(firmware: &Firmware) -> Option<Table> {
    let found = match firmware.igvm_parameters() {
        Ok(found) => found?,
        Err(error) => return Some(broken("IGVM parameters", &error)),
    };
    let rows = found.parameters.iter().map(|p| {
        vec![
            Cell::Hex(p.at.into()),
            Cell::Size(p.size.into()),
            Cell::Hex(p.id.0.into()),
            Cell::text(p.id.name()),
        ]
    });
    Some(Table {
        title: format!("IGVM parameters at {:#x}", found.offset),
        columns: &["address or place", "size", "id", "name"],
        rows: rows.collect(),
    })
}

fn snp(firmware: &Firmware) -> Option<Launch> {
    firmware.sev_metadata().ok()??;
    let mut launch = Launch {
        platform: "SEV-SNP",
        measurement: "launch digest",
        digest: None,
        notes: Vec::new(),
        steps: Vec::new(),
    };
    if is_svsm(firmware) {
        let note = "where it lies, and so its launch, depends on its firmware and the size of their variables: see \
                    `cloister measure snp --svsm`";
        launch.notes.push(note.to_owned());
        return Some(launch);
    }
    let plan = plan_firmware(FirmwareBoot {
        firmware,
        svsm: None,
        hashes: None,
        profile: Profile::Cloister,
        memory: MEMORY,
        vcpus: 1,
        signature: cpu_signature("EPYC-v4").unwrap_or(0),
        identity: Identity::default(),
    });
    match plan {
        Ok(plan) => {
            launch.steps = plan.pages.iter().map(|run| step(run, false)).collect();
            launch.steps.push(vcpu_step(0, VMSA_GPA, "the VMM"));
            launch.notes.push(
                "the digest also depends on the number of vCPUs, the CPU model, and a kernel given beside the \
                 firmware: see `cloister measure snp`"
                    .to_owned(),
            );
        }
        Err(error) => launch.notes.push(format!("it cannot be launched: {error}")),
    }
    Some(launch)
}

fn tdx(firmware: &Firmware) -> Option<Launch> {
    Tdvf::parse(firmware).ok()??;
    let mut launch =
        Launch { platform: "TDX", measurement: "MRTD", digest: None, notes: Vec::new(), steps: Vec::new() };
    let layout = GuestLayout::new(MEMORY);
    match plan_tdx(TdxBoot { firmware, layout, vcpus: 1, identity: Identity::default() }) {
        Ok(plan) => {
            launch.steps = plan.pages.iter().map(|run| step(run, true)).collect();
            match measure_tdx(&plan, Passes::Single) {
                Ok(measurement) => launch.digest = Some(measurement.digest),
                Err(error) => launch.notes.push(error.to_string()),
            }
            launch.notes.push(
                "MRTD of launchers that measure page by page (Linux 6.16 and later); older stacks: see \
                 `cloister measure tdx --two-pass`"
                    .to_owned(),
            );
        }
        Err(error) => launch.notes.push(format!("it cannot be launched: {error}")),
    }
    Some(launch)
}
