//! Answers under way: from the request to a gateway to its word, and what is tried when that word is bad.
//!
//! ```text
//!   steps: best gateway RX1, RX2, second best RX1, RX2, ...      those whose time has passed are left out
//!   error -> the next step     no path -> the next gateway     silence -> the next gateway's RX2, else its own
//! ```
//! The same PHYPayload serves every step: a device that hears it twice drops the second by its FCntDown. Nothing is lost
//! by giving up: a queued downlink stays in its queue until its attempts are used up.

use crate::NONE;
use crate::change::Ticket;
use crate::counted::{Achievement, Drop};
use crate::network::{Network, Timer, Turn};
use crate::rules::{Outcome, Transmit};
use base::{DataRate, Monotonic};
use core::time::Duration;
use event::{Event, Failure, Kind, Reception, Receptions};
use lorawan::region::Window as ReceiveWindow;
use lorawan::{Direction, PHY_BYTES_MAX, Profile};

/// Bits of a transmission's handle that say its place; the others tell attempts apart.
pub(crate) const PLACE_BITS: u32 = 16;

/// Gateways that are tried.
const CANDIDATE_COUNT_MAX: usize = 4;

/// A gateway must be asked this long before the window opens: hop, network, the forwarder's own queue.
const LEAD: Duration = Duration::from_millis(100);

/// After the window, this long for the gateway's word (Basics Station speaks only after transmitting).
const SILENCE: Duration = Duration::from_secs(2);

/// One receive window, as a gateway must serve it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) delay: Duration,
    pub(crate) frequency_hz: u32,
    pub(crate) data_rate: DataRate,
    pub(crate) power_dbm: i8,
}

impl Slot {
    pub(crate) fn of(profile: &Profile, window: ReceiveWindow) -> Option<Self> {
        let plan = profile.plan();
        Some(Self {
            delay: Duration::from_secs(u64::from(window.delay_s)),
            frequency_hz: window.frequency_hz,
            data_rate: plan.data_rate(window.data_rate, Direction::Down)?,
            power_dbm: plan.downlink_eirp_max_dbm(window.frequency_hz) as i8,
        })
    }

    /// Whether a gateway can still be asked in time, for an uplink that ended at `opened`.
    pub(crate) fn is_open(&self, opened: Monotonic, now: Monotonic) -> bool {
        now.after(LEAD) <= opened.after(self.delay)
    }
}

/// One answer under way.
#[derive(Debug)]
pub(crate) struct Flight {
    handle: u32,
    /// Of the latest change that it implies.
    pub(crate) ticket: Ticket,
    /// It waits for that to be kept; no gateway was asked yet.
    held: bool,
    /// None once it is over.
    device: u32,
    /// The queued downlink that it carries, or none.
    pub(crate) downlink: u32,
    opened: Monotonic,
    slots: [Option<Slot>; 2],
    candidates: [Reception; CANDIDATE_COUNT_MAX],
    candidate_count: u8,
    step: u8,
    /// Some gateway was reached, though in vain.
    reached: bool,
    pub(crate) len: u8,
    pub(crate) phy: [u8; PHY_BYTES_MAX],
}

impl Flight {
    pub(crate) fn new(device: u32, opened: Monotonic, slots: [Option<Slot>; 2]) -> Self {
        Self {
            handle: 0,
            ticket: Ticket::KEPT,
            held: false,
            device,
            downlink: NONE,
            opened,
            slots,
            candidates: [Reception::default(); CANDIDATE_COUNT_MAX],
            candidate_count: 0,
            step: 0,
            reached: false,
            len: 0,
            phy: [0; PHY_BYTES_MAX],
        }
    }

    /// Takes the best receptions, one for each gateway.
    pub(crate) fn gather(&mut self, receptions: Receptions<'_>) {
        for reception in receptions.iter() {
            let count = usize::from(self.candidate_count);
            let known = self.candidates[..count].iter().any(|candidate| candidate.gateway == reception.gateway);
            if !known && count < CANDIDATE_COUNT_MAX {
                self.candidates[count] = reception;
                self.candidate_count += 1;
            }
        }
    }

    /// The last moment at which a gateway can be asked.
    fn last_call(&self) -> Monotonic {
        let delay = self.slots.iter().flatten().map(|slot| slot.delay).max().unwrap_or_default();
        self.opened.after(delay.saturating_sub(LEAD))
    }

