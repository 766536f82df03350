//! GetQuote, and what goes with it: a TD's requests at run time.
//!
//! A vCPU never waits for a quote: it takes the request, marks the guest's buffer as in flight and goes
//! back into the guest. A thread of the request's own speaks with the service, writes the answer and sends
//! the interrupt that the guest asked for.

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

pub mod buffer;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use snafu::{ResultExt, Snafu};

pub use buffer::{BufferStatus, FinishError, QuoteBuffer};

use super::qgs::{self, QgsError, QuoteServiceAddress};
use super::vmcall::{InjectMsi, Notifier, TdvmcallLeaf, TdvmcallStatus, VmCallInfo};
use crate::memory::SharedMemory;

/// Most requests of one guest that are under way at a time; the next are told to retry (as QEMU has it).
pub const MAX_IN_FLIGHT: usize = 16;

/// What a TD may ask, and the service behind it. Dropping it ends what is under way.
pub struct TdServices {
    shared: Arc<Shared>,
    info: VmCallInfo,
    service: Option<QuoteServiceAddress>,
    in_flight: Arc<AtomicUsize>,
    /// Becomes readable when all requests are to end.
    end: Arc<OwnedFd>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of requests need.
struct Shared {
    memory: SharedMemory,
    notifier: Notifier,
    failures: FailureSink,
    counters: Counters,
}

/// Hears of requests that came to nothing. What it logs, a guest can cause at will: limit it.
pub type FailureSink = Box<dyn Fn(&QuoteFailure) + Send + Sync>;

#[derive(Default)]
struct Counters {
    asked: AtomicU64,
    refused: AtomicU64,
    told_to_retry: AtomicU64,
    unavailable: AtomicU64,
    given: AtomicU64,
    failed: AtomicU64,
}

/// How a guest's requests for quotes went so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuoteStats {
    /// Requests.
    pub asked: u64,
    /// Refused: the buffer or what was in it cannot be.
    pub refused: u64,
    /// Told to come back: too many under way.
    pub told_to_retry: u64,
    /// Answered that there is no service.
    pub unavailable: u64,
    /// Ended with a quote.
    pub given: u64,
    /// Ended without one.
    pub failed: u64,
}

/// Why a request that was taken on came to nothing.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum QuoteFailure {
    /// The service gave no quote.
    #[snafu(display("{source}"))]
    Service {
        /// Why.
        source: QgsError,
    },
    /// The quote could not be written, or not told of.
    #[snafu(display("{source}"))]
    Finish {
        /// Why.
        source: FinishError,
    },
    /// The guest's buffer went away before it could be marked.
    #[snafu(display("the guest's quote buffer is no shared memory any more: {source}"))]
    Mark {
        /// What the memory says.
        source: crate::memory::AccessError,
    },
    /// The interrupt could not be sent.
    #[snafu(display("the guest cannot be told of its quote: KVM does not take the interrupt: {source}"))]
    Notify {
        /// The kernel's answer.
        source: io::Error,
    },
    /// No thread for the request.
    #[snafu(display("no thread for a quote: {source}"))]
    Thread {
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A question of a TD's that KVM passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdCall {
    /// A quote for the buffer at `gpa`, without the shared bit.
    GetQuote {
        /// Where the buffer is.
        gpa: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// What TDVMCALLs there are.
    GetTdVmCallInfo {
        /// Which part of the answer.
        leaf: u64,
    },
    /// The interrupt to be told by.
    SetupEventNotifyInterrupt {
        /// Its vector.
        vector: u64,
    },
    /// Anything else.
    Unknown(TdvmcallLeaf),
}

/// What the TD is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdAnswer {
    /// What KVM put there for calls that nobody answers.
    AsKvmHasIt,
    /// This.
    Status(TdvmcallStatus),
    /// Success, and R11 to R14.
    Info([u64; 4]),
}

impl TdServices {
    /// Services for the TD with this memory. `msi` sends interrupts to it.
    pub fn new(
        memory: SharedMemory,
        info: VmCallInfo,
        service: Option<QuoteServiceAddress>,
        msi: Box<dyn InjectMsi>,
        failures: FailureSink,
    ) -> io::Result<Self> {
        let notifier = Notifier::new(msi);
        let shared = Arc::new(Shared { memory, notifier, failures, counters: Counters::default() });
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (in_flight, threads) = (Arc::default(), Mutex::default());
        Ok(TdServices { shared, info, service, in_flight, end, threads })
    }

