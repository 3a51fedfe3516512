//! Topic aliases of one connection, both ways (v5 3.3.2.3.4).
//!
//! A client's aliases are kept in the store's memory, so that all of them together have a bound. Aliases for a client go to
//! the first topics that are worth it, and stay with them; their texts are of a fixed length.

use crate::arena::Span;
use crate::store::Store;
use mqtt::{Alias, TopicAlias};

/// Topics that a client has named.
#[derive(Debug, Default)]
pub(crate) struct Incoming(Vec<Option<Span>>);

/// An alias that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl Incoming {
    /// The topic that an alias stands for.
    pub(crate) fn get(&self, alias: TopicAlias) -> Option<Span> {
        self.0.get(usize::from(alias.get()) - 1).copied().flatten()
    }

    /// The alias stands for this topic from here on.
    pub(crate) fn set(&mut self, alias: TopicAlias, topic: &[u8], store: &mut Store) -> Result<(), NoMemory> {
        let index = usize::from(alias.get()) - 1;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        if self.0[index].is_some_and(|span| store.bytes(span) == topic) {
            return Ok(());
        }
        let span = store.put_bytes(topic).ok_or(NoMemory)?;
        if let Some(before) = self.0[index].replace(span) {
            store.free_bytes(before);
        }
        Ok(())
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self, store: &mut Store) {
        for span in self.0.drain(..).flatten() {
            store.free_bytes(span);
        }
    }
}

/// The longest topic that gets an alias.
const TOPIC_BYTES_MAX: usize = 126;

/// Shorter topics are hardly longer than an alias.
const TOPIC_BYTES_MIN: usize = 6;

#[derive(Clone, Copy, Debug)]
struct Named {
    bytes: u8,
    /// The client was told.
    is_told: bool,
    topic: [u8; TOPIC_BYTES_MAX],
}

/// Topics that a client knows by an alias.
#[derive(Debug)]
pub(crate) struct Outgoing {
    named: Vec<Named>,
    count_max: usize,
}

impl Outgoing {
    /// Aliases from 1 to `count_max`; their room is set aside.
    pub(crate) fn new(count_max: u16) -> Self {
        let count_max = usize::from(count_max);
        Self { named: Vec::with_capacity(count_max), count_max }
    }

    /// What stands for a topic in the next packet.
    pub(crate) fn find(&mut self, topic: &[u8]) -> Alias {
        if !(TOPIC_BYTES_MIN..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Alias::Topic;
        }
        let is_it = |named: &Named| usize::from(named.bytes) == topic.len() && named.topic[..topic.len()] == *topic;
        let index = self.named.iter().position(is_it).or_else(|| {
            (self.named.len() < self.count_max).then(|| {
                let mut named = Named { bytes: topic.len() as u8, is_told: false, topic: [0; TOPIC_BYTES_MAX] };
                named.topic[..topic.len()].copy_from_slice(topic);
                self.named.push(named);
                self.named.len() - 1
            })
        });
        let alias = index.and_then(|index| Some((index, TopicAlias::new(index as u16 + 1)?)));
        match alias {
            None => Alias::Topic,
            Some((index, alias)) if self.named[index].is_told => Alias::Use(alias),
            Some((_, alias)) => Alias::Set(alias),
        }
    }

    /// The packet that says what an alias stands for was sent.
    pub(crate) fn told(&mut self, alias: Alias) {
        if let Alias::Set(alias) = alias {
            self.named[usize::from(alias.get()) - 1].is_told = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_used_once_it_was_told() {
        let mut aliases = Outgoing::new(2);
        let alias = |number| TopicAlias::new(number).expect("not 0");
        assert_eq!(aliases.find(b"topic/1"), Alias::Set(alias(1)));
        assert_eq!(aliases.find(b"topic/1"), Alias::Set(alias(1)), "a packet that was not sent told nothing");
        aliases.told(Alias::Set(alias(1)));
        assert_eq!(aliases.find(b"topic/1"), Alias::Use(alias(1)));
        assert_eq!(aliases.find(b"topic/2"), Alias::Set(alias(2)));
        assert_eq!(aliases.find(b"topic/3"), Alias::Topic, "no alias is left");
        assert_eq!(aliases.find(b"t"), Alias::Topic, "no shorter");
    }
}
