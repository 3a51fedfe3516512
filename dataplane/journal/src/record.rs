//! Records: what a log holds, each bound to the place where it was written.
//!
//! Owns the layout and the marks; what other bodies mean is the business of those who wrote them. Little endian.
//!
//! ```text
//!   0 crc32 u32   4 bytes of the body u32   8 kind   9 lane   10 key u16   12 tenant u32   16 at u64   24 body ...
//!   then zeros up to a multiple of 8; the crc is over the position u64, then everything behind the crc, zeros included
//!
//!   cursor: key 1 if it is where the group is whatever it was before, as after a seek; else the greatest counts
//!   mark: key 1 if it closes its segment, else 0; body: up to which offset the log was stored when it was appended
//! ```

use crate::position::{ALIGN_BYTES, Position};
use crate::segment::take;
use base::UnixMicros;

/// Bytes before the body.
pub const HEAD_BYTES: usize = 24;

/// The longest body: a twin.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The longest record.
pub const RECORD_BYTES_MAX: usize = HEAD_BYTES + BODY_BYTES_MAX;

/// Lanes that a record may belong to.
pub const LANE_COUNT: u8 = 64;

/// Bytes of a mark.
pub const MARK_BYTES: usize = HEAD_BYTES + 8;

/// Key of a cursor that takes the place of all before it.
const KEY_SETS: u16 = 1;

/// Key of a mark behind which its segment holds nothing.
const KEY_CLOSES: u16 = 1;

const _: () = assert!(RECORD_BYTES_MAX.is_multiple_of(ALIGN_BYTES) && HEAD_BYTES.is_multiple_of(ALIGN_BYTES));

/// What a record tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Up to where the log is stored.
    Mark,
    /// An uplink that was accepted.
    Uplink,
    /// Another event of a device or a gateway.
    Event,
    /// State of a device.
    Device,
    /// A downlink that was accepted.
    Queued,
    /// A downlink that has had its end.
    Dequeued,
    /// How far a feed has come.
    Cursor,
    /// A message that a feed gave up.
    DeadLetter,
    /// A dead letter that is to be sent again.
    PutBack,
    /// A device or a stream that is no more.
    Removed,
    /// A group of consumers that is no more, in these lanes: a [`crate::CursorBody`]. What it was before counts no more.
    RemovedGroup,
    /// One of a later version: to be passed over.
    Unknown(u8),
}

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// What it tells.
    pub kind: Kind,
    /// The lane that it belongs to; below [`LANE_COUNT`].
    pub lane: u8,
    /// The key that its body is sealed with; 0 is none.
    pub key: u16,
    /// Whose it is.
    pub tenant: u32,
    /// When it happened.
    pub at: UnixMicros,
    /// Says the rest.
    pub body: &'a [u8],
}

/// Why no record can be read at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Nothing was written here.
    Empty,
    /// It goes on behind the bytes that are there.
    Truncated,
    /// Damaged, or written for another position.
    BadCrc,
    /// It claims to be longer than any record.
    TooLong,
}

impl Kind {
    /// The number of the kind.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Mark => 1,
            Self::Uplink => 2,
            Self::Event => 3,
            Self::Device => 4,
            Self::Queued => 5,
            Self::Dequeued => 6,
            Self::Cursor => 7,
            Self::DeadLetter => 8,
            Self::PutBack => 9,
            Self::Removed => 10,
            Self::RemovedGroup => 11,
            Self::Unknown(number) => number,
        }
    }

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Uplink => "uplink",
            Self::Event => "event",
            Self::Device => "device",
            Self::Queued => "queued",
            Self::Dequeued => "dequeued",
            Self::Cursor => "cursor",
            Self::DeadLetter => "dead_letter",
            Self::PutBack => "put_back",
            Self::Removed => "removed",
            Self::RemovedGroup => "removed_group",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The inverse of [`Kind::to_wire`].
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Mark,
            2 => Self::Uplink,
            3 => Self::Event,
            4 => Self::Device,
            5 => Self::Queued,
            6 => Self::Dequeued,
            7 => Self::Cursor,
            8 => Self::DeadLetter,
            9 => Self::PutBack,
            10 => Self::Removed,
            11 => Self::RemovedGroup,
            other => Self::Unknown(other),
        }
    }
}

