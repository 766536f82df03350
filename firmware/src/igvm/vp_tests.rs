use super::vp::{VpError, plain_state, snp_state};
use crate::measure::vmsa_page;
use crate::plan::CpuState;
use proptest::prelude::*;

fn base() -> [u8; 4096] {
    vmsa_page(&CpuState::reset(0x80_0f12), 0)
}

fn refused(at: usize, bytes: &[u8]) -> (&'static str, u64) {
    let mut page = base();
    page[at..at + bytes.len()].copy_from_slice(bytes);
    match snp_state(&page).unwrap_err() {
        VpError::Field { field, found, .. } | VpError::Register { field, found, .. } => (field, found),
    }
}

#[test]
fn what_kvm_builds_is_taken_apart_and_put_together_again() {
    let state = snp_state(&base()).unwrap();
    assert_eq!((state.cpu, state.features), (CpuState::reset(0x80_0f12), 0));
    // As coconut-svsm's builder makes it for QEMU: no debug registers, no FPU state, RAX in use.
    let mut page = base();
    for (at, value) in [(0x160, 0u64), (0x168, 0), (0x408, 0), (0x410, 0), (0x1f8, 2), (0x3b0, 0x221)] {
        page[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let state = snp_state(&page).unwrap();
    assert_eq!((state.cpu.general.rax, state.cpu.reset.mxcsr, state.features), (2, 0, 0x220));
    assert_eq!(vmsa_page(&state.cpu, state.features), page);
}

#[test]
fn what_kvm_cannot_launch_is_refused_by_name() {
    assert_eq!(refused(0x0d0, &[0, 0]), ("EFER", 0));
    assert_eq!(refused(0x148, &[0]), ("CR4", 0));
    assert_eq!(refused(0x3b0, &[0]), ("SEV_FEATURES", 0));
    assert_eq!(refused(0x0ca, &[1]).0, "VMPL and CPL");
    assert_eq!(refused(0x0cb, &[3]).0, "VMPL and CPL");
    assert_eq!(refused(0x012, &[0x9b, 0xf0]).0, "CS");
    assert_eq!(refused(0x066, &[1]).0, "GDTR");
    assert_eq!(refused(0x086, &[1]).0, "IDTR");
    assert_eq!(refused(0x140, &[1]), ("XSS", 1));
    assert_eq!(refused(0x180, &[1]).0, "DR0 to DR3");
    assert_eq!(refused(0x200, &[1]), ("STAR", 1));
    assert_eq!(refused(0x240, &[1]), ("CR2", 1));
    assert_eq!(refused(0x3c8, &[1]), ("VIRTUAL_TOM", 1));
    assert_eq!(refused(0x40c, &[1]).0, "MXCSR and x87 words");
    assert_eq!(refused(0x470, &[1]).0, "XMM registers");
    assert_eq!(refused(0xfff, &[1]).0, "a reserved field");
    assert_eq!(refused(0x158, &0x6000_0010u64.to_le_bytes()), ("CR0", 0x6000_0010));
    assert_eq!(refused(0x158, &0x8000_0010u64.to_le_bytes()), ("CR0", 0x8000_0010));
    assert_eq!(refused(0x160, &[1, 4]), ("DR7", 0x401));
    assert_eq!(refused(0x16c, &[1]).0, "DR6");
    assert_eq!(refused(0x170, &[0]), ("RFLAGS", 0));
    assert_eq!(refused(0x268, &[2]).0, "G_PAT");
    assert_eq!(refused(0x3e8, &[2]), ("XCR0", 2));
    assert_eq!(refused(0x40a, &[1]).0, "MXCSR");
    // Long mode is either whole or not there at all.
    assert_eq!(refused(0x0d0, &0x1400u64.to_le_bytes()).0, "EFER");
    assert_eq!(refused(0x012, &[0x9b, 0x0a]).0, "CS attributes");
}

#[test]
fn a_plain_state_is_read_and_the_rest_is_reset() {
    let mut page = [0u8; 4096];
    for (at, value) in [
        (0usize, 2u64),
        (24, 0xb),
        (64, 8),
        (120, 15),
        (128, 0x10_0000),
        (136, 2),
        (144, 0x7000),
        (160, 0x6000),
        (192, 0x5000),
        (200, 0x8000_0031),
        (208, 0x9000),
        (216, 0x20),
        (224, 0xd00),
    ] {
        page[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    page[152..154].copy_from_slice(&7u16.to_le_bytes());
    page[158..160].copy_from_slice(&0x2fu16.to_le_bytes());
    page[168..180].copy_from_slice(&[8, 0, 0x9b, 0xa0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    page[180..192].copy_from_slice(&[16, 0, 0x93, 0xc0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let cpu = plain_state(&page, 0xa0_0f11).unwrap();
    assert_eq!((cpu.general.rax, cpu.rbx, cpu.rip, cpu.cr3), (2, 0xb, 0x10_0000, 0x9000));
    assert_eq!((cpu.general.r8_r15[0], cpu.general.r8_r15[7]), (8, 15));
    assert_eq!((cpu.cs.selector, cpu.cs.attributes, cpu.cs.limit), (8, 0xa9b, u32::MAX));
    assert_eq!((cpu.ss.attributes, cpu.gs.base, cpu.fs.base), (0xc93, 0x5000, 0));
    assert_eq!((cpu.gdtr.base, cpu.gdtr.limit, cpu.idtr.base, cpu.idtr.limit), (0x6000, 0x2f, 0x7000, 7));
    assert_eq!(cpu.tr, CpuState::reset(0).tr);
    page[4095] = 1;
    assert!(matches!(plain_state(&page, 0), Err(VpError::Field { at: 4095, found: 1, .. })));
    page[4095] = 0;
    page[155] = 1;
    assert!(matches!(plain_state(&page, 0), Err(VpError::Field { at: 154, .. })));
}

proptest! {
    /// Whatever is accepted is launched as exactly that.
    #[test]
    fn an_accepted_state_is_reproduced_to_the_bit(
        changes in prop::collection::vec((0usize..0x418, any::<u8>()), 0..4),
    ) {
        let mut page = base();
        for (at, value) in changes {
            page[at] = value;
        }
        if let Ok(state) = snp_state(&page) {
            prop_assert_eq!(vmsa_page(&state.cpu, state.features), page);
        }
    }
}
