//! The law of the index of subscriptions: beside a list of all subscriptions and a naive matcher.

use super::Steps;
use super::model::{group_of, matches};
use crate::{Fit, Key, Limits, Match, Options, Refused, Subscriptions};
use std::collections::{BTreeMap, BTreeSet};

const SESSION_COUNT: usize = 40;
const SPACE_COUNT: usize = 2;
const DEPTH_MAX: usize = 5;

type Model = BTreeMap<(u32, String, u32), Options>;

/// Whatever is subscribed and given up: every match is found once with its options, each shared group gives one member if
/// any can take it, refusals and limits are exact, and in the end nothing is left.
pub fn subscriptions(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let (level_count_max, subscription_count_max) = (20 + steps.below(200), 10 + steps.below(250));
    let limits =
        Limits { level_count_max, subscription_count_max, session_count_max: SESSION_COUNT, depth_max: DEPTH_MAX };
    let mut index = Subscriptions::new(limits, Key([steps.byte(); 16]));
    let mut model = Model::new();
    while !steps.0.is_empty() {
        let (operation, space) = (steps.byte() % 16, steps.below(SPACE_COUNT) as u32);
        let session = steps.below(SESSION_COUNT) as u32;
        match operation {
            0..=6 => subscribe(&mut index, &mut model, &limits, &mut steps, (space, session)),
            7 | 8 => {
                let filter = match model.keys().nth(steps.below(model.len().max(1))) {
                    Some((_, filter, _)) if operation == 7 => filter.clone(),
                    _ => shared_or_not(&mut steps),
                };
                let ended = index.unsubscribe(space, session, filter.as_bytes()).map(|ended| ended.was_last);
                let known = model.remove(&(space, filter.clone(), session)).is_some();
                assert_eq!(ended, known.then(|| !is_subscribed(&model, space, &filter)), "{filter}");
            }
            9 => remove(&mut index, &mut model, session, steps.below(4)),
            10 => list(&mut index, &model, session),
            _ => look_up(&mut index, &model, space, &steps.topic(), steps.byte()),
        }
        assert_eq!(index.len(), model.len());
        if steps.0.len() % 8 == 0 {
            assert_eq!(index.level_count(), level_count(&model), "{model:?}");
        }
    }
    for session in 0..SESSION_COUNT as u32 {
        remove(&mut index, &mut model, session, usize::MAX);
    }
    assert!(index.is_empty() && model.is_empty() && index.level_count() == 0);
}

fn shared_or_not(steps: &mut Steps<'_>) -> String {
    const GROUPS: [&str; 8] = ["", "", "", "", "", "$share/g/", "$share/h/", "$share/a group with a longer name/"];
    let group = GROUPS[steps.below(GROUPS.len())];
    format!("{group}{}", steps.filter())
}

fn subscribe(
    index: &mut Subscriptions,
    model: &mut Model,
    limits: &Limits,
    steps: &mut Steps<'_>,
    (space, session): (u32, u32),
) {
    let filter = shared_or_not(steps);
    let choice = steps.byte();
    let options = Options {
        qos: choice % 3,
        no_local: choice & 4 != 0,
        retain_as_published: choice & 8 != 0,
        retain_handling: choice / 16 % 3,
        identifier: u32::from(choice / 64),
    };
    let outcome = index.subscribe(space, session, filter.as_bytes(), options);
    let (depth, key) = (places_of(&filter).1, (space, filter.clone(), session));
    let is_first = !is_subscribed(model, space, &filter);
    let before = model.get(&key).copied();
    let full = model.len() == limits.subscription_count_max;
    model.insert(key.clone(), options);
    let expected = if depth > DEPTH_MAX {
        Err(Refused::TooDeep)
    } else if before.is_some() {
        Ok((before, false))
    } else if full {
        Err(Refused::SubscriptionsFull)
    } else if outcome == Err(Refused::LevelsFull) && level_count(model) > limits.level_count_max {
        Err(Refused::LevelsFull)
    } else {
        Ok((None, is_first))
    };
    if expected.is_err() {
        model.remove(&key);
    }
    assert_eq!(outcome.map(|done| (done.replaced, done.is_first)), expected, "{filter}");
    assert!(index.level_count() <= limits.level_count_max);
}

fn remove(index: &mut Subscriptions, model: &mut Model, session: u32, count_max: usize) {
    let count = index.filter_count(session);
    let mut ended = 0;
    let all = index.remove_session(session, count_max, |held| {
        ended += 1;
        let filter = String::from_utf8(held.filter.to_vec()).expect("it was a string");
        let options = model.remove(&(held.space, filter.clone(), session));
        assert_eq!(options, Some(held.options), "{filter}");
        assert_eq!(held.was_last, !is_subscribed(model, held.space, &filter), "{filter}");
    });
    assert_eq!((ended, all), (count.min(count_max), count <= count_max));
}

