//! TCP connections over real sockets: echo, every way to end, backpressure, tables that fill.

use crate::Backend;
use crate::common::{SMALL, accept, assert_output_whole, closed, listening, run, send, shard, turn_for};
use base::mix::SplitMix64;
use driver::{Completion, Connection, Driver, End, Lease};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use uring::Wanted;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream
}

/// What the echo server keeps of a connection.
#[derive(Default)]
struct Echo {
    waiting: VecDeque<Vec<u8>>,
    flying: bool,
    ended: bool,
}

/// Echoes until `total` connections have come and gone.
fn echo(backend: &mut Backend, total: usize) {
    let mut open: HashMap<Connection, Echo> = HashMap::new();
    let mut gone = 0;
    let start = Instant::now();
    while gone < total {
        assert!(start.elapsed() < Duration::from_secs(25), "{gone} of {total} gone, {} open", open.len());
        turn_for(backend, Duration::from_millis(50));
        while let Some(completion) = backend.reap() {
            let connection = match completion {
                Completion::Accepted { connection, peer, .. } => {
                    assert!(peer.ip().is_loopback());
                    assert!(open.insert(connection, Echo::default()).is_none(), "a handle is new");
                    continue;
                }
                Completion::Received { connection, lease } => {
                    let bytes = backend.bytes(&lease).to_vec();
                    assert!(!bytes.is_empty());
                    backend.release(lease);
                    open.get_mut(&connection).expect("open").waiting.push_back(bytes);
                    connection
                }
                Completion::Sent { connection } => {
                    open.get_mut(&connection).expect("open").flying = false;
                    connection
                }
                Completion::Ended { connection, end } => {
                    assert_eq!(end, End::Finished);
                    open.get_mut(&connection).expect("open").ended = true;
                    connection
                }
                Completion::Closed { connection } => {
                    open.remove(&connection).expect("closed once");
                    gone += 1;
                    continue;
                }
                other => panic!("unexpected {other:?}"),
            };
            pump(backend, connection, open.get_mut(&connection).expect("open"));
        }
        // Those that found no output buffer.
        for (&connection, state) in open.iter_mut().filter(|(_, state)| !state.flying && !state.waiting.is_empty()) {
            pump(backend, connection, state);
        }
    }
}

fn pump(backend: &mut Backend, connection: Connection, state: &mut Echo) {
    if state.flying {
        return;
    }
    let Some(bytes) = state.waiting.front() else {
        if state.ended {
            state.ended = false;
            backend.close(connection, false);
        }
        return;
    };
    let Ok(lease) = backend.output() else { return };
    backend.bytes(&lease)[..bytes.len()].copy_from_slice(bytes);
    backend.send(connection, lease, bytes.len());
    state.waiting.pop_front();
    state.flying = true;
}

/// Writes random sizes while reading them back, shuts down, reads to the end, and compares.
fn client(address: SocketAddr, seed: u64) {
    let mut random = SplitMix64::new(seed);
    let total = 1 + random.below(200_000) as usize;
    let sent: Vec<u8> = (0..total).map(|at| (at as u64 * seed) as u8).collect();
    let mut reader = connect(address);
    let mut writer = reader.try_clone().expect("clone");
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        let mut rest = &copy[..];
        while !rest.is_empty() {
            let count = (1 + random.below(20_000) as usize).min(rest.len());
            writer.write_all(&rest[..count]).expect("write");
            rest = &rest[count..];
        }
        writer.shutdown(Shutdown::Write).expect("half-close");
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).expect("read to the end");
    writing.join().expect("writer ends");
    assert!(received == sent, "{} of {total} bytes came back", received.len());
}

#[test]
fn echoes_many_connections_of_random_sizes_through_few_buffers() {
    // Fewer buffers and queue entries than connections: every list is used.
    let (mut backend, address) =
        listening(Wanted { receive_count: 64, output_count: 16, submission_entries: 64, ..SMALL });
    let clients: Vec<_> = (0..8u64)
        .map(|thread| std::thread::spawn(move || (0..15).for_each(|turn| client(address, thread * 100 + turn + 1))))
        .collect();
    echo(&mut backend, 120);
    for client in clients {
        client.join().expect("client content");
    }
    assert_output_whole(&mut backend);
}

