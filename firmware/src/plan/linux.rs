//! A plan for a Linux kernel that is booted without firmware.
//!
//! A bzImage is entered at its 64-bit entry point, an ELF vmlinux through PVH. Where everything below
//! 1 MiB is: [`low`]. The kernel lies where it asks to be, the initrd as high as it may
//! below the end of low RAM. Launch order: boot tables, parameters, command line, ACPI, first stack,
//! kernel, initrd, SNP pages.

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
    CpuState, GuestLayout, Identity, ImageFile, InitialPrivacy, LaunchPlan, MemoryRange, PageKind, PageRun,
    PlanError, Segment, low, machine, snp_page_runs, zero_run,
};
use crate::acpi;
use crate::linux::{
    BzImage, ENTRY_64, KernelImage, Pointers, PvhKernel, boot_params, cc_blob, memory_map, start_info,
};

/// What a Linux guest is made of.
#[derive(Debug, Clone)]
pub struct LinuxBoot {
    /// bzImage or ELF vmlinux.
    pub kernel: ImageFile,
    /// Initial RAM disk, as one file.
    pub initrd: Option<ImageFile>,
    /// Kernel command line, without a NUL.
    pub cmdline: String,
    /// RAM in bytes.
    pub memory: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// CPU signature (CPUID leaf 1, EAX): RDX of vCPUs at reset.
    pub signature: u32,
    /// ACPI tables for [`GuestLayout::ACPI`], RSDP first; may be empty.
    pub acpi: Vec<u8>,
    /// Policy and identity.
    pub identity: Identity,
    /// Privacy of the memory that is not launched.
    pub initial: InitialPrivacy,
    /// Whether to launch a secrets page and a CPUID page, and to tell the kernel.
    pub snp_pages: SnpPages,
    /// The bit that marks private memory in page tables, on real SNP (CPUID 0x8000001f, EBX 5:0).
    pub c_bit: Option<u8>,
}

/// The secrets page and the CPUID page of an SNP guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnpPages {
    /// Neither is launched.
    Absent,
    /// Both are launched and reserved in the memory map. The kernel is not told: one that cannot know
    /// of the simulator beneath it would stop at a CPUID page without SEV in the CPU's own CPUID.
    Reserved,
    /// Both are launched and announced with a cc_blob. For real SNP hosts; bzImage only.
    Announced,
}

