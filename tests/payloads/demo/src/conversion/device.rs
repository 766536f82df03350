//! A device at work on memory that is being converted: virtio-vsock, asked for something that it always
//! answers.
//!
//! A packet for a connection that does not exist is answered with a reset that has the packet's ports
//! turned round. So each question shows that the device read what we wrote, and wrote where we said.
#![allow(unsafe_code, reason = "the shared region is at an address")]

use demo_guest::boot_info::{PAGE_SIZE, Range};
use demo_guest::error::HostError;
use demo_guest::platform::{Bounce, Timer};
use demo_guest::virtio::{Device, Doorbell, Queue, feature};
use demo_guest::vsock::packet::{HEADER_LEN, HOST_CID, Header, Operation, TYPE_STREAM};

use crate::machine::bounce::BounceRegion;
use crate::machine::clock::Deadline;
use crate::machine::port::CpuPorts;
use crate::pages::{Pages, To, Trouble};

/// The device's type, its feature that means streams, and the queues of its that are used here.
const VSOCK: u16 = 19;
const FEATURE_STREAM: u64 = 1 << 0;
const RX: u16 = 0;
const TX: u16 = 1;
/// A page for each ring; then a page for each buffer, so that each can be converted by itself.
const RX_RING: usize = 0;
const TX_RING: usize = 0x1000;
const RX_BUFFERS: usize = 0x1_0000;
const TX_BUFFERS: usize = 0x2_0000;
const BUFFER_LEN: u32 = PAGE_SIZE as u32;
/// Buffers that take turns, and one that is never private.
const BUFFERS: u16 = 8;
const SAFE: u16 = 8;
/// A device that has not answered by then never will.
const PATIENCE_SECONDS: u32 = 30;

/// What the device was asked for, and what came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Questions answered.
    pub answers: u64,
    /// Buffers converted while the device had them.
    pub snatched: u64,
    /// Of these, those that came back empty.
    pub snatched_empty: u64,
    /// Descriptors that pointed to private pages from the start.
    pub private: u64,
}

/// The device and its two queues.
pub struct Asker {
    device: Device<CpuPorts>,
    bounce: BounceRegion,
    rx: (Queue, Doorbell),
    tx: (Queue, Doorbell),
    cid: u64,
    asked: u32,
    counts: Counts,
}

/// A question that the device has not been seen to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Question(u32);

