//! What goes to other shards, and what waits because a ring had no room.
//!
//! Owns the messages and words that wait. They are tried again each turn, in order for each shard; a client whose message
//! waits is acknowledged after it, and not read before.

use crate::broker::Broker;
use crate::clients::Name;
use crate::session::Pause;
use crate::store::View;
use crate::{Count, Directed, Forwarded, Host, Now, Word};
use mqtt::{Delivery, ReasonCode};
use std::collections::VecDeque;
use topics::{Delta, Interests, Key, Summary};

/// An acknowledgement that a client is owed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) name: Name,
    /// The connection that the message came by: another one sends it again, and is not owed this.
    pub(crate) connection: u32,
    pub(crate) delivery: Delivery,
    pub(crate) code: ReasonCode,
}

/// A message that waits for room in rings; it has one reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) message: u32,
    /// Shards that have not taken it.
    pub(crate) shards: u64,
    pub(crate) directed: Option<Directed>,
    pub(crate) stamp: u64,
    pub(crate) owed: Option<Owed>,
}

/// A word that waits.
#[derive(Debug)]
struct Unsaid {
    shards: u64,
    bytes: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Hops {
    pub(crate) shard: u8,
    shard_count: u8,
    /// Properties of the message at hand.
    pub(crate) properties: Vec<u8>,
    pending: VecDeque<Pending>,
    /// Shards that a message waits for: what goes there waits behind it.
    blocked: u64,
    /// Acknowledgements of what does not wait any more.
    done: Vec<Owed>,
    /// Members of shared groups whose shard has no room for the message at hand.
    pub(crate) refused: Vec<(u8, Directed)>,
    unsaid: VecDeque<Unsaid>,
    /// What this shard is interested in, and what it has still to tell.
    interests: Interests,
    deltas: Vec<Delta>,
    /// What the others are interested in.
    summary: Summary,
}

/// The bytes of a message for a ring.
fn forwarded<'a>(source: u8, view: &View<'a>, stamp: u64, directed: Option<Directed>, now: Now) -> Forwarded<'a> {
    Forwarded {
        source,
        space: view.tag.space,
        qos: view.tag.qos,
        retain: view.tag.retain,
        stamp,
        expiry_s: view.expiry_s(now.monotonic),
        directed,
        topic: view.message.topic().as_bytes(),
        properties: view.properties,
        payload: view.message.payload(),
    }
}

/// Words that may wait before no subscription is taken that would be told.
const UNSAID_COUNT_MAX: usize = 65_536;

impl Hops {
    pub(crate) fn new(shard: u8, shard_count: u8, bucket_count: usize, key: Key) -> Self {
        // A shard that is alone has nobody to tell.
        let bucket_count = if shard_count == 1 { 1 } else { bucket_count };
        Self {
            shard,
            shard_count,
            properties: Vec::new(),
            pending: VecDeque::new(),
            blocked: 0,
            done: Vec::new(),
            refused: Vec::new(),
            unsaid: VecDeque::new(),
            interests: Interests::new(bucket_count, key),
            deltas: Vec::new(),
            summary: Summary::new(bucket_count, usize::from(shard_count), key),
        }
    }

    /// All shards but this one.
    pub(crate) const fn others(&self) -> u64 {
        (u64::MAX >> (64 - self.shard_count)) & !(1 << self.shard)
    }

    /// The shard that keeps a shared group; `filter` has its name.
    pub(crate) fn home(&self, space: u32, filter: &[u8]) -> u8 {
        // The same on all shards, whatever their keys.
        let hash = siphasher::sip::SipHasher13::new().hash(filter) ^ base::mix::mix64(u64::from(space));
        (base::mix::mix64(hash) % u64::from(self.shard_count)) as u8
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || !self.unsaid.is_empty()
    }

    /// Whether more words can be said.
    pub(crate) fn has_room(&self) -> bool {
        self.unsaid.len() < UNSAID_COUNT_MAX
    }

    /// A message waits.
    pub(crate) fn push(&mut self, pending: Pending) {
        self.blocked |= pending.shards;
        self.pending.push_back(pending);
    }

    /// Passes a message on to all shards that may have a subscriber, to all if it is to be retained. Returns which they are,
    /// and which have no room.
    pub(crate) fn forward<H: Host>(&mut self, host: &mut H, view: &View<'_>, stamp: u64, now: Now) -> (u64, u64) {
        let others = self.others();
        if others == 0 {
            return (0, 0);
        }
        let topic = view.message.topic().as_bytes();
        let concerned = if view.tag.retain { others } else { self.summary.shards(view.tag.space, topic) & others };
        if concerned == 0 {
            return (0, 0);
        }
        let free = concerned & !self.blocked;
        let refused = if free == 0 { 0 } else { host.forward(free, &forwarded(self.shard, view, stamp, None, now)) };
        let refused = refused | concerned & self.blocked;
        for _ in 0..(concerned & !refused).count_ones() {
            host.count(Count::Forwarded);
        }
        (concerned, refused)
    }

