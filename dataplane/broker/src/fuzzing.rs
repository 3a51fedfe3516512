//! Laws that hold for all sequences of operations, and what they are tried with: brokers, hosts and clients without sockets.
//!
//! They allocate: nothing that serves calls them.

mod rig;
mod said;
mod world;

pub use rig::{Rig, Shard};
pub use said::said;

/// The bytes that steer; zeros when they are used up.
struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }
}

/// The most operations of one run.
const OPERATION_COUNT_MAX: usize = 600;

/// A few clients of one to three shards do what the bytes say; see `fuzzing/world.rs` for what must be true of it.
pub fn session(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let mut world = world::World::new(&mut steps);
    for _ in 0..OPERATION_COUNT_MAX {
        if steps.0.is_empty() {
            break;
        }
        world.step(&mut steps);
    }
    world.finish();
}

#[cfg(test)]
mod tests {
    use base::mix::SplitMix64;

    #[test]
    fn sessions_keep_their_promises() {
        for seed in 0..400 {
            let mut random = SplitMix64::new(seed);
            let bytes: Vec<u8> = (0..random.below(2500)).map(|_| random.next() as u8).collect();
            let shown = std::panic::catch_unwind(|| super::session(&bytes));
            assert!(shown.is_ok(), "the law breaks for seed {seed}");
        }
    }
}
