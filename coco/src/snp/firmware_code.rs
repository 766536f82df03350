//! What the secure processor says of a command: codes, their names, what to do.

/// A firmware code of the PSP (include/uapi/linux/psp-sev.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareCode(pub u32);

impl FirmwareCode {
    /// The kernel refused by itself.
    pub const NONE: Self = FirmwareCode(0);
    /// The guest's context is not in the state that the command wants.
    pub const INVALID_GUEST_STATE: Self = FirmwareCode(0x02);
    /// The policy asks for what this firmware or platform cannot give.
    pub const POLICY_FAILURE: Self = FirmwareCode(0x07);
    /// A signature does not verify.
    pub const BAD_SIGNATURE: Self = FirmwareCode(0x0a);
    /// The launch digest is not the one in the ID block.
    pub const BAD_MEASUREMENT: Self = FirmwareCode(0x0b);
    /// A parameter is wrong; for a CPUID page, the table was refused.
    pub const INVALID_PARAM: Self = FirmwareCode(0x16);
    /// The page is not in the state that the command wants.
    pub const INVALID_PAGE_STATE: Self = FirmwareCode(0x1a);

    /// The code's name in the kernel's header, without its prefix.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What the code means and what the operator can do.
    pub fn explain(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (u32, &'static str, &'static str) {
        CODES.iter().find(|row| row.0 == self.0).unwrap_or(&UNKNOWN)
    }
}

const UNKNOWN: (u32, &str, &str) =
    (0, "unknown", "a code that this version does not know: see include/uapi/linux/psp-sev.h");

const CONFIG: &str = "the platform's configuration forbids this: compare policy= with `snphost show`";
const POLICY: &str = "the guest policy asks for what this host does not give (SMT, single socket, ABI version, \
                      debugging): change policy=";
const SIGNATURE: &str = "the ID block is not signed by the ID key, or that not by the author key: sign it \
                         again (`cloister measure id --help`)";
const MEASUREMENT: &str = "the launch digest is not the one in the ID block: `cloister measure` prints what \
                           this guest measures to";
const PARAMETER: &str =
    "a parameter was refused; of a CPUID page, the table claims what this CPU does not have";
const ASSIGNED: &str = "the page is already assigned to a guest: it was added twice, or the RMP holds it";
const NO_CALL: &str =
    "no firmware call was made: SEV is not initialised on this host; see `dmesg | grep -i ccp`";
const BUG: &str = "the launch is not at this step: please report this, with --trace-launch's file";
const UPDATE: &str = "update the host's SEV firmware (linux-firmware, amd/amd_sev_fam*.sbin) or its BIOS";
const BOOT: &str =
    "SNP was not set up when the host booted: enable SEV-SNP and the RMP in its BIOS and reboot";
const BUSY: &str = "no ASID is free: stop another SEV guest, or raise the SEV-ES ASIDs in the BIOS";
const TRY_AGAIN: &str = "the host's firmware is not ready for this: try again, and see `dmesg | grep -i sev`";
const PAGE: &str = "the page is not the guest's to add: another guest or the host holds it; see dmesg";
const TIO: &str = "an answer for trusted devices, which no launch asks for: see dmesg";

/// Every code of `enum sev_ret_code` (coco.md 2.6): number, name, what to do.
static CODES: &[(u32, &str, &str)] = &[
    (0x00, "SUCCESS", "the kernel refused without asking the firmware"),
    (0x01, "INVALID_PLATFORM_STATE", BOOT),
    (0x02, "INVALID_GUEST_STATE", BUG),
    (0x03, "INVALID_CONFIG", CONFIG),
    (0x04, "INVALID_LEN", BUG),
    (0x05, "ALREADY_OWNED", "the platform has an owner already: see `sevctl reset`"),
    (0x06, "INVALID_CERTIFICATE", "a certificate was refused: import the platform's anew (`snphost import`)"),
    (0x07, "POLICY_FAILURE", POLICY),
    (0x08, "INACTIVE", BUG),
    (0x09, "INVALID_ADDRESS", BUG),
    (0x0a, "BAD_SIGNATURE", SIGNATURE),
    (0x0b, "BAD_MEASUREMENT", MEASUREMENT),
    (0x0c, "ASID_OWNED", BUSY),
    (0x0d, "INVALID_ASID", BUSY),
    (0x0e, "WBINVD_REQUIRED", TRY_AGAIN),
    (0x0f, "DFFLUSH_REQUIRED", TRY_AGAIN),
    (0x10, "INVALID_GUEST", BUG),
    (0x11, "INVALID_COMMAND", UPDATE),
    (0x12, "ACTIVE", BUG),
    (0x13, "HWSEV_RET_PLATFORM", "the hardware failed: see dmesg, and power the host off and on"),
    (0x14, "HWSEV_RET_UNSAFE", "the hardware cannot go on safely: power the host off and on"),
    (0x15, "UNSUPPORTED", UPDATE),
    (0x16, "INVALID_PARAM", PARAMETER),
    (0x17, "RESOURCE_LIMIT", "no ASID or firmware memory is left: stop another confidential guest"),
    (0x18, "SECURE_DATA_INVALID", "the firmware's own data is damaged: reset the platform and reboot"),
    (0x19, "INVALID_PAGE_SIZE", PAGE),
    (0x1a, "INVALID_PAGE_STATE", ASSIGNED),
    (0x1b, "INVALID_MDATA_ENTRY", PAGE),
    (0x1c, "INVALID_PAGE_OWNER", PAGE),
    (0x1d, "AEAD_OFLOW", "the guest context's counter ran out: launch it anew"),
    (0x1f, "EXIT_RING_BUFFER", TRY_AGAIN),
    (0x20, "RMP_INIT_REQUIRED", BOOT),
    (0x21, "BAD_SVN", "the firmware is older than one that was committed before: update it"),
    (0x22, "BAD_VERSION", UPDATE),
    (0x23, "SHUTDOWN_REQUIRED", "stop all SEV guests and reload the kvm_amd module"),
    (0x24, "UPDATE_FAILED", UPDATE),
    (0x25, "RESTORE_REQUIRED", UPDATE),
    (0x26, "RMP_INITIALIZATION_FAILED", BOOT),
    (0x27, "INVALID_KEY", "a key was refused: ID and author keys are ECDSA P-384"),
    (0x28, "SHUTDOWN_INCOMPLETE", "stop all SEV guests and reload the kvm_amd module"),
    (0x30, "INCORRECT_BUFFER_LENGTH", BUG),
    (0x31, "EXPAND_BUFFER_LENGTH_REQUEST", TIO),
    (0x32, "SPDM_REQUEST", TIO),
    (0x33, "SPDM_ERROR", TIO),
    (0x35, "SEV_STATUS_ERR_IN_DEV_CONN", TIO),
    (0x36, "SEV_STATUS_INVALID_DEV_CTX", TIO),
    (0x37, "SEV_STATUS_INVALID_TDI_CTX", TIO),
    (0x38, "SEV_STATUS_INVALID_TDI", TIO),
    (0x39, "SEV_STATUS_RECLAIM_REQUIRED", TIO),
    (0x3a, "IN_USE", TIO),
    (0x3b, "SEV_STATUS_INVALID_DEV_STATE", TIO),
    (0x3c, "SEV_STATUS_INVALID_TDI_STATE", TIO),
    (0x3d, "SEV_STATUS_DEV_CERT_CHANGED", TIO),
    (0x3e, "SEV_STATUS_RESYNC_REQ", TIO),
    (0x3f, "SEV_STATUS_RESPONSE_TOO_LARGE", TIO),
    (0xffff_ffff, "NO_FW_CALL", NO_CALL),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_and_a_remedy() {
        // The names are compared with the kernel's header in tests/tests/abi.
        assert_eq!(CODES.len(), 56);
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, none twice");
        let mut names: Vec<_> = CODES.iter().map(|row| row.1).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
        assert_eq!(FirmwareCode(0x0b).name(), "BAD_MEASUREMENT");
        assert!(FirmwareCode(0x0b).explain().contains("cloister measure"));
        assert_eq!(FirmwareCode(0x1e).name(), "unknown");
    }
}
