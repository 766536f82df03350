//! A disk at work on memory that is being converted: virtio-blk, reading into pages that are taken away.
//!
//! Every word of the disk says where it lies ([`pattern`]). So a page shows which block was read into it,
//! and whether all of it was.
#![allow(unsafe_code, reason = "the shared region is at an address")]

use demo_guest::boot_info::{PAGE_SIZE, Range};
use demo_guest::error::HostError;
use demo_guest::platform::Bounce;
use demo_guest::virtio::{Device, Doorbell, Part, Queue, feature};

use crate::device::wait;
use crate::machine::bounce::BounceRegion;
use crate::machine::clock::Deadline;
use crate::machine::port::CpuPorts;
use crate::pages::{Pages, To, Trouble, pattern};
use crate::random::Choices;

/// The device's type, its feature that it cannot be written, its only queue.
const BLOCK: u16 = 2;
const FEATURE_RO: u64 = 1 << 5;
const REQUESTS: u16 = 0;
/// A page for the ring; then a page for each buffer, so that each can be converted by itself.
const RING: usize = 0;
const BUFFERS: usize = 0x1_0000;
const BUFFER_LEN: u32 = PAGE_SIZE as u32;
/// Requests that take turns. Each has three descriptors: header, data, status.
const TURNS: u16 = 5;
const HEADER: u16 = 0;
const DATA: u16 = 1;
const STATUS: u16 = 2;
const HEADER_LEN: u32 = 16;
/// What a request asks for, and what its status may be (virtio 1.3, 5.2.6); the last is our own, from before
/// the device wrote one.
const IN: u32 = 0;
const OUT: u32 = 1;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const NO_STATUS: u8 = 0xff;
const SECTORS_PER_PAGE: u64 = PAGE_SIZE / 512;
/// The pattern of the disk's words (tests/tests/machine/protected_conversion.rs).
const ON_DISK: u64 = 0xd15c;

/// What the disk was asked for, and what came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Blocks of a page read and found right.
    pub blocks: u64,
    /// Pages converted while the disk had them.
    pub snatched: u64,
    /// Of these, those that it was refused.
    pub snatched_refused: u64,
    /// Requests with a page that was private from the start.
    pub private: u64,
    /// Writes refused.
    pub writes: u64,
}

/// The device and its queue.
pub struct Reader {
    device: Device<CpuPorts>,
    bounce: BounceRegion,
    queue: Queue,
    bell: Doorbell,
    /// Pages on the disk.
    blocks: u64,
    choices: Choices,
    counts: Counts,
}

/// A request that the disk has not been seen to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Request {
    turn: u16,
    block: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Read,
    /// The disk wrote no data, and says so.
    Refused,
}

