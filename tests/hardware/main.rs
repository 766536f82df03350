//! The lane for a real SNP or TDX host: `cargo xtask hardware snp|tdx`, which sees to it that the host is one.
//!
//! None of its tests has ever run, for want of such a host: docs/hardware.md has what that leaves open. A test
//! whose prerequisites are missing fails and says which: whoever runs this lane asked for it.

mod lane;
mod snp;
mod tdx;
