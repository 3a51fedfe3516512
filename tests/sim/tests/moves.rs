//! Toy servers that throw connections at each other over `driver::Driver` alone, so that the simulated machine is proven
//! before a shard gives one away: bytes and ends come once and in order, whoever has the connection.

use base::Monotonic;
use base::mix::SplitMix64;
use driver::{Completion, Connection, Detached, Driver, End, Listener};
use sim::{Ended, Faults, Machine, Network, Shared, Sizes, StreamId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const HOSTS: usize = 3;
const CLIENTS: usize = 25;
const SIZES: Sizes = Sizes {
    connection_count: 6,
    receive_bytes: 700,
    receive_count: 4,
    datagram_count: 1,
    output_bytes: 64,
    output_count: 3,
};
/// Marks the last number that a client is sent, the count of its bytes; the others are moves.
const RECEIPT: u64 = 1 << 63;

const fn byte_at(client: usize, place: usize) -> u8 {
    (place * 31 + client * 7) as u8
}

/// What travels with a connection.
struct Load {
    socket: Detached,
    held: Held,
}

#[derive(Clone, Copy)]
struct Held {
    client: usize,
    received: usize,
    moves: u64,
    sending: bool,
    leaving: bool,
    closing: bool,
    ended: Option<End>,
    /// What an earlier holder was told of the end.
    foretold: Option<End>,
}

/// What all servers and the scenario know.
#[derive(Default)]
struct Common {
    wanted: [usize; CLIENTS],
    /// Clients whose connection was dropped, found no place, or was closed by its server in the middle.
    left: BTreeSet<usize>,
    arrivals: [VecDeque<Load>; HOSTS],
    counts: Counts,
}

#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Counts {
    moves: u64,
    refused: u64,
    no_place: u64,
    dropped: u64,
    taken_back: u64,
    ended_on_leaving: u64,
    foretold: u64,
    resets_after_a_move: u64,
}

struct Server {
    machine: Machine,
    index: usize,
    held: BTreeMap<u32, (Connection, Held)>,
    common: Rc<RefCell<Common>>,
    random: SplitMix64,
}

impl Server {
    fn turn(&mut self) {
        let common = self.common.clone();
        self.machine.turn(Monotonic::NEVER, &mut || common.borrow().arrivals[self.index].is_empty());
        // What is asked between two completions finds the places of those that are still to be reaped taken.
        loop {
            if self.random.below(3) == 0 {
                self.welcome(&mut common.borrow_mut());
                self.take_back(&mut common.borrow_mut());
            }
            let Some(completion) = self.machine.reap() else { break };
            self.complete(completion, &mut common.borrow_mut());
        }
        self.welcome(&mut common.borrow_mut());
        for index in self.held.keys().copied().collect::<Vec<_>>() {
            self.decide(index);
        }
    }

    fn holder(&mut self, connection: Connection) -> &mut Held {
        let (known, held) = self.held.get_mut(&connection.index).expect("held");
        assert_eq!(*known, connection, "the present holder");
        held
    }

    fn insert(&mut self, connection: Connection, held: Held) {
        assert!(self.held.insert(connection.index, (connection, held)).is_none(), "the place was free");
    }

