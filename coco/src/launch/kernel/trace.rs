//! A trace of a launch: one JSON object a line for every ioctl, in their order, for bug reports and for
//! comparison with what an outside observer saw.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;
use serde_json::Value;

use super::{Call, Errno, On, decode, errno_name};

/// Writes what a launch asks of the kernel.
pub struct Trace {
    state: Mutex<State>,
}

struct State {
    /// None once the launch is over, or when writing failed.
    out: Option<Box<dyn Write + Send>>,
    lines: u64,
    failed: Option<io::Error>,
}

/// One ioctl.
#[derive(Serialize)]
struct Line {
    /// Number in the order in which the calls returned, from 1.
    seq: u64,
    /// `kvm`, `vm`, `vcpuN`, or `simulator` where there is no descriptor.
    fd: String,
    /// Name in the kernel's header.
    ioctl: &'static str,
    /// Request number.
    request: Value,
    /// The command inside KVM_MEMORY_ENCRYPT_OP.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// The argument as it was given.
    args: Value,
    /// The argument as it came back, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
    /// What the call returned, if it did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<i32>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    /// What the firmware or the TDX module said to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    firmware: Option<Value>,
}

impl Trace {
    /// A trace that goes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Trace { state: Mutex::new(State { out: Some(out), lines: 0, failed: None }) }
    }

    /// Makes the call and writes it down.
    pub(super) fn record(
        &self,
        on: On,
        call: &mut Call<'_>,
        make: impl FnOnce(&mut Call<'_>) -> Result<i32, Errno>,
    ) -> Result<i32, Errno> {
        if self.state().out.is_none() {
            return make(call);
        }
        let args = decode::arguments(call, true);
        let before = decode::arguments(call, false);
        let result = make(call);
        let now = decode::arguments(call, false);
        let line = Line {
            seq: 0,
            fd: on.to_string(),
            ioctl: call.name(),
            request: decode::hex(call.number()),
            command: decode::command(call),
            args,
            after: (now != before).then_some(now),
            result: result.ok(),
            errno: result.err().map(errno_name),
            firmware: result.err().and_then(|_| decode::firmware_error(call)),
        };
        self.write(line);
        result
    }

    fn write(&self, mut line: Line) {
        let mut state = self.state();
        line.seq = state.lines.saturating_add(1);
        let State { out: Some(out), lines, failed } = &mut *state else { return };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            // Line by line: a trace matters most where a launch dies.
            out.write_all(&bytes).and_then(|()| out.flush())
        });
        match written {
            Ok(()) => *lines = line.seq,
            Err(e) => {
                *failed = Some(e);
                state.out = None;
            }
        }
    }

    /// The launch is over: what comes later is not part of it. How many lines there are, or why they could
    /// not be written.
    pub fn end(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.out = None;
        state.failed.take().map_or(Ok(state.lines), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
