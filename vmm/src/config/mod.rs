//! What an operator can say about a guest: one schema for the file and the flags.

mod blob;
mod coco;
mod coco_keys;
mod cpu;
mod number;
mod spec;
mod values;

pub(crate) use blob::BlobSpec;
pub(crate) use coco::{CocoPlatform, CocoSpec};
pub(crate) use cpu::{CpuModel, CpuSig};
pub(crate) use spec::{StatsSpec, VmSpec};
pub(crate) use values::{ConsoleSpec, DiskSpec, FileSpec, Size, VsockSpec};
