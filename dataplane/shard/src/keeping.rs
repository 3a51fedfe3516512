//! The shard's journal: what must not be forgotten goes into its log, a turn's records in one write, and what waits for
//! them is let go once they are kept.
//!
//! Owns the log, the segments that are open for writing, and the word on what the disk does. Never waits: a turn that finds
//! a write in flight adds to the next one. Never makes a file: the keeper does, one ahead.
//!
//! ```text
//!   append ... append -> flush: carried over, in memory
//!                           └─▶ one write, with an fdatasync if somebody waits -> Written -> kept -> answers, replies, feeds
//!   nobody waits:  it is written once much has come, and stored within 100 ms
//!   disk full:     no event of a durable stream is taken; state goes on into the segment that is there
//!   write fails:   the segment is given up, what is not stored goes into another
//! ```
//! Sketch: 28 bytes of state per uplink and 24 of head; 100 000 uplinks/s are 5 MB/s, one write of some 10 KiB per turn.

use crate::control::{FromShard, Mailbox};
use base::{Monotonic, UnixMicros};
use driver::{Access, Driver, File, FileFault};
use journal::{Appended, Fault, Full, Kind, Log, NAME_BYTES, Position, Record, SegmentName, Wanted, Write};
use session::Ticket;
use std::time::Duration;

/// What nobody waits for is stored after this at the latest: it bounds what a power loss makes forgotten.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// What an answer to a device waits for is stored after this at the latest. It is on the air a second later (RX1), so nobody
/// sees the difference, and the disk is asked once for many.
const GATHER: Duration = Duration::from_millis(20);

/// Bytes that are written although nobody waits for them: it bounds the write that somebody will wait for.
const UNWRITTEN_BYTES_MAX: u64 = 64 << 10;

/// Segments open for writing: the one in use, the next, and some that are being closed.
const OPEN_COUNT_MAX: usize = 4;

/// Where segments lie, below the driver's directory.
pub(crate) const FOLDER: &str = "journal/";

/// The bit of a ticket that says: written is enough. Positions are multiples of 8.
const WRITTEN_IS_ENOUGH: u64 = 1;

/// How a shard journals.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// The epoch in which this run begins.
    pub epoch: u16,
    /// Sizes of its log.
    pub limits: journal::Limits,
}

/// What ails the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Trouble {
    /// No room for another segment.
    Full = 1,
    /// Writing or storing failed.
    Failing = 2,
    /// The file system takes no writes.
    ReadOnly = 3,
}

impl Trouble {
    /// Of an errno.
    #[must_use]
    pub const fn of_errno(errno: i32) -> Self {
        const EDQUOT: i32 = 122;
        const ENOSPC: i32 = 28;
        const EROFS: i32 = 30;
        match errno {
            ENOSPC | EDQUOT => Self::Full,
            EROFS => Self::ReadOnly,
            _ => Self::Failing,
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Failing, Self::ReadOnly];

    /// As metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failing => "failing",
            Self::ReadOnly => "read_only",
        }
    }

    /// What that means, for people.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Full => "the disk is full: durable streams take nothing, live ones go on",
            Self::Failing => "writing fails: durable streams take nothing, live ones go on",
            Self::ReadOnly => "the file system is read-only: durable streams take nothing, live ones go on",
        }
    }
}

/// Why a record was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// The disk is in trouble, and this could wait.
    Trouble(Trouble),
    /// The log takes nothing.
    Log(Full),
}

/// How soon a record must be kept. All of them are carried over at once, where there is memory for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// With what comes.
    Some,
    /// Written is enough, and waited for.
    Written,
    /// Stored, and waited for by an answer that has a while.
    Soon,
    /// Stored, and waited for.
    Stored,
}

/// A segment that is open for writing.
#[derive(Clone, Copy, Debug)]
struct Open {
    name: SegmentName,
    file: File,
    ready: bool,
}

/// The journal of a shard. Whoever owns it drives it: `append` what the turn brings, `flush` at its end, and tell what the
/// driver completes.
pub struct Keeping {
    pub(crate) log: Log,
    open: [Option<Open>; OPEN_COUNT_MAX],
    /// What the keeper was asked to make.
    asked: Option<Wanted>,
    trouble: Option<Trouble>,
    /// Somebody waits until this is stored.
    urgent: Position,
    /// An answer waits until this is stored: soon is early enough.
    soon: Position,
    /// Since when.
    soon_since: Option<Monotonic>,
    /// Somebody waits until this is written.
    prompt: Position,
    /// Whether the log is carried over: else it is written at every turn.
    carries: Option<bool>,
    /// The end of the last record that must be stored, not only written.
    strict: Position,
    /// When the oldest record that is not stored came.
    unstored_since: Option<Monotonic>,
    /// More is kept than when this was looked at last.
    moved: bool,
    /// Handed out by the log; given to the driver once it has a buffer.
    in_flight: Option<Write>,
    submitted: bool,
    /// Counted for the API.
    pub(crate) failure_count: u64,
}

