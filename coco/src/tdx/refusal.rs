//! What KVM's refusals mean, command by command (arch/x86/kvm/vmx/tdx.c), and what to do about them.

use super::abi::TdxCommandId;
use super::status::SeamcallStatus;

/// A refusal explained: why, and what the operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What `errno` means for this command.
    pub why: &'static str,
    /// A sentence without its full stop.
    pub advice: &'static str,
}

const KERNEL_LOG: &str = "Look in the host's kernel log: it names the SEAMCALL that failed";
const REPORT: &str = "Report this together with the host's kernel version: the launch should not do that";

/// Explains `errno` of `command`; `status` is the TDX module's word, if it was asked.
pub fn explain(command: TdxCommandId, errno: i32, status: SeamcallStatus) -> Explanation {
    if status.is_error() {
        return Explanation { why: "the TDX module refused", advice: status.advice() };
    }
    let (why, advice) = match (command, errno) {
        (_, libc::ENOTTY) => {
            ("this VM is no TD", "Load kvm_intel with tdx=1 on a kernel that has CONFIG_KVM_INTEL_TDX")
        }
        (TdxCommandId::CAPABILITIES, libc::EIO) => (
            "the TDX module insists on attributes or extended state that this kernel cannot give",
            "Update the kernel",
        ),
        (TdxCommandId::INIT_VM, libc::EINVAL) => (
            "KVM refused before it asked the TDX module: attributes, XFAM or CPUID are not what it said it \
             takes, or INIT_VM was given twice",
            REPORT,
        ),
        (TdxCommandId::INIT_VM, libc::EBUSY) => (
            "the VM has a vCPU already, or its cgroup may not have another TD",
            "Raise the limit `tdx` in misc.max of the cgroup, or stop another TD in it",
        ),
        (TdxCommandId::INIT_VM, libc::E2BIG) => ("the CPUID table is too long", REPORT),
        (TdxCommandId::INIT_VM, libc::ENOSPC) => (
            "no private key is left for another TD",
            "Stop another TD, or reserve more TDX keys in the host's firmware setup",
        ),
        (TdxCommandId::INIT_VM, libc::EAGAIN) => (
            "the processor gives no entropy, again and again",
            "Look for a program that drains RDRAND or RDSEED, then start the guest again",
        ),
        (TdxCommandId::INIT_VM, libc::EIO) => (
            "the TDX module failed, or a processor package has no CPU online",
            "Look in the host's kernel log; every package needs one CPU online",
        ),
        (TdxCommandId::INIT_VCPU, libc::EINVAL) => (
            "the vCPU's CPUID has no x2APIC, it was initialised before, or the TD is not at this step",
            REPORT,
        ),
        (TdxCommandId::INIT_MEM_REGION, libc::EINVAL) => {
            ("the page has no guest_memfd slot or is not private, or vCPU or TD are not at this step", REPORT)
        }
        (TdxCommandId::INIT_MEM_REGION, libc::EEXIST) => ("the page was added before", REPORT),
        (TdxCommandId::INIT_MEM_REGION, libc::EIO) => {
            ("the TDX module did not take the page; it may have been added before", KERNEL_LOG)
        }
        (TdxCommandId::INIT_MEM_REGION, libc::EOPNOTSUPP) => ("there are no bytes for the page", REPORT),
        (TdxCommandId::FINALIZE_VM, libc::EINVAL) => ("the TD is not at this step", REPORT),
        (TdxCommandId::GET_CPUID, libc::E2BIG) => ("the guest's CPUID table is too long", REPORT),
        (_, libc::EBUSY) => (
            "another thread creates a vCPU or holds the TD",
            "Start the guest again; if it happens often, start fewer confidential guests at a time",
        ),
        (_, libc::EINVAL) => ("the TD is not at this step", REPORT),
        (_, libc::EIO) => ("the TDX module failed", KERNEL_LOG),
        (_, libc::ENOMEM) => ("the host has no memory left", "Free memory on the host"),
        (_, libc::EFAULT) => ("KVM could not read or write our memory", REPORT),
        (_, libc::EINTR | libc::EAGAIN) => ("interrupted again and again", "Start the guest again"),
        _ => ("KVM gives no reason that this version knows", KERNEL_LOG),
    };
    Explanation { why, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_s_word_comes_before_kvm_s() {
        let module = SeamcallStatus(0xc000_0100_0000_0041);
        let refused = explain(TdxCommandId::INIT_VM, libc::EINVAL, module);
        assert!(refused.advice.contains("XFAM"), "{refused:?}");
        let kvm = explain(TdxCommandId::INIT_VM, libc::EINVAL, SeamcallStatus::NONE);
        assert!(kvm.why.contains("before it asked"), "{kvm:?}");
    }

    #[test]
    fn the_same_errno_means_different_things() {
        let why = |command, errno| explain(command, errno, SeamcallStatus::NONE).why;
        for errno in [libc::EINVAL, libc::EBUSY, libc::EIO] {
            let init = why(TdxCommandId::INIT_VM, errno);
            assert_ne!(init, why(TdxCommandId::INIT_MEM_REGION, errno));
            assert_ne!(init, why(TdxCommandId::FINALIZE_VM, errno));
        }
        assert!(why(TdxCommandId::INIT_VCPU, libc::EINVAL).contains("x2APIC"));
        assert!(why(TdxCommandId::INIT_VM, libc::ENOSPC).contains("key"));
    }
}
