//! Scan: a segment's records, read in pieces of any size, with all that was torn or damaged told apart and counted.
//!
//! Owns a window of the file. Never reads it: whoever does asks [`Scan::wants`] and hands the bytes in. Allocates in
//! [`Scan::new`] alone.
//!
//! ```text
//!   reading ── unreadable, before `stored` ──────────▶ passing: the next 8 bytes at which a record begins ──▶ reading
//!      │ └───── unreadable, behind it ──▶ surveying: the last mark up to the end, once
//!      │                                     │ it says more was stored          │ it does not
//!      │◀──────────── back to the place ─────┘                                  ▼
//!      └─ the mark that closes, or the end of the extent ────────────────────▶ ended
//! ```
//! What cannot be read before `stored` is corruption, is passed over and counted; what cannot be read behind it is a torn
//! tail: it and all behind it never happened. `stored` is what the caller knows, and what the marks say. An end is not
//! believed in because it is empty: a page that was lost is empty too.
//!
//! Work is bounded: a survey reads the rest once more, and while passing each byte pays for [`HASHED_PER_BYTE`] bytes of crc,
//! so that a crowd of heads that claim to be long cannot make it quadratic. Whether damaged bytes hold a whole record
//! cannot be told from where they lie: a body that was made to hold one for just this position may pass for it.

use crate::info::SegmentInfo;
use crate::position::{ALIGN_BYTES, Position};
use crate::record::{HEAD_BYTES, RECORD_BYTES_MAX, Record};
use crate::segment::{HEADER_BYTES, Header, SegmentName};

/// Bytes that are hashed at most for each that is passed over, beside the first [`HASHED_FIRST`].
const HASHED_PER_BYTE: usize = 256;

const HASHED_FIRST: usize = 16 * RECORD_BYTES_MAX;

/// Holds a record that is not whole yet, and three times as much beside it.
const WINDOW_BYTES: usize = 4 * RECORD_BYTES_MAX;

const ALIGN: u64 = ALIGN_BYTES as u64;

/// What of a segment is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Offset at which to begin: of a record.
    pub from: u64,
    /// Offset at which to end: of a record, or the segment's end.
    pub until: u64,
    /// Everything before this offset is known to be stored. Equals `until` if a later segment holds records.
    pub stored: u64,
}

/// What was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A record.
    Record {
        /// Where it stands.
        position: Position,
        /// The record.
        record: Record<'a>,
        /// Where the next one begins; at the mark that closes, the segment's end.
        next: Position,
    },
    /// A stretch that was stored and cannot be read.
    Corrupt {
        /// Where it begins.
        from: Position,
        /// Where reading goes on.
        until: Position,
    },
    /// Bytes are wanted, from [`Scan::wants`] on.
    More,
    /// There is nothing more.
    End,
}

/// What a scan has come to, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Records that were read, marks included.
    pub records: u64,
    /// Stretches that were passed over: so many records were lost, or more.
    pub corrupt_records: u64,
    /// Bytes that were passed over.
    pub corrupt_bytes: u64,
    /// Bytes of the torn tail: up to the last one that is not zero.
    pub torn_bytes: u64,
    /// Behind the last record that was read or passed over.
    pub end: Position,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Reading,
    /// Looks for the next record behind `from`, which was stored.
    Passing {
        from: u64,
        budget: usize,
    },
    /// Looks for marks behind `from`, of which it is not known whether it was stored.
    Surveying {
        from: u64,
        budget: usize,
    },
    Ended,
}

/// What stands at `at`.
enum Look {
    Record(usize),
    Unreadable,
    More,
    /// Nothing: the file or the extent ends.
    Limit,
}

/// A reader of one segment.
#[derive(Debug)]
pub struct Scan {
    name: SegmentName,
    header_end: u64,
    extent: Extent,
    info: SegmentInfo,
    /// Offset of the first byte in the window.
    at: u64,
    window: Vec<u8>,
    begin: usize,
    end: usize,
    /// The file ends where the window does.
    finished: bool,
    mode: Mode,
    /// It is being written: where nothing can be read is where its writer has come to.
    grows: bool,
    surveyed: bool,
    /// Behind the last byte that a survey found not to be zero.
    used: u64,
    found: Found,
}

impl Extent {
    /// All of a segment, of which nothing else is known.
    #[must_use]
    pub const fn whole(header: &Header) -> Self {
        Self { from: header.base, until: header.end, stored: header.base }
    }
}

