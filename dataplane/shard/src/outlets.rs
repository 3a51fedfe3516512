//! Where the network server's output goes: consumers, other shards, gateways, storage.
//!
//! Owns nothing; borrows the shard's parts for one call. One place decides who is told of an event.

use crate::clients::Clients;
use crate::control::{FromShard, Happened, Mailbox, What};
use crate::hop::{Hop, Ports, TransmitHop};
use crate::metrics::{Counters, Done, Drop, Latencies};
use crate::streams::{StreamState, listeners};
use crate::{Now, shard_of_slot};
use base::{Eui64, Monotonic};
use driver::Driver;
use driver::steering::slot_of;
use event::{Copy, Event, Kind};
use lorawan::NetId;
use plan::Plan;
use session::{About, Rules, SessionRecord, Sink, Transmit};
use std::time::Duration;

/// The plan's answers to the network server.
pub(crate) struct PlanRules<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) presence: &'a [u64],
}

impl Rules for PlanRules<'_> {
    fn profile(&self, id: u32) -> Option<&lorawan::Profile> {
        self.plan.profile(id)
    }

    fn dedup_window(&self, application: u32) -> Duration {
        self.plan.dedup_window(application)
    }

    fn net_id(&self) -> NetId {
        NetId(self.plan.settings.net_id)
    }

    fn wants(&self, about: &About) -> bool {
        if operational(about.kind) || self.plan.has_gateway_streams() {
            return true;
        }
        let event = Event {
            copy: about.copy,
            tenant: about.tenant,
            application: about.application,
            dev_eui: about.dev_eui,
            ..Event::new(about.kind, base::UnixMicros::default())
        };
        listeners(self.plan, self.presence, &event) != 0
    }
}

/// What people want to see in the event list, and what happens seldom enough to be listed.
const fn operational(kind: Kind) -> bool {
    matches!(kind, Kind::Joined | Kind::DownlinkFailed | Kind::GatewayOnline | Kind::GatewayOffline)
}

/// See the module.
pub(crate) struct Outlets<'a, D> {
    pub(crate) plan: &'a Plan,
    pub(crate) presence: &'a [u64],
    pub(crate) streams: &'a mut [StreamState],
    pub(crate) driver: &'a mut D,
    pub(crate) ports: &'a mut Ports,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) clients: &'a mut Clients,
    pub(crate) counters: &'a Counters,
    pub(crate) latencies: &'a mut Latencies,
    pub(crate) own: usize,
    pub(crate) slot_key: u32,
    pub(crate) shard_count: usize,
    pub(crate) now: Now,
}

impl<D: Driver> Outlets<'_, D> {
    /// Gives an event to this shard's consumers.
    pub(crate) fn deliver(&mut self, event: &Event<'_>) {
        self.clients.deliver(self.plan, self.streams, event, self.counters);
        if event.kind == Kind::Uplink && event.copy != Copy::Best {
            let late = self.driver.instant().since(self.now.monotonic);
            let age = (self.now.unix.0.saturating_sub(event.at.0)).saturating_mul(1000);
            self.latencies.uplink.saturating_record((age + late.as_nanos() as u64).max(1));
        }
    }

    /// Gives another shard's event to this shard's consumers.
    pub(crate) fn deliver_hop(&mut self, sent: Monotonic, event: &Event<'_>) {
        let late = self.driver.instant().since(sent).as_nanos() as u64;
        self.latencies.hop.saturating_record(late.max(1));
        self.deliver(event);
    }

    fn send(&mut self, target: usize, hop: &Hop<'_>, reason: Drop) {
        if self.ports.send(target, hop).is_err() {
            self.counters.drops.count(reason);
        }
    }
}

impl<D: Driver> Sink for Outlets<'_, D> {
    fn event(&mut self, event: &Event<'_>) {
        let shards = listeners(self.plan, self.presence, event);
        if operational(event.kind) {
            let happened = Happened {
                what: What::Event(event.kind),
                at: event.at,
                tenant: event.tenant,
                application: event.application,
                dev_eui: event.dev_eui,
                gateway: event.gateway,
                stream: 0,
                failure: event.failure,
            };
            if self.mailbox.offer(FromShard::Happened(happened)).is_err() {
                self.counters.drops.count(Drop::HappenedDropped);
            }
        }
        if shards == 0 {
            return;
        }
        self.counters.done.count(Done::EventsMatched);
        let others = shards & !(1 << self.own);
        if others != 0 {
            let refused = self.ports.send_each(others, &Hop::Event(self.driver.instant(), event.clone()));
            self.counters.done.add(Done::EventsForwarded, u64::from(others.count_ones()) - refused);
            self.counters.drops.add(Drop::HopEvent, refused);
        }
        if shards & (1 << self.own) != 0 {
            self.deliver(event);
        }
    }

    fn transmit(&mut self, transmit: &Transmit<'_>) {
        let target = shard_of_slot(slot_of(self.slot_key, transmit.gateway), self.shard_count);
        let hop = TransmitHop {
            origin: self.own as u8,
            power_dbm: transmit.power_dbm,
            transmission: transmit.transmission,
            gateway: transmit.gateway,
            tmst: transmit.tmst,
            frequency_hz: transmit.frequency_hz,
            data_rate: transmit.data_rate,
            antenna: transmit.reception.antenna,
            rf_chain: transmit.reception.rf_chain,
            phy: transmit.phy,
        };
        // A transmission that is lost here is found silent by its timeout and goes another way.
        self.send(target, &Hop::Transmit(hop), Drop::HopTransmit);
    }

    fn session(&mut self, record: &SessionRecord) {
        if self.mailbox.offer(FromShard::Session(record.clone())).is_err() {
            self.counters.drops.count(Drop::SessionRecordDropped);
        }
    }
}

/// The gateway an event is about, for its slot's shard.
pub(crate) fn shard_of_gateway(slot_key: u32, gateway: Eui64, shard_count: usize) -> usize {
    shard_of_slot(slot_of(slot_key, gateway), shard_count)
}
