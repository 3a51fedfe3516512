//! Feeds: what a shard sends of its log to the consumers of durable streams.
//!
//! Owns, per stream and group of consumers, what is under way and how far all of it is done. A feed sends to one session
//! of its group and stays with it until it is gone; then everything that is not done goes to the next one. How a feed
//! that lags reads from the disk is in `reader`.
//!
//! ```text
//!   log ── covers? ──▶ Flights (bounded) ── Message ──▶ session ── Settled ──▶ Flights ──▶ cursor, a record now and then
//!                         └─ refused too often ──▶ DeadLetter, a record, then it is done
//! ```

use crate::control::{GroupAnswer, GroupRefused, Mailbox};
use crate::group::{FeedRef, From, Group, SessionIs, Settled, Verdict, Word};
use crate::hop::{Hop, MessageHop, Ports, ReplyTo};
use crate::keeping::{Keeping, Need, record};
use crate::metrics::{Counters, Done, Drop};
use crate::{Now, reader::Reader};
use base::mix::mix64;
use base::{Monotonic, UnixMicros};
use event::Event;
use journal::{
    CURSOR_BYTES_MAX, Catalog, Cursor, CursorBody, Cursors, FlightLimits, Flights, Kind, NotRetried, Position, Record,
    Tail,
};
use plan::{Accept, Durable, Plan};
use session::Ticket;
use session::body::{BODY_BYTES_MAX, DeadLetterBody, DeadReason, PutBackBody, UplinkBody};
use std::collections::VecDeque;
use std::time::Duration;

/// Groups of one shard, all streams together.
pub(crate) const FEED_COUNT_MAX: usize = 1024;

/// Sessions of one group.
pub(crate) const MEMBER_COUNT_MAX: usize = 64;

/// A cursor that moved is kept no more often than this.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// Words of sessions of streams that the plan here does not have yet.
pub(crate) const EARLY_COUNT_MAX: usize = 256;

/// Messages of one feed that one turn sends or passes over, so that a feed that catches up does not hold up traffic.
pub(crate) const STEPS_PER_TURN_MAX: usize = 32;

/// What a feed does with the log's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// Takes what is there from its horizon on.
    More,
    /// Sends the one at this position.
    Send(Position),
    /// Makes the one at this position a dead letter.
    Bury(Position, DeadReason),
}

impl Want {
    /// Where it wants to read.
    pub(crate) const fn position(self, horizon: Position) -> Position {
        match self {
            Self::More => horizon,
            Self::Send(position) | Self::Bury(position, _) => position,
        }
    }
}

/// One group's feed.
#[derive(Debug)]
pub(crate) struct Feed {
    generation: u32,
    pub(crate) stream: u32,
    pub(crate) group: Group,
    /// Its sessions, and how many messages each has room for.
    members: Vec<(ReplyTo, u16)>,
    active: Option<ReplyTo>,
    pub(crate) flights: Flights,
    limits: FlightLimits,
    /// What lies before, lane by lane, was done in an earlier run.
    floors: Cursors,
    skip_before: UnixMicros,
    /// What could not be sent for want of room in a ring.
    unsent: Option<Position>,
    graves: VecDeque<(Position, DeadReason)>,
    /// Not before this: the journal took no dead letter just now.
    bury_at: Monotonic,
    /// What it waits for the reader to read.
    pub(crate) want: Option<Want>,
    /// Counts the times that it began elsewhere: what was being read for it before is of no use.
    pub(crate) restart_count: u32,
    saved: Position,
    save_at: Monotonic,
    /// When something was last settled, for the acknowledgement's timeout.
    settled_at: Monotonic,
    /// Something was settled since the cursor was kept: what was merely passed over is not worth a record.
    moved: bool,
    /// It was sent elsewhere: the next cursor that is kept takes the place of those before.
    sent: bool,
    dirty: bool,
    pub(crate) redelivered: u64,
    pub(crate) dead: u64,
}

