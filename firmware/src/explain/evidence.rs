//! What evidence says about a launch. Nothing in here is verified: this is for comparing, not trusting.

use snafu::{OptionExt, Snafu, ensure};

use crate::bytes::{bytes_at, u16_at, u32_at, u64_at};
use crate::measure::Digest384;

/// Bytes in an SNP attestation report (SEV-SNP firmware ABI, table 23).
const REPORT: usize = 1184;
/// Bytes before a report in the firmware's answer: status, size, zeros (table 25).
const RESPONSE_HEADER: usize = 32;
/// Bytes in a TDREPORT (Intel TDX module ABI, TDREPORT_STRUCT).
const TDREPORT: usize = 1024;
/// Where TDINFO is in it.
const TDINFO: usize = 512;
/// Bytes in the header of a quote (Intel TDX DCAP quoting library API, appendix A).
const QUOTE_HEADER: usize = 48;
/// TEE type of TDX.
const TEE_TDX: u32 = 0x81;
/// Where a quote's body has the fields that TDINFO begins with: TD attributes, XFAM, MRTD, ….
const BODY_TDINFO: usize = 120;

/// A file is not evidence that we know.
#[derive(Debug, Snafu)]
pub enum EvidenceError {
    /// Neither a report nor a quote.
    #[snafu(display(
        "{len} bytes that are neither an SNP attestation report (1184 bytes, version 2 to 5), nor a TDX quote \
         (version 4 or 5), nor a TDREPORT (1024 bytes). Give the evidence itself, not in hex or Base64"
    ))]
    Unknown {
        /// Its length.
        len: usize,
    },
    /// A quote that is cut off.
    #[snafu(display("a TDX quote, version {version}, that ends too early: {len} bytes. Copy it again"))]
    QuoteEnd {
        /// Its version.
        version: u16,
        /// Its length.
        len: usize,
    },
    /// A quote of something else.
    #[snafu(display(
        "a quote, version {version}, of TEE type {tee:#x}, wanted 0x81 (TDX). Give a TD's quote"
    ))]
    NotTdx {
        /// Its version.
        version: u16,
        /// The type found.
        tee: u32,
    },
}

/// What an SNP report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpClaims {
    /// Version of the report.
    pub version: u32,
    /// MEASUREMENT.
    pub measurement: Digest384,
    /// POLICY.
    pub policy: u64,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: Digest384,
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: Digest384,
    /// Signature (CPUID leaf 1, EAX) of the host's CPU; reports have it from version 3 on.
    pub host_signature: Option<u32>,
}

/// What a TDX quote or TDREPORT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxClaims {
    /// TD attributes.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mrtd: Digest384,
    /// MRCONFIGID, MROWNER, MROWNERCONFIG.
    pub ids: [Digest384; 3],
    /// RTMR0 to RTMR3.
    pub rtmrs: [Digest384; 4],
}

/// What a piece of evidence says about a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// An SNP report.
    Snp(SnpClaims),
    /// A TDX quote or TDREPORT.
    Tdx(TdxClaims),
}

impl Evidence {
    /// Reads evidence: an SNP report, also behind the header of the firmware's answer and before
    /// certificates; a TDX quote; a TDREPORT.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let unknown = UnknownSnafu { len: bytes.len() };
        let is_answer = u32_at(bytes, 0) == Some(0) && u32_at(bytes, 4) == Some(REPORT as u32);
        let report = if is_answer { bytes.get(RESPONSE_HEADER..).unwrap_or_default() } else { bytes };
        let exact = report.len() == REPORT || is_answer;
        if exact && report.len() >= REPORT && matches!(u32_at(report, 0), Some(2..=5)) {
            return snp(report).map(Evidence::Snp).context(unknown);
        }
        if bytes.len() == TDREPORT && matches!(bytes.first(), Some(0x81)) {
            return tdx(bytes, TDINFO).map(Evidence::Tdx).context(unknown);
        }
        let body = match u16_at(bytes, 0) {
            Some(4) => QUOTE_HEADER,
            // Type and size of the body come first.
            Some(5) => QUOTE_HEADER.saturating_add(6),
            _ => return unknown.fail(),
        };
        let version = u16_at(bytes, 0).unwrap_or(0);
        let tee = u32_at(bytes, 4).unwrap_or(0);
        ensure!(tee == TEE_TDX, NotTdxSnafu { version, tee });
        let claims = tdx(bytes, body.saturating_add(BODY_TDINFO));
        claims.map(Evidence::Tdx).context(QuoteEndSnafu { version, len: bytes.len() })
    }
}

