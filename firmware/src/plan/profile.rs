//! Who launches the guest: launchers put other pages, or other registers, into the same launch.

use super::{CpuState, PageKind, ResetRegisters, Segment};
use crate::ovmf::SectionKind;

/// RDX that KVM gives a vCPU which is reset before its CPUID is set.
const RDX_UNSET: u32 = 0x600;
/// Code segment of GDT entry 1 in 32-bit protected mode, as coconut-svsm is entered.
const FLAT_CODE: Segment = Segment { selector: 8, attributes: 0xc9b, limit: u32::MAX, base: 0 };
/// Data segment of GDT entry 2.
const FLAT_DATA: Segment = Segment { selector: 16, attributes: 0xc93, limit: u32::MAX, base: 0 };

/// A launcher, by what its launches measure to.
///
/// Ours is QEMU's for the same inputs. The two clouds' are what sev-snp-measure 0.0.13 predicts; for EC2,
/// virtee/sev predicts another RDX (0 instead of 0x600), which [`Profile::Ec2RdxZero`] stands for. We
/// follow sev-snp-measure: 0x600 is what KVM leaves there when nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// QEMU on KVM.
    Qemu,
    /// Amazon EC2.
    Ec2,
    /// Amazon EC2, as virtee/sev predicts it.
    Ec2RdxZero,
    /// Google Compute Engine.
    Gce,
    /// This VMM.
    Cloister,
}

impl Profile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Qemu => "qemu",
            Profile::Ec2 => "ec2",
            Profile::Ec2RdxZero => "ec2-rdx-0",
            Profile::Gce => "gce",
            Profile::Cloister => "cloister",
        }
    }

    /// Whether vCPUs have the signature of a CPU model in RDX, so that the model is measured.
    pub fn measures_model(self) -> bool {
        matches!(self, Profile::Qemu | Profile::Cloister)
    }

    /// Whether the CPUID page comes after all other sections.
    pub(super) fn cpuid_last(self) -> bool {
        matches!(self, Profile::Ec2 | Profile::Ec2RdxZero)
    }

    /// How a section enters the guest, and what it is called.
    pub(super) fn section(self, kind: SectionKind) -> (PageKind, &'static str) {
        match kind {
            SectionKind::SEC_MEM if self == Profile::Gce => (PageKind::Unmeasured, "SEC memory"),
            SectionKind::SEC_MEM => (PageKind::Zero, "SEC memory"),
            SectionKind::SECRETS => (PageKind::Secrets, "secrets page"),
            SectionKind::CPUID => (PageKind::Cpuid, "CPUID page"),
            SectionKind::SVSM_CAA => (PageKind::Zero, "SVSM calling area"),
            SectionKind::KERNEL_HASHES => (PageKind::Zero, "kernel hashes"),
            _ => (PageKind::Zero, "section of unknown kind"),
        }
    }

    /// The first vCPU at the reset vector.
    pub fn first_vcpu(self, signature: u32) -> CpuState {
        let mut cpu = self.vcpu(signature);
        if self.cpuid_last() {
            cpu.cs.attributes = 0x9a;
        }
        cpu
    }

    /// Any other vCPU, where the firmware wants it to start.
    pub fn other_vcpu(self, signature: u32, reset_eip: u32) -> CpuState {
        let mut cpu = self.vcpu(signature);
        cpu.cs.base = u64::from(reset_eip & 0xffff_0000);
        cpu.rip = u64::from(reset_eip & 0xffff);
        cpu
    }

    fn vcpu(self, signature: u32) -> CpuState {
        let no_fpu = ResetRegisters { mxcsr: 0, fcw: 0, ..ResetRegisters::default() };
        match self {
            Profile::Qemu | Profile::Cloister => CpuState::reset(signature),
            Profile::Ec2 | Profile::Ec2RdxZero => {
                let rdx = if self == Profile::Ec2 { RDX_UNSET } else { 0 };
                let mut cpu = CpuState { reset: no_fpu, ..CpuState::reset(rdx) };
                cpu.ss.attributes = 0x92;
                cpu.tr.attributes = 0x83;
                cpu
            }
            // Its hypervisor writes a PAT of its own.
            Profile::Gce => {
                let reset = ResetRegisters { pat: 0x0007_0106, ..no_fpu };
                CpuState { reset, ..CpuState::reset(RDX_UNSET) }
            }
        }
    }
}

/// Any vCPU of a guest with coconut-svsm: 32-bit protected mode, without paging.
///
/// The x87 control word is 0 as in sev-snp-measure, whose published digests we reproduce: it means to put
/// 0x37f there, which is what KVM would launch, but does not.
pub(super) fn svsm_vcpu(signature: u32, entry: u64) -> CpuState {
    let mut cpu = CpuState {
        cs: FLAT_CODE,
        ds: FLAT_DATA,
        es: FLAT_DATA,
        fs: FLAT_DATA,
        ss: FLAT_DATA,
        cr0: 0x11,
        rip: entry,
        ..CpuState::reset(signature)
    };
    cpu.reset.fcw = 0;
    cpu
}
