//! Clients and encoders that nobody here wrote, from one end to the other.

use crate::harness::device::{Say, hex};
use crate::harness::fixture::World;
use crate::harness::foreign::{Browser, Packets, python_socket};
use crate::harness::gateway::Heard;
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