/// What a feed's steps touch.
pub(crate) struct Ground<'a> {
    pub(crate) keeping: &'a mut Keeping,
    pub(crate) catalog: &'a Catalog,
    pub(crate) plan: &'a Plan,
    pub(crate) ports: &'a mut Ports,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) counters: &'a Counters,
    pub(crate) shard: u8,
    pub(crate) lanes: u64,
    pub(crate) now: Now,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Feeds {
    pub(crate) table: Vec<Option<Feed>>,
    /// Cursors that were found at start.
    recovered: Vec<(u32, Group, Cursors)>,
    /// Sessions whose shards had a plan before us.
    early: Vec<Word>,
    generation: u32,
    pub(crate) reader: Reader,
    deadline: Monotonic,
}

impl Feeds {
    pub(crate) fn new(shard: usize) -> Self {
        Self {
            table: Vec::with_capacity(FEED_COUNT_MAX),
            recovered: Vec::new(),
            early: Vec::with_capacity(EARLY_COUNT_MAX),
            generation: 0,
            reader: Reader::new(shard as u8),
            deadline: Monotonic::NEVER,
        }
    }

    /// Takes the cursors that were found at start.
    pub(crate) fn recover(&mut self, cursors: Vec<(u32, Group, Cursors)>) {
        self.recovered = cursors;
    }

    pub(crate) const fn early_count(&self) -> usize {
        self.early.len()
    }

    /// When [`Feeds::pump`] has something to do by itself.
    pub(crate) const fn deadline(&self) -> Monotonic {
        self.deadline
    }

    /// More of the log is kept.
    pub(crate) fn moved(&mut self) {
        self.table.iter_mut().flatten().for_each(|feed| feed.dirty = true);
    }

    /// A session is there, or gone.
    pub(crate) fn word(&mut self, word: &Word, ground: &mut Ground<'_>) {
        let found = self.find(word.stream, word.group);
        match word.what {
            SessionIs::Gone => {
                self.early.retain(|early| early.session != word.session);
                if let Some(index) = found {
                    self.part(index, word.session, ground.ports.shard_count());
                }
            }
            SessionIs::Here(_) if found.is_none() && durable_of(ground.plan, word.stream).is_none() => {
                if self.early.len() < EARLY_COUNT_MAX {
                    self.early.push(*word);
                } else {
                    ground.counters.drops.count(Drop::FeedsFull);
                }
            }
            SessionIs::Here(from) => {
                let Some(index) = found.or_else(|| self.open(word, ground)) else {
                    return ground.counters.drops.count(Drop::FeedsFull);
                };
                let feed = self.table[index].as_mut().expect("just found");
                if from != From::Cursor {
                    feed.seek(from, ground);
                }
                let is_member = feed.members.iter().any(|(member, _)| *member == word.session);
                if feed.members.len() < MEMBER_COUNT_MAX && !is_member {
                    feed.members.push((word.session, word.in_flight_max));
                }
                if feed.active.is_none() {
                    self.elect(index, ground.ports.shard_count());
                }
                self.table[index].as_mut().expect("just found").dirty = true;
            }
        }
    }

    /// Another plan is in force: sessions that it was not known for are heard again.
    pub(crate) fn replan(&mut self, ground: &mut Ground<'_>) {
        for place in (0..self.early.len()).rev() {
            if durable_of(ground.plan, self.early[place].stream).is_some() {
                let word = self.early.swap_remove(place);
                self.word(&word, ground);
            }
        }
    }

    /// The group goes on elsewhere. False if there is none.
    pub(crate) fn seek(&mut self, stream: u32, group: Group, from: From, ground: &mut Ground<'_>) -> bool {
        let word = Word {
            stream,
            group,
            session: ReplyTo { shard: 0, index: 0, generation: 0 },
            in_flight_max: 0,
            what: SessionIs::Here(From::Cursor),
        };
        let Some(index) = self.find(stream, group).or_else(|| self.open(&word, ground)) else { return false };
        self.generation += 1;
        let feed = self.table[index].as_mut().expect("just found");
        feed.generation = self.generation;
        feed.seek(from, ground);
        true
    }

