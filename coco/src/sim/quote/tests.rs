//! Quotes are taken apart by offsets (attestation.md 2.1) and their signatures checked from the root down,
//! with nothing of the code that made them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem, Encode};
use zerocopy::FromZeros;

use super::{QuoteForm, QuoteService};
use crate::memory::{GuestRam, RamRange, SharedMemory};
use crate::sim::{SimTdx, TEE_TCB_SVN, TdxPlatform};
use crate::tdx::TdxIoctl;
use crate::tdx::abi::{CpuidEntry, TdxCmd, TdxCommandId, TdxInitVm};
use crate::tdx::buffer::WithCpuid;
use crate::tdx::qgs::QuoteServiceAddress;
use crate::tdx::quote::{QuoteFailure, TdAnswer, TdCall, TdServices};
use crate::tdx::vmcall::{InjectMsi, Msi, TdvmcallStatus, VmCallInfo};

const ROOT: &str = include_str!("../../../../attestation/sim-pki/tdx/root.pem");
const FORMS: [QuoteForm; 3] = [QuoteForm::V4, QuoteForm::V5Td10, QuoteForm::V5Td15];

fn running_td() -> SimTdx {
    let ram = GuestRam::new(&[RamRange { start: 0, size: 4096 }]).unwrap();
    let tdx = SimTdx::new(ram.clone(), SharedMemory::new(ram), TdxPlatform::default());
    let head = TdxInitVm {
        attributes: 1 << 28,
        xfam: 7,
        mrconfigid: [1; 48],
        mrowner: [2; 48],
        mrownerconfig: [3; 48],
        ..TdxInitVm::new_zeroed()
    };
    let widths = CpuidEntry { function: 0x8000_0008, eax: 48 << 16, ..CpuidEntry::default() };
    let mut init = WithCpuid::new(head, &[widths]);
    let data = init.address();
    tdx.vm_op(&mut TdxCmd { id: TdxCommandId::INIT_VM.0, data, ..TdxCmd::default() }).unwrap();
    tdx.vm_op(&mut TdxCmd { id: TdxCommandId::FINALIZE_VM.0, ..TdxCmd::default() }).unwrap();
    assert!(tdx.extend_rtmr(3, &[4; 48]));
    tdx
}

/// Why a quote is not believed.
#[derive(Debug, PartialEq, Eq)]
struct Bad(&'static str);

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Bad("short"))?;
        self.0 = rest;
        Ok(head)
    }
    fn u16(&mut self) -> Result<u16, Bad> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().unwrap()))
    }
    fn u32(&mut self) -> Result<u32, Bad> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().unwrap()))
    }
}

fn signed(key: &[u8], bytes: &[u8], signature: &Signature, what: &'static str) -> Result<(), Bad> {
    let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| Bad(what))?;
    key.verify(bytes, signature).map_err(|_| Bad(what))
}

fn raw_signature(bytes: &[u8]) -> Result<Signature, Bad> {
    Signature::from_slice(bytes).map_err(|_| Bad("a signature is out of range"))
}

fn certificate_key(certificate: &Certificate) -> &[u8] {
    certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes()
}

/// The chain from the pinned root; the leaf's key.
fn chain(pem: &[u8]) -> Result<Vec<u8>, Bad> {
    let chain = Certificate::load_pem_chain(pem).map_err(|_| Bad("chain"))?;
    let [pck, ca, root] = chain.as_slice() else { return Err(Bad("chain length")) };
    let pinned = Certificate::from_pem(ROOT).unwrap();
    if *root != pinned {
        return Err(Bad("root"));
    }
    for (certificate, issuer) in [(root, root), (ca, root), (pck, ca)] {
        let (tbs, by) = (certificate.tbs_certificate(), issuer.tbs_certificate());
        if tbs.issuer() != by.subject() {
            return Err(Bad("issuer"));
        }
        let signature = Signature::from_der(certificate.signature().raw_bytes()).map_err(|_| Bad("chain"))?;
        signed(certificate_key(issuer), &tbs.to_der().unwrap(), &signature, "certificate signature")?;
        let name = tbs.subject().to_string();
        assert!(name.contains("SIMULATED PROVES NOTHING"), "{name}");
    }
    Ok(certificate_key(pck).to_vec())
}

