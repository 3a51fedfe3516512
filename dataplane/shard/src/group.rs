//! What the two ends of a feed call things: a group of consumers, a feed, a session that it sends to, and what they say.
//!
//! ```text
//!   consumer's shard                                                   lane's shard
//!     Word: a session of stream S, group G, is there (gone)   ──▶      every shard: a feed for (S, G)
//!     Settled: done with, refused, too long                   ◀──▶     Message: position, event
//! ```

use crate::hop::ReplyTo;
use base::UnixMicros;
use journal::GROUP_BYTES_MAX;
use wire::acknowledgement::MESSAGE_ID_BYTES_MAX;

/// The name of a group of consumers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    bytes: [u8; GROUP_BYTES_MAX],
    len: u8,
}

impl Default for Group {
    /// Of sessions that name none.
    fn default() -> Self {
        Self::new("default").expect("a name")
    }
}

impl Group {
    /// A group's name: letters, digits, `-`, `_` and `.`, 1 to 32 of them.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=GROUP_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        fits.then(|| Self::from_bytes(name.as_bytes()))?
    }

    /// Of bytes that were a name.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; GROUP_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        core::str::from_utf8(name).ok()?;
        Some(Self { bytes, len: name.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        core::str::from_utf8(self.bytes()).expect("a name is text")
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Where a group begins to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum From {
    /// Where it was; a new group at the earliest message that is kept.
    #[default]
    Cursor,
    /// At the earliest message that is kept.
    Earliest,
    /// At the next message.
    Latest,
    /// At the first message of this time, or later.
    Time(UnixMicros),
}

impl From {
    pub(crate) const fn to_wire(self) -> (u8, u64) {
        match self {
            Self::Cursor => (0, 0),
            Self::Earliest => (1, 0),
            Self::Latest => (2, 0),
            Self::Time(at) => (3, at.0),
        }
    }

    pub(crate) const fn from_wire(kind: u8, value: u64) -> Option<Self> {
        Some(match kind {
            0 => Self::Cursor,
            1 => Self::Earliest,
            2 => Self::Latest,
            3 => Self::Time(UnixMicros(value)),
            _ => return None,
        })
    }
}

/// The `Id` of a message, as a consumer said it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageId {
    bytes: [u8; MESSAGE_ID_BYTES_MAX],
    len: u8,
}

impl MessageId {
    /// An `Id`: letters and digits in parts, a `-` between each two; so it is no number.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let fits = text.len() <= MESSAGE_ID_BYTES_MAX && text.contains('-') && text.split('-').all(is_part);
        let mut bytes = [0; MESSAGE_ID_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        fits.then_some(Self { bytes, len: text.len() as u8 })
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("letters, digits and signs")
    }
}

/// Where a session wants its group to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    At(From),
    /// At this message, which the keeper has to find.
    Message(MessageId),
}

/// Why a message is not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotFound {
    /// There is none, or it is no longer kept.
    Unknown,
    /// Too many are looked for, or the journal cannot be read.
    Busy,
}

/// A feed of some shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FeedRef {
    pub(crate) shard: u8,
    pub(crate) index: u16,
    /// Tells a place's present feed from earlier ones, and what it sent to one session from what it sent to another.
    pub(crate) generation: u32,
}

/// A session says that it is there, or gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    pub(crate) stream: u32,
    pub(crate) group: Group,
    pub(crate) session: ReplyTo,
    /// Messages that it has room for, of all shards together.
    pub(crate) in_flight_max: u16,
    /// Where to begin, or that it is gone.
    pub(crate) what: SessionIs,
}

/// What a session says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SessionIs {
    Here(From),
    Gone,
}

/// What became of a message, or of all up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// The consumer is done with it.
    Done = 1,
    /// The consumer refuses it.
    Refused = 2,
    /// In the stream's format it is too long for a message.
    TooLong = 3,
    /// There is no such session: nothing was delivered.
    Nobody = 4,
}

impl Verdict {
    pub(crate) const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Done,
            2 => Self::Refused,
            3 => Self::TooLong,
            4 => Self::Nobody,
            _ => return None,
        })
    }
}

/// A session's word on a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settled {
    pub(crate) feed: FeedRef,
    pub(crate) position: u64,
    pub(crate) verdict: Verdict,
}