    /// Passes a message on to a member of a shared group. If there is no room, [`Self::refused`] has it.
    pub(crate) fn direct<H: Host>(
        &mut self,
        host: &mut H,
        shard: u8,
        directed: Directed,
        view: &View<'_>,
        stamp: u64,
        now: Now,
    ) {
        let bit = 1 << shard;
        let is_blocked = self.blocked & bit != 0;
        if is_blocked || host.forward(bit, &forwarded(self.shard, view, stamp, Some(directed), now)) != 0 {
            self.refused.push((shard, directed));
        } else {
            host.count(Count::Forwarded);
        }
    }

    /// The first session of this shard subscribes to a filter, or to a shared group of it.
    pub(crate) fn interested<H: Host>(&mut self, host: &mut H, space: u32, filter: &[u8]) {
        if self.shard_count > 1 {
            let deltas = &mut self.deltas;
            self.interests.add(space, filter, |delta| deltas.push(delta));
            self.say_deltas(host);
        }
    }

    /// The last one does so no more.
    pub(crate) fn not_interested<H: Host>(&mut self, host: &mut H, space: u32, filter: &[u8]) {
        if self.shard_count > 1 {
            let deltas = &mut self.deltas;
            self.interests.remove(space, filter, |delta| deltas.push(delta));
            self.say_deltas(host);
        }
    }

    fn say_deltas<H: Host>(&mut self, host: &mut H) {
        let (shard, others) = (self.shard, self.others());
        let mut deltas = core::mem::take(&mut self.deltas);
        for delta in deltas.drain(..) {
            self.say(host, others, &Word::Interest { shard, delta });
        }
        self.deltas = deltas;
    }

    /// Another shard says what it is interested in.
    pub(crate) fn learn(&mut self, shard: u8, delta: Delta) {
        self.summary.apply(usize::from(shard), delta);
    }

    /// Says a word to other shards; to those that have no room, later.
    pub(crate) fn say<H: Host>(&mut self, host: &mut H, shards: u64, word: &Word<'_>) {
        let blocked = self.unsaid.iter().fold(0, |blocked, unsaid| blocked | unsaid.shards) & shards;
        let free = shards & !blocked;
        let refused = if free == 0 { 0 } else { host.tell(free, word) };
        if blocked | refused != 0 {
            let (head, filter) = word.pieces();
            let bytes = [&head[..], filter].concat().into();
            self.unsaid.push_back(Unsaid { shards: blocked | refused, bytes });
        }
    }
}

impl Broker {
    /// Tries again what waits for room in rings.
    pub(crate) fn hop_again<H: Host>(&mut self, host: &mut H, now: Now) {
        let Self { hops, store, clients, .. } = self;
        let mut blocked = 0;
        hops.unsaid.retain_mut(|unsaid| {
            let free = unsaid.shards & !blocked;
            let refused = match Word::parse(&unsaid.bytes) {
                Some(word) if free != 0 => host.tell(free, &word),
                _ => free,
            };
            unsaid.shards = unsaid.shards & blocked | refused;
            blocked |= unsaid.shards;
            unsaid.shards != 0
        });
        // Words go before messages.
        let mut done = core::mem::take(&mut hops.done);
        let shard = hops.shard;
        hops.pending.retain_mut(|pending| {
            let free = pending.shards & !blocked;
            if free != 0 {
                let view = store.get(pending.message);
                let refused = host.forward(free, &forwarded(shard, &view, pending.stamp, pending.directed, now));
                for _ in 0..(free & !refused).count_ones() {
                    host.count(Count::Forwarded);
                }
                pending.shards = pending.shards & blocked | refused;
            }
            blocked |= pending.shards;
            if pending.shards == 0 {
                clients.let_go.push(pending.message);
                done.extend(pending.owed);
            }
            pending.shards != 0
        });
        hops.blocked = hops.pending.iter().fold(0, |blocked, pending| blocked | pending.shards);
        for Owed { name, connection, delivery, code } in done.drain(..) {
            if self.clients.named(name).is_none() {
                continue;
            }
            self.clients.get_mut(name.slot).is_pending = false;
            if self.has_connection(name, connection) {
                self.owed(host, name.slot, delivery, code);
            }
            self.clients.resume(host, name.slot, Pause::Ring);
        }
        self.hops.done = done;
    }
}
