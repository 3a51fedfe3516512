//! What the control thread asks of a shard, a bounded number of messages per turn.
//!
//! Nothing is freed here that was allocated there: plans, queries and reports go back in the box they came in.

use crate::commands::Waiting;
use crate::control::{
    CommandRequest, ConnectionAnswer, DeviceAnswer, FromShard, GatewayAnswer, GroupRefused, JournalAnswer, Load,
    QUEUE_LISTED_MAX, Query, QueuedAnswer, StreamAnswer, ToShard,
};
use crate::group::Group;
use crate::keeping::{Keeping, Need, record};
use crate::metrics::{Done, Drop, Gauges, Report};
use crate::streams::NONE;
use crate::{MAIL_PER_TURN_MAX, Now, Refused, STOP_PATIENCE, Shard, shard_of_lane};
use base::Eui64;
use driver::Driver;
use plan::Upsert;
use session::gateways::STATUS_BYTES_MAX;
use session::{Ticket, Upserted};

impl Load {
    /// Notes whether someone on `shard` listens to a stream. False if this plan does not have that stream.
    pub(crate) fn set_presence(&mut self, stream: u32, shard: u8, present: bool) -> bool {
        let Some(index) = self.plan.stream_of_id(stream) else { return false };
        let shards = &mut self.presence[index as usize];
        let bit = 1 << shard;
        *shards = if present { *shards | bit } else { *shards & !bit };
        true
    }
}

impl<D: Driver> Shard<D> {
    /// Takes mail. False when the shard was told to stop, every connection is gone and everything is stored, or they had
    /// their time.
    pub(crate) fn take_mail(&mut self, now: Now) -> bool {
        for _ in 0..MAIL_PER_TURN_MAX {
            // An answer is never lost: without room for it the question waits.
            if !self.mailbox.may_answer() {
                break;
            }
            let Some(message) = self.mailbox.to.pop() else { break };
            self.mail(message, now);
        }
        let Some(stop_at) = self.stop_at else { return true };
        let stored = self.keeping.as_mut().is_none_or(crate::Keeping::stores_all);
        let over = (self.clients.open_count == 0 && stored) || stop_at <= now.monotonic;
        if over && self.mailbox.may_answer() {
            self.mailbox.push(FromShard::Stopped { stored });
            return false;
        }
        true
    }

    fn mail(&mut self, message: ToShard, now: Now) {
        match message {
            ToShard::Load(load) => self.put_in_force(load, now),
            ToShard::Upsert(upsert) => self.upsert(upsert, now),
            // A record of a device that is gone, or has other keys by now, is of no use.
            ToShard::Restore(records) => {
                let _restored = self.network.restore_all(&records);
                self.mailbox.push(FromShard::SessionsTaken(records));
            }
            ToShard::RestoreDownlink(bytes) => {
                let kept = session::KeptDownlink::parse(&bytes)
                    .is_some_and(|kept| self.network.restore_downlink(&kept, now.monotonic, now.unix));
                if !kept {
                    self.counters.drops.count(Drop::DownlinkNotRestored);
                }
                self.mailbox.push(FromShard::Restored(bytes));
            }
            ToShard::Catalog(catalog) => {
                let before = core::mem::replace(&mut self.catalog, catalog);
                self.feeds.moved();
                self.mailbox.push(FromShard::CatalogRetired(before));
            }
            ToShard::Cursors(mut cursors) => {
                self.feeds.recover(core::mem::take(&mut *cursors));
                self.mailbox.push(FromShard::CursorsTaken(cursors));
            }
            ToShard::Seek { stream, group, from } => {
                self.with_feeds(now, |feeds, _, ground| {
                    let _known = feeds.seek(stream, group, from, ground);
                });
            }
            ToShard::Found { session, from } => {
                let (clients, _, mut context) = self.with_clients(now);
                clients.found(session, from, &mut context);
            }
            ToShard::RemoveGroup { request, stream, group } => self.remove_group(request, stream, group, now),
            ToShard::PutBack { lane, tenant, body } => {
                if let Some(keeping) = &mut self.keeping {
                    let record = record(journal::Kind::PutBack, lane, tenant, now.unix, &body);
                    if keeping.append(&record, Need::Stored, true, now.monotonic).is_err() {
                        self.counters.drops.count(Drop::JournalTrouble);
                    }
                }
                self.mailbox.push(FromShard::Restored(body));
            }
            ToShard::Owed(bytes) => {
                if let Ok(event) = event::Event::parse(&bytes) {
                    let (_, _, mut outlets) = self.split(now);
                    session::Sink::event(&mut outlets, &event::Event { copy: event::Copy::Best, ..event });
                }
                self.mailbox.push(FromShard::Restored(bytes));
            }
            ToShard::SegmentMade(name) => {
                if let Some(keeping) = &mut self.keeping {
                    keeping.made(&mut self.driver, name);
                }
            }
            ToShard::SegmentNotMade(trouble) => {
                if let Some(keeping) = &mut self.keeping {
                    keeping.not_made(trouble);
                }
            }
            ToShard::Mark(revision) => self.mailbox.push(FromShard::Acknowledged(revision)),
            ToShard::Query(mut query) => {
                self.query(&mut query);
                self.mailbox.push(FromShard::Queried(query));
            }
            ToShard::Report(mut report) => {
                self.report(&mut report);
                self.mailbox.push(FromShard::Reported(report));
            }
            ToShard::Command(mut command) => match self.command_request(&command, now) {
                Ok((id, ticket)) => {
                    command.outcome = Ok(id);
                    self.reply_once_kept(Waiting::Control(command), ticket);
                }
                Err(refused) => {
                    command.outcome = Err(refused);
                    self.mailbox.push(FromShard::Commanded(command));
                }
            },
            ToShard::Flush { request, dev_eui } => {
                let (network, _, mut outlets) = self.split(now);
                let count = network.flush(dev_eui, &mut outlets, now.unix).unwrap_or(0);
                self.mailbox.push(FromShard::Flushed { request, count });
            }
            ToShard::Stop => {
                self.stop_at.get_or_insert(now.monotonic.after(STOP_PATIENCE));
                let (clients, driver, mut context) = self.with_clients(now);
                clients.shut_all(driver, &mut context);
            }
        }
    }

