//! Clients and encoders that nobody here wrote, from one end to the other.

use crate::harness::device::{Device, Say, hex};
use crate::harness::fixture::{World, gateway_eui};
use crate::harness::foreign::{Browser, Lines, Packets, python_control, python_socket};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::system::System;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);

/// Frames of npm `lora-packet` in by UDP, out to Python `websockets`; a downlink sent there is decrypted and
/// acknowledged by `lora-packet` again. No line of ours makes or reads a LoRaWAN frame or a WebSocket frame here.
#[test]
fn lora_packet_speaks_with_python_websockets() {
    let world = World::start();
    let mut gateway = world.gateway(1);
    let mut packets = Packets::start();
    let stream = world.stream(&json!({ "copies": "first" }));
    let url = format!("wss://localhost:{}/?token={}", world.system.wss_port, stream.token);
    let mut application = python_socket(&url, &world.system.path("cert.pem"), false);
    let (abp, otaa) = (world.abp(1), world.otaa(2));

    // Joined by the foreign device.
    let app_key = hex(&otaa.app_key);
    let phy = packets.frame(
        "join",
        json!({
            "joinEui": format!("{:016X}", otaa.join_eui), "devEui": otaa.eui(), "devNonce": "0A0B", "appKey": app_key,
        }),
    );
    gateway.hear(&phy, Heard::default());
    let accept = gateway.transmission(SOON).expect("a join-accept");
    gateway.tx_ack(&accept, "NONE");
    let joined = packets.ask("accept", json!({ "phy": hex(&accept.phy), "appKey": app_key, "devNonce": "0A0B" }));
    let told = application.next();
    assert_eq!((&told["Event"], &told["DeviceEUI"]), (&json!("joined"), &json!(otaa.eui())));
    let personalised = json!({
        "devAddr": format!("{:08X}", abp.dev_addr), "nwkSKey": hex(&abp.nwk_s_key), "appSKey": hex(&abp.app_s_key),
    });

    for (eui, session) in [(abp.eui(), personalised), (otaa.eui(), joined)] {
        let with = |more: Value| {
            let mut fields = session.clone();
            fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            fields
        };
        let mut uplink = |packets: &mut Packets, fcnt: u32, payload: &str| {
            let fields = with(json!({ "fcnt": fcnt, "fport": 5, "payload": payload, "confirmed": false }));
            gateway.hear(&packets.frame("uplink", fields), Heard::default());
        };
        uplink(&mut packets, 1, "CAFE01");
        let message = application.next();
        assert_eq!((&message["DeviceEUI"], &message["Data"]), (&json!(eui), &json!("CAFE01")));
        assert_eq!((&message["Type"], &message["Port"], &message["FCnt"]), (&json!(2), &json!(5), &json!(1)));

        application.say(&json!({ "Type": 5, "DeviceEUI": eui, "Port": 9, "Data": "BEEF" }).to_string());
        let accepted = application.next();
        assert_eq!(accepted["Event"], "accepted", "{accepted}");
        uplink(&mut packets, 2, "00");
        application.next();
        let sent = gateway.transmission(SOON).expect("the downlink");
        gateway.tx_ack(&sent, "NONE");
        assert_eq!(application.next()["Event"], "downlink_sent");
        let heard = packets.ask("downlink", with(json!({ "phy": hex(&sent.phy) })));
        assert_eq!((&heard["type"], &heard["payload"]), (&json!("Confirmed Data Down"), &json!("beef")));
        assert_eq!(heard["fport"], 9);

        let acknowledgement = with(json!({ "fcnt": 3, "fport": 5, "payload": "01", "confirmed": false, "ack": true }));
        gateway.hear(&packets.frame("uplink", acknowledgement), Heard::default());
        let mut events = [application.next(), application.next()].map(|message| message["Event"].clone());
        events.sort_by_key(Value::to_string);
        assert!(events.contains(&json!("downlink_acknowledged")), "{events:?}");
    }
    assert_eq!(application.hang_up().as_deref(), Some("closed 1000"));
}

/// The same library, compressed both ways.
#[test]
fn permessage_deflate_with_python_websockets() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({ "deflate": true }));
    let url = format!("wss://localhost:{}/?token={}", world.system.wss_port, stream.token);
    let mut application = python_socket(&url, &world.system.path("cert.pem"), true);
    for payload in 0..20 {
        gateway.hear(&device.uplink(3, &[payload], Say::default()), Heard::default());
        assert_eq!(application.next()["Data"], hex(&[payload]));
    }
    application.say(&json!({ "Type": 3, "DeviceEUI": device.eui(), "Port": 4, "Data": "0102" }).to_string());
    assert_eq!(application.next()["Event"], "accepted");
    assert_eq!(application.hang_up().as_deref(), Some("closed 1000"));
}

