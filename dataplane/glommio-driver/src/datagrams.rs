//! Gateway slots at work: one task per slot receives; what is sent is sent at the beginning of a turn.
//!
//! ```text
//!   recv_from: a plain recvmsg while there are datagrams, a request to the ring once there is none
//!     -> a byte more than a buffer holds tells that one was cut -> copied into a buffer, as soon as there is one
//! ```
//! glommio hands out no control messages, so what the kernel dropped is asked for, a few times a second, of slots that had
//! traffic. Nor is glommio's `send_to` used: when a socket has no room it sends one byte of the datagram (its `iovec` says 1),
//! so the same system call is made without glommio, and made again when there was no room.

use crate::hub::{RETRY, STREAK, Shared, datagram_buffer, errno};
use driver::{Busy, Completion, DATAGRAM_BYTES_MAX, Socket};
use futures_lite::future::yield_now;
use glommio::net::UdpSocket;
use glommio::timer::Timer;
use socket2::{SockAddr, SockRef};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// How often slots with traffic are asked what they dropped.
pub(crate) const SWEEP: Duration = Duration::from_millis(100);

/// How soon a socket that had no room is tried again.
pub(crate) const ROOM: Duration = Duration::from_millis(1);

/// One gateway slot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) socket: Socket,
    udp: UdpSocket,
    /// It speaks IPv6, and IPv4 in mapped form.
    wide: bool,
    /// It received since it was asked what it dropped.
    busy: Cell<bool>,
    dropped: Cell<u32>,
}

impl Slot {
    /// Inside the executor only: glommio looks for it.
    pub(crate) fn new((socket, fd): (Socket, OwnedFd)) -> io::Result<Self> {
        let udp = std::net::UdpSocket::from(fd);
        // The ring answers EAGAIN instead of waiting where it meets the flag.
        udp.set_nonblocking(false)?;
        let wide = udp.local_addr()?.is_ipv6();
        let udp = UdpSocket::from(socket2::Socket::from(udp));
        let dropped = Cell::new(uring::dropped_so_far(&udp));
        Ok(Self { socket, udp, wide, busy: Cell::new(false), dropped })
    }

    /// What the kernel dropped since it was last asked, if anything was received since.
    pub(crate) fn overrun(&self) -> Option<Completion> {
        if !self.busy.replace(false) {
            return None;
        }
        let dropped = uring::dropped_so_far(&self.udp);
        let count = dropped.wrapping_sub(self.dropped.replace(dropped));
        (count > 0).then_some(Completion::Overrun { socket: self.socket, count })
    }

    fn send(&self, target: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let target = match target.ip() {
            IpAddr::V4(address) if self.wide => SocketAddr::from((address.to_ipv6_mapped(), target.port())),
            _ => target,
        };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        SockRef::from(&self.udp).send_to_with_flags(bytes, &SockAddr::from(target), flags).map(|_| ())
    }
}

/// Receives for ever.
pub(crate) async fn receive(hub: Shared, slot: Rc<Slot>, bytes_max: usize) {
    let mut bytes = vec![0; bytes_max + 1];
    for round in 1u32.. {
        match slot.udp.recv_from(&mut bytes).await {
            Ok((count, source)) => {
                slot.busy.set(true);
                let mut buffer = datagram_buffer(&hub).await;
                let len = count.min(bytes_max);
                buffer.bytes[..len].copy_from_slice(&bytes[..len]);
                let source = SocketAddr::new(source.ip().to_canonical(), source.port());
                let (socket, lease, truncated) = (slot.socket, buffer.lease(len as u32), count > bytes_max);
                let mut hub = hub.borrow_mut();
                hub.received = true;
                hub.tell_with(Completion::Datagram { socket, source, lease, truncated }, buffer);
            }
            Err(error) if matches!(errno(&error), libc::EINTR | libc::EAGAIN) => {}
            Err(_) => drop(Timer::new(RETRY).await),
        }
        if round % STREAK == 0 {
            yield_now().await;
        }
    }
}

/// A datagram on its way out.
#[derive(Debug)]
struct Message {
    slot: usize,
    target: SocketAddr,
    bytes: Vec<u8>,
}

/// Datagrams on their way out, oldest first.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Message>,
    spare: Vec<Vec<u8>>,
    count_max: usize,
}

impl Outbox {
    pub(crate) fn new(count_max: u32) -> Self {
        Self { waiting: VecDeque::new(), spare: Vec::new(), count_max: count_max as usize }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a datagram for the slot at this place.
    pub(crate) fn put(&mut self, slot: usize, target: SocketAddr, source: &[u8]) -> Result<(), Busy> {
        assert!(source.len() <= DATAGRAM_BYTES_MAX, "a datagram to a gateway fits its slot");
        if self.waiting.len() >= self.count_max {
            return Err(Busy);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(source);
        self.waiting.push_back(Message { slot, target, bytes });
        Ok(())
    }

    /// Sends what waits, up to a socket that has no room now. Tells of failures.
    pub(crate) fn post(&mut self, slots: &[Rc<Slot>], mut failed: impl FnMut(Completion)) {
        while let Some(message) = self.waiting.pop_front() {
            let slot = &slots[message.slot];
            match slot.send(message.target, &message.bytes) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    self.waiting.push_front(message);
                    return;
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    failed(Completion::SendToFailed { socket: slot.socket, errno });
                }
                Ok(()) => {}
            }
            self.spare.push(message.bytes);
        }
    }
}
