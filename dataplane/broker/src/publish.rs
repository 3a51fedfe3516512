//! A message on its way in: from a client, as a will, or from another shard; then to everybody who subscribes.
//!
//! ```text
//!   may it? -> is there room? -> match, once -> keep it, if anybody may have to wait -> offer -> forward -> acknowledge
//! ```
//!
//! PUBACK and PUBREC follow once every other shard concerned has taken the message. Until then the publisher is not read.

use crate::aliases::NoMemory;
use crate::broker::Broker;
use crate::clients::{Offer, Offered};
use crate::hops::{Owed, Pending};
use crate::session::{Pause, Session, after_s};
use crate::store::{Tag, View};
use crate::{Action, Count, Directed, Forwarded, Host, Next, Now};
use base::Monotonic;
use mqtt::{
    AckKind, Delivery, Message, PacketId, Place, Properties, Publish, Qos, ReasonCode, Role, TopicName, Version,
};
use topics::{Fit, Options};

/// Where a message is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// In a packet, or in a ring.
    Given(View<'a>),
    /// In the store.
    Kept(u32),
}

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed {
    /// Somebody subscribes to it, here or on another shard.
    pub(crate) is_matched: bool,
    /// Shards whose ring had no room.
    pub(crate) refused: u64,
    /// Where it is kept; whoever asked for it to be routed lets it go.
    pub(crate) handle: Option<u32>,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This session of this shard.
    Client(u32),
    /// A will of this shard.
    Will,
    /// Another shard.
    Shard(u8),
}

impl Broker {
    /// PUBLISH of a client (3.3).
    pub(crate) fn publish<H: Host>(&mut self, host: &mut H, slot: u32, publish: &Publish<'_>, now: Now) -> Next {
        if self.clients.get(slot).is_pending {
            return Next::Again;
        }
        let alias = publish.properties.topic_alias();
        let mut named = core::mem::take(&mut self.topic);
        let next = match (publish.topic, alias) {
            (Some(topic), None) => self.publish_to(host, slot, publish, topic, now),
            (topic, alias) => match self.named(host, slot, topic, alias, &mut named) {
                Ok(topic) => self.publish_to(host, slot, publish, topic, now),
                Err(code) => self.broken(host, slot, code, now),
            },
        };
        self.topic = named;
        next
    }

