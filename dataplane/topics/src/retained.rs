//! The store of retained messages: one per topic, found by topic or by a filter with wildcards, step by step.
//!
//! Owns nodes, values, deadlines and what each space holds. What a message is is the caller's `T`, and so is how many bytes
//! it counts for; nothing here looks at a clock. A walk for a filter stands on one node and keeps that node in its place, so
//! what is set and cleared between two of its steps cannot lead it astray.
//!
//! ```text
//!   space -> root -- first -> "site" -- next -> "plant" -- next -> ...      children in a ring-less list, newest first
//!                               |
//!                               +- first -> ...          value -> | T, bytes, deadline, node |
//!
//!   a topic of its own: 1 to 2 nodes of 48 bytes, 8 to 16 of a table for each, a value: 24 bytes and T, 4 of a heap if it ends
//! ```

use crate::chunks::{Chunks, NONE, Value};
use crate::hash::Key;
use crate::heap::Heap;
use crate::levels::{self, Filter};
use crate::text::{TEXT_BYTES_MAX, Texts};
use crate::tree::{Found, Tree};
use base::UnixMicros;
use base::mix::BuildMixHasher;
use std::collections::HashMap;

/// How much there may be in all spaces together.
#[derive(Clone, Copy, Debug)]
pub struct RetainedLimits {
    /// Levels that topics have in all, those that topics share counted once. A level of more than 18 bytes counts for one
    /// more with every 28 bytes beyond the first 14.
    pub level_count_max: usize,
    /// Levels of one topic, up to 1024.
    pub depth_max: usize,
}

/// What one space holds, or may hold at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Messages.
    pub count: usize,
    /// Bytes, as the caller counts them.
    pub bytes: u64,
}

/// A message that is to be retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<T> {
    /// The caller's.
    pub value: T,
    /// How many bytes it counts for.
    pub bytes: u64,
    /// From when on nobody gets it any more (MQTT 5.0 §3.3.2.3.3); `None` if it stays.
    pub expires: Option<UnixMicros>,
}

/// Why a message is not retained; what was retained before still is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRetained {
    /// The topic has more levels than are allowed, or is longer than one can be.
    TooDeep,
    /// There is no room for its levels.
    LevelsFull,
    /// The space has as many messages as it may have.
    CountFull,
    /// The space would have more bytes than it may have.
    BytesFull,
}

/// A walk through the messages whose topics match a filter. It keeps a node: it ends by [`Retained::step`] to its end, or by
/// [`Retained::close`].
#[derive(Debug)]
#[must_use = "a walk that is not ended keeps a node"]
pub struct Cursor {
    /// Where it stands and has not been; `NONE` when it has ended.
    node: u32,
    /// Levels above it.
    depth: u32,
}

impl Cursor {
    /// Whether the walk has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.node == NONE
    }
}

/// What a node of this store leads to.
#[derive(Clone, Copy, Debug)]
struct Links {
    first: u32,
    next: u32,
    previous: u32,
    value: u32,
    /// Walks that stand here.
    walk_count: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { first: NONE, next: NONE, previous: NONE, value: NONE, walk_count: 0 }
    }
}

#[derive(Debug)]
enum Stored<T> {
    Taken { message: Message<T>, node: u32, space: u32, in_heap: u32 },
    Free(u32),
}

impl<T> Value for Stored<T> {
    fn free(next: u32) -> Self {
        Self::Free(next)
    }

