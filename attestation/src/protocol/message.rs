//! The five messages, as bodies of frames. The numbers are the map's keys.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::cbor::{Decoder, Encoder};
use super::init_data::MAX_INIT_DATA;
use super::keys::PublicKey;
use super::seal::Sealed;
use super::{ErrorClass, MAX_SECRETS, ProtocolError, is_secret_id};

/// Largest report or quote (configfs-tsm's limit for `outblob`).
pub const MAX_REPORT: usize = 32 << 10;
/// Largest certificate table (`auxblob`).
pub const MAX_AUXBLOB: usize = 64 << 10;

/// The kind of evidence that the guest can give. Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tee(pub u8);

impl Tee {
    /// A plain guest: it has no evidence.
    pub const NONE: Self = Self(0);
    /// AMD SEV-SNP, or Cloister's simulation of it.
    pub const SNP: Self = Self(1);
    /// Intel TDX.
    pub const TDX: Self = Self(2);
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::SNP => f.write_str("SEV-SNP"),
            Self::TDX => f.write_str("TDX"),
            Self(other) => write!(f, "unknown TEE {other}"),
        }
    }
}

/// Who judges the evidence. Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u8);

impl Mode {
    /// The broker itself.
    pub const LOCAL: Self = Self(1);
    /// A key broker service behind it (not served yet).
    pub const RELAY: Self = Self(2);
}

/// The transcript's hash, as CHALLENGE names it: SHA-384.
pub const HASH_SHA384: u8 = 1;

/// CHALLENGE flag: send the certificate table with the report.
pub const WANT_AUXBLOB: u8 = 1;

fn required<T>(field: Option<T>, key: u64) -> Result<T, ProtocolError> {
    field.ok_or(ProtocolError::MissingKey(key))
}

/// 1: the guest introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// 1: protocol versions that the guest speaks.
    pub versions: Vec<u8>,
    /// 2: what evidence it can give.
    pub tee: Tee,
    /// 3: nonce of the guest.
    pub nonce: [u8; 32],
    /// 4: names of the secrets that it wants, at least one.
    pub secrets: Vec<String>,
    /// 5: modes that it can do.
    pub modes: Vec<Mode>,
}

impl Hello {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(5).uint(1).array(self.versions.len());
        self.versions.iter().for_each(|&v| {
            e.uint(u64::from(v));
        });
        e.uint(2).uint(u64::from(self.tee.0)).uint(3).bytes(&self.nonce).uint(4).array(self.secrets.len());
        self.secrets.iter().for_each(|id| {
            e.text(id);
        });
        e.uint(5).array(self.modes.len());
        self.modes.iter().for_each(|m| {
            e.uint(u64::from(m.0));
        });
        e.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(5)?;
        let (mut versions, mut tee, mut nonce, mut secrets, mut modes) = (None, None, None, None, None);
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => versions = Some(list(&mut d, 4, Decoder::byte)?),
                2 => tee = Some(Tee(d.byte()?)),
                3 => nonce = Some(d.array_of()?),
                4 => secrets = Some(list(&mut d, MAX_SECRETS, secret_id)?),
                5 => modes = Some(list(&mut d, 4, |d| d.byte().map(Mode))?),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        let hello = Self {
            versions: required(versions, 1)?,
            tee: required(tee, 2)?,
            nonce: required(nonce, 3)?,
            secrets: required(secrets, 4)?,
            modes: required(modes, 5)?,
        };
        let distinct =
            hello.secrets.iter().enumerate().all(|(i, id)| !hello.secrets.iter().take(i).any(|o| o == id));
        if hello.secrets.is_empty() || !distinct { Err(ProtocolError::OutOfRange) } else { Ok(hello) }
    }
}

fn list<'a, T>(
    d: &mut Decoder<'a>,
    max: usize,
    item: impl Fn(&mut Decoder<'a>) -> Result<T, ProtocolError>,
) -> Result<Vec<T>, ProtocolError> {
    (0..d.array(max)?).map(|_| item(d)).collect()
}

pub(super) fn secret_id(d: &mut Decoder<'_>) -> Result<String, ProtocolError> {
    let id = d.text(super::MAX_SECRET_ID)?;
    if is_secret_id(&id) { Ok(id) } else { Err(ProtocolError::BadText) }
}

/// What the broker signs of CHALLENGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeFields {
    /// 1: names the session in the broker's log.
    pub session: [u8; 16],
    /// 2: single use.
    pub nonce: [u8; 32],
    /// 3: who judges.
    pub mode: Mode,
    /// 4: the transcript's hash, [`HASH_SHA384`].
    pub hash: u8,
    /// 5: the broker's static key.
    pub broker_key: PublicKey,
    /// 6: [`WANT_AUXBLOB`] or 0.
    pub flags: u8,
    /// 7: the init data that the guest was launched with, if the launch has some.
    pub init_data: Option<Vec<u8>>,
}

