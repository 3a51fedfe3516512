//! The laws of counting: what was sent is what arrived and what was counted as lost on the way, station by station.
//!
//! ```text
//!   gateways ─ network's tally ─▶ datagrams ─▶ rxpk ─ refusals, rings ─▶ frames ─ copies, refusals ─▶ uplinks
//!   uplinks ─ not_stored ─▶ journal         messages of a connection ─ queue, pool ─▶ received, missed
//! ```
//! Exactly, where a story is able to tell: the counters of a life are gone with it, so that stories with ends tell nothing.

use super::messages::told;
use crate::consumer::Temper;
use crate::history::History;
use crate::story::STREAMS;
use contract::v1::Copies;

pub(crate) fn hold(history: &History) {
    let (seed, control) = (history.story.seed, &history.control);
    assert_eq!(control.counter("shard_drops", "hop_malformed"), 0, "seed {seed}: shards understand each other");
    assert_eq!(control.counter("shard_drops", "gateway_foreign"), 0, "seed {seed}: the steering holds");
    connections_are_exact(history);
    if history.story.has_ends() {
        return;
    }
    datagrams_are_exact(history);
    frames_are_exact(history);
    what_is_not_kept_is_counted(history);
    streams_are_complete(history);
}

fn datagrams_are_exact(history: &History) {
    let (seed, tally, control) = (history.story.seed, history.tally, &history.control);
    let received = control.counter("shard_done", "datagrams_received");
    assert_eq!(control.counter("shard_drops", "datagram_overrun"), tally.overrun, "seed {seed}: what overran is told");
    let arrived = tally.to_hosts - tally.lost_to_hosts - tally.unheard - tally.overrun;
    assert_eq!(received, arrived, "seed {seed}: {tally:?}");
}

fn frames_are_exact(history: &History) {
    let (seed, tally, control) = (history.story.seed, history.tally, &history.control);
    let (done, drops) =
        (|label| control.counter("lorawan_done", label), |label| control.counter("lorawan_drops", label));
    let rxpk = control.counter("shard_done", "rxpk_received");
    let refused = control.family("rxpk_refusals")
        + control.counter("shard_drops", "hop_heard")
        + control.counter("shard_drops", "rxpk_crc_bad")
        + control.counter("shard_drops", "rxpk_crc_absent");
    let frames = done("frames");
    assert_eq!(rxpk, frames + refused, "seed {seed}: {rxpk} rxpk, {frames} frames, {refused} refused");
    // Forwarded by gateways, and not arrived: lost, or in one of the datagrams that were.
    let untold = control.family("gateway_refusals") + control.family("semtech_udp_malformed");
    if tally.lost + tally.overrun + tally.unheard + tally.duplicated + untold == 0 {
        assert_eq!(rxpk, history.forwarded, "seed {seed}: nothing was lost or doubled under way");
    }
    let taken = done("uplinks") + done("copies") + done("repeats") + done("late_copies") + done("join_requests");
    let known = ["malformed", "frame_kind", "unknown_dev_addr", "bad_mic", "replay", "fcnt_gap"];
    let known = taken + known.into_iter().map(drops).sum::<u64>();
    // A disabled device's may be a data frame, or a JoinRequest that was counted, or an answer that was not made.
    let disabled = drops("device_disabled");
    assert!(
        known <= frames && frames <= known + disabled,
        "seed {seed}: {frames} frames, {known}, {disabled} disabled"
    );
    let sent: u64 = history.sent.values().map(|sent| sent.len() as u64).sum();
    assert!(done("uplinks") <= sent, "seed {seed}: {} uplinks of {sent} sent", done("uplinks"));
}

