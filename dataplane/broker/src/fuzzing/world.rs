//! A few clients that do what bytes say, and what must be true of what they get.
//!
//! Clients keep to the protocol: they answer late, break off, come back and send again. Every message has a number. The
//! laws: nothing reaches who did not subscribe or what may not be published; QoS 0 and 2 come once at most; messages of one
//! publisher, topic and QoS come in order; nothing grows beyond its limit; nothing is left when all sessions are gone; and,
//! where limits are wide, all that was acknowledged reaches every session that subscribed to it all the while.

use super::Steps;
use super::rig::Rig;
use crate::{Action, Broker, Count, Limits, Overflow};
use core::num::NonZeroU16;
use core::time::Duration;
use mqtt::{
    Ack, AckKind, Binary, Connect, Delivery, Disconnect, Filters, Packet, PacketId, Properties, Property, Publish, Qos,
    ReasonCode, Subscribe, Subscription, Subscriptions, Text, TopicFilter, TopicName, Unsubscribe, Version, Will,
    topic,
};
use std::collections::{BTreeMap, BTreeSet};

const CLIENT_COUNT: usize = 4;

const TOPICS: [&str; 7] = ["a/1", "a/2", "b", "b/1", "$d/1", "shared/1", "secret/1"];

const FILTERS: [&str; 8] = ["a/1", "a/+", "#", "b/#", "+/1", "$d/#", "$share/g/shared/+", "+"];

/// The filter of the shared group: its messages go to one of its members.
const SHARED: usize = 6;

/// What nobody may publish to.
const SECRET: &str = "secret";

/// A message, whoever publishes it.
#[derive(Debug)]
struct Message {
    publisher: usize,
    topic: &'static str,
    qos: Qos,
    is_will: bool,
    /// The broker has taken it.
    is_taken: bool,
    /// It came to the broker more than once, maybe: who subscribed in between gets it after later ones.
    is_repeated: bool,
}

/// One that a client has sent and that is not done with.
#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    id: PacketId,
    number: usize,
    retain: bool,
    /// PUBREC came.
    is_released: bool,
}

#[derive(Debug, Default)]
struct Client {
    peer: Option<usize>,
    /// Its session outlives its connection.
    is_lasting: bool,
    last_id: u16,
    unacknowledged: Vec<Unacknowledged>,
    /// Answers that it has not sent.
    answers: Vec<(AckKind, PacketId)>,
    /// Identifiers of QoS 2 that PUBREL has not come for.
    received: BTreeSet<PacketId>,
    subscriptions: BTreeMap<usize, Qos>,
    /// How often it got which message, with which QoS.
    got: BTreeMap<(usize, Qos), u32>,
    /// The last message of a publisher, topic and QoS.
    last: BTreeMap<(usize, &'static str, Qos), usize>,
}

/// All clients and their brokers.
#[derive(Debug)]
pub(super) struct World {
    rig: Rig,
    limits: Limits,
    shard_count: usize,
    /// Limits are wide: nothing above QoS 0 is dropped.
    is_wide: bool,
    clients: [Client; CLIENT_COUNT],
    messages: Vec<Message>,
    /// Clients that must get a message.
    owed: BTreeSet<(usize, usize)>,
}

const LASTING: [Property<'_>; 1] = [Property::SessionExpiryInterval(100_000)];

fn limits(is_wide: bool, overflow: Overflow) -> Limits {
    let wide = Limits {
        session_count_max: 40,
        subscription_count_max: 200,
        level_count_max: 1000,
        depth_max: 8,
        filter_count_max: 20,
        message_bytes_max: 1 << 20,
        message_count_max: 4000,
        delivery_count_max: 8000,
        queue_count_max: 2000,
        queue_bytes_max: 1 << 20,
        overflow,
        inflight_max: NonZeroU16::new(3).expect("not 0"),
        receive_maximum: NonZeroU16::new(16).expect("not 0"),
        packet_bytes_max: 1 << 12,
        topic_alias_maximum: 2,
        own_alias_count_max: 0,
        keep_alive_s_max: 0,
        session_expiry_s_max: 100_000,
        output_bytes_max: 400,
        bucket_count: 64,
        retained_count_max: 20,
        retained_bytes_max: 1 << 16,
    };
    if is_wide {
        wide
    } else {
        Limits {
            message_bytes_max: 1 << 10,
            message_count_max: 10,
            delivery_count_max: 12,
            queue_count_max: 3,
            queue_bytes_max: 400,
            retained_count_max: 2,
            ..wide
        }
    }
}

fn version_of(client: usize) -> Version {
    if client.is_multiple_of(2) { Version::V5 } else { Version::V3 }
}

fn qos_of(byte: usize) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][byte % 3]
}

