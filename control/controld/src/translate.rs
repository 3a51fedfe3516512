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
    let count = count.max(usize::from(query.journal));
    fn part<T, U>(all: &[T], index: usize, turn: impl Fn(&T) -> U) -> Vec<U> {
        all.chunks(MAX).nth(index).unwrap_or_default().iter().map(turn).collect()
    }
    let one = |index| v1::Query {
        devices: part(&query.devices, index, |eui| eui.to_u64()),
        gateways: part(&query.gateways, index, |eui| eui.to_u64()),
        streams: part(&query.streams, index, |id| *id),
        journal: query.journal && index == 0,
    };
    (0..count).map(one).collect()
}

pub(crate) fn extend(answer: &mut said::Answer, part: v1::Answer) {
    answer.devices.extend(part.devices.into_iter().map(device));
    answer.gateways.extend(part.gateways.into_iter().map(gateway));
    answer.streams.extend(part.streams.into_iter().map(stream));
    answer.journal.extend(part.journal.into_iter().map(journal));
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
    let group = |group: v1::GroupState| said::GroupState {
        group: group.group,
        lag_messages: group.lag_messages,
        lag_bytes: group.lag_bytes,
        in_flight: group.in_flight,
        sessions: group.sessions,
        redelivered: group.redelivered,
        dead_letters: group.dead_letters,
        oldest_us: group.oldest_us,
    };
    said::StreamState {
        id: state.id,
        connections: state.connections.into_iter().map(connection).collect(),
        delivered: state.delivered,
        delivered_bytes: state.delivered_bytes,
        drops: state.drops,
        downlinks: state.downlinks,
        groups: state.groups.into_iter().map(group).collect(),
        retained_messages: state.retained_messages,
        retained_bytes: state.retained_bytes,
        retained_oldest_us: state.retained_oldest_us,
        retention_s: state.retention_s,
        retention_bytes: state.retention_bytes,
        not_stored: state.not_stored,
    }
}

fn journal(state: v1::JournalState) -> said::JournalState {
    let disk = match state.disk() {
        v1::journal_state::Disk::Unspecified => said::Disk::Unknown,
        v1::journal_state::Disk::Healthy => said::Disk::Healthy,
        v1::journal_state::Disk::Full => said::Disk::Full,
        v1::journal_state::Disk::Failing => said::Disk::Failing,
        v1::journal_state::Disk::ReadOnly => said::Disk::ReadOnly,
    };
    said::JournalState {
        shard: state.shard,
        disk,
        bytes: state.bytes,
        free_bytes: state.free_bytes,
        segments: state.segments,
        stored_records: state.stored_records,
        stored_bytes: state.stored_bytes,
        failed_writes: state.failed_writes,
        corrupt_records: state.corrupt_records,
        detail: state.detail,
    }
}

pub(crate) fn seek_group(seek: said::SeekGroup) -> v1::SeekGroup {
    let to = match seek.to {
        said::Position::Earliest => v1::seek_group::To::Earliest(true),
        said::Position::Latest => v1::seek_group::To::Latest(true),
        said::Position::Time(us) => v1::seek_group::To::TimeUs(us),
        said::Position::Id(id) => v1::seek_group::To::Id(id),
    };
    v1::SeekGroup { stream: seek.stream, group: seek.group, to: Some(to) }
}

pub(crate) fn history(history: said::History) -> v1::History {
    v1::History {
        stream: history.stream,
        from_us: history.from_us,
        to_us: history.to_us,
        device: history.device.map(Eui64::to_u64),
        page: history.page,
        limit: history.limit,
    }
}

pub(crate) fn history_page(page: v1::HistoryPage) -> Result<said::HistoryPage, said::Unavailable> {
    done(page.error)?;
    Ok(said::HistoryPage { messages: page.messages, next: page.next })
}

pub(crate) fn dead_letters(letters: said::DeadLetters) -> v1::DeadLetters {
    v1::DeadLetters { stream: letters.stream, page: letters.page, limit: letters.limit }
}

pub(crate) fn dead_letter_page(page: v1::DeadLetterPage) -> Result<said::DeadLetterPage, said::Unavailable> {
    let letter = |letter: v1::DeadLetter| said::DeadLetter {
        id: letter.id,
        group: letter.group,
        reason: letter.reason,
        attempts: letter.attempts,
        at_us: letter.at_us,
        message: letter.message,
    };
    done(page.error)?;
    Ok(said::DeadLetterPage { letters: page.letters.into_iter().map(letter).collect(), next: page.next })
}

/// An answer that names no reason is a yes.
pub(crate) fn done(error: String) -> Result<(), said::Unavailable> {
    if error.is_empty() { Ok(()) } else { Err(said::Unavailable::Rejected(error)) }
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
        AskError::TooOld { needed, spoken } => too_old(needed, spoken),
        AskError::Lost | AskError::Late => said::Unavailable::Unknown,
        AskError::Refused { field, reason } => said::Unavailable::Refused { field, reason },
    }
}

fn too_old(needed: u32, spoken: u32) -> said::Unavailable {
    said::Unavailable::TooOld { needed: version(needed), spoken: version(spoken) }
}

fn version(minor: u32) -> String {
    format!("{}.{minor}", contract::MAJOR)
}

pub(crate) fn is_connected(status: &Status) -> bool {
    !matches!(status.phase, Phase::Away | Phase::Dialling | Phase::Greeting)
}

pub(crate) fn status(status: &Status) -> said::LinkStatus {
    let is_older = is_connected(status) && status.minor < contract::MINOR_DURABLE;
    said::LinkStatus {
        connected: is_connected(status),
        software: status.software.clone(),
        contract: if status.software.is_empty() { String::new() } else { version(status.minor) },
        lacks_durable: is_older.then(|| too_old(contract::MINOR_DURABLE, status.minor)),
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
            journal: true,
        };
        let parts = queries(&query);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().filter(|part| part.journal).count(), 1, "or it would be told three times");
        assert!(parts.iter().all(|part| part.devices.len() <= 1000 && part.streams.len() <= 1000));
        assert_eq!(
            parts.iter().flat_map(|part| part.devices.clone()).collect::<Vec<_>>(),
            (0..2500).collect::<Vec<_>>()
        );
        assert_eq!(parts.iter().map(|part| part.streams.len()).sum::<usize>(), 1001);
        assert_eq!(parts.iter().map(|part| part.gateways.len()).sum::<usize>(), 1);
        assert!(queries(&said::Query::default()).is_empty());
        assert_eq!(queries(&said::Query { journal: true, ..said::Query::default() }).len(), 1);
    }
}