    fn complete(&mut self, completion: Completion, common: &mut Common) {
        match completion {
            Completion::Accepted { connection, peer, .. } => {
                let client = usize::from(peer.port());
                let (moves, sending, leaving, closing) = (0, false, false, false);
                let held = Held { client, received: 0, moves, sending, leaving, closing, ended: None, foretold: None };
                self.insert(connection, held);
            }
            Completion::Received { connection, lease } => {
                let bytes = self.machine.bytes(&lease).to_vec();
                self.machine.release(lease);
                let held = self.holder(connection);
                assert!(!held.closing && held.ended.is_none(), "nothing comes behind an end");
                for byte in bytes {
                    assert_eq!(byte, byte_at(held.client, held.received), "once and in order");
                    held.received += 1;
                }
            }
            Completion::Ended { connection, end } => {
                let held = self.holder(connection);
                assert!(held.ended.is_none() && !held.closing, "told once");
                assert!(held.foretold.is_none_or(|before| before == end), "as it was told before");
                common.counts.ended_on_leaving += u64::from(held.leaving);
                common.counts.foretold += u64::from(held.foretold.is_some());
                common.counts.resets_after_a_move += u64::from(held.moves > 0 && end != End::Finished);
                if end == End::Finished {
                    assert_eq!(held.received, common.wanted[held.client], "all of it");
                }
                held.ended = Some(end);
            }
            Completion::Sent { connection } => self.holder(connection).sending = false,
            Completion::SendFailed { connection, .. } => {
                self.holder(connection).closing = true;
                self.machine.close(connection, true);
            }
            Completion::Detached { connection, socket } => {
                let (known, mut held) = self.held.remove(&connection.index).expect("held");
                assert!(known == connection && held.leaving && !held.closing);
                held.foretold = held.foretold.or(held.ended);
                (held.leaving, held.ended, held.moves) = (false, None, held.moves + 1);
                if self.random.below(60) == 0 {
                    common.counts.dropped += 1;
                    common.left.insert(held.client);
                    return;
                }
                common.counts.moves += 1;
                let target = self.random.below(HOSTS as u64) as usize;
                common.arrivals[target].push_back(Load { socket, held });
                self.machine.wake(target);
            }
            Completion::Closed { connection } => {
                let (known, held) = self.held.remove(&connection.index).expect("held");
                assert!(known == connection && held.closing);
            }
            Completion::Refused { .. } => common.counts.refused += 1,
            other => unreachable!("not asked for: {other:?}"),
        }
    }

    /// Takes in what was given to this host.
    fn welcome(&mut self, common: &mut Common) {
        while let Some(Load { socket, held }) = common.arrivals[self.index].pop_front() {
            match self.machine.adopt(socket) {
                Ok(connection) => {
                    self.insert(connection, held);
                    self.say(connection, held.moves);
                }
                Err(socket) => {
                    common.counts.no_place += 1;
                    common.left.insert(held.client);
                    drop(socket);
                }
            }
        }
    }

    /// Sends a number, if there is a buffer.
    fn say(&mut self, connection: Connection, number: u64) -> bool {
        let Ok(lease) = self.machine.output() else { return false };
        self.machine.bytes(&lease)[..8].copy_from_slice(&number.to_le_bytes());
        self.machine.send(connection, lease, 8);
        self.holder(connection).sending = true;
        true
    }

    /// Gives a connection away, keeps it, or closes it when it has ended.
    fn decide(&mut self, index: u32) {
        let (connection, held) = self.held[&index];
        if held.sending || held.closing || held.leaving {
            return;
        }
        if self.random.below(4) == 0 {
            self.holder(connection).leaving = true;
            self.machine.detach(connection);
        } else if let Some(end) = held.ended {
            let is_said = end != End::Finished || self.say(connection, RECEIPT | held.received as u64);
            if is_said {
                self.close(connection);
            }
        }
    }

    /// Closes one that was to be given away, now and then.
    fn take_back(&mut self, common: &mut Common) {
        let leaving = self.held.values().find(|(_, held)| held.leaving && !held.closing);
        let Some(&(connection, held)) = leaving.filter(|_| self.random.below(50) == 0) else { return };
        common.counts.taken_back += 1;
        common.left.insert(held.client);
        self.close(connection);
    }

    fn close(&mut self, connection: Connection) {
        let held = self.holder(connection);
        held.closing = true;
        let abort = held.ended.is_some_and(|end| end != End::Finished);
        self.machine.close(connection, abort);
    }
}

/// A client that writes, stalls, reads what it is told, and finishes, or resets in the middle.
struct Client {
    stream: StreamId,
    number: usize,
    wanted: usize,
    written: usize,
    told: Vec<u8>,
    resets_at: usize,
    done: Option<Ended>,
}

