//! The network server of one shard: its tables, its devices, and the calls that others make.
//!
//! Here: devices and sessions as they are configured, restored, asked for and removed. What frames do to them is in
//! `uplink` and `join`; what answers them in `answer`, `queue` and `flight`; what can be asked in `state`.

use crate::NONE;
use crate::change::{Change, KeptDownlink, NotKept, Owner, Ticket};
use crate::counted::{Achievement, Drop};
use crate::device::{Device, ENABLED, LIVE, OTAA, Receive, Session};
use crate::downlinks::Downlinks;
use crate::flight::{self, Flight};
use crate::index::Index;
use crate::lane::{Lane, Lanes, lane_of_addr, lane_of_eui};
use crate::record::{KeptSession, NotRestored, SessionRecord};
use crate::rules::{About, Heard, Outcome, Rules, Sink};
use crate::slab::Slab;
use crate::spec::{Activation, DeviceSpec, Full, Limits, Upserted};
use crate::timers::Timers;
use crate::windows::Windows;
use base::counters::Counters;
use base::mix::mix64;
use base::{Eui64, Monotonic, UnixMicros};
use event::{Copy, Event, Failure, Kind};
use lorawan::{AesKey, DevAddr};
use std::sync::Arc;

/// The network server of one shard.
#[derive(Debug)]
pub struct Network {
    pub(crate) limits: Limits,
    lanes: Lanes,
    /// Unknown outside, so that no frames can be made whose hashes collide.
    pub(crate) seed: u64,
    pub(crate) devices: Slab<Device>,
    pub(crate) sessions: Slab<Session>,
    by_eui: Index,
    by_addr: Index,
    redirects: Slab<Redirect>,
    by_redirect: Index,
    pub(crate) windows: Windows,
    pub(crate) flights: Slab<Flight>,
    /// Answers that wait until what they imply is kept: places and handles.
    pub(crate) held: Vec<(u32, u32)>,
    pub(crate) downlinks: Downlinks,
    pub(crate) timers: Timers,
    pub(crate) counts: Arc<Counts>,
    /// Devices that hold a session and a pending one.
    beside_count: usize,
    /// Tells attempts to transmit apart.
    pub(crate) attempt_count: u32,
    /// Numbers downlinks.
    pub(crate) downlink_tick: u64,
}

/// Both sets of counters: the network server writes, others read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Refusals and failures.
    pub drops: Counters<Drop>,
    /// Achievements.
    pub achieved: Counters<Achievement>,
}

/// Where a device lives whose DevEUI is looked up here.
#[derive(Clone, Copy, Debug)]
struct Redirect {
    dev_eui: Eui64,
    lane: Lane,
}

/// What every call is given: the plan, the taker of output, and the two clocks.
pub(crate) struct Turn<'a> {
    pub(crate) rules: &'a dyn Rules,
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) now: Monotonic,
    pub(crate) unix: UnixMicros,
}

/// Which deadline has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Window(u32),
    Flight(u32),
    Downlink(u32),
}

impl Network {
    /// Reserves everything. `seed` should be random and secret; it only spreads hashes.
    #[must_use]
    pub fn new(limits: Limits, lanes: Lanes, seed: u64) -> Self {
        let session_count_max = limits.device_count_max + limits.pending_count_max;
        let timer_count = limits.window_count_max + limits.transmission_count_max + limits.downlink_count_max;
        assert!(limits.transmission_count_max <= 1 << flight::PLACE_BITS, "a transmission's place fits its handle");
        Self {
            limits,
            lanes,
            seed,
            devices: Slab::new(limits.device_count_max),
            sessions: Slab::new(session_count_max),
            by_eui: Index::new(limits.device_count_max),
            by_addr: Index::new(session_count_max),
            redirects: Slab::new(limits.redirect_count_max),
            by_redirect: Index::new(limits.redirect_count_max),
            windows: Windows::new(limits.window_count_max),
            flights: Slab::new(limits.transmission_count_max),
            held: Vec::with_capacity(limits.transmission_count_max),
            downlinks: Downlinks::new(limits.downlink_count_max, limits.queue_bytes_max),
            timers: Timers::new(timer_count),
            counts: Arc::default(),
            beside_count: 0,
            attempt_count: 0,
            downlink_tick: 0,
        }
    }

    /// What was refused and achieved. Clone it before serving to read it from elsewhere.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The lanes it serves.
    #[must_use]
    pub const fn lanes(&self) -> Lanes {
        self.lanes
    }

