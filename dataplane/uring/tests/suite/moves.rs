//! Connections that move between shards: bytes, ends and errors arrive once and in order, whoever has the connection.

use crate::Backend;
use crate::common::{SMALL, accept, assert_output_whole, closed, listening, run, send, shard, turn_for};
use driver::{Completion, Connection, Detached, Driver, End};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use uring::Wanted;

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream
}

/// The byte that stands at a place of what every peer writes.
pub(crate) const fn byte_at(place: u64) -> u8 {
    (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// Gives a connection away. Returns the socket, and what was told before: bytes, and whether it ended.
fn detached(backend: &mut Backend, connection: Connection) -> (Detached, Vec<u8>, Option<End>) {
    backend.detach(connection);
    let (mut left, mut bytes, mut ended) = (None, Vec::new(), None);
    run(backend, "detached", |backend, completion| {
        assert!(left.is_none(), "nothing follows the last word: {completion:?}");
        match completion {
            Completion::Received { connection: which, lease } if which == connection && ended.is_none() => {
                bytes.extend_from_slice(backend.bytes(&lease));
                backend.release(lease);
            }
            Completion::Ended { connection: which, end } if which == connection && ended.is_none() => ended = Some(end),
            Completion::Detached { connection: which, socket } if which == connection => left = Some(socket),
            other => panic!("unexpected {other:?}"),
        }
        left.is_some()
    });
    (left.expect("it is there"), bytes, ended)
}

/// What an adopted connection tells until it ends.
fn to_the_end(backend: &mut Backend, connection: Connection) -> (Vec<u8>, End) {
    let (mut bytes, mut ended) = (Vec::new(), None);
    run(backend, "the end", |backend, completion| {
        match completion {
            Completion::Received { connection: which, lease } if which == connection => {
                bytes.extend_from_slice(backend.bytes(&lease));
                backend.release(lease);
            }
            Completion::Ended { connection: which, end } if which == connection => ended = Some(end),
            other => panic!("unexpected {other:?}"),
        }
        ended.is_some()
    });
    (bytes, ended.expect("it is there"))
}

#[test]
fn what_came_before_is_told_before_and_what_comes_after_is_told_after() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let mut stream = connect(address);
    let connection = accept(&mut left);
    stream.write_all(b"before ").expect("write");
    std::thread::sleep(Duration::from_millis(20));
    // The bytes are in the kernel; whether they are received before the stop is up to the backend.
    let (socket, mut told, ended) = detached(&mut left, connection);
    stream.write_all(b"between ").expect("write");
    let connection = right.adopt(socket).expect("a place");
    stream.write_all(b"after").expect("write");
    stream.shutdown(Shutdown::Write).expect("half-close");
    let (rest, end) = to_the_end(&mut right, connection);
    told.extend(rest);
    assert_eq!((&told[..], ended, end), (&b"before between after"[..], None, End::Finished));
    send(&mut right, connection, b"answer");
    run(&mut right, "sent", |_, completion| matches!(completion, Completion::Sent { .. }));
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).expect("what the second shard sends");
    assert_eq!(&answer, b"answer");
    right.close(connection, false);
    closed(&mut right, connection);
}

#[test]
fn what_waits_to_be_reaped_is_told_before_the_last_word() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let bytes: Vec<u8> = (0..20_000).map(byte_at).collect();
    for _ in 0..20 {
        let mut stream = connect(address);
        let connection = accept(&mut left);
        stream.write_all(&bytes).expect("write");
        stream.shutdown(Shutdown::Write).expect("half-close");
        std::thread::sleep(Duration::from_millis(5));
        let (start, mut told) = (Instant::now(), Vec::new());
        // One buffer is reaped, and those behind it are in the batch.
        while told.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(10), "nothing comes");
            turn_for(&mut left, Duration::from_millis(10));
            let Some(Completion::Received { lease, .. }) = left.reap() else { continue };
            told.extend_from_slice(left.bytes(&lease));
            left.release(lease);
        }
        let (socket, here, _) = detached(&mut left, connection);
        assert!(told.len() < bytes.len() && !here.is_empty(), "{} and {}", told.len(), here.len());
        told.extend(here);
        let connection = right.adopt(socket).expect("a place");
        let (rest, end) = to_the_end(&mut right, connection);
        told.extend(rest);
        assert_eq!((told, end), (bytes.clone(), End::Finished));
        right.close(connection, true);
        closed(&mut right, connection);
    }
}

