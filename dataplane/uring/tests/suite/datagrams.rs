//! Gateway slots over real sockets: steering, echo, buffers that run out, losses that are counted.

use crate::Backend;
use crate::common::{SMALL, run, shard, turn_for};
use base::Eui64;
use driver::steering::{SLOT_COUNT, slot_of};
use driver::{Busy, Completion, Driver, Lease, Socket};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uring::{HostLimits, ShardConfig, Sizing, Wanted};

const KEY: u32 = 0x5EED_0001;

/// A datagram as a gateway sends it: version, token, identifier, EUI.
fn push_data(token: u16, eui: Eui64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = 2;
    bytes[1..3].copy_from_slice(&token.to_be_bytes());
    bytes[4..].copy_from_slice(&eui.0);
    bytes
}

/// Answers every datagram with its token, the slot it came to and the shard that owns it, until told to stop.
fn answer(mut backend: Backend, shard: u8, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        turn_for(&mut backend, Duration::from_millis(20));
        while let Some(completion) = backend.reap() {
            match completion {
                Completion::Datagram { socket, source, lease, .. } => {
                    let bytes = backend.bytes(&lease);
                    let reply = [bytes[1], bytes[2], socket.0 as u8, shard];
                    backend.release(lease);
                    backend.send_to(socket, source, &reply).expect("room to answer");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

/// Serves all slots with `owner_count` shards while `clients` runs.
fn serve(port: u16, owner_count: usize, clients: impl FnOnce(SocketAddr)) -> SocketAddr {
    let slots = uring::gateway_slots((Ipv6Addr::UNSPECIFIED, port).into(), KEY, 1 << 20).expect("slots");
    assert_eq!(slots.sockets.len(), SLOT_COUNT);
    assert!(slots.receive_bytes > 0 && slots.to_string().starts_with("256 gateway slots on udp "), "{slots}");
    let mut shares: Vec<Vec<(Socket, OwnedFd)>> = (0..owner_count).map(|_| Vec::new()).collect();
    for (index, fd) in slots.sockets.into_iter().enumerate() {
        shares[index % owner_count].push((Socket(index as u16), fd));
    }
    let sizing = Sizing::from_limits(HostLimits::read(), owner_count as u32, SMALL).expect("sizing");
    let (doors, peers) = uring::doors(owner_count).expect("doors");
    let stop = Arc::new(AtomicBool::new(false));
    let owners: Vec<_> = shares
        .into_iter()
        .zip(doors)
        .enumerate()
        .map(|(shard, (sockets, door))| {
            let (stop, peers) = (stop.clone(), peers.clone());
            std::thread::spawn(move || {
                let config =
                    ShardConfig { shard, sockets, listeners: Vec::new(), sizing, door, peers, directory: None };
                answer(Backend::start(config).expect("shard starts"), shard as u8, &stop);
            })
        })
        .collect();
    clients(slots.address);
    stop.store(true, Ordering::Relaxed);
    for owner in owners {
        owner.join().expect("shard ends");
    }
    slots.address
}

/// Sends from three ports of each family for every gateway; every answer must come from the slot of its EUI.
fn ask_all(address: SocketAddr, owner_count: usize, euis: &[Eui64]) -> HashMap<Eui64, u8> {
    let mut hosts = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    if address.is_ipv6() {
        hosts.push(Ipv6Addr::LOCALHOST.into());
    }
    let mut seen = HashMap::new();
    for host in hosts {
        let sources: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind((host, 0)).expect("source")).collect();
        for (index, &eui) in euis.iter().enumerate() {
            for source in &sources {
                source.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
                source.send_to(&push_data(index as u16, eui), (host, address.port())).expect("send");
                let mut reply = [0; 16];
                let (count, from) = source.recv_from(&mut reply).expect("an answer");
                assert_eq!((count, from), (4, (host, address.port()).into()));
                let [high, low, slot, shard] = reply[..4] else { unreachable!("four bytes") };
                assert_eq!(u16::from_be_bytes([high, low]), index as u16);
                assert_eq!(slot, slot_of(KEY, eui), "{eui} from {source:?}");
                assert_eq!(usize::from(shard), usize::from(slot) % owner_count);
                seen.insert(eui, slot);
            }
        }
    }
    seen
}

#[test]
fn every_datagram_of_a_gateway_lands_in_its_slot_also_with_other_owners() {
    // Four gateways for each slot, half of them neighbours, half spread.
    let mut counts = [0; SLOT_COUNT];
    let euis: Vec<Eui64> = (0..8192u64)
        .map(|serial| {
            Eui64::new(if serial % 2 == 0 { 0x0016_C001_F000_0000 + serial } else { base::mix::mix64(serial) })
        })
        .filter(|&eui| {
            let count = &mut counts[usize::from(slot_of(KEY, eui))];
            *count += 1;
            *count <= 4
        })
        .collect();
    assert_eq!(euis.len(), 4 * SLOT_COUNT);
    let mut before = HashMap::new();
    let address = serve(0, 3, |address| before = ask_all(address, 3, &euis));
    assert_eq!(before.values().collect::<HashSet<_>>().len(), SLOT_COUNT, "every slot was met");
    let mut after = HashMap::new();
    serve(address.port(), 2, |address| after = ask_all(address, 2, &euis));
    assert_eq!(before, after);
}

#[test]
fn a_port_in_use_is_an_error_though_its_holder_would_share() {
    let held = uring::gateway_slots((Ipv4Addr::LOCALHOST, 0).into(), KEY, 4096).expect("slots");
    let start = Instant::now();
    let error = uring::gateway_slots(held.address, KEY, 4096).expect_err("held");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&held.address.to_string()), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(2), "a predecessor is given time");
    let (listeners, address) = uring::tcp_listeners((Ipv4Addr::LOCALHOST, 0).into(), 2, 16).expect("listeners");
    assert_eq!(listeners.len(), 2);
    let error = uring::tcp_listeners(address, 2, 16).expect_err("held");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(listeners);
    uring::tcp_listeners(address, 2, 16).expect("free again");
}

#[test]
fn nothing_is_steered_wrongly_while_the_group_is_built() {
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = probe.local_addr().expect("address").port();
    drop(probe);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
            for serial in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let _ = source.send_to(&push_data(0, Eui64::new(serial)), (Ipv4Addr::LOCALHOST, port));
                std::thread::yield_now();
            }
        }
    });
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, port).into(), KEY, 1 << 18).expect("slots");
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let (mut backend, _) = shard(SMALL, sockets, Vec::new());
    let mut count = 0;
    run(&mut backend, "traffic", |backend, completion| {
        match completion {
            Completion::Datagram { socket, lease, .. } => {
                let eui = Eui64(backend.bytes(&lease)[4..12].try_into().expect("eight bytes"));
                assert_eq!(socket.0, u16::from(slot_of(KEY, eui)));
                backend.release(lease);
                count += 1;
            }
            // The sender may outrun us; what was dropped during the build must not be told as an overrun of ours.
            Completion::Overrun { count, .. } => assert!(count < 100_000, "{count}"),
            other => panic!("unexpected {other:?}"),
        }
        count > 2000
    });
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("sender ends");
}

