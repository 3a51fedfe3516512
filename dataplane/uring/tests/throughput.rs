//! A rough look at what a message costs, so that a blunder shows: the bound on processor time is ten times what a small shared
//! machine takes, and no bound is on the clock. Not a benchmark.

#![allow(unsafe_code)]

#[path = "suite/common.rs"]
mod common;

use base::Eui64;
use common::{SMALL, listening, shard, turn_for};
use driver::{Completion, Driver, Socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uring::Wanted;

/// What the suite calls the backend.
type Backend = uring::Uring;

const SPAN: Duration = Duration::from_secs(1);

/// Processor time of the shard for a message and its answer, at most.
const EACH_MAX: Duration = Duration::from_micros(50);

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn datagrams_in_and_out() {
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, 0).into(), 1, 1 << 20).expect("slots");
    let address: SocketAddr = slots.address;
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let gateways = std::thread::spawn({
        let stop = stop.clone();
        move || {
            // 64 gateways with four datagrams each on their way.
            let sources: Vec<UdpSocket> =
                (0..8).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source")).collect();
            let mut datagram = [2; 250];
            let mut acknowledged = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for (index, source) in sources.iter().enumerate() {
                    source.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
                    for gateway in 0..32 {
                        datagram[4..12].copy_from_slice(&Eui64::new(index as u64 * 8 + gateway % 8).0);
                        source.send_to(&datagram, address).expect("send");
                    }
                }
                for source in &sources {
                    for _ in 0..32 {
                        source.recv(&mut [0; 8]).expect("ack");
                        acknowledged += 1;
                    }
                }
            }
            acknowledged
        }
    });
    let (mut uring, _) = shard(Wanted { datagram_count: 1024, send_to_count: 1024, ..SMALL }, sockets, Vec::new());
    let (start, before, mut turns) = (Instant::now(), cpu(), 0u64);
    while !gateways.is_finished() {
        if start.elapsed() > SPAN {
            stop.store(true, Ordering::Relaxed);
        }
        turn_for(&mut uring, Duration::from_millis(10));
        turns += 1;
        while let Some(completion) = uring.reap() {
            let Completion::Datagram { socket, source, lease, .. } = completion else {
                panic!("unexpected {completion:?}")
            };
            uring.release(lease);
            uring.send_to(socket, source, b"ack!").expect("room");
        }
    }
    let (wall, busy) = (start.elapsed(), cpu() - before);
    let count = gateways.join().expect("gateways content");
    let each = busy / u32::try_from(count).expect("fits");
    eprintln!("{count} datagrams of 250 B answered in {wall:?}, {turns} turns, {each:?} of the shard's CPU each");
    assert!(count > 0 && each < EACH_MAX, "{count} datagrams, {each:?} each");
}

#[test]
fn bytes_in_and_out() {
    let (mut uring, address) = listening(Wanted { output_count: 128, ..SMALL });
    let stop = Arc::new(AtomicBool::new(false));
    let clients = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut streams: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).expect("connect")).collect();
            let mut echoed = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    stream.write_all(&[7; 64]).expect("write");
                }
                for stream in &mut streams {
                    stream.read_exact(&mut [0; 64]).expect("echo");
                    echoed += 1;
                }
            }
            echoed
        }
    });
    let (start, before, mut turns) = (Instant::now(), cpu(), 0u64);
    while !clients.is_finished() {
        if start.elapsed() > SPAN {
            stop.store(true, Ordering::Relaxed);
        }
        turn_for(&mut uring, Duration::from_millis(10));
        turns += 1;
        while let Some(completion) = uring.reap() {
            match completion {
                Completion::Received { connection, lease } => {
                    let output = uring.output().expect("an output buffer");
                    let mut bytes = [0; 64];
                    bytes.copy_from_slice(uring.bytes(&lease));
                    uring.release(lease);
                    uring.bytes(&output)[..64].copy_from_slice(&bytes);
                    uring.send(connection, output, 64);
                }
                Completion::Accepted { .. } | Completion::Sent { .. } | Completion::Ended { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    let (wall, busy) = (start.elapsed(), cpu() - before);
    let count = clients.join().expect("clients content");
    let each = busy / u32::try_from(count).expect("fits");
    eprintln!("{count} messages of 64 B echoed in {wall:?}, {turns} turns, {each:?} of the shard's CPU each");
    assert!(count > 0 && each < EACH_MAX, "{count} messages, {each:?} each");
}
