//! What consumers are sent: events rendered once per format, queued per connection, written once per turn.
//!
//! A message is copied into each listener's queue, which is bounded by its stream's configuration; beyond it the
//! stream's policy holds. While a write is in flight more gathers, so load makes larger records by itself.
//!
//! ```text
//!   event -> rendering (per format) -> frame -> queue ... flush -> record (<= 16 KiB, many messages) -> send
//! ```

use crate::Now;
use crate::client::Phase;
use crate::clients::{Clients, Context};
use crate::metrics::{Counters, Done, Drop};
use crate::streams::{NONE, Rendered, StreamState};
use crate::tls::{RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX};
use base::Monotonic;
use base::blocks::{Exhausted, Pool};
use driver::{Driver, Lease};
use event::Event;
use plan::{Delivery, Plan, StreamPlan, WhenFull};
use std::time::Duration;
use wire::websocket::{
    CONTROL_FRAME_BYTES_MAX, CloseCode, FrameHead, HEAD_BYTES_MAX, Opcode, write_close, write_control,
};

/// A consumer that has not taken a write for so long may lose its output buffer to those who read.
const STALL: Duration = Duration::from_secs(1);

/// How long a peer that broke the protocol is listened to after our last words.
const LINGER: Duration = Duration::from_secs(1);

/// Queue memory is short when less than this part of it is free.
const POOL_RESERVE: usize = 16;

/// Places looked at per turn for a stalled consumer, when output buffers or queue memory are short.
const STALL_SEARCH_COUNT: usize = 1024;

impl Clients {
    /// Gives an event to every listener of a covering stream.
    pub(crate) fn deliver(&mut self, plan: &Plan, states: &mut [StreamState], event: &Event<'_>, counters: &Counters) {
        self.renderer.begin();
        plan.covering(event, |index, stream| {
            let state = &mut states[index as usize];
            // A durable stream's sessions are sent to by its feeds.
            if state.head != NONE && stream.delivery == Delivery::Live {
                self.deliver_stream(plan, stream, state, event, counters);
            }
        });
    }

    fn deliver_stream(
        &mut self,
        plan: &Plan,
        stream: &StreamPlan,
        state: &mut StreamState,
        event: &Event<'_>,
        counters: &Counters,
    ) {
        let message = match self.renderer.render(plan, stream, event, counters) {
            Rendered::Message(message) => message,
            Rendered::Absent => return,
            Rendered::TooLong => {
                state.dropped_no_room += 1;
                return;
            }
        };
        let mut packing: Option<(u8, Option<usize>)> = None;
        let mut rest = state.head;
        while rest != NONE {
            let index = rest as usize;
            let client = &mut self.table[index];
            rest = client.next;
            // Compressed without context, a message is the same for every listener with that window.
            let body = match client.deflate.map(|deflate| deflate.server_window_bits) {
                None => None,
                Some(bits) => {
                    let count = match packing {
                        Some((known, count)) if known == bits => count,
                        _ => self.deflater.deflate(message, bits, &mut self.packed),
                    };
                    packing = Some((bits, count));
                    count.map(|count| &self.packed[..count])
                }
            };
            let compressed = body.is_some();
            let body = body.unwrap_or(message);
            let mut head = FrameHead::message(Opcode::Text, body.len());
            head.rsv1 = compressed;
            let mut head_bytes = [0; HEAD_BYTES_MAX];
            let head_count = head.write(&mut head_bytes).expect("room for any head");
            let parts = [&head_bytes[..head_count], body];
            let bytes = head_count + body.len();

            let fits = client.plain.len() + bytes + MISSED_BYTES_MAX <= stream.queue_bytes_max as usize;
            if fits && client.missed > 0 && say_missed(&mut self.pool, client).is_ok() {
                client.missed = 0;
            }
            if fits && self.pool.push(&mut client.plain, &parts).is_ok() {
                client.delivered += 1;
                state.delivered += 1;
                state.delivered_bytes += message.len() as u64;
                counters.done.count(Done::MessagesDelivered);
                counters.done.add(Done::BytesDelivered, message.len() as u64);
                if !client.dirty {
                    client.dirty = true;
                    self.dirty.push(index as u32);
                }
                continue;
            }
            client.dropped += 1;
            client.missed += 1;
            if fits {
                state.dropped_pool_exhausted += 1;
                counters.drops.count(Drop::PoolExhausted);
            } else {
                state.dropped_queue_full += 1;
                counters.drops.count(Drop::QueueFull);
            }
            if stream.when_full == WhenFull::Disconnect && !client.overdue {
                // Its deadline lets it go: here the list of its stream is being walked.
                client.overdue = true;
                client.deadline = Monotonic(0);
            }
        }
    }

    /// Queues a close frame, once per connection.
    pub(crate) fn queue_close(&mut self, index: usize, code: Option<CloseCode>, reason: &str) {
        let client = &mut self.table[index];
        if client.close_sent || client.phase != Phase::Open {
            return;
        }
        client.close_sent = true;
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let count = write_close(code, reason, None, &mut out).expect("room for a close frame");
        // Without queue memory the connection ends without the courtesy.
        let _queued = self.pool.push(&mut client.plain, &[&out[..count]]);
        self.mark(index);
    }

