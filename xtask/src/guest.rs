//! `cargo xtask guest`: what a first guest boots from.

use crate::{Status, build};
use cloister_rig::{Cache, Error, Initramfs, Tools, guest_kernels};
use std::fs;

/// What the first guest does: says who it is, and asks for its secret.
const SCRIPT: &str = include_str!("../assets/first-guest.sh");

pub(crate) fn run() -> Status {
    build::needs()?;
    let tools = Tools::prepare(&Cache::open()?)?;
    let dir = build::target().join("guest");
    fs::create_dir_all(&dir).map_err(|error| {
        Error::new(format!("cannot create {}", dir.display()), error.to_string(), "make room there")
    })?;
    let kernels = guest_kernels()?;
    let agent = build::agent()?;
    let mut last = String::new();
    for kernel in &kernels {
        let initrd = dir.join(format!("initrd-{}", kernel.version));
        let mut initramfs = Initramfs::guest(&tools, kernel, SCRIPT)?;
        initramfs.add("bin/cloister-agent", 0o755, &agent)?;
        initramfs.write(&initrd)?;
        println!("Linux {}", kernel.version);
        println!("  bzImage  {}", kernel.bzimage.display());
        println!("  vmlinux  {}", kernel.vmlinux.display());
        println!("  initrd   {}", initrd.display());
        last = format!("--kernel {} --initrd {}", kernel.bzimage.display(), initrd.display());
    }
    let cloister = build::cloister()?;
    let line = format!("{} run {last} --memory 512M --cmdline console=ttyS0", cloister.display());
    println!("\nTo start one:\n  {line}");
    println!("Where there is no hardware virtualisation, in the rig:\n  cargo xtask rig -- {line}");
    Ok(0)
}
