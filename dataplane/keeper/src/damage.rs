//! Stretch: bytes that were stored once and cannot be read any more, each stretch told of once.
//!
//! Owns what is known of it, so that a stretch that every reader stumbles over is no news to anybody the second time. Never
//! mends anything: what is damaged stays where it is, for people to look at.

use std::collections::BTreeSet;

/// Stretches that are told apart; beyond them the disk is to be replaced, not listed.
pub(crate) const KNOWN_COUNT_MAX: usize = 4096;

/// Bytes of a file that cannot be read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stretch {
    /// The file's name in the journal's directory.
    pub file: String,
    /// The first byte.
    pub from: u64,
    /// Behind the last one.
    pub until: u64,
}

/// What is known, and what of it is news.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    known: BTreeSet<Stretch>,
    news: Vec<Stretch>,
}

impl Damages {
    pub(crate) fn note(&mut self, file: &str, from: u64, until: u64) {
        let damage = Stretch { file: file.to_owned(), from, until };
        if self.known.len() < KNOWN_COUNT_MAX && self.known.insert(damage.clone()) {
            self.news.push(damage);
        }
    }

    pub(crate) fn take_news(&mut self) -> Vec<Stretch> {
        core::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stretch_is_told_of_once() {
        let mut damages = Damages::default();
        for _ in 0..2 {
            damages.note("a", 8, 16);
            damages.note("a", 8, 24);
        }
        let news = damages.take_news();
        assert_eq!(news.iter().map(|damage| damage.until).collect::<Vec<_>>(), [16, 24]);
        damages.note("a", 8, 16);
        assert_eq!(damages.take_news(), []);
        for place in 0..KNOWN_COUNT_MAX as u64 + 10 {
            damages.note("b", place, place + 8);
        }
        assert_eq!(damages.take_news().len(), KNOWN_COUNT_MAX - 2, "a disk that is gone is not listed byte by byte");
    }
}
