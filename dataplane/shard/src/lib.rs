//! One core: it owns its sockets, buffers, lanes and counters, and shares nothing.
//!
//! Owns the loop. Sans-IO in all but name: everything the machine does goes through [`driver::Driver`], so the
//! simulator and the real thing run the same code. Never waits, never allocates or locks per message, never touches
//! another shard's memory but through rings.
//!
//! ```text
//!   turn:  submit, sleep until something happened
//!          reap        datagrams -> gateways;  connections -> clients
//!          hops        heard, events, transmits, commands from other shards
//!          mailbox     plans, devices, queries from the control thread
//!          deadlines   dedup windows, silent gateways, pings
//!          keep        one write of what must not be forgotten; what waited for the last one leaves
//!          flush       one write per consumer that has something, one wake per shard that was written to
//! ```

mod broking;
mod client;
mod clients;
mod commands;
mod control;
mod deliveries;
mod feeds;
mod gateway;
mod group;
mod held;
mod hop;
mod inbound;
mod keeping;
mod mail;
mod metrics;
mod outbound;
mod outlets;
mod reader;
mod streams;
pub mod tls;

pub use broking::{BrokerOptions, join_brokers};
pub use commands::Refused;
pub use control::{
    CommandRequest, ConnectionAnswer, DeviceAnswer, FromShard, GatewayAnswer, GroupAnswer, GroupRefused, Happened,
    JournalAnswer, Load, Mailbox, QUEUE_LISTED_MAX, Query, QueuedAnswer, StreamAnswer, ToShard, What,
};
pub use group::{From, Group, MessageId, NotFound};
pub use held::Held;
pub use hop::{Ports, ReplyTo, fabric};
pub use keeping::{JournalOptions, Keeping, Need, NotTaken, Trouble};
pub use metrics::{Descriptor, Done, Drop, Gauges, Latencies, Report, descriptors};

use base::{Monotonic, UnixMicros};
use broking::Brokering;
use clients::{Clients, Context};
use commands::{Outgoing, Replies};
use driver::steering::SLOT_COUNT;
use driver::{Completion, Driver};
use feeds::{Feeds, Ground};
use hop::Hop;
use journal::Catalog;
use metrics::Counters;
use outlets::{Outlets, PlanRules};
use rustls::ServerConfig;
use session::gateways::Gateways;
use session::{Lane, Lanes, Network, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// Messages of the mailbox that one turn takes, so that an import does not hold up traffic.
const MAIL_PER_TURN_MAX: usize = 128;

/// Records of each ring that one turn takes.
const HOPS_PER_TURN_MAX: usize = 256;

/// Words about streams of the next plan that are kept until it comes; further ones are said again anyway.
const EARLY_PRESENCE_COUNT_MAX: usize = 256;

/// What a shard is told at start.
#[derive(Clone)]
pub struct Options {
    /// Which shard this is.
    pub index: usize,
    /// Key of the steering of gateways, the same for every shard.
    pub slot_key: u32,
    /// Sizes of the network server.
    pub network: session::Limits,
    /// Sizes of the gateway table.
    pub gateways: session::gateways::Limits,
    /// Blocks of queue memory, [`base::blocks::BLOCK_BYTES`] each.
    pub queue_block_count: usize,
    /// TLS of the listeners; `None` for those in `plain_listeners`.
    pub tls: Option<Arc<ServerConfig>>,
    /// Listeners, by number, that speak without TLS.
    pub plain_listeners: u64,
    /// Whether `/echo` answers.
    pub echo: bool,
    /// TLS of the listeners that speak MQTT.
    pub broker_tls: Option<Arc<ServerConfig>>,
    /// How it serves MQTT, if it does.
    pub broker: Option<BrokerOptions>,
    /// How it journals; without it nothing outlives the process.
    pub journal: Option<JournalOptions>,
}

/// The shard in whose charge a lane is.
#[must_use]
pub const fn shard_of_lane(lane: u8, shard_count: usize) -> usize {
    lane as usize % shard_count
}

/// The shard in whose charge a gateway slot is.
#[must_use]
pub const fn shard_of_slot(slot: u8, shard_count: usize) -> usize {
    slot as usize * shard_count / SLOT_COUNT
}

/// One core's worth of Trunkline.
pub struct Shard<D: Driver> {
    driver: D,
    options: Options,
    shard_count: usize,
    ports: Ports,
    mailbox: Mailbox,
    load: Box<Load>,
    network: Network,
    gateways: Gateways,
    clients: Clients,
    brokering: Option<Box<Brokering>>,
    keeping: Option<Keeping>,
    feeds: Feeds,
    /// Segments of this run and of earlier ones, as the keeper knows them.
    catalog: Box<Catalog>,
    /// Answers to commands that wait until what was commanded is kept.
    replies: Replies,
    /// Where a datagram or a record lies while the shard works on it. Taken out meanwhile; never absent between calls.
    record: Option<Box<base::ring::Record>>,
    counters: Counters,
    latencies: Latencies,
    busy_ns: u64,
    turn_started: Monotonic,
    /// Word of consumers of streams that the plan here does not have yet: stream, shard, whether someone listens.
    early_presence: Vec<(u32, u8, bool)>,
    /// When the connections that are left at a stop are given up.
    stop_at: Option<Monotonic>,
}

/// Both clocks, as read for this turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) monotonic: Monotonic,
    pub(crate) unix: UnixMicros,
}

