//! The board: puts a machine together around a launch plan, launches it, and runs it.
//!
//! - [`machine`]: assembly, in the one order that every platform allows.
//! - [`exits`]: a guest's exits, each to what answers it.
//! - [`vcpu`]: vCPU threads and their states.
//! - [`event`]: what ends a guest.

mod debug_ports;
mod event;
mod exits;
mod machine;
mod mailbox_ports;
mod vcpu;

pub(crate) use debug_ports::printable;
pub(crate) use event::{Event, Events};
pub(crate) use machine::{DeviceSpec, Machine, MachineSpec, VsockDevice};
