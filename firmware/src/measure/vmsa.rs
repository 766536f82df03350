//! The VMSA: a vCPU's initial state as the page that the platform measures.
//!
//! Layout: AMD APM vol. 2, table B-4 (state save area of SEV-ES guests). Only the fields that are not
//! zero at launch have a name here; the page is zero elsewhere.

use crate::plan::{CpuState, DescriptorTable, Segment};

/// EFER.SVME: KVM sets it in every SVM guest's save area.
const EFER_SVME: u64 = 1 << 12;
/// CR4.MCE: KVM gives the guest the host's value, which is 1 on every host that can run SNP.
const CR4_MCE: u64 = 1 << 6;
/// `sev_features` bit 0, SNP_ACTIVE: set by KVM for every SNP guest.
const SNP_ACTIVE: u64 = 1;

fn put(page: &mut [u8; 4096], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_segment(page: &mut [u8; 4096], at: usize, s: &Segment) {
    put(page, at, &s.selector.to_le_bytes());
    put(page, at + 2, &s.attributes.to_le_bytes());
    put(page, at + 4, &s.limit.to_le_bytes());
    put(page, at + 8, &s.base.to_le_bytes());
}

fn put_table(page: &mut [u8; 4096], at: usize, t: &DescriptorTable) {
    put(page, at + 4, &u32::from(t.limit).to_le_bytes());
    put(page, at + 8, &t.base.to_le_bytes());
}

/// The VMSA page that KVM builds for a vCPU launched in `cpu` state under SNP. `vmsa_features` are the
/// plan's (without SNP_ACTIVE).
pub fn vmsa_page(cpu: &CpuState, vmsa_features: u64) -> [u8; 4096] {
    save_area(cpu, vmsa_features | SNP_ACTIVE)
}

/// The save area of a vCPU with these very features: also of an SEV-ES guest's, which has none.
pub(super) fn save_area(cpu: &CpuState, sev_features: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    let p = &mut page;
    for (at, segment) in [
        (0x000, &cpu.es),
        (0x010, &cpu.cs),
        (0x020, &cpu.ss),
        (0x030, &cpu.ds),
        (0x040, &cpu.fs),
        (0x050, &cpu.gs),
        (0x070, &cpu.ldtr),
        (0x090, &cpu.tr),
    ] {
        put_segment(p, at, segment);
    }
    put_table(p, 0x060, &cpu.gdtr);
    put_table(p, 0x080, &cpu.idtr);
    // CPL is the DPL of SS.
    p[0xcb] = ((cpu.ss.attributes >> 5) & 3) as u8;
    for (at, value) in [
        (0x0d0, cpu.efer | EFER_SVME),
        (0x148, cpu.cr4 | CR4_MCE),
        (0x150, cpu.cr3),
        (0x158, cpu.cr0),
        (0x160, cpu.reset.dr7),
        (0x168, cpu.reset.dr6),
        (0x170, cpu.rflags),
        (0x178, cpu.rip),
        (0x1d8, cpu.rsp),
        (0x1f8, cpu.general.rax),
        (0x268, cpu.reset.pat),
        (0x308, cpu.general.rcx),
        (0x310, cpu.rdx),
        (0x318, cpu.rbx),
        (0x328, cpu.general.rbp),
        (0x330, cpu.rsi),
        (0x338, cpu.rdi),
        (0x3b0, sev_features),
        (0x3e8, cpu.reset.xcr0),
    ] {
        put(p, at, &value.to_le_bytes());
    }
    let (eight, _) = p[0x340..0x380].as_chunks_mut::<8>();
    for (to, value) in eight.iter_mut().zip(cpu.general.r8_r15) {
        *to = value.to_le_bytes();
    }
    put(p, 0x408, &cpu.reset.mxcsr.to_le_bytes());
    put(p, 0x410, &cpu.reset.fcw.to_le_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha384};

    /// EPYC-v4 in the models' signature table (coco.md 4.5).
    const EPYC_V4: u32 = 0x0080_0f12;

    #[test]
    fn reset_states_hash_to_the_published_values() {
        let bsp = CpuState::reset(EPYC_V4);
        assert_eq!(
            hex::encode(Sha384::digest(vmsa_page(&bsp, 0))),
            "77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b3856f55378e9518d0da99452d51c553a"
        );
        let mut ap = bsp;
        ap.cs.base = 0x80_0000;
        ap.rip = 0xb004;
        assert_eq!(
            hex::encode(Sha384::digest(vmsa_page(&ap, 0))),
            "8413b852790765a310d95867a8b00bfca3a802b5a80830044b45e253fe96222657e11e53fcf63eb0e0afd722385bf7b4"
        );
    }

    #[test]
    fn snp_active_is_added_and_cannot_be_taken_away() {
        let cpu = CpuState::reset(EPYC_V4);
        assert_eq!(vmsa_page(&cpu, 0x20)[0x3b0], 0x21);
        assert_eq!(vmsa_page(&cpu, 0), vmsa_page(&cpu, 1));
    }
}