    pub(crate) fn queue_ping(&mut self, index: usize) {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let count = write_control(Opcode::Ping, &[], None, &mut out).expect("room for a ping");
        let client = &mut self.table[index];
        // A ping that is not sent is not answered, and the connection ends by that.
        let _queued = self.pool.push(&mut client.plain, &[&out[..count]]);
        self.mark(index);
    }

    /// Writes what waits: for each connection at most one record, and the next when that has left.
    pub(crate) fn flush<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        let mut kept = 0;
        for at in 0..self.dirty.len() {
            let index = self.dirty[at] as usize;
            match self.flush_one(driver, index, context) {
                Flushed::Done => self.table[index].dirty = false,
                Flushed::NoBuffer => {
                    self.dirty[kept] = index as u32;
                    kept += 1;
                }
            }
        }
        self.dirty.truncate(kept);
        if kept > 0 || self.pool.free_count() < self.pool.count() / POOL_RESERVE {
            self.relieve(context.now);
        }
    }

    fn flush_one<D: Driver>(&mut self, driver: &mut D, index: usize, context: &mut Context<'_>) -> Flushed {
        let now = context.now;
        let client = &self.table[index];
        if client.sending || matches!(client.phase, Phase::Free | Phase::Closing) {
            return Flushed::Done;
        }
        if client.phase == Phase::Moving && !client.has_output() {
            if !client.detaching {
                let connection = client.connection;
                self.table[index].detaching = true;
                driver.detach(connection);
            }
            return Flushed::Done;
        }
        if !client.has_output() && (client.phase != Phase::Draining || client.notified) {
            if client.phase == Phase::Draining && client.linger {
                self.table[index].deadline = now.monotonic.after(LINGER);
            } else if client.phase == Phase::Draining {
                self.close(driver, index, false, now.monotonic);
            }
            return Flushed::Done;
        }
        let Ok(lease) = driver.output() else { return Flushed::NoBuffer };
        let count = self.fill(driver, index, &lease, context.counters);
        if count == 0 {
            driver.release(lease);
            self.leave(index, context);
            self.close(driver, index, false, now.monotonic);
            return Flushed::Done;
        }
        let client = &mut self.table[index];
        client.sending = true;
        client.sending_since = now.monotonic;
        context.counters.done.count(Done::SendsSubmitted);
        driver.send(client.connection, lease, count);
        Flushed::Done
    }

    /// Fills an output buffer with what the connection has to say. Returns the count of bytes.
    fn fill<D: Driver>(&mut self, driver: &mut D, index: usize, lease: &Lease, counters: &Counters) -> usize {
        let out = driver.bytes(lease);
        let client = &mut self.table[index];
        let mut at = self.pool.pull(&mut client.cipher, out);
        let Some(tls) = &mut client.tls else {
            return at + self.pool.pull(&mut client.plain, &mut out[at..]);
        };
        if !client.secure {
            return at;
        }
        // Almost always empty: only the rest of an unfinished record, or of a handshake message, waits.
        let rooms = self.rooms.as_mut().expect("the rooms come back after every use");
        let held = self.pool.peek(&client.incoming, &mut rooms.cipher[..]);
        let incoming = &mut rooms.cipher[..held];
        let room = (out.len() - at).saturating_sub(RECORD_OVERHEAD_BYTES).min(RECORD_PLAIN_BYTES_MAX);
        let count = self.pool.pull(&mut client.plain, &mut self.record[..room]);
        if count > 0 {
            match tls.encrypt(incoming, &self.record[..count], &mut out[at..]) {
                Ok(written) => {
                    at += written;
                    counters.done.count(Done::RecordsSent);
                }
                Err(_) => {
                    // The peer has ended TLS, or the session has used up its key: nothing more can be said.
                    self.pool.clear(&mut client.plain);
                    client.notified = true;
                    counters.drops.count(Drop::TlsFailed);
                }
            }
        }
        if client.phase == Phase::Draining && client.plain.is_empty() && !client.notified {
            client.notified = true;
            at += tls.close_notify(incoming, &mut out[at..]);
        }
        at
    }

    /// Output buffers or queue memory are short: a consumer that does not read must not hold what others need.
    fn relieve(&mut self, now: Now) {
        for _ in 0..STALL_SEARCH_COUNT.min(self.table.len()) {
            self.searched = if self.searched + 1 < self.table.len() { self.searched + 1 } else { 0 };
            let client = &mut self.table[self.searched];
            if client.sending && client.phase == Phase::Open && now.monotonic.since(client.sending_since) > STALL {
                client.stalled = true;
                client.deadline = now.monotonic;
            }
        }
    }
}

/// What became of one connection's turn.
enum Flushed {
    Done,
    NoBuffer,
}

/// Room for [`say_missed`]'s frame.
const MISSED_BYTES_MAX: usize = 64;

/// Tells a consumer how many messages it missed, before the next that it gets.
fn say_missed(pool: &mut Pool, client: &mut crate::client::Client) -> Result<(), Exhausted> {
    let mut text = [0; MISSED_BYTES_MAX];
    let mut json = wire::json::Writer::new(&mut text);
    json.object().key("Event").string("missed").key("Count").unsigned(client.missed);
    let count = json.end_object().finish().expect("room for a number");
    let mut head = [0; HEAD_BYTES_MAX];
    let head_count = FrameHead::message(Opcode::Text, count).write(&mut head).expect("room for any head");
    pool.push(&mut client.plain, &[&head[..head_count], &text[..count]])
}