    /// The topic of a message that has an alias (v5 3.3.2.3.4).
    fn named<'a, H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        topic: Option<TopicName<'a>>,
        alias: Option<mqtt::TopicAlias>,
        named: &'a mut Vec<u8>,
    ) -> Result<TopicName<'a>, ReasonCode> {
        let alias = alias
            .filter(|alias| alias.get() <= self.limits.topic_alias_maximum)
            .ok_or(ReasonCode::TopicAliasInvalid)?;
        let incoming = &mut self.clients.get_mut(slot).connection_mut().incoming;
        if let Some(topic) = topic {
            incoming.set(alias, topic.as_bytes(), &mut self.store).map_err(|NoMemory| {
                host.count(Count::PublishRefused);
                ReasonCode::QuotaExceeded
            })?;
            return Ok(topic);
        }
        let span = incoming.get(alias).ok_or(ReasonCode::TopicAliasInvalid)?;
        named.clear();
        named.extend_from_slice(self.store.bytes(span));
        TopicName::parse(named).ok_or(ReasonCode::TopicAliasInvalid)
    }

    fn publish_to<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        now: Now,
    ) -> Next {
        let session = self.clients.get(slot);
        let version = session.connection().version;
        let (space, principal) = (session.space, session.principal);
        if let Delivery::ExactlyOnce(id) = publish.delivery {
            if session.has_received(id) {
                // v5 4.3.3: whatever it says, it is the same message until PUBREL.
                host.count(Count::PublishDuplicate);
                self.clients.acknowledge(host, slot, AckKind::Pubrec, id, ReasonCode::Success);
                return Next::Packet;
            }
            if session.received.len() >= usize::from(self.limits.receive_maximum.get()) {
                return self.broken(host, slot, ReasonCode::ReceiveMaximumExceeded, now);
            }
        }
        if let Err(code) = host.may(principal, Action::Publish, topic.as_bytes()) {
            host.count(Count::PublishNotPermitted);
            // 3.1.1 has no way to say so (v3 3.3.5.2).
            let code = if version == Version::V3 { ReasonCode::Success } else { refusal(code) };
            self.taken(host, slot, publish.delivery, code);
            return Next::Packet;
        }
        let mut properties = core::mem::take(&mut self.hops.properties);
        let view = view_of(publish, topic, space, now, &mut properties);
        let next = self.publish_view(host, slot, publish, &view, now);
        self.hops.properties = properties;
        next
    }

    fn publish_view<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        publish: &Publish<'_>,
        view: &View<'_>,
        now: Now,
    ) -> Next {
        let qos = publish.delivery.qos();
        if (qos != Qos::AtMostOnce || publish.retain) && !self.store.has_room(view.bytes()) {
            host.count(Count::PublishRefused);
            let version = self.clients.get(slot).connection().version;
            if qos != Qos::AtMostOnce && version == Version::V3 {
                self.clients.pause(host, slot, Pause::Memory);
                self.short.push(self.clients.name(slot));
                return Next::Again;
            }
            self.taken(host, slot, publish.delivery, ReasonCode::QuotaExceeded);
            return Next::Packet;
        }
        host.count(Count::Published);
        let stamp = self.next_stamp(now);
        let routed = self.route(host, Source::Given(*view), Origin::Client(slot), stamp, now);
        let code = if routed.is_matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        if routed.refused == 0 {
            if let Some(handle) = routed.handle {
                self.store.release(handle);
            }
            self.taken(host, slot, publish.delivery, code);
            return Next::Packet;
        }
        let Some(message) = routed.handle.or_else(|| self.store.put(view)) else {
            host.count(Count::ForwardDropped);
            self.taken(host, slot, publish.delivery, ReasonCode::QuotaExceeded);
            return Next::Packet;
        };
        host.count(Count::ForwardWaited);
        if let Delivery::ExactlyOnce(id) = publish.delivery {
            self.clients.get_mut(slot).received.push(id);
        }
        let name = self.clients.name(slot);
        let session = self.clients.get_mut(slot);
        session.is_pending = true;
        let connection = session.connection().number;
        self.clients.pause(host, slot, Pause::Ring);
        let owed = Owed { name, connection, delivery: publish.delivery, code };
        self.hops.push(Pending { message, shards: routed.refused, directed: None, stamp, owed: Some(owed) });
        Next::Packet
    }

    /// Acknowledges a message that is done with: of QoS 2 its identifier is remembered until PUBREL, unless it failed.
    fn taken<H: Host>(&mut self, host: &mut H, slot: u32, delivery: Delivery, code: ReasonCode) {
        if let Delivery::ExactlyOnce(id) = delivery
            && !code.is_failure()
        {
            self.clients.get_mut(slot).received.push(id);
        }
        self.owed(host, slot, delivery, code);
    }

    /// Sends the acknowledgement that a message is owed.
    pub(crate) fn owed<H: Host>(&mut self, host: &mut H, slot: u32, delivery: Delivery, code: ReasonCode) {
        match delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => self.clients.acknowledge(host, slot, AckKind::Puback, id, code),
            Delivery::ExactlyOnce(id) => self.clients.acknowledge(host, slot, AckKind::Pubrec, id, code),
        }
    }

    /// PUBREL of a client (v5 4.3.3).
    pub(crate) fn released<H: Host>(&mut self, host: &mut H, slot: u32, id: PacketId) {
        let received = &mut self.clients.get_mut(slot).received;
        let code = match received.iter().position(|other| *other == id) {
            Some(at) => {
                received.swap_remove(at);
                ReasonCode::Success
            }
            None => {
                host.count(Count::AckUnknown);
                ReasonCode::PacketIdentifierNotFound
            }
        };
        self.clients.acknowledge(host, slot, AckKind::Pubcomp, id, code);
    }

    /// A stamp that no other message of this shard has.
    pub(crate) fn next_stamp(&mut self, now: Now) -> u64 {
        self.stamp = now.unix.0.max(self.stamp + 1);
        self.stamp
    }

    /// Publishes a will, and lets it go.
    pub(crate) fn publish_will<H: Host>(&mut self, host: &mut H, will: u32, now: Now) {
        host.count(Count::WillPublished);
        let stamp = self.next_stamp(now);
        let routed = self.route(host, Source::Kept(will), Origin::Will, stamp, now);
        if routed.refused == 0 {
            self.store.release(will);
        } else {
            host.count(Count::ForwardWaited);
            self.hops.push(Pending { message: will, shards: routed.refused, directed: None, stamp, owed: None });
        }
    }

    /// A message of another shard has arrived.
    pub(crate) fn arrived<H: Host>(&mut self, host: &mut H, message: &Forwarded<'_>, now: Now) {
        self.stamp = self.stamp.max(message.stamp);
        let topic = TopicName::parse(message.topic);
        let properties = Properties::parse(message.properties, Place::Publish, Role::Client);
        let (Some(topic), Ok(properties)) = (topic, properties) else {
            debug_assert!(false, "what shards send each other was checked");
            return;
        };
        let tag = Tag {
            qos: message.qos,
            retain: message.retain,
            space: message.space,
            expires: message.expiry_s.map_or(Monotonic::NEVER, |left| after_s(now.monotonic, left)),
        };
        let message_of = Message::new(topic, properties, message.payload);
        let view = View { message: message_of, properties: message.properties, tag };
        if let Some(directed) = message.directed {
            self.arrived_for(host, &view, directed, now);
            return;
        }
        let routed = self.route(host, Source::Given(view), Origin::Shard(message.source), message.stamp, now);
        if let Some(handle) = routed.handle {
            self.store.release(handle);
        }
    }

    /// A message for one session, which a shared group of another shard chose.
    fn arrived_for<H: Host>(&mut self, host: &mut H, view: &View<'_>, directed: Directed, now: Now) {
        let Directed { slot, generation, options } = directed;
        if self.clients.named(crate::clients::Name { slot, generation }).is_none() {
            host.count(Count::ForwardedStale);
            return;
        }
        let is_kept = options.qos > 0 && view.tag.qos != Qos::AtMostOnce;
        let handle = if is_kept { self.store.put(view) } else { None };
        if is_kept && handle.is_none() {
            host.count(Count::ForwardDropped);
            return;
        }
        self.clients.out.begin();
        let is_short = self.store.is_short();
        let offered = Offered { view: *view, handle, expiry_s: view.expiry_s(now.monotonic), is_short };
        let offer = Offer { qos: options.qos, retain: options.retain_as_published && view.tag.retain };
        let identifier = (options.identifier != 0).then_some(options.identifier);
        let is_referred = self.clients.offer(host, slot, &offered, offer, identifier.into_iter());
        match handle {
            Some(handle) if !is_referred => self.store.release(handle),
            _ => {}
        }
    }

    /// Gives a message to everybody who subscribes to it, on this shard and, unless it comes from there, on others.
    pub(crate) fn route<H: Host>(
        &mut self,
        host: &mut H,
        source: Source<'_>,
        origin: Origin,
        stamp: u64,
        now: Now,
    ) -> Routed {
        let tag = match source {
            Source::Given(view) => view.tag,
            Source::Kept(handle) => self.store.tag(handle).0,
        };
        let is_kept = {
            let view = match source {
                Source::Given(view) => view,
                Source::Kept(handle) => self.store.get(handle),
            };
            let Self { subscriptions, fold, clients, .. } = self;
            let publisher = if let Origin::Client(slot) = origin { Some(slot) } else { None };
            fold.clear();
            let topic = view.message.topic().as_bytes();
            subscriptions.matches(tag.space, topic, |slot| fit(clients.get(slot)), |found| fold.add(found, publisher));
            tag.retain || tag.qos != Qos::AtMostOnce && fold.deliveries().iter().any(|delivery| delivery.qos > 0)
        };
        let handle = match source {
            Source::Kept(handle) => Some(handle),
            Source::Given(view) if is_kept => {
                let handle = self.store.put(&view);
                if handle.is_none() {
                    host.count(Count::ForwardDropped);
                    return Routed { is_matched: false, refused: 0, handle: None };
                }
                handle
            }
            Source::Given(_) => None,
        };
        if let Some(handle) = handle
            && tag.retain
        {
            let shard = if let Origin::Shard(shard) = origin { shard } else { self.hops.shard };
            self.retain(host, handle, stamp, shard, now);
        }
        let mut references = 0;
        let is_short = self.store.is_short();
        let view = match source {
            Source::Given(view) => view,
            Source::Kept(handle) => self.store.get(handle),
        };
        let Self { clients, fold, hops, .. } = self;
        clients.out.begin();
        let offered = Offered { view, handle, expiry_s: view.expiry_s(now.monotonic), is_short };
        for delivery in fold.deliveries() {
            let slot = delivery.session;
            let mut identifiers = fold.identifiers(delivery);
            if let Some(member) = clients.get(slot).stands_for {
                let options = Options {
                    qos: delivery.qos,
                    retain_as_published: delivery.retain_as_published,
                    identifier: identifiers.next().unwrap_or(0),
                    ..Options::default()
                };
                let directed = Directed { slot: member.slot, generation: member.generation, options };
                hops.direct(host, member.shard, directed, &view, stamp, now);
            } else {
                let retain = delivery.retain_as_published && tag.retain;
                let offer = Offer { qos: delivery.qos, retain };
                references += u32::from(clients.offer(host, slot, &offered, offer, identifiers));
            }
        }
        let (concerned, refused) = match origin {
            Origin::Shard(_) => (0, 0),
            Origin::Client(_) | Origin::Will => hops.forward(host, &view, stamp, now),
        };
        let is_matched = !fold.deliveries().is_empty() || concerned != 0;
        if references > 0
            && let Some(handle) = handle
        {
            self.store.retain(handle, references);
        }
        self.keep_directed(host, source, handle, stamp);
        Routed { is_matched, refused, handle }
    }

    /// Messages for members of shared groups on other shards that found no room in the ring wait.
    fn keep_directed<H: Host>(&mut self, host: &mut H, source: Source<'_>, handle: Option<u32>, stamp: u64) {
        if self.hops.refused.is_empty() {
            return;
        }
        let (message, is_own) = match (handle, source) {
            (Some(handle), _) | (None, Source::Kept(handle)) => (Some(handle), false),
            (None, Source::Given(view)) => (self.store.put(&view), true),
        };
        while let Some((shard, directed)) = self.hops.refused.pop() {
            match message {
                None => host.count(Count::ForwardDropped),
                Some(message) => {
                    host.count(Count::ForwardWaited);
                    self.store.retain(message, 1);
                    let (shards, directed) = (1 << shard, Some(directed));
                    self.hops.push(Pending { message, shards, directed, stamp, owed: None });
                }
            }
        }
        if is_own && let Some(message) = message {
            self.store.release(message);
        }
    }
}

