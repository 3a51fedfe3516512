//! Durable streams: nothing is lost on the way from the log to a consumer that settles what it got.

use super::*;

fn journaled(shard_count: usize) -> Sizes {
    Sizes { journal: true, shard_count, ..Sizes::default() }
}

fn durable(edit: impl FnOnce(&mut v1::Stream)) -> v1::Stream {
    stream(|it| {
        it.delivery = v1::Delivery::Durable.into();
        it.format = "json".into();
        edit(it);
    })
}

/// The ids of the messages that a consumer got since the last look, but for answers.
fn ids(world: &mut World, shard: usize, consumer: Connection) -> Vec<String> {
    let taken = std::mem::take(&mut world.driver(shard).peer(consumer).taken);
    let texts = frames(&taken).into_iter().filter(|(opcode, _)| *opcode == 1);
    let texts = texts.map(|(_, payload)| String::from_utf8(payload).expect("text"));
    texts.filter_map(|text| Some(text.split_once("\"Id\":\"")?.1.split_once('"')?.0.to_owned())).collect()
}

fn say(world: &mut World, shard: usize, consumer: Connection, json: &str) {
    world.driver(shard).say(consumer, &frame(1, json.as_bytes()));
    world.turns(4);
}

fn reports(world: &mut World, count: usize) {
    for _ in 0..count {
        world.report();
        world.turns(6);
    }
}

const TARGET: &str = "/?token=open-sesame";

