//! The simulated secure processor for this crate's tests: reports signed with its public key, and
//! certificates minted with the public key of its ASK.

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::DecodePrivateKey;

use crate::agent::{Evidence, EvidenceError, EvidenceProvider};
use crate::certs::{CertTable, Certificate};
use crate::policy::{Hex, Policy};
use crate::protocol::Tee;
use crate::sim_pki;
use crate::snp::layout as at;
use crate::time::UnixTime;

/// A time at which the simulator's certificates are valid.
pub(crate) const NOW: UnixTime = UnixTime(1_795_132_800);
pub(crate) const MEASUREMENT: [u8; 48] = [0x11; 48];

fn put(report: &mut [u8], offset: usize, bytes: &[u8]) {
    report[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Signs the first part of a report, as the simulator does.
pub(crate) fn sign(report: &mut [u8]) {
    let key = SigningKey::from_pkcs8_pem(sim_pki::VCEK_KEY_PEM).unwrap();
    let signature: Signature = key.sign(&report[..at::SIGNED_LEN]);
    let bytes = signature.to_bytes();
    let (r, s) = bytes.split_at(48);
    let reversed = |half: &[u8]| half.iter().rev().copied().collect::<Vec<_>>();
    put(report, at::SIGNATURE_R, &reversed(r));
    put(report, at::SIGNATURE_S, &reversed(s));
}

/// A good report, changed by `edit` before it is signed.
pub(crate) fn report(report_data: &[u8; 64], host_data: &[u8; 32], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut report = vec![0; at::REPORT_LEN];
    put(&mut report, at::VERSION, &sim_pki::REPORT_VERSION.to_le_bytes());
    put(&mut report, at::POLICY, &0x3_0000u64.to_le_bytes());
    put(&mut report, at::SIGNATURE_ALGO, &1u32.to_le_bytes());
    for tcb in [at::CURRENT_TCB, at::REPORTED_TCB, at::COMMITTED_TCB, at::LAUNCH_TCB] {
        put(&mut report, tcb, &sim_pki::TCB);
    }
    put(&mut report, at::PLATFORM_INFO, &0x25u64.to_le_bytes());
    put(&mut report, at::REPORT_DATA, report_data);
    put(&mut report, at::MEASUREMENT, &MEASUREMENT);
    put(&mut report, at::HOST_DATA, host_data);
    put(&mut report, at::REPORT_ID_MA, &[0xff; 32]);
    put(&mut report, at::CHIP_ID, &sim_pki::CHIP_ID);
    edit(&mut report);
    sign(&mut report);
    report
}

/// The certificates that the simulator gives with a report.
pub(crate) fn certs() -> CertTable {
    CertTable {
        ark: Some(sim_pki::ARK_DER.to_vec()),
        ask: Some(sim_pki::ASK_DER.to_vec()),
        vcek: Some(sim_pki::VCEK_DER.to_vec()),
        ..CertTable::default()
    }
}

/// The simulator's VCEK certificate with some bytes replaced by as many others, signed anew by the ASK.
pub(crate) fn mint(from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut der = sim_pki::VCEK_DER.to_vec();
    let at = der.windows(from.len()).position(|window| window == from).expect("bytes to replace");
    put(&mut der, at, to);
    // SEQUENCE head of 4, then the signed part with a head of 4; the signature is the last 512 bytes.
    let signed_len = usize::from(u16::from_be_bytes([der[6], der[7]])) + 4;
    let key = aws_lc_rs::rsa::KeyPair::from_pkcs8(&pem(include_str!("../sim-pki/ask.key.pem"))).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    let padding = &aws_lc_rs::signature::RSA_PSS_SHA384;
    key.sign(padding, &random, &der[4..4 + signed_len], &mut signature).unwrap();
    let start = der.len() - signature.len();
    put(&mut der, start, &signature);
    assert!(Certificate::from_der(&der).is_ok());
    der
}

fn pem(text: &str) -> Vec<u8> {
    der::pem::decode_vec(text.as_bytes()).unwrap().1
}

/// A policy that accepts the simulated guest.
pub(crate) fn policy() -> Policy {
    let mut policy = Policy::parse(&format!(
        "version = 1\nallow-sim = true\n[snp]\nmeasurements = [\"{}\"]\n[secrets.disk-key]\ntext = \"open sesame\"\n[secrets.other]\nhex = \"00ff\"\n",
        hex::encode(MEASUREMENT)
    ))
    .unwrap();
    assert_eq!(policy.snp.measurements, [Hex(MEASUREMENT)]);
    policy.snp.allow_cxl = false;
    policy
}

/// The simulator as a guest sees it.
pub(crate) struct SimProvider {
    pub(crate) host_data: [u8; 32],
    pub(crate) edit: fn(&mut [u8]),
}

impl EvidenceProvider for SimProvider {
    fn tee(&self) -> Tee {
        Tee::SNP
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<Evidence, EvidenceError> {
        let report = report(report_data, &self.host_data, self.edit);
        Ok(Evidence { report, auxblob: certs().to_bytes() })
    }
}

/// Brokers, and guests that were launched for them.
#[cfg(feature = "broker")]
pub(crate) mod launch {
    use super::{NOW, SimProvider, policy};
    use crate::broker::{Broker, BrokerConfig, os_random};
    use crate::policy::Policy;
    use crate::protocol::{LaunchId, StaticKey};

    pub(crate) fn config(policy: Policy) -> BrokerConfig {
        let key = StaticKey::generate(os_random).unwrap();
        let mut config = BrokerConfig::new(policy, key, LaunchId::random(os_random)).unwrap();
        config.clock = || NOW;
        config
    }

    pub(crate) fn broker() -> Broker {
        Broker::new(config(policy()))
    }

    /// A guest that was launched for `broker`.
    pub(crate) fn guest(broker: &Broker) -> SimProvider {
        SimProvider { host_data: broker.host_data(), edit: |_| () }
    }
}