impl Keeping {
    /// An empty log of this run, with no segment yet.
    #[must_use]
    pub fn new(options: &JournalOptions, shard: usize) -> Self {
        let log = Log::new(options.limits, options.epoch, shard as u8);
        let start = log.head();
        Self {
            log,
            open: [None; OPEN_COUNT_MAX],
            asked: None,
            trouble: None,
            urgent: start,
            soon: start,
            soon_since: None,
            prompt: start,
            carries: None,
            strict: start,
            unstored_since: None,
            moved: false,
            in_flight: None,
            submitted: false,
            failure_count: 0,
        }
    }

    /// Its log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What ails the disk, if anything does.
    pub(crate) const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Appends a record. One that `may_wait` for better days is not taken while the disk is in trouble.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing of it is in the log.
    pub fn append(
        &mut self,
        record: &Record<'_>,
        need: Need,
        may_wait: bool,
        now: Monotonic,
    ) -> Result<Ticket, NotTaken> {
        if let Some(trouble) = self.trouble.filter(|_| may_wait) {
            return Err(NotTaken::Trouble(trouble));
        }
        let Appended { end, .. } = self.log.append(record).map_err(NotTaken::Log)?;
        self.unstored_since.get_or_insert(now);
        match need {
            Need::Some => self.strict = end,
            Need::Written => {
                self.prompt = end;
                return Ok(Ticket(end.0 | WRITTEN_IS_ENOUGH));
            }
            Need::Soon => (self.strict, self.soon) = (end, end),
            Need::Stored => (self.strict, self.urgent) = (end, end),
        }
        Ok(Ticket(end.0))
    }

    /// Whether what has this ticket is kept. If not, it is stored soon.
    pub(crate) fn is_kept(&mut self, ticket: Ticket) -> bool {
        let end = Position(ticket.0 & !WRITTEN_IS_ENOUGH);
        let stored = if ticket.0 & WRITTEN_IS_ENOUGH == 0 { end } else { self.strict.min(end) };
        if self.log.stored() >= stored {
            return self.log.written() >= end;
        }
        self.soon = self.soon.max(stored);
        false
    }

    /// Whether everything is stored. If not, that is urgent.
    pub(crate) fn stores_all(&mut self) -> bool {
        self.urgent = self.log.head();
        self.log.stored() >= self.urgent
    }

    /// Up to where feeds may read: what of the log satisfies the streams that wait for the disk.
    pub(crate) const fn deliverable(&self, written_is_enough: bool) -> Position {
        if written_is_enough { self.log.written() } else { self.log.stored() }
    }