/// One shard that owns every slot of a fresh group, with a source.
fn whole_group(wanted: Wanted, receive_bytes: usize) -> (Backend, UdpSocket, SocketAddr) {
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, 0).into(), KEY, receive_bytes).expect("slots");
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
    source.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    (shard(wanted, sockets, Vec::new()).0, source, slots.address)
}

#[test]
fn datagrams_of_every_size_arrive_and_long_ones_are_marked() {
    let (mut backend, source, address) = whole_group(SMALL, 1 << 20);
    for size in [0usize, 1, 3, 4, 11, 12, 13, 250, 1472, 2047, 2048, 2049, 9000] {
        let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
        source.send_to(&bytes, address).expect("send");
        run(&mut backend, "datagram", |backend, completion| match completion {
            Completion::Datagram { source: from, lease, truncated, .. } => {
                assert_eq!(from, source.local_addr().expect("address"));
                assert_eq!(truncated, size > 2048, "{size}");
                assert_eq!(backend.bytes(&lease), &bytes[..size.min(2048)]);
                backend.release(lease);
                true
            }
            other => panic!("unexpected {other:?}"),
        });
    }
}

#[test]
fn a_receive_that_ran_out_of_buffers_goes_on_when_they_come_back() {
    const SENT: usize = 500;
    let (mut backend, source, address) = whole_group(Wanted { datagram_count: 64, ..SMALL }, 1 << 20);
    for serial in 0..SENT {
        source.send_to(&push_data(serial as u16, Eui64::new(7)), address).expect("send");
    }
    let mut held: Vec<Lease> = Vec::new();
    let mut tokens = Vec::new();
    run(&mut backend, "first buffers", |backend, completion| {
        let Completion::Datagram { lease, .. } = completion else { panic!("unexpected {completion:?}") };
        tokens.push(u16::from_be_bytes(backend.bytes(&lease)[1..3].try_into().expect("token")));
        held.push(lease);
        held.len() == 64
    });
    // With every buffer in our hands the shard sleeps instead of asking again and again.
    for _ in 0..3 {
        let start = Instant::now();
        turn_for(&mut backend, Duration::from_millis(30));
        assert!(backend.reap().is_none());
        assert!(start.elapsed() >= Duration::from_millis(25), "a starved turn still sleeps");
    }
    while tokens.len() < SENT {
        backend.release(held.remove(0));
        turn_for(&mut backend, Duration::from_millis(200));
        while let Some(completion) = backend.reap() {
            let Completion::Datagram { lease, .. } = completion else { panic!("unexpected {completion:?}") };
            tokens.push(u16::from_be_bytes(backend.bytes(&lease)[1..3].try_into().expect("token")));
            held.push(lease);
        }
    }
    assert_eq!(tokens, (0..SENT as u16).collect::<Vec<_>>(), "all of them, in order");
    for lease in held {
        backend.release(lease);
    }
}

