//! A picture of a launch: the address axis from high to low, broken where nothing is launched, each box
//! coloured by what of it is measured. Height grows with the logarithm of the size.

use std::fmt::Write;

use super::boxes::{Block, Row, rows};
use super::report::{Launch, Measured, Report, size};

const MARGIN: f64 = 32.0;
const HEADER: f64 = 96.0;
const COLUMN: f64 = 560.0;
/// Left of a box: the addresses.
const AXIS: f64 = 118.0;
const BOX: f64 = 340.0;
const FOOTER: f64 = 92.0;

/// The picture.
pub(super) fn draw(report: &Report) -> String {
    let columns: Vec<(&Launch, Vec<Row>)> = report.launches.iter().map(|l| (l, rows(l))).collect();
    let height = |rows: &[Row]| rows.iter().map(row_height).sum::<f64>();
    let body = columns.iter().map(|(_, r)| height(r)).fold(60.0, f64::max) + 64.0;
    let width = MARGIN * 2.0 + COLUMN * columns.len().max(1) as f64;
    let width = width.max(900.0);
    let total = HEADER + body + FOOTER;
    let mut pen = Pen(String::new());
    pen.line(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" viewBox="0 0 {width} {total}" font-family="DejaVu Sans, Verdana, Arial, sans-serif">"#
    ));
    pen.line(DEFINITIONS);
    pen.line(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
    let name = report.file.rsplit('/').next().unwrap_or_default();
    pen.text(
        MARGIN,
        40.0,
        20.0,
        "#1a1a1a",
        "start",
        true,
        &format!("What a launch of {name} puts into memory"),
    );
    let about = format!("{}, {}, SHA-256 {}…", report.format, size(report.bytes), &report.sha256[..16]);
    pen.text(MARGIN, 64.0, 13.0, "#555555", "start", false, &about);
    if columns.is_empty() {
        pen.text(
            MARGIN,
            HEADER + 24.0,
            14.0,
            "#1a1a1a",
            "start",
            false,
            "It is launched on no confidential platform.",
        );
    }
    for (i, (launch, rows)) in columns.iter().enumerate() {
        column(&mut pen, MARGIN + COLUMN * i as f64, launch, rows);
    }
    legend(&mut pen, HEADER + body + 12.0);
    pen.line("</svg>");
    pen.0
}

/// Hatches, so that the kinds can be told apart without colours.
const DEFINITIONS: &str = r##"<defs>
<pattern id="zeros" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" fill="#bcd7f0"/><circle cx="4" cy="4" r="1.2" fill="#7fb0dd"/></pattern>
<pattern id="address" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="8" height="8" fill="#fbdfa3"/><rect width="2.5" height="8" fill="#f0c05c"/></pattern>
</defs>"##;

/// Fill, outline, dashes and text of a kind.
fn style(measured: Measured) -> (&'static str, &'static str, &'static str, &'static str) {
    match measured {
        Measured::Contents => ("#1f5f9e", "#12395f", "none", "#ffffff"),
        Measured::Zeros => ("url(#zeros)", "#4a86bd", "none", "#12395f"),
        Measured::Address => ("url(#address)", "#b07d14", "none", "#3d2b00"),
        Measured::Nothing => ("#ffffff", "#a33a2f", "6 4", "#8a2d23"),
    }
}

fn row_height(row: &Row) -> f64 {
    match row {
        Row::Vcpu { .. } => 40.0,
        Row::Block(block) => block_height(block),
        Row::Gap(bytes) if *bytes < 1 << 20 => 20.0,
        Row::Gap(_) => 38.0,
    }
}

/// 34 for a page; 7 more for each doubling.
fn block_height(block: &Block) -> f64 {
    let pages = (block.bytes >> 12).max(1);
    34.0 + 7.0 * f64::from(pages.ilog2())
}

fn column(pen: &mut Pen, x: f64, launch: &Launch, rows: &[Row]) {
    let mut y = HEADER + 8.0;
    pen.text(x, y, 16.0, "#1a1a1a", "start", true, launch.platform);
    let about = match launch.digest {
        Some(digest) => format!("{} {}…", launch.measurement, &digest.to_string()[..24]),
        None if launch.measurement == "launch digest" => {
            "launch digest: depends on vCPUs and kernel".to_owned()
        }
        None => launch.measurement.to_owned(),
    };
    pen.text(x, y + 19.0, 12.0, "#555555", "start", false, &about);
    y += 34.0;
    pen.text(x + AXIS + BOX + 14.0, y - 4.0, 11.0, "#555555", "start", false, "launch order");
    let mut touches = false;
    for row in rows {
        let h = row_height(row);
        // Where the box above does not begin right here, its end is worth an address.
        if let Row::Block(block) = row
            && !touches
        {
            pen.address(x, y, block.end);
        }
        touches = matches!(row, Row::Block(_));
        match row {
            Row::Vcpu { what, order, measured } => {
                shape(pen, x + AXIS, y, h - 8.0, *measured);
                let fill = style(*measured).3;
                pen.text(x + AXIS + 12.0, y + 20.5, 13.0, fill, "start", true, what);
                pen.text(x + AXIS + BOX - 12.0, y + 20.5, 12.0, fill, "end", false, "registers, no memory");
                pen.text(x + AXIS + BOX + 14.0, y + 20.5, 13.0, "#1a1a1a", "start", true, &order.to_string());
            }
            Row::Block(block) => draw_block(pen, x, y, h, block),
            Row::Gap(bytes) => draw_gap(pen, x, y, h, *bytes),
        }
        y += h;
    }
}

