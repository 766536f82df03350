//! Two ports for freestanding guests: a console of bytes, and a way to end with a code.

use std::fs::File;
use std::io::Write;

use cloister_devices::bus::BusDevice;
use cloister_devices::limit::LogLimit;
use tracing::warn;

use super::event::{Event, Events};

/// Byte writes are console output (the port that Bochs and QEMU use for it).
pub(crate) const DEBUG_CONSOLE: u64 = 0xe9;
/// A byte write ends the guest with that code; a read says that the guest waits for us.
pub(crate) const DEBUG_EXIT: u64 = 0xf4;

/// The console: complete lines go to a function.
pub(crate) struct DebugConsole {
    line: Vec<u8>,
    sink: Box<dyn FnMut(&str) + Send>,
}

/// A guest's line is cut after this many bytes.
const LINE_MAX: usize = 512;

impl DebugConsole {
    pub(crate) fn new(sink: impl FnMut(&str) + Send + 'static) -> Self {
        DebugConsole { line: Vec::with_capacity(LINE_MAX), sink: Box::new(sink) }
    }
}

impl BusDevice for DebugConsole {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        // What Bochs answers: the port is there.
        data.fill(0xe9);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        for &byte in data {
            if byte == b'\n' || self.line.len() >= LINE_MAX {
                (self.sink)(&printable(&self.line));
                self.line.clear();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
    }
}

/// Byte writes are the log of stock firmware (edk2's OvmfPkg/Library/PlatformDebugLibIoPort).
pub(crate) const FIRMWARE_LOG: u64 = 0x402;

/// The firmware's log: every byte into a file, a line at a time.
pub(crate) struct FirmwareLog {
    file: File,
    line: Vec<u8>,
    log: LogLimit,
}

impl FirmwareLog {
    pub(crate) fn new(file: File) -> Self {
        FirmwareLog { file, line: Vec::with_capacity(LINE_MAX), log: LogLimit::default() }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.write_all(&self.line)
            && let Some(kept_back) = self.log.allow()
        {
            warn!(%error, kept_back, "the firmware's log cannot be written");
        }
        self.line.clear();
    }
}

impl BusDevice for FirmwareLog {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        // By this value the firmware knows that somebody listens.
        data.fill(0xe9);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        for &byte in data {
            self.line.push(byte);
            if byte == b'\n' || self.line.len() >= LINE_MAX {
                self.flush();
            }
        }
    }
}

impl Drop for FirmwareLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A guest's bytes as text that does nothing to a terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

/// The exit port.
pub(crate) struct DebugExit {
    events: Events,
}

impl DebugExit {
    pub(crate) fn new(events: Events) -> Self {
        DebugExit { events }
    }
}

impl BusDevice for DebugExit {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        // The guest polls for something that another of our threads has to do: let that thread run.
        std::thread::yield_now();
        data.fill(0);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        if let [code, ..] = *data {
            self.events.send(Event::Exit(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_firmware_s_log_has_every_byte() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = FirmwareLog::new(file.reopen().unwrap());
        let mut there = [0];
        log.read(0, &mut there);
        log.write(0, b"SecCoreStartup\r\n");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"SecCoreStartup\r\n");
        log.write(0, &[b'x'; LINE_MAX + 1]);
        drop(log);
        assert_eq!((there, std::fs::read(file.path()).unwrap().len()), ([0xe9], 16 + LINE_MAX + 1));
    }

    #[test]
    fn lines_come_whole_cut_and_harmless() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let mut console = DebugConsole::new(move |l| sink.lock().unwrap().push(l.to_owned()));
        console.write(0, b"one\ntw");
        console.write(0, b"o\x1b[2J\n");
        console.write(0, &[b'x'; LINE_MAX + 1]);
        let lines = lines.lock().unwrap();
        assert_eq!(lines[..2], ["one".to_owned(), "two.[2J".to_owned()]);
        assert_eq!(lines[2].len(), LINE_MAX);
    }
}
