//! The sockets of the machine, opened before any shard serves: gateway slots, listeners, and the core a shard runs on.
//!
//! Owns the program that steers a datagram to its slot; [`driver::steering::slot_of`] is its twin.

use driver::steering::{EUI_OFFSET, MULTIPLIERS, SHIFTS, SLOT_COUNT};
use socket2::{Domain, Protocol, SockFilter, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a predecessor that was just killed may keep its sockets: the kernel takes a dead ring apart at leisure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A sensible receive buffer for one slot. A shard that owns 64 of them and stalls for 10 ms at a million datagrams a
/// second finds some 160 in each, about 768 B apiece as the kernel counts: 120 KiB, and eight times that for uneven
/// slots. It is a bound, not a reservation: 256 idle slots take nothing.
pub const SLOT_RECEIVE_BYTES: usize = 1 << 20;

/// The gateway slots, in order, and what the host granted. Its `Display` is the line to print at start.
#[derive(Debug)]
pub struct Slots {
    /// Socket number i is slot i.
    pub sockets: Vec<OwnedFd>,
    /// What they are bound to: the port is the one chosen if zero was asked for.
    pub address: SocketAddr,
    /// Bytes of receive buffer that were asked for, for each.
    pub wanted_bytes: usize,
    /// Bytes of receive buffer that each socket got, in the same count.
    pub receive_bytes: usize,
}

impl fmt::Display for Slots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slots, granted, wanted) = (self.sockets.len(), self.receive_bytes / 1024, self.wanted_bytes / 1024);
        write!(out, "{slots} gateway slots on udp {}, receive buffers of {granted} KiB each", self.address)?;
        if self.receive_bytes < self.wanted_bytes {
            write!(out, " ({wanted} wanted: raise sysctl net.core.rmem_max to {})", self.wanted_bytes)?;
        }
        Ok(())
    }
}

/// Binds all gateway slots, steered by `key`, with about `receive_bytes` of buffer each.
///
/// The address must be nobody else's: sockets of an earlier process that joined the group would take slots away from
/// ours, and on their end disturb the order of the rest. So they are awaited, up to two seconds.
///
/// An unspecified IPv6 address takes IPv4 as well, and falls back to IPv4 alone on a host without IPv6. Until the last
/// slot is bound the group would steer wrongly, so every socket drops what arrives before that.
///
/// # Errors
/// The host's reason, naming the address.
pub fn gateway_slots(address: SocketAddr, key: u32, receive_bytes: usize) -> io::Result<Slots> {
    match bind_slots(address, key, receive_bytes) {
        Err(error) if address.ip() == IpAddr::from([0u16; 8]) && lacks_ipv6(&error) => {
            bind_slots(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), key, receive_bytes)
        }
        result => result,
    }
    .map_err(|error| io::Error::new(error.kind(), format!("gateway sockets on udp {address}: {error}")))
}

/// Listening sockets that share a port, one for each shard, after making sure that the port is nobody else's.
///
/// # Errors
/// The host's reason, naming the address.
pub fn tcp_listeners(address: SocketAddr, count: usize, backlog: i32) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
    await_free(address, Type::STREAM)
        .map_err(|error| io::Error::new(error.kind(), format!("listener on tcp {address}: {error}")))?;
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let (listener, bound) = tcp_listener(address, backlog)?;
        listeners.push(listener);
        address = bound;
    }
    Ok((listeners, address))
}

/// One listening socket, which joins whatever of ours listens there already: `SO_REUSEPORT`.
///
/// Connections inherit from it: TCP_NODELAY, for output is gathered per turn already and waiting for more gains nothing;
/// and keep-alives, so that a peer that vanished ends as a failed receive within two minutes.
///
/// # Errors
/// The host's reason, naming the address.
pub fn tcp_listener(address: SocketAddr, backlog: i32) -> io::Result<(OwnedFd, SocketAddr)> {
    match bind_listener(address, backlog) {
        Err(error) if address.ip() == IpAddr::from([0u16; 8]) && lacks_ipv6(&error) => {
            bind_listener(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), backlog)
        }
        result => result,
    }
    .map_err(|error| io::Error::new(error.kind(), format!("listener on tcp {address}: {error}")))
}

/// Keeps the calling thread on one core of those it may use; `index` counts those, and wraps.
///
/// # Errors
/// If the host refuses.
pub fn pin_to_core(index: usize) -> io::Result<()> {
    // SAFETY: a `cpu_set_t` is plain bits, for which zero is valid; both calls get its true size and it outlives them;
    // the macros of libc index it below CPU_SETSIZE.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return Err(io::Error::last_os_error());
        }
        let count = libc::CPU_COUNT(&allowed) as usize;
        assert!(count > 0, "a running thread may run somewhere");
        let core = (0..libc::CPU_SETSIZE as usize)
            .filter(|&core| libc::CPU_ISSET(core, &allowed))
            .nth(index % count)
            .expect("the set holds what it counts");
        let mut chosen: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut chosen);
        if libc::sched_setaffinity(0, size, &raw const chosen) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes of a descriptor what can be made of one: for libraries that offer no safe way in.
#[must_use]
pub fn adopt<T: FromRawFd>(fd: OwnedFd) -> T {
    // SAFETY: all that `FromRawFd` asks is a descriptor that is open and owned, and this one was both and is given up here.
    unsafe { T::from_raw_fd(fd.into_raw_fd()) }
}

/// Datagrams that a socket has dropped for want of room since it was made; 0 if the kernel does not say (`SO_MEMINFO`).
#[must_use]
pub fn dropped_so_far(socket: &impl AsRawFd) -> u32 {
    let mut memory = [0u32; 9];
    let mut size = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `memory`, and both outlive the call, which changes nothing else.
    let result = unsafe {
        let target = memory.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, target, &raw mut size)
    };
    if result == 0 { memory[libc::SK_MEMINFO_DROPS as usize] } else { 0 }
}

