//! Requests for certificates, answered from files, without a vCPU.

use std::fs::{self, File};
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::memory::{Converter, Target};

/// Certificates of the simulator's PKI: the root in both forms.
const ARK_PEM: &[u8] = include_bytes!("../../../../attestation/sim-pki/ark.pem");
const ARK_DER: &[u8] = include_bytes!("../../../../attestation/sim-pki/ark.der");
const VCEK_PEM: &[u8] = include_bytes!("../../../../attestation/sim-pki/vcek.pem");
const VCEK_DER: &[u8] = include_bytes!("../../../../attestation/sim-pki/vcek.der");

const RAM: u64 = 0x10_000;
const GPA: u64 = 0x4000;

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

fn server(path: &Path) -> CertServer {
    CertServer::new(CertStore::open(path).unwrap())
}

fn refusal(files: &[(&str, &[u8])]) -> String {
    CertStore::open(directory(files).path()).unwrap_err().to_string()
}

/// The blob for `guid` in the table at `GPA`.
fn blob(memory: &SharedMemory, guid: &str) -> Option<Vec<u8>> {
    let guid = hex::decode(guid).unwrap();
    for n in 0.. {
        let entry: [u8; 24] = memory.read_obj(GPA + 24 * n).unwrap();
        if entry == [0; 24] {
            return None;
        }
        if entry[..16] == guid {
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            let mut blob = vec![0; word(20) as usize];
            memory.read(GPA + u64::from(word(16)), &mut blob).unwrap();
            return Some(blob);
        }
    }
    None
}

const ARK_GUID: &str = "c0b406a4a803495297433fb6014cd0ae";
const VCEK_GUID: &str = "63da758de6644564adc5f4b93be8accd";
const VLEK_GUID: &str = "a8074bc2a25a483eaae639c045a0b8a1";

#[test]
fn a_directory_of_pem_and_der_reaches_the_guest_as_der() {
    let dir = directory(&[("ark.pem", ARK_PEM), ("VCEK.DER", VCEK_DER), ("notes.txt", b"?")]);
    let memory = SharedMemory::for_test(RAM);
    let answer = server(dir.path()).answer(&memory, CertRequest { gpa: GPA, npages: 2 });
    assert_eq!((answer.ret, answer.npages, answer.why_not), (0, 2, None));
    assert_eq!(blob(&memory, ARK_GUID).unwrap(), ARK_DER);
    assert_eq!(blob(&memory, VCEK_GUID).unwrap(), VCEK_DER);
    assert_eq!(blob(&memory, VLEK_GUID), None);
}

#[test]
fn a_file_that_is_a_table_goes_to_the_guest_as_it_is() {
    let table = table::encode(&[(table::Role::Vlek, b"provider".to_vec())]).unwrap();
    let dir = directory(&[("table", &table)]);
    let memory = SharedMemory::for_test(RAM);
    let answer = server(&dir.path().join("table")).answer(&memory, CertRequest { gpa: GPA, npages: 1 });
    assert_eq!(answer.ret, 0);
    assert_eq!(blob(&memory, VLEK_GUID).unwrap(), b"provider");
}

#[test]
fn a_guest_with_too_few_pages_learns_how_many_it_needs() {
    let dir = directory(&[("ark.pem", ARK_PEM), ("vcek.pem", VCEK_PEM)]);
    let memory = SharedMemory::for_test(RAM);
    let server = server(dir.path());
    for npages in [0, 1, u64::MAX] {
        let needed = (48 + 24 + ARK_DER.len() + VCEK_DER.len()).div_ceil(4096) as u64;
        let answer = server.answer(&memory, CertRequest { gpa: GPA, npages });
        let enough = npages >= needed;
        assert_eq!(answer.ret, if enough { 0 } else { 28 }, "{npages} pages of {needed}");
        assert_eq!(answer.npages, if enough { npages } else { needed });
        assert_eq!(answer.locks.is_empty(), !enough);
    }
    assert!(server.stats().too_small >= 1);
}

#[test]
fn private_and_foreign_buffers_are_refused_and_counted() {
    let dir = directory(&[("ark.pem", ARK_PEM)]);
    let memory = SharedMemory::for_test(RAM);
    Converter::plain(memory.clone()).convert(GPA, 1, Target::Private).unwrap();
    let server = server(dir.path());
    for gpa in [GPA, GPA - 8, RAM, RAM - 8, u64::MAX, !0xfff] {
        let answer = server.answer(&memory, CertRequest { gpa, npages: 4 });
        assert_eq!((answer.ret, answer.npages), (5, 4), "{gpa:#x}");
        assert!(answer.locks.is_empty() && answer.why_not.is_some());
    }
    assert_eq!(server.stats(), CertStats { refused: 6, ..CertStats::default() });
    assert_eq!(memory.refused(), 6);
}

