//! The log of one shard: where its records stand, what of them is written, what is stored, and the tail in memory.
//!
//! Owns the tail and the plan of the segments. Never touches a file: what is to be written is handed out, and what became of
//! it is told. Allocates only in [`Log::new`].
//!
//! ```text
//!          tail_start      stored         written          head
//!   ───────────┴──────────────┴──────────────┴───────────────┴──▶ offsets
//!               may be        must be kept: may have    waits
//!               forgotten     to be written again       to be written
//!
//!   grid     |◀ segment_bytes - 4096 ▶|                 a segment ends at the next line of the grid
//!   segment  | records ... mark | 0 0 | records ...     the last record before a line is the mark that closes
//! ```
//! The offsets here count from the run's start and have no end; a position names one within an epoch. Once an epoch's are
//! used up, at a line of the grid, the log goes on in the next epoch, while others may still be in the former:
//!
//! ```text
//!   offset here   0 ................ span ................ 2 span .......
//!   position      E-log-0            (E+1)-log-0           (E+2)-log-0
//! ```
//! Records do not cross a line. After a failed write or fdatasync a segment is given up and another begins at `stored`; it
//! ends at the same line, so that every record keeps its place, and with it its crc. One write is in flight at a time; it
//! ends where a record does. A write that ends a segment is synced, so that only the last segment that holds records can
//! have a torn tail.
//!
//! The owner's loop: `append` what the turn brings, start `next_write`, tell `wrote`, and look at `stored` for what waits.
//! Sizing: at 5 000 records/s of 300 bytes, 1.5 MB/s, a tail of 16 MiB holds what ten seconds without a disk bring.

use crate::carry::{self, CARRY_HEADER_BYTES};
use crate::info::SegmentInfo;
use crate::position::{ALIGN_BYTES, OFFSET_END, Position};
use crate::record::{BODY_BYTES_MAX, LANE_COUNT, MARK_BYTES, RECORD_BYTES_MAX, Record};
use crate::ring::Ring;
use crate::segment::{HEADER_BYTES, SegmentName, Wanted};
use base::UnixMicros;

/// Segments that may have ended before anyone asks for them. Writing waits when they are full.
const SEALED_COUNT_MAX: usize = 8;

/// One write can end two: the one that is given up, and the one that was made to follow it.
const SEALED_COUNT_STEP: usize = 2;

/// The sizes of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a segment's file, header included. At least 4096 and twice the longest record.
    pub segment_bytes: u64,
    /// Bytes of the tail that memory keeps. At least four times the longest record.
    pub tail_bytes: usize,
    /// Bytes of one write. At least twice the longest record.
    pub batch_bytes: usize,
    /// The first offset that no record of one epoch may have: at most [`OFFSET_END`], and more than a segment's. As many
    /// whole segments as fit are used.
    pub epoch_bytes: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Where it begins.
    pub position: Position,
    /// Where it ends: it is written, or stored, once that position is.
    pub end: Position,
}

/// Why a record was not taken. Nothing of it is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// The tail is full of what is not stored: the disk is behind.
    Tail,
    /// The tail is full, and there is no segment to write to: the keeper is behind.
    NoSegment,
    /// The log has used up the last epoch that a position can name.
    Exhausted,
}

/// Something to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// The segment to write to.
    pub segment: SegmentName,
    /// Where in its file.
    pub file_offset: u64,
    /// How many bytes; none if only the fdatasync is missing.
    pub bytes: usize,
    /// Whether an fdatasync belongs to it.
    pub sync: bool,
    from: u64,
}

/// What went wrong with a write. A write that was cut short is [`Fault::Write`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The write.
    Write,
    /// The fdatasync.
    Sync,
}

/// What stands at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail<'a> {
    /// A record, and where the next one begins.
    Record {
        /// The record.
        record: Record<'a>,
        /// Where the next one begins.
        next: Position,
    },
    /// Nothing that is written yet.
    End,
    /// What memory has forgotten: a segment has it.
    Behind,
    /// The middle of something: no position that this log has given.
    Nowhere,
}

/// The grid on which segments end, and the epochs of a run: what its offsets are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Bytes of records in a segment.
    room: u64,
    /// Bytes of one epoch: its last line.
    span: u64,
    /// In which the run began.
    first_epoch: u16,
}

