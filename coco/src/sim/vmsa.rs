//! A vCPU's save area as KVM fills it at LAUNCH_FINISH (`sev_es_sync_vmsa` in arch/x86/kvm/svm/sev.c):
//! from the registers that the board set through KVM, plus what KVM itself forces.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

/// EFER.SVME: KVM sets it for every guest that runs under SVM.
const EFER_SVME: u64 = 1 << 12;
/// CR4.MCE: KVM takes it over from the host.
const CR4_MCE: u64 = 1 << 6;
/// CR0.CD and NW: cleared by KVM's quirk CD_NW_CLEARED.
const CR0_CD_NW: u64 = 3 << 29;
/// SEV_FEATURES.SNP_ACTIVE.
const SNP_ACTIVE: u64 = 1;

/// The 4096 bytes of the save area (layout: AMD APM vol. 2, table B-4; coco.md 4.4).
pub(super) fn vmsa_page(regs: &kvm_regs, sregs: &kvm_sregs, vmsa_features: u64) -> [u8; 4096] {
    let mut page = [0u8; 4096];
    let segments = [
        (0x000, &sregs.es),
        (0x010, &sregs.cs),
        (0x020, &sregs.ss),
        (0x030, &sregs.ds),
        (0x040, &sregs.fs),
        (0x050, &sregs.gs),
        (0x070, &sregs.ldt),
        (0x090, &sregs.tr),
    ];
    for (offset, segment) in segments {
        put(&mut page, offset, &segment.selector.to_le_bytes());
        put(&mut page, offset + 2, &attributes(segment).to_le_bytes());
        put(&mut page, offset + 4, &segment.limit.to_le_bytes());
        put(&mut page, offset + 8, &segment.base.to_le_bytes());
    }
    for (offset, table) in [(0x060, &sregs.gdt), (0x080, &sregs.idt)] {
        let kvm_dtable { base, limit, .. } = table;
        put(&mut page, offset + 4, &u32::from(*limit).to_le_bytes());
        put(&mut page, offset + 8, &base.to_le_bytes());
    }
    put(&mut page, 0x0cb, &[sregs.ss.dpl]);
    let quads = [
        (0x0d0, sregs.efer | EFER_SVME),
        (0x148, sregs.cr4 | CR4_MCE),
        (0x150, sregs.cr3),
        (0x158, sregs.cr0 & !CR0_CD_NW),
        (0x160, 0x400),       // DR7 at reset
        (0x168, 0xffff_0ff0), // DR6 at reset
        (0x170, regs.rflags),
        (0x178, regs.rip),
        (0x1d8, regs.rsp),
        (0x1f8, regs.rax),
        (0x240, sregs.cr2),
        (0x268, 0x0007_0406_0007_0406), // PAT at reset
        (0x308, regs.rcx),
        (0x310, regs.rdx),
        (0x318, regs.rbx),
        (0x328, regs.rbp),
        (0x330, regs.rsi),
        (0x338, regs.rdi),
        (0x340, regs.r8),
        (0x348, regs.r9),
        (0x350, regs.r10),
        (0x358, regs.r11),
        (0x360, regs.r12),
        (0x368, regs.r13),
        (0x370, regs.r14),
        (0x378, regs.r15),
        (0x3b0, vmsa_features | SNP_ACTIVE),
        (0x3e8, 1), // XCR0 at reset
    ];
    for (offset, value) in quads {
        put(&mut page, offset, &value.to_le_bytes());
    }
    put(&mut page, 0x408, &0x1f80u32.to_le_bytes()); // MXCSR at reset
    put(&mut page, 0x410, &0x037fu16.to_le_bytes()); // FCW at reset
    page
}

fn put(page: &mut [u8; 4096], offset: usize, bytes: &[u8]) {
    page[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn attributes(s: &kvm_segment) -> u16 {
    let present = if s.unusable != 0 { 0 } else { s.present };
    u16::from(s.type_)
        | u16::from(s.s) << 4
        | u16::from(s.dpl) << 5
        | u16::from(present) << 7
        | u16::from(s.avl) << 8
        | u16::from(s.l) << 9
        | u16::from(s.db) << 10
        | u16::from(s.g) << 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha384};

    /// Registers of QEMU's profile at reset (coco.md 4.5); the hashes are that section's vectors.
    fn reset(eip: u32) -> (kvm_regs, kvm_sregs) {
        let data = kvm_segment { limit: 0xffff, type_: 3, present: 1, s: 1, ..Default::default() };
        let table = kvm_dtable { limit: 0xffff, ..Default::default() };
        let sregs = kvm_sregs {
            cs: kvm_segment {
                selector: 0xf000,
                base: u64::from(eip & 0xffff_0000),
                limit: 0xffff,
                type_: 0xb,
                present: 1,
                s: 1,
                ..Default::default()
            },
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            ldt: kvm_segment { limit: 0xffff, type_: 2, present: 1, ..Default::default() },
            tr: kvm_segment { limit: 0xffff, type_: 0xb, present: 1, ..Default::default() },
            gdt: table,
            idt: table,
            cr0: 0x6000_0010,
            ..Default::default()
        };
        let regs =
            kvm_regs { rip: u64::from(eip & 0xffff), rflags: 2, rdx: 0x0080_0f12, ..Default::default() };
        (regs, sregs)
    }

    #[test]
    fn reset_state_hashes_to_the_vectors() {
        for (eip, want) in [
            (
                0xffff_fff0u32,
                "77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b3856f55378e9518d0da99452d51c553a",
            ),
            (
                0x80_b004,
                "8413b852790765a310d95867a8b00bfca3a802b5a80830044b45e253fe96222657e11e53fcf63eb0e0afd722385bf7b4",
            ),
        ] {
            let (regs, sregs) = reset(eip);
            assert_eq!(hex::encode(Sha384::digest(vmsa_page(&regs, &sregs, 0))), want, "eip {eip:#x}");
        }
    }
}