    /// Forgets a group and where it was, once the record that says so is stored: the ticket's. Says whether it was known.
    pub(crate) fn remove(
        &mut self,
        stream: u32,
        group: Group,
        ground: &mut Ground<'_>,
    ) -> Result<(bool, Ticket), GroupRefused> {
        let found = self.find(stream, group);
        if found.and_then(|index| self.table[index].as_ref()).is_some_and(|feed| !feed.members.is_empty()) {
            return Err(GroupRefused::InUse);
        }
        let cursor = Cursor { lanes: ground.lanes, position: ground.keeping.log.head() };
        let body = CursorBody { stream, group: group.bytes(), cursor };
        let mut bytes = [0; CURSOR_BYTES_MAX];
        let count = body.write(&mut bytes).expect("room for any cursor");
        let lane = ground.lanes.trailing_zeros() as u8;
        let removed = record(Kind::RemovedGroup, lane, 0, ground.now.unix, &bytes[..count]);
        let appended = ground.keeping.append(&removed, Need::Stored, true, ground.now.monotonic);
        let ticket = appended.map_err(|_| GroupRefused::NotKept)?;
        let known = self.recovered.len();
        self.recovered.retain(|(other, name, _)| (*other, *name) != (stream, group));
        if let Some(index) = found {
            self.table[index] = None;
        }
        Ok((found.is_some() || self.recovered.len() < known, ticket))
    }

    fn find(&self, stream: u32, group: Group) -> Option<usize> {
        let fits = |feed: &Option<Feed>| feed.as_ref().is_some_and(|it| it.stream == stream && it.group == group);
        self.table.iter().position(fits)
    }

