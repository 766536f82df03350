//! A host for the tests: memory, a PCI function with the configuration window, and a vsock device whose
//! conduct a test can choose.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::platform::{Bounce, Ports, Timer};
use crate::vsock::packet::{HEADER_LEN, HOST_CID, Header, Operation, TYPE_STREAM};

pub(crate) const GPA: u64 = 0x100_0000;
pub(crate) const CID: u64 = 7;
pub(crate) const PAGES: usize = 27;

const NOTIFY: u32 = 0x3000;
const DEVICE: u32 = 0x2000;
const WINDOW_CAP: usize = 0x80;

type Packet = (Header, Vec<u8>);
/// What the host does when a packet comes.
pub(crate) type Conduct = Box<dyn FnMut(&Header, &[u8]) -> Vec<Packet>>;

#[derive(Default, Clone, Copy)]
pub(crate) struct RingState {
    addresses: [u64; 3],
    enabled: bool,
    seen: u16,
    used: u16,
}

pub(crate) struct Host {
    pub(crate) memory: Vec<u8>,
    config: [u8; 256],
    address: u32,
    status: u8,
    features: u64,
    selects: [u32; 2],
    queue: u16,
    rings: [RingState; 3],
    conduct: Conduct,
    owed: VecDeque<Packet>,
    /// Changes a used element (id, length) before the guest sees it.
    pub(crate) corrupt: Option<fn(&mut u32, &mut u32)>,
    /// Works while the guest waits only, and not when it rings.
    pub(crate) lazy: bool,
    /// All that the guest sent.
    pub(crate) seen: Vec<Packet>,
}

#[derive(Clone)]
pub(crate) struct HostRef(pub(crate) Rc<RefCell<Host>>);

impl HostRef {
    pub(crate) fn new(conduct: Conduct) -> Self {
        let mut config = [0u8; 256];
        config[..4].copy_from_slice(&[0xf4, 0x1a, 0x53, 0x10]);
        config[6] = 0x10;
        config[0x34] = 0x40;
        let caps = [(0x40, 1u8, 0x1000u32, 56u32), (0x50, 4, DEVICE, 8), (0x60, 2, NOTIFY, 12)];
        for ((at, kind, offset, len), next) in caps.into_iter().zip([0x50, 0x60, 0x80]) {
            config[at..at + 5].copy_from_slice(&[9, next, 16, kind, 4]);
            config[at + 8..at + 12].copy_from_slice(&offset.to_le_bytes());
            config[at + 12..at + 16].copy_from_slice(&len.to_le_bytes());
        }
        config[0x70] = 4;
        config[WINDOW_CAP..WINDOW_CAP + 5].copy_from_slice(&[9, 0, 20, 5, 0]);
        HostRef(Rc::new(RefCell::new(Host {
            memory: vec![0xaa; PAGES * 4096],
            config,
            address: 0,
            status: 0xff,
            features: 0,
            selects: [0; 2],
            queue: 0,
            rings: [RingState::default(); 3],
            conduct,
            owed: VecDeque::new(),
            corrupt: None,
            lazy: false,
            seen: Vec::new(),
        })))
    }

    pub(crate) fn host(&self) -> std::cell::RefMut<'_, Host> {
        self.0.borrow_mut()
    }
}

/// A packet of the host's in answer to one of the guest's.
pub(crate) fn answer(to: &Header, operation: Operation, data: &[u8]) -> Packet {
    let header = Header {
        source_cid: HOST_CID,
        destination_cid: CID,
        source_port: to.destination_port,
        destination_port: to.source_port,
        len: data.len() as u32,
        kind: TYPE_STREAM,
        operation,
        flags: 0,
        buffer: 65536,
        consumed: 0,
    };
    (header, data.to_vec())
}

impl Host {
    fn at(gpa: u64) -> usize {
        (gpa - GPA) as usize
    }

