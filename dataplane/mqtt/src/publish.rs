//! PUBLISH: a message (3.3).
//!
//! | topic length 2, topic | packet identifier 2 (above QoS 0) | properties (v5) | payload |

use crate::put::{NoRoom, Put, framed_bytes};
use crate::read::Read;
use crate::{Failure, PacketId, Place, Properties, PropertyId, Qos, Role, TopicName, Version};

pub(crate) const FIRST: u8 = 0x30;
pub(crate) const DUP: u8 = 0x08;
pub(crate) const RETAIN: u8 = 0x01;

/// How a message is delivered on this connection, and what it is called meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1, acknowledged by PUBACK.
    AtLeastOnce(PacketId),
    /// QoS 2, acknowledged by PUBREC, PUBREL and PUBCOMP.
    ExactlyOnce(PacketId),
}

impl Delivery {
    /// The quality of service.
    #[must_use]
    pub const fn qos(self) -> Qos {
        match self {
            Self::AtMostOnce => Qos::AtMostOnce,
            Self::AtLeastOnce(_) => Qos::AtLeastOnce,
            Self::ExactlyOnce(_) => Qos::ExactlyOnce,
        }
    }

    /// The packet identifier, above QoS 0.
    #[must_use]
    pub const fn packet_id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce(id) | Self::ExactlyOnce(id) => Some(id),
        }
    }
}

/// A message, from a client to the server or the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// How it is delivered.
    pub delivery: Delivery,
    /// It may have been sent before. Never so with QoS 0.
    pub dup: bool,
    /// It is to be retained, or was (3.3.1.3).
    pub retain: bool,
    /// Where it goes; `None`: where its topic alias says, and then it has one.
    pub topic: Option<TopicName<'a>>,
    /// With 5.0.
    pub properties: Properties<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// A message of QoS 0 without properties.
    #[must_use]
    pub const fn new(topic: TopicName<'a>, payload: &'a [u8]) -> Self {
        Self {
            delivery: Delivery::AtMostOnce,
            dup: false,
            retain: false,
            topic: Some(topic),
            properties: Properties::NONE,
            payload,
        }
    }

    #[inline]
    pub(crate) fn parse(first: u8, mut read: Read<'a>, version: Version, receiver: Role) -> Result<Self, Failure> {
        let topic = read.name_or_none()?;
        let delivery = match first >> 1 & 3 {
            0 => Delivery::AtMostOnce,
            1 => Delivery::AtLeastOnce(read.packet_id()?),
            2 => Delivery::ExactlyOnce(read.packet_id()?),
            _ => return Err(Failure::Qos),
        };
        let properties = match version {
            Version::V3 => Properties::NONE,
            Version::V5 => Properties::read(&mut read, Place::Publish, receiver)?,
        };
        if topic.is_none() {
            match version {
                Version::V3 => return Err(Failure::TopicName),
                Version::V5 if !properties.has(PropertyId::TopicAlias) => return Err(Failure::TopicMissing),
                Version::V5 => {}
            }
        }
        Ok(Self { delivery, dup: first & DUP != 0, retain: first & RETAIN != 0, topic, properties, payload: read.0 })
    }

    fn body_bytes(&self, version: Version) -> usize {
        let id_bytes = if self.delivery == Delivery::AtMostOnce { 0 } else { 2 };
        let properties_bytes = if version == Version::V5 { self.properties.framed_bytes() } else { 0 };
        2 + self.topic.map_or(0, |topic| topic.as_bytes().len()) + id_bytes + properties_bytes + self.payload.len()
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        framed_bytes(self.body_bytes(version))
    }

    /// Writes the packet into the front of `out`. Returns the count of bytes. For many receivers: [`crate::Message`].
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        debug_assert!(
            self.topic.is_some() || version == Version::V5 && self.properties.has(PropertyId::TopicAlias),
            "a message has a topic or an alias"
        );
        let (mut put, count) =
            Put::framed(first_byte(self.delivery, self.dup, self.retain), self.body_bytes(version), out)?;
        put.counted(self.topic.map_or(b"", TopicName::as_bytes));
        if let Some(id) = self.delivery.packet_id() {
            put.two(id.get());
        }
        if version == Version::V5 {
            self.properties.put_framed(Place::Publish, &mut put);
        }
        put.bytes(self.payload);
        put.end();
        Ok(count)
    }
}

/// DUP is never set with QoS 0 (3.3.1.1).
#[inline]
pub(crate) const fn first_byte(delivery: Delivery, dup: bool, retain: bool) -> u8 {
    let qos = delivery.qos() as u8;
    let dup = if dup && qos != 0 { DUP } else { 0 };
    FIRST | dup | qos << 1 | retain as u8
}