    fn open(&mut self, word: &Word, ground: &Ground<'_>) -> Option<usize> {
        let durable = durable_of(ground.plan, word.stream)?;
        let index = match self.table.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.table.len() < FEED_COUNT_MAX => {
                self.table.push(None);
                self.table.len() - 1
            }
            None => return None,
        };
        let floors = self.recovered.iter().find(|(stream, group, _)| (*stream, *group) == (word.stream, word.group));
        let floors = floors.map_or_else(Cursors::default, |(_, _, floors)| floors.clone());
        let start = floors.least(ground.lanes);
        let limits = limits(durable, ground.ports.shard_count());
        self.generation += 1;
        self.table[index] = Some(Feed {
            generation: self.generation,
            stream: word.stream,
            group: word.group,
            members: Vec::with_capacity(4),
            active: None,
            flights: Flights::new(limits, start),
            limits,
            floors,
            skip_before: UnixMicros(0),
            unsent: None,
            graves: VecDeque::new(),
            bury_at: Monotonic(0),
            want: None,
            restart_count: self.generation,
            saved: start,
            save_at: Monotonic(0),
            settled_at: ground.now.monotonic,
            moved: false,
            sent: false,
            dirty: true,
            redelivered: 0,
            dead: 0,
        });
        Some(index)
    }

    /// Chooses the session that the feed sends to from here on. Shards choose differently, so that work is spread.
    fn elect(&mut self, index: usize, shard_count: usize) {
        self.generation += 1;
        let Some(feed) = self.table[index].as_mut() else { return };
        feed.generation = self.generation;
        let own = u64::from(self.reader.shard);
        let weight = |session: &ReplyTo| {
            mix64(
                own << 40
                    ^ u64::from(session.shard) << 32
                    ^ u64::from(session.index)
                    ^ u64::from(session.generation) << 48,
            )
        };
        let elected = feed.members.iter().copied().max_by_key(|(session, _)| weight(session));
        feed.active = elected.map(|(session, _)| session);
        feed.dirty = true;
        if let Some((_, in_flight_max)) = elected {
            feed.fit(share(in_flight_max, shard_count));
        }
    }

    fn part(&mut self, index: usize, session: ReplyTo, shard_count: usize) {
        let Some(feed) = self.table[index].as_mut() else { return };
        feed.members.retain(|(member, _)| *member != session);
        if feed.active == Some(session) {
            feed.active = None;
            feed.flights.release_all();
            feed.unsent = None;
            if matches!(feed.want, Some(Want::Send(_))) {
                feed.want = None;
            }
            self.elect(index, shard_count);
        }
    }

    /// A session speaks of a message.
    pub(crate) fn settled(&mut self, settled: &Settled, ground: &mut Ground<'_>) {
        let index = usize::from(settled.feed.index);
        let Some(feed) = self.table.get_mut(index).and_then(Option::as_mut) else { return };
        if feed.generation != settled.feed.generation {
            // It speaks of what was taken from it.
            return;
        }
        let position = Position(settled.position);
        feed.dirty = true;
        feed.settled_at = ground.now.monotonic;
        feed.moved = true;
        match settled.verdict {
            Verdict::Done => {
                if feed.flights.acknowledge(position) {
                    ground.counters.done.count(Done::MessagesAcknowledged);
                }
            }
            Verdict::Refused => feed.refuse(position, DeadReason::Refused, ground),
            Verdict::TooLong => feed.graves.push_back((position, DeadReason::TooLong)),
            Verdict::Nobody => {
                if let Some(session) = feed.active {
                    self.part(index, session, ground.ports.shard_count());
                }
            }
        }
    }

    /// Goes on with every feed that has something to do, and with the reader.
    pub(crate) fn pump(&mut self, ground: &mut Ground<'_>) {
        let now = ground.now.monotonic;
        let due = self.deadline <= now;
        let mut deadline = Monotonic::NEVER;
        for index in 0..self.table.len() {
            let Some(feed) = self.table[index].as_mut() else { continue };
            if feed.dirty || due {
                let Some(durable) = durable_of(ground.plan, feed.stream) else {
                    // The stream is gone, or live by now; its sessions were told.
                    self.table[index] = None;
                    continue;
                };
                let reference = FeedRef { shard: ground.shard, index: index as u16, generation: feed.generation };
                feed.dirty = feed.pump(reference, durable, ground);
                feed.save(ground);
            }
            deadline = deadline.min(if feed.dirty { now } else { feed.deadline(ground) });
        }
        self.deadline = deadline;
    }

    /// Feeds have something to do at this time, whatever they say themselves.
    pub(crate) fn again_at(&mut self, at: Monotonic) {
        self.deadline = self.deadline.min(at);
    }

    /// A feed that waits for the reader, the first one behind `after`.
    pub(crate) fn waiting(&self, after: usize) -> Option<usize> {
        let count = self.table.len();
        (1..=count)
            .map(|step| (after + step) % count)
            .find(|index| self.table[*index].as_ref().is_some_and(|feed| feed.want.is_some()))
    }

    /// The reader has found a record for a feed. False if the feed wants no more of what follows.
    pub(crate) fn read(
        &mut self,
        index: usize,
        position: Position,
        record: &Record<'_>,
        next: Position,
        ground: &mut Ground<'_>,
    ) -> bool {
        let Some(feed) = self.table[index].as_mut() else { return false };
        let reference = FeedRef { shard: ground.shard, index: index as u16, generation: feed.generation };
        match feed.want {
            Some(Want::More) => {
                if feed.flights.horizon() > position {
                    return true;
                }
                feed.take(reference, position, record, next, ground) && feed.unsent.is_none()
            }
            Some(want @ (Want::Send(wanted) | Want::Bury(wanted, _))) => {
                if position < wanted {
                    return true;
                }
                feed.want = None;
                feed.dirty = true;
                if position > wanted {
                    feed.lost(wanted, ground);
                } else if let Want::Bury(_, reason) = want {
                    feed.bury(wanted, reason, record, ground);
                } else {
                    feed.send(reference, position, record, ground);
                }
                false
            }
            None => false,
        }
    }

    /// The reader has come to an end, at this position: nothing that a feed wants lies before it.
    pub(crate) fn read_up_to(&mut self, index: usize, position: Position, ground: &mut Ground<'_>) {
        let Some(feed) = self.table[index].as_mut() else { return };
        match feed.want.take() {
            Some(Want::More) => feed.flights.pass(position),
            Some(Want::Send(wanted) | Want::Bury(wanted, _)) if wanted < position => feed.lost(wanted, ground),
            other => feed.want = other,
        }
        feed.dirty = true;
        // It may be said when feeds have had their turn: the next one comes at once.
        self.deadline = Monotonic(0);
    }

    /// The reader stops: the feed asks again if it wants to go on.
    pub(crate) fn read_no_more(&mut self, index: usize) {
        if let Some(feed) = self.table[index].as_mut() {
            if feed.want == Some(Want::More) {
                feed.want = None;
            }
            feed.dirty = true;
            self.deadline = Monotonic(0);
        }
    }
}

