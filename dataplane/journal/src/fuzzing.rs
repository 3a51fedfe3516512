//! Laws that hold for all bytes and all sequences of operations, as functions a fuzz target calls in one line. Each panics
//! if one is broken.

mod flights;
mod log;
mod scan;

pub use flights::flights;
pub use log::log;
pub use scan::scan;

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

    /// Below 65 536.
    fn wide(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
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
    fn flights() {
        check(super::flights, 3000, 600);
    }

    #[test]
    fn log() {
        check(super::log, 400, 1500);
    }

    #[test]
    fn scan() {
        check(super::scan, 6000, 300);
    }
}
