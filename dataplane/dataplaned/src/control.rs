//! The control thread: what the control plane says becomes what the shards do, and what they say becomes answers.
//!
//! Owns the configuration in force, the stored plan and the mailboxes of the shards. Never on the way of a message. It
//! is a loop over bounded queues: link, shards, metrics; it sleeps by parking, and whoever fills a queue unparks it.

mod kept;

use kept::Stored;
pub(crate) use kept::{Kept, NotRestored};

use crate::answers::{self, Expected, Pending};
use crate::homes::Homes;
use crate::keeping::{Ask, Handle, Whom};
use crate::link::{Inbound, Link};
use crate::plan_log::{PlanLog, Staging};
use crate::waiting::{Table, Waiting};
use base::Eui64;
use contract::v1;
use contract::v1::from_dataplane::Body as Said;
use contract::v1::to_dataplane::Body as Told;
use crossbeam::channel::{Receiver, Sender};
use keeper::Retained;
use plan::{Config, Refusal, Upsert};
use session::{DeviceSpec, lane_of_eui};
use shard::{FromShard, Load, Mailbox, Report, ToShard};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest sleep of the loop: what is late is looked at this often.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Messages of the control plane that one turn of the loop obeys.
const INBOUND_PER_TURN_MAX: usize = 4;

/// How long an answer may take before it is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// One shard, as the control thread sees it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) mailbox: Mailbox,
    pub(crate) waker: uring::Waker,
}

/// A scrape waiting for every shard's report.
pub(crate) struct Scrape {
    pub(crate) answer: Sender<Scraped>,
}

/// What a scrape gets.
#[derive(Default)]
pub(crate) struct Scraped {
    /// In the order of shards.
    pub(crate) reports: Vec<Report>,
    /// What durable streams have, with their names, by number.
    pub(crate) retained: BTreeMap<u32, (String, Retained)>,
}

/// What the control thread is made of.
pub(crate) struct Parts {
    pub(crate) seats: Vec<Seat>,
    pub(crate) plan_log: PlanLog,
    pub(crate) keeper: Handle,
    pub(crate) inbound: Receiver<Inbound>,
    pub(crate) scrapes: Receiver<Scrape>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) slot_key: u32,
}

/// See the module.
pub(crate) struct Control {
    seats: Vec<Seat>,
    plan_log: PlanLog,
    keeper: Handle,
    inbound: Receiver<Inbound>,
    scrapes: Receiver<Scrape>,
    stop: Arc<AtomicBool>,
    slot_key: u32,
    config: Config,
    devices: Homes,
    gateways: HashSet<u64>,
    /// Those of them that found no room.
    waiting: Waiting,
    staged: Option<Staged>,
    link: Option<Link>,
    pending: HashMap<u64, (Instant, Pending)>,
    request_count: u64,
    scraping: Option<(Scrape, Vec<Report>, Instant)>,
    /// What durable streams have, as the keeper told it last.
    retained: BTreeMap<u32, Retained>,
    /// By shard.
    stopped: Vec<bool>,
    /// Everything in the logs of those that have stopped is stored.
    all_stored: bool,
}

/// A snapshot that is arriving.
struct Staged {
    revision: u64,
    config: Config,
    log: Staging,
    upserts: Vec<Upsert>,
    change_count: usize,
}

