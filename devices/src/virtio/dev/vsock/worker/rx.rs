//! To the guest.

use std::time::Instant;

use super::super::connections::{Instance, Turn};
use super::super::muxer::Received;
use super::super::spec::{HEADER_SIZE, Header, Operation};
use super::{Host, Rings};
use crate::virtio::queue::{QueueError, Writer};
use crate::virtio::worker::Ctx;

/// Packets given before others get their turn.
const BATCH: usize = 64;
/// Bytes of data in one packet at most, as Linux has it (`VIRTIO_VSOCK_MAX_PKT_BUF_SIZE`).
const MAX_DATA: u32 = 64 << 10;

/// What became of a buffer of the guest's.
enum Filled {
    /// So many bytes are in it.
    With(u32),
    /// There was nothing for it after all: it stays where it is.
    Untouched,
}

impl Rings {
    /// Gives the guest what it is owed, as long as it has buffers; true if there is more of both.
    ///
    /// A buffer is looked at first, and taken only when there is a packet for it.
    pub(super) fn serve_rx(&mut self, host: &mut Host, ctx: &mut Ctx) -> Result<bool, QueueError> {
        for _ in 0..BATCH {
            host.act(ctx);
            let Some(turn) = host.table.next_turn() else {
                self.rx.notify_driver()?;
                return Ok(false);
            };
            let mem = self.mem.clone();
            let Some(chain) = self.rx.queue.peek()? else {
                self.rx.notify_driver()?;
                return self.starve(host);
            };
            let (head, writer) = (chain.head(), chain.writer(&mem));
            let filled = if writer.remaining() < HEADER_SIZE {
                host.counters.rx_small_buffers.one();
                Filled::With(0)
            } else {
                host.fill(turn, writer, &mem)
            };
            if let Filled::With(len) = filled {
                self.rx.queue.pop()?;
                self.rx.queue.push_used(head, len)?;
                if std::mem::take(&mut self.starved) {
                    self.rx.queue.disable_notifications()?;
                }
            }
        }
        self.rx.notify_driver()?;
        Ok(true)
    }

    /// No buffer: the guest rings when it has one. True if it just got one.
    fn starve(&mut self, host: &Host) -> Result<bool, QueueError> {
        if !std::mem::replace(&mut self.starved, true) {
            host.counters.rx_starved.one();
        }
        self.rx.queue.enable_notifications()
    }
}

impl Host {
    /// Puts into a buffer of at least a header's size what the turn is for.
    fn fill(&mut self, turn: Turn, writer: Writer<'_>, mem: &cloister_coco::memory::SharedMemory) -> Filled {
        match turn {
            Turn::Data(instance, room) if writer.remaining() > HEADER_SIZE => {
                self.fill_data(instance, room, writer, mem)
            }
            // Room for a header and for nothing else. The buffers behind it may be larger; so that it is
            // out of their way, the guest hears of our credit once more.
            Turn::Data(instance, _) => {
                self.fill_control(Turn::Control(instance, Operation::CREDIT_UPDATE), writer)
            }
            Turn::Stray | Turn::Control(..) => self.fill_control(turn, writer),
        }
    }

    fn fill_control(&mut self, turn: Turn, mut writer: Writer<'_>) -> Filled {
        let Some(header) = self.table.control_header(turn) else { return Filled::Untouched };
        if !self.write_header(&mut writer, &header) {
            return Filled::With(0);
        }
        self.table.control_sent(turn, Instant::now(), &mut self.actions);
        self.counters.rx_packets.one();
        Filled::With(HEADER_SIZE as u32)
    }

    fn fill_data(
        &mut self,
        instance: Instance,
        room: u32,
        mut writer: Writer<'_>,
        mem: &cloister_coco::memory::SharedMemory,
    ) -> Filled {
        let longest = self.table.guest_buffer(instance) as usize;
        let Some(socket) = self.sockets.get_mut(&instance) else {
            self.table.set_readable(instance, false);
            return Filled::Untouched;
        };
        let Ok(mut front) = writer.split_off_front(HEADER_SIZE) else { return Filled::Untouched };
        // What is read from the socket must not get lost over a header that cannot be written.
        if front.segments(HEADER_SIZE).iter().any(|&(gpa, len)| mem.check(gpa, len.into()).is_err()) {
            self.counters.rx_bad_chains.one();
            return Filled::With(0);
        }
        match socket.receive(&writer, room.min(MAX_DATA) as usize, longest, mem) {
            Received::Bytes(n, flags) => {
                let len = u32::try_from(n).unwrap_or(u32::MAX);
                let header = self.table.data_header(instance, len, flags);
                if !header.is_some_and(|header| self.write_header(&mut front, &header)) {
                    // The page turned private just now, and bytes of the stream are gone with it.
                    self.table.unreadable(instance, &mut self.actions);
                    return Filled::With(0);
                }
                self.table.data_sent(instance, len);
                self.counters.rx_packets.one();
                self.counters.rx_bytes.add(len.into());
                Filled::With(len.saturating_add(HEADER_SIZE as u32))
            }
            Received::Nothing => {
                self.table.set_readable(instance, false);
                Filled::Untouched
            }
            Received::End => {
                self.table.host_eof(instance);
                Filled::Untouched
            }
            Received::Failed => {
                self.table.host_failed(instance, &mut self.actions);
                Filled::Untouched
            }
            Received::Memory => {
                self.counters.rx_bad_chains.one();
                Filled::With(0)
            }
        }
    }

    fn write_header(&self, writer: &mut Writer<'_>, header: &Header) -> bool {
        let written = writer.write_obj(header).is_ok();
        if !written {
            self.counters.rx_bad_chains.one();
        }
        written
    }
}