    /// Answers `call` of the vCPU `apic_id`, at once.
    pub fn answer(&self, call: TdCall, apic_id: u32) -> TdAnswer {
        match call {
            TdCall::GetQuote { gpa, size } => TdAnswer::Status(self.get_quote(gpa, size)),
            TdCall::GetTdVmCallInfo { leaf } => {
                self.info.answer(leaf).map_or(TdAnswer::AsKvmHasIt, TdAnswer::Info)
            }
            TdCall::SetupEventNotifyInterrupt { vector } => {
                TdAnswer::Status(self.shared.notifier.register(vector, apic_id))
            }
            TdCall::Unknown(_) => TdAnswer::AsKvmHasIt,
        }
    }

    fn get_quote(&self, gpa: u64, size: u64) -> TdvmcallStatus {
        let counters = &self.shared.counters;
        counters.asked.fetch_add(1, Ordering::Relaxed);
        let refused = |status| {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            status
        };
        let (buffer, report) = match QuoteBuffer::take(&self.shared.memory, gpa, size) {
            Ok(taken) => taken,
            Err(status) => return refused(status),
        };
        // Another vCPU may have taken the memory back since it was checked.
        let mark = |status| match buffer.mark(&self.shared.memory, status) {
            Ok(()) => TdvmcallStatus::SUCCESS,
            Err(_) => refused(TdvmcallStatus::INVALID_OPERAND),
        };
        let Some(service) = &self.service else {
            counters.unavailable.fetch_add(1, Ordering::Relaxed);
            return mark(BufferStatus::UNAVAILABLE);
        };
        let Some(slot) = Slot::claim(&self.in_flight) else {
            counters.told_to_retry.fetch_add(1, Ordering::Relaxed);
            return TdvmcallStatus::RETRY;
        };
        let marked = mark(BufferStatus::IN_FLIGHT);
        if marked != TdvmcallStatus::SUCCESS {
            return marked;
        }
        let (shared, end, service) = (Arc::clone(&self.shared), Arc::clone(&self.end), service.clone());
        let work = move || {
            let quote = qgs::fetch_quote(&service, &report, buffer.room(), qgs::PATIENCE, end.as_fd());
            // The guest may ask again as soon as it reads the answer.
            drop(slot);
            shared.finish(buffer, quote.context(ServiceSnafu));
        };
        match std::thread::Builder::new().name("quote".to_owned()).spawn(work) {
            Ok(thread) => {
                let mut threads = self.threads.lock().unwrap_or_else(|e| e.into_inner());
                threads.retain(|t| !t.is_finished());
                threads.push(thread);
            }
            Err(source) => self.shared.finish(buffer, Err(QuoteFailure::Thread { source })),
        }
        TdvmcallStatus::SUCCESS
    }

    /// What has been counted so far.
    pub fn stats(&self) -> QuoteStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let c = &self.shared.counters;
        QuoteStats {
            asked: get(&c.asked),
            refused: get(&c.refused),
            told_to_retry: get(&c.told_to_retry),
            unavailable: get(&c.unavailable),
            given: get(&c.given),
            failed: get(&c.failed),
        }
    }
}

impl Drop for TdServices {
    fn drop(&mut self) {
        // Each thread looks at this whenever it waits, and waits for nothing else for long.
        let _ = rustix::io::write(&self.end, &1u64.to_ne_bytes());
        for thread in self.threads.get_mut().unwrap_or_else(|e| e.into_inner()).drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Writes how the request ended, and tells the guest.
    fn finish(&self, buffer: QuoteBuffer, quote: Result<Vec<u8>, QuoteFailure>) {
        let written = match quote {
            Ok(quote) => buffer.finish(&self.memory, &quote).context(FinishSnafu),
            Err(failure) => Err(match buffer.mark(&self.memory, BufferStatus::ERROR) {
                Ok(()) => failure,
                Err(source) => QuoteFailure::Mark { source },
            }),
        };
        let gone = matches!(
            written,
            Err(QuoteFailure::Mark { .. } | QuoteFailure::Finish { source: FinishError::Gone { .. } })
        );
        let count = if written.is_ok() { &self.counters.given } else { &self.counters.failed };
        count.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = written {
            (self.failures)(&failure);
        }
        // Where there is no buffer there is nothing to tell of.
        if !gone && let Err(failure) = self.notifier.notify().context(NotifySnafu) {
            (self.failures)(&failure);
        }
    }
}

/// A place among the requests under way.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn claim(in_flight: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |n: usize| n.checked_add(1).filter(|&n| n <= MAX_IN_FLIGHT);
        in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(Arc::clone(in_flight)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