#[test]
fn what_the_kernel_dropped_is_told() {
    const SENT: u32 = 2000;
    let (mut backend, source, address) = whole_group(SMALL, 8192);
    let eui = Eui64::new(99);
    for serial in 0..SENT {
        source.send_to(&push_data(serial as u16, eui), address).expect("send");
    }
    let (mut arrived, mut lost, mut last) = (0, 0, false);
    for _ in 0..20 {
        turn_for(&mut backend, Duration::from_millis(10));
        while let Some(completion) = backend.reap() {
            match completion {
                Completion::Datagram { lease, socket, .. } => {
                    assert_eq!(socket.0, u16::from(slot_of(KEY, eui)));
                    backend.release(lease);
                    arrived += 1;
                }
                Completion::Overrun { socket, count } => {
                    assert_eq!(socket.0, u16::from(slot_of(KEY, eui)));
                    lost += count;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        if arrived + lost >= SENT {
            break;
        }
        if !last {
            // The count travels with the next datagram that fits.
            source.send_to(&push_data(0, eui), address).expect("send");
            last = true;
        }
    }
    assert!(lost > 0, "the socket buffer held only some of them");
    assert_eq!(arrived + lost, SENT + 1);
}

#[test]
fn datagrams_out_are_bounded_and_their_failures_told() {
    let (mut backend, source, address) = whole_group(Wanted { send_to_count: 64, ..SMALL }, 1 << 20);
    let target = source.local_addr().expect("address");
    for serial in 0..64u8 {
        backend.send_to(Socket(serial.into()), target, &[serial; 4]).expect("room");
    }
    assert_eq!(backend.send_to(Socket(0), target, &[0; 4]), Err(Busy));
    turn_for(&mut backend, Duration::from_millis(1));
    assert!(backend.reap().is_none(), "success is silent");
    let mut seen = HashSet::new();
    for _ in 0..64 {
        let mut reply = [0; 8];
        let (count, from) = source.recv_from(&mut reply).expect("sent");
        assert_eq!((count, from), (4, address), "every slot answers from the one address");
        seen.insert(reply[0]);
    }
    assert_eq!(seen.len(), 64);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    backend.send_to(Socket(5), nowhere, b"x").expect("room again");
    run(&mut backend, "failure", |_, completion| match completion {
        Completion::SendToFailed { socket, errno } => {
            assert_eq!((socket, errno), (Socket(5), libc::EINVAL));
            true
        }
        other => panic!("unexpected {other:?}"),
    });
}

#[test]
#[should_panic(expected = "a lease comes back exactly once")]
fn a_lease_that_comes_back_twice_is_our_own_mistake() {
    let (mut backend, source, address) = whole_group(SMALL, 1 << 20);
    source.send_to(&push_data(1, Eui64::new(1)), address).expect("send");
    run(&mut backend, "datagram", |backend, completion| {
        let Completion::Datagram { lease, .. } = completion else { panic!("unexpected {completion:?}") };
        let forged = Lease { index: lease.index, len: lease.len };
        backend.release(lease);
        backend.release(forged);
        true
    });
}
