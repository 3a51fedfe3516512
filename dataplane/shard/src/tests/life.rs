//! The life of a connection: every way it begins, every way it ends, and that nothing of it is left.

use super::*;
use driver::End;

#[test]
fn a_close_is_answered_once_and_ends_the_connection() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|_| {})]);
    let connection = world.consumer(0);
    let close = frame(8, &1000u16.to_be_bytes());
    world.driver(0).say(connection, &[close.clone(), close].concat());
    world.turns(4);
    assert_eq!(close_codes(&world.driver(0).peer(connection).taken), [1000]);
    assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::Gracefully));
    assert!(world.is_clean(0));
}

#[test]
fn a_consumer_is_sent_events_and_answers() {
    let mut world = World::new(&Sizes { shard_count: 2, ..Sizes::default() });
    world.load(&[stream(|_| {})]);
    let both = [world.consumer(0), world.consumer(1)];
    world.turn();
    world.report();
    world.turns(3);
    for (shard, connection) in both.into_iter().enumerate() {
        let taken = frames(&std::mem::take(&mut world.driver(shard).peer(connection).taken));
        assert_eq!(taken.len(), 1, "shard {shard}");
        assert!(taken[0].1.starts_with(br#"{"Event":"gateway_status""#));
        world.driver(shard).say(connection, &frame(9, b"ping"));
        world.driver(shard).say(connection, &frame(1, b"{"));
    }
    world.turns(3);
    for (shard, connection) in both.into_iter().enumerate() {
        let taken = frames(&world.driver(shard).peer(connection).taken);
        assert_eq!(taken[0], (10, b"ping".to_vec()));
        assert_eq!(taken[1].0, 1, "a bad downlink is answered");
        assert_eq!(world.drops(shard, Drop::DownlinkMalformed), 1);
    }
}

#[test]
fn what_is_no_upgrade_is_answered_and_closed() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "426", Drop::HeadMalformed),
        (request("/nowhere"), "404", Drop::HeadMalformed),
        (request("/"), "401", Drop::TokenMissing),
        (request("/?token=wrong"), "401", Drop::TokenUnknown),
        (request(&format!("/?token={}", "x".repeat(9000))), "431", Drop::HeadTooLong),
    ];
    for (request, status, reason) in cases {
        let mut world = World::new(&Sizes::default());
        world.load(&[stream(|_| {})]);
        let connection = world.driver(0).connect(PLAIN);
        for piece in request.as_bytes().chunks(100) {
            world.driver(0).say(connection, piece);
        }
        world.turns(4);
        let taken = String::from_utf8_lossy(&world.driver(0).peer(connection).taken).into_owned();
        assert!(taken.starts_with(&format!("HTTP/1.1 {status} ")), "{taken}");
        assert_eq!(world.drops(0, reason), 1);
        assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::Gracefully));
        assert!(world.is_clean(0));
    }
}

#[test]
fn a_connection_that_says_nothing_is_reset() {
    let mut world = World::new(&Sizes::default());
    let connection = world.driver(0).connect(PLAIN);
    world.turn();
    world.pass(Duration::from_secs(9));
    assert!(world.driver(0).peer(connection).open);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::ByReset));
    assert_eq!(world.drops(0, Drop::HandshakeTimeout), 1);
    assert!(world.is_clean(0));
}

#[test]
fn a_broken_frame_is_told_and_closed_also_if_the_peer_does_not_read() {
    for reads in [true, false] {
        let mut world = World::new(&Sizes::default());
        world.load(&[stream(|_| {})]);
        let connection = world.consumer(0);
        world.driver(0).peer(connection).reads = reads;
        world.driver(0).say(connection, &[0xF1, 0x80, 0, 0, 0, 0]);
        world.turns(3);
        assert_eq!(world.drops(0, Drop::FrameMalformed), 1);
        world.pass(Duration::from_secs(8));
        let peer = world.driver(0).peer(connection);
        if reads {
            assert_eq!((close_codes(&peer.taken), peer.closed), (vec![1002], Some(Closed::Gracefully)));
        } else {
            assert_eq!(peer.closed, Some(Closed::ByReset));
        }
        assert!(world.is_clean(0));
    }
}

#[test]
fn a_peer_that_sent_fin_and_does_not_read_is_let_go() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|_| {})]);
    let connection = world.consumer(0);
    world.driver(0).peer(connection).reads = false;
    world.report();
    world.driver(0).end(connection, End::Finished);
    world.turns(3);
    assert!(world.driver(0).peer(connection).open, "its last message is in flight");
    world.pass(Duration::from_secs(8));
    assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::ByReset));
    assert!(world.is_clean(0));
}