impl Lines {
    /// `None` if a segment holds nothing, or an epoch no segment.
    pub(crate) const fn new(segment_bytes: u64, epoch_bytes: u64, first_epoch: u16) -> Option<Self> {
        if segment_bytes <= HEADER_BYTES as u64 || segment_bytes >= epoch_bytes {
            return None;
        }
        let room = segment_bytes - HEADER_BYTES as u64;
        Some(Self { room, span: (epoch_bytes - 1) / room * room, first_epoch })
    }

    /// The first line of the grid behind an offset.
    pub(crate) const fn after(&self, offset: u64) -> u64 {
        (offset / self.room + 1) * self.room
    }

    /// The position of an offset from the run's start.
    pub(crate) const fn position(&self, log: u8, offset: u64) -> Position {
        let epoch = self.first_epoch as u64 + offset / self.span;
        assert!(epoch <= u16::MAX as u64, "what is appended can be named");
        Position::new(epoch as u16, log, offset % self.span)
    }

    /// The offset from the run's start of a position, if it is one of this run and log. An epoch's end is the next one's
    /// start.
    pub(crate) fn own_offset(&self, log: u8, position: Position) -> Option<u64> {
        let epochs = position.epoch().checked_sub(self.first_epoch)?;
        let is_own = position.log() == log && position.offset() <= self.span;
        is_own.then(|| u64::from(epochs) * self.span + position.offset())
    }

    /// Whether there is a position for an offset.
    pub(crate) const fn is_nameable(&self, offset: u64) -> bool {
        self.first_epoch as u64 + offset / self.span <= u16::MAX as u64
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    limits: Limits,
    lines: Lines,
    log: u8,
    ring: Ring,
    /// Offsets from the run's start at which records begin or segments end: `start <= stored <= written <= head`.
    start: u64,
    stored: u64,
    written: u64,
    head: u64,
    /// Up to where the carry-over has it.
    carried: u64,
    /// What the last mark says.
    marked: u64,
    /// Of the segment that is wished for next.
    number: u32,
    /// The segment that is written to. Its `end` is that of its room until it is sealed.
    current: Option<SegmentInfo>,
    /// The one that follows it.
    ahead: Option<Wanted>,
    in_flight: Option<Write>,
    sealed: Vec<SegmentInfo>,
}

impl Log {
    /// An empty log. Nobody may have written to this epoch and log before.
    ///
    /// # Panics
    /// If a limit is below its least value or no multiple of 8.
    #[must_use]
    pub fn new(limits: Limits, epoch: u16, log: u8) -> Self {
        let aligned = |bytes: usize| bytes.is_multiple_of(ALIGN_BYTES);
        assert!(limits.segment_bytes >= (HEADER_BYTES + 2 * RECORD_BYTES_MAX) as u64, "a segment holds two records");
        assert!(limits.segment_bytes < limits.epoch_bytes, "a segment is less than a log");
        assert!(limits.epoch_bytes <= OFFSET_END, "a position can name every offset");
        assert!(limits.tail_bytes >= 4 * RECORD_BYTES_MAX, "the tail holds four records");
        assert!(limits.batch_bytes >= 2 * RECORD_BYTES_MAX, "a batch holds two records");
        assert!(aligned(limits.segment_bytes as usize) && aligned(limits.tail_bytes), "sizes are multiples of 8");
        let _bounds_checked = Position::new(epoch, log, 0);
        Self {
            limits,
            lines: Lines::new(limits.segment_bytes, limits.epoch_bytes, epoch).expect("checked above"),
            log,
            ring: Ring::new(limits.tail_bytes),
            start: 0,
            stored: 0,
            written: 0,
            head: 0,
            carried: 0,
            marked: 0,
            number: 0,
            current: None,
            ahead: None,
            in_flight: None,
            sealed: Vec::with_capacity(SEALED_COUNT_MAX),
        }
    }

