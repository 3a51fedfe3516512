//! Joining: accepts, nonces, the old session beside the new one, channels, and what survives a restart.

use crate::world::{Device, EU, EU_104, EU_OTHER, Says, US_SUB, US_SUB_104, World, commands, gateway};
use base::{DataRate, Eui64};
use event::{Copy, Kind};
use lorawan::mac::{DownlinkCommand, UplinkCommand};
use lorawan::region::ChannelMask;
use session::{
    Achievement, Activation, DeviceSpec, Drop, Lanes, Limits, NotRestored, Outcome, SessionRecord, lane_of_addr,
    lane_of_eui,
};

#[test]
fn a_join_gives_an_address_of_the_devices_lane() {
    let mut world = World::new();
    let mut device = Device::otaa(1, EU);
    world.upsert(&device.otaa_spec());
    let request = device.join_request();
    world.heard_by(1, 10, &request);
    world.heard_by(2, 60, &request);
    let tmst = world.tmst();
    assert!(world.silent(), "the accept waits for the best gateway");
    world.millis(250);
    let asked = world.sent();
    assert_eq!((asked.gateway, asked.delay.as_secs(), asked.tmst), (gateway(2), 5, tmst + 5_000_000));
    assert_eq!((asked.frequency_hz, asked.data_rate), (868_100_000, crate::world::SF7));
    let accept = device.take_accept(&asked.phy).expect("an accept");
    assert_eq!(lane_of_addr(accept.dev_addr), lane_of_eui(device.dev_eui));
    assert_eq!((accept.net_id, accept.join_nonce, accept.rx_delay_s), (world.plan.net_id, 1, 1));
    let events = world.events();
    let kinds: Vec<_> = events.iter().map(|seen| (seen.event().kind, seen.event().copy)).collect();
    assert_eq!(
        kinds,
        [(Kind::JoinRequest, Copy::First), (Kind::JoinRequest, Copy::Later), (Kind::Joined, Copy::First)]
    );
    let heard = events[0].event();
    assert_eq!((heard.dev_eui, heard.join_eui, heard.dev_nonce), (device.dev_eui, device.join_eui, 1));
    assert_eq!((heard.tenant, heard.application, heard.payload), (3, 4, &request[..]));
    let joined = events[2].event();
    assert_eq!((joined.dev_addr, joined.session, joined.dev_nonce), (device.dev_addr.0, 1, 1));
    assert_eq!((joined.gateway, joined.receptions.len()), (gateway(2), 2));
    let phy = device.data(b"first");
    world.heard(&phy);
    assert_eq!(world.kinds(), [(Kind::Uplink, Copy::First), (Kind::Uplink, Copy::Best)]);
    assert_eq!((world.achieved(Achievement::Joins), world.achieved(Achievement::SessionsConfirmed)), (1, 1));
}

#[test]
fn the_old_session_serves_until_the_new_one_speaks() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"one");
    world.heard(&phy);
    let mut old = device.clone();
    device.join(&mut world);
    assert_ne!(old.dev_addr, device.dev_addr);
    assert_eq!(world.network.session_count(), 2);
    world.events();
    // The accept was lost: the device goes on.
    let phy = old.confirmed(b"two");
    world.heard(&phy);
    let events = world.events();
    assert_eq!((events.len(), events[0].event().session, events[0].event().payload), (2, 1, &b"two"[..]));
    let answer = world.sent();
    assert!(old.reads(&answer.phy).ack);
    // The accept was not lost after all.
    let phy = device.data(b"three");
    world.heard(&phy);
    let events = world.events();
    assert_eq!((events[0].event().session, events[0].event().dev_addr), (2, device.dev_addr.0));
    assert_eq!(world.network.session_count(), 1);
    let phy = old.data(b"four");
    world.heard(&phy);
    assert_eq!(world.kinds(), [(Kind::UnknownFrame, Copy::First)]);
    // A third join offers another session in place of one that never spoke.
    device.join(&mut world);
    device.join(&mut world);
    assert_eq!(world.network.session_count(), 2);
}

