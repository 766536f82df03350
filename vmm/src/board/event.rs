//! What ends a guest, or wants the board's attention.

use std::sync::mpsc::Sender;

/// Something that a vCPU, a device or the operator tells the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The guest switched itself off (ACPI S5).
    PowerOff,
    /// The guest asked for a reset (ACPI reset register, keyboard controller).
    Reset,
    /// The guest's kernel panicked (pvpanic).
    Panic,
    /// The guest cannot go on: triple fault, or a state that KVM cannot run.
    Crash(String),
    /// The guest's firmware refused the kernel that it was handed.
    Refused(String),
    /// The demo's guest ended itself with this code.
    Exit(u8),
    /// A signal to the VMM: SIGINT, SIGTERM, SIGHUP.
    Signal(i32),
    /// The VMM cannot go on; not the guest's doing.
    Fault(String),
}

/// Where events go. Cheap to clone; a board that is gone hears nothing, and nobody minds.
#[derive(Debug, Clone)]
pub(crate) struct Events(Sender<Event>);

impl Events {
    pub(crate) fn new(sender: Sender<Event>) -> Self {
        Events(sender)
    }

    pub(crate) fn send(&self, event: Event) {
        // The receiver goes first only when the machine is being taken down anyway.
        let _ = self.0.send(event);
    }
}
