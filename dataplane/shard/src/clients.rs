//! The consumers' connections of one shard.
//!
//! Owns the table of connections, the pool of queue memory, the rooms in which received bytes are worked on, and the
//! list of connections that have something to write. How bytes come in is in `inbound`, how messages go out in
//! `outbound`; here are beginnings, ends and deadlines.

use crate::broking::{Brokering, LATE_BYTES};
use crate::client::{Client, Phase, Reading};
use crate::commands::Outgoing;
use crate::control::{FromShard, Happened, Load, Mailbox, What};
use crate::deliveries::Unsaid;
use crate::hop::Hop;
use crate::metrics::{Counters, Done, Drop};
use crate::streams::{NONE, Renderer};
use crate::tls::{Scratch, Tls};
use crate::{Now, Options, STOP_TIMEOUT};
use base::blocks::Pool;
use base::{Eui64, Monotonic};
use broker::{Lost, Slot};
use driver::{Completion, Connection, Driver, End, Limits, Listener};
use mqtt::ReasonCode;
use plan::{Delivery, StreamPlan};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::websocket::{CloseCode, Deflater, Inflater};

/// Until a connection must have opened its stream.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closing handshake is waited for.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two ticks of the deadlines, which are a second coarse.
const TICK: Duration = Duration::from_millis(50);

/// Ticks in which the whole table is looked at once.
const TICKS_PER_SWEEP: usize = 20;

/// Streams whose presence is said again per tick, lest a full ring has swallowed it.
const PRESENCE_PER_TICK: usize = 64;

/// Pings that may go unanswered.
const PINGS_UNANSWERED_MAX: u8 = 2;

/// The longest message a consumer may send, bytes.
const INBOUND_BYTES_MAX: usize = 64 << 10;

/// The same where `/echo` answers: public suites send long ones.
const INBOUND_ECHO_BYTES_MAX: usize = 1 << 20;

/// A connection whose answers have piled up so far is not read from until they have shrunk to a quarter.
pub(crate) const PAUSE_ABOVE_BYTES: usize = 256 << 10;

/// Room for what was kept plus what one buffer brought.
pub(crate) const WORK_BYTES: usize = 128 << 10;

/// Everything that inbound work needs room for; one per shard, lent to whichever connection is worked on.
pub(crate) struct Rooms {
    /// Ciphertext, kept rest and new bytes together.
    pub(crate) cipher: Box<[u8]>,
    /// Plaintext of one batch.
    pub(crate) plain: Box<[u8]>,
    /// A message being assembled.
    pub(crate) message: Box<[u8]>,
    /// A message being decompressed.
    pub(crate) inflated: Box<[u8]>,
    /// A packet of MQTT whose beginning was put away, and what came behind it.
    pub(crate) packet: Box<[u8]>,
    pub(crate) inflater: Inflater,
    pub(crate) flight: Scratch,
}

/// See the module.
pub(crate) struct Clients {
    pub(crate) table: Vec<Client>,
    pub(crate) pool: Pool,
    pub(crate) dirty: Vec<u32>,
    pub(crate) renderer: Renderer,
    pub(crate) deflater: Deflater,
    /// A record's plaintext while it is encrypted.
    pub(crate) record: Box<[u8]>,
    /// A message while it is compressed.
    pub(crate) packed: Box<[u8]>,
    /// Taken out while a connection is worked on; never absent between calls.
    pub(crate) rooms: Option<Box<Rooms>>,
    pub(crate) unsaid: Unsaid,
    pub(crate) open_count: usize,
    pub(crate) own: usize,
    pub(crate) shard_count: usize,
    pub(crate) echo: bool,
    tls: Option<Arc<ServerConfig>>,
    /// Of listeners that speak MQTT.
    broker_tls: Option<Arc<ServerConfig>>,
    plain_listeners: u64,
    broker_listeners: u64,
    /// Sessions whose connection is gone; the broker is told at the turn's end.
    pub(crate) lost: Vec<(Slot, Lost)>,
    /// Connections that are read again.
    pub(crate) resumed: Vec<u32>,
    tick_at: Monotonic,
    swept: usize,
    /// Where the search for stalled consumers goes on.
    pub(crate) searched: usize,
    presence_said: usize,
    /// The dataplane stops: whoever connects now is sent away.
    pub(crate) stopping: bool,
}

/// What most of a connection's steps touch besides the table.
pub(crate) struct Context<'a> {
    /// Taken out while it works.
    pub(crate) brokering: Option<&'a mut Brokering>,
    pub(crate) load: &'a mut Load,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) outgoing: Outgoing<'a>,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Now,
}

