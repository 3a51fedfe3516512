//! No descriptor left: its own binary, because it lowers the limit of the process. One test, for the same reason.

#![allow(unsafe_code)]

use crate::common::{SMALL, listening, run, turn_for};
use driver::{Completion, Driver};
use std::fs::File;
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn without_descriptors_accepting_waits_and_goes_on() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls, which read or write nothing else.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = 64;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    // An accept keeps the limit that held when it was armed: lower it first.
    let (mut backend, address) = listening(SMALL);
    let streams: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
        assert!(hoard.len() < 64);
    }
    run(&mut backend, "refusal", |_, completion| match completion {
        Completion::Refused { .. } => true,
        other => panic!("unexpected {other:?}"),
    });
    // It is tried again ten times a second, not as fast as it fails.
    let (start, mut refused) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(450) {
        turn_for(&mut backend, Duration::from_millis(50));
        while let Some(completion) = backend.reap() {
            assert!(matches!(completion, Completion::Refused { .. }), "{completion:?}");
            refused += 1;
        }
    }
    assert!((2..=6).contains(&refused), "{refused} refusals");
    hoard.clear();
    let mut accepted = 0;
    run(&mut backend, "the waiting four", |_, completion| {
        accepted += u32::from(matches!(completion, Completion::Accepted { .. }));
        accepted == 4
    });
    drop(streams);
}
