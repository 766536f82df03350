//! I/O ports from user space, for the simulator's mailbox.
#![allow(unsafe_code)] // ioperm(), and the in and out instructions

use std::arch::asm;
use std::io;
use std::marker::PhantomData;

use crate::agent::mailbox::{BASE, PortIo, WIDTH};

/// The right to use the mailbox's ports. The kernel gives it to one thread, so it cannot be sent.
#[derive(Debug)]
pub struct Ports {
    thread: PhantomData<*const ()>,
}

impl Ports {
    /// Asks the kernel for the mailbox's sixteen ports; needs CAP_SYS_RAWIO.
    pub fn open() -> io::Result<Self> {
        // SAFETY: ioperm only changes which ports this thread may use; no memory is involved.
        let result = unsafe { libc::ioperm(libc::c_ulong::from(BASE), libc::c_ulong::from(WIDTH), 1) };
        if result == 0 { Ok(Self { thread: PhantomData }) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether a four-byte access at `port` stays within the ports that were asked for.
fn granted(port: u16) -> bool {
    port.checked_sub(BASE).is_some_and(|offset| offset <= WIDTH - 4)
}

impl PortIo for Ports {
    fn inl(&mut self, port: u16) -> u32 {
        let mut value = u32::MAX;
        if granted(port) {
            // SAFETY: `open` got the permission for this port on this thread. Reading the mailbox has no
            // effect on memory; on a machine without it the bus answers with ones.
            unsafe {
                asm!("in eax, dx", out("eax") value, in("dx") port, options(nomem, nostack, preserves_flags))
            };
        }
        value
    }

    fn outl(&mut self, port: u16, value: u32) {
        if granted(port) {
            // SAFETY: as above; the mailbox answers through its ports only. `probe` has found it before
            // anything is written. No `nomem`: CONVERT changes what backs guest memory.
            unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mailboxs_ports_are_touched() {
        assert!(granted(BASE) && granted(BASE + 12));
        assert!(!granted(BASE + 13) && !granted(BASE - 1) && !granted(0) && !granted(u16::MAX));
    }
}
