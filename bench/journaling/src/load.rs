//! Records at a rate, into the journal of one shard: an absolute schedule, so that a stall is seen by all that came due.
//!
//! ```text
//!   due by the clock ─▶ append ─▶ flush: one write in flight ─▶ Written ─▶ stored: whoever waited is let go
//!                                   ▲ segments, made ahead by a keeper on a thread of its own, which folds them too
//! ```

use crate::{micros, micros_since, pin, ring, thread_time};
use base::{Eui64, Monotonic, UnixMicros};
use driver::{Completion, Driver};
use event::{Event, Kind as EventKind};
use files::Directory;
use hdrhistogram::Histogram;
use journal::{Kind, Position, Record};
use keeper::{Keeper, Offline, Query};
use session::Advance;
use session::body::{BODY_BYTES_MAX, UplinkBody};
use shard::{FromShard, JournalOptions, Keeping, Mailbox, Need, ToShard};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uring::Waker;

/// As the dataplane has them when nothing else is said.
const LIMITS: journal::Limits = journal::Limits {
    segment_bytes: 64 << 20,
    tail_bytes: 16 << 20,
    batch_bytes: 256 * 1024,
    epoch_bytes: journal::OFFSET_END,
};

/// As the dataplane's keeper does.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// FRMPayload that makes an uplink's record some 300 bytes long.
const PAYLOAD_BYTES: usize = 171;

/// What comes due within it is taken in one turn, as the datagrams of a turn are, unless the disk wakes the shard before.
const GATHERED: Duration = Duration::from_micros(50);

/// Records that may wait to be stored; more than the tail holds.
const WAITING_COUNT_MAX: usize = 1 << 20;

/// What comes, and who waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Uplinks of a durable stream, each of which has to be stored before it is accepted.
    Uplinks,
    /// Device state of uplinks for which nobody waits: stored with the next sync.
    State,
    /// Nothing is appended: what the loop itself costs, its sleeping and waking, for comparison.
    Nothing,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What comes.
    pub what: What,
    /// Records per second by the clock; none is as many as the journal takes.
    pub per_second: Option<u64>,
    /// For how long.
    pub span: Duration,
}

/// What a run came to.
#[derive(Debug)]
pub struct Measured {
    /// Records that were appended, all of them stored and read back.
    pub records: u64,
    /// Bytes that were written, marks included.
    pub bytes: u64,
    /// Bytes of each write that had an fdatasync, in order.
    pub batches: Vec<u32>,
    /// Microseconds from the submission of such a write to its completion.
    pub commit: Histogram<u64>,
    /// Microseconds from a record's due time to its being stored.
    pub wait: Histogram<u64>,
    /// Processor time of the shard's thread.
    pub cpu: Duration,
    /// Until the last record was stored.
    pub elapsed: Duration,
    /// Records that found the tail full when they came due. They came later.
    pub held_up: u64,
}

/// Drives a load at a journal of its own below `directory`, reads it back, and removes it.
///
/// # Errors
/// What the host refuses, and what is not as it was written.
pub fn run(directory: &Path, load: Load) -> io::Result<Measured> {
    let home = tempfile::tempdir_in(directory)?;
    let path = home.path().join("journal");
    fs::create_dir(&path)?;
    let (keeper, recovered) = open(&path)?;
    let keeping = Keeping::new(&JournalOptions { epoch: recovered.epoch, limits: LIMITS }, 0);
    let ended = AtomicBool::new(false);
    let (keep, kept) = mpsc::channel::<(Mailbox, Waker)>();
    // The keeper is not pinned, and not of a thread that is: it would inherit the shard's core.
    let measured = thread::scope(|scope| {
        let over = &ended;
        let keeper = scope.spawn(move || match kept.recv() {
            Ok((mailbox, waker)) => tend(keeper, &mailbox, over, || waker.wake()),
            // There was no ring.
            Err(_) => Ok(()),
        });
        let bell = keeper.thread().clone();
        let home = home.path();
        let shard = scope.spawn(move || {
            pin();
            let (ring, waker) = ring(home)?;
            let mailbox = Mailbox::new(256, Arc::new(move || bell.unpark()));
            keep.send((mailbox.clone(), waker)).map_err(io::Error::other)?;
            Shard::new(ring, keeping, mailbox, load).run()
        });
        let defect = |_| io::Error::other("a thread ended by a defect");
        let measured = shard.join().map_err(defect);
        ended.store(true, Ordering::Release);
        keeper.thread().unpark();
        keeper.join().map_err(defect)??;
        measured?
    })?;
    verify(&path, load.what, measured.records)?;
    Ok(measured)
}

fn open(path: &Path) -> io::Result<(Keeper<Directory>, keeper::Recovered)> {
    let limits = keeper::Limits { bytes_max: 0, reserve_bytes: 256 << 20 };
    Keeper::recover(Directory::open(path)?, limits).map_err(io::Error::other)
}

