//! What the tests of a backend share: small shards on the calling thread, and a loop with a deadline.
//!
//! The suite knows a backend by `crate::Backend`, which each test binary names, and by nothing but the trait and `start`.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test binary uses its part")]

use crate::Backend;
use base::Monotonic;
use driver::{Completion, Connection, Driver, Lease, Listener, Socket};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use uring::{HostLimits, ShardConfig, Sizing, Waker, Wanted};

/// Sizes of a shard small enough to run dozens of.
pub(crate) const SMALL: Wanted = Wanted {
    connection_count: 256,
    descriptors_kept: 0,
    submission_entries: 256,
    completion_entries: 512,
    datagram_count: 256,
    receive_count: 256,
    receive_bytes: 2048,
    output_count: 64,
    output_bytes: 8192,
    send_to_count: 256,
    file_count: 8,
    file_buffer_count: 8,
    file_buffer_bytes: 16_384,
};

/// A shard on the calling thread, and its waker.
pub(crate) fn shard(
    wanted: Wanted,
    sockets: Vec<(Socket, OwnedFd)>,
    listeners: Vec<(Listener, OwnedFd)>,
) -> (Backend, Waker) {
    shard_in(None, wanted, sockets, listeners)
}

/// The same with a directory.
pub(crate) fn shard_in(
    directory: Option<OwnedFd>,
    wanted: Wanted,
    sockets: Vec<(Socket, OwnedFd)>,
    listeners: Vec<(Listener, OwnedFd)>,
) -> (Backend, Waker) {
    let sizing = Sizing::from_limits(HostLimits::read(), 1, wanted).expect("limits hold one small shard");
    let (mut doors, peers) = uring::doors(1).expect("doors");
    let waker = peers[0].clone();
    let door = doors.remove(0);
    let config = ShardConfig { shard: 0, sockets, listeners, sizing, door, peers, directory };
    let backend = Backend::start(config).expect("shard starts");
    (backend, waker)
}

/// A shard that listens on a free port of loopback.
pub(crate) fn listening(wanted: Wanted) -> (Backend, SocketAddr) {
    let (fd, address) = uring::tcp_listener((Ipv4Addr::LOCALHOST, 0).into(), 1024).expect("listener");
    (shard(wanted, Vec::new(), vec![(Listener(0), fd)]).0, address)
}

/// Turns and reaps until `each` is content; fails after ten seconds.
pub(crate) fn run(backend: &mut Backend, what: &str, mut each: impl FnMut(&mut Backend, Completion) -> bool) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: nothing more happens");
        turn_for(backend, Duration::from_millis(100));
        let mut content = false;
        while let Some(completion) = backend.reap() {
            content |= each(backend, completion);
        }
        if content {
            return;
        }
    }
}

/// One turn that may sleep for `span`.
pub(crate) fn turn_for(backend: &mut Backend, span: Duration) {
    let until = Monotonic(clock()).after(span);
    backend.turn(until, &mut || true);
}

/// The monotonic clock, as the driver reads it.
pub(crate) fn clock() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Waits for the next accepted connection.
pub(crate) fn accept(backend: &mut Backend) -> Connection {
    let mut accepted = None;
    run(backend, "accept", |_, completion| match completion {
        Completion::Accepted { connection, .. } => {
            accepted = Some(connection);
            true
        }
        other => panic!("unexpected {other:?}"),
    });
    accepted.expect("accepted")
}

/// Waits for a connection's end.
pub(crate) fn closed(backend: &mut Backend, connection: Connection) {
    run(backend, "closed", |_, completion| match completion {
        Completion::Closed { connection: which } => which == connection,
        other => panic!("after close only Closed follows, not {other:?}"),
    });
}

/// Sends bytes that fit one buffer.
pub(crate) fn send(backend: &mut Backend, connection: Connection, bytes: &[u8]) {
    let lease = backend.output().expect("an output buffer");
    backend.bytes(&lease)[..bytes.len()].copy_from_slice(bytes);
    backend.send(connection, lease, bytes.len());
}

/// Every output buffer is free: all can be lent at once.
pub(crate) fn assert_output_whole(backend: &mut Backend) {
    let count = backend.limits().output_count;
    let leases: Vec<Lease> = (0..count).map(|_| backend.output().expect("every output buffer came back")).collect();
    assert!(backend.output().is_err(), "and no more than there are");
    for lease in leases {
        backend.release(lease);
    }
}
