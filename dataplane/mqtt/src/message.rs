//! A PUBLISH for many receivers: what they share is serialised once, what differs is put right for each.
//!
//! ```text
//!   head: | fixed header | topic | packet id | length of all properties | alias, expiry, subscription ids |
//!   tail:                                                      | properties that all get | payload |
//! ```
//!
//! Receivers of one version and quality of service that differ in the packet identifier alone share the whole frame:
//! [`Message::write`] it once, copy it, and set the identifier where the [`Layout`] says. Receivers with aliases or
//! subscription identifiers of their own share the tail: [`Message::write_head`] for each, [`Message::write_tail`] once.

use crate::publish::{DUP, RETAIN, first_byte};
use crate::put::{NoRoom, Put, framed_bytes, variable_bytes};
use crate::{
    Delivery, PacketId, Properties, PropertyId, Publish, Qos, REMAINING_BYTES_MAX, SubscriptionId, TopicAlias,
    TopicName, Version, Will,
};

/// What every receiver of a message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    topic: TopicName<'a>,
    properties: Properties<'a>,
    payload: &'a [u8],
}

/// What stands for the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// The topic itself.
    Topic,
    /// The topic, and the alias that stands for it from here on.
    Set(TopicAlias),
    /// The alias alone.
    Use(TopicAlias),
}

/// What one receiver gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// How it is delivered to it.
    pub delivery: Delivery,
    /// It may have been sent to it before.
    pub dup: bool,
    /// It comes of a new subscription, or the subscription wants the flag as published.
    pub retain: bool,
    /// What stands for the topic; with 3.1.1 the topic always does.
    pub alias: Alias,
    /// Seconds that are left of the message; with 5.0.
    pub expiry_s: Option<u32>,
    /// Its subscriptions that match; with 5.0.
    pub subscription_ids: &'a [SubscriptionId],
}

impl Outgoing<'_> {
    /// Nothing but a delivery.
    #[must_use]
    pub const fn new(delivery: Delivery) -> Self {
        Self { delivery, dup: false, retain: false, alias: Alias::Topic, expiry_s: None, subscription_ids: &[] }
    }

    fn properties_bytes(&self) -> usize {
        let alias = if self.alias == Alias::Topic { 0 } else { 3 };
        let expiry = if self.expiry_s.is_some() { 5 } else { 0 };
        let id = |id: &SubscriptionId| 1 + variable_bytes(id.get() as usize);
        alias + expiry + self.subscription_ids.iter().map(id).sum::<usize>()
    }
}

/// Where in a frame stands what differs between its receivers, counted from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes that were written: of the frame, or of its head.
    pub bytes: usize,
    /// Where the packet identifier is; `None` with QoS 0.
    pub packet_id_at: Option<usize>,
    /// Where the message expiry interval is, if there is one.
    pub expiry_at: Option<usize>,
}

impl Layout {
    /// Sets the packet identifier of a copy; nothing with QoS 0, which has none.
    ///
    /// # Panics
    /// If `frame` is shorter than its head: our own mistake.
    #[inline]
    pub fn set_packet_id(&self, frame: &mut [u8], id: PacketId) {
        if let Some(at) = self.packet_id_at {
            frame[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
    }

    /// Sets the seconds that are left of a copy; nothing if it has no message expiry.
    ///
    /// # Panics
    /// If `frame` is shorter than its head: our own mistake.
    pub fn set_expiry_s(&self, frame: &mut [u8], expiry_s: u32) {
        if let Some(at) = self.expiry_at {
            frame[at..at + 4].copy_from_slice(&expiry_s.to_be_bytes());
        }
    }

    /// Sets the flags of a copy; DUP never with QoS 0.
    ///
    /// # Panics
    /// If `frame` is empty: our own mistake.
    pub fn set_flags(&self, frame: &mut [u8], dup: bool, retain: bool) {
        let dup = if dup && self.packet_id_at.is_some() { DUP } else { 0 };
        frame[0] = frame[0] & !(DUP | RETAIN) | dup | if retain { RETAIN } else { 0 };
    }
}

impl<'a> Message<'a> {
    /// A message; of its properties, those that every subscriber gets ([`Properties::forwarded`]).
    #[must_use]
    pub const fn new(topic: TopicName<'a>, properties: Properties<'a>, payload: &'a [u8]) -> Self {
        Self { topic, properties: properties.forwarded(), payload }
    }

    /// What a PUBLISH on that topic brought, which is its own or the one that its alias stands for.
    #[must_use]
    pub const fn of(publish: &Publish<'a>, topic: TopicName<'a>) -> Self {
        Self::new(topic, publish.properties, publish.payload)
    }

    /// What a will says.
    #[must_use]
    pub const fn of_will(will: &Will<'a>) -> Self {
        Self::new(will.topic, will.properties, will.payload.as_bytes())
    }

    /// Where it goes.
    #[must_use]
    pub const fn topic(&self) -> TopicName<'a> {
        self.topic
    }

    /// The properties that every subscriber gets.
    #[must_use]
    pub const fn properties(&self) -> Properties<'a> {
        self.properties
    }

