//! A shard with all slots, knocked at and sent to at random, keeps its deadlines and misses no knock.

#[path = "../../uring/tests/suite/common.rs"]
mod common;

use base::Monotonic;
use base::mix::SplitMix64;
use common::{SMALL, clock, shard};
use driver::{Completion, Driver, Socket};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Backend = glommio_driver::Glommio;

#[test]
fn deadlines_and_knocks_are_kept_amid_traffic() {
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, 0).into(), 7, 1 << 18).expect("slots");
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let (mut backend, waker) = shard(SMALL, sockets, Vec::new());
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let sender = std::thread::spawn({
        let (asked, answered) = (asked.clone(), answered.clone());
        move || {
            let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
            source.set_read_timeout(Some(Duration::from_secs(3))).expect("timeout");
            let mut random = SplitMix64::new(3);
            let mut worst = Duration::ZERO;
            for round in 1..=3000u64 {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
                let start = Instant::now();
                if round % 2 == 0 {
                    asked.store(round, Ordering::Release);
                    waker.wake();
                    while answered.load(Ordering::Acquire) != round {
                        assert!(start.elapsed() < Duration::from_secs(1), "knock {round} was lost");
                        std::thread::yield_now();
                    }
                } else {
                    let mut datagram = [0u8; 12];
                    datagram[4..].copy_from_slice(&base::mix::mix64(round).to_be_bytes());
                    source.send_to(&datagram, slots.address).expect("send");
                    let mut reply = [0; 16];
                    source.recv_from(&mut reply).unwrap_or_else(|error| panic!("round {round}: {error}"));
                }
                worst = worst.max(start.elapsed());
            }
            asked.store(u64::MAX, Ordering::Release);
            waker.wake();
            worst
        }
    });
    let (mut seen, mut late) = (0, Duration::ZERO);
    while seen != u64::MAX && !sender.is_finished() {
        let until = Monotonic(clock()).after(Duration::from_secs(2));
        backend.turn(until, &mut || asked.load(Ordering::Acquire) == seen);
        late = late.max(backend.now().since(until));
        while let Some(completion) = backend.reap() {
            if let Completion::Datagram { socket, source, lease, .. } = completion {
                backend.release(lease);
                backend.send_to(socket, source, b"ok").expect("room");
            }
        }
        let value = asked.load(Ordering::Acquire);
        if value != seen {
            seen = value;
            answered.store(value, Ordering::Release);
        }
    }
    let worst = sender.join().expect("sender");
    eprintln!("worst answer {worst:?}, latest turn {late:?}");
    assert!(late < Duration::from_millis(500), "{late:?} after its deadline");
}
