//! A full, a failing and a read-only disk below the journal: durable traffic is not accepted, live traffic goes on, both are
//! said, and all of it is over once the disk is well again.

mod house;

use crate::harness::faulty::Ailment;
use house::{DEVICE_COUNT, House, QUIET, Trouble};
use std::time::{Duration, Instant};

/// A device repeats itself once RX2 is over: two seconds after its uplink, and a bit.
const REPEAT_PAUSE: Duration = Duration::from_millis(2_100);

/// How often a disk that flickers is well in between, and how often it changes before that.
const FLICKER_COUNT: usize = 6;
const FLIP_COUNT: usize = 7;

/// The disk fails below a dataplane that runs, is mended, and the dataplane is killed afterwards.
fn comes_and_goes(trouble: Trouble) {
    let mut house = House::start(trouble);
    let mut there = house.there();
    for _ in 0..3 {
        house.round();
        house.all_acknowledged();
    }
    house.every_disk_is("healthy");
    assert_eq!(house.not_stored(), 0);

    trouble.begin(house.disk());
    if trouble == Trouble::Full {
        house.flood_until(trouble.state());
    }
    // With the first one a shard may learn of it; with the second one it knows.
    house.round();
    house.none_acknowledged();
    house.every_disk_is(trouble.state());
    let learnt = house.not_stored();
    house.round();
    house.none_acknowledged();
    assert_eq!(house.not_stored(), learnt + u64::from(DEVICE_COUNT));
    house.live_goes_on();
    house.a_newcomer_says_why_it_ends();
    house.change("meanwhile");
    std::thread::sleep(REPEAT_PAUSE);
    house.repeat();
    house.none_acknowledged();
    assert_eq!(house.not_stored(), learnt + 2 * u64::from(DEVICE_COUNT));

    trouble.end(house.disk());
    house.every_disk_is("healthy");
    house.accepted_at_last();
    house.changes_are_in_force();
    house.round();
    house.all_acknowledged();
    house.live_goes_on();
    house.listener.silent(QUIET);
    assert_eq!(house.not_stored(), learnt + 2 * u64::from(DEVICE_COUNT), "no more of them");
    assert!(there.next_within(QUIET).is_some(), "whoever was there all the time is still served");
    house.keeps_the_promise("after");
    house.said_it_once();

    house.restart();
    house.keeps_the_promise("again");
    house.round();
    house.all_acknowledged();
    house.world.system.kill_dataplane();
    house.verifies();
}

/// A dataplane that has served from the disk before starts on it while it fails: live traffic is served from the stored plan.
fn is_there_at_a_start(trouble: Trouble) {
    let mut house = House::start(trouble);
    house.round();
    house.all_acknowledged();
    house.live_goes_on();
    trouble.begin(house.disk());
    house.restart();
    house.round();
    house.none_acknowledged();
    house.every_disk_is(trouble.state());
    house.live_goes_on();
    std::thread::sleep(REPEAT_PAUSE);
    trouble.end(house.disk());
    house.every_disk_is("healthy");
    let refused = house.not_stored();
    house.accepted_at_last();
    house.changes_are_in_force();
    house.round();
    house.all_acknowledged();
    house.live_goes_on();
    assert_eq!(house.not_stored(), refused);
    house.restart();
    house.keeps_the_promise("again");
}

/// The disk fails and is well again while uplinks are on their way, faster than anybody can say so.
#[test]
fn a_disk_that_flickers_loses_nothing() {
    let ailments = [Ailment::Writes, Ailment::Syncs, Ailment::Nothing, Ailment::ReadOnly];
    let mut house = House::start(Trouble::Ails(Ailment::Writes));
    for turn in 0..FLICKER_COUNT {
        for flip in 0..FLIP_COUNT {
            house.disk().switch().set(ailments[(turn + flip) % ailments.len()]);
            house.round();
            // Instants that nobody chose.
            std::thread::sleep(Duration::from_nanos(u64::from(Instant::now().elapsed().subsec_nanos()) % 97 * 100_000));
        }
        house.disk().switch().set(Ailment::Nothing);
        // What is on its way to the disk has failed by then.
        std::thread::sleep(QUIET / 2);
        house.every_disk_is("healthy");
        house.round();
        house.all_acknowledged();
        house.live_goes_on();
    }
    assert!(house.not_stored() > 0, "some met a disk that failed");
    house.keeps_the_promise("after");
    house.restart();
    house.keeps_the_promise("again");
    house.world.system.kill_dataplane();
    house.verifies();
}

#[test]
fn a_full_disk_comes_and_goes() {
    comes_and_goes(Trouble::Full);
}

#[test]
fn a_disk_whose_writes_fail_comes_and_goes() {
    comes_and_goes(Trouble::Ails(Ailment::Writes));
}

#[test]
fn a_disk_that_stores_nothing_comes_and_goes() {
    comes_and_goes(Trouble::Ails(Ailment::Syncs));
}

#[test]
fn a_read_only_disk_comes_and_goes() {
    comes_and_goes(Trouble::Ails(Ailment::ReadOnly));
}

#[test]
fn a_full_disk_is_started_on() {
    is_there_at_a_start(Trouble::Full);
}

#[test]
fn a_disk_whose_writes_fail_is_started_on() {
    is_there_at_a_start(Trouble::Ails(Ailment::Writes));
}

#[test]
fn a_disk_that_stores_nothing_is_started_on() {
    is_there_at_a_start(Trouble::Ails(Ailment::Syncs));
}

#[test]
fn a_read_only_disk_is_started_on() {
    is_there_at_a_start(Trouble::Ails(Ailment::ReadOnly));
}
