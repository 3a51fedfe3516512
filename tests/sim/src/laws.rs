//! The laws that every history keeps.
//!
//! Looks only at what consumers were told, what devices sent and what was counted; knows nothing of how a shard works.
//! A broken law panics with the seed and the message that broke it.

use crate::consumer::{Consumer, Temper};
use crate::world::{History, STREAMS};
use base::Eui64;
use contract::v1::Copies;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An uplink as a consumer was told of it.
struct Told<'a> {
    dev_eui: Eui64,
    session: u32,
    fcnt: u32,
    copy: u32,
    message: &'a Value,
}

/// What may wait in the network for one consumer or one host, at most.
const HELD_BYTES_MAX: usize = 24 << 20;

/// Checks every law.
///
/// # Panics
/// If one is broken.
pub fn hold(history: &History) {
    let seed = history.story.seed;
    for (index, consumer) in history.consumers.iter().enumerate() {
        let copies = STREAMS
            .iter()
            .find(|stream| stream.token == consumer.token)
            .map_or(Copies::Unspecified, |stream| stream.copies);
        let who = format!("seed {seed}, consumer {index} ({}, {:?})", consumer.token, consumer.temper);
        nothing_is_invented(history, consumer, &who);
        copies_are_as_asked(consumer, copies, &who);
        downlinks_end_once(history, consumer, &who);
        if consumer.token == "nobody" {
            assert!(consumer.received.is_empty(), "{who}: a token that opens nothing brings nothing");
        }
    }
    downlinks_are_as_asked(history, seed);
    what_was_accepted_is_delivered(history, seed);
    losses_are_counted(history, seed);
    bounds_hold(history, seed);
    wakes_are_not_lost(history, seed);
    the_end_is_clean(history, seed);
}

fn told(message: &Value) -> Option<Told<'_>> {
    message.get("Event").is_none().then(|| {
        let id = text(message, "Id");
        let parts: Vec<&str> = id.split('-').collect();
        let number = |part: usize| parts[part].parse().expect("a number in an id");
        Told {
            dev_eui: text(message, "DeviceEUI").parse().expect("a DeviceEUI"),
            session: number(1),
            fcnt: message["FCnt"].as_u64().expect("an FCnt") as u32,
            copy: number(3),
            message,
        }
    })
}

fn text<'a>(message: &'a Value, key: &str) -> &'a str {
    message[key].as_str().unwrap_or_else(|| panic!("{key} in {message}"))
}

/// Every uplink that anyone is told of was sent, with that payload and port, by that device.
fn nothing_is_invented(history: &History, consumer: &Consumer, who: &str) {
    for message in consumer.received.iter().map(|received| &received.message) {
        let Some(uplink) = told(message) else { continue };
        let sent = history.sent.get(&(uplink.dev_eui, uplink.fcnt));
        let sent = sent.unwrap_or_else(|| panic!("{who}: nobody sent {message}"));
        let known = sent.iter().any(|sent| {
            let digits: String = sent.payload.iter().map(|byte| format!("{byte:02X}")).collect();
            digits == text(message, "Data")
                && sent.fport.map(u64::from) == message.get("Port").and_then(Value::as_u64)
                && message["Type"] == if sent.confirmed { 4 } else { 2 }
        });
        assert!(known, "{who}: {message} was sent as {sent:?}");
        if consumer.token == "device" {
            assert_eq!(uplink.dev_eui, history.devices[0], "{who}: a device stream is of one device");
        }
    }
}

/// On one connection: ids once; of `first` and `best` one per frame, in the device's order; of `all` the first of each
/// frame in that order. After a power cut a frame may come again, on another connection.
fn copies_are_as_asked(consumer: &Consumer, copies: Copies, who: &str) {
    let mut ids = BTreeSet::new();
    let mut last = BTreeMap::new();
    for received in &consumer.received {
        let Some(uplink) = told(&received.message) else { continue };
        let message = uplink.message;
        assert!(ids.insert((received.connection, text(message, "Id"))), "{who}: {message} came twice");
        match copies {
            Copies::First => assert_eq!(uplink.copy, 0, "{who}: a later copy: {message}"),
            Copies::Best => {
                let gateways = message["Gateways"].as_array().unwrap_or_else(|| panic!("{who}: {message}"));
                assert!(!gateways.is_empty(), "{who}: {message}");
                assert_eq!(gateways[0]["Gateway"], message["Gateway"], "{who}: the best is the first: {message}");
                let strength = |gateway: &Value| gateway["SNR"].as_f64().expect("an SNR");
                assert!(gateways.iter().all(|gateway| gateway["RSSI"].is_number() && strength(gateway) > -40.0));
            }
            _ => {}
        }
        if uplink.copy == 0 {
            let now = (uplink.session, uplink.fcnt);
            let before = last.insert((received.connection, uplink.dev_eui), now);
            assert!(before.is_none_or(|before| before < now), "{who}: {message} came after {before:?}");
        }
    }
}

