//! Sleeping and waking: no wake-up is lost, deadlines hold, signals do no harm.

#![allow(unsafe_code)]

use crate::Backend;
use crate::common::{SMALL, clock, shard};
use base::Monotonic;
use base::mix::SplitMix64;
use driver::Driver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uring::{HostLimits, ShardConfig, Sizing};

/// How long a lost wake-up would have us wait, had the driver no bound on sleep of its own: more than any test takes.
const LOST: Duration = Duration::from_secs(5);

/// Sleeps until `cell` holds more than `seen`, and nothing else but a wake-up ends the sleep.
fn await_more(backend: &mut Backend, cell: &AtomicU64, seen: u64) -> u64 {
    loop {
        let value = cell.load(Ordering::Acquire);
        if value > seen {
            return value;
        }
        backend.turn(Monotonic::NEVER, &mut || cell.load(Ordering::Acquire) == seen);
        assert!(backend.reap().is_none(), "a wake-up is no completion");
    }
}

#[test]
fn no_wake_up_from_a_thread_is_lost() {
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (sender, receiver) = std::sync::mpsc::channel();
    let serving = std::thread::spawn({
        let (asked, answered) = (asked.clone(), answered.clone());
        move || {
            let (mut backend, waker) = shard(SMALL, Vec::new(), Vec::new());
            sender.send(waker).expect("waker told");
            let mut seen = 0;
            while seen != u64::MAX {
                seen = await_more(&mut backend, &asked, seen);
                answered.store(seen, Ordering::Release);
            }
        }
    });
    let waker = receiver.recv().expect("shard started");
    let mut random = SplitMix64::new(11);
    let mut latencies = Vec::new();
    let start = Instant::now();
    for value in 1.. {
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
        // Now and then at the very moment at which the shard goes to sleep, now and then long after.
        for _ in 0..random.below(2000) {
            std::hint::spin_loop();
        }
        let asked_at = Instant::now();
        asked.store(value, Ordering::Release);
        waker.wake();
        while answered.load(Ordering::Acquire) != value {
            assert!(asked_at.elapsed() < LOST, "wake-up {value} was lost");
            std::thread::yield_now();
        }
        latencies.push(asked_at.elapsed());
    }
    asked.store(u64::MAX, Ordering::Release);
    waker.wake();
    serving.join().expect("shard ends");
    latencies.sort_unstable();
    let (count, middle) = (latencies.len(), latencies[latencies.len() / 2]);
    eprintln!("{count} wake-ups, median {middle:?}, p99 {:?}", latencies[count * 99 / 100]);
    assert!(count > 1000, "{count} wake-ups in three seconds");
}

#[test]
fn shards_wake_each_other() {
    const ROUNDS: u64 = 30_000;
    let cells: Arc<[AtomicU64; 2]> = Arc::default();
    let sizing = Sizing::from_limits(HostLimits::read(), 2, SMALL).expect("sizing");
    let (doors, peers) = uring::doors(2).expect("doors");
    let shards: Vec<_> = doors
        .into_iter()
        .enumerate()
        .map(|(index, door)| {
            let (cells, peers) = (cells.clone(), peers.clone());
            std::thread::spawn(move || {
                uring::pin_to_core(index).expect("pinned");
                let config = ShardConfig {
                    shard: index,
                    sockets: Vec::new(),
                    listeners: Vec::new(),
                    sizing,
                    door,
                    peers,
                    directory: None,
                };
                let mut backend = Backend::start(config).expect("shard starts");
                for round in 1..=ROUNDS {
                    if index == 0 {
                        cells[0].store(round, Ordering::Release);
                        backend.wake(1);
                        assert_eq!(await_more(&mut backend, &cells[1], round - 1), round);
                    } else {
                        assert_eq!(await_more(&mut backend, &cells[0], round - 1), round);
                        cells[1].store(round, Ordering::Release);
                        backend.wake(0);
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    for shard in shards {
        shard.join().expect("shard ends");
    }
    eprintln!("{ROUNDS} rounds between two shards in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "a lost wake-up costs a minute");
}

#[test]
fn a_deadline_ends_the_sleep_and_a_past_one_prevents_it() {
    let (mut backend, _) = shard(SMALL, Vec::new(), Vec::new());
    for millis in [1u64, 20, 50] {
        let span = Duration::from_millis(millis);
        let until = Monotonic(clock()).after(span);
        backend.turn(until, &mut || true);
        assert!(backend.now() >= until, "not before its time");
        assert!(backend.now().since(until) < Duration::from_millis(200), "nor long after it");
    }
    let start = Instant::now();
    for _ in 0..100 {
        backend.turn(Monotonic(0), &mut || true);
    }
    assert!(start.elapsed() < Duration::from_millis(500));
    backend.turn(Monotonic::NEVER, &mut || false);
    assert!(start.elapsed() < Duration::from_millis(700), "who has work does not sleep");
}

#[test]
fn both_clocks_run_and_randomness_differs() {
    let (mut backend, _) = shard(SMALL, Vec::new(), Vec::new());
    let (before, unix) = (backend.now(), backend.unix());
    backend.turn(Monotonic(clock()).after(Duration::from_millis(20)), &mut || true);
    assert!(backend.now().since(before) >= Duration::from_millis(20));
    assert!(backend.unix().0 - unix.0 >= 19_000 && backend.unix().seconds() > 1_600_000_000);
    let (mut left, mut right) = ([0u8; 300], [0u8; 300]);
    backend.entropy(&mut left);
    backend.entropy(&mut right);
    assert_ne!(left, right);
    assert!(left[256..].iter().any(|&byte| byte != 0), "filled to the end");
}

#[test]
fn a_signal_interrupts_a_sleep_and_nothing_else() {
    static DELIVERED: AtomicU64 = AtomicU64::new(0);
    extern "C" fn note(_: libc::c_int) {
        DELIVERED.fetch_add(1, Ordering::Relaxed);
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    // SAFETY: the handler adds to an atomic, which is safe in a signal; the action is fully initialised.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let sleeper = std::thread::spawn(move || {
        let (mut backend, _) = shard(SMALL, Vec::new(), Vec::new());
        // SAFETY: asks for the calling thread's own handle.
        sender.send(unsafe { libc::pthread_self() }).expect("handle told");
        let until = Monotonic(clock()).after(Duration::from_millis(300));
        while backend.now() < until {
            backend.turn(until, &mut || true);
            assert!(backend.reap().is_none());
        }
    });
    let thread = receiver.recv().expect("handle");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(30));
        // SAFETY: the thread is not joined yet, so its handle is valid; the signal has a handler.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
    }
    sleeper.join().expect("unharmed");
    assert_eq!(DELIVERED.load(Ordering::Relaxed), 5, "it was interrupted, and slept to its end");
}
