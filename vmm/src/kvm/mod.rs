//! KVM's file descriptors: the only folder, beside the launch flows in `cloister-coco`, that holds them.

mod doorbell;
mod host;
mod irq;
mod vcpu;

pub(crate) use doorbell::KvmDoorbells;
pub(crate) use host::Host;
pub(crate) use irq::{IoapicSink, MsiVectors, Routes};
pub(crate) use vcpu::Kicker;
