//! Cursors: how far a group of consumers has come, as the log keeps it.
//!
//! Owns the body of a cursor record and the rule by which many of them are one. Little endian.
//!
//! ```text
//!   0 stream u32   4 bytes of the group's name   5 zeros 3   8 lanes u64   16 position u64   24 name ...
//! ```
//! The record that removes a group has the same body: in these lanes it is as if it had never been.
//!
//! A cursor says that everything before its position is done, in each of its lanes. Shards write their own, for the lanes
//! that they have; of many cursors a lane believes the greatest since the last that was set. Lanes may be dealt otherwise in the next run: nothing
//! changes.

use crate::position::Position;
use crate::record::LANE_COUNT;
use crate::segment::take;

/// The longest name of a group.
pub const GROUP_BYTES_MAX: usize = 32;

/// Bytes of the longest cursor record's body.
pub const CURSOR_BYTES_MAX: usize = NAME_AT + GROUP_BYTES_MAX;

const NAME_AT: usize = 24;

/// A place in the log, for a set of lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The lanes, a bit for each.
    pub lanes: u64,
    /// Everything before it is done.
    pub position: Position,
}

/// The body of a cursor record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CursorBody<'a> {
    /// The stream.
    pub stream: u32,
    /// The group of its consumers; at most [`GROUP_BYTES_MAX`].
    pub group: &'a [u8],
    /// Where it is.
    pub cursor: Cursor,
}

/// These bytes are no cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadCursor;

/// Where each lane of a group is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursors {
    positions: [Position; LANE_COUNT as usize],
}

impl<'a> CursorBody<'a> {
    /// Encodes into the front of `out`. Returns the count of bytes, or `None` without room or if the name is too long.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        if self.group.len() > GROUP_BYTES_MAX {
            return None;
        }
        let out = out.get_mut(..NAME_AT + self.group.len())?;
        out[..4].copy_from_slice(&self.stream.to_le_bytes());
        out[4..8].copy_from_slice(&[self.group.len() as u8, 0, 0, 0]);
        out[8..16].copy_from_slice(&self.cursor.lanes.to_le_bytes());
        out[16..NAME_AT].copy_from_slice(&self.cursor.position.0.to_le_bytes());
        out[NAME_AT..].copy_from_slice(self.group);
        Some(out.len())
    }

    /// Reads a body, which must fill `bytes` exactly.
    ///
    /// # Errors
    /// [`BadCursor`] if it does not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadCursor> {
        let (head, group) = bytes.split_at_checked(NAME_AT).ok_or(BadCursor)?;
        if usize::from(head[4]) != group.len() || group.len() > GROUP_BYTES_MAX || head[5..8] != [0; 3] {
            return Err(BadCursor);
        }
        let position = Position(u64::from_le_bytes(take(head, 16)));
        let cursor = Cursor { lanes: u64::from_le_bytes(take(head, 8)), position };
        Ok(Self { stream: u32::from_le_bytes(take(head, 0)), group, cursor })
    }
}

impl Default for Cursors {
    fn default() -> Self {
        Self { positions: [Position::ZERO; LANE_COUNT as usize] }
    }
}

impl Cursors {
    /// Takes note of a cursor. The order in which this is done does not matter.
    pub fn merge(&mut self, cursor: Cursor) {
        for (lane, position) in self.positions.iter_mut().enumerate() {
            if cursor.lanes >> lane & 1 == 1 {
                *position = cursor.position.max(*position);
            }
        }
    }

    /// Forgets where these lanes are. Says whether nothing is left. Here the order matters, lane by lane.
    pub fn forget(&mut self, lanes: u64) -> bool {
        for (lane, position) in self.positions.iter_mut().enumerate() {
            if lanes >> lane & 1 == 1 {
                *position = Position::ZERO;
            }
        }
        self.positions.iter().all(|position| *position == Position::ZERO)
    }

    /// Where a lane is.
    #[must_use]
    pub const fn of_lane(&self, lane: u8) -> Position {
        self.positions[lane as usize]
    }

    /// Where a reader of these lanes begins; it leaves out what lies before [`Cursors::of_lane`]. [`Position::END`] without
    /// lanes.
    #[must_use]
    pub fn least(&self, lanes: u64) -> Position {
        let positions = self.positions.iter().enumerate().filter(|(lane, _)| lanes >> lane & 1 == 1);
        positions.map(|(_, position)| *position).min().unwrap_or(Position::END)
    }

