//! The state a vCPU is launched in.

/// A segment register, as the VMSA and KVM's `kvm_segment` hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Attributes in the VMSA's 12-bit form: type | s<<4 | dpl<<5 | present<<7 | avl<<8 | l<<9 | db<<10 |
    /// g<<11 (AMD APM vol. 2, 4.8 and B.2).
    pub attributes: u16,
    /// Limit in bytes, after granularity.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

/// GDTR or IDTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescriptorTable {
    /// Base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}

/// General registers that only launches from a file of states (IGVM) set; zero elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GeneralRegisters {
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RBP.
    pub rbp: u64,
    /// R8 to R15.
    pub r8_r15: [u64; 8],
}

/// Registers that a reset sets to other values than zero, and that only launches from a file of states
/// (IGVM) change. A board leaves them as KVM has them while they are the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetRegisters {
    /// DR6 (KVM_SET_DEBUGREGS).
    pub dr6: u64,
    /// DR7 (KVM_SET_DEBUGREGS). KVM launches no SNP guest with anything but 0x400 or 0 in it.
    pub dr7: u64,
    /// Page attribute table (MSR 0x277).
    pub pat: u64,
    /// XCR0 (KVM_SET_XCRS).
    pub xcr0: u64,
    /// MXCSR (KVM_SET_FPU).
    pub mxcsr: u32,
    /// x87 control word (KVM_SET_FPU).
    pub fcw: u16,
}

impl Default for ResetRegisters {
    fn default() -> Self {
        ResetRegisters {
            // APM vol. 2, 13.1.1.3.
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            // APM vol. 2, 7.8.2.
            pat: 0x0007_0406_0007_0406,
            // x87 only.
            xcr0: 1,
            // As KVM initialises a guest's FPU.
            mxcsr: 0x1f80,
            fcw: 0x37f,
        }
    }
}

/// Registers of one vCPU at launch: what the board sets and what an SNP VMSA is measured from.
///
/// Bits that KVM forces (EFER.SVME, CR4.MCE, SNP_ACTIVE) are not in here: they are the platform's, and
/// the measurement adds them (coco.md 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuState {
    /// CS, DS, ES, FS, GS, SS in this order.
    pub cs: Segment,
    /// DS.
    pub ds: Segment,
    /// ES.
    pub es: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// SS.
    pub ss: Segment,
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: DescriptorTable,
    /// IDTR.
    pub idtr: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// RBX.
    pub rbx: u64,
    /// RDX: at reset, the CPU's signature (CPUID leaf 1, EAX).
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// The other general registers.
    pub general: GeneralRegisters,
    /// Registers that are seldom anything but what a reset makes them.
    pub reset: ResetRegisters,
}

impl CpuState {
    /// The architectural reset state: real mode, CS:IP at the reset vector, `signature` in RDX
    /// (QEMU's profile, coco.md 4.5).
    pub fn reset(signature: u32) -> Self {
        let data = Segment { selector: 0, attributes: 0x93, limit: 0xffff, base: 0 };
        let table = DescriptorTable { base: 0, limit: 0xffff };
        CpuState {
            cs: Segment { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base: 0xffff_0000 },
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            ldtr: Segment { attributes: 0x82, limit: 0xffff, ..Segment::default() },
            tr: Segment { attributes: 0x8b, limit: 0xffff, ..Segment::default() },
            gdtr: table,
            idtr: table,
            cr0: 0x10,
            cr3: 0,
            cr4: 0,
            efer: 0,
            rip: 0xfff0,
            rflags: 2,
            rsp: 0,
            rbx: 0,
            rdx: u64::from(signature),
            rsi: 0,
            rdi: 0,
            general: GeneralRegisters::default(),
            reset: ResetRegisters::default(),
        }
    }
}