impl<D: Driver> Shard<D> {
    /// Reserves everything. Serving may begin at once: the first plan is empty.
    #[must_use]
    pub fn new(mut driver: D, options: Options, ports: Ports, mailbox: Mailbox) -> Self {
        let shard_count = ports.shard_count();
        let lanes = (0..session::LANE_COUNT as u8)
            .filter(|lane| shard_of_lane(*lane, shard_count) == options.index)
            .fold(Lanes::NONE, |lanes, lane| lanes.with(Lane(lane)));
        let mut seed = [0; 8];
        driver.entropy(&mut seed);
        let limits = driver.limits();
        let turn_started = driver.now();
        Self {
            network: Network::new(options.network, lanes, u64::from_le_bytes(seed)),
            gateways: Gateways::new(options.gateways, u64::from_le_bytes(seed).rotate_left(32)),
            clients: Clients::new(&limits, &options, shard_count),
            brokering: options
                .broker
                .as_ref()
                .map(|broker| Box::new(Brokering::new(broker, options.index, shard_count))),
            keeping: options.journal.as_ref().map(|journal| Keeping::new(journal, options.index)),
            feeds: Feeds::new(options.index),
            catalog: Box::default(),
            replies: Replies::default(),
            driver,
            options,
            shard_count,
            ports,
            mailbox,
            record: Some(Box::new([0; base::ring::RECORD_BYTES_MAX])),
            load: Box::new(Load::new(plan::Plan::default())),
            counters: Counters::default(),
            latencies: Latencies::default(),
            busy_ns: 0,
            turn_started,
            early_presence: Vec::with_capacity(EARLY_PRESENCE_COUNT_MAX),
            stop_at: None,
        }
    }

    /// The machine under it: for the simulator, which owns the other side.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// One turn of the loop. False when the shard was told to stop and has.
    pub fn turn(&mut self) -> bool {
        let until = self.deadline();
        let (ports, mailbox) = (&self.ports, &self.mailbox);
        self.busy_ns += self.driver.instant().since(self.turn_started).as_nanos() as u64;
        self.driver.turn(until, &mut || ports.quiet() && mailbox.to.is_empty());
        let now = Now { monotonic: self.driver.now(), unix: self.driver.unix() };
        self.turn_started = now.monotonic;
        self.counters.done.count(Done::Turns);

        if self.brokering.is_some() {
            let (clients, driver, mut context) = self.with_clients(now);
            clients.hear_peers(driver, &mut context);
        }
        while let Some(completion) = self.driver.reap() {
            self.complete(completion, now);
        }
        self.take_hops(now);
        let serving = self.take_mail(now);
        self.expire(now);
        self.keep(now);
        let (clients, driver, mut context) = self.with_clients(now);
        clients.broke(driver, &mut context);
        clients.flush(driver, &mut context);
        self.wake_others();
        let spent = self.driver.instant().since(now.monotonic).as_nanos() as u64;
        self.latencies.turn.saturating_record(spent.max(1));
        serving
    }

