//! A consumer that stops reading costs bounded memory, and nobody else's messages.

use super::*;

fn delivered(world: &mut World, connection: Connection) -> usize {
    let taken = std::mem::take(&mut world.driver(0).peer(connection).taken);
    frames(&taken)
        .iter()
        .filter(|(opcode, payload)| *opcode == 1 && !payload.starts_with(br#"{"Event":"missed""#))
        .count()
}

#[test]
fn a_full_queue_drops_the_newest_and_says_how_many() {
    let mut world = World::new(&Sizes::default());
    world.load(&[stream(|it| it.queue_bytes_max = 16 << 10)]);
    let (slow, quick) = (world.consumer(0), world.consumer(0));
    world.driver(0).peer(slow).reads = false;
    for _ in 0..200 {
        world.report();
    }
    world.turns(3);
    assert_eq!(delivered(&mut world, quick), 200);
    let lost = world.drops(0, Drop::QueueFull);
    assert!(lost > 150, "{lost}");
    let clients = &world.shards[0].clients;
    assert!(clients.pool.count() - clients.pool.free_count() <= 6, "16 KiB and the blocks' edges");
    world.driver(0).peer(slow).reads = true;
    world.turns(6);
    world.report();
    world.turns(3);
    let taken = frames(&world.driver(0).peer(slow).taken);
    let missed = format!(r#"{{"Event":"missed","Count":{lost}}}"#);
    assert!(taken.iter().any(|(_, payload)| payload == missed.as_bytes()));
    let delivered = taken.len() as u64 - 1;
    assert_eq!(delivered + lost, 201, "every message was delivered or counted");
    assert_eq!(world.done(0, Done::MessagesDelivered), 201 + delivered);
}

#[test]
fn a_slow_consumer_is_disconnected_where_the_stream_says_so() {
    let mut world = World::new(&Sizes::default());
    let disconnect = v1::WhenFull::Disconnect.into();
    world.load(&[stream(|it| (it.queue_bytes_max, it.when_full) = (16 << 10, disconnect))]);
    let slow = world.consumer(0);
    world.driver(0).peer(slow).reads = false;
    for _ in 0..60 {
        world.report();
    }
    world.pass(Duration::from_millis(1100));
    assert_eq!(world.drops(0, Drop::Overdue), 1);
    world.driver(0).peer(slow).reads = true;
    world.turns(6);
    assert_eq!(close_codes(&world.driver(0).peer(slow).taken), [1013]);
    world.pass(Duration::from_secs(7));
    assert!(world.is_clean(0));
}

#[test]
fn those_who_do_not_read_give_up_their_output_buffers() {
    let mut world = World::new(&Sizes { output_count: 4, ..Sizes::default() });
    world.load(&[stream(|_| {})]);
    let stalled: Vec<_> = (0..4).map(|_| world.consumer(0)).collect();
    let quick = world.consumer(0);
    for connection in &stalled {
        world.driver(0).peer(*connection).reads = false;
    }
    world.report();
    world.turns(3);
    assert_eq!(delivered(&mut world, quick), 1);
    world.report();
    assert_eq!(delivered(&mut world, quick), 0, "every output buffer is taken");
    world.pass(Duration::from_secs(3));
    assert_eq!(delivered(&mut world, quick), 1);
    for connection in stalled {
        assert_eq!(world.driver(0).peer(connection).closed, Some(Closed::ByReset));
    }
    assert_eq!(world.drops(0, Drop::Stalled), 4);
}

#[test]
fn those_who_do_not_read_give_up_their_queue_memory() {
    // A hundred blocks: five stalled queues of 80 KiB would be all of it.
    let mut world = World::new(&Sizes { block_count: 100, ..Sizes::default() });
    world.load(&[stream(|it| it.queue_bytes_max = 80 << 10)]);
    let stalled: Vec<_> = (0..5).map(|_| world.consumer(0)).collect();
    for connection in &stalled {
        world.driver(0).peer(*connection).reads = false;
    }
    for _ in 0..200 {
        world.report();
    }
    world.pass(Duration::from_secs(3));
    assert_eq!(world.drops(0, Drop::Stalled), 5);
    assert!(world.is_clean(0));
    let quick = world.consumer(0);
    for _ in 0..50 {
        world.report();
    }
    world.turns(3);
    assert_eq!(delivered(&mut world, quick), 50);
}

#[test]
fn an_echo_that_is_not_read_is_not_read_from_and_a_listener_is() {
    let mut world = World::new(&Sizes { echo: true, ..Sizes::default() });
    world.load(&[stream(|_| {})]);
    let listener = world.consumer(0);
    let echo = world.driver(0).connect(PLAIN);
    world.driver(0).say(echo, request("/echo").as_bytes());
    world.turns(2);
    for connection in [echo, listener] {
        world.driver(0).peer(connection).reads = false;
    }
    for _ in 0..80 {
        world.driver(0).say(echo, &frame(2, &[1; 4000]));
        world.turn();
    }
    for _ in 0..400 {
        world.report();
    }
    world.driver(0).say(listener, &frame(10, b""));
    world.turn();
    assert!(world.driver(0).peer(echo).paused && !world.driver(0).peer(listener).paused);
    world.driver(0).peer(echo).reads = true;
    world.turns(40);
    let peer = world.driver(0).peer(echo);
    assert!(!peer.paused);
    let echoed: usize = peer.taken.len();
    assert!(echoed > 80 * 4000, "everything came back: {echoed}");
}
