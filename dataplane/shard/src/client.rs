//! One consumer's connection: its state, and what it holds of the shard's pool.
//!
//! Owns no buffer when idle: what is received is worked on in the shard's rooms, and only an unfinished rest is put
//! away in blocks of the pool.
//!
//! ```text
//!   Free -> Head -------> Open ---------> Leaving ----------> Draining -------------> Closing
//!           TLS, upgrade  WebSocket, MQTT we said close       what is queued leaves   asked of the driver
//!                          \-> Moving -> Free here, Open on another shard
//! ```

use crate::broking::Talk;
use crate::deliveries::DurableSession;
use crate::streams::NONE;
use crate::tls::Tls;
use base::blocks::Queue;
use base::{Monotonic, UnixMicros};
use broker::Slot;
use driver::Connection;
use std::net::{Ipv4Addr, SocketAddr};
use wire::websocket::{Assembler, DeflateParams, Opcode, Reader};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The place is free.
    Free,
    /// TLS handshake and request head.
    Head,
    /// WebSocket, on a stream or on `/echo`; or MQTT.
    Open,
    /// It belongs to another shard: what is queued leaves, then the driver lets go of it.
    Moving,
    /// Our close frame is on its way; the peer's is awaited.
    Leaving,
    /// Nothing more is read; what is queued is sent, then the connection closes.
    Draining,
    /// Closing was asked of the driver.
    Closing,
}

/// How an open connection's frames are read.
pub(crate) enum Reading {
    /// Message by message.
    Messages(Assembler),
    /// As they come, to be sent back at once under this opcode: an echo without compression holds no message.
    Echo(Reader, Opcode),
    /// Packets of MQTT.
    Mqtt(Talk),
}

/// One connection.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) phase: Phase,
    /// TLS is done, or there is none.
    pub(crate) secure: bool,
    /// A write is in flight.
    pub(crate) sending: bool,
    /// It is in the list of those that have something to write.
    pub(crate) dirty: bool,
    /// Our close frame is queued or sent.
    pub(crate) close_sent: bool,
    /// It echoes instead of listening.
    pub(crate) echo: bool,
    /// It is not read from, because it does not read what it asked for.
    pub(crate) paused: bool,
    /// close_notify is sent, or does not apply.
    pub(crate) notified: bool,
    /// The peer said close_notify.
    pub(crate) peer_closed: bool,
    /// Its stream's policy says that it is too slow to stay.
    pub(crate) overdue: bool,
    /// It came to a listener of MQTT.
    pub(crate) broker: bool,
    /// Its packets are in frames of WebSocket.
    pub(crate) web: bool,
    /// It came from another shard.
    pub(crate) arrived: bool,
    /// The driver was asked to let go of it.
    pub(crate) detaching: bool,
    /// The shard that it moves to.
    pub(crate) target: u8,
    /// Its session with the broker.
    pub(crate) session: Option<Slot>,
    /// It holds an output buffer that others need.
    pub(crate) stalled: bool,
    /// What the peer may still be sending is read and passed over before closing, lest a reset eats our last words.
    pub(crate) linger: bool,
    /// Pings that were not answered.
    pub(crate) pings: u8,
    pub(crate) deflate: Option<DeflateParams>,
    /// What it was sent and has not settled, if its stream is durable.
    pub(crate) durable: Option<Box<DurableSession>>,
    pub(crate) tls: Option<Tls>,
    /// Taken out while its frames are read.
    pub(crate) reading: Option<Reading>,
    /// Received and not yet decryptable.
    pub(crate) incoming: Queue,
    /// The rest of a request head, or of a message.
    pub(crate) partial: Queue,
    /// Handshake and alert bytes to be sent as they are.
    pub(crate) cipher: Queue,
    /// To be sent, encrypted if there is TLS.
    pub(crate) plain: Queue,
    /// Its stream's index in the plan in force, or [`NONE`].
    pub(crate) stream: u32,
    /// Neighbours in its stream's list.
    pub(crate) next: u32,
    pub(crate) previous: u32,
    /// SHA-256 of the token that opened it.
    pub(crate) token: [u8; 32],
    /// What happens when nothing else does: handshake timeout, ping, end of patience.
    pub(crate) deadline: Monotonic,
    /// When the write in flight began.
    pub(crate) sending_since: Monotonic,
    pub(crate) peer: SocketAddr,
    pub(crate) since: UnixMicros,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    /// Messages dropped since the consumer was last told.
    pub(crate) missed: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            connection: Connection { index: 0, generation: 0 },
            phase: Phase::Free,
            secure: false,
            sending: false,
            dirty: false,
            close_sent: false,
            echo: false,
            paused: false,
            notified: false,
            peer_closed: false,
            overdue: false,
            broker: false,
            web: false,
            arrived: false,
            detaching: false,
            target: 0,
            session: None,
            stalled: false,
            linger: false,
            pings: 0,
            deflate: None,
            durable: None,
            tls: None,
            reading: None,
            incoming: Queue::default(),
            partial: Queue::default(),
            cipher: Queue::default(),
            plain: Queue::default(),
            stream: NONE,
            next: NONE,
            previous: NONE,
            token: [0; 32],
            deadline: Monotonic::NEVER,
            sending_since: Monotonic(0),
            peer: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            since: UnixMicros(0),
            delivered: 0,
            dropped: 0,
            missed: 0,
        }
    }
}

impl Client {
    /// Whether anything waits to be written.
    pub(crate) const fn has_output(&self) -> bool {
        !self.cipher.is_empty() || (self.secure && !self.plain.is_empty())
    }

    /// Whether it listens to a stream.
    pub(crate) const fn listens(&self) -> bool {
        self.stream != NONE
    }
}
