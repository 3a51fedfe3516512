//! Sessions of durable streams: what they were sent and have not settled, and what their shards are told of it.
//!
//! Owns, per session, the messages under way in the order in which they were sent, which number them; and the words that
//! found a ring full. Never drops a message: a session that has no room for one is ended, and its messages go to the next
//! session of its group.
//!
//! ```text
//!   Message ──▶ rendered, queued, entry { number, id } ── {"Ack": id | number} ──▶ Settled to the feed
//! ```

use crate::client::Phase;
use crate::clients::{Clients, Context, all_shards};
use crate::group::{Begin, FeedRef, Group, NotFound, SessionIs, Settled, Verdict, Word};
use crate::hop::{Hop, MessageHop, Ports, ReplyTo};
use crate::metrics::{Counters, Done, Drop};
use crate::streams::Rendered;
use base::mix::mix64;
use driver::Connection;
use std::collections::VecDeque;
use wire::acknowledgement::{Acknowledgement, Verb, Which};
use wire::downlink::Refusal;
use wire::websocket::{CloseCode, FrameHead, HEAD_BYTES_MAX, Opcode};

/// A session of a durable stream.
pub(crate) struct DurableSession {
    /// The stream's id.
    stream: u32,
    group: Group,
    /// Messages sent so far.
    number: u64,
    /// Messages that may be under way to it, of all shards together.
    in_flight_max: u16,
    /// Room for twice as many: one that is settled stays until all before it are, or until its room is needed.
    entries: VecDeque<Entry>,
    /// Where it begins is being looked up: nobody was told of it.
    waits: bool,
}

impl DurableSession {
    /// Makes room for another message. False if so many are under way that some shard has sent more than its share.
    fn make_room(&mut self) -> bool {
        if self.entries.len() == self.entries.capacity() {
            self.entries.retain(|entry| !entry.settled);
        }
        self.entries.len() < self.entries.capacity()
    }
}

/// A message under way.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    /// Of its id.
    hash: u64,
    feed: FeedRef,
    position: u64,
    settled: bool,
}

/// What is to be said and found no room yet, in order.
#[derive(Debug)]
pub(crate) struct Unsaid {
    /// Shards that a word is still to reach, a bit for each.
    words: VecDeque<(u64, Word)>,
    settled: VecDeque<Settled>,
}

/// Settled messages that may wait for room in a ring; beyond it the session is ended, which settles nothing.
pub(crate) const SETTLED_COUNT_MAX: usize = 64 << 10;

impl Unsaid {
    /// Room for the words of so many connections: each has two at most.
    pub(crate) fn new(connection_count: usize) -> Self {
        let words = VecDeque::with_capacity(2 * connection_count);
        Self { words, settled: VecDeque::with_capacity(SETTLED_COUNT_MAX) }
    }

    /// Words and settled messages that wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.words.len(), self.settled.len())
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.settled.is_empty()
    }

    /// Says what there is room for. What one shard does not take holds back all that is for it. What a session settled is
    /// said before that it is gone: afterwards it would count for nothing, and be delivered again.
    pub(crate) fn say(&mut self, ports: &mut Ports) {
        while let Some(settled) = self.settled.front() {
            if ports.send(usize::from(settled.feed.shard), &Hop::Settled(*settled)).is_err() {
                break;
            }
            self.settled.pop_front();
        }
        let mut full = 0_u64;
        for (targets, word) in &mut self.words {
            let mut rest = *targets & !full;
            while rest != 0 {
                let target = rest.trailing_zeros();
                rest &= rest - 1;
                if ports.send(target as usize, &Hop::Word(*word)).is_ok() {
                    *targets &= !(1 << target);
                } else {
                    full |= 1 << target;
                }
            }
        }
        self.words.retain(|(targets, _)| *targets != 0);
    }
}

impl Clients {
    /// Makes an open client a session of a group: every shard is told, once it is known where to begin.
    pub(crate) fn attach(&mut self, index: usize, stream: u32, group: Group, begin: Begin, in_flight_max: u16) {
        // Each shard may send at least one.
        let in_flight_max = in_flight_max.max(self.shard_count as u16);
        let entries = VecDeque::with_capacity(2 * usize::from(in_flight_max));
        let waits = matches!(begin, Begin::Message(_));
        self.table[index].durable =
            Some(Box::new(DurableSession { stream, group, number: 0, in_flight_max, entries, waits }));
        if let Begin::At(from) = begin {
            self.say_word(index, SessionIs::Here(from));
        }
    }

    /// The message that a session begins with was found, or not.
    pub(crate) fn found(&mut self, session: ReplyTo, from: Result<crate::From, NotFound>, context: &mut Context<'_>) {
        let connection = Connection { index: session.index, generation: session.generation };
        let Some(index) = self.find(connection) else { return };
        let Some(durable) = self.table[index].durable.as_mut().filter(|durable| durable.waits) else { return };
        match from {
            Ok(from) => {
                durable.waits = false;
                self.say_word(index, SessionIs::Here(from));
            }
            Err(reason) => {
                context.counters.drops.count(Drop::FindUnknown);
                let (code, reason) = match reason {
                    NotFound::Unknown => (CloseCode::POLICY, "there is no such message, or it is no longer kept"),
                    NotFound::Busy => (CloseCode::TRY_AGAIN_LATER, "the message cannot be looked up now"),
                };
                self.shut(index, code, reason, context);
            }
        }
    }

    /// Tells every shard that a session is gone, if it was one.
    pub(crate) fn detach(&mut self, index: usize) {
        if let Some(durable) = &self.table[index].durable {
            if !durable.waits {
                self.say_word(index, SessionIs::Gone);
            }
            self.table[index].durable = None;
        }
    }

