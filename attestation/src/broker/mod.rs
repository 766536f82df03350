//! The host's side: challenge the guest, judge its evidence, release the secrets once.
//!
//! [`BrokerSession`] is the state machine, without I/O. [`Broker::serve_connection`] runs it over one
//! connection with time-outs, and [`Broker::listen`] serves a VM's socket until it is told to stop.
//! What the guest is told of a refusal is one byte; the rest is in [`BrokerEvent`]s, for the host.
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

mod config;
mod connection;
mod event;
mod limiter;
mod listen;
mod session;
mod stop;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use config::{BrokerConfig, Limits};
pub use event::{BrokerEvent, Outcome, Refusal};
pub use listen::BrokerHandle;
pub use session::{BrokerSession, Reaction};
pub use stop::Stop;

pub use crate::os::os_random;
use crate::protocol::{LaunchId, host_data, init_data};

struct Shared {
    config: BrokerConfig,
    init_data: Vec<u8>,
    host_data: [u8; 32],
    /// How many more times the secrets may be released for this launch.
    releases: AtomicU32,
}

/// The broker of one launch of one VM. Cheap to clone: clones share the count of releases.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

impl Broker {
    /// A broker for the launch that the configuration names.
    pub fn new(config: BrokerConfig) -> Self {
        let init_data = init_data(config.launch_id, config.key.public().hash());
        let shared = Shared {
            host_data: host_data(&init_data),
            releases: AtomicU32::new(config.limits.releases),
            init_data,
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// SHA-256 of the broker's static public key (P-256, SEC1 uncompressed).
    pub fn public_key_hash(&self) -> [u8; 32] {
        self.shared.config.key.public().hash()
    }

    /// The launch that this broker serves.
    pub fn launch_id(&self) -> LaunchId {
        self.shared.config.launch_id
    }

    /// The init data of the launch, as CHALLENGE carries it.
    pub fn init_data(&self) -> &[u8] {
        &self.shared.init_data
    }

    /// What the launch must put into HOST_DATA: the digest of the init data.
    pub fn host_data(&self) -> [u8; 32] {
        self.shared.host_data
    }

    /// A session for one connection.
    pub fn session(&self) -> BrokerSession {
        BrokerSession::new(self.clone())
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.shared.config
    }

    /// Takes one release. It is gone from here on, whether or not the guest confirms.
    pub(crate) fn take_release(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.shared.releases.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("launch_id", &self.launch_id()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod dance;
#[cfg(test)]
mod listen_test;
#[cfg(test)]
mod session_test;
