//! The operator's terminal: raw while a guest has it, and always given back as it was.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// How the terminal was before; taken by whoever gives it back first.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// While it lives, keys go to the guest one by one and are not echoed. Signals of the terminal stay on:
/// Ctrl-C ends the VMM.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Makes standard input raw if it is a terminal; nothing otherwise.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !isatty(stdin.as_fd()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        raw.input_modes.remove(InputModes::ICRNL | InputModes::IXON);
        let mut slot = BEFORE.lock().unwrap_or_else(|e| e.into_inner());
        if slot.is_none() {
            *slot = Some(before);
            // A panic ends the process at once in release builds: destructors do not run.
            let default = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                give_back();
                default(info);
            }));
        }
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Some(RawTerminal(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, if it is ours. May be called more than once.
pub(crate) fn give_back() {
    let stdin = io::stdin();
    if let Some(before) = BEFORE.lock().unwrap_or_else(|e| e.into_inner()).take() {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(stdin.as_fd(), OptionalActions::Now, &before);
    }
}