/// What a feed holds.
pub(crate) struct FeedHeld {
    pub(crate) flights: usize,
    pub(crate) graves: usize,
    pub(crate) members: usize,
    /// Messages that may be under way.
    pub(crate) window: usize,
}

impl Feed {
    pub(crate) fn held(&self) -> FeedHeld {
        let (flights, graves) = (self.flights.len(), self.graves.len());
        FeedHeld { flights, graves, members: self.members.len(), window: self.limits.window_max }
    }

    /// What can be asked of it.
    pub(crate) fn answer(&self, keeping: Option<&Keeping>) -> GroupAnswer {
        let cursor = self.flights.cursor();
        GroupAnswer {
            stream: self.stream,
            group: self.group,
            in_flight: self.flights.len() as u32,
            sessions: self.members.len() as u32,
            redelivered: self.redelivered,
            dead: self.dead,
            // What earlier runs left is not counted.
            lag_bytes: keeping.map_or(0, |keeping| keeping.log.bytes_since(cursor)),
        }
    }

    /// Sends so many at once from here on, to a session that was sent nothing yet. The plan may have changed since the feed
    /// began; what was done behind what was not is sent again.
    fn fit(&mut self, window_max: usize) {
        if window_max != self.limits.window_max {
            self.limits.window_max = window_max;
            self.restart_count = self.restart_count.wrapping_add(1);
            self.flights = Flights::new(self.limits, self.flights.cursor());
            (self.unsent, self.want) = (None, None);
            self.graves.clear();
        }
    }

    fn seek(&mut self, from: From, ground: &Ground<'_>) {
        let (start, skip_before) = match from {
            From::Cursor => return,
            From::Earliest => (Position::ZERO, UnixMicros(0)),
            From::Latest => (ground.keeping.log.head(), UnixMicros(0)),
            From::Time(at) => (first_since(ground, at), at),
        };
        self.restart_count = self.restart_count.wrapping_add(1);
        self.flights = Flights::new(self.limits, start);
        self.floors = Cursors::default();
        self.skip_before = skip_before;
        (self.unsent, self.want, self.saved) = (None, None, Position::ZERO);
        self.graves.clear();
        // Where it begins is kept, lest it begin elsewhere after a crash.
        (self.dirty, self.moved, self.sent, self.save_at) = (true, true, true, Monotonic(0));
    }

    fn deadline(&self, ground: &Ground<'_>) -> Monotonic {
        let timeout = durable_of(ground.plan, self.stream).and_then(|durable| durable.ack_timeout);
        let timeout = timeout.filter(|_| self.active.is_some() && !self.flights.is_empty());
        let timeout = timeout.map_or(Monotonic::NEVER, |timeout| self.settled_at.after(timeout));
        let unsaved = self.moved && (self.sent || self.flights.cursor() > self.saved);
        let save = if unsaved { self.save_at } else { Monotonic::NEVER };
        // While it waits for the reader it sends nothing, whatever is due: the reader says when it is done.
        let flights = match (self.want, self.graves.is_empty()) {
            (Some(_), _) => Monotonic::NEVER,
            // A disk that took no dead letter is asked again a while later; nothing else goes before it.
            (None, false) => self.bury_at,
            (None, true) => self.flights.deadline(),
        };
        flights.min(timeout).min(save)
    }

    /// Sends what can be sent and takes what can be taken. True if it should go on next turn.
    fn pump(&mut self, own: FeedRef, durable: &Durable, ground: &mut Ground<'_>) -> bool {
        let now = ground.now.monotonic;
        if let Some(timeout) = durable.ack_timeout
            && self.active.is_some()
            && !self.flights.is_empty()
            && self.settled_at.after(timeout) <= now
        {
            self.settled_at = now;
            self.refuse(self.flights.cursor(), DeadReason::TimedOut, ground);
        }
        for _ in 0..STEPS_PER_TURN_MAX {
            if self.want.is_some() {
                return false;
            }
            let step = if let Some((position, reason)) = self.graves.front().copied() {
                if now < self.bury_at {
                    return false;
                }
                Want::Bury(position, reason)
            } else if self.active.is_none() {
                return false;
            } else if let Some(position) = self.unsent.take() {
                Want::Send(position)
            } else if let Some(flight) = self.flights.next_to_send(now) {
                if flight.again {
                    self.redelivered += 1;
                    ground.counters.done.count(Done::MessagesRedelivered);
                }
                Want::Send(flight.position)
            } else if self.flights.is_full() {
                return false;
            } else {
                Want::More
            };
            if !self.step(own, step, durable, ground) {
                // For want of room in a ring, which others make.
                return self.unsent.is_some();
            }
        }
        true
    }

