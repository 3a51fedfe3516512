//! Packets out of what has arrived.
//!
//! The first byte is looked up in a table of those that may come from the other side in this version, so that type,
//! direction and flags are one question; the length is known, and too large a packet refused, before its body is there.

use crate::read::Read;
use crate::{
    Ack, AckKind, Auth, Connack, Disconnect, Failure, Packet, Publish, Role, Suback, Subscribe, Unsuback, Unsubscribe,
    Version,
};

/// What the bytes that have arrived amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<P> {
    /// Not enough yet: nothing can be said before so many bytes are there, counted from the packet's first.
    Incomplete {
        /// More than there are; the whole packet's, once its length is known.
        needed: usize,
    },
    /// A packet, and how many bytes it took.
    Packet(P, usize),
}

/// Decodes what one side of a connection receives, after CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Which side receives.
    pub receiver: Role,
    /// What CONNECT said.
    pub version: Version,
    /// Bytes of the largest packet that is taken, its fixed header included.
    pub packet_bytes_max: u32,
}

/// A fixed header whose first byte is right.
pub(crate) struct Head {
    /// Where the body begins.
    pub(crate) body_at: usize,
    /// Bytes of the whole packet.
    pub(crate) packet_bytes: usize,
    /// The remaining length takes more bytes than it needs.
    pub(crate) is_padded: bool,
}

/// The remaining length behind the first byte (v3 2.2.3, v5 2.1.4). `None`: it goes on beyond `input`.
pub(crate) fn head(input: &[u8]) -> Result<Option<Head>, Failure> {
    let mut body_bytes = 0;
    for index in 0..4 {
        let Some(byte) = input.get(1 + index) else {
            return Ok(None);
        };
        body_bytes |= usize::from(byte & 0x7F) << (7 * index);
        if *byte < 0x80 {
            let body_at = 2 + index;
            return Ok(Some(Head { body_at, packet_bytes: body_at + body_bytes, is_padded: index > 0 && *byte == 0 }));
        }
    }
    Err(Failure::RemainingLength)
}

/// Types that a receiver gets, a bit each.
const fn types(receiver: Role, version: Version) -> u16 {
    let both = 0b0000_0000_1111_1000;
    let of_version = match version {
        Version::V3 => 0,
        Version::V5 => 1 << 14 | 1 << 15,
    };
    match receiver {
        Role::Server => both | of_version | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14,
        Role::Client => both | of_version | 1 << 2 | 1 << 9 | 1 << 11 | 1 << 13,
    }
}

/// Flags that a type has, but for PUBLISH (v3 2.2.2, v5 2.1.3).
const fn flags(kind: u8) -> u8 {
    if matches!(kind, 6 | 8 | 10) { 2 } else { 0 }
}

/// First bytes that a receiver gets, a bit each.
const fn firsts(receiver: Role, version: Version) -> [u64; 4] {
    let mut firsts = [0; 4];
    let mut first = 0;
    while first < 256 {
        let (kind, low) = (first as u8 >> 4, first as u8 & 15);
        let is_right = match kind {
            // Not both bits of QoS, and DUP only above QoS 0.
            3 => low & 6 != 6 && (low & 8 == 0 || low & 6 != 0),
            _ => low == flags(kind),
        };
        if is_right && types(receiver, version) >> kind & 1 != 0 {
            firsts[first >> 6] |= 1 << (first & 63);
        }
        first += 1;
    }
    firsts
}

static FIRSTS: [[[u64; 4]; 2]; 2] = [
    [firsts(Role::Server, Version::V3), firsts(Role::Server, Version::V5)],
    [firsts(Role::Client, Version::V3), firsts(Role::Client, Version::V5)],
];

impl Decoder {
    /// Decodes the packet that `input` begins with, as far as it has arrived.
    ///
    /// # Errors
    /// Why the connection must end, as soon as the bytes show it. [`Failure::reason_code`] is for the DISCONNECT before that,
    /// which 3.1.1 does not have.
    #[inline]
    pub fn decode<'a>(&self, input: &'a [u8]) -> Result<Decoded<Packet<'a>>, Failure> {
        let Some(&first) = input.first() else {
            return Ok(Decoded::Incomplete { needed: 2 });
        };
        let expected = &FIRSTS[self.receiver as usize][usize::from(self.version == Version::V5)];
        if expected[usize::from(first >> 6)] >> (first & 63) & 1 == 0 {
            return Err(self.unexpected(first));
        }
        let (body_at, packet_bytes) = match *input {
            [_, length, ..] if length < 0x80 => (2, 2 + usize::from(length)),
            _ => match head(input)? {
                None => return Ok(Decoded::Incomplete { needed: input.len() + 1 }),
                Some(Head { is_padded: true, .. }) if self.version == Version::V5 => {
                    return Err(Failure::RemainingLength);
                }
                Some(head) => (head.body_at, head.packet_bytes),
            },
        };
        if packet_bytes > self.packet_bytes_max as usize {
            return Err(Failure::TooLarge);
        }
        let Some(body) = input.get(body_at..packet_bytes) else {
            return Ok(Decoded::Incomplete { needed: packet_bytes });
        };
        let packet = self.body(first, Read(body))?;
        Ok(Decoded::Packet(packet, packet_bytes))
    }

    #[inline]
    fn body<'a>(&self, first: u8, read: Read<'a>) -> Result<Packet<'a>, Failure> {
        let Self { receiver, version, .. } = *self;
        match first >> 4 {
            3 => Publish::parse(first, read, version, receiver).map(Packet::Publish),
            kind @ 4..=7 => {
                let kind = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp][usize::from(kind & 3)];
                Ack::parse(kind, read, version, receiver).map(Packet::Ack)
            }
            kind => self.rarer(kind, read),
        }
    }

    /// Packets of which a connection sees few.
    #[cold]
    fn rarer<'a>(&self, kind: u8, read: Read<'a>) -> Result<Packet<'a>, Failure> {
        let Self { receiver, version, .. } = *self;
        match kind {
            2 => Connack::parse(read, version).map(Packet::Connack),
            8 => Subscribe::parse(read, version, receiver).map(Packet::Subscribe),
            9 => Suback::parse(read, version, receiver).map(Packet::Suback),
            10 => Unsubscribe::parse(read, version, receiver).map(Packet::Unsubscribe),
            11 => Unsuback::parse(read, version, receiver).map(Packet::Unsuback),
            12 => read.end().map(|()| Packet::Pingreq),
            13 => read.end().map(|()| Packet::Pingresp),
            14 => Disconnect::parse(read, version, receiver).map(Packet::Disconnect),
            15 => Auth::parse(read, receiver).map(Packet::Auth),
            _ => Err(Failure::PacketType),
        }
    }

    /// Why this first byte is none that may come.
    #[cold]
    const fn unexpected(&self, first: u8) -> Failure {
        let kind = first >> 4;
        if kind == 0 || kind == 15 && matches!(self.version, Version::V3) {
            return Failure::PacketType;
        }
        if kind == 1 && matches!(self.receiver, Role::Server) {
            return Failure::SecondConnect;
        }
        if types(self.receiver, self.version) >> kind & 1 == 0 {
            return Failure::Direction;
        }
        match (kind, first & 6) {
            (3, 6) => Failure::Qos,
            (3, _) => Failure::Dup,
            _ => Failure::Flags,
        }
    }
}