/// Version and body of a quote that holds together.
fn verify(quote: &[u8]) -> Result<(u16, Vec<u8>), Bad> {
    let mut c = Cursor(quote);
    let version = c.u16()?;
    if c.u16()? != 2 || c.u32()? != 0x81 {
        return Err(Bad("header"));
    }
    c.take(4)?;
    if c.take(16)?[..4] != [0x93, 0x9a, 0x72, 0x33] || c.take(20)?[..9] != *b"SIMULATED" {
        return Err(Bad("vendor"));
    }
    let size = match version {
        4 => 584,
        5 => match (c.u16()?, c.u32()?) {
            (2, 584) => 584,
            (3, 648) => 648,
            _ => return Err(Bad("body")),
        },
        _ => return Err(Bad("version")),
    };
    let body = c.take(size)?;
    let covered = &quote[..quote.len() - c.0.len()];
    let data = c.u32()? as usize;
    let mut d = Cursor(c.take(data)?);
    if !c.0.is_empty() {
        return Err(Bad("trailing bytes"));
    }
    let signature = raw_signature(d.take(64)?)?;
    let key = d.take(64)?;
    let sec1 = [&[4], key].concat();
    signed(&sec1, covered, &signature, "quote signature")?;
    if d.u16()? != 6 || d.u32()? as usize != d.0.len() {
        return Err(Bad("certification data"));
    }
    let qe_report = d.take(384)?;
    let qe_signature = raw_signature(d.take(64)?)?;
    let auth_len = d.u16()?;
    let auth = d.take(auth_len.into())?;
    if d.u16()? != 5 || d.u32()? as usize != d.0.len() {
        return Err(Bad("certification data"));
    }
    let mut binding = [0; 64];
    binding[..32].copy_from_slice(&Sha256::new().chain_update(key).chain_update(auth).finalize());
    if qe_report[320..384] != binding {
        return Err(Bad("QE report data"));
    }
    signed(&chain(d.0)?, qe_report, &qe_signature, "QE report signature")?;
    assert_eq!(qe_report[..16], [3; 16], "CPUSVN");
    assert_eq!(qe_report[128..160], *b"CLOISTER SIMULATED QE, NO PROOF.", "MRSIGNER");
    assert_eq!(qe_report[256..260], [2, 0, 4, 0], "ISVPRODID, ISVSVN");
    Ok((version, body.to_vec()))
}

#[test]
fn quotes_of_every_form_verify_and_say_what_the_td_is() {
    let tdx = running_td();
    let report = tdx.tdreport(&[5; 64]).unwrap();
    for (form, version, size) in [(FORMS[0], 4, 584), (FORMS[1], 5, 584), (FORMS[2], 5, 648)] {
        let quote = QuoteService::new(form).unwrap().quote(&report).unwrap();
        assert!((4000..6000).contains(&quote.len()), "{} bytes", quote.len());
        let (found, body) = verify(&quote).unwrap();
        assert_eq!((found, body.len()), (version, size));
        assert_eq!(body[..16], TEE_TCB_SVN);
        assert_eq!(body[16..25], *b"CLOISTER ", "MRSEAM");
        assert_eq!(body[64..120], [0; 56], "MRSIGNERSEAM, SEAMATTRIBUTES");
        assert_eq!(body[120..128], (1u64 << 28).to_le_bytes(), "TDATTRIBUTES");
        assert_eq!(body[128..136], 7u64.to_le_bytes(), "XFAM");
        assert_eq!(body[136..184], tdx.mrtd());
        assert_eq!(
            (&body[184..232], &body[232..280], &body[280..328]),
            (&[1; 48][..], &[2; 48][..], &[3; 48][..])
        );
        assert_eq!(body[328..472], [0; 144], "RTMR0-2");
        assert_ne!(body[472..520], [0; 48], "RTMR3");
        assert_eq!(body[520..584], [5; 64], "REPORTDATA");
        if size == 648 {
            assert_eq!(body[584..600], TEE_TCB_SVN);
            assert_eq!(body[600..648], [0; 48], "MRSERVICETD");
        }
    }
}

#[test]
fn every_byte_of_a_quote_counts() {
    let report = running_td().tdreport(&[5; 64]).unwrap();
    let quote = QuoteService::new(QuoteForm::V5Td15).unwrap().quote(&report).unwrap();
    verify(&quote).unwrap();
    // Bytes of the PEM are text: a line break that becomes something else may still parse.
    let pem = quote.windows(10).position(|w| w == b"-----BEGIN").unwrap();
    for at in 0..pem {
        let mut changed = quote.clone();
        changed[at] ^= 1;
        assert!(verify(&changed).is_err(), "byte {at}");
    }
    assert!((0..quote.len()).step_by(7).all(|n| verify(&quote[..n]).is_err()));
}

/// A request as a VMM sends it, by the table in coco.md 3.7.
fn request(report: &[u8]) -> Vec<u8> {
    let size = 24 + report.len() as u32;
    let mut message = size.to_be_bytes().to_vec();
    message.extend([1, 0, 1, 0]);
    for field in [0, size, 0, report.len() as u32, 0] {
        message.extend(field.to_le_bytes());
    }
    message.extend(report);
    message
}

fn ask(stream: &mut UnixStream, message: &[u8]) -> Vec<u8> {
    stream.write_all(message).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn the_service_answers_on_a_socket_until_it_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qgs");
    let server = QuoteService::new(QuoteForm::V4).unwrap().serve(UnixListener::bind(&path).unwrap()).unwrap();
    // One that goes away without a word costs the others nothing.
    drop(UnixStream::connect(&path).unwrap());
    let report = running_td().tdreport(&[5; 64]).unwrap();
    for _ in 0..2 {
        let answer = ask(&mut UnixStream::connect(&path).unwrap(), &request(&report));
        assert_eq!(answer[..4], (answer.len() as u32 - 4).to_be_bytes(), "frame");
        assert_eq!(answer[4..8], [1, 0, 1, 0], "version");
        assert_eq!((word(&answer, 8), word(&answer, 16)), (1, 0), "type and error");
        assert_eq!(word(&answer, 12) as usize, answer.len() - 4);
        assert_eq!((word(&answer, 20), word(&answer, 24) as usize), (0, answer.len() - 28));
        verify(&answer[28..]).unwrap();
    }
    drop(server);
    assert!(UnixStream::connect(&path).is_err());
}

