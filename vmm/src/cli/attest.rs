//! The built-in broker: what a launch binds to it, and its story.

use std::fmt;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cloister_attestation::broker::{Broker, BrokerConfig, BrokerEvent, BrokerHandle, os_random};
use cloister_attestation::policy::{SecretSource, Sketch};
use cloister_attestation::protocol::{DEFAULT_PORT, LaunchId, StaticKey};
use cloister_firmware::measure::Digest384;

pub(super) use cloister_attestation::policy::Policy;

use super::story::To;
use crate::refusal::Refusal;

/// A broker for one launch: made before the launch, because the launch names it in HOST_DATA.
pub(super) struct Attestation {
    broker: Broker,
}

impl Attestation {
    /// A broker that judges by `policy`, with a key and a launch id of its own.
    pub(super) fn new(policy: Policy) -> Result<Self, String> {
        let key = StaticKey::generate(os_random).map_err(|e| e.to_string())?;
        let launch = LaunchId::random(os_random);
        let config = BrokerConfig::new(policy, key, launch).map_err(|e| e.to_string())?;
        Ok(Attestation { broker: Broker::new(config) })
    }

    /// What the launch puts into HOST_DATA.
    pub(super) fn host_data(&self) -> [u8; 32] {
        self.broker.host_data()
    }

    /// Listens for the guest that has its vsock socket at `vsock`.
    pub(super) fn serve(self, vsock: &Path, to: To) -> io::Result<RunningBroker> {
        let path = broker_path(vsock);
        let listener = UnixListener::bind(&path)?;
        let socket = SocketFile(path);
        let end = Arc::new(Mutex::new(BrokerEnd::Nobody));
        let seen = Arc::clone(&end);
        let handle = self.broker.listen(listener, move |event| {
            let now = match &event {
                BrokerEvent::Confirmed { .. } => Some(BrokerEnd::Confirmed),
                BrokerEvent::Released { .. } => Some(BrokerEnd::Released),
                BrokerEvent::Refused(why) => Some(BrokerEnd::Refused(why.to_string())),
                _ => None,
            };
            if let Some(now) = now {
                let mut end = seen.lock().unwrap_or_else(|e| e.into_inner());
                // A guest that has its secret may come again and be refused; it has its secret.
                if *end != BrokerEnd::Confirmed {
                    *end = now;
                }
            }
            to.line(format_args!("{:>9}  {:<9} {event}", "", "broker |"));
        })?;
        Ok(RunningBroker { handle, end, _socket: socket })
    }
}

/// A broker that is serving its guest.
pub(super) struct RunningBroker {
    handle: BrokerHandle,
    end: Arc<Mutex<BrokerEnd>>,
    _socket: SocketFile,
}

impl RunningBroker {
    /// Ends it; how its guest fared.
    pub(super) fn end(self) -> BrokerEnd {
        self.handle.stop();
        self.end.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// How a guest fared with its broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BrokerEnd {
    /// It never came.
    Nobody,
    /// It was sent its secret, and did not confirm.
    Released,
    /// It has its secret.
    Confirmed,
    /// It was refused.
    Refused(String),
}

impl fmt::Display for BrokerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokerEnd::Nobody => f.write_str("the guest asked for nothing"),
            BrokerEnd::Released => f.write_str("the secret was released, and not confirmed"),
            BrokerEnd::Confirmed => f.write_str("the guest has its secret, confirmed"),
            BrokerEnd::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// A socket file of ours, removed with us.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the guest's connections to the broker's port arrive.
pub(super) fn broker_path(vsock: &Path) -> PathBuf {
    let mut path = vsock.as_os_str().to_owned();
    path.push(format!("_{DEFAULT_PORT}"));
    path.into()
}

/// Reads a policy file, and its secrets once, so that a mistake shows before a guest is there.
pub(super) fn read_policy(path: &Path) -> Result<Policy, Refusal> {
    let refuse = |e: &dyn fmt::Display| {
        let message = e.to_string().lines().map(str::trim).collect::<Vec<_>>().join(": ");
        Refusal::from_message(
            format_args!("cannot use the policy {}", path.display()),
            &message,
            "mend it; `cloister run … --print-policy` prints one that fits the guest",
        )
    };
    let policy = Policy::load(path).map_err(|e| refuse(&e))?;
    policy.secrets.load().map_err(|e| refuse(&e))?;
    Ok(policy)
}

/// The text of a policy that accepts a guest with this launch digest.
pub(super) fn policy_text(measurement: Digest384, allow_sim: bool) -> String {
    Sketch { measurements: vec![measurement.0], allow_sim, ..Sketch::default() }.render()
}

/// The demo's policy: this digest, on the simulator, and a secret of 32 random bytes.
pub(super) fn demo_policy(measurement: Digest384) -> Result<(Policy, Vec<u8>), String> {
    let mut policy = Policy::parse(&policy_text(measurement, true)).map_err(|e| e.to_string())?;
    let mut secret = vec![0; 32];
    os_random(&mut secret);
    policy.secrets.insert("demo", SecretSource::text(&hex::encode(&secret)));
    let secret = hex::encode(&secret).into_bytes();
    Ok((policy, secret))
}
