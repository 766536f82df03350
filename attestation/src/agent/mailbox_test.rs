use std::collections::VecDeque;

use super::*;

/// The device's half, as the interface describes it.
#[derive(Default)]
struct Device {
    input: Vec<u8>,
    output: VecDeque<u8>,
    status: u32,
    aux: Vec<u8>,
    converted: Option<[u64; 3]>,
    lie: Option<u32>,
}

impl PortIo for Device {
    fn inl(&mut self, port: u16) -> u32 {
        match port - BASE {
            0 => MAGIC,
            4 => self.status,
            8 => u32::from_le_bytes(std::array::from_fn(|_| self.output.pop_front().unwrap_or(0))),
            12 => self.lie.unwrap_or(self.output.len() as u32),
            _ => panic!("read of port {port:#x}"),
        }
    }

    fn outl(&mut self, port: u16, value: u32) {
        match (port - BASE, value) {
            (4, BEGIN) => {
                self.input.clear();
                self.output.clear();
                self.status = 0;
            }
            (4, REPORT) if self.input.len() == 64 => {
                let mut report = vec![0; REPORT_LEN];
                report[0x50..0x90].copy_from_slice(&self.input);
                self.output.extend(report);
                self.output.extend(&self.aux);
            }
            (4, CONVERT) if self.input.len() == 24 => {
                let word = |i: usize| u64::from_le_bytes(self.input[i * 8..i * 8 + 8].try_into().unwrap());
                self.converted = Some([word(0), word(1), word(2)]);
                self.status = if word(0) % 4096 == 0 { 0 } else { 2 };
            }
            (4, _) => self.status = 1,
            (8, value) => self.input.extend(value.to_le_bytes()),
            _ => panic!("write of port {port:#x}"),
        }
    }
}

struct Absent;

impl PortIo for Absent {
    fn inl(&mut self, _: u16) -> u32 {
        u32::MAX
    }
    fn outl(&mut self, port: u16, _: u32) {
        panic!("write of port {port:#x} of an absent device");
    }
}

#[test]
fn absence_is_noticed_without_a_write() {
    assert!(Mailbox::probe(Absent).is_none());
}

#[test]
fn a_report_and_its_certificates_come_out_whole() {
    for len in [0, 1, 3, 4, 4001] {
        let aux: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut mailbox = Mailbox::probe(Device { aux: aux.clone(), ..Device::default() }).unwrap();
        let evidence = mailbox.report(&[0x5a; 64]).unwrap();
        assert_eq!(evidence.report.len(), REPORT_LEN);
        assert_eq!(evidence.report[0x50..0x90], [0x5a; 64]);
        assert_eq!(evidence.auxblob, aux);
    }
}

#[test]
fn impossible_sizes_are_refused_before_memory_is_taken() {
    for lie in [0, 1183, 1184 + (64 << 10) + 1, u32::MAX] {
        let mut mailbox = Mailbox::probe(Device { lie: Some(lie), ..Device::default() }).unwrap();
        assert_eq!(mailbox.report(&[0; 64]), Err(MailboxError::BadSize(lie)));
    }
}

#[test]
fn conversions_carry_their_three_numbers() {
    let mut mailbox = Mailbox::probe(Device::default()).unwrap();
    mailbox.convert(0x10_0000, 3, true).unwrap();
    assert_eq!(mailbox.convert(0x1001, 1, false), Err(MailboxError::BadArgument));
    assert_eq!(mailbox.into_inner().converted, Some([0x1001, 1, 0]));
    let mut mailbox = Mailbox::probe(Device::default()).unwrap();
    mailbox.convert(0x10_0000, 3, true).unwrap();
    assert_eq!(mailbox.into_inner().converted, Some([0x10_0000, 3, 1 << 4]));
}
