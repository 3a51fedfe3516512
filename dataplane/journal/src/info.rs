//! What is known of a segment without reading it.

use crate::record::{Kind, LANE_COUNT, Record};
use crate::segment::{Header, SegmentName, Wanted};
use base::UnixMicros;

/// A segment, and what a reader may expect in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Its name.
    pub name: SegmentName,
    /// Offset of its first byte behind the header.
    pub base: u64,
    /// Offset behind its last record that counts, or behind what was left free at its end. `base` if it holds none.
    pub end: u64,
    /// The lanes that have records in it, a bit for each. Marks belong to no lane.
    pub lanes: u64,
    /// The least time of its records; [`UnixMicros`] of `u64::MAX` without any.
    pub first_at: UnixMicros,
    /// The greatest time of its records.
    pub last_at: UnixMicros,
    /// Bytes of its file.
    pub bytes: u64,
}

impl SegmentInfo {
    /// A segment that holds nothing yet. Its `end` is that of its room.
    pub(crate) const fn empty(wanted: Wanted) -> Self {
        Self { end: wanted.end, ..Self::unread(&Header::new(wanted, UnixMicros(0))).cleared() }
    }

    /// A segment of which only the header was read: it may hold records of any lane and of any time.
    #[must_use]
    pub const fn unread(header: &Header) -> Self {
        Self {
            name: header.name,
            base: header.base,
            end: header.end,
            lanes: u64::MAX,
            first_at: UnixMicros(0),
            last_at: UnixMicros(u64::MAX),
            bytes: header.file_bytes(),
        }
    }

    /// A segment that is still to be made: there are records for it, and the disk takes none. Whoever wants them waits.
    #[must_use]
    pub const fn awaited(header: &Header) -> Self {
        Self { bytes: 0, ..Self::unread(header) }
    }

    /// Whether it is still to be made.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.bytes == 0
    }

    /// Whether only its header was read.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        self.last_at.0 == u64::MAX
    }

    /// Whether it is known to hold records.
    #[must_use]
    pub const fn holds_records(&self) -> bool {
        self.lanes != 0 && !self.is_unread()
    }

    /// The same segment, of which it is known that it holds nothing.
    pub(crate) const fn cleared(self) -> Self {
        Self { end: self.base, lanes: 0, first_at: UnixMicros(u64::MAX), last_at: UnixMicros(0), ..self }
    }

    /// Takes note of one of its records.
    pub(crate) fn note(&mut self, record: &Record<'_>) {
        if record.kind != Kind::Mark {
            self.lanes |= 1 << (record.lane % LANE_COUNT);
            self.first_at = self.first_at.min(record.at);
            self.last_at = self.last_at.max(record.at);
        }
    }
}
