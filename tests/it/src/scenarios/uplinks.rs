//! From a gateway's datagram to what an application reads.

use crate::harness::device::{Say, hex};
use crate::harness::fixture::{World, gateway_eui};
use crate::harness::gateway::{Gateway, Heard};
use serde_json::{Value, json};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

#[test]
fn an_uplink_is_the_documented_json_to_the_byte() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));

    device.fcnt_up = 41;
    gateway.hear(&device.uplink(2, &[0x01, 0x02, 0xAA, 0xBB], Say::default()), Heard::default());
    let text = socket.text();
    let message: Value = serde_json::from_str(&text).expect("JSON");
    let (timestamp, id) = (message["Timestamp"].as_u64().expect("seconds"), message["Id"].as_str().expect("an id"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(timestamp) <= 1, "{timestamp} is not {now}");
    assert!(!id.is_empty());
    assert_eq!(
        text,
        format!(
            r#"{{"Type":2,"DeviceEUI":"70B3D57ED0000001","AppEUI":"70B3D57ED000FF00","Timestamp":{timestamp},"Port":2,"Data":"0102AABB","Frequency":868.1,"RSSI":-57,"SNR":9.5,"Gateway":"B827EBFFFE000001","DataRate":"SF7BW125","FCnt":41,"Id":"{id}"}}"#
        )
    );

    gateway.hear(&device.uplink(223, &[], Say { confirmed: true, ..Say::default() }), Heard::default());
    let message = socket.next();
    assert_eq!((&message["Type"], &message["Port"], &message["Data"]), (&json!(4), &json!(223), &json!("")));
}

#[test]
fn copies_all_best_and_first() {
    let world = World::start();
    let mut device = world.abp(1);
    let mut gateways: Vec<Gateway> = (1..=3).map(|number| world.gateway(number)).collect();
    let names: Vec<String> = gateways.iter().map(Gateway::name).collect();
    let mut all = world.open(&world.stream(&json!({ "name": "all", "copies": "all" })));
    let mut best = world.open(&world.stream(&json!({ "name": "best", "copies": "best" })));
    let mut first = world.open(&world.stream(&json!({ "name": "first", "copies": "first" })));

    for round in 0..3u8 {
        let phy = device.uplink(1, &[round], Say::default());
        for (gateway, (rssi, snr)) in gateways.iter_mut().zip([(-90, 2.0), (-60, 9.0), (-100, -3.5)]) {
            gateway.hear(&phy, Heard { rssi, snr, ..Heard::default() });
        }
        let mut heard: Vec<Value> = (0..3).map(|_| all.next()).collect();
        let ids: std::collections::BTreeSet<String> = heard.iter().map(|copy| copy["Id"].to_string()).collect();
        assert_eq!(ids.len(), 3, "each copy has an id of its own");
        heard.sort_by_key(|copy| copy["Gateway"].to_string());
        assert_eq!(heard.iter().map(|copy| copy["Gateway"].clone()).collect::<Vec<_>>(), names);
        assert!(heard.iter().all(|copy| copy["Data"] == hex(&[round]) && copy.get("Gateways").is_none()));

        let one = first.next();
        assert_eq!((&one["Gateway"], &one["Data"]), (&json!(names[0]), &json!(hex(&[round]))));

        let one = best.next();
        assert_eq!((&one["Gateway"], &one["RSSI"], &one["SNR"]), (&json!(names[1]), &json!(-60), &json!(9)));
        let receptions = one["Gateways"].as_array().expect("every reception");
        let listed: Vec<&str> = receptions.iter().filter_map(|reception| reception["Gateway"].as_str()).collect();
        assert_eq!(listed, [&names[1], &names[0], &names[2]], "the best first");
    }
    for socket in [&mut all, &mut best, &mut first] {
        socket.silent(Duration::from_millis(300));
    }
}