impl<'a> Record<'a> {
    /// A mark. `stored` holds the offset, little endian.
    #[must_use]
    pub const fn mark(stored: &'a [u8; 8], closes: bool, at: UnixMicros) -> Self {
        Self { kind: Kind::Mark, lane: 0, key: if closes { KEY_CLOSES } else { 0 }, tenant: 0, at, body: stored }
    }

    /// Up to which offset the log was stored, if this is a mark.
    #[must_use]
    pub fn marked(&self) -> Option<u64> {
        if self.kind != Kind::Mark {
            return None;
        }
        Some(u64::from_le_bytes(self.body.try_into().ok()?))
    }

    /// The same record, of a cursor that takes the place of all before it in its lanes.
    #[must_use]
    pub const fn setting(self) -> Self {
        Self { key: KEY_SETS, ..self }
    }

    /// Whether this is a cursor that takes the place of all before it.
    #[must_use]
    pub fn sets(&self) -> bool {
        self.kind == Kind::Cursor && self.key == KEY_SETS
    }

    /// Whether this is the mark that closes its segment.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.kind == Kind::Mark && self.key == KEY_CLOSES
    }

    /// Bytes that [`Record::write`] needs: a multiple of 8.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        padded(self.body.len())
    }

    /// Encodes into the front of `out`, for `position`. Returns the count of bytes, or `None` without room or if the body
    /// is longer than [`BODY_BYTES_MAX`].
    pub fn write(&self, position: Position, out: &mut [u8]) -> Option<usize> {
        let count = self.encoded_bytes();
        if self.body.len() > BODY_BYTES_MAX {
            return None;
        }
        let out = out.get_mut(..count)?;
        out[4..8].copy_from_slice(&(self.body.len() as u32).to_le_bytes());
        out[8] = self.kind.to_wire();
        out[9] = self.lane;
        out[10..12].copy_from_slice(&self.key.to_le_bytes());
        out[12..16].copy_from_slice(&self.tenant.to_le_bytes());
        out[16..24].copy_from_slice(&self.at.0.to_le_bytes());
        let end = HEAD_BYTES + self.body.len();
        out[HEAD_BYTES..end].copy_from_slice(self.body);
        out[end..].fill(0);
        let crc = crc(position, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        Some(count)
    }

    /// Reads the record that was written for `position`, from the front of `bytes`. Returns it and its length there.
    ///
    /// # Errors
    /// [`Unreadable`]. Too few bytes are [`Unreadable::Truncated`], even if what is there is zeros.
    pub fn parse(position: Position, bytes: &'a [u8]) -> Result<(Self, usize), Unreadable> {
        let count = Self::claimed_bytes(bytes)?;
        let bytes = bytes.get(..count).ok_or(Unreadable::Truncated)?;
        if crc(position, &bytes[4..]) != u32::from_le_bytes(take(bytes, 0)) {
            return Err(Unreadable::BadCrc);
        }
        Ok((Self::trusted(bytes), count))
    }

    /// The length that the head at the front of `bytes` claims for its record.
    ///
    /// # Errors
    /// [`Unreadable`], never with [`Unreadable::BadCrc`]: that is not looked at.
    pub(crate) fn claimed_bytes(bytes: &[u8]) -> Result<usize, Unreadable> {
        let head = bytes.get(..HEAD_BYTES).ok_or(Unreadable::Truncated)?;
        if head.iter().all(|byte| *byte == 0) {
            return Err(Unreadable::Empty);
        }
        let body_bytes = u32::from_le_bytes(take(head, 4)) as usize;
        if body_bytes > BODY_BYTES_MAX { Err(Unreadable::TooLong) } else { Ok(padded(body_bytes)) }
    }

    /// The record in bytes that are known to begin with one.
    pub(crate) fn trusted(bytes: &'a [u8]) -> Self {
        let body_bytes = u32::from_le_bytes(take(bytes, 4)) as usize;
        Self {
            kind: Kind::from_wire(bytes[8]),
            lane: bytes[9],
            key: u16::from_le_bytes(take(bytes, 10)),
            tenant: u32::from_le_bytes(take(bytes, 12)),
            at: UnixMicros(u64::from_le_bytes(take(bytes, 16))),
            body: &bytes[HEAD_BYTES..HEAD_BYTES + body_bytes],
        }
    }
}