    /// Appends a record to the tail, and before it what the log has to say itself.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// # Panics
    /// If the body or the lane is beyond its bound: our own mistake.
    pub fn append(&mut self, record: &Record<'_>) -> Result<Appended, Full> {
        assert!(record.body.len() <= BODY_BYTES_MAX, "body within the bound");
        assert!(record.lane < LANE_COUNT, "lane within the bound");
        const MARK: u64 = MARK_BYTES as u64;
        let line = self.lines.after(self.head);
        let mark = if self.stored > self.marked { MARK } else { 0 };
        let bytes = record.encoded_bytes() as u64;
        // Room for the mark that closes is always kept.
        let rolls = self.head + mark + bytes + MARK > line;
        let at = if rolls { line } else { self.head + mark };
        if !self.lines.is_nameable(at) {
            return Err(Full::Exhausted);
        }
        let end = at + bytes;
        if end - self.stored > self.ring.capacity() {
            return Err(if self.current.is_none() { Full::NoSegment } else { Full::Tail });
        }
        self.forget(end);
        if rolls {
            self.put_mark(true, record.at);
            self.ring.clear(self.head, line);
            self.head = line;
        } else if mark > 0 {
            self.put_mark(false, record.at);
        }
        self.put(record);
        Ok(Appended { position: self.position(at), end: self.position(end) })
    }

    /// The segment that the keeper should make, until it is [`Log::ready`]: one is always made ahead.
    #[must_use]
    pub fn wants(&self) -> Option<Wanted> {
        let base = match &self.current {
            Some(_) if self.ahead.is_some() => return None,
            Some(current) => self.offset_of(current.name, current.end),
            None => self.written,
        };
        self.lines.is_nameable(base).then(|| {
            let place = self.position(base);
            let name = SegmentName { epoch: place.epoch(), log: self.log, number: self.number };
            Wanted { name, base: place.offset(), end: place.offset() + self.lines.after(base) - base }
        })
    }

    /// A segment is made, header and zeros, and can be written to. Says whether it is still wanted; if not it may go.
    pub fn ready(&mut self, name: SegmentName) -> bool {
        let Some(wanted) = self.wants().filter(|wanted| wanted.name == name) else { return false };
        self.number += 1;
        if self.current.is_none() {
            self.current = Some(SegmentInfo::empty(wanted));
        } else {
            self.ahead = Some(wanted);
        }
        true
    }

    /// What to write next, if anything waits and nothing is in flight. With `sync` an fdatasync belongs to it, even if no
    /// byte waits. The bytes are those of [`Log::copy`]; what became of it must be told with [`Log::wrote`].
    pub fn next_write(&mut self, sync: bool) -> Option<Write> {
        if self.in_flight.is_some() || self.sealed.len() + SEALED_COUNT_STEP > SEALED_COUNT_MAX {
            return None;
        }
        let current = self.current.as_ref()?;
        let line = self.offset_of(current.name, current.end);
        let until = self.batch_end(line);
        let sync = sync || until == line;
        if until == self.written && !(sync && self.stored < until) {
            return None;
        }
        let write = Write {
            segment: current.name,
            file_offset: HEADER_BYTES as u64 + self.written - self.offset_of(current.name, current.base),
            bytes: (until - self.written) as usize,
            sync,
            from: self.written,
        };
        self.in_flight = Some(write);
        Some(write)
    }

    /// Copies the bytes of the write in flight into `target`, which has exactly their length.
    ///
    /// # Panics
    /// If the write is not in flight or the length differs.
    pub fn copy(&self, write: &Write, target: &mut [u8]) {
        assert_eq!(self.in_flight.as_ref(), Some(write), "the write in flight");
        assert_eq!(target.len(), write.bytes, "room for the write");
        self.ring.copy(write.from, target);
    }

    /// What became of the write in flight.
    ///
    /// # Panics
    /// If none is in flight.
    pub fn wrote(&mut self, outcome: Result<(), Fault>) {
        let write = self.in_flight.take().expect("a write is in flight");
        let mut current = self.current.take().expect("it went to a segment");
        if outcome.is_err() {
            self.abandon(current);
            return;
        }
        let until = write.from + write.bytes as u64;
        while self.written < until {
            current.note(&Record::trusted(self.ring.record(self.written)));
            self.written = self.next_of(self.written);
        }
        assert_eq!(self.written, until, "a write ends where a record does");
        if write.sync {
            self.stored = until;
        }
        if until == self.offset_of(current.name, current.end) {
            self.sealed.push(current);
            self.current = self.ahead.take().map(SegmentInfo::empty);
        } else {
            self.current = Some(current);
        }
    }

