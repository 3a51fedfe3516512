//! Queued downlinks: accepted or refused, given up, taken out. The pool that holds them is `downlinks`.

use crate::NONE;
use crate::change::{Change, Dequeued, KeptDownlink, NotKept, Ticket};
use crate::counted::{Achievement, Drop};
use crate::device::ENABLED;
use crate::downlinks::Fresh;
use crate::lane::Lane;
use crate::network::{Network, Timer, Turn};
use crate::rules::{Rules, Sink};
use crate::spec::{Command, PAYLOAD_BYTES_MAX, Refusal};
use base::{Eui64, Monotonic, UnixMicros};
use event::{Event, Failure, Kind};
use lorawan::Direction;

impl Network {
    /// Queues a downlink; it leaves with the answer to the device's next uplink. A device that has not joined yet keeps it
    /// for its first session. Returns its id, which is greater than every earlier one and fits 53 bits, and the ticket of
    /// its being kept: it is accepted once that is.
    ///
    /// # Errors
    /// Why it was not queued.
    pub fn enqueue(
        &mut self,
        command: &Command<'_>,
        rules: &dyn Rules,
        sink: &mut dyn Sink,
        now: Monotonic,
        unix: UnixMicros,
    ) -> Result<(u64, Ticket), Refusal> {
        let queued = self.try_enqueue(command, &mut Turn { rules, sink, now, unix });
        match queued {
            Ok(_) => self.counts.achieved.count(Achievement::DownlinksQueued),
            Err(_) => self.counts.drops.count(Drop::DownlinkRefused),
        }
        queued
    }

    /// Empties a device's queue; says how many were in it, or `None` if no such device lives here.
    pub fn flush(&mut self, dev_eui: Eui64, sink: &mut dyn Sink, unix: UnixMicros) -> Option<u32> {
        let place = self.device(dev_eui)?;
        Some(self.fail_queue(place, Failure::Flushed, sink, unix))
    }

    fn try_enqueue(&mut self, command: &Command<'_>, turn: &mut Turn<'_>) -> Result<(u64, Ticket), Refusal> {
        if !(1..=223).contains(&command.fport) {
            return Err(Refusal::BadPort);
        }
        let place = self.device(command.dev_eui).ok_or(Refusal::UnknownDevice)?;
        let device = &self.devices[place];
        if !device.is(ENABLED) {
            return Err(Refusal::Disabled);
        }
        let rules = turn.rules;
        let profile = rules.profile(device.profile).ok_or(Refusal::NoSession)?;
        let sizes = (0..16).filter_map(|rate| profile.plan().payload_bytes_max(rate, Direction::Down, 0));
        if command.payload.len() > sizes.max().unwrap_or(0).min(PAYLOAD_BYTES_MAX) {
            return Err(Refusal::TooLong);
        }
        if device.queue.count >= u16::from(profile.queue_count_max()) {
            return Err(Refusal::QueueFull);
        }
        let kept = KeptDownlink {
            dev_eui: command.dev_eui,
            id: self.next_downlink_id(self.lane_of_device(place), turn.unix),
            expires: command.expires.unwrap_or_default(),
            fport: command.fport,
            confirmed: command.confirmed,
            payload: command.payload,
        };
        let downlink = self.push_downlink(place, &kept, turn.now, turn.unix).ok_or(Refusal::QueueFull)?;
        match turn.sink.keep(self.owner(place), Change::Queued(&kept)) {
            Ok(ticket) => Ok((kept.id, ticket)),
            Err(NotKept) => {
                self.counts.drops.count(Drop::NotKept);
                self.forget_downlink(downlink);
                Err(Refusal::NotKept)
            }
        }
    }

    /// Puts a downlink at the end of its device's queue; `None` if the pool is full.
    pub(crate) fn push_downlink(
        &mut self,
        place: u32,
        kept: &KeptDownlink<'_>,
        now: Monotonic,
        unix: UnixMicros,
    ) -> Option<u32> {
        let fresh = Fresh {
            id: kept.id,
            expires: kept.expires,
            device: place,
            fport: kept.fport,
            confirmed: kept.confirmed,
            payload: kept.payload,
        };
        let downlink = self.downlinks.push(&mut self.devices[place].queue, &fresh)?;
        if kept.expires != UnixMicros::default() {
            let left = core::time::Duration::from_micros(kept.expires.0.saturating_sub(unix.0));
            self.arm(Timer::Downlink(downlink), now.after(left));
        }
        Some(downlink)
    }

    /// Sixteen a millisecond and six bits of lane: unique over shards and restarts, and a number that JSON readers keep
    /// exact (below 2^53 until the year 2112).
    fn next_downlink_id(&mut self, lane: Lane, unix: UnixMicros) -> u64 {
        self.downlink_tick = (self.downlink_tick + 1).max(unix.millis() << 4);
        self.downlink_tick << 6 | u64::from(lane.0)
    }

    /// Gives up everything that is queued; says how many.
    pub(crate) fn fail_queue(&mut self, place: u32, failure: Failure, sink: &mut dyn Sink, unix: UnixMicros) -> u32 {
        self.end_flight(place);
        let mut count = 0;
        while self.devices[place].queue.head != NONE {
            self.fail_downlink(self.devices[place].queue.head, failure, sink, unix);
            count += 1;
        }
        count
    }

    /// Gives up one queued downlink.
    pub(crate) fn fail_downlink(&mut self, place: u32, failure: Failure, sink: &mut dyn Sink, unix: UnixMicros) {
        self.counts.drops.count(Drop::DownlinkFailed);
        let event = self.downlink_event(Kind::DownlinkFailed, place, unix);
        sink.event(&Event { failure: Some(failure), ..event });
        self.take_downlink(place, sink);
    }

    /// Takes a downlink out of its queue. If that cannot be kept, it is sent once more after a restart.
    pub(crate) fn take_downlink(&mut self, place: u32, sink: &mut dyn Sink) {
        let downlink = &self.downlinks[place];
        let dequeued = Dequeued { dev_eui: self.devices[downlink.device].dev_eui, id: downlink.id };
        if sink.keep(self.owner(downlink.device), Change::Dequeued(dequeued)).is_err() {
            self.counts.drops.count(Drop::NotKept);
        }
        self.forget_downlink(place);
    }

    fn forget_downlink(&mut self, place: u32) {
        self.disarm(Timer::Downlink(place));
        let device = self.downlinks[place].device;
        self.downlinks.remove(&mut self.devices[device].queue, place);
    }

    pub(crate) fn downlink_event(&self, kind: Kind, place: u32, unix: UnixMicros) -> Event<'static> {
        let downlink = &self.downlinks[place];
        Event {
            downlink: downlink.id,
            fcnt: downlink.fcnt,
            fport: Some(downlink.fport),
            mtype: if downlink.confirmed { 5 } else { 3 },
            ..self.event(kind, downlink.device, unix)
        }
    }

    pub(crate) fn downlink_expired(&mut self, place: u32, turn: &mut Turn<'_>) {
        let device = self.downlinks[place].device;
        // While a gateway is asked to send it, its fate is the gateway's word.
        if !self.in_flight(device, place) {
            self.fail_downlink(place, Failure::Expired, turn.sink, turn.unix);
        }
    }
}
