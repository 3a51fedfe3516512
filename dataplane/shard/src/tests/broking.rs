//! MQTT clients on shards that are not theirs, and on their own.

use super::*;
use crate::client::Phase;
use driver::End;

const PINGREQ: [u8; 2] = [0xC0, 0];
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What the broker answers to a CONNECT of 3.1.1, and then to a ping.
const WELCOME: [u8; 6] = [0x20, 2, 0, 0, 0xD0, 0];

/// CONNECT of 3.1.1, clean, without keep alive.
pub(super) fn connect(client_id: &str) -> Vec<u8> {
    let mut bytes = vec![0x10, 12 + client_id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
    bytes.extend_from_slice(&(client_id.len() as u16).to_be_bytes());
    bytes.extend_from_slice(client_id.as_bytes());
    bytes
}

/// Clients that all come to the first shard, and are read until nothing moves any more.
pub(super) fn strangers(world: &mut World, count: usize) {
    for number in 0..count {
        let connection = world.driver(0).connect(MQTT);
        world.driver(0).say(connection, &connect(&format!("client-{number}")));
        world.turns(1);
        // It moves by now, if it does.
        world.driver(0).say(connection, &PINGREQ);
        world.turns(6);
    }
}

/// Identifiers of clients that belong to this shard.
pub(super) fn identifiers_of(shard: usize, shard_count: usize) -> impl Iterator<Item = String> {
    let all = (0..).map(|number: u32| number.to_string());
    all.filter(move |id| crate::broking::shard_of(&KEY, 0, id.as_bytes(), shard_count) == shard)
}

/// Connections with a session, by shard.
fn sessions(world: &World) -> Vec<Vec<Connection>> {
    let open = |client: &&crate::client::Client| client.phase == Phase::Open && client.session.is_some();
    let of = |shard: &Shard<Fake>| shard.clients.table.iter().filter(open).map(|client| client.connection).collect();
    world.shards.iter().map(of).collect()
}

#[test]
fn a_client_is_served_by_its_own_shard_and_loses_no_byte_on_the_way() {
    const COUNT: usize = 40;
    let mut world = World::new(&Sizes { shard_count: 3, broker: true, ..Sizes::default() });
    strangers(&mut world, COUNT);
    let sessions = sessions(&world);
    assert!(sessions.iter().all(|shard| shard.len() > COUNT / 10), "{sessions:?}");
    assert_eq!(sessions.iter().flatten().count(), COUNT);
    let moved = COUNT - sessions[0].len();
    assert_eq!(world.done(0, Done::ConnectionsMoved), moved as u64);
    for (shard, connections) in sessions.into_iter().enumerate() {
        for connection in connections {
            assert_eq!(world.driver(shard).peer(connection).taken, WELCOME, "on shard {shard}");
            world.driver(shard).say(connection, &DISCONNECT);
            world.turns(2);
            world.driver(shard).end(connection, End::Finished);
        }
        world.turns(4);
        assert!(world.is_clean(shard), "shard {shard}");
    }
}

#[test]
fn what_is_said_on_one_shard_is_heard_on_all_that_listen() {
    let mut world = World::new(&Sizes { shard_count: 3, broker: true, ..Sizes::default() });
    strangers(&mut world, 12);
    let all: Vec<_> = sessions(&world).into_iter().enumerate().collect();
    let subscribe = [0x82, 6, 0, 1, 0, 1, b'+', 0];
    let publish = [0x30, 5, 0, 1, b't', b'h', b'i'];
    for (shard, connections) in &all {
        for connection in connections {
            world.driver(*shard).say(*connection, &subscribe);
        }
    }
    world.turns(4);
    let (shard, speaker) = (1, all[1].1[0]);
    world.driver(shard).say(speaker, &publish);
    world.turns(4);
    for (shard, connections) in all {
        for connection in connections {
            let suback = [0x90, 3, 0, 1, 0];
            let expected = [&WELCOME[..], &suback, &publish].concat();
            assert_eq!(world.driver(shard).peer(connection).taken, expected, "on shard {shard}");
        }
    }
}

#[test]
fn a_listener_of_mqtt_answers_what_is_no_mqtt() {
    let mut world = World::new(&Sizes { broker: true, ..Sizes::default() });
    let mut answer = |bytes: &[u8]| {
        let connection = world.driver(0).connect(MQTT);
        world.driver(0).say(connection, bytes);
        world.turns(3);
        let is_open = world.shards[0].clients.table[connection.index as usize].phase == Phase::Open;
        (std::mem::take(&mut world.driver(0).peer(connection).taken), is_open)
    };
    // A level that nobody speaks.
    let mut other = connect("x");
    other[8] = 3;
    assert_eq!(answer(&other).0, [0x20, 2, 0, 1]);
    assert_eq!(answer(b"\x30\x05\0\x01thi").0, [0; 0], "a message before CONNECT");
    let (said, _) = answer(request("/mqtt").as_bytes());
    assert!(said.starts_with(b"HTTP/1.1 400 "), "no subprotocol: {}", String::from_utf8_lossy(&said));
    let offered = request("/any/path").replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat, mqtt\r\n\r\n");
    let (said, is_open) = answer(offered.as_bytes());
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.starts_with("HTTP/1.1 101 ") && said.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{said}");
    assert!(is_open);
}

#[test]
fn packets_over_websocket_may_be_cut_and_joined_as_frames_like() {
    let mut world = World::new(&Sizes { broker: true, ..Sizes::default() });
    let offered = request("/").replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n");
    let connection = world.driver(0).connect(MQTT);
    world.driver(0).say(connection, offered.as_bytes());
    world.turns(2);
    world.driver(0).peer(connection).taken.clear();
    let bytes = [connect("web"), PINGREQ.to_vec(), PINGREQ.to_vec()].concat();
    for piece in [&bytes[..5], &bytes[5..16], &bytes[16..18], &bytes[18..]] {
        world.driver(0).say(connection, &frame(2, piece));
        world.turns(2);
    }
    let taken = frames(&world.driver(0).peer(connection).taken);
    let payloads: Vec<u8> = taken.iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert_eq!(payloads, [&WELCOME[..], &[0xD0, 0]].concat());
    assert!(taken.iter().all(|(opcode, _)| *opcode == 2), "{taken:?}");
    // Text is none of MQTT's.
    world.driver(0).say(connection, &frame(1, b"hi"));
    world.turns(2);
    assert_eq!(close_codes(&world.driver(0).peer(connection).taken)[..], [1003]);
}
