//! Folding: what the records of a stretch of the journal add up to, device by device, lane by lane.
//!
//! Owns the rule. A [`Delta`] is what a stretch changes of a device whatever it was before, so that segments are read once
//! for all lanes, and the checkpoint's states one lane at a time.

use base::{Eui64, UnixMicros};
use event::{Copy, Event, Kind as EventKind};
use journal::{CursorBody, Cursors, Kind, LANE_COUNT, Position, Record};
use session::body::{DeadLetterBody, PutBackBody, UplinkBody};
use session::{Advance, Dequeued, DeviceState, KeptDownlink, SessionRecord};
use std::collections::{BTreeMap, HashMap};

/// Uplinks whose best copy is owed, at most: beyond it the oldest windows have ended long ago.
const OWED_COUNT_MAX: usize = 1 << 16;

/// What a stretch changes, by device.
pub(crate) type Deltas = HashMap<Eui64, Delta>;

/// What a stretch of records changes of a device. Most only counted an uplink: 56 bytes.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Whatever was before is gone.
    removed: bool,
    /// There is a `last`.
    advanced: bool,
    last: Last,
    record: Option<Box<SessionRecord>>,
    more: Option<Box<More>>,
}

const _: () = assert!(size_of::<Delta>() <= 56);

/// The last uplink of a session, behind the record.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    at: UnixMicros,
    session: u32,
    fcnt_up: u32,
    mic: u32,
    gateway: Eui64,
}

/// What is seldom.
#[derive(Debug, Default)]
struct More {
    /// Of the sessions before the last one.
    earlier: Vec<Last>,
    queued: Vec<Vec<u8>>,
    dequeued: Vec<u64>,
}

impl Delta {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn advance(&mut self, advance: &Advance, at: UnixMicros) {
        let Advance { session, fcnt_up, mic, gateway, .. } = *advance;
        if self.advanced && self.last.session != session {
            let before = self.last;
            self.more().earlier.push(before);
        }
        (self.advanced, self.last) = (true, Last { at, session, fcnt_up, mic, gateway });
    }

    /// All of a device's state, whatever its uplinks have said before.
    fn replace(&mut self, record: SessionRecord) {
        self.advanced = false;
        if let Some(more) = &mut self.more {
            more.earlier.clear();
        }
        self.record = Some(Box::new(record));
    }

    /// Changes a state.
    pub(crate) fn onto(self, dev_eui: Eui64, state: &mut DeviceState) {
        if self.removed {
            *state = DeviceState::default();
        }
        if let Some(record) = self.record {
            state.replace(*record);
        }
        let more = self.more.map(|more| *more).unwrap_or_default();
        for Last { at, session, fcnt_up, mic, gateway } in
            more.earlier.into_iter().chain(self.advanced.then_some(self.last))
        {
            state.advance(&Advance { dev_eui, session, fcnt_up, mic, gateway }, at);
        }
        for id in more.dequeued {
            state.dequeued(id);
        }
        for downlink in more.queued.iter().filter_map(|bytes| KeptDownlink::parse(bytes)) {
            state.queued(&downlink);
        }
    }
}

/// Which dead letter: its stream, its group, and the position of the message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct LetterKey {
    /// The stream.
    pub stream: u32,
    /// The group of consumers that did not take it.
    pub group: String,
    /// Where the message's record stands.
    pub position: u64,
}

/// A message that consumers did not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// When it was given up.
    pub at: UnixMicros,
    /// The lane of its device.
    pub lane: u8,
    /// The tenant of its device.
    pub tenant: u32,
    /// A [`DeadLetterBody`]'s bytes.
    pub body: Vec<u8>,
}

/// When a dead letter was put back, and in which epoch that was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PutBack {
    pub(crate) at: UnixMicros,
    pub(crate) epoch: u16,
}

/// What belongs to no device.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// Where groups of consumers are, by stream and name.
    pub cursors: BTreeMap<(u32, Vec<u8>), Cursors>,
    /// Dead letters that were not put back.
    pub letters: BTreeMap<LetterKey, DeadLetter>,
    /// What was put back and whose dead letter has not been met: it stands in another log, of which less was folded.
    pub(crate) put_back: BTreeMap<LetterKey, PutBack>,
    /// Uplinks whose best copy was promised to a durable stream and is not in the journal: lane and event.
    pub owed: BTreeMap<(Eui64, u32, u32), (u8, Vec<u8>)>,
}

/// What a stretch of records adds up to.
#[derive(Debug)]
pub(crate) struct Fold {
    /// By lane; empty if only what belongs to no device is folded.
    pub(crate) lanes: Vec<Deltas>,
    pub(crate) globals: Globals,
    /// Records of kinds that this version does not know, or whose body it does not understand.
    pub(crate) unknown_count: u64,
}

impl Fold {
    pub(crate) fn new(globals: Globals) -> Self {
        let lanes = (0..LANE_COUNT).map(|_| Deltas::new()).collect();
        Self { lanes, globals, unknown_count: 0 }
    }

