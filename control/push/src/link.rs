//! The link itself: one value, driven by its owner.
//!
//! ```text
//! Away --Connect--> Dialling --Connected--> Greeting --Hello--> Level <--> Behind (reading, sending, waiting)
//!   ^------------------ Disconnected, or we hang up: silence, an alien version -----------------|
//! ```

use crate::asks::{Ask, AskError, Asks, Reply};
use crate::delta::Gap;
use base::Monotonic;
use base::mix::SplitMix64;
use contract::v1::{Apply, Change, FromDataplane, Happened, Hello, Refused, SnapshotBegin, SnapshotEnd, ToDataplane};
use contract::v1::{from_dataplane, to_dataplane};
use core::time::Duration;
use prost::Message;
use std::collections::VecDeque;

/// Bounds of a link.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that may wait in the owner's transport before the next part of a snapshot is read.
    pub window_bytes: usize,
    /// Questions that may be open.
    pub ask_count_max: usize,
    /// How long a question stays open.
    pub ask_timeout: Duration,
    /// How long the dataplane may take for its Hello.
    pub greeting_timeout: Duration,
    /// How long the dataplane may show no progress while something waits to come into force.
    pub patience: Duration,
    /// The first and the last pause before connecting again.
    pub backoff: (Duration, Duration),
    /// The first and the last pause after a refused snapshot. After the last, even the same revision is tried again:
    /// what the dataplane lacked, as room on its disk, it may have by now.
    pub refusal_backoff: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window_bytes: 4 << 20,
            ask_count_max: 4096,
            ask_timeout: Duration::from_secs(5),
            greeting_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            backoff: (Duration::from_millis(20), Duration::from_secs(1)),
            refusal_backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

/// Names one reading of the store; what answers an earlier one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What the owner should read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Everything after this revision, see [`crate::delta()`]; answer with [`Input::Gap`].
    After(u64),
    /// A consistent view of everything; answer with [`Input::Opened`]. An earlier view is no longer needed.
    Open,
    /// The next part of that view; answer with [`Input::Page`].
    Page,
}

/// A part of a snapshot, about [`contract::APPLY_BYTES_TARGET`] long.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What is in it.
    pub changes: Vec<Change>,
    /// Whether it is the last.
    pub last: bool,
}

/// What happens to a link.
#[derive(Debug)]
pub enum Input {
    /// Only time passed.
    Tick,
    /// The transport is connected.
    Connected,
    /// The transport broke, or could not connect.
    Disconnected,
    /// The dataplane said something.
    Message(FromDataplane),
    /// The transport took this many bytes (of messages, with or without their lengths) from its owner.
    Written(usize),
    /// The store's newest revision is now this.
    Committed(u64),
    /// Answers [`Read::After`].
    Gap(Ticket, Gap),
    /// Answers [`Read::Open`]: the revision of the view.
    Opened(Ticket, u64),
    /// Answers [`Read::Page`].
    Page(Ticket, Page),
    /// The store could not be read.
    ReadFailed(Ticket),
    /// Someone asks; the token returns with the answer.
    Ask(u64, Ask),
}

/// What the owner should do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Connect to the dataplane.
    Connect,
    /// Close the connection. No [`Input::Disconnected`] need follow.
    Disconnect,
    /// Send this, in order.
    Send(ToDataplane),
    /// Read the store.
    Read(Ticket, Read),
    /// The view of the store that was opened last is no longer needed.
    CloseView,
    /// Every shard has put everything up to this revision in force.
    InForce(u64),
    /// The dataplane would not have it.
    Refused(Refusal),
    /// Answers [`Input::Ask`].
    Answered(u64, Result<Reply, AskError>),
    /// The dataplane reports an event.
    Happened(Happened),
}

/// What the dataplane refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The revision that it refused, or 0 if it refused the link.
    pub revision: u64,
    /// The field it names.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not connected; the owner waits for the next attempt.
    Away,
    /// Connecting.
    Dialling,
    /// Connected; the Hello of the dataplane has not come.
    Greeting,
    /// Everything committed is in force.
    Level,
    /// A delta is on its way.
    Delta,
    /// A snapshot is on its way.
    Snapshot,
    /// The dataplane refused what was committed; something must change first.
    Refused,
}