    /// Devices that live here.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// Sessions, those offered and not yet confirmed included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that a frame with this DevAddr may belong to: its look-up, before any MIC is tried.
    #[must_use]
    pub fn session_count_at(&self, dev_addr: DevAddr) -> usize {
        self.sessions_at(dev_addr).count()
    }

    /// Whether no frame is being gathered, no answer under way and no downlink waiting.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.windows.len() == 0 && self.flights.len() == 0 && self.downlinks.is_empty()
    }

    /// When [`Network::expire`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.timers.deadline()
    }

    /// Does what is due: windows end and are answered, silent gateways are given up, downlinks expire.
    pub fn expire(&mut self, rules: &dyn Rules, sink: &mut dyn Sink, now: Monotonic, unix: UnixMicros) {
        let mut turn = Turn { rules, sink, now, unix };
        // Deadlines that the work itself sets lie ahead of `now`, so this ends.
        while let Some(number) = self.timers.pop(now) {
            match self.timer(number) {
                Timer::Window(window) => self.window_ended(window, &mut turn),
                Timer::Flight(place) => self.flight_silent(place, &mut turn),
                Timer::Downlink(place) => self.downlink_expired(place, &mut turn),
            }
        }
    }

    /// Takes one gateway's hearing of one frame.
    pub fn receive(
        &mut self,
        heard: &Heard<'_>,
        rules: &dyn Rules,
        sink: &mut dyn Sink,
        now: Monotonic,
        unix: UnixMicros,
    ) {
        self.heard(heard, &mut Turn { rules, sink, now, unix });
    }

    /// More is kept than before: answers that waited for it leave.
    pub fn kept(&mut self, rules: &dyn Rules, sink: &mut dyn Sink, now: Monotonic, unix: UnixMicros) {
        self.release_held(&mut Turn { rules, sink, now, unix });
    }

    /// Takes a gateway's word on a [`Transmit`](crate::Transmit).
    pub fn transmitted(
        &mut self,
        transmission: u32,
        outcome: Outcome,
        rules: &dyn Rules,
        sink: &mut dyn Sink,
        now: Monotonic,
        unix: UnixMicros,
    ) {
        self.flight_outcome(transmission, outcome, &mut Turn { rules, sink, now, unix });
    }

    /// Adds a device, or changes it. Another tenant, application, profile or JoinEUI keeps its session; other keys, or
    /// another way of activation, end it and fail what is queued.
    ///
    /// # Errors
    /// [`Full`]: nothing was changed.
    pub fn upsert(&mut self, spec: &DeviceSpec, sink: &mut dyn Sink, unix: UnixMicros) -> Result<Upserted, Full> {
        let (home, keeper) = (spec.home(), lane_of_eui(spec.dev_eui));
        let before = self.redirect(spec.dev_eui).filter(|lane| *lane != home);
        if self.lanes.contains(home) {
            self.upsert_home(spec, sink, unix)?;
            self.remove_redirect(spec.dev_eui);
            return Ok(Upserted::Home { before });
        }
        if !self.lanes.contains(keeper) {
            self.remove(spec.dev_eui, sink, unix);
            return Ok(Upserted::Elsewhere);
        }
        if self.redirects.room() == 0 && self.redirect(spec.dev_eui).is_none() {
            return Err(Full);
        }
        self.remove(spec.dev_eui, sink, unix);
        let place = self.redirects.insert(Redirect { dev_eui: spec.dev_eui, lane: home }).expect("room was counted");
        self.by_redirect.insert(hash_eui(spec.dev_eui), place);
        Ok(Upserted::Redirected { before })
    }

    /// Removes a device, or what is known of where it lives. Its queue is flushed. Says whether there was anything.
    pub fn remove(&mut self, dev_eui: Eui64, sink: &mut dyn Sink, unix: UnixMicros) -> bool {
        let redirected = self.remove_redirect(dev_eui);
        let Some(place) = self.device(dev_eui) else { return redirected };
        self.fail_queue(place, Failure::Flushed, sink, unix);
        // If that cannot be kept, a device of the same DevEUI with other keys gets the numbering, and nothing else.
        let _kept = sink.keep(self.owner(place), Change::Removed(dev_eui));
        self.end_sessions(place);
        let devices = &self.devices;
        self.by_eui.remove(hash_eui(dev_eui), place, |other| hash_eui(devices[other].dev_eui));
        self.devices[place].flags = 0;
        self.devices[place].app_key = AesKey::default();
        self.devices.remove(place);
        true
    }

    /// Where a device lives whose DevEUI is looked up here but whose DevAddr puts it into a lane of another shard.
    #[must_use]
    pub fn redirect(&self, dev_eui: Eui64) -> Option<Lane> {
        self.redirect_place(dev_eui).map(|place| self.redirects[place].lane)
    }

    /// Takes back what [`Sink::keep`] was given, after the device was added and before frames come. FCntDown goes on
    /// beyond what was reserved; no DevNonce is accepted twice. Of a device whose keys were changed meanwhile only the
    /// numbering of its sessions goes on.
    ///
    /// # Errors
    /// Why its sessions were not restored.
    pub fn restore(&mut self, record: &SessionRecord) -> Result<(), NotRestored> {
        let place = self.device(record.dev_eui).ok_or(NotRestored::UnknownDevice)?;
        let device = &self.devices[place];
        let same_root = device.root() == record.root;
        if !device.is(OTAA) {
            let session = &self.sessions[device.session];
            let same = |kept: &KeptSession| kept.keys == session.keys && kept.dev_addr == session.dev_addr;
            let Some(kept) = record.session.filter(|kept| same_root && same(kept)) else {
                let number = record.session_count + 1;
                self.sessions[device.session].number = number;
                self.devices[place].session_count = number;
                return Err(NotRestored::OtherKeys);
            };
            self.sessions[device.session] = Session::restored(place, &kept);
            self.devices[place].session_count = record.session_count;
            return Ok(());
        }
        if !same_root {
            self.devices[place].session_count = record.session_count;
            return Err(NotRestored::OtherKeys);
        }
        let both = record.session.is_some() && record.pending.is_some();
        let holds_both = device.session != NONE && device.pending != NONE;
        if both && !holds_both && !self.may_hold_both() {
            return Err(NotRestored::Full);
        }
        self.end_sessions(place);
        let session = record.session.map_or(NONE, |kept| self.add_session(Session::restored(place, &kept)));
        let pending = record.pending.map_or(NONE, |kept| self.add_session(Session::restored(place, &kept)));
        self.set_sessions(place, session, pending);
        let device = &mut self.devices[place];
        device.session_count = record.session_count;
        device.join_nonce = record.join_nonce;
        device.dev_nonces = record.dev_nonces;
        device.dev_nonce_count = record.dev_nonce_count;
        Ok(())
    }

    /// Takes back many, as [`Network::restore`] does; says how many sessions were restored. All are looked for before the
    /// first is changed, so that the processor waits for many places of memory at once, not for one after the other.
    pub fn restore_all(&mut self, records: &[SessionRecord]) -> usize {
        for record in records {
            let device = self.device(record.dev_eui).map(|place| &self.devices[place]);
            let addr = record.session.and_then(|kept| self.by_addr.find(hash_addr(kept.dev_addr)).next());
            core::hint::black_box((device.map(|device| device.flags ^ device.app_key.0[0]), addr));
        }
        records.iter().filter(|record| self.restore(record).is_ok()).count()
    }

    /// Takes back a downlink that waited, after its device was added. False if there is no room or no such device.
    pub fn restore_downlink(&mut self, kept: &KeptDownlink<'_>, now: Monotonic, unix: UnixMicros) -> bool {
        let Some(place) = self.device(kept.dev_eui) else { return false };
        self.downlink_tick = self.downlink_tick.max(kept.id >> 6);
        self.push_downlink(place, kept, now, unix).is_some()
    }

    /// What is kept of every device, as a whole.
    pub fn records(&self) -> impl Iterator<Item = SessionRecord> + '_ {
        (0..self.devices.used()).filter(|place| self.devices[*place].is(LIVE)).map(|place| self.record(place))
    }
}

