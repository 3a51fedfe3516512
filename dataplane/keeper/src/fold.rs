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

/// What a stretch of records changes of a device.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Whatever was before is gone.
    removed: bool,
    record: Option<Box<SessionRecord>>,
    /// Behind the record: the last of each session.
    advances: Vec<(Advance, UnixMicros)>,
    queued: Vec<Vec<u8>>,
    dequeued: Vec<u64>,
}

impl Delta {
    fn advance(&mut self, advance: Advance, at: UnixMicros) {
        match self.advances.last_mut() {
            Some(last) if last.0.session == advance.session => *last = (advance, at),
            _ => self.advances.push((advance, at)),
        }
    }

    /// Changes a state.
    pub(crate) fn onto(self, state: &mut DeviceState) {
        if self.removed {
            *state = DeviceState::default();
        }
        if let Some(record) = self.record {
            state.replace(*record);
        }
        for (advance, at) in &self.advances {
            state.advance(advance, *at);
        }
        for id in self.dequeued {
            state.dequeued(id);
        }
        for downlink in self.queued.iter().filter_map(|bytes| KeptDownlink::parse(bytes)) {
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

/// What belongs to no device.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// Where groups of consumers are, by stream and name.
    pub cursors: BTreeMap<(u32, Vec<u8>), Cursors>,
    /// Dead letters that were not put back.
    pub letters: BTreeMap<LetterKey, DeadLetter>,
    /// Uplinks whose best copy was promised to a durable stream and is not in the journal: lane and event.
    pub owed: BTreeMap<(Eui64, u32, u32), (u8, Vec<u8>)>,
}

/// What a stretch of records adds up to.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) lanes: Vec<HashMap<Eui64, Delta>>,
    pub(crate) globals: Globals,
    /// Records of kinds that this version does not know, or whose body it does not understand.
    pub(crate) unknown_count: u64,
}

impl Fold {
    pub(crate) fn new(globals: Globals) -> Self {
        let lanes = (0..LANE_COUNT).map(|_| HashMap::new()).collect();
        Self { lanes, globals, unknown_count: 0 }
    }

    fn delta(&mut self, lane: u8, dev_eui: Eui64) -> &mut Delta {
        self.lanes[usize::from(lane % LANE_COUNT)].entry(dev_eui).or_default()
    }

    /// Takes the next record of its lane.
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        if self.understand(record).is_none() {
            self.unknown_count += 1;
        }
    }

    fn understand(&mut self, record: &Record<'_>) -> Option<()> {
        let (lane, body) = (record.lane, record.body);
        match record.kind {
            Kind::Mark => {}
            Kind::Uplink => {
                let uplink = UplinkBody::parse(body)?;
                self.delta(lane, uplink.advance.dev_eui).advance(uplink.advance, record.at);
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
                let delta = self.delta(lane, state.dev_eui);
                delta.advances.clear();
                delta.record = Some(Box::new(state));
            }
            Kind::Queued => {
                let downlink = KeptDownlink::parse(body)?;
                self.delta(lane, downlink.dev_eui).queued.push(body.to_vec());
            }
            Kind::Dequeued => {
                let dequeued = Dequeued::from_wire(body.try_into().ok()?);
                let delta = self.delta(lane, dequeued.dev_eui);
                let is_it = |bytes: &Vec<u8>| KeptDownlink::parse(bytes).is_some_and(|it| it.id == dequeued.id);
                match delta.queued.iter().position(is_it) {
                    Some(place) => drop(delta.queued.remove(place)),
                    None => delta.dequeued.push(dequeued.id),
                }
            }
            Kind::Removed => {
                let dev_eui = Eui64(body.try_into().ok()?);
                *self.delta(lane, dev_eui) = Delta { removed: true, ..Delta::default() };
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
                let letter = DeadLetter { at: record.at, lane, tenant: record.tenant, body: body.to_vec() };
                self.globals.letters.insert(key, letter);
            }
            Kind::PutBack => {
                let back = PutBackBody::parse(body)?;
                let key = LetterKey { stream: back.stream, group: back.group.into(), position: back.position };
                self.globals.letters.remove(&key);
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
