//! The board: puts a machine together around a launch plan, launches it, and runs it.
//!
//! - [`launch`]: the steps up to a guest that may run, over the kernel or dry.
//! - [`machine`]: assembly of a machine around them.
//! - [`exits`]: a guest's exits, each to what answers it.
//! - [`vcpu`]: vCPU threads and their states.
//! - [`event`]: what ends a guest.
//! - [`firmware`], [`handover`], [`watchdog`]: what firmware is told and handed, and whether it goes on.

mod debug_ports;
mod event;
mod exits;
mod firmware;
mod handover;
mod launch;
mod machine;
mod mailbox_ports;
mod vcpu;
mod watchdog;

pub(crate) use debug_ports::printable;
pub(crate) use event::{Event, Events};
pub(crate) use exits::CocoServices;
pub(crate) use firmware::FirmwareSpec;
pub(crate) use handover::Handover;
pub(crate) use launch::{LaunchOptions, dry_run};
pub(crate) use machine::{DeviceSpec, Machine, MachineSpec, ProgressSink, VsockDevice};
pub(crate) use watchdog::Watchdog;
