//! What comes from outside and is wrong: each gets a clear error or a named count, and the next good message passes.

use crate::harness::device::{Device, Say};
use crate::harness::fixture::{World, gateway_eui};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::metrics::reaches;
use crate::harness::process::Process;
use crate::harness::system::{System, certificate};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Asserts that a drop of this family was counted for this reason at least so often.
#[track_caller]
fn dropped(world: &World, family: &str, reason: &str, count: u64) {
    let family = format!("trunkline_{family}_total");
    reaches(world.system.metrics_port, &family, &[&format!("=\"{reason}\"")], count);
}

#[test]
fn hostile_datagrams_are_counted_by_reason() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));
    let head = gateway.head(0x00);
    let push = |body: &[u8]| [&head[..], body].concat();

    for cut in 0..12 {
        gateway.raw(&head[..cut]);
    }
    dropped(&world, "semtech_udp_malformed", "short", 11);
    let mut versioned = push(b"{}");
    versioned[0] = 9;
    gateway.raw(&versioned);
    dropped(&world, "semtech_udp_malformed", "version", 1);
    versioned[0] = 2;
    versioned[3] = 0x77;
    gateway.raw(&versioned);
    dropped(&world, "semtech_udp_malformed", "identifier", 1);
    gateway.raw(&push(b"{"));
    dropped(&world, "semtech_udp_malformed", "json", 1);
    gateway.raw(&push(b"[]"));
    gateway.raw(&push(b"{\"rxpk\":7}"));
    dropped(&world, "semtech_udp_malformed", "shape", 2);
    gateway.raw(&push(b"\xFF\xFE"));
    gateway.raw(&push(b"{\"rxpk\":[{\"data\":\"\xC3\x28\"}]}"));
    dropped(&world, "semtech_udp_malformed", "utf8", 2);
    let mut rxpk = gateway.rxpk(&[0x40; 20], Heard::default());
    rxpk["data"] = "!!!!".into();
    gateway.report(&json!({ "rxpk": [rxpk] }));
    dropped(&world, "rxpk_refusals", "data", 1);
    let mut rxpk = gateway.rxpk(&[0x40; 20], Heard::default());
    rxpk["stat"] = (-1).into();
    gateway.report(&json!({ "rxpk": [rxpk] }));
    dropped(&world, "shard_drops", "rxpk_crc_bad", 1);
    gateway.raw(&push(&[b' '; 9_000]));
    dropped(&world, "shard_drops", "datagram_truncated", 1);

    gateway.hear(&device.uplink(1, &[1], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], "01");
}

#[test]
fn payloads_of_every_length_and_wrong_keys_pass_nothing() {
    let world = World::start();
    world.lift_rates();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));
    for length in 0..=255usize {
        for first in [0x00, 0x40, 0x80, 0xE0] {
            let mut phy = vec![0x5A; length];
            if let Some(byte) = phy.first_mut() {
                *byte = first;
            }
            let rxpk = gateway.rxpk(&phy, Heard::default());
            gateway.send(&json!({ "rxpk": [rxpk] }));
        }
        if length % 16 == 0 {
            assert!(gateway.report(&json!({ "stat": {} })), "the shard no longer answers at {length}");
        }
    }
    let mut forged = device.uplink(1, &[1], Say::default());
    *forged.last_mut().expect("a MIC") ^= 1;
    gateway.hear(&forged, Heard::default());
    dropped(&world, "lorawan_drops", "bad_mic", 1);
    gateway.hear(&Device::new(77).uplink(1, &[1], Say::default()), Heard::default());
    dropped(&world, "lorawan_drops", "unknown_dev_addr", 1);
    gateway.hear(&Device::new(78).join_request(), Heard::default());
    dropped(&world, "lorawan_drops", "join_unknown_device", 1);

    gateway.hear(&device.uplink(1, &[2], Say::default()), Heard::default());
    assert_eq!(socket.next()["Data"], "02");
}

#[test]
fn unknown_gateways_and_spoofed_return_paths() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut stranger = Gateway::new(gateway_eui(99), world.system.gateways());
    stranger.send(&json!({ "rxpk": [stranger.rxpk(&device.uplink(1, &[1], Say::default()), Heard::default())] }));
    dropped(&world, "gateway_refusals", "unknown_gateway", 1);

    // PUSH_DATA with the gateway's EUI from elsewhere must not move the return path.
    let mut thief = Gateway::new(gateway.eui, world.system.gateways());
    let say = Say { confirmed: true, ..Say::default() };
    thief.hear(&device.uplink(1, &[1], say), Heard::default());
    assert!(gateway.transmission(Duration::from_secs(1)).is_some(), "the answer goes where PULL_DATA came from");
    assert!(thief.transmission(Duration::ZERO).is_none());

    // A forged PULL_DATA moves it: the protocol cannot tell. The gateway's next one takes it back.
    assert!(thief.open());
    assert!(gateway.open());
    gateway.hear(&device.uplink(1, &[2], say), Heard::default());
    assert!(gateway.transmission(Duration::from_secs(1)).is_some(), "the return path came back");
    assert!(thief.transmission(Duration::ZERO).is_none());

    // A TX_ACK that answers nothing is counted.
    let mut unasked = gateway.head(0x05);
    unasked[1..3].copy_from_slice(&[0xEE, 0xEE]);
    gateway.raw(&unasked);
    dropped(&world, "gateway_refusals", "token_unknown", 1);
}

