//! Answers that are put together from every shard's part, and the contract's spelling of what shards say.

use crate::keeping::Figures;
use crate::waiting::{Table, Waiting};
use base::UnixMicros;
use contract::v1;
use contract::v1::from_dataplane::Body;
use keeper::Retained;
use plan::{Config, Upsert};
use shard::{GroupRefused, Happened, Query, Refused};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// An answer that waits for shards.
pub(crate) struct Pending {
    request: u64,
    missing: usize,
    so_far: SoFar,
}

/// Of what was asked, what is configured, and the shard that should have it.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) devices: BTreeMap<u64, usize>,
    pub(crate) gateways: BTreeMap<u64, usize>,
}

enum SoFar {
    Query {
        answer: v1::Answer,
        streams: BTreeMap<u32, v1::StreamState>,
        figures: Option<Figures>,
        expected: Expected,
    },
    /// The one shard where the device lives accepts or refuses; the others do not know it.
    Command(Result<u64, Refused>),
    Flush(u32),
    /// Forgotten by all, and known to some: what the first says that did not, or whether any knew it.
    Group(Result<bool, GroupRefused>),
}

impl Pending {
    fn new(request: u64, shard_count: usize, so_far: SoFar) -> Self {
        Self { request, missing: shard_count, so_far }
    }

    /// `figures` are of the journal, if it was asked for: its files are shared by all shards.
    pub(crate) fn query(request: u64, shard_count: usize, expected: Expected, figures: Option<Figures>) -> Self {
        let (answer, streams) = (v1::Answer::default(), BTreeMap::new());
        Self::new(request, shard_count, SoFar::Query { answer, streams, expected, figures })
    }

    pub(crate) fn command(request: u64, shard_count: usize) -> Self {
        Self::new(request, shard_count, SoFar::Command(Err(Refused::UnknownDevice)))
    }

    pub(crate) fn flush(request: u64, shard_count: usize) -> Self {
        Self::new(request, shard_count, SoFar::Flush(0))
    }

    pub(crate) fn group(request: u64, shard_count: usize) -> Self {
        Self::new(request, shard_count, SoFar::Group(Ok(false)))
    }

    pub(crate) fn take_group(&mut self, outcome: Result<bool, GroupRefused>) {
        self.missing -= 1;
        if let SoFar::Group(so_far) = &mut self.so_far {
            *so_far = match (*so_far, outcome) {
                (Ok(before), Ok(known)) => Ok(before || known),
                (Err(GroupRefused::InUse), _) | (_, Err(GroupRefused::InUse)) => Err(GroupRefused::InUse),
                _ => Err(GroupRefused::NotKept),
            };
        }
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.missing == 0
    }

    pub(crate) fn take_command(&mut self, outcome: Result<u64, Refused>) {
        self.missing -= 1;
        if let SoFar::Command(so_far) = &mut self.so_far
            && outcome != Err(Refused::UnknownDevice)
        {
            *so_far = outcome;
        }
    }

    pub(crate) fn take_flush(&mut self, count: u32) {
        self.missing -= 1;
        if let SoFar::Flush(so_far) = &mut self.so_far {
            *so_far += count;
        }
    }