#[test]
fn joins_are_checked() {
    let mut world = World::new();
    let device = Device::otaa(1, EU);
    world.upsert(&device.otaa_spec());
    let refused = |world: &mut World, mut device: Device, drop: Drop| {
        let before = world.drops(drop);
        let request = device.join_request();
        world.heard(&request);
        assert!(world.silent());
        assert_eq!(world.drops(drop), before + 1, "{drop:?}");
        assert_eq!(world.kinds(), [(Kind::JoinRequest, Copy::First)], "heard all the same");
    };
    refused(&mut world, Device::otaa(2, EU), Drop::JoinUnknownDevice);
    refused(&mut world, Device { join_eui: base::Eui64::new(9), ..device.clone() }, Drop::JoinEuiMismatch);
    refused(&mut world, Device { app_key: lorawan::AesKey([9; 16]), ..device.clone() }, Drop::JoinBadMic);
    let personalised = Device::personalised(&mut world, 3, EU);
    refused(&mut world, personalised, Drop::JoinUnknownDevice);
    world.upsert(&DeviceSpec { enabled: false, ..device.otaa_spec() });
    refused(&mut world, Device { dev_nonce: 10, ..device.clone() }, Drop::DeviceDisabled);
    world.upsert(&DeviceSpec { profile: 99, ..device.otaa_spec() });
    refused(&mut world, Device { dev_nonce: 11, ..device.clone() }, Drop::ProfileUnknown);
    assert_eq!(world.network.session_count(), 1, "the personalised one");
}

#[test]
fn a_nonce_serves_once() {
    let mut world = World::new();
    let mut random = Device::otaa(1, EU);
    let mut counting = Device::otaa(2, EU_104);
    world.upsert(&random.otaa_spec());
    world.upsert(&counting.otaa_spec());
    let mut used = Vec::new();
    for nonce in [900, 5, 77] {
        random.dev_nonce = nonce;
        let request = random.join_request();
        world.heard(&request);
        world.sent();
        used.push(request);
    }
    for request in &used {
        world.heard(request);
    }
    assert_eq!(world.drops(Drop::JoinNonceReused), 3);
    // LoRaWAN 1.0.4: lower than before is used, though it never was.
    counting.dev_nonce = 900;
    counting.join(&mut world);
    counting.dev_nonce = 5;
    let request = counting.join_request();
    world.heard(&request);
    assert_eq!(world.drops(Drop::JoinNonceReused), 4);
    counting.dev_nonce = 901;
    counting.join(&mut world);
    // Of a random device the last 32 are remembered.
    for nonce in 1000..1032 {
        random.dev_nonce = nonce;
        random.join(&mut world);
    }
    world.heard(&used[0]);
    world.sent();
    assert_eq!(world.drops(Drop::JoinNonceReused), 4);
}

#[test]
fn an_accept_falls_back_and_may_fail() {
    let mut world = World::new();
    let mut device = Device::otaa(1, EU);
    world.upsert(&device.otaa_spec());
    let request = device.join_request();
    world.heard(&request);
    let first = world.asked();
    world.outcome(first.transmission, Outcome::Error(session::TransmitError::CollisionPacket));
    let second = world.asked();
    assert_eq!((second.delay.as_secs(), second.frequency_hz, second.phy.clone()), (6, 869_525_000, first.phy));
    assert_eq!((second.data_rate, second.power_dbm), (crate::world::SF12, 29));
    world.outcome(second.transmission, Outcome::NoPath);
    assert!(world.silent());
    assert_eq!((world.drops(Drop::AnswerUnheard), world.achieved(Achievement::Fallbacks)), (1, 1));
}

