//! From what an application sends to what a device receives, and what becomes of it.

use crate::harness::device::{Device, Downlink, Say, hex};
use crate::harness::fixture::World;
use crate::harness::gateway::{Gateway, Heard, Transmission};
use crate::harness::socket::Socket;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

/// Queues a downlink on a stream's own session; returns its id.
fn queue(socket: &mut Socket, message: &Value) -> Value {
    socket.send(message);
    let accepted = socket.next_where(|answer| answer["Event"] == "accepted" || answer["Event"] == "error");
    assert_eq!(accepted["Event"], "accepted", "{accepted}");
    accepted["DownlinkId"].clone()
}

fn event(socket: &mut Socket, event: &str, id: &Value) -> Value {
    socket.next_where(|message| message["Event"] == event && message["DownlinkId"] == *id)
}

/// An uplink that fetches what waits, and the transmission it gets.
fn fetch(gateway: &mut Gateway, device: &mut Device, say: Say<'_>) -> Transmission {
    gateway.hear(&device.uplink(1, &[0], say), Heard::default());
    gateway.transmission(SOON).expect("a downlink")
}

#[test]
fn a_confirmed_uplink_is_acknowledged_in_time() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    for round in 0..3 {
        let start = Instant::now();
        let say = Say { confirmed: true, ..Say::default() };
        let heard_at = gateway.hear(&device.uplink(1, &[round], say), Heard::default());
        let answer = gateway.transmission(SOON).expect("an acknowledgement");
        assert!(start.elapsed() < Duration::from_millis(800), "too late for RX1: {:?}", start.elapsed());
        let txpk = &answer.txpk;
        assert_eq!(txpk["tmst"], heard_at.wrapping_add(1_000_000), "RX1 is one second after the uplink");
        assert_eq!((&txpk["freq"], &txpk["datr"], &txpk["modu"]), (&json!(868.1), &json!("SF7BW125"), &json!("LORA")));
        assert_eq!((&txpk["ipol"], &txpk["imme"]), (&json!(true), &json!(false)));
        gateway.tx_ack(&answer, "NONE");
        let frame = device.downlink(&answer.phy).expect("for the device");
        assert!(frame.ack && !frame.confirmed);
        assert_eq!(frame.fcnt, u32::from(round));
    }
}

#[test]
fn a_device_joins_speaks_and_listens() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.otaa(1));
    let mut socket = world.open(&world.stream(&json!({})));

    let heard_at = gateway.hear(&device.join_request(), Heard::default());
    let accept = gateway.transmission(SOON).expect("a join-accept");
    assert_eq!(accept.txpk["tmst"], heard_at.wrapping_add(5_000_000), "five seconds after the request");
    gateway.tx_ack(&accept, "NONE");
    assert!(device.join_accept(&accept.phy), "the accept is for the device");
    let joined = socket.next_where(|message| message["Event"] == "joined");
    assert_eq!(joined["DeviceEUI"], device.eui());
    assert_eq!(joined["DevAddr"], format!("{:08X}", device.dev_addr));

    let say = Say { confirmed: true, ..Say::default() };
    let answer = fetch(&mut gateway, &mut device, say);
    assert!(device.downlink(&answer.phy).expect("for the device").ack);
    assert_eq!(socket.next_where(|message| message.get("Data").is_some())["FCnt"], 0);

    // A DevNonce is accepted once.
    device.dev_nonce -= 1;
    gateway.hear(&device.join_request(), Heard::default());
    assert!(gateway.transmission(SOON).is_none(), "a reused DevNonce is refused");

    let before = device.dev_addr;
    gateway.hear(&device.join_request(), Heard::default());
    let accept = gateway.transmission(SOON).expect("a new DevNonce is accepted");
    assert!(device.join_accept(&accept.phy));
    assert_eq!(socket.next_where(|message| message["Event"] == "joined")["DeviceEUI"], device.eui());
    assert!(device.dev_addr != 0 && before != 0);
}