impl Clients {
    pub(crate) fn new(limits: &Limits, options: &Options, shard_count: usize) -> Self {
        let room = |bytes: usize| vec![0; bytes].into_boxed_slice();
        let count = limits.connection_count as usize;
        let inbound_bytes_max = if options.echo { INBOUND_ECHO_BYTES_MAX } else { INBOUND_BYTES_MAX };
        Self {
            table: Vec::with_capacity(count),
            pool: Pool::new(options.queue_block_count),
            dirty: Vec::with_capacity(count),
            renderer: Renderer::default(),
            deflater: Deflater::new(1),
            record: room(limits.output_bytes as usize),
            packed: room(inbound_bytes_max),
            rooms: Some(Box::new(Rooms {
                cipher: room(WORK_BYTES),
                plain: room(WORK_BYTES),
                message: room(inbound_bytes_max.max(WORK_BYTES)),
                inflated: room(inbound_bytes_max),
                packet: room(
                    options.broker.as_ref().map_or(0, |broker| broker.limits.packet_bytes_max as usize + LATE_BYTES),
                ),
                inflater: Inflater::default(),
                flight: Scratch::default(),
            })),
            unsaid: Unsaid::new(count),
            open_count: 0,
            own: options.index,
            shard_count,
            echo: options.echo,
            tls: options.tls.clone(),
            broker_tls: options.broker_tls.clone(),
            plain_listeners: options.plain_listeners,
            broker_listeners: options.broker.as_ref().map_or(0, |broker| broker.listeners),
            lost: Vec::with_capacity(count),
            resumed: Vec::with_capacity(count),
            tick_at: Monotonic::NEVER,
            swept: 0,
            searched: 0,
            presence_said: 0,
            stopping: false,
        }
    }

    /// When [`Clients::expire`] wants to be called.
    pub(crate) const fn deadline(&self) -> Monotonic {
        self.tick_at
    }

    /// The client of a completion, unless the place has another holder by now.
    pub(crate) fn find(&self, connection: Connection) -> Option<usize> {
        let index = connection.index as usize;
        let client = self.table.get(index)?;
        (client.phase != Phase::Free && client.connection == connection).then_some(index)
    }

    pub(crate) fn complete<D: Driver>(&mut self, driver: &mut D, done: Completion, context: &mut Context<'_>) {
        match done {
            Completion::Accepted { listener, connection, peer } => {
                self.accept(driver, listener, connection, peer, context);
            }
            Completion::Refused { .. } => context.counters.drops.count(Drop::ConnectionRefused),
            Completion::Received { connection, lease } => {
                self.received(driver, connection, lease, context);
            }
            Completion::Ended { connection, end } => {
                if let Some(index) = self.find(connection) {
                    self.ended(driver, index, end, context);
                }
            }
            Completion::Sent { connection } => {
                if let Some(index) = self.find(connection) {
                    let client = &mut self.table[index];
                    client.sending = false;
                    if client.session.is_some() {
                        self.written(driver, index, context);
                    }
                    let client = &mut self.table[index];
                    if client.echo && client.paused && client.plain.len() < PAUSE_ABOVE_BYTES / 4 {
                        client.paused = false;
                        driver.resume(connection);
                    }
                    self.mark(index);
                }
            }
            Completion::SendFailed { connection, .. } => {
                if let Some(index) = self.find(connection) {
                    self.table[index].sending = false;
                    self.abort(driver, index, context);
                }
            }
            Completion::Detached { connection, socket } => self.detached(connection, socket, context),
            Completion::Closed { connection } => {
                if let Some(index) = self.find(connection) {
                    self.closed(index, context.counters);
                }
            }
            Completion::Datagram { .. } | Completion::SendToFailed { .. } | Completion::Overrun { .. } => {
                unreachable!("the shard takes datagrams itself")
            }
            Completion::Opened { .. }
            | Completion::Written { .. }
            | Completion::Read { .. }
            | Completion::FileClosed { .. } => unreachable!("no client opens a file"),
        }
    }

