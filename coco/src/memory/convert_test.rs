use super::*;
use crate::memory::{GuestRam, RamRange};
use std::sync::{Arc, Mutex};

#[derive(Debug, PartialEq, Clone, Copy)]
enum Call {
    Attribute(u64, u64, bool),
    Discard(u64, u64),
    LetGo(u64, u64),
}

/// Records what it is asked; answers with what `fails` holds for that, first to last, and then with success.
#[derive(Default, Clone)]
struct Recorder {
    calls: Arc<Mutex<Vec<Call>>>,
    fails: Arc<Mutex<Vec<(Call, i32)>>>,
}

impl Recorder {
    fn failing(fails: &[(Call, i32)]) -> Self {
        Recorder { fails: Arc::new(Mutex::new(fails.to_vec())), ..Recorder::default() }
    }

    fn take(&self, call: Call) -> io::Result<()> {
        self.calls.lock().unwrap().push(call);
        let mut fails = self.fails.lock().unwrap();
        match fails.iter().position(|(at, _)| *at == call) {
            Some(at) => Err(io::Error::from_raw_os_error(fails.remove(at).1)),
            None => Ok(()),
        }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl MemoryHolder for Recorder {
    fn let_go(&self, gpa: u64, len: u64) -> io::Result<()> {
        self.take(Call::LetGo(gpa, len))
    }
}

impl PrivateBacking for Recorder {
    fn set_private(&self, gpa: u64, len: u64, private: bool) -> io::Result<()> {
        self.take(Call::Attribute(gpa, len, private))
    }
    fn discard_private(&self, gpa: u64, len: u64) -> io::Result<()> {
        self.take(Call::Discard(gpa, len))
    }
    fn separate(&self) -> bool {
        true
    }
    fn held(&self) -> Option<u64> {
        None
    }
}

fn converter(backing: Recorder) -> Converter {
    let ram =
        GuestRam::new(&[RamRange { start: 0, size: 0x10000 }, RamRange { start: 0x100000, size: 0x10000 }])
            .unwrap();
    Converter::new(SharedMemory::new(ram), Box::new(backing))
}

#[test]
fn the_attribute_comes_first_then_the_discard() {
    let rec = Recorder::default();
    let c = converter(rec.clone());
    c.convert(0x1000, 2, Target::Private).unwrap();
    c.convert(0x1000, 1, Target::Shared).unwrap();
    assert_eq!(
        rec.calls(),
        [
            Call::Attribute(0x1000, 0x2000, true),
            Call::Attribute(0x1000, 0x1000, false),
            Call::Discard(0x1000, 0x1000)
        ]
    );
    let s = c.stats();
    assert_eq!((s.to_private.conversions, s.to_private.pages), (1, 2));
    assert_eq!((s.to_shared.conversions, s.to_shared.pages), (1, 1));
    assert_eq!((s.private_bytes, s.shared_bytes), (PAGE_SIZE, 0x1f000));
    assert_eq!((s.sizes[0], s.sizes[1]), (1, 1));
    let timeline: Vec<_> = c.timeline().iter().map(|e| (e.gpa, e.pages, e.to, e.done)).collect();
    assert_eq!(timeline, [(0x1000, 2, Target::Private, true), (0x1000, 1, Target::Shared, true)]);
}

#[test]
fn the_shared_copy_of_a_page_that_turns_private_is_gone() {
    let c = converter(Recorder::default());
    c.memory().write(0x1000, b"old shared contents").unwrap();
    c.convert(0x1000, 1, Target::Private).unwrap();
    assert!(c.memory().read(0x1000, &mut [0; 4]).is_err());
    c.convert(0x1000, 1, Target::Shared).unwrap();
    assert_eq!(c.memory().read_obj::<u64>(0x1000).unwrap(), 0);
}

#[test]
fn hostile_ranges_are_refused_and_counted() {
    let c = converter(Recorder::default());
    for (gpa, pages) in [(0, 0), (1, 1), (0x1000, u64::MAX), (!0xfff, 2), (0, u64::MAX / PAGE_SIZE + 1)] {
        assert!(matches!(c.convert(gpa, pages, Target::Shared), Err(ConvertError::BadRange { .. })));
    }
    // The hole between the two ranges of RAM, and a range that only begins in RAM.
    assert!(matches!(c.convert(0x10000, 1, Target::Private), Err(ConvertError::NotRam { .. })));
    assert!(matches!(c.convert(0xf000, 2, Target::Private), Err(ConvertError::NotRam { .. })));
    assert_eq!(c.stats().refused, 7);
    // Guests mark MMIO as shared: nothing to do, and no error.
    c.convert(0xfee00000, 1, Target::Shared).unwrap();
}

#[test]
fn a_kernel_refusal_leaves_everything_as_it_was() {
    let rec = Recorder::failing(&[(Call::Attribute(0x1000, 0x1000, true), libc::ENOMEM)]);
    let c = converter(rec.clone());
    assert!(matches!(c.convert(0x1000, 1, Target::Private), Err(ConvertError::Kernel { .. })));
    assert_eq!(
        rec.calls(),
        [Call::Attribute(0x1000, 0x1000, true), Call::Attribute(0x1000, 0x1000, false)],
        "the kernel may have done a part of it"
    );
    assert_eq!(c.stats().private_bytes, 0);
    c.memory().read(0x1000, &mut [0; 4]).unwrap();
}

#[test]
fn what_was_private_before_a_refusal_keeps_its_contents() {
    let rec = Recorder::failing(&[(Call::Attribute(0x1000, 0x4000, true), libc::ENOMEM)]);
    let c = converter(rec.clone());
    c.convert(0x2000, 1, Target::Private).unwrap();
    assert!(c.convert(0x1000, 4, Target::Private).is_err());
    assert_eq!(
        rec.calls()[2..],
        [Call::Attribute(0x1000, 0x1000, false), Call::Attribute(0x3000, 0x2000, false)],
        "the page at 0x2000 was private, and its contents are the guest's"
    );
    assert_eq!(c.stats().private_bytes, PAGE_SIZE);
}

#[test]
fn a_page_of_which_nobody_can_be_sure_is_private() {
    let both = [true, false].map(|to| (Call::Attribute(0x1000, 0x1000, to), libc::ENOMEM));
    let c = converter(Recorder::failing(&both));
    assert!(c.convert(0x1000, 1, Target::Private).is_err());
    assert!(c.memory().read(0x1000, &mut [0; 4]).is_err());

    // Shared for the kernel, but its private copy is still there.
    let c = converter(Recorder::failing(&[(Call::Discard(0x1000, 0x1000), libc::ENOMEM)]));
    c.convert(0x1000, 1, Target::Private).unwrap();
    assert!(c.convert(0x1000, 1, Target::Shared).is_err());
    assert!(c.memory().read(0x1000, &mut [0; 4]).is_err());
    c.convert(0x1000, 1, Target::Shared).unwrap();
    c.memory().read(0x1000, &mut [0; 4]).unwrap();
}

#[test]
fn a_signal_does_not_leave_a_conversion_half_done() {
    let attribute = Call::Attribute(0x1000, 0x1000, false);
    let rec = Recorder::failing(&[
        (attribute, libc::EINTR),
        (attribute, libc::EINTR),
        (Call::Discard(0x1000, 0x1000), libc::EINTR),
    ]);
    let c = converter(rec.clone());
    c.convert(0x1000, 1, Target::Shared).unwrap();
    let discard = Call::Discard(0x1000, 0x1000);
    assert_eq!(rec.calls(), [attribute, attribute, attribute, discard, discard]);
}

#[test]
fn those_who_hold_a_page_let_go_before_it_turns_private() {
    let rec = Recorder::default();
    let c = converter(rec.clone());
    c.add_holder(Arc::new(rec.clone()));
    c.convert(0x1000, 2, Target::Private).unwrap();
    assert_eq!(rec.calls(), [Call::LetGo(0x1000, 0x2000), Call::Attribute(0x1000, 0x2000, true)]);
    c.convert(0x1000, 2, Target::Shared).unwrap();

    let stuck = Recorder::failing(&[(Call::LetGo(0x1000, 0x1000), libc::EBUSY)]);
    c.add_holder(Arc::new(stuck));
    assert!(c.convert(0x1000, 1, Target::Private).is_err());
    c.memory().read(0x1000, &mut [0; 4]).unwrap();
}

#[test]
fn threads_that_convert_the_same_pages_leave_map_and_kernel_in_step() {
    let rec = Recorder::default();
    let c = converter(rec.clone());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let c = &c;
            scope.spawn(move || {
                for round in 0..500 {
                    let to = if (round + thread) % 2 == 0 { Target::Private } else { Target::Shared };
                    c.convert((round + thread) % 8 * PAGE_SIZE, 1 + round % 5, to).unwrap();
                }
            });
        }
    });
    let mut kernel = [false; 16];
    for call in rec.calls() {
        if let Call::Attribute(gpa, len, private) = call {
            let pages = (gpa / PAGE_SIZE) as usize..((gpa + len) / PAGE_SIZE) as usize;
            kernel[pages].fill(private);
        }
    }
    for (page, private) in (0..).zip(kernel) {
        assert_eq!(c.memory().is_private(page * PAGE_SIZE), private, "page {page}");
    }
    assert_eq!(c.stats().conversions(), 2000);
}
