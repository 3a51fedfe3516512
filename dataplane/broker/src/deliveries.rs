//! What is on its way to clients above QoS 0: in flight, or waiting, each session's in order.
//!
//! Owns one table of deliveries for all sessions; a session has the ends of its list. Never knows what a message says.
//!
//! ```text
//!   head                released          next                        tail
//!   PUBREL  PUBREL  ... PUBREL | PUBLISH ... | not sent on this connection ... |
//!   in the order of the PUBRECs  in the order in which they came                      v5 4.6, v3 4.6
//! ```
//!
//! Whatever has a packet identifier stands before whatever has none, so that looking for an identifier ends early. After a
//! client came back, `next` is the head: everything goes once more, as far as the receive maximum lets it (v5 4.4, 4.9).

use crate::slab::{NONE, Slab};
use mqtt::{PacketId, Qos};

/// A message for a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    next: u32,
    previous: u32,
    /// `NONE` after PUBREC.
    pub(crate) message: u32,
    /// Bytes of the message.
    bytes: u32,
    /// The first subscription identifier; 0 if there is none.
    identifier: u32,
    /// Where the others are.
    more: u32,
    /// `None` if it was never sent.
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// It was sent on this connection.
    pub(crate) is_sent: bool,
    /// PUBREC came, PUBREL is to go.
    pub(crate) is_released: bool,
}

/// The list of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    head: u32,
    tail: u32,
    /// The first that may not have been sent on this connection.
    next: u32,
    /// The last of those that PUBREC came for.
    released: u32,
    /// Sent on this connection and not acknowledged.
    pub(crate) inflight_count: u32,
    /// All of the list.
    pub(crate) count: u32,
    /// Bytes of their messages.
    pub(crate) bytes: u32,
    last_id: u16,
    /// Identifiers that were given since none was in use: below 65 535, a new one is free.
    given_count: u32,
}

impl Flow {
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        next: NONE,
        released: NONE,
        inflight_count: 0,
        count: 0,
        bytes: 0,
        last_id: 0,
        given_count: 0,
    };

    /// The client is there anew: everything is to be sent.
    pub(crate) const fn begin_again(&mut self) {
        self.next = self.head;
        self.inflight_count = 0;
    }
}

/// Deliveries of all sessions.
#[derive(Debug)]
pub(crate) struct Deliveries {
    nodes: Slab<Delivery>,
    /// Subscription identifiers but the first, each with the place of the next.
    identifiers: Slab<(u32, u32)>,
}

impl Deliveries {
    pub(crate) fn new(count_max: usize) -> Self {
        Self { nodes: Slab::new(count_max), identifiers: Slab::new(count_max) }
    }

    pub(crate) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn get(&self, place: u32) -> &Delivery {
        &self.nodes[place]
    }