/// Whether a member of a shared group can take a message.
fn fit(session: &Session) -> Fit {
    let is_there = if session.stands_for.is_some() { session.is_online } else { session.is_connected() };
    if is_there { Fit::Now } else { Fit::Later }
}

/// A code that PUBACK and PUBREC can say.
fn refusal(code: ReasonCode) -> ReasonCode {
    if code.is_failure() && code.fits(Place::Puback, Role::Client) { code } else { ReasonCode::NotAuthorized }
}

/// The message of a PUBLISH; its properties for others are written into `properties`.
fn view_of<'a>(
    publish: &Publish<'a>,
    topic: TopicName<'a>,
    space: u32,
    now: Now,
    properties: &'a mut Vec<u8>,
) -> View<'a> {
    let message = Message::of(publish, topic);
    write_properties(&message.properties(), properties);
    let expires = match publish.properties.message_expiry_interval_s() {
        None => Monotonic::NEVER,
        Some(left) => after_s(now.monotonic, left),
    };
    let tag = Tag { qos: publish.delivery.qos(), retain: publish.retain, space, expires };
    View { message, properties, tag }
}

/// Writes properties as they stand on the wire, without the length before them.
pub(crate) fn write_properties(properties: &Properties<'_>, out: &mut Vec<u8>) {
    let bytes = properties.encoded_bytes();
    out.resize(bytes, 0);
    let written = properties.write(out);
    debug_assert_eq!(written, Ok(bytes), "properties are as long as they said");
}
