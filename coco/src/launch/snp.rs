//! AMD SEV-SNP: the launch of coco.md 2.2 over the real firmware. Has never run on hardware.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use cloister_firmware::plan::LaunchPlan;
use kvm_bindings::kvm_cpuid_entry2;
use snafu::ResultExt;
use tracing::error;

use super::kernel::Kernel;
use super::platform::{CpuidSnafu, Ground, KernelSnafu, LaunchSnafu, Platform, PlatformError, convert_all};
use crate::memory::{Converter, SharedMemory, Target};
use crate::protected::GuestMemfd;
use crate::snp::{SnpLaunch, cpuid_lines, cpuid_page};

/// A guest under SEV-SNP.
pub(super) struct Snp {
    kernel: Kernel,
    converter: Arc<Converter>,
    sev: SevDevice,
}

impl Snp {
    /// INIT2 and START, memory slots with their private side, everything private.
    pub(super) fn open(ground: Ground, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        let Ground { kernel, ram, certificates, .. } = ground;
        let sev = SevDevice::open(&kernel).context(KernelSnafu { step: "opening /dev/sev" })?;
        let launch = SnpLaunch::new(&kernel, sev.number()).with_certificates(certificates);
        launch.start(&plan.identity).context(LaunchSnafu)?;
        let backing = GuestMemfd::new(kernel.clone(), &ram)
            .context(KernelSnafu { step: "making guest_memfd and its memory slots" })?;
        let converter = Converter::new(SharedMemory::new(ram.clone()), Box::new(backing));
        convert_all(&ram, &converter, Target::Private)?;
        Ok(Snp { kernel, converter: Arc::new(converter), sev })
    }

    fn launch(&self) -> SnpLaunch<'_> {
        SnpLaunch::new(&self.kernel, self.sev.number())
    }
}

impl Platform for Snp {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn load(&self, plan: &LaunchPlan, cpuid: &[kvm_cpuid_entry2]) -> Result<(), PlatformError> {
        let page = cpuid_page(cpuid).context(CpuidSnafu)?;
        let corrections = self.launch().load(plan, &page).context(LaunchSnafu)?;
        if !corrections.is_empty() {
            // The guest reads the page and nothing else, so it is whole; but a feature may be missing from it,
            // and the operator is told so unasked.
            let corrections = cpuid_lines(&corrections);
            error!("the SEV firmware refused, and corrected, the guest's CPUID table:{corrections}");
        }
        Ok(())
    }

    fn finish(&self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        self.launch().finish(&plan.identity).context(LaunchSnafu)
    }

    fn converter(&self) -> &Arc<Converter> {
        &self.converter
    }
}

/// `/dev/sev`, open for the VM's life. KVM remembers the *number* of the descriptor at START and looks it
/// up again for every firmware command after that, also for those that the running guest asks for: it must
/// neither close nor move.
struct SevDevice(OwnedFd);

impl SevDevice {
    fn open(kernel: &Kernel) -> std::io::Result<Self> {
        kernel.open_sev().map(SevDevice)
    }

    fn number(&self) -> u32 {
        // Descriptors are not negative.
        self.0.as_raw_fd().unsigned_abs()
    }
}
