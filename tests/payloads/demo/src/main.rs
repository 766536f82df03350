//! Cloister's demo guest: it boots without firmware or kernel, makes its buffers shared, attests itself
//! over vsock and opens the secret that the broker releases to it.
//!
//! All of it runs at CPL 3, with port I/O only: see `machine::entry`.
#![no_std]
#![no_main]

mod machine;
mod self_test;

use demo_guest::boot_info::{BootInfo, Conversion, PAGE_SIZE, Range, flags};
use demo_guest::exit::ExitCode;
use machine::{entry, fault, port};

/// The first Rust at CPL 3; RDI is still the loader's.
extern "C" fn main(boot_info: u64) -> ! {
    fault::install();
    println!("cloister demo guest {}", env!("CARGO_PKG_VERSION"));
    port::exit(run(boot_info))
}

fn run(boot_info: u64) -> ExitCode {
    let page = read_page(boot_info);
    let own = Range { start: boot_info, end: boot_info.saturating_add(PAGE_SIZE) };
    let info = match BootInfo::parse(&page, &[entry::image(), own]) {
        Ok(info) => info,
        Err(error) => {
            println!("boot info: {error}");
            return ExitCode::BAD_BOOT_INFO;
        }
    };
    println!("platform {}, port {}", info.platform, info.port);
    let gates = matches!(info.conversion, Conversion::VMCALL | Conversion::VMMCALL);
    if info.flags & flags::SELF_TEST != 0 && !self_test::run(gates) {
        return ExitCode::SELF_TEST;
    }
    if info.flags & flags::BOOT_ONLY != 0 {
        return ExitCode::SUCCESS;
    }
    ExitCode::NO_DEVICE
}

#[allow(unsafe_code, reason = "the loader's page is at an address")]
fn read_page(address: u64) -> [u8; PAGE_SIZE as usize] {
    // SAFETY: the boot contract: RDI is the address of a page that nobody writes while we run, mapped
    // with the rest of the low 4 GiB.
    unsafe { core::ptr::with_exposed_provenance::<[u8; PAGE_SIZE as usize]>(address as usize).read() }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    println!("panic: {info}");
    port::exit(ExitCode::PANIC)
}
