//! Every struct that we hand to the kernel.

use std::mem::size_of;

use cloister_coco::snp::abi::{Init, LaunchFinish, LaunchStart, LaunchUpdate, SevCmd};
use cloister_coco::tdx::abi::{
    CpuidEntry, CpuidHeader, TdxCapabilities, TdxCmd, TdxInitMemRegion, TdxInitVm,
};
use kvm_bindings::*;

use super::claim::{Claim, layout};
use super::headers::check;

#[test]
fn snp() {
    let claims: Vec<Claim> = [
        layout!("struct kvm_sev_cmd" = SevCmd { id, pad0, data, error, sev_fd }),
        layout!("struct kvm_sev_init" = Init { vmsa_features, flags, ghcb_version, pad1, pad2 }),
        layout!("struct kvm_sev_snp_launch_start" = LaunchStart { policy, gosvw, flags, pad0, pad1 }),
        layout!("struct kvm_sev_snp_launch_update" = LaunchUpdate {
            gfn_start, uaddr, len, page_type = "type", pad0, flags, pad1, pad2,
        }),
        layout!(
            "struct kvm_sev_snp_launch_finish" = LaunchFinish {
                id_block_uaddr,
                id_auth_uaddr,
                id_block_en,
                auth_key_en,
                vcek_disabled,
                host_data,
                pad0,
                flags,
                pad1,
            }
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    check("snp-structs", &claims);
}

#[test]
fn tdx() {
    let claims: Vec<Claim> = [
        layout!("struct kvm_tdx_cmd" = TdxCmd { id, flags, data, hw_error }),
        layout!(
            "struct kvm_tdx_capabilities" = TdxCapabilities {
                supported_attrs,
                supported_xfam,
                kernel_tdvmcallinfo_1_r11,
                user_tdvmcallinfo_1_r11,
                kernel_tdvmcallinfo_1_r12,
                user_tdvmcallinfo_1_r12,
                reserved,
                cpuid,
            }
        ),
        layout!(
            "struct kvm_tdx_init_vm" =
                TdxInitVm { attributes, xfam, mrconfigid, mrowner, mrownerconfig, reserved, cpuid }
        ),
        layout!("struct kvm_tdx_init_mem_region" = TdxInitMemRegion { source_addr, gpa, nr_pages }),
        layout!("struct kvm_cpuid2" = CpuidHeader { nent, padding }),
        layout!(
            "struct kvm_cpuid_entry2" = CpuidEntry { function, index, flags, eax, ebx, ecx, edx, padding }
        ),
        // Where the entries begin.
        vec![Claim::new(
            "struct kvm_cpuid2, field entries: offset",
            "offsetof(struct kvm_cpuid2, entries)",
            size_of::<CpuidHeader>() as u64,
        )],
    ]
    .into_iter()
    .flatten()
    .collect();
    check("tdx-structs", &claims);
}

/// What we take from kvm-bindings, which is generated from an older header.
#[test]
fn kvm() {
    let claims: Vec<Claim> = [
        layout!(
            "struct kvm_userspace_memory_region" =
                kvm_userspace_memory_region { slot, flags, guest_phys_addr, memory_size, userspace_addr }
        ),
        layout!(
            "struct kvm_userspace_memory_region2" = kvm_userspace_memory_region2 {
                slot,
                flags,
                guest_phys_addr,
                memory_size,
                userspace_addr,
                guest_memfd_offset,
                guest_memfd,
                pad1,
                pad2,
            }
        ),
        layout!("struct kvm_create_guest_memfd" = kvm_create_guest_memfd { size, flags, reserved }),
        layout!("struct kvm_memory_attributes" = kvm_memory_attributes { address, size, attributes, flags }),
        layout!("struct kvm_pre_fault_memory" = kvm_pre_fault_memory { gpa, size, flags, padding }),
        layout!(
            "struct kvm_cpuid_entry2" =
                kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, padding }
        ),
        layout!("struct kvm_device_attr" = kvm_device_attr { flags, group, attr, addr }),
        layout!("struct kvm_enable_cap" = kvm_enable_cap { cap, flags, args, pad }),
        layout!("struct kvm_ioeventfd" = kvm_ioeventfd { datamatch, addr, len, fd, flags, pad }),
        layout!("struct kvm_msi" = kvm_msi { address_lo, address_hi, data, flags, devid, pad }),
        layout!("struct kvm_msr_entry" = kvm_msr_entry { index, reserved, data }),
        layout!(
            "struct kvm_regs" = kvm_regs {
                rax,
                rbx,
                rcx,
                rdx,
                rsi,
                rdi,
                rsp,
                rbp,
                r8,
                r9,
                r10,
                r11,
                r12,
                r13,
                r14,
                r15,
                rip,
                rflags,
            }
        ),
        layout!("struct kvm_segment" = kvm_segment {
            base, limit, selector, type_ = "type", present, dpl, db, s, l, g, avl, unusable, padding,
        }),
        layout!("struct kvm_dtable" = kvm_dtable { base, limit, padding }),
        layout!(
            "struct kvm_sregs" = kvm_sregs {
                cs,
                ds,
                es,
                fs,
                gs,
                ss,
                tr,
                ldt,
                gdt,
                idt,
                cr0,
                cr2,
                cr3,
                cr4,
                cr8,
                efer,
                apic_base,
                interrupt_bitmap,
            }
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    check("kvm-structs", &claims);
}
