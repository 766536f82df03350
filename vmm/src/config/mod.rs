//! What an operator can say about a guest: one schema for the file and the flags.

mod spec;
mod values;

pub(crate) use spec::{CocoSpec, VmSpec};
pub(crate) use values::{ConsoleSpec, DiskSpec, FileSpec, Size, VsockSpec};