#[test]
fn a_device_changed_while_its_window_is_open_does_not_join() {
    let mut world = World::new();
    for change in 0..3 {
        let mut device = Device::otaa(1 + change, EU);
        world.upsert(&device.otaa_spec());
        let request = device.join_request();
        world.heard_by(1, 10, &request);
        match change {
            0 => assert!(world.network.remove(device.dev_eui, &mut world.out, world.unix)),
            1 => world.upsert(&DeviceSpec { enabled: false, ..device.otaa_spec() }),
            _ => {
                device.app_key.0[0] ^= 1;
                world.upsert(&device.otaa_spec());
            }
        }
        world.millis(250);
        assert!(world.silent(), "change {change}");
    }
    assert_eq!(world.network.session_count(), 0);
}

#[test]
fn windows_of_the_profile_are_asked_for() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU_OTHER);
    // DLSettings and RxDelay came with the accept; RX2's frequency can not.
    let phy = device.confirmed(b"x");
    world.heard(&phy);
    let asked = world.asked();
    assert_eq!((asked.delay.as_secs(), asked.data_rate), (5, DataRate::Lora { sf: 8, bw_khz: 125 }));
    let told = device.reads(&asked.phy);
    let dl_settings = lorawan::DlSettings { rx1_dr_offset: 1, rx2_data_rate: 3 };
    assert_eq!(told.commands, [DownlinkCommand::RxParamSetupReq { dl_settings, frequency_hz: 868_500_000 }]);
    world.outcome(asked.transmission, Outcome::Error(session::TransmitError::TooLate));
    assert_eq!(world.sent().frequency_hz, 869_525_000, "until it says so, RX2 is the region's");
    let ok = UplinkCommand::RxParamSetupAns { rx1_dr_offset_ok: true, rx2_data_rate_ok: true, channel_ok: true };
    let phy = device.says(Says { confirmed: true, fopts: &commands(&[ok]), ..Says::default() });
    world.heard(&phy);
    let asked = world.asked();
    assert!(device.reads(&asked.phy).commands.is_empty(), "asked and answered");
    world.outcome(asked.transmission, Outcome::Error(session::TransmitError::TooLate));
    let second = world.sent();
    assert_eq!((second.frequency_hz, second.delay.as_secs()), (868_500_000, 6));
    // Another profile: everything back, the delay too.
    device.profile = EU;
    world.upsert(&device.otaa_spec());
    let phy = device.data(b"x");
    world.heard(&phy);
    let told = device.reads(&world.sent().phy);
    assert_eq!((told.commands.len(), told.commands[1]), (2, DownlinkCommand::RxTimingSetupReq { delay_s: 1 }));
    let phy = device.says(Says { fopts: &commands(&[ok, UplinkCommand::RxTimingSetupAns]), ..Says::default() });
    world.heard(&phy);
    assert!(world.silent());
    let phy = device.confirmed(b"x");
    world.heard(&phy);
    let asked = world.sent();
    assert_eq!((asked.delay.as_secs(), asked.data_rate), (1, crate::world::SF7));
    assert_eq!(world.achieved(Achievement::MacAccepted), 3);
}

/// US915 sub-band 2: uplink channel 8.
const US_UP: (u32, DataRate) = (903_900_000, DataRate::Lora { sf: 10, bw_khz: 125 });

