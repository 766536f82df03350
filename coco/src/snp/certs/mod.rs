//! Certificates for a guest's attestation reports (KVM_EXIT_SNP_REQ_CERTS): read from files that a tool on
//! the host keeps up to date, given to the guest beside its report.
//!
//! Nothing here is trusted by anyone: a verifier checks the chain up to AMD's root itself. What matters is
//! that certificate and report belong together. The host's key may change between the two (a new TCB after
//! SNP_COMMIT, a new VLEK), so the files stay locked until the firmware has signed: whoever changes the
//! host's key takes the same locks exclusively (Documentation/virt/kvm/api.rst, KVM_EXIT_SNP_REQ_CERTS).
//!
//! - [`store`]: the files.
//! - [`table`]: the form in which the guest gets them.
//! - [`lock`]: locks on open files.

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

mod lock;
mod store;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};

pub use lock::HeldLocks;
pub use store::{CertStore, CertStoreError};

use crate::memory::{PAGE_SIZE, SharedMemory};

/// A guest's request for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertRequest {
    /// Where the guest wants them.
    pub gpa: u64,
    /// How many pages it has for them there.
    pub npages: u64,
}

/// What KVM is to be told, and the locks that must be held until KVM has been back in the firmware.
#[derive(Debug)]
pub struct CertAnswer {
    /// The field `ret`: 0 or a positive errno.
    pub ret: u64,
    /// The field `npages`: how many would be needed, or as the guest had it.
    pub npages: u64,
    /// To be dropped when the report is signed.
    pub locks: HeldLocks,
    /// Why there are none, for the host's log.
    pub why_not: Option<String>,
}

/// The values of `ret` that KVM takes; any other ends the guest.
const OK: u64 = 0;
const EIO: u64 = libc::EIO as u64;
const EAGAIN: u64 = libc::EAGAIN as u64;
const ENOSPC: u64 = libc::ENOSPC as u64;

/// How requests went so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertStats {
    /// Answered with certificates.
    pub served: u64,
    /// Told that their buffer is too small.
    pub too_small: u64,
    /// Told to come back, as somebody was changing the files.
    pub busy: u64,
    /// The buffer was not shared memory.
    pub refused: u64,
    /// The files could not be read.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    served: AtomicU64,
    too_small: AtomicU64,
    busy: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// Serves certificates to one guest.
#[derive(Debug)]
pub struct CertServer {
    store: CertStore,
    counters: Counters,
}

impl CertServer {
    /// Serves what is in `store`, as it is at each request.
    pub fn new(store: CertStore) -> Self {
        CertServer { store, counters: Counters::default() }
    }

    /// Answers `request`: writes the certificates into the guest's memory, if it is shared and enough.
    /// Does not wait for anything but a disk.
    pub fn answer(&self, memory: &SharedMemory, request: CertRequest) -> CertAnswer {
        let CertRequest { gpa, npages } = request;
        let without = |ret, counter: &AtomicU64, why_not| {
            counter.fetch_add(1, Ordering::Relaxed);
            CertAnswer { ret, npages, locks: HeldLocks::none(), why_not }
        };
        let (table, locks) = match self.store.read() {
            Ok(read) => read,
            Err(CertStoreError::Busy { .. }) => return without(EAGAIN, &self.counters.busy, None),
            Err(e) => return without(EIO, &self.counters.failed, Some(e.to_string())),
        };
        let needed = (table.len() as u64).div_ceil(PAGE_SIZE);
        if needed > npages {
            // The guest's usual first question: how many pages?
            return CertAnswer { npages: needed, ..without(ENOSPC, &self.counters.too_small, None) };
        }
        if let Err(e) = memory.write(gpa, &table) {
            return without(EIO, &self.counters.refused, Some(e.to_string()));
        }
        self.counters.served.fetch_add(1, Ordering::Relaxed);
        CertAnswer { ret: OK, npages, locks, why_not: None }
    }

    /// What has been counted so far.
    pub fn stats(&self) -> CertStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        CertStats {
            served: get(&self.counters.served),
            too_small: get(&self.counters.too_small),
            busy: get(&self.counters.busy),
            refused: get(&self.counters.refused),
            failed: get(&self.counters.failed),
        }
    }
}

#[cfg(test)]
mod tests;
