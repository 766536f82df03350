//! The board: puts a machine together around a launch plan, launches it, and runs it.
//!
//! - [`machine`]: assembly, in the one order that every platform allows.
//! - [`exits`]: a guest's exits, each to what answers it.
//! - [`vcpu`]: vCPU threads and their states.
//! - [`event`]: what ends a guest.
//! - [`firmware`], [`handover`], [`watchdog`]: what firmware is told and handed, and whether it goes on.

mod debug_ports;
mod event;
mod exits;
mod firmware;
mod handover;
mod machine;
mod launch;
mod mailbox_ports;
mod vcpu;
mod watchdog;

pub(crate) use debug_ports::printable;
pub(crate) use event::{Event, Events};
pub(crate) use firmware::FirmwareSpec;
pub(crate) use handover::Handover;
pub(crate) use machine::{DeviceSpec, Machine, MachineSpec, ProgressSink, VsockDevice};
pub(crate) use watchdog::Watchdog;