#[test]
fn a_reset_ends_a_connection_in_every_phase() {
    for said in ["", "GET / HT", &request(&format!("/?token={TOKEN}")), &request("/")] {
        let mut world = World::new(&Sizes::default());
        world.load(&[stream(|_| {})]);
        let connection = world.driver(0).connect(PLAIN);
        world.driver(0).peer(connection).reads = false;
        world.driver(0).say(connection, said.as_bytes());
        world.turns(2);
        world.driver(0).end(connection, End::Failed(104));
        world.turns(3);
        assert!(!world.driver(0).peer(connection).open, "{said}");
        assert!(world.is_clean(0));
        // Its place serves the next one.
        let next = world.consumer(0);
        assert_eq!((next.index, next.generation), (connection.index, connection.generation + 1));
    }
}

#[test]
fn pings_are_sent_and_silence_ends_the_session() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|it| it.ping_interval_s = 5)]);
    let (dead, alive) = (world.consumer(0), world.consumer(0));
    for _ in 0..20 {
        world.pass(Duration::from_secs(1));
        world.driver(0).say(alive, &frame(10, b""));
    }
    assert!(world.driver(0).peer(alive).open);
    let peer = world.driver(0).peer(dead);
    assert_eq!(peer.closed, Some(Closed::ByReset));
    assert_eq!(frames(&peer.taken).iter().filter(|(opcode, _)| *opcode == 9).count(), 2);
    assert_eq!(world.drops(0, Drop::PongMissing), 1);
}

#[test]
fn a_new_plan_keeps_whom_it_still_admits() {
    let mut world = World::new(&Sizes { shard_count: 2, ..Sizes::default() });
    let other = |edit: fn(&mut v1::Stream)| {
        let mut other = stream(|it| (it.id, it.token_hashes) = (7, vec![vec![7; 32]]));
        edit(&mut other);
        other
    };
    world.load(&[stream(|_| {}), other(|_| {})]);
    let consumers: Vec<_> = (0..5).map(|_| world.consumer(0)).collect();
    // Another index, another format, the same sessions.
    world.load(&[stream(|it| it.format = "xml".into()), other(|it| it.id = 2)]);
    world.report();
    world.turns(3);
    for connection in &consumers {
        let taken = frames(&std::mem::take(&mut world.driver(0).peer(*connection).taken));
        assert!(taken.len() == 1 && taken[0].1.starts_with(b"<"), "{taken:?}");
    }
    for streams in
        [vec![stream(|it| it.enabled = false)], vec![other(|_| {})], vec![stream(|it| it.token_hashes.clear())]]
    {
        world.load(&[stream(|_| {})]);
        let consumers: Vec<_> = (0..3).map(|_| world.consumer(0)).collect();
        world.load(&streams);
        for connection in consumers {
            assert_eq!(close_codes(&world.driver(0).peer(connection).taken), [1008]);
            world.driver(0).say(connection, &frame(8, &1008u16.to_be_bytes()));
            world.turns(3);
            assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::Gracefully));
        }
    }
    world.pass(Duration::from_secs(8));
    assert!(world.is_clean(0));
}

#[test]
fn a_shard_that_gets_the_plan_later_knows_who_listens() {
    let mut world = World::new(&Sizes { shard_count: 2, ..Sizes::default() });
    let gateway_shard = shard_of_slot(slot_of(SLOT_KEY, Eui64::new(GATEWAY)), 2);
    let other = 1 - gateway_shard;
    world.load_one(other, &[stream(|_| {})]);
    world.turn();
    let connection = world.consumer(other);
    world.load_one(gateway_shard, &[stream(|_| {})]);
    world.turn();
    world.report();
    world.turns(3);
    assert_eq!(frames(&world.driver(other).peer(connection).taken).len(), 1);
}

#[test]
fn a_stop_says_goodbye_and_waits_for_nobody_for_long() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|_| {})]);
    let (polite, stuck, silent) = (world.consumer(0), world.consumer(0), world.driver(0).connect(PLAIN));
    world.driver(0).peer(stuck).reads = false;
    world.turn();
    world.mailboxes[0].to.push(ToShard::Stop).expect("room");
    world.turns(2);
    assert_eq!(close_codes(&world.driver(0).peer(polite).taken), [1001]);
    world.driver(0).say(polite, &frame(8, &1001u16.to_be_bytes()));
    world.turns(3);
    assert!(!world.driver(0).peer(polite).open && !world.driver(0).peer(silent).open);
    // Who comes back at once is sent away.
    let again = world.driver(0).connect(PLAIN);
    world.turns(2);
    assert_eq!(world.driver(0).peer(again).closed, Some(Closed::ByReset));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.driver(0).peer(stuck).closed, Some(Closed::ByReset));
    assert!(world.heard.iter().any(|message| matches!(message, FromShard::Stopped { stored: true })));
    assert!(world.is_clean(0));
}

#[test]
fn connections_are_limited_per_stream() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|it| it.connection_count_max = 2)]);
    let first = world.consumer(0);
    world.consumer(0);
    let third = world.driver(0).connect(PLAIN);
    world.driver(0).say(third, request(&format!("/?token={TOKEN}")).as_bytes());
    world.turns(3);
    assert!(world.driver(0).peer(third).taken.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(world.drops(0, Drop::ConnectionLimit), 1);
    world.driver(0).end(first, End::Finished);
    world.turns(3);
    world.consumer(0);
}