    /// The segments that have ended since this was asked last: full ones, and those that were given up, whose `end` is what
    /// was stored of them. Nothing is written to them any more.
    pub fn sealed(&mut self) -> impl Iterator<Item = SegmentInfo> {
        self.sealed.drain(..)
    }

    /// The record at a position, if it is written and memory still has it.
    #[must_use]
    pub fn read(&self, position: Position) -> Tail<'_> {
        let Some(offset) = self.own_offset(position) else {
            return if position < self.tail_start() {
                Tail::Behind
            } else if position >= self.written() {
                Tail::End
            } else {
                Tail::Nowhere
            };
        };
        if offset < self.start {
            return Tail::Behind;
        }
        if offset >= self.written {
            return Tail::End;
        }
        // It lies between two positions of this log, so it is one. A consumer may have made it up all the same.
        match Record::parse(self.position(offset), self.ring.record(offset)) {
            Ok((record, _)) => Tail::Record { record, next: self.position(self.next_of(offset)) },
            Err(_) => Tail::Nowhere,
        }
    }

    /// Whether a position is one of this run's log that memory has, or will have.
    #[must_use]
    pub fn reaches(&self, position: Position) -> bool {
        self.own_offset(position).is_some_and(|offset| offset >= self.start)
    }

    /// Bytes of this run's log from a position on; all of them if it lies before.
    #[must_use]
    pub fn bytes_since(&self, position: Position) -> u64 {
        let all = if position >= self.head() { 0 } else { self.head };
        self.own_offset(position).map_or(all, |offset| self.head.saturating_sub(offset))
    }

    /// The epoch in which the run began. Those before it belong to earlier runs.
    #[must_use]
    pub const fn first_epoch(&self) -> u16 {
        self.lines.first_epoch
    }

    /// From where on memory has the log.
    #[must_use]
    pub const fn tail_start(&self) -> Position {
        self.position(self.start)
    }

    /// Everything before it survives power loss.
    #[must_use]
    pub const fn stored(&self) -> Position {
        self.position(self.stored)
    }

    /// Everything before it survives the end of this process. Goes back to [`Log::stored`] when a write fails.
    #[must_use]
    pub const fn written(&self) -> Position {
        self.position(self.written)
    }

    /// Where the next record will stand, unless the log has something to say before.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.position(self.head)
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub const fn unwritten_bytes(&self) -> u64 {
        self.head - self.written
    }

    /// The header of this log's [`CarryOver`](crate::CarryOver).
    #[must_use]
    pub fn carry_header(&self) -> [u8; CARRY_HEADER_BYTES] {
        carry::header(&self.limits, self.lines.first_epoch, self.log)
    }

    /// What of the log is to be put into its carry-over next, and where in the file.
    #[must_use]
    pub fn uncarried(&self) -> Option<(u64, &[u8])> {
        let bytes = self.ring.stretch(self.carried, self.head);
        (!bytes.is_empty()).then(|| (CARRY_HEADER_BYTES as u64 + self.carried % self.ring.capacity(), bytes))
    }

    /// So many bytes of it are there.
    ///
    /// # Panics
    /// If they are more than there are: our own mistake.
    pub const fn carried(&mut self, count: usize) {
        assert!(self.carried + count as u64 <= self.head, "what was carried was appended");
        self.carried += count as u64;
    }

    /// Whether a write is in flight.
    #[must_use]
    pub const fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    const fn position(&self, offset: u64) -> Position {
        self.lines.position(self.log, offset)
    }

    /// The offset from the run's start of one in a segment of this run.
    const fn offset_of(&self, name: SegmentName, offset: u64) -> u64 {
        (name.epoch - self.lines.first_epoch) as u64 * self.lines.span + offset
    }

    fn own_offset(&self, position: Position) -> Option<u64> {
        self.lines.own_offset(self.log, position)
    }

    /// Where the record behind the one at `offset` begins.
    fn next_of(&self, offset: u64) -> u64 {
        let record = Record::trusted(self.ring.record(offset));
        if record.closes() { self.lines.after(offset) } else { offset + record.encoded_bytes() as u64 }
    }

    /// The end of the records that one write can take, none of them behind `line`.
    fn batch_end(&self, line: u64) -> u64 {
        let end = self.head.min(line);
        let bound = self.written + self.limits.batch_bytes as u64;
        if end <= bound {
            return end;
        }
        let mut at = self.written;
        loop {
            let next = self.next_of(at);
            if next > bound {
                return at;
            }
            at = next;
        }
    }

