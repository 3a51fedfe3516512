//! What only the inside can choose: the flavour of the ring.

use crate::{Flavour, HostLimits, ShardConfig, Sizing, Uring, Wanted, doors, probe, tcp_listeners};
use base::Monotonic;
use driver::{Completion, Driver, Listener};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// One shard of `flavour` echoes a stream to its end.
fn check(flavour: Flavour) {
    let (mut fds, address) = tcp_listeners((Ipv4Addr::LOCALHOST, 0).into(), 1, 16).expect("listener");
    let wanted = Wanted { connection_count: 8, descriptors_kept: 0, receive_count: 64, ..Wanted::default() };
    let sizing = Sizing::from_limits(HostLimits::read(), 1, wanted).expect("sizing");
    let (mut doors, peers) = doors(1).expect("doors");
    let listeners = vec![(Listener(0), fds.remove(0))];
    let config = ShardConfig { shard: 0, sockets: Vec::new(), listeners, sizing, door: doors.remove(0), peers };
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