    /// One that passes over what belongs to devices.
    pub(crate) const fn of_globals(globals: Globals) -> Self {
        Self { lanes: Vec::new(), globals, unknown_count: 0 }
    }

    /// Changes what is known of a device, if that is wanted.
    fn with(&mut self, lane: u8, dev_eui: Eui64, change: impl FnOnce(&mut Delta)) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane % LANE_COUNT)) {
            change(lane.entry(dev_eui).or_default());
        }
    }

    /// Takes the next record of its lane.
    pub(crate) fn take(&mut self, position: Position, record: &Record<'_>) {
        if self.understand(position, record).is_none() {
            self.unknown_count += 1;
        }
    }

    fn understand(&mut self, position: Position, record: &Record<'_>) -> Option<()> {
        let (lane, body) = (record.lane, record.body);
        match record.kind {
            Kind::Mark => {}
            Kind::Uplink => {
                let uplink = UplinkBody::parse(body)?;
                self.with(lane, uplink.advance.dev_eui, |delta| delta.advance(&uplink.advance, record.at));
                if let Some(event) = uplink.event.filter(|_| uplink.owes_best) {
                    self.owe(lane, &event);
                }
            }
            Kind::Event => {
                let event = Event::parse(body).ok()?;
                if event.kind == EventKind::Uplink && event.copy == Copy::Best {
                    self.globals.owed.remove(&(event.dev_eui, event.session, event.fcnt));
                }
            }
            Kind::Device => {
                let state = SessionRecord::from_wire(body.try_into().ok()?).ok()?;
                self.with(lane, state.dev_eui, |delta| delta.replace(state));
            }
            Kind::Queued => {
                let downlink = KeptDownlink::parse(body)?;
                self.with(lane, downlink.dev_eui, |delta| delta.more().queued.push(body.to_vec()));
            }
            Kind::Dequeued => {
                let dequeued = Dequeued::from_wire(body.try_into().ok()?);
                let is_it = |bytes: &Vec<u8>| KeptDownlink::parse(bytes).is_some_and(|it| it.id == dequeued.id);
                self.with(lane, dequeued.dev_eui, |delta| {
                    let more = delta.more();
                    match more.queued.iter().position(is_it) {
                        Some(place) => drop(more.queued.remove(place)),
                        None => more.dequeued.push(dequeued.id),
                    }
                });
            }
            Kind::Removed => {
                let dev_eui = Eui64(body.try_into().ok()?);
                self.with(lane, dev_eui, |delta| *delta = Delta { removed: true, ..Delta::default() });
            }
            Kind::Cursor => {
                let cursor = CursorBody::parse(body).ok()?;
                let key = (cursor.stream, cursor.group.to_vec());
                let cursors = self.globals.cursors.entry(key).or_default();
                if record.sets() {
                    cursors.forget(cursor.cursor.lanes);
                }
                cursors.merge(cursor.cursor);
            }
            Kind::RemovedGroup => {
                let CursorBody { stream, group, cursor } = CursorBody::parse(body).ok()?;
                let key = (stream, group.to_vec());
                if self.globals.cursors.get_mut(&key).is_some_and(|cursors| cursors.forget(cursor.lanes)) {
                    self.globals.cursors.remove(&key);
                }
                let is_its = |key: &LetterKey| key.stream == stream && key.group.as_bytes() == group;
                self.globals.letters.retain(|key, letter| !is_its(key) || cursor.lanes >> letter.lane & 1 == 0);
            }
            Kind::DeadLetter => {
                let letter = DeadLetterBody::parse(body)?;
                let (stream, position) = (letter.stream, letter.position);
                let key = LetterKey { stream, group: letter.group.into(), position };
                // One that is given up again after it was put back is a letter again.
                if self.globals.put_back.remove(&key).is_none_or(|back| back.at < record.at) {
                    let letter = DeadLetter { at: record.at, lane, tenant: record.tenant, body: body.to_vec() };
                    self.globals.letters.insert(key, letter);
                }
            }
            Kind::PutBack => {
                let back = PutBackBody::parse(body)?;
                let key = LetterKey { stream: back.stream, group: back.group.into(), position: back.position };
                match self.globals.letters.get(&key) {
                    None => {
                        let back = PutBack { at: record.at, epoch: position.epoch() };
                        self.globals.put_back.insert(key, back);
                    }
                    Some(letter) if letter.at <= record.at => drop(self.globals.letters.remove(&key)),
                    Some(_) => {}
                }
            }
            Kind::Unknown(_) => return None,
        }
        Some(())
    }

    fn owe(&mut self, lane: u8, event: &Event<'_>) {
        let mut bytes = vec![0; event.encoded_bytes()];
        if event.write(&mut bytes).is_some() && self.globals.owed.len() < OWED_COUNT_MAX {
            self.globals.owed.insert((event.dev_eui, event.session, event.fcnt), (lane, bytes));
        }
    }
}

/// A record of the checkpoint stands nowhere in a log: its place in the file is its position in the epoch that is none.
pub(crate) fn place(offset: u64) -> Position {
    Position::new(0, 0, offset)
}
