//! A launch as boxes on an address axis: sorted, folded where there are too many, with the gaps between.

use super::report::{Launch, Measured, Step, size};

/// More boxes than this are hard to read: neighbours of one kind are folded.
const MANY: usize = 28;
/// A gap up to this size is passed over when boxes are folded.
const SMALL_GAP: u64 = 1 << 20;

/// A stretch of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Bytes in it that are launched: less than the length, if gaps were folded away.
    pub(super) bytes: u64,
    pub(super) measured: Measured,
    pub(super) what: String,
    /// Places in the launch order, from 1.
    pub(super) order: Vec<usize>,
}

/// What is drawn, from high addresses to low ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// The state of a vCPU, which is no memory of the guest's.
    Vcpu { what: String, order: usize, measured: Measured },
    /// Memory that is launched.
    Block(Block),
    /// Memory that is not.
    Gap(u64),
}

impl Block {
    fn of(step: &Step, order: usize) -> Self {
        Block {
            start: step.address,
            end: step.address.saturating_add(step.bytes),
            bytes: step.bytes,
            measured: step.measured,
            what: step.what.clone(),
            order: vec![order],
        }
    }

    /// Its places in the launch order, for people.
    pub(super) fn order_text(&self) -> String {
        match self.order.as_slice() {
            [one] => one.to_string(),
            all => {
                let (first, last) = (all.iter().min().unwrap_or(&0), all.iter().max().unwrap_or(&0));
                match last - first + 1 == all.len() {
                    true => format!("{first} to {last}"),
                    false => format!("{} of {first} to {last}", all.len()),
                }
            }
        }
    }

    /// What it is, with its size.
    pub(super) fn label(&self) -> (String, String) {
        let whole = self.end - self.start;
        let detail = match self.bytes == whole {
            true => size(whole),
            false => format!("{} in {}", size(self.bytes), size(whole)),
        };
        (self.what.clone(), detail)
    }
}

/// The rows of a launch.
pub(super) fn rows(launch: &Launch) -> Vec<Row> {
    let numbered = || launch.steps.iter().zip(1..);
    let mut rows: Vec<Row> = numbered()
        .filter(|(step, _)| step.vcpu)
        .map(|(step, order)| Row::Vcpu { what: step.what.clone(), order, measured: step.measured })
        .collect();
    rows.reverse();
    let mut blocks: Vec<Block> =
        numbered().filter(|(step, _)| !step.vcpu).map(|(step, order)| Block::of(step, order)).collect();
    blocks.sort_by_key(|b| b.start);
    for reach in [0, 0x1_0000, SMALL_GAP, SMALL_GAP << 4, u64::MAX] {
        if blocks.len() <= MANY {
            break;
        }
        blocks = fold(blocks, reach);
    }
    let mut above: Option<u64> = None;
    for block in blocks.into_iter().rev() {
        if let Some(above) = above
            && above > block.end
        {
            rows.push(Row::Gap(above - block.end));
        }
        above = Some(block.start);
        rows.push(Row::Block(block));
    }
    if let Some(above) = above.filter(|a| *a > 0) {
        rows.push(Row::Gap(above));
    }
    rows
}

/// Joins neighbours that are measured alike and at most `reach` bytes apart.
fn fold(blocks: Vec<Block>, reach: u64) -> Vec<Block> {
    let mut folded: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        match folded.last_mut() {
            Some(last)
                if last.measured == block.measured && block.start.saturating_sub(last.end) <= reach =>
            {
                last.end = last.end.max(block.end);
                last.bytes += block.bytes;
                last.order.extend(block.order);
                if last.what != block.what && !last.what.ends_with("and others") {
                    last.what = format!("{} and others", last.what);
                }
            }
            _ => folded.push(block),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(address: u64, bytes: u64, measured: Measured) -> Step {
        Step { what: "x".to_owned(), address, bytes, measured, from: String::new(), vcpu: false }
    }

    fn launch(steps: Vec<Step>) -> Launch {
        Launch { platform: "p", measurement: "m", digest: None, notes: Vec::new(), steps }
    }

    #[test]
    fn rows_go_from_high_to_low_with_what_lies_between() {
        let rows = rows(&launch(vec![
            step(0x5000, 0x1000, Measured::Contents),
            step(0x1000, 0x1000, Measured::Zeros),
            Step { vcpu: true, ..step(0, 0x1000, Measured::Contents) },
        ]));
        assert!(matches!(&rows[0], Row::Vcpu { order: 3, .. }));
        assert!(matches!(&rows[1], Row::Block(b) if b.start == 0x5000));
        assert_eq!(rows[2], Row::Gap(0x3000));
        assert!(matches!(&rows[3], Row::Block(b) if b.start == 0x1000));
        assert_eq!(rows[4], Row::Gap(0x1000));
    }

    #[test]
    fn hundreds_of_pages_are_folded_by_kind() {
        let steps = (0..300).map(|i| step(i * 0x2000, 0x1000, Measured::Contents)).collect();
        let rows = rows(&launch(steps));
        let Row::Block(block) = &rows[0] else { panic!() };
        assert_eq!((rows.len(), block.bytes, block.order_text().as_str()), (1, 300 * 0x1000, "1 to 300"));
        assert_eq!(block.label().1, "1.2 MiB in 2.3 MiB");
    }
}