/// Plans a Linux guest.
pub fn plan_linux(boot: LinuxBoot) -> Result<LaunchPlan, PlanError> {
    let layout = machine::layout(boot.memory, boot.vcpus)?;
    let private_bit = machine::private_bit(boot.c_bit)?;
    let path = boot.kernel.path();
    let kernel = KernelImage::detect(&boot.kernel).context(KernelSnafu { path })?;
    let announced = boot.snp_pages == SnpPages::Announced;
    if announced && matches!(kernel, KernelImage::Pvh(_)) {
        return AnnounceNeedsBzImageSnafu { path }.fail();
    }

    let cmdline = cmdline_run(&boot.cmdline, &kernel)?;
    let (kernel_runs, kernel_end) = kernel_runs(&kernel, &boot.kernel, &layout)?;
    let initrd = place_initrd(boot.initrd.as_ref(), kernel_end, kernel.initrd_limit(), &layout)?;
    let acpi = acpi_run(boot.acpi)?;
    let pointers = Pointers {
        cmdline: low::CMDLINE.start,
        initrd,
        rsdp: acpi.as_ref().map_or(0, |run| run.gpa),
        setup_data: if announced { low::CC_BLOB.start } else { 0 },
    };
    let map = memory_map(&layout, boot.snp_pages != SnpPages::Absent);

    let measured =
        |at: MemoryRange, label, bytes: Vec<u8>| PageRun::bytes(at.start, PageKind::Measured, label, bytes);
    let page_tables =
        || measured(low::PAGE_TABLES, "page tables", tables::identity_map(Access::Supervisor, private_bit));
    let (bsp, mut pages) = match &kernel {
        KernelImage::BzImage(k) => {
            let (gdt, cpu) = enter_64(k);
            let params = boot_params(k, &pointers, &map).to_vec();
            (
                cpu,
                vec![
                    measured(low::GDT, "GDT", gdt),
                    page_tables(),
                    measured(low::PARAMS, "boot_params", params),
                ],
            )
        }
        KernelImage::Pvh(k) => {
            let (gdt, cpu) = enter_pvh(k);
            let info = start_info(low::PARAMS.start, &pointers, &map);
            (cpu, vec![measured(low::GDT, "GDT", gdt), measured(low::PARAMS, "PVH start info", info)])
        }
    };
    pages.push(cmdline);
    if announced {
        pages.push(measured(low::CC_BLOB, "cc_blob", cc_blob()));
    }
    pages.extend(acpi);
    pages.push(bios_entry());
    pages.push(zero_run(FIRST_STACK, "first stack"));
    pages.extend(kernel_runs);
    if let (Some(place), Some(file)) = (initrd, &boot.initrd) {
        let source = file.source(0, file.len()).context(ImageSnafu { what: "initrd" })?;
        let count = place.size.div_ceil(PageRun::PAGE_SIZE as u64);
        pages.push(PageRun {
            gpa: place.start,
            pages: count,
            kind: PageKind::Measured,
            source,
            label: "initrd",
        });
    }
    if boot.snp_pages != SnpPages::Absent {
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

/// The page of the first stack that is launched: kernels switch to their own within a few pushes.
const FIRST_STACK: MemoryRange = MemoryRange::new(low::STACK.end() - 0x1000, 0x1000);

fn cmdline_run(cmdline: &str, kernel: &KernelImage) -> Result<PageRun, PlanError> {
    let max = kernel.cmdline_size().min(low::CMDLINE.size.saturating_sub(1));
    let len = cmdline.len() as u64;
    ensure!(len <= max, CmdlineTooLongSnafu { len, max });
    if let Some(at) = cmdline.bytes().position(|b| b == 0) {
        return CmdlineNulSnafu { at }.fail();
    }
    let mut bytes = cmdline.as_bytes().to_vec();
    bytes.push(0);
    Ok(PageRun::bytes(low::CMDLINE.start, PageKind::Measured, "command line", bytes))
}

/// What stands where a BIOS would: a few instructions that reset the machine.
///
/// A kernel on a machine with hardware-reduced ACPI resets through EFI; where there is none it jumps to the
/// BIOS in real mode, without a try at the ACPI reset register (arch/x86/kernel/reboot.c,
/// `efi_reboot_required`). Zeros there would make it run through memory for ever.
fn bios_entry() -> PageRun {
    let [low, high] = acpi::ports::RESET.to_le_bytes();
    let code = [
        0xb0,
        acpi::ports::RESET_VALUE, // mov al, RESET_VALUE
        0xba,
        low,
        high, // mov dx, RESET
        0xee, // out dx, al
        0xf4, // hlt
        0xeb,
        0xfd, // jmp to the hlt
    ];
    // F000:FFF0 is 16 bytes before the page's end.
    let mut page = vec![0; PageRun::PAGE_SIZE - 16];
    page.extend_from_slice(&code);
    PageRun::bytes(GuestLayout::BIOS_ENTRY.start, PageKind::Measured, "BIOS entry (resets)", page)
}

fn acpi_run(tables: Vec<u8>) -> Result<Option<PageRun>, PlanError> {
    let (len, max) = (tables.len() as u64, GuestLayout::ACPI.size);
    ensure!(len <= max, AcpiTooLongSnafu { len, max });
    let run = PageRun::bytes(GuestLayout::ACPI.start, PageKind::Measured, "ACPI tables", tables);
    Ok((run.pages > 0).then_some(run))
}

/// The kernel's runs, and the end of the memory that it needs before it has read its memory map.
fn kernel_runs(
    kernel: &KernelImage,
    file: &ImageFile,
    layout: &GuestLayout,
) -> Result<(Vec<PageRun>, u64), PlanError> {
    match kernel {
        KernelImage::BzImage(k) => {
            let (start, end, ram_end) = (k.pref_address, k.end(), layout.low_ram_end());
            ensure!(end <= ram_end, KernelDoesNotFitSnafu { start, end, ram_end });
            let source = file.source(k.code_offset, k.code_len).context(ImageSnafu { what: "kernel" })?;
            let pages = k.code_len.div_ceil(PageRun::PAGE_SIZE as u64);
            let run = PageRun { gpa: start, pages, kind: PageKind::Measured, source, label: "kernel" };
            Ok((vec![run], end))
        }
        KernelImage::Pvh(k) => {
            let (mut runs, mut end) = (Vec::new(), 0);
            for segment in &k.elf.segments {
                let placed = Placed::check(segment, file, layout, "kernel")?;
                end = placed.end().max(end);
                let (from_file, all) = (placed.file_pages(), placed.memory_pages());
                if from_file > 0 {
                    runs.push(placed.run(from_file, "kernel")?);
                }
                if all > from_file {
                    let gpa =
                        placed.gpa().saturating_add(from_file.saturating_mul(PageRun::PAGE_SIZE as u64));
                    let zeros = all.saturating_sub(from_file);
                    runs.push(PageRun::empty(gpa, zeros, PageKind::Zero, "kernel BSS"));
                }
            }
            Ok((runs, end))
        }
    }
}

/// As high as possible: below the end of low RAM and below what the kernel can reach.
fn place_initrd(
    initrd: Option<&ImageFile>,
    kernel_end: u64,
    limit: u64,
    layout: &GuestLayout,
) -> Result<Option<MemoryRange>, PlanError> {
    /// Down to the start of a page.
    const PAGE_MASK: u64 = !0xfff;
    let Some(initrd) = initrd else { return Ok(None) };
    let size = initrd.len();
    let (from, to) = (kernel_end, limit.min(layout.low_ram_end()));
    // The last page is whole, so the end goes down to a page as well.
    let whole = size.checked_next_multiple_of(PageRun::PAGE_SIZE as u64);
    let start = whole.and_then(|whole| (to & PAGE_MASK).checked_sub(whole)).filter(|&start| start >= from);
    match start {
        Some(start) => Ok(Some(MemoryRange::new(start, size))),
        None => InitrdTooLargeSnafu { size, from, to }.fail(),
    }
}

/// GDT and first vCPU for the 64-bit boot protocol: __BOOT_CS is 0x10, __BOOT_DS is 0x18, paging with
/// an identity map, RSI points to boot_params (boot.rst, "64-bit boot protocol").
fn enter_64(kernel: &BzImage) -> (Vec<u8>, CpuState) {
    let code = flat(0x10, attributes::CODE64);
    let (gdt, base) = boot_cpu(code);
    let cpu = CpuState {
        cr0: tables::CR0_PG | tables::CR0_NE | tables::CR0_ET | tables::CR0_PE,
        cr3: low::PAGE_TABLES.start,
        cr4: tables::CR4_PAE,
        efer: tables::EFER_LONG_MODE,
        rip: kernel.pref_address.saturating_add(ENTRY_64),
        rsi: low::PARAMS.start,
        ..base
    };
    (gdt, cpu)
}

/// GDT and first vCPU for PVH: flat 32-bit segments, no paging, EBX points to hvm_start_info
/// (docs/misc/pvh.pandoc of Xen).
fn enter_pvh(kernel: &PvhKernel) -> (Vec<u8>, CpuState) {
    let (gdt, base) = boot_cpu(flat(0x10, attributes::CODE32));
    let cpu = CpuState {
        cr0: tables::CR0_ET | tables::CR0_PE,
        rip: u64::from(kernel.entry),
        rbx: low::PARAMS.start,
        ..base
    };
    (gdt, cpu)
}

/// What both ways have in common.
fn boot_cpu(code: Segment) -> (Vec<u8>, CpuState) {
    let data = flat(0x18, attributes::DATA);
    // Never switched to, but the CPU wants a busy TSS in TR. It would lie at 0, where nothing is.
    let tss = Segment { selector: 0x20, attributes: attributes::TSS_BUSY, limit: 0x67, base: 0 };
    let (gdt, gdtr) = tables::gdt(&[
        0,
        0,
        tables::descriptor(&code),
        tables::descriptor(&data),
        tables::descriptor(&tss),
        0,
    ]);
    let cpu = CpuState {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        ldtr: tables::EMPTY_LDT,
        tr: tss,
        gdtr,
        idtr: Default::default(),
        cr0: 0,
        cr3: 0,
        cr4: 0,
        efer: 0,
        rip: 0,
        rflags: tables::RFLAGS_FIXED,
        rsp: low::STACK.end(),
        rbx: 0,
        rdx: 0,
        rsi: 0,
        rdi: 0,
        general: Default::default(),
        reset: Default::default(),
    };
    (gdt, cpu)
}

#[cfg(test)]
#[path = "linux_tests.rs"]
mod tests;
