//! Exit statuses of the command: one for each way that a guest or a run can end.

use std::process::ExitCode;

use crate::board::Event;

/// The guest switched itself off; a demo or a command did what it is for.
pub(crate) const OK: u8 = 0;
/// The VMM failed.
pub(crate) const FAILED: u8 = 1;
/// What was asked for cannot be: nothing was created.
pub(crate) const BAD_INPUT: u8 = 2;
/// The guest's kernel panicked.
pub(crate) const GUEST_PANIC: u8 = 3;
/// The guest crashed: triple fault, or a state that KVM cannot run.
pub(crate) const GUEST_CRASH: u8 = 4;
/// The guest asked for a reset, and `--no-reboot` was given.
pub(crate) const GUEST_RESET: u8 = 5;
/// The evidence was refused.
pub(crate) const REFUSED: u8 = 6;
/// The guest's firmware refused the kernel or initrd that it was handed.
pub(crate) const FIRMWARE_REFUSED: u8 = 7;
/// The host lacks what `cloister doctor` was to find.
pub(crate) const HOST_LACKS: u8 = 8;

/// The status for what ended a guest.
pub(crate) fn of(event: &Event) -> ExitCode {
    ExitCode::from(match event {
        Event::PowerOff => OK,
        Event::Reset => GUEST_RESET,
        Event::Panic => GUEST_PANIC,
        Event::Crash(_) => GUEST_CRASH,
        Event::Refused(_) => FIRMWARE_REFUSED,
        Event::Exit(code) => *code,
        Event::Fault(_) => FAILED,
        // As a shell would say it: 128 and the signal's number.
        Event::Signal(number) => 128u8.saturating_add(u8::try_from(*number).unwrap_or(0)),
    })
}