fn list(index: &mut Subscriptions, model: &Model, session: u32) {
    let mut seen = BTreeMap::new();
    let mut start = Some(0);
    while let Some(at) = start {
        start = index.filters(session, at, 3, |held| {
            let filter = String::from_utf8(held.filter.to_vec()).expect("it was a string");
            assert_eq!(seen.insert((held.space, filter, session), held.options), None);
        });
    }
    let expected: Model =
        model.iter().filter(|(key, _)| key.2 == session).map(|(key, to)| (key.clone(), *to)).collect();
    assert_eq!((seen.len(), &seen), (index.filter_count(session), &expected));
}

/// Which members can take a message, by the slot and a byte.
fn fit(session: u32, choice: u8) -> Fit {
    match (session + u32::from(choice)) % 5 {
        0 | 1 => Fit::Now,
        2 if choice & 1 == 0 => Fit::Later,
        _ => Fit::Never,
    }
}

fn look_up(index: &mut Subscriptions, model: &Model, space: u32, topic: &str, choice: u8) {
    let mut found: Vec<Match> = Vec::new();
    index.matches(space, topic.as_bytes(), |session| fit(session, choice), |one| found.push(one));
    let (mut expected, mut groups) = (Vec::new(), BTreeMap::<(&str, &str), Vec<Match>>::new());
    for ((of, filter, session), options) in model {
        let (group, filter) = group_of(filter);
        if *of != space || !matches(filter, topic) {
            continue;
        }
        let one = Match { session: *session, options: *options, is_shared: group.is_some() };
        match group {
            Some(name) => groups.entry((name, filter)).or_default().push(one),
            None => expected.push(one),
        }
    }
    let (mut shared, mut own): (Vec<Match>, Vec<Match>) = found.into_iter().partition(|one| one.is_shared);
    own.sort_unstable();
    expected.sort_unstable();
    assert_eq!(own, expected, "{topic} in {space}");
    // Two groups may choose the same session with the same options: each takes one of them out.
    let mut wanted: Vec<Vec<Match>> = groups.into_values().filter_map(|members| takers(&members, choice)).collect();
    wanted.sort_by_key(Vec::len);
    assert_eq!(shared.len(), wanted.len(), "{topic} in {space}: one of each group");
    assert!(assigned(&mut shared, &wanted), "{topic} in {space}: {shared:?} out of {wanted:?}");
}

/// Those of a group who may be chosen, if any may.
fn takers(members: &[Match], choice: u8) -> Option<Vec<Match>> {
    let by = |wanted| members.iter().copied().filter(|one| fit(one.session, choice) == wanted).collect::<Vec<_>>();
    [by(Fit::Now), by(Fit::Later)].into_iter().find(|takers| !takers.is_empty())
}

/// Whether each group can be given one of those chosen.
fn assigned(chosen: &mut Vec<Match>, groups: &[Vec<Match>]) -> bool {
    let Some((first, rest)) = groups.split_first() else { return chosen.is_empty() };
    (0..chosen.len()).any(|at| {
        let one = chosen.swap_remove(at);
        let done = first.contains(&one) && assigned(chosen, rest);
        chosen.push(one);
        let end = chosen.len() - 1;
        chosen.swap(at, end);
        done
    })
}

fn is_subscribed(model: &Model, space: u32, filter: &str) -> bool {
    model.keys().any(|(of, other, _)| *of == space && other == filter)
}

fn blocks(len: usize) -> usize {
    if len <= 18 { 0 } else { (len - 14).div_ceil(28) }
}

/// The ways of a filter with what each takes, and how deep it is.
fn places_of(filter: &str) -> (Vec<(String, usize)>, usize) {
    let (group, filter) = group_of(filter);
    let levels: Vec<&str> = filter.split('/').collect();
    let depth = levels.len() - usize::from(levels.last() == Some(&"#"));
    let way = |count: usize| (levels[..count].join("/") + "/", 1 + blocks(levels[count - 1].len()));
    let mut places: Vec<_> = (1..=depth).map(way).collect();
    places.push((String::new(), 1));
    if let Some(name) = group {
        places.push((format!("group {name} of {filter}"), blocks(name.len())));
    }
    (places, depth)
}

/// Places that all filters take, what they share counted once.
fn level_count(model: &Model) -> usize {
    let filters: BTreeSet<(u32, &str)> = model.keys().map(|(space, filter, _)| (*space, filter.as_str())).collect();
    let ways = filters
        .into_iter()
        .flat_map(|(space, filter)| places_of(filter).0.into_iter().map(move |(way, count)| ((space, way), count)));
    ways.collect::<BTreeMap<_, _>>().values().sum()
}
