//! virtio over PCI, modern only (virtio 1.3 §4.1).
//!
//! Everything is in one 32-bit memory BAR and can also be reached without it, through the PCI_CFG
//! capability. Interrupts are MSI-X only; there is no INTx (interrupt pin 0), but the ISR register says
//! what happened all the same.
//!
//! | file | what |
//! |---|---|
//! | `layout` | offsets in the BAR, the capabilities that tell them |
//! | `registers` | the common configuration: a state machine without devices or threads |
//! | `signals` | ISR, vectors, DEVICE_NEEDS_RESET: what workers reach from their threads |
//! | `doorbells` | kicks that the kernel takes |
//! | `window` | the PCI_CFG capability |
//! | `function` | the PCI function, which puts them together |

mod doorbells;
mod function;
mod layout;
mod registers;
mod signals;
#[cfg(test)]
mod tests;
mod window;

pub use function::{Environment, TransportError, VirtioPci};
pub use registers::Status;
