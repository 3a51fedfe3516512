//! What durable streams keep, from outside: told in numbers, begun at any message, and forgotten for good.

use crate::harness::device::{Device, Say};
use crate::harness::fixture::{Stream, World};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::metrics::reaches;
use crate::harness::process::binary;
use crate::harness::socket::Socket;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

fn durable(world: &World) -> Stream {
    let fields = json!({ "delivery": "durable", "copies": "first", "kinds": ["uplink"], "retention_s": 3600 });
    world.stream(&fields)
}

/// Confirmed uplinks that are accepted, and so kept.
#[track_caller]
fn accepted(gateway: &mut Gateway, device: &mut Device, payloads: impl IntoIterator<Item = u8>) {
    for payload in payloads {
        let phy = device.uplink(1, &[payload], Say { confirmed: true, ..Say::default() });
        gateway.hear(&phy, Heard::default());
        let answer = gateway.transmission(SOON).expect("an answer in time");
        gateway.tx_ack(&answer, "NONE");
        assert!(device.downlink(&answer.phy).expect("for the device").ack);
    }
}

fn payloads(socket: &mut Socket, count: usize) -> Vec<String> {
    (0..count).map(|_| socket.next()["Data"].as_str().expect("a payload").to_owned()).collect()
}

/// The stream's state, once so many messages are retained.
#[track_caller]
fn state(world: &World, stream: &Stream, messages: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let state = world.api.get(&stream.path)["state"].clone();
        if state["retained_messages"] == messages {
            return state;
        }
        assert!(Instant::now() < deadline, "{messages} messages: {state}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_stream_says_what_it_retains_also_after_a_kill() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world);
    let nothing = state(&world, &stream, 0);
    assert_eq!((&nothing["retained_oldest"], &nothing["retention_s"]), (&Value::Null, &json!(3600)), "{nothing}");
    assert_eq!(nothing["retention_bytes"], 10_u64 << 30, "{nothing}");
    accepted(&mut gateway, &mut device, 0..5);
    let five = state(&world, &stream, 5);
    let bytes = five["retained_bytes"].as_u64().expect("bytes");
    assert!((500..5000).contains(&bytes) && five["retained_oldest"].is_string(), "{five}");
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    let again = state(&world, &stream, 5);
    assert_eq!((&again["retained_bytes"], &again["retained_oldest"]), (&json!(bytes), &five["retained_oldest"]));
    accepted(&mut gateway, &mut device, 5..7);
    let seven = state(&world, &stream, 7);
    assert_eq!(seven["retained_oldest"], five["retained_oldest"], "{seven}");
    let port = world.system.metrics_port;
    reaches(port, "trunkline_stream_retained_messages", &[], 7);
    reaches(port, "trunkline_stream_retained_bytes", &[], bytes + 1);
    reaches(port, "trunkline_stream_retained_oldest_seconds", &[], 1_600_000_000);
}

#[test]
fn a_session_begins_at_the_message_that_it_names() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world);
    accepted(&mut gateway, &mut device, 0..4);
    let path = format!("/?token={}", stream.token);
    let mut first = world.system.door().open(&path, &[]).expect("it opens");
    let ids: Vec<Value> = (0..4).map(|_| first.next()["Id"].clone()).collect();
    let id = ids[2].as_str().expect("an Id");
    let open = |world: &World, more: &str| world.system.door().open(&format!("{path}{more}"), &[]).expect("it opens");
    let mut second = open(&world, &format!("&group=second&from={id}"));
    assert_eq!(payloads(&mut second, 2), ["02", "03"]);
    accepted(&mut gateway, &mut device, 4..5);
    assert_eq!(payloads(&mut second, 1), ["04"]);
    // A group that is known goes back; and messages of an earlier run are found too.
    second.send(&json!({ "AckThrough": 3 }));
    drop(second);
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    let mut again = open(&world, &format!("&group=second&from={id}"));
    assert_eq!(payloads(&mut again, 3), ["02", "03", "04"]);
    let mut unknown = open(&world, "&group=third&from=70B3D57ED00000FF-1-1-0");
    assert_eq!(unknown.close_code(), Some(1008));
    let groups = world.api.get(&stream.path)["state"]["groups"].clone();
    assert!(groups.as_array().is_some_and(|all| all.iter().all(|group| group["group"] != "third")), "{groups}");
    assert_eq!(world.system.door().open(&format!("{path}&from=yesterday"), &[]).err(), Some(400));
}

