//! The index from topic filters to subscribers: what a message's topic is looked up in.
//!
//! Owns nodes, subscribers, groups, and for each session the list of its filters. Never allocates to match; subscribing
//! allocates when a chunk is full, a segment of a table or a long list grows, each bounded (a few ms at the most). Never
//! knows what a session is, nor what is sent.
//!
//! ```text
//!   space -> root -+- "site" -+- "7" - ...          the child of a text: one table, keyed by the hash of the way
//!                  |          +- plus -> ...         the child `+`: a link of the node
//!                  +- exact, below, groups           subscribers of "site", of "site/#", shared groups of both
//!
//!   a filter of its own among two million: 2 to 3 nodes of 48 bytes, 8 to 16 of a table for each, 8 a subscriber, 4 to
//!   8 in its session's list: 150 to 220 bytes.
//!   a match: about 2 cache lines a level that has a node (table, node), and 1 a list
//! ```

use crate::chunks::NONE;
use crate::groups::{Fit, Groups};
use crate::hash::Key;
use crate::levels::Filter;
use crate::links::{Links, TARGET_BITS, Target};
use crate::lists::{Handle, List, Lists};
use crate::subscriber::{Options, SESSION_COUNT_MAX, Subscriber};
use crate::text::{TEXT_BYTES_MAX, Texts};
use crate::tree::{Found, Tree};
use crate::walk::{Scratch, Walk};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Levels that filters have in all, those that filters share counted once. A level (or a group's name) of more than 18
    /// bytes counts for one more with every 28 bytes beyond the first 14. Below 2^30.
    pub level_count_max: usize,
    /// Subscriptions.
    pub subscription_count_max: usize,
    /// Sessions; their slots are below.
    pub session_count_max: usize,
    /// Levels of one filter, up to 1024: how deep a match may go.
    pub depth_max: usize,
}

/// Why a subscription was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The filter has more levels than are allowed, or a level longer than a topic can be.
    TooDeep,
    /// There is no room for its levels.
    LevelsFull,
    /// There are as many subscriptions as there may be.
    SubscriptionsFull,
}

/// What a subscription did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribed {
    /// The options that the session had with this filter before.
    pub replaced: Option<Options>,
    /// Nobody had subscribed to this filter, in this group, before: others may have to be told.
    pub is_first: bool,
}

/// What the end of a subscription did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribed {
    /// Nobody subscribes to this filter, in this group, any more: others may have to be told.
    pub was_last: bool,
}

/// A subscription whose filter matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Match {
    /// The session's slot.
    pub session: u32,
    /// What it asked for.
    pub options: Options,
    /// It was chosen among the members of a shared group.
    pub is_shared: bool,
}

/// A filter that a session subscribes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held<'a> {
    /// The space it is of.
    pub space: u32,
    /// Its text, `$share/NAME/` included.
    pub filter: &'a [u8],
    /// What was asked for.
    pub options: Options,
    /// When it is given up: nobody subscribes to it any more.
    pub was_last: bool,
}

/// The index.
#[derive(Debug)]
pub struct Subscriptions {
    tree: Tree<Links>,
    subscribers: Lists<Subscriber>,
    groups: Groups,
    /// For each session the numbers of its lists of subscribers.
    filters: Lists<u32>,
    sessions: Vec<Handle>,
    count: usize,
    limits: Limits,
    scratch: Scratch,
    /// The text of the filter at hand.
    text: Vec<u8>,
}

impl Subscriptions {
    /// An empty index. Only the slots of sessions are allocated at once, four bytes each.
    ///
    /// # Panics
    /// If a limit is beyond what numbers hold.
    #[must_use]
    pub fn new(limits: Limits, key: Key) -> Self {
        let Limits { level_count_max, subscription_count_max, session_count_max, depth_max } = limits;
        assert!(level_count_max < 1 << TARGET_BITS && subscription_count_max < 1 << TARGET_BITS, "places fit");
        assert!(session_count_max <= SESSION_COUNT_MAX && depth_max <= 1024, "sessions and depths fit");
        Self {
            tree: Tree::new(level_count_max, key),
            subscribers: Lists::new(subscription_count_max, key),
            groups: Groups::new(subscription_count_max, key),
            filters: Lists::new(subscription_count_max, key),
            sessions: vec![Handle::EMPTY; session_count_max],
            count: 0,
            limits,
            scratch: Scratch::new(depth_max),
            text: Vec::new(),
        }
    }

    /// Subscriptions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Levels in use, as [`Limits::level_count_max`] counts them.
    #[must_use]
    pub const fn level_count(&self) -> usize {
        self.tree.len()
    }

