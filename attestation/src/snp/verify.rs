//! Verification, from bytes to a verdict.

use subtle::ConstantTimeEq;

use super::chain::{self, Chain};
use super::{Rejection, Report, Verdict, appraise};
use crate::certs::{CertTable, CertificateRole as Role, Crl, printable};
use crate::crypto::{AwsLc, Signatures};
use crate::policy::Policy;
use crate::time::UnixTime;

/// What HOST_DATA must be, apart from what the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostData {
    /// The digest of the init data that this very launch got.
    Launch([u8; 32]),
    /// The launch is not known here: only the policy's `host-data` counts.
    PolicyOnly,
}

/// What a session expects of evidence. Nothing of it can be left out.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The REPORT_DATA that binds the evidence to the session.
    pub report_data: [u8; 64],
    /// The launch binding.
    pub host_data: HostData,
    /// The time to verify at.
    pub now: UnixTime,
}

/// Verifies a report. The steps are those of the verifier's specification, in its order, except that
/// the report's signature (step 2) is checked as soon as there is a trusted key to check it with.
///
/// A failure in the cryptographic part ends the judging. Once the report is known to be genuine, all
/// policy checks are made, so that the operator sees everything that differs and not only the first.
pub fn verify(report: &[u8], certs: &CertTable, policy: &Policy, expected: &Expected) -> Verdict {
    verify_with(report, certs, policy, expected, &AwsLc)
}

/// [`verify`] with another implementation of the signatures.
pub(crate) fn verify_with(
    bytes: &[u8],
    certs: &CertTable,
    policy: &Policy,
    expected: &Expected,
    signatures: &dyn Signatures,
) -> Verdict {
    let mut verdict = Verdict::open(bytes);
    match authenticate(bytes, certs, policy, expected.now, signatures, &mut verdict) {
        Err((name, rejection)) => {
            verdict.reject(name, rejection);
            verdict
        }
        Ok((report, chain)) => {
            verdict.set_measurement(report.measurement());
            appraise::appraise(&report, &chain, policy, &mut verdict);
            bindings(&report, policy, expected, &mut verdict);
            verdict.close()
        }
    }
}

/// Verifies evidence as it comes: the report's bytes and the certificate table's.
pub fn verify_snp_evidence(report: &[u8], table: &[u8], policy: &Policy, expected: &Expected) -> Verdict {
    match CertTable::parse(table) {
        Ok(certs) => verify(report, &certs, policy, expected),
        Err(source) => Verdict::refused(report, "certificates", Rejection::BadCertTable { source }),
    }
}

