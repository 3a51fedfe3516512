//! Joins over the air (L2 §6.2): the request is checked at once, the accept leaves when its window ends.
//!
//! The session that a device has stays in use until the first uplink under the keys of the new one: a JoinAccept may be
//! lost, and may have been asked for by nobody but an old recording's sender if nonces were forgotten. Until then the new
//! session is *pending*; both are found by their DevAddr. A further join replaces the pending one.

use crate::NONE;
use crate::counted::{Achievement, Drop};
use crate::device::{Device, ENABLED, OTAA, Receive, Session};
use crate::flight::{Flight, Slot};
use crate::lane::{addr_in_lane, lane_of_eui};
use crate::network::{Network, Timer, Turn};
use crate::rules::Heard;
use crate::windows::{Frame, Window};
use base::mix::mix64;
use event::{Copy, Event, Kind, Receptions};
use lorawan::{DevAddr, JoinAccept, JoinRequest, NetId, Phy, Profile};

/// Addresses looked at for one that no own session has.
const ADDR_TRIAL_COUNT: u64 = 32;

impl Network {
    pub(crate) fn join_request(&mut self, hash: u64, request: JoinRequest<'_>, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.achieved.count(Achievement::JoinRequests);
        self.join_event(Copy::First, 0, heard, turn);
        let mut window = Window::new(Frame::Join, turn.now, turn.unix);
        window.add(&heard.reception);
        window.dev_nonce = request.dev_nonce();
        window.frequency_hz = heard.frequency_hz;
        window.data_rate = heard.data_rate;
        let admitted = self.admit(request, turn);
        match admitted {
            Ok(device) => window.device = device,
            Err(drop) => self.counts.drops.count(drop),
        }
        match self.windows.open(hash, &window) {
            Some(place) => {
                let span = admitted.map_or(turn.rules.dedup_window(0), |device| self.join_span(device, turn));
                self.arm(Timer::Window(place), turn.now.after(span));
                // From here on this DevNonce is used, whatever becomes of the answer.
                if let Ok(device) = admitted {
                    self.devices[device].remember_nonce(request.dev_nonce());
                }
            }
            None => self.counts.drops.count(Drop::WindowFull),
        }
    }

    /// The device, if it may join with this request.
    fn admit(&self, request: JoinRequest<'_>, turn: &Turn<'_>) -> Result<u32, Drop> {
        let place = self.device(request.dev_eui()).ok_or(Drop::JoinUnknownDevice)?;
        let device = &self.devices[place];
        if !device.is(OTAA) {
            return Err(Drop::JoinUnknownDevice);
        }
        if !device.is(ENABLED) {
            return Err(Drop::DeviceDisabled);
        }
        if request.join_eui() != device.join_eui {
            return Err(Drop::JoinEuiMismatch);
        }
        if !request.mic_is_valid(&device.app_key) {
            return Err(Drop::JoinBadMic);
        }
        let profile = turn.rules.profile(device.profile).ok_or(Drop::ProfileUnknown)?;
        if !nonce_is_fresh(device, profile, request.dev_nonce()) {
            return Err(Drop::JoinNonceReused);
        }
        Ok(place)
    }

    /// The window of a JoinRequest has ended: offer a session through the best gateway.
    pub(crate) fn join_ended(&mut self, place: u32, turn: &mut Turn<'_>) {
        let window = &self.windows[place];
        let device = window.device;
        if device == NONE || !self.may_join(device, window.dev_nonce) {
            return;
        }
        let rules = turn.rules;
        let Some(profile) = rules.profile(self.devices[device].profile) else {
            return self.counts.drops.count(Drop::ProfileUnknown);
        };
        let (rx1, rx2) = profile.join_windows(window.frequency_hz, window.data_rate);
        let slots = [rx1, Some(rx2)].map(|rx| rx.and_then(|rx| Slot::of(profile, rx)));
        let (opened, dev_nonce) = (window.opened, window.dev_nonce);

        let join_nonce = (self.devices[device].join_nonce + 1) & 0x00FF_FFFF;
        let accept = JoinAccept {
            join_nonce,
            net_id: rules.net_id(),
            dev_addr: self.free_addr(rules.net_id(), device, join_nonce),
            dl_settings: profile.dl_settings(),
            rx_delay_s: profile.rx1_delay_s(),
            cf_list: profile.cf_list(),
        };
        let mut flight = Flight::new(device, opened, slots);
        let app_key = self.devices[device].app_key;
        flight.len = accept.write(&app_key, &mut flight.phy).expect("a JoinAccept fits a PHYPayload") as u8;
        flight.gather(self.windows[place].receptions());
        self.devices[device].join_nonce = join_nonce;
        self.offer(device, profile, &accept, dev_nonce);
        self.counts.achieved.count(Achievement::Joins);
        // Kept before the accept leaves: a nonce given out is never given out again.
        let Ok(ticket) = self.store(device, turn) else { return };
        flight.ticket = ticket;

        let window = &self.windows[place];
        let session = &self.sessions[self.devices[device].pending];
        let joined = Event {
            dev_nonce,
            dev_addr: session.dev_addr.0,
            session: session.number,
            frequency_hz: window.frequency_hz,
            data_rate: window.data_rate,
            gateway: window.receptions().get(0).map_or_else(Default::default, |best| best.gateway),
            receptions: window.receptions(),
            ..self.event(Kind::Joined, device, turn.unix)
        };
        turn.sink.event(&joined);
        self.launch(flight, turn);
    }

