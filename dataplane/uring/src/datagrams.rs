//! Gateway slots at work: datagrams in by multishot recvmsg, datagrams out by sendmsg.
//!
//! ```text
//!   a filled buffer:  | header 16 | name 32 | control 24 | payload ... |
//!                       lengths     sockaddr  SO_RXQ_OVFL  lent to the shard
//! ```

use crate::reactor::{DATAGRAM_GROUP, Pool, RETRY, Uring};
use crate::sockets::dropped_so_far;
use crate::tag::{self, Operation};
use base::Monotonic;
use driver::{Busy, Completion, Socket};
use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{cqueue, opcode};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

const NAME_BYTES: usize = 32;
/// One control message with four bytes: its header (16), its data, padded to 8.
const CONTROL_BYTES: usize = 24;

/// What lies before the payload in a filled buffer.
pub(crate) const HEAD_BYTES: usize = 16 + NAME_BYTES + CONTROL_BYTES;

/// One gateway slot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) socket: Socket,
    fd: OwnedFd,
    /// It speaks IPv6, and IPv4 in mapped form.
    wide: bool,
    pub(crate) armed: bool,
    /// Not to be armed before.
    pub(crate) retry: Monotonic,
    /// What the kernel had dropped when it last said so.
    dropped: u32,
}

impl Slot {
    pub(crate) fn new((socket, fd): (Socket, OwnedFd)) -> io::Result<Self> {
        set_blocking(&fd)?;
        let wide = socket2::SockRef::from(&fd).domain()? == socket2::Domain::IPV6;
        // While it was bound, or under an earlier owner.
        let dropped = dropped_so_far(&fd);
        Ok(Self { socket, fd, wide, armed: false, retry: Monotonic(0), dropped })
    }
}

/// The header that every multishot recvmsg is given: it only says how much room name and control get.
pub(crate) fn header() -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: NAME_BYTES as libc::socklen_t,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: CONTROL_BYTES,
        msg_flags: 0,
    }
}

/// A ring that meets O_NONBLOCK answers EAGAIN instead of waiting.
pub(crate) fn set_blocking(fd: &OwnedFd) -> io::Result<()> {
    socket2::SockRef::from(fd).set_nonblocking(false)
}

impl Uring {
    pub(crate) fn arm_sockets(&mut self, header: *const libc::msghdr) {
        if self.datagrams.available() == 0 {
            return;
        }
        let now = self.now;
        for (index, slot) in self.sockets.iter_mut().enumerate().filter(|(_, slot)| !slot.armed && slot.retry <= now) {
            let entry = opcode::RecvMsgMulti::new(Fd(slot.fd.as_raw_fd()), header, DATAGRAM_GROUP).build();
            if !self.ring.push(&entry.user_data(tag::encode(Operation::ReceiveFrom, index as u32, 0))) {
                return;
            }
            slot.armed = true;
            self.unarmed -= 1;
        }
    }

    pub(crate) fn datagram(&mut self, index: usize, result: i32, flags: u32) -> Option<Completion> {
        let buffer = cqueue::buffer_select(flags);
        if let Some(buffer) = buffer {
            self.datagrams.take(buffer);
        }
        let slot = &mut self.sockets[index];
        if !cqueue::more(flags) {
            slot.armed = false;
            self.unarmed += 1;
            // Without buffers it is armed again when there are some; other errors may be lasting.
            let passing =
                result >= 0 || matches!(-result, libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED);
            slot.retry = if passing { self.now } else { self.now.after(RETRY) };
        }
        let buffer = buffer?;
        if result < 0 {
            self.datagrams.give(u32::from(buffer));
            return None;
        }
        let filled = self.datagrams.slice(u32::from(buffer), 0, result as usize);
        let parsed = RecvMsgOut::parse(filled, &header()).ok().and_then(|out| {
            let lost = overflow(out.control_data());
            Some((address(out.name_data())?, out.payload_data().len() as u32, out.is_payload_truncated(), lost))
        });
        let Some((source, len, truncated, lost)) = parsed else {
            // A datagram of a family that no slot speaks: the kernel does not do that.
            self.datagrams.give(u32::from(buffer));
            return None;
        };
        let socket = slot.socket;
        let datagram =
            Completion::Datagram { socket, source, lease: Pool::Datagrams.lease(u32::from(buffer), len), truncated };
        let count = lost.map_or(0, |lost| lost.wrapping_sub(slot.dropped));
        if count == 0 {
            return Some(datagram);
        }
        slot.dropped = slot.dropped.wrapping_add(count);
        self.ready = Some(datagram);
        Some(Completion::Overrun { socket, count })
    }

    pub(crate) fn send_datagram(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        let slot = self.sockets.get(usize::from(self.slots[usize::from(socket.0)])).expect("a slot of this shard");
        let index = self.outbox.fill(socket, slot.wide, target, bytes).ok_or(Busy)?;
        let entry = opcode::SendMsg::new(Fd(slot.fd.as_raw_fd()), self.outbox.header(index))
            .flags(libc::MSG_NOSIGNAL as u32)
            .build();
        if self.ring.push(&entry.user_data(tag::encode(Operation::SendTo, index, 0))) {
            return Ok(());
        }
        self.outbox.free(index);
        Err(Busy)
    }

    pub(crate) fn sent_to(&mut self, index: u32, result: i32) -> Option<Completion> {
        let socket = self.outbox.free(index);
        (result < 0).then_some(Completion::SendToFailed { socket, errno: -result })
    }
}

/// Reads a socket address in the kernel's form. IPv4 in mapped form becomes plain IPv4.
fn address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((octets, port)))
        }
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(name.get(4..8)?.try_into().ok()?);
            let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
            let address = Ipv6Addr::from(octets);
            Some(match address.to_ipv4_mapped() {
                Some(address) => SocketAddr::from((IpAddr::V4(address), port)),
                None => SocketAddrV6::new(address, port, flow, scope).into(),
            })
        }
        _ => None,
    }
}

/// The kernel's count of dropped datagrams, from a control message if there is one.
fn overflow(control: &[u8]) -> Option<u32> {
    let level = i32::from_ne_bytes(control.get(8..12)?.try_into().ok()?);
    let kind = i32::from_ne_bytes(control.get(12..16)?.try_into().ok()?);
    let count = u32::from_ne_bytes(control.get(16..20)?.try_into().ok()?);
    (level == libc::SOL_SOCKET && kind == libc::SO_RXQ_OVFL).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_of_both_families() {
        let mut name = [0u8; 28];
        name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        name[2..8].copy_from_slice(&[0x06, 0xA4, 192, 0, 2, 7]);
        assert_eq!(address(&name[..16]), Some("192.0.2.7:1700".parse().expect("address")));
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[4..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 7]);
        assert_eq!(address(&name), Some("192.0.2.7:1700".parse().expect("address")));
        name[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        assert_eq!(address(&name), Some("[::1]:1700".parse().expect("address")));
        assert_eq!(address(&name[..20]), None);
        assert_eq!(address(&[0; 28]), None);
    }
}