const fn padded(body_bytes: usize) -> usize {
    (HEAD_BYTES + body_bytes).next_multiple_of(ALIGN_BYTES)
}

fn crc(position: Position, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.0.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    const HERE: Position = Position::new(1, 2, 0x40);

    fn uplink(body: &[u8]) -> Record<'_> {
        Record {
            kind: Kind::Uplink,
            lane: 63,
            key: 0x0102,
            tenant: 0x0304_0506,
            at: UnixMicros(1_700_000_000_000_000),
            body,
        }
    }

    #[test]
    fn a_record_is_these_bytes() {
        let mut out = [9; 64];
        assert_eq!(uplink(b"payload..").write(HERE, &mut out), Some(40));
        let golden =
            b"\x4c\x8a\x1b\x97\x09\0\0\0\x02\x3f\x02\x01\x06\x05\x04\x03\0\x40\x1e\x18\x24\x0a\x06\0payload..\0\0\0\0\0\0\0";
        // The crc as zlib computes it.
        assert_eq!(out[..40], golden[..]);
        assert_eq!(out[40..], [9; 24], "nothing behind it is touched");
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut random = SplitMix64::new(1);
        let mut out = vec![0; RECORD_BYTES_MAX];
        let body: Vec<u8> = (0..BODY_BYTES_MAX).map(|at| at as u8).collect();
        for body_bytes in (0..100).chain([BODY_BYTES_MAX - 1, BODY_BYTES_MAX]) {
            let record = Record {
                kind: Kind::from_wire(random.next() as u8),
                lane: random.next() as u8,
                key: random.next() as u16,
                tenant: random.next() as u32,
                at: UnixMicros(random.next()),
                body: &body[..body_bytes],
            };
            let position = Position::new(random.next() as u16, 7, random.below(1 << 38) * 8);
            let count = record.write(position, &mut out).expect("room");
            assert_eq!(count, record.encoded_bytes());
            assert_eq!(Record::parse(position, &out), Ok((record, count)));
            assert_eq!(record.write(position, &mut out[..count - 1]), None);
            let elsewhere = position.checked_add(8).expect("not the last");
            assert_eq!(Record::parse(elsewhere, &out), Err(Unreadable::BadCrc));
        }
        assert_eq!(uplink(&[0; BODY_BYTES_MAX + 1]).write(HERE, &mut vec![0; RECORD_BYTES_MAX + 8]), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut out = [0; 48];
        let count = uplink(b"seventeen bytes..").write(HERE, &mut out).expect("room");
        for bit in 0..count * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            let error = Record::parse(HERE, &out[..count]).expect_err("damaged");
            assert!(matches!(error, Unreadable::BadCrc | Unreadable::Truncated | Unreadable::TooLong), "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..count {
            assert_eq!(Record::parse(HERE, &out[..cut]), Err(Unreadable::Truncated), "cut to {cut}");
        }
        assert_eq!(Record::parse(HERE, &[0; 24]), Err(Unreadable::Empty));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 0..=u8::MAX {
            let kind = Kind::from_wire(number);
            assert_eq!((kind.to_wire(), matches!(kind, Kind::Unknown(_))), (number, !(1..=11).contains(&number)));
        }
        assert_eq!((Kind::Mark.to_wire(), Kind::Removed.to_wire(), Kind::RemovedGroup.to_wire()), (1, 10, 11));
    }
}