impl Client {
    fn step(&mut self, network: &mut Network, random: &mut SplitMix64) {
        if self.written >= self.resets_at {
            network.abort(self.stream);
            self.done = Some(Ended::Reset);
            return;
        }
        let end = self.wanted.min(self.written + random.below(3000) as usize);
        let bytes: Vec<u8> = (self.written..end).map(|place| byte_at(self.number, place)).collect();
        self.written += network.write(self.stream, &bytes);
        if self.written == self.wanted {
            network.finish(self.stream);
        }
        self.told.extend(network.read(self.stream, 5000));
        self.done = network.ended(self.stream);
    }

    /// The receipt, if there was one. Numbers of moves came in order.
    fn receipt(&self) -> Option<usize> {
        let numbers: Vec<u64> =
            self.told.chunks_exact(8).map(|it| u64::from_le_bytes(it.try_into().expect("eight"))).collect();
        assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
        numbers.last().filter(|last| **last & RECEIPT != 0).map(|last| (last & !RECEIPT) as usize)
    }
}

fn run(seed: u64, faults: Faults) -> (Counts, u64) {
    let network: Shared = Network::new(seed, faults, HOSTS, 7, |slot| usize::from(slot) % HOSTS);
    let common = Rc::new(RefCell::new(Common::default()));
    let mut servers: Vec<Server> = (0..HOSTS)
        .map(|index| Server {
            machine: Machine::start(&network, index, SIZES),
            index,
            held: BTreeMap::new(),
            common: common.clone(),
            random: SplitMix64::new(seed ^ (index as u64 + 2)),
        })
        .collect();
    let mut random = SplitMix64::new(seed ^ 1);
    let mut clients: Vec<Client> = Vec::new();
    let end = network.borrow().now().after(Duration::from_secs(20));
    let mut next_client = network.borrow().now();
    while network.borrow().now() < end {
        network.borrow_mut().advance(next_client);
        loop {
            let due = network.borrow().due_host();
            let Some(host) = due else { break };
            servers[host].turn();
        }
        if network.borrow().now() < next_client {
            continue;
        }
        let mut network = network.borrow_mut();
        next_client = network.now().after(Duration::from_millis(1 + random.below(30)));
        if clients.len() < CLIENTS && random.below(2) == 0 {
            let number = clients.len();
            let stream = network.connect(SocketAddr::from(([10, 0, 0, 1], number as u16)), Listener(0));
            let wanted = random.below(20_000) as usize;
            common.borrow_mut().wanted[number] = wanted;
            let resets_at = if random.below(4) == 0 { random.below(20_000) as usize } else { usize::MAX };
            clients.push(Client { stream, number, wanted, written: 0, told: Vec::new(), resets_at, done: None });
        }
        for client in clients.iter_mut().filter(|client| client.done.is_none()) {
            // A third of the time a client neither reads nor writes.
            if random.below(3) > 0 {
                client.step(&mut network, &mut random);
            }
        }
    }
    let common = common.borrow();
    let mut unexplained = 0;
    for client in &clients {
        let done = client.done.unwrap_or_else(|| panic!("seed {seed}: client {} comes to no end", client.number));
        match client.receipt() {
            Some(count) => assert_eq!((done, count), (Ended::Finished, client.wanted), "seed {seed}"),
            None => {
                let ours = client.written >= client.resets_at || common.left.contains(&client.number);
                unexplained += u64::from(!ours);
            }
        }
    }
    assert_eq!(unexplained, common.counts.refused, "seed {seed}: who got no receipt was refused, dropped, or left");
    for server in &servers {
        assert_eq!(server.machine.lent(), [0; 3], "seed {seed}: every buffer came back");
        assert_eq!((server.machine.connection_count(), server.held.len()), (0, 0), "seed {seed}");
    }
    (common.counts, network.borrow().trace())
}

