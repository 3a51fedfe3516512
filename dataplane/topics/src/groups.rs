//! Shared groups: the members of `$share/NAME/FILTER`, of whom each message gets one (MQTT 5.0 §4.8.2).
//!
//! Owns the groups, a chain per node and a table by name. Members take turns; one that cannot take a message is passed over,
//! and one that could only keep it for later gets it if nobody can take it at once.

use crate::chunks::{Chunks, NONE, Value};
use crate::hash::{Hasher, Key};
use crate::lists::{Handle, Lists};
use crate::subscriber::Subscriber;
use crate::table::Table;
use crate::text::{Text, Texts};

/// Whether a member of a shared group can take a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// It can be sent at once.
    Now,
    /// It would have to be kept: for a session whose client is away, say.
    Later,
    /// Not at all.
    Never,
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// The node of its filter, and whether it covers all below.
    pub(crate) target: u32,
    pub(crate) members: Handle,
    /// Whose turn it is.
    turn: u32,
    previous: u32,
    next: u32,
    name: Text,
}

impl Value for Group {
    fn free(next: u32) -> Self {
        Self { target: 0, members: Handle::EMPTY, turn: 0, previous: NONE, next, name: Text::EMPTY }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}

/// The groups.
#[derive(Debug)]
pub(crate) struct Groups {
    groups: Chunks<Group>,
    by_name: Table,
    hasher: Hasher,
}

impl Groups {
    pub(crate) fn new(count_max: usize, key: Key) -> Self {
        Self { groups: Chunks::new(), by_name: Table::new(count_max), hasher: Hasher::new(key) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.bytes() + self.by_name.bytes()
    }

    /// The group of that name at that target.
    pub(crate) fn find(&self, texts: &Texts, target: u32, name: &[u8]) -> Option<u32> {
        let is_meant = |group| self.groups[group].target == target && texts.is(&self.groups[group].name, name);
        self.by_name.find(self.hash(target, name), is_meant)
    }

    /// Adds a group before the first of its node; the caller has looked for room.
    pub(crate) fn insert(&mut self, texts: &mut Texts, target: u32, name: &[u8], first: u32) -> u32 {
        let name_kept = texts.keep(name);
        let group = Group { target, members: Handle::EMPTY, turn: 0, previous: NONE, next: first, name: name_kept };
        let place = self.groups.insert(group);
        if first != NONE {
            self.groups[first].previous = place;
        }
        self.by_name.insert(self.hash(target, name), place);
        place
    }

    /// Takes a group away. Returns the first of its node if that is another now.
    pub(crate) fn remove(&mut self, texts: &mut Texts, place: u32) -> Option<u32> {
        let Group { target, previous, next, name, .. } = self.groups[place];
        let text: Vec<u8> = texts.parts(&name).flatten().copied().collect();
        self.by_name.remove(self.hash(target, &text), place);
        self.groups.remove(place);
        texts.free(name);
        if next != NONE {
            self.groups[next].previous = previous;
        }
        if previous == NONE {
            return Some(next);
        }
        self.groups[previous].next = next;
        None
    }

    /// The name of a group.
    pub(crate) fn name<'a>(&'a self, texts: &'a Texts, place: u32) -> impl Iterator<Item = &'a [u8]> {
        texts.parts(&self.groups[place].name)
    }

    pub(crate) fn get(&self, place: u32) -> &Group {
        &self.groups[place]
    }

    pub(crate) fn set_members(&mut self, place: u32, members: Handle) {
        self.groups[place].members = members;
    }

    /// Calls `chosen` with one member of each group of that target, in the chain that begins with `first`.
    pub(crate) fn choose(
        &mut self,
        lists: &Lists<Subscriber>,
        first: u32,
        target: u32,
        fit: &mut impl FnMut(u32) -> Fit,
        mut chosen: impl FnMut(Subscriber),
    ) {
        let mut place = first;
        while place != NONE {
            let group = &mut self.groups[place];
            if group.target == target {
                let members = lists.entries(group.members);
                if let Some(at) = turn(members, group.turn as usize, fit) {
                    group.turn = at as u32 + 1;
                    chosen(members[at]);
                }
            }
            place = group.next;
        }
    }

    fn hash(&self, target: u32, name: &[u8]) -> u32 {
        crate::hash::step(target, self.hasher.level(name))
    }
}

/// Which member it is, looking from `start` on and round.
fn turn(members: &[Subscriber], start: usize, fit: &mut impl FnMut(u32) -> Fit) -> Option<usize> {
    let start = if start < members.len() { start } else { 0 };
    let mut later = None;
    for at in (start..members.len()).chain(0..start) {
        match fit(members[at].session()) {
            Fit::Now => return Some(at),
            Fit::Later => later = later.or(Some(at)),
            Fit::Never => {}
        }
    }
    later
}
