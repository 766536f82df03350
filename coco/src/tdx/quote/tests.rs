//! GetQuote from the guest's buffer to a service on a Unix socket and back, without a vCPU.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::memory::{Converter, Target};
use crate::tdx::vmcall::Msi;

struct Recorder(Sender<Msi>);

impl InjectMsi for Recorder {
    fn inject(&self, message: Msi) -> io::Result<()> {
        self.0.send(message).map_err(io::Error::other)
    }
}

/// A TD's memory, its services, and a listener in the service's place.
struct Fixture {
    services: TdServices,
    memory: SharedMemory,
    listener: UnixListener,
    interrupts: Receiver<Msi>,
    failures: Receiver<String>,
    dir: tempfile::TempDir,
}

/// What comes next; a test that waits for what never comes fails.
fn next<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(60)).unwrap()
}

const SIZE: u64 = 0x2000;
const RAM: u64 = 64 * SIZE;

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qgs");
    let listener = UnixListener::bind(&path).unwrap();
    let memory = SharedMemory::for_test(RAM);
    let (sender, interrupts) = channel();
    let (failed, failures) = channel();
    let sink: FailureSink = Box::new(move |f: &QuoteFailure| failed.send(f.to_string()).unwrap());
    let service = Some(QuoteServiceAddress::Unix(path));
    let services =
        TdServices::new(memory.clone(), VmCallInfo::default(), service, Box::new(Recorder(sender)), sink)
            .unwrap();
    Fixture { services, memory, listener, interrupts, failures, dir }
}