impl Reader {
    /// Brings the disk up with its ring in `range`, which is shared.
    pub fn open(range: Range) -> Result<Self, HostError> {
        // SAFETY: the boot-info page was checked: the range is below 4 GiB and holds nothing of ours. The
        // caller gives this part of it to nobody else.
        let mut bounce = unsafe { BounceRegion::new(range) };
        let wanted = FEATURE_RO | feature::ACCESS_PLATFORM;
        let mut device = Device::open(CpuPorts, BLOCK, wanted, &mut Deadline::default())?;
        let queue = Queue::new(&mut bounce, RING, BUFFERS, BUFFER_LEN)?;
        let bell = device.set_queue(REQUESTS, &queue, &bounce)?;
        let blocks = device.config64(0)? / SECTORS_PER_PAGE;
        device.start();
        let (choices, counts) = (Choices::new(u64::from(BLOCK)), Counts::default());
        Ok(Reader { device, bounce, queue, bell, blocks: blocks.max(1), choices, counts })
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Resets the device.
    pub fn close(mut self) {
        self.device.stop();
    }

    /// Asks for a block, and does not wait: the disk is at work from here on.
    pub fn ask(&mut self, round: u32) -> Result<Request, Trouble> {
        let request = self.next(round);
        self.page(request, DATA).fill(u64::from(round));
        self.write(request, IN)?;
        self.give(request, IN)?;
        Ok(request)
    }

    /// Waits for the block and looks at all of it.
    pub fn answered(&mut self, request: Request) -> Result<(), Trouble> {
        if self.ended(request)? != Outcome::Read {
            return Err(Trouble::Device("the disk refuses to write to a shared page"));
        }
        let page = self.page(request, DATA);
        let from = request.block * PAGE_SIZE;
        page.find(|gpa, word| word != pattern(from + (gpa - page.gpa), ON_DISK), "in a block of the disk")?;
        self.counts.blocks += 1;
        Ok(())
    }

    /// Takes a page away while the disk may be writing to it. It either had written already, or says that it
    /// did not; in the private page there is nothing either way.
    pub fn snatch(&mut self, round: u32) -> Result<(), Trouble> {
        let request = self.ask(round)?;
        let page = self.page(request, DATA);
        page.convert(To::Private)?;
        page.expect_zero("in a page taken from the disk")?;
        let outcome = self.ended(request)?;
        page.expect_zero("in a page taken from the disk, later")?;
        page.convert(To::Shared)?;
        page.expect_zero("in a page that is the disk's again")?;
        self.counts.snatched += 1;
        self.counts.snatched_refused += u64::from(outcome == Outcome::Refused);
        self.again(round)
    }

    /// Points the disk at private pages: to write a block to, and to read a request from. It must do neither,
    /// and must go on working. Then it is to write to itself, which it cannot.
    pub fn trespass(&mut self, round: u32) -> Result<(), Trouble> {
        let tag = u64::from(round);
        let request = self.next(round);
        let page = self.page(request, DATA);
        page.convert(To::Private)?;
        page.fill(tag);
        self.write(request, IN)?;
        self.refused(request, IN, "the disk says that it wrote to a private page")?;
        page.expect(tag, "in a private page that the disk was pointed at")?;
        page.convert(To::Shared)?;
        page.expect_zero("in the disk's side of a private page")?;

        // The request is gone with the page that it was in: what a host still finds there is no request.
        page.fill(tag);
        self.write(request, IN)?;
        let header = self.page(request, HEADER);
        header.convert(To::Private)?;
        self.refused(request, IN, "the disk did what a private page says")?;
        page.expect(tag, "in a page that the disk was not asked to write to")?;
        header.convert(To::Shared)?;
        header.expect_zero("in the disk's side of a private request")?;
        self.counts.private += 2;

        self.write(request, OUT)?;
        self.refused(request, OUT, "the disk says that it was written")?;
        self.counts.writes += 1;
        page.fill(tag);
        self.write(request, IN)?;
        self.give(request, IN)?;
        self.answered(request)
    }

    fn next(&mut self, round: u32) -> Request {
        Request { turn: (round % u32::from(TURNS)) as u16, block: self.choices.below(self.blocks) }
    }

    fn again(&mut self, round: u32) -> Result<(), Trouble> {
        let request = self.ask(round)?;
        self.answered(request)
    }

    fn refused(&mut self, request: Request, kind: u32, or: &'static str) -> Result<(), Trouble> {
        self.give(request, kind)?;
        if self.ended(request)? == Outcome::Refused { Ok(()) } else { Err(Trouble::Device(or)) }
    }

    fn page(&self, request: Request, part: u16) -> Pages {
        Pages { gpa: self.bounce.gpa() + self.queue.buffer(first(request) + part) as u64, count: 1 }
    }

    /// Writes a request, and a status that is none.
    fn write(&mut self, request: Request, kind: u32) -> Result<(), Trouble> {
        let mut header = [0; HEADER_LEN as usize];
        let sector = request.block * SECTORS_PER_PAGE;
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let [at, status] = [HEADER, STATUS].map(|part| self.queue.buffer(first(request) + part));
        let written = self.bounce.write(at, &header) && self.bounce.write(status, &[NO_STATUS]);
        if written { Ok(()) } else { Err(Trouble::Host(HostError::Bounce)) }
    }

    /// Gives the disk a request that was written.
    fn give(&mut self, request: Request, kind: u32) -> Result<(), Trouble> {
        let part = |part, len, writable| Part { descriptor: first(request) + part, len, writable };
        let parts =
            [part(HEADER, HEADER_LEN, false), part(DATA, BUFFER_LEN, kind == IN), part(STATUS, 1, true)];
        self.queue.give_chain(&mut self.bounce, &parts).map_err(Trouble::Host)?;
        if self.queue.wants_notification(&self.bounce) {
            self.device.notify(&self.bell);
        }
        Ok(())
    }

    /// Waits until the disk is done with this request, and no other.
    fn ended(&mut self, request: Request) -> Result<Outcome, Trouble> {
        let (head, len) = wait(|| self.queue.take(&self.bounce))?;
        let mut status = [0];
        let read = self.bounce.read(self.queue.buffer(first(request) + STATUS), &mut status);
        match (read && head == first(request), len, status) {
            (true, ALL, [OK]) => Ok(Outcome::Read),
            (true, 0, [IO_ERROR | NO_STATUS]) => Ok(Outcome::Refused),
            _ => Err(Trouble::Device("the disk's answer makes no sense")),
        }
    }
}

/// What the disk writes for a block: data and status.
const ALL: u32 = BUFFER_LEN + 1;

/// The first of a request's descriptors.
fn first(request: Request) -> u16 {
    request.turn * 3
}
