//! What can go wrong between us and a host that we do not trust.

use core::fmt;

use crate::exit::ExitCode;

/// Why the channel to the host failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// No such device is on PCI bus 0.
    NoDevice,
    /// The device lacks a virtio capability, or one of them makes no sense.
    Capability(&'static str),
    /// The device does not come out of reset.
    Reset,
    /// The device does not offer VERSION_1, or does not accept what we chose of its offer.
    Features,
    /// A queue is missing, too short, or its doorbell is out of bounds.
    Queue(u16),
    /// The bounce region is too small.
    Bounce,
    /// The device wrote nonsense into a used ring.
    Ring(&'static str),
    /// A packet on our connection breaks the protocol.
    Packet(&'static str),
    /// The host refused the connection.
    Refused,
    /// The host ended the connection.
    Closed,
    /// All connections were lost: the guest was restored somewhere else.
    TransportReset,
    /// The host did not do its part in time.
    TimedOut(&'static str),
}

impl HostError {
    /// The code to exit with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::NoDevice | Self::Capability(_) | Self::Reset | Self::Features => ExitCode::NO_DEVICE,
            Self::Queue(_) | Self::Bounce => ExitCode::NO_DEVICE,
            Self::Ring(_) | Self::Packet(_) => ExitCode::HOSTILE_HOST,
            Self::Refused | Self::Closed | Self::TransportReset => ExitCode::CONNECTION,
            Self::TimedOut(_) => ExitCode::TIMEOUT,
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("the device is not there"),
            Self::Capability(what) => write!(f, "the device's {what} capability is missing or wrong"),
            Self::Reset => f.write_str("the device does not reset"),
            Self::Features => f.write_str("no agreement on virtio features"),
            Self::Queue(index) => write!(f, "queue {index} cannot be used"),
            Self::Bounce => f.write_str("the bounce region is too small"),
            Self::Ring(what) => write!(f, "the device broke a ring: {what}"),
            Self::Packet(what) => write!(f, "the host broke the vsock protocol: {what}"),
            Self::Refused => f.write_str("the host refused the connection"),
            Self::Closed => f.write_str("the host closed the connection"),
            Self::TransportReset => f.write_str("the transport was reset"),
            Self::TimedOut(what) => write!(f, "timed out: {what}"),
        }
    }
}

impl core::error::Error for HostError {}