impl Asker {
    /// Brings the device up with its rings in `range`, which is shared.
    pub fn open(range: Range) -> Result<Self, HostError> {
        // SAFETY: the boot-info page was checked: the range is below 4 GiB and holds nothing of ours. The
        // caller gives this part of it to nobody else.
        let mut bounce = unsafe { BounceRegion::new(range) };
        let mut timer = Deadline::default();
        let wanted = FEATURE_STREAM | feature::ACCESS_PLATFORM;
        let mut device = Device::open(CpuPorts, VSOCK, wanted, &mut timer)?;
        let rx = Queue::new(&mut bounce, RX_RING, RX_BUFFERS, BUFFER_LEN)?;
        let tx = Queue::new(&mut bounce, TX_RING, TX_BUFFERS, BUFFER_LEN)?;
        let rx_bell = device.set_queue(RX, &rx, &bounce)?;
        let tx_bell = device.set_queue(TX, &tx, &bounce)?;
        let cid = device.config64(0)?;
        device.start();
        let counts = Counts::default();
        Ok(Asker { device, bounce, rx: (rx, rx_bell), tx: (tx, tx_bell), cid, asked: 0, counts })
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Resets the device.
    pub fn close(mut self) {
        self.device.stop();
    }

    /// Asks, and does not wait: the device is at work from here on.
    pub fn ask(&mut self, round: u32) -> Result<Question, Trouble> {
        let buffer = turn(round);
        self.offer(buffer)?;
        let question = self.next();
        self.send(buffer, question)?;
        Ok(question)
    }

    /// Waits for the answer. The page that it came in is clean afterwards: private and back.
    pub fn answered(&mut self, question: Question) -> Result<(), Trouble> {
        self.sent()?;
        let buffer = self.answer(question)?;
        let page = self.page(RX_BUFFERS, buffer);
        self.expect_rest_zero(buffer)?;
        page.convert(To::Private)?;
        page.expect_zero("in a buffer that turned private")?;
        page.convert(To::Shared)?;
        page.expect_zero("in a buffer that turned shared again")
    }

    /// Takes a buffer away while the device may be writing to it. It either had written already, or comes
    /// back with nothing; in the private page there is nothing either way.
    pub fn snatch(&mut self, round: u32) -> Result<(), Trouble> {
        let buffer = turn(round);
        let page = self.page(RX_BUFFERS, buffer);
        let question = self.ask(round)?;
        page.convert(To::Private)?;
        page.expect_zero("in a buffer taken from the device")?;
        self.sent()?;
        let (back, len) = self.used_rx()?;
        page.expect_zero("in a buffer taken from the device, later")?;
        page.convert(To::Shared)?;
        page.expect_zero("in a buffer that is the device's again")?;
        self.counts.snatched += 1;
        match (back == buffer, len) {
            (true, 0) => {
                self.counts.snatched_empty += 1;
                self.offer(SAFE)?;
                self.answer(question).map(drop)
            }
            // It was there before the page turned private, and is gone with the page.
            (true, HEADER) => Ok(()),
            _ => Err(Trouble::Device("a buffer that was taken came back wrong")),
        }
    }

    /// Points the device at private pages: first to read from, then to write to. It must do neither, and
    /// must go on working.
    pub fn trespass(&mut self, round: u32) -> Result<(), Trouble> {
        let buffer = turn(round);
        let page = self.page(TX_BUFFERS, buffer);
        page.convert(To::Private)?;
        let never = self.next();
        self.send(buffer, never)?;
        self.sent()?;
        page.convert(To::Shared)?;
        page.expect_zero("in what the device could see of a private page")?;

        let page = self.page(RX_BUFFERS, buffer);
        page.convert(To::Private)?;
        page.fill(u64::from(round));
        self.offer(buffer)?;
        let question = self.next();
        self.send(SAFE, question)?;
        self.sent()?;
        if self.used_rx()? != (buffer, 0) {
            return Err(Trouble::Device("the device says that it wrote to a private page"));
        }
        page.expect(u64::from(round), "in a private page that the device was pointed at")?;
        page.convert(To::Shared)?;
        page.expect_zero("in the device's side of a private page")?;
        self.counts.private += 2;
        // The answer to `never` would come first.
        self.offer(SAFE)?;
        self.answer(question).map(drop)
    }

    /// A question that was never asked before.
    fn next(&mut self) -> Question {
        self.asked = self.asked.wrapping_add(1);
        Question(self.asked)
    }

    fn page(&self, buffers: usize, buffer: u16) -> Pages {
        let offset = buffers as u64 + u64::from(buffer) * PAGE_SIZE;
        Pages { gpa: self.bounce.gpa() + offset, count: 1 }
    }

    /// Gives the device a buffer to answer into.
    fn offer(&mut self, buffer: u16) -> Result<(), Trouble> {
        self.rx.0.give(&mut self.bounce, buffer, BUFFER_LEN, true).map_err(Trouble::Host)?;
        if self.rx.0.wants_notification(&self.bounce) {
            self.device.notify(&self.rx.1);
        }
        Ok(())
    }

    /// Sends a question from a buffer.
    fn send(&mut self, buffer: u16, question: Question) -> Result<(), Trouble> {
        let at = TX_BUFFERS + usize::from(buffer) * PAGE_SIZE as usize;
        if !self.bounce.write(at, &self.packet(question).to_bytes()) {
            return Err(Trouble::Host(HostError::Bounce));
        }
        self.tx.0.give(&mut self.bounce, buffer, HEADER, false).map_err(Trouble::Host)?;
        if self.tx.0.wants_notification(&self.bounce) {
            self.device.notify(&self.tx.1);
        }
        Ok(())
    }

    fn packet(&self, Question(number): Question) -> Header {
        Header {
            source_cid: self.cid,
            destination_cid: HOST_CID,
            source_port: number,
            destination_port: !number,
            len: 0,
            kind: TYPE_STREAM,
            operation: Operation::CREDIT_UPDATE,
            flags: 0,
            buffer: 0,
            consumed: 0,
        }
    }

    /// Waits until the device has taken the question.
    fn sent(&mut self) -> Result<(), Trouble> {
        wait(|| self.tx.0.take(&self.bounce)).map(drop)
    }

    fn used_rx(&mut self) -> Result<(u16, u32), Trouble> {
        wait(|| self.rx.0.take(&self.bounce))
    }

    /// Waits for the answer to this question, and no other; which buffer it is in.
    fn answer(&mut self, question: Question) -> Result<u16, Trouble> {
        let (buffer, len) = self.used_rx()?;
        let mut bytes = [0; HEADER_LEN];
        let read = self.bounce.read(RX_BUFFERS + usize::from(buffer) * PAGE_SIZE as usize, &mut bytes);
        let (got, asked) = (Header::parse(&bytes), self.packet(question));
        let ports = (got.source_port, got.destination_port) == (asked.destination_port, asked.source_port);
        let cids = (got.source_cid, got.destination_cid) == (HOST_CID, self.cid);
        if !(read && len == HEADER && ports && cids && got.operation == Operation::RESET) {
            return Err(Trouble::Device("the answer is to another question"));
        }
        self.counts.answers += 1;
        Ok(buffer)
    }

    /// Behind the answer nothing was written.
    fn expect_rest_zero(&self, buffer: u16) -> Result<(), Trouble> {
        let mut bytes = [0; PAGE_SIZE as usize];
        let read = self.bounce.read(RX_BUFFERS + usize::from(buffer) * PAGE_SIZE as usize, &mut bytes);
        match read && bytes.iter().skip(HEADER_LEN).all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(Trouble::Device("the device wrote more than it says")),
        }
    }
}

const HEADER: u32 = HEADER_LEN as u32;

fn turn(round: u32) -> u16 {
    (round % u32::from(BUFFERS)) as u16
}

/// Waits for something that a device does.
pub fn wait<T>(mut look: impl FnMut() -> Result<Option<T>, HostError>) -> Result<T, Trouble> {
    let mut timer = Deadline::default();
    timer.restart(PATIENCE_SECONDS);
    loop {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if timer.wait() => {}
            Ok(None) => return Err(Trouble::Device("the device does not answer")),
            Err(error) => return Err(Trouble::Host(error)),
        }
    }
}
