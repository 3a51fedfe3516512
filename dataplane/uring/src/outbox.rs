//! Datagrams on their way out: a fixed slab of messages, each with its address and its bytes beside it.
//!
//! ```text
//!   | msghdr 56 | iovec 16 | sockaddr 28 | bytes ... |      one slot; the msghdr points to the other three
//! ```
//! The pointers are set once. A slot is free, or held by the kernel from submission to completion.

use crate::memory::Region;
use driver::{DATAGRAM_BYTES_MAX, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};

#[repr(C)]
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: libc::sockaddr_in6,
    bytes: [u8; DATAGRAM_BYTES_MAX],
}

#[derive(Debug)]
pub(crate) struct Outbox {
    messages: Region,
    sockets: Box<[Socket]>,
    free: Vec<u32>,
}

impl Outbox {
    pub(crate) fn new(count: u32) -> io::Result<Self> {
        let messages = Region::new(count as usize * size_of::<Message>())?;
        let outbox = Self {
            messages,
            sockets: vec![Socket(0); count as usize].into_boxed_slice(),
            free: (0..count).rev().collect(),
        };
        for index in 0..count {
            let message = outbox.message(index);
            // SAFETY: the slot is ours (nothing is in flight yet), aligned (page-aligned region of
            // whole slots), and all-zero is a valid `Message`. Pointers into the region stay valid, for it never moves.
            unsafe {
                (*message).header.msg_name = (&raw mut (*message).name).cast();
                (*message).header.msg_iov = &raw mut (*message).vector;
                (*message).header.msg_iovlen = 1;
                (*message).vector.iov_base = (&raw mut (*message).bytes).cast();
            }
        }
        Ok(outbox)
    }

    /// Fills a free slot; none if all are in flight. `wide` sockets speak IPv6 and take IPv4 targets mapped.
    pub(crate) fn fill(&mut self, socket: Socket, wide: bool, target: SocketAddr, bytes: &[u8]) -> Option<u32> {
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "a datagram to a gateway fits its slot");
        let index = self.free.pop()?;
        self.sockets[index as usize] = socket;
        let message = self.message(index);
        // SAFETY: the slot was free, so the kernel does not read it; it is aligned and initialised (`new`); an address of
        // either family fits the room of the larger one.
        unsafe {
            (*message).header.msg_namelen = write_name(&mut (*message).name, wide, target);
            (*message).vector.iov_len = bytes.len();
            (&raw mut (*message).bytes).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Some(index)
    }

    /// What the kernel is given; it reads the slot until the completion.
    pub(crate) fn header(&self, index: u32) -> *const libc::msghdr {
        // SAFETY: only an address is made; the slot is within the region.
        unsafe { &raw const (*self.message(index)).header }
    }

    /// The completion came: the slot is free again. Returns the socket it was for.
    pub(crate) fn free(&mut self, index: u32) -> Socket {
        self.free.push(index);
        assert!(self.free.len() <= self.sockets.len(), "a slot is freed once");
        self.sockets[index as usize]
    }

    fn message(&self, index: u32) -> *mut Message {
        const { assert!(4096 % align_of::<Message>() == 0, "pages are aligned at least as well") };
        self.messages.at(index as usize * size_of::<Message>(), size_of::<Message>()).cast()
    }
}

/// Writes a socket address in the kernel's form; returns its length.
fn write_name(name: &mut libc::sockaddr_in6, wide: bool, target: SocketAddr) -> libc::socklen_t {
    let address = match target.ip() {
        IpAddr::V4(address) if !wide => {
            let narrow = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: target.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_in6` is larger and at least as aligned, and any bytes are valid in it.
            unsafe { std::ptr::from_mut(name).cast::<libc::sockaddr_in>().write(narrow) };
            return size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let (flow, scope) = match target {
        SocketAddr::V6(target) => (target.flowinfo(), target.scope_id()),
        SocketAddr::V4(_) => (0, 0),
    };
    *name = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: target.port().to_be(),
        sin6_flowinfo: flow,
        sin6_addr: libc::in6_addr { s6_addr: address.octets() },
        sin6_scope_id: scope,
    };
    size_of::<libc::sockaddr_in6>() as libc::socklen_t
}