impl World {
    pub(super) fn new(steps: &mut Steps<'_>) -> Self {
        let is_wide = steps.below(3) > 0;
        let shard_count = 1 + steps.below(3);
        let overflow = [Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect][steps.below(3)];
        let limits = limits(is_wide, overflow);
        let mut rig = Rig::new(limits, shard_count as u8);
        for shard in &mut rig.shards {
            shard.denied.push((Action::Publish, SECRET.into()));
        }
        let (clients, messages, owed) = (Default::default(), Vec::new(), BTreeSet::new());
        Self { rig, limits, shard_count, is_wide, clients, messages, owed }
    }

    /// Does one thing.
    pub(super) fn step(&mut self, steps: &mut Steps<'_>) {
        let (what, client) = (steps.below(18), steps.below(CLIENT_COUNT));
        match what {
            0 | 16 => self.connect(client, steps.below(4) > 0, steps.below(4)),
            1 => {
                if let Some(peer) = self.clients[client].peer {
                    self.rig.lose(peer);
                }
            }
            2 => {
                let codes = [ReasonCode::Success, ReasonCode::DisconnectWithWill];
                self.leave(client, codes[steps.below(2)]);
            }
            3..=6 => {
                let (name, qos) = (TOPICS[steps.below(TOPICS.len())], qos_of(steps.below(3)));
                let retain = steps.below(8) == 0;
                self.publish(client, name, qos, retain);
            }
            7 | 17 => self.subscribe(client, steps.below(FILTERS.len()), qos_of(steps.below(3))),
            8 => self.unsubscribe(client, steps.below(FILTERS.len())),
            9 | 10 => {
                self.read(client);
            }
            11 => self.answer(client, 1 + steps.below(4)),
            12 => self.rig.turn(),
            13 => {
                let (source, target) = (steps.below(self.shard_count), steps.below(self.shard_count));
                self.rig.deliver(source, target, 1 + steps.below(3));
            }
            14 => {
                let room = [0, 1, 2, 1000][steps.below(4)];
                self.rig.shards[client % self.shard_count].ring_room = room;
            }
            _ => match steps.below(3) {
                0 => self.rig.pass(Duration::from_secs(steps.below(8) as u64)),
                1 => self.rig.output_room = usize::MAX,
                // Room for acknowledgements is what a stalled client uses up.
                _ => self.rig.output_room = self.limits.output_bytes_max + 60,
            },
        }
        self.notice();
        for broker in &self.rig.brokers {
            assert!(broker.message_bytes() <= self.limits.message_bytes_max);
            assert!(broker.message_count() <= self.limits.message_count_max);
            assert!(broker.delivery_count() <= self.limits.delivery_count_max);
        }
    }

    /// Connections that were closed.
    fn notice(&mut self) {
        for index in 0..CLIENT_COUNT {
            let client = &mut self.clients[index];
            if client.peer.is_some_and(|peer| !self.rig.is_connected(peer)) {
                client.peer = None;
                client.answers.clear();
                if !client.is_lasting {
                    self.forget(index);
                }
            }
        }
    }

    /// A session is no more.
    fn forget(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.unacknowledged.clear();
        client.received.clear();
        client.subscriptions.clear();
        self.owed.retain(|(owed, _)| *owed != index);
    }

    fn message(&mut self, publisher: usize, topic: &'static str, qos: Qos, is_will: bool) -> usize {
        self.messages.push(Message { publisher, topic, qos, is_will, is_taken: false, is_repeated: false });
        self.messages.len() - 1
    }

