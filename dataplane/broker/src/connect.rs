//! CONNECT: a session is resumed or begun, and its client told on what terms (3.1, 3.2).

use crate::aliases::{Incoming, Outgoing};
use crate::broker::Broker;
use crate::clients::Clients;
use crate::publish::write_properties;
use crate::session::{Connection, Will};
use crate::store::{Tag, View};
use crate::{Action, Count, Happened, Host, Identity, Link, Now, Slot};
use base::Monotonic;
use core::num::NonZeroU32;
use mqtt::{Binary, Connack, Connect, Message, Packet, Properties, Property, ReasonCode, Text, Version};

/// Letters of a client identifier that the broker chose, behind its prefix.
const CHOSEN_BYTES: usize = 22;

const PREFIX: &[u8] = b"auto-";

/// A client identifier for a client that has none (v5 3.1.3.1).
fn chosen<H: Host>(host: &mut H, clients: &Clients, space: u32) -> [u8; PREFIX.len() + CHOSEN_BYTES] {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    loop {
        let mut id = [0; PREFIX.len() + CHOSEN_BYTES];
        id[..PREFIX.len()].copy_from_slice(PREFIX);
        host.entropy(&mut id[PREFIX.len()..]);
        for byte in &mut id[PREFIX.len()..] {
            *byte = LETTERS[usize::from(*byte & 31)];
        }
        if host.owns(space, &id) && clients.find(space, &id).is_none() {
            return id;
        }
    }
}

impl Broker {
    /// A client that the host let in: answers its CONNACK, takes over from an older connection of the same client, and goes
    /// on with its session. `None`: it was refused, with the CONNACK that says why, and [`Host::close`] was called.
    pub fn connect<H: Host>(
        &mut self,
        host: &mut H,
        link: Link,
        connect: &Connect<'_>,
        identity: Identity<'_>,
        now: Now,
    ) -> Option<Slot> {
        let result = self.let_in(host, link, connect, identity, now);
        let slot = match result {
            Ok(slot) => Some(Slot(slot)),
            Err(code) => {
                host.count(Count::SessionRefused);
                let mut out = [0; 8];
                if let Ok(bytes @ 1..) = Connack::refused(code).write(connect.version, &mut out) {
                    // The connection is closed either way.
                    let _ = host.send(link, &[&out[..bytes]]);
                }
                host.close(link, code);
                None
            }
        };
        self.settle(host, now);
        slot.filter(|slot| self.clients.get(slot.0).connection.as_ref().is_some_and(|own| own.link == link))
    }

    fn let_in<H: Host>(
        &mut self,
        host: &mut H,
        link: Link,
        connect: &Connect<'_>,
        identity: Identity<'_>,
        now: Now,
    ) -> Result<u32, ReasonCode> {
        let Identity { space, principal, owner, .. } = identity;
        if let Some(will) = &connect.will {
            host.may(principal, Action::Publish, will.topic.as_bytes()).map_err(|_| {
                host.count(Count::WillDropped);
                ReasonCode::NotAuthorized
            })?;
        }
        let chosen_id;
        let (client_id, is_chosen) = if connect.client_id.is_empty() {
            chosen_id = chosen(host, &self.clients, space);
            (&chosen_id[..], true)
        } else {
            (connect.client_id.as_bytes(), false)
        };
        if let Some(slot) = self.clients.find(space, client_id) {
            if self.clients.get(slot).owner != owner {
                return Err(ReasonCode::NotAuthorized);
            }
            if self.clients.get(slot).is_connected() {
                host.count(Count::TakenOver);
                self.cut(host, slot, ReasonCode::SessionTakenOver, now);
            }
        }
        // The end of a connection may have been the end of its session.
        let known = self.clients.find(space, client_id);
        let resumed = match known {
            Some(slot) if connect.clean_start => {
                self.forget(host, slot, now);
                None
            }
            known => known,
        };
        let will = self.will_of(connect, space)?;
        let slot = match resumed {
            Some(slot) => slot,
            None => match self.clients.insert(space, client_id) {
                Some(slot) => slot,
                None => {
                    if let Some(will) = will {
                        self.store.release(will.message);
                    }
                    return Err(ReasonCode::QuotaExceeded);
                }
            },
        };
        let expiry_s = self.expiry_of(connect);
        let session = self.clients.get_mut(slot);
        if let Some(delayed) = session.will.take() {
            // The client is back before its will was due (v5 3.1.3.2.2).
            self.store.release(delayed.message);
        }
        session.connection_count += 1;
        (session.principal, session.owner, session.will, session.expiry_s) = (principal, owner, will, expiry_s);
        (session.expires, session.will_at) = (Monotonic::NEVER, Monotonic::NEVER);
        let number = session.connection_count;
        let connection = self.connection_of(link, connect, number, now);
        self.clients.get_mut(slot).connection = Some(connection);
        host.count(Count::Connected);
        host.happened(Happened::Connected {
            slot: Slot(slot),
            space,
            principal,
            client_id,
            version: connect.version,
            session_present: resumed.is_some(),
        });
        self.greet(host, slot, connect, identity, resumed.is_some(), is_chosen.then_some(client_id));
        self.clients.arm(slot);
        if resumed.is_some() {
            host.count(Count::Resumed);
            self.say_online(host, slot, true);
            let mut flow = self.clients.get(slot).flow;
            self.clients.deliveries.begin_again(&mut flow);
            self.clients.get_mut(slot).flow = flow;
            self.clients.pump(host, slot, &self.store, now);
            if self.clients.get(slot).is_pending {
                self.clients.pause(host, slot, crate::session::Pause::Ring);
            }
        }
        Ok(slot)
    }