#[test]
fn what_was_not_acknowledged_comes_again() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|_| ())]);
    reports(&mut world, 3);
    let first = world.consumer_of(0, TARGET);
    world.turns(4);
    let got = ids(&mut world, 0, first);
    assert_eq!(got.len(), 3, "what was kept before anyone came");
    reports(&mut world, 1);
    let more = ids(&mut world, 0, first);
    assert_eq!(more.len(), 1, "and what comes now");
    say(&mut world, 0, first, &format!(r#"{{"Ack":"{}"}}"#, got[0]));
    say(&mut world, 0, first, r#"{"Ack":3}"#);
    world.driver(0).end(first, driver::End::Finished);
    world.turns(4);
    let second = world.consumer_of(0, TARGET);
    world.turns(4);
    assert_eq!(ids(&mut world, 0, second), [got[1].clone(), more[0].clone()], "only what was not settled, in order");
    say(&mut world, 0, second, r#"{"AckThrough":2}"#);
    world.driver(0).end(second, driver::End::Finished);
    world.turns(4);
    let third = world.consumer_of(0, TARGET);
    world.turns(4);
    assert_eq!(ids(&mut world, 0, third), [""; 0]);
    assert_eq!((world.done(0, Done::MessagesAcknowledged), world.done(0, Done::MessagesRedelivered)), (4, 2));
}

#[test]
fn groups_do_not_disturb_each_other_and_begin_where_they_say() {
    let mut world = World::new(&journaled(2));
    world.load(&[durable(|_| ())]);
    reports(&mut world, 2);
    let a = world.consumer_of(0, &format!("{TARGET}&group=a"));
    let b = world.consumer_of(1, &format!("{TARGET}&group=b&from=latest"));
    world.turns(6);
    assert_eq!((ids(&mut world, 0, a).len(), ids(&mut world, 1, b).len()), (2, 0));
    reports(&mut world, 1);
    world.turns(4);
    assert_eq!((ids(&mut world, 0, a).len(), ids(&mut world, 1, b).len()), (1, 1));
    // From the beginning, once more.
    say(&mut world, 0, a, r#"{"AckThrough":3}"#);
    world.driver(0).end(a, driver::End::Finished);
    world.turns(4);
    let again = world.consumer_of(0, &format!("{TARGET}&group=a&from=earliest"));
    world.turns(6);
    assert_eq!(ids(&mut world, 0, again).len(), 3);
    let since = world.driver(0).now.0 / 1_000_000_000 + 1_800_000_000 + 1000;
    let later = world.consumer_of(0, &format!("{TARGET}&group=c&from={since}"));
    world.turns(6);
    assert_eq!(ids(&mut world, 0, later).len(), 0, "nothing of that time yet");
    for bad in ["group=no/slash", "group=123456789012345678901234567890123", "from=yesterday"] {
        let connection = world.driver(0).connect(PLAIN);
        world.driver(0).say(connection, request(&format!("{TARGET}&{bad}")).as_bytes());
        world.turns(2);
        assert!(world.driver(0).peer(connection).taken.starts_with(b"HTTP/1.1 400 "), "{bad}");
    }
}

#[test]
fn no_more_is_under_way_than_the_stream_permits() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|it| it.in_flight_max = 2)]);
    let consumer = world.consumer_of(0, TARGET);
    reports(&mut world, 5);
    let got = ids(&mut world, 0, consumer);
    assert_eq!(got.len(), 2);
    say(&mut world, 0, consumer, r#"{"Ack":1}"#);
    assert_eq!(ids(&mut world, 0, consumer).len(), 1);
    say(&mut world, 0, consumer, r#"{"AckThrough":3}"#);
    assert_eq!(ids(&mut world, 0, consumer).len(), 2);
}

#[test]
fn what_is_refused_too_often_is_a_dead_letter() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|it| (it.attempts_max, it.retry_s) = (2, Some(1)))]);
    let consumer = world.consumer_of(0, TARGET);
    reports(&mut world, 1);
    let got = ids(&mut world, 0, consumer);
    say(&mut world, 0, consumer, r#"{"Refuse":1}"#);
    assert_eq!(ids(&mut world, 0, consumer).len(), 0, "not at once");
    world.pass(Duration::from_millis(1200));
    assert_eq!(ids(&mut world, 0, consumer), got, "but after a while");
    say(&mut world, 0, consumer, r#"{"Refuse":2}"#);
    world.pass(Duration::from_millis(2500));
    assert_eq!(ids(&mut world, 0, consumer).len(), 0);
    assert_eq!(world.drops(0, Drop::DeadLetter), 1);
    reports(&mut world, 1);
    assert_eq!(ids(&mut world, 0, consumer).len(), 1, "the device is held back no longer");
}

#[test]
fn an_acknowledgement_that_does_not_come_is_a_refusal() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|it| (it.attempts_max, it.retry_s, it.ack_timeout_s) = (2, Some(0), 5))]);
    let consumer = world.consumer_of(0, TARGET);
    reports(&mut world, 1);
    let got = ids(&mut world, 0, consumer);
    world.pass(Duration::from_millis(5500));
    assert_eq!(ids(&mut world, 0, consumer), got, "again");
    world.pass(Duration::from_millis(5500));
    assert_eq!((ids(&mut world, 0, consumer).len(), world.drops(0, Drop::DeadLetter)), (0, 1));
}

