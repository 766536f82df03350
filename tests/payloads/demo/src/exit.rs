//! The codes with which the payload ends its VM.

/// An exit code, as it is written to the exit port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// All went well: the secret is here.
    pub const SUCCESS: Self = Self(0);
    /// The broker refused.
    pub const REFUSED: Self = Self(1);
    /// The boot-info page was not accepted.
    pub const BAD_BOOT_INFO: Self = Self(2);
    /// The bounce region could not be made shared.
    pub const CONVERSION: Self = Self(3);
    /// There is no vsock device, or it does not come up.
    pub const NO_DEVICE: Self = Self(4);
    /// Nobody listens on the broker's port, or the connection broke.
    pub const CONNECTION: Self = Self(5);
    /// The platform gave no evidence.
    pub const NO_EVIDENCE: Self = Self(6);
    /// The broker's messages or its key are not what they must be.
    pub const PROTOCOL: Self = Self(7);
    /// The host did not do its part in time.
    pub const TIMEOUT: Self = Self(8);
    /// The host broke the rules of virtio or vsock.
    pub const HOSTILE_HOST: Self = Self(9);
    /// The processor's generator is missing or broken.
    pub const NO_RANDOMNESS: Self = Self(10);
    /// The self test failed.
    pub const SELF_TEST: Self = Self(11);
    /// A panic: a mistake of ours.
    pub const PANIC: Self = Self(101);
    /// An exception at CPL 3.
    pub const EXCEPTION: Self = Self(102);
    /// An exception at CPL 0, or a second one.
    pub const DOUBLE_FAULT: Self = Self(103);
}