#[test]
fn a_flood_from_one_address_starves_nobody() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let mut socket = world.open(&world.stream(&json!({})));
    // From another address: limits are per gateway and per address, not per port.
    let flood = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    flood.connect(world.system.gateways()).expect("loopback");
    let mut datagram = vec![2, 0, 0, 0];
    datagram.extend(gateway_eui(500).to_be_bytes());
    datagram.extend(b"{\"rxpk\":[]}");
    for _ in 0..60_000 {
        flood.send(&datagram).ok();
    }
    for payload in 0..10 {
        gateway.hear(&device.uplink(1, &[payload], Say::default()), Heard::default());
        assert_eq!(socket.next()["FCnt"], payload);
    }
    dropped(&world, "gateway_refusals", "address_rate", 1);
}

#[test]
fn malformed_contract_frames_are_refused() {
    use contract::v1::{Hello, ToDataplane, to_dataplane::Body};
    use prost::Message;
    let mut system = System::prepare(1, &[]);
    system.start_dataplane();
    let frame = |message: &ToDataplane| {
        let body = message.encode_to_vec();
        [&u32::try_from(body.len()).expect("short").to_le_bytes()[..], &body].concat()
    };
    let hello = |major| ToDataplane {
        request: 0,
        body: Some(Body::Hello(Hello { major, software: "a test".into(), store: 7, ..Hello::default() })),
    };
    let cases: [(&str, Vec<u8>); 5] = [
        ("longer than any message", u32::MAX.to_le_bytes().to_vec()),
        ("no protobuf", [&8u32.to_le_bytes()[..], &[0xFF; 8]].concat()),
        ("no Hello first", frame(&ToDataplane { request: 1, body: None })),
        ("a version to come", frame(&hello(99))),
        ("cut short", frame(&hello(1))[..6].to_vec()),
    ];
    for (what, bytes) in cases {
        let mut link = UnixStream::connect(system.path("control.sock")).expect("the control socket");
        link.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        link.write_all(&bytes).expect("sent");
        if what == "cut short" {
            link.shutdown(std::net::Shutdown::Write).expect("a socket");
        }
        // Refused in words, or hung up upon; never left waiting.
        let answer = link.read(&mut [0; 256]);
        assert!(answer.is_ok(), "{what}: {answer:?}");
    }
    // Who says Hello properly is heard afterwards.
    let mut link = UnixStream::connect(system.path("control.sock")).expect("the control socket");
    link.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    link.write_all(&frame(&hello(1))).expect("sent");
    link.read_exact(&mut [0; 4]).expect("the dataplane's Hello");
}

#[test]
fn the_control_socket_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start();
    let mode = std::fs::metadata(world.system.path("control.sock")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn what_cannot_start_says_why_in_a_line() {
    let refused = |system: &System, needle: &str| {
        let mut dataplane = Process::start("dataplane", &system.dataplane_command(), &system.directory.0);
        let status = dataplane.ended(Duration::from_secs(10));
        let said = dataplane.said();
        assert!(!status.success() && !said.contains("panicked"), "{status}: {said}");
        assert!(said.contains(needle), "`{needle}` is not in: {said}");
    };
    let system = System::prepare(1, &[]);
    let udp = UdpSocket::bind(("::", system.udp_port)).expect("a free port");
    refused(&system, &system.udp_port.to_string());
    drop(udp);
    let tcp = TcpListener::bind(("::", system.wss_port)).expect("a free port");
    refused(&system, &system.wss_port.to_string());
    drop(tcp);

    let other = crate::harness::system::Directory::new();
    certificate(&other.0, "elsewhere");
    std::fs::copy(other.0.join("key.pem"), system.path("key.pem")).expect("copied");
    refused(&system, "key.pem");
    std::fs::remove_file(system.path("cert.pem")).expect("removed");
    refused(&system, "cert.pem");
}

#[test]
fn bad_requests_to_the_api_name_the_field() {
    let world = World::start();
    let device = world.abp(1);
    let cases = [
        ("/api/v1/tenants", json!({ "name": "" }), "name"),
        (
            "/api/v1/applications",
            json!({ "tenant": world.tenant, "name": "x", "dedup_window_ms": 5 }),
            "dedup_window_ms",
        ),
        ("/api/v1/gateways", json!({ "eui": "xyz", "tenant": world.tenant }), "eui"),
        (
            "/api/v1/streams",
            json!({ "tenant": world.tenant, "name": "x", "level": "tenant", "copies": "some" }),
            "copies",
        ),
        (
            "/api/v1/streams",
            json!({ "tenant": world.tenant, "name": "x", "level": "tenant", "unheard_of": 1 }),
            "unheard_of",
        ),
    ];
    for (path, body, field) in cases {
        let answer = world.api.send("POST", path, &[], Some(&body.to_string()));
        assert!((400..500).contains(&answer.status), "{path} {body}: {answer:?}");
        assert!(answer.content_type.starts_with("application/problem+json"), "{answer:?}");
        assert!(answer.text.contains(field), "{path} {body}: {answer:?}");
    }
    for key in ["", "tlk_0000"] {
        assert_eq!(world.api.with_key(key).send("GET", "/api/v1/tenants", &[], None).status, 401);
    }
    let devices = world.api.send("GET", "/api/v1/devices", &[], None).text;
    assert!(devices.contains(&device.eui()));
    assert!(!devices.contains(&crate::harness::device::hex(&device.nwk_s_key)), "a list shows a key");
}
