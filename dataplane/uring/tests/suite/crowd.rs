//! Two shards that throw connections at each other while the peers write all the time.

use crate::Backend;
use crate::common::{SMALL, assert_output_whole, send, shard};
use crate::moves::{byte_at, connect};
use base::mix::SplitMix64;
use driver::{Completion, Connection, Detached, Driver, End, Listener};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use uring::{Waker, Wanted};

/// What travels with a connection.
struct Load {
    socket: Detached,
    place: u64,
    moves: u64,
}

/// What a shard of the crowd keeps of a connection.
struct Held {
    place: u64,
    moves: u64,
    /// Completions with bytes until it is given away.
    patience: u64,
    greeted: bool,
    leaving: bool,
}

impl Held {
    const fn is_tired(&self) -> bool {
        self.greeted && !self.leaving && self.patience == 0
    }
}

/// Where a crowd's shards and peers meet.
#[derive(Default)]
struct Crowd {
    moves: AtomicU64,
    moved_enough: AtomicBool,
    ended: AtomicU64,
    waiting: [AtomicU64; 2],
}

const PEERS: u64 = 6;
const MOVES: u64 = 3000;

/// One shard of two: takes in what the other gives away, says its number of moves, receives for a while, gives it back.
fn crowded(
    shard_index: usize,
    (mut backend, wakers): (Backend, [Waker; 2]),
    crowd: &Crowd,
    (arrivals, departures): (Receiver<Load>, Sender<Load>),
) -> Vec<u64> {
    let mut random = SplitMix64::new(shard_index as u64);
    let mut held: HashMap<Connection, Held> = HashMap::new();
    let mut lengths = Vec::new();
    let start = Instant::now();
    while crowd.ended.load(Ordering::Acquire) < PEERS {
        assert!(start.elapsed() < Duration::from_secs(30), "{} moves", crowd.moves.load(Ordering::Relaxed));
        let until = backend.now().after(Duration::from_millis(50));
        backend.turn(until, &mut || crowd.waiting[shard_index].load(Ordering::Acquire) == 0);
        while let Some(completion) = backend.reap() {
            match completion {
                Completion::Accepted { connection, .. } => {
                    let fresh = Held { place: 0, moves: 0, patience: 1, greeted: true, leaving: false };
                    assert!(held.insert(connection, fresh).is_none(), "a handle is new");
                }
                Completion::Received { connection, lease } => {
                    let it = held.get_mut(&connection).expect("held");
                    for byte in backend.bytes(&lease).iter() {
                        assert_eq!(*byte, byte_at(it.place), "at {} after {} moves", it.place, it.moves);
                        it.place += 1;
                    }
                    backend.release(lease);
                    it.patience = it.patience.saturating_sub(1);
                    // Sometimes with the rest of its bytes still to be reaped.
                    if it.is_tired() && random.below(2) == 0 && !crowd.moved_enough.load(Ordering::Relaxed) {
                        it.leaving = true;
                        backend.detach(connection);
                    }
                }
                Completion::Sent { connection } => held.get_mut(&connection).expect("held").greeted = true,
                Completion::Detached { connection, socket } => {
                    let Held { place, moves, leaving, .. } = held.remove(&connection).expect("held");
                    assert!(leaving);
                    crowd.waiting[1 - shard_index].fetch_add(1, Ordering::Release);
                    departures.send(Load { socket, place, moves: moves + 1 }).expect("the other shard runs");
                    wakers[1 - shard_index].wake();
                    let moved_enough = crowd.moves.fetch_add(1, Ordering::Relaxed) >= MOVES;
                    crowd.moved_enough.fetch_or(moved_enough, Ordering::Relaxed);
                }
                // Who gives away may pass over it: it is told again.
                Completion::Ended { connection, .. } if held[&connection].leaving => {}
                Completion::Ended { connection, end } => {
                    assert_eq!(end, End::Finished);
                    lengths.push(held[&connection].place);
                    backend.close(connection, false);
                }
                Completion::Closed { connection } => {
                    held.remove(&connection).expect("held");
                    crowd.ended.fetch_add(1, Ordering::Release);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        while let Ok(Load { socket, place, moves }) = arrivals.try_recv() {
            crowd.waiting[shard_index].fetch_sub(1, Ordering::Release);
            let connection = backend.adopt(socket).expect("a place");
            let fresh = Held { place, moves, patience: random.below(3), greeted: false, leaving: false };
            assert!(held.insert(connection, fresh).is_none(), "a handle is new");
            send(&mut backend, connection, &moves.to_le_bytes());
        }
        for (connection, it) in held.iter_mut().filter(|(_, it)| it.is_tired()) {
            if !crowd.moved_enough.load(Ordering::Relaxed) {
                it.leaving = true;
                backend.detach(*connection);
            }
        }
    }
    assert_output_whole(&mut backend);
    lengths
}

/// Writes until there were moves enough, finishes, and reads every number of moves in order. Returns how much it wrote.
fn restless(address: SocketAddr, crowd: &Crowd) -> u64 {
    let mut stream = connect(address);
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let mut reader = stream.try_clone().expect("clone");
    let reading = std::thread::spawn(move || {
        let mut numbers = Vec::new();
        reader.read_to_end(&mut numbers).expect("no reset");
        let numbers = numbers.chunks_exact(8).map(|it| u64::from_le_bytes(it.try_into().expect("eight")));
        assert!(numbers.clone().eq(1..=numbers.len() as u64), "each move is told once and in order: {numbers:?}");
        numbers.len()
    });
    let mut random = SplitMix64::new(u64::from(stream.local_addr().expect("bound").port()));
    let mut written = 0;
    while !crowd.moved_enough.load(Ordering::Relaxed) {
        let bytes: Vec<u8> = (written..written + 1 + random.below(3000)).map(byte_at).collect();
        stream.write_all(&bytes).expect("write");
        written += bytes.len() as u64;
        std::thread::sleep(Duration::from_micros(random.below(300)));
    }
    stream.shutdown(Shutdown::Write).expect("half-close");
    assert!(reading.join().expect("reader ends") > 0, "it moved");
    written
}

/// Two shards that throw connections at each other while the peers write; `wanted` may starve them of buffers.
fn check_crowd(wanted: Wanted) {
    let crowd = Arc::new(Crowd::default());
    let (address_sender, addresses) = channel();
    let (waker_senders, waker_receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| channel::<Waker>()).unzip();
    let (to_left, left) = channel();
    let (to_right, right) = channel();
    let ways = [(left, to_right), (right, to_left)];
    let shards: Vec<_> = (0..2)
        .zip(waker_receivers)
        .zip(ways)
        .map(|((index, others), way)| {
            let (crowd, address_sender, senders) = (crowd.clone(), address_sender.clone(), waker_senders.clone());
            std::thread::spawn(move || {
                let (fd, address) = uring::tcp_listener((Ipv4Addr::LOCALHOST, 0).into(), 64).expect("listener");
                let (backend, waker) = shard(wanted, Vec::new(), vec![(Listener(0), fd)]);
                senders[1 - index].send(waker.clone()).expect("the other starts");
                let other = others.recv().expect("the other started");
                address_sender.send(address).expect("the test goes on");
                let wakers = if index == 0 { [waker, other] } else { [other, waker] };
                crowded(index, (backend, wakers), &crowd, way)
            })
        })
        .collect();
    let addresses = [addresses.recv().expect("a shard"), addresses.recv().expect("a shard")];
    let peers: Vec<_> = (0..PEERS)
        .map(|index| {
            let (crowd, address) = (crowd.clone(), addresses[index as usize % 2]);
            std::thread::spawn(move || restless(address, &crowd))
        })
        .collect();
    let mut written: Vec<u64> = peers.into_iter().map(|peer| peer.join().expect("peer content")).collect();
    let mut received: Vec<u64> = shards.into_iter().flat_map(|shard| shard.join().expect("shard content")).collect();
    written.sort_unstable();
    received.sort_unstable();
    assert_eq!(received, written, "all that was written");
    assert!(crowd.moves.load(Ordering::Relaxed) > MOVES);
}

#[test]
fn three_thousand_moves_lose_and_repeat_nothing() {
    check_crowd(SMALL);
}

#[test]
fn nor_do_they_where_buffers_are_scarce() {
    check_crowd(Wanted { receive_count: 4, receive_bytes: 512, output_count: 8, submission_entries: 8, ..SMALL });
}
