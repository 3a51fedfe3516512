//! MQTT 3.1.1 and 5.0 on the wire, for a server and for a client: packets, properties, reason codes and topics.
//!
//! Owns layouts and the rules that one packet alone can break. Never does I/O, never allocates, knows no session: packets
//! borrow from the bytes they were read of, writers fill the buffer that the caller lends, after saying how long it must be.
//!
//! ```text
//!   first      the CONNECT of a connection, which settles the version       v3 and v5 3.1
//!   Decoder    every packet after it                                        chapter 3
//!   | type 4 bits, flags 4 bits | remaining length 1..4 | variable header | payload |
//!   Packet     what was read, and what can be written
//!   Message    a PUBLISH for many receivers: written once, then set right for each
//!   topic      names, filters, shared subscriptions, matching               4.7, 4.8
//! ```
//!
//! Clauses are cited as `v3` (OASIS MQTT 3.1.1, 29 October 2014) and `v5` (OASIS MQTT 5.0, 7 March 2019); where both number
//! them alike, or only one has them, without that. `conformance/` lists every normative statement and the test that shows it.

mod ack;
mod close;
mod code;
mod connack;
mod connect;
mod decode;
mod failure;
pub mod fuzzing;
mod message;
mod packet;
mod property;
mod publish;
mod put;
mod read;
mod subscribe;
mod text;
pub mod topic;

pub use ack::{Ack, AckKind};
pub use close::{Auth, Disconnect};
pub use code::{Place, ReasonCode};
pub use connack::Connack;
pub use connect::{Connect, Refusal, Will, first};
pub use decode::{Decoded, Decoder};
pub use failure::Failure;
pub use message::{Alias, Layout, Message, Outgoing};
pub use packet::Packet;
pub use property::{Properties, Property, PropertyId, SubscriptionId};
pub use publish::{Delivery, Publish};
pub use put::NoRoom;
pub use subscribe::{
    Codes, Filters, RetainHandling, Suback, Subscribe, Subscription, Subscriptions, Unsuback, Unsubscribe,
};
pub use text::{Binary, Text};
pub use topic::{TopicFilter, TopicName};

/// The largest remaining length that four bytes can say (v3 2.2.3, v5 1.5.5).
pub const REMAINING_BYTES_MAX: usize = 268_435_455;

/// The largest packet: a remaining length of four bytes, and the byte before it.
pub const PACKET_BYTES_MAX: u32 = 268_435_460;

/// What identifies a PUBLISH above QoS 0, a SUBSCRIBE or an UNSUBSCRIBE until it is acknowledged; never 0.
pub type PacketId = core::num::NonZeroU16;

/// What stands for a topic on one connection, in one direction; never 0 (v5 3.3.2.3.4).
pub type TopicAlias = core::num::NonZeroU16;

/// The version that a connection speaks; its number is the protocol level of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1.1.
    V3 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// How surely a message is delivered (4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The quality of service of two bits.
    #[must_use]
    pub const fn from_wire(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Which end of a connection receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The server: what it reads was sent by a client.
    Server,
    /// The client: what it reads was sent by the server.
    Client,
}
