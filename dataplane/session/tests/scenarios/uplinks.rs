//! Copies, counters, repetitions, shared addresses, MAC commands.

use crate::world::{Device, EU, SF7, Says, World, commands, gateway};
use event::{Copy, Kind};
use lorawan::mac::{DownlinkCommand, UplinkCommand};
use session::{Achievement, Drop, Heard};

const FIRST: (Kind, Copy) = (Kind::Uplink, Copy::First);
const LATER: (Kind, Copy) = (Kind::Uplink, Copy::Later);
const BEST: (Kind, Copy) = (Kind::Uplink, Copy::Best);

#[test]
fn copies_meet_and_the_best_comes_first() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.data(b"hello");
    world.heard_by(1, 20, &phy);
    world.millis(50);
    world.heard_by(2, 95, &phy);
    world.heard_by(3, -40, &phy);
    let events = world.events();
    assert_eq!(events.len(), 3);
    for (index, seen) in events.iter().enumerate() {
        let event = seen.event();
        assert_eq!((event.kind, event.copy_index), (Kind::Uplink, index as u8));
        assert_eq!(event.copy, if index == 0 { Copy::First } else { Copy::Later });
        assert_eq!((event.payload, event.fport, event.fcnt, event.mtype), (&b"hello"[..], Some(1), 0, 2));
        assert_eq!((event.tenant, event.application, event.dev_eui), (3, 4, device.dev_eui));
        assert_eq!((event.join_eui, event.dev_addr, event.session), (device.join_eui, device.dev_addr.0, 1));
        assert_eq!((event.frequency_hz, event.data_rate), (868_100_000, SF7));
        assert_eq!(event.receptions.len(), 1);
        assert_eq!(event.receptions.get(0).expect("one").gateway, gateway(index as u64 + 1));
    }
    world.millis(149);
    assert!(world.events().is_empty(), "the window is still open");
    world.millis(1);
    let events = world.events();
    let best = events[0].event();
    assert_eq!((best.kind, best.copy, best.payload), (Kind::Uplink, Copy::Best, &b"hello"[..]));
    let order: Vec<_> = best.receptions.iter().map(|reception| reception.gateway).collect();
    assert_eq!(order, [gateway(2), gateway(1), gateway(3)]);
    assert!(world.silent(), "nothing was asked for");
    let state = world.network.state(device.dev_eui).expect("known");
    assert_eq!((state.gateway, state.snr_deci, state.fcnt_up, state.active), (gateway(2), 95, 1, true));
    assert_eq!((world.achieved(Achievement::Uplinks), world.achieved(Achievement::Copies)), (1, 2));
}

#[test]
fn what_nobody_wants_is_not_built() {
    let mut world = World::new();
    world.plan.unwanted = vec![BEST, LATER];
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard_by(1, 20, &phy);
    world.heard_by(2, 20, &phy);
    world.millis(250);
    assert_eq!(world.kinds(), [FIRST]);
}

#[test]
fn old_and_distant_counters_are_refused() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let frame = |device: &Device, fcnt, payload: &'static [u8]| {
        device.frame(fcnt, Says { fport: Some(1), payload, ..Says::default() })
    };
    let first = device.data(b"a");
    world.heard(&first);
    world.heard(&frame(&device, 5, b"b"));
    world.events();
    // Another frame under the last counter, one under an older, the first again.
    world.heard(&frame(&device, 5, b"c"));
    world.heard(&frame(&device, 3, b"d"));
    world.heard(&first);
    assert_eq!(world.drops(Drop::Replay), 3);
    world.heard(&frame(&device, 5 + 16_385, b"e"));
    assert_eq!(world.drops(Drop::FcntGap), 1);
    assert!(world.kinds().is_empty());
    world.heard(&frame(&device, 5 + 16_384, b"f"));
    assert_eq!(world.kinds(), [FIRST, BEST]);
}

#[test]
fn counters_roll_over_sixteen_bits() {
    let mut world = World::new();
    let mut device = Device::abp(1, EU, 0x2600_0001);
    device.fcnt_up = 65_534;
    world.upsert(&device.abp_spec());
    for fcnt in 65_534..65_540 {
        let phy = device.data(b"x");
        world.heard(&phy);
        let events = world.events();
        assert_eq!((events.len(), events[0].event().fcnt, events[1].event().fcnt), (2, fcnt, fcnt));
    }
}