    fn connect(&mut self, index: usize, is_lasting: bool, will: usize) {
        let payload = match will {
            0 => Some(self.message(index, "a/1", Qos::ExactlyOnce, true).to_string()),
            _ => None,
        };
        let will = payload.as_ref().map(|payload| Will {
            qos: Qos::ExactlyOnce,
            retain: false,
            topic: TopicName::new("a/1").expect("a topic"),
            payload: Binary::new(payload.as_bytes()).expect("short"),
            properties: Properties::NONE,
        });
        let version = version_of(index);
        let properties =
            if is_lasting && version == Version::V5 { Properties::listed(&LASTING) } else { Properties::NONE };
        let name = format!("c{index}");
        let connect = Connect {
            clean_start: !is_lasting,
            keep_alive_s: 0,
            will,
            properties,
            ..Connect::new(version, Text::new(&name).expect("a text"))
        };
        let peer = self.rig.connect(index % self.shard_count, &connect);
        // The connection before is closed by now.
        self.notice();
        if !is_lasting {
            self.forget(index);
        }
        if !self.rig.is_connected(peer) {
            assert!(!self.is_wide || self.rig.output_room != usize::MAX, "it is let in");
            return;
        }
        let client = &mut self.clients[index];
        (client.peer, client.is_lasting) = (Some(peer), is_lasting);
        self.read(index);
        for one in self.clients[index].unacknowledged.clone() {
            if one.is_released {
                self.send(index, &Packet::Ack(Ack::new(AckKind::Pubrel, one.id, ReasonCode::Success)));
            } else {
                self.send_message(index, one, true);
            }
        }
        self.rig.rest();
    }

    fn leave(&mut self, index: usize, code: ReasonCode) {
        let code = if version_of(index) == Version::V5 { code } else { ReasonCode::Success };
        self.send(index, &Packet::Disconnect(Disconnect::new(code)));
    }

    fn send(&mut self, index: usize, packet: &Packet<'_>) {
        if let Some(peer) = self.clients[index].peer
            && self.rig.is_connected(peer)
        {
            self.rig.send(peer, packet);
        }
    }

    fn is_read(&self, index: usize) -> bool {
        self.clients[index].peer.is_some_and(|peer| self.rig.is_connected(peer) && !self.rig.is_paused(peer))
    }

    fn send_message(&mut self, index: usize, one: Unacknowledged, dup: bool) {
        let message = &mut self.messages[one.number];
        let (topic, qos) = (message.topic, message.qos);
        message.is_repeated |= dup && qos == Qos::AtLeastOnce;
        let payload = format!("{}{}", one.number, " ".repeat(one.number % 7 * 20));
        let delivery = Delivery::with(qos, one.id);
        let name = TopicName::new(topic).expect("a topic");
        let publish = Publish { delivery, dup, retain: one.retain, ..Publish::new(name, payload.as_bytes()) };
        self.send(index, &Packet::Publish(publish));
    }

    fn publish(&mut self, index: usize, name: &'static str, qos: Qos, retain: bool) {
        let client = &mut self.clients[index];
        if client.peer.is_none() || client.unacknowledged.len() >= 12 {
            return;
        }
        let id = loop {
            client.last_id = client.last_id % 20 + 1;
            let id = PacketId::new(client.last_id).expect("not 0");
            if !client.unacknowledged.iter().any(|one| one.id == id) {
                break id;
            }
        };
        let number = self.message(index, name, qos, false);
        let one = Unacknowledged { id, number, retain, is_released: false };
        if qos != Qos::AtMostOnce {
            self.clients[index].unacknowledged.push(one);
            let topic_name = TopicName::new(name).expect("a topic");
            for (reader, client) in self.clients.iter().enumerate() {
                let is_owed = |(filter, subscribed): (&usize, &Qos)| {
                    let filter_text = TopicFilter::new(FILTERS[*filter]).expect("a filter");
                    *filter != SHARED && *subscribed != Qos::AtMostOnce && topic::matches(filter_text, topic_name)
                };
                if !name.starts_with(SECRET) && client.subscriptions.iter().any(is_owed) {
                    self.owed.insert((reader, number));
                }
            }
        }
        self.send_message(index, one, false);
    }