/// On one connection: nothing is told of a downlink after its end, and of each kind at most one end.
fn downlinks_end_once(history: &History, consumer: &Consumer, who: &str) {
    let mut ended = BTreeSet::new();
    for received in &consumer.received {
        let message = &received.message;
        match message.get("Event").and_then(Value::as_str) {
            Some("accepted") => {
                let id = text(message, "Id");
                assert!(history.asked.contains_key(id), "{who}: nobody asked for {message}");
                assert_eq!(text(message, "DeviceEUI"), history.asked[id].dev_eui.to_string(), "{who}: {message}");
            }
            Some("downlink_acknowledged" | "downlink_failed") => {
                let id = message["DownlinkId"].to_string();
                assert!(ended.insert((received.connection, id)), "{who}: {message} is a second end");
            }
            Some("downlink_sent") => {
                let id = message["DownlinkId"].to_string();
                assert!(!ended.contains(&(received.connection, id)), "{who}: {message} comes after the end");
            }
            _ => {}
        }
    }
}

/// Every uplink that its device was told was taken has come out of the durable stream, whatever failed meanwhile.
fn what_was_accepted_is_delivered(history: &History, seed: u64) {
    let durable = history.consumers.iter().filter(|consumer| consumer.acknowledges);
    let delivered: BTreeSet<(Eui64, u32)> = durable
        .flat_map(|consumer| &consumer.received)
        .filter_map(|received| told(&received.message))
        .map(|uplink| (uplink.dev_eui, uplink.fcnt))
        .collect();
    let lost: Vec<_> = history.acknowledged.difference(&delivered).collect();
    let unkept: Vec<_> = history.acknowledged.difference(&history.journaled).collect();
    assert!(unkept.is_empty(), "seed {seed}: acknowledged and not in the journal: {unkept:?}");
    let counted: Vec<_> = history.control.counters.iter().filter(|(_, value)| **value > 0).collect();
    assert!(lost.is_empty(), "seed {seed}: acknowledged and never delivered: {lost:?}; {counted:?}");
    if history.story.is_calm() {
        assert!(!history.acknowledged.is_empty(), "seed {seed}: some are acknowledged");
    }
}

/// What devices heard was asked for, for that device.
fn downlinks_are_as_asked(history: &History, seed: u64) {
    for (dev_eui, payload) in history.heard.iter().filter(|(_, payload)| !payload.is_empty()) {
        let known = history.asked.values().any(|asked| asked.dev_eui == *dev_eui && asked.payload == *payload);
        assert!(known, "seed {seed}: nobody asked for {payload:02X?} to {dev_eui}");
    }
}

