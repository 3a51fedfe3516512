//! Position: where a record stands among all records of this dataplane, in 64 bits that order them.
//!
//! ```text
//!   | epoch 16 | log 6 | offset 42 |       offset: bytes of records since the log began, a multiple of 8
//! ```
//! An offset counts what records take, and what is left free behind them at the end of a segment; headers of segments do
//! not count. 42 bits are 4 TiB in one log and one epoch; a log that has used them up goes on in the next epoch.

use core::fmt;

/// Logs of one epoch: one for each shard.
pub const LOG_COUNT_MAX: u8 = 64;

/// The first offset that no position can name.
pub const OFFSET_END: u64 = 1 << OFFSET_BITS;

/// Records begin at multiples of this.
pub const ALIGN_BYTES: usize = 8;

const OFFSET_BITS: u32 = 42;
const LOG_BITS: u32 = 6;
const EPOCH_BITS: u32 = 16;
const _: () = assert!(EPOCH_BITS + LOG_BITS + OFFSET_BITS == 64 && LOG_COUNT_MAX as u32 == 1 << LOG_BITS);

/// Where a record begins, or where the next one will.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// Behind everything.
    pub const END: Self = Self(u64::MAX);

    /// The position of an offset.
    ///
    /// # Panics
    /// If the log or the offset is beyond its bound, or the offset no multiple of 8: our own mistake.
    #[must_use]
    pub const fn new(epoch: u16, log: u8, offset: u64) -> Self {
        assert!(log < LOG_COUNT_MAX, "log within its bits");
        assert!(offset < OFFSET_END, "offset within its bits");
        assert!(offset.is_multiple_of(ALIGN_BYTES as u64), "offset of a record");
        Self((epoch as u64) << (LOG_BITS + OFFSET_BITS) | (log as u64) << OFFSET_BITS | offset)
    }

    /// The run of the dataplane, or what followed in it when offsets were used up.
    #[must_use]
    pub const fn epoch(self) -> u16 {
        (self.0 >> (LOG_BITS + OFFSET_BITS)) as u16
    }

    /// The log within that run.
    #[must_use]
    pub const fn log(self) -> u8 {
        (self.0 >> OFFSET_BITS) as u8 & (LOG_COUNT_MAX - 1)
    }

    /// The byte within that log.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 & (OFFSET_END - 1)
    }

    /// The position so many bytes further in the same log, if there is one.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.offset().checked_add(bytes) {
            Some(offset) if offset < OFFSET_END && offset.is_multiple_of(ALIGN_BYTES as u64) => {
                Some(Self::new(self.epoch(), self.log(), offset))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.epoch(), self.log(), self.offset())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Position({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_epoch_then_log_then_offset() {
        let mut last = Position::ZERO;
        for (epoch, log, offset) in
            [(0, 0, 8), (0, 0, OFFSET_END - 8), (0, 1, 0), (0, 63, 16), (1, 0, 0), (u16::MAX, 63, OFFSET_END - 8)]
        {
            let position = Position::new(epoch, log, offset);
            assert!(last < position && position <= Position::END);
            assert_eq!((position.epoch(), position.log(), position.offset()), (epoch, log, offset));
            last = position;
        }
        assert_eq!(Position::new(3, 5, 40).to_string(), "3-5-40");
        assert_eq!(Position::new(1, 2, 8).0, 0x0001_0800_0000_0008);
    }

    #[test]
    fn stays_in_its_log() {
        let last = Position::new(1, 2, OFFSET_END - 8);
        assert_eq!(last.checked_add(0), Some(last));
        for bytes in [8, u64::MAX] {
            assert_eq!(last.checked_add(bytes), None);
        }
        assert_eq!(Position::new(1, 2, 8).checked_add(4), None, "no record begins there");
        assert_eq!(Position::new(1, 2, 8).checked_add(16), Some(Position::new(1, 2, 24)));
    }
}
