//! What only the inside can choose or see: the flavour of the ring, and how entries get into it.

use crate::reactor::Ring;
use crate::{Flavour, HostLimits, ShardConfig, Sizing, Uring, Wanted, doors, probe, tcp_listeners};
use base::Monotonic;
use driver::{Access, Completion, Driver, File, FileFault, Listener, Socket};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// One shard of `flavour` echoes a stream to its end.
fn check(flavour: Flavour) {
    let (mut fds, address) = tcp_listeners((Ipv4Addr::LOCALHOST, 0).into(), 1, 16).expect("listener");
    let wanted = Wanted { connection_count: 8, descriptors_kept: 0, receive_count: 64, ..Wanted::default() };
    let sizing = Sizing::from_limits(HostLimits::read(), 1, wanted).expect("sizing");
    let (mut doors, peers) = doors(1).expect("doors");
    let listeners = vec![(Listener(0), fds.remove(0))];
    let door = doors.remove(0);
    let config = ShardConfig { shard: 0, sockets: Vec::new(), listeners, sizing, door, peers, directory: None };
    let mut uring = Uring::start_as(config, Some(flavour)).expect("shard starts");
    assert_eq!(uring.flavour(), flavour);
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let mut bytes = [0; 1000];
        for round in 0..100u8 {
            stream.write_all(&[round; 1000]).expect("write");
            stream.read_exact(&mut bytes).expect("echo");
            assert_eq!(bytes, [round; 1000]);
        }
    });
    let mut waiting = Vec::new();
    let mut flying = false;
    loop {
        uring.turn(Monotonic::NEVER, &mut || true);
        let mut last = false;
        while let Some(completion) = uring.reap() {
            match completion {
                Completion::Accepted { .. } => {}
                Completion::Received { lease, .. } => {
                    waiting.extend_from_slice(uring.bytes(&lease));
                    uring.release(lease);
                }
                Completion::Sent { .. } => flying = false,
                Completion::Ended { connection, .. } => uring.close(connection, false),
                Completion::Closed { .. } => last = true,
                other => panic!("unexpected {other:?}"),
            }
        }
        if last {
            break;
        }
        if !flying && !waiting.is_empty() {
            let lease = uring.output().expect("an output buffer");
            uring.bytes(&lease)[..waiting.len()].copy_from_slice(&waiting);
            uring.send(driver::Connection { index: 0, generation: 1 }, lease, waiting.len());
            waiting.clear();
            flying = true;
        }
    }
    client.join().expect("client content");
}

#[test]
fn every_flavour_echoes() {
    check(Flavour::Deferred);
    check(Flavour::Cooperative);
}

#[test]
fn this_host_is_supported() {
    let support = probe().expect("tests need io_uring");
    assert!(support.to_string().starts_with("io_uring of Linux "), "{support}");
}

/// However full the queue is, a chain enters whole: a write that fails takes the sync behind it along, which only a link does.
#[test]
fn a_chain_is_never_split() {
    const ENTRIES: u32 = 8;
    let (inner, _) = crate::probe::build(ENTRIES, 64).expect("a ring");
    let mut ring = Ring::new(inner);
    for before in 0..=ENTRIES {
        for _ in 0..before {
            assert!(ring.push(&opcode::Nop::new().build().user_data(0)));
        }
        let bytes = [0; 8];
        let write = opcode::Write::new(Fd(-1), bytes.as_ptr(), 8).build().user_data(1);
        let sync = opcode::Fsync::new(Fd(0)).build().user_data(2);
        assert!(ring.push_linked(&[write.flags(squeue::Flags::IO_LINK), sync]));
        ring.inner.submit_and_wait(before as usize + 2).expect("submitted");
        let mut told: Vec<(u64, i32)> =
            ring.inner.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        told.retain(|(user_data, _)| *user_data > 0);
        told.sort_unstable();
        assert_eq!(told, [(1, -libc::EBADF), (2, -libc::ECANCELED)], "behind {before} others");
        assert_eq!(ring.shortfalls, 0);
    }
}

