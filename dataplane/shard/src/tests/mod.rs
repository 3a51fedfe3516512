//! Shards over a machine that does what the test says.

mod broking;
mod durable;
mod fake;
mod journaled;
mod layout;
mod life;
mod metrics;
mod overload;
mod tls;

use crate::metrics::{Done, Drop};
use crate::{
    BrokerOptions, FromShard, JournalOptions, Load, Mailbox, Options, Report, Shard, ToShard, Trouble, fabric,
    join_brokers, shard_of_slot,
};
use base::{Eui64, UnixMicros};
use contract::v1;
use contract::v1::change::Body;
use driver::steering::slot_of;
use driver::{Connection, Listener, Socket};
use fake::{Closed, Fake};
use journal::{Catalog, Header, SegmentInfo};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

const PLAIN: Listener = Listener(0);
const SECURE: Listener = Listener(1);
const MQTT: Listener = Listener(2);
const SLOT_KEY: u32 = 9;
const KEY: [u8; 16] = [3; 16];
const GATEWAY: u64 = 0xB1;
const TOKEN: &str = "open-sesame";
const JOURNAL: journal::Limits = journal::Limits {
    segment_bytes: 1 << 20,
    tail_bytes: 512 << 10,
    batch_bytes: 256 << 10,
    epoch_bytes: journal::OFFSET_END,
};

/// Some shards at the same time, and their control thread's ends.
struct World {
    shards: Vec<Shard<Fake>>,
    mailboxes: Vec<Mailbox>,
    heard: Vec<FromShard>,
    revision: u64,
    /// See [`Sizes::segments`].
    keeper: Option<u64>,
    catalog: Catalog,
}

struct Sizes {
    shard_count: usize,
    output_count: u32,
    block_count: usize,
    /// Bytes of each ring between two shards.
    ring_bytes: usize,
    /// Messages of each queue between a shard and the control thread.
    mail_count: usize,
    echo: bool,
    tls: Option<Arc<ServerConfig>>,
    /// Whether the shards serve MQTT.
    broker: bool,
    /// Whether the shards journal.
    journal: bool,
    /// Of an epoch of their logs.
    epoch_bytes: u64,
    /// Segments that find room; without any word of it, the keeper says nothing.
    segments: Option<u64>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            shard_count: 1,
            output_count: 64,
            block_count: 1024,
            ring_bytes: 64 << 10,
            mail_count: 4096,
            echo: false,
            tls: None,
            broker: false,
            journal: false,
            epoch_bytes: journal::OFFSET_END,
            segments: Some(1 << 20),
        }
    }
}

impl World {
    fn new(sizes: &Sizes) -> Self {
        let mailboxes: Vec<_> =
            (0..sizes.shard_count).map(|_| Mailbox::new(sizes.mail_count, Arc::new(|| {}))).collect();
        let broker = sizes.broker.then(|| BrokerOptions {
            limits: broker::Limits {
                message_bytes_max: 1 << 20,
                packet_bytes_max: 64 << 10,
                ..broker::Limits::default()
            },
            listeners: 1 << MQTT.0,
            key: KEY,
        });
        let mut ports = fabric(sizes.shard_count, sizes.ring_bytes);
        if let Some(broker) = &broker {
            join_brokers(&mut ports, broker.limits.packet_bytes_max);
        }
        let shards = ports.into_iter().enumerate().map(|(index, ports)| {
            let options = Options {
                index,
                slot_key: SLOT_KEY,
                network: session::Limits::for_devices(16),
                gateways: session::gateways::Limits { gateway_count_max: 16 },
                queue_block_count: sizes.block_count,
                tls: sizes.tls.clone(),
                plain_listeners: 1 << PLAIN.0 | 1 << MQTT.0,
                broker_tls: None,
                broker,
                echo: sizes.echo,
                journal: sizes.journal.then_some(JournalOptions {
                    epoch: 1,
                    limits: journal::Limits { epoch_bytes: sizes.epoch_bytes, ..JOURNAL },
                }),
            };
            Shard::new(Fake::new(sizes.output_count), options, ports, mailboxes[index].clone())
        });
        let (heard, keeper) = (Vec::new(), sizes.segments);
        let catalog = Catalog::default();
        let mut world = Self { shards: shards.collect(), mailboxes, heard, revision: 0, keeper, catalog };
        let gateway = plan::Gateway { eui: Eui64::new(GATEWAY), tenant: 0, eirp_max_dbm: None };
        for mailbox in &world.mailboxes {
            mailbox.to.push(ToShard::Upsert(plan::Upsert::Gateway(gateway))).expect("room");
        }
        world.turn();
        world
    }