#[test]
fn a_thousand_connections_arrive_at_once() {
    let (mut backend, address) =
        listening(Wanted { connection_count: 1100, submission_entries: 64, completion_entries: 128, ..SMALL });
    let clients = std::thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..1000).map(|_| connect(address)).collect();
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&(index as u32).to_le_bytes()).expect("write");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).expect("echo");
            assert_eq!(u32::from_le_bytes(bytes), index as u32);
        }
    });
    echo(&mut backend, 1000);
    clients.join().expect("clients content");
    assert_output_whole(&mut backend);
}

#[test]
fn a_reset_is_told_with_its_errno() {
    let (mut backend, address) = listening(SMALL);
    let stream = connect(address);
    let connection = accept(&mut backend);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(stream);
    run(&mut backend, "reset", |_, completion| match completion {
        Completion::Ended { connection: which, end } => {
            assert_eq!((which, end), (connection, End::Failed(libc::ECONNRESET)));
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    send(&mut backend, connection, b"into the void");
    run(&mut backend, "send failure", |_, completion| match completion {
        Completion::SendFailed { connection: which, errno } => {
            assert_eq!((which, errno), (connection, libc::EPIPE));
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    backend.close(connection, false);
    closed(&mut backend, connection);
    assert_output_whole(&mut backend);
}

/// Sends full buffers until one stays in flight. Returns the bytes asked for in all.
fn fill(backend: &mut Backend, connection: Connection) -> usize {
    let mut total = 0;
    loop {
        let bytes: Vec<u8> = (total..total + 8192).map(|at| (at / 8192) as u8).collect();
        send(backend, connection, &bytes);
        total += bytes.len();
        let deadline = Instant::now() + Duration::from_millis(150);
        loop {
            turn_for(backend, Duration::from_millis(50));
            match backend.reap() {
                Some(Completion::Sent { .. }) => break,
                Some(other) => panic!("unexpected {other:?}"),
                None if Instant::now() > deadline => return total,
                None => {}
            }
        }
    }
}

#[test]
fn abort_recalls_a_send_in_flight() {
    let (mut backend, address) = listening(SMALL);
    let mut stream = connect(address);
    let connection = accept(&mut backend);
    fill(&mut backend, connection);
    backend.close(connection, true);
    let start = Instant::now();
    closed(&mut backend, connection);
    assert!(start.elapsed() < Duration::from_millis(500), "an abort waits for nobody");
    assert_output_whole(&mut backend);
    let mut bytes = Vec::new();
    assert_eq!(stream.read_to_end(&mut bytes).expect_err("reset").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn close_waits_for_a_send_in_flight_and_abort_may_follow() {
    let (mut backend, address) = listening(SMALL);
    let mut stream = connect(address);
    let connection = accept(&mut backend);
    let total = fill(&mut backend, connection);
    backend.close(connection, false);
    for _ in 0..5 {
        turn_for(&mut backend, Duration::from_millis(20));
        assert!(backend.reap().is_none(), "the send is still in flight");
    }
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("all of it, then the end");
        bytes
    });
    closed(&mut backend, connection);
    let bytes = reader.join().expect("reader");
    assert_eq!(bytes.len(), total);
    assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == (at / 8192) as u8));

    let _stuck = connect(address);
    let connection = accept(&mut backend);
    fill(&mut backend, connection);
    backend.close(connection, false);
    turn_for(&mut backend, Duration::from_millis(20));
    backend.close(connection, true);
    closed(&mut backend, connection);
    assert_output_whole(&mut backend);
}

#[test]
fn what_was_sent_before_close_arrives_though_the_peers_bytes_are_unread() {
    let (mut backend, address) = listening(SMALL);
    let mut stream = connect(address);
    let connection = accept(&mut backend);
    backend.pause(connection);
    turn_for(&mut backend, Duration::from_millis(1));
    stream.write_all(&[7; 100_000]).expect("write");
    send(&mut backend, connection, b"goodbye");
    backend.close(connection, false);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("no reset overtakes it");
        bytes
    });
    closed(&mut backend, connection);
    assert_eq!(reader.join().expect("reader"), b"goodbye");
}

#[test]
fn a_peer_that_never_finishes_is_waited_for_one_second() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    let start = Instant::now();
    backend.close(connection, false);
    closed(&mut backend, connection);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_millis(3000), "{waited:?}");
}

