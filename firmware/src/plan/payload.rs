//! A plan for a freestanding 64-bit guest: one ELF file, entered in long mode at CPL 0.
//!
//! Where everything below 1 MiB is: [`low`]. What the payload finds at its entry point:
//!
//! | register | value |
//! |---|---|
//! | RIP | the ELF entry point |
//! | RDI | guest-physical address of the boot information, [`low::PARAMS`] |
//! | RSP | top of the first stack, `0x20000`: 16-byte aligned, no return address on it |
//! | CS, DS ES FS GS SS | `0x08` 64-bit code, `0x10` data |
//! | GDT | null, `0x08` code, `0x10` data, `0x18` user data, `0x20` user 64-bit code, `0x28` TSS (the order that SYSRET wants, with STAR\[63:48\] = `0x10`) |
//! | TR | `0x28`, with RSP0 = `0x24000` and no port open to CPL 3 |
//! | IDTR | empty: load one before interrupts or faults can happen |
//! | CR0, CR4, EFER | PG NE ET MP PE; PAE OSFXSR OSXMMEXCPT; LME LMA |
//! | CR3 | an identity map of the first 4 GiB in 2 MiB pages, open to CPL 3 at every level |
//! | RFLAGS | interrupts off |
//!
//! Other vCPUs stay at reset until the payload starts them.

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

use snafu::{ResultExt, ensure};

use super::error::*;
use super::segments::Placed;
use super::tables::{self, Access, attributes, flat};
use super::{
    CpuState, GuestLayout, Identity, ImageFile, InitialPrivacy, LaunchPlan, PageKind, PageRun, PlanError,
    Segment, low, machine, snp_page_runs, zero_run,
};
use crate::linux::elf::{self, Elf};

/// What a payload guest is made of.
#[derive(Debug, Clone)]
pub struct PayloadBoot {
    /// Static ELF executable for x86-64; physical = virtual addresses, in low RAM from 1 MiB on.
    pub image: ImageFile,
    /// Boot information for the payload, measured: at most a page, at [`low::PARAMS`].
    pub params: Vec<u8>,
    /// More for the payload, of any kind, launched after its segments: [`low::FREE`] is kept for it, and
    /// what is in RAM from 1 MiB on and not in a segment.
    pub extra: Vec<PageRun>,
    /// RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// CPU signature (CPUID leaf 1, EAX): RDX of vCPUs at reset.
    pub signature: u32,
    /// Policy and identity.
    pub identity: Identity,
    /// Privacy of the memory that is not launched.
    pub initial: InitialPrivacy,
    /// Whether to launch a secrets page and a CPUID page.
    pub snp_pages: bool,
    /// The bit that marks private memory in page tables, on real SNP (CPUID 0x8000001f, EBX 5:0).
    pub c_bit: Option<u8>,
}

/// Plans a payload guest.
pub fn plan_payload(boot: PayloadBoot) -> Result<LaunchPlan, PlanError> {
    let layout = machine::layout(boot.memory, boot.vcpus)?;
    let private_bit = machine::private_bit(boot.c_bit)?;
    ensure!(boot.params.len() <= PageRun::PAGE_SIZE, ParamsTooLongSnafu { len: boot.params.len() });
    let image = &boot.image;
    let elf = Elf::parse(image).context(PayloadSnafu { path: image.path() })?;
    check_entry(&elf, image)?;

    let (gdt_page, bsp) = first_vcpu(elf.entry);
    let page_tables = tables::identity_map(Access::User, private_bit);
    let mut pages = vec![
        PageRun::bytes(low::GDT.start, PageKind::Measured, "GDT and TSS", gdt_page),
        PageRun::bytes(low::PAGE_TABLES.start, PageKind::Measured, "page tables", page_tables),
        params_run(boot.params),
        zero_run(low::STACK, "first stack"),
        zero_run(low::INTERRUPT_STACK, "interrupt stack"),
    ];
    for segment in &elf.segments {
        pages.push(segment_run(segment, image, &layout)?);
    }
    pages.extend(boot.extra);
    if boot.snp_pages {
        pages.extend(snp_page_runs());
    }
    let plan = LaunchPlan {
        pages,
        vcpus: machine::vcpus(bsp, boot.vcpus, boot.signature),
        identity: boot.identity,
        layout,
        initial: boot.initial,
        td_hob: None,
    };
    plan.check()?;
    Ok(plan)
}

/// One page, also when there is nothing to tell: RDI always points to memory that was launched.
fn params_run(mut params: Vec<u8>) -> PageRun {
    params.resize(PageRun::PAGE_SIZE, 0);
    PageRun::bytes(low::PARAMS.start, PageKind::Measured, "boot information", params)
}

fn check_entry(elf: &Elf, image: &ImageFile) -> Result<(), PlanError> {
    let holds_entry = |s: &elf::Segment| {
        s.executable
            && elf.entry >= s.virtual_address
            && elf.entry.wrapping_sub(s.virtual_address) < s.memory_size
    };
    ensure!(elf.segments.iter().any(holds_entry), EntrySnafu { path: image.path(), entry: elf.entry });
    Ok(())
}

/// A segment as whole pages, all of them measured, its BSS as zeros.
fn segment_run(s: &elf::Segment, image: &ImageFile, layout: &GuestLayout) -> Result<PageRun, PlanError> {
    let label = if s.executable { "payload code" } else { "payload data" };
    let (virtual_address, physical_address) = (s.virtual_address, s.physical_address);
    let identity = virtual_address == physical_address;
    ensure!(identity, NotIdentitySnafu { path: image.path(), virtual_address, physical_address });
    let placed = Placed::check(s, image, layout, label)?;
    placed.run(placed.memory_pages(), label)
}

/// The GDT's page with the TSS in it, and the state of the first vCPU.
fn first_vcpu(entry: u64) -> (Vec<u8>, CpuState) {
    let code = flat(0x08, attributes::CODE64);
    let data = flat(0x10, attributes::DATA);
    let tss_limit = (low::TSS.size as u32).saturating_sub(1);
    let tss = Segment { selector: 0x28, attributes: attributes::TSS, limit: tss_limit, base: low::TSS.start };
    let (mut page, gdtr) = tables::gdt(&[
        0,
        tables::descriptor(&code),
        tables::descriptor(&data),
        tables::descriptor(&flat(0x18, attributes::USER_DATA)),
        tables::descriptor(&flat(0x20, attributes::USER_CODE64)),
        tables::descriptor(&tss),
        // A TSS descriptor of long mode has two slots: bits 63:32 of its base.
        0,
    ]);
    page.resize(low::TSS.start.saturating_sub(low::GDT.start) as usize, 0);
    page.extend_from_slice(&tables::tss64(low::INTERRUPT_STACK.end()));

    let cpu = CpuState {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        ldtr: tables::EMPTY_LDT,
        tr: Segment { attributes: attributes::TSS_BUSY, ..tss },
        gdtr,
        idtr: Default::default(),
        cr0: tables::CR0_PG | tables::CR0_NE | tables::CR0_ET | tables::CR0_MP | tables::CR0_PE,
        cr3: low::PAGE_TABLES.start,
        cr4: tables::CR4_PAE | tables::CR4_SSE,
        efer: tables::EFER_LONG_MODE,
        rip: entry,
        rflags: tables::RFLAGS_FIXED,
        rsp: low::STACK.end(),
        rbx: 0,
        rdx: 0,
        rsi: 0,
        rdi: low::PARAMS.start,
        general: Default::default(),
        reset: Default::default(),
    };
    (page, cpu)
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
