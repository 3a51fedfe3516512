//! A toy server over `driver::Driver` alone, so that the simulated machine is proven before a shard runs on it.
//!
//! It answers every datagram with the same bytes, echoes every stream, pauses streams whose echo piles up, and hands each
//! third datagram to the next host through a queue and a wake.

use base::Monotonic;
use base::mix::SplitMix64;
use driver::{Completion, Connection, Driver, End, Listener, Socket};
use sim::{Ended, Faults, Machine, Network, Shared, Sizes, StreamId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const HOSTS: usize = 3;
const PILE_MAX: usize = 3000;
const SIZES: Sizes = Sizes {
    connection_count: 6,
    receive_bytes: 700,
    receive_count: 4,
    datagram_count: 8,
    output_bytes: 900,
    output_count: 3,
};

#[derive(Default)]
struct Echo {
    generation: u32,
    pile: VecDeque<u8>,
    sending: bool,
    paused: bool,
    finished: bool,
    closing: bool,
}

type Queue = Rc<RefCell<VecDeque<(Socket, SocketAddr, Vec<u8>)>>>;

struct Server {
    machine: Machine,
    index: usize,
    echoes: BTreeMap<u32, Echo>,
    answers: VecDeque<(Socket, SocketAddr, Vec<u8>)>,
    queues: Vec<Queue>,
    seen: u64,
    refused: u64,
}

impl Server {
    fn turn(&mut self) {
        let own = self.queues[self.index].clone();
        self.machine.turn(Monotonic::NEVER, &mut || own.borrow().is_empty());
        while let Some(completion) = self.machine.reap() {
            self.complete(completion);
        }
        // Only a slot's own host may answer, so the neighbour only counts and hands back.
        let handed: Vec<_> = self.queues[self.index].borrow_mut().drain(..).collect();
        for (socket, target, bytes) in handed {
            if bytes.first() == Some(&b'>') {
                let home = usize::from(bytes[1]);
                let mut bytes = bytes;
                bytes[0] = b'<';
                self.hand(home, (socket, target, bytes));
            } else {
                self.answers.push_back((socket, target, bytes[2..].to_vec()));
            }
        }
        while let Some((socket, target, bytes)) = self.answers.pop_front() {
            if self.machine.send_to(socket, target, &bytes).is_err() {
                self.answers.push_front((socket, target, bytes));
                break;
            }
        }
        let busy: Vec<u32> = self.echoes.keys().copied().collect();
        busy.into_iter().for_each(|index| self.flush(index));
    }

    fn hand(&mut self, host: usize, what: (Socket, SocketAddr, Vec<u8>)) {
        self.queues[host].borrow_mut().push_back(what);
        self.machine.wake(host);
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Datagram { socket, source, lease, truncated } => {
                assert!(!truncated, "nobody sends that much");
                let bytes = self.machine.bytes(&lease).to_vec();
                self.machine.release(lease);
                self.seen += 1;
                if self.seen.is_multiple_of(3) {
                    let passed = [&[b'>', self.index as u8], &bytes[..]].concat();
                    self.hand((self.index + 1) % HOSTS, (socket, source, passed));
                } else {
                    self.answers.push_back((socket, source, bytes));
                }
            }
            Completion::Accepted { connection, .. } => {
                let echo = Echo { generation: connection.generation, ..Echo::default() };
                assert!(self.echoes.insert(connection.index, echo).is_none(), "the place was free");
            }
            Completion::Received { connection, lease } => {
                let bytes = self.machine.bytes(&lease).to_vec();
                self.machine.release(lease);
                let echo = self.echoes.get_mut(&connection.index).expect("accepted");
                assert_eq!(echo.generation, connection.generation);
                echo.pile.extend(bytes);
                if echo.pile.len() > PILE_MAX && !echo.paused {
                    echo.paused = true;
                    self.machine.pause(connection);
                }
            }
            Completion::Ended { connection, end } => {
                let echo = self.echoes.get_mut(&connection.index).expect("accepted");
                echo.finished = true;
                if end != End::Finished {
                    self.close(connection, true);
                }
            }
            Completion::Sent { connection } => {
                self.echoes.get_mut(&connection.index).expect("accepted").sending = false;
            }
            Completion::SendFailed { connection, .. } => self.close(connection, true),
            Completion::Closed { connection } => {
                let echo = self.echoes.remove(&connection.index).expect("accepted");
                assert!(echo.closing && echo.generation == connection.generation);
            }
            Completion::Refused { .. } => self.refused += 1,
            Completion::SendToFailed { .. } | Completion::Overrun { .. } => {}
            other => unreachable!("no file was opened: {other:?}"),
        }
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        self.echoes.get_mut(&connection.index).expect("accepted").closing = true;
        self.machine.close(connection, abort);
    }

    fn flush(&mut self, index: u32) {
        let echo = self.echoes.get_mut(&index).expect("of the keys");
        let connection = Connection { index, generation: echo.generation };
        if echo.sending || echo.closing {
            return;
        }
        if echo.pile.is_empty() {
            if echo.finished {
                self.close(connection, false);
            }
            return;
        }
        let Ok(lease) = self.machine.output() else { return };
        let count = echo.pile.len().min(SIZES.output_bytes as usize);
        let bytes: Vec<u8> = echo.pile.drain(..count).collect();
        echo.sending = true;
        if echo.paused && echo.pile.len() < PILE_MAX / 2 {
            echo.paused = false;
            self.machine.resume(connection);
        }
        self.machine.bytes(&lease)[..count].copy_from_slice(&bytes);
        self.machine.send(connection, lease, count);
    }
}

/// A client that writes, stalls, reads and in the end finishes, or resets in the middle.
struct Client {
    stream: StreamId,
    wanted: Vec<u8>,
    written: usize,
    echoed: Vec<u8>,
    resets_at: usize,
    done: bool,
}