    /// The subscription identifiers of a delivery.
    pub(crate) fn identifiers(&self, place: u32) -> impl Iterator<Item = u32> + '_ {
        let node = &self.nodes[place];
        let mut at = node.more;
        let others = core::iter::from_fn(move || {
            let (identifier, next) = *(at != NONE).then(|| &self.identifiers[at])?;
            at = next;
            Some(identifier)
        });
        (node.identifier != 0).then_some(node.identifier).into_iter().chain(others)
    }

    /// Adds a delivery behind all others. `None`: there are too many, of all sessions.
    pub(crate) fn push(
        &mut self,
        flow: &mut Flow,
        message: u32,
        bytes: usize,
        (qos, retain): (Qos, bool),
        mut identifiers: impl Iterator<Item = u32>,
    ) -> Option<u32> {
        let identifier = identifiers.next().unwrap_or(0);
        let place = self.nodes.insert(Delivery {
            next: NONE,
            previous: flow.tail,
            message,
            bytes: bytes as u32,
            identifier,
            more: NONE,
            packet_id: None,
            qos,
            retain,
            is_sent: false,
            is_released: false,
        })?;
        for identifier in identifiers {
            let Some(more) = self.identifiers.insert((identifier, self.nodes[place].more)) else {
                self.free_identifiers(place);
                self.nodes.remove(place);
                return None;
            };
            self.nodes[place].more = more;
        }
        match flow.tail {
            NONE => flow.head = place,
            tail => self.nodes[tail].next = place,
        }
        flow.tail = place;
        if flow.next == NONE {
            flow.next = place;
        }
        flow.count += 1;
        flow.bytes += bytes as u32;
        Some(place)
    }

    /// The first that was not sent on this connection.
    pub(crate) fn unsent(&self, flow: &mut Flow) -> Option<u32> {
        while flow.next != NONE && self.nodes[flow.next].is_sent {
            flow.next = self.nodes[flow.next].next;
        }
        (flow.next != NONE).then_some(flow.next)
    }

    /// The packet identifier that a delivery has, or gets if it is sent.
    pub(crate) fn packet_id(&self, flow: &Flow, place: u32) -> PacketId {
        if let Some(id) = self.nodes[place].packet_id {
            return id;
        }
        let is_none_in_use = self.nodes[flow.head].packet_id.is_none();
        let is_free = is_none_in_use || flow.given_count < u32::from(u16::MAX);
        let mut last = flow.last_id;
        loop {
            last = last.wrapping_add(1);
            let Some(id) = PacketId::new(last) else { continue };
            if is_free || self.find(flow, id).is_none() {
                return id;
            }
        }
    }

    /// The first unsent one was sent under that identifier.
    pub(crate) fn set_sent(&mut self, flow: &mut Flow, place: u32, id: PacketId) {
        if self.nodes[place].packet_id.is_none() {
            let is_none_in_use = self.nodes[flow.head].packet_id.is_none();
            flow.given_count = if is_none_in_use { 1 } else { flow.given_count.saturating_add(1) };
            flow.last_id = id.get();
        }
        let node = &mut self.nodes[place];
        debug_assert!(!node.is_sent, "a delivery is sent once on a connection");
        node.packet_id = Some(id);
        node.is_sent = true;
        flow.inflight_count += 1;
        if flow.next == place {
            flow.next = node.next;
        }
    }

    /// The client is there anew: nothing was sent on its connection.
    pub(crate) fn begin_again(&mut self, flow: &mut Flow) {
        let mut at = flow.head;
        while at != NONE && self.nodes[at].packet_id.is_some() {
            self.nodes[at].is_sent = false;
            at = self.nodes[at].next;
        }
        flow.begin_again();
    }

    /// The delivery of that packet identifier.
    pub(crate) fn find(&self, flow: &Flow, id: PacketId) -> Option<u32> {
        let mut at = flow.head;
        while at != NONE {
            let node = &self.nodes[at];
            match node.packet_id {
                None => return None,
                Some(own) if own == id => return Some(at),
                Some(_) => at = node.next,
            }
        }
        None
    }

    /// PUBREC came: the message is not needed any more and comes back; PUBREL is to go, behind those before it, and at once:
    /// if this was not sent on this connection, [`Self::set_sent`] follows.
    pub(crate) fn release(&mut self, flow: &mut Flow, place: u32) -> u32 {
        self.unlink(flow, place);
        let next = match flow.released {
            NONE => flow.head,
            released => self.nodes[released].next,
        };
        let previous = flow.released;
        match previous {
            NONE => flow.head = place,
            previous => self.nodes[previous].next = place,
        }
        match next {
            NONE => flow.tail = place,
            next => self.nodes[next].previous = place,
        }
        flow.released = place;
        self.free_identifiers(place);
        let node = &mut self.nodes[place];
        (node.next, node.previous, node.is_released) = (next, previous, true);
        flow.bytes -= core::mem::take(&mut node.bytes);
        core::mem::replace(&mut node.message, NONE)
    }

    /// A delivery is done with. Its message comes back, `NONE` after PUBREC.
    pub(crate) fn remove(&mut self, flow: &mut Flow, place: u32) -> u32 {
        self.unlink(flow, place);
        self.free_identifiers(place);
        let node = self.nodes.remove(place);
        flow.count -= 1;
        flow.bytes -= node.bytes;
        flow.inflight_count -= u32::from(node.is_sent);
        node.message
    }

    /// The oldest that was never sent.
    pub(crate) fn oldest_waiting(&self, flow: &Flow) -> Option<u32> {
        let mut at = if flow.next == NONE { NONE } else { flow.next };
        while at != NONE && self.nodes[at].packet_id.is_some() {
            at = self.nodes[at].next;
        }
        (at != NONE).then_some(at)
    }

    /// The first of all.
    pub(crate) const fn first(flow: &Flow) -> Option<u32> {
        if flow.head == NONE { None } else { Some(flow.head) }
    }

    fn unlink(&mut self, flow: &mut Flow, place: u32) {
        let Delivery { next, previous, .. } = self.nodes[place];
        match previous {
            NONE => flow.head = next,
            previous => self.nodes[previous].next = next,
        }
        match next {
            NONE => flow.tail = previous,
            next => self.nodes[next].previous = previous,
        }
        if flow.next == place {
            flow.next = next;
        }
        if flow.released == place {
            flow.released = previous;
        }
    }

    fn free_identifiers(&mut self, place: u32) {
        let mut at = core::mem::replace(&mut self.nodes[place].more, NONE);
        while at != NONE {
            at = self.identifiers.remove(at).1;
        }
    }
}
