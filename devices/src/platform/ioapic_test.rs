use proptest::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Event {
    Sent(u32),
    Route(u8, Option<u32>, bool),
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl MsiSink for Log {
    fn send(&self, message: MsiMessage) {
        self.0.lock().unwrap().push(Event::Sent(message.data));
    }
    fn routes_changed(&self, pin: u8, message: Option<MsiMessage>, level: bool) {
        self.0.lock().unwrap().push(Event::Route(pin, message.map(|m| m.data), level));
    }
}

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const IN_SERVICE: u32 = 1 << 14;
/// Assert and level of a message's data.
const EDGE_33: Event = Event::Sent(0x4033);
const LEVEL_33: Event = Event::Sent(0xc033);

fn ioapic() -> (Ioapic, Log) {
    let log = Log::default();
    (Ioapic::new(Box::new(log.clone())), log)
}

fn set(ioapic: &mut Ioapic, index: u8, value: u32) {
    ioapic.write(0, &u32::from(index).to_le_bytes());
    ioapic.write(0x10, &value.to_le_bytes());
}

fn get(ioapic: &mut Ioapic, index: u8) -> u32 {
    ioapic.write(0, &[index]);
    let mut data = [0xff; 4];
    ioapic.read(0x10, &mut data);
    u32::from_le_bytes(data)
}

#[test]
fn it_introduces_itself() {
    let (mut ioapic, _) = ioapic();
    assert_eq!(get(&mut ioapic, 1), 0x0017_0020);
    set(&mut ioapic, 0, u32::MAX);
    assert_eq!((get(&mut ioapic, 0), get(&mut ioapic, 2)), (0x0f00_0000, 0x0f00_0000));
    assert_eq!(get(&mut ioapic, 0x10), MASKED);
    assert_eq!((get(&mut ioapic, 0x3f), get(&mut ioapic, 0x40), get(&mut ioapic, 3)), (0, 0, 0));
}

#[test]
fn an_edge_delivers_once_and_is_lost_while_masked() {
    let (mut ioapic, log) = ioapic();
    let line = ioapic.line(4).unwrap();
    set(&mut ioapic, 0x18, 0x33);
    assert_eq!(log.take(), [Event::Route(4, Some(0x4033), false)]);
    line.set(true);
    line.set(true);
    line.set(false);
    line.set(true);
    assert_eq!(log.take(), [EDGE_33, EDGE_33]);
    set(&mut ioapic, 0x18, 0x33 | MASKED);
    line.set(false);
    line.set(true);
    set(&mut ioapic, 0x18, 0x33);
    assert_eq!(log.take(), [Event::Route(4, None, false), Event::Route(4, Some(0x4033), false)]);
}

#[test]
fn a_level_delivers_again_after_eoi_while_it_is_high() {
    let (mut ioapic, log) = ioapic();
    set(&mut ioapic, 0x22, 0x33 | LEVEL);
    log.take();
    let line = ioapic.line(9).unwrap();
    line.set(true);
    line.set(true);
    assert_eq!(log.take(), [LEVEL_33]);
    assert_ne!(get(&mut ioapic, 0x22) & IN_SERVICE, 0);
    ioapic.eoi(0x34);
    assert_eq!(log.take(), []);
    ioapic.eoi(0x33);
    assert_eq!(log.take(), [LEVEL_33]);
    line.set(false);
    ioapic.write(0x40, &0x33u32.to_le_bytes());
    assert_eq!(log.take(), []);
    assert_eq!(get(&mut ioapic, 0x22) & IN_SERVICE, 0);
}

#[test]
fn a_level_that_rose_while_masked_is_delivered_when_unmasked() {
    let (mut ioapic, log) = ioapic();
    set(&mut ioapic, 0x22, 0x33 | LEVEL | MASKED);
    ioapic.set_irq(9, true);
    log.take();
    set(&mut ioapic, 0x22, 0x33 | LEVEL);
    assert_eq!(log.take(), [Event::Route(9, Some(0xc033), true), LEVEL_33]);
}

#[test]
fn switching_to_edge_and_back_ends_an_interrupt() {
    let (mut ioapic, log) = ioapic();
    set(&mut ioapic, 0x22, 0x33 | LEVEL);
    ioapic.set_irq(9, true);
    ioapic.set_irq(9, false);
    set(&mut ioapic, 0x22, 0x33 | MASKED);
    set(&mut ioapic, 0x22, 0x33 | LEVEL);
    assert_eq!(get(&mut ioapic, 0x22) & IN_SERVICE, 0);
    log.take();
    ioapic.set_irq(9, true);
    assert_eq!(log.take(), [LEVEL_33]);
}

#[test]
fn pins_that_do_not_exist_have_no_line() {
    let (ioapic, log) = ioapic();
    assert!(ioapic.line(23).is_some());
    assert!(ioapic.line(24).is_none());
    ioapic.set_irq(255, true);
    assert_eq!(log.take(), []);
}

#[test]
fn the_window_takes_four_bytes_only() {
    let (mut ioapic, log) = ioapic();
    ioapic.write(0, &[0x10]);
    ioapic.write(0x10, &[0x33]);
    ioapic.write(0x10, &[0; 8]);
    assert_eq!(log.take(), []);
}

proptest! {
    /// Whatever the guest writes and the lines do: no panic, and no step that delivers more than once a pin.
    #[test]
    fn hostile_accesses(steps in proptest::collection::vec((0u8..6, any::<u64>(), any::<Vec<u8>>()), 0..200)) {
        let (mut ioapic, log) = ioapic();
        for (what, number, mut data) in steps {
            let near = [0, 0x10, 0x40, number][(number % 4) as usize];
            match what {
                0 => ioapic.read(near, &mut data),
                1 => ioapic.write(near, &data),
                2 => set(&mut ioapic, number as u8, (number >> 8) as u32),
                3 => ioapic.set_irq(number as u8 % 32, number & 0x100 != 0),
                4 => ioapic.eoi(number as u8),
                _ => { get(&mut ioapic, number as u8); }
            }
            let sent = log.take().into_iter().filter(|e| matches!(e, Event::Sent(_))).count();
            prop_assert!(sent <= usize::from(Ioapic::PINS));
        }
    }
}