#[test]
fn a_group_that_was_removed_stays_removed() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world);
    accepted(&mut gateway, &mut device, 0..3);
    let path = format!("/?token={}", stream.token);
    let take = |world: &World, group: &str, expected: &[&str]| {
        let mut socket = world.system.door().open(&format!("{path}&group={group}"), &[]).expect("it opens");
        assert_eq!(payloads(&mut socket, expected.len()), expected, "{group}");
        socket.send(&json!({ "AckThrough": expected.len() }));
        socket
    };
    let remove = |world: &World, group: &str| {
        world.api.send("DELETE", &format!("{}/groups/{group}", stream.path), &[], None).status
    };
    let gone = take(&world, "gone", &["00", "01", "02"]);
    drop(take(&world, "kept", &["00", "01", "02"]));
    // Cursors are kept a moment later.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(remove(&world, "gone"), 409, "it has a session");
    assert_eq!(remove(&world, "nobody"), 404);
    drop(gone);
    let deadline = Instant::now() + Duration::from_secs(5);
    while remove(&world, "gone") == 409 {
        assert!(Instant::now() < deadline, "its session is gone");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(remove(&world, "gone"), 404, "it is gone");
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    accepted(&mut gateway, &mut device, 3..4);
    take(&world, "kept", &["03"]).silent(Duration::from_millis(200));
    drop(take(&world, "gone", &["00", "01", "02", "03"]));
}

#[test]
fn a_group_that_was_sent_back_is_there_after_a_kill() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world);
    accepted(&mut gateway, &mut device, 0..3);
    let mut socket = world.open(&stream);
    assert_eq!(payloads(&mut socket, 3), ["00", "01", "02"]);
    socket.send(&json!({ "AckThrough": 3 }));
    std::thread::sleep(Duration::from_millis(500));
    drop(socket);
    let seek = format!("{}/groups/default/seek", stream.path);
    assert_eq!(world.api.send("POST", &seek, &[], Some(r#"{"to":"earliest"}"#)).status, 204);
    std::thread::sleep(Duration::from_millis(500));
    world.system.kill_dataplane();
    world.system.start_dataplane();
    assert!(gateway.open());
    assert_eq!(payloads(&mut world.open(&stream), 3), ["00", "01", "02"]);
}

/// What was accepted is in the journal that is left, whole, and comes out of it as history has it.
#[test]
fn a_journal_is_read_when_its_dataplane_is_gone() {
    let mut world = World::start();
    let (mut gateway, mut device) = (world.gateway(1), world.abp(1));
    let stream = durable(&world);
    accepted(&mut gateway, &mut device, 0..5);
    let history = world.api.send("GET", &format!("{}/history", stream.path), &[], None);
    let journal = |world: &World, arguments: &[&str]| {
        let data_dir = world.system.path("dataplane");
        let mut command = Command::new(binary("trunkline"));
        command.arg("journal").args(arguments).arg("--data-dir").arg(world.system.path("."));
        assert!(data_dir.join("journal").is_dir(), "{}", data_dir.display());
        let output = command.output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, warning) = journal(&world, &["verify"]);
    assert!(code == Some(0) && warning.contains("a dataplane runs on it"), "{warning}");
    world.system.kill_dataplane();
    let (code, text, warning) = journal(&world, &["verify"]);
    assert!(code == Some(0) && text.contains("no damage") && warning.is_empty(), "{text}{warning}");
    let (code, exported, _) = journal(&world, &["export", "--stream", "stream"]);
    assert_eq!((code, exported), (Some(0), history.text), "as history has it");
    let (_, text, _) = journal(&world, &["inspect", "--json"]);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let segments = value["segments"].as_array().expect("segments");
    let open = segments.iter().find(|segment| segment["state"] == "open").expect("one was written to");
    let (file, used) = (open["file"].as_str().expect("a name"), open["used_bytes"].as_u64().expect("bytes"));
    assert!(open["streams"][0]["messages"] == 5 || segments.len() > 2, "{open}");
    let path = world.system.path(&format!("dataplane/journal/{file}"));
    let mut bytes = std::fs::read(&path).expect("a segment");
    // A header that is damaged is never a torn write.
    assert!(used > 0);
    bytes[100] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let (code, text, _) = journal(&world, &["verify"]);
    assert!(code == Some(1) && text.starts_with(&format!("{file} at byte 0: ")), "{text}");
}