fn draw_block(pen: &mut Pen, x: f64, y: f64, h: f64, block: &Block) {
    shape(pen, x + AXIS, y, h, block.measured);
    let fill = style(block.measured).3;
    let middle = y + h / 2.0 + 4.5;
    let (what, detail) = block.label();
    if block.measured == Measured::Address || block.measured == Measured::Zeros {
        // Text on a hatch wants a plain ground.
        let width = 7.9 * what.chars().count() as f64 + 12.0;
        let (ground, _, _, _) = plain(block.measured);
        pen.rect(x + AXIS + 7.0, middle - 15.0, width.min(BOX - 120.0), 20.0, ground);
        let width = 7.2 * detail.chars().count() as f64 + 12.0;
        pen.rect(x + AXIS + BOX - 7.0 - width, middle - 15.0, width, 20.0, ground);
    }
    pen.text(x + AXIS + 12.0, middle, 13.0, fill, "start", true, &what);
    pen.text(x + AXIS + BOX - 12.0, middle, 12.0, fill, "end", false, &detail);
    pen.text(x + AXIS + BOX + 14.0, middle, 13.0, "#1a1a1a", "start", true, &block.order_text());
    pen.address(x, y + h, block.start);
}

/// The ground colour of a hatch.
fn plain(measured: Measured) -> (&'static str, (), (), ()) {
    (if measured == Measured::Zeros { "#bcd7f0" } else { "#fbdfa3" }, (), (), ())
}

fn shape(pen: &mut Pen, x: f64, y: f64, h: f64, measured: Measured) {
    let (fill, stroke, dashes, _) = style(measured);
    pen.line(&format!(
        r#"<rect x="{x}" y="{y}" width="{BOX}" height="{h}" fill="{fill}" stroke="{stroke}" stroke-width="1.2" stroke-dasharray="{dashes}"/>"#
    ));
}

/// A gap: a thin one as it is, a large one as a break of the axis.
fn draw_gap(pen: &mut Pen, x: f64, y: f64, h: f64, bytes: u64) {
    let (left, right, middle) = (x + AXIS, x + AXIS + BOX, y + h / 2.0);
    let label = format!("{} not launched", size(bytes));
    if h > 30.0 {
        let mut zigzag = String::new();
        let mut at = left;
        let mut up = true;
        while at <= right {
            let _ = write!(zigzag, "{at:.1},{:.1} ", if up { -3.0 } else { 3.0 });
            (at, up) = (at + 8.5, !up);
        }
        for dy in [6.0, h - 6.0] {
            pen.line(&format!(
                r##"<polyline transform="translate(0 {})" points="{}" fill="none" stroke="#999999"/>"##,
                y + dy,
                zigzag.trim_end()
            ));
        }
    }
    pen.text((left + right) / 2.0, middle + 4.0, 11.0, "#666666", "middle", false, &label);
}

fn legend(pen: &mut Pen, y: f64) {
    let texts = [
        "contents and address measured",
        "address measured, zeros by platform",
        "address measured, contents not",
        "not measured at all",
    ];
    for (i, (measured, text)) in Measured::ALL.into_iter().zip(texts).enumerate() {
        let (x, y) = (MARGIN + 410.0 * (i % 2) as f64, y + 26.0 * (i / 2) as f64);
        let (fill, stroke, dashes, _) = style(measured);
        pen.line(&format!(
            r#"<rect x="{x}" y="{y}" width="30" height="17" fill="{fill}" stroke="{stroke}" stroke-width="1.2" stroke-dasharray="{dashes}"/>"#
        ));
        pen.text(x + 40.0, y + 13.5, 13.0, "#1a1a1a", "start", false, text);
    }
    let note = "High addresses on top. Height grows with the logarithm of the size; the axis is broken where \
                nothing is launched.";
    pen.text(MARGIN, y + 66.0, 11.0, "#666666", "start", false, note);
}

/// Writes elements.
struct Pen(String);

impl Pen {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.line(&format!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{fill}"/>"#
        ));
    }

    #[expect(clippy::too_many_arguments, reason = "each is an attribute of the element")]
    fn text(&mut self, x: f64, y: f64, size: f64, fill: &str, anchor: &str, bold: bool, text: &str) {
        let weight = if bold { "bold" } else { "normal" };
        let text = escaped(text);
        self.line(&format!(
            r#"<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// An address beside the axis of the column at `x`.
    fn address(&mut self, x: f64, y: f64, address: u64) {
        self.mono(x + AXIS - 10.0, y + 4.0, &format!("{address:#x}"));
        let (from, to) = (x + AXIS - 7.0, x + AXIS);
        self.line(&format!(r##"<line x1="{from}" y1="{y}" x2="{to}" y2="{y}" stroke="#888888"/>"##));
    }

    fn mono(&mut self, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.line(&format!(
            r##"<text x="{x}" y="{y}" font-size="11.5" font-family="DejaVu Sans Mono, monospace" fill="#444444" text-anchor="end">{text}</text>"##
        ));
    }
}

/// Text of the file's, harmless in XML.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if c.is_control() => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}