#[test]
fn the_last_counter_of_all_ends_the_session() {
    let mut world = World::new();
    let mut device = Device::abp(1, EU, 0x2600_0001);
    device.fcnt_up = u32::MAX - 1;
    world.upsert(&device.abp_spec());
    let phy = device.data(b"x");
    world.heard(&phy);
    assert_eq!(world.kinds(), [FIRST, BEST]);
    let last = device.frame(u32::MAX, Says::default());
    world.heard(&last);
    let wrapped = device.frame(0, Says::default());
    world.heard(&wrapped);
    assert!(world.events().iter().all(|seen| seen.event().kind == Kind::UnknownFrame));
}

#[test]
fn a_repetition_is_acknowledged_again_and_not_delivered_again() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"hello");
    world.heard(&phy);
    assert_eq!(world.kinds(), [FIRST, BEST]);
    let answer = world.sent();
    assert!(device.reads(&answer.phy).ack);
    // A slow gateway, before the device could have repeated itself: one more copy.
    world.heard(&phy);
    let events = world.events();
    assert_eq!((events.len(), events[0].event().copy, events[0].event().copy_index), (1, Copy::Later, 1));
    assert_eq!(events[0].event().payload, b"hello");
    assert!(world.silent());
    assert_eq!(world.achieved(Achievement::LateCopies), 1);
    // Then the device.
    world.millis(3000);
    world.heard(&phy);
    assert!(world.kinds().is_empty());
    let answer = world.sent();
    let told = device.reads(&answer.phy);
    assert!(told.ack && told.fcnt == 1, "a new frame");
    assert_eq!(world.achieved(Achievement::Repeats), 1);
    // A flood of them is not.
    for _ in 0..30 {
        world.heard(&phy);
    }
    assert!(world.out.asked.len() < 10);
    assert!(world.drops(Drop::RepeatRefused) > 20);
    assert!(world.kinds().is_empty());
}

#[test]
fn a_repeated_unconfirmed_frame_is_not_answered() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.data(b"hello");
    for _ in 0..3 {
        world.heard(&phy);
        world.millis(3000);
    }
    assert_eq!(world.kinds(), [FIRST, BEST]);
    assert!(world.silent());
}

#[test]
fn sessions_share_an_address() {
    let mut world = World::new();
    let mut devices: Vec<_> = (1..=8).map(|number| Device::abp(number, EU, 0x2600_0042)).collect();
    devices.iter().for_each(|device| world.upsert(&device.abp_spec()));
    for _ in 0..3 {
        for device in &mut devices {
            let phy = device.data(b"mine");
            world.heard(&phy);
            let events = world.events();
            assert_eq!((events.len(), events[0].event().dev_eui), (2, device.dev_eui));
        }
    }
    assert_eq!(world.achieved(Achievement::Uplinks), 24);
}

#[test]
fn trials_are_bounded() {
    let mut world = World::new();
    let devices: Vec<_> = (1..=80).map(|number| Device::abp(number, EU, 0x2600_0042)).collect();
    devices.iter().for_each(|device| world.upsert(&device.abp_spec()));
    let stranger = Device::abp(99, EU, 0x2600_0042);
    world.heard(&stranger.frame(0, Says::default()));
    assert_eq!((world.drops(Drop::TrialsExceeded), world.drops(Drop::BadMic)), (1, 1));
    // Counters that fit none are tried at either side, within what is left of the bound.
    world.heard(&stranger.frame(60_000, Says::default()));
    assert_eq!((world.drops(Drop::TrialsExceeded), world.drops(Drop::BadMic)), (2, 2));
}

#[test]
fn frames_of_nobody_go_to_gateway_streams() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let mut phy = device.data(b"hello");
    *phy.last_mut().expect("a MIC") ^= 1;
    world.heard_by(1, 10, &phy);
    world.heard_by(2, 10, &phy);
    let stranger = Device::abp(2, EU, 0x2600_0077);
    let strange = stranger.frame(9, Says { fport: Some(7), payload: b"?", ..Says::default() });
    world.heard_by(1, 10, &strange);
    let events = world.events();
    assert_eq!(
        events.iter().map(|seen| seen.event().copy).collect::<Vec<_>>(),
        [Copy::First, Copy::Later, Copy::First]
    );
    let event = events[2].event();
    assert_eq!((event.kind, event.dev_addr, event.fcnt), (Kind::UnknownFrame, 0x2600_0077, 9));
    assert_eq!((event.fport, event.payload, event.tenant), (Some(7), &strange[..], 0));
    assert_eq!((event.gateway, event.mtype), (gateway(1), 2));
    assert_eq!((world.drops(Drop::BadMic), world.drops(Drop::UnknownDevAddr)), (1, 1));

    let malformed: &[&[u8]] = &[&[], &[0x40], &[0xFF; 20], &[0x40; 300], &[0x00; 22]];
    for phy in malformed {
        world.heard_by(1, 10, phy);
    }
    assert_eq!(world.drops(Drop::Malformed), 5);
    // A downlink, a proprietary frame, a JoinAccept, a RejoinRequest.
    let foreign: &[&[u8]] = &[&[0x60; 14], &[0xE0, 1, 2], &[0x20; 17], &[0xC0; 19]];
    for phy in foreign {
        world.heard_by(1, 10, phy);
    }
    assert_eq!(world.drops(Drop::FrameKind), 4);
    assert!(world.events().iter().all(|seen| seen.event().kind == Kind::UnknownFrame));
}

