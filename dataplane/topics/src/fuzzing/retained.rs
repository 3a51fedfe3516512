//! The law of retained messages: beside a table of all of them and a naive matcher, with walks that go on while messages come
//! and go.

use super::Steps;
use super::model::matches;
use crate::{Cursor, Key, Message, NotRetained, Retained, RetainedLimits, Usage};
use base::UnixMicros;
use std::collections::{BTreeMap, BTreeSet};

const SPACE_COUNT: usize = 2;
const DEPTH_MAX: usize = 5;

type Model = BTreeMap<(u32, String), Message<u32>>;

/// A walk, what it must find and what it may.
struct Walk {
    cursor: Cursor,
    space: u32,
    filter: String,
    /// There since it began.
    due: BTreeSet<String>,
    seen: BTreeSet<String>,
}

/// Whatever is retained, cleared and expires: what is found is what is there, quotas are exact, a walk finds once what stays
/// and never twice anything, and in the end nothing is left.
pub fn retained(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let limits = RetainedLimits { level_count_max: 20 + steps.below(250), depth_max: DEPTH_MAX };
    let quota = Usage { count: 1 + steps.below(100), bytes: 50 + 20 * steps.below(256) as u64 };
    let mut store: Retained<u32> = Retained::new(limits, Key([steps.byte(); 16]));
    let (mut model, mut walks, mut now, mut number) = (Model::new(), Vec::new(), UnixMicros(1), 0);
    while !steps.0.is_empty() {
        let (operation, space) = (steps.byte() % 16, steps.below(SPACE_COUNT) as u32);
        match operation {
            0..=5 => {
                number += 1;
                let expires = [None, None, Some(UnixMicros(now.0 + 1 + steps.below(30) as u64))][steps.below(3)];
                let message = Message { value: number, bytes: steps.below(90) as u64, expires };
                set(&mut store, &mut model, &(space, steps.topic()), message, quota, &limits);
            }
            6 | 7 => {
                let topic = match model.keys().nth(steps.below(model.len().max(1))) {
                    Some((_, topic)) if operation == 6 => topic.clone(),
                    _ => steps.topic(),
                };
                let cleared = store.clear(space, topic.as_bytes());
                assert_eq!(cleared, model.remove(&(space, topic)).map(|message| message.value));
            }
            8 => now = UnixMicros(now.0 + steps.below(20) as u64),
            9 => expire(&mut store, &mut model, now, steps.below(4)),
            10 | 11 if walks.len() < 4 => {
                let (cursor, filter) = (store.open(space), steps.filter());
                let due = model.keys().filter(|(of, topic)| *of == space && matches(&filter, topic));
                let due = due.map(|(_, topic)| topic.clone()).collect();
                walks.push(Walk { cursor, space, filter, due, seen: BTreeSet::new() });
            }
            12 if !walks.is_empty() && steps.below(4) == 0 => {
                let walk = walks.swap_remove(steps.below(walks.len()));
                store.close(walk.cursor);
            }
            13 => {
                let (topic, filter) = (steps.topic(), steps.filter());
                let found = store.get(space, topic.as_bytes(), now).copied();
                let known = model.get(&(space, topic)).copied();
                assert_eq!(found, known.filter(|message| is_current(message, now)));
                whole(&mut store, &model, space, &filter, now);
            }
            _ if !walks.is_empty() => {
                let at = steps.below(walks.len());
                let has_ended = go_on(&mut store, &model, &mut walks[at], steps.below(6), now);
                if has_ended {
                    let walk = walks.swap_remove(at);
                    assert!(walk.due.is_empty(), "{}: {:?} was not found", walk.filter, walk.due);
                }
            }
            _ => {}
        }
        // What left the table while a walk went on is not due any more, not even if it comes back.
        for walk in &mut walks {
            walk.due.retain(|topic| model.get(&(walk.space, topic.clone())).is_some_and(|one| is_current(one, now)));
        }
        assert_eq!(store.len(), model.len());
        let first = model.values().filter_map(|message| message.expires).min();
        assert_eq!(store.deadline(), first);
    }
    walks.into_iter().for_each(|walk| store.close(walk.cursor));
    let levels: usize = level_count(&model);
    assert_eq!(store.level_count(), levels, "{:?}", model.keys());
    for (space, topic) in model.keys() {
        assert!(store.clear(*space, topic.as_bytes()).is_some());
    }
    assert_eq!((store.level_count(), store.usage(0), store.usage(1)), (0, Usage::default(), Usage::default()));
}

