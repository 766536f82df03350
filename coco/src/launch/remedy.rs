//! What an operator can do about a step of a launch that the kernel refused.

use std::io;

/// A sentence to put behind the kernel's own word, or nothing.
pub(super) fn remedy(step: &str, error: &io::Error) -> &'static str {
    let errno = error.raw_os_error().unwrap_or(0);
    match (step, errno) {
        ("opening /dev/sev", libc::ENOENT) => {
            ": the ccp driver did not start the secure processor; see `dmesg | grep -i ccp`"
        }
        ("opening /dev/sev", libc::EACCES | libc::EPERM) => {
            ": an SNP guest's VMM needs it for writing; add your user to the group that owns it"
        }
        ("KVM_CREATE_VM", libc::EINVAL) => ": this KVM knows no VMs of that type; update the host's kernel",
        ("KVM_CREATE_VM", libc::EOPNOTSUPP | libc::EIO) => {
            ": SNP or TDX did not come up on this host; see `dmesg | grep -iE 'sev|tdx'`"
        }
        // A TD needs a key of its own in the processor.
        ("KVM_CREATE_VM", libc::ENOSPC | libc::EBUSY) => ": no key or ASID is free; stop another guest",
        ("KVM_ENABLE_CAP(EXIT_HYPERCALL)", libc::EINVAL) => ": run Linux 6.11 (SNP) or 6.16 (TDX) or later",
        ("KVM_ENABLE_CAP(X86_APIC_BUS_CYCLES_NS)", libc::EINVAL | libc::ENXIO) => ": run Linux 6.16 or later",
        ("KVM_CREATE_VCPU", libc::EINVAL | libc::E2BIG) => {
            ": more vCPUs than this kind of VM may have here; ask for fewer with --cpus"
        }
        (_, libc::ENOMEM) => ": the host, or this process's control group, has no memory left for it",
        (_, libc::EMFILE) => ": this process may not open more files; raise `ulimit -n`",
        (_, libc::ENFILE) => ": the host has no more open files to give; raise fs.file-max",
        (_, libc::EPERM | libc::EACCES) => ": a security policy forbids it; see the host's audit log",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_errno_means_different_things() {
        let at = |step, errno| remedy(step, &io::Error::from_raw_os_error(errno));
        assert!(at("opening /dev/sev", libc::EACCES).contains("group"));
        assert!(at("KVM_CREATE_VM", libc::EACCES).contains("audit"));
        assert!(at("KVM_SET_SREGS", libc::ENOMEM).contains("memory"));
        assert_eq!(at("KVM_SET_SREGS", libc::EINVAL), "");
        assert_eq!(remedy("opening /dev/sev", &io::Error::other("no errno")), "");
    }
}
