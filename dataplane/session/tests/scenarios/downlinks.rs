//! Downlinks: queues, repetition, receive windows, gateways that fail, sizes, expiry.

use crate::world::{Device, EU, SF7, SF12, Says, World, gateway};
use base::UnixMicros;
use core::time::Duration;
use event::{Failure, Kind};
use session::{Achievement, DeviceSpec, Drop, Limits, Outcome, Refusal, TransmitError};

/// What was said of downlinks.
fn fates(world: &mut World) -> Vec<(Kind, u64, Option<Failure>)> {
    let spoken = [Kind::DownlinkSent, Kind::DownlinkAcknowledged, Kind::DownlinkFailed];
    let events = world.events();
    let events = events.iter().map(|seen| seen.event()).filter(|event| spoken.contains(&event.kind));
    events.map(|event| (event.kind, event.downlink, event.failure)).collect()
}

#[test]
fn a_downlink_leaves_with_the_next_answer() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let first = world.enqueue(device.dev_eui, false, b"one").expect("queued");
    let second = world.enqueue(device.dev_eui, false, b"two").expect("queued");
    assert!(second > first && second < 1 << 53);
    let state = world.network.state(device.dev_eui).expect("known");
    let queue: Vec<_> = state.queue.iter().map(|it| (it.id, it.fport, it.confirmed, it.payload().to_vec())).collect();
    assert_eq!(queue, [(first, 10, false, b"one".to_vec()), (second, 10, false, b"two".to_vec())]);
    assert!(world.silent(), "class A waits for an uplink");
    let tmst = world.tmst();
    let phy = device.data(b"x");
    world.heard(&phy);
    let asked = world.sent();
    assert_eq!((asked.gateway, asked.delay.as_secs(), asked.tmst), (gateway(1), 1, tmst + 1_000_000));
    assert_eq!((asked.frequency_hz, asked.data_rate, asked.power_dbm), (868_100_000, SF7, 16));
    let told = device.reads(&asked.phy);
    assert_eq!((told.fport, &told.payload[..], told.fpending, told.confirmed), (Some(10), &b"one"[..], true, false));
    let events = world.events();
    let sent = events.last().expect("sent").event();
    assert_eq!((sent.kind, sent.downlink, sent.gateway, sent.fcnt), (Kind::DownlinkSent, first, gateway(1), 0));
    assert_eq!((sent.fport, sent.mtype, sent.frequency_hz), (Some(10), 3, 868_100_000));
    let phy = device.data(b"x");
    world.heard(&phy);
    let told = device.reads(&world.sent().phy);
    assert_eq!((&told.payload[..], told.fpending, told.fcnt), (&b"two"[..], false, 1));
    let phy = device.data(b"x");
    world.heard(&phy);
    assert!(world.silent());
    assert!(world.network.state(device.dev_eui).expect("known").queue.is_empty());
}

#[test]
fn a_confirmed_downlink_is_repeated_until_acknowledged() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let id = world.enqueue(device.dev_eui, true, b"do").expect("queued");
    let next = world.enqueue(device.dev_eui, false, b"then").expect("queued");
    for attempt in 0..3 {
        let phy = device.data(b"x");
        world.heard(&phy);
        let told = device.reads(&world.sent().phy);
        assert_eq!(
            (told.confirmed, &told.payload[..], told.fcnt),
            (true, &b"do"[..], attempt),
            "a new frame each time"
        );
        assert_eq!(fates(&mut world), [(Kind::DownlinkSent, id, None)]);
    }
    let phy = device.says(Says { ack: true, ..Says::default() });
    world.heard(&phy);
    assert_eq!(fates(&mut world), [(Kind::DownlinkAcknowledged, id, None)]);
    assert_eq!(device.reads(&world.sent().phy).payload, b"then", "in the same window");
    assert_eq!(fates(&mut world), [(Kind::DownlinkSent, next, None)]);
    // An acknowledgement of nothing is nothing.
    let phy = device.says(Says { ack: true, ..Says::default() });
    world.heard(&phy);
    assert!(fates(&mut world).is_empty());
}

#[test]
fn an_unacknowledged_downlink_fails_after_its_attempts() {
    let mut world = World::new();
    world.plan.profiles.get_mut(&EU).expect("there").confirmed_attempts_max = 2;
    let mut device = Device::personalised(&mut world, 1, EU);
    let id = world.enqueue(device.dev_eui, true, b"do").expect("queued");
    for _ in 0..3 {
        let phy = device.data(b"x");
        world.heard(&phy);
        world.out.asked.iter().map(|asked| asked.transmission).collect::<Vec<_>>().into_iter().for_each(|it| {
            world.outcome(it, Outcome::Sent);
        });
    }
    assert_eq!(world.out.asked.len(), 2);
    let failed = (Kind::DownlinkFailed, id, Some(Failure::NotAcknowledged));
    assert_eq!(fates(&mut world), [(Kind::DownlinkSent, id, None), (Kind::DownlinkSent, id, None), failed]);
}

