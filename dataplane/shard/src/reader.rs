//! What feeds that lag are read from the disk: one segment at a time, one piece at a time, one feed after another.
//!
//! Owns one open segment and one scan; so what lags costs a shard one read in flight and nobody else's memory.
//!
//! ```text
//!   Idle ── a feed wants ──▶ Opening ──▶ Reading a piece ──▶ records to the feed ── the piece is used up ──▶ Idle
//!     └────── the segment is open still ──────▲
//! ```

use crate::control::FromShard;
use crate::feeds::{Feeds, Ground};
use crate::keeping::{FOLDER, path_of};
use crate::metrics::{Done, Drop};
use base::Monotonic;
use driver::{Access, Driver, File, Lease};
use journal::{HEADER_BYTES, Header, NAME_BYTES, Part, Position, Scan, SegmentInfo, SegmentName, Step};
use std::time::Duration;

/// Bytes of one piece: some twenty-five uplinks, which is what a turn hands out. Traffic waits for a turn, and what of a piece finds
/// no room with its feed is read again.
pub(crate) const PIECE_BYTES: usize = 8 << 10;

/// Between two attempts at a disk that fails.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Open {
    name: SegmentName,
    file: File,
    ready: bool,
}

/// For whom it reads, and what.
#[derive(Clone, Copy, Debug)]
struct Serving {
    feed: usize,
    /// Of the feed, when reading for it began.
    restart_count: u32,
    part: Part,
    /// A read is in flight.
    reading: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The shard that it belongs to.
    pub(crate) shard: u8,
    scan: Option<Box<Scan>>,
    open: Option<Open>,
    serving: Option<Serving>,
    last: usize,
    /// Not before this: the disk failed just now.
    retry_at: Monotonic,
}

impl Reader {
    pub(crate) const fn new(shard: u8) -> Self {
        Self { shard, scan: None, open: None, serving: None, last: 0, retry_at: Monotonic(0) }
    }
}

impl Feeds {
    /// Sees that a feed that wants to read does.
    pub(crate) fn go_on_reading<D: Driver>(&mut self, driver: &mut D, ground: &mut Ground<'_>) {
        if ground.now.monotonic < self.reader.retry_at {
            return self.again_at(self.reader.retry_at);
        }
        if self.reader.serving.is_none() {
            let Some(feed) = self.waiting(self.reader.last) else { return };
            self.reader.last = feed;
            match self.part_for(feed, ground) {
                Ok(part) => {
                    let restart_count = self.restart_count(feed);
                    self.reader.serving = Some(Serving { feed, restart_count, part, reading: false });
                }
                Err(Some(position)) => return self.read_up_to(feed, position, ground),
                // The keeper has not told of the segment yet.
                Err(None) => return,
            }
        }
        let Some(serving) = self.reader.serving.filter(|serving| !serving.reading) else { return };
        let name = serving.part.info.name;
        match self.reader.open {
            Some(open) if open.name == name && open.ready => self.begin(driver, open.file),
            Some(open) if open.name == name || !open.ready => {}
            other => {
                if let Some(open) = other {
                    driver.close_file(open.file);
                    self.reader.open = None;
                }
                let mut path = [0; FOLDER.len() + NAME_BYTES];
                if let Ok(file) = driver.open(path_of(name, &mut path), Access::Read) {
                    self.reader.open = Some(Open { name, file, ready: false });
                }
            }
        }
    }

    /// What holds what a feed wants; else from where on there is something, or nothing if that is not known yet.
    fn part_for(&self, feed: usize, ground: &Ground<'_>) -> Result<Part, Option<Position>> {
        let feed = self.table[feed].as_ref().expect("a feed that waits");
        let position = feed.want.expect("it wants something").position(feed.flights.horizon());
        let log = &ground.keeping.log;
        let (own, first_epoch, tail_start) = (log.head().log(), log.first_epoch(), log.tail_start());
        let is_own = |name: SegmentName| name.epoch >= first_epoch && name.log == own;
        let mut parts = ground.catalog.needed(ground.lanes, position);
        // What other shards write now is none of this shard's lanes.
        let part = parts.find(|part| is_own(part.info.name) || part.info.name.epoch < first_epoch);
        let start = Position::new(first_epoch, own, 0);
        match part {
            Some(mut part) if is_own(part.info.name) => {
                let name = part.info.name;
                if name.epoch > tail_start.epoch() {
                    return Err(Some(tail_start.max(position)));
                }
                // Memory has the rest; of a former epoch all is behind the tail.
                if name.epoch == tail_start.epoch() {
                    part.extent.until = part.extent.until.min(tail_start.offset());
                }
                part.extent.stored = part.extent.until;
                if part.extent.from >= part.extent.until {
                    let is_passed = name.position(part.extent.from) >= tail_start;
                    return Err(is_passed.then_some(tail_start.max(position)));
                }
                Ok(part)
            }
            Some(part) => Ok(part),
            None if position < start => Err(Some(start)),
            None => Err(None),
        }
    }

    fn restart_count(&self, feed: usize) -> u32 {
        self.table[feed].as_ref().map_or(0, |feed| feed.restart_count)
    }

