//! Loopback ports that are free, and stay ours among the tests of this run.
//!
//! Owns a counter below the range from which the kernel takes ports by itself.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which neither TCP nor UDP is in use, on any address.
pub(crate) fn free() -> u16 {
    // Runs of different processes begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below the count");
    for _ in 0..COUNT {
        let port = FIRST + (NEXT.fetch_add(1, Relaxed).wrapping_add(offset)) % COUNT;
        let any = (Ipv6Addr::UNSPECIFIED, port);
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