    fn accept<D: Driver>(
        &mut self,
        driver: &mut D,
        listener: Listener,
        connection: Connection,
        peer: SocketAddr,
        context: &mut Context<'_>,
    ) {
        context.counters.done.count(Done::ConnectionsAccepted);
        let index = self.occupy(connection, context.now);
        let plain = self.plain_listeners & (1 << listener.0) != 0;
        let broker = self.broker_listeners & (1 << listener.0) != 0;
        let tls = match if broker { &self.broker_tls } else { &self.tls } {
            _ if self.stopping => None,
            Some(config) if !plain => match Tls::new(config) {
                Ok(tls) => Some(tls),
                Err(_) => {
                    context.counters.drops.count(Drop::TlsFailed);
                    None
                }
            },
            _ => None,
        };
        let refused = self.stopping || (!plain && tls.is_none());
        let client = &mut self.table[index];
        *client = Client {
            connection,
            phase: Phase::Head,
            secure: tls.is_none(),
            notified: tls.is_none(),
            tls,
            broker,
            peer,
            since: context.now.unix,
            deadline: context.now.monotonic.after(HANDSHAKE_TIMEOUT),
            dirty: client.dirty,
            ..Client::default()
        };
        if refused {
            self.close(driver, index, true, context.now.monotonic);
        }
    }

    /// Takes the free place that the driver gave a connection.
    pub(crate) fn occupy(&mut self, connection: Connection, now: Now) -> usize {
        let index = connection.index as usize;
        while self.table.len() <= index {
            self.table.push(Client::default());
        }
        assert!(self.table[index].phase == Phase::Free, "the driver hands out free places");
        self.open_count += 1;
        if self.tick_at == Monotonic::NEVER {
            self.tick_at = now.monotonic.after(TICK);
        }
        index
    }

    fn ended<D: Driver>(&mut self, driver: &mut D, index: usize, end: End, context: &mut Context<'_>) {
        if self.table[index].phase == Phase::Moving {
            // It is told again where it goes, after all bytes.
            return;
        }
        self.lose(index, if end == End::Finished { Lost::Closed } else { Lost::Broken });
        self.leave(index, context);
        let client = &mut self.table[index];
        if client.phase == Phase::Closing {
            return;
        }
        // After a plain FIN the peer may still read what is queued; a close frame of ours would reach nobody who answers.
        if end == End::Finished && client.phase == Phase::Draining && (client.sending || client.has_output()) {
            client.linger = false;
            self.mark(index);
            return;
        }
        self.close(driver, index, end != End::Finished, context.now.monotonic);
    }

    /// Puts a listening client at the head of its stream's list.
    pub(crate) fn join(&mut self, index: usize, stream: u32, context: &mut Context<'_>) {
        let state = &mut context.load.streams[stream as usize];
        let head = core::mem::replace(&mut state.head, index as u32);
        state.session_count += 1;
        let first = state.session_count == 1;
        let id = state.id;
        if head != NONE {
            self.table[head as usize].previous = index as u32;
        }
        let client = &mut self.table[index];
        client.stream = stream;
        client.next = head;
        client.previous = NONE;
        context.counters.done.count(Done::StreamsOpened);
        let live = context.load.plan.streams[stream as usize].delivery == Delivery::Live;
        if first && live {
            self.say_presence(stream, id, true, context);
        }
        self.happened(What::StreamOpened, &context.load.plan.streams[stream as usize], context);
    }

    /// A session's connection is gone, or will be.
    fn lose(&mut self, index: usize, why: Lost) {
        if let Some(slot) = self.table[index].session.take() {
            self.lost.push((slot, why));
        }
    }

    /// Takes a client out of its stream's list, if it is in one, and away from the broker.
    pub(crate) fn leave(&mut self, index: usize, context: &mut Context<'_>) {
        self.lose(index, Lost::Broken);
        self.detach(index);
        let client = &mut self.table[index];
        let stream = core::mem::replace(&mut client.stream, NONE);
        if stream == NONE {
            return;
        }
        let (next, previous) = (client.next, client.previous);
        if next != NONE {
            self.table[next as usize].previous = previous;
        }
        let state = &mut context.load.streams[stream as usize];
        if previous == NONE {
            state.head = next;
        } else {
            self.table[previous as usize].next = next;
        }
        state.session_count -= 1;
        if state.session_count == 0 {
            let id = state.id;
            self.say_presence(stream, id, false, context);
        }
        self.happened(What::StreamClosed, &context.load.plan.streams[stream as usize], context);
    }

    fn say_presence(&mut self, stream: u32, id: u32, present: bool, context: &mut Context<'_>) {
        let own = 1 << self.own;
        let shards = &mut context.load.presence[stream as usize];
        if present {
            *shards |= own;
        } else {
            *shards &= !own;
        }
        let others = all_shards(self.shard_count) & !own;
        let hop = Hop::Presence { shard: self.own as u8, stream: id, present };
        let refused = context.outgoing.ports.send_each(others, &hop);
        context.counters.drops.add(Drop::HopPresence, refused);
    }

