//! A topic's way through the index: down the texts of its levels, and down each `+` beside them.
//!
//! At two million filters a match is a row of cache misses, and the time is in those that wait for each other. So a way in
//! a large index is first *looked ahead*: the hashes of its next levels are known without a node, hence the slots of all are loaded side by
//! side, then the nodes that they name; the walk proper comes after and meets what is on its way already. What forks off
//! at a `+` waits until the way at hand is done, so that several ways are looked ahead together.
//!
//! ```text
//!   forks: take up to BATCH, the deepest;  ahead(each): way -> slot -> node;  walk(each): report, fork, child
//! ```

use crate::chunks::NONE;
use crate::groups::{Fit, Groups};
use crate::hash::step;
use crate::levels;
use crate::links::{Links, Target};
use crate::lists::{Handle, Lists};
use crate::subscriber::Subscriber;
use crate::subscriptions::Match;
use crate::tree::{Found, Tree};
use core::hint::black_box;

/// Ways that are looked ahead together.
const BATCH: usize = 4;

/// Levels that a way is looked ahead.
const AHEAD: usize = 6;

/// Levels in an index that is in no cache of a core's any more (2 MiB, at 61 bytes each): only there is it worth a third more
/// instructions to look ahead. At two million filters a match takes a tenth less time for it. Tests go both ways in small ones.
const LARGE_LEN: usize = if cfg!(test) { 60 } else { 1 << 15 };

/// Lists that are found before their subscribers are told.
const LISTS: usize = 8;

/// A level of the topic at hand.
#[derive(Clone, Copy, Debug)]
struct Level {
    hash: u64,
    start: u32,
    end: u32,
}

/// Where a way begins: at a root or a `+`.
#[derive(Clone, Copy, Debug)]
struct Fork {
    at: Found,
    depth: u32,
}

/// Room that a walk needs, reserved once.
#[derive(Debug)]
pub(crate) struct Scratch {
    levels: Vec<Level>,
    forks: Vec<Fork>,
    depth_max: usize,
}

impl Scratch {
    pub(crate) fn new(depth_max: usize) -> Self {
        // One level more than a filter has is enough to know that the topic goes on. A way forks once at each level; as the
        // deepest come first, no more wait than a batch leaves at each level.
        let levels = Vec::with_capacity(depth_max + 1);
        Self { levels, forks: Vec::with_capacity((BATCH + 1) * (depth_max + 1)), depth_max }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.levels.capacity() * size_of::<Level>() + self.forks.capacity() * size_of::<Fork>()
    }
}

/// What was looked ahead of one way: the hash of the way to each level, and the node likely found there.
type Ahead = [Found; AHEAD];

/// A topic and what it is looked up in.
pub(crate) struct Walk<'a, T, F> {
    pub(crate) tree: &'a Tree<Links>,
    pub(crate) subscribers: &'a Lists<Subscriber>,
    pub(crate) groups: &'a mut Groups,
    pub(crate) topic: &'a [u8],
    pub(crate) fit: T,
    pub(crate) found: F,
}

impl<T: FnMut(u32) -> Fit, F: FnMut(Match)> Walk<'_, T, F> {
    /// All ways from a root.
    pub(crate) fn all(&mut self, root: Found, scratch: &mut Scratch) {
        let Scratch { levels, forks, depth_max } = scratch;
        levels.clear();
        let mut start = 0;
        for level in levels::levels(self.topic).take(*depth_max + 1) {
            let end = start + level.len() as u32;
            levels.push(Level { hash: self.tree.hasher().level(level), start, end });
            start = end + 1;
        }
        let mut lists = Pending { handles: [Handle::EMPTY; LISTS], count: 0 };
        forks.clear();
        forks.push(Fork { at: root, depth: 0 });
        while !forks.is_empty() {
            let mut batch = [Fork { at: root, depth: 0 }; BATCH];
            let count = forks.len().min(BATCH);
            let batch = &mut batch[..count];
            batch.copy_from_slice(&forks[forks.len() - count..]);
            forks.truncate(forks.len() - count);
            let mut ahead = [[Found { node: NONE, way: 0 }; AHEAD]; BATCH];
            if self.tree.len() > LARGE_LEN {
                for (fork, ahead) in batch.iter().zip(&mut ahead) {
                    self.look_ahead(fork, levels, ahead);
                }
                black_box(self.touched(batch, &ahead));
            }
            for (fork, ahead) in batch.iter().zip(&ahead) {
                self.walk(*fork, levels, ahead, forks, &mut lists);
            }
        }
        self.tell(&mut lists);
    }

    fn look_ahead(&self, fork: &Fork, levels: &[Level], ahead: &mut Ahead) {
        let mut way = fork.at.way;
        for (level, ahead) in levels[fork.depth as usize..].iter().zip(ahead) {
            way = step(way, level.hash);
            *ahead = Found { node: self.tree.likely(way), way };
        }
    }

    /// Loads something of each node that comes; what it is means nothing.
    fn touched(&self, batch: &[Fork], ahead: &[Ahead; BATCH]) -> u32 {
        let forks = batch.iter().map(|fork| fork.at.node);
        let nodes = ahead[..batch.len()].iter().flatten().map(|found| found.node);
        forks.chain(nodes.filter(|node| *node != NONE)).fold(0, |sum, node| sum ^ self.tree.parent(node))
    }

    /// Down the texts, as far as there are nodes.
    fn walk(&mut self, fork: Fork, levels: &[Level], ahead: &Ahead, forks: &mut Vec<Fork>, lists: &mut Pending) {
        let Fork { mut at, depth } = fork;
        let start = depth as usize;
        for depth in start.. {
            let Links { plus, exact, below, groups, child_count } = *self.tree.links(at.node);
            let wildcards = depth > 0 || !levels::is_reserved(self.topic);
            if wildcards {
                self.report(below, groups, Target::Below(at.node), lists);
            }
            let Some(level) = levels.get(depth) else {
                self.report(exact, groups, Target::Exact(at.node), lists);
                break;
            };
            if plus != NONE && wildcards {
                let way = step(at.way, self.tree.hasher().plus());
                forks.push(Fork { at: Found { node: plus, way }, depth: depth as u32 + 1 });
            }
            if child_count == 0 {
                break;
            }
            let text = &self.topic[level.start as usize..level.end as usize];
            let child = match ahead.get(depth - start) {
                Some(likely) if likely.node != NONE && self.tree.is_child(likely.node, at.node, text) => Some(*likely),
                _ => self.tree.at(at.node, step(at.way, level.hash), text),
            };
            let Some(child) = child else { break };
            at = child;
        }
    }

    fn report(&mut self, list: Handle, groups: u32, target: Target, lists: &mut Pending) {
        if !list.is_empty() {
            if lists.count == LISTS {
                self.tell(lists);
            }
            lists.handles[lists.count] = list;
            lists.count += 1;
        }
        if groups != NONE {
            let found = &mut self.found;
            self.groups.choose(self.subscribers, groups, target.number(), &mut self.fit, |member| {
                found(Match { session: member.session(), options: member.options(), is_shared: true });
            });
        }
    }

    fn tell(&mut self, lists: &mut Pending) {
        for list in &lists.handles[..lists.count] {
            for subscriber in self.subscribers.entries(*list) {
                let (session, options) = (subscriber.session(), subscriber.options());
                (self.found)(Match { session, options, is_shared: false });
            }
        }
        lists.count = 0;
    }
}

/// Lists of subscribers that match and were not told yet.
struct Pending {
    handles: [Handle; LISTS],
    count: usize,
}