impl ChallengeFields {
    /// The signed bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(if self.init_data.is_some() { 7 } else { 6 });
        e.uint(1).bytes(&self.session).uint(2).bytes(&self.nonce).uint(3).uint(u64::from(self.mode.0));
        e.uint(4).uint(u64::from(self.hash)).uint(5).bytes(self.broker_key.as_bytes());
        e.uint(6).uint(u64::from(self.flags));
        if let Some(data) = &self.init_data {
            e.uint(7).bytes(data);
        }
        e.finish()
    }

    /// Reads the signed bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(bytes);
        let mut keys = d.map(7)?;
        let (mut session, mut nonce, mut mode, mut hash) = (None, None, None, None);
        let (mut broker_key, mut flags, mut init_data) = (None, None, None);
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => session = Some(d.array_of()?),
                2 => nonce = Some(d.array_of()?),
                3 => mode = Some(Mode(d.byte()?)),
                4 => hash = Some(d.byte()?),
                5 => broker_key = Some(PublicKey::from_bytes(d.bytes(65)?)?),
                6 => flags = Some(d.byte()?),
                7 => init_data = Some(d.bytes(MAX_INIT_DATA)?.to_vec()),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self {
            session: required(session, 1)?,
            nonce: required(nonce, 2)?,
            mode: required(mode, 3)?,
            hash: required(hash, 4)?,
            broker_key: required(broker_key, 5)?,
            flags: required(flags, 6)?,
            init_data,
        })
    }
}

/// 2: the broker's nonce, its key, and a signature that binds both to this HELLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// 1: [`ChallengeFields`], encoded: the signature is over the bytes as they came.
    pub fields: Vec<u8>,
    /// 2: ECDSA P-256, over SHA-384 of HELLO and the fields; r, s, big-endian.
    pub signature: [u8; 64],
}

impl Challenge {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(2).uint(1).bytes(&self.fields).uint(2).bytes(&self.signature);
        e.finish()
    }

    /// Reads the body. The fields are read on their own, once the caller has a reason to.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(2)?;
        let (mut fields, mut signature) = (None, None);
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => fields = Some(d.bytes(2048)?.to_vec()),
                2 => signature = Some(d.array_of()?),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self { fields: required(fields, 1)?, signature: required(signature, 2)? })
    }
}

/// 3: the guest's key, and the evidence whose REPORT_DATA names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceMessage {
    /// 1: ephemeral, made in the guest for this session.
    pub guest_key: PublicKey,
    /// 2: report or quote, as the TEE gave it.
    pub report: Vec<u8>,
    /// 3: certificate table, as the TEE gave it; may be empty.
    pub auxblob: Vec<u8>,
}

impl EvidenceMessage {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(3).uint(1).bytes(self.guest_key.as_bytes());
        e.uint(2).bytes(&self.report).uint(3).bytes(&self.auxblob);
        e.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(3)?;
        let (mut guest_key, mut report, mut auxblob) = (None, None, None);
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => guest_key = Some(PublicKey::from_bytes(d.bytes(65)?)?),
                2 => report = Some(d.bytes(MAX_REPORT)?.to_vec()),
                3 => auxblob = Some(d.bytes(MAX_AUXBLOB)?.to_vec()),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self {
            guest_key: required(guest_key, 1)?,
            report: required(report, 2)?,
            auxblob: required(auxblob, 3)?,
        })
    }
}

/// 4: the verdict, and what it releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultMessage {
    /// 1: [`ErrorClass::OK`], or why not.
    pub status: ErrorClass,
    /// 2: one for every id of HELLO, in its order; none when refused.
    pub secrets: Vec<Sealed>,
}

impl ResultMessage {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(2).uint(1).uint(u64::from(self.status.0)).uint(2).array(self.secrets.len());
        self.secrets.iter().for_each(|sealed| sealed.encode(&mut e));
        e.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(2)?;
        let (mut status, mut secrets) = (None, None);
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => status = Some(ErrorClass(d.byte()?)),
                2 => secrets = Some(list(&mut d, MAX_SECRETS, Sealed::decode)?),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self { status: required(status, 1)?, secrets: required(secrets, 2)? })
    }
}

/// 5: the guest has the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// 1: HMAC-SHA-384 over the transcript, with a key from the same agreement as the seal.
    pub mac: [u8; 48],
}

impl Confirm {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(1).uint(1).bytes(&self.mac);
        e.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(1)?;
        let mut mac = None;
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => mac = Some(d.array_of()?),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self { mac: required(mac, 1)? })
    }
}

/// 0x7f: the end, and a class of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorMessage {
    /// 1: the class.
    pub class: ErrorClass,
}

impl ErrorMessage {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(1).uint(1).uint(u64::from(self.class.0));
        e.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut d = Decoder::new(body);
        let mut keys = d.map(1)?;
        let mut class = None;
        while let Some(key) = keys.next(&mut d)? {
            match key {
                1 => class = Some(ErrorClass(d.byte()?)),
                other => return Err(ProtocolError::UnknownKey(other)),
            }
        }
        d.finish()?;
        Ok(Self { class: required(class, 1)? })
    }
}

#[cfg(test)]
#[path = "message_test.rs"]
mod tests;