    pub(crate) fn take_query(&mut self, part: &Query) {
        self.missing -= 1;
        let SoFar::Query { answer, streams, figures, .. } = &mut self.so_far else { return };
        answer.devices.extend(part.device_answers.iter().map(device));
        answer.gateways.extend(part.gateway_answers.iter().map(|gateway| v1::GatewayState {
            eui: gateway.eui.to_u64(),
            online: gateway.online,
            last_seen_us: gateway.last_seen.0,
            address: gateway.address.map(|address| address.to_string()).unwrap_or_default(),
            shard: part.shard as u32,
            status: String::from_utf8_lossy(&gateway.status[..usize::from(gateway.status_bytes)]).into_owned(),
            uplinks: gateway.uplinks,
            downlinks: gateway.downlinks,
            no_room: None,
        }));
        for stream in &part.stream_answers {
            let state =
                streams.entry(stream.id).or_insert_with(|| v1::StreamState { id: stream.id, ..Default::default() });
            state.delivered += stream.delivered;
            state.delivered_bytes += stream.delivered_bytes;
            state.downlinks += stream.downlinks;
            state.not_stored += stream.not_stored;
            for (reason, count) in [
                ("queue_full", stream.dropped_queue_full),
                ("pool_exhausted", stream.dropped_pool_exhausted),
                ("template_no_room", stream.dropped_no_room),
            ] {
                *state.drops.entry(reason.into()).or_default() += count;
            }
        }
        for group in &part.group_answers {
            let Some(state) = streams.get_mut(&group.stream) else { continue };
            let name = group.group.name();
            if state.groups.iter().all(|known| known.group != name) {
                state.groups.push(v1::GroupState { group: name.into(), ..Default::default() });
            }
            let known = state.groups.iter_mut().find(|known| known.group == name).expect("just added");
            known.in_flight += group.in_flight;
            known.lag_bytes += group.lag_bytes;
            known.redelivered += group.redelivered;
            known.dead_letters += group.dead;
            // Every shard knows all sessions.
            known.sessions = known.sessions.max(group.sessions);
        }
        if let Some(journal) = &part.journal_answer {
            let figures = figures.unwrap_or_default();
            answer.journal.push(v1::JournalState {
                shard: part.shard as u32,
                disk: disk(journal.trouble).into(),
                bytes: figures.bytes,
                free_bytes: figures.free_bytes,
                segments: figures.segments as u32,
                stored_records: journal.records,
                stored_bytes: journal.bytes,
                failed_writes: journal.failures,
                corrupt_records: figures.corrupt,
                detail: journal.trouble.map(|trouble| trouble.detail().into()).unwrap_or_default(),
            });
        }
        for connection in &part.connection_answers {
            if let Some(state) = streams.get_mut(&connection.stream) {
                state.connections.push(v1::StreamConnection {
                    shard: part.shard as u32,
                    peer: connection.peer.to_string(),
                    since_us: connection.since.0,
                    delivered: connection.delivered,
                    dropped: connection.dropped,
                    queued_bytes: u64::from(connection.queued_bytes),
                });
            }
        }
    }

    /// Says of whatever is configured and not in force that its shard has no room. Every shard has answered.
    pub(crate) fn add_those_without_room(&mut self, waiting: &Waiting) {
        let SoFar::Query { answer, expected, .. } = &mut self.so_far else { return };
        for device in &mut answer.devices {
            expected.devices.remove(&device.dev_eui);
            // An old place in one shard is no room in another.
            device.no_room = waiting.shard(Table::Devices, device.dev_eui).map(|shard| shard as u32);
        }
        for gateway in &answer.gateways {
            expected.gateways.remove(&gateway.eui);
        }
        let devices = expected.devices.iter().map(|(eui, shard)| v1::DeviceState {
            dev_eui: *eui,
            no_room: Some(*shard as u32),
            ..Default::default()
        });
        answer.devices.extend(devices);
        let gateways = expected.gateways.iter().map(|(eui, shard)| v1::GatewayState {
            eui: *eui,
            shard: *shard as u32,
            no_room: Some(*shard as u32),
            ..Default::default()
        });
        answer.gateways.extend(gateways);
    }

    /// Says of durable streams what is kept, and what is to be.
    pub(crate) fn add_retained(&mut self, retained: &BTreeMap<u32, Retained>, config: &Config) {
        let SoFar::Query { streams, .. } = &mut self.so_far else { return };
        for (id, state) in streams {
            if let Some(durable) = config.stream(*id).and_then(|stream| stream.delivery.durable()) {
                state.retention_s = durable.retention.as_secs() as u32;
                state.retention_bytes = durable.retention_bytes;
            }
            if let Some(retained) = retained.get(id) {
                state.retained_messages = retained.messages;
                state.retained_bytes = retained.bytes;
                state.retained_oldest_us = retained.oldest.unwrap_or_default().0;
            }
        }
    }

