//! AMD's secure processor: its firmware, its state, what it reports.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::SNP;
use super::facts::{Facts, Vendor};
use crate::doctor::answer::Answer;
use crate::doctor::finding::{Area, Finding, Role, Subject};

const fn subject(id: &'static str, role: Role, what: &'static str, expected: &'static str) -> Subject {
    Subject { id, area: Area::Psp, role, platforms: SNP, what, expected }
}

const INIT: Subject = subject(
    "psp.init",
    Role::Explains,
    "the secure processor, started for SNP",
    "\"SEV-SNP API:…\" in the kernel's log",
);
const FIRMWARE: Subject = subject(
    "psp.firmware",
    Role::Explains,
    "the secure processor's firmware",
    "version 1.51 or later (drivers/crypto/ccp)",
);
const STATE: Subject =
    subject("psp.state", Role::Explains, "SNP, initialised", "state INIT, with the RMP initialised");
const TCB: Subject = subject(
    "psp.tcb",
    Role::Advises,
    "the TCB that evidence reports",
    "equal: it is what evidence says, and what certificates are made for",
);

const SOURCE: &str = "SNP_PLATFORM_STATUS on /dev/sev";
/// SNP_MIN_API_MAJOR and SNP_MIN_API_MINOR (drivers/crypto/ccp/sev-dev.h).
const OLDEST: (u8, u8) = (1, 51);
const UPDATE: &str =
    "put amd_sev_fam*.sbin of linux-firmware into /lib/firmware/amd (or update the BIOS), and reboot";

/// `struct sev_user_data_snp_status` (include/uapi/linux/psp-sev.h).
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PlatformStatus {
    major: u8,
    minor: u8,
    state: u8,
    /// Bit 0: the RMP is initialised. Bit 1: aliases were checked; others may come.
    rmp: u8,
    build: U32,
    flags: U32,
    guests: U32,
    current_tcb: U64,
    reported_tcb: U64,
}

const _: () = assert!(size_of::<PlatformStatus>() == 32);

/// The state after SNP_INIT (SEV-SNP ABI, PSTATE).
const STATE_INIT: u8 = 1;

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.vendor != Vendor::Amd || facts.is_virtual() {
        return;
    }
    let initialised = init(facts);
    findings.extend(initialised);
    let answer = &facts.host.answers.snp_platform_status;
    let status = answer.value().and_then(|text| parse(text));
    match (status, answer) {
        (Some(status), _) => findings.extend(judge(facts, &status)),
        (None, Answer::Value(_)) => {
            findings.push(STATE.unknown(SOURCE, "an answer that is not one", "report this"));
        }
        // Said of the device itself.
        (None, other) if other.is_absent() => {}
        (None, other) => {
            let remedy = "run `cloister doctor` as one who may open /dev/sev";
            findings.push(STATE.unknown(SOURCE, other.why_not(), remedy));
        }
    }
}

/// What the kernel's log says of the secure processor's start.
fn init(facts: &Facts) -> Option<Finding> {
    let log = "the kernel's log";
    let failed = ["SEV-SNP: failed to INIT", "SNP_INIT_EX failed", "SNP_INIT failed", "SNP_DF_FLUSH failed"];
    if let Some(line) = failed.iter().find_map(|text| facts.log(text)) {
        return Some(INIT.missing(log, line, UPDATE));
    }
    facts.log("SEV-SNP API:").map(|line| INIT.ok(log, line))
}

fn parse(text: &str) -> Option<PlatformStatus> {
    let text = text.trim().as_bytes();
    let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.chunks(2).map(byte).collect();
    PlatformStatus::read_from_bytes(&bytes?).ok()
}

fn judge(facts: &Facts, status: &PlatformStatus) -> [Finding; 3] {
    let PlatformStatus { major, minor, state, rmp, .. } = *status;
    let version = format!("version {major}.{minor}, build {}", status.build);
    let firmware = FIRMWARE.judge((major, minor) >= OLDEST, SOURCE, version, UPDATE);

    // Bit by bit: newer firmware sets bits beside the one that counts.
    let ready = state == STATE_INIT && rmp & 1 != 0;
    let observed = format!(
        "state {}, RMP {}, {} guests",
        match state {
            0 => "UNINIT".to_owned(),
            STATE_INIT => "INIT".to_owned(),
            other => format!("{other}"),
        },
        if rmp & 1 != 0 { "initialised" } else { "not initialised" },
        status.guests
    );
    let remedy = "modprobe -r kvm_amd && modprobe kvm_amd, then see `dmesg | grep -i -e sev -e ccp`";
    let state = STATE.judge(ready, SOURCE, observed, remedy);

    let (current, reported) = (status.current_tcb.get(), status.reported_tcb.get());
    let observed = format!("reported {}, current {}", tcb(facts, reported), tcb(facts, current));
    let tcb = if current == reported {
        TCB.ok(SOURCE, observed)
    } else {
        TCB.note(SOURCE, observed, Some("commit the firmware once all is well with it (`snphost commit`)"))
    };
    [firmware, state, tcb]
}

/// The parts of a TCB version: another order from Turin (family 26) on (SEV-SNP ABI, TCB_VERSION).
fn tcb(facts: &Facts, version: u64) -> String {
    let [a, b, c, d, _, _, e, f] = version.to_le_bytes();
    if facts.family >= 26 {
        format!("fmc {a} bootloader {b} tee {c} snp {d} microcode {f}")
    } else {
        format!("bootloader {a} tee {b} snp {e} microcode {f}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn status_is_read_by_its_layout() {
        let text = format!(
            "013701{}15000000{}00000000{}{}",
            "03", "04000000", "04000000000016d5", "03000000000015d1"
        );
        let status = parse(&text).unwrap();
        assert_eq!((status.major, status.minor, status.state, status.rmp), (1, 0x37, 1, 3));
        assert_eq!((status.build.get(), status.flags.get()), (21, 4));
        assert_eq!(status.current_tcb.get(), 0xd516_0000_0000_0004);
        assert_eq!(status.reported_tcb.get(), 0xd115_0000_0000_0003);
    }

    proptest! {
        #[test]
        fn nonsense_is_none(text in "\\PC{0,80}") {
            prop_assert!(text.len() == 64 || parse(&text).is_none());
        }
    }
}
