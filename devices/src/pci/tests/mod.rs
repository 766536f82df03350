//! The bus as a guest uses and misuses it.

mod bus;
mod config;
mod functions;
mod hostile;
mod msix;

use std::sync::{Arc, Mutex};

use super::testing::Hands;
use super::*;

const BASE: u64 = 0xc000_0000;
const LEN: u64 = 0x2000_0000;

/// A function with two BARs of memory, which writes down where its BARs are.
struct Memory {
    space: ConfigSpace,
    bytes: Vec<u8>,
    moves: Vec<Vec<BarWindow>>,
}

impl Memory {
    fn new(device: u16) -> Arc<Mutex<Memory>> {
        let mut space = ConfigSpace::new(Identity { vendor: 0x1234, device, ..Identity::default() });
        space.add_bar(0, 0x1000).unwrap();
        space.add_bar(2, 0x10000).unwrap();
        Arc::new(Mutex::new(Memory { space, bytes: vec![0; 0x10000], moves: Vec::new() }))
    }
}

impl PciFunction for Memory {
    fn space(&self) -> &ConfigSpace {
        &self.space
    }
    fn space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.space
    }
    fn bar_read(&mut self, _bar: u8, offset: u64, data: &mut [u8]) {
        let at = offset as usize;
        data.copy_from_slice(&self.bytes[at..at + data.len()]);
    }
    fn bar_write(&mut self, _bar: u8, offset: u64, data: &[u8]) {
        let at = offset as usize;
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }
    fn bars_moved(&mut self, windows: &[BarWindow]) {
        self.moves.push(windows.to_vec());
    }
}

fn root() -> (PciRoot, Hands) {
    let root = PciRoot::new(BASE, LEN);
    let hands = Hands::new(&root);
    (root, hands)
}