type Named = (&'static str, Rejection);

/// Steps 1 to 6: is this a genuine report, of the chip that the certificate is for?
fn authenticate(
    bytes: &[u8],
    certs: &CertTable,
    policy: &Policy,
    now: UnixTime,
    signatures: &dyn Signatures,
    verdict: &mut Verdict,
) -> Result<(Report, Chain), Named> {
    let report = Report::parse(bytes).map_err(|r| ("report", r))?;
    verdict.pass("report", format!("version {}, well formed", report.version()), "");

    let chain = chain::establish(&report, certs, signatures).map_err(|r| ("certificates", r))?;
    verdict.set_product(chain.product);
    verdict.pass("certificates", format!("{} chains to the pinned {} root", chain.role, chain.product), "");
    if verdict.simulated() {
        if !policy.allow_sim {
            return Err(("simulation", Rejection::Simulated));
        }
        verdict.pass("simulation", "SIMULATED evidence, allowed by allow-sim: it proves nothing", "");
    }

    time(&chain, certs, policy, now, signatures).map_err(|r| ("validity", r))?;
    verdict.pass("validity", format!("all certificates are valid at {now}"), "");

    signature(&report, &chain, signatures).map_err(|r| ("signature", r))?;
    verdict.pass("signature", format!("good, by the {}", chain.role), "");

    let bound = binding(&report, &chain).map_err(|r| ("chip", r))?;
    verdict.pass("chip", bound, "");
    Ok((report, chain))
}

/// Step 5.
fn time(
    chain: &Chain,
    certs: &CertTable,
    policy: &Policy,
    now: UnixTime,
    signatures: &dyn Signatures,
) -> Result<(), Rejection> {
    for (role, certificate) in [(chain.role, &chain.leaf), (Role::Ask, &chain.ask), (Role::Ark, &chain.ark)] {
        let (from, until) = certificate.validity();
        if now < from {
            return Err(Rejection::CertNotYetValid { role, found: now, wanted: from });
        }
        if now > until {
            return Err(Rejection::CertExpired { role, found: now, wanted: until });
        }
    }
    let Some(der) = &certs.crl else {
        return if policy.snp.require_crl { Err(Rejection::CrlMissing) } else { Ok(()) };
    };
    let crl = Crl::from_der(der).map_err(|source| Rejection::BadCrl { source })?;
    if !crl.is_signed_by(&chain.ark, signatures) {
        return Err(Rejection::CrlSignature);
    }
    let (from, until) = crl.validity();
    if now < from || now > until {
        return Err(Rejection::CrlNotCurrent { found: now, from, until });
    }
    if crl.revokes(&chain.ask) { Err(Rejection::Revoked { role: Role::Ask }) } else { Ok(()) }
}

/// Step 2: over the bytes as they were received.
fn signature(report: &Report, chain: &Chain, signatures: &dyn Signatures) -> Result<(), Rejection> {
    let key =
        chain.leaf.p384_key().map_err(|source| Rejection::BadCertificate { role: chain.role, source })?;
    if signatures.ecdsa_p384_sha384(key, report.signed_bytes(), &report.signature()) {
        Ok(())
    } else {
        Err(Rejection::ReportSignature { key: chain.role })
    }
}

/// Step 6: the certificate is for this chip at this TCB.
fn binding(report: &Report, chain: &Chain) -> Result<String, Rejection> {
    let vek = chain.vek();
    if let Some(mismatch) = vek.tcb_mismatch(chain.product, report.reported_tcb())? {
        return Err(mismatch);
    }
    let tcb = report.reported_tcb().describe(chain.product);
    if chain.role == Role::Vlek {
        return Ok(format!("provider {}; {tcb}", printable(&vek.csp_id()?)));
    }
    let (found, wanted) = (report.chip_id(), vek.chip_id(chain.product)?);
    if found == [0; 64] {
        return Err(Rejection::ChipIdMasked);
    }
    if found != wanted {
        return Err(Rejection::ChipIdMismatch { found: hex::encode(found), wanted: hex::encode(wanted) });
    }
    Ok(format!("{}..; {tcb}", hex::encode(found.get(..8).unwrap_or_default())))
}

/// Step 11: this launch, and this session. In constant time.
fn bindings(report: &Report, policy: &Policy, expected: &Expected, verdict: &mut Verdict) {
    let found = report.host_data();
    let mut host_data = |by: &'static str, name: &'static str, wanted: [u8; 32]| {
        let (found_text, wanted_text) = (hex::encode(found), hex::encode(wanted));
        let equal = bool::from(found.ct_eq(&wanted));
        let rejection = (!equal).then(|| Rejection::HostDataMismatch {
            by,
            found: found_text.clone(),
            wanted: wanted_text.clone(),
        });
        verdict.judge(name, found_text, wanted_text, rejection);
    };
    if let HostData::Launch(wanted) = expected.host_data {
        host_data("this launch", "launch binding (HOST_DATA)", wanted);
    }
    if let Some(wanted) = policy.snp.host_data {
        host_data("the policy", "host data (HOST_DATA)", wanted.0);
    }

    let (found, wanted) = (report.report_data(), expected.report_data);
    let (found_text, wanted_text) = (hex::encode(found), hex::encode(wanted));
    let equal = bool::from(found.ct_eq(&wanted));
    let rejection = (!equal)
        .then(|| Rejection::ReportDataMismatch { found: found_text.clone(), wanted: wanted_text.clone() });
    verdict.judge("session binding (REPORT_DATA)", found_text, wanted_text, rejection);
}

#[cfg(test)]
#[path = "verify_test.rs"]
mod tests;
