//! How a guest reaches the simulator: a mailbox of I/O ports, in place of the GHCB.
//!
//! | port | read | write |
//! |---|---|---|
//! | +0 | magic `CSIM` | |
//! | +4 | status of the last command | command: 1 begin, 2 report, 3 convert |
//! | +8 | next four bytes of output, zero past its end | four more bytes of input |
//! | +12 | bytes of output left | |
//!
//! Report: begin, 64 bytes of report data, command 2; the output is the report and the certificate
//! table. Convert: begin, 24 bytes {GPA, number of 4 KiB pages, attributes as in KVM_HC_MAP_GPA_RANGE},
//! command 3. Every access is four bytes wide. Ports and not memory, so that a guest can speak to it
//! before any page is shared, and from a machine whose KVM cannot take a hypercall.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::Arc;

use super::SimPsp;
use crate::memory::{Converter, Target};

const MAGIC: u32 = u32::from_le_bytes(*b"CSIM");

const STATUS_OK: u32 = 0;
const STATUS_BAD_COMMAND: u32 = 1;
const STATUS_BAD_ARGUMENT: u32 = 2;
const STATUS_REFUSED: u32 = 3;

const COMMAND_BEGIN: u32 = 1;
const COMMAND_REPORT: u32 = 2;
const COMMAND_CONVERT: u32 = 3;

/// The longest input a command takes: 64 bytes of report data.
const INPUT_MAX: usize = 64;

/// Bit 4 of the attributes: private (Documentation/virt/kvm/x86/hypercalls.rst, KVM_HC_MAP_GPA_RANGE).
const ATTRIBUTE_PRIVATE: u64 = 1 << 4;

/// The guest's end of the simulator.
#[derive(Debug)]
pub struct Mailbox {
    psp: Arc<SimPsp>,
    converter: Arc<Converter>,
    input: Vec<u8>,
    output: Vec<u8>,
    taken: usize,
    status: u32,
}

impl Mailbox {
    /// First I/O port.
    pub const PORT: u16 = 0xc1c0;
    /// Number of I/O ports.
    pub const PORTS: u16 = 16;

    /// A mailbox in front of `psp`, whose conversions go through `converter`.
    pub fn new(psp: Arc<SimPsp>, converter: Arc<Converter>) -> Self {
        let input = Vec::with_capacity(INPUT_MAX);
        Mailbox { psp, converter, input, output: Vec::new(), taken: 0, status: STATUS_OK }
    }

    /// The guest reads the port at `offset`. Unknown ports read as an open bus does.
    pub fn read(&mut self, offset: u64) -> u32 {
        match offset {
            0 => MAGIC,
            4 => self.status,
            8 => {
                let mut word = [0; 4];
                let rest = self.output.get(self.taken..).unwrap_or_default();
                for (to, from) in word.iter_mut().zip(rest) {
                    *to = *from;
                }
                self.taken = self.taken.saturating_add(4).min(self.output.len());
                u32::from_le_bytes(word)
            }
            12 => u32::try_from(self.output.len().saturating_sub(self.taken)).unwrap_or(u32::MAX),
            _ => u32::MAX,
        }
    }

    /// The guest writes `value` to the port at `offset`.
    pub fn write(&mut self, offset: u64, value: u32) {
        match offset {
            4 => {
                self.status = match value {
                    COMMAND_BEGIN => {
                        self.input.clear();
                        self.output.clear();
                        self.taken = 0;
                        STATUS_OK
                    }
                    COMMAND_REPORT => self.report(),
                    COMMAND_CONVERT => self.convert(),
                    _ => STATUS_BAD_COMMAND,
                }
            }
            8 if self.input.len() < INPUT_MAX => self.input.extend_from_slice(&value.to_le_bytes()),
            8 => self.status = STATUS_BAD_ARGUMENT,
            _ => {}
        }
    }

    fn report(&mut self) -> u32 {
        let Ok(report_data) = <&[u8; 64]>::try_from(self.input.as_slice()) else {
            return STATUS_BAD_ARGUMENT;
        };
        let Some(output) = self.psp.report(report_data) else { return STATUS_REFUSED };
        self.output = output;
        self.taken = 0;
        self.input.clear();
        STATUS_OK
    }

    fn convert(&mut self) -> u32 {
        let Ok(input) = <&[u8; 24]>::try_from(self.input.as_slice()) else { return STATUS_BAD_ARGUMENT };
        let mut words = input.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()));
        let (Some(gpa), Some(pages), Some(attributes)) = (words.next(), words.next(), words.next()) else {
            return STATUS_BAD_ARGUMENT;
        };
        self.input.clear();
        // Bits 3:0 are a page-size hint, which is not believed.
        if attributes & !(ATTRIBUTE_PRIVATE | 0xf) != 0 {
            return STATUS_BAD_ARGUMENT;
        }
        let to = if attributes & ATTRIBUTE_PRIVATE != 0 { Target::Private } else { Target::Shared };
        match self.converter.convert(gpa, pages, to) {
            Ok(()) => STATUS_OK,
            Err(_) => STATUS_REFUSED,
        }
    }
}
