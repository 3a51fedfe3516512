//! What the brokers of several shards say to each other, and its bytes in the rings between them.
//!
//! ```text
//!   Forwarded: | flags 1 | source 1 | topic bytes 2 | properties bytes 4 | space 4 | expiry 4 | stamp 8 | directed 13 |
//!              | topic | properties | payload |
//!   Word:      | kind 1 | flags 1 | shard 1 | space 4 | slot 4 | generation 4 | identifier 4 | filter |
//! ```
//!
//! Bytes are of our own making: what does not parse is a defect of ours, and the caller counts it.

use mqtt::Qos;
use topics::{Delta, Options};

/// A session, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its shard.
    pub shard: u8,
    /// Its slot there.
    pub slot: u32,
    /// Which of the sessions that had the slot.
    pub generation: u32,
}

/// To whom a message goes that was chosen from a shared group on another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directed {
    /// The session's slot on the shard that gets this.
    pub slot: u32,
    /// Which of the sessions that had the slot.
    pub generation: u32,
    /// What it gets it with: the QoS is already the lower one.
    pub options: Options,
}

/// A message that goes to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The shard that it comes from.
    pub source: u8,
    /// Its topic space.
    pub space: u32,
    /// As it was published.
    pub qos: Qos,
    /// It is to be retained. An empty one then takes the retained message away.
    pub retain: bool,
    /// Microseconds since 1970, and unlike those of every other message of its source: of two retained messages the later
    /// stays, of equals the one of the higher shard.
    pub stamp: u64,
    /// Seconds that are left of it.
    pub expiry_s: Option<u32>,
    /// It is for one session alone.
    pub directed: Option<Directed>,
    /// Where it goes.
    pub topic: &'a [u8],
    /// The properties that every subscriber gets, without the length before them.
    pub properties: &'a [u8],
    /// What it says.
    pub payload: &'a [u8],
}

/// What shards tell each other beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// What a shard is interested in has changed.
    Interest {
        /// Whose interest it is.
        shard: u8,
        /// The change.
        delta: Delta,
    },
    /// A session joins a shared group that the hearer keeps, or changes its options there.
    Join {
        /// Who.
        member: Member,
        /// Its topic space.
        space: u32,
        /// Whether its client is connected.
        online: bool,
        /// What it asked for.
        options: Options,
        /// With `$share/NAME/`.
        filter: &'a [u8],
    },
    /// A session leaves such a group.
    Leave {
        /// Who.
        member: Member,
        /// Its topic space.
        space: u32,
        /// With `$share/NAME/`.
        filter: &'a [u8],
    },
    /// The client of a member came or went.
    Online {
        /// Who.
        member: Member,
        /// It came.
        online: bool,
    },
    /// A session is no more, and in no group.
    Gone {
        /// Which.
        member: Member,
    },
}

const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;
const DIRECTED: u8 = 16;

/// Bytes of a message before its topic.
pub const FORWARDED_HEAD_BYTES: usize = 37;

/// Bytes of a word before its filter.
pub const WORD_HEAD_BYTES: usize = 19;

const fn flags_of(options: Options) -> u8 {
    options.qos
        | (options.no_local as u8) << 2
        | (options.retain_as_published as u8) << 3
        | options.retain_handling << 4
}

const fn options_of(flags: u8, identifier: u32) -> Option<Options> {
    let options = Options {
        qos: flags & 3,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: flags >> 4 & 3,
        identifier,
    };
    if options.qos > 2 || options.retain_handling > 2 { None } else { Some(options) }
}

/// Takes `N` bytes of the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (front, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(front)
}

fn four(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(|four| u32::from_le_bytes(*four))
}

impl<'a> Forwarded<'a> {
    /// The bytes before topic, properties and payload, which follow in this order.
    ///
    /// # Panics
    /// If the topic or the properties are longer than a packet can have them: our own mistake.
    #[must_use]
    pub fn head(&self) -> [u8; FORWARDED_HEAD_BYTES] {
        assert!(self.topic.len() <= 0xFFFF && self.properties.len() <= u32::MAX as usize, "lengths fit");
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let mut head = [0; FORWARDED_HEAD_BYTES];
        head[0] = self.qos as u8
            | flag(self.retain, RETAIN)
            | flag(self.expiry_s.is_some(), EXPIRES)
            | flag(self.directed.is_some(), DIRECTED);
        head[1] = self.source;
        head[2..4].copy_from_slice(&(self.topic.len() as u16).to_le_bytes());
        head[4..8].copy_from_slice(&(self.properties.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&self.space.to_le_bytes());
        head[12..16].copy_from_slice(&self.expiry_s.unwrap_or(0).to_le_bytes());
        head[16..24].copy_from_slice(&self.stamp.to_le_bytes());
        if let Some(Directed { slot, generation, options }) = self.directed {
            head[24..28].copy_from_slice(&slot.to_le_bytes());
            head[28..32].copy_from_slice(&generation.to_le_bytes());
            head[32..36].copy_from_slice(&options.identifier.to_le_bytes());
            head[36] = flags_of(options);
        }
        head
    }

    /// The message of these bytes: a head, topic, properties and payload.
    #[must_use]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let [flags, source] = *take(&mut bytes)?;
        let topic_bytes = usize::from(u16::from_le_bytes(*take(&mut bytes)?));
        let properties_bytes = four(&mut bytes)? as usize;
        let (space, expiry_s) = (four(&mut bytes)?, four(&mut bytes)?);
        let stamp = u64::from_le_bytes(*take(&mut bytes)?);
        let (slot, generation, identifier) = (four(&mut bytes)?, four(&mut bytes)?, four(&mut bytes)?);
        let [own] = *take(&mut bytes)?;
        let (topic, bytes) = bytes.split_at_checked(topic_bytes)?;
        let (properties, payload) = bytes.split_at_checked(properties_bytes)?;
        let directed = if flags & DIRECTED == 0 {
            None
        } else {
            Some(Directed { slot, generation, options: options_of(own, identifier)? })
        };
        Some(Self {
            source,
            space,
            qos: Qos::from_wire(flags & 3)?,
            retain: flags & RETAIN != 0,
            stamp,
            expiry_s: (flags & EXPIRES != 0).then_some(expiry_s),
            directed,
            topic,
            properties,
            payload,
        })
    }
}