    fn remove_group(&mut self, request: u64, stream: u32, group: Group, now: Now) {
        let mut outcome = Err(GroupRefused::NotKept);
        if !self.replies.is_full() {
            self.with_feeds(now, |feeds, _, ground| outcome = feeds.remove(stream, group, ground));
        }
        match outcome {
            Ok((known, ticket)) => self.reply_once_kept(Waiting::Group(request, known), ticket),
            Err(refused) => self.mailbox.push(FromShard::GroupRemoved { request, outcome: Err(refused) }),
        }
    }

    fn put_in_force(&mut self, load: Box<Load>, now: Now) {
        let before = core::mem::replace(&mut self.load, load);
        let (clients, _, mut context) = self.with_clients(now);
        clients.carry_over(&before, &mut context);
        // A shard that had the plan before us may have told of consumers already.
        for (stream, shard, present) in self.early_presence.drain(..) {
            self.load.set_presence(stream, shard, present);
        }
        self.with_feeds(now, |feeds, _, ground| feeds.replan(ground));
        self.counters.done.count(Done::PlansLoaded);
        self.mailbox.push(FromShard::Retired(before));
    }

    fn upsert(&mut self, upsert: Upsert, now: Now) {
        match &upsert {
            Upsert::Device(device) => {
                let own = self.options.index;
                let shard_count = self.shard_count;
                let (network, _, mut outlets) = self.split(now);
                let before = match network.upsert(device, &mut outlets, now.unix) {
                    Ok(Upserted::Home { before } | Upserted::Redirected { before }) => before,
                    Ok(Upserted::Elsewhere) => None,
                    Err(session::Full) => return self.no_room(upsert),
                };
                let home = shard_of_lane(device.home().0, shard_count);
                if let Some(before) = before.filter(|lane| {
                    let shard = shard_of_lane(lane.0, shard_count);
                    shard != own && shard != home
                }) {
                    self.mailbox.push(FromShard::Moved { dev_eui: device.dev_eui, before });
                }
            }
            Upsert::RemoveDevice(eui) => {
                let (network, _, mut outlets) = self.split(now);
                network.remove(*eui, &mut outlets, now.unix);
            }
            Upsert::Gateway(gateway) => {
                if !self.gateways.upsert(gateway.eui, gateway.tenant, gateway.eirp_max_dbm) {
                    self.no_room(upsert);
                }
            }
            Upsert::RemoveGateway(eui) => drop(self.gateways.remove(*eui)),
        }
    }

    fn no_room(&mut self, upsert: Upsert) {
        self.counters.drops.count(Drop::NoRoom);
        self.mailbox.push(FromShard::UpsertFull(upsert));
    }

    fn command_request(&mut self, command: &CommandRequest, now: Now) -> Result<(u64, Ticket), Refused> {
        if self.network.state(command.dev_eui).is_none() {
            return Err(Refused::UnknownDevice);
        }
        let queued = session::Command {
            dev_eui: command.dev_eui,
            fport: command.fport,
            confirmed: command.confirmed,
            payload: &command.payload,
            expires: command.expires,
        };
        if self.replies.is_full() {
            return Err(Refused::Busy);
        }
        let (network, rules, mut outlets) = self.split(now);
        let outcome = network.enqueue(&queued, &rules, &mut outlets, now.monotonic, now.unix).map_err(Refused::from);
        if outcome.is_ok() {
            self.counters.done.count(Done::CommandsAccepted);
        }
        outcome
    }

