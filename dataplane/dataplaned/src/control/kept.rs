//! The control thread and the journal: what was kept goes to the shards at start, and what the keeper says goes on.

use super::{Control, Said, Seat, apply_what_can_be};
use crate::answers::Pending;
use crate::homes::{self, Homes};
use crate::keeping::{Ask, Ends, Told, Whom};
use crate::plan_log;
use base::UnixMicros;
use contract::v1;
use files::Directory;
use journal::{Catalog, Cursors, LANE_COUNT};
use keeper::{Fault, Keeper, Recovered};
use plan::Upsert;
use session::{DeviceState, KeptDownlink, Lane, SessionRecord, lane_of_addr, lane_of_eui};
use shard::{From, Group, NotFound, ToShard};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long a reader waits when sessions are ahead of a shard. It takes a thousand of them in a millisecond.
const FULL_SLEEP: Duration = Duration::from_micros(200);

/// Messages that readers leave in a mailbox: each may carry a batch of sessions, which takes memory.
const WAITING_COUNT_MAX: usize = 64;

/// Stored changes that are put in force at once: each time the tables are copied.
const STORED_COUNT: usize = 32_768;

/// How often the control thread hears the shards while readers give them what was kept.
const HEAR_INTERVAL: Duration = Duration::from_millis(1);

/// Takes the states of some devices.
type Each<'a> = &'a (dyn Fn(Vec<DeviceState>) + Sync);

/// Gives the states of all devices to its argument, from several threads at once, in no order.
type Devices<'a> = dyn FnOnce(Each<'_>) -> Result<(), Fault> + Send + 'a;

/// What an earlier run left.
pub(crate) struct Kept<'a> {
    /// Never held in memory: ten million of them would need as much again as the tables of the shards.
    pub(super) devices: Box<Devices<'a>>,
    pub(super) cursors: Vec<(u32, Group, Cursors)>,
    pub(super) catalog: Catalog,
    /// Lane, and an event's bytes.
    pub(super) owed: Vec<(u8, Vec<u8>)>,
}

/// Why the last run's end could not be gone on from.
#[derive(Debug)]
pub(crate) enum NotRestored {
    Plan(plan_log::Fault),
    Journal(Fault),
}

impl fmt::Display for NotRestored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(fault) => write!(out, "stored plan: {fault}"),
            Self::Journal(fault) => write!(out, "journal: {fault}"),
        }
    }
}

impl<'a> Kept<'a> {
    /// What recovery has found. Devices are read when they are asked for.
    pub(crate) fn new(keeper: &'a Keeper<Directory>, mut recovered: Recovered) -> Self {
        let globals = recovered.globals();
        let cursors = (globals.cursors.iter())
            .filter_map(|((stream, group), cursors)| Some((*stream, Group::from_bytes(group)?, cursors.clone())))
            .collect();
        let owed = globals.owed.values().cloned().collect();
        let catalog = keeper.catalog().clone();
        let devices = move |each: Each<'_>| {
            let thread_count = thread::available_parallelism().map_or(1, usize::from).min(usize::from(LANE_COUNT));
            keeper.recover_lanes(&mut recovered, thread_count, each)?;
            say(&recovered);
            Ok(())
        };
        Self { devices: Box::new(devices), cursors, catalog, owed }
    }
}

fn say(recovered: &Recovered) {
    let counts = recovered.counts;
    let groups = recovered.globals().cursors.len();
    tracing::info!(
        epoch = recovered.epoch,
        segments = counts.segments,
        records = counts.records,
        carried = counts.carried,
        groups,
        "journal"
    );
    if counts.corrupt + counts.foreign + counts.gaps + counts.unknown > 0 {
        tracing::error!(
            corrupt = counts.corrupt,
            foreign = counts.foreign,
            gaps = counts.gaps,
            unknown = counts.unknown,
            "parts of the journal cannot be read and were passed over"
        );
    }
}

/// The stored plan on its way to the shards, some changes at a time: ten million devices in one piece are gigabytes.
#[derive(Default)]
pub(super) struct Stored {
    changes: Vec<v1::Change>,
    upserts: Vec<Upsert>,
    /// Frames are taken last: not before every device has the counters that it had, lest an old frame pass for a new one.
    gateways: Vec<Upsert>,
    devices: Vec<u64>,
    /// The lanes of those that do not live where their DevEUI says.
    elsewhere: BTreeMap<u64, u8>,
    refused: usize,
}