    /// Makes room for the log to reach up to `end`. Goes no further than `stored`, which `append` has made sure of.
    fn forget(&mut self, end: u64) {
        while end - self.start > self.ring.capacity() {
            self.start = self.next_of(self.start);
        }
        assert!(self.start <= self.stored, "what is not stored is kept");
    }

    fn put(&mut self, record: &Record<'_>) {
        let position = self.position(self.head);
        self.ring
            .put(self.head, |room| record.write(position, room).expect("the ring's spare has room for any record"));
        self.head += record.encoded_bytes() as u64;
    }

    fn put_mark(&mut self, closes: bool, at: UnixMicros) {
        self.marked = self.stored;
        // Of its own epoch; what the former one has left to be stored is not told there.
        let stored = self.stored.saturating_sub(self.head / self.lines.span * self.lines.span);
        self.put(&Record::mark(&stored.to_le_bytes(), closes, at));
    }

    /// Gives a segment up: what was not stored of it goes into another one, whose base that is.
    fn abandon(&mut self, current: SegmentInfo) {
        let end = current.base + self.stored - self.offset_of(current.name, current.base);
        self.sealed.push(SegmentInfo { end, ..current });
        match self.ahead.take() {
            Some(ahead) => self.sealed.push(SegmentInfo { end: ahead.base, ..SegmentInfo::empty(ahead) }),
            // It may be in the making, with a base that is too late.
            None => self.number += 1,
        }
        self.written = self.stored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    const LIMITS: Limits = Limits {
        segment_bytes: (HEADER_BYTES + 2 * RECORD_BYTES_MAX) as u64,
        tail_bytes: 4 * RECORD_BYTES_MAX,
        batch_bytes: 2 * RECORD_BYTES_MAX,
        epoch_bytes: OFFSET_END,
    };
    const ROOM: u64 = 2 * RECORD_BYTES_MAX as u64;
    static LONG: [u8; BODY_BYTES_MAX] = [7; BODY_BYTES_MAX];

    fn record(body: &[u8]) -> Record<'_> {
        Record { kind: Kind::Uplink, lane: 5, key: 0, tenant: 1, at: UnixMicros(9), body }
    }

    /// Makes whatever segment is wished for.
    fn made(log: &mut Log) -> Wanted {
        let wanted = log.wants().expect("one is wished for");
        assert!(log.ready(wanted.name));
        wanted
    }

    fn opened() -> Log {
        let mut log = Log::new(LIMITS, 1, 2);
        made(&mut log);
        made(&mut log);
        assert_eq!(log.wants(), None);
        log
    }

    fn offsets(log: &Log) -> [u64; 4] {
        [log.tail_start(), log.stored(), log.written(), log.head()].map(Position::offset)
    }

    #[test]
    fn a_record_is_written_then_stored_then_marked() {
        let mut log = opened();
        let first = log.append(&record(b"eight by")).expect("room");
        assert_eq!((first.position, first.end), (Position::new(1, 2, 0), Position::new(1, 2, 32)));
        assert_eq!(log.read(first.position), Tail::End, "it is not written");
        let write = log.next_write(false).expect("something waits");
        assert_eq!((write.file_offset, write.bytes, write.sync), (4096, 32, false));
        let mut bytes = [0; 32];
        log.copy(&write, &mut bytes);
        assert_eq!(Record::parse(first.position, &bytes), Ok((record(b"eight by"), 32)));
        assert!(log.next_write(true).is_none(), "one is in flight");
        log.wrote(Ok(()));
        assert_eq!(offsets(&log), [0, 0, 32, 32]);
        assert_eq!(log.read(first.position), Tail::Record { record: record(b"eight by"), next: first.end });
        assert_eq!(log.next_write(false), None);
        let write = log.next_write(true).expect("the fdatasync is missing");
        assert_eq!((write.file_offset, write.bytes, write.sync), (4128, 0, true));
        log.wrote(Ok(()));
        assert_eq!(log.next_write(true), None);
        assert_eq!(offsets(&log), [0, 32, 32, 32]);
        let second = log.append(&record(b"")).expect("room");
        assert_eq!(second.position.offset(), 64, "a mark stands before it");
        log.next_write(false).expect("something waits");
        log.wrote(Ok(()));
        let Tail::Record { record: mark, next } = log.read(first.end) else { panic!("no mark") };
        assert_eq!((mark.marked(), mark.closes(), next), (Some(32), false, second.position));
        assert_eq!(log.read(Position::new(1, 2, 8)), Tail::Nowhere);
        assert_eq!(log.read(Position::new(1, 1, 8)), Tail::Behind);
        assert_eq!(log.read(Position::new(1, 3, 8)), Tail::End);
    }

