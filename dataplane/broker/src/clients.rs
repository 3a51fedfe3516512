//! The sessions of a shard: found by client identifier, and everything that goes to their connections.
//!
//! Owns sessions, their deliveries and their deadlines. Messages that nobody needs any more, and connections that have to
//! end, are put on lists: whoever called sees to them when it is done.

use crate::deliveries::Deliveries;
use crate::out::{How, Out, Sent};
use crate::session::{Pause, Session, lower};
use crate::slab::NONE;
use crate::store::{Store, View};
use crate::{Count, Host, Limits, Member, Now, Overflow};
use base::Monotonic;
use base::mix::BuildMixHasher;
use hashbrown::HashTable;
use mqtt::{Ack, AckKind, Packet, PacketId, Qos, ReasonCode};
use siphasher::sip::SipHasher13;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// A session that may be gone when it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A connection that is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doomed {
    pub(crate) name: Name,
    /// Which of the session's connections it is: it may have another by then.
    pub(crate) number: u32,
    /// What its DISCONNECT says.
    pub(crate) code: ReasonCode,
}

/// What one session is to get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The highest QoS of its subscriptions.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A message that is offered: where it is kept, if it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) view: View<'a>,
    pub(crate) handle: Option<u32>,
    pub(crate) expiry_s: Option<u32>,
    /// Messages take most of the memory there is.
    pub(crate) is_short: bool,
}

#[derive(Debug)]
pub(crate) struct Clients {
    limits: Limits,
    sip: SipHasher13,
    sessions: Vec<Session>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    by_member: HashMap<Member, u32, BuildMixHasher>,
    pub(crate) deliveries: Deliveries,
    pub(crate) out: Out,
    buffer: Vec<u8>,
    deadlines: BinaryHeap<Reverse<(Monotonic, u32, u32)>>,
    /// Messages that a delivery has let go.
    pub(crate) let_go: Vec<u32>,
    /// Connections that are to end.
    pub(crate) doomed: Vec<Doomed>,
    /// Sessions whose retained messages can be looked through further, in turn.
    pub(crate) walking: VecDeque<u32>,
}

impl Clients {
    pub(crate) fn new(limits: Limits, key: [u8; 16]) -> Self {
        Self {
            limits,
            sip: SipHasher13::new_with_key(&key),
            sessions: Vec::with_capacity(limits.session_count_max),
            free: Vec::new(),
            by_id: HashTable::new(),
            by_member: HashMap::default(),
            deliveries: Deliveries::new(limits.delivery_count_max),
            out: Out::default(),
            buffer: vec![0; 256],
            deadlines: BinaryHeap::new(),
            let_go: Vec::new(),
            doomed: Vec::new(),
            walking: VecDeque::new(),
        }
    }

    /// Sessions there are, those that stand in for others included.
    pub(crate) const fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Session {
        &self.sessions[slot as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Session {
        &mut self.sessions[slot as usize]
    }

    pub(crate) fn name(&self, slot: u32) -> Name {
        Name { slot, generation: self.get(slot).generation }
    }

    /// The session of that name, if it is still there.
    pub(crate) fn named(&self, name: Name) -> Option<&Session> {
        self.sessions
            .get(name.slot as usize)
            .filter(|session| session.generation == name.generation && session.is_live())
    }

    fn hash(&self, space: u32, client_id: &[u8]) -> u64 {
        self.sip.hash(client_id) ^ base::mix::mix64(u64::from(space))
    }

    /// The session of a client identifier.
    pub(crate) fn find(&self, space: u32, client_id: &[u8]) -> Option<u32> {
        let is_it = |slot: &u32| {
            let session = self.get(*slot);
            session.space == space && *session.client_id == *client_id
        };
        self.by_id.find(self.hash(space, client_id), is_it).copied()
    }

    /// A new session; `None` if there are too many.
    pub(crate) fn insert(&mut self, space: u32, client_id: &[u8]) -> Option<u32> {
        let slot = self.place()?;
        let session = self.get_mut(slot);
        session.space = space;
        session.client_id = client_id.into();
        let hash = self.hash(space, client_id);
        let Self { sip, sessions, by_id, .. } = self;
        by_id.insert_unique(hash, slot, |other| {
            let other = &sessions[*other as usize];
            sip.hash(&other.client_id) ^ base::mix::mix64(u64::from(other.space))
        });
        Some(slot)
    }

    /// The session that stands for one of another shard; a new one if there is none. `None` if there are too many.
    pub(crate) fn stand_in(&mut self, member: Member, space: u32) -> Option<u32> {
        if let Some(slot) = self.by_member.get(&member) {
            return Some(*slot);
        }
        let slot = self.place()?;
        let session = self.get_mut(slot);
        (session.space, session.stands_for) = (space, Some(member));
        self.by_member.insert(member, slot);
        Some(slot)
    }

    /// The session that stands for one of another shard.
    pub(crate) fn stands_for(&self, member: Member) -> Option<u32> {
        self.by_member.get(&member).copied()
    }

    fn place(&mut self) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.sessions.len() < self.limits.session_count_max => {
                self.sessions.push(Session::default());
                self.sessions.len() as u32 - 1
            }
            None => return None,
        };
        self.get_mut(slot).generation += 1;
        Some(slot)
    }