#[test]
fn an_early_acknowledgement_needs_no_word_of_the_gateway() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let id = world.enqueue(device.dev_eui, true, b"do").expect("queued");
    let phy = device.data(b"x");
    world.heard(&phy);
    let asked = world.asked();
    let phy = device.says(Says { ack: true, ..Says::default() });
    world.heard(&phy);
    assert_eq!(fates(&mut world), [(Kind::DownlinkAcknowledged, id, None)]);
    world.outcome(asked.transmission, Outcome::Sent);
    assert_eq!(world.drops(Drop::TransmissionUnknown), 1);
}

#[test]
fn errors_lead_to_rx2_and_to_the_next_gateway() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let id = world.enqueue(device.dev_eui, false, b"do").expect("queued");
    let phy = device.data(b"x");
    world.heard_by(1, 20, &phy);
    world.heard_by(2, 90, &phy);
    world.heard_by(2, 80, &phy);
    world.millis(250);
    let mut steps = Vec::new();
    let mut sealed = Vec::new();
    while !world.silent() {
        let asked = world.asked();
        steps.push((asked.gateway, asked.delay.as_secs(), asked.data_rate));
        sealed.push(asked.phy.clone());
        let last = steps.len() == 4;
        world.outcome(asked.transmission, if last { Outcome::Sent } else { Outcome::Error(TransmitError::TooLate) });
        // Its first word counts.
        world.outcome(asked.transmission, Outcome::Sent);
    }
    let expected = [(gateway(2), 1, SF7), (gateway(2), 2, SF12), (gateway(1), 1, SF7), (gateway(1), 2, SF12)];
    assert_eq!(steps, expected);
    assert!(sealed.windows(2).all(|pair| pair[0] == pair[1]), "one frame, so that the device hears it once");
    assert_eq!(fates(&mut world), [(Kind::DownlinkSent, id, None)]);
    assert_eq!((world.drops(Drop::TransmissionRefused), world.achieved(Achievement::Fallbacks)), (3, 3));
    assert_eq!(world.drops(Drop::TransmissionUnknown), 4);
}

#[test]
fn without_a_path_the_next_gateway_is_asked_at_once() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"x");
    world.heard_by(1, 20, &phy);
    world.heard_by(2, 90, &phy);
    world.millis(250);
    let asked = world.asked();
    world.outcome(asked.transmission, Outcome::NoPath);
    let asked = world.asked();
    assert_eq!((asked.gateway, asked.delay.as_secs()), (gateway(1), 1));
}

#[test]
fn a_failed_downlink_stays_queued_up_to_its_attempts() {
    let mut world = World::new();
    world.plan.profiles.get_mut(&EU).expect("there").confirmed_attempts_max = 2;
    let mut device = Device::personalised(&mut world, 1, EU);
    for (outcome, failure) in
        [(Outcome::Error(TransmitError::Power), Failure::Transmission), (Outcome::NoPath, Failure::NoGateway)]
    {
        let id = world.enqueue(device.dev_eui, false, b"do").expect("queued");
        for attempt in 0..2 {
            assert!(fates(&mut world).is_empty());
            let phy = device.data(b"x");
            world.heard(&phy);
            while !world.silent() {
                let asked = world.asked();
                world.outcome(asked.transmission, outcome);
            }
            let waiting = world.network.state(device.dev_eui).expect("known").queue.len();
            assert_eq!(waiting, 1 - attempt);
        }
        assert_eq!(fates(&mut world), [(Kind::DownlinkFailed, id, Some(failure))]);
    }
}

#[test]
fn silence_is_noticed_in_time_for_rx2() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    world.enqueue(device.dev_eui, false, b"do").expect("queued");
    let phy = device.data(b"x");
    world.heard_by(1, 20, &phy);
    world.heard_by(2, 90, &phy);
    world.millis(250);
    assert_eq!(world.asked().gateway, gateway(2));
    world.millis(1600);
    let asked = world.asked();
    assert_eq!((asked.gateway, asked.delay.as_secs()), (gateway(1), 2), "the other gateway's RX2");
    world.millis(5000);
    assert!(world.silent());
    assert_eq!((world.drops(Drop::TransmissionSilent), world.drops(Drop::AnswerUnheard)), (2, 1));
    assert_eq!(world.network.state(device.dev_eui).expect("known").queue.len(), 1, "not lost");
    // With one gateway alone, its own RX2.
    let phy = device.data(b"x");
    world.heard(&phy);
    world.asked();
    world.millis(1600);
    assert_eq!(world.asked().delay.as_secs(), 2);
    // The device speaks before the gateway: that answer is over.
    let phy = device.data(b"x");
    world.heard(&phy);
    assert_eq!(device.reads(&world.sent().phy).payload, b"do");
}