    /// The answer as far as it came, and whom it answers.
    pub(crate) fn answer(self) -> (u64, Body) {
        let body = match self.so_far {
            SoFar::Query { mut answer, streams, .. } => {
                answer.streams = streams.into_values().collect();
                Body::Answer(answer)
            }
            SoFar::Command(Ok(id)) => Body::Enqueued(v1::Enqueued { id, error: String::new() }),
            SoFar::Command(Err(refused)) => Body::Enqueued(v1::Enqueued { id: 0, error: refused.name().into() }),
            SoFar::Flush(count) => Body::Flushed(v1::Flushed { count }),
            SoFar::Group(outcome) => {
                let error = match outcome {
                    Err(GroupRefused::InUse) => "in_use",
                    // A shard that has not answered may have stored it or not.
                    Err(GroupRefused::NotKept) | Ok(_) if self.missing > 0 => "unavailable",
                    Err(GroupRefused::NotKept) => "unavailable",
                    Ok(false) => "unknown_group",
                    Ok(true) => "",
                };
                Body::GroupMoved(v1::GroupMoved { error: error.into() })
            }
        };
        (self.request, body)
    }
}

const fn disk(trouble: Option<shard::Trouble>) -> v1::journal_state::Disk {
    use v1::journal_state::Disk;
    match trouble {
        None => Disk::Healthy,
        Some(shard::Trouble::Full) => Disk::Full,
        Some(shard::Trouble::Failing) => Disk::Failing,
        Some(shard::Trouble::ReadOnly) => Disk::ReadOnly,
    }
}

fn device(answer: &shard::DeviceAnswer) -> v1::DeviceState {
    v1::DeviceState {
        dev_eui: answer.dev_eui.to_u64(),
        active: answer.active,
        dev_addr: answer.dev_addr,
        session: answer.session,
        fcnt_up: answer.fcnt_up,
        fcnt_down: answer.fcnt_down,
        last_seen_us: answer.last_seen.0,
        gateway: answer.gateway.to_u64(),
        rssi_deci: i32::from(answer.rssi_deci),
        snr_deci: i32::from(answer.snr_deci),
        queue: (answer.queue.iter().flatten())
            .map(|queued| v1::QueuedDownlink {
                id: queued.id,
                fport: u32::from(queued.fport),
                confirmed: queued.confirmed,
                payload: queued.payload[..usize::from(queued.payload_bytes)].to_vec(),
                attempts: u32::from(queued.attempts),
            })
            .collect(),
        no_room: None,
    }
}

/// A downlink from the contract, or the reason why it cannot be one.
pub(crate) fn command(enqueue: v1::Enqueue) -> Result<shard::CommandRequest, &'static str> {
    if enqueue.payload.len() > session::PAYLOAD_BYTES_MAX {
        return Err(Refused::TooLong.name());
    }
    Ok(shard::CommandRequest {
        request: 0,
        dev_eui: base::Eui64::new(enqueue.dev_eui),
        fport: u8::try_from(enqueue.fport).map_err(|_| Refused::BadPort.name())?,
        confirmed: enqueue.confirmed,
        payload: enqueue.payload,
        expires: (enqueue.expires_us != 0).then_some(UnixMicros(enqueue.expires_us)),
        outcome: Err(Refused::UnknownDevice),
    })
}

/// An operational event in the contract's words.
pub(crate) fn happened(happened: &Happened) -> v1::Happened {
    v1::Happened {
        kind: happened.what.name().into(),
        at_us: happened.at.0,
        tenant: happened.tenant,
        application: happened.application,
        dev_eui: happened.dev_eui.to_u64(),
        gateway: happened.gateway.to_u64(),
        stream: happened.stream,
        detail: happened.failure.map(|failure| failure.name()).unwrap_or_default().into(),
        shard: None,
    }
}

/// The event that a device or gateway found no room.
pub(crate) fn no_room(shard: usize, upsert: &Upsert) -> v1::Happened {
    let at_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let event = |option: &str| v1::Happened {
        kind: "no_room".into(),
        at_us,
        detail: format!("shard {shard} is full: stored, and not in force; the dataplane wants a greater {option}"),
        shard: Some(shard as u32),
        ..Default::default()
    };
    match upsert {
        Upsert::Device(device) => v1::Happened {
            tenant: device.tenant,
            application: device.application,
            dev_eui: device.dev_eui.to_u64(),
            ..event("--devices-max")
        },
        Upsert::RemoveDevice(eui) => v1::Happened { dev_eui: eui.to_u64(), ..event("--devices-max") },
        Upsert::Gateway(gateway) => {
            v1::Happened { tenant: gateway.tenant, gateway: gateway.eui.to_u64(), ..event("--gateways-max") }
        }
        Upsert::RemoveGateway(eui) => v1::Happened { gateway: eui.to_u64(), ..event("--gateways-max") },
    }
}