impl Fixture {
    /// Asks for a quote with buffer `n`, which holds a report of `n`s.
    fn ask(&self, n: u8) -> TdvmcallStatus {
        let gpa = u64::from(n) * SIZE;
        self.memory.write_obj(gpa, &[1u64, 0, 1024]).unwrap();
        self.memory.write(gpa + 24, &[n; 1024]).unwrap();
        match self.services.answer(TdCall::GetQuote { gpa, size: SIZE }, 0) {
            TdAnswer::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn register(&self, vector: u64, apic_id: u32) -> TdAnswer {
        self.services.answer(TdCall::SetupEventNotifyInterrupt { vector }, apic_id)
    }

    /// Status and output length of buffer `n`.
    fn state(&self, n: u8) -> (u64, u32) {
        let [_, status, lens] = self.memory.read_obj::<[u64; 3]>(u64::from(n) * SIZE).unwrap();
        (status, (lens >> 32) as u32)
    }

    /// The next request, taken by the service; its connection, and its report.
    fn accept(&self) -> (UnixStream, Vec<u8>) {
        let (mut stream, _) = self.listener.accept().unwrap();
        let mut frame = vec![0; 1052];
        stream.read_exact(&mut frame).unwrap();
        (stream, frame.split_off(28))
    }
}

fn answer(stream: &mut UnixStream, quote: &[u8]) {
    let n = quote.len() as u32;
    let mut frame = (24 + n).to_be_bytes().to_vec();
    frame.extend([1, 0, 1, 0]);
    [1, 24 + n, 0, 0, n].iter().for_each(|w: &u32| frame.extend(w.to_le_bytes()));
    frame.extend_from_slice(quote);
    stream.write_all(&frame).unwrap();
}

#[test]
fn a_report_becomes_a_quote_and_the_guest_is_told() {
    let f = fixture();
    assert_eq!(f.register(0x60, 3), TdAnswer::Status(TdvmcallStatus::SUCCESS));
    assert_eq!(f.ask(2), TdvmcallStatus::SUCCESS);
    let (mut service, report) = f.accept();
    assert_eq!(report, [2; 1024]);
    assert_eq!(f.state(2), (u64::MAX, 0));
    answer(&mut service, &[0x77; 5000]);
    assert_eq!(next(&f.interrupts), Msi { address: 0xfee0_3000, data: 0x60 });
    assert_eq!(f.state(2), (0, 5000));
    let mut quote = [0; 5000];
    f.memory.read(2 * SIZE + 24, &mut quote).unwrap();
    assert_eq!(quote, [0x77; 5000]);
    let stats = f.services.stats();
    assert_eq!(stats, QuoteStats { asked: 1, given: 1, ..QuoteStats::default() });
}

#[test]
fn the_last_registration_counts_and_a_bad_vector_is_none() {
    let f = fixture();
    f.register(0x60, 3);
    f.register(0x61, 0x200);
    assert_eq!(f.register(31, 9), TdAnswer::Status(TdvmcallStatus::INVALID_OPERAND));
    f.ask(0);
    answer(&mut f.accept().0, b"quote");
    assert_eq!(next(&f.interrupts), Msi { address: 0x0000_0200_fee0_0000, data: 0x61 });
}

#[test]
fn sixteen_at_a_time_and_no_more() {
    let f = fixture();
    f.register(0x60, 0);
    let mut under_way: Vec<_> = (0..16).map(|n| (f.ask(n), f.accept())).collect();
    assert!(under_way.iter().all(|(status, _)| *status == TdvmcallStatus::SUCCESS));
    assert_eq!(f.ask(16), TdvmcallStatus::RETRY);
    assert_eq!(f.state(16), (0, 0));
    // The others stay as they are: a connection that closes is an end, too.
    let (_, (first, _)) = &mut under_way[0];
    answer(first, b"quote");
    next(&f.interrupts);
    assert_eq!(f.state(0), (0, 5));
    // There is room for one again.
    assert_eq!(f.ask(16), TdvmcallStatus::SUCCESS);
    assert_eq!(f.services.stats().told_to_retry, 1);
}

#[test]
fn without_a_service_the_buffer_says_so() {
    let memory = SharedMemory::for_test(RAM);
    let (sender, interrupts) = channel();
    let f = Fixture {
        services: TdServices::new(
            memory.clone(),
            VmCallInfo::default(),
            None,
            Box::new(Recorder(sender)),
            Box::new(|_| ()),
        )
        .unwrap(),
        memory,
        interrupts,
        ..fixture()
    };
    assert_eq!(f.ask(0), TdvmcallStatus::SUCCESS);
    assert_eq!(f.state(0), (1 << 63 | 1, 0));
    assert_eq!(f.services.stats(), QuoteStats { asked: 1, unavailable: 1, ..QuoteStats::default() });
    assert!(f.interrupts.try_recv().is_err());
}

#[test]
fn a_service_that_is_away_or_lies_ends_in_an_error_that_the_guest_hears_of() {
    let f = fixture();
    f.register(0x60, 0);
    f.ask(0);
    drop(f.accept());
    next(&f.interrupts);
    assert_eq!(f.state(0), (1 << 63, 0));
    assert!(next(&f.failures).contains("breaks off"));
    // More than fits.
    f.ask(1);
    f.accept().0.write_all(&u32::MAX.to_be_bytes()).unwrap();
    next(&f.interrupts);
    assert_eq!(f.state(1), (1 << 63, 0));
    assert!(next(&f.failures).contains("4294967295 bytes"));
    // Gone for good.
    std::fs::remove_file(f.dir.path().join("qgs")).unwrap();
    f.ask(2);
    next(&f.interrupts);
    assert_eq!(f.state(2), (1 << 63, 0));
    assert!(next(&f.failures).contains("cannot be reached"));
    assert_eq!(f.services.stats(), QuoteStats { asked: 3, failed: 3, ..QuoteStats::default() });
}

#[test]
fn a_buffer_taken_back_meanwhile_is_not_written() {
    let f = fixture();
    f.register(0x60, 0);
    f.ask(0);
    let (mut service, _) = f.accept();
    let converter = Converter::plain(f.memory.clone());
    converter.convert(0, 1, Target::Private).unwrap();
    answer(&mut service, b"quote");
    assert!(next(&f.failures).contains("no shared memory any more"));
    converter.convert(0, 1, Target::Shared).unwrap();
    assert_eq!(f.state(0), (u64::MAX, 0));
    drop(f.services);
    assert!(f.interrupts.try_recv().is_err());
}

#[test]
fn the_end_of_the_guest_ends_what_is_under_way() {
    let f = fixture();
    f.ask(0);
    let (mut service, _) = f.accept();
    // Without an answer: this returns only because the request is called off.
    drop(f.services);
    assert!(next(&f.failures).contains("being taken down"));
    assert_eq!(service.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_service_that_stays_silent_is_given_up() {
    let f = fixture();
    let address = QuoteServiceAddress::Unix(f.dir.path().join("qgs"));
    let fetch = |patience| qgs::fetch_quote(&address, &[0; 1024], 100, patience, f.services.end.as_fd());
    // It connects, as the socket listens, and nobody ever answers.
    for patience in [Duration::ZERO, Duration::from_millis(5)] {
        assert!(fetch(patience).unwrap_err().to_string().contains("timed out"));
    }
}

#[test]
fn what_is_not_known_is_left_to_kvm() {
    let f = fixture();
    let unknown = TdCall::Unknown(TdvmcallLeaf(0x10005));
    assert_eq!(f.services.answer(unknown, 0), TdAnswer::AsKvmHasIt);
    assert_eq!(f.services.answer(TdCall::GetTdVmCallInfo { leaf: 2 }, 0), TdAnswer::AsKvmHasIt);
    assert_eq!(f.services.answer(TdCall::GetTdVmCallInfo { leaf: 1 }, 0), TdAnswer::Info([0; 4]));
}