#[test]
fn late_answers_use_rx2_or_none() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let id = world.enqueue(device.dev_eui, false, b"do").expect("queued");
    for (late_ms, expected) in [(950, Some(2)), (1950, None)] {
        let phy = device.data(b"x");
        world.heard_by(1, 90, &phy);
        // The shard was busy.
        world.now = world.now.after(Duration::from_millis(late_ms));
        world.network.expire(&world.plan, &mut world.out, world.now, world.unix);
        match expected {
            Some(delay) => {
                let asked = world.asked();
                assert_eq!(asked.delay.as_secs(), delay);
                world.outcome(asked.transmission, Outcome::NoPath);
            }
            None => assert!(world.silent()),
        }
    }
    assert_eq!(world.drops(Drop::AnswerTooLate), 1);
    assert!(fates(&mut world).is_empty());
    assert!(world.network.state(device.dev_eui).expect("known").queue.iter().any(|it| it.id == id));
}

#[test]
fn sizes_follow_the_data_rates() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    // SF12 carries 51 bytes, SF7 242: RX2 is SF12.
    let large = world.enqueue(device.dev_eui, false, &[1; 242]).expect("queued");
    let phy = device.data(b"x");
    world.heard(&phy);
    let asked = world.asked();
    assert_eq!((asked.delay.as_secs(), device.reads(&asked.phy).payload.len()), (1, 242));
    world.outcome(asked.transmission, Outcome::Error(TransmitError::TooLate));
    assert!(world.silent(), "RX2 cannot carry it");
    let phy = device.data(b"x");
    world.heard_on(1, 90, &phy, 868_100_000, SF12);
    world.millis(250);
    assert!(world.silent());
    assert_eq!(fates(&mut world), [(Kind::DownlinkFailed, large, Some(Failure::TooLong))]);
    // What RX1 cannot carry, RX2 can.
    let profile = world.plan.profiles.get_mut(&EU).expect("there");
    profile.rx2_data_rate = Some(5);
    let medium = world.enqueue(device.dev_eui, false, &[1; 100]).expect("queued");
    let phy = device.data(b"x");
    world.heard_on(1, 90, &phy, 868_100_000, SF12);
    world.millis(250);
    let asked = world.sent();
    assert_eq!((asked.delay.as_secs(), device.reads(&asked.phy).payload.len()), (2, 100));
    assert_eq!(fates(&mut world), [(Kind::DownlinkSent, medium, None)]);
    // Beside MAC answers there is less room: they go first.
    world.enqueue(device.dev_eui, false, &[1; 242]).expect("queued");
    let phy = device.says(Says { fopts: &[0x02], ..Says::default() });
    world.heard(&phy);
    let told = device.reads(&world.sent().phy);
    assert_eq!((told.commands.len(), told.payload.len(), told.fpending), (1, 0, true));
    let phy = device.data(b"x");
    world.heard(&phy);
    assert_eq!(device.reads(&world.sent().phy).payload.len(), 242);
}

#[test]
fn an_uplink_off_the_plan_is_answered_in_rx2() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"x");
    world.heard_on(1, 90, &phy, 868_100_000, base::DataRate::Lora { sf: 5, bw_khz: 500 });
    world.millis(250);
    assert_eq!(world.sent().delay.as_secs(), 2);
}

#[test]
fn downlinks_expire_on_time() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let until = |world: &World, ms: u64| Some(UnixMicros(world.unix.0 + ms * 1000));
    let expires = until(&world, 1000);
    let id = world.enqueue_until(device.dev_eui, false, b"now", expires).expect("queued");
    world.millis(999);
    assert!(fates(&mut world).is_empty());
    world.millis(2);
    assert_eq!(fates(&mut world), [(Kind::DownlinkFailed, id, Some(Failure::Expired))]);
    // Under way when its time comes: the gateway decides.
    for outcome in [Outcome::Sent, Outcome::NoPath] {
        let expires = until(&world, 500);
        let id = world.enqueue_until(device.dev_eui, false, b"now", expires).expect("queued");
        let phy = device.data(b"x");
        world.heard(&phy);
        world.millis(300);
        let asked = world.asked();
        world.outcome(asked.transmission, outcome);
        let expected = match outcome {
            Outcome::Sent => (Kind::DownlinkSent, id, None),
            _ => (Kind::DownlinkFailed, id, Some(Failure::Expired)),
        };
        assert_eq!(fates(&mut world), [expected]);
        assert!(world.silent());
    }
    // Sent and not acknowledged in time.
    let expires = until(&world, 2000);
    let id = world.enqueue_until(device.dev_eui, true, b"now", expires).expect("queued");
    let phy = device.data(b"x");
    world.heard(&phy);
    world.sent();
    world.millis(5000);
    let expected = [(Kind::DownlinkSent, id, None), (Kind::DownlinkFailed, id, Some(Failure::Expired))];
    assert_eq!(fates(&mut world), expected);
}

