//! What was found, as values: the table, the JSON and the picture are made of the same.

use cloister_firmware::measure::{Digest384, vcpu_label};
use cloister_firmware::plan::{ImageFile, PageKind, PageRun, Source};
use serde::{Serialize, Serializer};

/// Everything about one file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) format: String,
    /// What its metadata says.
    pub(super) tables: Vec<Table>,
    /// What a launch makes of it, for each platform.
    pub(super) launches: Vec<Launch>,
}

impl Report {
    pub(super) fn new(image: &ImageFile, sha256: String) -> Self {
        Report {
            file: image.path().to_owned(),
            bytes: image.len(),
            sha256,
            format: String::new(),
            tables: Vec::new(),
            launches: Vec::new(),
        }
    }
}

/// A table of the file's metadata.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Rows<'a> {
            title: &'a str,
            rows: Vec<serde_json::Map<String, serde_json::Value>>,
        }
        let row = |cells: &Vec<Cell>| {
            self.columns.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell.json())).collect()
        };
        Rows { title: &self.title, rows: self.rows.iter().map(row).collect() }.serialize(serializer)
    }
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// An address or an offset.
    Hex(u64),
    /// A number of bytes.
    Size(u64),
    /// Any other number.
    Number(u64),
    /// Text.
    Text(String),
    /// Nothing.
    Empty,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    pub(super) fn is_number(&self) -> bool {
        !matches!(self, Cell::Text(_) | Cell::Empty)
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Cell::Hex(n) | Cell::Size(n) | Cell::Number(n) => (*n).into(),
            Cell::Text(text) => text.as_str().into(),
            Cell::Empty => serde_json::Value::Null,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Hex(n) => write!(f, "{n:#x}"),
            Cell::Size(n) => f.write_str(&size(*n)),
            Cell::Number(n) => write!(f, "{n}"),
            Cell::Text(text) => f.write_str(text),
            Cell::Empty => Ok(()),
        }
    }
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..4).rev().find(|u| bytes >> (10 * (u + 1)) > 0).map_or(0, |u| u + 1);
    let whole = bytes >> (10 * unit);
    let rest = bytes - (whole << (10 * unit));
    match rest {
        0 => format!("{whole} {}", UNITS[unit]),
        // Less than a hundred of something is worth a digit behind the point.
        _ => format!("{:.1} {}", bytes as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

/// What a launch on one platform puts into memory.
#[derive(Debug, Serialize)]
pub(super) struct Launch {
    pub(super) platform: &'static str,
    /// What the measurement is called there.
    pub(super) measurement: &'static str,
    /// Its value, if the file alone decides it.
    #[serde(serialize_with = "as_hex")]
    pub(super) digest: Option<Digest384>,
    /// What else there is to say.
    pub(super) notes: Vec<String>,
    /// In launch order.
    pub(super) steps: Vec<Step>,
}

fn as_hex<S: Serializer>(digest: &Option<Digest384>, serializer: S) -> Result<S::Ok, S::Error> {
    digest.map(|d| d.to_string()).serialize(serializer)
}

/// One step of a launch.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) what: String,
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) measured: Measured,
    pub(super) from: String,
    /// Whether it is the state of a vCPU, and its address no memory of the guest's.
    pub(super) vcpu: bool,
}

/// What of a step a measurement covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measured {
    /// Where it is and what it holds.
    Contents,
    /// Where it is, and that the platform fills it with zeros.
    Zeros,
    /// Where it is and what kind it is, not what it holds.
    Address,
    /// Nothing.
    Nothing,
}

impl Measured {
    pub(super) const ALL: [Measured; 4] =
        [Measured::Contents, Measured::Zeros, Measured::Address, Measured::Nothing];

    pub(super) fn of(kind: PageKind, tdx: bool) -> Self {
        match kind {
            PageKind::Measured => Measured::Contents,
            PageKind::Zero if !tdx => Measured::Zeros,
            PageKind::Shared => Measured::Nothing,
            PageKind::Zero | PageKind::Unmeasured | PageKind::Secrets | PageKind::Cpuid => Measured::Address,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Measured::Contents => "contents and address",
            Measured::Zeros => "address (filled with zeros)",
            Measured::Address => "address, not contents",
            Measured::Nothing => "not measured",
        }
    }
}

/// What the VMM fills: parameters of IGVM files, and the memory that it tells a TD of.
const PARAMETERS: [&str; 7] = [
    "IGVM memory map",
    "IGVM MADT",
    "IGVM command line",
    "IGVM device tree",
    "IGVM machine parameters",
    "IGVM parameters",
    "hand-off blocks",
];

/// A run of pages as a step.
pub(super) fn step(run: &PageRun, tdx: bool) -> Step {
    let from = match (&run.source, run.kind) {
        (Source::File { offset, len, .. }, _) => format!("file {offset:#x}, {}", size(*len)),
        (_, PageKind::Secrets) => "the platform".to_owned(),
        (_, PageKind::Cpuid) => "the VMM, checked by the platform".to_owned(),
        _ if PARAMETERS.contains(&run.label) => "the VMM".to_owned(),
        (Source::Zero, _) => "zeros".to_owned(),
        (Source::Bytes(_), _) => "file".to_owned(),
    };
    Step {
        what: run.label.to_owned(),
        address: run.gpa,
        bytes: run.size(),
        measured: Measured::of(run.kind, tdx),
        from,
        vcpu: false,
    }
}

/// The state of a vCPU.
pub(super) fn vcpu_step(index: usize, address: u64, from: &str) -> Step {
    Step {
        what: vcpu_label(index),
        address,
        bytes: PageRun::PAGE_SIZE as u64,
        measured: Measured::Contents,
        from: from.to_owned(),
        vcpu: true,
    }
}
