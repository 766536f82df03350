//! What boots, and what it measures to. No KVM, no I/O but reading.
//!
//! - [`plan`]: the launch plan, a value computed before any file descriptor of KVM's is opened.
//! - [`measure`]: the digest that a plan will have, and why two digests differ.

pub mod measure;
pub mod plan;