    /// What it says.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of the tail.
    #[must_use]
    pub fn tail_bytes(&self, version: Version) -> usize {
        match version {
            Version::V3 => self.payload.len(),
            Version::V5 => self.properties.encoded_bytes() + self.payload.len(),
        }
    }

    /// Writes the tail into the front of `out`: it is the same for every receiver of that version. Returns the count of
    /// bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write_tail(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        let count = self.tail_bytes(version);
        let mut put = Put::new(out.get_mut(..count).ok_or(NoRoom)?);
        if version == Version::V5 {
            self.properties.put(&mut put);
        }
        put.bytes(self.payload);
        put.end();
        Ok(count)
    }

    /// Bytes of the body, and of that what belongs to the head.
    fn body_bytes(&self, version: Version, outgoing: &Outgoing<'_>) -> (usize, usize) {
        let topic_bytes = match outgoing.alias {
            Alias::Use(_) if version == Version::V5 => 0,
            _ => self.topic.as_bytes().len(),
        };
        let id_bytes = if outgoing.delivery == Delivery::AtMostOnce { 0 } else { 2 };
        let (own_bytes, length_bytes) = match version {
            Version::V3 => (0, 0),
            Version::V5 => {
                let own_bytes = outgoing.properties_bytes();
                (own_bytes, variable_bytes(own_bytes + self.properties.encoded_bytes()))
            }
        };
        let head_bytes = 2 + topic_bytes + id_bytes + length_bytes + own_bytes;
        (head_bytes + self.tail_bytes(version), head_bytes)
    }

    /// Bytes of the whole frame for that receiver.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version, outgoing: &Outgoing<'_>) -> usize {
        framed_bytes(self.body_bytes(version, outgoing).0)
    }

    /// Bytes of the head for that receiver.
    #[must_use]
    pub fn head_bytes(&self, version: Version, outgoing: &Outgoing<'_>) -> usize {
        self.encoded_bytes(version, outgoing) - self.tail_bytes(version)
    }

    /// Writes the head into the front of `out`: behind it belongs the tail.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit, or if the whole would be longer than a packet may be.
    pub fn write_head(&self, version: Version, outgoing: &Outgoing<'_>, out: &mut [u8]) -> Result<Layout, NoRoom> {
        let (body_bytes, head_bytes) = self.body_bytes(version, outgoing);
        if body_bytes > REMAINING_BYTES_MAX {
            return Err(NoRoom);
        }
        let count = 1 + variable_bytes(body_bytes) + head_bytes;
        let mut put = Put::new(out.get_mut(..count).ok_or(NoRoom)?);
        let at = |put: &Put<'_>| count - put.left();
        put.one(first_byte(outgoing.delivery, outgoing.dup, outgoing.retain));
        put.variable(body_bytes);
        match (version, outgoing.alias) {
            (Version::V5, Alias::Use(_)) => put.two(0),
            _ => put.counted(self.topic.as_bytes()),
        }
        let packet_id_at = outgoing.delivery.packet_id().map(|id| {
            let packet_id_at = at(&put);
            put.two(id.get());
            packet_id_at
        });
        let mut expiry_at = None;
        if version == Version::V5 {
            put.variable(outgoing.properties_bytes() + self.properties.encoded_bytes());
            if let Alias::Set(alias) | Alias::Use(alias) = outgoing.alias {
                put.one(PropertyId::TopicAlias as u8);
                put.two(alias.get());
            }
            if let Some(expiry_s) = outgoing.expiry_s {
                put.one(PropertyId::MessageExpiryInterval as u8);
                expiry_at = Some(at(&put));
                put.four(expiry_s);
            }
            for id in outgoing.subscription_ids {
                put.one(PropertyId::SubscriptionIdentifier as u8);
                put.variable(id.get() as usize);
            }
        }
        put.end();
        Ok(Layout { bytes: count, packet_id_at, expiry_at })
    }

    /// Writes the whole frame into the front of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, outgoing: &Outgoing<'_>, out: &mut [u8]) -> Result<Layout, NoRoom> {
        let head = self.write_head(version, outgoing, out)?;
        let tail_bytes = self.write_tail(version, &mut out[head.bytes..])?;
        Ok(Layout { bytes: head.bytes + tail_bytes, ..head })
    }
}

impl Delivery {
    /// The same quality of service under another packet identifier.
    #[must_use]
    pub const fn with(qos: Qos, id: PacketId) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce(id),
            Qos::ExactlyOnce => Self::ExactlyOnce(id),
        }
    }
}