#[test]
fn files_stay_locked_until_the_answer_is_dropped() {
    let dir = directory(&[("ark.pem", ARK_PEM), ("vcek.pem", VCEK_PEM)]);
    let memory = SharedMemory::for_test(RAM);
    let server = server(dir.path());
    let ask = || server.answer(&memory, CertRequest { gpa: GPA, npages: 4 });
    let tool = File::options().write(true).open(dir.path().join("vcek.pem")).unwrap();
    let answer = ask();
    let held = lock::lock_exclusive(&tool).unwrap_err();
    assert_eq!(held.kind(), std::io::ErrorKind::WouldBlock);
    drop(answer);
    lock::lock_exclusive(&tool).unwrap();
    // And the other way round: while the tool is at it, the guest is told to come back.
    assert_eq!(ask().ret, 11);
    drop(tool);
    assert_eq!(ask().ret, 0);
    assert_eq!(server.stats(), CertStats { served: 2, busy: 1, ..CertStats::default() });
}

#[test]
fn certificates_are_read_at_each_request() {
    let dir = directory(&[("vcek.pem", VCEK_PEM)]);
    let memory = SharedMemory::for_test(RAM);
    let server = server(dir.path());
    let ask = || server.answer(&memory, CertRequest { gpa: GPA, npages: 4 });
    assert_eq!(ask().ret, 0);
    fs::write(dir.path().join("vcek.pem"), ARK_PEM).unwrap();
    assert_eq!(ask().ret, 0);
    assert_eq!(blob(&memory, VCEK_GUID).unwrap(), ARK_DER);
    fs::remove_file(dir.path().join("vcek.pem")).unwrap();
    let answer = ask();
    assert_eq!(answer.ret, 5);
    assert!(answer.why_not.unwrap().contains("no certificate in it"));
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    assert!(refusal(&[]).contains("no certificate in it"));
    assert!(refusal(&[("vcek.pem", b"-----BEGIN nonsense")]).contains("neither DER nor PEM"));
    assert!(refusal(&[("vcek.der", b"nonsense")]).contains("neither DER nor PEM"));
    assert!(refusal(&[("ask.pem", ARK_PEM), ("asvk.der", ARK_DER)]).contains("the same kind"));
    assert!(refusal(&[("ark.der", &[0x30; 70_000])]).contains("65536"));
    let key = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert!(refusal(&[("vcek.pem", key)]).contains("neither DER nor PEM"));
    let dir = directory(&[("table", ARK_PEM)]);
    let error = CertStore::open(dir.path().join("table")).unwrap_err().to_string();
    assert!(error.contains("nor a table"), "{error}");
    assert!(CertStore::open(dir.path().join("none")).unwrap_err().to_string().contains("Is it there"));
}

#[test]
fn a_pipe_in_a_certificates_place_makes_nobody_wait() {
    let dir = directory(&[]);
    let pipe = dir.path().join("vcek.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = CertStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("neither DER nor PEM"), "{error}");
}

proptest! {
    #[test]
    fn hostile_requests_change_nothing_but_shared_pages(
        gpa in prop_oneof![0..RAM + 0x1000, any::<u64>()], npages in prop_oneof![0u64..4, any::<u64>()],
    ) {
        let table = table::encode(&[(table::Role::Vlek, vec![1; 5000])]).unwrap();
        let dir = directory(&[("table", &table)]);
        let memory = SharedMemory::for_test(RAM);
        let converter = Converter::plain(memory.clone());
        converter.convert(GPA, 1, Target::Private).unwrap();
        let answer = server(&dir.path().join("table")).answer(&memory, CertRequest { gpa, npages });
        prop_assert!(matches!(answer.ret, 0 | 5 | 28));
        prop_assert_eq!(answer.ret == 0, npages >= 2 && gpa.checked_add(table.len() as u64).is_some_and(|end| end <= RAM && (end <= GPA || gpa >= GPA + 0x1000)));
        converter.convert(GPA, 1, Target::Shared).unwrap();
        prop_assert_eq!(memory.read_obj::<[u8; 4096]>(GPA).unwrap(), [0; 4096]);
    }
}
