//! The gateways: every datagram at its time, by the clock, whatever the server does.
//!
//! Owns one ring and one UDP socket for all of them: the server tells gateways apart by their EUI.

use crate::frames::{DATAGRAM_BYTES_MAX, Frames, gateway_eui};
use crate::{Workload, clock};
use base::Monotonic;
use driver::{Completion, Driver, Socket};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use uring::{HostLimits, ShardConfig, Sizing, Uring, Wanted};

const SOCKET: Socket = Socket(0);
const PULL_DATA: u8 = 2;
const PULL_RESP: u8 = 3;
const PUSH_ACK: u8 = 1;
const TX_ACK: u8 = 5;

/// Datagrams between two looks at what has come back.
const BURST: usize = 64;

/// What the gateways did and saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Uplinks, each with all its copies.
    pub uplinks: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Acknowledged datagrams.
    pub acknowledged: u64,
    /// Downlinks that gateways were asked to transmit.
    pub downlinks: u64,
    /// How late the latest datagram left, nanoseconds.
    pub late_ns_max: u64,
}

/// All gateways.
pub struct Gateways {
    ring: Uring,
    server: SocketAddr,
    sent: Sent,
}

impl Gateways {
    /// Opens the socket and says where downlinks go, by PULL_DATA of each gateway.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn open(server: SocketAddr, workload: &Workload) -> io::Result<Self> {
        let udp = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        // A host that grants less has fewer acknowledgements counted.
        let _granted = rustix::net::sockopt::set_socket_recv_buffer_size(&udp, 4 << 20);
        let wanted = Wanted { connection_count: 1, ..Wanted::default() };
        let sizing = Sizing::from_limits(HostLimits::raise(), 1, wanted).map_err(io::Error::other)?;
        let (mut doors, peers) = uring::doors(1)?;
        let config = ShardConfig {
            shard: 0,
            sockets: vec![(SOCKET, udp.into())],
            listeners: Vec::new(),
            sizing,
            door: doors.remove(0),
            peers,
            directory: None,
        };
        let mut gateways = Self { ring: Uring::start(config)?, server, sent: Sent::default() };
        for gateway in 0..workload.gateways {
            let mut pull = [2, 0, 0, PULL_DATA, 0, 0, 0, 0, 0, 0, 0, 0];
            pull[4..].copy_from_slice(&gateway_eui(gateway).to_be_bytes());
            gateways.send(&pull);
            if gateway.is_multiple_of(BURST as u32) {
                gateways.turn(0);
            }
        }
        gateways.turn(clock() + 50_000_000);
        gateways.sent = Sent::default();
        Ok(gateways)
    }

    /// Sends what has come due: uplink `n` at `start + n / rate`, `start` on the monotonic clock, nanoseconds; and takes what
    /// has come back. Returns whether all is sent.
    pub fn step(&mut self, frames: &Frames, workload: &Workload, rate: u64, start: u64) -> bool {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        let mut now = clock();
        while self.sent.uplinks < frames.count() {
            let number = self.sent.uplinks;
            let due = due(number, rate, start);
            if due > now {
                break;
            }
            self.sent.late_ns_max = self.sent.late_ns_max.max(now - due);
            for copy in 0..workload.copies(number) {
                let count = frames.datagram(number, copy, &mut datagram);
                self.send(&datagram[..count]);
            }
            self.sent.uplinks += 1;
            if (self.sent.uplinks as usize).is_multiple_of(BURST) {
                self.turn(0);
                now = clock();
            }
        }
        self.turn(0);
        self.sent.uplinks == frames.count()
    }

    /// What was sent and answered so far.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        self.sent
    }

    fn send(&mut self, bytes: &[u8]) {
        while self.ring.send_to(SOCKET, self.server, bytes).is_err() {
            self.turn(0);
        }
        self.sent.datagrams += 1;
    }

    fn turn(&mut self, until: u64) {
        self.ring.turn(Monotonic(until), &mut || true);
        while let Some(completion) = self.ring.reap() {
            let Completion::Datagram { lease, .. } = completion else { continue };
            let head: [u8; 4] = self.ring.bytes(&lease).first_chunk().copied().unwrap_or_default();
            self.ring.release(lease);
            match head[3] {
                PUSH_ACK => self.sent.acknowledged += 1,
                PULL_RESP => {
                    self.sent.downlinks += 1;
                    // Any gateway's word does: the token tells the server which downlink it is.
                    let mut ack = [2, head[1], head[2], TX_ACK, 0, 0, 0, 0, 0, 0, 0, 0];
                    ack[4..].copy_from_slice(&gateway_eui(0).to_be_bytes());
                    let _busy = self.ring.send_to(SOCKET, self.server, &ack);
                }
                _ => {}
            }
        }
    }
}

/// When an uplink is due.
#[must_use]
pub const fn due(number: u64, rate: u64, start: u64) -> u64 {
    start + (number as u128 * 1_000_000_000 / rate as u128) as u64
}
