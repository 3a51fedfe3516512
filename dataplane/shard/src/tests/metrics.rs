//! Every counter that a shard declares can be made to move, by what a gateway, a consumer, the kernel or the control
//! thread does.
//!
//! One table per family: the counter's name, sizes of the world, and what happens there. A counter without a line, or
//! whose line does not move it, fails the test by name. Only `hop_malformed` has no cause outside: it is a defect of ours.

use super::tls::{Secure, configurations};
use super::*;
use crate::hop::HOP_BYTES_MAX;
use crate::{descriptors, shard_of_lane};
use driver::{Completion, End};
use lorawan::{AesKey, DataFrame, DevAddr, Direction, FCtrl, SessionKeys};
use session::{Activation, DeviceSpec, lane_of_addr, lane_of_eui, lane_of_frame};
use std::collections::HashMap;

const PUSH_DATA: u8 = 0;
const PULL_DATA: u8 = 2;
const TX_ACK: u8 = 5;
const PROFILE: u32 = 31;

/// What [`fill`] puts into a ring per frame: the length, then the record of a frame of one byte.
const FILLER_BYTES: usize = base::ring::LENGTH_BYTES + 1 + event::RECEPTION_BYTES + 4 + 4 + 1;
/// Frames that fill a ring to its last byte, so that not even the shortest record has room.
const FILLER_COUNT: usize = 110;
const _: () = assert!(FILLER_BYTES * FILLER_COUNT >= HOP_BYTES_MAX + base::ring::LENGTH_BYTES);

