//! What is private in a confidential guest, and how a guest gets that way.
//!
//! - [`memory`]: guest RAM, which pages are private, the devices' only window ([`memory::SharedMemory`]),
//!   and the one function that converts pages from private to shared and back.

pub mod memory;
