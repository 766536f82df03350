//! The transcript: every frame as it was on the wire, and what is derived from it.
//!
//! Each derivation has its own label, so that a value made for one purpose cannot serve another.

use sha2::{Digest, Sha384, Sha512};

use super::keys::PublicKey;
use super::{Frame, ProtocolError};

const REPORT_DATA_LABEL: &[u8] = b"CCAT/1 local";
const CHALLENGE_LABEL: &[u8] = b"CCAT/1 challenge";
const SEAL_LABEL: &[u8] = b"CCAT/1 seal";
const CONFIRM_LABEL: &[u8] = b"CCAT/1 confirm";

/// Frames of a handshake: HELLO, CHALLENGE, EVIDENCE, RESULT.
const FRAMES: usize = 4;

/// SHA-384 of every frame so far, in order.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    frames: [Option<[u8; 48]>; FRAMES],
}

impl Transcript {
    /// An empty transcript.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next frame.
    pub fn push(&mut self, frame: &Frame) -> Result<(), ProtocolError> {
        let slot = self.frames.iter_mut().find(|slot| slot.is_none()).ok_or(ProtocolError::OutOfRange)?;
        *slot = Some(Sha384::digest(frame.bytes()).into());
        Ok(())
    }

    /// The first `count` frames' hashes; an error if there are more or fewer.
    fn hashes(&self, count: usize) -> Result<impl Iterator<Item = &[u8; 48]>, ProtocolError> {
        if self.frames.iter().flatten().count() == count {
            Ok(self.frames.iter().flatten())
        } else {
            Err(ProtocolError::OutOfRange)
        }
    }

    fn digest(&self, label: &[u8], count: usize) -> Result<[u8; 48], ProtocolError> {
        let mut hash = Sha384::new_with_prefix(label);
        self.hashes(count)?.for_each(|frame| hash.update(frame));
        Ok(hash.finalize().into())
    }

    /// What the broker signs: SHA-384(label || SHA-384(HELLO) || CHALLENGE fields as sent).
    pub fn challenge(&self, fields: &[u8]) -> Result<[u8; 48], ProtocolError> {
        let mut hash = Sha384::new_with_prefix(CHALLENGE_LABEL);
        self.hashes(1)?.for_each(|frame| hash.update(frame));
        hash.update(fields);
        Ok(hash.finalize().into())
    }

    /// REPORT_DATA: SHA-512("CCAT/1 local" || SHA-384(frame 1) || SHA-384(frame 2) || guest's key).
    pub fn report_data(&self, guest: &PublicKey) -> Result<[u8; 64], ProtocolError> {
        let mut hash = Sha512::new_with_prefix(REPORT_DATA_LABEL);
        self.hashes(2)?.for_each(|frame| hash.update(frame));
        hash.update(guest.as_bytes());
        Ok(hash.finalize().into())
    }

    /// What the sealed secrets' protected header names: frames 1 to 3.
    pub fn seal(&self) -> Result<[u8; 48], ProtocolError> {
        self.digest(SEAL_LABEL, 3)
    }

    /// What CONFIRM's MAC is over: frames 1 to 4.
    pub fn confirm(&self) -> Result<[u8; 48], ProtocolError> {
        self.digest(CONFIRM_LABEL, FRAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FrameType;

    #[test]
    fn values_exist_only_at_their_point_of_the_handshake() {
        let mut transcript = Transcript::new();
        let mut seen = alloc::vec::Vec::new();
        for i in 0..4u8 {
            let ready =
                [transcript.challenge(b"").is_ok(), transcript.seal().is_ok(), transcript.confirm().is_ok()];
            assert_eq!(ready, [i == 1, i == 3, false], "after {i} frames");
            transcript.push(&Frame::new(FrameType::HELLO, &[i]).unwrap()).unwrap();
            seen.push(transcript.digest(SEAL_LABEL, usize::from(i) + 1).unwrap());
        }
        assert!(transcript.confirm().is_ok());
        assert_ne!(transcript.confirm().unwrap(), seen[3]);
        assert!(transcript.push(&Frame::new(FrameType::HELLO, &[]).unwrap()).is_err());
    }
}