impl Stored {
    /// Takes the next change.
    pub(super) fn take(&mut self, change: v1::Change, control: &mut Control) {
        self.changes.push(change);
        if self.changes.len() == STORED_COUNT {
            self.apply(control);
        }
    }

    /// All were taken. The gateways, and how many changes could not be put in force.
    pub(super) fn finish(mut self, control: &mut Control) -> (Vec<Upsert>, usize) {
        self.apply(control);
        control.devices = Homes::new(self.devices, self.elsewhere);
        (self.gateways, self.refused)
    }

    fn apply(&mut self, control: &mut Control) {
        self.refused += apply_what_can_be(&mut control.config, &self.changes, &mut self.upserts);
        self.changes.clear();
        for upsert in self.upserts.drain(..) {
            // Of each device and gateway there is one change, the last, and it removes nothing.
            match upsert {
                Upsert::Device(device) => {
                    let (eui, lane) = (device.dev_eui.to_u64(), device.home().0);
                    self.devices.push(eui);
                    if !homes::follows(eui, lane) {
                        self.elsewhere.insert(eui, lane);
                    }
                    control.send_home(device);
                }
                other => self.gateways.push(other),
            }
        }
    }
}

impl Control {
    /// Gives the shards what was kept of their devices, and where groups of consumers were. Says of how many devices.
    pub(super) fn restore_devices(
        &mut self,
        devices: Box<Devices<'_>>,
        cursors: &[(u32, Group, Cursors)],
        catalog: &Catalog,
    ) -> Result<usize, Fault> {
        let seats = self.seats.clone();
        let count = AtomicUsize::new(0);
        let each = |states| {
            count.fetch_add(give(&seats, states), Ordering::Relaxed);
        };
        thread::scope(|scope| {
            let reading = scope.spawn(|| devices(&each));
            // A shard whose answers find no room reads no mail.
            while !reading.is_finished() {
                self.drain_shards();
                thread::park_timeout(HEAR_INTERVAL);
            }
            reading.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        for target in 0..self.seats.len() {
            // Before any consumer can come: what a shard knows no segments of it takes for delivered.
            self.push(target, ToShard::Catalog(Box::new(catalog.clone())));
            self.push(target, ToShard::Cursors(Box::new(cursors.to_vec())));
        }
        Ok(count.into_inner())
    }

    /// Starts the keeper's thread, once its keeper has read what it kept.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn start_keeper(
        &mut self,
        keeper: Keeper<Directory>,
        ends: Ends,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<()> {
        self.keeper.start(keeper, ends, notify)
    }

    /// Best copies that were promised to durable streams when the last run ended.
    pub(super) fn restore_owed(&mut self, owed: Vec<(u8, Vec<u8>)>) {
        for (lane, event) in owed {
            let target = self.shard_of_lane(lane);
            self.push(target, ToShard::Owed(event.into()));
        }
    }

    pub(super) fn drain_keeper(&mut self) {
        while let Ok(told) = self.keeper.told.try_recv() {
            match told {
                Told::Made(shard, name) => self.push(shard, ToShard::SegmentMade(name)),
                Told::NotMade(shard, trouble) => self.push(shard, ToShard::SegmentNotMade(trouble)),
                Told::Catalog(catalog) => {
                    for target in 0..self.seats.len() {
                        self.push(target, ToShard::Catalog(Box::new(catalog.clone())));
                    }
                }
                Told::Retained(retained) => self.retained = retained,
                Told::Answer(request, body) => self.say(request, *body),
                Told::PutBack(lane, tenant, body) => {
                    let target = self.shard_of_lane(lane);
                    self.push(target, ToShard::PutBack { lane, tenant, body: body.into() });
                }
                Told::Found(Whom::Group(request, seek), found) => match found {
                    Ok(at) => self.move_group(request, &seek, From::Time(at)),
                    Err(NotFound::Unknown) => self.moved(request, "unknown_id"),
                    Err(NotFound::Busy) => self.moved(request, "unavailable"),
                },
                Told::Found(Whom::Session(shard, session), found) => {
                    self.push(shard, ToShard::Found { session, from: found.map(From::Time) });
                }
            }
        }
    }

    /// Where a group goes on. An Id is looked up by the keeper first.
    pub(super) fn seek_group(&mut self, request: u64, seek: v1::SeekGroup) {
        use v1::seek_group::To;
        let from = match seek.to {
            Some(To::Earliest(_)) => From::Earliest,
            Some(To::Latest(_)) => From::Latest,
            Some(To::TimeUs(at)) => From::Time(UnixMicros(at)),
            Some(To::Id(ref id)) => {
                let (stream, id) = (seek.stream, id.clone());
                return self.keeper.ask(Ask::Find(Whom::Group(request, Box::new(seek)), stream, id));
            }
            None => return self.moved(request, "unknown_id"),
        };
        self.move_group(request, &seek, from);
    }

    fn move_group(&mut self, request: u64, seek: &v1::SeekGroup, from: From) {
        let Some(group) = Group::new(&seek.group) else { return self.moved(request, "unknown_group") };
        match self.durable(seek.stream) {
            Ok(()) => {
                for target in 0..self.seats.len() {
                    self.push(target, ToShard::Seek { stream: seek.stream, group, from });
                }
                self.moved(request, "");
            }
            Err(reason) => self.moved(request, reason),
        }
    }

    pub(super) fn remove_group(&mut self, request: u64, asked: &v1::RemoveGroup) {
        let Some(group) = Group::new(&asked.group) else { return self.moved(request, "unknown_group") };
        match self.durable(asked.stream) {
            Ok(()) => {
                let number = self.begin(Pending::group(request, self.seats.len()));
                for target in 0..self.seats.len() {
                    self.push(target, ToShard::RemoveGroup { request: number, stream: asked.stream, group });
                }
            }
            Err(reason) => self.moved(request, reason),
        }
    }

    fn moved(&mut self, request: u64, error: &str) {
        self.say(request, Said::GroupMoved(v1::GroupMoved { error: error.into() }));
    }

    fn durable(&self, stream: u32) -> Result<(), &'static str> {
        match self.config.stream(stream) {
            None => Err("unknown_stream"),
            Some(stream) if stream.delivery.durable().is_none() => Err("not_durable"),
            Some(_) => Ok(()),
        }
    }
}

/// Gives the states of devices to the shards in which they live. Says of how many.
fn give(seats: &[Seat], states: Vec<DeviceState>) -> usize {
    // Nearly always all of one lane, so of one shard.
    let mut sessions: Vec<Vec<SessionRecord>> = vec![Vec::new(); seats.len()];
    let mut downlinks = Vec::new();
    let count_max = states.len();
    let mut count = 0;
    for state in states {
        let Some(lane) = lane_of(&state) else { continue };
        let target = shard::shard_of_lane(lane.0, seats.len());
        count += 1;
        if let Some(record) = state.record {
            if sessions[target].is_empty() {
                sessions[target] = Vec::with_capacity(count_max);
            }
            sessions[target].push(record);
        }
        downlinks.extend(state.queue.into_iter().map(|downlink| (target, downlink)));
    }
    for (seat, sessions) in seats.iter().zip(sessions).filter(|(_, sessions)| !sessions.is_empty()) {
        post(seat, ToShard::Restore(sessions));
    }
    for (target, downlink) in downlinks {
        post(&seats[target], ToShard::RestoreDownlink(downlink.into()));
    }
    count
}

/// Where a device lives. `None` if it is nobody's.
fn lane_of(state: &DeviceState) -> Option<Lane> {
    Some(match &state.record {
        Some(record) => match record.session {
            Some(session) if record.root == 0 => lane_of_addr(session.dev_addr),
            _ => lane_of_eui(record.dev_eui),
        },
        None => lane_of_eui(KeptDownlink::parse(state.queue.first()?)?.dev_eui),
    })
}

/// Puts a message into a shard's mailbox, as soon as there is room. Shards do not stop before serving.
fn post(seat: &Seat, message: ToShard) {
    let mut message = message;
    loop {
        if seat.mailbox.to.len() < WAITING_COUNT_MAX {
            match seat.mailbox.to.push(message) {
                Ok(()) => break,
                Err(back) => message = back,
            }
        }
        seat.waker.wake();
        thread::sleep(FULL_SLEEP);
    }
    seat.waker.wake();
}
