//! I/O ports: console, exit, and the raw instructions.
#![allow(unsafe_code, reason = "in and out")]

use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cloister_attestation::agent::mailbox::PortIo;
use demo_guest::exit::ExitCode;
use demo_guest::pci;
use demo_guest::platform::Ports;

/// Bytes written here are the console.
pub const CONSOLE: u16 = 0xe9;
/// A byte written here ends the VM with that code; reading it says that we wait for something.
pub const EXIT: u16 = 0xf4;

/// Writes a byte to a port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: port I/O cannot touch our memory but by DMA, which the device drivers set up.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Reads a byte from a port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: as in `outb`.
    unsafe { asm!("in al, dx", in("dx") port, lateout("al") value, options(nostack, preserves_flags)) };
    value
}

/// Writes two bytes to a port.
fn outw(port: u16, value: u16) {
    // SAFETY: as in `outb`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}

/// Reads two bytes from a port.
fn inw(port: u16) -> u16 {
    let value;
    // SAFETY: as in `outb`.
    unsafe { asm!("in ax, dx", in("dx") port, lateout("ax") value, options(nostack, preserves_flags)) };
    value
}

/// Writes four bytes to a port.
fn outl(port: u16, value: u32) {
    // SAFETY: as in `outb`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Reads four bytes from a port.
fn inl(port: u16) -> u32 {
    let value;
    // SAFETY: as in `outb`.
    unsafe { asm!("in eax, dx", in("dx") port, lateout("eax") value, options(nostack, preserves_flags)) };
    value
}

/// What PCI's address port was set to last, by whichever driver; one processor drives all devices.
static PCI_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// The ports, as drivers see them.
#[derive(Debug, Clone, Copy)]
pub struct CpuPorts;

impl Ports for CpuPorts {
    fn inb(&mut self, port: u16) -> u8 {
        inb(port)
    }
    fn inw(&mut self, port: u16) -> u16 {
        inw(port)
    }
    fn inl(&mut self, port: u16) -> u32 {
        inl(port)
    }
    fn outb(&mut self, port: u16, value: u8) {
        outb(port, value);
    }
    fn outw(&mut self, port: u16, value: u16) {
        outw(port, value);
    }
    fn outl(&mut self, port: u16, value: u32) {
        // Every port access leaves the VM, so not twice to the same.
        if port != pci::ADDRESS || PCI_ADDRESS.swap(value, Ordering::Relaxed) != value {
            outl(port, value);
        }
    }
}

impl PortIo for CpuPorts {
    fn inl(&mut self, port: u16) -> u32 {
        inl(port)
    }
    fn outl(&mut self, port: u16, value: u32) {
        outl(port, value);
    }
}

/// Ends the VM.
pub fn exit(code: ExitCode) -> ! {
    loop {
        outb(EXIT, code.0);
    }
}

/// The console.
#[derive(Debug)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| outb(CONSOLE, byte));
        Ok(())
    }
}

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let _ = writeln!($crate::machine::port::Console, $($arg)*);
    }};
}