    /// One step. False if it has to wait.
    fn step(&mut self, own: FeedRef, step: Want, durable: &Durable, ground: &mut Ground<'_>) -> bool {
        let position = step.position(self.flights.horizon());
        let log = &ground.keeping.log;
        if !log.reaches(position) {
            self.want = Some(step);
            return false;
        }
        let until = ground.keeping.deliverable(durable.accept == Accept::Memory);
        let mut room = [0; BODY_BYTES_MAX];
        let (kept, count, next) = match log.read(position) {
            Tail::Record { record, next } if next <= until => {
                // What a shard writes fits; a longer one is none that a feed sends.
                let count = record.body.len().min(room.len());
                room[..count].copy_from_slice(&record.body[..count]);
                (record, record.body.len(), next)
            }
            Tail::Record { .. } | Tail::End => return false,
            Tail::Behind => unreachable!("it is not behind the tail's start"),
            Tail::Nowhere => {
                self.lost(position, ground);
                return true;
            }
        };
        if count > room.len() {
            self.flights.pass(next);
            return true;
        }
        let kept = Record { body: &[], ..kept };
        let kept = Record { body: &room[..count], ..kept };
        match step {
            Want::More => self.take(own, position, &kept, next, ground),
            Want::Send(_) => self.send(own, position, &kept, ground),
            Want::Bury(_, reason) => self.bury(position, reason, &kept, ground),
        }
    }

    /// Takes a record if it is one of the stream's, and sends what may be sent. False if there is no room for more, or
    /// nobody to send to: what counts as sent would be sent to nobody, not even to the next session.
    fn take(
        &mut self,
        own: FeedRef,
        position: Position,
        record: &Record<'_>,
        next: Position,
        ground: &mut Ground<'_>,
    ) -> bool {
        let wanted = ground.lanes >> record.lane & 1 == 1
            && position >= self.floors.of_lane(record.lane)
            && record.at >= self.skip_before;
        let Some(event) = wanted.then(|| self.message(record, ground.plan)).flatten() else {
            self.flights.pass(next);
            return true;
        };
        let device = event.dev_eui.to_u64();
        if self.active.is_none() || self.flights.push(position, next, device).is_err() {
            return false;
        }
        match self.flights.next_to_send(ground.now.monotonic) {
            Some(flight) if flight.position == position => self.send(own, position, record, ground),
            Some(flight) => {
                self.unsent = Some(flight.position);
                true
            }
            None => true,
        }
    }