#[test]
fn pause_is_felt_by_the_peer_and_resume_loses_nothing() {
    let (mut backend, address) = listening(SMALL);
    let mut stream = connect(address);
    let connection = accept(&mut backend);
    backend.pause(connection);
    turn_for(&mut backend, Duration::from_millis(1));
    stream.set_nonblocking(true).expect("nonblocking");
    let (mut written, mut received, mut idle) = (0usize, 0usize, 0);
    while idle < 10 {
        let bytes: Vec<u8> = (written..written + 16_384).map(|at| (at % 251) as u8).collect();
        match stream.write(&bytes) {
            Ok(count) => (written, idle) = (written + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                idle += 1;
                turn_for(&mut backend, Duration::from_millis(10));
            }
        }
        assert!(written < 32 << 20, "the kernel's buffers are bounded");
        assert!(backend.reap().is_none(), "nothing is received while paused");
    }
    // Pausing and resuming within a turn, and over it, leaves one receive in the kernel.
    backend.resume(connection);
    backend.pause(connection);
    backend.resume(connection);
    let check = |backend: &mut Backend, lease: Lease, received: &mut usize| {
        for &byte in backend.bytes(&lease).iter() {
            assert_eq!(byte, (*received % 251) as u8);
            *received += 1;
        }
        backend.release(lease);
    };
    let mut turns = 0;
    run(&mut backend, "the rest", |backend, completion| {
        let Completion::Received { lease, .. } = completion else { panic!("unexpected {completion:?}") };
        check(backend, lease, &mut received);
        turns += 1;
        if turns % 7 == 0 {
            backend.pause(connection);
            turn_for(backend, Duration::from_millis(1));
            backend.resume(connection);
        }
        received >= written
    });
    assert_eq!(received, written);
    drop(stream);
    run(&mut backend, "end", |_, completion| matches!(completion, Completion::Ended { end: End::Finished, .. }));
}

#[test]
fn a_full_table_refuses_and_an_index_comes_back_with_a_new_generation() {
    let (mut backend, address) = listening(Wanted { connection_count: 4, ..SMALL });
    let mut streams: Vec<TcpStream> = (0..6).map(|_| connect(address)).collect();
    let (mut accepted, mut refused) = (Vec::new(), 0);
    run(&mut backend, "six", |_, completion| {
        match completion {
            Completion::Accepted { connection, .. } => accepted.push(connection),
            Completion::Refused { .. } => refused += 1,
            other => panic!("unexpected {other:?}"),
        }
        accepted.len() + refused == 6
    });
    assert_eq!((accepted.len(), refused), (4, 2));
    let mut bytes = [0; 1];
    assert_eq!(streams[5].read(&mut bytes).expect("closed in order"), 0);
    let old = accepted[2];
    backend.close(old, true);
    closed(&mut backend, old);
    let _next = connect(address);
    let new = accept(&mut backend);
    assert_eq!(new.index, old.index);
    assert_ne!(new.generation, old.generation);
}