    /// Seconds that the session outlives its connection (v5 3.1.2.11.2).
    fn expiry_of(&self, connect: &Connect<'_>) -> u32 {
        match connect.version {
            Version::V3 if connect.clean_start => 0,
            Version::V3 => self.limits.session_expiry_s_max,
            Version::V5 => {
                connect.properties.session_expiry_interval_s().unwrap_or(0).min(self.limits.session_expiry_s_max)
            }
        }
    }

    /// Keeps the will of a CONNECT.
    fn will_of(&mut self, connect: &Connect<'_>, space: u32) -> Result<Option<Will>, ReasonCode> {
        let Some(will) = &connect.will else { return Ok(None) };
        let message = Message::of_will(will);
        let mut properties = core::mem::take(&mut self.hops.properties);
        write_properties(&message.properties(), &mut properties);
        let tag = Tag { qos: will.qos, retain: will.retain, space, expires: Monotonic::NEVER };
        let kept = self.store.put(&View { message, properties: &properties, tag });
        self.hops.properties = properties;
        Ok(Some(Will {
            message: kept.ok_or(ReasonCode::QuotaExceeded)?,
            delay_s: will.properties.will_delay_interval_s().unwrap_or(0),
            expiry_s: will.properties.message_expiry_interval_s(),
        }))
    }

    /// Seconds of keep alive that the server asks for instead of the client's (v5 3.2.2.3.14).
    fn keep_alive_of(&self, connect: &Connect<'_>) -> Option<u16> {
        let longest = self.limits.keep_alive_s_max;
        let is_too_long = longest != 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > longest);
        (is_too_long && connect.version == Version::V5).then_some(longest)
    }

    fn connection_of(&self, link: Link, connect: &Connect<'_>, number: u32, now: Now) -> Connection {
        let limits = &self.limits;
        let properties = &connect.properties;
        let keep_alive_s = self.keep_alive_of(connect).unwrap_or(connect.keep_alive_s);
        let window = properties.receive_maximum().map_or(u16::MAX, |own| own.get()).min(limits.inflight_max.get());
        let alias_count = properties.topic_alias_maximum().unwrap_or(0).min(limits.own_alias_count_max);
        let packet_bytes_max = properties.maximum_packet_size_bytes().map_or(mqtt::PACKET_BYTES_MAX, NonZeroU32::get);
        Connection {
            link,
            version: connect.version,
            number,
            keep_alive_ns: u64::from(keep_alive_s) * 1_500_000_000,
            heard: now.monotonic,
            packet_bytes_max,
            window,
            expiry_was_zero: properties.session_expiry_interval_s().unwrap_or(0) == 0,
            pauses: 0,
            method: properties.authentication_method().map(|method| method.as_bytes().into()),
            incoming: Incoming::default(),
            outgoing: (alias_count > 0).then(|| Box::new(Outgoing::new(alias_count))),
        }
    }

    /// Sends CONNACK.
    fn greet<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        connect: &Connect<'_>,
        identity: Identity<'_>,
        session_present: bool,
        chosen: Option<&[u8]>,
    ) {
        let limits = &self.limits;
        let asked_s = connect.properties.session_expiry_interval_s().unwrap_or(0);
        let granted_s = self.clients.get(slot).expiry_s;
        let alias_maximum = limits.topic_alias_maximum;
        let method = connect.properties.authentication_method();
        let data = identity.authentication_data.filter(|_| method.is_some()).and_then(Binary::new);
        let list = [
            (granted_s != asked_s).then_some(Property::SessionExpiryInterval(granted_s)),
            Some(Property::ReceiveMaximum(limits.receive_maximum)),
            NonZeroU32::new(limits.packet_bytes_max).map(Property::MaximumPacketSize),
            chosen.and_then(Text::parse).map(Property::AssignedClientIdentifier),
            (alias_maximum > 0).then_some(Property::TopicAliasMaximum(alias_maximum)),
            self.keep_alive_of(connect).map(Property::ServerKeepAlive),
            method.map(Property::AuthenticationMethod),
            data.map(Property::AuthenticationData),
        ];
        let mut properties = [Property::ReceiveMaximum(limits.receive_maximum); 8];
        let mut count = 0;
        for property in list.into_iter().flatten() {
            properties[count] = property;
            count += 1;
        }
        let connack = Connack::accepted(session_present, Properties::listed(&properties[..count]));
        self.clients.answer(host, slot, &Packet::Connack(connack));
    }
}
