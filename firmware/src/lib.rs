//! What boots, and what it measures to. No KVM, no I/O but reading.
//!
//! - [`plan`]: the launch plan, a value computed before any file descriptor of KVM's is opened.

pub mod plan;
