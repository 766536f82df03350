//! The report as tables for a terminal.

use std::fmt::Write;

use super::report::{Cell, Report, size};

/// The whole report.
pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{text}");
    };
    line(format_args!("{}: {}, {}", report.file, report.format, size(report.bytes)));
    line(format_args!("SHA-256 {}", report.sha256));
    for table in &report.tables {
        line(format_args!("\n{}", table.title));
        line(format_args!("{}", grid(table.columns, &table.rows)));
    }
    for launch in &report.launches {
        line(format_args!("\nLaunch on {}, in launch order", launch.platform));
        let rows: Vec<Vec<Cell>> = launch
            .steps
            .iter()
            .zip(1u64..)
            .map(|(step, number)| {
                vec![
                    Cell::Number(number),
                    if step.vcpu && step.address == 0 { Cell::Empty } else { Cell::Hex(step.address) },
                    Cell::Size(step.bytes),
                    Cell::text(&step.what),
                    Cell::text(step.measured.name()),
                    Cell::text(&step.from),
                ]
            })
            .collect();
        line(format_args!("{}", grid(&["", "address", "size", "what", "measured", "from"], &rows)));
        if let Some(digest) = launch.digest {
            line(format_args!("{} {digest}", launch.measurement));
        }
        for note in &launch.notes {
            line(format_args!("note: {note}"));
        }
    }
    out
}

/// Columns as wide as they must be; numbers to the right.
fn grid(columns: &[&str], rows: &[Vec<Cell>]) -> String {
    let texts: Vec<Vec<String>> = rows.iter().map(|r| r.iter().map(Cell::to_string).collect()).collect();
    let width = |i: usize| {
        let cells = texts.iter().filter_map(|r| r.get(i)).map(|t| t.chars().count());
        cells.chain([columns[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let right = |i: usize| rows.iter().any(|r| r.get(i).is_some_and(Cell::is_number));
    let mut lines = Vec::with_capacity(rows.len() + 1);
    let mut add = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from(" ");
        for (i, cell) in cells.enumerate() {
            let w = widths.get(i).copied().unwrap_or(0);
            let _ = if right(i) { write!(text, " {cell:>w$} ") } else { write!(text, " {cell:<w$} ") };
        }
        lines.push(text.trim_end().to_owned());
    };
    add(&mut columns.iter().copied());
    for row in &texts {
        add(&mut row.iter().map(String::as_str));
    }
    lines.join("\n")
}