/// A counter, the world, and what happens there.
type Line = (&'static str, Sizes, fn(&mut World));

#[test]
fn every_drop_can_be_made_to_move() {
    let tls = Some(configurations(&rustls::version::TLS13).0);
    check(
        "shard_drops",
        vec![
            ("datagram_truncated", one(), |world| push_data(world, 0, &[b'x'; 5000])),
            ("datagram_overrun", one(), |world| {
                world.driver(0).complete(Completion::Overrun { socket: Socket(0), count: 3 });
            }),
            ("gateway_foreign", two(), |world| datagram(world, 0, gateway(1, 2), PULL_DATA, b"")),
            ("rxpk_crc_bad", one(), |world| push_data(world, 0, rxpk(r#""stat":-1"#).as_bytes())),
            ("rxpk_crc_absent", one(), |world| push_data(world, 0, rxpk(r#""stat":0"#).as_bytes())),
            ("status_too_long", one(), |world| {
                push_data(world, 0, format!(r#"{{"stat":{{"desc":"{}"}}}}"#, "x".repeat(1100)).as_bytes());
            }),
            ("answer_busy", one(), |world| {
                world.driver(0).is_busy = true;
                datagram(world, 0, gateway(0, 1), PULL_DATA, b"");
            }),
            ("answer_failed", one(), |world| {
                world.driver(0).complete(Completion::SendToFailed { socket: Socket(0), errno: 1 });
            }),
            ("hop_heard", two(), |world| {
                fill(world, 0);
                hear(world, 0, &[&uplink(1, 2)]);
                world.shards[0].turn();
            }),
            ("hop_event", two(), |world| {
                world.consumer(1);
                world.turn();
                fill(world, 0);
                push_data(world, 0, br#"{"stat":{"rxnb":1}}"#);
                world.shards[0].turn();
            }),
            ("hop_transmit", two(), |world| {
                hear(world, 0, &[&uplink(1, 2)]);
                world.turns(2);
                world.driver(1).pass(Duration::from_millis(300));
                fill(world, 1);
                world.shards[1].turn();
            }),
            ("hop_transmitted", two(), |world| {
                hear(world, 0, &[&uplink(1, 2)]);
                world.turns(2);
                world.driver(1).pass(Duration::from_millis(300));
                world.shards[1].turn();
                // No PULL_DATA has come, so the gateway's shard has an answer at once.
                fill(world, 0);
                world.shards[0].turn();
            }),
            ("hop_command", two(), |world| {
                let consumer = world.consumer(0);
                world.turn();
                fill(world, 0);
                command(world, consumer, device(1, 2).dev_eui);
                world.shards[0].turn();
            }),
            ("hop_reply", two(), |world| {
                let consumer = world.consumer(0);
                world.turn();
                command(world, consumer, device(1, 2).dev_eui);
                world.shards[0].turn();
                fill(world, 1);
                world.shards[1].turn();
            }),
            ("hop_presence", two(), |world| {
                fill(world, 0);
                let consumer = world.driver(0).connect(PLAIN);
                world.driver(0).say(consumer, request(&format!("/?token={TOKEN}")).as_bytes());
                world.shards[0].turn();
            }),
            // The records' one writer is the module that reads them, so nobody outside can cause this.
            ("hop_malformed", one(), |world| world.shards[0].ports.send_foreign(0, b"\xFFgarbage")),
            ("template_no_room", one(), |world| {
                let long = ("gateway_status".into(), "x".repeat(20_000));
                world.load(&[stream(|it| it.templates = [long].into())]);
                world.consumer(0);
                world.report();
            }),
            ("queue_full", one(), |world| {
                world.load(&[stream(|it| it.queue_bytes_max = 16 << 10)]);
                deaf_consumers(world, 1, 40);
            }),
            ("pool_exhausted", Sizes { block_count: 8, ..one() }, |world| deaf_consumers(world, 1, 60)),
            ("connection_refused", one(), |world| {
                world.driver(0).complete(Completion::Refused { listener: PLAIN });
            }),
            ("move_refused", Sizes { broker: true, ..two() }, |world| {
                // The other shard takes nobody in, and as many as may be are on their way to it.
                for client_id in super::broking::identifiers_of(1, 2) {
                    let connection = world.driver(0).connect(MQTT);
                    world.driver(0).say(connection, &super::broking::connect(&client_id));
                    (0..4).for_each(|_| {
                        world.shards[0].turn();
                    });
                    if world.drops(0, Drop::MoveRefused) > 0 {
                        break;
                    }
                }
            }),
            ("connection_limit", one(), |world| {
                world.load(&[stream(|it| it.connection_count_max = 1)]);
                world.consumer(0);
                ask(world, PLAIN, &request(&format!("/?token={TOKEN}")));
            }),
            ("tls_failed", Sizes { tls, ..one() }, |world| ask(world, SECURE, &request("/"))),
            ("handshake_timeout", one(), |world| {
                world.driver(0).connect(PLAIN);
                world.pass(Duration::from_secs(12));
            }),
            ("head_too_long", one(), |world| ask(world, PLAIN, &request(&"/".repeat(9000)))),
            ("head_malformed", one(), |world| ask(world, PLAIN, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
            ("token_unknown", one(), |world| ask(world, PLAIN, &request("/?token=wrong"))),
            ("token_missing", one(), |world| ask(world, PLAIN, &request("/"))),
            ("frame_malformed", one(), |world| consumer_says(world, &[0xF1, 0x80, 0, 0, 0, 0])),
            ("message_too_long", one(), |world| {
                // 16 MiB are announced: the head is enough.
                consumer_says(world, &[0x82, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            }),
            ("stalled", Sizes { output_count: 2, ..one() }, |world| {
                world.consumer(0);
                deaf_consumers(world, 2, 2);
                world.pass(Duration::from_secs(3));
            }),
            ("overdue", one(), |world| {
                let disconnect = v1::WhenFull::Disconnect.into();
                world.load(&[stream(|it| (it.queue_bytes_max, it.when_full) = (16 << 10, disconnect))]);
                deaf_consumers(world, 1, 40);
                world.pass(Duration::from_millis(1100));
            }),
            ("pong_missing", one(), |world| {
                world.load(&[stream(|it| it.ping_interval_s = 5)]);
                world.consumer(0);
                world.pass(Duration::from_secs(20));
            }),
            ("downlink_malformed", one(), |world| consumer_says(world, &frame(1, b"{"))),
            ("downlink_not_permitted", one(), |world| {
                world.load(&[stream(|it| it.downlinks = false)]);
                consumer_commands(world, device(0, 1).dev_eui);
            }),
            ("downlink_refused", one(), |world| {
                upsert(world, &DeviceSpec { enabled: false, ..device(0, 1) });
                consumer_commands(world, device(0, 1).dev_eui);
            }),
            ("no_room", one(), |world| {
                for eui in 0..2000 {
                    let gateway = plan::Gateway { eui: Eui64::new(eui), tenant: 0, eirp_max_dbm: None };
                    world.mailboxes[0].to.push(ToShard::Upsert(plan::Upsert::Gateway(gateway))).expect("room");
                    world.turn();
                }
            }),
            ("happened_dropped", Sizes { mail_count: 16, ..one() }, strangers_come_online),
            ("downlink_not_restored", one(), |world| {
                world.mailboxes[0].to.push(ToShard::RestoreDownlink(vec![1].into())).expect("room");
            }),
            ("not_stored", Sizes { journal: true, segments: Some(0), ..one() }, |world| reports_are_kept(world, 2)),
            ("journal_trouble", Sizes { journal: true, segments: Some(0), ..one() }, |world| {
                reports_are_kept(world, 2);
            }),
            ("journal_behind", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, 1);
                world.driver(0).files_stall = true;
                reports_are_kept(world, 600);
            }),
            ("journal_no_segment", Sizes { journal: true, segments: None, ..one() }, |world| {
                reports_are_kept(world, 600);
            }),
            ("hop_message", Sizes { journal: true, ..two() }, |world| {
                reports_are_kept(world, 0);
                world.consumer(1);
                world.turns(4);
                fill(world, 0);
                push_data(world, 0, br#"{"stat":{"rxnb":1}}"#);
                (0..8).for_each(|_| {
                    world.shards[0].turn();
                });
            }),
            ("feeds_full", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, 0);
                for group in 0..=crate::feeds::FEED_COUNT_MAX {
                    let consumer = world.consumer_of(0, &format!("/?token={TOKEN}&group={group}"));
                    world.turns(2);
                    world.driver(0).end(consumer, End::Finished);
                }
            }),
            ("find_refused", Sizes { mail_count: 16, journal: true, segments: None, ..one() }, |world| {
                load_durable(world, 1);
                let consumer = world.driver(0).connect(PLAIN);
                world.driver(0).say(consumer, request(&format!("/?token={TOKEN}&from=a-1")).as_bytes());
                // Nobody listens to what was said before.
                while world.mailboxes[0].from.len() < 8 {
                    world.mailboxes[0].from.push(FromShard::Acknowledged(0)).expect("room");
                }
                world.shards[0].turn();
            }),
            ("find_unknown", Sizes { journal: true, ..one() }, |world| {
                load_durable(world, 1);
                let connection = world.consumer_of(0, &format!("/?token={TOKEN}&from=a-1"));
                let (index, generation) = (connection.index, connection.generation);
                let session = crate::ReplyTo { shard: 0, index, generation };
                let from = Err(crate::NotFound::Unknown);
                world.mailboxes[0].to.push(ToShard::Found { session, from }).expect("room");
            }),
            ("acknowledgement_unknown", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, 1);
                settle(world, r#"{"Ack":7}"#);
            }),
            ("dead_letter", Sizes { journal: true, ..one() }, |world| {
                load_durable(world, 1);
                world.report();
                settle(world, r#"{"Refuse":1}"#);
            }),
            ("record_corrupt", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, REPORTS_OF_SEVERAL_SEGMENTS);
                world.driver(0).files.values_mut().for_each(|file| file[5000] ^= 1);
                settle(world, "");
            }),
            ("segment_unreadable", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, REPORTS_OF_SEVERAL_SEGMENTS);
                remove_oldest_segment(world);
                settle(world, "");
            }),
            ("message_lost", Sizes { journal: true, ..one() }, |world| {
                reports_are_kept(world, 3);
                settle(world, "");
                reports_are_kept(world, REPORTS_OF_SEVERAL_SEGMENTS);
                remove_oldest_segment(world);
                settle(world, "");
            }),
        ],
    );
}

#[test]
fn everything_done_can_be_made_to_move() {
    let (server, client) = configurations(&rustls::version::TLS13);
    let mut world = scene(&Sizes { tls: Some(server), journal: true, ..two() });
    // Both shards have a gateway that is online, and the first one hears a device of the other.
    for shard in 0..2 {
        datagram(&mut world, shard, gateway(shard, 2), PULL_DATA, b"");
    }
    let consumers = [world.consumer(0), world.consumer(1)];
    let mut secure = Secure::consumer(&mut world, &client);
    hear(&mut world, 0, &[&uplink(1, 2)]);
    command(&mut world, consumers[0], device(1, 2).dev_eui);
    world.turns(4);
    secure.exchange(&mut world);
    world.driver(1).end(consumers[1], End::Finished);
    world.turns(4);
    let mut done = values(&mut world);
    // An MQTT client of the other shard.
    let mut world = scene(&Sizes { broker: true, ..two() });
    super::broking::strangers(&mut world, 8);
    values(&mut world).into_iter().for_each(|(name, value)| *done.entry(name).or_default() += value);
    // A consumer that lags, refuses the first message, and is away when it would come again.
    let mut world = scene(&Sizes { journal: true, ..one() });
    reports_are_kept(&mut world, REPORTS_OF_SEVERAL_SEGMENTS);
    settle(&mut world, r#"{"Refuse":1}"#);
    settle(&mut world, r#"{"AckThrough":9}"#);
    values(&mut world).into_iter().for_each(|(name, value)| *done.entry(name).or_default() += value);
    assert_eq!(unmoved("shard_done", &done), [""; 0]);
}

#[test]
fn every_malformed_datagram_is_counted_by_its_reason() {
    let header = |version: u8, identifier: u8| [&[version, 0, 1, identifier], &gateway(0, 1).0[..]].concat();
    let push = |body: &[u8]| [&header(2, PUSH_DATA), body].concat();
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(60), "]".repeat(60));
    check_datagrams(
        "semtech_udp_malformed",
        &[
            ("short", vec![2, 0, 1]),
            ("version", header(3, PUSH_DATA)),
            ("identifier", header(2, 9)),
            ("direction", header(2, 1)),
            ("tx_ack_version", header(1, TX_ACK)),
            ("too_long", push(&[b' '; 5000])),
            ("utf8", push(b"{\"a\":\"\xFF\"}")),
            ("depth", push(deep.as_bytes())),
            ("json", push(b"{")),
            ("shape", push(b"[]")),
        ],
    );
}

#[test]
fn every_frame_that_cannot_be_used_is_counted_by_its_reason() {
    let cases = [
        ("tmst", r#""tmst":-1"#),
        ("freq", r#""freq":"868""#),
        ("datr", r#""datr":"SF99BW125""#),
        ("modu", r#""modu":"FSK""#),
        ("stat", r#""stat":7"#),
        ("rssi", r#""rssi":40000"#),
        ("lsnr", r#""lsnr":"loud""#),
        ("number", r#""chan":256"#),
        ("size", r#""size":2"#),
        ("data", r#""data":"!!!!""#),
        ("rsig", r#""rsig":{}"#),
    ];
    let push = |body: &str| [&[2, 0, 1, PUSH_DATA], &gateway(0, 1).0[..], body.as_bytes()].concat();
    let mut datagrams: Vec<_> = cases.iter().map(|(name, member)| (*name, push(&rxpk(member)))).collect();
    datagrams.push(("not_object", push(r#"{"rxpk":[7]}"#)));
    check_datagrams("rxpk_refusals", &datagrams);
}

#[test]
fn every_refusal_of_a_gateway_can_be_made_to_move() {
    check(
        "gateway_refusals",
        vec![
            ("unknown_gateway", one(), |world| datagram(world, 0, Eui64::new(0xDEAD), PULL_DATA, b"")),
            ("gateway_rate", one(), |world| {
                configure(world, |it| it.gateway_rate_max = 1);
                (0..2).for_each(|_| datagram(world, 0, gateway(0, 1), PULL_DATA, b""));
            }),
            ("address_rate", one(), |world| {
                configure(world, |it| it.address_rate_max = 1);
                (0..2).for_each(|_| datagram(world, 0, gateway(0, 1), PULL_DATA, b""));
            }),
            ("table_full", one(), strangers_come_online),
            ("no_return_path", one(), |world| {
                hear(world, 0, &[&uplink(0, 1)]);
                world.turn();
                world.pass(Duration::from_millis(300));
            }),
            ("token_unknown", one(), |world| datagram(world, 0, gateway(0, 1), TX_ACK, b"")),
        ],
    );
}

/// More than the memory of a log keeps.
const REPORTS_OF_SEVERAL_SEGMENTS: usize = 2500;

/// A durable stream covers so many reports of a gateway.
fn reports_are_kept(world: &mut World, count: usize) {
    load_durable(world, 0);
    (0..count).for_each(|_| world.report());
}

fn load_durable(world: &mut World, attempts_max: u32) {
    world.load(&[stream(|it| (it.delivery, it.attempts_max) = (v1::Delivery::Durable.into(), attempts_max))]);
}

fn remove_oldest_segment(world: &mut World) {
    let files = &mut world.driver(0).files;
    let oldest = files.keys().min().cloned().expect("a segment");
    files.remove(&oldest);
}

/// A consumer gets what there is, says something, and goes.
fn settle(world: &mut World, word: &str) {
    world.turns(6);
    let consumer = world.consumer(0);
    world.turns(60);
    if !word.is_empty() {
        world.driver(0).say(consumer, &frame(1, word.as_bytes()));
        world.turns(4);
    }
    world.driver(0).end(consumer, End::Finished);
    world.turns(4);
}

/// Plays every line in a world of its own, and sees that each moves its counter and that none of the family is left.
fn check(family: &'static str, lines: Vec<Line>) {
    let mut total = HashMap::new();
    let mut unmoved_by_its_line = Vec::new();
    for (name, sizes, act) in lines {
        let mut world = scene(&sizes);
        let before = values(&mut world)[&(family, name)];
        assert_eq!(before, 0, "{name} moved on its own");
        act(&mut world);
        let after = values(&mut world)[&(family, name)];
        if after == 0 {
            unmoved_by_its_line.push(name);
        }
        total.insert((family, name), after);
    }
    assert_eq!(unmoved_by_its_line, [""; 0]);
    assert_eq!(unmoved(family, &total), [""; 0], "these have no line");
}

/// Gives a gateway's shard every datagram, and sees that each is counted once, as what it is.
fn check_datagrams(family: &'static str, cases: &[(&'static str, Vec<u8>)]) {
    let mut world = scene(&one());
    // A machine whose buffers are larger than the room in which a shard works.
    world.driver(0).datagram_bytes = 8192;
    for (_, bytes) in cases {
        world.driver(0).datagram(socket(gateway(0, 1)), bytes);
    }
    let values = values(&mut world);
    for (name, _) in cases {
        assert_eq!(values[&(family, *name)], 1, "{name}");
    }
    assert_eq!(unmoved(family, &values), [""; 0]);
}

/// The counters of a family that have not moved.
fn unmoved(family: &str, values: &HashMap<(&'static str, &'static str), u64>) -> Vec<&'static str> {
    let of_family = descriptors().into_iter().filter(|it| it.family == family);
    let still = of_family.filter(|it| values.get(&(it.family, it.label)).is_none_or(|value| *value == 0));
    still.map(|it| it.label).collect()
}

/// What the shards report, all together.
fn values(world: &mut World) -> HashMap<(&'static str, &'static str), u64> {
    world.turns(2);
    world.heard.clear();
    for mailbox in &world.mailboxes {
        mailbox.to.push(ToShard::Report(Box::<Report>::default())).expect("room");
    }
    world.turns(2);
    let mut values = HashMap::new();
    let mut report_count = 0;
    for message in &world.heard {
        let FromShard::Reported(report) = message else { continue };
        report_count += 1;
        for (it, value) in descriptors().iter().zip(&report.values) {
            *values.entry((it.family, it.label)).or_insert(0) += value;
        }
    }
    assert_eq!(report_count, world.shards.len());
    values
}

fn one() -> Sizes {
    Sizes::default()
}

/// Two shards, with rings that [`fill`] fills.
fn two() -> Sizes {
    Sizes { shard_count: 2, ring_bytes: FILLER_BYTES * FILLER_COUNT, ..Sizes::default() }
}

/// A world with a stream, and for each shard a gateway and a device.
fn scene(sizes: &Sizes) -> World {
    let mut world = World::new(sizes);
    let count = sizes.shard_count;
    for shard in 0..count {
        upsert(&mut world, &device(shard, count));
        let gateway = plan::Gateway { eui: gateway(shard, count), tenant: 0, eirp_max_dbm: None };
        world.mailboxes[shard].to.push(ToShard::Upsert(plan::Upsert::Gateway(gateway))).expect("room");
    }
    configure(&mut world, |_| {});
    world
}

/// Puts the scene's configuration in force: a profile, a stream that may send downlinks, and these settings.
fn configure(world: &mut World, edit: fn(&mut v1::Settings)) {
    let mut settings = v1::Settings::default();
    edit(&mut settings);
    let (region, mac_version) = (v1::Region::Eu868.into(), v1::MacVersion::Lorawan103.into());
    let profile = v1::Profile { id: PROFILE, region, mac_version, ..Default::default() };
    world.configure(&[
        Body::Settings(settings),
        Body::Profile(profile),
        Body::Stream(stream(|it| it.downlinks = true)),
    ]);
}

fn upsert(world: &mut World, device: &DeviceSpec) {
    for mailbox in &world.mailboxes {
        mailbox.to.push(ToShard::Upsert(plan::Upsert::Device(device.clone()))).expect("room");
    }
    world.turn();
}

/// A gateway whose slot is in this shard's charge.
fn gateway(shard: usize, shard_count: usize) -> Eui64 {
    let own = |eui: &Eui64| shard_of_slot(slot_of(SLOT_KEY, *eui), shard_count) == shard;
    (GATEWAY..).map(Eui64::new).find(own).expect("every shard has some")
}

fn socket(gateway: Eui64) -> Socket {
    Socket(u16::from(slot_of(SLOT_KEY, gateway)))
}

fn keys() -> SessionKeys {
    SessionKeys { nwk_s_key: AesKey([1; 16]), app_s_key: AesKey([2; 16]) }
}

/// A device that lives on this shard and is looked up there, too.
fn device(shard: usize, shard_count: usize) -> DeviceSpec {
    let addr = |addr: &DevAddr| shard_of_lane(lane_of_addr(*addr).0, shard_count) == shard;
    let dev_addr = (0x2600_0000..).map(DevAddr).find(addr).expect("every shard has some");
    let eui = |eui: &Eui64| shard_of_lane(lane_of_eui(*eui).0, shard_count) == shard;
    DeviceSpec {
        dev_eui: (0xD1..).map(Eui64::new).find(eui).expect("every shard has some"),
        join_eui: Eui64::new(1),
        tenant: 0,
        application: 0,
        profile: PROFILE,
        enabled: true,
        activation: Activation::Abp { dev_addr, keys: keys(), fcnt_up: 0, fcnt_down: 0 },
    }
}

/// A frame of [`device`] that asks for an acknowledgement.
fn uplink(shard: usize, shard_count: usize) -> Vec<u8> {
    let Activation::Abp { dev_addr, .. } = device(shard, shard_count).activation else { panic!("it is ABP") };
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: true,
        dev_addr,
        fctrl: FCtrl::default(),
        fcnt: 1,
        fopts: &[],
        fport: Some(1),
        payload: b"data",
    };
    let mut out = [0; 64];
    let count = frame.write(&keys(), &mut out).expect("a frame");
    out[..count].to_vec()
}

/// A gateway says something, and `shard` gets it, whether the gateway's slot is in its charge or not.
fn datagram(world: &mut World, shard: usize, gateway: Eui64, identifier: u8, body: &[u8]) {
    let bytes = [&[2, 0, 1, identifier], &gateway.0[..], body].concat();
    world.driver(shard).datagram(socket(gateway), &bytes);
}

fn push_data(world: &mut World, shard: usize, json: &[u8]) {
    let gateway = gateway(shard, world.shards.len());
    datagram(world, shard, gateway, PUSH_DATA, json);
}

/// The gateway of `shard` hears these frames.
fn hear(world: &mut World, shard: usize, frames: &[&[u8]]) {
    let entries: Vec<_> = frames.iter().map(|phy| entry(phy, "")).collect();
    push_data(world, shard, format!(r#"{{"rxpk":[{}]}}"#, entries.join(",")).as_bytes());
}

/// A frame of one byte with one more member, which counts instead of its like before.
fn rxpk(member: &str) -> String {
    format!(r#"{{"rxpk":[{}]}}"#, entry(&[0], &format!(",{member}")))
}

fn entry(phy: &[u8], more: &str) -> String {
    let mut text = [0; 400];
    let count = wire::base64::encode(phy, &mut text).expect("room");
    let (size, data) = (phy.len(), std::str::from_utf8(&text[..count]).expect("ASCII"));
    format!(r#"{{"tmst":1,"freq":868.1,"datr":"SF7BW125","rssi":-50,"size":{size},"data":"{data}"{more}}}"#)
}

/// Fills the ring from `source` to the other shard as soon as `source` is turned, before it takes its own rings.
fn fill(world: &mut World, source: usize) {
    let other = |byte: &u8| shard_of_lane(lane_of_frame(&[*byte]).0, 2) != source;
    let phy = [(0..=u8::MAX).find(other).expect("a frame for every shard")];
    for _ in 0..FILLER_COUNT / 10 {
        hear(world, source, &[&phy[..]; 10]);
    }
}

/// More gateways come online than the control thread hears of, and than there is room for.
fn strangers_come_online(world: &mut World) {
    configure(world, |it| it.accept_unknown_gateways = true);
    for serial in 0..20 {
        datagram(world, 0, Eui64::new(0xF000 + serial), PULL_DATA, b"");
    }
}

/// Somebody connects and says this.
fn ask(world: &mut World, listener: Listener, request: &str) {
    let connection = world.driver(0).connect(listener);
    world.driver(0).say(connection, request.as_bytes());
    world.turns(4);
}

fn consumer_says(world: &mut World, bytes: &[u8]) {
    let consumer = world.consumer(0);
    world.driver(0).say(consumer, bytes);
}

fn consumer_commands(world: &mut World, dev_eui: Eui64) {
    let consumer = world.consumer(0);
    command(world, consumer, dev_eui);
    world.turns(3);
}

/// A consumer of shard 0 asks for a downlink.
fn command(world: &mut World, consumer: Connection, dev_eui: Eui64) {
    let json = format!(r#"{{"Type":3,"DeviceEUI":"{:016X}","Port":1,"Data":"01"}}"#, dev_eui.to_u64());
    world.driver(0).say(consumer, &frame(1, json.as_bytes()));
}

/// Consumers stop reading, and then there is something to read.
fn deaf_consumers(world: &mut World, count: usize, event_count: usize) {
    for _ in 0..count {
        let consumer = world.consumer(0);
        world.driver(0).peer(consumer).reads = false;
    }
    for _ in 0..event_count {
        world.report();
    }
}
