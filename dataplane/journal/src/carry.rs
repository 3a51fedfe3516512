//! What carries a log's tail from one run to the next: a file in memory, as long as the ring and with the same bytes, which
//! the end of the process leaves and the end of the machine does not.
//!
//! Owns its form. Never touches it: [`Log::uncarried`](crate::Log::uncarried) says what is to be put where, and whoever
//! starts hands the file in. Needs no order of writes: a record is one by its crc, which is of its position, so what an
//! earlier lap left, or a later one has begun, is none.
//!
//! ```text
//!   | header 64: magic, version, log, epoch, ring bytes, segment's room, span, crc | the ring: byte `o` of the run at `o % bytes` |
//! ```

use crate::log::{Limits, Lines};
use crate::position::{LOG_COUNT_MAX, OFFSET_END, Position};
use crate::record::{RECORD_BYTES_MAX, Record};
use crate::segment::take;

/// Bytes before the ring's.
pub const CARRY_HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"TLcarry\0";
const VERSION: u16 = 1;
const CRC_AT: usize = CARRY_HEADER_BYTES - 4;

/// Why a file is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadCarryOver {
    /// Of another program, cut short, or damaged.
    NotOurs,
    /// Of a version that this one does not read.
    NewerVersion(u16),
}

/// What an earlier run's log had in memory.
#[derive(Debug)]
pub struct CarryOver {
    log: u8,
    lines: Lines,
    capacity: usize,
    /// The ring, and its front once more behind it, so that each record is one slice.
    bytes: Vec<u8>,
}

/// The header of the file of a log that begins.
pub(crate) fn header(limits: &Limits, epoch: u16, log: u8) -> [u8; CARRY_HEADER_BYTES] {
    let mut out = [0; CARRY_HEADER_BYTES];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[10] = log;
    out[12..14].copy_from_slice(&epoch.to_le_bytes());
    out[16..24].copy_from_slice(&(limits.tail_bytes as u64).to_le_bytes());
    out[24..32].copy_from_slice(&limits.segment_bytes.to_le_bytes());
    out[32..40].copy_from_slice(&limits.epoch_bytes.to_le_bytes());
    let crc = crc32fast::hash(&out[..CRC_AT]);
    out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    out
}

impl CarryOver {
    /// Takes a file's bytes.
    ///
    /// # Errors
    /// [`BadCarryOver`].
    pub fn parse(mut file: Vec<u8>) -> Result<Self, BadCarryOver> {
        let head = file.first_chunk::<CARRY_HEADER_BYTES>().ok_or(BadCarryOver::NotOurs)?;
        let crc = u32::from_le_bytes(take(head, CRC_AT));
        if &head[..8] != MAGIC || crc32fast::hash(&head[..CRC_AT]) != crc {
            return Err(BadCarryOver::NotOurs);
        }
        let version = u16::from_le_bytes(take(head, 8));
        if version > VERSION {
            return Err(BadCarryOver::NewerVersion(version));
        }
        let number = |at: usize| u64::from_le_bytes(take(head, at));
        let (log, epoch, bytes) = (head[10], u16::from_le_bytes(take(head, 12)), number(16));
        let lines = Lines::new(number(24), number(32), epoch).filter(|_| number(32) <= OFFSET_END);
        let capacity = usize::try_from(bytes).ok().filter(|bytes| *bytes >= RECORD_BYTES_MAX);
        let (Some(lines), Some(capacity), true) = (lines, capacity, log < LOG_COUNT_MAX) else {
            return Err(BadCarryOver::NotOurs);
        };
        file.drain(..CARRY_HEADER_BYTES);
        // A lap that has not been run leaves the file short.
        if file.len() > capacity {
            return Err(BadCarryOver::NotOurs);
        }
        file.resize(capacity, 0);
        file.extend_from_within(..RECORD_BYTES_MAX);
        Ok(Self { log, lines, capacity, bytes: file })
    }

    /// Which log's.
    #[must_use]
    pub const fn log(&self) -> u8 {
        self.log
    }

    /// Where its run began.
    #[must_use]
    pub const fn start(&self) -> Position {
        self.lines.position(self.log, 0)
    }

    /// Bytes of the log between two positions of this run; none if one is not of it.
    #[must_use]
    pub fn distance(&self, from: Position, until: Position) -> u64 {
        let offset = |position| self.lines.own_offset(self.log, position).unwrap_or(0);
        offset(until).saturating_sub(offset(from))
    }

