//! Where the network server's output goes: consumers, other shards, gateways, storage.
//!
//! Owns nothing; borrows the shard's parts for one call. One place decides who is told of an event.

use crate::clients::Clients;
use crate::control::{FromShard, Happened, Mailbox, What};
use crate::hop::{Hop, Ports, TransmitHop};
use crate::keeping::{Keeping, Need, NotTaken, record};
use crate::metrics::{Counters, Done, Drop, Latencies};
use crate::streams::{StreamState, listeners};
use crate::{Now, shard_of_slot};
use base::{Eui64, Monotonic};
use driver::Driver;
use driver::steering::slot_of;
use event::{Copy, EVENT_BYTES_MAX, Event, Kind};
use lorawan::{DevAddr, NetId};
use plan::{Accept, Plan};
use session::body::{BODY_BYTES_MAX, UplinkBody};
use session::{
    About, Advance, Change, Lanes, NotKept, Owner, RECORD_BYTES, Rules, Sink, Ticket, Transmit, lane_of_addr,
    lane_of_eui,
};
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
        listeners(self.plan, self.presence, &event) != 0 || self.plan.strictest(&event).is_some()
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
    pub(crate) keeping: &'a mut Option<Keeping>,
    pub(crate) lanes: Lanes,
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
        // A first copy was kept with the state that it changes.
        if event.kind != Kind::Uplink || event.copy != Copy::First {
            self.keep_event(event);
        }
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

    fn keep(&mut self, owner: Owner, change: Change<'_>) -> Result<Ticket, NotKept> {
        let mut body = [0; BODY_BYTES_MAX];
        let (kind, count, need, may_wait) = match change {
            Change::Uplink(advance, event) => return self.keep_uplink(owner, advance, event),
            Change::Device(record) => {
                body[..RECORD_BYTES].copy_from_slice(&record.to_wire());
                (journal::Kind::Device, RECORD_BYTES, Need::Soon, false)
            }
            Change::Queued(downlink) => {
                let room = body.first_chunk_mut().expect("a body has room for any downlink");
                (journal::Kind::Queued, downlink.write(room), Need::Stored, true)
            }
            Change::Dequeued(dequeued) => {
                body[..16].copy_from_slice(&dequeued.to_wire());
                (journal::Kind::Dequeued, 16, Need::Some, false)
            }
            Change::Removed(dev_eui) => {
                body[..8].copy_from_slice(&dev_eui.0);
                (journal::Kind::Removed, 8, Need::Some, false)
            }
        };
        let record = record(kind, owner.lane.0, owner.tenant, self.now.unix, &body[..count]);
        self.append(&record, need, may_wait)
    }

    fn is_kept(&mut self, ticket: Ticket) -> bool {
        self.keeping.as_mut().is_none_or(|keeping| keeping.is_kept(ticket))
    }
}

// What goes into the journal.
impl<D: Driver> Outlets<'_, D> {
    /// One record, so that an uplink's counter and what it says are kept both or not at all.
    fn keep_uplink(&mut self, owner: Owner, advance: &Advance, event: Option<&Event<'_>>) -> Result<Ticket, NotKept> {
        let accept = event.and_then(|event| self.plan.strictest(event));
        let owed = event.and_then(|event| self.plan.strictest(&Event { copy: Copy::Best, ..event.clone() }));
        let strictest = accept.max(owed);
        let mut body = [0; BODY_BYTES_MAX];
        let uplink = UplinkBody {
            advance: *advance,
            event: event.filter(|_| strictest.is_some()).cloned(),
            owes_best: owed.is_some(),
        };
        let count = uplink.write(&mut body);
        let need = match strictest {
            None => Need::Some,
            Some(Accept::Memory) => Need::Written,
            Some(Accept::Disk) => Need::Stored,
        };
        let record = record(journal::Kind::Uplink, owner.lane.0, owner.tenant, self.now.unix, &body[..count]);
        let kept = self.append(&record, need, strictest.is_some());
        if let (Err(NotKept), Some(event)) = (kept, event) {
            self.count_not_stored(event);
        }
        kept
    }

    /// Keeps an event that a durable stream covers.
    fn keep_event(&mut self, event: &Event<'_>) {
        let Some(accept) = self.plan.strictest(event) else { return };
        let mut body = [0; EVENT_BYTES_MAX];
        let count = event.write(&mut body).expect("room for any event");
        let need = if accept == Accept::Disk { Need::Stored } else { Need::Written };
        let lane = lane_of_event(event, self.lanes);
        if self.append(&record(journal::Kind::Event, lane, event.tenant, event.at, &body[..count]), need, true).is_err()
        {
            self.count_not_stored(event);
        }
    }

    fn append(&mut self, record: &journal::Record<'_>, need: Need, may_wait: bool) -> Result<Ticket, NotKept> {
        let Some(keeping) = self.keeping else { return Ok(Ticket::KEPT) };
        match keeping.append(record, need, may_wait, self.now.monotonic) {
            Ok(ticket) => {
                // At once, and not at the turn's end: the event that follows may be on another shard, and sent, before that.
                keeping.carry(self.driver);
                self.counters.done.count(Done::RecordsKept);
                self.counters.done.add(Done::RecordBytesKept, record.body.len() as u64);
                Ok(ticket)
            }
            Err(refused) => {
                self.counters.drops.count(match refused {
                    NotTaken::Trouble(_) => Drop::JournalTrouble,
                    NotTaken::Log(journal::Full::Tail) => Drop::JournalBehind,
                    NotTaken::Log(journal::Full::NoSegment | journal::Full::Exhausted) => Drop::JournalNoSegment,
                });
                Err(NotKept)
            }
        }
    }

    /// What a durable stream should have had: it is told of in the stream's state.
    fn count_not_stored(&mut self, event: &Event<'_>) {
        let streams = &mut *self.streams;
        let drops = &self.counters.drops;
        self.plan.covering_durable(event, |index, _| {
            streams[index as usize].not_stored += 1;
            drops.count(Drop::NotStored);
        });
    }
}

/// The lane in whose order an event stands. What concerns no device of this shard stands in its first lane.
fn lane_of_event(event: &Event<'_>, lanes: Lanes) -> u8 {
    let lane = match event.kind {
        Kind::GatewayStatus | Kind::GatewayOnline | Kind::GatewayOffline => lane_of_eui(event.gateway),
        _ if event.dev_addr != 0 => lane_of_addr(DevAddr(event.dev_addr)),
        _ => lane_of_eui(event.dev_eui),
    };
    if lanes.contains(lane) { lane.0 } else { lanes.first().map_or(0, |lane| lane.0) }
}

/// The gateway an event is about, for its slot's shard.
pub(crate) fn shard_of_gateway(slot_key: u32, gateway: Eui64, shard_count: usize) -> usize {
    shard_of_slot(slot_of(slot_key, gateway), shard_count)
}
