//! What the operator is told of exits that end a guest: what happened, why, and what can be done.

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

use cloister_coco::launch::PlatformKind;
use cloister_coco::snp::termination::Termination;
use cloister_coco::tdx::fatal::{FatalError, TdRegisters};

use crate::board::Event;

/// KVM_EXIT_SYSTEM_EVENT (include/uapi/linux/kvm.h, KVM_SYSTEM_EVENT_*).
pub(super) fn system_event(kind: u32, data: &TdRegisters) -> Event {
    let [first, ..] = *data;
    match kind {
        1 => Event::PowerOff,
        2 => Event::Reset,
        3 => Event::Crash("the guest reported a crash to KVM".to_owned()),
        6 => Event::Crash(Termination::decode(first).to_string()),
        7 => Event::Crash(FatalError::decode(data).to_string()),
        _ => Event::Crash(format!("KVM reports a system event {kind}, which is not known here")),
    }
}

/// KVM_EXIT_SHUTDOWN.
pub(super) fn shutdown(kind: PlatformKind) -> Event {
    let hint = match kind {
        PlatformKind::Snp => {
            ". In an SNP guest this is often firmware or a kernel that touches a page before it has validated it"
        }
        PlatformKind::Tdx => {
            ". In a TD this is often firmware or a kernel that touches a page before it has accepted it"
        }
        _ => "",
    };
    Event::Crash(format!("triple fault{hint}"))
}

/// KVM_EXIT_INTERNAL_ERROR (KVM_INTERNAL_ERROR_*).
pub(super) fn internal_error(suberror: u32) -> Event {
    let why = match suberror {
        1 => "it cannot emulate an instruction of the guest's",
        2 => "exceptions came on top of each other",
        3 => "an exit came while an event was delivered",
        4 => "the processor left the guest for a reason that KVM does not know",
        _ => "for a reason that is not known here",
    };
    Event::Crash(format!(
        "KVM cannot go on with the guest: {why} (KVM_EXIT_INTERNAL_ERROR, suberror {suberror})"
    ))
}

/// The sides that a page can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Private,
    Shared,
    /// There is no RAM.
    Nowhere,
}

/// KVM_MEMORY_EXIT_FLAG_PRIVATE (include/uapi/linux/kvm.h), the only flag there is.
pub(super) const FLAG_PRIVATE: u64 = 1 << 3;

/// KVM_EXIT_MEMORY_FAULT: KVM_RUN failed with `errno` at `gpa`, where the page `is` on that side. Guests
/// convert pages by asking; one that just uses them differently is refused.
pub(super) fn memory_fault(errno: i32, flags: u64, gpa: u64, size: u64, is: Side) -> Event {
    if errno == libc::EHWPOISON {
        return Event::Fault(format!(
            "the host's memory behind the guest's page {gpa:#x} is broken (EHWPOISON). See the host's kernel \
             log for the failed memory, and start the guest again"
        ));
    }
    if flags & !FLAG_PRIVATE != 0 {
        return Event::Fault(format!(
            "KVM stopped the guest at {gpa:#x} with a memory fault of flags {flags:#x}, not all of which are \
             known here. Is this kernel newer than this program?"
        ));
    }
    let wanted = if flags & FLAG_PRIVATE != 0 { Side::Private } else { Side::Shared };
    let as_what = if wanted == Side::Private { "private" } else { "shared" };
    match is {
        Side::Nowhere => Event::Crash(format!(
            "the guest used {size:#x} bytes at {gpa:#x} as {as_what} memory, where it has no RAM. Its firmware \
             or kernel does not go by the memory map that it was given"
        )),
        is if is == wanted => Event::Fault(format!(
            "the host has no {as_what} memory for the guest's page {gpa:#x}. See the host's kernel log: is it \
             out of memory?"
        )),
        is => {
            let other = if is == Side::Private { "private" } else { "shared" };
            Event::Crash(format!(
                "the guest used {size:#x} bytes at {gpa:#x} as {as_what} memory, but they are {other}, and it \
                 did not ask for their conversion. Its kernel or driver must convert memory before it uses it \
                 otherwise; the host does not do it unasked"
            ))
        }
    }
}

