//! Between the API's words and the contract's.

use api::dataplane as said;
use base::Eui64;
use contract::v1;
use push::{AskError, Phase, Status};

pub(crate) fn enqueue(downlink: said::Enqueue) -> v1::Enqueue {
    v1::Enqueue {
        dev_eui: downlink.dev_eui.to_u64(),
        fport: downlink.fport.into(),
        confirmed: downlink.confirmed,
        payload: downlink.payload,
        expires_us: downlink.expires_us,
    }
}

pub(crate) fn queued(enqueued: v1::Enqueued) -> said::Queued {
    if enqueued.error.is_empty() { said::Queued::Accepted(enqueued.id) } else { said::Queued::Rejected(enqueued.error) }
}

/// Splits a question into ones that a message may carry. An empty question is none at all.
pub(crate) fn queries(query: &said::Query) -> Vec<v1::Query> {
    const MAX: usize = contract::QUERY_COUNT_MAX;
    let parts = |count: usize| count.div_ceil(MAX);
    let count = parts(query.devices.len()).max(parts(query.gateways.len())).max(parts(query.streams.len()));
    fn part<T, U>(all: &[T], index: usize, turn: impl Fn(&T) -> U) -> Vec<U> {
        all.chunks(MAX).nth(index).unwrap_or_default().iter().map(turn).collect()
    }
    let one = |index| v1::Query {
        devices: part(&query.devices, index, |eui| eui.to_u64()),
        gateways: part(&query.gateways, index, |eui| eui.to_u64()),
        streams: part(&query.streams, index, |id| *id),
    };
    (0..count).map(one).collect()
}

pub(crate) fn extend(answer: &mut said::Answer, part: v1::Answer) {
    answer.devices.extend(part.devices.into_iter().map(device));
    answer.gateways.extend(part.gateways.into_iter().map(gateway));
    answer.streams.extend(part.streams.into_iter().map(stream));
}

fn device(state: v1::DeviceState) -> said::DeviceState {
    let queued = |queued: v1::QueuedDownlink| said::QueuedDownlink {
        id: queued.id,
        // Greater ones cannot have been accepted.
        fport: u8::try_from(queued.fport).unwrap_or(u8::MAX),
        confirmed: queued.confirmed,
        payload: queued.payload,
        attempts: queued.attempts,
    };
    said::DeviceState {
        dev_eui: Eui64::new(state.dev_eui),
        active: state.active,
        dev_addr: state.dev_addr,
        session: state.session,
        fcnt_up: state.fcnt_up,
        fcnt_down: state.fcnt_down,
        last_seen_us: state.last_seen_us,
        gateway: Eui64::new(state.gateway),
        rssi_deci: state.rssi_deci,
        snr_deci: state.snr_deci,
        queue: state.queue.into_iter().map(queued).collect(),
        no_room: state.no_room,
    }
}

fn gateway(state: v1::GatewayState) -> said::GatewayState {
    said::GatewayState {
        eui: Eui64::new(state.eui),
        online: state.online,
        last_seen_us: state.last_seen_us,
        address: state.address,
        shard: state.shard,
        status: state.status,
        uplinks: state.uplinks,
        downlinks: state.downlinks,
        no_room: state.no_room,
    }
}

fn stream(state: v1::StreamState) -> said::StreamState {
    let connection = |connection: v1::StreamConnection| said::StreamConnection {
        shard: connection.shard,
        peer: connection.peer,
        since_us: connection.since_us,
        delivered: connection.delivered,
        dropped: connection.dropped,
        queued_bytes: connection.queued_bytes,
    };
    said::StreamState {
        id: state.id,
        connections: state.connections.into_iter().map(connection).collect(),
        delivered: state.delivered,
        delivered_bytes: state.delivered_bytes,
        drops: state.drops,
        downlinks: state.downlinks,
    }
}

pub(crate) fn happened(happened: v1::Happened) -> said::Happened {
    said::Happened {
        kind: happened.kind,
        at_us: happened.at_us,
        tenant: happened.tenant,
        application: happened.application,
        dev_eui: Eui64::new(happened.dev_eui),
        gateway: Eui64::new(happened.gateway),
        stream: happened.stream,
        detail: happened.detail,
    }
}

pub(crate) fn unavailable(error: AskError) -> said::Unavailable {
    match error {
        AskError::Absent | AskError::Busy => said::Unavailable::NotSent,
        AskError::Lost | AskError::Late => said::Unavailable::Unknown,
        AskError::Refused { field, reason } => said::Unavailable::Refused { field, reason },
    }
}

pub(crate) fn is_connected(status: &Status) -> bool {
    !matches!(status.phase, Phase::Away | Phase::Dialling | Phase::Greeting)
}

pub(crate) fn status(status: &Status) -> said::LinkStatus {
    said::LinkStatus {
        connected: is_connected(status),
        software: status.software.clone(),
        shards: status.shards.clone(),
        revision: status.in_force,
        snapshot: status.phase == Phase::Snapshot,
        refused: status.refusal.as_ref().map(|refusal| match refusal.field.as_str() {
            "" => refusal.reason.clone(),
            field => format!("{field}: {}", refusal.reason),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_question_is_split_and_loses_nothing() {
        let query = said::Query {
            devices: (0..2500).map(Eui64::new).collect(),
            gateways: vec![Eui64::new(7)],
            streams: (0..1001).collect(),
        };
        let parts = queries(&query);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.devices.len() <= 1000 && part.streams.len() <= 1000));
        assert_eq!(
            parts.iter().flat_map(|part| part.devices.clone()).collect::<Vec<_>>(),
            (0..2500).collect::<Vec<_>>()
        );
        assert_eq!(parts.iter().map(|part| part.streams.len()).sum::<usize>(), 1001);
        assert_eq!(parts.iter().map(|part| part.gateways.len()).sum::<usize>(), 1);
        assert!(queries(&said::Query::default()).is_empty());
    }
}