    #[test]
    fn a_full_segment_is_closed_synced_and_told() {
        let mut log = opened();
        log.append(&record(&LONG)).expect("room");
        let second = log.append(&record(&LONG)).expect("room in the tail");
        assert_eq!(second.position.offset(), ROOM, "no room for it and the mark that closes");
        let write = log.next_write(false).expect("something waits");
        assert_eq!((write.bytes as u64, write.sync), (ROOM, true));
        log.wrote(Ok(()));
        let info = log.sealed().next().expect("the first has ended");
        assert_eq!((info.name.number, info.base, info.end, info.lanes), (0, 0, ROOM, 1 << 5));
        assert_eq!((info.first_at, info.last_at, info.bytes), (UnixMicros(9), UnixMicros(9), LIMITS.segment_bytes));
        let mark = Position::new(1, 2, RECORD_BYTES_MAX as u64);
        let Tail::Record { record, next } = log.read(mark) else { panic!("no mark") };
        assert_eq!((record.marked(), record.closes(), next), (Some(0), true, second.position));
        let write = log.next_write(false).expect("the second waits");
        assert_eq!((write.segment.number, write.file_offset, write.sync), (1, 4096, false));
        assert_eq!(log.wants().map(|wanted| (wanted.name.number, wanted.base)), Some((2, 2 * ROOM)));
    }

    #[test]
    fn a_fault_gives_the_segment_up_and_nothing_else() {
        for fault in [Fault::Write, Fault::Sync] {
            let mut log = opened();
            log.append(&record(b"stored")).expect("room");
            log.next_write(true).expect("something waits");
            log.wrote(Ok(()));
            log.append(&record(b"written")).expect("room");
            log.next_write(false).expect("something waits");
            log.wrote(Ok(()));
            log.append(&record(b"lost")).expect("room");
            let lost = log.next_write(true).expect("something waits");
            log.wrote(Err(fault));
            assert_eq!(offsets(&log)[1..3], [32, 32]);
            let ended: Vec<_> = log.sealed().map(|info| (info.name.number, info.base, info.end)).collect();
            assert_eq!(ended, [(0, 0, 32), (1, ROOM, ROOM)]);
            assert_eq!(log.next_write(true), None, "there is no segment");
            log.append(&record(b"meanwhile")).expect("the tail has room");
            assert!(!log.ready(lost.segment));
            let wanted = made(&mut log);
            assert_eq!((wanted.name.number, wanted.base, wanted.end), (2, 32, ROOM));
            let write = log.next_write(true).expect("everything behind `stored`");
            assert_eq!((write.segment.number, write.file_offset), (2, 4096));
            log.wrote(Ok(()));
            assert_eq!(log.stored(), log.head());
            assert_eq!(log.wants().map(|wanted| (wanted.name.number, wanted.base)), Some((3, ROOM)));
        }
    }

    #[test]
    fn a_segment_that_comes_too_late_is_not_wanted() {
        let mut log = Log::new(LIMITS, 1, 2);
        made(&mut log);
        let asked = log.wants().expect("one ahead");
        log.append(&record(b"lost")).expect("room");
        log.next_write(false).expect("something waits");
        log.wrote(Err(Fault::Write));
        assert!(!log.ready(asked.name));
        assert_eq!(log.wants().map(|wanted| (wanted.name.number, wanted.base)), Some((2, 0)));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut log = Log::new(LIMITS, 1, 2);
        for _ in 0..2 {
            log.append(&record(&LONG)).expect("room");
        }
        let before = offsets(&log);
        assert_eq!(log.append(&record(&LONG)), Err(Full::NoSegment));
        made(&mut log);
        assert_eq!(log.append(&record(&LONG)), Err(Full::Tail));
        assert_eq!(offsets(&log), before);
        assert!(log.append(&record(&[7; 60_000])).is_ok(), "a shorter one fits");
        log.next_write(false).expect("something waits");
        log.wrote(Ok(()));
        assert!(log.append(&record(&LONG)).is_ok(), "the first segment's records may be forgotten");
        assert_eq!(log.read(Position::new(1, 2, 0)), Tail::Behind);
    }

