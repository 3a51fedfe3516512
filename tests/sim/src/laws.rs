//! The laws that every history keeps, looked at when it has ended. Those of single messages are in `messages`, and are
//! held at every step; those of disks that lie are in `lies`.
//!
//! Looks only at what consumers were told, what devices sent and what was counted; knows nothing of how a shard works.
//! A broken law panics with the seed and the message that broke it.

mod counts;
mod lies;
pub(crate) mod messages;

use crate::consumer::Consumer;
use crate::history::History;
use crate::story::STREAMS;
use base::Eui64;
use messages::{text, told};
use std::collections::BTreeSet;

/// What may wait in the network for one consumer or one host, at most.
pub(crate) const HELD_BYTES_MAX: usize = 24 << 20;

/// Checks every law.
///
/// # Panics
/// If one is broken.
pub fn hold(history: &History) {
    let seed = history.story.seed;
    for (index, consumer) in history.consumers.iter().enumerate() {
        let who = format!("seed {seed}, consumer {index} ({}, {:?})", consumer.token, consumer.temper);
        downlinks_are_accepted_as_asked(history, consumer, &who);
        if consumer.token == "nobody" {
            assert!(consumer.received.is_empty(), "{who}: a token that opens nothing brings nothing");
        }
    }
    downlinks_are_as_asked(history, seed);
    what_was_accepted_is_delivered(history, seed);
    lies::hold(history);
    counts::hold(history);
    bounds_hold(history, seed);
    wakes_are_not_lost(history, seed);
    the_end_is_clean(history, seed);
}

/// Every uplink that its device was told was taken has come out of the durable stream, whatever failed meanwhile. Of what a
/// disk has lost against its word it was said where, or the lie is known.
fn what_was_accepted_is_delivered(history: &History, seed: u64) {
    let durable = history.consumers.iter().filter(|consumer| consumer.is_relied_on());
    let delivered: BTreeSet<(Eui64, u32)> = durable
        .flat_map(|consumer| &consumer.received)
        .filter_map(|received| told(&received.message))
        .map(|uplink| (uplink.dev_eui, uplink.fcnt))
        .collect();
    let counted: Vec<_> = history.control.counters.iter().filter(|(_, value)| **value > 0).collect();
    for (what, kept) in [("not in the journal", &history.journaled), ("never delivered", &delivered)] {
        let missing: Vec<_> = history.acknowledged.difference(kept).collect();
        let unexplained: Vec<_> =
            missing.iter().filter(|(dev_eui, fcnt)| !lies::explain(history, *dev_eui, *fcnt)).collect();
        let known = lies::known(history, unexplained.first().copied());
        assert!(unexplained.is_empty(), "seed {seed}: acknowledged and {what}: {unexplained:?}; {known}; {counted:?}");
    }
    if history.story.is_calm() {
        assert!(!history.acknowledged.is_empty(), "seed {seed}: some are acknowledged");
    }
}

/// An accepted downlink is one that was asked for.
fn downlinks_are_accepted_as_asked(history: &History, consumer: &Consumer, who: &str) {
    for message in consumer.received.iter().map(|received| &received.message) {
        if message["Event"] == "accepted" {
            let id = text(message, "Id");
            assert!(history.asked.contains_key(id), "{who}: nobody asked for {message}");
            assert_eq!(text(message, "DeviceEUI"), history.asked[id].dev_eui.to_string(), "{who}: {message}");
        }
    }
}

/// What devices heard was asked for, for that device.
fn downlinks_are_as_asked(history: &History, seed: u64) {
    for (dev_eui, payload) in history.heard.iter().filter(|(_, payload)| !payload.is_empty()) {
        let known = history.asked.values().any(|asked| asked.dev_eui == *dev_eui && asked.payload == *payload);
        assert!(known, "seed {seed}: nobody asked for {payload:02X?} to {dev_eui}");
    }
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
    if !history.story.has_ends() && !history.story.plan_changes {
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
