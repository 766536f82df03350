//! Conversions of real private memory, with the test on the host's side of it and on the guest's.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_coco::memory::{AccessError, GuestRam, PAGE_SIZE, RamRange, SharedMemory, Target};
use cloister_tests::{BareVm, Hand, HeldBefore, HeldMemory, Stopped, bytes};

const MIB: u64 = 1 << 20;
const RAM: u64 = 64 * MIB;
/// No smaller than what the guest converts, all of which is touched on both sides.
const MOST: u64 = RAM + RAM / 20;
const PAGES_OF_2_MIB: u64 = 512;
/// First page within a vCPU's own memory, and pages: of 4 KiB, of 2 MiB, odd ones.
const RANGES: [(u64, u64); 6] =
    [(0, 1), (5, 3), (PAGES_OF_2_MIB, PAGES_OF_2_MIB), (511, 513), (1000, 37), (1, 700)];

/// Whether the host sees `word` all over these pages.
fn host_sees(memory: &SharedMemory, gpa: u64, len: u64, word: u32) -> Result<bool, AccessError> {
    let mut seen = vec![0; len as usize];
    memory.read(gpa, &mut seen)?;
    Ok(seen == word.to_le_bytes().repeat(seen.len() / 4))
}

/// Whether there is nothing in the host's memory behind pages, whatever it may see of them. Read from the
/// file: to look through a mapping would put pages there.
fn nothing_there(ram: &GuestRam, gpa: u64, len: u64) -> bool {
    let mut bytes = vec![1; len as usize];
    ram.file().read_exact_at(&mut bytes, gpa).unwrap();
    bytes == vec![0; bytes.len()]
}

/// A range that is private goes to shared and back, and both sides are looked at after each step.
fn there_and_back(vm: &BareVm, held: &HeldMemory, hand: &mut Hand, gpa: u64, pages: u64, tag: u32) {
    let (memory, len) = (vm.converter.memory(), bytes(pages));
    let (secret, public, answer) = (0x8000_0000 | tag, 0x4000_0000 | tag, 0x2000_0000 | tag);
    let what = format!("{pages} pages at {gpa:#x}");

    hand.fill(gpa, len, secret);
    let refusal = host_sees(memory, gpa, len, secret).unwrap_err();
    assert_eq!(refusal, AccessError::Private { gpa, len, page: gpa }, "{what}");
    assert!(nothing_there(&vm.ram, gpa, len), "{what}: the host has the secret");

    assert_eq!(hand.convert(gpa, pages, Target::Shared), 0, "{what}");
    assert!(hand.holds(gpa, len, 0), "{what} is not zero for the guest when shared");
    assert!(host_sees(memory, gpa, len, 0).unwrap(), "{what} is not zero for the host");

    hand.fill(gpa, len, public);
    assert!(host_sees(memory, gpa, len, public).unwrap(), "{what}: guest to host");
    for page in (0..len).step_by(PAGE_SIZE as usize) {
        memory.write(gpa + page, &answer.to_le_bytes().repeat(1024)).unwrap();
    }
    assert!(hand.holds(gpa, len, answer), "{what}: host to guest");

    assert_eq!(hand.convert(gpa, pages, Target::Private), 0, "{what}");
    assert!(hand.holds(gpa, len, 0), "{what} is not zero for the guest when private again");
    assert!(memory.check(gpa, len).is_err(), "{what} is not refused");
    assert!(nothing_there(&vm.ram, gpa, len), "{what}: the shared copy is kept");
    let held = held.bytes();
    assert!(held <= MOST, "{what}: {held} bytes held by a guest of {RAM}");
}

/// A VM whose memory, all but the first MiB, is private and touched, as in a guest that runs.
fn populated(cpus: u32) -> (BareVm, Vec<Hand>, HeldMemory) {
    let before = HeldBefore::now();
    let vm = BareVm::new(RAM);
    let mut hands = vm.hands(cpus);
    assert_eq!(hands[0].convert(MIB, (RAM - MIB) / PAGE_SIZE, Target::Private), 0);
    hands[0].fill(MIB, RAM - MIB, 0x1111_1111);
    let held = before.guest_of(std::process::id());
    assert!(held.bytes() > RAM - 4 * MIB, "{} bytes held: the test sees too little", held.bytes());
    (vm, hands, held)
}

