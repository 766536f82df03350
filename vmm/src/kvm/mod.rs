//! KVM's file descriptors: the only folder, beside the launch flows in `cloister-coco`, that holds them.

mod doorbell;
mod host;
mod irq;
mod msi;
mod run_page;
mod vcpu;

pub(crate) use doorbell::KvmDoorbells;
pub(crate) use host::Host;
pub(crate) use irq::{IoapicSink, MsiVectors, Routes};
pub(crate) use msi::KvmMessages;
#[cfg(test)]
pub(crate) use run_page::fake::FakePage;
pub(crate) use run_page::{PageExit, RunPage};
pub(crate) use vcpu::Kicker;