/// What is known of the dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where the link stands.
    pub phase: Phase,
    /// The dataplane's name and version, from its last Hello.
    pub software: String,
    /// The minor version of the contract that it speaks, from its last Hello.
    pub minor: u32,
    /// The newest revision of the store.
    pub committed: u64,
    /// The revision that every shard has put in force; 0 while the dataplane is away.
    pub in_force: u64,
    /// The revision that each shard has acknowledged.
    pub shards: Vec<u64>,
    /// The last refusal that still stands.
    pub refusal: Option<Refusal>,
}

/// What is being done about the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Nothing.
    Idle,
    /// Reading a delta.
    Reading(Ticket),
    /// A delta or a whole snapshot was sent as `request`; shards have yet to acknowledge `revision`.
    Waiting { request: u64, revision: u64, is_snapshot: bool },
    /// Opening a view of the store.
    Opening(Ticket),
    /// Sending that view. `reading` is the page that is being read; `request` numbers every part.
    Paging { request: u64, revision: u64, reading: Option<Ticket> },
    /// A snapshot was refused: wait until `until` for another revision than `revision`, and until `again` for any.
    Held { revision: u64, until: Monotonic, again: Monotonic },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Away { until: Monotonic },
    Dialling,
    Greeting { until: Monotonic },
    Up,
}

/// One link to one dataplane.
#[derive(Debug)]
pub struct Link {
    limits: Limits,
    store: u64,
    software: String,
    random: SplitMix64,
    wire: Wire,
    work: Work,
    /// What `work` must be replaced with as soon as the wire is up: set where a delta cannot help.
    needs_snapshot: bool,
    committed: u64,
    peer: Hello,
    shards: Vec<u64>,
    in_force: u64,
    refusal: Option<Refusal>,
    asks: Asks,
    outputs: VecDeque<Output>,
    requests: u64,
    tickets: u64,
    unwritten: usize,
    /// Of those, how many must be written until the last part of a delta or a snapshot has been.
    owed: usize,
    attempts: u32,
    refusals: u32,
    greeted: Monotonic,
    /// When the dataplane last showed progress, or was given something to do.
    progress: Monotonic,
}

impl Link {
    /// A link for the store of that identity, whose newest revision is `committed`. `seed` spreads the pauses of many.
    #[must_use]
    pub fn new(store: u64, committed: u64, software: &str, limits: Limits, seed: u64) -> Self {
        assert!(store != 0, "a store has an identity");
        Self {
            limits,
            store,
            software: software.to_owned(),
            random: SplitMix64::new(seed),
            wire: Wire::Away { until: Monotonic(0) },
            work: Work::Idle,
            needs_snapshot: false,
            committed,
            peer: Hello::default(),
            shards: Vec::new(),
            in_force: 0,
            refusal: None,
            asks: Asks::default(),
            outputs: VecDeque::new(),
            requests: 0,
            tickets: 0,
            unwritten: 0,
            owed: 0,
            attempts: 0,
            refusals: 0,
            greeted: Monotonic(0),
            progress: Monotonic(0),
        }
    }

    /// Takes one input. Drain [`Link::poll`] afterwards and look at [`Link::deadline`] again.
    pub fn handle(&mut self, input: Input, now: Monotonic) {
        match input {
            Input::Tick => {}
            Input::Connected => self.connected(now),
            Input::Disconnected => self.away(now),
            Input::Message(message) => self.message(message, now),
            Input::Written(bytes) => {
                self.unwritten = self.unwritten.saturating_sub(bytes);
                // Questions that a dataplane still takes are no progress if it has put nothing in force.
                if self.owed > 0 {
                    self.owed = self.owed.saturating_sub(bytes);
                    self.progress = now;
                }
            }
            Input::Committed(revision) => self.committed = self.committed.max(revision),
            Input::Gap(ticket, gap) => self.gap(ticket, gap, now),
            Input::Opened(ticket, revision) => self.opened(ticket, revision, now),
            Input::Page(ticket, page) => self.page(ticket, page, now),
            Input::ReadFailed(ticket) => self.read_failed(ticket, now),
            Input::Ask(token, ask) => self.ask(token, ask, now),
        }
        self.expire(now);
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Link::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        let wire = match self.wire {
            Wire::Away { until } | Wire::Greeting { until } => until,
            Wire::Dialling | Wire::Up => Monotonic::NEVER,
        };
        let work = match self.work {
            Work::Waiting { .. } => self.progress.after(self.limits.patience),
            Work::Paging { reading: None, .. } => self.progress.after(self.limits.patience),
            Work::Held { revision, until, .. } if self.committed != revision => until,
            Work::Held { again, .. } => again,
            _ => Monotonic::NEVER,
        };
        wire.min(work).min(self.asks.deadline())
    }