    fn say_word(&mut self, index: usize, what: SessionIs) {
        let client = &self.table[index];
        let durable = client.durable.as_ref().expect("a session of a durable stream");
        let session =
            ReplyTo { shard: self.own as u8, index: client.connection.index, generation: client.connection.generation };
        let (stream, group, in_flight_max) = (durable.stream, durable.group, durable.in_flight_max);
        let word = Word { stream, group, session, in_flight_max, what };
        self.unsaid.words.push_back((all_shards(self.shard_count), word));
    }

    /// A feed sends a message.
    pub(crate) fn message_of_feed(&mut self, message: &MessageHop<'_>, context: &mut Context<'_>) {
        let connection = Connection { index: message.session.index, generation: message.session.generation };
        let found = self.find(connection).filter(|index| {
            let client = &self.table[*index];
            client.phase == Phase::Open && client.listens() && client.durable.is_some()
        });
        let settled = |verdict| Settled { feed: message.feed, position: message.position, verdict };
        let Some(index) = found else {
            return self.settle(settled(Verdict::Nobody));
        };
        let stream = &context.load.plan.streams[self.table[index].stream as usize];
        self.renderer.begin();
        let text = match self.renderer.render(&context.load.plan, stream, &message.event, context.counters) {
            Rendered::Message(text) => text,
            // The format has no words for it: nobody wants it.
            Rendered::Absent => return self.settle(settled(Verdict::Done)),
            Rendered::TooLong => return self.settle(settled(Verdict::TooLong)),
        };
        let client = &mut self.table[index];
        let bits = client.deflate.map(|deflate| deflate.server_window_bits);
        let packed = bits.and_then(|bits| self.deflater.deflate(text, bits, &mut self.packed));
        let body = packed.map_or(text, |count| &self.packed[..count]);
        let mut head = FrameHead::message(Opcode::Text, body.len());
        head.rsv1 = packed.is_some();
        let mut head_bytes = [0; HEAD_BYTES_MAX];
        let head_count = head.write(&mut head_bytes).expect("room for any head");
        let durable = client.durable.as_mut().expect("just seen");
        // Feeds share what may be under way among them; more than that is not theirs to send.
        if !durable.make_room() || self.pool.push(&mut client.plain, &[&head_bytes[..head_count], body]).is_err() {
            context.counters.drops.count(Drop::PoolExhausted);
            return self.shut(index, CloseCode::TRY_AGAIN_LATER, "out of memory for messages", context);
        }
        durable.number += 1;
        durable.entries.push_back(Entry {
            number: durable.number,
            hash: hash(message.event.stable_id().as_str()),
            feed: message.feed,
            position: message.position,
            settled: false,
        });
        client.delivered += 1;
        let count = text.len() as u64;
        let state = &mut context.load.streams[client.stream as usize];
        state.delivered += 1;
        state.delivered_bytes += count;
        context.counters.done.count(Done::MessagesDelivered);
        context.counters.done.add(Done::BytesDelivered, count);
        self.mark(index);
    }

    /// A consumer's message, if it speaks of messages that it was sent. Says what is wrong with it if it cannot be right.
    pub(crate) fn acknowledgement(
        &mut self,
        index: usize,
        json: &[u8],
        counters: &Counters,
    ) -> Option<Result<(), Refusal>> {
        let durable = self.table[index].durable.as_ref()?;
        let mut room = [0; wire::acknowledgement::MESSAGE_ID_BYTES_MAX];
        let said = match Acknowledgement::parse(json, &mut room)? {
            Ok(said) => said,
            Err(refusal) => return Some(Err(refusal)),
        };
        let through = said.verb == Verb::DoneThrough;
        let verdict = if said.verb == Verb::Refused { Verdict::Refused } else { Verdict::Done };
        let end = match said.which {
            // Those before it count, whether it is settled itself or not.
            Which::Number(number) if through => durable.entries.partition_point(|entry| entry.number <= number),
            Which::Number(number) => durable.entries.partition_point(|entry| entry.number < number) + 1,
            Which::Id(id) => {
                let hash = hash(id);
                let found = durable.entries.iter().position(|entry| entry.hash == hash && (through || !entry.settled));
                found.map_or(0, |place| place + 1)
            }
        };
        let first = if through { 0 } else { end.saturating_sub(1) };
        let known = |entry: &Entry| match said.which {
            Which::Number(number) => entry.number == number || through,
            Which::Id(_) => true,
        };
        // What is settled already may be said again.
        if !durable.entries.range(first..end.min(durable.entries.len())).any(|entry| !entry.settled && known(entry)) {
            counters.drops.count(Drop::AcknowledgementUnknown);
            return Some(Ok(()));
        }
        for place in first..end {
            let durable = self.table[index].durable.as_mut().expect("just seen");
            let entry = &mut durable.entries[place];
            if !core::mem::replace(&mut entry.settled, true) {
                let settled = Settled { feed: entry.feed, position: entry.position, verdict };
                self.settle(settled);
            }
        }
        let durable = self.table[index].durable.as_mut().expect("just seen");
        while durable.entries.front().is_some_and(|entry| entry.settled) {
            durable.entries.pop_front();
        }
        Some(Ok(()))
    }

    fn settle(&mut self, settled: Settled) {
        // Each entry of each session is settled once, so that there is room, or rings have been full for long.
        if self.unsaid.settled.len() < SETTLED_COUNT_MAX {
            self.unsaid.settled.push_back(settled);
        }
    }

    /// Says what sessions have to say, as far as there is room.
    pub(crate) fn say_unsaid(&mut self, ports: &mut Ports) {
        if !self.unsaid.is_empty() {
            self.unsaid.say(ports);
        }
    }
}

fn hash(id: &str) -> u64 {
    id.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| mix64(hash ^ u64::from(byte)))
}