impl Turn<'_> {
    /// Whether some stream may want an event of this kind about this device.
    pub(crate) fn wants(&self, kind: Kind, copy: Copy, device: Option<&Device>) -> bool {
        self.rules.wants(&About {
            kind,
            copy,
            tenant: device.map_or(0, |device| device.tenant),
            application: device.map_or(0, |device| device.application),
            dev_eui: device.map_or(Eui64::default(), |device| device.dev_eui),
        })
    }
}

// Devices and sessions, for the other modules.
impl Network {
    pub(crate) fn device(&self, dev_eui: Eui64) -> Option<u32> {
        self.by_eui.find(hash_eui(dev_eui)).find(|place| self.devices[*place].dev_eui == dev_eui)
    }

    /// The sessions with this DevAddr.
    pub(crate) fn sessions_at(&self, dev_addr: DevAddr) -> impl Iterator<Item = u32> + '_ {
        self.by_addr.find(hash_addr(dev_addr)).filter(move |place| self.sessions[*place].dev_addr == dev_addr)
    }

    /// Puts a session into its place. There is one for each device, and one for each that may hold two.
    pub(crate) fn add_session(&mut self, session: Session) -> u32 {
        let hash = hash_addr(session.dev_addr);
        let place = self.sessions.insert(session).expect("room was counted");
        self.by_addr.insert(hash, place);
        place
    }

    pub(crate) fn end_session(&mut self, place: u32) {
        let sessions = &self.sessions;
        let hash = hash_addr(sessions[place].dev_addr);
        self.by_addr.remove(hash, place, |other| hash_addr(sessions[other].dev_addr));
        let session = &mut self.sessions[place];
        session.keys = lorawan::SessionKeys::default();
        session.device = NONE;
        self.sessions.remove(place);
    }

    pub(crate) fn end_sessions(&mut self, place: u32) {
        self.set_sessions(place, NONE, NONE);
    }

    /// Gives a device these sessions and ends those that it had and has no more.
    pub(crate) fn set_sessions(&mut self, place: u32, session: u32, pending: u32) {
        let device = &mut self.devices[place];
        let before = [device.session, device.pending];
        (device.session, device.pending) = (session, pending);
        let both = |[session, pending]: [u32; 2]| usize::from(session != NONE && pending != NONE);
        self.beside_count = self.beside_count + both([session, pending]) - both(before);
        for old in before {
            if old != NONE && old != session && old != pending {
                self.end_session(old);
            }
        }
    }

    /// Whether one more device may hold a session and a pending one.
    pub(crate) fn may_hold_both(&self) -> bool {
        self.beside_count < self.limits.pending_count_max
    }

    /// An event about a device.
    pub(crate) fn event(&self, kind: Kind, place: u32, unix: UnixMicros) -> Event<'static> {
        let device = &self.devices[place];
        let session = (device.session != NONE).then(|| &self.sessions[device.session]);
        Event {
            tenant: device.tenant,
            application: device.application,
            dev_eui: device.dev_eui,
            join_eui: device.join_eui,
            dev_addr: session.map_or(0, |session| session.dev_addr.0),
            session: session.map_or(0, |session| session.number),
            ..Event::new(kind, unix)
        }
    }

    /// What a device's changes are filed under.
    pub(crate) fn owner(&self, place: u32) -> Owner {
        Owner { lane: self.lane_of_device(place), tenant: self.devices[place].tenant }
    }

    /// The lane in which a device lives.
    pub(crate) fn lane_of_device(&self, place: u32) -> Lane {
        let device = &self.devices[place];
        if device.is(OTAA) || device.session == NONE {
            lane_of_eui(device.dev_eui)
        } else {
            lane_of_addr(self.sessions[device.session].dev_addr)
        }
    }

    fn record(&self, place: u32) -> SessionRecord {
        let device = &self.devices[place];
        let kept = |session: u32| (session != NONE).then(|| self.sessions[session].kept());
        SessionRecord {
            dev_eui: device.dev_eui,
            root: device.root(),
            session_count: device.session_count,
            join_nonce: device.join_nonce,
            dev_nonce_count: device.dev_nonce_count,
            dev_nonces: device.dev_nonces,
            session: kept(device.session),
            pending: kept(device.pending),
        }
    }

    /// Has all of a device's state kept. What is sent under either of its sessions waits for it.
    pub(crate) fn store(&mut self, place: u32, turn: &mut Turn<'_>) -> Result<Ticket, NotKept> {
        let kept = turn.sink.keep(self.owner(place), Change::Device(&self.record(place)));
        match kept {
            Ok(ticket) => {
                for session in [self.devices[place].session, self.devices[place].pending] {
                    if session != NONE {
                        self.sessions[session].ticket = ticket;
                    }
                }
            }
            Err(NotKept) => self.counts.drops.count(Drop::NotKept),
        }
        kept
    }

    fn upsert_home(&mut self, spec: &DeviceSpec, sink: &mut dyn Sink, unix: UnixMicros) -> Result<(), Full> {
        let place = match self.device(spec.dev_eui) {
            Some(place) => {
                if !self.same_keys(place, &spec.activation) {
                    self.fail_queue(place, Failure::SessionEnded, sink, unix);
                    self.end_sessions(place);
                    let device = &mut self.devices[place];
                    (device.dev_nonce_count, device.app_key) = (0, AesKey::default());
                    self.activate(place, &spec.activation);
                    // What was stored under the old keys must not come back with them.
                    let _kept = sink.keep(self.owner(place), Change::Device(&self.record(place)));
                }
                place
            }
            None => {
                if self.devices.room() == 0 {
                    return Err(Full);
                }
                let place = self.devices.insert(Device::new(spec.dev_eui)).expect("room was counted");
                self.by_eui.insert(hash_eui(spec.dev_eui), place);
                self.activate(place, &spec.activation);
                place
            }
        };
        let device = &mut self.devices[place];
        let other_profile = device.profile != spec.profile;
        device.join_eui = spec.join_eui;
        device.tenant = spec.tenant;
        device.application = spec.application;
        device.profile = spec.profile;
        device.set(ENABLED, spec.enabled);
        if other_profile && device.session != NONE {
            // What the new profile wants of the device may be asked for anew.
            self.sessions[device.session].request_count = 0;
        }
        Ok(())
    }

    fn same_keys(&self, place: u32, activation: &Activation) -> bool {
        let device = &self.devices[place];
        match activation {
            Activation::Otaa { app_key } => device.is(OTAA) && device.app_key == *app_key,
            Activation::Abp { dev_addr, keys, .. } => {
                let session = (!device.is(OTAA) && device.session != NONE).then(|| &self.sessions[device.session]);
                session.is_some_and(|session| session.dev_addr == *dev_addr && session.keys == *keys)
            }
        }
    }

    fn activate(&mut self, place: u32, activation: &Activation) {
        match activation {
            Activation::Otaa { app_key } => {
                self.devices[place].app_key = *app_key;
                self.devices[place].set(OTAA, true);
            }
            Activation::Abp { dev_addr, keys, fcnt_up, fcnt_down } => {
                let number = self.devices[place].session_count + 1;
                let mut session = Session::new(place, number, *dev_addr, *keys, Receive::default());
                session.fcnt_up = *fcnt_up;
                session.fcnt_down = *fcnt_down;
                session.fcnt_down_reserved = *fcnt_down;
                let session = self.add_session(session);
                self.set_sessions(place, session, NONE);
                self.devices[place].session_count = number;
                self.devices[place].set(OTAA, false);
            }
        }
    }

    fn redirect_place(&self, dev_eui: Eui64) -> Option<u32> {
        self.by_redirect.find(hash_eui(dev_eui)).find(|place| self.redirects[*place].dev_eui == dev_eui)
    }

    fn remove_redirect(&mut self, dev_eui: Eui64) -> bool {
        let Some(place) = self.redirect_place(dev_eui) else { return false };
        let redirects = &self.redirects;
        self.by_redirect.remove(hash_eui(dev_eui), place, |other| hash_eui(redirects[other].dev_eui));
        self.redirects.remove(place);
        true
    }
}