#[test]
fn a_sub_band_goes_with_the_accept_or_by_command() {
    let mut world = World::new();
    let mut newer = Device::otaa(1, US_SUB_104);
    world.upsert(&newer.otaa_spec());
    let accept = newer.join(&mut world);
    let masks = accept.cf_list.expect("a CFList of masks").masks();
    assert_eq!(masks[..5], ChannelMask::of_sub_bands(0b10).0);
    let phy = newer.data(b"x");
    world.heard_on(1, 90, &phy, US_UP.0, US_UP.1);
    world.millis(250);
    assert!(world.silent(), "the device has its channels already");

    let mut older = Device::otaa(2, US_SUB);
    world.upsert(&older.otaa_spec());
    assert_eq!(older.join(&mut world).cf_list, None);
    let phy = older.data(b"x");
    world.heard_on(1, 90, &phy, US_UP.0, US_UP.1);
    world.millis(250);
    let asked = world.sent();
    assert_eq!((asked.frequency_hz, asked.data_rate), (923_300_000, DataRate::Lora { sf: 10, bw_khz: 500 }));
    let requests: Vec<_> = older
        .reads(&asked.phy)
        .commands
        .into_iter()
        .map(|command| match command {
            DownlinkCommand::LinkAdrReq(request) => request,
            other => panic!("{other:?}"),
        })
        .collect();
    // As the device takes them: one after the other, over all channels.
    let mask =
        requests.iter().try_fold(ChannelMask::of_sub_bands(0), |mask, it| mask.after(it.ch_mask_cntl, it.ch_mask));
    assert_eq!(mask, Some(ChannelMask::of_sub_bands(0b10)));
    assert!(requests.iter().all(|it| it.data_rate == 0 && it.tx_power == 0 && it.nb_trans == 1));

    // Refused once, asked again; accepted, asked no more.
    let ans = |ok| UplinkCommand::LinkAdrAns { power_ok: true, data_rate_ok: true, channel_mask_ok: ok };
    let say = |world: &mut World, device: &mut Device, ok| {
        let fopts = commands(&vec![ans(ok); requests.len()]);
        let phy = device.says(Says { fopts: &fopts, ..Says::default() });
        world.heard_on(1, 90, &phy, US_UP.0, US_UP.1);
        world.millis(250);
    };
    say(&mut world, &mut older, false);
    world.sent();
    say(&mut world, &mut older, true);
    assert!(world.silent());
    assert_eq!((world.achieved(Achievement::MacRequests), world.achieved(Achievement::MacAccepted)), (2, 1));

    // Personalised, and deaf to it: eight times.
    let mut deaf = Device::abp(3, US_SUB, 0x2600_0003);
    world.upsert(&deaf.abp_spec());
    for turn in 0..12 {
        let phy = deaf.data(b"x");
        world.heard_on(1, 90, &phy, US_UP.0, US_UP.1);
        world.millis(250);
        assert_eq!(world.silent(), turn >= 8, "turn {turn}");
        world.millis(5000);
        world.out.asked.clear();
    }
}

fn restarted(world: &World, specs: &[DeviceSpec], records: &[SessionRecord]) -> World {
    let mut after = World::new();
    (after.now, after.unix) = (world.now, world.unix);
    for spec in specs {
        after.upsert(spec);
    }
    for record in records {
        let stored = SessionRecord::from_wire(&record.to_wire()).expect("its own bytes");
        after.network.restore(&stored).expect("a device that is known");
    }
    after
}

#[test]
fn a_restart_goes_on_beyond_what_was_reserved() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let mut last = Vec::new();
    for _ in 0..70 {
        last = device.confirmed(b"x");
        world.heard(&last);
        let answer = world.sent();
        device.reads(&answer.phy);
    }
    assert_eq!(device.fcnt_down, Some(69));
    // The last whole record is all that is left.
    let record = world.out.records.last().expect("stored").clone();
    assert!(world.out.records.len() < 20, "not one for each frame: {}", world.out.records.len());
    let mut after = restarted(&world, &[device.otaa_spec()], &[record]);
    let phy = device.confirmed(b"y");
    after.heard(&phy);
    let told = device.reads(&after.sent().phy);
    assert_eq!((told.ack, told.fcnt), (true, 128), "beyond the block");
    assert_eq!(after.network.state(device.dev_eui).expect("known").fcnt_up, 71);
    // No DevNonce is accepted twice.
    device.dev_nonce = 0;
    let request = device.join_request();
    after.heard(&request);
    assert_eq!(after.drops(Drop::JoinNonceReused), 1);
    // What the changes add up to knows all of it: what was delivered is not delivered again.
    let records: Vec<_> = world.network.records().collect();
    assert_eq!(
        world.out.states[&device.dev_eui].record.as_ref().map(|kept| kept.session.map(|it| it.fcnt_up)),
        Some(Some(70))
    );
    let mut after = restarted(&world, &[device.otaa_spec()], &records);
    after.millis(5000);
    after.heard(&last);
    assert!(after.kinds().is_empty());
    assert_eq!(after.achieved(Achievement::Repeats), 1);
}