    /// What is known of the dataplane.
    #[must_use]
    pub fn status(&self) -> Status {
        let phase = match (self.wire, self.work) {
            (Wire::Away { .. }, _) => Phase::Away,
            (Wire::Dialling, _) => Phase::Dialling,
            (Wire::Greeting { .. }, _) => Phase::Greeting,
            (Wire::Up, Work::Held { .. }) => Phase::Refused,
            (Wire::Up, Work::Opening(_) | Work::Paging { .. } | Work::Waiting { is_snapshot: true, .. }) => {
                Phase::Snapshot
            }
            (Wire::Up, Work::Reading(_) | Work::Waiting { .. }) => Phase::Delta,
            (Wire::Up, Work::Idle) => Phase::Level,
        };
        Status {
            phase,
            software: self.peer.software.clone(),
            minor: self.peer.minor,
            committed: self.committed,
            in_force: self.in_force,
            shards: self.shards.clone(),
            refusal: self.refusal.clone(),
        }
    }

    fn connected(&mut self, now: Monotonic) {
        if self.wire != Wire::Dialling {
            return;
        }
        self.wire = Wire::Greeting { until: now.after(self.limits.greeting_timeout) };
        let hello = Hello {
            major: contract::MAJOR,
            minor: contract::MINOR,
            software: self.software.clone(),
            store: self.store,
            revision: self.committed,
            shard_count: 0,
        };
        let request = self.request();
        self.send(request, to_dataplane::Body::Hello(hello));
    }

    /// The connection is gone, whoever ended it: what was on its way is of unknown fate and the Hello will tell.
    fn away(&mut self, now: Monotonic) {
        if matches!(self.wire, Wire::Away { .. }) {
            return;
        }
        let (first, last) = self.limits.backoff;
        // Only a link that lived has earned a quick return: a dataplane that dies of what it is told has not.
        if self.wire == Wire::Up && now.since(self.greeted) > last {
            self.attempts = 0;
        }
        let pause = first.saturating_mul(1 << self.attempts.min(16)).min(last);
        self.attempts = self.attempts.saturating_add(1);
        let jitter = self.random.below(pause.as_nanos() as u64 / 4 + 1);
        self.wire = Wire::Away { until: now.after(pause + Duration::from_nanos(jitter)) };
        // Another dataplane, or the same one with more room on its disk, may take what was refused.
        self.work = Work::Idle;
        self.in_force = 0;
        self.shards.clear();
        (self.unwritten, self.owed) = (0, 0);
        for token in self.asks.abandon() {
            self.outputs.push_back(Output::Answered(token, Err(AskError::Lost)));
        }
    }

    fn hang_up(&mut self, now: Monotonic) {
        self.outputs.push_back(Output::Disconnect);
        self.away(now);
    }

    fn message(&mut self, message: FromDataplane, now: Monotonic) {
        use from_dataplane::Body;
        let (request, Some(body)) = (message.request, message.body) else { return };
        match (self.wire, body) {
            (Wire::Greeting { .. }, Body::Hello(hello)) => self.greeted(hello, now),
            (Wire::Greeting { .. }, Body::Refused(refused)) => {
                self.refuse(0, refused);
                self.hang_up(now);
            }
            (Wire::Up, Body::Acknowledged(acknowledged)) => {
                self.acknowledged(acknowledged.shard, acknowledged.revision, now);
            }
            (Wire::Up, Body::Refused(refused)) => self.refused(request, refused, now),
            (Wire::Up, Body::Happened(happened)) => self.outputs.push_back(Output::Happened(happened)),
            (Wire::Up, body) => {
                if let (Ok(reply), Some(token)) = (Reply::from_body(body), self.asks.close(request)) {
                    self.outputs.push_back(Output::Answered(token, Ok(reply)));
                }
            }
            _ => {}
        }
    }

