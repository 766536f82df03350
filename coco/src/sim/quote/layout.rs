//! A quote's bytes (Intel TDX DCAP quote format, versions 4 and 5; attestation.md 2.1).

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

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

use super::keys::{Keys, PCK_CHAIN};
use crate::sim::tdx::{CPU_SVN, Checked};

/// Version and body of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuoteForm {
    /// Version 4, with the body of TDX 1.0: what most platforms give.
    #[default]
    V4,
    /// Version 5, with the body of TDX 1.0.
    V5Td10,
    /// Version 5, with the body of TDX 1.5.
    V5Td15,
}

/// Attestation key type: ECDSA over P-256 with SHA-256.
const KEY_TYPE_P256: u16 = 2;
/// TEE type of a TD.
const TEE_TDX: u32 = 0x81;
/// The vendor of the quoting enclave, which is what tells parsers the format: Intel's.
const QE_VENDOR: [u8; 16] = 0x939a7233_f79c_4ca9_940a_0db3957f0607_u128.to_be_bytes();
/// User data of the header, which nothing interprets.
const USER_DATA: [u8; 20] = *b"SIMULATED, NO PROOF.";
/// Authentication data of the quoting enclave, which nothing interprets.
const AUTH_DATA: [u8; 32] = *b"CLOISTER SIMULATOR, NOT HARDWARE";

/// Body types of version 5.
const BODY_TD10: u16 = 2;
const BODY_TD15: u16 = 3;

/// Certification data: a quoting enclave's report, and a PEM chain.
const CERTIFICATION_QE_REPORT: u16 = 6;
const CERTIFICATION_PCK_CHAIN: u16 = 5;

/// The simulated quoting enclave; `attestation/sim-pki/tdx/qe-identity.json` says the same.
const QE_MRENCLAVE: [u8; 32] = *b"CLOISTER SIMULATED QE, MRENCLAVE";
const QE_MRSIGNER: [u8; 32] = *b"CLOISTER SIMULATED QE, NO PROOF.";
const QE_ATTRIBUTES: [u8; 16] = [0x11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
const QE_PROD_ID: u16 = 2;
const QE_SVN: u16 = 4;

/// The quote for a report that was checked.
pub(super) fn quote(report: &Checked, form: QuoteForm, keys: &Keys) -> Vec<u8> {
    let (version, body_type) = match form {
        QuoteForm::V4 => (4u16, None),
        QuoteForm::V5Td10 => (5, Some(BODY_TD10)),
        QuoteForm::V5Td15 => (5, Some(BODY_TD15)),
    };
    let mut quote = Vec::with_capacity(8192);
    quote.extend_from_slice(&version.to_le_bytes());
    quote.extend_from_slice(&KEY_TYPE_P256.to_le_bytes());
    quote.extend_from_slice(&TEE_TDX.to_le_bytes());
    quote.extend_from_slice(&[0; 4]);
    quote.extend_from_slice(&QE_VENDOR);
    quote.extend_from_slice(&USER_DATA);
    let body = body(report, form);
    if let Some(body_type) = body_type {
        quote.extend_from_slice(&body_type.to_le_bytes());
        quote.extend_from_slice(&len(&body));
    }
    quote.extend_from_slice(&body);

    let signature = sign(&keys.attestation, &quote);
    let data = signature_data(&signature, keys);
    quote.extend_from_slice(&len(&data));
    quote.extend_from_slice(&data);
    quote
}

fn body(report: &Checked, form: QuoteForm) -> Vec<u8> {
    let Checked { report_data, tcb, td } = report;
    let fields: [&[u8]; 12] = [
        &tcb.tee_tcb_svn,
        &tcb.mrseam,
        &tcb.mrsignerseam,
        &tcb.attributes,
        &td.attributes,
        &td.xfam,
        &td.mrtd,
        &td.mrconfigid,
        &td.mrowner,
        &td.mrownerconfig,
        td.rtmrs.as_flattened(),
        report_data,
    ];
    let mut body = fields.concat();
    if form == QuoteForm::V5Td15 {
        body.extend_from_slice(&tcb.tee_tcb_svn2);
        body.extend_from_slice(&td.servtd_hash);
    }
    body
}

/// What follows the signed part: signature, attestation key, and why to believe that key.
fn signature_data(signature: &[u8; 64], keys: &Keys) -> Vec<u8> {
    let key = public(&keys.attestation);
    let qe_report = qe_report(&key);
    let mut certification = Vec::new();
    certification.extend_from_slice(&qe_report);
    certification.extend_from_slice(&sign(&keys.pck, &qe_report));
    certification.extend_from_slice(&(AUTH_DATA.len() as u16).to_le_bytes());
    certification.extend_from_slice(&AUTH_DATA);
    certification.extend_from_slice(&CERTIFICATION_PCK_CHAIN.to_le_bytes());
    certification.extend_from_slice(&len(PCK_CHAIN.as_bytes()));
    certification.extend_from_slice(PCK_CHAIN.as_bytes());

    let mut data = Vec::new();
    data.extend_from_slice(signature);
    data.extend_from_slice(&key);
    data.extend_from_slice(&CERTIFICATION_QE_REPORT.to_le_bytes());
    data.extend_from_slice(&len(&certification));
    data.extend_from_slice(&certification);
    data
}

/// The quoting enclave's own report (an SGX REPORT body), which binds the attestation key.
fn qe_report(key: &[u8; 64]) -> [u8; 384] {
    let binding = Sha256::new().chain_update(key).chain_update(AUTH_DATA).finalize();
    let fields: [(&[u8], usize); 8] = [
        (&CPU_SVN, 0),
        (&[0; 4], 28), // MISCSELECT, reserved
        (&QE_ATTRIBUTES, 0),
        (&QE_MRENCLAVE, 32),
        (&QE_MRSIGNER, 96),
        (&QE_PROD_ID.to_le_bytes(), 0),
        (&QE_SVN.to_le_bytes(), 60),
        (&binding, 32), // REPORTDATA
    ];
    let mut report = [0; 384];
    let bytes =
        fields.iter().flat_map(|(field, zeros)| field.iter().copied().chain(std::iter::repeat_n(0, *zeros)));
    report.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    report
}

/// r and s, big-endian.
fn sign(key: &SigningKey, bytes: &[u8]) -> [u8; 64] {
    let signature: Signature = key.sign(bytes);
    signature.to_bytes().into()
}

/// x and y, big-endian.
fn public(key: &SigningKey) -> [u8; 64] {
    let point = key.verifying_key().to_sec1_point(false);
    let mut public = [0; 64];
    // The first byte says "uncompressed".
    public.iter_mut().zip(point.as_bytes().iter().skip(1)).for_each(|(to, from)| *to = *from);
    public
}

fn len(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}