/// Lets time pass, and gives every machine its turns. What they tell is collected, received bytes apart.
fn pass(network: &Shared, machines: &mut [Machine]) -> (Vec<Completion>, Vec<u8>) {
    let (mut told, mut bytes) = (Vec::new(), Vec::new());
    let end = network.borrow().now().after(Duration::from_millis(10));
    while network.borrow().now() < end {
        network.borrow_mut().advance(end);
        loop {
            let due = network.borrow().due_host();
            let Some(machine) = due.and_then(|host| machines.get_mut(host)) else { break };
            machine.turn(Monotonic::NEVER, &mut || true);
            while let Some(completion) = machine.reap() {
                if let Completion::Received { lease, .. } = completion {
                    bytes.extend_from_slice(machine.bytes(&lease));
                    machine.release(lease);
                } else {
                    told.push(completion);
                }
            }
        }
    }
    (told, bytes)
}

/// What left a host is no part of its end; what nobody holds any more is closed, and in order only if nothing was unread.
#[test]
fn a_connection_outlives_its_first_host_and_not_its_owner() {
    for (is_adopted, late_bytes) in [(true, true), (false, true), (false, false)] {
        let network = Network::new(3, Faults::calm(), 1, 7, |_| 0);
        let stream = network.borrow_mut().connect(SocketAddr::from(([10, 0, 0, 1], 9)), Listener(0));
        let mut machines = vec![Machine::start(&network, 0, SIZES)];
        let (told, _) = pass(&network, &mut machines);
        let [Completion::Accepted { connection, .. }] = told[..] else { panic!("{told:?}") };
        network.borrow_mut().write(stream, b"before ");
        assert_eq!(pass(&network, &mut machines).1, b"before ");
        machines[0].detach(connection);
        let mut told = pass(&network, &mut machines).0;
        let Some(Completion::Detached { socket, .. }) = told.pop() else { panic!("{told:?}") };
        drop(machines);
        network.borrow_mut().kill(0);
        let mut machines = vec![Machine::start(&network, 0, SIZES)];
        if late_bytes {
            network.borrow_mut().write(stream, b"after");
        }
        assert!(pass(&network, &mut machines).1.is_empty() && network.borrow().ended(stream).is_none());
        if is_adopted {
            machines[0].adopt(socket).expect("a place");
            assert_eq!(pass(&network, &mut machines).1, b"after");
            assert_eq!(network.borrow().ended(stream), None);
        } else {
            drop(socket);
            pass(&network, &mut machines);
            let expected = if late_bytes { Ended::Reset } else { Ended::Finished };
            assert_eq!(network.borrow().ended(stream), Some(expected));
        }
    }
}

#[test]
fn calm_weather_moves_connections() {
    let (counts, _) = run(1, Faults::calm());
    assert!(counts.moves > 100, "{counts:?}");
}

#[test]
fn every_seed_keeps_the_laws_of_moving() {
    let mut sum = Counts::default();
    for seed in 0..100 {
        let (counts, trace) = run(seed, Faults::of(seed));
        if seed % 10 == 0 {
            assert_eq!(run(seed, Faults::of(seed)), (counts, trace), "the same seed, the same history");
        }
        sum.moves += counts.moves;
        sum.refused += counts.refused;
        sum.no_place += counts.no_place;
        sum.dropped += counts.dropped;
        sum.taken_back += counts.taken_back;
        sum.ended_on_leaving += counts.ended_on_leaving;
        sum.foretold += counts.foretold;
        sum.resets_after_a_move += counts.resets_after_a_move;
    }
    assert!(sum.moves > 10_000 && sum.no_place > 0 && sum.dropped > 20 && sum.taken_back > 20, "{sum:?}");
    assert!(sum.foretold > 50 && sum.ended_on_leaving > 20 && sum.resets_after_a_move > 50, "{sum:?}");
}
