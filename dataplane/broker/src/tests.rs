//! The specification's behaviour, clause by clause, as clients see it.

mod acknowledge;
mod connect;
mod publish;
mod retained;
mod sessions;
mod shards;
mod subscribe;
mod wills;

use crate::fuzzing::Rig;
use crate::{Limits, Overflow};
use core::num::NonZeroU16;
use mqtt::{
    Ack, AckKind, Connect, Delivery, Disconnect, Filters, Packet, PacketId, Properties, Property, Publish, Qos,
    ReasonCode, Subscribe, Subscription, Subscriptions, Text, TopicFilter, TopicName, Unsubscribe, Version, Will,
};

/// Limits that a test can reach.
fn limits() -> Limits {
    Limits {
        session_count_max: 100,
        subscription_count_max: 1000,
        level_count_max: 5000,
        depth_max: 20,
        filter_count_max: 100,
        message_bytes_max: 1 << 20,
        message_count_max: 1000,
        delivery_count_max: 2000,
        queue_count_max: 100,
        queue_bytes_max: 1 << 18,
        overflow: Overflow::DropNewest,
        inflight_max: NonZeroU16::new(20).expect("not 0"),
        receive_maximum: NonZeroU16::new(10).expect("not 0"),
        packet_bytes_max: 1 << 16,
        topic_alias_maximum: 3,
        own_alias_count_max: 2,
        keep_alive_s_max: 0,
        session_expiry_s_max: u32::MAX,
        output_bytes_max: 10_000,
        bucket_count: 1 << 12,
        retained_count_max: 100,
        retained_bytes_max: 1 << 18,
    }
}

fn rig() -> Rig {
    Rig::new(limits(), 1)
}

fn text(text: &str) -> Text<'_> {
    Text::new(text).expect("a text")
}

fn topic(name: &str) -> TopicName<'_> {
    TopicName::new(name).expect("a topic")
}

fn filter(filter: &str) -> TopicFilter<'_> {
    TopicFilter::new(filter).expect("a filter")
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

/// A clean start.
fn clean(version: Version, client_id: &str) -> Connect<'_> {
    Connect { keep_alive_s: 0, ..Connect::new(version, text(client_id)) }
}

const AN_HOUR: &[Property<'_>] = &[Property::SessionExpiryInterval(3600)];

/// A session that outlives its connection, resumed if it is there.
fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    let properties = if version == Version::V5 { Properties::listed(AN_HOUR) } else { Properties::NONE };
    Connect { clean_start: false, properties, ..clean(version, client_id) }
}

/// What most tests do, said shortly; answers are checked on the way.
trait Clients {
    /// Connects to the first shard and passes the CONNACK over.
    fn join(&mut self, connect: &Connect<'_>) -> usize;
    fn join_at(&mut self, shard: usize, connect: &Connect<'_>) -> usize;
    fn subscribe(&mut self, peer: usize, filter: &str, qos: Qos);
    fn subscribe_with(
        &mut self,
        peer: usize,
        subscription: Subscription<'_>,
        properties: &[Property<'_>],
    ) -> Vec<String>;
    fn unsubscribe(&mut self, peer: usize, filter: &str) -> Vec<String>;
    fn publish(&mut self, peer: usize, name: &str, delivery: Delivery, payload: &str);
    fn publish_with(&mut self, peer: usize, publish: Publish<'_>);
    fn ack(&mut self, peer: usize, kind: AckKind, number: u16);
    fn ack_with(&mut self, peer: usize, kind: AckKind, number: u16, code: ReasonCode);
    fn leave(&mut self, peer: usize, code: ReasonCode);
}

impl Clients for Rig {
    fn join(&mut self, connect: &Connect<'_>) -> usize {
        self.join_at(0, connect)
    }

    fn join_at(&mut self, shard: usize, connect: &Connect<'_>) -> usize {
        let peer = self.connect(shard, connect);
        assert!(self.is_connected(peer), "it was let in");
        self.skip_first(peer);
        peer
    }

    fn subscribe(&mut self, peer: usize, name: &str, qos: Qos) {
        let said = self.subscribe_with(peer, Subscription::new(filter(name), qos), &[]);
        assert_eq!(said, [format!("SUBACK #999 {:02X}", qos as u8)]);
    }

    fn subscribe_with(
        &mut self,
        peer: usize,
        subscription: Subscription<'_>,
        properties: &[Property<'_>],
    ) -> Vec<String> {
        let list = [subscription];
        let packet = Subscribe {
            properties: Properties::listed(properties),
            ..Subscribe::new(id(999), Subscriptions::listed(&list))
        };
        self.send(peer, &Packet::Subscribe(packet));
        self.read(peer)
    }

    fn unsubscribe(&mut self, peer: usize, name: &str) -> Vec<String> {
        let list = [filter(name)];
        self.send(peer, &Packet::Unsubscribe(Unsubscribe::new(id(998), Filters::listed(&list))));
        self.read(peer)
    }

    fn publish(&mut self, peer: usize, name: &str, delivery: Delivery, payload: &str) {
        self.publish_with(peer, Publish { delivery, ..Publish::new(topic(name), payload.as_bytes()) });
    }

    fn publish_with(&mut self, peer: usize, publish: Publish<'_>) {
        self.send(peer, &Packet::Publish(publish));
    }

    fn ack(&mut self, peer: usize, kind: AckKind, number: u16) {
        self.ack_with(peer, kind, number, ReasonCode::Success);
    }

    fn ack_with(&mut self, peer: usize, kind: AckKind, number: u16, code: ReasonCode) {
        self.send(peer, &Packet::Ack(Ack::new(kind, id(number), code)));
    }

    fn leave(&mut self, peer: usize, code: ReasonCode) {
        self.send(peer, &Packet::Disconnect(Disconnect::new(code)));
        assert!(!self.is_connected(peer), "it has left");
    }
}

/// Both versions, since most behaviour is of both.
const BOTH: [Version; 2] = [Version::V3, Version::V5];

const Q0: Delivery = Delivery::AtMostOnce;

fn q1(number: u16) -> Delivery {
    Delivery::AtLeastOnce(id(number))
}

fn q2(number: u16) -> Delivery {
    Delivery::ExactlyOnce(id(number))
}

/// A will.
fn will<'a>(name: &'a str, payload: &'a str, properties: &'a [Property<'a>]) -> Option<Will<'a>> {
    Some(Will {
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: topic(name),
        payload: mqtt::Binary::new(payload.as_bytes()).expect("not long"),
        properties: Properties::listed(properties),
    })
}