    fn next_free(&self) -> u32 {
        match self {
            Self::Free(next) => *next,
            Self::Taken { .. } => NONE,
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Retained<T> {
    tree: Tree<Links>,
    values: Chunks<Stored<T>>,
    deadlines: Heap,
    spaces: HashMap<u32, Usage, BuildMixHasher>,
    depth_max: usize,
    /// The topic at hand.
    text: Vec<u8>,
}

impl<T> Retained<T> {
    /// An empty store.
    ///
    /// # Panics
    /// If a limit is beyond what numbers hold.
    #[must_use]
    pub fn new(limits: RetainedLimits, key: Key) -> Self {
        let RetainedLimits { level_count_max, depth_max } = limits;
        assert!(level_count_max < NONE as usize && depth_max <= 1024, "places and depths fit");
        Self {
            tree: Tree::new(level_count_max, key),
            values: Chunks::new(),
            deadlines: Heap::new(),
            spaces: HashMap::default(),
            depth_max,
            text: Vec::new(),
        }
    }

    /// Messages there are, those included that have expired and not been taken away yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// Levels in use, as [`RetainedLimits::level_count_max`] counts them.
    #[must_use]
    pub const fn level_count(&self) -> usize {
        self.tree.len()
    }

    /// What a space holds.
    #[must_use]
    pub fn usage(&self, space: u32) -> Usage {
        self.spaces.get(&space).copied().unwrap_or_default()
    }

    /// Bytes of memory, room that is kept for more included; what `T` points at is the caller's.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let spaces = self.spaces.capacity() * size_of::<(u32, Usage)>();
        self.tree.bytes() + self.values.bytes() + self.deadlines.bytes() + spaces + self.text.capacity()
    }

    /// Retains a message, in the place of one that the topic had: that one comes back. `quota` is what the space may hold.
    ///
    /// # Errors
    /// Why not, with the message.
    pub fn set(
        &mut self,
        space: u32,
        topic: &[u8],
        message: Message<T>,
        quota: Usage,
    ) -> Result<Option<T>, (NotRetained, T)> {
        if levels::levels(topic).count() > self.depth_max || topic.len() > TEXT_BYTES_MAX {
            return Err((NotRetained::TooDeep, message.value));
        }
        let known = self.node(space, topic).map(|found| found.node);
        let value = known.map_or(NONE, |node| self.tree.links(node).value);
        let before = if value == NONE { None } else { Some(self.message(value).bytes) };
        let used = self.usage(space);
        let after = Usage {
            count: used.count + usize::from(before.is_none()),
            bytes: (used.bytes - before.unwrap_or(0)).saturating_add(message.bytes),
        };
        let refused = if after.count > quota.count && before.is_none() {
            Some(NotRetained::CountFull)
        } else if after.bytes > quota.bytes && message.bytes > before.unwrap_or(0) {
            Some(NotRetained::BytesFull)
        } else if known.is_none() && self.missing(space, topic) > self.tree.room() {
            Some(NotRetained::LevelsFull)
        } else {
            None
        };
        if let Some(reason) = refused {
            return Err((reason, message.value));
        }
        let replaced = (value != NONE).then(|| self.take_value(value).value);
        let node = known.unwrap_or_else(|| self.made(space, topic));
        let expires = message.expires;
        let value = self.values.insert(Stored::Taken { message, node, space, in_heap: NONE });
        self.tree.links_mut(node).value = value;
        if let Some(at) = expires {
            self.deadlines.insert(at, value, moved(&mut self.values));
        }
        self.spaces.insert(space, after);
        Ok(replaced)
    }

    /// Takes the message of a topic away.
    pub fn clear(&mut self, space: u32, topic: &[u8]) -> Option<T> {
        let node = self.node(space, topic)?.node;
        let value = self.tree.links(node).value;
        (value != NONE).then(|| self.end(value))
    }

    /// The message of a topic, unless it has expired by `now`.
    #[must_use]
    pub fn get(&self, space: u32, topic: &[u8], now: UnixMicros) -> Option<&Message<T>> {
        let value = self.tree.links(self.node(space, topic)?.node).value;
        (value != NONE).then(|| self.message(value)).filter(|message| is_current(message, now))
    }

    /// Takes away at most `count_max` messages that have expired by `now` and calls `expired` with each. Returns whether
    /// there may be more.
    pub fn expire(&mut self, now: UnixMicros, count_max: usize, mut expired: impl FnMut(T)) -> bool {
        for _ in 0..count_max {
            match self.deadlines.first() {
                Some((at, value)) if at <= now => expired(self.end(value)),
                _ => return false,
            }
        }
        self.deadline().is_some_and(|at| at <= now)
    }

    /// When the next message expires.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMicros> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Begins a walk through a space, for a filter that each step is given.
    pub fn open(&mut self, space: u32) -> Cursor {
        let Some(root) = self.tree.root(space) else { return Cursor { node: NONE, depth: 0 } };
        self.tree.links_mut(root.node).walk_count += 1;
        Cursor { node: root.node, depth: 0 }
    }

    /// Ends a walk early.
    #[allow(clippy::needless_pass_by_value, reason = "a walk that was ended cannot go on")]
    pub fn close(&mut self, cursor: Cursor) {
        self.leave(cursor.node);
    }

    /// Goes on with a walk, over at most `node_count_max` nodes, and calls `found` with each topic and message that has not
    /// expired by `now`. The filter is the same at each step; `$share/NAME/` before it is passed over. Returns whether the walk has ended.
    ///
    /// A message that is retained all the while is found once; one that comes or goes meanwhile, once or not at all.
    pub fn step(
        &mut self,
        cursor: &mut Cursor,
        filter: &[u8],
        node_count_max: usize,
        now: UnixMicros,
        mut found: impl FnMut(&[u8], &Message<T>),
    ) -> bool {
        let parsed = Filter::parse(filter);
        let way: Vec<&[u8]> = parsed.levels().collect();
        let way = Way { levels: &way, covers_below: parsed.covers_below };
        let mut text = core::mem::take(&mut self.text);
        for _ in 0..node_count_max {
            if cursor.has_ended() {
                break;
            }
            let links = *self.tree.links(cursor.node);
            let depth = cursor.depth as usize;
            let is_hidden = self.is_hidden(&way, cursor);
            if links.value != NONE && way.ends_at(depth) && !is_hidden {
                let message = self.message(links.value);
                if is_current(message, now) {
                    text.clear();
                    self.tree.path(cursor.node, &mut text);
                    found(&text, message);
                }
            }
            let next = self.after(&way, cursor, is_hidden);
            if !next.has_ended() {
                self.tree.links_mut(next.node).walk_count += 1;
            }
            let left = core::mem::replace(cursor, next);
            self.leave(left.node);
        }
        self.text = text;
        cursor.has_ended()
    }

    /// Whether a wildcard led to a topic that begins with `$`.
    fn is_hidden(&self, way: &Way<'_>, cursor: &Cursor) -> bool {
        let is_reserved = |node| self.tree.text(node).next().is_some_and(levels::is_reserved);
        cursor.depth == 1 && way.is_wild(0) && is_reserved(cursor.node)
    }

    /// Where a walk stands next: below, or beside, or beside what is above.
    fn after(&self, way: &Way<'_>, cursor: &Cursor, is_hidden: bool) -> Cursor {
        let (mut node, mut depth) = (cursor.node, cursor.depth as usize);
        let below = if is_hidden { NONE } else { self.below(way, node, depth) };
        if below != NONE {
            return Cursor { node: below, depth: depth as u32 + 1 };
        }
        while depth > 0 {
            let next = self.tree.links(node).next;
            if way.is_wild(depth - 1) && next != NONE {
                return Cursor { node: next, depth: depth as u32 };
            }
            node = self.tree.parent(node);
            depth -= 1;
        }
        Cursor { node: NONE, depth: 0 }
    }

    /// The first child of a node that a walk goes to.
    fn below(&self, way: &Way<'_>, node: u32, depth: usize) -> u32 {
        if way.is_wild(depth) {
            return self.tree.links(node).first;
        }
        let Some(level) = way.levels.get(depth) else { return NONE };
        let child = self.tree.child(self.tree.found(node), self.tree.hasher().level(level), level);
        child.map_or(NONE, |child| child.node)
    }

    /// Lets go of a node that a walk stood on.
    fn leave(&mut self, node: u32) {
        if node != NONE {
            self.tree.links_mut(node).walk_count -= 1;
            self.prune(node);
        }
    }

    /// Takes a value off its node, and the node away if nobody needs it.
    fn end(&mut self, value: u32) -> T {
        let Stored::Taken { node, space, .. } = self.values[value] else { unreachable!("a value that ends was there") };
        let message = self.take_value(value);
        self.tree.links_mut(node).value = NONE;
        self.prune(node);
        let used = self.spaces.get_mut(&space).expect("a space that has a message is known");
        *used = Usage { count: used.count - 1, bytes: used.bytes - message.bytes };
        if used.count == 0 {
            self.spaces.remove(&space);
        }
        message.value
    }

    fn take_value(&mut self, value: u32) -> Message<T> {
        let Stored::Taken { message, in_heap, .. } = self.values.remove(value) else {
            unreachable!("a value that is taken was there")
        };
        if in_heap != NONE {
            self.deadlines.remove(in_heap, moved(&mut self.values));
        }
        message
    }

    fn message(&self, value: u32) -> &Message<T> {
        match &self.values[value] {
            Stored::Taken { message, .. } => message,
            Stored::Free(_) => unreachable!("a node's value is there"),
        }
    }

    fn node(&self, space: u32, topic: &[u8]) -> Option<Found> {
        levels::levels(topic).try_fold(self.tree.root(space)?, |node, level| self.child(node, level))
    }

    fn child(&self, parent: Found, level: &[u8]) -> Option<Found> {
        self.tree.child(parent, self.tree.hasher().level(level), level)
    }

    /// How many nodes and blocks of text a topic needs beyond those there are.
    fn missing(&self, space: u32, topic: &[u8]) -> usize {
        let mut node = self.tree.root(space);
        let mut count = usize::from(node.is_none());
        for level in levels::levels(topic) {
            node = node.and_then(|parent| self.child(parent, level));
            count += if node.is_none() { 1 + Texts::blocks_of(level.len()) } else { 0 };
        }
        count
    }

    fn made(&mut self, space: u32, topic: &[u8]) -> u32 {
        let mut node = self.tree.root(space).unwrap_or_else(|| self.tree.insert_root(space));
        for level in levels::levels(topic) {
            node = self.child(node, level).unwrap_or_else(|| {
                let child = self.tree.insert_child(node, self.tree.hasher().level(level), level);
                let next = core::mem::replace(&mut self.tree.links_mut(node.node).first, child.node);
                self.tree.links_mut(child.node).next = next;
                if next != NONE {
                    self.tree.links_mut(next).previous = child.node;
                }
                child
            });
        }
        node.node
    }

    /// Takes a node away that leads to nothing, and those above it that then do.
    fn prune(&mut self, node: u32) {
        let mut node = node;
        while node != NONE {
            let Links { first, next, previous, value, walk_count } = *self.tree.links(node);
            if first != NONE || value != NONE || walk_count > 0 {
                break;
            }
            let parent = self.tree.parent(node);
            if next != NONE {
                self.tree.links_mut(next).previous = previous;
            }
            if previous != NONE {
                self.tree.links_mut(previous).next = next;
            } else if parent != NONE {
                self.tree.links_mut(parent).first = next;
            }
            self.tree.remove(node);
            node = parent;
        }
    }
}

/// The levels that a walk goes by.
struct Way<'a> {
    levels: &'a [&'a [u8]],
    covers_below: bool,
}

impl Way<'_> {
    /// Whether any text does at a level.
    fn is_wild(&self, depth: usize) -> bool {
        self.levels.get(depth).map_or(self.covers_below, |level| *level == b"+")
    }

    /// Whether a topic of so many levels is matched, if its levels are.
    fn ends_at(&self, depth: usize) -> bool {
        depth == self.levels.len() || (self.covers_below && depth > self.levels.len())
    }
}

/// Tells a value where in the heap it is.
fn moved<T>(values: &mut Chunks<Stored<T>>) -> impl FnMut(u32, u32) {
    |value, at| {
        if let Stored::Taken { in_heap, .. } = &mut values[value] {
            *in_heap = at;
        }
    }
}

fn is_current<T>(message: &Message<T>, now: UnixMicros) -> bool {
    message.expires.is_none_or(|at| at > now)
}