    /// Forgets a session, of which nothing is left but its name.
    pub(crate) fn remove(&mut self, slot: u32) {
        let session = self.get(slot);
        debug_assert!(session.is_live() && session.will.is_none() && session.walks.is_empty(), "nothing is left of it");
        if let Some(member) = session.stands_for {
            self.by_member.remove(&member);
        } else {
            let hash = self.hash(session.space, &session.client_id);
            match self.by_id.find_entry(hash, |other| *other == slot) {
                Ok(entry) => drop(entry.remove()),
                Err(_) => debug_assert!(false, "a session is found by its client identifier"),
            }
        }
        self.forget_deliveries(slot);
        let generation = self.get(slot).generation.wrapping_add(1);
        *self.get_mut(slot) = Session { generation, ..Session::default() };
        self.free.push(slot);
    }

    /// Lets go of everything that was on its way to a session.
    pub(crate) fn forget_deliveries(&mut self, slot: u32) {
        let mut flow = self.get(slot).flow;
        while let Some(place) = Deliveries::first(&flow) {
            let message = self.deliveries.remove(&mut flow, place);
            self.let_go(message);
        }
        self.get_mut(slot).flow = flow;
    }

    fn let_go(&mut self, message: u32) {
        if message != NONE {
            self.let_go.push(message);
        }
    }

    /// Ends a connection when whatever goes on is done.
    pub(crate) fn doom(&mut self, slot: u32, code: ReasonCode) {
        let name = self.name(slot);
        if let Some(connection) = &self.get(slot).connection {
            let number = connection.number;
            self.doomed.push(Doomed { name, number, code });
        }
    }

    /// Stops reading a connection.
    pub(crate) fn pause<H: Host>(&mut self, host: &mut H, slot: u32, why: Pause) {
        let connection = self.get_mut(slot).connection_mut();
        if connection.pauses == 0 {
            host.pause(connection.link);
        }
        connection.pauses |= why as u8;
    }

    /// Reads on, unless there is another reason not to.
    pub(crate) fn resume<H: Host>(&mut self, host: &mut H, slot: u32, why: Pause) {
        let Some(connection) = &mut self.get_mut(slot).connection else { return };
        let before = connection.pauses;
        connection.pauses &= !(why as u8);
        if before != 0 && connection.pauses == 0 {
            host.resume(connection.link);
        }
    }

    /// Sends a packet that is no message. A connection that has no room even for that is to end.
    pub(crate) fn answer<H: Host>(&mut self, host: &mut H, slot: u32, packet: &Packet<'_>) {
        let Some(connection) = &mut self.sessions[slot as usize].connection else { return };
        let version = connection.version;
        let mut bytes = packet.encoded_bytes(version);
        let mut fitted = *packet;
        if bytes > connection.packet_bytes_max as usize {
            // What cannot be said in that size is not said (v5 3.1.2.11.4).
            let Some(smaller) = packet.fitted(version, connection.packet_bytes_max) else { return };
            fitted = smaller;
            bytes = fitted.encoded_bytes(version);
        }
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        let Ok(bytes) = fitted.write(version, &mut self.buffer) else { return };
        if bytes == 0 {
            return;
        }
        let link = connection.link;
        if host.send(link, &[&self.buffer[..bytes]]).is_err() {
            host.count(Count::Stalled);
            self.doom(slot, ReasonCode::QuotaExceeded);
        } else if host.waiting(link) > self.limits.output_bytes_max {
            self.pause(host, slot, Pause::Output);
        }
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(crate) fn acknowledge<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        kind: AckKind,
        id: PacketId,
        code: ReasonCode,
    ) {
        self.answer(host, slot, &Packet::Ack(Ack::new(kind, id, code)));
    }