    fn happened(&self, what: What, plan: &StreamPlan, context: &Context<'_>) {
        let happened = Happened {
            what,
            at: context.now.unix,
            tenant: plan.tenant,
            application: 0,
            dev_eui: Eui64::default(),
            gateway: Eui64::default(),
            stream: plan.id,
            failure: None,
        };
        if context.mailbox.offer(FromShard::Happened(happened)).is_err() {
            context.counters.drops.count(Drop::HappenedDropped);
        }
    }

    /// Moves every session from the streams of the plan before to those of the plan in force.
    ///
    /// A session whose stream is gone or disabled, or whose token no longer opens it, is closed with 1008.
    pub(crate) fn carry_over(&mut self, before: &Load, context: &mut Context<'_>) {
        let mut at = 0;
        // Both are in the order of ids.
        for (index, state) in before.streams.iter().enumerate() {
            while context.load.streams.get(at).is_some_and(|next| next.id < state.id) {
                at += 1;
            }
            let kept = context.load.streams.get(at).is_some_and(|next| next.id == state.id);
            if kept {
                context.load.streams[at] = *state;
                context.load.presence[at] = before.presence[index];
            }
            let mut rest = state.head;
            while rest != NONE {
                let client = rest as usize;
                rest = self.table[client].next;
                self.table[client].stream = if kept { at as u32 } else { NONE };
            }
            let mut rest = state.head;
            while rest != NONE {
                let client = rest as usize;
                rest = self.table[client].next;
                if !kept {
                    self.happened(What::StreamClosed, &before.plan.streams[index], context);
                }
                if !kept || context.load.plan.stream_of_token(&self.table[client].token) != Some(at as u32) {
                    self.shut(client, CloseCode::POLICY, "the stream or its token is no longer valid", context);
                    continue;
                }
                let durable = context.load.plan.streams[at].delivery != Delivery::Live;
                if durable != self.table[client].durable.is_some() {
                    self.shut(client, CloseCode::RESTART, "the stream's delivery was changed", context);
                }
            }
        }
    }

