//! The control thread of a dataplane, as the simulator plays it: configuration down, records and answers up.
//!
//! Owns the configuration, and the keeper of the journal, which it plays as well: what survives a power cut is what the
//! virtual disk has. Goes through the same mailboxes as the real one; it is slow on purpose, so that their bounds are met.

use crate::disk::SharedDisk;
use crate::folder::Folder;
use base::{Eui64, UnixMicros};
use contract::v1;
use driver::steering::slot_of;
use journal::{Position, Wanted};
use keeper::{Keeper, Query, Recovered};
use plan::{Config, Upsert};
use session::{DeviceState, lane_of_eui};
use shard::{
    FromShard, Group, Load, Mailbox, Report, ToShard, Trouble, What, descriptors, shard_of_lane, shard_of_slot,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Messages that a mailbox holds, each way. Few, so that it is sometimes full.
const MAILBOX_CAPACITY: usize = 64;

/// A checkpoint is made beyond this; small, so that there are some.
const CHECKPOINT_BYTES: u64 = 512 << 10;

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
    /// Of the present life.
    keeper: Option<Keeper<Folder>>,
    /// Segments that could not be made yet.
    wanted: Vec<(usize, Wanted)>,
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
            keeper: None,
            wanted: Vec::new(),
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
        }
    }

    /// Mailboxes for the shards of a new life, which will first be told everything.
    ///
    /// Returns the epoch of the journal with them.
    pub fn start(&mut self, shard_count: usize) -> (Vec<Mailbox>, u16) {
        let mailboxes: Vec<Mailbox> =
            (0..shard_count).map(|_| Mailbox::new(MAILBOX_CAPACITY, Arc::new(|| {}))).collect();
        self.mailboxes.clone_from(&mailboxes);
        self.backlog = (0..shard_count).map(|_| VecDeque::new()).collect();
        self.acknowledged = vec![0; shard_count];
        self.stopped = vec![false; shard_count];
        self.wanted.clear();
        let (recovered, states) = self.recover();
        let epoch = recovered.epoch;
        // A disk that refuses is asked again before the first checkpoint.
        let _begun = self.keeper.as_mut().expect("just found").begin();
        // As the real one does: devices, what is kept of them, the plan, and only then frames.
        let devices: Vec<Upsert> = self.devices.values().cloned().collect();
        devices.iter().for_each(|upsert| self.upsert(upsert));
        let owed = self.restore(shard_count, &recovered, states);
        self.load();
        owed.into_iter().for_each(|(shard, event)| self.backlog[shard].push_back(ToShard::Owed(event)));
        let gateways: Vec<Upsert> = self.gateways.values().cloned().collect();
        gateways.iter().for_each(|upsert| self.upsert(upsert));
        self.mark();
        (mailboxes, epoch)
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
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Report(Box::<Report>::default())));
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
    pub fn step(&mut self) -> Vec<usize> {
        for (shard, wanted) in std::mem::take(&mut self.wanted) {
            self.make(shard, wanted);
        }
        let mut woken = Vec::new();
        for shard in 0..self.mailboxes.len() {
            while let Some(message) = self.mailboxes[shard].from.pop() {
                self.take(shard, message);
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

    fn take(&mut self, shard: usize, message: FromShard) {
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
                    // What fails now is tried again with the next one.
                    let _folded = keeper.checkpoint(&mut |_, _| ());
                }
                self.tell_catalog();
            }
            FromShard::Reported(report) => {
                for (descriptor, value) in descriptors().iter().zip(&report.values) {
                    *self.counters.entry((descriptor.family, descriptor.label)).or_default() += value;
                }
                assert_eq!(report.shard, shard);
                self.hop_ns_max = self.hop_ns_max.max(report.latencies.hop.max());
                self.reports += 1;
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
            FromShard::Stopped => self.stopped[shard] = true,
            FromShard::CatalogRetired(_)
            | FromShard::CursorsTaken(_)
            | FromShard::SessionsTaken(_)
            | FromShard::Restored(_)
            | FromShard::Retired(_)
            | FromShard::Queried(_)
            | FromShard::Commanded(_)
            | FromShard::Flushed { .. } => {}
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

    fn tell_catalog(&mut self) {
        let catalog = self.keeper.as_ref().expect("it lives").catalog().clone();
        self.backlog.iter_mut().for_each(|backlog| backlog.push_back(ToShard::Catalog(Box::new(catalog.clone()))));
    }

    /// Finds what the last life left, however often the disk must be asked.
    fn recover(&mut self) -> (Recovered, Vec<DeviceState>) {
        for _ in 0..RECOVERIES_MAX {
            let limits = keeper::Limits { bytes_max: 0, reserve_bytes: 0 };
            let Ok((keeper, mut recovered)) = Keeper::recover(self.folder.clone(), limits) else { continue };
            let mut states = Vec::new();
            let read =
                (0..64).all(|lane| keeper.recover_lane(&mut recovered, lane, |state| states.push(state)).is_ok());
            if read {
                self.keeper = Some(keeper);
                return (recovered, states);
            }
        }
        panic!("what is on the disk can be read in the end");
    }

    /// Every uplink that the journal has, read as the next life would.
    #[must_use]
    pub fn journaled(&mut self) -> BTreeSet<(Eui64, u32)> {
        let _found = self.recover();
        let all =
            Query { from: UnixMicros(0), to: UnixMicros(0), device: None, after: Position::ZERO, limit: usize::MAX };
        for _ in 0..RECOVERIES_MAX {
            let mut uplinks = BTreeSet::new();
            let keeper = self.keeper.as_ref().expect("just found");
            let read = keeper.history(
                &all,
                |event| event.kind == event::Kind::Uplink,
                |_, event| {
                    uplinks.insert((event.dev_eui, event.fcnt));
                },
            );
            if read.is_ok() {
                return uplinks;
            }
        }
        panic!("what is on the disk can be read in the end");
    }

    fn load(&mut self) {
        self.revision += 1;
        for backlog in &mut self.backlog {
            let plan = self.config.compile(self.revision).expect("a scenario's configuration compiles");
            backlog.push_back(ToShard::Load(Box::new(Load::new(plan))));
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
