//! vCPU states of a file, and whether KVM can reproduce them.
//!
//! A VMSA cannot be handed to KVM: KVM builds it from the registers that it is told, and forces some bits
//! (coco.md 4.5, 5.2). So the state is taken apart, put together as KVM would, and compared: a field that
//! comes out otherwise is refused by its name.

use snafu::{Snafu, ensure};

use crate::measure::vmsa_page;
use crate::plan::{CpuState, DescriptorTable, GeneralRegisters, ResetRegisters, Segment};

/// A page with a vCPU's state.
type Page = [u8; 4096];

/// A vCPU state that no launch on KVM can have.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
pub enum VpError {
    /// A field that KVM fills otherwise.
    #[snafu(display(
        "{field} at byte {at:#x} of the vCPU state is {found:#x}, and KVM can only launch it as {wanted:#x}. \
         Build the file with that"
    ))]
    Field {
        /// Its name.
        field: &'static str,
        /// Where it is in the state.
        at: usize,
        /// What the file has.
        found: u64,
        /// What KVM would make of it.
        wanted: u64,
    },
    /// A register that KVM does not take.
    #[snafu(display(
        "{field} of the vCPU state is {found:#x}, which KVM refuses: {wanted}. Build the file with that"
    ))]
    Register {
        /// Its name.
        field: &'static str,
        /// What the file has.
        found: u64,
        /// What KVM takes.
        wanted: &'static str,
    },
}

/// A vCPU's state and the SEV features in it, as a plan has them: without the bits that KVM forces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpState {
    /// The registers.
    pub cpu: CpuState,
    /// SEV features without SNP_ACTIVE.
    pub features: u64,
}

/// EFER.SVME, which KVM forces to 1.
const EFER_SVME: u64 = 1 << 12;
/// CR4.MCE, which KVM forces to 1.
const CR4_MCE: u64 = 1 << 6;
/// SNP_ACTIVE of the SEV features, which KVM forces to 1.
const SNP_ACTIVE: u64 = 1;
/// The attribute bits that `kvm_segment` can hold.
const ATTRIBUTES: u16 = 0xfff;

/// Fields of a VMSA by offset (AMD APM vol. 2, table B-4), to name one that is refused.
const FIELDS: &[(usize, &str)] = &[
    (0x000, "ES"),
    (0x010, "CS"),
    (0x020, "SS"),
    (0x030, "DS"),
    (0x040, "FS"),
    (0x050, "GS"),
    (0x060, "GDTR"),
    (0x070, "LDTR"),
    (0x080, "IDTR"),
    (0x090, "TR"),
    (0x0a0, "PL0_SSP"),
    (0x0a8, "PL1_SSP"),
    (0x0b0, "PL2_SSP"),
    (0x0b8, "PL3_SSP"),
    (0x0c0, "U_CET"),
    (0x0c8, "VMPL and CPL"),
    (0x0d0, "EFER"),
    (0x0d8, "a reserved field"),
    (0x140, "XSS"),
    (0x148, "CR4"),
    (0x150, "CR3"),
    (0x158, "CR0"),
    (0x160, "DR7"),
    (0x168, "DR6"),
    (0x170, "RFLAGS"),
    (0x178, "RIP"),
    (0x180, "DR0 to DR3"),
    (0x1a0, "address masks of DR0 to DR3"),
    (0x1c0, "a reserved field"),
    (0x1d8, "RSP"),
    (0x1e0, "S_CET"),
    (0x1e8, "SSP"),
    (0x1f0, "ISST_ADDR"),
    (0x1f8, "RAX"),
    (0x200, "STAR"),
    (0x208, "LSTAR"),
    (0x210, "CSTAR"),
    (0x218, "SFMASK"),
    (0x220, "KERNEL_GS_BASE"),
    (0x228, "SYSENTER registers"),
    (0x240, "CR2"),
    (0x248, "a reserved field"),
    (0x268, "G_PAT"),
    (0x270, "DBGCTL"),
    (0x278, "last branch registers"),
    (0x298, "a reserved field"),
    (0x2e0, "SPEC_CTRL"),
    (0x2e8, "PKRU and TSC_AUX"),
    (0x2f0, "GUEST_TSC_SCALE"),
    (0x2f8, "GUEST_TSC_OFFSET"),
    (0x300, "REG_PROT_NONCE"),
    (0x308, "RCX"),
    (0x310, "RDX"),
    (0x318, "RBX"),
    (0x320, "a reserved field"),
    (0x328, "RBP"),
    (0x330, "RSI"),
    (0x338, "RDI"),
    (0x340, "R8 to R15"),
    (0x380, "a reserved field"),
    (0x390, "exit information"),
    (0x3a8, "NEXT_RIP"),
    (0x3b0, "SEV_FEATURES"),
    (0x3b8, "VINTR_CTRL"),
    (0x3c0, "GUEST_EXIT_CODE"),
    (0x3c8, "VIRTUAL_TOM"),
    (0x3d0, "TLB_ID"),
    (0x3d8, "PCPU_ID"),
    (0x3e0, "EVENTINJ"),
    (0x3e8, "XCR0"),
    (0x3f0, "a reserved field"),
    (0x400, "X87_DP"),
    (0x408, "MXCSR and x87 words"),
    (0x410, "x87 words"),
    (0x418, "X87_RIP"),
    (0x420, "x87 registers"),
    (0x470, "XMM registers"),
    (0x570, "YMM registers"),
    (0x670, "a reserved field"),
];