#[test]
fn both_protocol_versions_both_address_families_and_several_frames_in_one_datagram() {
    let world = World::start();
    let mut device = world.abp(1);
    let mut socket = world.open(&world.stream(&json!({})));
    let four = world.gateway(1);
    let eui = gateway_eui(2);
    world.api.post("/api/v1/gateways", &json!({ "eui": format!("{eui:016X}"), "tenant": world.tenant }));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, world.system.udp_port));
    let six = Gateway::online(eui, six);
    for mut gateway in [four.version(1), six.version(2)] {
        let frames: Vec<Value> =
            (0..5).map(|n| gateway.rxpk(&device.uplink(1, &[n], Say::default()), Heard::default())).collect();
        assert!(gateway.report(&json!({ "rxpk": frames })));
        for n in 0..5 {
            let message = socket.next();
            assert_eq!((&message["Data"], &message["Gateway"]), (&json!(hex(&[n])), &json!(gateway.name())));
        }
    }
}

#[test]
fn replays_are_refused_and_a_lost_answer_is_given_again() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));
    let old = device.uplink(1, &[1], Say::default());
    let confirmed = device.uplink(1, &[2], Say { confirmed: true, ..Say::default() });

    gateway.hear(&old, Heard::default());
    assert_eq!(socket.next()["Data"], "01");
    gateway.hear(&confirmed, Heard::default());
    assert_eq!(socket.next()["Data"], "02");
    let answer = gateway.transmission(Duration::from_secs(1)).expect("an acknowledgement");
    assert!(device.downlink(&answer.phy).expect("for the device").ack);

    // Past RX2 the same bytes are no late copy but a repetition: the device missed its answer.
    std::thread::sleep(Duration::from_millis(2_500));
    gateway.hear(&confirmed, Heard::default());
    let again = gateway.transmission(Duration::from_secs(1)).expect("acknowledged again");
    assert!(device.downlink(&again.phy).expect("for the device").ack);

    gateway.hear(&old, Heard::default());
    socket.silent(Duration::from_millis(500));
    assert!(gateway.transmission(Duration::ZERO).is_none(), "a replay is not answered");
}

#[test]
fn two_devices_may_share_an_address() {
    let world = World::start();
    let mut gateway = world.gateway(1);
    let mut one = world.abp(1);
    let mut two = crate::harness::device::Device::new(2);
    two.dev_addr = one.dev_addr;
    world.api.post(
        "/api/v1/devices",
        &json!({
            "dev_eui": two.eui(), "join_eui": format!("{:016X}", two.join_eui),
            "application": world.application, "profile": world.profile,
            "abp": {
                "dev_addr": format!("{:08X}", two.dev_addr),
                "nwk_s_key": hex(&two.nwk_s_key), "app_s_key": hex(&two.app_s_key),
            },
        }),
    );
    let mut socket = world.open(&world.stream(&json!({})));
    for round in 0..4u8 {
        for device in [&mut one, &mut two] {
            gateway.hear(&device.uplink(1, &[round], Say::default()), Heard::default());
            let message = socket.next();
            assert_eq!((&message["DeviceEUI"], &message["Data"]), (&json!(device.eui()), &json!(hex(&[round]))));
        }
    }
}

#[test]
fn a_gateway_stream_also_carries_joins_unknown_frames_and_status() {
    let world = World::start();
    let mut gateway = world.gateway(1);
    let (mut known, mut stranger) = (world.otaa(1), crate::harness::device::Device::new(9));
    let level = json!({ "level": "gateway", "gateway": gateway.name() });
    let mut socket = world.open(&world.stream_at(&level, &json!({})));

    gateway.hear(&known.join_request(), Heard::default());
    let join = socket.next_where(|message| message["Event"] == "join_request");
    assert_eq!((&join["DeviceEUI"], &join["DevNonce"]), (&json!(known.eui()), &json!(1)));
    assert_eq!(join["Gateway"], gateway.name());

    let phy = stranger.uplink(3, &[7], Say::default());
    gateway.hear(&phy, Heard::default());
    let unknown = socket.next_where(|message| message["Event"] == "unknown_frame");
    assert_eq!(unknown["Frame"], hex(&phy));
    assert_eq!((&unknown["DevAddr"], &unknown["FCnt"]), (&json!(format!("{:08X}", stranger.dev_addr)), &json!(0)));

    let stat = json!({ "time": "2024-01-01 00:00:00 GMT", "rxnb": 3, "rxok": 2, "ackr": 100.0, "temp": 21 });
    assert!(gateway.report(&json!({ "stat": stat })));
    let status = socket.next_where(|message| message["Event"] == "gateway_status");
    assert_eq!(status["Status"], stat);
}
