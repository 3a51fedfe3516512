//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one form (3.4 to 3.7).
//!
//! | packet identifier 2 | reason code (v5, not 0) | properties (v5, not none) |

use crate::put::{NoRoom, Put, framed_bytes};
use crate::read::Read;
use crate::{Failure, PacketId, Place, Properties, ReasonCode, Role, Version};

/// Which of the four; its number is the packet type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AckKind {
    /// The answer to a PUBLISH of QoS 1.
    Puback = 4,
    /// The answer to a PUBLISH of QoS 2.
    Pubrec = 5,
    /// The answer to PUBREC.
    Pubrel = 6,
    /// The answer to PUBREL.
    Pubcomp = 7,
}

impl AckKind {
    const fn place(self) -> Place {
        match self {
            Self::Puback => Place::Puback,
            Self::Pubrec => Place::Pubrec,
            Self::Pubrel => Place::Pubrel,
            Self::Pubcomp => Place::Pubcomp,
        }
    }

    /// The first byte: PUBREL alone has a flag (3.6.1).
    const fn first(self) -> u8 {
        (self as u8) << 4 | if matches!(self, Self::Pubrel) { 2 } else { 0 }
    }
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which.
    pub kind: AckKind,
    /// Of which message.
    pub packet_id: PacketId,
    /// How it went; always success with 3.1.1.
    pub code: ReasonCode,
    /// With 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    #[must_use]
    pub const fn new(kind: AckKind, packet_id: PacketId, code: ReasonCode) -> Self {
        Self { kind, packet_id, code, properties: Properties::NONE }
    }

    /// Two bytes are a packet identifier and success, in either version.
    #[inline]
    pub(crate) fn parse(kind: AckKind, read: Read<'a>, version: Version, receiver: Role) -> Result<Self, Failure> {
        match *read.0 {
            [high, low] => match PacketId::new(u16::from_be_bytes([high, low])) {
                Some(packet_id) => Ok(Self::new(kind, packet_id, ReasonCode::Success)),
                None => Err(Failure::PacketId),
            },
            _ => Self::parse_longer(kind, read, version, receiver),
        }
    }

    fn parse_longer(kind: AckKind, mut read: Read<'a>, version: Version, receiver: Role) -> Result<Self, Failure> {
        let packet_id = read.packet_id()?;
        if version == Version::V3 {
            return Err(Failure::Trailing);
        }
        let code = ReasonCode::from_wire(read.one()?)
            .filter(|code| code.fits(kind.place(), receiver))
            .ok_or(Failure::ReasonCode)?;
        let properties = match read.is_empty() {
            true => Properties::NONE,
            false => Properties::read(&mut read, kind.place(), receiver)?,
        };
        read.end()?;
        Ok(Self { kind, packet_id, code, properties })
    }

    fn body_bytes(&self, version: Version) -> usize {
        match (version, self.properties.encoded_bytes(), self.code) {
            (Version::V3, ..) | (Version::V5, 0, ReasonCode::Success) => 2,
            (Version::V5, 0, _) => 3,
            (Version::V5, ..) => 3 + self.properties.framed_bytes(),
        }
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        framed_bytes(self.body_bytes(version))
    }

    /// Writes the packet into the front of `out`, as short as it can be. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    #[inline]
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        debug_assert!(self.code.fits(self.kind.place(), Role::Client), "a code of {:?}: {:?}", self.kind, self.code);
        let body_bytes = self.body_bytes(version);
        let (mut put, count) = Put::framed(self.kind.first(), body_bytes, out)?;
        put.two(self.packet_id.get());
        if body_bytes > 2 {
            put.one(self.code as u8);
        }
        if body_bytes > 3 {
            self.properties.put_framed(self.kind.place(), &mut put);
        }
        put.end();
        Ok(count)
    }
}
