//! The conversion guest: it turns memory shared and private again, thousands of times, from all of its
//! processors at once and with devices at work, and looks at what is in it afterwards.
//!
//! The second program of this package: the demo's drivers and boot contract, another story. It stays at
//! CPL 0, where hypercalls are.
#![no_std]
#![no_main]

#[path = "../machine"]
mod machine {
    pub mod bounce;
    pub mod clock;
    pub mod heap;
    mod mem;
    pub mod port;
}
mod device;
mod disk;
mod fault;
mod pages;
mod random;
mod run;
mod smp;
mod sync;
mod work;

use machine::port;

/// The first Rust on the first processor; RDI is still the loader's.
extern "C" fn main(boot_info: u64) -> ! {
    fault::install();
    println!("cloister conversion guest {}", env!("CARGO_PKG_VERSION"));
    port::exit(run::run(boot_info))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    println!("panic: {info}");
    port::exit(demo_guest::exit::ExitCode::PANIC)
}
