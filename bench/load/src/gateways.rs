//! The gateways: every datagram at its time, by the clock, whatever the server does.
//!
//! Owns one connected UDP socket for all of them: the server tells gateways apart by their EUI. What is due at once is one
//! system call, and so is what has come back: the load's core is to be the server's limit as late as possible.

use crate::frames::{DATAGRAM_BYTES_MAX, Frames, gateway_eui};
use crate::{Workload, clock};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

const PULL_DATA: u8 = 2;
const PULL_RESP: u8 = 3;
const PUSH_ACK: u8 = 1;
const TX_ACK: u8 = 5;

/// Version, token, kind: all that is looked at of an answer.
const HEAD_BYTES: usize = 4;

/// Datagrams of one system call at most, there and back.
const BATCH: usize = 64;

/// Steps between two looks at what has come back while nothing is late: answers are counted, not timed.
const STEPS_PER_LOOK: u32 = 4;

/// After as many PULL_DATA the server gets a moment, so that its buffer holds them.
const PULLS_AT_ONCE: u32 = 64;
const PULL_PAUSE: Duration = Duration::from_millis(2);

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
    udp: UdpSocket,
    sent: Sent,
    /// Datagrams that are due and have not left.
    waiting: Vec<[u8; DATAGRAM_BYTES_MAX]>,
    heads: Vec<[u8; HEAD_BYTES]>,
    received: MultiHeaders<SockaddrStorage>,
    /// Until the next look at what has come back.
    steps: u32,
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
        // Connected, its way is looked up once and not with every datagram.
        udp.connect(server)?;
        let mut gateways = Self {
            udp,
            sent: Sent::default(),
            waiting: Vec::with_capacity(BATCH),
            heads: vec![[0; HEAD_BYTES]; BATCH],
            received: MultiHeaders::preallocate(BATCH, None),
            steps: 0,
        };
        for gateway in 0..workload.gateways {
            gateways.udp.send(&of_gateway(gateway, [0; 2], PULL_DATA))?;
            if gateway % PULLS_AT_ONCE == 0 {
                thread::sleep(PULL_PAUSE);
                gateways.look()?;
            }
        }
        thread::sleep(25 * PULL_PAUSE);
        gateways.look()?;
        gateways.sent = Sent::default();
        Ok(gateways)
    }

    /// Sends what has come due: uplink `n` at `start + n / rate`, `start` on the monotonic clock, nanoseconds; and takes what
    /// has come back. Returns whether all is sent.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn step(&mut self, frames: &Frames, workload: &Workload, rate: u64, start: u64) -> io::Result<bool> {
        let mut now = clock();
        let mut behind = false;
        while self.sent.uplinks < frames.count() {
            let number = self.sent.uplinks;
            let due = due(number, rate, start);
            if due > now {
                break;
            }
            self.sent.late_ns_max = self.sent.late_ns_max.max(now - due);
            for copy in 0..workload.copies(number) {
                let mut datagram = [0; DATAGRAM_BYTES_MAX];
                frames.datagram(number, copy, &mut datagram);
                self.waiting.push(datagram);
                if self.waiting.len() == BATCH {
                    self.send()?;
                    self.look()?;
                    (now, behind) = (clock(), true);
                }
            }
            self.sent.uplinks += 1;
        }
        self.send()?;
        self.steps += 1;
        let done = self.sent.uplinks == frames.count();
        if self.steps >= STEPS_PER_LOOK || behind || done {
            self.steps = 0;
            self.look()?;
        }
        Ok(done)
    }

    /// What was sent and answered so far.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        self.sent
    }

    /// Sends what waits, in order.
    fn send(&mut self) -> io::Result<()> {
        let mut left = &self.waiting[..];
        while !left.is_empty() {
            let slices: Vec<[IoSlice<'_>; 1]> = left.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
            let mut nothing: Vec<SendAncillaryBuffer<'_, '_, '_>> =
                left.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let mut headers: Vec<MMsgHdr<'_>> =
                slices.iter().zip(&mut nothing).map(|(slice, nothing)| MMsgHdr::new(slice, nothing)).collect();
            let count = sendmmsg(&self.udp, &mut headers, SendFlags::empty())?;
            self.sent.datagrams += count as u64;
            left = &left[count..];
        }
        self.waiting.clear();
        Ok(())
    }

    /// Takes what has come back.
    fn look(&mut self) -> io::Result<()> {
        loop {
            self.heads.fill([0; HEAD_BYTES]);
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                self.heads.iter_mut().map(|head| [IoSliceMut::new(head)]).collect();
            let got =
                recvmmsg(self.udp.as_raw_fd(), &mut self.received, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
            let count = match got.map(Iterator::count).map_err(io::Error::from) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            for index in 0..count {
                let [_, high, low, kind] = self.heads[index];
                match kind {
                    PUSH_ACK => self.sent.acknowledged += 1,
                    PULL_RESP => {
                        self.sent.downlinks += 1;
                        // Any gateway's word does: the token tells the server which downlink it is.
                        self.udp.send(&of_gateway(0, [high, low], TX_ACK))?;
                    }
                    _ => {}
                }
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }
}

/// A datagram that says no more than who it is from.
fn of_gateway(gateway: u32, token: [u8; 2], kind: u8) -> [u8; 12] {
    let mut datagram = [2, token[0], token[1], kind, 0, 0, 0, 0, 0, 0, 0, 0];
    datagram[4..].copy_from_slice(&gateway_eui(gateway).to_be_bytes());
    datagram
}

/// When an uplink is due.
#[must_use]
pub const fn due(number: u64, rate: u64, start: u64) -> u64 {
    start + (number as u128 * 1_000_000_000 / rate as u128) as u64
}
