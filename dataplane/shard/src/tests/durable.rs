//! Durable streams: nothing is lost on the way from the log to a consumer that settles what it got.

use super::*;
use crate::feeds::STEPS_PER_TURN_MAX;
use crate::reader::PIECE_BYTES;
use crate::{From, Group, GroupRefused, NotFound};
use journal::Position;

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

/// The last word of a session counts, also if its end comes in the same turn.
#[test]
fn what_is_acknowledged_in_parting_does_not_come_again() {
    let mut world = World::new(&journaled(2));
    world.load(&[durable(|_| ())]);
    reports(&mut world, 3);
    let first = world.consumer_of(0, TARGET);
    world.turns(6);
    let got = ids(&mut world, 0, first);
    world.driver(0).say(first, &frame(1, br#"{"AckThrough":2}"#));
    world.driver(0).end(first, driver::End::Finished);
    world.turns(6);
    let second = world.consumer_of(1, TARGET);
    world.turns(6);
    assert_eq!(ids(&mut world, 1, second), got[2..]);
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
    for bad in [
        "group=no/slash",
        "group=123456789012345678901234567890123",
        "from=yesterday",
        "from=-5",
        "from=a--b",
        "from=a-%C3%BC",
    ] {
        let connection = world.driver(0).connect(PLAIN);
        world.driver(0).say(connection, request(&format!("{TARGET}&{bad}")).as_bytes());
        world.turns(2);
        assert!(world.driver(0).peer(connection).taken.starts_with(b"HTTP/1.1 400 "), "{bad}");
    }
}

#[test]
fn a_session_begins_at_a_message_once_it_is_found() {
    let mut world = World::new(&journaled(2));
    world.load(&[durable(|_| ())]);
    reports(&mut world, 4);
    let first = world.consumer_of(0, TARGET);
    world.turns(4);
    let got = ids(&mut world, 0, first);
    let asked = |world: &World| {
        let finds = world.heard.iter().filter_map(|message| match message {
            FromShard::Find { session, stream, id } => Some((*session, *stream, id.text().to_owned())),
            _ => None,
        });
        finds.collect::<Vec<_>>()
    };
    let at = |id: &str| UnixMicros(id.rsplit_once('-').expect("an id").1.parse().expect("a time"));
    let second = world.consumer_of(1, &format!("{TARGET}&group=b&from={}", got[2]));
    world.turns(4);
    assert_eq!(ids(&mut world, 1, second), [""; 0], "it is being looked for");
    let (session, stream, id) = asked(&world).pop().expect("the control thread is asked");
    assert_eq!((stream, &id), (5, &got[2]));
    world.mailboxes[1].to.push(ToShard::Found { session, from: Ok(From::Time(at(&id))) }).expect("room");
    world.turns(6);
    assert_eq!(ids(&mut world, 1, second), got[2..]);
    // Told again, or of a session that is gone, it is not heard.
    world.mailboxes[1].to.push(ToShard::Found { session, from: Err(NotFound::Unknown) }).expect("room");
    world.turns(2);
    say(&mut world, 1, second, r#"{"AckThrough":2}"#);
    assert_eq!(world.done(1, Done::MessagesAcknowledged) + world.done(0, Done::MessagesAcknowledged), 2);
    for (missing, code) in [(NotFound::Unknown, 1008), (NotFound::Busy, 1013)] {
        let third = world.consumer_of(0, &format!("{TARGET}&group=c&from={}", got[0]));
        let (session, ..) = asked(&world).pop().expect("the control thread is asked");
        world.mailboxes[0].to.push(ToShard::Found { session, from: Err(missing) }).expect("room");
        world.turns(2);
        assert_eq!(close_codes(&world.driver(0).peer(third).taken), [code]);
    }
    let feeds = world.shards.iter().flat_map(|shard| shard.feeds.table.iter().flatten());
    assert!(feeds.into_iter().all(|feed| feed.group.name() != "c"), "no group was made");
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
    lags(journal::OFFSET_END, 1);
}

/// The gateway's shard uses up an epoch with each segment; the other stays where it began.
#[test]
fn a_log_that_goes_on_in_the_next_epoch_is_read_as_one() {
    lags((1 << 20) + 8, 3);
}

fn lags(epoch_bytes: u64, epochs: u16) {
    let mut world = World::new(&Sizes { epoch_bytes, ..journaled(2) });
    world.load(&[durable(|_| ())]);
    // More than memory keeps, over several segments.
    reports(&mut world, 2500);
    let shard = shard_of_slot(slot_of(SLOT_KEY, Eui64::new(GATEWAY)), 2);
    let keeping = world.shards[shard].keeping.as_ref().expect("it journals");
    let written = keeping.log.bytes_since(Position::ZERO) - keeping.log.bytes_since(keeping.log.tail_start());
    assert!(written > 1 << 20 && keeping.log.head().epoch() == epochs, "{:?}", keeping.log);
    let other = world.shards[1 - shard].keeping.as_ref().expect("it journals");
    assert_eq!(other.log.head().epoch(), 1);
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

/// Traffic waits for a turn: what catches up has its share of each, from the disk and from memory, and no more.
#[test]
fn a_turn_hands_out_a_piece_and_no_more() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|it| it.in_flight_max = 4096)]);
    reports(&mut world, 2500);
    let keeping = world.shards[0].keeping.as_ref().expect("it journals");
    let record_bytes = keeping.log.bytes_since(Position::ZERO) as usize / 2500;
    let consumer = world.consumer_of(0, TARGET);
    let counts = |world: &mut World| [Done::SegmentBytesRead, Done::MessagesDelivered].map(|it| world.done(0, it));
    let (mut before, mut from_disk, mut from_memory) = (counts(&mut world), 0, 0);
    while before[1] < 2500 {
        world.turns(1);
        let now = counts(&mut world);
        let [bytes, messages] = [now[0] - before[0], now[1] - before[1]];
        assert!(bytes <= PIECE_BYTES as u64, "{bytes} bytes were read");
        let in_piece = if bytes > 0 { PIECE_BYTES / record_bytes + 2 } else { 0 };
        assert!(messages <= (in_piece + STEPS_PER_TURN_MAX) as u64, "{messages} messages, {bytes} bytes");
        *(if bytes > 0 { &mut from_disk } else { &mut from_memory }) += messages;
        before = now;
    }
    world.turns(20);
    assert_eq!(ids(&mut world, 0, consumer).len(), 2500);
    assert!(from_disk > 400 && from_memory > 400, "{from_disk} from the disk, {from_memory} from memory");
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

/// A group that was sent back is kept there, and not where it had come to; with or without a session.
#[test]
fn where_a_group_was_sent_is_kept() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|_| ())]);
    reports(&mut world, 3);
    let consumer = world.consumer_of(0, TARGET);
    world.turns(4);
    say(&mut world, 0, consumer, r#"{"AckThrough":3}"#);
    world.pass(Duration::from_millis(300));
    world.driver(0).end(consumer, driver::End::Finished);
    world.turns(4);
    let cursors = |world: &mut World| {
        let records = super::journaled::records(world, 0);
        let cursors = records.iter().filter(|(kind, _)| *kind == journal::Kind::Cursor);
        let position = |body: &[u8]| journal::CursorBody::parse(body).expect("a cursor").cursor.position;
        cursors.map(|(_, body)| position(body)).collect::<Vec<_>>()
    };
    let before = cursors(&mut world);
    assert!(before.last() > Some(&Position::new(1, 0, 0)), "{before:?}");
    let group = Group::default();
    world.mailboxes[0].to.push(ToShard::Seek { stream: 5, group, from: From::Earliest }).expect("room");
    world.pass(Duration::from_millis(300));
    let after = cursors(&mut world);
    assert_eq!((after.len(), after.last()), (before.len() + 1, Some(&Position::ZERO)));
}

