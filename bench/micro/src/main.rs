//! `cargo run --release -p micro`: nanoseconds per kernel, the least of several rounds, and the hash of its answer.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use std::time::Instant;

const ROUND_COUNT: usize = 20;
const CALLS_PER_ROUND: u32 = 20_000;

fn main() {
    println!("{:<20} {:>10}  hash", "kernel", "ns");
    for mut kernel in micro::kernels() {
        let mut hash = 0;
        let mut round = || {
            let start = Instant::now();
            (0..CALLS_PER_ROUND).for_each(|_| hash = (kernel.work)());
            start.elapsed().as_nanos() as f64 / f64::from(CALLS_PER_ROUND)
        };
        let least = (0..ROUND_COUNT).map(|_| round()).fold(f64::INFINITY, f64::min);
        println!("{:<20} {least:>10.1}  {hash:016x}", kernel.name);
    }
}
