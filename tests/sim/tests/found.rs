//! Seeds that found something, each with what it found: they are told again for ever.
//!
//! What a seed's story is made of may change as stories come to have more in them; so what was found has a test of its own
//! in the room that it was found in as well.

use sim::{Story, hold, tell};

fn check(seed: u64) {
    hold(&tell(Story::of(seed)));
}

/// An uplink that a full disk had refused was in the state that was kept of its device after it, so that after a crash
/// its repetition passed for one of a message that had been taken.
#[test]
fn an_uplink_that_was_refused_is_not_acknowledged_after_a_crash() {
    check(197);
}

/// `in_flight_max` was made less while a group was being fed: each of its sessions was sent more than it had room for, and
/// closed for it, for ever.
#[test]
fn fewer_messages_under_way_than_before() {
    check(27);
    check(183);
    check(184);
}

/// A shard that was not told of the segments of earlier runs, since the disk took no new one, passed over them.
#[test]
fn what_earlier_runs_kept_is_delivered_though_the_disk_takes_nothing() {
    check(135);
    check(185);
}

/// The best copy of an uplink was dropped uncounted if its device was disabled within the dedup window.
#[test]
fn a_device_that_is_disabled_within_its_dedup_window() {
    check(95);
    check(255);
}

/// A checkpoint whose file ended within a record ended the keeper; one that was not there at all was not named.
#[test]
fn checkpoints_that_a_lying_disk_has_cut_or_lost() {
    check(1732);
    check(1667);
}

/// A feed took what was read for it while no session was there: it counted as sent, and was sent to nobody.
#[test]
fn what_is_read_while_nobody_is_there() {
    check(3705);
}

/// Retention had removed segments between two others, and the next start said that they were missing.
#[test]
fn segments_that_retention_removed_are_not_missed() {
    check(6);
    check(17);
    check(78);
    check(215);
}

/// A shard spun while its disk took no dead letter and something behind it was to be sent again.
#[test]
fn a_dead_letter_that_the_disk_does_not_take() {
    check(590);
}

/// What a killed run had written and not stored was followed by what it had carried over, which was: a power loss between
/// the two was taken for damage.
#[test]
fn what_the_carried_over_follows_is_stored_first() {
    check(669);
}
