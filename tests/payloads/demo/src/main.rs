//! Cloister's demo guest: it boots without firmware or kernel, makes its buffers shared, attests itself
//! over vsock and opens the secret that the broker releases to it.
//!
//! All of it runs at CPL 3, with port I/O only: see `machine::entry`.
#![no_std]
#![no_main]

extern crate alloc;

mod convert;
mod machine;
mod run;
mod self_test;

use machine::{fault, port};

/// The first Rust at CPL 3; RDI is still the loader's.
extern "C" fn main(boot_info: u64) -> ! {
    fault::install();
    println!("cloister demo guest {}", env!("CARGO_PKG_VERSION"));
    port::exit(run::run(boot_info))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    println!("panic: {info}");
    port::exit(demo_guest::exit::ExitCode::PANIC)
}
