//! The law of the summary: whoever has a filter that matches is among the shards that are named.

use super::Steps;
use super::model::{group_of, matches};
use crate::{Delta, Interests, Key, Summary};
use std::collections::BTreeSet;

const SHARD_COUNT: usize = 3;

/// Whatever filters come and go: nobody is forgotten, a newcomer learns the same from all there is, and with all filters
/// gone nobody is named any more.
pub fn summary(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    // From all in few buckets to hardly ever two in one.
    let bucket_count = [1, 7, 64, 5000][steps.below(4)];
    let key = Key([steps.byte(); 16]);
    let mut shards: Vec<Interests> = (0..SHARD_COUNT).map(|_| Interests::new(bucket_count, key)).collect();
    let mut summary = Summary::new(bucket_count, SHARD_COUNT, key);
    let mut model: BTreeSet<(usize, u32, String)> = BTreeSet::new();
    while !steps.0.is_empty() {
        let (operation, shard, space) = (steps.byte() % 8, steps.below(SHARD_COUNT), steps.below(2) as u32);
        match operation {
            0..=3 => {
                let filter = format!("{}{}", ["", "$share/g/"][steps.below(2)], steps.filter());
                if model.insert((shard, space, filter.clone())) {
                    shards[shard].add(space, filter.as_bytes(), |delta| told(&mut summary, shard, delta));
                }
            }
            4 | 5 => {
                let Some(gone) = model.iter().nth(steps.below(model.len().max(1))).cloned() else { continue };
                model.remove(&gone);
                let (shard, space, filter) = gone;
                shards[shard].remove(space, filter.as_bytes(), |delta| told(&mut summary, shard, delta));
            }
            _ => nobody_is_forgotten(&summary, &model, space, &steps.topic()),
        }
    }
    let mut newcomer = Summary::new(bucket_count, SHARD_COUNT, key);
    for (shard, interests) in shards.iter().enumerate() {
        interests.all().for_each(|delta| told(&mut newcomer, shard, delta));
    }
    for (_, space, filter) in &model {
        let topic = filter.replace(['+', '#'], "a");
        assert_eq!(newcomer.shards(*space, topic.as_bytes()), summary.shards(*space, topic.as_bytes()), "{topic}");
    }
    for (shard, space, filter) in model {
        shards[shard].remove(space, filter.as_bytes(), |delta| told(&mut summary, shard, delta));
    }
    assert!(shards.iter().all(|interests| interests.all().next().is_none()));
    for topic in ["a", "a/b", "/", "a/b/c/$d/a"] {
        assert_eq!(summary.shards(0, topic.as_bytes()), 0, "{topic}: all filters are gone");
    }
}

fn told(summary: &mut Summary, shard: usize, delta: Delta) {
    summary.apply(shard, Delta::from_wire(delta.to_wire()));
}

fn nobody_is_forgotten(summary: &Summary, model: &BTreeSet<(usize, u32, String)>, space: u32, topic: &str) {
    let shards = summary.shards(space, topic.as_bytes());
    assert!(shards >> SHARD_COUNT == 0, "no shard is named that there is not");
    for (shard, of, filter) in model {
        if *of == space && matches(group_of(filter).1, topic) {
            assert!(shards >> shard & 1 == 1, "{topic}: shard {shard} has {filter}");
        }
    }
}
