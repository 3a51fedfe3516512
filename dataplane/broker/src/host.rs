//! What the broker asks of the shard that it lives on, and the words between them.
//!
//! Never stores anything: only types and the trait.

use crate::{Count, Forwarded, Word};
use base::{Monotonic, UnixMicros};
use mqtt::{Auth, ReasonCode, Version};

/// A connection, by the host's own number; the host does not use it again before it was closed or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub u32);

/// A session of this shard. It is the host's to name from [`crate::Broker::connect`] until the connection was closed by
/// [`Host::close`] or reported as lost; after that the number may be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

/// The instant of a call, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Monotonic,
    /// For stamps that other shards and other runs understand.
    pub unix: UnixMicros,
}

/// Who a client is, as the host found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The topic space: a tenant's own topics. Client identifiers are of a space as well.
    pub space: u32,
    /// The host's handle for [`Host::may`]; of this connection.
    pub principal: u32,
    /// Who it is beyond this connection, say a hash of the account: a session is resumed by its owner alone, and a
    /// CONNECT of somebody else with the same client identifier is refused.
    pub owner: u64,
    /// What the CONNACK carries as authentication data (v5 3.2.2.3.18), if the CONNECT named a method.
    pub authentication_data: Option<&'a [u8]>,
}

/// How a connection ended that the broker did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The client closed it without a DISCONNECT.
    Closed,
    /// It broke.
    Broken,
}

/// Why a connection is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A DISCONNECT of the client; its code is 0 or [`ReasonCode::DisconnectWithWill`] or one of failure.
    Client(ReasonCode),
    /// It was lost.
    Lost(Lost),
    /// The broker ended it, with that code.
    Broker(ReasonCode),
}

/// What the host does after it handed in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a packet may have to be handed in again"]
pub enum Next {
    /// It goes on with the connection's next packet, unless it was told to pause.
    Packet,
    /// The packet was not taken. The connection is paused; after [`Host::resume`] the same packet is handed in again.
    Again,
    /// The connection was closed; nothing more is handed in for this slot.
    Closed,
}

/// What a client would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish to a topic; for a will it is asked at CONNECT, which is refused if it may not be.
    Publish,
    /// Subscribe to a filter; of a shared subscription, to the filter alone.
    Subscribe,
}

/// The connection takes no more: nothing of the packet was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Something that others may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// A client is connected: its CONNACK is on the way.
    Connected {
        /// Its session.
        slot: Slot,
        /// Its topic space.
        space: u32,
        /// As in its [`Identity`].
        principal: u32,
        /// Its client identifier, chosen by the broker if it gave none.
        client_id: &'a [u8],
        /// What it speaks.
        version: Version,
        /// A session was resumed.
        session_present: bool,
    },
    /// A connection is no more.
    Disconnected {
        /// The session.
        slot: Slot,
        /// Its topic space.
        space: u32,
        /// As in its [`Identity`].
        principal: u32,
        /// Its client identifier.
        client_id: &'a [u8],
        /// Why.
        end: End,
    },
    /// A session is forgotten, with its subscriptions and what waited.
    Forgotten {
        /// Its topic space.
        space: u32,
        /// Its client identifier.
        client_id: &'a [u8],
    },
}

/// The shard. Every call is cheap and returns at once.
pub trait Host {
    /// Queues one packet for a connection, whole or not at all; the pieces lie end to end.
    ///
    /// # Errors
    /// [`Full`] if it does not fit. The broker keeps messages within [`crate::Limits::output_bytes_max`] by itself; room
    /// beyond that is for acknowledgements, and a connection that has none left is closed. Once there is room again
    /// [`crate::Broker::writable`] is called, as after every drain.
    fn send(&mut self, link: Link, pieces: &[&[u8]]) -> Result<(), Full>;

    /// Bytes that are queued for a connection.
    fn waiting(&self, link: Link) -> usize;

    /// Closes a connection once what is queued for it was written. The host forgets its slot, and reports no loss of it.
    fn close(&mut self, link: Link, code: ReasonCode);

    /// Reads nothing more of a connection, and hands in none of its packets. A second call changes nothing.
    fn pause(&mut self, link: Link);

    /// Reads on. Also if it was not paused.
    fn resume(&mut self, link: Link);

    /// Passes a message on to other shards, a bit each. Returns those whose ring had no room.
    fn forward(&mut self, shards: u64, message: &Forwarded<'_>) -> u64;

    /// Passes a word on to other shards, a bit each. Returns those whose ring had no room. Words and messages to one shard
    /// keep their order.
    fn tell(&mut self, shards: u64, word: &Word<'_>) -> u64;

    /// Whether a client may do that.
    ///
    /// # Errors
    /// The code to answer with: not authorized, or a quota.
    fn may(&self, principal: u32, action: Action, topic: &[u8]) -> Result<(), ReasonCode>;

    /// Whether a client identifier that the broker would choose belongs to this shard; it is asked until one does.
    fn owns(&self, space: u32, client_id: &[u8]) -> bool;

    /// A packet of a re-authentication (v5 4.12.1), with the method of the CONNECT. The host answers by [`mqtt::Auth`]s of
    /// its own.
    ///
    /// # Errors
    /// The code to end the connection with.
    fn authenticate(&mut self, link: Link, principal: u32, auth: &Auth<'_>) -> Result<(), ReasonCode>;

    /// Fills `bytes` with what nobody can guess.
    fn entropy(&mut self, bytes: &mut [u8]);

    /// Counts.
    fn count(&mut self, what: Count);

    /// Tells of something.
    fn happened(&mut self, what: Happened<'_>);
}