impl<'a> Word<'a> {
    /// The bytes before the filter, and the filter.
    #[must_use]
    pub fn pieces(&self) -> ([u8; WORD_HEAD_BYTES], &'a [u8]) {
        let nobody = Member { shard: 0, slot: 0, generation: 0 };
        let (kind, flags, member, space, identifier, filter): (u8, u8, Member, u32, u32, &[u8]) = match *self {
            Self::Interest { shard, delta } => (0, 0, Member { shard, ..nobody }, 0, delta.to_wire(), b""),
            Self::Join { member, space, online, options, filter } => {
                (1, flags_of(options) | u8::from(online) << 7, member, space, options.identifier, filter)
            }
            Self::Leave { member, space, filter } => (2, 0, member, space, 0, filter),
            Self::Online { member, online } => (3, u8::from(online), member, 0, 0, b""),
            Self::Gone { member } => (4, 0, member, 0, 0, b""),
        };
        let mut head = [0; WORD_HEAD_BYTES];
        head[..3].copy_from_slice(&[kind, flags, member.shard]);
        for (at, number) in [(3, space), (7, member.slot), (11, member.generation), (15, identifier)] {
            head[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        (head, filter)
    }

    /// The word of these bytes.
    #[must_use]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let [kind, flags, shard] = *take(&mut bytes)?;
        let space = four(&mut bytes)?;
        let (slot, generation, identifier) = (four(&mut bytes)?, four(&mut bytes)?, four(&mut bytes)?);
        let (member, filter) = (Member { shard, slot, generation }, bytes);
        match kind {
            0 => Some(Self::Interest { shard, delta: Delta::from_wire(identifier) }),
            1 => {
                let options = options_of(flags & 0x7F, identifier)?;
                Some(Self::Join { member, space, online: flags & 0x80 != 0, options, filter })
            }
            2 => Some(Self::Leave { member, space, filter }),
            3 => Some(Self::Online { member, online: flags & 1 != 0 }),
            4 => Some(Self::Gone { member }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let options = Options { qos: 1, retain_as_published: true, retain_handling: 2, identifier: 7, no_local: false };
        let whole = Forwarded {
            source: 3,
            space: 0xAABB_CCDD,
            qos: Qos::ExactlyOnce,
            retain: true,
            stamp: u64::MAX - 1,
            expiry_s: Some(0),
            directed: Some(Directed { slot: 5, generation: 9, options }),
            topic: b"a/b",
            properties: b"\x01\x01",
            payload: b"x",
        };
        for message in [whole, Forwarded { expiry_s: None, directed: None, retain: false, payload: b"", ..whole }] {
            let bytes = [&message.head()[..], message.topic, message.properties, message.payload].concat();
            assert_eq!(Forwarded::parse(&bytes), Some(message));
            let shorter = bytes.len() - message.payload.len() - 1;
            assert_eq!(Forwarded::parse(&bytes[..shorter]), None);
        }
        let mut deltas = Vec::new();
        topics::Interests::new(64, topics::Key([1; 16])).add(9, b"a/#", |delta| deltas.push(delta));
        let delta = deltas[0];
        let member = Member { shard: 63, slot: 1, generation: 2 };
        for word in [
            Word::Interest { shard: 4, delta },
            Word::Join { member, space: 1, online: true, options, filter: b"$share/g/a" },
            Word::Join { member, space: 1, online: false, options: Options::default(), filter: b"$share/g/a" },
            Word::Leave { member, space: 1, filter: b"$share/g/a" },
            Word::Online { member, online: true },
            Word::Online { member, online: false },
            Word::Gone { member },
        ] {
            let (head, filter) = word.pieces();
            assert_eq!(Word::parse(&[&head[..], filter].concat()), Some(word));
            assert_eq!(Word::parse(&head[..WORD_HEAD_BYTES - 1]), None);
        }
    }
}