impl Scan {
    /// A scan of one segment.
    ///
    /// # Panics
    /// If the extent is not within the segment.
    #[must_use]
    pub fn new(header: &Header, extent: Extent) -> Self {
        let mut scan = Self {
            name: header.name,
            header_end: 0,
            extent,
            info: SegmentInfo::unread(header),
            at: 0,
            window: vec![0; WINDOW_BYTES],
            begin: 0,
            end: 0,
            finished: false,
            mode: Mode::Ended,
            grows: false,
            surveyed: false,
            used: 0,
            found: Found::default(),
        };
        scan.restart(header, extent);
        scan
    }

    /// Turns to another segment. Keeps its memory.
    ///
    /// # Panics
    /// If the extent is not within the segment.
    pub fn restart(&mut self, header: &Header, extent: Extent) {
        assert!(header.base <= extent.from && extent.from <= extent.until, "an extent within its segment");
        assert!(extent.until <= header.end, "an extent within its segment");
        let offsets = [extent.from, extent.until, extent.stored];
        assert!(offsets.iter().all(|offset| offset.is_multiple_of(ALIGN)), "offsets of records");
        (self.name, self.header_end, self.extent) = (header.name, header.end, extent);
        self.info = SegmentInfo::unread(header).cleared();
        (self.at, self.begin, self.end) = (extent.from, 0, 0);
        (self.finished, self.mode, self.surveyed, self.used) = (false, Mode::Reading, false, extent.from);
        self.grows = false;
        self.found = Found { end: self.name.position(extent.from), ..Found::default() };
    }

    /// The segment is being written by somebody who lives: it ends where no record can be read that is not known to be
    /// stored, without a look at what lies behind. What is damaged there is told once the segment has ended.
    pub const fn grows(&mut self) {
        self.grows = true;
    }

    /// The file's byte that is wanted next. May go back once.
    #[must_use]
    pub const fn wants(&self) -> u64 {
        HEADER_BYTES as u64 + self.at + (self.end - self.begin) as u64 - self.info.base
    }

