//! Every packet but CONNECT: what a connection is made of once its version is settled.

use crate::{
    Ack, Auth, Connack, Disconnect, NoRoom, Properties, PropertyId, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
    Version,
};

/// A packet after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to CONNECT.
    Connack(Connack<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    /// Asks for messages.
    Subscribe(Subscribe<'a>),
    /// The answer to it.
    Suback(Suback<'a>),
    /// Asks for no more of them.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to it.
    Unsuback(Unsuback<'a>),
    /// Asks for a sign of life.
    Pingreq,
    /// A sign of life.
    Pingresp,
    /// The last packet.
    Disconnect(Disconnect<'a>),
    /// A step of an authentication.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Bytes of the packet; 0 for what 3.1.1 has no packet for.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        match self {
            Self::Connack(packet) => packet.encoded_bytes(version),
            Self::Publish(packet) => packet.encoded_bytes(version),
            Self::Ack(packet) => packet.encoded_bytes(version),
            Self::Subscribe(packet) => packet.encoded_bytes(version),
            Self::Suback(packet) => packet.encoded_bytes(version),
            Self::Unsubscribe(packet) => packet.encoded_bytes(version),
            Self::Unsuback(packet) => packet.encoded_bytes(version),
            Self::Pingreq | Self::Pingresp => 2,
            Self::Disconnect(packet) => packet.encoded_bytes(version),
            Self::Auth(packet) => packet.encoded_bytes(version),
        }
    }

    /// Writes the packet into the front of `out`. Returns the count of bytes, as [`Self::encoded_bytes`] does.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        match self {
            Self::Connack(packet) => packet.write(version, out),
            Self::Publish(packet) => packet.write(version, out),
            Self::Ack(packet) => packet.write(version, out),
            Self::Subscribe(packet) => packet.write(version, out),
            Self::Suback(packet) => packet.write(version, out),
            Self::Unsubscribe(packet) => packet.write(version, out),
            Self::Unsuback(packet) => packet.write(version, out),
            Self::Pingreq => ping(0xC0, out),
            Self::Pingresp => ping(0xD0, out),
            Self::Disconnect(packet) => packet.write(version, out),
            Self::Auth(packet) => packet.write(version, out),
        }
    }

    /// The packet as it may be sent to someone who takes no larger one: if it is too large, without its user properties, and
    /// if that is not enough, without its reason string (v5 3.2.2.3.9 and the like). `None`: it is still too large. A
    /// PUBLISH, a SUBSCRIBE and an UNSUBSCRIBE lose nothing.
    #[must_use]
    pub fn fitted(mut self, version: Version, packet_bytes_max: u32) -> Option<Self> {
        for left_out in [PropertyId::UserProperty, PropertyId::ReasonString] {
            if self.encoded_bytes(version) <= packet_bytes_max as usize {
                return Some(self);
            }
            let properties = self.informal()?;
            *properties = properties.without(left_out);
        }
        (self.encoded_bytes(version) <= packet_bytes_max as usize).then_some(self)
    }
}

impl<'a> Packet<'a> {
    /// The properties of a packet that can do without some.
    const fn informal(&mut self) -> Option<&mut Properties<'a>> {
        match self {
            Self::Connack(packet) => Some(&mut packet.properties),
            Self::Ack(packet) => Some(&mut packet.properties),
            Self::Suback(packet) => Some(&mut packet.properties),
            Self::Unsuback(packet) => Some(&mut packet.properties),
            Self::Disconnect(packet) => Some(&mut packet.properties),
            Self::Auth(packet) => Some(&mut packet.properties),
            Self::Publish(_) | Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Pingreq | Self::Pingresp => None,
        }
    }
}

fn ping(first: u8, out: &mut [u8]) -> Result<usize, NoRoom> {
    *out.first_chunk_mut().ok_or(NoRoom)? = [first, 0];
    Ok(2)
}
