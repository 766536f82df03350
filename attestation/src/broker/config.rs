//! What a broker is made of.

use std::fmt;
use std::time::Duration;

use crate::Random;
use crate::certs::{CertTable, Store};
use crate::os::os_random;
use crate::policy::{Policy, PolicyError};
use crate::protocol::seal::Secret;
use crate::protocol::{LaunchId, StaticKey};
use crate::time::UnixTime;

/// Bounds on what a guest can make the broker do (attestation specification §4.3).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest silence of the guest.
    pub idle: Duration,
    /// Longest handshake.
    pub total: Duration,
    /// Connections at the same time, per VM.
    pub connections: usize,
    /// Attempts per minute, in the long run.
    pub attempts_per_minute: u32,
    /// Attempts at once.
    pub burst: u32,
    /// Releases per launch.
    pub releases: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            total: Duration::from_secs(30),
            connections: 4,
            attempts_per_minute: 5,
            burst: 3,
            releases: 1,
        }
    }
}

/// What a broker is made of.
#[derive(Clone)]
pub struct BrokerConfig {
    /// What the evidence is judged by.
    pub policy: Policy,
    /// What may be released.
    pub secrets: Vec<Secret>,
    /// The broker's key, which the init data names.
    pub key: StaticKey,
    /// The launch.
    pub launch_id: LaunchId,
    /// Certificates that the host has, for a guest that brings none.
    pub endorsements: CertTable,
    /// Where to look for the chip's key when neither has it.
    pub store: Option<Store>,
    /// Bounds.
    pub limits: Limits,
    /// Randomness for nonces and keys.
    pub random: Random,
    /// The time to verify at.
    pub clock: fn() -> UnixTime,
}

impl BrokerConfig {
    /// The usual configuration: reads the policy's secrets, uses the host's clock and randomness.
    pub fn new(policy: Policy, key: StaticKey, launch_id: LaunchId) -> Result<Self, PolicyError> {
        Ok(Self {
            secrets: policy.secrets.load()?,
            policy,
            key,
            launch_id,
            endorsements: CertTable::default(),
            store: None,
            limits: Limits::default(),
            random: os_random,
            clock: UnixTime::now,
        })
    }
}

impl fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("launch_id", &self.launch_id)
            .field("secrets", &self.secrets)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
