//! Laws that hold for all sequences of operations, as functions a fuzz target calls in one line. Each panics if one is broken.
//!
//! The models know nothing of trees, tables and lists: they go through all there is and compare level by level.

mod model;
mod retained;
mod subscriptions;
mod summary;

pub use retained::retained;
pub use subscriptions::subscriptions;
pub use summary::summary;

/// The law of one of the three, which the first byte chooses.
pub fn topics(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let laws: [fn(&[u8]); 3] = [subscriptions, retained, summary];
    laws[usize::from(*first) % laws.len()](rest);
}

/// The bytes that steer; zeros when they are used up.
struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// A topic of a few levels from a small alphabet.
    fn topic(&mut self) -> String {
        const LEVELS: [&str; 8] = ["a", "a", "b", "b", "c", "", "$d", "a level of more than eighteen bytes"];
        let count = 1 + self.below(6);
        (0..count).map(|_| LEVELS[self.below(LEVELS.len())]).collect::<Vec<_>>().join("/")
    }

    /// A filter over the same alphabet.
    fn filter(&mut self) -> String {
        const PLUS: u8 = 3;
        let topic = self.topic();
        let shape = self.byte();
        let levels: Vec<&str> = topic.split('/').collect();
        let count = levels.len();
        let level = |(at, level)| match shape >> at & 1 {
            1 if at + 1 == count && shape & 64 != 0 => "#",
            1 if at < usize::from(PLUS) || shape & 128 != 0 => "+",
            _ => level,
        };
        levels.into_iter().enumerate().map(level).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use base::mix::SplitMix64;

    fn check(law: fn(&[u8]), round_count: u64, bytes_max: u64) {
        for seed in 0..round_count {
            let mut random = SplitMix64::new(seed);
            let bytes: Vec<u8> = (0..random.below(bytes_max)).map(|_| random.next() as u8).collect();
            let shown = std::panic::catch_unwind(|| law(&bytes));
            assert!(shown.is_ok(), "the law breaks for seed {seed}");
        }
    }

    #[test]
    fn subscriptions() {
        check(super::subscriptions, 400, 12_000);
    }

    #[test]
    fn retained() {
        check(super::retained, 400, 12_000);
    }

    #[test]
    fn summary() {
        check(super::summary, 400, 6000);
    }
}
