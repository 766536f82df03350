//! Why a good IGVM file is no guest of ours.

use snafu::Snafu;

use crate::igvm::vp::VpError;
use crate::igvm::{IgvmError, PlatformType};
use crate::plan::PlanError;

/// An IGVM file cannot be planned or measured. Offsets are from the start of the file.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum IgvmPlanError {
    /// It is for other platforms.
    #[snafu(display(
        "the file is for {found}, and {wanted} is asked for. Choose one of those, or build the file for it"
    ))]
    NoPlatform {
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: PlatformType,
    },
    /// A platform that is measured, but not planned.
    #[snafu(display(
        "an IGVM file cannot be launched on {found}: no KVM has a way for it. Use firmware there"
    ))]
    NotPlanned {
        /// The platform.
        found: PlatformType,
    },
    /// Data could not be read.
    #[snafu(display("{source}"))]
    Data {
        /// Why.
        source: IgvmError,
    },
    /// The machine or its memory do not fit.
    #[snafu(display("{source}"))]
    Machine {
        /// Why.
        source: PlanError,
    },
    /// RAM that the file needs is not there.
    #[snafu(display(
        "REQUIRED_MEMORY at {offset:#x} wants {bytes:#x} bytes of RAM at {gpa:#x}, and there are not. Give the \
         guest more memory"
    ))]
    RequiredMemory {
        /// Where the header is.
        offset: u64,
        /// First address.
        gpa: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Another number of vCPUs than the file has states for.
    #[snafu(display(
        "{found} vCPUs are asked for, but the file has the state of {wanted}, and KVM measures every vCPU. Ask \
         for {wanted}"
    ))]
    Vcpus {
        /// Number asked for.
        found: u32,
        /// Number of VP_CONTEXT.
        wanted: u32,
    },
    /// vCPU states with gaps.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} is for vCPU {found}, and {wanted} is wanted: states must be there from vCPU \
         0 on, without gaps. Build the file so"
    ))]
    ContextIndex {
        /// Where the header is.
        offset: u64,
        /// Its vCPU.
        found: u16,
        /// The first one without a state.
        wanted: u16,
    },
    /// A VMSA in a place of its own.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} lies at address {found:#x}, and KVM measures every VMSA at {wanted:#x}. \
         Build the file for KVM (or QEMU)"
    ))]
    ContextAddress {
        /// Where the header is.
        offset: u64,
        /// Its address.
        found: u64,
        /// KVM's.
        wanted: u64,
    },
    /// A VMSA that is measured too early.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} comes before the {name} at {found:#x}, but KVM measures VMSAs last. Build the \
         file with them last (sorted by address)"
    ))]
    ContextNotLast {
        /// Where the header is.
        offset: u64,
        /// What comes behind it.
        name: &'static str,
        /// Where that is.
        found: u64,
    },
    /// vCPUs with different features.
    #[snafu(display(
        "VP_CONTEXT at {offset:#x} has SEV features {found:#x}, and those of vCPU 0 are {wanted:#x}: KVM has one \
         set for all. Build the file so"
    ))]
    ContextFeatures {
        /// Where the header is.
        offset: u64,
        /// Its features.
        found: u64,
        /// Those of vCPU 0.
        wanted: u64,
    },
    /// A vCPU state that KVM cannot launch.
    #[snafu(display("VP_CONTEXT at {offset:#x} cannot be launched on KVM: {source}"))]
    Context {
        /// Where the header is.
        offset: u64,
        /// Why.
        source: VpError,
    },
    /// Memory above a boundary shared.
    #[snafu(display(
        "shared_gpa_boundary of the file's {platform} is {found:#x}, and KVM shares memory page by page only. \
         Build the file for KVM (or QEMU)"
    ))]
    SharedBoundary {
        /// The platform.
        platform: PlatformType,
        /// The boundary.
        found: u64,
    },
    /// A parameter that we have not.
    #[snafu(display("{name} at {offset:#x} asks for something that this guest is not given. {advice}"))]
    NoParameter {
        /// Type.
        name: &'static str,
        /// Where the header is.
        offset: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A parameter that is longer than what is left of its area.
    #[snafu(display(
        "{name} at {offset:#x} needs {wanted} bytes, and its parameter area has {found} from there on. Give \
         less, or build the file with a larger area"
    ))]
    ParameterTooLong {
        /// Type.
        name: &'static str,
        /// Where the header is.
        offset: u64,
        /// Bytes there are.
        found: usize,
        /// Bytes needed.
        wanted: usize,
    },
    /// A command line that a NUL would cut.
    #[snafu(display(
        "the command line has a NUL at byte {at}: the guest would stop reading there. Remove it"
    ))]
    CmdlineNul {
        /// Where.
        at: usize,
    },
}
