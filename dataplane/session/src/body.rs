//! What the records of the journal say: the bodies of those that concern devices and their messages.
//!
//! Owns their layouts; writes into a caller's buffer, reads borrowed views. Little endian.
//!
//! ```text
//!   uplink       | flags | 0 0 0 | advance 28 | event, if there is one ... |
//!   dead letter  | stream u32 | position u64 | attempts | reason | group len | 0 | group ... | event ... |
//!   put back     | stream u32 | position u64 | 0 0 | group len | 0 | group ... | event ... |
//! ```
//! The others are a [`SessionRecord`](crate::SessionRecord), a [`KeptDownlink`](crate::KeptDownlink), a
//! [`Dequeued`](crate::Dequeued), a DevEUI, and an event's own bytes.

use crate::change::{ADVANCE_BYTES, Advance};
use crate::record::take;
use event::{EVENT_BYTES_MAX, Event};

const UPLINK_HEAD_BYTES: usize = 4 + ADVANCE_BYTES;

/// The longest body that this module writes.
pub const BODY_BYTES_MAX: usize = UPLINK_HEAD_BYTES + 64 + EVENT_BYTES_MAX;

const FLAG_EVENT: u8 = 1;
const FLAG_OWES_BEST: u8 = 2;

/// An accepted uplink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkBody<'a> {
    /// What it changes.
    pub advance: Advance,
    /// What it says, if a durable stream wants it.
    pub event: Option<Event<'a>>,
    /// A durable stream waits for all its copies in one, whose record follows when its dedup window ends.
    pub owes_best: bool,
}

impl UplinkBody<'_> {
    /// Writes the body; says how many bytes.
    pub fn write(&self, out: &mut [u8; BODY_BYTES_MAX]) -> usize {
        let flags = (u8::from(self.event.is_some()) * FLAG_EVENT) | (u8::from(self.owes_best) * FLAG_OWES_BEST);
        out[..4].copy_from_slice(&[flags, 0, 0, 0]);
        out[4..UPLINK_HEAD_BYTES].copy_from_slice(&self.advance.to_wire());
        let Some(event) = &self.event else { return UPLINK_HEAD_BYTES };
        UPLINK_HEAD_BYTES + event.write(&mut out[UPLINK_HEAD_BYTES..]).expect("a body has room for any event")
    }
}

impl<'a> UplinkBody<'a> {
    /// Reads a body; `None` if it is none of this version.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<UPLINK_HEAD_BYTES>()?;
        let [flags, 0, 0, 0] = take::<4>(head, 0) else { return None };
        let event = match (flags & FLAG_EVENT != 0, rest) {
            (true, rest) => Some(Event::parse(rest).ok()?),
            (false, []) => None,
            (false, _) => return None,
        };
        (flags & !(FLAG_EVENT | FLAG_OWES_BEST) == 0).then(|| Self {
            advance: Advance::from_wire(&take(head, 4)),
            event,
            owes_best: flags & FLAG_OWES_BEST != 0,
        })
    }
}

/// Why a consumer did not take a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DeadReason {
    /// It refused it as often as its stream permits.
    Refused = 1,
    /// It did not acknowledge it in time, as often as its stream permits.
    TimedOut = 2,
    /// In the stream's format it is longer than a message may be.
    TooLong = 3,
}

impl DeadReason {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::TooLong => "too_long",
        }
    }

    /// The inverse of the discriminant.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Refused,
            2 => Self::TimedOut,
            3 => Self::TooLong,
            _ => return None,
        })
    }
}

/// A message that a stream's consumers did not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterBody<'a> {
    /// The stream.
    pub stream: u32,
    /// Where its record stands.
    pub position: u64,
    /// How often it was delivered.
    pub attempts: u8,
    /// Why it is dead.
    pub reason: DeadReason,
    /// The group of consumers, at most 32 bytes.
    pub group: &'a str,
    /// What it said.
    pub event: Event<'a>,
}

const LETTER_HEAD_BYTES: usize = 16;
const GROUP_BYTES_MAX: usize = 32;

impl<'a> DeadLetterBody<'a> {
    /// Writes the body; says how many bytes.
    ///
    /// # Panics
    /// If the group's name is too long: our own mistake.
    pub fn write(&self, out: &mut [u8; BODY_BYTES_MAX]) -> usize {
        let said = [self.attempts, self.reason as u8];
        write_letter(self.stream, self.position, said, self.group, &self.event, out)
    }

    /// Reads a body; `None` if it is none of this version.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let Letter { stream, position, said: [attempts, reason], group, event } = Letter::parse(body)?;
        Some(Self { stream, position, attempts, reason: DeadReason::from_u8(reason)?, group, event })
    }
}