    /// When [`Keeping::flush`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        match self.unstored_since {
            Some(since) if self.in_flight.is_none() => {
                let soon = self.soon_since.map_or(Monotonic::NEVER, |since| since.after(GATHER));
                since.after(SYNC_INTERVAL).min(soon)
            }
            _ => Monotonic::NEVER,
        }
    }

    /// Whether more is kept than at the last look.
    pub(crate) fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// Sees that what the turn brought is on its way, that a segment is made ahead, and that ended ones are told of.
    pub fn flush<D: Driver>(&mut self, driver: &mut D, mailbox: &Mailbox, now: Monotonic) {
        if let Some(wanted) = self.log.wants()
            && self.asked != Some(wanted)
            && mailbox.may_answer()
        {
            self.asked = Some(wanted);
            mailbox.push(FromShard::MakeSegment(wanted));
        }
        if mailbox.may_answer() {
            for info in self.log.sealed() {
                if let Some(place) = self.open.iter_mut().find(|open| open.is_some_and(|open| open.name == info.name)) {
                    driver.close_file(place.take().expect("just found").file);
                }
                mailbox.push(FromShard::Sealed(info));
            }
        }
        let carries = self.carry(driver);
        let stored = self.log.stored();
        self.soon_since = if self.soon > stored { self.soon_since.or(Some(now)) } else { None };
        let due = |since: Option<Monotonic>, span| since.is_some_and(|since| since.after(span) <= now);
        let late = due(self.unstored_since, SYNC_INTERVAL) || due(self.soon_since, GATHER);
        let sync = late || self.urgent > stored;
        let write = !carries || self.prompt > self.log.written() || self.log.unwritten_bytes() > UNWRITTEN_BYTES_MAX;
        if self.in_flight.is_none() && (sync || write) {
            self.in_flight = self.log.next_write(sync);
            self.submitted = false;
        }
        match self.in_flight {
            Some(write) if !self.submitted => self.submit(driver, &write),
            // There is no segment to write to: it is not time that is waited for.
            None if late => {
                self.unstored_since = self.unstored_since.map(|_| now);
                self.soon_since = self.soon_since.map(|_| now);
            }
            _ => {}
        }
    }

    /// Puts what was appended where the end of this process leaves it. Says whether there is such a place.
    pub(crate) fn carry<D: Driver>(&mut self, driver: &mut D) -> bool {
        let mut carries = self.carries.unwrap_or_else(|| driver.carry(0, &self.log.carry_header()));
        while let Some((offset, bytes)) = self.log.uncarried().filter(|_| carries) {
            let count = bytes.len();
            carries = driver.carry(offset, bytes);
            if carries {
                self.log.carried(count);
            }
        }
        self.carries = Some(carries);
        carries
    }

    /// Gives the write to the driver, or leaves it for the next turn if no buffer is free.
    fn submit<D: Driver>(&mut self, driver: &mut D, write: &Write) {
        let Ok(lease) = driver.file_buffer() else { return };
        self.log.copy(write, &mut driver.bytes(&lease)[..write.bytes]);
        let open = self.place(write.segment).expect("a segment is ready once it is open");
        driver.write(open.file, write.file_offset, lease, write.bytes, write.sync);
        self.submitted = true;
    }

    fn place(&self, name: SegmentName) -> Option<Open> {
        self.open.iter().flatten().find(|open| open.name == name).copied()
    }

    /// The keeper has made a segment.
    pub fn made<D: Driver>(&mut self, driver: &mut D, name: SegmentName) {
        if self.asked.is_none_or(|asked| asked.name != name) {
            return;
        }
        let mut path = [0; FOLDER.len() + NAME_BYTES];
        let Ok(file) = driver.open(path_of(name, &mut path), Access::Write) else {
            // Asked again, it is made again: with nothing in it, that is the same segment.
            self.asked = None;
            return;
        };
        match self.open.iter_mut().find(|open| open.is_none()) {
            Some(place) => *place = Some(Open { name, file, ready: false }),
            None => unreachable!("a segment is asked for when one has ended"),
        }
    }

    /// The keeper could not make one; it goes on trying.
    pub(crate) fn not_made(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
    }

    /// A file was opened, or not. False if it is none of ours.
    pub fn opened<D: Driver>(&mut self, driver: &mut D, file: File, outcome: Result<(), i32>) -> bool {
        let Some(place) = self.open.iter_mut().find(|open| open.is_some_and(|open| open.file == file)) else {
            return false;
        };
        let open = place.as_mut().expect("just found");
        match outcome {
            Ok(()) => {
                open.ready = true;
                // What is asked for by now may be another one: asked for twice, it would be made anew under its writer.
                self.asked.take_if(|asked| asked.name == open.name);
                if self.log.ready(open.name) {
                    self.trouble = None;
                } else {
                    // A write has failed meanwhile: another one is wanted in its place.
                    driver.close_file(file);
                    *place = None;
                }
            }
            Err(errno) => {
                self.asked.take_if(|asked| asked.name == open.name);
                *place = None;
                self.fail(errno);
            }
        }
        true
    }

    /// A write is done, or failed. False if the file is none of ours.
    pub fn written(&mut self, file: File, outcome: Result<(), FileFault>, now: Monotonic) -> bool {
        let Some(write) =
            self.in_flight.filter(|write| self.place(write.segment).is_some_and(|open| open.file == file))
        else {
            return false;
        };
        self.in_flight = None;
        match outcome {
            Ok(()) => self.log.wrote(Ok(())),
            Err(FileFault::Write(errno)) => {
                self.fail(errno);
                self.log.wrote(Err(Fault::Write));
            }
            Err(FileFault::Sync(errno)) => {
                self.fail(errno);
                self.log.wrote(Err(Fault::Sync));
            }
        }
        if write.sync && outcome.is_ok() {
            self.unstored_since = (self.log.stored() < self.log.head()).then_some(now);
        }
        self.moved = true;
        true
    }

    fn fail(&mut self, errno: i32) {
        self.failure_count += 1;
        self.trouble = Some(Trouble::of_errno(errno));
    }
}

/// The path of a segment below the driver's directory.
pub(crate) fn path_of(name: SegmentName, out: &mut [u8; FOLDER.len() + NAME_BYTES]) -> &str {
    let (folder, file) = out.split_first_chunk_mut::<{ FOLDER.len() }>().expect("the folder comes first");
    folder.copy_from_slice(FOLDER.as_bytes());
    let file: &mut [u8; NAME_BYTES] = file.try_into().expect("the rest is the name");
    let _name = name.write(file);
    core::str::from_utf8(out).expect("digits, letters and signs")
}

/// A record of this shard.
pub(crate) const fn record(kind: Kind, lane: u8, tenant: u32, at: UnixMicros, body: &[u8]) -> Record<'_> {
    Record { kind, lane, key: 0, tenant, at, body }
}
