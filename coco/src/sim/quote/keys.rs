//! The simulated platform's keys and certificates. All of it is public, in `attestation/sim-pki/tdx`.

use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey;

const PCK_KEY: &str = include_str!("../../../../attestation/sim-pki/tdx/pck.key.pem");
const ATTESTATION_KEY: &str = include_str!("../../../../attestation/sim-pki/tdx/attestation.key.pem");

/// PCK, PCK platform CA and root, in PEM one after another: how a quote carries them.
pub(super) const PCK_CHAIN: &str = concat!(
    include_str!("../../../../attestation/sim-pki/tdx/pck.pem"),
    include_str!("../../../../attestation/sim-pki/tdx/pck-ca.pem"),
    include_str!("../../../../attestation/sim-pki/tdx/root.pem"),
);

/// The two keys that sign a quote.
#[derive(Clone)]
pub(super) struct Keys {
    /// The platform's, certified by the chain: signs the quoting enclave's report.
    pub(super) pck: SigningKey,
    /// The quoting enclave's own: signs quotes.
    pub(super) attestation: SigningKey,
}

impl Keys {
    pub(super) fn load() -> std::io::Result<Self> {
        let key = |pem: &str| {
            SigningKey::from_pkcs8_pem(pem).map_err(|e| std::io::Error::other(format!("simulated key: {e}")))
        };
        Ok(Keys { pck: key(PCK_KEY)?, attestation: key(ATTESTATION_KEY)? })
    }
}