/// A page in a headless browser opens the stream, shows an uplink and sends a downlink.
#[test]
fn a_page_in_a_browser_reads_and_writes_a_stream() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let mut browser = Browser::start(&world.system.directory.0);
    let url = format!("wss://localhost:{}/?token={}", world.system.wss_port, stream.token);
    let opened = browser.evaluate(&format!(
        "new Promise((resolve, reject) => {{
            window.messages = [];
            window.socket = new WebSocket({});
            socket.onmessage = (event) => messages.push(JSON.parse(event.data));
            socket.onopen = () => resolve('open');
            socket.onclose = (event) => reject('closed ' + event.code);
        }})",
        json!(url)
    ));
    assert_eq!(opened, "open");
    gateway.hear(&device.uplink(3, &[0xAB, 0xCD], Say::default()), Heard::default());
    browser.wait("messages.length === 1");
    assert_eq!(browser.evaluate("messages[0].Data"), "ABCD");

    let downlink = json!({ "Type": 3, "DeviceEUI": device.eui(), "Port": 4, "Data": "0102" }).to_string();
    browser.evaluate(&format!("socket.send({})", json!(downlink)));
    browser.wait("messages.some((message) => message.Event === 'accepted')");
    gateway.hear(&device.uplink(3, &[1], Say::default()), Heard::default());
    let sent = gateway.transmission(SOON).expect("the downlink");
    gateway.tx_ack(&sent, "NONE");
    assert_eq!(device.downlink(&sent.phy).expect("for the device").payload, [1, 2]);
    browser.wait("messages.some((message) => message.Event === 'downlink_sent')");
}

/// The web console and the reference of the API, as a person sees them.
#[test]
fn the_console_shows_itself_in_a_browser() {
    let world = World::start();
    let mut browser = Browser::start(&world.system.directory.0);
    browser.open(&format!("http://127.0.0.1:{}/", world.system.rest_port));
    browser.wait("document.body.innerText.includes('Trunkline')");
    let document = world.api.get("/api/v1/openapi.json");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    browser.open(&format!("http://127.0.0.1:{}/api/docs", world.system.rest_port));
    browser.wait("document.body.innerText.includes('/api/v1/streams')");
}

/// A dataplane without any control of ours obeys what Python makes of the contract: a snapshot, a delta, a refusal.
#[test]
fn a_control_plane_in_python_pushes_a_plan_to_every_shard() {
    const SHARD_COUNT: usize = 3;
    let mut system = System::prepare(SHARD_COUNT as u32, &[]);
    system.start_dataplane();
    let mut devices = [Device::new(1), Device::new(2)];
    let fact = |device: &Device| {
        json!({
            "dev_eui": device.dev_eui, "dev_addr": device.dev_addr,
            "nwk_s_key": hex(&device.nwk_s_key), "app_s_key": hex(&device.app_s_key),
        })
    };
    let token = "made-in-python";
    let devices_known: Vec<Value> = devices.iter().map(fact).collect();
    let facts = json!({ "token": token, "gateway": gateway_eui(1), "devices": devices_known });
    let mut control = python_control(&system.path("control.sock"), &facts);

    // 64-bit numbers are text in protobuf's JSON, zeros are left out.
    let hello = control.next()["hello"].clone();
    assert_eq!((&hello["major"], &hello["shard_count"]), (&json!(1), &json!(SHARD_COUNT)), "{hello}");
    assert_eq!(hello.get("store"), None, "it has no plan yet: {hello}");
    let acknowledged = |control: &Lines, revision: Option<&str>| {
        let mut shards: Vec<u64> = (0..SHARD_COUNT)
            .map(|_| {
                let said = control.next();
                let body = said.get("acknowledged").unwrap_or_else(|| panic!("{said}"));
                assert_eq!(body.get("revision").and_then(Value::as_str), revision, "{said}");
                body.get("shard").map_or(0, |shard| shard.as_u64().expect("a number"))
            })
            .collect();
        shards.sort_unstable();
        assert_eq!(shards, [0, 1, 2], "each shard once");
    };
    acknowledged(&control, None);
    control.say("snapshot");
    acknowledged(&control, Some("5"));

    // What Python configured serves: a gateway, a device, a stream with its token.
    let mut gateway = Gateway::online(gateway_eui(1), system.gateways());
    let mut socket = system.door().stream(token);
    gateway.hear(&devices[0].uplink(1, &[0x51], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], "51");
    while answer(&control, "happened")["kind"] != "stream_opened" {}

    control.say("refer");
    let said = answer(&control, "refused");
    assert_eq!((&said["field"], &said["revision"]), (&json!("applications[9].tenant"), &json!("7")), "{said}");
    control.say("device");
    let revisions: Vec<Value> =
        (0..SHARD_COUNT).map(|_| answer(&control, "acknowledged")["revision"].clone()).collect();
    assert_eq!(revisions, ["6", "6", "6"]);
    gateway.hear(&devices[1].uplink(1, &[0x52], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], "52");

    control.say("query");
    let mut known: Vec<String> = answer(&control, "answer")["devices"]
        .as_array()
        .expect("devices")
        .iter()
        .map(|device| device["dev_eui"].as_str().expect("text").to_owned())
        .collect();
    known.sort();
    assert_eq!(known, devices.each_ref().map(|device| device.dev_eui.to_string()));
}

/// The next message of this kind; operational events come in between.
fn answer(control: &Lines, kind: &str) -> Value {
    loop {
        let said = control.next();
        if let Some(body) = said.get(kind) {
            return body.clone();
        }
        assert!(said.get("happened").is_some(), "not {kind}: {said}");
    }
}
