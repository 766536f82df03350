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
            "no ASID is free: stop another SEV guest, or raise the number of SEV-ES ASIDs in the BIOS"
        }
        ("SEV_INIT2", libc::EINVAL) => "KVM does not take vmsa-features= as given: leave the key away",
        ("SEV_INIT2", libc::ENOTTY) => "SEV is not initialised in this kernel: see `dmesg | grep -i sev`",
        ("SNP_LAUNCH_START", libc::EINVAL) => {
            "KVM does not take policy= as given: bit 17 must be set, bit 18 not"
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
        (_, libc::EPERM) => {
            "may /dev/sev be opened for writing by this user? See `cloister doctor --require snp`"
        }
        _ => "no firmware command was sent; please report this with --trace-launch's file",
    }
}