fn started(
    sockets: Vec<(Socket, OwnedFd)>,
    listeners: Vec<(Listener, OwnedFd)>,
    directory: Option<std::fs::File>,
) -> Uring {
    let wanted = Wanted { connection_count: 8, descriptors_kept: 0, receive_count: 64, ..Wanted::default() };
    let sizing = Sizing::from_limits(HostLimits::read(), 1, wanted).expect("sizing");
    let (mut doors, peers) = doors(1).expect("doors");
    let (door, directory) = (doors.remove(0), directory.map(OwnedFd::from));
    let config = ShardConfig { shard: 0, sockets, listeners, sizing, door, peers, directory };
    Uring::start(config).expect("shard starts")
}

/// A shard over a directory with one empty file, which is open.
fn over_a_file() -> (Uring, File, tempfile::TempDir) {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("file"), b"").expect("a file");
    let directory = std::fs::File::open(home.path()).expect("the directory");
    let mut uring = started(Vec::new(), Vec::new(), Some(directory));
    let file = uring.open("file", Access::Write).expect("a place");
    let opened = next(&mut uring);
    assert!(matches!(opened, Completion::Opened { outcome: Ok(()), .. }), "{opened:?}");
    (uring, file, home)
}

fn next(uring: &mut Uring) -> Completion {
    loop {
        uring.turn(Monotonic::NEVER, &mut || true);
        if let Some(completion) = uring.reap() {
            return completion;
        }
    }
}

/// Asks for ten bytes at 100 with a sync, and makes the kernel's answers to it up. What is left to do is then really done.
fn answered(write: i32, sync: i32, short_submission: bool) -> (Result<(), FileFault>, Vec<u8>) {
    let (mut uring, file, home) = over_a_file();
    let lease = uring.file_buffer().expect("a buffer");
    uring.bytes(&lease)[..10].copy_from_slice(b"0123456789");
    uring.write(file, 100, lease, 10, true);
    uring.files.pretend_asked(file, uring.ring.shortfalls);
    uring.ring.shortfalls += u32::from(short_submission);
    let shortfalls = uring.ring.shortfalls;
    let first = uring.files.written(u32::from(file.index), write);
    assert!(first.is_none(), "the sync is still to come");
    let second = uring.files.synced(u32::from(file.index), sync, shortfalls);
    let was_told = second.is_some();
    let Completion::Written { outcome, .. } = second.unwrap_or_else(|| next(&mut uring)) else { panic!("not that") };
    assert!(uring.reap().is_none() && uring.files.dirty.len() <= 1, "told once");
    let content = std::fs::read(home.path().join("file")).expect("the file");
    assert!(!was_told || content.is_empty(), "what is told is not asked again");
    (outcome, content)
}

#[test]
fn what_is_left_of_a_write_is_done_and_no_more() {
    let cancelled = -libc::ECANCELED;
    let nothing = Vec::new();
    // All of it, and synced.
    assert_eq!(answered(10, 0, false), (Ok(()), nothing.clone()));
    // A short write: the rest, and then the sync that was cancelled.
    assert_eq!(answered(4, cancelled, false), (Ok(()), [&[0; 104][..], b"456789"].concat()));
    // A signal, or a moment without memory: all of it again.
    for errno in [libc::EINTR, libc::EAGAIN] {
        assert_eq!(answered(-errno, cancelled, false), (Ok(()), [&[0; 100][..], b"0123456789"].concat()));
    }
    // A failed write takes its sync along; a failed sync is told as one.
    assert_eq!(answered(-libc::ENOSPC, cancelled, false), (Err(FileFault::Write(libc::ENOSPC)), nothing.clone()));
    assert_eq!(answered(10, -libc::EIO, false), (Err(FileFault::Sync(libc::EIO)), nothing.clone()));
    assert_eq!(answered(0, cancelled, false), (Err(FileFault::Write(libc::EIO)), nothing.clone()));
    // The link was cut: the sync ran beside the write and says nothing, however it went with the bytes.
    assert_eq!(answered(10, 0, true), (Ok(()), nothing.clone()), "synced once more");
    assert_eq!(answered(4, 0, true), (Ok(()), [&[0; 104][..], b"456789"].concat()));
    assert_eq!(answered(4, -libc::EIO, true), (Err(FileFault::Write(libc::EIO)), nothing));
}