    fn begin<D: Driver>(&mut self, driver: &mut D, file: File) {
        let Some(serving) = &mut self.reader.serving else { return };
        let Part { info, extent } = serving.part;
        let header =
            Header { name: info.name, base: info.base, end: info.end.max(extent.until), created: info.first_at };
        match &mut self.reader.scan {
            Some(scan) => scan.restart(&header, extent),
            None => self.reader.scan = Some(Box::new(Scan::new(&header, extent))),
        }
        self.ask(driver, file);
    }

    fn ask<D: Driver>(&mut self, driver: &mut D, file: File) {
        let (Some(scan), Some(serving)) = (&self.reader.scan, &mut self.reader.serving) else { return };
        let count = PIECE_BYTES.min(driver.limits().file_buffer_bytes as usize);
        serving.reading = driver.read(file, scan.wants(), count).is_ok();
    }

    /// A file was opened, or not.
    pub(crate) fn opened<D: Driver>(
        &mut self,
        driver: &mut D,
        file: File,
        outcome: Result<(), i32>,
        ground: &mut Ground<'_>,
    ) {
        let Some(open) = self.reader.open.as_mut().filter(|open| open.file == file) else {
            // Nobody wants it any more.
            if outcome.is_ok() {
                driver.close_file(file);
            }
            return;
        };
        match outcome {
            Ok(()) => open.ready = true,
            Err(errno) => {
                self.reader.open = None;
                self.failed(errno, ground);
            }
        }
    }

    /// A segment cannot be read. One that is gone is lost to the feeds, and they go on behind it; one that is still to come, and
    /// a disk that fails, is asked again.
    fn failed(&mut self, errno: i32, ground: &mut Ground<'_>) {
        const ENOENT: i32 = 2;
        ground.counters.drops.count(Drop::SegmentUnreadable);
        let Some(serving) = self.reader.serving.take() else { return };
        let is_gone = errno == ENOENT && !serving.part.info.is_awaited();
        if is_gone && self.restart_count(serving.feed) == serving.restart_count {
            let end = serving.part.info.name.position(serving.part.extent.until);
            return self.read_up_to(serving.feed, end, ground);
        }
        self.reader.retry_at = ground.now.monotonic.after(RETRY);
        self.read_no_more(serving.feed);
        self.again_at(self.reader.retry_at);
    }

    /// A piece was read, or not.
    pub(crate) fn piece<D: Driver>(
        &mut self,
        driver: &mut D,
        file: File,
        outcome: Result<Lease, i32>,
        ground: &mut Ground<'_>,
    ) {
        let ours = self.reader.open.is_some_and(|open| open.file == file);
        let (Some(serving), Some(mut scan), true) = (self.reader.serving, self.reader.scan.take(), ours) else {
            if let Ok(lease) = outcome {
                driver.release(lease);
            }
            return;
        };
        let lease = match outcome {
            Ok(lease) => lease,
            Err(errno) => {
                self.reader.scan = Some(scan);
                return self.failed(errno, ground);
            }
        };
        let bytes = driver.bytes(&lease);
        ground.counters.done.count(Done::SegmentReads);
        ground.counters.done.add(Done::SegmentBytesRead, bytes.len() as u64);
        let end = self.hand_out(&serving, &mut scan, bytes, ground);
        driver.release(lease);
        self.reader.scan = Some(scan);
        match end {
            Piece::UsedUp => self.ask(driver, file),
            Piece::Enough => {
                self.reader.serving = None;
                self.read_no_more(serving.feed);
            }
            Piece::Ended => {
                self.reader.serving = None;
                let end = serving.part.info.name.position(serving.part.extent.until);
                self.read_up_to(serving.feed, end, ground);
            }
        }
    }

    fn hand_out(&mut self, serving: &Serving, scan: &mut Scan, bytes: &[u8], ground: &mut Ground<'_>) -> Piece {
        if self.restart_count(serving.feed) != serving.restart_count {
            // It has begun elsewhere since; what it wants now may lie before this.
            return Piece::Enough;
        }
        let mut rest = bytes;
        if rest.is_empty() {
            scan.finish();
        }
        let mut is_first = true;
        loop {
            match scan.step() {
                Step::Record { position, record, next } => {
                    if !self.read(serving.feed, position, &record, next, ground) {
                        return Piece::Enough;
                    }
                }
                Step::Corrupt { from, until } => {
                    ground.counters.drops.count(Drop::RecordCorrupt);
                    let SegmentInfo { name, base, .. } = serving.part.info;
                    let byte = |position: Position| HEADER_BYTES as u64 + position.offset() - base;
                    // Where it is may be lost if the control thread is behind: it is met again, and it is counted.
                    let _told = ground.mailbox.offer(FromShard::Damaged { name, from: byte(from), until: byte(until) });
                }
                Step::More if rest.is_empty() && !is_first => return Piece::UsedUp,
                Step::More => {
                    is_first = false;
                    rest = &rest[scan.feed(rest)..];
                }
                Step::End => return Piece::Ended,
            }
        }
    }
}

/// How a piece came to its end.
enum Piece {
    UsedUp,
    Enough,
    Ended,
}
