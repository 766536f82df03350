//! A SEV command that failed, in words: what, why, what to do.

use super::abi::{CommandId, FirmwareCode};

/// The text of an error. `at`: what was being loaded, and where; may be empty.
pub(super) fn command_text(command: CommandId, errno: i32, code: FirmwareCode, at: &str) -> String {
    let error = std::io::Error::from_raw_os_error(errno);
    let at = if at.is_empty() { String::new() } else { format!(" at {at}") };
    let command = command.name();
    match code {
        // The firmware was not asked.
        FirmwareCode::NONE => format!("{command}{at}: {error}: {}", by_kernel(command, errno)),
        _ => format!(
            "{command}{at}: the SEV firmware says {} ({:#x}): {} [{error}]",
            code.name(),
            code.0,
            code.explain()
        ),
    }
}

/// Why KVM refuses by itself, by command (coco.md 2.2, 2.3).
fn by_kernel(command: &str, errno: i32) -> &'static str {
    match (command, errno) {
        ("SEV_INIT2", libc::EBUSY) => {
            "no ASID is free, or the cgroup may have no more (`sev_es` in misc.max): stop another SEV guest, or raise \
             the cgroup's limit or the number of SEV-ES ASIDs in the BIOS"
        }
        ("SEV_INIT2", libc::EINVAL) => "KVM does not take vmsa-features= as given: leave the key away",
        ("SEV_INIT2", libc::ENOTTY) => "SEV is not initialised in this kernel: see `dmesg | grep -i sev`",
        ("SNP_LAUNCH_START", libc::EINVAL) => {
            "KVM does not take policy= as given: bit 17 must be set, bit 18 not, and Linux before 6.19 knows \
             none above bit 20"
        }
        ("SNP_LAUNCH_START", libc::ENOTTY) => "the firmware gave no guest context: see `dmesg | grep -i sev`",
        ("SNP_LAUNCH_START", libc::EBADF) => {
            "/dev/sev was closed: another part of this process must have done so"
        }
        ("SNP_ENABLE_REQ_CERTS", _) => {
            "this KVM does not ask for certificates: leave --certs away, or run Linux 7.0 or later"
        }
        ("SNP_LAUNCH_UPDATE", libc::EIO) => {
            "the page is not private, was added before, or the call was interrupted; please report this with --trace-launch's file"
        }
        ("SNP_LAUNCH_UPDATE", libc::ENOMEM) | ("SEV_INIT2", libc::ENOMEM) => {
            "the host has no memory left for the guest: give it less, or free some"
        }
        // The driver (drivers/crypto/ccp/sev-dev.c): no answer in time, none any more, no processor.
        (_, libc::ETIMEDOUT | libc::EBUSY | libc::ENODEV) => {
            "the secure processor does not answer: see `dmesg | grep -i ccp`, and power the host off and on"
        }
        (_, libc::EPERM) => {
            "may /dev/sev be opened for writing by this user? See `cloister doctor --require snp`"
        }
        _ => "no firmware command was sent; please report this with --trace-launch's file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_errno_means_different_things() {
        let text = |command, errno| command_text(command, errno, FirmwareCode::NONE, "");
        assert!(text(CommandId::INIT2, libc::EBUSY).contains("misc.max"));
        for errno in [libc::EBUSY, libc::ETIMEDOUT, libc::ENODEV] {
            let dead = text(CommandId::LAUNCH_START, errno);
            assert!(dead.contains("power the host off and on"), "{dead}");
        }
        assert!(text(CommandId::LAUNCH_START, libc::EINVAL).contains("6.19"));
    }
}