fn snp(report: &[u8]) -> Option<SnpClaims> {
    let version = u32_at(report, 0)?;
    let digest = |at| bytes_at(report, at).map(Digest384);
    let [family, model, stepping] = bytes_at::<3>(report, 0x188)?;
    Some(SnpClaims {
        version,
        measurement: digest(0x90)?,
        policy: u64_at(report, 0x8)?,
        guest_svn: u32_at(report, 0x4)?,
        family_id: bytes_at(report, 0x10)?,
        image_id: bytes_at(report, 0x20)?,
        host_data: bytes_at(report, 0xc0)?,
        id_key_digest: digest(0xe0)?,
        author_key_digest: digest(0x110)?,
        host_signature: (version >= 3).then(|| signature(family, model, stepping)),
    })
}

/// CPUID leaf 1, EAX, from the family with its extension added.
fn signature(family: u8, model: u8, stepping: u8) -> u32 {
    let [family, model, stepping] = [family, model, stepping].map(u32::from);
    let base = family.min(0xf);
    let extended = family.saturating_sub(base);
    extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xf) << 4 | (stepping & 0xf)
}

/// TDINFO, and a quote's body from its attributes on, have the same fields in the same order.
fn tdx(bytes: &[u8], at: usize) -> Option<TdxClaims> {
    let digest = |n: usize| {
        let offset = n.checked_mul(48)?.checked_add(at)?.checked_add(16)?;
        bytes_at(bytes, offset).map(Digest384)
    };
    Some(TdxClaims {
        attributes: u64_at(bytes, at)?,
        xfam: u64_at(bytes, at.checked_add(8)?)?,
        mrtd: digest(0)?,
        ids: [digest(1)?, digest(2)?, digest(3)?],
        rtmrs: [digest(4)?, digest(5)?, digest(6)?, digest(7)?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: u8) -> Vec<u8> {
        let mut report = vec![0; REPORT];
        report[0] = version;
        report[0x8..0x10].copy_from_slice(&0x30000u64.to_le_bytes());
        report[0x90..0xc0].fill(7);
        report[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 1]);
        report
    }

    #[test]
    fn a_report_also_in_the_firmware_s_answer() {
        let Evidence::Snp(claims) = Evidence::parse(&report(3)).unwrap() else { panic!() };
        assert_eq!((claims.measurement, claims.policy), (Digest384([7; 48]), 0x30000));
        assert_eq!(claims.host_signature, Some(0x00a1_0f11));
        let Evidence::Snp(old) = Evidence::parse(&report(2)).unwrap() else { panic!() };
        assert_eq!(old.host_signature, None);

        let mut answer = vec![0; 32];
        answer[4..8].copy_from_slice(&1184u32.to_le_bytes());
        answer.extend(report(3));
        answer.extend([0; 100]);
        assert_eq!(Evidence::parse(&answer).unwrap(), Evidence::Snp(claims));
        assert!(Evidence::parse(&answer[..1000]).is_err());
    }

    #[test]
    fn quotes_and_tdreports() {
        let mut quote = vec![0; 48 + 584];
        quote[0] = 4;
        quote[4] = 0x81;
        quote[48 + 136..][..48].fill(1);
        quote[48 + 328..][..48].fill(2);
        quote[48 + 328 + 144..][..48].fill(5);
        let Evidence::Tdx(claims) = Evidence::parse(&quote).unwrap() else { panic!() };
        assert_eq!(claims.mrtd, Digest384([1; 48]));
        assert_eq!((claims.rtmrs[0], claims.rtmrs[3]), (Digest384([2; 48]), Digest384([5; 48])));

        let mut five = quote[..48].to_vec();
        five[0] = 5;
        five.extend([2, 0, 0x48, 2, 0, 0]);
        five.extend(&quote[48..]);
        assert_eq!(Evidence::parse(&five).unwrap(), Evidence::Tdx(claims));

        let mut tdreport = vec![0; 1024];
        tdreport[0] = 0x81;
        tdreport[512..512 + 400].copy_from_slice(&quote[48 + 120..48 + 520]);
        assert_eq!(Evidence::parse(&tdreport).unwrap(), Evidence::Tdx(claims));
    }

    #[test]
    fn strangers_are_refused() {
        for len in [0, 1, 4, 48, 1183, 1184, 5000] {
            assert!(matches!(Evidence::parse(&vec![0xaa; len]), Err(EvidenceError::Unknown { .. })), "{len}");
        }
        let mut sgx = vec![0; 700];
        sgx[0] = 4;
        assert!(matches!(Evidence::parse(&sgx), Err(EvidenceError::NotTdx { tee: 0, .. })));
        sgx[4] = 0x81;
        assert!(matches!(Evidence::parse(&sgx[..500]), Err(EvidenceError::QuoteEnd { len: 500, .. })));
    }
}
