//! The virtual network and its clock: datagrams that get lost, streams that stall, and hosts that take turns.
//!
//! Owns virtual time, the queue of what is under way, and one generator from which every choice comes; so a seed gives
//! one history, and the trace is its hash. Knows no protocol: it looks into a datagram only for its gateway's slot.
//!
//! ```text
//!   clients (gateways, consumers) <---- queue of (time, what) ----> hosts (one driver each)
//! ```

use crate::faults::{Faults, between, strikes};
use crate::stream::{Ended, Lane, Mark, Stream, Way};
use base::mix::{SplitMix64, mix64};
use base::{Eui64, Monotonic, UnixMicros};
use driver::steering::{EUI_OFFSET, SLOT_COUNT, slot_of};
use driver::{Listener, Socket};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A host: one driver, one shard.
pub type HostIndex = usize;

/// A network, shared by the drivers and the scenario of one thread.
pub type Shared = Rc<RefCell<Network>>;

/// The client's end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub usize);

/// What happened to messages on their way, to explain what did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams that set out, copies included.
    pub datagrams: u64,
    /// Lost under way.
    pub lost: u64,
    /// Sent twice by the network.
    pub duplicated: u64,
    /// Found a host's inbox full.
    pub overrun: u64,
    /// Found no host: it was down.
    pub unheard: u64,
    /// Could not be sent at all.
    pub unsent: u64,
    /// Of them, for want of buffers (ENOBUFS).
    pub unsent_for_buffers: u64,
    /// Refusals that were made up.
    pub busy: u64,
    /// Looks at what had arrived that found every buffer lent.
    pub starved: u64,
    /// Copies that set out to hosts, and were lost on the way to one.
    pub to_hosts: u64,
    /// See `to_hosts`.
    pub lost_to_hosts: u64,
    /// Datagrams that arrived before one that had set out earlier.
    pub overtaken: u64,
    /// Reads of streams that took less than there was.
    pub short_reads: u64,
    /// Writes to streams that found the peer's window full.
    pub stalled: u64,
    /// Words of a write that came 100 us after it was done, or later.
    pub late_words: u64,
    /// Times at which the wall clock was set forward.
    pub clocks_forward: u64,
    /// And back.
    pub clocks_back: u64,
    /// Turns that hosts took.
    pub turns: u64,
}

#[derive(Debug)]
enum What {
    ToHost { socket: Socket, source: SocketAddr, bytes: Vec<u8> },
    ToClient { target: SocketAddr, bytes: Vec<u8> },
    Open(usize),
    Segment { stream: usize, way: Way, bytes: Vec<u8>, mark: Mark },
    Poke(HostIndex),
}

/// Ordered by time, then by order of making, so that equal times have one order.
#[derive(Debug)]
struct Due {
    at: Monotonic,
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A datagram in a host's socket.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) socket: Socket,
    pub(crate) source: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) inbox: VecDeque<Datagram>,
    pub(crate) overrun: VecDeque<(Socket, u32)>,
    pub(crate) accepted: VecDeque<usize>,
    /// When it next takes a turn; `None` while it is down.
    turn_at: Option<Monotonic>,
    life: u32,
}

/// Everything between the hosts and their clients.
#[derive(Debug)]
pub struct Network {
    now: Monotonic,
    pub(crate) random: SplitMix64,
    /// How it treats what it carries; may be changed at any time.
    pub faults: Faults,
    queue: BinaryHeap<Reverse<Due>>,
    made: u64,
    hosts: Vec<Host>,
    slot_key: u32,
    slot_hosts: [HostIndex; SLOT_COUNT],
    mail: BTreeMap<SocketAddr, VecDeque<Vec<u8>>>,
    streams: Vec<Stream>,
    stirred: Vec<StreamId>,
    /// Streams that no host has.
    adrift: Vec<usize>,
    pub(crate) tally: Tally,
    trace: u64,
    /// What the wall clock was set by, microseconds.
    clock_set: i64,
    /// Of the last datagram that arrived.
    last_arrived: u64,
}

/// The wall clock when virtual time is zero: 2024-01-01T00:00:00Z.
const EPOCH_MICROS: u64 = 1_704_067_200_000_000;