#[test]
fn us915_answers_on_its_own_frequencies() {
    let mut world = World::start();
    world.use_profile(&json!({ "region": "US915", "sub_bands": [2] }));
    let (mut gateway, mut device) = (world.gateway(1), world.otaa(1));
    // Channels 8 and 15 (RP002 §2.5.3): RX1 is on downlink channel `channel mod 8`, at DR3's DR13.
    let on = |frequency_mhz: f64| Heard { frequency_mhz, data_rate: "SF7BW125", ..Heard::default() };
    let heard_at = gateway.hear(&device.join_request(), on(903.9));
    let accept = gateway.transmission(SOON).expect("a join-accept");
    let txpk = &accept.txpk;
    assert_eq!(txpk["tmst"], heard_at.wrapping_add(5_000_000));
    assert_eq!((&txpk["freq"], &txpk["datr"]), (&json!(923.3), &json!("SF7BW500")));
    gateway.tx_ack(&accept, "NONE");
    assert!(device.join_accept(&accept.phy));

    let say = Say { confirmed: true, ..Say::default() };
    gateway.hear(&device.uplink(1, &[0], say), on(905.3));
    let answer = gateway.transmission(SOON).expect("an acknowledgement");
    assert_eq!((&answer.txpk["freq"], &answer.txpk["datr"]), (&json!(927.5), &json!("SF7BW500")));
    gateway.tx_ack(&answer, "TOO_LATE");
    let second = gateway.transmission(SOON).expect("RX2");
    assert_eq!((&second.txpk["freq"], &second.txpk["datr"]), (&json!(923.3), &json!("SF12BW500")));
    assert!(device.downlink(&second.phy).expect("for the device").ack);
}

#[test]
fn a_downlink_is_accepted_sent_and_acknowledged() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));

    // Keys are case-insensitive, unknown ones are ignored.
    let message = json!({ "type": 5, "deviceeui": device.eui().to_lowercase(), "PORT": 10, "data": "0a0B", "x": [1] });
    let id = queue(&mut socket, &message);
    let sent = fetch(&mut gateway, &mut device, Say::default());
    gateway.tx_ack(&sent, "NONE");
    let frame = device.downlink(&sent.phy).expect("for the device");
    assert!(frame.confirmed);
    assert_eq!((frame.fport, &frame.payload[..]), (Some(10), &[0x0A, 0x0B][..]));
    let said = event(&mut socket, "downlink_sent", &id);
    assert_eq!((&said["DeviceEUI"], &said["Gateway"]), (&json!(device.eui()), &json!(gateway.name())));

    // Unacknowledged, it is repeated at the next occasion; a device takes no counter twice, so it has a new one.
    let again = fetch(&mut gateway, &mut device, Say::default());
    let repeated = device.downlink(&again.phy).expect("for the device");
    assert_eq!(Downlink { fcnt: frame.fcnt, ..repeated.clone() }, frame);
    assert!(repeated.fcnt > frame.fcnt);
    gateway.tx_ack(&again, "NONE");

    gateway.hear(&device.uplink(1, &[0], Say { ack: true, ..Say::default() }), Heard::default());
    event(&mut socket, "downlink_acknowledged", &id);

    // What is queued is sent one per occasion, in order, and FPending tells the device to ask for more.
    let ids: Vec<Value> = (1..=3)
        .map(|port| queue(&mut socket, &json!({ "Type": 3, "DeviceEUI": device.eui(), "Port": port, "Data": "FF" })))
        .collect();
    for (index, id) in ids.iter().enumerate() {
        let sent = fetch(&mut gateway, &mut device, Say::default());
        gateway.tx_ack(&sent, "NONE");
        let frame = device.downlink(&sent.phy).expect("for the device");
        assert_eq!((frame.fport, frame.pending), (Some(index as u8 + 1), index < 2));
        event(&mut socket, "downlink_sent", id);
    }
}

#[test]
fn a_refused_transmission_falls_back_to_rx2_and_then_to_the_next_gateway() {
    let world = World::start();
    let (mut near, mut far) = (world.gateway(1), world.gateway(2));
    let mut device = world.abp(1);
    let mut socket = world.open(&world.stream(&json!({ "copies": "first" })));
    let id = queue(&mut socket, &json!({ "Type": 3, "DeviceEUI": device.eui(), "Port": 10, "Data": "01" }));

    let phy = device.uplink(1, &[0], Say::default());
    let near_at = near.hear(&phy, Heard::default());
    let far_at = far.hear(&phy, Heard { rssi: -110, snr: -5.0, ..Heard::default() });
    let first = near.transmission(SOON).expect("RX1 through the gateway that heard it best");
    assert_eq!((&first.txpk["tmst"], &first.txpk["freq"]), (&json!(near_at.wrapping_add(1_000_000)), &json!(868.1)));
    near.tx_ack(&first, "TOO_LATE");
    let second = near.transmission(SOON).expect("RX2 through the same gateway");
    assert_eq!(second.txpk["tmst"], near_at.wrapping_add(2_000_000));
    assert_eq!((&second.txpk["freq"], &second.txpk["datr"]), (&json!(869.525), &json!("SF12BW125")));
    near.tx_ack(&second, "COLLISION_PACKET");
    let third = far.transmission(SOON).expect("the next gateway");
    let far_in: Vec<Value> = [1_000_000, 2_000_000].map(|after| json!(far_at.wrapping_add(after))).into();
    assert!(far_in.contains(&third.txpk["tmst"]), "{:?}", third.txpk);
    far.tx_ack(&third, "NONE");
    assert_eq!(device.downlink(&third.phy).expect("for the device").payload, [1]);
    let sent = event(&mut socket, "downlink_sent", &id);
    assert_eq!(sent["Gateway"], far.name());
}

