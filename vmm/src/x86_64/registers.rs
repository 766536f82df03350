//! A plan's vCPU state in KVM's structs.

use cloister_firmware::plan::{CpuState, DescriptorTable, GeneralRegisters, Segment};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

/// General registers.
pub(crate) fn kvm_registers(cpu: &CpuState) -> kvm_regs {
    let GeneralRegisters { rax, rcx, rbp, r8_r15: [r8, r9, r10, r11, r12, r13, r14, r15] } = cpu.general;
    kvm_regs {
        rax,
        rcx,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: cpu.rip,
        rflags: cpu.rflags,
        rsp: cpu.rsp,
        rbx: cpu.rbx,
        rdx: cpu.rdx,
        rsi: cpu.rsi,
        rdi: cpu.rdi,
    }
}

/// System registers; `base` is what KVM holds now, whose APIC base stays.
pub(crate) fn kvm_system_registers(cpu: &CpuState, base: kvm_sregs) -> kvm_sregs {
    kvm_sregs {
        cs: segment(cpu.cs),
        ds: segment(cpu.ds),
        es: segment(cpu.es),
        fs: segment(cpu.fs),
        gs: segment(cpu.gs),
        ss: segment(cpu.ss),
        tr: segment(cpu.tr),
        ldt: segment(cpu.ldtr),
        gdt: table(cpu.gdtr),
        idt: table(cpu.idtr),
        cr0: cpu.cr0,
        cr2: 0,
        cr3: cpu.cr3,
        cr4: cpu.cr4,
        efer: cpu.efer,
        ..base
    }
}

fn table(t: DescriptorTable) -> kvm_dtable {
    kvm_dtable { base: t.base, limit: t.limit, ..Default::default() }
}

/// Takes the VMSA's 12 attribute bits apart.
fn segment(s: Segment) -> kvm_segment {
    let bits = |shift: u16, mask: u16| ((s.attributes >> shift) & mask) as u8;
    kvm_segment {
        base: s.base,
        limit: s.limit,
        selector: s.selector,
        type_: bits(0, 0xf),
        s: bits(4, 1),
        dpl: bits(5, 3),
        present: bits(7, 1),
        avl: bits(8, 1),
        l: bits(9, 1),
        db: bits(10, 1),
        g: bits(11, 1),
        unusable: u8::from(bits(7, 1) == 0),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_apart_as_the_vmsa_puts_them_together() {
        let code = segment(Segment { selector: 8, attributes: 0xa9b, limit: u32::MAX, base: 0 });
        assert_eq!((code.type_, code.s, code.dpl, code.present), (0xb, 1, 0, 1));
        assert_eq!((code.l, code.db, code.g, code.unusable), (1, 0, 1, 0));
        assert_eq!(segment(Segment::default()).unusable, 1);
    }
}
