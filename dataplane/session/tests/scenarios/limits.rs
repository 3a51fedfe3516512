//! Tables that are full, and every counter there is.

use crate::world::{Device, EU, EU_104, Says, World, commands, gateway};
use base::counters::Counted;
use event::{Copy, Kind, RECEPTION_COUNT_MAX};
use lorawan::mac::UplinkCommand;
use session::{Achievement, DeviceSpec, Drop, Full, Limits, Outcome, TransmitError};

const NARROW: Limits = Limits {
    device_count_max: 8,
    pending_count_max: 1,
    redirect_count_max: 0,
    window_count_max: 4,
    transmission_count_max: 1,
    downlink_count_max: 4,
    queue_bytes_max: 256,
};

#[test]
fn a_full_window_table_delivers_without_gathering() {
    let mut world = World::with(NARROW);
    let mut devices: Vec<_> = (1..=5).map(|number| Device::personalised(&mut world, number, EU)).collect();
    let frames: Vec<_> = devices.iter_mut().map(|device| device.confirmed(b"x")).collect();
    for phy in &frames {
        world.heard_by(1, 10, phy);
    }
    world.events();
    world.heard_by(2, 10, &frames[4]);
    assert_eq!(world.kinds(), [(Kind::Uplink, Copy::Later)], "its copies are told apart all the same");
    assert_eq!(world.drops(Drop::WindowFull), 1);
    world.millis(250);
    assert_eq!(world.events().len(), 4, "four windows end");
    // One answer is all there is room for.
    assert_eq!((world.out.asked.len(), world.drops(Drop::TransmissionFull)), (1, 3));
}

#[test]
fn more_copies_than_an_event_lists_are_counted() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.data(b"x");
    for number in 0..20 {
        world.heard_by(number, number as i16, &phy);
    }
    world.millis(250);
    let events = world.events();
    assert_eq!(events.len(), 21);
    assert_eq!(events[19].event().copy_index, 19);
    assert_eq!(events[20].event().receptions.len(), RECEPTION_COUNT_MAX);
    assert_eq!(world.drops(Drop::ReceptionsFull), 4);
}

#[test]
fn joins_beyond_the_room_replace_at_once() {
    let mut world = World::with(NARROW);
    let mut devices: Vec<_> = (1..=8).map(|number| Device::joined(&mut world, number, EU)).collect();
    for device in &mut devices {
        let phy = device.data(b"x");
        world.heard(&phy);
    }
    let old: Vec<_> = devices.clone();
    for device in &mut devices[..2] {
        device.join(&mut world);
    }
    assert_eq!((world.network.session_count(), world.drops(Drop::PendingFull)), (9, 1));
    world.events();
    for (mut device, expected) in old.into_iter().zip([Kind::Uplink, Kind::UnknownFrame]) {
        let phy = device.data(b"y");
        world.heard(&phy);
        assert_eq!(world.events()[0].event().kind, expected);
    }
}

#[test]
fn a_full_device_table_refuses_and_changes_nothing() {
    let mut world = World::with(NARROW);
    for number in 1..=8 {
        Device::personalised(&mut world, number, EU);
    }
    let ninth = Device::abp(9, EU, 0x2600_0009);
    assert_eq!(world.network.upsert(&ninth.abp_spec(), &mut world.out, world.unix), Err(Full));
    assert_eq!(world.network.upsert(&ninth.otaa_spec(), &mut world.out, world.unix), Err(Full));
    assert_eq!(world.network.device_count(), 8);
    // A personalised device becomes one that joins, and back, without more room.
    let eighth = Device::abp(8, EU, 0x2600_0008);
    world.upsert(&eighth.otaa_spec());
    world.upsert(&eighth.abp_spec());
    assert!(world.network.remove(eighth.dev_eui, &mut world.out, world.unix));
    world.upsert(&ninth.abp_spec());
    // No room for redirects.
    use session::{Lanes, Network, lane_of_eui};
    let mut keeper = Network::new(NARROW, Lanes::NONE.with(lane_of_eui(ninth.dev_eui)), 1);
    assert_eq!(keeper.upsert(&ninth.abp_spec(), &mut world.out, world.unix), Err(Full));
}