#[test]
fn downlinks_wait_for_the_first_session() {
    let mut world = World::new();
    let mut device = Device::otaa(1, EU);
    world.upsert(&device.otaa_spec());
    world.enqueue(device.dev_eui, false, b"welcome").expect("queued");
    device.join(&mut world);
    let phy = device.data(b"x");
    world.heard(&phy);
    assert_eq!(device.reads(&world.sent().phy).payload, b"welcome");
}

#[test]
fn refusals_say_why() {
    let mut world = World::with(Limits { downlink_count_max: 20, ..Limits::for_devices(8) });
    let device = Device::personalised(&mut world, 1, EU);
    let eui = device.dev_eui;
    let nobody = base::Eui64::new(1);
    assert_eq!(world.enqueue(nobody, false, b""), Err(Refusal::UnknownDevice));
    assert_eq!(world.enqueue(eui, false, &[0; 243]), Err(Refusal::TooLong));
    for fport in [0, 224, 255] {
        let command = session::Command { dev_eui: eui, fport, confirmed: false, payload: b"", expires: None };
        let refused = world.network.enqueue(&command, &world.plan, &mut world.out, world.now, world.unix);
        assert_eq!(refused, Err(Refusal::BadPort));
    }
    world.upsert(&DeviceSpec { enabled: false, ..device.abp_spec() });
    assert_eq!(world.enqueue(eui, false, b""), Err(Refusal::Disabled));
    world.upsert(&DeviceSpec { profile: 99, ..device.abp_spec() });
    assert_eq!(world.enqueue(eui, false, b""), Err(Refusal::NoSession));
    world.upsert(&device.abp_spec());
    for _ in 0..16 {
        world.enqueue(eui, false, b"x").expect("queued");
    }
    assert_eq!(world.enqueue(eui, false, b"x"), Err(Refusal::QueueFull), "the device's");
    let other = Device::personalised(&mut world, 2, EU);
    for _ in 0..4 {
        world.enqueue(other.dev_eui, false, b"x").expect("queued");
    }
    assert_eq!(world.enqueue(other.dev_eui, false, b"x"), Err(Refusal::QueueFull), "the shard's");
    assert_eq!(world.drops(Drop::DownlinkRefused), 9);
    assert_eq!(world.network.flush(eui, &mut world.out, world.unix), Some(16));
    assert!(
        fates(&mut world).iter().all(|(kind, _, why)| (*kind, *why) == (Kind::DownlinkFailed, Some(Failure::Flushed)))
    );
    assert_eq!(world.network.flush(nobody, &mut world.out, world.unix), None);
    assert!(world.network.remove(other.dev_eui, &mut world.out, world.unix));
    assert_eq!(fates(&mut world).len(), 4);
    world.enqueue(eui, false, b"x").expect("all room is back");
    let mut rekeyed = device.clone();
    rekeyed.keys.app_s_key.0[0] ^= 1;
    world.upsert(&rekeyed.abp_spec());
    let fates = fates(&mut world);
    assert_eq!((fates.len(), fates[0].2), (1, Some(Failure::SessionEnded)));
}

#[test]
fn nothing_is_sent_for_a_device_that_is_gone() {
    let mut world = World::new();
    let mut device = Device::personalised(&mut world, 1, EU);
    let phy = device.confirmed(b"x");
    world.heard_by(1, 90, &phy);
    world.network.remove(device.dev_eui, &mut world.out, world.unix);
    world.millis(250);
    assert!(world.silent());
    // Nor does the word on its last answer matter.
    world.upsert(&device.abp_spec());
    let phy = device.confirmed(b"x");
    world.heard(&phy);
    let asked = world.asked();
    world.network.remove(device.dev_eui, &mut world.out, world.unix);
    world.outcome(asked.transmission, Outcome::Error(TransmitError::Other));
    world.millis(5000);
    assert!(world.silent());
    assert_eq!(world.drops(Drop::TransmissionUnknown), 1);
}