    /// Appends until the log's head has passed an offset of its run, and writes all of it.
    fn fill(log: &mut Log, offset: u64) {
        while log.head < offset {
            while log.wants().is_some() {
                made(log);
            }
            match log.append(&record(&[7; 9000])) {
                Ok(_) | Err(Full::Exhausted) => {}
                Err(full) => panic!("{full:?}"),
            }
            log.next_write(true).expect("something waits");
            log.wrote(Ok(()));
            let _told = log.sealed().count();
        }
    }

    #[test]
    fn an_epoch_that_is_used_up_is_followed_by_the_next() {
        // Two segments of each epoch.
        let mut log = Log::new(Limits { epoch_bytes: 2 * ROOM + 8, ..LIMITS }, 1, 2);
        fill(&mut log, 2 * ROOM - 9500);
        let last = log.head();
        assert_eq!((last.epoch(), log.wants()), (1, None));
        // What the former epoch has is not stored yet when the next one begins.
        let before = log.append(&record(&[1; 9000])).expect("room");
        let behind = log.append(&record(&[2; 9000])).expect("room");
        assert_eq!((before.position.epoch(), behind.position), (2, Position::new(2, 2, before.end.offset())));
        assert_eq!(before.position.offset(), 0, "no mark stands before it: nothing of this epoch is stored");
        assert!(log.bytes_since(last) > 18_000 && log.bytes_since(Position::ZERO) == log.head);
        for number in [1, 2] {
            let write = log.next_write(false).expect("something waits");
            assert_eq!((write.segment.epoch, write.segment.number), (number as u16, number));
            log.wrote(Ok(()));
            while log.wants().is_some() {
                made(&mut log);
            }
        }
        let ended = log.sealed().next().expect("the last of the first epoch");
        assert_eq!((ended.name.epoch, ended.base, ended.end), (1, ROOM, 2 * ROOM));
        // From the one to the other, over the mark that closes; and both names of the place between them.
        let Tail::Record { record: mark, next } = log.read(last) else { panic!("no mark") };
        assert_eq!((mark.closes(), next), (true, before.position));
        let end = Position::new(1, 2, 2 * ROOM);
        for place in [end, before.position] {
            assert!(matches!(log.read(place), Tail::Record { next, .. } if next == before.end), "{place}");
            assert!(log.reaches(place));
        }
        for place in [Position::new(1, 3, 8), Position::new(1, 2, 2 * ROOM + 8)] {
            assert_eq!((log.read(place), log.reaches(place)), (Tail::Nowhere, false), "{place}");
        }
        // A segment that is given up is followed by one of its epoch, and nothing has moved.
        log.append(&record(b"lost")).expect("room");
        log.next_write(true).expect("something waits");
        let stored = log.stored();
        log.wrote(Err(Fault::Sync));
        let given_up: Vec<_> = log.sealed().map(|info| info.name.epoch).collect();
        assert_eq!((given_up, log.stored()), (vec![2, 2], stored));
        let wanted = made(&mut log);
        assert_eq!((wanted.name.epoch, wanted.base), (stored.epoch(), stored.offset()));
        fill(&mut log, 9 * ROOM);
        assert_eq!(log.head().epoch(), 5);
    }

    #[test]
    fn the_last_epoch_is_not_passed() {
        let mut log = Log::new(Limits { epoch_bytes: 2 * ROOM + 8, ..LIMITS }, u16::MAX, 2);
        fill(&mut log, 2 * ROOM - 9500);
        assert_eq!(log.wants(), None, "none lies behind it");
        assert!(log.append(&record(b"the last")).is_ok());
        assert_eq!(log.append(&record(&[7; 9000])), Err(Full::Exhausted));
        log.next_write(true).expect("something waits");
        log.wrote(Ok(()));
        assert_eq!(log.stored(), log.head());
    }
}