#[derive(Debug, PartialEq)]
struct Outcome {
    trace: u64,
    whole: usize,
    reset: usize,
    refused: u64,
    answered: usize,
}

fn run(seed: u64, faults: Faults) -> Outcome {
    let network = Network::new(seed, faults, HOSTS, 7, |slot| usize::from(slot) % HOSTS);
    let queues: Vec<Queue> = (0..HOSTS).map(|_| Queue::default()).collect();
    let mut servers: Vec<Server> = (0..HOSTS)
        .map(|index| Server {
            machine: Machine::start(&network, index, SIZES),
            index,
            echoes: BTreeMap::new(),
            answers: VecDeque::new(),
            queues: queues.clone(),
            seen: 0,
            refused: 0,
        })
        .collect();
    let mut random = SplitMix64::new(seed ^ 1);
    let address = |index: usize| SocketAddr::from(([10, 0, 0, index as u8], 1700));
    let mut clients: Vec<Client> = Vec::new();
    let mut datagrams = 0u32;
    let mut answered = Vec::new();
    (0..4).for_each(|index| network.borrow_mut().bind(address(index)));
    let end = network.borrow().now().after(Duration::from_secs(20));
    let mut next_client = network.borrow().now();
    while network.borrow().now() < end {
        step(&network, &mut servers, next_client);
        if network.borrow().now() < next_client {
            continue;
        }
        let mut network = network.borrow_mut();
        next_client = network.now().after(Duration::from_millis(1 + random.below(30)));
        if clients.len() < 25 && random.below(2) == 0 {
            let stream = network.connect(address(clients.len()), Listener(0));
            let wanted: Vec<u8> = (0..random.below(20_000)).map(|_| random.next() as u8).collect();
            let resets_at = if random.below(4) == 0 { random.below(20_000) as usize } else { usize::MAX };
            clients.push(Client { stream, wanted, written: 0, echoed: Vec::new(), resets_at, done: false });
        }
        if datagrams < 200 {
            let bytes = [&[2, 0, 0, 0][..], &u64::from(datagrams).to_be_bytes()].concat();
            network.send(address(random.below(4) as usize), &bytes);
            datagrams += 1;
        }
        for index in 0..4 {
            answered.extend(core::iter::from_fn(|| network.receive(address(index))));
        }
        for client in &mut clients {
            // A third of the time a client neither reads nor writes.
            if !client.done && random.below(3) > 0 {
                client_step(&mut network, client, &mut random);
            }
        }
        assert!(network.held_bytes() < 25 * 2 * faults.window_bytes + 4096 * 12, "what waits is bounded");
    }
    let undone = clients.iter().filter(|client| !client.done).count();
    assert_eq!(undone, 0, "seed {seed}: everyone comes to an end");
    for server in &servers {
        assert_eq!(server.machine.lent(), [0; 3], "seed {seed}: every buffer came back");
        assert_eq!((server.machine.connection_count(), server.echoes.len()), (0, 0), "seed {seed}");
    }
    let network = network.borrow();
    let tally = network.tally();
    let missing = tally.lost + tally.overrun + tally.unsent;
    let copies = tally.duplicated;
    let expected = u64::from(datagrams);
    assert!(answered.len() as u64 + missing >= expected && answered.len() as u64 <= expected + copies, "{tally:?}");
    Outcome {
        trace: network.trace(),
        whole: clients.iter().filter(|client| client.echoed.len() == client.wanted.len()).count(),
        reset: clients.iter().filter(|client| client.resets_at < client.wanted.len()).count(),
        refused: servers.iter().map(|server| server.refused).sum(),
        answered: answered.len(),
    }
}

fn client_step(network: &mut Network, client: &mut Client, random: &mut SplitMix64) {
    if client.written >= client.resets_at {
        network.abort(client.stream);
        client.done = true;
        return;
    }
    let rest = &client.wanted[client.written..];
    if !rest.is_empty() {
        client.written += network.write(client.stream, &rest[..rest.len().min(random.below(3000) as usize)]);
    }
    if client.written == client.wanted.len() {
        network.finish(client.stream);
    }
    let count = 1 + random.below(5000) as usize;
    client.echoed.extend(network.read(client.stream, count));
    assert_eq!(client.echoed, client.wanted[..client.echoed.len()], "what comes back is what was sent");
    match network.ended(client.stream) {
        Some(Ended::Finished) => {
            assert_eq!(client.echoed.len(), client.wanted.len(), "finished means all of it");
            client.done = true;
        }
        Some(Ended::Reset) => client.done = true,
        None => {}
    }
}

fn step(network: &Shared, servers: &mut [Server], until: Monotonic) {
    network.borrow_mut().advance(until);
    loop {
        let due = network.borrow().due_host();
        let Some(host) = due else { break };
        servers[host].turn();
    }
}

#[test]
fn calm_weather_loses_nothing() {
    let outcome = run(1, Faults::calm());
    assert_eq!(outcome.answered, 200);
    assert!(outcome.whole + outcome.reset + outcome.refused as usize >= 25, "{outcome:?}");
}

#[test]
fn every_seed_keeps_the_laws_and_has_one_history() {
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..100 {
        let outcome = run(seed, Faults::of(seed));
        if seed % 10 == 0 {
            assert_eq!(run(seed, Faults::of(seed)), outcome, "the same seed, the same history");
            assert_ne!(run(seed + 1000, Faults::of(seed)).trace, outcome.trace, "another seed, another history");
        }
        whole += outcome.whole;
        refused += outcome.refused;
    }
    assert!(whole > 1000, "{whole} streams were echoed whole");
    assert!(refused > 0, "the table's bound was met");
}