#[test]
fn every_counter_moves() {
    let mut world = World::with(Limits { window_count_max: 40, transmission_count_max: 2, ..Limits::for_devices(200) });
    let mut device = Device::personalised(&mut world, 1, EU);
    let eui = device.dev_eui;

    // Frames that come to nothing.
    let stranger = Device::abp(2, EU, 0x2600_0BAD);
    world.heard_by(1, 0, &[0x40]);
    world.heard_by(1, 0, &[0xE0, 1]);
    world.heard_by(1, 0, &stranger.frame(0, Says::default()));
    for number in 100..170 {
        world.upsert(&Device::abp(number, EU, 0x2600_0BAD).abp_spec());
    }
    world.heard_by(1, 0, &stranger.frame(1, Says::default()));
    world.heard_by(1, 0, &device.frame(20_000, Says::default()));
    let first = device.data(b"x");
    world.heard(&first);
    world.heard(&device.frame(0, Says { fport: Some(2), ..Says::default() }));
    let asks = [&commands(&[UplinkCommand::LinkCheckReq])[..], &[0x7F]].concat();
    let phy = device.says(Says { fopts: &asks, ..Says::default() });
    (0..20).for_each(|number| world.heard_by(number, 0, &phy));
    world.millis(250);
    world.sent();
    let phy = device.data(b"x");
    world.heard(&phy);
    world.heard(&phy);
    world.millis(2000);
    world.heard(&phy);
    world.heard(&phy);

    // Downlinks.
    world.enqueue(base::Eui64::new(1), false, b"").expect_err("unknown");
    world.enqueue(eui, true, b"do").expect("queued");
    let phy = device.confirmed(b"x");
    world.heard_by(1, 0, &phy);
    world.heard_by(2, 0, &phy);
    world.millis(250);
    let asked = world.asked();
    world.outcome(asked.transmission, Outcome::Error(TransmitError::Frequency));
    world.outcome(asked.transmission, Outcome::Sent);
    let asked = world.asked();
    world.outcome(asked.transmission, Outcome::NoPath);
    world.sent();
    let phy = device.says(Says { confirmed: true, ack: true, ..Says::default() });
    world.heard(&phy);
    world.out.asked.clear();
    world.millis(5000);
    world.enqueue(eui, false, b"do").expect("queued");
    world.network.flush(eui, &mut world.out, world.unix);
    let phy = device.confirmed(b"x");
    world.heard_by(1, 0, &phy);
    world.now.0 += 3_000_000_000;
    world.network.expire(&world.plan, &mut world.out, world.now, world.unix);

    // A profile that is gone, a device that is off, a session at its end.
    world.upsert(&DeviceSpec { profile: 99, ..device.abp_spec() });
    let phy = device.confirmed(b"x");
    world.heard(&phy);
    world.upsert(&DeviceSpec { enabled: false, ..device.abp_spec() });
    let phy = device.confirmed(b"x");
    world.heard(&phy);
    world.out.asked.clear();
    let mut old = Device::abp(3, EU, 0x2600_0003);
    old.fcnt_down = Some(u32::MAX - 2);
    world.upsert(&old.abp_spec());
    for _ in 0..2 {
        let phy = old.confirmed(b"x");
        world.heard(&phy);
    }
    assert_eq!(world.sent().gateway, gateway(1));

    // Joins.
    let mut joining = Device::joined(&mut world, 4, EU_104);
    let phy = joining.says(Says { fopts: &commands(&[UplinkCommand::RxTimingSetupAns]), ..Says::default() });
    world.heard(&phy);
    joining.dev_nonce -= 1;
    let request = joining.join_request();
    world.heard(&request);
    let others = [
        Device::otaa(5, EU),
        Device { join_eui: base::Eui64::new(5), ..joining.clone() },
        Device { app_key: lorawan::AesKey([5; 16]), ..joining.clone() },
    ];
    for mut other in others {
        let request = other.join_request();
        world.heard(&request);
    }
    joining.profile = crate::world::EU_OTHER;
    world.upsert(&joining.otaa_spec());
    let phy = joining.data(b"x");
    world.heard(&phy);
    world.out.asked.clear();

    // A full disk, and one that is too slow.
    world.out.full = true;
    let phy = joining.confirmed(b"x");
    world.heard(&phy);
    (world.out.full, world.out.slow) = (false, true);
    let phy = joining.confirmed(b"x");
    world.heard(&phy);
    world.millis(10_000);
    world.out.slow = false;

    // Room.
    let mut crowd: Vec<_> = (10..70).map(|number| Device::personalised(&mut world, number, EU)).collect();
    for device in &mut crowd {
        let phy = device.confirmed(b"x");
        world.heard_by(1, 0, &phy);
    }
    world.millis(250);
    world.millis(5000);
    let mut small = World::with(NARROW);
    let mut rejoining: Vec<_> = (1..=2).map(|number| Device::joined(&mut small, number, EU)).collect();
    for device in &mut rejoining {
        let phy = device.data(b"x");
        small.heard(&phy);
        device.join(&mut small);
    }
    let phy = device.data(b"x");
    small.heard(&phy);

    for drop in Drop::ALL {
        let moved = world.drops(*drop) + small.drops(*drop);
        assert!(moved > 0, "{} never moved", drop.name());
    }
    for achievement in Achievement::ALL {
        assert!(world.achieved(*achievement) > 0, "{} never moved", achievement.name());
    }
}
