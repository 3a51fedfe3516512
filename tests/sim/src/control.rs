//! The control thread of a dataplane, as the simulator plays it: configuration down, records and answers up.
//!
//! Owns the configuration and what survives a power cut: the sessions' records. Goes through the same mailboxes as the
//! real one; it is slow on purpose, so that the mailboxes' bounds are met.

use base::Eui64;
use contract::v1;
use driver::steering::slot_of;
use plan::{Config, Upsert};
use session::{SessionRecord, lane_of_eui};
use shard::{FromShard, Load, Mailbox, Report, ToShard, What, descriptors, shard_of_lane, shard_of_slot};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Messages that a mailbox holds, each way. Few, so that it is sometimes full.
const MAILBOX_CAPACITY: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Control {
    slot_key: u32,
    config: Config,
    revision: u64,
    devices: BTreeMap<Eui64, Upsert>,
    gateways: BTreeMap<Eui64, Upsert>,
    records: BTreeMap<Eui64, SessionRecord>,
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
    pub fn new(slot_key: u32) -> Self {
        Self {
            slot_key,
            config: Config::default(),
            revision: 0,
            devices: BTreeMap::new(),
            gateways: BTreeMap::new(),
            records: BTreeMap::new(),
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
    pub fn start(&mut self, shard_count: usize) -> Vec<Mailbox> {
        let mailboxes: Vec<Mailbox> =
            (0..shard_count).map(|_| Mailbox::new(MAILBOX_CAPACITY, Arc::new(|| {}))).collect();
        self.mailboxes.clone_from(&mailboxes);
        self.backlog = (0..shard_count).map(|_| VecDeque::new()).collect();
        self.acknowledged = vec![0; shard_count];
        self.stopped = vec![false; shard_count];
        self.load();
        let upserts: Vec<Upsert> = self.gateways.values().chain(self.devices.values()).cloned().collect();
        upserts.iter().for_each(|upsert| self.upsert(upsert));
        let records: Vec<SessionRecord> = self.records.values().cloned().collect();
        for record in records {
            // Whichever shard the device lives in takes it; the others do not know the device.
            (0..shard_count).for_each(|shard| self.backlog[shard].push_back(ToShard::Restore(record.clone())));
        }
        self.mark();
        mailboxes
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
            FromShard::Session(record) => drop(self.records.insert(record.dev_eui, record)),
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
            FromShard::Retired(_) | FromShard::Queried(_) | FromShard::Commanded(_) | FromShard::Flushed { .. } => {}
        }
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
