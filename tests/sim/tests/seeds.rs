//! Two hundred stories, each kept to every law; and one history for one seed.

use sim::{Story, hold, tell};

/// Stories told by each of the tests below, which run beside each other.
const SEEDS_PER_TEST: u64 = 50;

fn tell_all(first: u64) {
    let (mut told, mut heard) = (0, 0);
    for seed in first..first + SEEDS_PER_TEST {
        // A panic on the way says no seed by itself.
        let history = std::panic::catch_unwind(|| {
            let history = tell(Story::of(seed));
            hold(&history);
            history
        });
        let history = history.unwrap_or_else(|_| panic!("seed {seed} broke a law: cargo run -p sim {seed}"));
        told += history.consumers.iter().map(|consumer| consumer.received.len()).sum::<usize>();
        heard += history.heard.len();
    }
    assert!(told > 10_000 && heard > 50, "{told} messages told, {heard} downlinks heard: something happens");
}

#[test]
fn seeds_from_0() {
    tell_all(0);
}

#[test]
fn seeds_from_50() {
    tell_all(50);
}

#[test]
fn seeds_from_100() {
    tell_all(100);
}

#[test]
fn seeds_from_150() {
    tell_all(150);
}

#[test]
fn one_seed_has_one_history() {
    for seed in [0, 1, 2, 7, 13, 22] {
        assert_eq!(tell(Story::of(seed)).trace, tell(Story::of(seed)).trace, "seed {seed}");
    }
    assert_ne!(tell(Story::of(3)).trace, tell(Story::of(4)).trace);
}