    /// Closes every connection with 1001, for a stop.
    pub(crate) fn shut_all<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        self.stopping = true;
        for index in 0..self.table.len() {
            match self.table[index].phase {
                Phase::Free | Phase::Closing => {}
                Phase::Head | Phase::Moving => self.close(driver, index, false, context.now.monotonic),
                Phase::Open if self.table[index].session.is_some() => {
                    self.dismiss(driver, index, ReasonCode::ServerShuttingDown, context);
                    self.table[index].deadline = context.now.monotonic.after(STOP_TIMEOUT);
                }
                Phase::Open if matches!(self.table[index].reading, Some(Reading::Mqtt(_))) => {
                    self.close(driver, index, false, context.now.monotonic);
                }
                Phase::Open | Phase::Leaving | Phase::Draining => {
                    self.shut(index, CloseCode::GOING_AWAY, "the dataplane stops", context);
                    self.table[index].deadline = context.now.monotonic.after(STOP_TIMEOUT);
                }
            }
        }
    }

    /// Begins the closing handshake: what is queued and a close frame leave, and the peer's is awaited.
    pub(crate) fn shut(&mut self, index: usize, code: CloseCode, reason: &str, context: &mut Context<'_>) {
        self.leave(index, context);
        if self.table[index].phase == Phase::Open {
            self.queue_close(index, Some(code), reason);
            let client = &mut self.table[index];
            client.phase = Phase::Leaving;
            client.deadline = context.now.monotonic.after(CLOSE_TIMEOUT);
        }
    }

    /// Sends what is queued and then closes.
    pub(crate) fn drain(&mut self, index: usize, context: &mut Context<'_>) {
        self.leave(index, context);
        let client = &mut self.table[index];
        client.phase = Phase::Draining;
        client.deadline = context.now.monotonic.after(CLOSE_TIMEOUT);
        self.mark(index);
    }

    /// Ends a connection at once, by reset.
    pub(crate) fn abort<D: Driver>(&mut self, driver: &mut D, index: usize, context: &mut Context<'_>) {
        self.leave(index, context);
        self.close(driver, index, true, context.now.monotonic);
    }

    /// Asks the driver to close. A peer that does not read what is in flight holds that up until its time is over.
    pub(crate) fn close<D: Driver>(&mut self, driver: &mut D, index: usize, abort: bool, now: Monotonic) {
        let client = &mut self.table[index];
        if client.phase != Phase::Closing {
            client.phase = Phase::Closing;
            client.deadline = if abort { Monotonic::NEVER } else { now.after(CLOSE_TIMEOUT) };
            driver.close(client.connection, abort);
        }
    }

    fn closed(&mut self, index: usize, counters: &Counters) {
        self.vacate(index);
        counters.done.count(Done::ConnectionsClosed);
    }

    /// Frees a place.
    pub(crate) fn vacate(&mut self, index: usize) {
        let client = &mut self.table[index];
        for queue in [&mut client.incoming, &mut client.partial, &mut client.cipher, &mut client.plain] {
            self.pool.clear(queue);
        }
        assert!(!client.listens(), "a closed connection has left its stream");
        let dirty = client.dirty;
        *client = Client { dirty, ..Client::default() };
        self.open_count -= 1;
    }

    /// Puts a client on the list of those that have something to write.
    pub(crate) fn mark(&mut self, index: usize) {
        let client = &mut self.table[index];
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(index as u32);
        }
    }

    /// Looks at a part of the table for deadlines that have come, and says some presence again.
    pub(crate) fn expire<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        let now = context.now.monotonic;
        let count = self.table.len().div_ceil(TICKS_PER_SWEEP);
        for _ in 0..count {
            self.swept = if self.swept + 1 < self.table.len() { self.swept + 1 } else { 0 };
            if self.table[self.swept].deadline <= now {
                self.due(driver, self.swept, context);
            }
        }
        self.repeat_presence(context);
        self.tick_at = if self.open_count == 0 { Monotonic::NEVER } else { now.after(TICK) };
    }

    fn due<D: Driver>(&mut self, driver: &mut D, index: usize, context: &mut Context<'_>) {
        let ping_interval = self.ping_interval(index, context.load);
        let client = &mut self.table[index];
        match client.phase {
            Phase::Free => client.deadline = Monotonic::NEVER,
            Phase::Closing => {
                client.deadline = Monotonic::NEVER;
                driver.close(client.connection, true);
            }
            Phase::Open if client.session.is_some() && !client.stalled => client.deadline = Monotonic::NEVER,
            Phase::Head | Phase::Moving => {
                context.counters.drops.count(Drop::HandshakeTimeout);
                self.abort(driver, index, context);
            }
            Phase::Draining if client.linger && !client.sending && !client.has_output() => {
                self.close(driver, index, false, context.now.monotonic);
            }
            Phase::Leaving | Phase::Draining => self.abort(driver, index, context),
            Phase::Open if client.stalled => {
                context.counters.drops.count(Drop::Stalled);
                self.abort(driver, index, context);
            }
            Phase::Open if matches!(client.reading, Some(Reading::Mqtt(_))) => {
                context.counters.drops.count(Drop::HandshakeTimeout);
                self.abort(driver, index, context);
            }
            Phase::Open if client.overdue => {
                context.counters.drops.count(Drop::Overdue);
                self.shut(index, CloseCode::TRY_AGAIN_LATER, "the consumer is too slow", context);
            }
            Phase::Open if client.pings >= PINGS_UNANSWERED_MAX => {
                context.counters.drops.count(Drop::PongMissing);
                self.abort(driver, index, context);
            }
            Phase::Open => {
                client.pings += 1;
                client.deadline = context.now.monotonic.after(ping_interval);
                self.queue_ping(index);
            }
        }
    }

    pub(crate) fn ping_interval(&self, index: usize, load: &Load) -> Duration {
        let stream = self.table[index].stream;
        load.plan.streams.get(stream as usize).map_or(Duration::from_secs(30), |stream| stream.ping_interval)
    }

    fn repeat_presence(&mut self, context: &mut Context<'_>) {
        let count = context.load.streams.len();
        let own = 1 << self.own;
        let others = all_shards(self.shard_count) & !own;
        if others == 0 {
            return;
        }
        for _ in 0..PRESENCE_PER_TICK.min(count) {
            self.presence_said = if self.presence_said + 1 < count { self.presence_said + 1 } else { 0 };
            let state = &context.load.streams[self.presence_said];
            let live = context.load.plan.streams[self.presence_said].delivery == Delivery::Live;
            if state.session_count > 0 && live {
                let hop = Hop::Presence { shard: self.own as u8, stream: state.id, present: true };
                let refused = context.outgoing.ports.send_each(others, &hop);
                context.counters.drops.add(Drop::HopPresence, refused);
            }
        }
    }
}

pub(crate) const fn all_shards(count: usize) -> u64 {
    if count == 64 { u64::MAX } else { (1 << count) - 1 }
}
