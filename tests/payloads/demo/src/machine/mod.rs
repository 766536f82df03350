//! What touches the machine: entry and exceptions, ports, memory functions, the heap, the clock.

pub mod bounce;
pub mod clock;
pub mod entry;
pub mod fault;
pub mod heap;
mod mem;
pub mod port;
pub mod random;
