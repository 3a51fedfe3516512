//! Serving allocates nothing: a counting allocator watches messages of every quality, acknowledgements, aliases, retained
//! messages, queues of clients that are away, and hops to other shards.

use base::{Monotonic, UnixMicros};
use broker::{
    Action, Broker, Count, Forwarded, Full, Happened, Host, Identity, Limits, Link, Lost, Next, Now, Slot, Word,
};
use mqtt::{
    Ack, AckKind, Auth, Connect, Decoded, Decoder, Delivery, Packet, PacketId, Properties, Property, Publish, Qos,
    ReasonCode, Role, Subscribe, Subscription, Subscriptions, Text, TopicAlias, TopicFilter, TopicName, Version,
};

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

const READER_COUNT: usize = 20;

/// Outputs of fixed room, and counters.
struct Machine {
    outputs: Vec<(Vec<u8>, usize)>,
    forwarded_count: usize,
    delivered_count: usize,
    is_ring_full: bool,
}

impl Host for Machine {
    fn send(&mut self, link: Link, pieces: &[&[u8]]) -> Result<(), Full> {
        let (output, end) = &mut self.outputs[link.0 as usize];
        for piece in pieces {
            output[*end..*end + piece.len()].copy_from_slice(piece);
            *end += piece.len();
        }
        Ok(())
    }

    fn waiting(&self, link: Link) -> usize {
        self.outputs[link.0 as usize].1
    }

    fn close(&mut self, _: Link, _: ReasonCode) {}
    fn pause(&mut self, _: Link) {}
    fn resume(&mut self, _: Link) {}

    fn forward(&mut self, shards: u64, _: &Forwarded<'_>) -> u64 {
        if self.is_ring_full {
            return shards;
        }
        self.forwarded_count += 1;
        0
    }

    fn tell(&mut self, _: u64, _: &Word<'_>) -> u64 {
        0
    }

    fn may(&self, _: u32, _: Action, _: &[u8]) -> Result<(), ReasonCode> {
        Ok(())
    }

    fn owns(&self, _: u32, _: &[u8]) -> bool {
        true
    }

    fn authenticate(&mut self, _: Link, _: u32, _: &Auth<'_>) -> Result<(), ReasonCode> {
        Ok(())
    }

    fn entropy(&mut self, _: &mut [u8]) {}

    fn count(&mut self, what: Count) {
        self.delivered_count += usize::from(what == Count::Delivered);
    }

    fn happened(&mut self, _: Happened<'_>) {}
}

fn limits() -> Limits {
    Limits {
        session_count_max: 100,
        subscription_count_max: 1000,
        level_count_max: 1000,
        message_bytes_max: 1 << 20,
        message_count_max: 2000,
        delivery_count_max: 4000,
        bucket_count: 1024,
        ..Limits::default()
    }
}

const fn now() -> Now {
    Now { monotonic: Monotonic(1), unix: UnixMicros(1_700_000_000_000_000) }
}

struct Server {
    broker: Broker,
    machine: Machine,
    /// What a client reads, while its output is written.
    read: Vec<u8>,
}

impl Server {
    fn connect(&mut self, name: &str, version: Version) -> (Slot, Link, Version) {
        let link = Link(self.machine.outputs.len() as u32);
        self.machine.outputs.push((vec![0; 1 << 20], 0));
        let list = [Property::SessionExpiryInterval(3600), Property::TopicAliasMaximum(4)];
        let properties = if version == Version::V5 { Properties::listed(&list) } else { Properties::NONE };
        let id = Text::new(name).expect("a text");
        let connect = Connect { clean_start: false, keep_alive_s: 0, properties, ..Connect::new(version, id) };
        let identity = Identity { space: 1, principal: 1, owner: 1, authentication_data: None };
        let slot = self.broker.connect(&mut self.machine, link, &connect, identity, now()).expect("it is let in");
        self.machine.outputs[link.0 as usize].1 = 0;
        (slot, link, version)
    }

    fn send(&mut self, slot: Slot, packet: &Packet<'_>) {
        assert_eq!(self.broker.packet(&mut self.machine, slot, packet, now()), Next::Packet);
    }

    /// A client reads and answers everything, until nothing comes any more. Returns the messages that it got.
    fn answer(&mut self, (slot, link, version): (Slot, Link, Version)) -> usize {
        let decoder = Decoder { receiver: Role::Client, version, packet_bytes_max: u32::MAX };
        let mut message_count = 0;
        loop {
            let (output, end) = &mut self.machine.outputs[link.0 as usize];
            let end = core::mem::take(end);
            if end == 0 {
                return message_count;
            }
            core::mem::swap(&mut self.read, output);
            let mut at = 0;
            while at < end {
                let answer = match decoder.decode(&self.read[at..end]) {
                    Ok(Decoded::Packet(packet, count)) => {
                        at += count;
                        message_count += usize::from(matches!(packet, Packet::Publish(_)));
                        answer_to(&packet)
                    }
                    other => panic!("a packet: {other:?}"),
                };
                if let Some((kind, id)) = answer {
                    self.send(slot, &Packet::Ack(Ack::new(kind, id, ReasonCode::Success)));
                }
            }
            self.broker.writable(&mut self.machine, slot, now());
        }
    }
}

fn answer_to(packet: &Packet<'_>) -> Option<(AckKind, PacketId)> {
    match packet {
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce(id) => Some((AckKind::Puback, id)),
            Delivery::ExactlyOnce(id) => Some((AckKind::Pubrec, id)),
        },
        Packet::Ack(ack) => match ack.kind {
            AckKind::Pubrec => Some((AckKind::Pubrel, ack.packet_id)),
            AckKind::Pubrel => Some((AckKind::Pubcomp, ack.packet_id)),
            AckKind::Puback | AckKind::Pubcomp => None,
        },
        _ => None,
    }
}