/// What did not arrive is explained by the network's tally or by a counter; in calm weather nothing is missing.
fn losses_are_counted(history: &History, seed: u64) {
    let control = &history.control;
    let done = |label| control.counter("shard_done", label);
    assert_eq!(control.counter("shard_drops", "hop_malformed"), 0, "seed {seed}: shards understand each other");
    assert_eq!(control.counter("shard_drops", "gateway_foreign"), 0, "seed {seed}: the steering holds");
    if history.story.power_cuts > 0 {
        // The counters of earlier lives are gone with them.
        return;
    }
    let tally = history.tally;
    let uplinks = control.counter("lorawan_done", "uplinks");
    let sent: u64 = history.sent.values().map(|sent| sent.len() as u64).sum();
    assert!(uplinks <= sent, "seed {seed}: {uplinks} uplinks of {sent} sent");
    let rxpk = done("rxpk_received");
    let refused = control.family("rxpk_refusals")
        + control.family("gateway_refusals")
        + control.family("semtech_udp_malformed")
        + control.counter("shard_drops", "hop_heard")
        + control.counter("shard_drops", "rxpk_crc_bad")
        + control.counter("shard_drops", "rxpk_crc_absent");
    let frames = control.counter("lorawan_done", "frames");
    assert!(
        frames <= rxpk && rxpk <= frames + refused,
        "seed {seed}: {rxpk} rxpk became {frames} frames, {refused} refused"
    );
    // Forwarded by gateways, and not arrived: lost, or in one of the datagrams that were.
    let lost = tally.lost + tally.overrun + tally.unheard;
    if lost == 0 && refused == 0 {
        assert!(rxpk >= history.forwarded, "seed {seed}: {rxpk} of {} forwarded, nothing lost", history.forwarded);
    }
    for (stream, consumer) in STREAMS.iter().zip(&history.consumers).filter(|(stream, _)| stream.kept) {
        assert_eq!(consumer.temper, Temper::Prompt);
        let whole = matches!(stream.copies, Copies::First | Copies::Best);
        if !whole {
            continue;
        }
        let arrived = consumer.received.iter().filter(|received| told(&received.message).is_some()).count() as u64;
        let missed: u64 = consumer.received.iter().filter_map(|received| received.message["Count"].as_u64()).sum();
        let dropped = control.counter("shard_drops", "hop_event")
            + control.counter("shard_drops", "hop_presence")
            + control.counter("shard_drops", "queue_full")
            + control.counter("shard_drops", "pool_exhausted")
            + control.counter("lorawan_drops", "window_full");
        let who = format!("seed {seed}, {} stream", stream.token);
        assert!(arrived <= uplinks, "{who}: {arrived} of {uplinks}");
        if consumer.connections == 1 && history.ready {
            assert!(
                arrived + dropped + missed >= uplinks,
                "{who}: {arrived} arrived, {dropped} dropped, {missed} missed, of {uplinks}"
            );
        }
    }
    if history.story.is_calm() {
        let joined = control.counter("lorawan_done", "joins");
        assert!(joined > 0 || history.story.devices < 2, "seed {seed}: devices join");
        let prompt: Vec<_> = (STREAMS.iter().zip(&history.consumers))
            .map(|(stream, consumer)| (stream.token, consumer.connections, consumer.received.len()))
            .collect();
        assert!(uplinks > 0 && arrived_everywhere(history), "seed {seed}: {uplinks} uplinks, {prompt:?}, {tally:?}");
    }
}

/// In calm weather every prompt consumer of a kept stream heard something.
fn arrived_everywhere(history: &History) -> bool {
    STREAMS.iter().zip(&history.consumers).filter(|(stream, _)| stream.kept).all(|(_, consumer)| {
        consumer.connections == 1 && consumer.received.iter().any(|received| told(&received.message).is_some())
    })
}

fn bounds_hold(history: &History, seed: u64) {
    assert!(history.held_bytes_max < HELD_BYTES_MAX, "seed {seed}: {} bytes waited", history.held_bytes_max);
    let shards = history.story.shards as u64;
    // A loop that never sleeps would take a turn for each microsecond.
    let seconds = history.story.span.as_secs() + 10;
    let turns = history.tally.turns / seconds / shards;
    assert!(turns < 20_000, "seed {seed}: {turns} turns per second and shard");
}

/// Nobody sleeps while something waits for them: an event reaches another shard within a few turns.
fn wakes_are_not_lost(history: &History, seed: u64) {
    // Records that found a shard busy wait for as many turns as it takes to come to them.
    let turns = if history.story.is_calm() { 8 } else { 64 };
    let bound = history.story.faults.turn_max.as_nanos() as u64 * turns;
    let longest = history.control.hop_ns_max;
    assert!(longest <= bound, "seed {seed}: a hop took {longest} ns, {bound} at most");
}

/// Every shard stopped, told its consumers so, and gave back what it held.
fn the_end_is_clean(history: &History, seed: u64) {
    assert!(history.control.all_stopped(), "seed {seed}: every shard stops when told to");
    assert_eq!(history.lent.len(), history.story.shards, "seed {seed}");
    // The end of a session whose stream was removed is not told: there is no stream to tell it of.
    if history.story.power_cuts == 0 && !history.story.plan_changes {
        let (opened, closed) = (history.control.opened, history.control.closed);
        let unsaid = history.control.counter("shard_drops", "happened_dropped");
        assert!(opened.abs_diff(closed) <= unsaid, "seed {seed}: {opened} streams opened, {closed} closed");
    }
    for (lent, connections) in &history.lent {
        assert_eq!((*lent, *connections), ([0; 3], 0), "seed {seed}: buffers and connections are given back");
    }
    if history.story.is_calm() {
        for (stream, consumer) in STREAMS.iter().zip(&history.consumers).filter(|(stream, _)| stream.kept) {
            assert_eq!(consumer.close_codes, [1001], "seed {seed}, {} stream: going away", stream.token);
        }
    }
}