/// An uplink is in the journal, or it was counted that it is not.
fn what_is_not_kept_is_counted(history: &History) {
    let (seed, control) = (history.story.seed, &history.control);
    if !history.lies.is_empty() {
        return;
    }
    let uplinks = control.counter("lorawan_done", "uplinks");
    let (kept, not_stored) = (history.journaled_count, control.counter("shard_drops", "not_stored"));
    assert!(kept <= uplinks, "seed {seed}: {kept} kept of {uplinks} uplinks");
    assert!(kept + not_stored >= uplinks, "seed {seed}: {kept} kept, {not_stored} not stored, of {uplinks} uplinks");
}

/// What a shard says that it gave a connection is what its consumer has, and what it missed it was told.
fn connections_are_exact(history: &History) {
    let seed = history.story.seed;
    for (index, (stream, consumer)) in STREAMS.iter().zip(&history.consumers).enumerate() {
        if !stream.kept || consumer.connections != 1 || !history.ready {
            continue;
        }
        let answer = history.control.connections.iter().find(|answer| answer.peer == consumer.address);
        let Some(answer) = answer.filter(|answer| answer.stream == index as u32 + 1) else {
            panic!("seed {seed}, {} stream: its consumer is listed", stream.token);
        };
        let messages = consumer.received.iter().map(|received| &received.message);
        let is_answer = |event: &str| ["accepted", "error", "missed"].contains(&event);
        let got = messages.clone().filter(|message| !message["Event"].as_str().is_some_and(is_answer)).count() as u64;
        let missed: u64 = messages.filter_map(|message| message["Count"].as_u64()).sum();
        let who = format!("seed {seed}, {} stream: {answer:?}", stream.token);
        assert_eq!(got, answer.delivered, "{who}");
        // The last ones may not have been told yet.
        assert!(missed <= answer.dropped, "{who}: told of {missed}");
        assert!(missed == answer.dropped || answer.dropped > 0, "{who}: told of {missed}");
    }
}

/// Of `first` and `best` every uplink has come to a consumer that was there all the time, or was counted on the way.
fn streams_are_complete(history: &History) {
    let (seed, control) = (history.story.seed, &history.control);
    let uplinks = control.counter("lorawan_done", "uplinks");
    for (stream, consumer) in STREAMS.iter().zip(&history.consumers).filter(|(stream, _)| stream.kept) {
        assert_eq!(consumer.temper, Temper::Prompt);
        if !matches!(stream.copies, Copies::First | Copies::Best) {
            continue;
        }
        let arrived = consumer.received.iter().filter(|received| told(&received.message).is_some()).count() as u64;
        let dropped = control.counter("shard_drops", "hop_event")
            + control.counter("shard_drops", "hop_presence")
            + control.counter("shard_drops", "queue_full")
            + control.counter("shard_drops", "pool_exhausted")
            + control.counter("shard_drops", "template_no_room")
            + control.counter("lorawan_drops", "window_full");
        let who = format!("seed {seed}, {} stream", stream.token);
        assert!(arrived <= uplinks, "{who}: {arrived} of {uplinks}");
        if consumer.connections == 1 && history.ready {
            assert!(arrived + dropped >= uplinks, "{who}: {arrived} arrived, {dropped} dropped, of {uplinks}");
        }
    }
    if history.story.is_calm() {
        let joined = control.counter("lorawan_done", "joins");
        assert!(joined > 0 || history.story.devices < 2, "seed {seed}: devices join");
        let prompt: Vec<_> = (STREAMS.iter().zip(&history.consumers))
            .map(|(stream, consumer)| (stream.token, consumer.connections, consumer.received.len()))
            .collect();
        assert!(uplinks > 0 && arrived_everywhere(history), "seed {seed}: {uplinks} uplinks, {prompt:?}");
    }
}

/// In calm weather every prompt consumer of a kept stream heard something.
fn arrived_everywhere(history: &History) -> bool {
    STREAMS.iter().zip(&history.consumers).filter(|(stream, _)| stream.kept).all(|(_, consumer)| {
        consumer.connections == 1 && consumer.received.iter().any(|received| told(&received.message).is_some())
    })
}