/// Everything that serving has, once.
fn round(server: &mut Server, writers: [(Slot, Link, Version); 2], readers: &[(Slot, Link, Version)]) -> usize {
    let payload = [7; 300];
    let text = |text| Text::new(text).expect("a text");
    let properties = [
        Property::UserProperty((text("name"), text("value"))),
        Property::MessageExpiryInterval(100),
        Property::TopicAlias(TopicAlias::MIN),
    ];
    let mut number = 0;
    for writer in writers {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for name in ["site/1/up", "site/2/up", "other/topic", "site/nobody"] {
                for retain in [false, true] {
                    number += 1;
                    let id = PacketId::new(number).expect("not 0");
                    let plain = Publish::new(TopicName::new(name).expect("a topic"), &payload);
                    let list = if writer.2 == Version::V5 { Properties::listed(&properties) } else { Properties::NONE };
                    let delivery = Delivery::with(qos, id);
                    server.send(writer.0, &Packet::Publish(Publish { delivery, retain, properties: list, ..plain }));
                    if writer.2 == Version::V5 {
                        let topic = None;
                        let delivery = Delivery::AtMostOnce;
                        server.send(writer.0, &Packet::Publish(Publish { delivery, topic, properties: list, ..plain }));
                    }
                }
            }
        }
        server.answer(writer);
    }
    let mut message_count = 0;
    for reader in readers {
        message_count += server.answer(*reader);
        server.send(reader.0, &Packet::Pingreq);
        server.answer(*reader);
    }
    server.broker.expire(&mut server.machine, now());
    message_count
}

#[test]
fn messages_cost_no_allocation() {
    let machine = Machine { outputs: Vec::new(), forwarded_count: 0, delivered_count: 0, is_ring_full: false };
    let mut server = Server { broker: Broker::new(limits(), [7; 16], 0, 2), machine, read: vec![0; 1 << 20] };
    let writers = [server.connect("w3", Version::V3), server.connect("w5", Version::V5)];
    let filters = ["site/+/up", "site/#", "other/topic", "#", "$share/g/site/+/up"];
    let mut readers = Vec::new();
    for index in 0..READER_COUNT {
        let version = if index % 2 == 0 { Version::V3 } else { Version::V5 };
        let reader = server.connect(&format!("r{index}"), version);
        let filter = TopicFilter::new(filters[index % filters.len()]).expect("a filter");
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][index % 3];
        let list =
            [Subscription::new(filter, qos), Subscription::new(TopicFilter::new("site/1/up").expect("one"), qos)];
        let id = PacketId::MIN;
        server.send(reader.0, &Packet::Subscribe(Subscribe::new(id, Subscriptions::listed(&list))));
        server.answer(reader);
        readers.push(reader);
    }
    // A few are away, and their messages wait.
    let away: Vec<_> = readers.drain(..3).collect();
    for (slot, ..) in away {
        server.broker.lost(&mut server.machine, slot, Lost::Closed, now());
    }
    for _ in 0..3 {
        round(&mut server, writers, &readers);
    }
    let before = server.machine.forwarded_count;
    alloc_guard::serving(true);
    let mut message_count = 0;
    for _ in 0..5 {
        message_count += round(&mut server, writers, &readers);
    }
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 0, "allocations and frees while serving");
    assert!(message_count > 1000, "{message_count} messages came");
    assert!(server.machine.forwarded_count > before, "some went to another shard");
    assert!(server.broker.delivery_count() > 100, "some wait");
    // A ring that is full.
    let publish = |number| {
        let delivery = Delivery::AtLeastOnce(PacketId::new(number).expect("not 0"));
        let retained = Publish::new(TopicName::new("site/1/up").expect("a topic"), b"x");
        Packet::Publish(Publish { delivery, retain: true, ..retained })
    };
    for number in 1..4 {
        server.machine.is_ring_full = true;
        if number == 3 {
            alloc_guard::serving(true);
        }
        assert_eq!(server.broker.packet(&mut server.machine, writers[0].0, &publish(number), now()), Next::Packet);
        server.broker.turn(&mut server.machine, now());
        server.machine.is_ring_full = false;
        server.broker.turn(&mut server.machine, now());
        assert!(!server.broker.is_waiting());
    }
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 0, "allocations and frees while a message waits");
}