fn is_current(message: &Message<u32>, now: UnixMicros) -> bool {
    message.expires.is_none_or(|at| at > now)
}

fn usage(model: &Model, space: u32) -> Usage {
    let of_space = || model.iter().filter(|((of, _), _)| *of == space);
    Usage { count: of_space().count(), bytes: of_space().map(|(_, message)| message.bytes).sum() }
}

fn set(
    store: &mut Retained<u32>,
    model: &mut Model,
    key: &(u32, String),
    message: Message<u32>,
    quota: Usage,
    limits: &RetainedLimits,
) {
    let outcome = store.set(key.0, key.1.as_bytes(), message, quota);
    let used = usage(model, key.0);
    let before = model.get(key).copied();
    let bytes_before = before.map_or(0, |message| message.bytes);
    let expected = if key.1.split('/').count() > DEPTH_MAX {
        Err((NotRetained::TooDeep, message.value))
    } else if before.is_none() && used.count == quota.count {
        Err((NotRetained::CountFull, message.value))
    } else if message.bytes > bytes_before && used.bytes - bytes_before + message.bytes > quota.bytes {
        Err((NotRetained::BytesFull, message.value))
    } else if let Err((NotRetained::LevelsFull, value)) = outcome {
        // Beside those of topics there may be nodes that walks stand on.
        let mut with = model.clone();
        with.insert(key.clone(), message);
        let needed = level_count(&with) - level_count(model);
        assert!(before.is_none() && store.level_count() + needed > limits.level_count_max, "there was room");
        Err((NotRetained::LevelsFull, value))
    } else {
        Ok(before.map(|message| message.value))
    };
    assert_eq!(outcome, expected, "{key:?}");
    if outcome.is_ok() {
        model.insert(key.clone(), message);
    }
    assert_eq!(store.usage(key.0), usage(model, key.0));
    assert!(store.level_count() <= limits.level_count_max);
}

fn expire(store: &mut Retained<u32>, model: &mut Model, now: UnixMicros, count_max: usize) {
    let mut gone = BTreeSet::new();
    let more = store.expire(now, count_max, |value| assert!(gone.insert(value)));
    let due = model.values().filter(|message| !is_current(message, now)).count();
    assert_eq!((gone.len(), more), (due.min(count_max), due > count_max));
    model.retain(|_, message| !gone.contains(&message.value) || is_current(message, now));
}

/// A step of a walk. Returns whether it has ended.
fn go_on(store: &mut Retained<u32>, model: &Model, walk: &mut Walk, node_count_max: usize, now: UnixMicros) -> bool {
    let Walk { cursor, space, filter, due, seen } = walk;
    let mut count = 0;
    let has_ended = store.step(cursor, filter.as_bytes(), node_count_max, now, |topic, message| {
        count += 1;
        let topic = String::from_utf8(topic.to_vec()).expect("it was a string");
        assert_eq!(model.get(&(*space, topic.clone())), Some(message), "{topic}");
        assert!(matches(filter, &topic) && is_current(message, now), "{filter} finds {topic}");
        due.remove(&topic);
        assert!(seen.insert(topic), "{filter} finds it twice");
    });
    assert!(count <= node_count_max && has_ended == cursor.has_ended());
    has_ended
}

/// A walk at one go.
fn whole(store: &mut Retained<u32>, model: &Model, space: u32, filter: &str, now: UnixMicros) {
    let of = |(of, topic): &(u32, String)| *of == space && matches(filter, topic);
    let current = model.iter().filter(|(key, message)| of(key) && is_current(message, now));
    let due = current.map(|((_, topic), _)| topic.clone()).collect();
    let (cursor, filter) = (store.open(space), filter.to_owned());
    let mut walk = Walk { cursor, space, filter, due, seen: BTreeSet::new() };
    assert!(go_on(store, model, &mut walk, usize::MAX, now));
    assert!(walk.due.is_empty(), "{}: {:?} was not found", walk.filter, walk.due);
}

/// Nodes and blocks that all topics take, what they share counted once.
fn level_count(model: &Model) -> usize {
    let blocks = |len: usize| if len <= 18 { 0 } else { (len - 14).div_ceil(28) };
    let mut ways = BTreeMap::new();
    for (space, topic) in model.keys() {
        let levels: Vec<&str> = topic.split('/').collect();
        ways.insert((*space, String::new()), 1);
        for count in 1..=levels.len() {
            ways.insert((*space, levels[..count].join("/") + "/"), 1 + blocks(levels[count - 1].len()));
        }
    }
    ways.values().sum()
}