impl Control {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            stopped: vec![false; parts.seats.len()],
            all_stored: true,
            seats: parts.seats,
            plan_log: parts.plan_log,
            keeper: parts.keeper,
            inbound: parts.inbound,
            scrapes: parts.scrapes,
            stop: parts.stop,
            slot_key: parts.slot_key,
            config: Config::default(),
            devices: Homes::default(),
            gateways: HashSet::new(),
            waiting: Waiting::default(),
            staged: None,
            link: None,
            pending: HashMap::new(),
            request_count: 0,
            scraping: None,
            retained: BTreeMap::new(),
        }
    }

    /// Puts the stored plan and the stored sessions in force.
    ///
    /// # Errors
    /// When the stored plan or the journal cannot be read; nothing is served with half a plan, or counters that went back.
    pub(crate) fn restore(&mut self, kept: Kept<'_>) -> Result<(), NotRestored> {
        let mut stored = Stored::default();
        let mut log = self.plan_log.reader().map_err(NotRestored::Plan)?;
        let replayed = log.replay(|change| stored.take(change, self)).map_err(NotRestored::Plan)?;
        let (gateways, refused) = stored.finish(self);
        let session_count =
            self.restore_devices(kept.devices, &kept.cursors, &kept.catalog).map_err(NotRestored::Journal)?;
        if let Err(refusal) = self.load() {
            tracing::error!(%refusal, "the stored plan does not compile; waiting for the control plane");
        }
        self.restore_owed(kept.owed);
        for upsert in gateways {
            self.distribute(upsert);
        }
        self.mark(self.plan_log.revision);
        if replayed.change_count > 1000 && replayed.change_count > 2 * replayed.live_count {
            // A disk that is full keeps nobody from being served.
            if let Err(fault) = self.plan_log.compact() {
                tracing::warn!(%fault, "the stored plan could not be made shorter");
            }
        }
        tracing::info!(
            revision = self.plan_log.revision,
            devices = self.devices.len(),
            gateways = self.gateways.len(),
            sessions = session_count,
            refused,
            "stored plan in force"
        );
        Ok(())
    }

    /// Runs until told to stop and every shard has stopped. Says whether everything in their logs is stored.
    pub(crate) fn run(mut self) -> bool {
        let mut stopping = false;
        loop {
            self.drain_shards();
            if !stopping {
                self.drain_link();
                self.drain_scrapes();
            }
            self.drain_keeper();
            self.give_up_late();
            if self.stop.load(Ordering::Acquire) && !stopping {
                stopping = true;
                for target in 0..self.seats.len() {
                    self.push(target, ToShard::Stop);
                }
            }
            if self.stopped.iter().all(|stopped| *stopped) {
                break;
            }
            if stopping || self.inbound.is_empty() {
                thread::park_timeout(SLEEP_MAX);
            }
        }
        self.drain_shards();
        self.keeper.stop();
        self.all_stored
    }

    fn drain_link(&mut self) {
        // Not all of an import at once: sessions are to be synced meanwhile, and a stop is to be seen.
        for _ in 0..INBOUND_PER_TURN_MAX {
            let Ok(inbound) = self.inbound.try_recv() else { return };
            match inbound {
                Inbound::Opened(link) => {
                    if let Some(older) = self.link.replace(link) {
                        tracing::warn!("a newer control plane took the place of the older one");
                        older.close();
                    }
                    self.discard();
                }
                Inbound::Message(number, message) => {
                    if self.link.as_ref().is_some_and(|link| link.number == number) {
                        self.obey(*message);
                        // An answer of the shards must not wait for the rest of what was said.
                        self.drain_shards();
                    }
                }
                Inbound::Closed(number, reason) => {
                    if self.link.as_ref().is_some_and(|link| link.number == number) {
                        tracing::info!(reason, "the control plane is gone; serving from the stored plan");
                        self.link = None;
                        self.discard();
                    }
                }
            }
        }
    }

    fn obey(&mut self, message: v1::ToDataplane) {
        let request = message.request;
        match message.body {
            Some(Told::Hello(hello)) => self.greet(request, &hello),
            Some(Told::SnapshotBegin(begin)) => self.snapshot_begin(request, &begin),
            Some(Told::Apply(apply)) => {
                let revision = apply.revision;
                let outcome = if self.staged.is_some() { self.snapshot_part(&apply) } else { self.delta(&apply) };
                if let Err(refusal) = outcome {
                    // A snapshot that was refused in part is refused whole.
                    self.discard();
                    self.refuse(request, revision, &refusal);
                }
            }
            Some(Told::SnapshotEnd(end)) => {
                if let Err(refusal) = self.snapshot_end(&end) {
                    self.discard();
                    self.refuse(request, end.revision, &refusal);
                }
            }
            Some(Told::Query(query)) => self.query(request, &query),
            Some(Told::Enqueue(enqueue)) => self.enqueue(request, enqueue),
            Some(Told::Flush(flush)) => self.flush(request, flush.dev_eui),
            Some(Told::SeekGroup(seek)) => self.seek_group(request, seek),
            Some(Told::RemoveGroup(group)) => self.remove_group(request, &group),
            Some(Told::History(history)) => self.keeper.ask(Ask::History(request, history)),
            Some(Told::DeadLetters(letters)) => self.keeper.ask(Ask::DeadLetters(request, letters)),
            Some(Told::PutBack(put_back)) => self.keeper.ask(Ask::PutBack(request, put_back)),
            None => self.refuse(request, 0, &refusal("body", "is empty")),
        }
    }

    fn greet(&mut self, request: u64, hello: &v1::Hello) {
        if hello.major > contract::MAJOR {
            let reason = format!("this dataplane speaks {}.{}", contract::MAJOR, contract::MINOR);
            self.refuse(request, 0, &refusal("hello.major", &reason));
            // What it says next could mean something else in its version: it is not listened to.
            self.link = None;
            return;
        }
        tracing::info!(software = hello.software, "control plane connected");
        let answer = v1::Hello {
            major: contract::MAJOR,
            minor: contract::MINOR,
            software: concat!("trunkline-dataplane ", env!("CARGO_PKG_VERSION")).into(),
            store: self.plan_log.store,
            revision: self.plan_log.revision,
            shard_count: self.seats.len() as u32,
        };
        self.say(request, Said::Hello(answer));
        // What is in force already is said again, so that a control plane that restarted knows.
        self.mark(self.plan_log.revision);
    }

    /// Gives up a snapshot that is arriving, and the room that it took on the disk.
    fn discard(&mut self) {
        if let Some(staged) = self.staged.take() {
            staged.log.discard();
        }
    }

    fn snapshot_begin(&mut self, request: u64, begin: &v1::SnapshotBegin) {
        self.discard();
        match self.plan_log.stage(begin.store) {
            Ok(log) => {
                let (config, upserts) = (Config::default(), Vec::new());
                self.staged = Some(Staged { revision: begin.revision, config, log, upserts, change_count: 0 });
            }
            Err(error) => {
                tracing::error!(%error, "the stored plan cannot be written");
                self.refuse(request, begin.revision, &refusal("snapshot", &format!("cannot be stored: {error}")));
            }
        }
    }

    fn snapshot_part(&mut self, apply: &v1::Apply) -> Result<(), Refusal> {
        let staged = self.staged.as_mut().ok_or_else(|| refusal("snapshot", "has not begun"))?;
        staged.config = staged.config.apply(&apply.changes, &mut staged.upserts)?;
        staged.change_count += apply.changes.len();
        for change in &apply.changes {
            staged.log.push(change).map_err(|error| not_stored(&error))?;
        }
        Ok(())
    }

    fn snapshot_end(&mut self, end: &v1::SnapshotEnd) -> Result<(), Refusal> {
        let staged = self.staged.as_ref().ok_or_else(|| refusal("snapshot", "has not begun"))?;
        if end.revision != staged.revision {
            return Err(refusal("snapshot_end.revision", "is not that of snapshot_begin"));
        }
        staged.config.compile(end.revision)?;
        let staged = self.staged.take().expect("it was there");
        self.plan_log.adopt(staged.log, end.revision).map_err(|error| not_stored(&error))?;
        self.config = staged.config;
        self.load()?;
        let mut gone_devices = std::mem::take(&mut self.devices);
        let mut gone_gateways = std::mem::take(&mut self.gateways);
        for upsert in staged.upserts {
            match &upsert {
                Upsert::Device(device) => {
                    gone_devices.remove(device.dev_eui.to_u64());
                }
                Upsert::Gateway(gateway) => drop(gone_gateways.remove(&gateway.eui.to_u64())),
                Upsert::RemoveDevice(_) | Upsert::RemoveGateway(_) => {}
            }
            self.distribute(upsert);
        }
        for (eui, lane) in gone_devices.into_each() {
            // Where it lived is where there is room now.
            self.devices.insert(eui, lane);
            self.distribute(Upsert::RemoveDevice(Eui64::new(eui)));
        }
        for eui in gone_gateways {
            self.distribute(Upsert::RemoveGateway(Eui64::new(eui)));
        }
        self.mark(end.revision);
        tracing::info!(revision = end.revision, changes = staged.change_count, "snapshot in force");
        Ok(())
    }

    fn delta(&mut self, apply: &v1::Apply) -> Result<(), Refusal> {
        if apply.revision <= self.plan_log.revision {
            let reason = format!("must be greater than {}", self.plan_log.revision);
            return Err(refusal("apply.revision", &reason));
        }
        if self.plan_log.store == 0 {
            return Err(refusal("apply", "there is no snapshot yet to which it could be a change"));
        }
        let mut upserts = Vec::new();
        let config = self.config.apply(&apply.changes, &mut upserts)?;
        let structural = !config.same_tables(&self.config);
        if structural {
            config.compile(apply.revision)?;
        }
        self.plan_log.append(&apply.changes, apply.revision).map_err(|error| not_stored(&error))?;
        self.config = config;
        if structural {
            self.load()?;
        }
        for upsert in upserts {
            self.distribute(upsert);
        }
        self.mark(apply.revision);
        Ok(())
    }

    /// Compiles the configuration in force and gives every shard its copy.
    fn load(&mut self) -> Result<(), Refusal> {
        let plan = self.config.compile(self.plan_log.revision)?;
        for target in 0..self.seats.len() {
            self.push(target, ToShard::Load(Box::new(Load::new(plan.clone()))));
        }
        self.keeper.ask(Ask::Plan(Box::new(plan)));
        Ok(())
    }

    /// Sends a device to the shard in which it lives, and word of it to the one where its DevEUI is looked up.
    fn send_home(&mut self, device: DeviceSpec) {
        let home = self.shard_of_lane(device.home().0);
        let hashed = self.shard_of_lane(lane_of_eui(device.dev_eui).0);
        if hashed != home {
            self.push(hashed, ToShard::Upsert(Upsert::Device(device.clone())));
        }
        self.push(home, ToShard::Upsert(Upsert::Device(device)));
    }

    fn distribute(&mut self, upsert: Upsert) {
        match upsert {
            Upsert::Device(device) => {
                self.waiting.forget(Table::Devices, device.dev_eui.to_u64());
                self.devices.insert(device.dev_eui.to_u64(), device.home().0);
                self.send_home(device);
            }
            // Where an ABP device lives follows from its address, which a removal does not name: every shard looks.
            Upsert::RemoveDevice(eui) => {
                let lane = self.devices.remove(eui.to_u64());
                let waited = self.waiting.forget(Table::Devices, eui.to_u64());
                for target in 0..self.seats.len() {
                    self.push(target, ToShard::Upsert(Upsert::RemoveDevice(eui)));
                }
                if let Some(lane) = lane.filter(|_| !waited) {
                    self.try_again(self.shard_of_lane(lane), Table::Devices);
                }
            }
            Upsert::Gateway(gateway) => {
                self.waiting.forget(Table::Gateways, gateway.eui.to_u64());
                self.gateways.insert(gateway.eui.to_u64());
                self.push(self.shard_of_gateway(gateway.eui), ToShard::Upsert(Upsert::Gateway(gateway)));
            }
            Upsert::RemoveGateway(eui) => {
                self.gateways.remove(&eui.to_u64());
                let (waited, target) = (self.waiting.forget(Table::Gateways, eui.to_u64()), self.shard_of_gateway(eui));
                self.push(target, ToShard::Upsert(Upsert::RemoveGateway(eui)));
                if !waited {
                    self.try_again(target, Table::Gateways);
                }
            }
        }
    }

    /// A place became free there.
    fn try_again(&mut self, shard: usize, table: Table) {
        if let Some(upsert) = self.waiting.take(shard, table) {
            self.distribute(upsert);
        }
    }

    fn mark(&mut self, revision: u64) {
        for target in 0..self.seats.len() {
            self.push(target, ToShard::Mark(revision));
        }
    }

    fn shard_of_lane(&self, lane: u8) -> usize {
        shard::shard_of_lane(lane, self.seats.len())
    }

    fn shard_of_gateway(&self, eui: Eui64) -> usize {
        shard::shard_of_slot(driver::steering::slot_of(self.slot_key, eui), self.seats.len())
    }

    /// Puts a message into a shard's mailbox, making room by listening to the shards meanwhile. A shard that has stopped
    /// makes no room any more.
    fn push(&mut self, target: usize, message: ToShard) {
        let mut message = message;
        while !self.stopped[target] {
            match self.seats[target].mailbox.to.push(message) {
                Ok(()) => break,
                Err(back) => {
                    message = back;
                    self.seats[target].waker.wake();
                    self.drain_shards();
                    thread::yield_now();
                }
            }
        }
        self.seats[target].waker.wake();
    }

    fn query(&mut self, request: u64, query: &v1::Query) {
        let count = query.devices.len().max(query.gateways.len()).max(query.streams.len());
        if count > contract::QUERY_COUNT_MAX {
            self.refuse(request, 0, &refusal("query", "at most 1000 of each"));
            return;
        }
        // Mail is read in order: each of these is known to its shard by the time that it is asked, or has no room there.
        let devices = query.devices.iter().filter_map(|eui| Some((*eui, self.shard_of_lane(self.devices.get(*eui)?))));
        let gateways = query.gateways.iter().filter(|eui| self.gateways.contains(eui));
        let expected = Expected {
            devices: devices.collect(),
            gateways: gateways.map(|eui| (*eui, self.shard_of_gateway(Eui64::new(*eui)))).collect(),
        };
        let figures = query.journal.then(|| self.keeper.figures()).flatten();
        let number = self.begin(Pending::query(request, self.seats.len(), expected, figures));
        for target in 0..self.seats.len() {
            let euis = |list: &[u64]| list.iter().map(|eui| Eui64::new(*eui)).collect::<Vec<_>>();
            let mut part =
                shard::Query::new(number, euis(&query.devices), euis(&query.gateways), query.streams.clone());
            part.asks_journal = query.journal;
            self.push(target, ToShard::Query(Box::new(part)));
        }
    }

    fn enqueue(&mut self, request: u64, enqueue: v1::Enqueue) {
        let command = match answers::command(enqueue) {
            Ok(command) => command,
            Err(reason) => {
                self.say(request, Said::Enqueued(v1::Enqueued { id: 0, error: reason.into() }));
                return;
            }
        };
        let number = self.begin(Pending::command(request, self.seats.len()));
        for target in 0..self.seats.len() {
            let part = shard::CommandRequest { request: number, ..command.clone() };
            self.push(target, ToShard::Command(Box::new(part)));
        }
    }

    fn flush(&mut self, request: u64, dev_eui: u64) {
        let number = self.begin(Pending::flush(request, self.seats.len()));
        for target in 0..self.seats.len() {
            self.push(target, ToShard::Flush { request: number, dev_eui: Eui64::new(dev_eui) });
        }
    }

    fn begin(&mut self, pending: Pending) -> u64 {
        self.request_count += 1;
        self.pending.insert(self.request_count, (Instant::now(), pending));
        self.request_count
    }

    fn drain_shards(&mut self) {
        for source in 0..self.seats.len() {
            while let Some(message) = self.seats[source].mailbox.from.pop() {
                self.hear(source, message);
            }
        }
    }

    fn hear(&mut self, source: usize, message: FromShard) {
        match message {
            FromShard::Retired(load) => drop(load),
            FromShard::Acknowledged(revision) => {
                self.say(0, Said::Acknowledged(v1::Acknowledged { shard: source as u32, revision }));
            }
            FromShard::Queried(query) => self.merge(query.request, |pending| pending.take_query(&query)),
            FromShard::Commanded(command) => {
                self.merge(command.request, |pending| pending.take_command(command.outcome));
            }
            FromShard::GroupRemoved { request, outcome } => {
                self.merge(request, |pending| pending.take_group(outcome));
            }
            FromShard::Flushed { request, count } => self.merge(request, |pending| pending.take_flush(count)),
            FromShard::Reported(report) => {
                if let Some((_, reports, _)) = &mut self.scraping {
                    reports.push(*report);
                } else {
                    tracing::warn!(shard = source, "a report came too late for its scrape");
                }
                self.finish_scrape(false);
            }
            FromShard::UpsertFull(upsert) => self.no_room(source, upsert),
            FromShard::Moved { dev_eui, before } => {
                let target = self.shard_of_lane(before.0);
                // It may have moved back since the shard said so.
                let lanes = [self.devices.get(dev_eui.to_u64()), Some(lane_of_eui(dev_eui).0)];
                if lanes.into_iter().flatten().all(|lane| self.shard_of_lane(lane) != target) {
                    self.push(target, ToShard::Upsert(Upsert::RemoveDevice(dev_eui)));
                    self.try_again(target, Table::Devices);
                }
            }
            FromShard::Find { session, stream, id } => {
                self.keeper.ask(Ask::Find(Whom::Session(source, session), stream, id.text().into()));
            }
            FromShard::MakeSegment(wanted) => self.keeper.ask(Ask::Make(source, wanted)),
            FromShard::Sealed(info) => self.keeper.ask(Ask::Sealed(info)),
            FromShard::Damaged { name, from, until } => {
                tracing::error!(segment = %name, from, until, "a part of the journal is damaged and was passed over");
            }
            FromShard::CatalogRetired(_)
            | FromShard::CursorsTaken(_)
            | FromShard::SessionsTaken(_)
            | FromShard::Restored(_) => {}
            FromShard::Happened(happened) => self.tell(answers::happened(&happened)),
            FromShard::Stopped { stored } => {
                self.stopped[source] = true;
                self.all_stored &= stored;
            }
        }
    }

    /// Events are told as long as the control plane keeps up.
    fn tell(&mut self, happened: v1::Happened) {
        if self.link.as_ref().is_some_and(|link| !link.crowded()) {
            self.say(0, Said::Happened(happened));
        }
    }

    /// What is configured and not in force is said, and kept for when there is room.
    fn no_room(&mut self, shard: usize, upsert: Upsert) {
        let happened = answers::no_room(shard, &upsert);
        let (dev_eui, gateway) = (Eui64::new(happened.dev_eui), Eui64::new(happened.gateway));
        tracing::error!(%dev_eui, %gateway, shard, "no room: raise --devices-max or --gateways-max");
        self.tell(happened);
        // It may have been removed or changed since it was sent; what was sent later has its own answer.
        let is_configured = match &upsert {
            Upsert::Device(device) => self.devices.get(device.dev_eui.to_u64()) == Some(device.home().0),
            Upsert::Gateway(gateway) => self.gateways.contains(&gateway.eui.to_u64()),
            Upsert::RemoveDevice(_) | Upsert::RemoveGateway(_) => false,
        };
        if is_configured {
            self.waiting.push(shard, upsert);
        }
    }

    /// Adds one shard's part to a pending answer, and gives the answer when it is whole.
    fn merge(&mut self, number: u64, take: impl FnOnce(&mut Pending)) {
        let Some((_, pending)) = self.pending.get_mut(&number) else { return };
        take(pending);
        if pending.is_whole() {
            let (_, mut pending) = self.pending.remove(&number).expect("it was there");
            pending.add_those_without_room(&self.waiting);
            pending.add_retained(&self.retained, &self.config);
            let (request, body) = pending.answer();
            self.say(request, body);
        }
    }

    fn give_up_late(&mut self) {
        let late: Vec<u64> = (self.pending.iter())
            .filter(|(_, (since, _))| since.elapsed() > ANSWER_TIMEOUT)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let (_, pending) = self.pending.remove(&number).expect("it was there");
            tracing::warn!("a shard did not answer in time; the answer is partial");
            let (request, body) = pending.answer();
            self.say(request, body);
        }
        if self.scraping.as_ref().is_some_and(|(_, _, since)| since.elapsed() > ANSWER_TIMEOUT) {
            self.finish_scrape(true);
        }
    }

    fn drain_scrapes(&mut self) {
        while self.scraping.is_none() {
            let Ok(scrape) = self.scrapes.try_recv() else { return };
            self.scraping = Some((scrape, Vec::new(), Instant::now()));
            for target in 0..self.seats.len() {
                self.push(target, ToShard::Report(Box::default()));
            }
        }
    }

    fn finish_scrape(&mut self, partial: bool) {
        let whole = self.scraping.as_ref().is_some_and(|(_, reports, _)| reports.len() == self.seats.len());
        if (whole || partial)
            && let Some((scrape, mut reports, _)) = self.scraping.take()
        {
            reports.sort_by_key(|report| report.shard);
            // The scraper may have gone away.
            let named =
                |(id, retained): (&u32, &Retained)| Some((*id, (self.config.stream(*id)?.name.to_string(), *retained)));
            let retained = self.retained.iter().filter_map(named).collect();
            let _answered = scrape.answer.send(Scraped { reports, retained });
        }
    }

    fn refuse(&mut self, request: u64, revision: u64, refusal: &Refusal) {
        tracing::warn!(%refusal, "the control plane was refused");
        let (field, reason) = (refusal.field.clone(), refusal.reason.clone());
        self.say(request, Said::Refused(v1::Refused { field, reason, revision }));
    }

    fn say(&mut self, request: u64, body: Said) {
        if let Some(link) = &self.link {
            link.send(&v1::FromDataplane { request, body: Some(body) });
        }
    }
}

/// Applies as many of the changes as can be, all at once if they are consistent: each application copies the tables.
/// Returns how many could not.
pub(crate) fn apply_what_can_be(config: &mut Config, changes: &[v1::Change], upserts: &mut Vec<Upsert>) -> usize {
    let kept = upserts.len();
    match config.apply(changes, upserts) {
        Ok(next) => {
            *config = next;
            0
        }
        Err(refusal) => {
            upserts.truncate(kept);
            if changes.len() == 1 {
                tracing::warn!(%refusal, "a stored change is not in force");
                return 1;
            }
            let (first, second) = changes.split_at(changes.len() / 2);
            apply_what_can_be(config, first, upserts) + apply_what_can_be(config, second, upserts)
        }
    }
}

fn refusal(field: &str, reason: &str) -> Refusal {
    Refusal { field: field.into(), reason: reason.into() }
}

fn not_stored(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "the stored plan cannot be written");
    refusal("store", &format!("the dataplane cannot store it: {error}"))
}

#[cfg(test)]
mod tests;