/// The keeper's thread, as the dataplane has it.
fn tend(mut keeper: Keeper<Directory>, mailbox: &Mailbox, over: &AtomicBool, wake: impl Fn()) -> io::Result<()> {
    while !over.load(Ordering::Acquire) {
        while let Some(message) = mailbox.from.pop() {
            match message {
                FromShard::MakeSegment(wanted) => {
                    keeper.make(wanted, unix()).map_err(io::Error::other)?;
                    mailbox
                        .to
                        .push(ToShard::SegmentMade(wanted.name))
                        .map_err(|_| io::Error::other("a full mailbox"))?;
                    wake();
                }
                FromShard::Sealed(info) => keeper.sealed(info),
                _ => return Err(io::Error::other("a message that no journal sends")),
            }
        }
        if keeper.unfolded_bytes() >= CHECKPOINT_BYTES {
            let corrupt = keeper.checkpoint(&mut |_, each| each(1)).map_err(io::Error::other)?;
            assert_eq!(corrupt, 0, "what was written is whole");
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

fn unix() -> UnixMicros {
    UnixMicros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64)
}

/// The uplinks, each with its number in its frame counter and its payload.
struct Uplinks {
    payload: [u8; PAYLOAD_BYTES],
    body: Box<[u8; BODY_BYTES_MAX]>,
}

impl Uplinks {
    fn body(&mut self, what: What, number: u64, at: UnixMicros) -> &[u8] {
        self.payload[..8].copy_from_slice(&number.to_le_bytes());
        let (dev_eui, fcnt) = (Eui64::new(number % 1000), number as u32);
        let event = Event {
            dev_eui,
            tenant: 1,
            application: 1,
            fcnt,
            payload: &self.payload,
            ..Event::new(EventKind::Uplink, at)
        };
        let advance = Advance { dev_eui, session: 1, fcnt_up: fcnt + 1, mic: fcnt, gateway: Eui64::new(1) };
        let event = (what == What::Uplinks).then_some(event);
        let count = UplinkBody { advance, event, owes_best: false }.write(&mut self.body);
        &self.body[..count]
    }
}

struct Shard {
    ring: uring::Uring,
    keeping: Keeping,
    mailbox: Mailbox,
    load: Load,
    uplinks: Uplinks,
    /// Where a record ends, and when it came due.
    waiting: VecDeque<(Position, Monotonic)>,
    submitted: Option<(Monotonic, Position)>,
    measured: Measured,
}

impl Shard {
    fn new(ring: uring::Uring, keeping: Keeping, mailbox: Mailbox, load: Load) -> Self {
        let measured = Measured {
            records: 0,
            bytes: 0,
            batches: Vec::with_capacity(1 << 20),
            commit: micros(),
            wait: micros(),
            cpu: Duration::ZERO,
            elapsed: Duration::ZERO,
            held_up: 0,
        };
        let uplinks = Uplinks { payload: [0x5a; PAYLOAD_BYTES], body: Box::new([0; BODY_BYTES_MAX]) };
        let waiting = VecDeque::with_capacity(WAITING_COUNT_MAX);
        Self { ring, keeping, mailbox, load, uplinks, waiting, submitted: None, measured }
    }

    fn run(mut self) -> io::Result<Measured> {
        // Two segments are there before the clock starts, as they are in a dataplane that serves.
        let patience = Instant::now();
        while self.keeping.log().wants().is_some() {
            self.turn(self.ring.now().after(Duration::from_millis(1)))?;
            if patience.elapsed() > Duration::from_secs(60) {
                return Err(io::Error::other("no segment was made within a minute"));
            }
        }
        let cpu = thread_time();
        let start = self.ring.instant();
        let end = start.after(self.load.span);
        loop {
            let now = self.ring.instant();
            let more = now < end;
            if more {
                self.come_due(start, now);
            }
            if !more && self.keeping.log().stored() == self.keeping.log().head() {
                break;
            }
            if now > end.after(Duration::from_secs(30)) {
                return Err(io::Error::other("not stored within half a minute"));
            }
            self.turn(if more { self.sleeps_until(start) } else { self.keeping.deadline() })?;
        }
        self.measured.elapsed = Duration::from_nanos(self.ring.instant().0 - start.0);
        self.measured.cpu = thread_time() - cpu;
        self.measured.bytes = self.keeping.log().head().offset();
        Ok(self.measured)
    }

    /// Until when a turn may sleep.
    fn sleeps_until(&self, start: Monotonic) -> Monotonic {
        self.next_due(start).max(self.ring.instant().after(GATHERED))
    }

    /// When the next record comes due.
    fn next_due(&self, start: Monotonic) -> Monotonic {
        match self.load.per_second {
            Some(rate) => Monotonic(start.0 + (self.measured.records + 1) * 1_000_000_000 / rate),
            // As soon as something is stored.
            None => Monotonic::NEVER,
        }
    }

    /// Appends what has come due.
    fn come_due(&mut self, start: Monotonic, now: Monotonic) {
        let at = self.ring.unix();
        while self.waiting.len() < WAITING_COUNT_MAX {
            let due = if self.load.per_second.is_some() { self.next_due(start) } else { now };
            if due > now {
                return;
            }
            let number = self.measured.records;
            if self.load.what == What::Nothing {
                self.measured.records += 1;
                continue;
            }
            let need = if self.load.what == What::Uplinks { Need::Stored } else { Need::Some };
            let body = self.uplinks.body(self.load.what, number, at);
            let record = Record { kind: Kind::Uplink, lane: (number % 64) as u8, key: 0, tenant: 1, at, body };
            if self.keeping.append(&record, need, false, now).is_err() {
                self.measured.held_up += 1;
                return;
            }
            self.measured.records += 1;
            self.waiting.push_back((self.keeping.log().head(), due));
        }
    }

    fn turn(&mut self, until: Monotonic) -> io::Result<()> {
        let now = self.ring.now();
        self.keeping.flush(&mut self.ring, &self.mailbox, now);
        if self.submitted.is_none() && self.keeping.log().is_writing() {
            self.submitted = Some((self.ring.instant(), self.keeping.log().written()));
        }
        let mailbox = &self.mailbox;
        self.ring.turn(until, &mut || mailbox.to.is_empty());
        while let Some(completion) = self.ring.reap() {
            match completion {
                Completion::Opened { file, outcome } => {
                    outcome.map_err(io::Error::from_raw_os_error)?;
                    assert!(self.keeping.opened(&mut self.ring, file, outcome), "a segment");
                }
                Completion::Written { file, outcome } => {
                    outcome.map_err(|fault| io::Error::other(format!("{fault:?}")))?;
                    let before = self.keeping.log().stored();
                    assert!(self.keeping.written(file, outcome, self.ring.now()), "a segment");
                    self.committed(before);
                }
                Completion::FileClosed { .. } => {}
                other => return Err(io::Error::other(format!("unexpected {other:?}"))),
            }
        }
        while let Some(message) = self.mailbox.to.pop() {
            let ToShard::SegmentMade(name) = message else {
                return Err(io::Error::other("a message that no keeper sends"));
            };
            self.keeping.made(&mut self.ring, name);
        }
        Ok(())
    }

    /// A write is done; what was waited for may go.
    fn committed(&mut self, before: Position) {
        let (since, from) = self.submitted.take().expect("it was submitted");
        let log = self.keeping.log();
        let stored = log.stored();
        if stored == before {
            return;
        }
        self.measured.commit.saturating_record(micros_since(&self.ring, since).max(1));
        self.measured.batches.push((log.written().offset() - from.offset()) as u32);
        let now = self.ring.instant();
        while let Some((end, due)) = self.waiting.front().copied() {
            if end > stored {
                break;
            }
            self.waiting.pop_front();
            self.measured.wait.saturating_record(((now.0.saturating_sub(due.0)) / 1000).max(1));
        }
    }
}

/// Reads everything back: every record is there, and each uplink once, in order, with the bytes it was written with.
fn verify(path: &Path, what: What, records: u64) -> io::Result<()> {
    let mut offline = Offline::open(Directory::open(path)?).map_err(io::Error::other)?;
    let mut found = 0;
    let looked = offline.segments(&mut |_, _| (), |segment| found += segment.kinds.get("uplink").copied().unwrap_or(0));
    looked.map_err(io::Error::other)?;
    let (mut number, mut wrong) = (0u64, None);
    let mut query =
        Query { from: UnixMicros(0), to: UnixMicros(0), device: None, after: Position::ZERO, limit: usize::MAX };
    loop {
        let page = offline.keeper().history(
            &query,
            |_| true,
            |_, event| {
                let whole = event.payload.len() == PAYLOAD_BYTES
                    && event.payload[..8] == number.to_le_bytes()
                    && event.payload[8..].iter().all(|byte| *byte == 0x5a)
                    && event.fcnt == number as u32;
                if !whole {
                    wrong.get_or_insert(number);
                }
                number += 1;
                true
            },
        );
        match page.map_err(io::Error::other)?.next {
            Some(next) => query.after = next,
            None => break,
        }
    }
    let corrupt = offline.damages.len();
    let events = if what == What::Uplinks { records } else { 0 };
    let records = if what == What::Nothing { 0 } else { records };
    if corrupt > 0 || found != records || number != events || wrong.is_some() {
        let what = format!(
            "{records} records were stored; {found} read back, {number} of {events} uplinks, first wrong {wrong:?}, {corrupt} damaged"
        );
        return Err(io::Error::other(what));
    }
    Ok(())
}