    fn greeted(&mut self, hello: Hello, now: Monotonic) {
        if hello.major != contract::MAJOR || hello.shard_count == 0 {
            let reason = format!("{} speaks version {} of the contract", hello.software, hello.major);
            self.refuse(0, Refused { field: "hello.major".to_owned(), reason, revision: 0 });
            return self.hang_up(now);
        }
        self.wire = Wire::Up;
        self.greeted = now;
        self.progress = now;
        // A dataplane that is ahead of its own store has seen revisions that a restored backup lost.
        let is_known = hello.store == self.store && hello.revision <= self.committed;
        let revision = if is_known { hello.revision } else { 0 };
        self.needs_snapshot = !is_known;
        self.shards = vec![revision; hello.shard_count as usize];
        self.peer = hello;
        if self.refusal.as_ref().is_some_and(|refusal| refusal.revision == 0) {
            self.refusal = None;
        }
        self.raise(revision);
    }

    fn acknowledged(&mut self, shard: u32, revision: u64, now: Monotonic) {
        let Some(mine) = self.shards.get_mut(shard as usize) else { return };
        match self.work {
            // What a shard says before the snapshot is in force is about the configuration that the snapshot replaces.
            Work::Waiting { revision: sent, is_snapshot: true, .. } if revision == sent => *mine = sent,
            Work::Waiting { revision: sent, is_snapshot: false, .. } if revision <= sent => *mine = revision.max(*mine),
            _ => return,
        }
        self.progress = now;
        let lowest = self.shards.iter().copied().min().unwrap_or(0);
        self.raise(lowest);
        if let Work::Waiting { revision, .. } = self.work
            && lowest >= revision
        {
            self.work = Work::Idle;
            self.needs_snapshot = false;
            self.refusal = None;
            self.refusals = 0;
        }
    }

    fn raise(&mut self, revision: u64) {
        if revision > self.in_force {
            self.in_force = revision;
            self.outputs.push_back(Output::InForce(revision));
        }
    }

    fn refused(&mut self, request: u64, refused: Refused, now: Monotonic) {
        if let Some(token) = self.asks.close(request) {
            let error = AskError::Refused { field: refused.field, reason: refused.reason };
            return self.outputs.push_back(Output::Answered(token, Err(error)));
        }
        match self.work {
            // The delta and the dataplane disagree about what there was before: a snapshot settles that.
            Work::Waiting { request: mine, revision, is_snapshot: false } if mine == request => {
                self.refuse(revision, refused);
                self.needs_snapshot = true;
                self.work = Work::Idle;
            }
            Work::Waiting { request: mine, revision, .. } | Work::Paging { request: mine, revision, .. }
                if mine == request =>
            {
                self.refuse(revision, refused);
                let (first, last) = self.limits.refusal_backoff;
                let pause = first.saturating_mul(1 << self.refusals.min(16)).min(last);
                self.refusals = self.refusals.saturating_add(1);
                // What it holds it keeps; if that is ours, the next revision may be reached from there.
                self.needs_snapshot = self.in_force == 0;
                self.work = Work::Held { revision, until: now.after(pause), again: now.after(last) };
                // Open, it would keep the store from ever shrinking its log.
                self.outputs.push_back(Output::CloseView);
            }
            _ => {}
        }
    }

    fn refuse(&mut self, revision: u64, refused: Refused) {
        let refusal = Some(Refusal { revision, field: refused.field, reason: refused.reason });
        if self.refusal != refusal {
            self.outputs.extend(refusal.clone().map(Output::Refused));
            self.refusal = refusal;
        }
    }

    /// Starts whatever can start now.
    fn advance(&mut self, now: Monotonic) {
        if self.wire != Wire::Up {
            return;
        }
        match self.work {
            Work::Idle if self.needs_snapshot => {
                let ticket = self.read(Read::Open);
                self.work = Work::Opening(ticket);
            }
            Work::Idle if self.in_force < self.committed => {
                let ticket = self.read(Read::After(self.in_force));
                self.work = Work::Reading(ticket);
            }
            Work::Paging { request, revision, reading: None } if self.unwritten < self.limits.window_bytes => {
                let reading = Some(self.read(Read::Page));
                self.work = Work::Paging { request, revision, reading };
            }
            Work::Held { revision, until, again } if again <= now || (self.committed != revision && until <= now) => {
                self.work = Work::Idle;
                self.advance(now);
            }
            _ => {}
        }
    }