#[test]
fn both_sides_from_one_vcpu() {
    let (vm, mut hands, held) = populated(1);
    for (tag, (first, pages)) in (1..).zip(RANGES) {
        there_and_back(&vm, &held, &mut hands[0], 8 * MIB + bytes(first), pages, tag);
    }
    let stats = vm.converter.stats();
    let pages: u64 = RANGES.iter().map(|(_, pages)| pages).sum();
    assert_eq!(stats.to_shared.pages, pages);
    assert_eq!(stats.to_private.pages, pages + (RAM - MIB) / PAGE_SIZE);
}

/// Each in its own memory, while somebody on the host, as a device would, reads wherever it may.
#[test]
fn both_sides_from_four_vcpus_and_a_device_at_once() {
    let (vm, hands, held) = populated(4);
    let over = AtomicBool::new(false);
    let (vm, held, over) = (&vm, &held, &over);
    std::thread::scope(|scope| {
        let device = scope.spawn(move || {
            let (mut read, mut refused) = (0u64, 0u64);
            for step in (0u64..).map(|n| n * 0x9e37_79b9 % 0x4000) {
                let at = bytes(step);
                match vm.converter.memory().read_obj::<u32>(at) {
                    Ok(word) => {
                        assert_eq!(word & 0x8000_0000, 0, "a private word at {at:#x}: {word:#x}");
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            (read, refused)
        });
        let vcpus: Vec<_> = (0..)
            .zip(hands)
            .map(|(index, mut hand)| {
                scope.spawn(move || {
                    let own = 8 * MIB * (1 + index);
                    for (tag, (first, pages)) in (1..).zip(RANGES) {
                        there_and_back(
                            vm,
                            held,
                            &mut hand,
                            own + bytes(first),
                            pages,
                            tag << 8 | index as u32,
                        );
                    }
                })
            })
            .collect();
        let ended: Vec<_> = vcpus.into_iter().map(|vcpu| vcpu.join()).collect();
        over.store(true, Ordering::Relaxed);
        let (read, refused) = device.join().expect("the device saw what it must not");
        assert!(ended.iter().all(Result::is_ok));
        assert!(read > 0 && refused > 0, "the device read {read} times and was refused {refused} times");
    });
}

/// Private memory that nothing is behind: what a guest meets on this kind of VM when the conversion is
/// missing on the host's side. KVM says which page and which way, and the guest goes on once it is mended.
#[test]
fn a_page_without_the_side_that_the_guest_wants_stops_it() {
    const WANTED_PRIVATE: u64 = 1 << 3;
    const PRIVATE: u64 = 1 << 3;
    let vm = BareVm::new(RAM);
    let mut hand = vm.hands(1).remove(0);
    // Behind the RAM that has a guest_memfd: memory with a shared side only.
    let half = GuestRam::new(&[RamRange { start: RAM, size: MIB }]).unwrap();
    let (range, host) = half.host_mappings()[0];
    let slot = kvm_bindings::kvm_userspace_memory_region {
        slot: 9,
        guest_phys_addr: range.start,
        memory_size: range.size,
        userspace_addr: host,
        ..Default::default()
    };
    vm.kernel.set_user_memory_region(&slot).unwrap();
    half.load(RAM, &7u32.to_le_bytes()).unwrap();
    assert_eq!(hand.look(RAM, 4, 7), Ok(true));
    for gpa in [RAM, RAM + 2 * MIB] {
        vm.kernel.set_memory_attributes(gpa, PAGE_SIZE, PRIVATE).unwrap();
        assert_eq!(hand.look(gpa, 4, 7), Err(Stopped::MemoryFault(WANTED_PRIVATE, gpa, PAGE_SIZE)));
        // Our own converter does not let it come to that: it knows what is RAM with two sides.
        assert_eq!(hand.convert(gpa, 1, Target::Private), -22);
    }
    assert_eq!(hand.look(RAM, 4, 7), Err(Stopped::MemoryFault(WANTED_PRIVATE, RAM, PAGE_SIZE)));
    vm.kernel.set_memory_attributes(RAM, PAGE_SIZE, 0).unwrap();
    assert_eq!(hand.again(), Ok(1));
}
