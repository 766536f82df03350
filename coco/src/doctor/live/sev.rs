//! The secure processor's state.
#![allow(unsafe_code, reason = "SEV_ISSUE_CMD hands the kernel pointers")]

use std::fs::OpenOptions;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use super::answer;
use crate::doctor::answer::Answer;

/// SEV_ISSUE_CMD: `_IOWR('S', 0, struct sev_issue_cmd)`, 16 bytes (include/uapi/linux/psp-sev.h).
const SEV_ISSUE_CMD: libc::c_ulong = 0xc010_5300;
/// SNP_PLATFORM_STATUS, the command after SEV_GET_ID2.
const SNP_PLATFORM_STATUS: u32 = 9;

/// `struct sev_issue_cmd`
#[repr(C, packed)]
struct IssueCommand {
    cmd: u32,
    data: u64,
    error: u32,
}

const _: () = assert!(size_of::<IssueCommand>() == 16);

/// `struct sev_user_data_snp_status`, in hex.
pub(super) fn platform_status() -> Answer<String> {
    // The command changes nothing, so that reading is enough for kernels that allow it.
    let device = match OpenOptions::new().read(true).open("/dev/sev") {
        Ok(device) => device,
        Err(error) => return Answer::from(Err(error)),
    };
    let mut status = [0u8; 32];
    let data = status.as_mut_ptr().expose_provenance() as u64;
    let mut command = IssueCommand { cmd: SNP_PLATFORM_STATUS, data, error: 0 };
    // SAFETY: `command` is a live struct of the layout that the kernel reads and writes back, and `data` the
    // address of 32 live, writable bytes, which is the size of this command's answer.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), SEV_ISSUE_CMD, std::ptr::from_mut(&mut command)) };
    answer(ret).map(|_| status.iter().map(|byte| format!("{byte:02x}")).collect())
}