    fn gap(&mut self, ticket: Ticket, gap: Gap, now: Monotonic) {
        if self.work != Work::Reading(ticket) {
            return;
        }
        self.work = Work::Idle;
        match gap {
            Gap::Delta(delta) if delta.through > self.in_force => {
                let request = self.request();
                let apply = Apply { revision: delta.through, changes: delta.changes };
                if apply.encoded_len() + 64 > contract::FRAME_BYTES_MAX {
                    self.needs_snapshot = true;
                    return;
                }
                self.work = Work::Waiting { request, revision: delta.through, is_snapshot: false };
                self.progress = now;
                self.committed = self.committed.max(delta.through);
                self.send(request, to_dataplane::Body::Apply(apply));
                self.owed = self.unwritten;
            }
            Gap::Delta(_) | Gap::TooFar => self.needs_snapshot = true,
        }
    }

    fn opened(&mut self, ticket: Ticket, revision: u64, now: Monotonic) {
        if self.work != Work::Opening(ticket) {
            return;
        }
        let request = self.request();
        self.work = Work::Paging { request, revision, reading: None };
        self.progress = now;
        self.committed = self.committed.max(revision);
        let begin = SnapshotBegin { revision, store: self.store };
        self.send(request, to_dataplane::Body::SnapshotBegin(begin));
        self.owed = self.unwritten;
    }

    fn page(&mut self, ticket: Ticket, page: Page, now: Monotonic) {
        let Work::Paging { request, revision, reading } = self.work else { return };
        if reading != Some(ticket) {
            return;
        }
        self.progress = now;
        if !page.changes.is_empty() {
            self.send(request, to_dataplane::Body::Apply(Apply { revision: 0, changes: page.changes }));
        }
        self.work = Work::Paging { request, revision, reading: None };
        if page.last {
            self.work = Work::Waiting { request, revision, is_snapshot: true };
            self.send(request, to_dataplane::Body::SnapshotEnd(SnapshotEnd { revision }));
        }
        self.owed = self.unwritten;
    }

    /// Without its store a link can do nothing; it comes back after a pause, through the front door.
    fn read_failed(&mut self, ticket: Ticket, now: Monotonic) {
        let is_mine = match self.work {
            Work::Reading(mine) | Work::Opening(mine) => mine == ticket,
            Work::Paging { reading, .. } => reading == Some(ticket),
            _ => false,
        };
        if is_mine {
            self.hang_up(now);
        }
    }

    fn ask(&mut self, token: u64, ask: Ask, now: Monotonic) {
        let (needed, spoken) = (ask.minor(), self.peer.minor);
        let error = match self.wire {
            Wire::Up if spoken < needed => AskError::TooOld { needed, spoken },
            Wire::Up if self.asks.count() < self.limits.ask_count_max => {
                let request = self.request();
                self.asks.open(request, token, now.after(self.limits.ask_timeout));
                return self.send(request, ask.into_body());
            }
            Wire::Up => AskError::Busy,
            _ => AskError::Absent,
        };
        self.outputs.push_back(Output::Answered(token, Err(error)));
    }

    fn expire(&mut self, now: Monotonic) {
        while let Some(token) = self.asks.expire(now) {
            self.outputs.push_back(Output::Answered(token, Err(AskError::Late)));
        }
        match self.wire {
            Wire::Away { until } if until <= now => {
                self.wire = Wire::Dialling;
                self.outputs.push_back(Output::Connect);
            }
            Wire::Greeting { until } if until <= now => self.hang_up(now),
            Wire::Up => {
                let is_waiting = matches!(self.work, Work::Waiting { .. } | Work::Paging { reading: None, .. });
                if is_waiting && self.progress.after(self.limits.patience) <= now {
                    self.hang_up(now);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn read(&mut self, read: Read) -> Ticket {
        self.tickets += 1;
        self.outputs.push_back(Output::Read(Ticket(self.tickets), read));
        Ticket(self.tickets)
    }

    fn send(&mut self, request: u64, body: to_dataplane::Body) {
        let message = ToDataplane { request, body: Some(body) };
        self.unwritten += message.encoded_len();
        self.outputs.push_back(Output::Send(message));
    }
}