    /// The first step from `step` on whose window can still be met.
    fn next(&self, step: u8, now: Monotonic) -> Option<u8> {
        (step..self.candidate_count * 2)
            .find(|step| self.slots[usize::from(step % 2)].is_some_and(|slot| slot.is_open(self.opened, now)))
    }
}

impl Network {
    /// Sends a new answer on its way.
    pub(crate) fn launch(&mut self, flight: Flight, turn: &mut Turn<'_>) {
        let device = flight.device;
        let Some(step) = flight.next(0, turn.now) else {
            return self.counts.drops.count(Drop::AnswerTooLate);
        };
        let kept = turn.sink.is_kept(flight.ticket);
        let last_call = flight.last_call();
        let Some(place) = self.flights.insert(flight) else {
            return self.counts.drops.count(Drop::TransmissionFull);
        };
        self.devices[device].flight = place;
        if kept {
            return self.ask(place, step, turn);
        }
        self.counts.achieved.count(Achievement::AnswersHeld);
        self.attempt_count = self.attempt_count.wrapping_add(1);
        let handle = self.attempt_count << PLACE_BITS | place;
        let flight = &mut self.flights[place];
        (flight.handle, flight.held) = (handle, true);
        self.arm(Timer::Flight(place), last_call);
        self.hold(place, handle);
    }

    fn hold(&mut self, place: u32, handle: u32) {
        if self.held.len() == self.held.capacity() {
            // Those that are over by other ways are still listed.
            let flights = &self.flights;
            self.held.retain(|&(place, handle)| flights[place].held && flights[place].handle == handle);
        }
        self.held.push((place, handle));
    }

    /// Lets go of the answers whose changes are kept by now.
    pub(crate) fn release_held(&mut self, turn: &mut Turn<'_>) {
        let mut at = 0;
        while let Some(&(place, handle)) = self.held.get(at) {
            let flight = &mut self.flights[place];
            let waits = flight.held && flight.handle == handle;
            if waits && !turn.sink.is_kept(flight.ticket) {
                at += 1;
                continue;
            }
            self.held.swap_remove(at);
            if waits {
                flight.held = false;
                match flight.next(0, turn.now) {
                    Some(step) => self.ask(place, step, turn),
                    None => self.not_kept_in_time(place, turn),
                }
            }
        }
    }

    fn not_kept_in_time(&mut self, place: u32, turn: &mut Turn<'_>) {
        self.counts.drops.count(Drop::AnswerNotKept);
        self.flights[place].held = false;
        self.crashed(place, turn);
    }

    /// Asks the gateway of this step.
    fn ask(&mut self, place: u32, step: u8, turn: &mut Turn<'_>) {
        self.attempt_count = self.attempt_count.wrapping_add(1);
        let handle = self.attempt_count << PLACE_BITS | place;
        let flight = &mut self.flights[place];
        (flight.handle, flight.step) = (handle, step);
        let second = flight.slots[1].filter(|slot| slot.is_open(flight.opened, turn.now));
        let slot = flight.slots[usize::from(step % 2)].expect("a step that can be met");
        // While RX2 is still ahead, silence is noticed early enough to use it.
        let silent_at = match second {
            Some(second) if is_rx1(step) => flight.opened.after(second.delay - 2 * LEAD),
            _ => flight.opened.after(slot.delay + SILENCE),
        };
        let reception = flight.candidates[usize::from(step / 2)];
        self.arm(Timer::Flight(place), silent_at);
        let flight = &self.flights[place];
        turn.sink.transmit(&Transmit {
            transmission: handle,
            gateway: reception.gateway,
            tmst: reception.tmst.wrapping_add(slot.delay.as_micros() as u32),
            reception: &reception,
            delay: slot.delay,
            frequency_hz: slot.frequency_hz,
            data_rate: slot.data_rate,
            power_dbm: slot.power_dbm,
            dev_eui: self.devices[flight.device].dev_eui,
            phy: &flight.phy[..usize::from(flight.len)],
        });
    }