    /// Whether the device is still the one that was admitted: since then it may have been removed, changed or disabled.
    fn may_join(&self, place: u32, dev_nonce: u16) -> bool {
        let device = &self.devices[place];
        device.is(OTAA) && device.is(ENABLED) && device.nonces().last() == Some(&dev_nonce)
    }

    /// An address out of the device's lane that no own session has. Where the network is so small that none is found,
    /// one is shared and the MIC tells them apart.
    fn free_addr(&self, net_id: NetId, place: u32, join_nonce: u32) -> DevAddr {
        let dev_eui = self.devices[place].dev_eui;
        let start = mix64(dev_eui.to_u64() ^ u64::from(join_nonce) << 40);
        let mut trials =
            (0..ADDR_TRIAL_COUNT).map(|trial| addr_in_lane(net_id, lane_of_eui(dev_eui), mix64(start + trial)));
        let free = trials.find(|dev_addr| self.sessions_at(*dev_addr).next().is_none());
        free.unwrap_or_else(|| addr_in_lane(net_id, lane_of_eui(dev_eui), start))
    }

    /// Keeps the new session beside the old one.
    fn offer(&mut self, place: u32, profile: &Profile, accept: &JoinAccept, dev_nonce: u16) {
        self.end_flight(place);
        self.set_sessions(place, self.devices[place].session, NONE);
        if self.devices[place].session != NONE && !self.may_hold_both() {
            self.counts.drops.count(Drop::PendingFull);
            self.end_sessions(place);
        }
        self.devices[place].session_count += 1;
        let number = self.devices[place].session_count;
        // A JoinAccept says nothing of RX2's frequency: the device takes the region's (L2 §6.2.3, RP002).
        let receive = Receive { rx2_frequency_hz: profile.plan().rx2_frequency_hz, ..Receive::of(profile) };
        let keys = accept.session_keys(&self.devices[place].app_key, dev_nonce);
        let mut session = Session::new(place, number, accept.dev_addr, keys, receive);
        // The CFList has told the device its channels already.
        session.sub_bands = if accept.cf_list.is_some() { profile.sub_bands } else { 0 };
        let pending = self.add_session(session);
        self.set_sessions(place, self.devices[place].session, pending);
    }

    /// For gateway streams: the request as heard, before any check.
    pub(crate) fn join_event(&self, copy: Copy, copy_index: u8, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        let Ok(Phy::JoinRequest(request)) = Phy::parse(heard.phy) else { return };
        let device = self.device(request.dev_eui()).map(|place| &self.devices[place]);
        if !turn.wants(Kind::JoinRequest, copy, device) {
            return;
        }
        let reception = heard.reception.to_wire();
        turn.sink.event(&Event {
            copy,
            copy_index,
            tenant: device.map_or(0, |device| device.tenant),
            application: device.map_or(0, |device| device.application),
            dev_eui: request.dev_eui(),
            join_eui: request.join_eui(),
            dev_nonce: request.dev_nonce(),
            frequency_hz: heard.frequency_hz,
            data_rate: heard.data_rate,
            gateway: heard.reception.gateway,
            receptions: Receptions::new(&reception),
            payload: heard.phy,
            ..Event::new(Kind::JoinRequest, turn.unix)
        });
    }
}

/// L2 1.0.4 §6.2.5: DevNonce counts up. Before, it is random, and the last ones are remembered.
fn nonce_is_fresh(device: &Device, profile: &Profile, dev_nonce: u16) -> bool {
    if profile.mac_version.dev_nonce_counts() {
        device.nonces().iter().all(|used| dev_nonce > *used)
    } else {
        !device.nonces().contains(&dev_nonce)
    }
}