fn field_name(at: usize) -> &'static str {
    FIELDS.iter().rev().find(|(start, _)| *start <= at).map_or("a field", |(_, name)| name)
}

fn bytes<const N: usize>(page: &Page, at: usize) -> [u8; N] {
    page.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

fn u16_at(page: &Page, at: usize) -> u16 {
    u16::from_le_bytes(bytes(page, at))
}

fn u32_at(page: &Page, at: usize) -> u32 {
    u32::from_le_bytes(bytes(page, at))
}

fn u64_at(page: &Page, at: usize) -> u64 {
    u64::from_le_bytes(bytes(page, at))
}

fn r8_r15(page: &Page, at: usize) -> [u64; 8] {
    let all: [u8; 64] = bytes(page, at);
    let mut registers = [0; 8];
    for (to, from) in registers.iter_mut().zip(all.as_chunks().0) {
        *to = u64::from_le_bytes(*from);
    }
    registers
}

/// The state in a VMSA, without asking whether KVM could make it.
fn take_apart(page: &Page) -> SnpState {
    let segment = |at: usize| Segment {
        selector: u16_at(page, at),
        attributes: u16_at(page, at.saturating_add(2)) & ATTRIBUTES,
        limit: u32_at(page, at.saturating_add(4)),
        base: u64_at(page, at.saturating_add(8)),
    };
    // The upper half of a limit is lost here, and found by the comparison.
    let table = |at: usize| DescriptorTable {
        base: u64_at(page, at.saturating_add(8)),
        limit: u16_at(page, at.saturating_add(4)),
    };
    let cpu = CpuState {
        cs: segment(0x010),
        ds: segment(0x030),
        es: segment(0x000),
        fs: segment(0x040),
        gs: segment(0x050),
        ss: segment(0x020),
        ldtr: segment(0x070),
        tr: segment(0x090),
        gdtr: table(0x060),
        idtr: table(0x080),
        cr0: u64_at(page, 0x158),
        cr3: u64_at(page, 0x150),
        cr4: u64_at(page, 0x148) & !CR4_MCE,
        efer: u64_at(page, 0x0d0) & !EFER_SVME,
        rip: u64_at(page, 0x178),
        rflags: u64_at(page, 0x170),
        rsp: u64_at(page, 0x1d8),
        rbx: u64_at(page, 0x318),
        rdx: u64_at(page, 0x310),
        rsi: u64_at(page, 0x330),
        rdi: u64_at(page, 0x338),
        general: GeneralRegisters {
            rax: u64_at(page, 0x1f8),
            rcx: u64_at(page, 0x308),
            rbp: u64_at(page, 0x328),
            r8_r15: r8_r15(page, 0x340),
        },
        reset: ResetRegisters {
            dr6: u64_at(page, 0x168),
            dr7: u64_at(page, 0x160),
            pat: u64_at(page, 0x268),
            xcr0: u64_at(page, 0x3e8),
            mxcsr: u32_at(page, 0x408),
            fcw: u16_at(page, 0x410),
        },
    };
    SnpState { cpu, features: u64_at(page, 0x3b0) & !SNP_ACTIVE }
}

/// The state in a VMSA, if a launch on KVM can have exactly this one.
pub fn snp_state(page: &Page) -> Result<SnpState, VpError> {
    let state = take_apart(page);
    let ours = vmsa_page(&state.cpu, state.features);
    for (i, (a, b)) in page.as_chunks::<8>().0.iter().zip(ours.as_chunks::<8>().0).enumerate() {
        let (found, wanted) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
        let at = i.saturating_mul(8);
        ensure!(found == wanted, FieldSnafu { field: field_name(at), at, found, wanted });
    }
    accepted(&state.cpu)?;
    let r = &state.cpu.reset;
    register(matches!(r.dr7, 0 | 0x400), "DR7", r.dr7, "only 0 and 0x400 are launched")?;
    register(r.dr6 >> 32 == 0, "DR6", r.dr6, "bits 63:32 must be zero")?;
    register(r.xcr0 & 1 == 1, "XCR0", r.xcr0, "bit 0 (x87) must be one")?;
    let valid = r.pat.to_le_bytes().iter().all(|t| matches!(t, 0 | 1 | 4..=7));
    register(valid, "G_PAT", r.pat, "each byte must be 0, 1 or 4 to 7")?;
    register(r.mxcsr >> 16 == 0, "MXCSR", r.mxcsr.into(), "bits 31:16 must be zero")?;
    Ok(state)
}

fn register(ok: bool, field: &'static str, found: u64, wanted: &'static str) -> Result<(), VpError> {
    ensure!(ok, RegisterSnafu { field, found, wanted });
    Ok(())
}

/// What KVM_SET_SREGS and KVM_SET_REGS want of any vCPU (Linux, arch/x86/kvm/x86.c,
/// `kvm_is_valid_sregs`, and `kvm_set_rflags`, which forces bit 1).
fn accepted(cpu: &CpuState) -> Result<(), VpError> {
    /// CR0.CD and CR0.NW, which KVM clears (quirk CD_NW_CLEARED).
    const CR0_CD_NW: u64 = 0b11 << 29;
    /// CR0.PG and CR0.PE.
    const CR0_PG: u64 = 1 << 31;
    const CR0_PE: u64 = 1;
    const CR4_PAE: u64 = 1 << 5;
    const EFER_LME: u64 = 1 << 8;
    const EFER_LMA: u64 = 1 << 10;
    /// L of a segment's attributes.
    const LONG: u16 = 1 << 9;

    register(cpu.cr0 & CR0_CD_NW == 0, "CR0", cpu.cr0, "CD and NW must be zero")?;
    register(cpu.cr0 >> 32 == 0, "CR0", cpu.cr0, "bits 63:32 must be zero")?;
    register(cpu.rflags & 2 != 0, "RFLAGS", cpu.rflags, "bit 1 must be one")?;
    let paging = cpu.cr0 & CR0_PG != 0;
    register(!paging || cpu.cr0 & CR0_PE != 0, "CR0", cpu.cr0, "PG needs PE")?;
    if paging && cpu.efer & EFER_LME != 0 {
        register(cpu.cr4 & CR4_PAE != 0, "CR4", cpu.cr4, "long mode needs PAE")?;
        register(cpu.efer & EFER_LMA != 0, "EFER", cpu.efer, "LMA must be one in long mode")
    } else {
        register(cpu.efer & EFER_LMA == 0, "EFER", cpu.efer, "LMA must be zero outside long mode")?;
        let long = cpu.cs.attributes & LONG == 0;
        register(long, "CS attributes", cpu.cs.attributes.into(), "L must be zero outside long mode")
    }
}

/// The state of a plain guest's vCPU (`IgvmNativeVpContextX64`); what it does not name is as a reset makes
/// it, with `signature` of the CPU.
pub fn plain_state(page: &Page, signature: u32) -> Result<CpuState, VpError> {
    /// Bytes of the structure; the page is zero behind it.
    const LEN: usize = 232;
    if let Some(at) = (LEN..page.len()).find(|&at| page.get(at) != Some(&0)) {
        let found = u64::from(page.get(at).copied().unwrap_or_default());
        return FieldSnafu { field: "a reserved field", at, found, wanted: 0u64 }.fail();
    }
    let reserved = u32_at(page, 154);
    ensure!(
        reserved == 0,
        FieldSnafu { field: "a reserved field", at: 154usize, found: u64::from(reserved), wanted: 0u64 }
    );
    // Attributes lie as in a descriptor's upper half: bits 11:8 are the limit's and not used.
    let segment = |at: usize| {
        let attributes = u16_at(page, at.saturating_add(2));
        Segment {
            selector: u16_at(page, at),
            attributes: attributes & 0xff | attributes >> 4 & 0xf00,
            limit: u32_at(page, at.saturating_add(8)),
            base: u32_at(page, at.saturating_add(4)).into(),
        }
    };
    let (code, data) = (segment(168), segment(180));
    let cpu = CpuState {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        ss: data,
        gs: Segment { base: u64_at(page, 192), ..data },
        gdtr: DescriptorTable { base: u64_at(page, 160), limit: u16_at(page, 158) },
        idtr: DescriptorTable { base: u64_at(page, 144), limit: u16_at(page, 152) },
        cr0: u64_at(page, 200),
        cr3: u64_at(page, 208),
        cr4: u64_at(page, 216),
        efer: u64_at(page, 224),
        rip: u64_at(page, 128),
        rflags: u64_at(page, 136),
        rsp: u64_at(page, 32),
        rbx: u64_at(page, 24),
        rdx: u64_at(page, 16),
        rsi: u64_at(page, 48),
        rdi: u64_at(page, 56),
        general: GeneralRegisters {
            rax: u64_at(page, 0),
            rcx: u64_at(page, 8),
            rbp: u64_at(page, 40),
            r8_r15: r8_r15(page, 64),
        },
        ..CpuState::reset(signature)
    };
    accepted(&cpu)?;
    Ok(cpu)
}