#[test]
fn a_paused_connection_moves_too_and_receives_at_once() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let mut stream = connect(address);
    let connection = accept(&mut left);
    left.pause(connection);
    turn_for(&mut left, Duration::from_millis(1));
    stream.write_all(b"unread").expect("write");
    left.detach(connection);
    // Neither has a say in it any more.
    left.pause(connection);
    left.resume(connection);
    let mut left_with = None;
    run(&mut left, "detached", |_, completion| match completion {
        Completion::Detached { socket, .. } => left_with.replace(socket).is_none(),
        other => panic!("unexpected {other:?}"),
    });
    let connection = right.adopt(left_with.expect("it is there")).expect("a place");
    drop(stream);
    assert_eq!(to_the_end(&mut right, connection), (b"unread".to_vec(), End::Finished));
}

/// A peer ends at each moment of a move; every end is told to whoever has the connection at last.
#[test]
fn an_end_is_told_whenever_it_comes() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let mut told_twice = [0; 2];
    for round in 0..120u64 {
        let mut stream = connect(address);
        let connection = accept(&mut left);
        let by_reset = round % 2 == 1;
        let bytes: Vec<u8> = (0..if by_reset { 0 } else { 5000 }).map(byte_at).collect();
        let end = |stream: &mut Option<TcpStream>| {
            let Some(stream) = stream.take() else { return };
            if by_reset {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
            }
        };
        stream.write_all(&bytes).expect("write");
        let mut stream = Some(stream);
        let moment = round / 2 % 4;
        let (mut told, mut ended_here) = (Vec::new(), None);
        if moment == 0 {
            // Before: the giver is told, at leisure.
            end(&mut stream);
            let (bytes, end) = to_the_end(&mut left, connection);
            (told, ended_here) = (bytes, Some(end));
        } else if moment == 1 {
            // In one turn with the detachment: it depends.
            end(&mut stream);
        }
        let (socket, bytes_here, ended) = detached(&mut left, connection);
        told.extend(bytes_here);
        if moment == 2 {
            end(&mut stream);
        }
        let connection = right.adopt(socket).expect("a place");
        end(&mut stream);
        let (rest, last) = to_the_end(&mut right, connection);
        told.extend(rest);
        assert_eq!(told, bytes, "round {round}");
        let expected = if by_reset { End::Failed(libc::ECONNRESET) } else { End::Finished };
        assert_eq!(last, expected, "round {round}, to whom it comes");
        for earlier in ended_here.into_iter().chain(ended) {
            assert_eq!(earlier, expected, "round {round}, to whom it was");
            told_twice[usize::from(by_reset)] += 1;
        }
        right.close(connection, false);
        closed(&mut right, connection);
    }
    assert!(told_twice.iter().all(|count| *count >= 15), "{told_twice:?}");
}

/// A reset that one shard was told of is a reset to every later one, even to those that were not told of it yet.
#[test]
fn a_failure_passes_through_many_hands() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let stream = connect(address);
    let connection = accept(&mut left);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(stream);
    assert_eq!(to_the_end(&mut left, connection), (Vec::new(), End::Failed(libc::ECONNRESET)));
    let mut socket = detached(&mut left, connection).0;
    for round in 0..10 {
        let backend = if round % 2 == 0 { &mut right } else { &mut left };
        let connection = backend.adopt(socket).expect("a place");
        if round % 3 == 0 {
            turn_for(backend, Duration::from_millis(1));
        }
        socket = detached(backend, connection).0;
    }
    let connection = right.adopt(socket).expect("a place");
    assert_eq!(to_the_end(&mut right, connection), (Vec::new(), End::Failed(libc::ECONNRESET)));
}

#[test]
fn a_full_table_gives_the_socket_back_and_dropping_it_closes() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(Wanted { connection_count: 1, ..SMALL }, Vec::new(), Vec::new());
    let mut first = connect(address);
    let connection = accept(&mut left);
    let socket = detached(&mut left, connection).0;
    let connection = right.adopt(socket).expect("a place");
    let mut second = connect(address);
    let other = accept(&mut left);
    let socket = detached(&mut left, other).0;
    let socket = right.adopt(socket).expect_err("no place");
    // It is whole, and the giver may keep it after all.
    let other = left.adopt(socket).expect("its own place");
    send(&mut left, other, b"still here");
    run(&mut left, "sent", |_, completion| matches!(completion, Completion::Sent { .. }));
    let mut bytes = [0; 10];
    second.read_exact(&mut bytes).expect("what is sent");
    let socket = detached(&mut left, other).0;
    drop(right.adopt(socket).expect_err("no place still"));
    turn_for(&mut left, Duration::from_millis(1));
    assert_eq!(second.read(&mut bytes).expect("closed in order"), 0);
    // With bytes that nobody read it is reset, as every socket.
    let mut third = connect(address);
    let other = accept(&mut left);
    let socket = detached(&mut left, other).0;
    third.write_all(b"unread").expect("write");
    std::thread::sleep(Duration::from_millis(20));
    drop(socket);
    turn_for(&mut left, Duration::from_millis(1));
    assert_eq!(third.read(&mut bytes).expect_err("reset").kind(), ErrorKind::ConnectionReset);
    right.close(connection, true);
    closed(&mut right, connection);
    let outcome = first.read(&mut bytes).map_err(|error| error.kind());
    assert!(matches!(outcome, Ok(0) | Err(ErrorKind::ConnectionReset)), "{outcome:?}");
}