#[test]
fn received_bytes_wait_for_buffers_and_the_shard_sleeps_meanwhile() {
    const EACH: usize = 6000;
    let (mut backend, address) = listening(Wanted { receive_count: 64, receive_bytes: 512, ..SMALL });
    let streams: Vec<TcpStream> = (0..40)
        .map(|index| {
            let mut stream = connect(address);
            stream.write_all(&[index; EACH]).expect("write");
            stream
        })
        .collect();
    let mut held: VecDeque<(Connection, Lease)> = VecDeque::new();
    let mut counts: HashMap<Connection, (u8, usize)> = HashMap::new();
    let reap = |backend: &mut Backend, held: &mut VecDeque<_>| {
        while let Some(completion) = backend.reap() {
            match completion {
                Completion::Accepted { .. } => {}
                Completion::Received { connection, lease } => held.push_back((connection, lease)),
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    let start = Instant::now();
    while held.len() < 64 {
        assert!(start.elapsed() < Duration::from_secs(5), "{} held", held.len());
        turn_for(&mut backend, Duration::from_millis(50));
        reap(&mut backend, &mut held);
    }
    turn_for(&mut backend, Duration::from_millis(10));
    reap(&mut backend, &mut held);
    for _ in 0..3 {
        let start = Instant::now();
        turn_for(&mut backend, Duration::from_millis(30));
        assert!(backend.reap().is_none());
        assert!(start.elapsed() >= Duration::from_millis(25), "a starved turn still sleeps");
    }
    let mut total = 0;
    while total < 40 * EACH {
        assert!(start.elapsed() < Duration::from_secs(20), "{total} bytes came");
        for (connection, lease) in held.drain(..held.len().min(3)) {
            let bytes = backend.bytes(&lease);
            let (first, count) = counts.entry(connection).or_insert((bytes[0], 0));
            assert!(bytes.iter().all(|byte| byte == first));
            *count += bytes.len();
            total += bytes.len();
            backend.release(lease);
        }
        turn_for(&mut backend, Duration::from_millis(20));
        reap(&mut backend, &mut held);
    }
    assert!(counts.len() == 40 && counts.values().all(|&(_, count)| count == EACH));
    drop(streams);
}

#[test]
fn dropping_a_shard_in_the_middle_of_everything_ends_its_connections() {
    let (mut backend, address) = listening(SMALL);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    let mut accepted = Vec::new();
    run(&mut backend, "accepts", |_, completion| {
        let Completion::Accepted { connection, .. } = completion else { panic!("unexpected {completion:?}") };
        accepted.push(connection);
        accepted.len() == 20
    });
    for &connection in &accepted {
        send(&mut backend, connection, &[1; 8192]);
    }
    turn_for(&mut backend, Duration::from_millis(1));
    drop(backend);
    for stream in &mut streams {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end");
    }
    let refused = TcpStream::connect_timeout(&address, Duration::from_millis(500));
    assert!(refused.is_err(), "the listener is gone");
}

#[test]
#[should_panic(expected = "one send is in flight")]
fn a_second_send_is_our_own_mistake() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    send(&mut backend, connection, b"one");
    send(&mut backend, connection, b"two");
}

#[test]
#[should_panic(expected = "the connection is open")]
fn a_handle_of_an_earlier_holder_is_our_own_mistake() {
    let (mut backend, address) = listening(Wanted { connection_count: 1, ..SMALL });
    let stream = connect(address);
    let old = accept(&mut backend);
    backend.close(old, true);
    closed(&mut backend, old);
    drop(stream);
    let _next = connect(address);
    accept(&mut backend);
    backend.pause(old);
}

#[test]
fn connections_inherit_what_the_listener_was_told() {
    let (fd, address) = uring::tcp_listener((Ipv4Addr::LOCALHOST, 0).into(), 16).expect("listener");
    let _client = connect(address);
    let listener = std::net::TcpListener::from(fd);
    let (stream, _) = listener.accept().expect("accept");
    assert!(stream.nodelay().expect("option"));
    assert!(socket2::SockRef::from(&stream).keepalive().expect("option"));
}

#[test]
fn two_shards_share_a_port() {
    let (first, address) = uring::tcp_listener((Ipv4Addr::LOCALHOST, 0).into(), 64).expect("listener");
    let (second, same) = uring::tcp_listener(address, 64).expect("listener on the same port");
    assert_eq!(address, same);
    let (mut left, _) = shard(SMALL, Vec::new(), vec![(driver::Listener(0), first)]);
    let (mut right, _) = shard(SMALL, Vec::new(), vec![(driver::Listener(0), second)]);
    let streams: Vec<TcpStream> = (0..64).map(|_| connect(address)).collect();
    let mut counts = [0, 0];
    let start = Instant::now();
    while counts[0] + counts[1] < 64 {
        assert!(start.elapsed() < Duration::from_secs(5));
        for (count, backend) in counts.iter_mut().zip([&mut left, &mut right]) {
            turn_for(backend, Duration::from_millis(5));
            while let Some(completion) = backend.reap() {
                assert!(matches!(completion, Completion::Accepted { .. }), "{completion:?}");
                *count += 1;
            }
        }
    }
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    drop(streams);
}