    fn subscribe(&mut self, index: usize, filter: usize, qos: Qos) {
        if !self.is_read(index) {
            return;
        }
        // What is delivered with another QoS from here on has another order.
        self.clients[index].subscriptions.insert(filter, qos);
        let list = [Subscription::new(TopicFilter::new(FILTERS[filter]).expect("a filter"), qos)];
        let id = PacketId::new(1000).expect("not 0");
        self.send(index, &Packet::Subscribe(Subscribe::new(id, Subscriptions::listed(&list))));
        if qos == Qos::AtMostOnce {
            self.unowe(index);
        }
        self.settle();
    }

    fn unsubscribe(&mut self, index: usize, filter: usize) {
        if !self.is_read(index) {
            return;
        }
        self.clients[index].subscriptions.remove(&filter);
        let list = [TopicFilter::new(FILTERS[filter]).expect("a filter")];
        let id = PacketId::new(1001).expect("not 0");
        self.send(index, &Packet::Unsubscribe(Unsubscribe::new(id, Filters::listed(&list))));
        self.unowe(index);
        self.settle();
    }

    /// What is still on its way may miss a session that has subscribed to less.
    fn unowe(&mut self, index: usize) {
        self.owed.retain(|(owed, _)| *owed != index);
    }

    /// Every shard knows who subscribes to what.
    fn settle(&mut self) {
        let rooms: Vec<usize> = self.rig.shards.iter().map(|shard| shard.ring_room).collect();
        for shard in &mut self.rig.shards {
            shard.ring_room = usize::MAX;
        }
        self.rig.rest();
        for (shard, room) in self.rig.shards.iter_mut().zip(rooms) {
            shard.ring_room = room;
        }
    }

    fn answer(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            if self.clients[index].answers.is_empty() {
                return;
            }
            let (kind, id) = self.clients[index].answers.remove(0);
            self.send(index, &Packet::Ack(Ack::new(kind, id, ReasonCode::Success)));
        }
    }

    /// A client reads all there is. Returns how many packets.
    fn read(&mut self, index: usize) -> usize {
        let Some(peer) = self.clients[index].peer else { return 0 };
        let mut count = 0;
        let Self { rig, clients, messages, owed, .. } = self;
        let client = &mut clients[index];
        rig.read_each(peer, |packet| {
            count += 1;
            match packet {
                Packet::Connack(connack) if !connack.session_present => {
                    client.unacknowledged.clear();
                    client.received.clear();
                    client.subscriptions.clear();
                    owed.retain(|(owed, _)| *owed != index);
                }
                Packet::Publish(publish) => {
                    let text = String::from_utf8_lossy(publish.payload);
                    let number: usize = text.trim().parse().expect("a message of ours");
                    got(client, messages, number, publish);
                    owed.remove(&(index, number));
                }
                Packet::Ack(ack) => acknowledged(client, messages, ack),
                _ => {}
            }
        });
        count
    }

    /// Everybody comes back and reads; then everybody is gone.
    pub(super) fn finish(mut self) {
        self.rig.output_room = usize::MAX;
        for shard in &mut self.rig.shards {
            shard.ring_room = usize::MAX;
        }
        self.rig.rest();
        for index in 0..CLIENT_COUNT {
            if let Some(peer) = self.clients[index].peer {
                self.rig.lose(peer);
            }
        }
        self.notice();
        for index in 0..CLIENT_COUNT {
            if self.clients[index].is_lasting {
                self.connect(index, true, 1);
            }
        }
        let mut quiet_count = 0;
        while quiet_count < 3 {
            let mut count = 0;
            for index in 0..CLIENT_COUNT {
                count += self.read(index);
                self.answer(index, usize::MAX);
            }
            self.rig.rest();
            self.notice();
            quiet_count = if count == 0 { quiet_count + 1 } else { 0 };
        }
        if self.is_wide {
            for what in [Count::QueueFull, Count::DeliveriesFull, Count::PublishRefused, Count::ForwardDropped] {
                assert_eq!(self.rig.counted(what), 0, "limits are wide");
            }
            let lost: Vec<_> = self.owed.iter().filter(|(_, number)| self.messages[*number].is_taken).collect();
            assert!(lost.is_empty(), "what was taken arrives: {lost:?}");
            for client in &self.clients {
                assert!(client.unacknowledged.is_empty(), "everything is answered: {client:?}");
            }
        }
        self.nothing_is_left();
    }

    fn nothing_is_left(mut self) {
        for index in 0..CLIENT_COUNT {
            if let Some(peer) = self.clients[index].peer {
                self.rig.lose(peer);
            }
        }
        self.rig.pass(Duration::from_secs(100_001));
        let name = Text::new("cleaner").expect("a text");
        let cleaner = self.rig.connect(0, &Connect { keep_alive_s: 0, ..Connect::new(Version::V5, name) });
        for topic in TOPICS {
            let publish = Publish { retain: true, ..Publish::new(TopicName::new(topic).expect("a topic"), b"") };
            self.rig.send(cleaner, &Packet::Publish(publish));
        }
        self.rig.rest();
        self.rig.lose(cleaner);
        self.rig.pass(Duration::from_secs(11));
        for broker in &self.rig.brokers {
            let sessions = (broker.session_count(), broker.subscription_count(), broker.delivery_count());
            assert_eq!(sessions, (0, 0, 0), "no session is left");
            let kept = (broker.retained_count(), broker.message_count(), broker.message_bytes());
            assert_eq!(kept, (0, 0, 0), "no message is left");
            assert!(!Broker::is_waiting(broker));
        }
    }
}