/// Asks every shard to forget a group. Returns what the first of them says once it does.
fn remove(world: &mut World, group: &str) -> Vec<Result<bool, GroupRefused>> {
    world.heard.clear();
    for mailbox in &world.mailboxes {
        let group = Group::new(group).expect("a name");
        mailbox.to.push(ToShard::RemoveGroup { request: 7, stream: 5, group }).expect("room");
    }
    world.turns(6);
    let answers = world.heard.iter().filter_map(|message| match message {
        FromShard::GroupRemoved { request: 7, outcome } => Some(*outcome),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_group_is_forgotten_once_that_is_stored() {
    let mut world = World::new(&journaled(1));
    world.load(&[durable(|_| ())]);
    assert_eq!(remove(&mut world, "a"), [Ok(false)], "nobody knows it");
    reports(&mut world, 3);
    let consumer = world.consumer_of(0, &format!("{TARGET}&group=a"));
    world.turns(4);
    say(&mut world, 0, consumer, r#"{"AckThrough":2}"#);
    world.pass(Duration::from_millis(300));
    assert_eq!(remove(&mut world, "a"), [Err(GroupRefused::InUse)]);
    world.driver(0).end(consumer, driver::End::Finished);
    world.turns(4);
    // Not before it is stored.
    world.driver(0).files_stall = true;
    assert_eq!(remove(&mut world, "a"), []);
    world.driver(0).files_stall = false;
    world.turns(6);
    let told =
        world.heard.iter().filter(|message| matches!(message, FromShard::GroupRemoved { outcome: Ok(true), .. }));
    assert_eq!(told.count(), 1);
    let kinds: Vec<journal::Kind> = super::journaled::records(&mut world, 0).iter().map(|(kind, _)| *kind).collect();
    let last = |wanted| kinds.iter().rposition(|kind| *kind == wanted);
    assert!(last(journal::Kind::Cursor) > Some(0) && last(journal::Kind::RemovedGroup) > last(journal::Kind::Cursor));
    // One of its name is a new one.
    let consumer = world.consumer_of(0, &format!("{TARGET}&group=a"));
    world.turns(4);
    assert_eq!(ids(&mut world, 0, consumer).len(), 3);
    // While the disk is in trouble nothing is forgotten.
    world.driver(0).end(consumer, driver::End::Finished);
    world.driver(0).file_fault = Some(driver::FileFault::Write(28));
    world.keeper = None;
    reports(&mut world, 1);
    assert_eq!(remove(&mut world, "a"), [Err(GroupRefused::NotKept)]);
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