/// Goes nowhere: the guest polls its buffer.
struct NoInterrupts;

impl InjectMsi for NoInterrupts {
    fn inject(&self, _message: Msi) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_td_gets_its_quote_through_the_client_that_real_tds_have() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qgs");
    let _server =
        QuoteService::new(QuoteForm::V5Td15).unwrap().serve(UnixListener::bind(&path).unwrap()).unwrap();
    let memory = SharedMemory::for_test(0x4000);
    let (tell, told) = std::sync::mpsc::channel();
    let services = TdServices::new(
        memory.clone(),
        VmCallInfo::default(),
        Some(QuoteServiceAddress::Unix(path)),
        Box::new(NoInterrupts),
        Box::new(move |failure: &QuoteFailure| tell.send(failure.to_string()).unwrap()),
    )
    .unwrap();
    let ask = |report: &[u8]| {
        memory.write_obj(0, &[1u64, 0, report.len() as u64]).unwrap();
        memory.write(24, report).unwrap();
        let answer = services.answer(TdCall::GetQuote { gpa: 0, size: 0x4000 }, 0);
        assert_eq!(answer, TdAnswer::Status(TdvmcallStatus::SUCCESS));
        loop {
            let [_, status, lengths] = memory.read_obj::<[u64; 3]>(0).unwrap();
            if status != u64::MAX {
                return (status, (lengths >> 32) as usize);
            }
            std::thread::yield_now();
        }
    };
    let report = running_td().tdreport(&[5; 64]).unwrap();
    let (status, size) = ask(&report);
    assert_eq!(status, 0, "{:?}", told.try_recv());
    let mut quote = vec![0; size];
    memory.read(24, &mut quote).unwrap();
    let (version, body) = verify(&quote).unwrap();
    assert_eq!((version, &body[520..584]), (5, &[5; 64][..]));

    let (status, _) = ask(&[0; 1024]);
    assert_eq!(status, 1 << 63, "a report of no platform");
}

#[test]
fn requests_that_are_wrong_are_answered_with_the_reason() {
    let service = QuoteService::new(QuoteForm::V4).unwrap();
    let report = running_td().tdreport(&[5; 64]).unwrap();
    let good = request(&report);
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good[4..].to_vec();
        change(&mut message);
        let answer = service.answer(&message);
        assert_eq!((word(&answer, 8), answer.len()), (1, 28), "an answer without a quote");
        word(&answer, 16)
    };
    assert_eq!(word(&service.answer(&good[4..]), 16), 0);
    assert_eq!(error(&|m| m[0] = 2), 0x12004);
    assert_eq!(error(&|m| m[4] = 2), 0x12005);
    assert_eq!(error(&|m| m[8] = 0), 0x12006);
    assert_eq!(error(&|m| m.truncate(10)), 0x12006);
    assert_eq!(error(&|m| m.truncate(1000)), 0x12006);
    assert_eq!(error(&|m| m[16] = 1), 0x12003);
    assert_eq!(error(&|m| m[20] = 1), 0x12003);
    assert_eq!(error(&|m| m[24 + 512] ^= 1), 0x12003, "a report of another platform");
}

proptest::proptest! {
    #[test]
    fn hostile_requests_are_answered_without_a_quote(message: Vec<u8>, keep in 0usize..24) {
        let service = QuoteService::new(QuoteForm::V4).unwrap();
        let mut mixed = request(&[0; 1024])[4..4 + keep].to_vec();
        mixed.extend(&message);
        proptest::prop_assert_eq!(service.answer(&message).len(), 28);
        proptest::prop_assert_eq!(service.answer(&mixed).len(), 28);
    }

    #[test]
    fn the_checker_itself_never_panics(bytes: Vec<u8>) {
        proptest::prop_assert!(verify(&bytes).is_err());
    }
}

#[test]
fn the_certificate_names_the_platform_that_the_quote_is_of() {
    let pck = include_str!("../../../../attestation/sim-pki/tdx/pck.pem");
    let pck = Certificate::from_pem(pck).unwrap();
    let oid = x509_cert::der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
    let extensions = pck.tbs_certificate().extensions().unwrap();
    let sgx = extensions.iter().find(|e| e.extn_id == oid).unwrap().extn_value.as_bytes();
    // A SEQUENCE of SEQUENCEs {OID, value}: the values are found by the last arc of their OID.
    let any = x509_cert::der::asn1::AnyRef::from_der(sgx).unwrap();
    let has = |needle: &[u8]| any.value().windows(needle.len()).any(|w| w == needle);
    assert!(has(b"SIMULATED PPID..") && has(b"SIMUL0") && has(&[4, 16, 3, 3, 3, 3]));
}
