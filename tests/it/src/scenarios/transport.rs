//! The door that applications come through: TLS, the upgrade, tokens, WebSocket rules, the echo.

use crate::harness::device::Say;
use crate::harness::fixture::World;
use crate::harness::gateway::Heard;
use crate::harness::socket::Door;
use crate::harness::system::System;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::Message;

/// How long a peer that does nothing may stay.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn tls_1_2_and_1_3_with_and_without_alpn() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let certificate = world.system.path("cert.pem");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
            let door = Door::of_versions(world.system.wss(), &certificate, &[version], protocols);
            let chosen = door.tls().conn.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen.is_some(), !protocols.is_empty());
            assert!(chosen.is_none_or(|chosen| chosen == b"http/1.1"));
            let mut socket = door.stream(&stream.token);
            gateway.hear(&device.uplink(1, &[1], Say::default()), Heard::default());
            assert_eq!(socket.next()["Data"], "01");
        }
    }
}

#[test]
fn a_token_comes_in_the_query_or_as_a_bearer() {
    let world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = world.stream(&json!({}));
    let door = world.system.door();
    let bearer = format!("Bearer {}", stream.token);
    let mut sockets = [
        door.open(&format!("/?token={}", stream.token), &[]).expect("opened"),
        door.open(&format!("?token={}", stream.token), &[]).expect("opened"),
        door.open("/", &[("authorization", &bearer)]).expect("opened"),
    ];
    gateway.hear(&device.uplink(1, &[1], Say::default()), Heard::default());
    assert!(sockets.iter_mut().all(|socket| socket.next()["Data"] == "01"));

    let wrong = "0".repeat(64);
    for (path, status) in
        [("/", 401), ("/?token=", 401), (&format!("/?token={wrong}"), 401), ("/nothing/here", 404), ("/echo", 404)]
    {
        assert_eq!(door.open(path, &[]).err(), Some(status), "{path}");
    }
    let answer = format!("{:?}", world.system.dataplane.as_ref().expect("it runs").said());
    assert!(!answer.contains(&stream.token), "a token was logged");
}

#[test]
fn the_echo_serves_a_stock_client_with_and_without_tls() {
    let plain = crate::harness::ports::free();
    let system = System::start_with(2, &["--echo", "--plain-listen", &format!("127.0.0.1:{plain}")]);
    let text = "x".repeat(70_000);
    let mut secure = system.door().open("/echo", &[]).expect("opened");
    let (mut open, _) = tungstenite::connect(format!("ws://127.0.0.1:{plain}/echo")).expect("opened");
    let messages = [
        Message::text(""),
        Message::text("grüß"),
        Message::text(text),
        Message::binary(vec![0, 255, 1]),
        Message::binary(vec![7; 65_536]),
    ];
    for message in messages {
        secure.say(message.clone());
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(secure.message_until(deadline), Some(message.clone()));
        open.send(message.clone()).expect("sent");
        assert_eq!(open.read().expect("echoed"), message);
    }
    secure.say(Message::Ping(b"are you there".to_vec().into()));
    let deadline = Instant::now() + Duration::from_secs(5);
    assert_eq!(secure.message_until(deadline), Some(Message::Pong(b"are you there".to_vec().into())));
}

/// A client's frame: final, of this opcode, masked with zeros.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0][..], payload].concat()
}

#[test]
fn bad_frames_are_closed_with_the_right_code() {
    let world = World::start();
    let stream = world.stream(&json!({}));
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("unmasked", vec![0x81, 0x01, b'a'], 1002),
        ("reserved bit", [&[0xC1, 0x81, 0, 0, 0, 0][..], b"a"].concat(), 1002),
        ("unknown opcode", masked(0x3, b"a"), 1002),
        ("continuation of nothing", masked(0x0, b"a"), 1002),
        ("fragmented ping", [&[0x09, 0x80, 0, 0, 0, 0][..]].concat(), 1002),
        ("long ping", [&[0x89, 0x80 | 126, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat(), 1002),
        ("close with one byte", masked(0x8, &[3]), 1002),
        ("no UTF-8", masked(0x1, &[0xFF, 0xFE]), 1007),
        ("too big", [&[0x81, 0x80 | 127][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat(), 1009),
    ];
    for (what, bytes, code) in cases {
        let mut socket = world.open(&stream);
        socket.raw(&bytes);
        assert_eq!(socket.close_code(), Some(code), "{what}");
    }
    // The close handshake: our code comes back.
    let mut socket = world.open(&stream);
    socket.raw(&masked(0x8, &1000u16.to_be_bytes()));
    assert_eq!(socket.close_code(), Some(1000));
}

#[test]
fn bad_upgrades_get_an_http_status() {
    let world = World::start();
    let stream = world.stream(&json!({}));
    let good = format!(
        "GET /?token={} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        stream.token
    );
    let cases = [
        (good.clone(), "101"),
        (good.replace("Version: 13", "Version: 8"), "426"),
        (good.replace("Upgrade: websocket\r\n", ""), "426"),
        (good.replace("GET", "POST"), "405"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
        (good.replace("Host: localhost", &format!("Host: localhost\r\nX: {}", "y".repeat(20_000))), "431"),
    ];
    for (request, status) in cases {
        let mut tls = world.system.door().tls();
        tls.write_all(request.as_bytes()).expect("sent");
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).expect("an answer");
        assert_eq!(std::str::from_utf8(&answer).expect("text"), format!("HTTP/1.1 {status}"), "{request}");
    }
}

#[test]
fn the_idle_and_the_slow_are_let_go() {
    let world = World::start();
    let start = Instant::now();
    // One never begins TLS, one stops in the middle of it, one sends a request line and then a byte a second.
    let silent = TcpStream::connect(world.system.wss()).expect("accepted");
    let mut half = TcpStream::connect(world.system.wss()).expect("accepted");
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("sent");
    let mut slow = world.system.door().tls();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("sent");
    for mut tcp in [silent, half] {
        tcp.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // A last alert may precede the end.
        let end = tcp.read_to_end(&mut Vec::new());
        let waits = end.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(!waits, "a half-open TLS handshake is never let go");
    }
    let mut ended = false;
    while !ended && start.elapsed() < PATIENCE {
        ended = slow.write_all(b"x").and_then(|()| slow.flush()).is_err();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(ended, "a slow upgrade is never let go");
}