    /// The bytes of the record at a position, where the next one begins, and whether it closes a segment; `None` if it was
    /// not carried.
    #[must_use]
    pub fn record(&self, position: Position) -> Option<(&[u8], Position, bool)> {
        let offset = self.lines.own_offset(self.log, position)?;
        let position = self.lines.position(self.log, offset);
        let at = (offset % self.capacity as u64) as usize;
        let (record, count) = Record::parse(position, &self.bytes[at..]).ok()?;
        let next = if record.closes() { self.lines.after(offset) } else { offset + count as u64 };
        self.lines
            .is_nameable(next)
            .then(|| (&self.bytes[at..at + count], self.lines.position(self.log, next), record.closes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Log;
    use crate::log::Full;
    use crate::record::{BODY_BYTES_MAX, Kind};
    use crate::segment::HEADER_BYTES;
    use base::UnixMicros;

    const LIMITS: Limits = Limits {
        segment_bytes: (HEADER_BYTES + 2 * RECORD_BYTES_MAX) as u64,
        tail_bytes: 4 * RECORD_BYTES_MAX,
        batch_bytes: 2 * RECORD_BYTES_MAX,
        epoch_bytes: 5 * RECORD_BYTES_MAX as u64,
    };

    /// Puts what the log wants carried into a file.
    fn carry(log: &mut Log, file: &mut Vec<u8>) {
        while let Some((at, bytes)) = log.uncarried() {
            let (at, count) = (at as usize, bytes.len());
            file.resize(file.len().max(at + count), 0);
            file[at..at + count].copy_from_slice(bytes);
            log.carried(count);
        }
    }

    #[test]
    fn every_record_that_was_appended_is_found_in_the_file_over_laps_lines_and_epochs() {
        let mut log = Log::new(LIMITS, 3, 2);
        let mut file = log.carry_header().to_vec();
        let mut written = log.head();
        for number in 0..120_u64 {
            let body = [number as u8; BODY_BYTES_MAX];
            let length = 1 + (number as usize * 7919) % BODY_BYTES_MAX;
            while log.wants().is_some_and(|wanted| log.ready(wanted.name)) {}
            let record = Record {
                kind: Kind::Uplink,
                lane: 5,
                key: 0,
                tenant: 1,
                at: UnixMicros(number),
                body: &body[..length],
            };
            match log.append(&record) {
                Ok(appended) => {
                    carry(&mut log, &mut file);
                    let over = CarryOver::parse(file.clone()).expect("a carry-over");
                    // From what is stored on, record by record, to the one that was just appended.
                    let (mut at, mut last) = (written, None);
                    while let Some((bytes, next, _)) = over.record(at) {
                        last = Some(bytes.to_vec());
                        at = next;
                    }
                    assert_eq!(at, appended.end, "all up to the head, and nothing behind it");
                    let last = last.expect("a record");
                    let (found, _) = Record::parse(appended.position, &last).expect("whole");
                    assert_eq!(found, record);
                    assert!(over.start() == Position::new(3, 2, 0) && over.log() == 2);
                }
                Err(full) => assert_eq!(full, Full::Tail),
            }
            if number % 3 == 0 {
                while log.next_write(true).is_some() {
                    log.wrote(Ok(()));
                    let _told = log.sealed().count();
                    while log.wants().is_some_and(|wanted| log.ready(wanted.name)) {}
                }
                written = log.stored();
            }
        }
        assert!(log.head().epoch() > 4, "epochs went by: {}", log.head());
    }

    #[test]
    fn what_is_no_carry_over_is_not_taken() {
        let log = Log::new(LIMITS, 3, 2);
        let whole = log.carry_header().to_vec();
        assert!(CarryOver::parse(whole.clone()).is_ok_and(|over| over.record(over.start()).is_none()));
        assert!(matches!(CarryOver::parse(whole[..63].to_vec()), Err(BadCarryOver::NotOurs)));
        for at in 0..CARRY_HEADER_BYTES {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(matches!(CarryOver::parse(flipped), Err(BadCarryOver::NotOurs)), "byte {at}");
        }
        let mut newer = whole.clone();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..CRC_AT]);
        newer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(CarryOver::parse(newer), Err(BadCarryOver::NewerVersion(2))));
        let long = vec![0; LIMITS.tail_bytes + 1];
        assert!(matches!(CarryOver::parse([whole, long].concat()), Err(BadCarryOver::NotOurs)));
    }
}