#[test]
fn an_offered_session_survives_a_restart() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard(&phy);
    let mut old = device.clone();
    device.join(&mut world);
    let record = world.out.records.last().expect("stored").clone();
    assert!(record.session.is_some() && record.pending.is_some());
    let mut after = restarted(&world, &[device.otaa_spec()], core::slice::from_ref(&record));
    let phy = old.data(b"old");
    after.heard(&phy);
    let phy = device.data(b"new");
    after.heard(&phy);
    let sessions: Vec<_> = after.events().iter().map(|seen| seen.event().session).collect();
    assert_eq!(sessions, [1, 1, 2, 2]);
    // The next one is numbered on, and its JoinNonce is a new one.
    assert_eq!(device.join(&mut after).join_nonce, 3);
    // Not for another root key, nor for nobody.
    device.app_key.0[0] ^= 1;
    after.upsert(&device.otaa_spec());
    assert_eq!(after.network.restore(&record), Err(NotRestored::OtherKeys));
    after.network.remove(device.dev_eui, &mut after.out, after.unix);
    assert_eq!(after.network.restore(&record), Err(NotRestored::UnknownDevice));
    // Nor where there is no room for both.
    let mut small = World::with(Limits { pending_count_max: 0, ..Limits::for_devices(4) });
    small.upsert(&old.otaa_spec());
    assert_eq!(small.network.restore(&record), Err(NotRestored::Full));
}

#[test]
fn personalised_sessions_are_restored_under_their_keys() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    for _ in 0..3 {
        let phy = device.confirmed(b"x");
        world.heard(&phy);
        device.reads(&world.sent().phy);
    }
    let records: Vec<_> = world.network.records().collect();
    let fresh = Device { fcnt_up: 0, fcnt_down: None, ..device.clone() };
    let mut after = restarted(&world, &[fresh.abp_spec()], &records);
    let state = after.network.state(device.dev_eui).expect("known");
    assert_eq!((state.fcnt_up, state.fcnt_down), (3, 64));
    let phy = device.confirmed(b"x");
    after.heard(&phy);
    device.reads(&after.sent().phy);
    let mut other = World::new();
    let mut changed = device.clone();
    changed.keys.nwk_s_key.0[3] ^= 1;
    other.upsert(&changed.abp_spec());
    assert_eq!(other.network.restore(&records[0]), Err(NotRestored::OtherKeys));
}

#[test]
fn many_are_restored_as_one_by_one() {
    let mut world = World::new();
    let mut specs = Vec::new();
    for number in 1..=20 {
        let device = if number % 3 == 0 {
            Device::personalised(&mut world, number, EU)
        } else {
            Device::joined(&mut world, number, EU)
        };
        specs.push(if number % 3 == 0 { device.abp_spec() } else { device.otaa_spec() });
    }
    let mut records: Vec<SessionRecord> = world.network.records().collect();
    records[2].root ^= 1;
    records[7].dev_eui = Eui64::new(0xABCD);
    let [mut one_by_one, mut at_once] = [World::new(), World::new()];
    for spec in &specs {
        one_by_one.upsert(spec);
        at_once.upsert(spec);
    }
    let restored = records.iter().filter(|record| one_by_one.network.restore(record).is_ok()).count();
    assert_eq!((at_once.network.restore_all(&records), restored), (18, 18));
    assert!(at_once.network.records().eq(one_by_one.network.records()));
    assert_eq!(at_once.network.restore_all(&[]), 0);
}