impl Network {
    /// A network of `hosts` hosts that are down. Slots are spread by `slot_host`.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, hosts: usize, slot_key: u32, slot_host: impl Fn(u8) -> HostIndex) -> Shared {
        let host = || Host {
            inbox: VecDeque::new(),
            overrun: VecDeque::new(),
            accepted: VecDeque::new(),
            turn_at: None,
            life: 0,
        };
        let slot_hosts = core::array::from_fn(|slot| slot_host(slot as u8));
        assert!(slot_hosts.iter().all(|host| *host < hosts), "every slot has its host");
        Rc::new(RefCell::new(Self {
            // Zero is what uninitialised clocks say, so time begins later.
            now: Monotonic(1_000_000_000),
            random: SplitMix64::new(mix64(seed)),
            faults,
            queue: BinaryHeap::new(),
            made: 0,
            hosts: (0..hosts).map(|_| host()).collect(),
            slot_key,
            slot_hosts,
            mail: BTreeMap::new(),
            streams: Vec::new(),
            stirred: Vec::new(),
            adrift: Vec::new(),
            tally: Tally::default(),
            trace: seed,
            clock_set: 0,
            last_arrived: 0,
        }))
    }

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> Monotonic {
        self.now
    }

    /// The wall clock, which every host shares.
    #[must_use]
    pub const fn unix(&self) -> UnixMicros {
        UnixMicros((EPOCH_MICROS + self.now.0 / 1_000).saturating_add_signed(self.clock_set))
    }

    /// Somebody sets the wall clock.
    pub fn set_clock(&mut self, by_micros: i64) {
        self.clock_set += by_micros;
        self.tally.clocks_forward += u64::from(by_micros > 0);
        self.tally.clocks_back += u64::from(by_micros < 0);
    }

    /// What happened under way so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The hash of everything that has arrived anywhere, and when.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace
    }

    /// Adds to the trace something that the network does not see by itself.
    pub fn note(&mut self, bytes: &[u8]) {
        let hash = bytes.chunks(8).fold(self.now.0, |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix64(hash ^ u64::from_le_bytes(word)).wrapping_add(chunk.len() as u64)
        });
        self.trace = mix64(self.trace.rotate_left(1) ^ hash);
    }

    /// When the next thing happens: an arrival or a host's turn. `None` if nothing ever will.
    #[must_use]
    pub fn next(&self) -> Option<Monotonic> {
        let arrival = self.queue.peek().map(|due| due.0.at);
        let turn = self.hosts.iter().filter_map(|host| host.turn_at).min();
        let next = [arrival, turn].into_iter().flatten().min()?;
        (next != Monotonic::NEVER).then_some(next.max(self.now))
    }

    /// Lets time pass until `until`, or until the next thing happens if that is earlier; everything due then arrives.
    pub fn advance(&mut self, until: Monotonic) {
        self.pass(self.next().map_or(until, |next| next.min(until)));
    }

    /// Lets time pass until `until`, whoever's turn has come meanwhile: they were busy all the while. Everything due arrives.
    pub fn pass(&mut self, until: Monotonic) {
        self.close_dropped();
        self.now = self.now.max(until);
        while self.queue.peek().is_some_and(|due| due.0.at <= self.now) {
            let due = self.queue.pop().expect("just seen").0;
            if matches!(due.what, What::ToHost { .. } | What::ToClient { .. }) {
                self.tally.overtaken += u64::from(due.number < self.last_arrived);
                self.last_arrived = due.number;
            }
            self.arrive(due.what);
        }
    }

    /// A host whose turn has come. The same call a second time gives the next host, once the first has taken its turn.
    #[must_use]
    pub fn due_host(&self) -> Option<HostIndex> {
        let due = |host: &Host| host.turn_at.is_some_and(|at| at <= self.now);
        let earliest = self.hosts.iter().enumerate().filter(|(_, host)| due(host)).min_by_key(|(_, host)| host.turn_at);
        earliest.map(|(index, _)| index)
    }

    fn later(&mut self, at: Monotonic, what: What) {
        self.made += 1;
        self.queue.push(Reverse(Due { at, number: self.made, what }));
    }

    fn journey(&mut self) -> Monotonic {
        self.now.after(between(&mut self.random, self.faults.delay_min, self.faults.delay_max))
    }

    fn arrive(&mut self, what: What) {
        match what {
            What::Poke(host) => self.poke(host),
            What::ToHost { socket, source, bytes } => {
                self.note(&bytes);
                let host = self.slot_hosts[usize::from(socket.0)];
                let up = self.hosts[host].turn_at.is_some();
                if !up {
                    self.tally.unheard += 1;
                } else if self.hosts[host].inbox.len() >= self.faults.inbox_count {
                    self.tally.overrun += 1;
                    match self.hosts[host].overrun.back_mut() {
                        Some((last, count)) if *last == socket => *count += 1,
                        _ => self.hosts[host].overrun.push_back((socket, 1)),
                    }
                    self.poke(host);
                } else {
                    self.hosts[host].inbox.push_back(Datagram { socket, source, bytes });
                    self.poke(host);
                }
            }
            What::ToClient { target, bytes } => {
                self.note(&bytes);
                if let Some(mail) = self.mail.get_mut(&target) {
                    mail.push_back(bytes);
                }
            }
            What::Open(stream) => {
                let host = self.streams[stream].host;
                if self.hosts[host].turn_at.is_none() {
                    self.reset(stream, Way::Down);
                } else {
                    self.streams[stream].life = self.hosts[host].life;
                    self.hosts[host].accepted.push_back(stream);
                    self.poke(host);
                }
            }
            What::Segment { stream, way, bytes, mark } => {
                self.note(&bytes);
                let here = &mut self.streams[stream];
                let (host, same_life) = (here.host, here.life == self.hosts[here.host].life);
                let adrift = here.adrift.is_some();
                here.lane(way).arrive(&bytes, mark);
                match way {
                    // The kernel's buffer takes it.
                    Way::Up if adrift => {}
                    Way::Up if same_life => self.poke(host),
                    // Nobody there knows this connection any more.
                    Way::Up => self.reset(stream, Way::Down),
                    Way::Down => self.stirred.push(StreamId(stream)),
                }
            }
        }
    }

    // Hosts.

    /// A host comes up and takes its first turn soon. Its drivers are made anew for each life.
    pub(crate) fn start(&mut self, host: HostIndex) {
        assert!(self.hosts[host].turn_at.is_none(), "a host is down before it starts");
        self.hosts[host].turn_at = Some(self.now);
    }

    /// Power is cut: what was in its sockets is gone, and its connections will be reset.
    pub fn kill(&mut self, host: HostIndex) {
        self.tally.unheard += self.hosts[host].inbox.len() as u64;
        let lost = &mut self.hosts[host];
        lost.inbox.clear();
        lost.overrun.clear();
        lost.accepted.clear();
        lost.turn_at = None;
        lost.life += 1;
        let open = |stream: &Stream| stream.host == host && !stream.down.shut && stream.adrift.is_none();
        let open: Vec<usize> = (0..self.streams.len()).filter(|stream| open(&self.streams[*stream])).collect();
        for stream in open {
            self.reset(stream, Way::Down);
        }
    }

    pub(crate) fn host(&mut self, host: HostIndex) -> &mut Host {
        &mut self.hosts[host]
    }

    /// The host sleeps until then, unless something happens to it.
    pub(crate) fn sleep(&mut self, host: HostIndex, until: Monotonic) {
        self.tally.turns += 1;
        self.hosts[host].turn_at = Some(until.max(self.now));
    }

    /// The host has something to do: its next turn comes when this one is over.
    pub(crate) fn run_on(&mut self, host: HostIndex) {
        let cost = between(&mut self.random, Duration::from_micros(1), self.faults.turn_max);
        self.sleep(host, self.now.after(cost));
    }

    /// Something happened to a host: if it sleeps, it wakes.
    pub(crate) fn poke(&mut self, host: HostIndex) {
        let latency = between(&mut self.random, Duration::ZERO, self.faults.turn_max);
        let at = self.now.after(latency);
        if let Some(turn_at) = &mut self.hosts[host].turn_at {
            *turn_at = at.min(*turn_at);
        }
    }

    /// As [`Network::poke`], after a while of at most `span`.
    pub(crate) fn poke_within(&mut self, host: HostIndex, span: Duration) -> Monotonic {
        let at = self.now.after(between(&mut self.random, Duration::from_nanos(1), span));
        self.later(at, What::Poke(host));
        at
    }

    /// As [`Network::poke`], at this time.
    pub(crate) fn poke_at(&mut self, host: HostIndex, at: Monotonic) {
        self.later(at.max(self.now), What::Poke(host));
    }

    /// Makes up a refusal; the asker is woken to ask again, as if another's completion had come.
    pub(crate) fn refuses(&mut self, host: HostIndex) -> bool {
        let refused = strikes(&mut self.random, self.faults.busy);
        if refused {
            self.tally.busy += 1;
            self.poke_within(host, Duration::from_micros(500));
        }
        refused
    }

    /// Whether a slot's socket is this host's.
    pub(crate) fn serves(&self, host: HostIndex, socket: Socket) -> bool {
        self.slot_hosts.get(usize::from(socket.0)) == Some(&host)
    }

    pub(crate) fn count_unsent(&mut self, for_buffers: bool) {
        self.tally.unsent += 1;
        self.tally.unsent_for_buffers += u64::from(for_buffers);
    }

    // Datagrams.

    /// Opens a client's socket.
    pub fn bind(&mut self, address: SocketAddr) {
        self.mail.entry(address).or_default();
    }

    /// A client's datagram to the gateway port. The kernel's program picks the slot, as `driver::steering` says; one that
    /// is too short for an EUI falls to some slot by its address.
    pub fn send(&mut self, source: SocketAddr, bytes: &[u8]) {
        let slot = bytes
            .get(EUI_OFFSET..EUI_OFFSET + 8)
            .map_or(source.port() as u8, |eui| slot_of(self.slot_key, Eui64(eui.try_into().expect("eight bytes"))));
        let socket = Socket(u16::from(slot));
        let (before, lost) = (self.tally.duplicated, self.tally.lost);
        self.carry(|bytes| What::ToHost { socket, source, bytes }, bytes);
        self.tally.to_hosts += 1 + self.tally.duplicated - before;
        self.tally.lost_to_hosts += self.tally.lost - lost;
    }

    /// A host's datagram.
    pub(crate) fn send_back(&mut self, target: SocketAddr, bytes: &[u8]) {
        self.carry(|bytes| What::ToClient { target, bytes }, bytes);
    }

    fn carry(&mut self, what: impl Fn(Vec<u8>) -> What, bytes: &[u8]) {
        self.tally.datagrams += 1;
        let copies = if strikes(&mut self.random, self.faults.datagram_duplicate) { 2 } else { 1 };
        self.tally.duplicated += copies - 1;
        for _ in 0..copies {
            if strikes(&mut self.random, self.faults.datagram_loss) {
                self.tally.lost += 1;
                continue;
            }
            let at = self.journey();
            self.later(at, what(bytes.to_vec()));
        }
    }

    /// The oldest datagram that a client has not read.
    pub fn receive(&mut self, address: SocketAddr) -> Option<Vec<u8>> {
        self.mail.get_mut(&address)?.pop_front()
    }

    // Streams, the client's side.

    /// Connects to a listener. Which host accepts is chance, as with `SO_REUSEPORT`.
    pub fn connect(&mut self, peer: SocketAddr, listener: Listener) -> StreamId {
        let host = self.random.below(self.hosts.len() as u64) as usize;
        let stream = self.streams.len();
        let life = self.hosts[host].life;
        self.streams.push(Stream {
            host,
            life,
            listener,
            peer,
            up: Lane::default(),
            down: Lane::default(),
            adrift: None,
        });
        let at = self.journey();
        self.streams[stream].up.last = at;
        self.later(at, What::Open(stream));
        StreamId(stream)
    }

    /// Writes as much as there is room for. Returns the count.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> usize {
        self.push(stream.0, Way::Up, bytes)
    }

    /// Reads up to `count` bytes of what has arrived.
    pub fn read(&mut self, stream: StreamId, count: usize) -> Vec<u8> {
        let lane = &mut self.streams[stream.0].down;
        let mut out = vec![0; count.min(lane.waiting())];
        lane.read(&mut out);
        let host = self.streams[stream.0].host;
        let here = &self.streams[stream.0];
        if !out.is_empty() && here.adrift.is_none() && here.life == self.hosts[host].life {
            // There is room again for what the host could not send.
            self.poke(host);
        }
        out
    }

    /// Why nothing more will arrive, once everything before has been read.
    #[must_use]
    pub fn ended(&self, stream: StreamId) -> Option<Ended> {
        let lane = &self.streams[stream.0].down;
        lane.ended.filter(|_| lane.waiting() == 0)
    }

    /// The client sends FIN.
    pub fn finish(&mut self, stream: StreamId) {
        self.shut(stream.0, Way::Up, Mark::Fin);
    }

    /// The client resets the connection.
    pub fn abort(&mut self, stream: StreamId) {
        self.reset(stream.0, Way::Up);
        self.streams[stream.0].down.ended.get_or_insert(Ended::Reset);
    }

    /// Streams to whose clients something has arrived since the last call.
    pub fn stirred(&mut self) -> Vec<StreamId> {
        core::mem::take(&mut self.stirred)
    }

    /// Bytes that wait in all streams and sockets: bounded, whatever happens.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let streams = self.streams.iter().map(|stream| stream.up.waiting() + stream.down.waiting()).sum::<usize>();
        let inboxes =
            self.hosts.iter().flat_map(|host| &host.inbox).map(|datagram| datagram.bytes.len()).sum::<usize>();
        streams + inboxes
    }

    // Streams, both sides.

    /// No host has it from here on, but whoever holds what is returned.
    pub(crate) fn set_adrift(&mut self, stream: usize) -> Arc<u64> {
        let held = Arc::new(stream as u64);
        self.streams[stream].adrift = Some(Arc::downgrade(&held));
        self.adrift.push(stream);
        held
    }

    /// The present life of a host has a stream that none had.
    pub(crate) fn land(&mut self, held: &Arc<u64>, host: HostIndex) -> usize {
        let stream = **held as usize;
        let here = &mut self.streams[stream];
        let known = here.adrift.take().is_some_and(|ours| ours.as_ptr() == Arc::as_ptr(held));
        assert!(known, "a connection of this network that no host has");
        (here.host, here.life) = (host, self.hosts[host].life);
        self.adrift.retain(|other| *other != stream);
        stream
    }

    /// Closes what was dropped by whoever held it, as a kernel does: by reset if bytes are unread.
    fn close_dropped(&mut self) {
        let is_dropped = |stream: &Stream| stream.adrift.as_ref().is_some_and(|held| held.strong_count() == 0);
        let (dropped, held): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.adrift).into_iter().partition(|stream| is_dropped(&self.streams[*stream]));
        self.adrift = held;
        for stream in dropped {
            let here = &mut self.streams[stream];
            // What still arrives finds nobody.
            (here.adrift, here.life) = (None, u32::MAX);
            if here.up.waiting() > 0 {
                self.reset(stream, Way::Down);
            } else {
                self.shut(stream, Way::Down, Mark::Fin);
            }
        }
    }

    pub(crate) fn stream(&mut self, stream: usize) -> &mut Stream {
        &mut self.streams[stream]
    }

    /// Writes as much as the window has room for, in segments.
    pub(crate) fn push(&mut self, stream: usize, way: Way, bytes: &[u8]) -> usize {
        let room = self.streams[stream].lane(way).room(self.faults.window_bytes);
        let count = bytes.len().min(room);
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let size = 1 + self.random.below(rest.len().min(self.faults.segment_bytes_max) as u64) as usize;
            let (segment, after) = rest.split_at(size);
            rest = after;
            self.depart(stream, way, segment, Mark::None);
        }
        count
    }

    pub(crate) fn shut(&mut self, stream: usize, way: Way, mark: Mark) {
        if !self.streams[stream].lane(way).shut {
            self.depart(stream, way, &[], mark);
            self.streams[stream].lane(way).shut = true;
        }
    }

    /// Both lanes die; the receiver of `way` hears of it.
    pub(crate) fn reset(&mut self, stream: usize, way: Way) {
        self.shut(stream, way, Mark::Reset);
        let back = if way == Way::Up { Way::Down } else { Way::Up };
        self.streams[stream].lane(back).shut = true;
    }

    fn depart(&mut self, stream: usize, way: Way, bytes: &[u8], mark: Mark) {
        let at = self.journey();
        let lane = self.streams[stream].lane(way);
        lane.depart(bytes.len());
        lane.last = lane.last.max(at);
        let at = lane.last;
        self.later(at, What::Segment { stream, way, bytes: bytes.to_vec(), mark });
    }
}
