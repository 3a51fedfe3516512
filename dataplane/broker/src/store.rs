//! Messages: each is kept once, for all who are to get it, and given back when the last one let go.
//!
//! Owns topics, properties and payloads, end to end in one arena. Never knows who refers to a message.
//!
//! ```text
//!   handle -> entry: references, deadline, lengths -> arena: | topic | properties | payload |
//! ```

use crate::arena::{Arena, Span};
use crate::slab::{NONE, Slab};
use base::Monotonic;
use mqtt::{Message, Place, Properties, Qos, Role, TopicName};

/// What the broker keeps of a message beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// As it was published.
    pub(crate) qos: Qos,
    /// As it was published.
    pub(crate) retain: bool,
    /// Its topic space.
    pub(crate) space: u32,
    /// When it is of no use any more.
    pub(crate) expires: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    span: Span,
    references: u32,
    properties_bytes: u32,
    topic_bytes: u16,
    tag: Tag,
}

/// A message and its properties as they stand on the wire, without the length before them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) properties: &'a [u8],
    pub(crate) tag: Tag,
}

impl View<'_> {
    pub(crate) const fn bytes(&self) -> usize {
        self.message.topic().as_bytes().len() + self.properties.len() + self.message.payload().len()
    }

    /// Whether it is of no use any more.
    pub(crate) fn has_expired(&self, now: Monotonic) -> bool {
        self.tag.expires <= now
    }

    /// Seconds that are left of it, at least one; `None` if it does not expire.
    pub(crate) fn expiry_s(&self, now: Monotonic) -> Option<u32> {
        expiry_s(self.tag.expires, now)
    }
}

/// Seconds from now on, rounded up; `None` if there is no end.
pub(crate) fn expiry_s(expires: Monotonic, now: Monotonic) -> Option<u32> {
    let left = || expires.since(now).as_nanos().div_ceil(1_000_000_000) as u32;
    (expires != Monotonic::NEVER).then(left)
}

#[derive(Debug)]
pub(crate) struct Store {
    arena: Arena,
    entries: Slab<Entry>,
}

impl Store {
    pub(crate) fn new(bytes_max: usize, count_max: usize) -> Self {
        Self { arena: Arena::new(bytes_max), entries: Slab::new(count_max) }
    }

    /// Messages there are.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in use.
    pub(crate) const fn used_bytes(&self) -> usize {
        self.arena.used_bytes()
    }

    /// Whether most of the memory is used up.
    pub(crate) const fn is_short(&self) -> bool {
        self.arena.used_bytes() > self.arena.len() / 4 * 3
    }

    /// Whether a message of so many bytes can be put.
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        self.arena.has_room(bytes) && self.entries.has_room()
    }

    /// Puts a message, with one reference. `None`: there is no room.
    pub(crate) fn put(&mut self, view: &View<'_>) -> Option<u32> {
        if !self.entries.has_room() {
            return None;
        }
        let (topic, payload) = (view.message.topic().as_bytes(), view.message.payload());
        let span = self.arena.put(&[topic, view.properties, payload])?;
        self.entries.insert(Entry {
            span,
            references: 1,
            properties_bytes: view.properties.len() as u32,
            topic_bytes: topic.len() as u16,
            tag: view.tag,
        })
    }

    /// A message.
    pub(crate) fn get(&self, handle: u32) -> View<'_> {
        let entry = &self.entries[handle];
        let (topic, rest) = self.arena.get(entry.span).split_at(usize::from(entry.topic_bytes));
        let (properties, payload) = rest.split_at(entry.properties_bytes as usize);
        let topic = TopicName::parse(topic).expect("checked when it was put");
        let parsed = Properties::parse(properties, Place::Publish, Role::Client).expect("checked when they were put");
        View { message: Message::new(topic, parsed, payload), properties, tag: entry.tag }
    }

    /// What is known of a message beside its bytes, and how many they are.
    pub(crate) fn tag(&self, handle: u32) -> (Tag, usize) {
        let entry = &self.entries[handle];
        (entry.tag, entry.span.bytes())
    }

    /// Sets when a message expires: that of a will counts from when it is published.
    pub(crate) fn set_expires(&mut self, handle: u32, expires: Monotonic) {
        self.entries[handle].tag.expires = expires;
    }

    /// Some more refer to a message.
    pub(crate) fn retain(&mut self, handle: u32, count: u32) {
        self.entries[handle].references += count;
    }

    /// One less refers to a message.
    pub(crate) fn release(&mut self, handle: u32) {
        debug_assert!(handle != NONE, "a message is released");
        let entry = &mut self.entries[handle];
        entry.references -= 1;
        if entry.references == 0 {
            let span = entry.span;
            self.arena.free(span);
            self.entries.remove(handle);
        }
    }

    /// Keeps some bytes that are no message.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) -> Option<Span> {
        self.arena.put(&[bytes])
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        self.arena.get(span)
    }

    pub(crate) fn free_bytes(&mut self, span: Span) {
        self.arena.free(span);
    }
}
