//! One session: who it is, its connection if there is one, what is on its way to it, and when something is due.

use crate::aliases::{Incoming, Outgoing};
use crate::deliveries::Flow;
use crate::retained::Walk;
use crate::{Link, Member};
use base::Monotonic;
use mqtt::{PacketId, Qos, Version};
use std::collections::VecDeque;
use topics::Options;

/// What keeps a connection from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pause {
    /// A message of its waits for room in a ring.
    Ring = 1,
    /// A message of its was not taken for lack of memory.
    Memory = 2,
    /// It does not read what it is sent.
    Output = 4,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    pub(crate) version: Version,
    /// Which connection of the session it is.
    pub(crate) number: u32,
    /// Nanoseconds within which a packet comes, once and a half of the keep alive; 0: any time.
    pub(crate) keep_alive_ns: u64,
    /// When the last packet came.
    pub(crate) heard: Monotonic,
    /// Bytes of the largest packet that it takes.
    pub(crate) packet_bytes_max: u32,
    /// Deliveries above QoS 0 in flight at once.
    pub(crate) window: u16,
    /// Session expiry interval in CONNECT was 0 (v5 3.14.2.2.2).
    pub(crate) expiry_was_zero: bool,
    /// Bits of [`Pause`].
    pub(crate) pauses: u8,
    /// How the client is authenticated, if by more than CONNECT.
    pub(crate) method: Option<Box<[u8]>>,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Option<Box<Outgoing>>,
}

/// What is published when a connection ends without a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Will {
    pub(crate) message: u32,
    pub(crate) delay_s: u32,
    /// Seconds after which it is of no use, counted from when it is published.
    pub(crate) expiry_s: Option<u32>,
}

/// A shared subscription that another shard keeps.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) shard: u8,
    /// With `$share/NAME/`.
    pub(crate) filter: Box<[u8]>,
    pub(crate) options: Options,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// Which of the sessions of this slot it is; odd while there is one.
    pub(crate) generation: u32,
    pub(crate) space: u32,
    pub(crate) principal: u32,
    pub(crate) owner: u64,
    pub(crate) client_id: Box<[u8]>,
    /// It stands in for a session of another shard.
    pub(crate) stands_for: Option<Member>,
    /// Such a session's client is there.
    pub(crate) is_online: bool,
    pub(crate) connection: Option<Connection>,
    /// Connections it had.
    pub(crate) connection_count: u32,
    pub(crate) flow: Flow,
    /// Packet identifiers of QoS 2 whose PUBREL has not come.
    pub(crate) received: Vec<PacketId>,
    /// A message of its waits for room in a ring, or for the memory to wait there.
    pub(crate) is_pending: bool,
    /// A will, kept while there is a connection and as long as it is delayed.
    pub(crate) will: Option<Will>,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub(crate) expiry_s: u32,
    /// When it ends, while there is no connection.
    pub(crate) expires: Monotonic,
    /// When its will is published, while there is no connection.
    pub(crate) will_at: Monotonic,
    /// The time that stands for it among the deadlines.
    pub(crate) armed: Monotonic,
    /// Retained messages that are still to be looked through for its subscriptions.
    pub(crate) walks: VecDeque<Walk>,
    pub(crate) is_walking: bool,
    /// Shared subscriptions that other shards keep.
    pub(crate) away: Vec<Away>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            generation: 0,
            space: 0,
            principal: 0,
            owner: 0,
            client_id: Box::default(),
            stands_for: None,
            is_online: false,
            connection: None,
            connection_count: 0,
            flow: Flow::EMPTY,
            received: Vec::new(),
            is_pending: false,
            will: None,
            expiry_s: 0,
            expires: Monotonic::NEVER,
            will_at: Monotonic::NEVER,
            armed: Monotonic::NEVER,
            walks: VecDeque::new(),
            is_walking: false,
            away: Vec::new(),
        }
    }
}

impl Session {
    /// Whether there is a session in this slot.
    pub(crate) const fn is_live(&self) -> bool {
        self.generation % 2 == 1
    }

    /// Whether its client is there.
    pub(crate) const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection.
    ///
    /// # Panics
    /// If there is none: whoever calls was told so.
    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a connection that was neither closed nor lost")
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a connection that was neither closed nor lost")
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Monotonic {
        match &self.connection {
            Some(Connection { keep_alive_ns: 0, .. }) => Monotonic::NEVER,
            Some(connection) => Monotonic(connection.heard.0.saturating_add(connection.keep_alive_ns)),
            None => self.expires.min(self.will_at),
        }
    }

    /// Whether PUBREL is awaited for that identifier.
    pub(crate) fn has_received(&self, id: PacketId) -> bool {
        self.received.contains(&id)
    }
}

/// A count of seconds as the span that it is; `u32::MAX` has no end.
pub(crate) fn after_s(now: Monotonic, seconds: u32) -> Monotonic {
    if seconds == u32::MAX { Monotonic::NEVER } else { now.after(core::time::Duration::from_secs(u64::from(seconds))) }
}

/// The lower of two qualities of service.
pub(crate) fn lower(published: Qos, subscribed: u8) -> Qos {
    Qos::from_wire(subscribed).map_or(published, |subscribed| published.min(subscribed))
}

// Of the 1 KiB that an idle connection with a subscription may take in all.
const _: () = assert!(size_of::<Session>() <= 400);