#[test]
fn what_a_device_said_before_it_was_disabled_is_told() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"x");
    world.heard_by(1, 10, &phy);
    world.upsert(&session::DeviceSpec { enabled: false, ..device.abp_spec() });
    world.millis(1500);
    assert_eq!(world.kinds(), [FIRST, BEST]);
    assert!(world.silent(), "and not answered");
    assert_eq!(world.drops(Drop::DeviceDisabled), 1);
}

#[test]
fn disabled_devices_are_not_heard() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let spec = session::DeviceSpec { enabled: false, ..device.abp_spec() };
    world.upsert(&spec);
    let phy = device.data(b"x");
    world.heard(&phy);
    assert!(world.kinds().is_empty());
    assert_eq!(world.drops(Drop::DeviceDisabled), 1);
    // Enabled again while its window would be open: as if the frame had never come.
    world.upsert(&device.abp_spec());
    world.heard(&phy);
    assert_eq!(world.kinds(), [FIRST, BEST]);
}

#[test]
fn link_check_and_time_are_answered_when_the_window_ends() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let fopts = commands(&[UplinkCommand::LinkCheckReq, UplinkCommand::DeviceTimeReq]);
    let phy = device.says(Says { fopts: &fopts, ..Says::default() });
    let ended = world.unix;
    world.heard_by(1, 20, &phy);
    world.heard_by(2, 83, &phy);
    world.heard_by(2, 85, &phy);
    world.millis(250);
    let answer = world.sent();
    assert_eq!(answer.gateway, gateway(2));
    let told = device.reads(&answer.phy);
    // SF7 is received down to -7.5 dB: 16 dB to spare. 1980-01-06 is day 3657 of Unix time; 18 leap seconds since.
    let gps_us = ended.0 - 3657 * 86_400 * 1_000_000 + 18_000_000;
    assert_eq!(
        told.commands,
        [
            DownlinkCommand::LinkCheckAns { margin_db: 16, gateway_count: 2 },
            DownlinkCommand::DeviceTimeAns { gps_seconds: (gps_us / 1_000_000) as u32, fraction: 0 },
        ]
    );
    assert_eq!(world.achieved(Achievement::MacAnswers), 2);
    // The same on FPort 0, with what nobody knows at the end.
    let payload = [&fopts[..], &[0x7F, 1]].concat();
    let phy = device.says(Says { fport: Some(0), payload: &payload, ..Says::default() });
    world.heard(&phy);
    let answer = world.sent();
    assert_eq!(device.reads(&answer.phy).commands.len(), 2);
    assert_eq!(world.drops(Drop::MacMalformed), 1);
}

#[test]
fn the_gateways_clock_dates_the_uplink() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let fopts = commands(&[UplinkCommand::DeviceTimeReq]);
    let phy = device.says(Says { fopts: &fopts, ..Says::default() });
    let time = base::UnixMicros(1_700_000_123_500_000);
    let reception = event::Reception { gateway: gateway(1), time, ..event::Reception::default() };
    let heard = Heard { phy: &phy, reception, frequency_hz: 868_100_000, data_rate: SF7 };
    world.network.receive(&heard, &world.plan, &mut world.out, world.now, world.unix);
    world.millis(250);
    let answer = world.sent();
    let gps_seconds = (1_700_000_123 - 3657 * 86_400 + 18) as u32;
    assert_eq!(device.reads(&answer.phy).commands, [DownlinkCommand::DeviceTimeAns { gps_seconds, fraction: 128 }]);
}

#[test]
fn a_sign_of_life_is_given_when_asked_for() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.says(Says { adr_ack_req: true, ..Says::default() });
    world.heard(&phy);
    let answer = world.sent();
    let told = device.reads(&answer.phy);
    assert!(!told.ack && !told.confirmed && told.fport.is_none() && told.commands.is_empty());
}

#[test]
fn a_window_longer_than_the_receive_delay_is_cut() {
    let mut world = World::new();
    world.plan.window = core::time::Duration::from_secs(5);
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"x");
    world.heard_by(1, 10, &phy);
    world.millis(701);
    assert_eq!(world.asked().delay.as_secs(), 1, "RX1 was met");
}
