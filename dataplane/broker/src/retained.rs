//! Retained messages: kept on every shard alike, and looked through for new subscriptions (3.3.1.3, v5 3.8.3.1).
//!
//! Of two messages of one topic the later stays, by the stamp of the shard that they came to, so that all shards come to the
//! same. That a topic has none any more is remembered for some seconds: what is older may still be on its way.
//!
//! A walk through the messages of a filter goes on as fast as the client takes them, and a bounded way in each turn.

use crate::broker::Broker;
use crate::clients::{Offer, Offered};
use crate::slab::NONE;
use crate::{Count, Host, Now};
use base::{Monotonic, UnixMicros};
use topics::{Cursor, Message, Options, Usage};

/// What is kept for a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// `NONE`: nothing, and that is to be remembered.
    message: u32,
    stamp: u64,
    shard: u8,
}

/// Retained messages that are to be looked through for a subscription.
#[derive(Debug)]
pub(crate) struct Walk {
    cursor: Cursor,
    filter: Box<[u8]>,
    options: Options,
}

/// Microseconds for which it is remembered that a topic has no retained message.
const REMEMBERED_US: u64 = 10_000_000;

/// Topics that are looked at in a step, and in a turn for all sessions together.
const STEP: usize = 64;
const TURN: usize = 16;

/// Messages that expire at a time.
const EXPIRED: usize = 256;

impl Broker {
    /// A message is to be retained, or, if it is empty, the one of its topic is not any more.
    pub(crate) fn retain<H: Host>(&mut self, host: &mut H, handle: u32, stamp: u64, shard: u8, now: Now) {
        self.last = now;
        let view = self.store.get(handle);
        let (topic, space) = (view.message.topic().as_bytes(), view.tag.space);
        let is_later = |kept: &Message<Kept>| (kept.value.stamp, kept.value.shard) > (stamp, shard);
        // One that has expired and is still there must not keep a later one out: `get` does not find it.
        if self.retained.get(space, topic, now.unix).is_some_and(is_later) {
            return;
        }
        let is_cleared = view.message.payload().is_empty();
        let bytes = view.bytes();
        let kept = Kept { message: if is_cleared { NONE } else { handle }, stamp, shard };
        let result = if is_cleared && self.hops.others() == 0 {
            Ok(self.retained.clear(space, topic))
        } else {
            let expires = if is_cleared {
                Some(UnixMicros(now.unix.0.saturating_add(REMEMBERED_US)))
            } else {
                let left = |expires: Monotonic| expires.since(now.monotonic).as_micros() as u64;
                (view.tag.expires != Monotonic::NEVER)
                    .then(|| UnixMicros(now.unix.0.saturating_add(left(view.tag.expires))))
            };
            let message = Message { value: kept, bytes: if is_cleared { 0 } else { bytes as u64 }, expires };
            let quota = Usage { count: self.limits.retained_count_max, bytes: self.limits.retained_bytes_max as u64 };
            self.retained.set(space, topic, message, quota)
        };
        match result {
            Ok(before) => {
                if !is_cleared {
                    host.count(Count::RetainedSet);
                    self.store.retain(handle, 1);
                }
                match before {
                    Some(before) if before.message != NONE => self.clients.let_go.push(before.message),
                    _ => {}
                }
            }
            Err(_) => host.count(Count::RetainedRefused),
        }
    }

    /// Takes away what has expired.
    pub(crate) fn expire_retained<H: Host>(&mut self, host: &mut H, now: Now) {
        let Self { retained, clients, .. } = self;
        retained.expire(now.unix, EXPIRED, |kept| {
            if kept.message != NONE {
                host.count(Count::RetainedExpired);
                clients.let_go.push(kept.message);
            }
        });
    }

    /// Retained messages are to be looked through for a subscription.
    pub(crate) fn begin_walk(&mut self, slot: u32, filter: &[u8], options: Options) {
        let space = self.clients.get(slot).space;
        let cursor = self.retained.open(space);
        if !cursor.has_ended() {
            self.clients.get_mut(slot).walks.push_back(Walk { cursor, filter: filter.into(), options });
        }
    }

    /// What was not looked through is not any more.
    pub(crate) fn close_walks(&mut self, slot: u32) {
        while let Some(walk) = self.clients.get_mut(slot).walks.pop_front() {
            self.retained.close(walk.cursor);
        }
    }

    /// Looks further through what is to be looked through, for clients that take it.
    pub(crate) fn walk<H: Host>(&mut self, host: &mut H, now: Now) {
        for _ in 0..TURN {
            let Some(slot) = self.clients.walking.pop_front() else { return };
            let session = self.clients.get_mut(slot);
            session.is_walking = false;
            let Some(mut walk) = session.walks.pop_front() else { continue };
            let has_ended = self.step(host, slot, &mut walk, now);
            if !has_ended {
                self.clients.get_mut(slot).walks.push_front(walk);
            }
            self.clients.pump(host, slot, &self.store, now);
        }
    }

    /// Goes on with one walk as long as the client takes what is found. Returns whether it has ended.
    fn step<H: Host>(&mut self, host: &mut H, slot: u32, walk: &mut Walk, now: Now) -> bool {
        for _ in 0..STEP {
            if walk.cursor.has_ended() || !self.clients.takes_more(host, slot) {
                break;
            }
            let Self { retained, clients, store, .. } = self;
            let is_short = store.is_short();
            let mut referred = NONE;
            retained.step(&mut walk.cursor, &walk.filter, 1, now.unix, |_, message| {
                let handle = message.value.message;
                if handle == NONE {
                    return;
                }
                let view = store.get(handle);
                clients.out.begin();
                let offered = Offered { view, handle: Some(handle), expiry_s: view.expiry_s(now.monotonic), is_short };
                let offer = Offer { qos: walk.options.qos, retain: true };
                let identifier = (walk.options.identifier != 0).then_some(walk.options.identifier);
                if clients.offer(host, slot, &offered, offer, identifier.into_iter()) {
                    referred = handle;
                }
            });
            if referred != NONE {
                store.retain(referred, 1);
            }
        }
        walk.cursor.has_ended()
    }
}