    fn query(&mut self, query: &mut Query) {
        query.shard = self.options.index;
        for eui in &query.devices {
            if let Some(answer) = self.device_answer(*eui) {
                query.device_answers.push(answer);
            }
        }
        for eui in &query.gateways {
            if let Some(link) = self.gateways.link(*eui) {
                let mut status = [0; STATUS_BYTES_MAX];
                let text = link.status();
                status[..text.len()].copy_from_slice(text);
                query.gateway_answers.push(GatewayAnswer {
                    eui: *eui,
                    online: link.online,
                    last_seen: link.last_seen,
                    address: link.path().map(|path| path.address),
                    uplinks: link.uplinks,
                    downlinks: link.downlinks,
                    status,
                    status_bytes: text.len() as u16,
                });
            }
        }
        for id in &query.streams {
            let Some(index) = self.load.plan.stream_of_id(*id) else { continue };
            let state = &self.load.streams[index as usize];
            query.stream_answers.push(StreamAnswer {
                id: *id,
                delivered: state.delivered,
                delivered_bytes: state.delivered_bytes,
                dropped_queue_full: state.dropped_queue_full,
                dropped_pool_exhausted: state.dropped_pool_exhausted,
                dropped_no_room: state.dropped_no_room,
                not_stored: state.not_stored,
                downlinks: state.downlinks,
            });
            let mut rest = state.head;
            while rest != NONE && query.connection_answers.len() < query.connection_answers.capacity() {
                let client = &self.clients.table[rest as usize];
                query.connection_answers.push(ConnectionAnswer {
                    stream: *id,
                    peer: client.peer,
                    since: client.since,
                    delivered: client.delivered,
                    dropped: client.dropped,
                    queued_bytes: client.plain.len() as u32,
                });
                rest = client.next;
            }
            let groups = self.feeds.table.iter().flatten().filter(|feed| feed.stream == *id);
            for feed in groups.take(query.group_answers.capacity() - query.group_answers.len()) {
                query.group_answers.push(feed.answer(self.keeping.as_ref()));
            }
        }
        query.journal_answer = self.keeping.as_ref().filter(|_| query.asks_journal).map(|keeping| JournalAnswer {
            trouble: keeping.trouble(),
            records: self.counters.done.value(Done::RecordsKept),
            bytes: self.counters.done.value(Done::RecordBytesKept),
            failures: keeping.failure_count,
        });
    }

    fn device_answer(&self, dev_eui: Eui64) -> Option<DeviceAnswer> {
        let state = self.network.state(dev_eui)?;
        let mut queue = [None; QUEUE_LISTED_MAX];
        for (place, waiting) in queue.iter_mut().zip(state.queue.iter()) {
            let mut payload = [0; session::PAYLOAD_BYTES_MAX];
            let bytes = waiting.payload();
            payload[..bytes.len()].copy_from_slice(bytes);
            *place = Some(QueuedAnswer {
                id: waiting.id,
                fport: waiting.fport,
                confirmed: waiting.confirmed,
                attempts: waiting.attempts,
                payload_bytes: bytes.len() as u8,
                payload,
            });
        }
        Some(DeviceAnswer {
            dev_eui,
            active: state.active,
            dev_addr: state.dev_addr.0,
            session: state.session,
            fcnt_up: state.fcnt_up,
            fcnt_down: state.fcnt_down,
            last_seen: state.last_seen,
            gateway: state.gateway,
            rssi_deci: state.rssi_deci,
            snr_deci: state.snr_deci,
            queue,
        })
    }

    fn report(&mut self, report: &mut Report) {
        report.shard = self.options.index;
        report.values.clear();
        report.take(&self.counters.drops);
        report.take(&self.counters.done);
        report.take(&self.counters.datagrams);
        report.take(&self.counters.rxpk);
        report.take(self.gateways.counters());
        let counts = self.network.counts();
        report.take(&counts.drops);
        report.take(&counts.achieved);
        report.take(&self.counters.broker);
        report.gauges = Gauges {
            connections: self.clients.open_count as u64,
            devices: self.network.device_count() as u64,
            sessions: self.network.session_count() as u64,
            gateways: self.gateways.count() as u64,
            gateways_online: self.gateways.online_count() as u64,
            queue_blocks_free: self.clients.pool.free_count() as u64,
            plan_revision: self.load.plan.revision,
            busy_ns: self.busy_ns,
            trouble: self.keeping.as_ref().and_then(Keeping::trouble),
        };
        // Copied into the room that came with the report: equal bounds need none of their own.
        report.latencies.reset();
        report.latencies.add(&self.latencies);
    }
}
