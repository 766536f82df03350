//! The launch plan: what a guest is, as a value.
//!
//! A plan is computed before anything is created. The same plan is measured (a prediction, without
//! KVM), printed, and launched, so that prediction and launch cannot drift apart.

mod cpu;
mod error;
mod file;
mod firmware;
mod identity;
pub(crate) mod igvm;
mod layout;
mod linux;
pub mod low;
mod machine;
mod models;
mod pages;
mod payload;
mod plain;
mod profile;
mod segments;
mod tables;
mod tdx;

pub use cpu::{CpuState, DescriptorTable, GeneralRegisters, ResetRegisters, Segment};
pub use error::PlanError;
pub use file::{ImageError, ImageFile};
pub use firmware::{FirmwareBoot, MAX_PREDICTED_VCPUS, Svsm, plan_firmware};
pub use identity::{Identity, SignedIdBytes, TdIdentity};
pub use igvm::{IgvmBoot, IgvmPlan, IgvmPlanError, IgvmStep, Loader, igvm_steps, plan_igvm};
pub use layout::{GuestLayout, MemoryRange};
pub use linux::{LinuxBoot, SnpPages, plan_linux};
pub use machine::{MAX_MEMORY, MAX_VCPUS, MIN_MEMORY};
pub use models::{CPU_MODELS, cpu_signature};
pub use pages::{PageKind, PageRun, Source, SourceError};
pub use payload::{PayloadBoot, plan_payload};
pub use plain::{PlainFirmwareBoot, plan_plain_firmware};
pub use profile::Profile;
pub use tdx::{TdxBoot, plan_tdx};

use machine::{snp_page_runs, zero_run};

/// Everything that is decided about a guest before it is launched.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// What is put into memory, in launch order. The order is part of the measurement.
    pub pages: Vec<PageRun>,
    /// State of every vCPU at launch, by vCPU index. Its length is the vCPU count.
    pub vcpus: Vec<CpuState>,
    /// Identity and policy that the platform measures or reports beside the memory.
    pub identity: Identity,
    /// Where the guest's memory and its windows are.
    pub layout: GuestLayout,
    /// Whether memory that was not launched starts private.
    pub initial: InitialPrivacy,
    /// GPA of a TD's hand-off blocks: what KVM_TDX_INIT_VCPU takes. None for other guests.
    pub td_hob: Option<u64>,
}

/// Privacy of guest RAM when the guest begins to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPrivacy {
    /// All RAM is private until the guest converts some of it: a confidential guest that knows it is one.
    Private,
    /// All RAM is shared: a plain guest, or a guest kernel that cannot know of the simulator beneath it.
    Shared,
}
