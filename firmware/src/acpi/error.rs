//! Why tables cannot be built.

use snafu::Snafu;

use crate::plan::MAX_VCPUS;

/// A machine that ACPI tables cannot describe.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum AcpiError {
    /// No vCPU, or more than 8-bit APIC ids can number.
    #[snafu(display("{vcpus} vCPUs: the tables number between 1 and {MAX_VCPUS}"))]
    Vcpus {
        /// Number of vCPUs.
        vcpus: u32,
    },
    /// The tables' address is not aligned or out of reach.
    #[snafu(display("ACPI tables cannot lie at {base:#x}: it must be a multiple of 16 below 4 GiB"))]
    Base {
        /// The address.
        base: u64,
    },
    /// The configuration space is not whole buses below 4 GiB.
    #[snafu(display(
        "PCIe configuration space at {start:#x}, {size:#x} bytes, is not 1 to 256 MiB on a MiB below 4 GiB"
    ))]
    Ecam {
        /// First address.
        start: u64,
        /// Bytes.
        size: u64,
    },
    /// A window for BARs is empty, or not where it must be.
    #[snafu(display("the window for BARs at {start:#x}, {size:#x} bytes, is empty or reaches too far"))]
    Window {
        /// First address.
        start: u64,
        /// Bytes.
        size: u64,
    },
}