    pub(crate) fn flight_outcome(&mut self, handle: u32, outcome: Outcome, turn: &mut Turn<'_>) {
        let place = handle & ((1 << PLACE_BITS) - 1);
        let known = place < self.flights.used() && self.flights[place].handle == handle;
        if !known || self.flights[place].device == NONE {
            return self.counts.drops.count(Drop::TransmissionUnknown);
        }
        let flight = &mut self.flights[place];
        let step = flight.step;
        match outcome {
            Outcome::Sent => {
                self.counts.achieved.count(Achievement::Transmissions);
                self.landed(place, turn);
            }
            Outcome::Error(_) => {
                flight.reached = true;
                self.counts.drops.count(Drop::TransmissionRefused);
                self.fall_back(place, step + 1, turn);
            }
            Outcome::NoPath => {
                self.counts.drops.count(Drop::TransmissionNoPath);
                self.fall_back(place, step / 2 * 2 + 2, turn);
            }
        }
    }

    /// The gateway has not said a word.
    pub(crate) fn flight_silent(&mut self, place: u32, turn: &mut Turn<'_>) {
        if self.flights[place].held {
            return self.not_kept_in_time(place, turn);
        }
        self.counts.drops.count(Drop::TransmissionSilent);
        let flight = &mut self.flights[place];
        flight.reached = true;
        let own = flight.step + 1;
        let others = flight.step / 2 * 2 + 2;
        let step = if flight.next(others, turn.now).is_some() || !is_rx1(flight.step) { others } else { own };
        self.fall_back(place, step, turn);
    }

    fn fall_back(&mut self, place: u32, step: u8, turn: &mut Turn<'_>) {
        match self.flights[place].next(step, turn.now) {
            Some(step) => {
                self.counts.achieved.count(Achievement::Fallbacks);
                self.ask(place, step, turn);
            }
            None => self.crashed(place, turn),
        }
    }

    /// A gateway transmits it.
    fn landed(&mut self, place: u32, turn: &mut Turn<'_>) {
        let flight = &self.flights[place];
        let (device, downlink) = (flight.device, flight.downlink);
        let slot = flight.slots[usize::from(flight.step % 2)].expect("a step that was met");
        let gateway = flight.candidates[usize::from(flight.step / 2)].gateway;
        self.end_flight(device);
        if downlink == NONE {
            return;
        }
        self.counts.achieved.count(Achievement::DownlinksSent);
        let event = Event {
            gateway,
            frequency_hz: slot.frequency_hz,
            data_rate: slot.data_rate,
            ..self.downlink_event(Kind::DownlinkSent, downlink, turn.unix)
        };
        turn.sink.event(&event);
        if self.downlinks[downlink].confirmed {
            self.downlinks[downlink].sent = true;
        } else {
            self.take_downlink(downlink, turn.sink);
        }
    }

    /// Nothing is left to try.
    fn crashed(&mut self, place: u32, turn: &mut Turn<'_>) {
        let flight = &self.flights[place];
        let (device, downlink, reached) = (flight.device, flight.downlink, flight.reached);
        self.end_flight(device);
        self.counts.drops.count(Drop::AnswerUnheard);
        if downlink == NONE {
            return;
        }
        let profile = turn.rules.profile(self.devices[device].profile);
        let waiting = self.downlinks[downlink];
        if waiting.attempts >= profile.map_or(1, Profile::confirmed_attempts_max) {
            let failure = if reached { Failure::Transmission } else { Failure::NoGateway };
            self.fail_downlink(downlink, failure, turn.sink, turn.unix);
        } else if waiting.has_expired(turn.unix) {
            self.fail_downlink(downlink, Failure::Expired, turn.sink, turn.unix);
        }
    }

    /// Forgets a device's answer under way, whatever becomes of it.
    pub(crate) fn end_flight(&mut self, device: u32) {
        let place = core::mem::replace(&mut self.devices[device].flight, NONE);
        if place != NONE {
            self.disarm(Timer::Flight(place));
            self.flights[place].device = NONE;
            self.flights[place].held = false;
            self.flights.remove(place);
        }
    }

    /// Whether an answer under way carries this downlink.
    pub(crate) fn in_flight(&self, device: u32, downlink: u32) -> bool {
        let place = self.devices[device].flight;
        place != NONE && self.flights[place].downlink == downlink
    }
}

/// Even steps are RX1, odd ones RX2.
const fn is_rx1(step: u8) -> bool {
    step & 1 == 0
}