/// KVM_RUN failed with `errno`, and not for the guest's memory.
pub(super) fn run_error(kind: PlatformKind, errno: i32) -> Event {
    match (kind, errno) {
        (PlatformKind::Snp, libc::EINVAL) => Event::Crash(
            "KVM cannot run a vCPU of this SNP guest (KVM_RUN: EINVAL): its VMSA is missing or unusable, or the \
             guest reported an exception that it cannot handle itself. Does its firmware start its vCPUs as \
             this VMM offers it?"
                .to_owned(),
        ),
        (PlatformKind::Snp, libc::EBADF) => Event::Fault(
            "KVM lost its way to the firmware (KVM_RUN: EBADF): the descriptor of /dev/sev is not open any more \
             at the number that the launch named. This is a mistake in this program"
                .to_owned(),
        ),
        (PlatformKind::Snp, libc::EIO) => Event::Fault(
            "the firmware failed an SNP guest's request (KVM_RUN: EIO). See the host's kernel log (ccp)".to_owned(),
        ),
        (PlatformKind::Tdx, libc::EIO) => Event::Crash(
            "KVM cannot run this TD any further (KVM_RUN: EIO): it touched private memory that it had not \
             accepted, or the TDX module refused to enter it. See the host's kernel log"
                .to_owned(),
        ),
        (_, libc::EFAULT) => Event::Fault(
            "KVM_RUN: EFAULT, without a page that would explain it. See the host's kernel log".to_owned(),
        ),
        _ => Event::Fault(format!("KVM_RUN: {}", std::io::Error::from_raw_os_error(errno))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(event: Event) -> String {
        match event {
            Event::Crash(what) => what,
            other => panic!("{other:?}"),
        }
    }

    fn fault(event: Event) -> String {
        match event {
            Event::Fault(what) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn system_events() {
        let data = |first| {
            let mut data = [0; 16];
            data[0] = first;
            data
        };
        assert_eq!(system_event(1, &data(0)), Event::PowerOff);
        assert_eq!(system_event(2, &data(0)), Event::Reset);
        assert!(crash(system_event(6, &data(0x100 | 1 << 12 | 4 << 16))).contains("CPUID page"));
        let mut panic = data(0);
        panic[1] = 1 << 14;
        panic[14] = u64::from_le_bytes(*b"no \x1broot");
        assert!(crash(system_event(7, &panic)).contains("saying \"no .root\""));
        assert!(crash(system_event(99, &data(0))).contains("99"));
    }

    #[test]
    fn a_memory_fault_names_page_and_sides() {
        let told = crash(memory_fault(libc::EFAULT, 8, 0x5000, 0x1000, Side::Shared));
        assert!(told.contains("0x5000 as private memory, but they are shared"), "{told}");
        let told = crash(memory_fault(libc::EFAULT, 0, 0x5000, 0x1000, Side::Private));
        assert!(told.contains("0x5000 as shared memory, but they are private"), "{told}");
        let told = crash(memory_fault(libc::EFAULT, 8, 1 << 40, 0x1000, Side::Nowhere));
        assert!(told.contains("0x10000000000 as private memory, where it has no RAM"), "{told}");
    }

    #[test]
    fn what_is_not_the_guests_doing_is_a_fault_of_the_host() {
        assert!(fault(memory_fault(libc::EHWPOISON, 8, 0x5000, 0x1000, Side::Private)).contains("broken"));
        let told = fault(memory_fault(libc::EFAULT, 8, 0x5000, 0x1000, Side::Private));
        assert!(told.contains("no private memory for the guest's page 0x5000"), "{told}");
        for flag in (0..64).filter(|&bit| bit != 3) {
            let told = fault(memory_fault(libc::EFAULT, 8 | 1 << flag, 0x5000, 0x1000, Side::Shared));
            assert!(told.contains("not all of which are known"), "{told}");
        }
    }

    #[test]
    fn failures_of_kvm_run_are_explained_where_they_can_be() {
        assert!(crash(run_error(PlatformKind::Snp, libc::EINVAL)).contains("VMSA"));
        assert!(fault(run_error(PlatformKind::Snp, libc::EBADF)).contains("/dev/sev"));
        assert!(crash(run_error(PlatformKind::Tdx, libc::EIO)).contains("accepted"));
        assert!(fault(run_error(PlatformKind::Off, libc::EINVAL)).contains("Invalid argument"));
        assert!(fault(run_error(PlatformKind::Off, libc::EFAULT)).contains("without a page"));
    }
}