    fn deadline(&self) -> Monotonic {
        let keeping = self.keeping.as_ref().map_or(Monotonic::NEVER, Keeping::deadline);
        let network = self.network.deadline();
        let network =
            if network == Monotonic::NEVER { network } else { Monotonic(network.0.next_multiple_of(SLACK_NS)) };
        let now = self.driver.now();
        let broker = self.brokering.as_ref().map_or(Monotonic::NEVER, |brokering| brokering.deadline(now));
        let network = network.min(broker);
        network.min(self.gateways.deadline()).min(self.clients.deadline()).min(keeping).min(self.feeds.deadline())
    }

    fn complete(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::Datagram { socket, source, lease, truncated } => {
                self.datagram(socket, source, lease, truncated, now);
            }
            Completion::Opened { file, outcome } => {
                if !self.keeping.as_mut().is_some_and(|keeping| keeping.opened(&mut self.driver, file, outcome)) {
                    self.with_feeds(now, |feeds, driver, ground| feeds.opened(driver, file, outcome, ground));
                }
            }
            Completion::Read { file, outcome, .. } => {
                self.with_feeds(now, |feeds, driver, ground| feeds.piece(driver, file, outcome, ground));
            }
            Completion::Written { file, outcome } => {
                let ours = self.keeping.as_mut().is_some_and(|keeping| keeping.written(file, outcome, now.monotonic));
                assert!(ours, "somebody asked for the write");
                self.counters.done.count(Done::JournalWrites);
            }
            Completion::FileClosed { .. } => {}
            Completion::SendToFailed { .. } => self.counters.drops.count(Drop::AnswerFailed),
            Completion::Overrun { count, .. } => {
                self.counters.drops.cell(Drop::DatagramOverrun).add(u64::from(count));
            }
            other => {
                let (clients, driver, mut context) = self.with_clients(now);
                clients.complete(driver, other, &mut context);
            }
        }
    }

    /// Splits the shard into its connections, the driver, and what a connection's steps touch.
    fn with_clients(&mut self, now: Now) -> (&mut Clients, &mut D, Context<'_>) {
        let context = Context {
            brokering: self.brokering.as_deref_mut(),
            load: &mut self.load,
            mailbox: &self.mailbox,
            outgoing: Outgoing {
                ports: &mut self.ports,
                counters: &self.counters,
                shard: self.options.index as u8,
                shard_count: self.shard_count,
            },
            counters: &self.counters,
            now,
        };
        (&mut self.clients, &mut self.driver, context)
    }

    /// Splits the shard into the network server and everything that its output touches.
    fn split(&mut self, now: Now) -> (&mut Network, PlanRules<'_>, Outlets<'_, D>) {
        let Load { plan, presence, streams } = &mut *self.load;
        let rules = PlanRules { plan, presence };
        let outlets = Outlets {
            plan,
            presence,
            streams,
            driver: &mut self.driver,
            ports: &mut self.ports,
            mailbox: &self.mailbox,
            clients: &mut self.clients,
            keeping: &mut self.keeping,
            lanes: self.network.lanes(),
            counters: &self.counters,
            latencies: &mut self.latencies,
            own: self.options.index,
            slot_key: self.options.slot_key,
            shard_count: self.shard_count,
            now,
        };
        (&mut self.network, rules, outlets)
    }

    /// Splits the shard into its feeds, the driver, and what a feed's steps touch. Without a journal there are none.
    fn with_feeds(&mut self, now: Now, act: impl FnOnce(&mut Feeds, &mut D, &mut Ground<'_>)) {
        let Some(keeping) = &mut self.keeping else { return };
        let mut ground = Ground {
            keeping,
            catalog: &self.catalog,
            plan: &self.load.plan,
            ports: &mut self.ports,
            mailbox: &self.mailbox,
            counters: &self.counters,
            shard: self.options.index as u8,
            lanes: self.network.lanes().bits(),
            now,
        };
        act(&mut self.feeds, &mut self.driver, &mut ground);
    }

    fn take_hops(&mut self, now: Now) {
        let mut room = self.record.take().expect("the room comes back after every use");
        for source in 0..self.shard_count {
            for _ in 0..HOPS_PER_TURN_MAX {
                let Some(count) = self.ports.receive(source, &mut room) else { break };
                match Hop::parse(&room[..count]) {
                    Some(hop) => self.hop(hop, now),
                    None => self.counters.drops.count(Drop::HopMalformed),
                }
            }
        }
        self.record = Some(room);
    }

    fn hop(&mut self, hop: Hop<'_>, now: Now) {
        match hop {
            Hop::Heard(heard) => {
                let heard = session::Heard {
                    phy: heard.phy,
                    reception: heard.reception,
                    frequency_hz: heard.frequency_hz,
                    data_rate: heard.data_rate,
                };
                let (network, rules, mut outlets) = self.split(now);
                network.receive(&heard, &rules, &mut outlets, now.monotonic, now.unix);
            }
            Hop::Event(sent, event) => {
                let (_, _, mut outlets) = self.split(now);
                outlets.deliver_hop(sent, &event);
            }
            Hop::Transmit(transmit) => self.transmit(&transmit),
            Hop::Transmitted { transmission, outcome } => {
                let outcome = gateway::outcome_from_wire(outcome);
                self.transmitted(transmission, outcome, now);
            }
            Hop::Command(command) => self.command(&command, now),
            Hop::Reply(reply) => {
                let (clients, _, mut context) = self.with_clients(now);
                clients.reply(&reply, &mut context);
            }
            Hop::Word(word) => self.with_feeds(now, |feeds, _, ground| feeds.word(&word, ground)),
            Hop::Settled(settled) => self.with_feeds(now, |feeds, _, ground| feeds.settled(&settled, ground)),
            Hop::Message(message) => {
                let late = self.driver.instant().since(message.sent).as_nanos() as u64;
                self.latencies.hop.saturating_record(late.max(1));
                let (clients, _, mut context) = self.with_clients(now);
                clients.message_of_feed(&message, &mut context);
            }
            Hop::Presence { shard, stream, present } => {
                let known = self.load.set_presence(stream, shard, present);
                if !known && self.early_presence.len() < EARLY_PRESENCE_COUNT_MAX {
                    self.early_presence.push((stream, shard, present));
                }
            }
        }
    }

    fn transmitted(&mut self, transmission: u32, outcome: Outcome, now: Now) {
        let (network, rules, mut outlets) = self.split(now);
        network.transmitted(transmission, outcome, &rules, &mut outlets, now.monotonic, now.unix);
    }

    fn expire(&mut self, now: Now) {
        if self.network.deadline() <= now.monotonic {
            let (network, rules, mut outlets) = self.split(now);
            network.expire(&rules, &mut outlets, now.monotonic, now.unix);
        }
        if self.gateways.deadline() <= now.monotonic {
            self.expire_gateways(now);
        }
        if self.clients.deadline() <= now.monotonic {
            let (clients, driver, mut context) = self.with_clients(now);
            clients.expire(driver, &mut context);
        }
    }

    /// Lets go of what waited for what is kept by now, and sees that the turn's records are on their way.
    fn keep(&mut self, now: Now) {
        if self.keeping.as_mut().is_some_and(Keeping::take_moved) {
            self.feeds.moved();
            let (network, rules, mut outlets) = self.split(now);
            network.kept(&rules, &mut outlets, now.monotonic, now.unix);
        }
        self.release_replies();
        self.with_feeds(now, |feeds, driver, ground| {
            feeds.pump(ground);
            feeds.go_on_reading(driver, ground);
        });
        self.clients.say_unsaid(&mut self.ports);
        if let Some(keeping) = &mut self.keeping {
            keeping.flush(&mut self.driver, &self.mailbox, now.monotonic);
        }
    }

    fn wake_others(&mut self) {
        let mut rest = self.ports.take_touched();
        while rest != 0 {
            self.driver.wake(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

/// So late may be what the network server does by the clock (windows that end, answers that are due), together with all
/// that falls due meanwhile: a wake-up for each would cost more than what it does.
const SLACK_NS: u64 = 1_000_000;

/// The time until which a consumer's closing is waited for at a stop.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// The time after which a stopping shard waits for no connection any more.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