#[test]
fn a_consumer_that_lags_is_read_for_from_the_disk() {
    let mut world = World::new(&journaled(2));
    world.load(&[durable(|_| ())]);
    // More than memory keeps, over several segments.
    reports(&mut world, 2500);
    let shard = shard_of_slot(slot_of(SLOT_KEY, Eui64::new(GATEWAY)), 2);
    let keeping = world.shards[shard].keeping.as_ref().expect("it journals");
    assert!(keeping.log.tail_start().offset() > 1 << 20, "{:?}", keeping.log.tail_start());
    let consumer = world.consumer_of(1 - shard, TARGET);
    let mut got = Vec::new();
    for turn in 0..40 {
        world.turns(60);
        let new = ids(&mut world, 1 - shard, consumer);
        got.extend(new);
        say(&mut world, 1 - shard, consumer, &format!(r#"{{"AckThrough":{}}}"#, got.len().max(1)));
        if turn % 4 == 0 {
            reports(&mut world, 1);
        }
    }
    let mut sorted = got.clone();
    sorted.sort_by_key(|id| id.rsplit_once('-').expect("an id").1.parse::<u64>().expect("a time"));
    sorted.dedup();
    assert_eq!(got.len(), 2510, "all of them");
    assert_eq!(got, sorted, "once, in order");
    assert!(world.done(shard, Done::SegmentReads) > 4);
    assert_eq!(world.drops(shard, Drop::MessageLost), 0);
}

#[test]
fn less_may_be_under_way_after_the_plan_has_changed() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|it| it.in_flight_max = 16)]);
    let first = world.consumer_of(0, TARGET);
    reports(&mut world, 10);
    let got = ids(&mut world, 0, first);
    assert_eq!(got.len(), 10);
    world.load(&[durable(|it| it.in_flight_max = 2)]);
    world.driver(0).end(first, driver::End::Finished);
    world.turns(4);
    let second = world.consumer_of(0, TARGET);
    for turn in 0..5 {
        world.turns(4);
        assert_eq!(ids(&mut world, 0, second), got[2 * turn..2 * turn + 2], "no more than it has room for");
        say(&mut world, 0, second, &format!(r#"{{"AckThrough":{}}}"#, 2 * turn + 2));
    }
    assert_eq!(world.drops(0, Drop::PoolExhausted), 0);
}

#[test]
fn a_session_that_comes_before_the_plan_is_fed_once_it_is_there() {
    let mut world = World::new(&journaled(2));
    let late = shard_of_slot(slot_of(SLOT_KEY, Eui64::new(GATEWAY)), 2);
    let stream = durable(|_| ());
    world.load_one(1 - late, std::slice::from_ref(&stream));
    world.turns(2);
    let consumer = world.consumer_of(1 - late, TARGET);
    world.turns(4);
    world.load_one(late, std::slice::from_ref(&stream));
    world.turns(2);
    reports(&mut world, 3);
    assert_eq!(ids(&mut world, 1 - late, consumer).len(), 3);
    assert_eq!(world.drops(late, Drop::FeedsFull), 0);
}

/// A group lags, and has its next messages read when its only session ends and another comes. The feed must not begin
/// behind what it reads then, whether that comes when nobody is there or when the next session is, which may take less.
#[test]
fn what_is_read_while_sessions_change_is_not_lost() {
    for (acknowledged, after, is_late) in [(8, 8, false), (3, 8, false), (8, 2, true), (3, 2, true)] {
        let mut world = World::new(&journaled(1));
        world.load(&[durable(|it| it.in_flight_max = 8)]);
        // More than memory keeps.
        reports(&mut world, 2500);
        let first = world.consumer_of(0, TARGET);
        world.turns(10);
        let got = ids(&mut world, 0, first);
        assert_eq!(got.len(), 8, "as much as may be under way");
        world.driver(0).files_stall = true;
        say(&mut world, 0, first, &format!(r#"{{"AckThrough":{acknowledged}}}"#));
        world.load(&[durable(|it| it.in_flight_max = after)]);
        world.driver(0).end(first, driver::End::Finished);
        world.turns(4);
        let early = is_late.then(|| world.consumer_of(0, TARGET));
        world.driver(0).files_stall = false;
        world.turns(10);
        let second = early.unwrap_or_else(|| world.consumer_of(0, TARGET));
        let mut all = Vec::new();
        while all.len() < 40 {
            world.turns(10);
            let more = ids(&mut world, 0, second);
            assert!(!more.is_empty(), "it goes on after {}", all.len());
            all.extend(more);
            say(&mut world, 0, second, &format!(r#"{{"AckThrough":{}}}"#, all.len()));
        }
        let number = |id: &String| id.rsplit_once('-').expect("an id").1.parse::<u64>().expect("a time");
        assert_eq!(number(&all[0]), number(&got[acknowledged - 1]) + 1000, "the first that was not acknowledged");
        assert!(all.windows(2).all(|pair| number(&pair[1]) == number(&pair[0]) + 1000), "and all that follow");
    }
}