#[test]
fn lanes_decide_who_keeps_what() {
    use session::{LANE_COUNT, Lane, Network, Upserted};
    let device = Device::abp(1, EU, 0x2600_0001);
    let (home, keeper) = (lane_of_addr(device.dev_addr), lane_of_eui(device.dev_eui));
    assert_ne!(home, keeper);
    let limits = Limits::for_devices(4);
    let mut out = crate::world::Output::default();
    let unix = base::UnixMicros(1);
    let mut at_home = Network::new(limits, Lanes::NONE.with(home), 1);
    let mut at_keeper = Network::new(limits, Lanes::NONE.with(keeper), 1);
    let other = (0..LANE_COUNT as u8).map(Lane).find(|lane| *lane != home && *lane != keeper).expect("many lanes");
    let mut elsewhere = Network::new(limits, Lanes::NONE.with(other), 1);
    assert_eq!(at_home.upsert(&device.abp_spec(), &mut out, unix), Ok(Upserted::Home { before: None }));
    assert_eq!(at_keeper.upsert(&device.abp_spec(), &mut out, unix), Ok(Upserted::Redirected { before: None }));
    assert_eq!(elsewhere.upsert(&device.abp_spec(), &mut out, unix), Ok(Upserted::Elsewhere));
    assert_eq!((at_keeper.redirect(device.dev_eui), at_home.redirect(device.dev_eui)), (Some(home), None));
    assert_eq!((at_home.device_count(), at_keeper.device_count(), elsewhere.device_count()), (1, 0, 0));
    // Another address: the keeper knows where it lived, and forgets it when it comes home.
    let moved = Device { dev_addr: lorawan::DevAddr(0x2600_0002), ..device.clone() };
    assert_ne!(lane_of_addr(moved.dev_addr), home);
    assert_eq!(at_keeper.upsert(&moved.abp_spec(), &mut out, unix), Ok(Upserted::Redirected { before: Some(home) }));
    assert_eq!(at_home.upsert(&moved.abp_spec(), &mut out, unix), Ok(Upserted::Elsewhere));
    assert_eq!(at_home.device_count(), 0);
    let before = Some(lane_of_addr(moved.dev_addr));
    assert_eq!(at_keeper.upsert(&device.otaa_spec(), &mut out, unix), Ok(Upserted::Home { before }));
    assert_eq!((at_keeper.redirect(device.dev_eui), at_keeper.device_count()), (None, 1));
    assert_eq!(at_keeper.upsert(&moved.abp_spec(), &mut out, unix), Ok(Upserted::Redirected { before: None }));
    assert!(at_keeper.remove(device.dev_eui, &mut out, unix) && !at_keeper.remove(device.dev_eui, &mut out, unix));
    assert_eq!(at_keeper.redirect(device.dev_eui), None);
}

#[test]
fn changes_keep_or_end_the_session() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard(&phy);
    world.upsert(&DeviceSpec { tenant: 30, application: 40, profile: EU_104, ..device.otaa_spec() });
    world.events();
    let phy = device.data(b"x");
    world.heard(&phy);
    let events = world.events();
    assert_eq!((events[0].event().tenant, events[0].event().application), (30, 40));
    // Personalised now: the old session is over.
    let personal = Device::abp(1, EU, 0x2600_0009);
    world.upsert(&personal.abp_spec());
    assert_eq!(world.network.session_count(), 1);
    let phy = device.data(b"x");
    world.heard(&phy);
    assert_eq!(world.kinds(), [(Kind::UnknownFrame, Copy::First)]);
    let state = world.network.state(personal.dev_eui).expect("known");
    assert_eq!((state.session, state.dev_addr), (2, personal.dev_addr));
    assert!(matches!(personal.abp_spec().activation, Activation::Abp { .. }));
    // And joining again: no session until then.
    world.upsert(&device.otaa_spec());
    let state = world.network.state(personal.dev_eui).expect("known");
    assert!(!state.active && world.network.session_count() == 0);
    device.join(&mut world);
    assert_eq!(world.network.state(device.dev_eui).expect("known").session, 3);
}