    /// What a record says to this stream and group, if it does.
    fn message<'r>(&self, record: &Record<'r>, plan: &Plan) -> Option<Event<'r>> {
        let stream = plan.stream_of_id(self.stream)?;
        let event = match record.kind {
            Kind::Uplink => UplinkBody::parse(record.body)?.event?,
            Kind::Event => Event::parse(record.body).ok()?,
            Kind::PutBack => {
                let back = PutBackBody::parse(record.body)?;
                return (back.stream == self.stream && back.group == self.group.name()).then_some(back.event);
            }
            _ => return None,
        };
        plan.covers(stream, &event).then_some(event)
    }

    /// Sends the message of a record. False if the ring to its session is full: it is sent next turn.
    fn send(&mut self, own: FeedRef, position: Position, record: &Record<'_>, ground: &mut Ground<'_>) -> bool {
        let Some(session) = self.active else { return false };
        let Some(event) = self.message(record, ground.plan) else {
            // The plan has changed: the stream does not cover it any more.
            self.flights.acknowledge(position);
            return true;
        };
        let hop = MessageHop { session, feed: own, position: position.0, sent: ground.now.monotonic, event };
        if ground.ports.send(usize::from(session.shard), &Hop::Message(hop)).is_err() {
            ground.counters.drops.count(Drop::HopMessage);
            self.unsent = Some(position);
            return false;
        }
        true
    }

    fn refuse(&mut self, position: Position, reason: DeadReason, ground: &Ground<'_>) {
        match self.flights.refuse(position, ground.now.monotonic) {
            Ok(_) => ground.counters.done.count(Done::MessagesRefused),
            Err(NotRetried::DeadLetter) => self.graves.push_back((position, reason)),
            // It is done with already, or a session speaks of what it never got.
            Err(NotRetried::Unknown) => {}
        }
    }

    /// Writes a dead letter; then it is done with. False if the disk takes none now.
    fn bury(&mut self, position: Position, reason: DeadReason, kept: &Record<'_>, ground: &mut Ground<'_>) -> bool {
        let Some(event) = self.message(kept, ground.plan) else {
            self.graves.pop_front();
            self.flights.acknowledge(position);
            return true;
        };
        let letter = DeadLetterBody {
            stream: self.stream,
            position: position.0,
            attempts: self.limits.attempts_max,
            reason,
            group: self.group.name(),
            event,
        };
        let mut body = [0; BODY_BYTES_MAX];
        let count = letter.write(&mut body);
        let letter = record(Kind::DeadLetter, kept.lane, kept.tenant, ground.now.unix, &body[..count]);
        if ground.keeping.append(&letter, Need::Stored, true, ground.now.monotonic).is_err() {
            self.bury_at = ground.now.monotonic.after(SAVE_INTERVAL);
            return false;
        }
        self.graves.pop_front();
        self.flights.acknowledge(position);
        self.dead += 1;
        ground.counters.drops.count(Drop::DeadLetter);
        true
    }

    /// A message cannot be read any more: its segment was removed, or is damaged there.
    fn lost(&mut self, position: Position, ground: &Ground<'_>) {
        self.graves.retain(|(grave, _)| *grave != position);
        if !self.flights.acknowledge(position) {
            self.flights.pass(ground.keeping.log.tail_start());
        }
        ground.counters.drops.count(Drop::MessageLost);
    }

    /// Has the cursor kept, if it moved and was not kept just now.
    fn save(&mut self, ground: &mut Ground<'_>) {
        let position = self.flights.cursor();
        let unsaved = self.moved && (self.sent || position > self.saved);
        if !unsaved || ground.now.monotonic < self.save_at {
            return;
        }
        let cursor = Cursor { lanes: ground.lanes, position };
        let body = CursorBody { stream: self.stream, group: self.group.bytes(), cursor };
        let mut bytes = [0; CURSOR_BYTES_MAX];
        let count = body.write(&mut bytes).expect("room for any cursor");
        let lane = ground.lanes.trailing_zeros() as u8;
        let kept = record(Kind::Cursor, lane, 0, ground.now.unix, &bytes[..count]);
        let kept = if self.sent { kept.setting() } else { kept };
        if ground.keeping.append(&kept, Need::Some, false, ground.now.monotonic).is_ok() {
            (self.saved, self.moved, self.sent) = (position, false, false);
        }
        self.save_at = ground.now.monotonic.after(SAVE_INTERVAL);
    }
}

/// The first segment that may hold records of this time or later: what lies before need not be read.
fn first_since(ground: &Ground<'_>, at: UnixMicros) -> Position {
    let mut infos = ground.catalog.iter().filter(|info| info.lanes & ground.lanes != 0);
    let first = infos.find(|info| info.last_at >= at).map(|info| info.name.position(info.base));
    first.unwrap_or_default().min(ground.keeping.log.tail_start())
}

/// How a stream's messages are given out, if it is durable.
pub(crate) fn durable_of(plan: &Plan, stream: u32) -> Option<&Durable> {
    let index = plan.stream_of_id(stream)?;
    let stream = &plan.streams[index as usize];
    stream.delivery.durable().filter(|_| stream.enabled)
}

/// Each shard's share of what may be under way to one session.
fn limits(durable: &Durable, shard_count: usize) -> FlightLimits {
    FlightLimits {
        window_max: share(durable.in_flight_max, shard_count),
        attempts_max: durable.attempts_max,
        retry: durable.retry,
    }
}

/// What of it one shard may send.
fn share(in_flight_max: u16, shard_count: usize) -> usize {
    (usize::from(in_flight_max) / shard_count).max(1)
}
