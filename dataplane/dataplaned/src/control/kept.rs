//! The control thread and the journal: what was kept goes to the shards at start, and what the keeper says goes on.

use super::{Control, Said};
use crate::answers::Pending;
use crate::keeping::{Ask, Told, Whom};
use base::UnixMicros;
use contract::v1;
use files::Directory;
use journal::{Cursors, LANE_COUNT};
use keeper::{Fault, Keeper, Recovered};
use session::{DeviceState, KeptDownlink, lane_of_addr, lane_of_eui};
use shard::{From, Group, NotFound, ToShard};

/// What an earlier run left.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) states: Vec<DeviceState>,
    pub(super) cursors: Vec<(u32, Group, Cursors)>,
    /// Lane, and an event's bytes.
    pub(super) owed: Vec<(u8, Vec<u8>)>,
}

impl Kept {
    /// Reads it.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn read(keeper: &Keeper<Directory>, mut recovered: Recovered) -> Result<Self, Fault> {
        let mut kept = Self::default();
        for lane in 0..LANE_COUNT {
            keeper.recover_lane(&mut recovered, lane, |state| kept.states.push(state))?;
        }
        let globals = recovered.globals();
        kept.cursors = (globals.cursors.iter())
            .filter_map(|((stream, group), cursors)| Some((*stream, Group::from_bytes(group)?, cursors.clone())))
            .collect();
        kept.owed = globals.owed.values().cloned().collect();
        let counts = recovered.counts;
        tracing::info!(
            epoch = recovered.epoch,
            segments = counts.segments,
            records = counts.records,
            devices = kept.states.len(),
            groups = kept.cursors.len(),
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
        Ok(kept)
    }
}

impl Control {
    /// Gives the shards what was kept of their devices, and where groups of consumers were.
    pub(super) fn restore_devices(&mut self, kept: &mut Kept) -> usize {
        let states = std::mem::take(&mut kept.states);
        let count = states.len();
        for state in states {
            let dev_eui = match (&state.record, state.queue.first()) {
                (Some(record), _) => record.dev_eui,
                (None, Some(downlink)) => match KeptDownlink::parse(downlink) {
                    Some(downlink) => downlink.dev_eui,
                    None => continue,
                },
                (None, None) => continue,
            };
            let lane = match state.record.as_ref().map(|record| (record.root, record.session)) {
                Some((0, Some(session))) => lane_of_addr(session.dev_addr),
                _ => lane_of_eui(dev_eui),
            };
            let target = self.shard_of_lane(lane.0);
            if let Some(record) = state.record {
                self.push(target, ToShard::Restore(record));
            }
            for downlink in state.queue {
                self.push(target, ToShard::RestoreDownlink(downlink.into()));
            }
        }
        for target in 0..self.seats.len() {
            self.push(target, ToShard::Cursors(Box::new(kept.cursors.clone())));
        }
        count
    }

    /// Best copies that were promised to durable streams when the last run ended.
    pub(super) fn restore_owed(&mut self, kept: &mut Kept) {
        for (lane, event) in std::mem::take(&mut kept.owed) {
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