/// A dead letter that is delivered again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutBackBody<'a> {
    /// The stream.
    pub stream: u32,
    /// Where the dead letter's record stands.
    pub position: u64,
    /// The group of consumers that did not take it, at most 32 bytes.
    pub group: &'a str,
    /// What it says.
    pub event: Event<'a>,
}

impl<'a> PutBackBody<'a> {
    /// Writes the body; says how many bytes.
    ///
    /// # Panics
    /// If the group's name is too long: our own mistake.
    pub fn write(&self, out: &mut [u8; BODY_BYTES_MAX]) -> usize {
        write_letter(self.stream, self.position, [0, 0], self.group, &self.event, out)
    }

    /// Reads a body; `None` if it is none of this version.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let letter = Letter::parse(body)?;
        let Letter { stream, position, said: [0, 0], group, event } = letter else { return None };
        Some(Self { stream, position, group, event })
    }
}

/// What both kinds of letters have.
struct Letter<'a> {
    stream: u32,
    position: u64,
    said: [u8; 2],
    group: &'a str,
    event: Event<'a>,
}

fn write_letter(
    stream: u32,
    position: u64,
    said: [u8; 2],
    group: &str,
    event: &Event<'_>,
    out: &mut [u8; BODY_BYTES_MAX],
) -> usize {
    let group = group.as_bytes();
    assert!(group.len() <= GROUP_BYTES_MAX, "a group's name within its bound");
    out[..4].copy_from_slice(&stream.to_le_bytes());
    out[4..12].copy_from_slice(&position.to_le_bytes());
    out[12..14].copy_from_slice(&said);
    out[14..16].copy_from_slice(&[group.len() as u8, 0]);
    let at = LETTER_HEAD_BYTES + group.len();
    out[LETTER_HEAD_BYTES..at].copy_from_slice(group);
    at + event.write(&mut out[at..]).expect("a body has room for any event")
}

impl<'a> Letter<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<LETTER_HEAD_BYTES>()?;
        let [first, second, group_bytes, 0] = take::<4>(head, 12) else { return None };
        let (group, event) = rest.split_at_checked(usize::from(group_bytes))?;
        Some(Self {
            stream: u32::from_le_bytes(take(head, 0)),
            position: u64::from_le_bytes(take(head, 4)),
            said: [first, second],
            group: core::str::from_utf8(group).ok().filter(|group| group.len() <= GROUP_BYTES_MAX)?,
            event: Event::parse(event).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Eui64, UnixMicros};
    use event::Kind;

    #[test]
    fn reads_what_it_wrote_and_nothing_shorter() {
        let advance = Advance { dev_eui: Eui64::new(1), session: 2, fcnt_up: 3, mic: 4, gateway: Eui64::new(5) };
        let event = Event { dev_eui: Eui64::new(1), payload: b"abc", ..Event::new(Kind::Uplink, UnixMicros(9)) };
        let mut out = [0xFF; BODY_BYTES_MAX];
        for (event, owes_best) in [(None, false), (Some(event.clone()), true), (Some(event.clone()), false)] {
            let body = UplinkBody { advance, event, owes_best };
            let count = body.write(&mut out);
            assert_eq!(UplinkBody::parse(&out[..count]), Some(body));
            assert_eq!(UplinkBody::parse(&out[..count - 1]), None);
        }
        for group in ["", "thirty-two bytes of a group name"] {
            let event = event.clone();
            let reason = DeadReason::Refused;
            let body = DeadLetterBody { stream: 7, position: 8, attempts: 5, reason, group, event };
            let count = body.write(&mut out);
            assert_eq!(DeadLetterBody::parse(&out[..count]), Some(body));
            assert_eq!(DeadLetterBody::parse(&out[..count - 1]), None);
        }
        let body = PutBackBody { stream: 7, position: u64::MAX, group: "g", event };
        let count = body.write(&mut out);
        assert_eq!(PutBackBody::parse(&out[..count]), Some(body));
        assert_eq!(PutBackBody::parse(&out[..count - 1]), None);
        assert_eq!((UplinkBody::parse(&[]), DeadLetterBody::parse(&[]), PutBackBody::parse(&[])), (None, None, None));
    }

    #[test]
    fn reasons_have_their_numbers() {
        for reason in [DeadReason::Refused, DeadReason::TimedOut, DeadReason::TooLong] {
            assert_eq!(DeadReason::from_u8(reason as u8), Some(reason));
        }
        assert_eq!(DeadReason::from_u8(0), None);
    }
}