    fn bytes<const N: usize>(&self, gpa: u64) -> [u8; N] {
        self.memory[Self::at(gpa)..][..N].try_into().unwrap()
    }

    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.memory[Self::at(gpa)..][..bytes.len()].copy_from_slice(bytes);
    }

    /// The next descriptor that the guest gave: its id, address and length.
    fn next(&mut self, ring: usize) -> Option<(u16, u64, u32)> {
        let RingState { addresses: [descriptors, available, _], seen, enabled, .. } = self.rings[ring];
        if !enabled || self.status & 4 == 0 || u16::from_le_bytes(self.bytes(available + 2)) == seen {
            return None;
        }
        let id = u16::from_le_bytes(self.bytes(available + 4 + u64::from(seen % 16) * 2));
        let at = descriptors + u64::from(id) * 16;
        self.rings[ring].seen += 1;
        Some((id, u64::from_le_bytes(self.bytes(at)), u32::from_le_bytes(self.bytes(at + 8))))
    }

    fn done(&mut self, ring: usize, id: u16, len: u32) {
        let (mut id, mut len) = (u32::from(id), len);
        if let Some(corrupt) = self.corrupt {
            corrupt(&mut id, &mut len);
        }
        let RingState { addresses: [_, _, used], used: index, .. } = self.rings[ring];
        let slot = used + 4 + u64::from(index % 16) * 8;
        self.put(slot, &id.to_le_bytes());
        self.put(slot + 4, &len.to_le_bytes());
        self.rings[ring].used += 1;
        self.put(used + 2, &(index + 1).to_le_bytes());
    }

    /// Moves packets both ways.
    pub(crate) fn work(&mut self) {
        while let Some((id, at, len)) = self.next(1) {
            let bytes = self.memory[Self::at(at)..][..len as usize].to_vec();
            self.done(1, id, 0);
            let header = Header::parse(bytes[..HEADER_LEN].try_into().unwrap());
            assert_eq!(header.len as usize, bytes.len() - HEADER_LEN);
            let answers = (self.conduct)(&header, &bytes[HEADER_LEN..]);
            self.owed.extend(answers);
            self.seen.push((header, bytes[HEADER_LEN..].to_vec()));
        }
        while let Some((header, data)) = self.owed.pop_front() {
            let Some((id, at, room)) = self.next(0) else {
                self.owed.push_front((header, data));
                return;
            };
            assert!(room as usize >= HEADER_LEN + data.len());
            self.put(at, &header.to_bytes());
            self.put(at + HEADER_LEN as u64, &data);
            self.done(0, id, (HEADER_LEN + data.len()) as u32);
        }
    }

    fn window(&self) -> (u32, u32) {
        let word = |at: usize| u32::from_le_bytes(self.config[WINDOW_CAP + at..][..4].try_into().unwrap());
        assert_eq!(self.config[WINDOW_CAP + 4], 4, "the BAR of every structure");
        (word(8), word(12))
    }

    fn bar_read(&mut self, offset: u32) -> u32 {
        let ring = &self.rings[usize::from(self.queue)];
        match offset {
            0x1004 => [1 | 1 << 5, 3][self.selects[0] as usize],
            0x1014 => u32::from(self.status),
            0x1015 => 0,
            0x1018 => 64,
            0x101c => u32::from(ring.enabled),
            0x101e => u32::from(self.queue),
            DEVICE => CID as u32,
            0x2004 => 0,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn bar_write(&mut self, offset: u32, value: u32) {
        let queue = usize::from(self.queue);
        match offset {
            0x1000 => self.selects[0] = value,
            0x1008 => self.selects[1] = value,
            0x100c => self.features |= u64::from(value) << (32 * self.selects[1]),
            0x1014 => self.status = value as u8,
            0x1016 => self.queue = value as u16,
            0x1018 => assert_eq!(value, 16),
            0x101c => self.rings[queue].enabled = value == 1,
            0x1020..0x1038 => {
                let shift = (offset & 4) * 8;
                self.rings[queue].addresses[(offset as usize - 0x1020) / 8] |= u64::from(value) << shift;
            }
            NOTIFY..0x300c => {
                assert_eq!((offset - NOTIFY) / 4, value, "each queue has its own doorbell");
                if !self.lazy {
                    self.work();
                }
            }
            _ => panic!("write of {offset:#x}"),
        }
    }

    fn data_at(&self, port: u16) -> Option<usize> {
        let function = self.address & 0x00ff_ff00;
        (function == 3 << 11).then(|| (self.address as usize & 0xfc) + usize::from(port & 3))
    }

    fn input(&mut self, port: u16, width: u32) -> u32 {
        let Some(at) = self.data_at(port) else { return u32::MAX };
        if at == WINDOW_CAP + 16 {
            let (offset, len) = self.window();
            assert_eq!(len, width);
            return self.bar_read(offset);
        }
        let bytes: [u8; 4] = core::array::from_fn(|i| self.config.get(at + i).copied().unwrap_or(0));
        u32::from_le_bytes(bytes)
    }

    fn output(&mut self, port: u16, value: u32, width: u32) {
        if port == 0xcf8 {
            self.address = value;
            return;
        }
        let at = self.data_at(port).expect("a write to our function");
        if at == WINDOW_CAP + 16 {
            let (offset, len) = self.window();
            assert_eq!(len, width);
            return self.bar_write(offset, value);
        }
        self.config[at..at + width as usize].copy_from_slice(&value.to_le_bytes()[..width as usize]);
    }

    pub(crate) fn features(&self) -> u64 {
        self.features
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl Ports for HostRef {
    fn inb(&mut self, port: u16) -> u8 {
        self.host().input(port, 1) as u8
    }
    fn inw(&mut self, port: u16) -> u16 {
        self.host().input(port, 2) as u16
    }
    fn inl(&mut self, port: u16) -> u32 {
        self.host().input(port, 4)
    }
    fn outb(&mut self, port: u16, value: u8) {
        self.host().output(port, value.into(), 1);
    }
    fn outw(&mut self, port: u16, value: u16) {
        self.host().output(port, value.into(), 2);
    }
    fn outl(&mut self, port: u16, value: u32) {
        self.host().output(port, value, 4);
    }
}

impl Bounce for HostRef {
    fn gpa(&self) -> u64 {
        GPA
    }
    fn len(&self) -> usize {
        self.0.borrow().memory.len()
    }
    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let len = to.len();
        self.0.borrow().memory.get(offset..offset + len).map(|from| to.copy_from_slice(from)).is_some()
    }
    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let mut host = self.host();
        host.memory.get_mut(offset..offset + from.len()).map(|to| to.copy_from_slice(from)).is_some()
    }
    fn load(&self, offset: usize) -> Option<u16> {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes).then(|| u16::from_le_bytes(bytes))
    }
    fn store(&mut self, offset: usize, value: u16) -> bool {
        self.write(offset, &value.to_le_bytes())
    }
}

/// Time that passes by looks, in which the host works.
impl Timer for (HostRef, u32) {
    fn restart(&mut self, seconds: u32) {
        self.1 = seconds * 10;
    }
    fn wait(&mut self) -> bool {
        self.0.host().work();
        self.1 = self.1.saturating_sub(1);
        self.1 > 0
    }
}