    /// Takes bytes that stand at [`Scan::wants`]; says how many. The others are to be handed in again.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let held = self.end - self.begin;
        let left = self.extent.until - self.at - held as u64;
        let count = bytes.len().min(WINDOW_BYTES - held).min(usize::try_from(left).unwrap_or(usize::MAX));
        if self.end + count > WINDOW_BYTES {
            self.window.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, held);
        }
        self.window[self.end..self.end + count].copy_from_slice(&bytes[..count]);
        self.end += count;
        count
    }

    /// The file has no byte at [`Scan::wants`].
    pub const fn finish(&mut self) {
        self.finished = true;
    }

    /// What has come out so far; all of it after [`Step::End`].
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// What was learned of the segment, after [`Step::End`] and if all of it was read.
    #[must_use]
    pub const fn info(&self) -> SegmentInfo {
        self.info
    }

    /// Goes on.
    pub fn step(&mut self) -> Step<'_> {
        loop {
            match (self.mode, self.look()) {
                (Mode::Ended, _) => return Step::End,
                (_, Look::More) => return Step::More,
                (Mode::Reading, Look::Record(count)) => return self.serve(count),
                (Mode::Reading, Look::Unreadable | Look::Limit) => self.stumble(),
                (Mode::Passing { from, .. }, Look::Record(_)) => return self.passed(from, self.at),
                (Mode::Passing { from, .. }, Look::Limit) => {
                    // The file is too short.
                    self.at = self.extent.stored.min(self.extent.until);
                    (self.begin, self.end) = (0, 0);
                    return self.passed(from, self.at);
                }
                (Mode::Passing { from, budget }, Look::Unreadable) => {
                    let count = self.hopeless().min((self.extent.stored - self.at) as usize);
                    self.skip(count);
                    self.mode = Mode::Passing { from, budget: budget + count * HASHED_PER_BYTE };
                    if self.at >= self.extent.stored {
                        return self.passed(from, self.at);
                    }
                }
                (Mode::Surveying { .. }, Look::Record(count)) => {
                    let record = Record::trusted(&self.window[self.begin..self.end]);
                    self.extent.stored = self.extent.stored.max(marked(&record, self.at));
                    self.skip(count);
                    self.used = self.at;
                }
                (Mode::Surveying { from, budget }, Look::Unreadable) => {
                    let count = self.hopeless();
                    let used = self.window[self.begin..self.begin + count].iter().any(|byte| *byte != 0);
                    self.skip(count);
                    self.used = if used { self.at } else { self.used };
                    self.mode = Mode::Surveying { from, budget: budget + count * HASHED_PER_BYTE };
                }
                (Mode::Surveying { from, .. }, Look::Limit) => self.surveyed(from),
            }
        }
    }

    fn look(&mut self) -> Look {
        let bytes = &self.window[self.begin..self.end];
        let whole = self.finished || self.at + bytes.len() as u64 == self.extent.until;
        if bytes.is_empty() && whole {
            return Look::Limit;
        }
        let missing = if whole { Look::Unreadable } else { Look::More };
        let count = match Record::claimed_bytes(bytes) {
            Ok(count) if self.at + count as u64 > self.extent.until => return Look::Unreadable,
            Ok(count) => count,
            Err(_) if bytes.len() < HEAD_BYTES => return missing,
            Err(_) => return Look::Unreadable,
        };
        if let Mode::Passing { budget, .. } | Mode::Surveying { budget, .. } = &mut self.mode {
            if *budget < count {
                return Look::Unreadable;
            }
            if bytes.len() >= count {
                *budget -= count;
            }
        }
        if bytes.len() < count {
            return missing;
        }
        match Record::parse(self.name.position(self.at), bytes) {
            Ok((_, count)) => Look::Record(count),
            Err(_) => Look::Unreadable,
        }
    }

    fn serve(&mut self, count: usize) -> Step<'_> {
        let (begin, at) = (self.begin, self.at);
        self.skip(count);
        let record = Record::trusted(&self.window[begin..begin + count]);
        self.extent.stored = self.extent.stored.max(marked(&record, at));
        self.info.note(&record);
        self.found.records += 1;
        self.found.end = self.name.position(self.at);
        self.info.end = self.at;
        let mut next = self.found.end;
        if record.closes() {
            self.mode = Mode::Ended;
            self.info.end = self.header_end;
            next = self.name.position(self.header_end);
        }
        Step::Record { position: self.name.position(at), record, next }
    }

    /// Reading cannot go on at `at`.
    fn stumble(&mut self) {
        let (from, budget) = (self.at, HASHED_FIRST);
        self.mode = if from == self.extent.until {
            Mode::Ended
        } else if from < self.extent.stored {
            Mode::Passing { from, budget }
        } else if self.grows {
            Mode::Ended
        } else if !self.surveyed {
            Mode::Surveying { from, budget }
        } else {
            self.found.torn_bytes = self.used.saturating_sub(from);
            Mode::Ended
        };
    }

    /// A survey has come to its end: goes back, or it was a torn tail.
    fn surveyed(&mut self, from: u64) {
        self.surveyed = true;
        if from < self.extent.stored {
            (self.at, self.begin, self.end) = (from, 0, 0);
            (self.finished, self.mode) = (false, Mode::Reading);
        } else {
            self.found.torn_bytes = self.used.saturating_sub(from);
            self.mode = Mode::Ended;
        }
    }

    fn passed(&mut self, from: u64, until: u64) -> Step<'static> {
        self.mode = Mode::Reading;
        self.found.corrupt_records += 1;
        self.found.corrupt_bytes += until - from;
        self.found.end = self.name.position(until);
        self.info.end = until;
        Step::Corrupt { from: self.name.position(from), until: self.name.position(until) }
    }

    /// Bytes at the front of the window in which no record begins, the first of which was looked at.
    fn hopeless(&self) -> usize {
        let bytes = &self.window[self.begin..self.end];
        let zeros = bytes.chunks_exact(ALIGN_BYTES).take_while(|word| **word == [0; ALIGN_BYTES]).count() * ALIGN_BYTES;
        // A head is not all zeros, but may begin with some.
        zeros.saturating_sub(HEAD_BYTES - ALIGN_BYTES).max(ALIGN_BYTES).min(bytes.len())
    }

    fn skip(&mut self, count: usize) {
        self.begin += count;
        self.at += count as u64;
    }
}

/// What a mark at an offset says. It cannot speak of what stands behind itself.
fn marked(record: &Record<'_>, at: u64) -> u64 {
    record.marked().filter(|stored| *stored <= at && stored.is_multiple_of(ALIGN)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