#[test]
fn nothing_is_said_before_it_is_kept() {
    let mut world = World::new();
    world.out.slow = true;
    let mut device = Device::otaa(1, EU);
    world.upsert(&device.otaa_spec());
    let request = device.join_request();
    world.heard(&request);
    assert!(world.silent(), "the accept waits");
    world.disk_catches_up();
    let accept = world.sent();
    device.take_accept(&accept.phy).expect("its own");
    assert_eq!(world.achieved(Achievement::AnswersHeld), 1);

    let phy = device.confirmed(b"x");
    world.heard(&phy);
    assert_eq!(
        world.kinds().iter().filter(|(kind, _)| *kind == event::Kind::Uplink).count(),
        2,
        "live output does not wait"
    );
    assert!(world.silent(), "the acknowledgement waits");
    world.millis(300);
    world.disk_catches_up();
    let answer = world.sent();
    assert_eq!(answer.delay, core::time::Duration::from_secs(1), "and still meets RX1");
    assert!(device.reads(&answer.phy).ack);

    // A disk that takes longer than RX2 is open costs the acknowledgement, not the uplink.
    let phy = device.confirmed(b"y");
    world.heard(&phy);
    world.millis(5000);
    world.disk_catches_up();
    assert!(world.silent());
    assert_eq!(world.drops(Drop::AnswerNotKept), 1);
    // The device repeats itself and is told then.
    world.out.slow = false;
    world.heard(&phy);
    assert!(device.reads(&world.sent().phy).ack);
}

#[test]
fn what_a_full_disk_refused_is_kept_when_it_is_repeated() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard(&phy);
    let kept = world.out.kept_events;
    world.out.full = true;
    let phy = device.confirmed(b"y");
    world.heard(&phy);
    assert!(world.silent(), "not acknowledged");
    assert_eq!(world.enqueue(device.dev_eui, false, b"z"), Err(session::Refusal::NotKept));
    assert_eq!(world.network.state(device.dev_eui).expect("known").queue.len(), 0);
    world.millis(5000);
    world.out.full = false;
    world.events();
    world.heard(&phy);
    assert_eq!(world.out.kept_events, kept + 1, "kept now, with what it says");
    assert!(device.reads(&world.sent().phy).ack);
    assert!(world.kinds().is_empty(), "and not told twice");
    // A further repetition is acknowledged, and kept no second time.
    world.millis(5000);
    world.heard(&phy);
    assert_eq!(world.out.kept_events, kept + 1);
}

#[test]
fn what_a_full_disk_refused_is_new_after_a_restart() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard(&phy);
    world.out.full = true;
    let phy = device.confirmed(b"y");
    world.heard(&phy);
    assert!(world.silent(), "not acknowledged");
    // Whatever else has the session written down whole: the uplink is not part of it.
    let records: Vec<_> = world.network.records().collect();
    let mut after = restarted(&world, &[device.otaa_spec()], &records);
    let kept = after.out.kept_events;
    after.heard(&phy);
    assert_eq!(after.out.kept_events, kept + 1, "kept, with what it says");
    assert!(device.reads(&after.sent().phy).ack);
}

#[test]
fn a_queue_survives_a_restart() {
    let mut world = World::new();
    let mut device = Device::joined(&mut world, 1, EU);
    let phy = device.data(b"x");
    world.heard(&phy);
    let sent = world.enqueue(device.dev_eui, false, b"sent").expect("queued");
    let next = world.enqueue(device.dev_eui, true, b"next").expect("queued");
    let phy = device.data(b"x");
    world.heard(&phy);
    device.reads(&world.sent().phy);
    let state = world.out.states[&device.dev_eui].clone();
    let mut after = restarted(&world, &[device.otaa_spec()], state.record.as_slice());
    for downlink in &state.queue {
        let downlink = session::KeptDownlink::parse(downlink).expect("its own bytes");
        assert!(after.network.restore_downlink(&downlink, after.now, after.unix));
    }
    let waiting: Vec<u64> =
        after.network.state(device.dev_eui).expect("known").queue.iter().map(|downlink| downlink.id).collect();
    assert_eq!(waiting, [next], "{sent} was sent");
    let phy = device.data(b"x");
    after.heard(&phy);
    assert_eq!(device.reads(&after.sent().phy).payload, b"next");
    assert!(after.enqueue(device.dev_eui, false, b"more").expect("queued") > next, "ids go on");
}