    /// Offers a message to a session: sends it, or lets it wait. Returns whether the session refers to it now.
    pub(crate) fn offer<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        offered: &Offered<'_>,
        offer: Offer,
        identifiers: impl Iterator<Item = u32>,
    ) -> bool {
        let qos = lower(offered.view.tag.qos, offer.qos);
        debug_assert!(qos == Qos::AtMostOnce || offered.handle.is_some(), "what may wait is kept");
        let Some(handle) = offered.handle.filter(|_| qos != Qos::AtMostOnce) else {
            let Self { limits, sessions, out, .. } = self;
            let Some(connection) = &mut sessions[slot as usize].connection else {
                host.count(Count::OfflineDropped);
                return false;
            };
            let how = How { qos: Qos::AtMostOnce, packet_id: PacketId::MIN, dup: false, retain: offer.retain };
            let sent = out.send(host, limits, connection, (&offered.view, offered.expiry_s), how, identifiers);
            host.count(match sent {
                Sent::Yes => Count::Delivered,
                Sent::Full => Count::OutputFull,
                Sent::TooLarge => Count::PacketTooLarge,
            });
            return false;
        };
        let bytes = offered.view.bytes();
        if !self.make_room(host, slot, bytes, offered.is_short) {
            return false;
        }
        let Self { sessions, deliveries, .. } = self;
        let flow = &mut sessions[slot as usize].flow;
        let Some(place) = deliveries.push(flow, handle, bytes, (qos, offer.retain), identifiers) else {
            host.count(Count::DeliveriesFull);
            return false;
        };
        if deliveries.unsent(flow) == Some(place) {
            self.send_one(host, slot, place, (&offered.view, offered.expiry_s));
        }
        true
    }

    /// Whether a message may wait for a session, after what its limits say has been done.
    fn make_room<H: Host>(&mut self, host: &mut H, slot: u32, bytes: usize, is_short: bool) -> bool {
        let Self { limits, sessions, deliveries, let_go, .. } = self;
        let session = &mut sessions[slot as usize];
        let flow = &mut session.flow;
        // When memory is short, nobody may hold much of it.
        let bytes_max = if is_short { limits.queue_bytes_max / 16 } else { limits.queue_bytes_max };
        let mut is_dropped = false;
        loop {
            let waiting_count = flow.count - flow.inflight_count;
            let has_bytes = flow.count == 0 || flow.bytes as usize + bytes <= bytes_max as usize;
            if waiting_count < limits.queue_count_max && has_bytes {
                return true;
            }
            if !is_dropped {
                host.count(Count::QueueFull);
                is_dropped = true;
            }
            let oldest = if limits.overflow == Overflow::DropOldest { deliveries.oldest_waiting(flow) } else { None };
            let Some(place) = oldest else { break };
            let_go.push(deliveries.remove(flow, place));
        }
        if limits.overflow == Overflow::Disconnect && session.is_connected() {
            host.count(Count::QueueDisconnected);
            self.doom(slot, ReasonCode::QuotaExceeded);
        }
        false
    }

    /// Sends the first delivery that was not sent on this connection.
    fn send_one<H: Host>(&mut self, host: &mut H, slot: u32, place: u32, message: (&View<'_>, Option<u32>)) -> Step {
        let Self { limits, sessions, deliveries, out, let_go, .. } = self;
        let Session { connection: Some(connection), flow, .. } = &mut sessions[slot as usize] else {
            return Step::Stop;
        };
        if flow.inflight_count >= u32::from(connection.window) {
            return Step::Stop;
        }
        let id = deliveries.packet_id(flow, place);
        let delivery = deliveries.get(place);
        let dup = delivery.packet_id.is_some();
        let how = How { qos: delivery.qos, packet_id: id, dup, retain: delivery.retain };
        match out.send(host, limits, connection, message, how, deliveries.identifiers(place)) {
            Sent::Yes => {
                deliveries.set_sent(flow, place, id);
                host.count(if dup { Count::DeliveredAgain } else { Count::Delivered });
                Step::Sent
            }
            Sent::Full => Step::Stop,
            Sent::TooLarge => {
                // As if it had been sent and acknowledged (v5 3.1.2.11.4).
                host.count(Count::PacketTooLarge);
                let_go.push(deliveries.remove(flow, place));
                Step::Dropped
            }
        }
    }

    /// Whether a session's client takes more than it was sent: nothing waits, and there is room in its output.
    pub(crate) fn takes_more<H: Host>(&mut self, host: &H, slot: u32) -> bool {
        let Self { limits, sessions, deliveries, .. } = self;
        let session = &mut sessions[slot as usize];
        let Some(connection) = &session.connection else { return false };
        deliveries.unsent(&mut session.flow).is_none() && host.waiting(connection.link) <= limits.output_bytes_max / 2
    }

    /// Sends what waits for a session, as far as its client takes it.
    pub(crate) fn pump<H: Host>(&mut self, host: &mut H, slot: u32, store: &Store, now: Now) {
        loop {
            let Self { limits, sessions, deliveries, let_go, walking, .. } = self;
            let session = &mut sessions[slot as usize];
            let Some(connection) = &session.connection else { return };
            let link = connection.link;
            let Some(place) = deliveries.unsent(&mut session.flow) else {
                let is_ready = !session.walks.is_empty() && host.waiting(link) <= limits.output_bytes_max / 2;
                if is_ready && !session.is_walking {
                    session.is_walking = true;
                    walking.push_back(slot);
                }
                return;
            };
            let delivery = deliveries.get(place);
            if delivery.is_released {
                if host.waiting(link) > limits.output_bytes_max {
                    return;
                }
                let id = deliveries.packet_id(&session.flow, place);
                deliveries.set_sent(&mut session.flow, place, id);
                self.acknowledge(host, slot, AckKind::Pubrel, id, ReasonCode::Success);
                continue;
            }
            let view = store.get(delivery.message);
            if delivery.packet_id.is_none() && view.has_expired(now.monotonic) {
                host.count(Count::Expired);
                let_go.push(deliveries.remove(&mut session.flow, place));
                continue;
            }
            self.out.begin();
            if self.send_one(host, slot, place, (&view, view.expiry_s(now.monotonic))) == Step::Stop {
                return;
            }
        }
    }

    /// The connection's output has drained.
    pub(crate) fn drained<H: Host>(&mut self, host: &mut H, slot: u32, store: &Store, now: Now) {
        self.pump(host, slot, store, now);
        if let Some(connection) = &self.get(slot).connection
            && connection.pauses & Pause::Output as u8 != 0
            && host.waiting(connection.link) <= self.limits.output_bytes_max / 2
        {
            self.resume(host, slot, Pause::Output);
        }
    }

    /// Sees to it that a session is looked at when something of it is due.
    pub(crate) fn arm(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let deadline = session.deadline();
        if deadline < session.armed {
            session.armed = deadline;
            let generation = session.generation;
            self.deadlines.push(Reverse((deadline, slot, generation)));
            // Most of those that stand for nothing any more go when their time comes, but not if there are too many.
            if self.deadlines.len() > 4 * self.sessions.len() + 64 {
                let sessions = &self.sessions;
                self.deadlines.retain(|Reverse((at, slot, generation))| {
                    let session = &sessions[*slot as usize];
                    session.generation == *generation && session.armed == *at
                });
            }
        }
    }

    /// The next session of which something may be due.
    pub(crate) fn due(&mut self, now: Monotonic) -> Option<u32> {
        loop {
            let Reverse((at, slot, generation)) = *self.deadlines.peek()?;
            if at > now {
                return None;
            }
            self.deadlines.pop();
            let session = &mut self.sessions[slot as usize];
            if session.generation != generation || session.armed != at {
                continue;
            }
            session.armed = Monotonic::NEVER;
            if session.deadline() <= now {
                return Some(slot);
            }
            self.arm(slot);
        }
    }

    /// When [`Self::due`] is to be asked next.
    pub(crate) fn deadline(&self) -> Monotonic {
        self.deadlines.peek().map_or(Monotonic::NEVER, |Reverse((at, ..))| *at)
    }
}

/// What became of the first delivery that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sent,
    Dropped,
    Stop,
}
