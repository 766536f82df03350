//! PCI configuration space through ports 0xCF8 and 0xCFC.

use crate::platform::Ports;

/// The port of the address, which the data port stays pointed at.
pub const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;

const ID: u8 = 0x00;
const COMMAND: u8 = 0x04;
const STATUS: u8 = 0x06;
const HEADER_TYPE: u8 = 0x0e;
const CAPABILITIES: u8 = 0x34;

const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_NO_INTX: u16 = 1 << 10;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const MULTI_FUNCTION: u8 = 1 << 7;

/// Capabilities that fit into 256 bytes: a longer list is a loop.
const MAX_CAPABILITIES: usize = 48;
const FIRST_CAPABILITY: u8 = 0x40;

/// A function on bus 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    device: u8,
    function: u8,
}

/// Configuration space behind the ports. There may be several of these: each access says where it goes.
#[derive(Debug)]
pub struct Pci<P> {
    /// The ports, also for whoever needs others of them.
    pub ports: P,
}

impl<P: Ports> Pci<P> {
    /// Configuration space through `ports`.
    pub fn new(ports: P) -> Self {
        Pci { ports }
    }

    /// Finds a function by vendor and device id.
    pub fn find(&mut self, vendor: u16, device: u16) -> Option<Function> {
        let wanted = (u32::from(device) << 16) | u32::from(vendor);
        for device in 0..DEVICES {
            let mut at = Function { device, function: 0 };
            match self.read32(at, ID) {
                u32::MAX => continue,
                id if id == wanted => return Some(at),
                _ => {}
            }
            if self.read8(at, HEADER_TYPE) & MULTI_FUNCTION == 0 {
                continue;
            }
            for function in 1..FUNCTIONS {
                at.function = function;
                if self.read32(at, ID) == wanted {
                    return Some(at);
                }
            }
        }
        None
    }

    /// Lets a function reach memory, and keeps its interrupt pin quiet.
    pub fn enable(&mut self, at: Function) {
        let command = self.read16(at, COMMAND) | COMMAND_BUS_MASTER | COMMAND_NO_INTX;
        self.write16(at, COMMAND, command);
    }

    /// Calls `visit` with the offset of each capability of type `id`.
    pub fn capabilities(&mut self, at: Function, id: u8, mut visit: impl FnMut(&mut Self, u8)) {
        if self.read16(at, STATUS) & STATUS_CAPABILITIES == 0 {
            return;
        }
        let mut offset = self.read8(at, CAPABILITIES) & !3;
        for _ in 0..MAX_CAPABILITIES {
            if offset < FIRST_CAPABILITY {
                return;
            }
            let [found, next] = self.read16(at, offset).to_le_bytes();
            if found == id {
                visit(self, offset);
            }
            offset = next & !3;
        }
    }

    /// Reads a byte.
    pub fn read8(&mut self, at: Function, register: u8) -> u8 {
        let port = self.select(at, register);
        self.ports.inb(port)
    }

    /// Reads two bytes.
    pub fn read16(&mut self, at: Function, register: u8) -> u16 {
        let port = self.select(at, register);
        self.ports.inw(port)
    }

    /// Reads four bytes.
    pub fn read32(&mut self, at: Function, register: u8) -> u32 {
        let port = self.select(at, register);
        self.ports.inl(port)
    }

    /// Writes a byte.
    pub fn write8(&mut self, at: Function, register: u8, value: u8) {
        let port = self.select(at, register);
        self.ports.outb(port, value);
    }

    /// Writes two bytes.
    pub fn write16(&mut self, at: Function, register: u8, value: u16) {
        let port = self.select(at, register);
        self.ports.outw(port, value);
    }

    /// Writes four bytes.
    pub fn write32(&mut self, at: Function, register: u8, value: u32) {
        let port = self.select(at, register);
        self.ports.outl(port, value);
    }

    /// Points the data port at a register.
    fn select(&mut self, at: Function, register: u8) -> u16 {
        let function = (u32::from(at.device) << 11) | (u32::from(at.function) << 8);
        let address = ENABLE | function | u32::from(register & !3);
        self.ports.outl(ADDRESS, address);
        DATA | u16::from(register & 3)
    }
}
