//! A process that serves all slots is killed in the middle of traffic; its successor binds them at once, and every
//! gateway is steered as before.

#[path = "suite/common.rs"]
mod common;

use base::Eui64;
use common::{SMALL, shard, turn_for};
use driver::steering::slot_of;
use driver::{Completion, Driver, Socket};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the suite calls the backend.
type Backend = uring::Uring;

const KEY: u32 = 77;
const ROLE: &str = "TRUNKLINE_TEST_SERVE_AT";

fn main() {
    match std::env::var(ROLE) {
        Ok(port) => serve(port.parse().expect("a port")),
        Err(_) => (0..5).for_each(|_| supersede()),
    }
}

/// Answers every datagram with its slot. Never returns.
fn serve(port: u16) {
    let slots = uring::gateway_slots((Ipv4Addr::LOCALHOST, port).into(), KEY, 1 << 18).expect("slots");
    let sockets = slots.sockets.into_iter().enumerate().map(|(index, fd)| (Socket(index as u16), fd)).collect();
    let (mut uring, _) = shard(SMALL, sockets, Vec::new());
    eprintln!("{}", slots.address);
    loop {
        turn_for(&mut uring, Duration::from_secs(1));
        while let Some(completion) = uring.reap() {
            if let Completion::Datagram { socket, source, lease, .. } = completion {
                uring.release(lease);
                let _ = uring.send_to(socket, source, &[socket.0 as u8]);
            }
        }
    }
}

fn start(port: u16) -> (std::process::Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .env(ROLE, port.to_string())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
    (child, line.trim().parse().unwrap_or_else(|_| panic!("the child says {line}")))
}

fn supersede() {
    let (mut child, address) = start(0);
    let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
    source.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let steered = || {
        for serial in 0..300u64 {
            let eui = Eui64::new(base::mix::mix64(serial));
            let mut datagram = [0; 12];
            datagram[4..].copy_from_slice(&eui.0);
            source.send_to(&datagram, address).expect("send");
            let mut slot = [0];
            assert_eq!(source.recv(&mut slot).expect("answer"), 1);
            assert_eq!(slot[0], slot_of(KEY, eui));
        }
    };
    steered();
    // Traffic that is in the air while one dies and the other comes.
    let noise = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("source");
    for serial in 0..200u8 {
        let _ = noise.send_to(&[serial; 12], address);
    }
    child.kill().expect("killed");
    let killed = Instant::now();
    let (mut successor, same) = start(address.port());
    eprintln!("the successor serves {:?} after the kill", killed.elapsed());
    assert_eq!(same, address);
    steered();
    child.wait().expect("reaped");
    successor.kill().expect("killed");
    successor.wait().expect("reaped");
}