#[test]
fn a_place_comes_back_once_the_last_word_is_reaped() {
    let (mut left, address) = listening(Wanted { connection_count: 1, ..SMALL });
    let _first = connect(address);
    let old = accept(&mut left);
    let socket = detached(&mut left, old).0;
    let _second = connect(address);
    let new = accept(&mut left);
    assert_eq!(new.index, old.index);
    assert_ne!(new.generation, old.generation);
    let socket = left.adopt(socket).expect_err("taken again");
    left.close(new, true);
    // Closed, and not reaped yet: the place is not free.
    turn_for(&mut left, Duration::from_millis(1));
    turn_for(&mut left, Duration::from_millis(1));
    let socket = left.adopt(socket).expect_err("its last word is not told");
    closed(&mut left, new);
    let again = left.adopt(socket).expect("a place");
    assert_eq!(again.index, old.index);
    assert!(again.generation != new.generation && again.generation != old.generation);
}

#[test]
fn a_close_takes_the_place_of_a_detachment() {
    let (mut backend, address) = listening(SMALL);
    for round in 0..60 {
        let mut stream = connect(address);
        let connection = accept(&mut backend);
        let abort = round % 2 == 0;
        if round % 3 == 0 {
            // Nothing is to be waited for, so that the last word is ready at the next turn.
            backend.pause(connection);
            turn_for(&mut backend, Duration::from_millis(1));
        }
        backend.detach(connection);
        for _ in 0..round % 4 {
            // Not reaped.
            turn_for(&mut backend, Duration::from_millis(1));
        }
        backend.close(connection, abort);
        if !abort {
            stream.shutdown(Shutdown::Write).expect("half-close");
        }
        // Nothing but `Closed` may come, and it must.
        closed(&mut backend, connection);
        let outcome = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(outcome == Ok(0) || abort && outcome == Err(ErrorKind::ConnectionReset), "round {round}: {outcome:?}");
    }
    assert_output_whole(&mut backend);
}

#[test]
fn dropping_a_shard_in_the_middle_of_moves_ends_its_connections() {
    let (mut left, address) = listening(SMALL);
    let (mut right, _) = shard(SMALL, Vec::new(), Vec::new());
    let (mut streams, accepted): (Vec<TcpStream>, Vec<Connection>) =
        (0..4).map(|_| (connect(address), accept(&mut left))).unzip();
    let socket = detached(&mut left, accepted[0]).0;
    right.adopt(socket).expect("a place");
    left.pause(accepted[1]);
    turn_for(&mut left, Duration::from_millis(1));
    left.detach(accepted[1]);
    left.detach(accepted[2]);
    turn_for(&mut left, Duration::from_millis(1));
    left.detach(accepted[3]);
    drop((left, right));
    for stream in &mut streams {
        assert_eq!(stream.read_to_end(&mut Vec::new()).expect("the end"), 0);
    }
}

#[test]
#[should_panic(expected = "no send is in flight")]
fn a_send_in_flight_stays_where_it_is() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    send(&mut backend, connection, b"one");
    backend.detach(connection);
}

#[test]
#[should_panic(expected = "nothing is sent")]
fn a_send_on_what_is_given_away_is_our_own_mistake() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    backend.detach(connection);
    send(&mut backend, connection, b"one");
}

#[test]
#[should_panic(expected = "a connection leaves once")]
fn twice_away_is_our_own_mistake() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    backend.detach(connection);
    backend.detach(connection);
}

#[test]
#[should_panic(expected = "the connection is open")]
fn a_handle_is_good_until_the_last_word() {
    let (mut backend, address) = listening(SMALL);
    let _stream = connect(address);
    let connection = accept(&mut backend);
    drop(detached(&mut backend, connection));
    backend.pause(connection);
}