// Timers: windows, then flights, then downlinks share one row of numbers.
impl Network {
    pub(crate) fn arm(&mut self, timer: Timer, at: Monotonic) {
        let number = self.timer_number(timer);
        self.timers.set(number, at);
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        let number = self.timer_number(timer);
        self.timers.cancel(number);
    }

    fn timer_number(&self, timer: Timer) -> u32 {
        let flights_at = self.limits.window_count_max as u32;
        match timer {
            Timer::Window(place) => place,
            Timer::Flight(place) => flights_at + place,
            Timer::Downlink(place) => flights_at + self.limits.transmission_count_max as u32 + place,
        }
    }

    fn timer(&self, number: u32) -> Timer {
        let flights_at = self.limits.window_count_max as u32;
        let downlinks_at = flights_at + self.limits.transmission_count_max as u32;
        match number {
            _ if number < flights_at => Timer::Window(number),
            _ if number < downlinks_at => Timer::Flight(number - flights_at),
            _ => Timer::Downlink(number - downlinks_at),
        }
    }
}

fn hash_eui(dev_eui: Eui64) -> u64 {
    mix64(dev_eui.to_u64() ^ 0x517C_C1B7_2722_0A95)
}

fn hash_addr(dev_addr: DevAddr) -> u64 {
    mix64(u64::from(dev_addr.0) ^ 0x2545_F491_4F6C_DD1D)
}