    fn turn(&mut self) -> bool {
        let mut serving = false;
        let mut news = false;
        for (shard, mailbox) in self.shards.iter_mut().zip(&self.mailboxes) {
            serving |= shard.turn();
            while let Some(message) = mailbox.from.pop() {
                match (&message, &mut self.keeper) {
                    (FromShard::MakeSegment(wanted), Some(room)) => {
                        let answer = match room.checked_sub(1) {
                            Some(rest) => {
                                *room = rest;
                                let bytes = vec![0; wanted.file_bytes() as usize];
                                shard.driver_mut().files.insert(format!("journal/{}", wanted.name), bytes);
                                self.catalog.insert(SegmentInfo::unread(&Header::new(*wanted, UnixMicros(0))));
                                news = true;
                                ToShard::SegmentMade(wanted.name)
                            }
                            None => ToShard::SegmentNotMade(Trouble::Full),
                        };
                        mailbox.to.push(answer).expect("room");
                    }
                    (FromShard::Sealed(info), _) => {
                        self.catalog.insert(*info);
                        news = true;
                    }
                    _ => {}
                }
                self.heard.push(message);
            }
        }
        if news {
            for mailbox in &self.mailboxes {
                mailbox.to.push(ToShard::Catalog(Box::new(self.catalog.clone()))).expect("room");
            }
        }
        serving
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// Lets time pass in the steps of the deadlines' tick.
    fn pass(&mut self, span: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        for _ in 0..span.as_millis().div_ceil(STEP.as_millis()) {
            self.shards.iter_mut().for_each(|shard| shard.driver_mut().pass(STEP));
            self.turn();
        }
    }

    fn load(&mut self, streams: &[v1::Stream]) {
        self.configure(&streams.iter().cloned().map(Body::Stream).collect::<Vec<_>>());
    }

    /// Puts a configuration of nothing else in force on every shard.
    fn configure(&mut self, bodies: &[Body]) {
        self.revision += 1;
        for target in 0..self.shards.len() {
            self.configure_one(target, bodies);
        }
        self.turns(2);
    }

    fn load_one(&self, target: usize, streams: &[v1::Stream]) {
        self.configure_one(target, &streams.iter().cloned().map(Body::Stream).collect::<Vec<_>>());
    }

    fn configure_one(&self, target: usize, bodies: &[Body]) {
        let changes: Vec<_> = bodies.iter().map(|body| v1::Change { body: Some(body.clone()) }).collect();
        let config = plan::Config::default().apply(&changes, &mut Vec::new()).expect("consistent");
        let plan = config.compile(self.revision).expect("compiles");
        self.mailboxes[target].to.push(ToShard::Load(Box::new(Load::new(plan)))).expect("room");
    }

    fn driver(&mut self, shard: usize) -> &mut Fake {
        self.shards[shard].driver_mut()
    }

    /// A status report of the gateway arrives: an event for every stream that covers it.
    fn report(&mut self) {
        let mut bytes = vec![2, 0, 1, 0];
        bytes.extend_from_slice(&Eui64::new(GATEWAY).0);
        bytes.extend_from_slice(br#"{"stat":{"rxnb":1,"desc":""#);
        bytes.extend_from_slice(&[b'x'; 900]);
        bytes.extend_from_slice(br#""}}"#);
        let slot = slot_of(SLOT_KEY, Eui64::new(GATEWAY));
        let shard = shard_of_slot(slot, self.shards.len());
        // Datagrams come no faster than the rate limit.
        self.shards.iter_mut().for_each(|shard| shard.driver_mut().pass(Duration::from_millis(1)));
        self.driver(shard).datagram(Socket(u16::from(slot)), &bytes);
        self.turn();
    }

    /// A consumer with an open stream.
    fn consumer(&mut self, shard: usize) -> Connection {
        self.consumer_of(shard, &format!("/?token={TOKEN}"))
    }

    /// A consumer that asked for this.
    fn consumer_of(&mut self, shard: usize, target: &str) -> Connection {
        let connection = self.driver(shard).connect(PLAIN);
        self.driver(shard).say(connection, request(target).as_bytes());
        self.turns(2);
        let answer = std::mem::take(&mut self.driver(shard).peer(connection).taken);
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        connection
    }

    fn drops(&self, shard: usize, reason: Drop) -> u64 {
        self.shards[shard].counters.drops.value(reason)
    }

    fn done(&self, shard: usize, what: Done) -> u64 {
        self.shards[shard].counters.done.value(what)
    }

    /// Nobody is connected, and nothing is lent or kept.
    fn is_clean(&mut self, shard: usize) -> bool {
        let clients = &self.shards[shard].clients;
        clients.open_count == 0
            && clients.pool.free_count() == clients.pool.count()
            && clients.table.iter().all(|client| !client.listens() && !client.has_output())
            && self.driver(shard).is_whole()
    }
}

/// An operator's stream, the one that [`TOKEN`] opens.
fn stream(edit: impl FnOnce(&mut v1::Stream)) -> v1::Stream {
    let mut stream = v1::Stream {
        id: 5,
        level: v1::Level::Operator.into(),
        enabled: true,
        token_hashes: vec![Sha256::digest(TOKEN).to_vec()],
        ..Default::default()
    };
    edit(&mut stream);
    stream
}

fn request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A client's frame, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        count @ 0..126 => bytes.push(0x80 | count as u8),
        count => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(count as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// The server's frames in `bytes`: opcode and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (count, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => panic!("no message is so long"),
            short => (usize::from(*short), rest),
        };
        all.push((first & 0x0F, rest[..count].to_vec()));
        bytes = &rest[count..];
    }
    all
}

fn close_codes(bytes: &[u8]) -> Vec<u16> {
    let closes = frames(bytes).into_iter().filter(|(opcode, _)| *opcode == 8);
    closes.map(|(_, payload)| u16::from_be_bytes([payload[0], payload[1]])).collect()
}

#[test]
fn a_report_has_a_value_for_every_descriptor() {
    let mut world = World::new(&Sizes::default());
    world.mailboxes[0].to.push(ToShard::Report(Box::<Report>::default())).expect("room");
    world.turn();
    let reported = world.heard.iter().find_map(|message| match message {
        FromShard::Reported(report) => Some(report.values.len()),
        _ => None,
    });
    assert_eq!(reported, Some(crate::descriptors().len()));
}
