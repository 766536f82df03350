//! The simulator's chain: ARK, ASK and VCEK that name themselves as simulated, and the VCEK's key.
//!
//! All of it is public, in `attestation/sim-pki`; a report under this chain proves nothing.

use p384::ecdsa::SigningKey;
use p384::pkcs8::DecodePrivateKey;

use super::report::ReportLayout;

const ARK: &str = include_str!("../../../attestation/sim-pki/ark.pem");
const ASK: &str = include_str!("../../../attestation/sim-pki/ask.pem");
const VCEK: &str = include_str!("../../../attestation/sim-pki/vcek.pem");
const VCEK_TURIN: &str = include_str!("../../../attestation/sim-pki/vcek-turin.pem");
const VCEK_KEY: &str = include_str!("../../../attestation/sim-pki/vcek.key.pem");

/// CHIP_ID of the simulated chip; the VCEK's hwID extension says the same.
pub(super) const CHIP_ID: [u8; 64] = *b"CLOISTER SIMULATED CHIP / NOT HARDWARE / PROVES NOTHING.........";

/// GUIDs of the certificate table, in text order (GHCB specification 56421, 4.1.8.1; attestation.md 1.2).
const ARK_GUID: [u8; 16] = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes();
const ASK_GUID: [u8; 16] = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes();
const VCEK_GUID: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();

/// The VCEK's private key.
pub(super) fn vcek_key() -> std::io::Result<SigningKey> {
    SigningKey::from_pkcs8_pem(VCEK_KEY).map_err(|e| std::io::Error::other(format!("simulated VCEK: {e}")))
}

/// The GUID certificate table, as a guest gets it with an extended report: certificates in PEM. The chip's
/// certificate is for its TCB, so it depends on how that is laid out; the key is the same.
pub(super) fn table(layout: ReportLayout) -> Vec<u8> {
    let vcek = if layout == ReportLayout::Turin { VCEK_TURIN } else { VCEK };
    let entries = [(ARK_GUID, ARK), (ASK_GUID, ASK), (VCEK_GUID, vcek)];
    let mut offset = 24 * (entries.len() + 1);
    let mut table = Vec::new();
    for (guid, pem) in entries {
        table.extend_from_slice(&guid);
        table.extend_from_slice(&(offset as u32).to_le_bytes());
        table.extend_from_slice(&(pem.len() as u32).to_le_bytes());
        offset += pem.len();
    }
    table.extend_from_slice(&[0; 24]);
    for (_, pem) in entries {
        table.extend_from_slice(pem.as_bytes());
    }
    table
}
