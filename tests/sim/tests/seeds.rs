//! Two hundred stories (or `SIM_SEEDS` of them), each kept to every law; and one history for one seed.

use sim::{Story, hold, tell};

/// Told by four tests beside each other.
const SEED_COUNT: u64 = 200;

fn tell_quarter(quarter: u64) {
    let count = std::env::var("SIM_SEEDS").map_or(SEED_COUNT, |count| count.parse().expect("SIM_SEEDS is a number"));
    let (first, next) = (count * quarter / 4, count * (quarter + 1) / 4);
    let (mut told, mut heard) = (0, 0);
    for seed in first..next {
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
    let stories = (next - first) as usize;
    assert!(
        told > 200 * stories && heard > stories,
        "{told} messages told, {heard} downlinks heard: something happens"
    );
}

#[test]
fn first_quarter() {
    tell_quarter(0);
}

#[test]
fn second_quarter() {
    tell_quarter(1);
}

#[test]
fn third_quarter() {
    tell_quarter(2);
}

#[test]
fn last_quarter() {
    tell_quarter(3);
}

#[test]
fn one_seed_has_one_history() {
    for seed in [0, 1, 2, 7, 13, 22] {
        assert_eq!(tell(Story::of(seed)).trace, tell(Story::of(seed)).trace, "seed {seed}");
    }
    assert_ne!(tell(Story::of(3)).trace, tell(Story::of(4)).trace);
}