/// What a turn that may sleep for very long finds, and how long it took.
fn turn(uring: &mut Uring) -> (Vec<Completion>, Duration) {
    let start = Instant::now();
    uring.turn(Monotonic::NEVER, &mut || true);
    (std::iter::from_fn(|| uring.reap()).collect(), start.elapsed())
}

#[test]
fn a_sleep_gathers_what_comes_soon_and_holds_up_nothing_that_comes_late() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let (client, address) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind"), server.local_addr());
    let address = address.expect("an address");
    let mut uring = started(vec![(Socket(0), server.into())], Vec::new(), None);
    let gathers = uring.gather(Duration::from_millis(500));
    assert_eq!(gathers, uring.ring.inner.params().is_feature_min_timeout());
    let sent = spawn(move || {
        for pause in [50, 100, 1550] {
            sleep(Duration::from_millis(pause));
            client.send_to(b"datagram", address).expect("send");
        }
    });
    let mut rounds = Vec::new();
    while rounds.iter().map(|(count, _)| count).sum::<usize>() < 3 {
        let (completions, span) = turn(&mut uring);
        let count = completions.len();
        for completion in completions {
            let Completion::Datagram { lease, .. } = completion else { panic!("unexpected {completion:?}") };
            uring.release(lease);
        }
        rounds.push((count, span));
    }
    sent.join().expect("the client ends");
    if gathers {
        // Two of them at the end of the first span; the third, 1.2 seconds into the second turn, at once.
        let [(2, first), (1, second)] = rounds[..] else { panic!("{rounds:?}") };
        assert!(first >= Duration::from_millis(490), "{rounds:?}");
        assert!(second > Duration::from_millis(1000) && first + second < Duration::from_millis(2150), "{rounds:?}");
    } else {
        assert_eq!(rounds.len(), 3, "{rounds:?}");
    }
}

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn nothing_is_gathered_while_a_file_is_awaited() {
    let (mut uring, file, _home) = over_a_file();
    uring.gather(LONG);
    let lease = uring.file_buffer().expect("a buffer");
    uring.write(file, 0, lease, 10, true);
    let start = Instant::now();
    let written = next(&mut uring);
    assert!(matches!(written, Completion::Written { outcome: Ok(()), .. }), "{written:?}");
    uring.read(file, 0, 10).expect("a buffer");
    let read = next(&mut uring);
    assert!(matches!(read, Completion::Read { outcome: Ok(_), .. }), "{read:?}");
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    assert!(!uring.files.are_awaited(), "all came back");
}

#[test]
fn nothing_is_gathered_behind_a_full_buffer() {
    let (mut fds, address) = tcp_listeners((Ipv4Addr::LOCALHOST, 0).into(), 1, 16).expect("listener");
    let mut uring = started(Vec::new(), vec![(Listener(0), fds.remove(0))], None);
    let _client = TcpStream::connect(address).expect("connect");
    let Completion::Accepted { connection, .. } = next(&mut uring) else { panic!("nobody came") };
    uring.gather(LONG);
    let lease = uring.output().expect("an output buffer");
    let count = uring.bytes(&lease).len();
    uring.send(connection, lease, count);
    let (sent, span) = turn(&mut uring);
    assert!(matches!(sent[..], [Completion::Sent { .. }]), "{sent:?}");
    assert!(span < LONG / 2, "{span:?}");
}