    /// The fewest cursors that say the same.
    pub fn iter(&self) -> impl Iterator<Item = Cursor> {
        let equal = |position: Position| {
            let lanes = self.positions.iter().enumerate().filter(move |(_, other)| **other == position);
            lanes.fold(0, |set, (lane, _)| set | 1 << lane)
        };
        self.positions.iter().enumerate().filter_map(move |(lane, position)| {
            let lanes: u64 = equal(*position);
            let first = lanes.trailing_zeros() as usize == lane;
            (first && *position > Position::ZERO).then_some(Cursor { lanes, position: *position })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    #[test]
    fn a_body_is_these_bytes() {
        let body = CursorBody {
            stream: 0x0403_0201,
            group: b"eu",
            cursor: Cursor { lanes: 0x8000_0000_0000_0001, position: Position::new(1, 2, 24) },
        };
        let mut out = [9; CURSOR_BYTES_MAX];
        assert_eq!(body.write(&mut out), Some(26));
        assert_eq!(out[..26], *b"\x01\x02\x03\x04\x02\0\0\0\x01\0\0\0\0\0\0\x80\x18\0\0\0\0\x08\x01\0eu");
        assert_eq!(CursorBody::parse(&out[..26]), Ok(body));
        for cut in (0..26).chain([27]) {
            assert_eq!(CursorBody::parse(&out[..cut]), Err(BadCursor), "cut to {cut}");
        }
        assert_eq!(body.write(&mut out[..25]), None);
        for (group, fits) in [(&[b'x'; 32][..], true), (&[b'x'; 33], false)] {
            assert_eq!(CursorBody { group, ..body }.write(&mut [0; 100]).is_some(), fits);
        }
        out[5] = 1;
        assert_eq!(CursorBody::parse(&out[..26]), Err(BadCursor));
    }

    #[test]
    fn the_greatest_counts_in_any_order() {
        let mut random = SplitMix64::new(1);
        for _ in 0..200 {
            let cursor = |random: &mut SplitMix64| Cursor {
                lanes: random.next() & random.next(),
                position: Position::new(random.below(2) as u16, random.below(2) as u8, random.below(4) * 8),
            };
            let cursors: Vec<_> = (0..random.below(6)).map(|_| cursor(&mut random)).collect();
            let (mut forth, mut back) = (Cursors::default(), Cursors::default());
            cursors.iter().for_each(|cursor| forth.merge(*cursor));
            cursors.iter().rev().for_each(|cursor| back.merge(*cursor));
            assert_eq!(forth, back);
            for lane in 0..LANE_COUNT {
                let of_lane = cursors.iter().filter(|cursor| cursor.lanes >> lane & 1 == 1);
                let expected = of_lane.map(|cursor| cursor.position).max().unwrap_or_default();
                assert_eq!((forth.of_lane(lane), forth.least(1 << lane)), (expected, expected));
            }
            let mut again = Cursors::default();
            forth.iter().for_each(|cursor| again.merge(cursor));
            assert_eq!(again, forth);
            assert!(forth.iter().count() <= 16, "as many as there are positions");
            assert_eq!(forth.least(u64::MAX), (0..LANE_COUNT).map(|lane| forth.of_lane(lane)).min().expect("lanes"));
        }
        assert_eq!(Cursors::default().least(0), Position::END);
    }

    #[test]
    fn a_group_is_forgotten_lane_by_lane() {
        let (first, second) = (Position::new(1, 0, 8), Position::new(1, 1, 16));
        let mut cursors = Cursors::default();
        cursors.merge(Cursor { lanes: 0b0011, position: first });
        cursors.merge(Cursor { lanes: 0b1100, position: second });
        assert!(!cursors.forget(0b0101));
        assert_eq!([0, 1, 2, 3].map(|lane| cursors.of_lane(lane)), [Position::ZERO, first, Position::ZERO, second]);
        cursors.merge(Cursor { lanes: 1, position: Position::new(1, 0, 0) });
        assert_eq!(cursors.of_lane(0), Position::new(1, 0, 0), "what comes afterwards counts");
        assert!(cursors.forget(u64::MAX) && cursors == Cursors::default());
    }
}