#[test]
fn bad_downlinks_are_answered_with_the_field_that_is_wrong() {
    let world = World::start();
    let device = world.abp(1);
    let mut socket = world.open(&world.stream(&json!({})));
    let good = json!({ "Type": 3, "DeviceEUI": device.eui(), "Port": 10, "Data": "01" });
    let with = |key: &str, value: Value| {
        let mut message = good.clone();
        message[key] = value;
        message
    };
    let cases = [
        ("Type", json!(2)),
        ("Type", json!("3x")),
        ("DeviceEUI", json!("70B3")),
        ("DeviceEUI", json!("70B3D57ED0009999")),
        ("Port", json!(0)),
        ("Port", json!(224)),
        ("Data", json!("0")),
        ("Data", json!("xx")),
        ("Data", json!(hex(&[0; 243]))),
    ];
    for (field, value) in cases {
        socket.send(&with(field, value.clone()));
        let answer = socket.next();
        assert_eq!(answer["Event"], "error", "{field} = {value}: {answer}");
        assert_eq!(answer["Field"], field, "{field} = {value}: {answer}");
    }
    for text in ["", "{", "[]", "null", "{\"Type\":3}"] {
        socket.say(tungstenite::Message::text(text));
        assert_eq!(socket.next()["Event"], "error", "{text}");
    }
    // The session has survived all of it.
    queue(&mut socket, &good);
}

#[test]
fn the_api_queues_lists_and_flushes_downlinks() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));
    let path = format!("/api/v1/devices/{}/downlinks", device.eui());
    let first = world.api.post(&path, &json!({ "fport": 7, "data": "0102" }));
    let second = world.api.post(&path, &json!({ "fport": 8, "data": "03", "confirmed": true }));
    let sent = fetch(&mut gateway, &mut device, Say::default());
    gateway.tx_ack(&sent, "NONE");
    assert_eq!(device.downlink(&sent.phy).expect("for the device").payload, [1, 2]);
    // One number everywhere: in the API, in its lists and in streams.
    assert!(first["id"].as_u64().is_some_and(|id| id < 1 << 53), "{first}");
    event(&mut socket, "downlink_sent", &first["id"]);
    let waiting = world.api.get(&path)["items"].clone();
    assert_eq!(waiting[0]["id"], second["id"], "{waiting}");
    assert_eq!(world.api.get(&format!("/api/v1/devices/{}", device.eui()))["queue"], waiting);
    world.api.delete(&path);
    gateway.hear(&device.uplink(1, &[0], Say::default()), Heard::default());
    assert!(gateway.transmission(SOON).is_none(), "the queue was flushed");
}

#[test]
fn link_check_and_device_time_are_answered() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    // LinkCheckReq and DeviceTimeReq (L2 1.0.4 §5.1, §5.9).
    let answer = fetch(&mut gateway, &mut device, Say { fopts: &[0x02, 0x0D], ..Say::default() });
    let frame = device.downlink(&answer.phy).expect("for the device");
    let commands = if frame.fopts.is_empty() { &frame.payload } else { &frame.fopts };
    assert_eq!((commands[0], commands[2]), (0x02, 1), "LinkCheckAns: one gateway heard it");
    assert_eq!(commands[3], 0x0D, "DeviceTimeAns");
    let gps = u64::from(u32::from_le_bytes(commands[4..8].try_into().expect("four bytes")));
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    // The GPS epoch is 6 January 1980; 18 leap seconds have passed since.
    assert!(gps.abs_diff(unix - 315_964_800 + 18) <= 2, "{gps}");
}
