//! A serving shard neither allocates nor frees: datagrams, connections, moves, sends, ends, wake-ups and files, all of it counted.

#[path = "suite/common.rs"]
mod common;

use base::Eui64;
use common::{SMALL, shard, shard_in, turn_for};
use driver::{Access, Completion, Driver, File, Listener, Socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the suite calls the backend.
type Backend = uring::Uring;

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

#[test]
fn serving_needs_no_heap() {
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, 0).into(), 1, 1 << 20).expect("slots");
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let (fd, address) = uring::tcp_listener((Ipv4Addr::LOCALHOST, 0).into(), 64).expect("listener");
    let stop = Arc::new(AtomicBool::new(false));
    let serving = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let (mut uring, waker) = shard(SMALL, sockets, vec![(Listener(0), fd)]);
            let (mut served, mut ended, mut moved) = (0u32, 0u32, 0u32);
            alloc_guard::serving(true);
            while !stop.load(Ordering::Relaxed) {
                turn_for(&mut uring, Duration::from_millis(10));
                waker.wake();
                while let Some(completion) = uring.reap() {
                    match completion {
                        Completion::Datagram { socket, source, lease, .. } => {
                            uring.release(lease);
                            uring.send_to(socket, source, b"ack!").expect("room");
                            served += 1;
                        }
                        Completion::Received { connection, lease } => {
                            let output = uring.output().expect("an output buffer");
                            let mut bytes = [0; 2048];
                            let count = lease.len as usize;
                            bytes[..count].copy_from_slice(uring.bytes(&lease));
                            uring.release(lease);
                            uring.bytes(&output)[..count].copy_from_slice(&bytes[..count]);
                            uring.send(connection, output, count);
                        }
                        Completion::Sent { connection } => {
                            uring.pause(connection);
                            uring.resume(connection);
                        }
                        Completion::Accepted { connection, .. } => uring.detach(connection),
                        Completion::Detached { socket, .. } => {
                            uring.adopt(socket).expect("a place");
                            moved += 1;
                        }
                        Completion::Ended { connection, .. } => uring.close(connection, served % 2 == 0),
                        Completion::Closed { .. } => ended += 1,
                        _ => {}
                    }
                }
            }
            alloc_guard::serving(false);
            (alloc_guard::strays(), served, ended, moved)
        }
    });
    let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
    source.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    for round in 0..600u64 {
        let mut datagram = [2; 100];
        datagram[4..12].copy_from_slice(&Eui64::new(round).0);
        let mut bytes = [0; 4];
        source.send_to(&datagram, slots.address).expect("send");
        assert_eq!(source.recv(&mut bytes).expect("ack"), 4);
        if round % 10 == 0 {
            let mut stream = TcpStream::connect(address).expect("connect");
            for _ in 0..5 {
                stream.write_all(b"ping").expect("write");
                stream.read_exact(&mut bytes).expect("echo");
                assert_eq!(&bytes, b"ping");
            }
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    stop.store(true, Ordering::Relaxed);
    let (strays, served, ended, moved) = serving.join().expect("shard ends");
    assert_eq!((served, ended, moved), (600, 60, 60));
    assert_eq!(strays, 0);
}

#[test]
fn ten_thousand_stored_writes_need_no_heap() {
    const WRITES: u64 = 10_000;
    let home = tempfile::tempdir().expect("a directory");
    for name in ["even", "odd"] {
        std::fs::write(home.path().join(name), vec![0; 1 << 20]).expect("a segment made ahead");
    }
    let directory = std::fs::File::open(home.path()).expect("the directory");
    let (mut uring, _) = shard_in(Some(directory.into()), SMALL, Vec::new(), Vec::new());
    let (mut written, mut read, mut opened, mut closed) = (0u64, 0u64, 0u64, 0u64);
    let ask = |uring: &mut uring::Uring, file: File, number: u64| {
        let lease = uring.file_buffer().expect("a buffer");
        uring.bytes(&lease)[..8].copy_from_slice(&number.to_le_bytes());
        uring.write(file, number % 100_000 * 8, lease, 8, true);
    };
    let start = std::time::Instant::now();
    alloc_guard::serving(true);
    for name in ["even", "odd"] {
        uring.open(name, Access::Write).expect("a place");
    }
    while closed < 2 {
        assert!(start.elapsed() < Duration::from_secs(120), "{written} written, {read} read, {opened} opened");
        turn_for(&mut uring, Duration::from_millis(100));
        while let Some(completion) = uring.reap() {
            match completion {
                Completion::Opened { file, outcome } => {
                    outcome.expect("it is there");
                    opened += 1;
                    ask(&mut uring, file, 0);
                }
                Completion::Written { file, outcome } => {
                    outcome.expect("stored");
                    written += 1;
                    if written >= WRITES {
                        uring.close_file(file);
                        continue;
                    }
                    // Every hundredth closes its file and opens it again.
                    if written.is_multiple_of(100) {
                        uring.close_file(file);
                    } else {
                        uring.read(file, 0, 4096).expect("a buffer");
                        ask(&mut uring, file, written);
                    }
                }
                Completion::Read { outcome, .. } => {
                    uring.release(outcome.expect("readable"));
                    read += 1;
                }
                Completion::FileClosed { file } if written < WRITES => {
                    uring.open(if file.index == 0 { "even" } else { "odd" }, Access::Write).expect("a place");
                }
                Completion::FileClosed { .. } => closed += 1,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    alloc_guard::serving(false);
    assert!(written >= WRITES && read > WRITES * 9 / 10 && opened > 50, "{written} {read} {opened}");
    assert_eq!(alloc_guard::strays(), 0);
}