/// A client has got a message.
fn got(client: &mut Client, messages: &[Message], number: usize, publish: &Publish<'_>) {
    let message = &messages[number];
    let qos = publish.delivery.qos();
    let name = publish.topic.expect("no aliases were taken");
    assert_eq!(name.as_str(), message.topic, "it is the message that was published");
    assert!(!message.topic.starts_with(SECRET), "nobody may publish that");
    assert!(qos <= message.qos, "with the QoS of its publisher at most");
    match publish.delivery {
        Delivery::AtMostOnce => {}
        Delivery::AtLeastOnce(id) => client.answers.push((AckKind::Puback, id)),
        Delivery::ExactlyOnce(id) => {
            client.answers.push((AckKind::Pubrec, id));
            if !client.received.insert(id) {
                return;
            }
        }
    }
    if publish.retain {
        // It comes for a subscription, as often as it is made.
        return;
    }
    let count = client.got.entry((number, qos)).or_insert(0);
    *count += 1;
    // Once for what it subscribes to by itself, and once as a member of a group.
    let count_max = if message.topic.starts_with("shared") { 2 } else { 1 };
    assert!(
        message.qos == Qos::AtLeastOnce || qos == Qos::AtLeastOnce || *count <= count_max,
        "{message:?} comes once"
    );
    let is_ordered = !message.is_will && !message.is_repeated;
    if *count == 1 && is_ordered && !message.topic.starts_with("shared") {
        let last = client.last.entry((message.publisher, message.topic, qos)).or_insert(number);
        assert!(*last <= number, "{number} does not come after {last}: {message:?}");
        *last = number;
    }
}

/// A client's own message moves on.
fn acknowledged(client: &mut Client, messages: &mut [Message], ack: &Ack<'_>) {
    let Some(at) = client.unacknowledged.iter().position(|one| one.id == ack.packet_id) else {
        if ack.kind == AckKind::Pubrel {
            released(client, ack.packet_id);
        }
        return;
    };
    match ack.kind {
        AckKind::Pubrel => released(client, ack.packet_id),
        AckKind::Puback | AckKind::Pubrec => {
            let one = &mut client.unacknowledged[at];
            messages[one.number].is_taken |= !ack.code.is_failure();
            if ack.kind == AckKind::Pubrec && !ack.code.is_failure() {
                one.is_released = true;
                client.answers.push((AckKind::Pubrel, ack.packet_id));
            } else {
                client.unacknowledged.remove(at);
            }
        }
        AckKind::Pubcomp => {
            client.unacknowledged.remove(at);
        }
    }
}

/// The broker has heard that a message of QoS 2 came.
fn released(client: &mut Client, id: PacketId) {
    client.received.remove(&id);
    client.answers.push((AckKind::Pubcomp, id));
}