/// The cores of the process but the one that the calling thread is kept to; nothing if it is kept to none, or if there is
/// no other.
pub(crate) fn other_cores() -> Option<libc::cpu_set_t> {
    // SAFETY: as in `pin_to_core`; the main thread's id is that of the process.
    unsafe {
        let mut own: libc::cpu_set_t = std::mem::zeroed();
        let mut others: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        let told = libc::sched_getaffinity(0, size, &raw mut own) == 0
            && libc::sched_getaffinity(libc::getpid(), size, &raw mut others) == 0;
        if !told || libc::CPU_COUNT(&own) != 1 {
            return None;
        }
        for core in (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &own)) {
            libc::CPU_CLR(core, &mut others);
        }
        (libc::CPU_COUNT(&others) > 0).then_some(others)
    }
}

fn bind_slots(address: SocketAddr, key: u32, receive_bytes: usize) -> io::Result<Slots> {
    await_free(address, Type::DGRAM)?;
    let drop_all = [SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)];
    let mut sockets: Vec<Socket> = Vec::with_capacity(SLOT_COUNT);
    let (mut address, mut granted) = (address, usize::MAX);
    for index in 0..SLOT_COUNT {
        let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
        granted = granted.min(widen(&socket, receive_bytes)?);
        set_option(&socket, libc::SO_RXQ_OVFL, &1i32)?;
        socket.attach_filter(&drop_all)?;
        if index == 0 {
            attach_steering(&socket, key)?;
        }
        socket.bind(&address.into())?;
        if index == 0 {
            address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        }
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.detach_filter()?;
    }
    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
    Ok(Slots { sockets, address, wanted_bytes: receive_bytes, receive_bytes: granted })
}

fn bind_listener(address: SocketAddr, backlog: i32) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&keepalive.with_retries(4))?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket.into(), address))
}

/// Waits until nobody holds the address. A socket that does not share can only be bound if so.
fn await_free(address: SocketAddr, kind: Type) -> io::Result<()> {
    let start = Instant::now();
    loop {
        let socket = Socket::new(Domain::for_address(address), kind, None);
        let bound = socket.and_then(|socket| {
            if address.is_ipv6() && address.ip().is_unspecified() {
                socket.set_only_v6(false)?;
            }
            // Connections of a predecessor in TIME_WAIT do not count, its listeners do.
            socket.set_reuse_address(kind == Type::STREAM)?;
            socket.bind(&address.into())
        });
        match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) if kind == Type::STREAM && address.ip().is_unspecified() && lacks_ipv6(&error) => return Ok(()),
            result => return result,
        }
    }
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

/// Asks for a receive buffer beyond the host's ceiling if we may (CAP_NET_ADMIN), up to it if not. Returns what was got:
/// the kernel doubles what it is told and tells the double (socket(7), SO_RCVBUF).
fn widen(socket: &Socket, receive_bytes: usize) -> io::Result<usize> {
    let bytes = i32::try_from(receive_bytes).unwrap_or(i32::MAX);
    if set_option(socket, libc::SO_RCVBUFFORCE, &bytes).is_err() {
        socket.set_recv_buffer_size(receive_bytes)?;
    }
    Ok(socket.recv_buffer_size()? / 2)
}

fn attach_steering(socket: &Socket, key: u32) -> io::Result<()> {
    let mut program = steering(key);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr().cast() };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` outlives the call and its size is the one given; what it may point to (a program) lives in the caller.
    let result = unsafe {
        let value: *const T = value;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value.cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program: [`driver::steering::slot_of`] in classic BPF. The payload starts at offset 0.
///
/// A datagram too short to carry an EUI returns a slot that does not exist, and the kernel falls back to its address
/// hash, so that a flood of stubs has no favourite slot.
fn steering(key: u32) -> [SockFilter; 23] {
    const LOAD_LEN: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN_K: u32 = libc::BPF_RET | libc::BPF_K;
    const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;
    const ADD_K: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
    const ADD_X: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
    const MUL_K: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
    const AND_K: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const SHIFT_K: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
    const XOR_K: u32 = libc::BPF_ALU | 0xA0 | libc::BPF_K;
    const XOR_X: u32 = libc::BPF_ALU | 0xA0 | libc::BPF_X;
    const TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
    let op = |code: u32, k: u32| SockFilter::new(code as u16, 0, 0, k);
    let end = (EUI_OFFSET + 8) as u32;
    [
        op(LOAD_LEN, 0),
        SockFilter::new(JUMP_AT_LEAST as u16, 1, 0, end),
        op(RETURN_K, u32::MAX),
        op(LOAD_WORD, EUI_OFFSET as u32),
        op(XOR_K, key),
        op(MUL_K, MULTIPLIERS[0]),
        op(TO_X, 0),
        op(SHIFT_K, SHIFTS[0]),
        op(XOR_X, 0),
        op(TO_X, 0),
        op(LOAD_WORD, EUI_OFFSET as u32 + 4),
        op(ADD_X, 0),
        op(MUL_K, MULTIPLIERS[1]),
        op(TO_X, 0),
        op(SHIFT_K, SHIFTS[1]),
        op(XOR_X, 0),
        op(ADD_K, key),
        op(MUL_K, MULTIPLIERS[2]),
        op(TO_X, 0),
        op(SHIFT_K, SHIFTS[2]),
        op(XOR_X, 0),
        op(AND_K, SLOT_COUNT as u32 - 1),
        op(RETURN_A, 0),
    ]
}
