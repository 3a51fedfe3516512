//! The control thread of a dataplane, as the simulator plays it: configuration down, records and answers up.
//!
//! Owns the configuration, and the keeper of the journal, which it plays as well: what survives a power cut is what the
//! virtual disk has. Goes through the same mailboxes as the real one; it is slow on purpose, so that their bounds are met.

use crate::disk::SharedDisk;
use crate::folder::Folder;
use crate::watch::Counted;
use crate::witness::Place;
use base::{Eui64, Monotonic, UnixMicros};
use contract::v1;
use driver::steering::slot_of;
use files::Files as _;
use journal::{CarryOver, Position, Wanted};
use keeper::{Fault, Keeper, Query, Recovered, Retention, Stretch};
use plan::{Config, Delivery, Plan, Upsert};
use session::{DeviceState, lane_of_eui};
use shard::{
    ConnectionAnswer, FromShard, Group, Load, Mailbox, Report, ToShard, Trouble, What, descriptors, shard_of_lane,
    shard_of_slot,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Messages that a mailbox holds, each way. Few, so that it is sometimes full.
const MAILBOX_CAPACITY: usize = 64;

/// A checkpoint is made beyond this; small, so that there are some.
const CHECKPOINT_BYTES: u64 = 512 << 10;

/// Between two attempts at what could not be made.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// A disk that fails now and then is asked this often.
const RECOVERIES_MAX: usize = 1000;

/// See the module.
#[derive(Debug)]
pub struct Control {
    slot_key: u32,
    config: Config,
    revision: u64,
    devices: BTreeMap<Eui64, Upsert>,
    gateways: BTreeMap<Eui64, Upsert>,
    folder: Folder,
    disk: SharedDisk,
    /// Of the configuration in force.
    plan: Plan,
    /// The control plane is away: nobody changes anything.
    pub is_away: bool,
    /// Of the present life.
    keeper: Option<Keeper<Folder>>,
    /// Segments that could not be made yet.
    wanted: Vec<(usize, Wanted)>,
    retry_at: Monotonic,
    mailboxes: Vec<Mailbox>,
    backlog: Vec<VecDeque<ToShard>>,
    acknowledged: Vec<u64>,
    marks: u64,
    stopped: Vec<bool>,
    /// Counters by family and label, all shards together; filled by [`Control::ask_reports`].
    pub counters: BTreeMap<(&'static str, &'static str), u64>,
    /// Reports that have come since they were last asked for.
    pub reports: usize,
    /// The longest way of an event from one shard to another, nanoseconds, as last reported.
    pub hop_ns_max: u64,
    /// Sessions that opened and closed on streams.
    pub opened: u64,
    /// See `opened`.
    pub closed: u64,
    /// Damage that was reported, by whoever found it: in which file, and where.
    pub damages: BTreeSet<Place>,
    /// Words of damage from shards, in all lives.
    pub damage_words: u64,
    /// Gaps in logs that a start has reported: the segment before and the one behind.
    pub gaps: BTreeSet<(String, String)>,
    /// Times that a person had to put the manifest aside: a start refuses to go on without it being said.
    pub repairs: u64,
    /// What shards counted, that it never goes back.
    counted: Counted,
    /// Reports to be filled in again.
    spare: Vec<Report>,
    /// Reports that count for [`Control::counters`] are awaited.
    is_final: bool,
    /// Connections of streams, as shards have answered.
    pub connections: Vec<ConnectionAnswer>,
    /// Checkpoints that were made.
    pub checkpoints: u64,
    /// Segments that were removed.
    pub removed: u64,
    /// Records that only memory had when a node was killed.
    pub carried: u64,
}

impl Control {
    /// A control thread without shards and with an empty configuration.
    #[must_use]
    pub fn new(slot_key: u32, disk: &SharedDisk) -> Self {
        Self {
            slot_key,
            config: Config::default(),
            revision: 0,
            devices: BTreeMap::new(),
            gateways: BTreeMap::new(),
            folder: Folder::new(disk, "journal"),
            disk: disk.clone(),
            plan: Plan::default(),
            is_away: false,
            keeper: None,
            wanted: Vec::new(),
            retry_at: Monotonic(0),
            mailboxes: Vec::new(),
            backlog: Vec::new(),
            acknowledged: Vec::new(),
            marks: 0,
            stopped: Vec::new(),
            counters: BTreeMap::new(),
            reports: 0,
            hop_ns_max: 0,
            opened: 0,
            closed: 0,
            damages: BTreeSet::new(),
            damage_words: 0,
            gaps: BTreeSet::new(),
            repairs: 0,
            counted: Counted::default(),
            spare: Vec::new(),
            is_final: false,
            connections: Vec::new(),
            checkpoints: 0,
            removed: 0,
            carried: 0,
        }
    }

    /// Mailboxes for the shards of a new life, which will first be told everything.
    ///
    /// Returns the epoch of the journal with them; nothing if the node dies meanwhile.
    pub fn start(&mut self, shard_count: usize) -> Option<(Vec<Mailbox>, u16)> {
        let mailboxes: Vec<Mailbox> =
            (0..shard_count).map(|_| Mailbox::new(MAILBOX_CAPACITY, Arc::new(|| {}))).collect();
        self.mailboxes.clone_from(&mailboxes);
        self.backlog = (0..shard_count).map(|_| VecDeque::new()).collect();
        self.acknowledged = vec![0; shard_count];
        self.stopped = vec![false; shard_count];
        self.wanted.clear();
        self.counted = Counted::default();
        let (recovered, states) = self.recover()?;
        let epoch = recovered.epoch;
        // As the real one does: devices, what is kept of them, the plan, and only then frames.
        let devices: Vec<Upsert> = self.devices.values().cloned().collect();
        devices.iter().for_each(|upsert| self.upsert(upsert));
        let owed = self.restore(shard_count, &recovered, states);
        self.load();
        owed.into_iter().for_each(|(shard, event)| self.backlog[shard].push_back(ToShard::Owed(event)));
        let gateways: Vec<Upsert> = self.gateways.values().cloned().collect();
        gateways.iter().for_each(|upsert| self.upsert(upsert));
        self.mark();
        Some((mailboxes, epoch))
    }

    /// The control plane has come again: a snapshot of everything, which changes nothing.
    pub fn say_everything(&mut self) {
        if self.mailboxes.is_empty() {
            return;
        }
        self.load();
        let all: Vec<Upsert> = self.devices.values().chain(self.gateways.values()).cloned().collect();
        all.iter().for_each(|upsert| self.upsert(upsert));
        self.mark();
    }

    /// Changes the configuration, which must be good.
    pub fn apply(&mut self, changes: &[v1::Change]) {
        let mut upserts = Vec::new();
        let next = self.config.apply(changes, &mut upserts).expect("a scenario's configuration is good");
        let same = next.same_tables(&self.config);
        self.config = next;
        if !same {
            self.load();
        }
        for upsert in upserts {
            match &upsert {
                Upsert::Device(device) => self.devices.insert(device.dev_eui, upsert.clone()),
                Upsert::Gateway(gateway) => self.gateways.insert(gateway.eui, upsert.clone()),
                Upsert::RemoveDevice(eui) => self.devices.remove(eui),
                Upsert::RemoveGateway(eui) => self.gateways.remove(eui),
            };
            self.upsert(&upsert);
        }
        self.mark();
    }

    /// Asks every shard for its counters.
    pub fn ask_reports(&mut self) {
        self.counters.clear();
        self.hop_ns_max = 0;
        self.reports = 0;
        self.is_final = true;
        self.scrape();
    }

    /// Asks every shard for the connections of these streams.
    pub fn ask_connections(&mut self, streams: &[u32]) {
        for backlog in &mut self.backlog {
            let query = shard::Query::new(1, Vec::new(), Vec::new(), streams.to_vec());
            backlog.push_back(ToShard::Query(Box::new(query)));
        }
    }

    /// The same in passing, to see that nothing goes back.
    pub fn scrape(&mut self) {
        for backlog in &mut self.backlog {
            backlog.push_back(ToShard::Report(Box::new(self.spare.pop().unwrap_or_default())));
        }
    }

    /// Tells every shard to stop.
    pub fn stop(&mut self) {
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Stop));
    }

    /// Whether every shard has said that it stopped.
    #[must_use]
    pub fn all_stopped(&self) -> bool {
        self.stopped.iter().all(|stopped| *stopped)
    }

    /// Whether everything that was configured is in force on every shard.
    #[must_use]
    pub fn in_force(&self) -> bool {
        self.acknowledged.iter().all(|mark| *mark == self.marks)
    }

    /// The sum of a counter over all shards, as last reported.
    #[must_use]
    pub fn counter(&self, family: &'static str, label: &'static str) -> u64 {
        *self.counters.get(&(family, label)).unwrap_or_else(|| panic!("there is a counter {family} {label}"))
    }

    /// The sum of all counters of a family.
    #[must_use]
    pub fn family(&self, family: &str) -> u64 {
        self.counters.iter().filter(|((name, _), _)| *name == family).map(|(_, value)| value).sum()
    }

    /// Does a moment's work. Returns the shards to be woken.
    pub fn step(&mut self, now: Monotonic, unix: UnixMicros) -> Vec<usize> {
        if self.keeper.as_mut().is_some_and(|keeper| !keeper.has_all_carried() && keeper.begin().is_ok()) {
            self.tell_catalog();
        }
        if self.retry_at <= now {
            self.retry_at = now.after(RETRY_INTERVAL);
            for (shard, wanted) in std::mem::take(&mut self.wanted) {
                self.make(shard, wanted);
            }
        }
        let mut woken = Vec::new();
        for shard in 0..self.mailboxes.len() {
            while let Some(message) = self.mailboxes[shard].from.pop() {
                self.take(shard, message, unix);
            }
            let mut pushed = false;
            while let Some(message) = self.backlog[shard].pop_front() {
                if let Err(message) = self.mailboxes[shard].to.push(message) {
                    self.backlog[shard].push_front(message);
                    break;
                }
                pushed = true;
            }
            // A shard without room for its answers waits for us, so it is told when there is room again.
            if pushed || !self.mailboxes[shard].to.is_empty() {
                woken.push(shard);
            }
        }
        woken
    }

    fn take(&mut self, shard: usize, message: FromShard, unix: UnixMicros) {
        match message {
            FromShard::Acknowledged(mark) => {
                assert!(mark > self.acknowledged[shard], "marks come in order");
                self.acknowledged[shard] = mark;
            }
            FromShard::MakeSegment(wanted) => {
                self.wanted.retain(|(other, _)| *other != shard);
                self.make(shard, wanted);
            }
            FromShard::Sealed(info) => {
                let keeper = self.keeper.as_mut().expect("it lives");
                keeper.sealed(info);
                if keeper.unfolded_bytes() > CHECKPOINT_BYTES {
                    self.tend(unix);
                }
                self.tell_catalog();
            }
            FromShard::Damaged { name, from, until } => {
                self.damage_words += 1;
                self.damages.insert(Place { file: name.to_string(), from, until });
            }
            FromShard::Reported(report) => {
                assert_eq!(report.shard, shard);
                self.counted.take(shard, &report.values);
                if self.is_final {
                    for (descriptor, value) in descriptors().iter().zip(&report.values) {
                        *self.counters.entry((descriptor.family, descriptor.label)).or_default() += value;
                    }
                    self.hop_ns_max = self.hop_ns_max.max(report.latencies.hop.max());
                    self.reports += 1;
                }
                self.spare.push(*report);
            }
            FromShard::Moved { dev_eui, before } => {
                let home = shard_of_lane(before.0, self.mailboxes.len());
                self.backlog[home].push_back(ToShard::Upsert(Upsert::RemoveDevice(dev_eui)));
            }
            FromShard::Happened(happened) => match happened.what {
                What::StreamOpened => self.opened += 1,
                What::StreamClosed => self.closed += 1,
                What::Event(_) => {}
            },
            FromShard::UpsertFull(upsert) => panic!("the tables are large enough, also for {upsert:?}"),
            FromShard::Stopped { .. } => self.stopped[shard] = true,
            FromShard::Queried(query) => self.connections.extend(query.connection_answers),
            FromShard::CatalogRetired(_)
            | FromShard::CursorsTaken(_)
            | FromShard::SessionsTaken(_)
            | FromShard::Restored(_)
            | FromShard::Retired(_)
            | FromShard::Commanded(_)
            | FromShard::Flushed { .. }
            | FromShard::GroupRemoved { .. }
            | FromShard::Find { .. } => {}
        }
    }

    /// Gives the shards what was kept. Returns the best copies that are owed.
    fn restore(
        &mut self,
        shard_count: usize,
        recovered: &Recovered,
        states: Vec<DeviceState>,
    ) -> Vec<(usize, Box<[u8]>)> {
        for state in states {
            // Whichever shard the device lives in takes it; the others do not know the device.
            for backlog in &mut self.backlog {
                if let Some(record) = &state.record {
                    backlog.push_back(ToShard::Restore(vec![record.clone()]));
                }
                let queue = state.queue.iter().cloned();
                queue.for_each(|downlink| backlog.push_back(ToShard::RestoreDownlink(downlink.into())));
            }
        }
        let globals = recovered.globals();
        let cursors = globals.cursors.iter();
        let cursors: Vec<_> = cursors
            .filter_map(|((stream, group), cursors)| Some((*stream, Group::from_bytes(group)?, cursors.clone())))
            .collect();
        self.tell_catalog();
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Cursors(Box::new(cursors.clone()))));
        let home = |lane| shard_of_lane(lane, shard_count);
        globals.owed.values().map(|(lane, event)| (home(*lane), event.clone().into())).collect()
    }

    fn make(&mut self, shard: usize, wanted: Wanted) {
        let keeper = self.keeper.as_mut().expect("it lives");
        match keeper.make(wanted, UnixMicros(1)) {
            Ok(()) => {
                self.tell_catalog();
                self.backlog[shard].push_back(ToShard::SegmentMade(wanted.name));
            }
            Err(_) => {
                self.wanted.push((shard, wanted));
                self.backlog[shard].push_back(ToShard::SegmentNotMade(Trouble::Failing));
            }
        }
    }

    /// Folds what has ended, and removes what nobody wants. What fails now is tried again with the next one.
    fn tend(&mut self, unix: UnixMicros) {
        let keeper = self.keeper.as_mut().expect("it lives");
        let plan = &self.plan;
        let folded = keeper.checkpoint(&mut |event, each| plan.covering_durable(event, |_, stream| each(stream.id)));
        self.checkpoints += u64::from(folded.is_ok());
        let retentions: Vec<Retention> = (plan.streams.iter())
            .filter_map(|stream| match stream.delivery {
                Delivery::Durable(durable) => {
                    Some(Retention { stream: stream.id, age: durable.retention, bytes: durable.retention_bytes })
                }
                Delivery::Live => None,
            })
            .collect();
        if let Ok(trimmed) = keeper.retain(&retentions, unix) {
            self.removed += trimmed.segments;
        }
        self.note_damages();
    }

    fn note_damages(&mut self) {
        let found = self.keeper.iter().flat_map(Keeper::take_damages);
        self.damages.extend(found.map(|Stretch { file, from, until }| Place { file, from, until }));
    }

    fn tell_catalog(&mut self) {
        let catalog = self.keeper.as_ref().expect("it lives").catalog().clone();
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Catalog(Box::new(catalog.clone()))));
    }

    /// Finds what the last life left, however often the disk must be asked; nothing if the node dies meanwhile.
    fn recover(&mut self) -> Option<(Recovered, Vec<DeviceState>)> {
        for _ in 0..RECOVERIES_MAX {
            let limits = keeper::Limits { bytes_max: 0, reserve_bytes: 0 };
            let files = self.disk.borrow().carried();
            let mut overs: Vec<_> = files.into_iter().map(CarryOver::parse).filter_map(Result::ok).collect();
            overs.sort_by_key(CarryOver::start);
            let found = Keeper::recover_with(self.folder.clone(), limits, &overs, UnixMicros(1));
            if self.disk.borrow().has_ended() {
                return None;
            }
            let (mut keeper, mut recovered) = match found {
                Ok(found) => found,
                Err(Fault::Damaged { name }) => {
                    self.put_aside(&name);
                    continue;
                }
                Err(_) => continue,
            };
            let mut states = Vec::new();
            let read =
                (0..64).all(|lane| keeper.recover_lane(&mut recovered, lane, |state| states.push(state)).is_ok());
            // As the real one: what earlier runs left half done goes, if it can. A disk that refuses is asked again before
            // the first checkpoint.
            if read && !self.disk.borrow().has_ended() {
                let _begun = keeper.begin();
                let names = keeper.gaps().map(|gap| (gap.before.to_string(), gap.behind.to_string()));
                self.gaps.extend(names);
                self.carried += recovered.counts.carried;
                if keeper.has_all_carried() {
                    self.disk.borrow_mut().forget_carried();
                }
                self.keeper = Some(keeper);
                self.note_damages();
                return Some((recovered, states));
            }
        }
        panic!("what is on the disk can be read in the end");
    }

    /// What a person does when told that this file is damaged: only a disk that lies makes them.
    fn put_aside(&mut self, name: &str) {
        assert!(!self.disk.borrow().lies().is_empty(), "an honest disk damages no {name}");
        self.repairs += 1;
        self.damages.insert(Place { file: name.into(), from: 0, until: u64::MAX });
        // Whoever mends a disk makes it writable first.
        self.disk.borrow_mut().read_only = false;
        // It is told again if this fails.
        let _removed = self.folder.remove("manifest").and_then(|()| self.folder.sync_directory());
    }

    /// Every uplink that the journal has, read as the next life would: device, session, FCntUp.
    #[must_use]
    pub fn journaled(&mut self) -> BTreeSet<(Eui64, u32, u32)> {
        let _found = self.recover().expect("nothing ends the node any more");
        let all =
            Query { from: UnixMicros(0), to: UnixMicros(0), device: None, after: Position::ZERO, limit: usize::MAX };
        for _ in 0..RECOVERIES_MAX {
            let mut uplinks = BTreeSet::new();
            let keeper = self.keeper.as_mut().expect("just found");
            let mut query = all;
            while let Ok(page) = keeper.history(
                &query,
                |event| event.kind == event::Kind::Uplink,
                |_, event| {
                    uplinks.insert((event.dev_eui, event.session, event.fcnt));
                    true
                },
            ) {
                match page.next {
                    Some(next) => query.after = next,
                    None => {
                        self.note_damages();
                        return uplinks;
                    }
                }
            }
        }
        panic!("what is on the disk can be read in the end");
    }

    fn load(&mut self) {
        self.revision += 1;
        self.plan = self.config.compile(self.revision).expect("a scenario's configuration compiles");
        for backlog in &mut self.backlog {
            backlog.push_back(ToShard::Load(Box::new(Load::new(self.plan.clone()))));
        }
    }

    fn mark(&mut self) {
        self.marks += 1;
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Mark(self.marks)));
    }

    fn upsert(&mut self, upsert: &Upsert) {
        let count = self.backlog.len();
        let concerned: Vec<usize> = match upsert {
            Upsert::Device(device) => {
                let (home, known) =
                    (shard_of_lane(device.home().0, count), shard_of_lane(lane_of_eui(device.dev_eui).0, count));
                if home == known { vec![home] } else { vec![home, known] }
            }
            Upsert::Gateway(plan::Gateway { eui, .. }) | Upsert::RemoveGateway(eui) => {
                vec![shard_of_slot(slot_of(self.slot_key, *eui), count)]
            }
            Upsert::RemoveDevice(_) => (0..count).collect(),
        };
        if count > 0 {
            concerned.into_iter().for_each(|shard| self.backlog[shard].push_back(ToShard::Upsert(upsert.clone())));
        }
    }
}