    /// Bytes of memory, room that is kept for more included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let slots = self.sessions.capacity() * size_of::<Handle>() + self.scratch.bytes();
        let lists = self.subscribers.bytes() + self.filters.bytes() + self.groups.bytes();
        self.tree.bytes() + lists + slots + self.text.capacity()
    }

    /// How many filters a session subscribes to.
    #[must_use]
    pub fn filter_count(&self, session: u32) -> usize {
        self.filters.entries(self.sessions[session as usize]).len()
    }

    /// Subscribes a session to a filter, or changes its options if it does so already.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    ///
    /// # Panics
    /// If the session's slot or an option is out of range.
    pub fn subscribe(
        &mut self,
        space: u32,
        session: u32,
        filter: &[u8],
        options: Options,
    ) -> Result<Subscribed, Refused> {
        let entry = Subscriber::new(session, options);
        let parsed = Filter::parse(filter);
        if parsed.levels().count() > self.limits.depth_max || filter.len() > TEXT_BYTES_MAX {
            return Err(Refused::TooDeep);
        }
        let target = self.find(space, &parsed);
        if let Some(target) = target {
            let list = self.list(target);
            if let Some(at) = self.subscribers.position(list, session) {
                let replaced = Some(self.subscribers.entries(list.handle)[at].options());
                self.subscribers.replace(list.handle, at, entry);
                return Ok(Subscribed { replaced, is_first: false });
            }
        }
        if self.count == self.limits.subscription_count_max {
            return Err(Refused::SubscriptionsFull);
        }
        if target.is_none() && self.missing(space, &parsed) > self.tree.room() {
            return Err(Refused::LevelsFull);
        }
        let target = target.unwrap_or_else(|| self.made(space, &parsed));
        let list = self.list(target);
        self.set_list(target, |lists| lists.push(list, entry));
        let own = List { handle: self.sessions[session as usize], number: session };
        self.sessions[session as usize] = self.filters.push(own, target.number());
        self.count += 1;
        Ok(Subscribed { replaced: None, is_first: list.handle.is_empty() })
    }

    /// Ends a subscription; `None` if there was none.
    pub fn unsubscribe(&mut self, space: u32, session: u32, filter: &[u8]) -> Option<Unsubscribed> {
        let target = self.find(space, &Filter::parse(filter))?;
        let at = self.subscribers.position(self.list(target), session)?;
        let own = List { handle: self.sessions[session as usize], number: session };
        let place = self.filters.position(own, target.number()).expect("a session lists what it subscribes to");
        self.sessions[session as usize] = self.filters.remove(own, place);
        Some(Unsubscribed { was_last: self.give_up(target, at) })
    }

    /// Ends at most `count_max` subscriptions of a session and calls `ended` with each. Returns whether all have ended.
    pub fn remove_session(&mut self, session: u32, count_max: usize, mut ended: impl FnMut(Held<'_>)) -> bool {
        for _ in 0..count_max {
            let own = List { handle: self.sessions[session as usize], number: session };
            let Some((number, rest)) = self.filters.entries(own.handle).split_last() else { break };
            let (target, place) = (Target::of(*number), rest.len());
            let list = self.list(target);
            let at = self.subscribers.position(list, session).expect("a session's filters know it");
            let mut text = core::mem::take(&mut self.text);
            let space = self.write_filter(target, &mut text);
            let options = self.subscribers.entries(list.handle)[at].options();
            self.sessions[session as usize] = self.filters.remove(own, place);
            let was_last = self.give_up(target, at);
            ended(Held { space, filter: &text, options, was_last });
            self.text = text;
        }
        self.sessions[session as usize].is_empty()
    }

    /// Calls `held` with at most `count_max` of a session's filters, from the one at `start` on, in no order that means
    /// anything. Returns where to go on, `None` at the end.
    pub fn filters(
        &mut self,
        session: u32,
        start: usize,
        count_max: usize,
        mut held: impl FnMut(Held<'_>),
    ) -> Option<usize> {
        let mut text = core::mem::take(&mut self.text);
        let numbers = self.filters.entries(self.sessions[session as usize]);
        let end = numbers.len().min(start.saturating_add(count_max));
        for number in numbers.get(start..end).unwrap_or_default() {
            let target = Target::of(*number);
            let list = self.list(target);
            let at = self.subscribers.position(list, session).expect("a session's filters know it");
            let options = self.subscribers.entries(list.handle)[at].options();
            let space = self.write_filter(target, &mut text);
            held(Held { space, filter: &text, options, was_last: false });
        }
        let is_end = end == numbers.len();
        self.text = text;
        (!is_end).then_some(end)
    }

    /// Calls `found` with every subscription whose filter matches the topic, in no order that means anything, and for each
    /// shared group that matches with one member, for whom `fit` was asked. A session may be found more than once.
    pub fn matches(&mut self, space: u32, topic: &[u8], fit: impl FnMut(u32) -> Fit, found: impl FnMut(Match)) {
        let Some(root) = self.tree.root(space) else { return };
        let (groups, subscribers) = (&mut self.groups, &self.subscribers);
        Walk { tree: &self.tree, subscribers, groups, topic, fit, found }.all(root, &mut self.scratch);
    }

    /// The list of a filter that somebody may subscribe to.
    fn find(&self, space: u32, filter: &Filter<'_>) -> Option<Target> {
        let node = self.node(space, filter)?.node;
        let target = if filter.covers_below { Target::Below(node) } else { Target::Exact(node) };
        let Some(name) = filter.group else { return Some(target) };
        self.groups.find(self.tree.texts(), target.number(), name).map(Target::Group)
    }

    /// The node of a filter.
    fn node(&self, space: u32, filter: &Filter<'_>) -> Option<Found> {
        filter.levels().try_fold(self.tree.root(space)?, |node, level| self.child(node, level))
    }

    fn child(&self, parent: Found, level: &[u8]) -> Option<Found> {
        if level == b"+" {
            let plus = self.tree.links(parent.node).plus;
            (plus != NONE).then(|| self.tree.found(plus))
        } else {
            self.tree.child(parent, self.tree.hasher().level(level), level)
        }
    }

    /// How many nodes and blocks of text a filter that has no list needs beyond those there are.
    fn missing(&self, space: u32, filter: &Filter<'_>) -> usize {
        let mut node = self.tree.root(space);
        let mut count = usize::from(node.is_none());
        for level in filter.levels() {
            node = node.and_then(|parent| self.child(parent, level));
            count += if node.is_none() { 1 + Texts::blocks_of(level.len()) } else { 0 };
        }
        count + filter.group.map_or(0, |name| Texts::blocks_of(name.len()))
    }

    /// The list of a filter, with whatever was missing of its way.
    fn made(&mut self, space: u32, filter: &Filter<'_>) -> Target {
        let mut node = self.tree.root(space).unwrap_or_else(|| self.tree.insert_root(space));
        for level in filter.levels() {
            node = self.child(node, level).unwrap_or_else(|| self.insert_child(node, level));
        }
        let node = node.node;
        let target = if filter.covers_below { Target::Below(node) } else { Target::Exact(node) };
        let Some(name) = filter.group else { return target };
        let known = self.groups.find(self.tree.texts(), target.number(), name);
        Target::Group(known.unwrap_or_else(|| {
            let first = self.tree.links(node).groups;
            let group = self.groups.insert(self.tree.texts_mut(), target.number(), name, first);
            self.tree.links_mut(node).groups = group;
            group
        }))
    }

    fn insert_child(&mut self, parent: Found, level: &[u8]) -> Found {
        if level == b"+" {
            let child = self.tree.insert_linked(parent, self.tree.hasher().plus(), level);
            self.tree.links_mut(parent.node).plus = child.node;
            child
        } else {
            self.tree.links_mut(parent.node).child_count += 1;
            self.tree.insert_child(parent, self.tree.hasher().level(level), level)
        }
    }

    fn list(&self, target: Target) -> List {
        let handle = match target {
            Target::Exact(node) => self.tree.links(node).exact,
            Target::Below(node) => self.tree.links(node).below,
            Target::Group(group) => self.groups.get(group).members,
        };
        List { handle, number: target.number() }
    }

    fn set_list(&mut self, target: Target, change: impl FnOnce(&mut Lists<Subscriber>) -> Handle) {
        let handle = change(&mut self.subscribers);
        match target {
            Target::Exact(node) => self.tree.links_mut(node).exact = handle,
            Target::Below(node) => self.tree.links_mut(node).below = handle,
            Target::Group(group) => self.groups.set_members(group, handle),
        }
    }

    /// Takes the subscriber at a position of a list away, and what nobody needs any more. Returns whether it was the last.
    fn give_up(&mut self, target: Target, at: usize) -> bool {
        self.count -= 1;
        let list = self.list(target);
        self.set_list(target, |lists| lists.remove(list, at));
        if !self.list(target).handle.is_empty() {
            return false;
        }
        let mut node = match target {
            Target::Exact(node) | Target::Below(node) => node,
            Target::Group(group) => {
                let (Target::Exact(node) | Target::Below(node) | Target::Group(node)) =
                    Target::of(self.groups.get(group).target);
                if let Some(first) = self.groups.remove(self.tree.texts_mut(), group) {
                    self.tree.links_mut(node).groups = first;
                }
                node
            }
        };
        while node != NONE && self.tree.links(node).is_unused() {
            let parent = self.tree.parent(node);
            if parent != NONE && self.tree.links(parent).plus == node {
                self.tree.links_mut(parent).plus = NONE;
                self.tree.remove_linked(node);
            } else {
                if parent != NONE {
                    self.tree.links_mut(parent).child_count -= 1;
                }
                self.tree.remove(node);
            }
            node = parent;
        }
        true
    }

    /// Writes the filter of a list. Returns its space.
    fn write_filter(&self, target: Target, out: &mut Vec<u8>) -> u32 {
        out.clear();
        let target = if let Target::Group(group) = target {
            out.extend_from_slice(b"$share/");
            self.groups.name(self.tree.texts(), group).for_each(|part| out.extend_from_slice(part));
            out.push(b'/');
            Target::of(self.groups.get(group).target)
        } else {
            target
        };
        match target {
            Target::Exact(node) | Target::Group(node) => self.tree.path(node, out),
            Target::Below(node) => {
                let space = self.tree.path(node, out);
                let is_root = self.tree.parent(node) == NONE;
                out.extend_from_slice(if is_root { b"#" } else { b"/#" });
                space
            }
        }
    }
}
