//! What comes from devices: copies meet, the session is found, the frame is accepted, its commands are taken.
//!
//! ```text
//!   hash -> window open?  yes: one more copy, no check again
//!                         no:  sessions of the DevAddr -> FCnt filter -> MIC, at most 64 trials
//!            new FCnt -> accepted, window | last FCnt and last MIC -> late copy, or repetition | else refused
//! ```

use crate::NONE;
use crate::change::{Advance, Change, NotKept, Ticket};
use crate::counted::{Achievement, Drop};
use crate::device::{ENABLED, OTAA};
use crate::lane::hash_of;
use crate::network::{Network, Timer, Turn};
use crate::rules::Heard;
use crate::windows::{ASKS_ACK, ASKS_LIFE, ASKS_LINK, ASKS_TIME, Frame, Window};
use core::time::Duration;
use event::{Copy, Event, Kind, Receptions};
use lorawan::mac::{UplinkCommand, Uplinks};
use lorawan::{Data, Direction, FCnt, Malformed, Phy, fcnt_extend};

/// MIC trials for one frame.
const TRIAL_COUNT_MAX: usize = 64;

/// A repetition is acknowledged this often ...
const REPEAT_COUNT_MAX: u8 = 15;
/// ... and no more often than a device can ask: it listens for a second after RX1 opens (L2 §3.3).
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long before RX1 an answer must be built at the latest, whatever the dedup window.
const ANSWER_MARGIN: Duration = Duration::from_millis(300);

/// What becomes of the event of a frame that is read once more.
#[derive(Clone, core::marker::Copy, PartialEq, Eq)]
enum Fate {
    /// Those who listen are told.
    Told,
    /// It is kept: they were told already.
    Kept,
    /// Both.
    KeptAndTold,
}

/// What the sessions of a DevAddr say about a frame.
enum Verdict {
    New { session: u32, fcnt: u32 },
    Repeat { session: u32, fcnt: u32 },
    Refused(Drop),
    Unknown(Drop),
}

impl Network {
    pub(crate) fn heard(&mut self, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.achieved.count(Achievement::Frames);
        let hash = hash_of(self.seed, heard.phy);
        if let Some(place) = self.windows.find(hash) {
            return self.copy(place, heard, turn);
        }
        match Phy::parse(heard.phy) {
            Ok(Phy::Data(data)) if data.direction() == Direction::Up => self.data(hash, data, heard, turn),
            Ok(Phy::JoinRequest(request)) => self.join_request(hash, request, heard, turn),
            Ok(_) | Err(Malformed::RejoinRequest) => self.unknown(hash, Drop::FrameKind, heard, turn),
            Err(_) => self.unknown(hash, Drop::Malformed, heard, turn),
        }
    }

    /// One more copy of a frame whose window is open.
    fn copy(&mut self, place: u32, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.achieved.count(Achievement::Copies);
        let window = &mut self.windows[place];
        let index = window.copy_count;
        if !window.add(&heard.reception) {
            self.counts.drops.count(Drop::ReceptionsFull);
        }
        match self.windows[place].frame {
            Frame::Uplink => self.uplink_event(place, Copy::Later, index, heard, turn),
            Frame::Join => self.join_event(Copy::Later, index, heard, turn),
            Frame::Unknown => unknown_event(Copy::Later, index, heard, turn),
            // Not delivered again.
            Frame::Repeat => {}
        }
    }

    fn data(&mut self, hash: u64, data: Data<'_>, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        match self.judge(data, turn) {
            Verdict::New { session, fcnt } => self.accept(hash, session, fcnt, data, heard, turn),
            Verdict::Repeat { session, fcnt } => self.repeat(hash, session, fcnt, data, heard, turn),
            Verdict::Refused(drop) => self.counts.drops.count(drop),
            Verdict::Unknown(drop) => self.unknown(hash, drop, heard, turn),
        }
    }

    /// Finds the session: the FCnt says which counter the frame can mean, the MIC whether it does.
    fn judge(&self, data: Data<'_>, turn: &Turn<'_>) -> Verdict {
        let mut trial_count = 0;
        let mut candidate_count = 0;
        let mut refused_count = 0;
        for place in self.sessions_at(data.dev_addr()) {
            candidate_count += 1;
            let session = &self.sessions[place];
            let (fcnt, repeated) =
                match fcnt_extend(session.fcnt_up.checked_sub(1), data.fcnt16(), self.gap(place, turn)) {
                    FCnt::New(fcnt) => (fcnt, false),
                    FCnt::Repeat(fcnt) => (fcnt, true),
                    FCnt::Refused => {
                        refused_count += 1;
                        continue;
                    }
                };
            if trial_count == TRIAL_COUNT_MAX {
                self.counts.drops.count(Drop::TrialsExceeded);
                break;
            }
            trial_count += 1;
            // FCntUp 2^32 - 1 has no successor: the session ends there.
            if !data.mic_is_valid(&session.keys.nwk_s_key, fcnt) || fcnt == u32::MAX {
                continue;
            }
            return match (self.devices[session.device].is(ENABLED), repeated) {
                (false, _) => Verdict::Refused(Drop::DeviceDisabled),
                (true, false) => Verdict::New { session: place, fcnt },
                // A valid MIC that equals the last one means the very same bytes.
                (true, true) if u32::from_le_bytes(data.mic()) == session.last_mic => {
                    Verdict::Repeat { session: place, fcnt }
                }
                (true, true) => Verdict::Refused(Drop::Replay),
            };
        }
        if candidate_count == 0 {
            return Verdict::Unknown(Drop::UnknownDevAddr);
        }
        if refused_count == 0 {
            return Verdict::Unknown(Drop::BadMic);
        }
        self.judge_refused(data, turn, TRIAL_COUNT_MAX - trial_count)
    }

    /// A frame whose FCnt fits no session may still be one of theirs: an old one, or one too far ahead.
    fn judge_refused(&self, data: Data<'_>, turn: &Turn<'_>, trial_count_max: usize) -> Verdict {
        let mut trial_count = 0;
        for place in self.sessions_at(data.dev_addr()) {
            let session = &self.sessions[place];
            let last = session.fcnt_up.checked_sub(1);
            if fcnt_extend(last, data.fcnt16(), self.gap(place, turn)) != FCnt::Refused {
                continue;
            }
            let last = last.unwrap_or(0);
            let ahead = last.checked_add(u32::from(data.fcnt16().wrapping_sub(last as u16)));
            let behind = last.checked_sub(u32::from((last as u16).wrapping_sub(data.fcnt16())));
            for (fcnt, drop) in [(behind, Drop::Replay), (ahead, Drop::FcntGap)] {
                let Some(fcnt) = fcnt else { continue };
                if trial_count == trial_count_max {
                    self.counts.drops.count(Drop::TrialsExceeded);
                    return Verdict::Unknown(Drop::BadMic);
                }
                trial_count += 1;
                if data.mic_is_valid(&session.keys.nwk_s_key, fcnt) {
                    return Verdict::Refused(drop);
                }
            }
        }
        Verdict::Unknown(Drop::BadMic)
    }

    fn gap(&self, session: u32, turn: &Turn<'_>) -> u32 {
        let profile = turn.rules.profile(self.devices[self.sessions[session].device].profile);
        profile.map_or(16_384, lorawan::Profile::fcnt_gap_max)
    }

    /// A new frame of a session: its counter counts, its payload is read, its window opens.
    fn accept(&mut self, hash: u64, session: u32, fcnt: u32, data: Data<'_>, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.achieved.count(Achievement::Uplinks);
        let device = self.sessions[session].device;
        let confirms = self.devices[device].pending == session;
        if confirms {
            self.confirm_session(device);
        }
        if !self.devices[device].is(OTAA) && self.sessions[session].ticket == Ticket::KEPT {
            // Nothing of a personalised session was kept in this run, so there may be nothing that this could advance.
            let _kept = self.store(device, turn);
        }
        let kept = &mut self.sessions[session];
        kept.fcnt_up = fcnt + 1;
        kept.last_mic = u32::from_le_bytes(data.mic());
        kept.last_at = turn.now;
        kept.last_seen = turn.unix;
        kept.last_gateway = heard.reception.gateway;
        kept.rssi_deci = heard.reception.rssi_deci;
        kept.snr_deci = heard.reception.snr_deci;
        kept.repeat_count = 0;
        kept.copy_count = 1;

        let mut window = Window::new(Frame::Uplink, turn.now, turn.unix);
        let cipher = data.frm_payload();
        let payload = &mut window.payload[..cipher.len()];
        payload.copy_from_slice(cipher);
        if let Some(fport) = data.fport() {
            let key = kept.keys.of_port(fport);
            lorawan::crypt_payload(key, kept.dev_addr, fcnt, Direction::Up, payload);
        }
        window.set_payload_len(cipher.len());
        window.device = device;
        window.session = kept.number;
        window.fcnt = fcnt;
        window.mtype = data.mtype() as u8;
        window.fport = data.fport();
        window.adr = data.fctrl().adr();
        window.frequency_hz = heard.frequency_hz;
        window.data_rate = heard.data_rate;
        window.asks =
            if data.confirmed() { ASKS_ACK } else { 0 } | if data.fctrl().adr_ack_req() { ASKS_LIFE } else { 0 };
        let listened = self.sessions[session].receive;
        let used = self.sessions[session].sub_bands;
        window.asks |= self.take_commands(session, data, &window);
        let listens_otherwise = self.sessions[session].receive != listened || self.sessions[session].sub_bands != used;
        window.add(&heard.reception);

        if data.fctrl().ack() {
            self.acknowledged(device, turn);
        }
        match self.windows.open(hash, &window) {
            Some(place) => {
                self.arm(Timer::Window(place), turn.now.after(self.span(device, turn)));
                let kept = self.first_event(session, place, heard, turn);
                self.note(session, kept);
            }
            None => self.deliver_unanswered(session, fcnt, data, heard, turn),
        }
        if listens_otherwise {
            // Answers to this device wait for it, and without it there are none that need it.
            let _kept = self.store(device, turn);
        }
    }

    /// What the last accepted uplink of a session changes.
    fn advance(&self, place: u32) -> Advance {
        let session = &self.sessions[place];
        Advance {
            dev_eui: self.devices[session.device].dev_eui,
            session: session.number,
            fcnt_up: session.fcnt_up,
            mic: session.last_mic,
            gateway: session.last_gateway,
        }
    }

    /// Notes whether the last accepted uplink of a session is being kept.
    fn note(&mut self, place: u32, kept: Result<Ticket, NotKept>) {
        let session = &mut self.sessions[place];
        session.unkept = kept.is_err();
        match kept {
            Ok(ticket) => session.ticket = ticket,
            Err(NotKept) => self.counts.drops.count(Drop::NotKept),
        }
    }

    /// The dedup window of a device's application, cut so that an answer can still be built in time for RX1.
    fn span(&self, place: u32, turn: &Turn<'_>) -> Duration {
        let device = &self.devices[place];
        let delay_s = match turn.rules.profile(device.profile) {
            Some(_) if device.is(OTAA) && device.session != NONE => self.sessions[device.session].receive.rx1_delay_s,
            profile => profile.map_or(1, lorawan::Profile::rx1_delay_s),
        };
        cut(turn.rules.dedup_window(device.application), delay_s)
    }

    /// The same for a JoinRequest.
    pub(crate) fn join_span(&self, place: u32, turn: &Turn<'_>) -> Duration {
        let device = &self.devices[place];
        let delay_s = turn.rules.profile(device.profile).map_or(1, |profile| profile.plan().join_accept_delay_s);
        cut(turn.rules.dedup_window(device.application), delay_s)
    }

    /// The old session has served: the first uplink under the new keys proves that the device has them (L2 §6.2.3).
    fn confirm_session(&mut self, place: u32) {
        self.counts.achieved.count(Achievement::SessionsConfirmed);
        // Frames in flight are sealed with the old keys, which the device has dropped.
        self.end_flight(place);
        let confirmed = self.devices[place].pending;
        self.set_sessions(place, confirmed, NONE);
        // What was sent under the old keys cannot be acknowledged under the new ones.
        let head = self.devices[place].queue.head;
        if head != NONE {
            self.downlinks[head].sent = false;
        }
    }

    /// Takes the MAC commands of an uplink; says what must be answered.
    fn take_commands(&mut self, place: u32, data: Data<'_>, window: &Window) -> u8 {
        let mut commands = match window.fport {
            Some(0) => Uplinks::new(window.payload()),
            _ => data.uplink_commands(),
        };
        let mut asks = 0;
        // A block of LinkADRReq is taken or refused as one, and answered by as many LinkADRAns (L2 §5.2).
        let (mut adr_count, mut adr_ok) = (0, true);
        let session = &mut self.sessions[place];
        for command in commands.by_ref() {
            match command {
                UplinkCommand::LinkCheckReq => asks |= ASKS_LINK,
                UplinkCommand::DeviceTimeReq => asks |= ASKS_TIME,
                UplinkCommand::LinkAdrAns { channel_mask_ok, .. } => {
                    adr_count += 1;
                    adr_ok &= channel_mask_ok;
                }
                UplinkCommand::RxParamSetupAns { rx1_dr_offset_ok: true, rx2_data_rate_ok: true, channel_ok: true } => {
                    session.receive.rx1_dr_offset = session.requested.rx1_dr_offset;
                    session.receive.rx2_data_rate = session.requested.rx2_data_rate;
                    session.receive.rx2_frequency_hz = session.requested.rx2_frequency_hz;
                    session.request_count = 0;
                    self.counts.achieved.count(Achievement::MacAccepted);
                }
                UplinkCommand::RxTimingSetupAns => {
                    session.receive.rx1_delay_s = session.requested.rx1_delay_s;
                    session.request_count = 0;
                    self.counts.achieved.count(Achievement::MacAccepted);
                }
                // Answers to what is never asked here, or refusals: asked again until the tries are used up.
                _ => {}
            }
        }
        if adr_count > 0 && adr_ok {
            session.sub_bands = session.requested_sub_bands;
            session.request_count = 0;
            self.counts.achieved.count(Achievement::MacAccepted);
        }
        if !commands.unread().is_empty() {
            self.counts.drops.count(Drop::MacMalformed);
        }
        asks
    }

    /// The very same bytes as the last uplink, after its window.
    fn repeat(&mut self, hash: u64, place: u32, fcnt: u32, data: Data<'_>, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        let session = &mut self.sessions[place];
        let device = session.device;
        // Before RX2 has opened no device repeats itself (L2 §3.3): this copy was slow.
        let delay = Duration::from_secs(u64::from(session.receive.rx1_delay_s.max(1))) + REPEAT_INTERVAL;
        if turn.now.since(session.last_at) < delay {
            self.counts.achieved.count(Achievement::LateCopies);
            let index = session.copy_count;
            session.copy_count = session.copy_count.saturating_add(1);
            return self.late_event(place, fcnt, index, data, heard, turn);
        }
        self.counts.achieved.count(Achievement::Repeats);
        session.last_seen = turn.unix;
        let too_soon = session.repeat_count > 0 && turn.now.since(session.repeat_at) < REPEAT_INTERVAL;
        if session.repeat_count == REPEAT_COUNT_MAX || too_soon {
            return self.counts.drops.count(Drop::RepeatRefused);
        }
        session.repeat_count += 1;
        session.repeat_at = turn.now;
        if session.unkept {
            let kept = self.event_of_frame(place, fcnt, Copy::First, 0, data, heard, turn, Fate::Kept);
            self.note(place, kept);
        }
        let session = &self.sessions[place];
        let mut window = Window::new(Frame::Repeat, turn.now, turn.unix);
        window.device = device;
        window.session = session.number;
        window.fcnt = fcnt;
        window.mtype = data.mtype() as u8;
        window.frequency_hz = heard.frequency_hz;
        window.data_rate = heard.data_rate;
        window.asks =
            if data.confirmed() { ASKS_ACK } else { 0 } | if data.fctrl().adr_ack_req() { ASKS_LIFE } else { 0 };
        window.add(&heard.reception);
        match self.windows.open(hash, &window) {
            Some(window) => self.arm(Timer::Window(window), turn.now.after(self.span(device, turn))),
            None => self.counts.drops.count(Drop::WindowFull),
        }
    }

    pub(crate) fn window_ended(&mut self, place: u32, turn: &mut Turn<'_>) {
        self.windows[place].sort();
        match self.windows[place].frame {
            Frame::Uplink | Frame::Repeat => self.uplink_ended(place, turn),
            Frame::Join => self.join_ended(place, turn),
            Frame::Unknown => {}
        }
        self.windows.close(place);
    }

    fn uplink_ended(&mut self, place: u32, turn: &mut Turn<'_>) {
        let Some(session) = self.session_of_window(place) else { return };
        let window = &self.windows[place];
        let device = window.device;
        // A window may outlast its frame's being the last.
        let is_last = self.sessions[session].fcnt_up == window.fcnt + 1;
        if let Some(best) = window.receptions().get(0).filter(|_| is_last) {
            let kept = &mut self.sessions[session];
            kept.last_gateway = best.gateway;
            kept.rssi_deci = best.rssi_deci;
            kept.snr_deci = best.snr_deci;
            if window.frame == Frame::Uplink {
                kept.copy_count = window.copy_count;
            }
        }
        if window.frame == Frame::Uplink && turn.wants(Kind::Uplink, Copy::Best, Some(&self.devices[device])) {
            let event = self.event_of_window(place);
            turn.sink.event(&Event { copy: Copy::Best, receptions: window.receptions(), ..event });
        }
        if !self.devices[device].is(ENABLED) {
            // Disabled since: what it said before is told, and nothing answered.
            self.counts.drops.count(Drop::DeviceDisabled);
        } else if is_last {
            // Only the last frame is answered: the device listens for nothing else.
            self.answer(place, session, turn);
        }
    }

    /// The session of a window's frame, if it still is the device's.
    fn session_of_window(&self, place: u32) -> Option<u32> {
        let window = &self.windows[place];
        let device = &self.devices[window.device];
        let live = device.session != NONE && self.sessions[device.session].number == window.session;
        live.then_some(device.session)
    }
}

// Events.
impl Network {
    fn event_of_window(&self, place: u32) -> Event<'_> {
        let window = &self.windows[place];
        Event {
            mtype: window.mtype,
            fport: window.fport,
            adr: window.adr,
            session: window.session,
            fcnt: window.fcnt,
            frequency_hz: window.frequency_hz,
            data_rate: window.data_rate,
            payload: window.payload(),
            ..self.event(Kind::Uplink, window.device, window.unix)
        }
    }

    /// Has a new uplink kept, its counter and what it says as one, then tells of it.
    fn first_event(&self, session: u32, place: u32, heard: &Heard<'_>, turn: &mut Turn<'_>) -> Result<Ticket, NotKept> {
        let (advance, owner) = (self.advance(session), self.owner(self.windows[place].device));
        if !turn.wants(Kind::Uplink, Copy::First, Some(&self.devices[self.windows[place].device])) {
            return turn.sink.keep(owner, Change::Uplink(&advance, None));
        }
        let reception = heard.reception.to_wire();
        let event = Event { receptions: Receptions::new(&reception), ..self.event_of_window(place) };
        let kept = turn.sink.keep(owner, Change::Uplink(&advance, Some(&event)));
        turn.sink.event(&event);
        kept
    }

    fn uplink_event(&self, place: u32, copy: Copy, copy_index: u8, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        if !turn.wants(Kind::Uplink, copy, Some(&self.devices[self.windows[place].device])) {
            return;
        }
        let reception = heard.reception.to_wire();
        let frequency_hz = heard.frequency_hz;
        let receptions = Receptions::new(&reception);
        let event = Event { copy, copy_index, receptions, frequency_hz, ..self.event_of_window(place) };
        turn.sink.event(&event);
    }

    /// A copy whose window has ended: read again, for those who want every copy.
    fn late_event(
        &self,
        session: u32,
        fcnt: u32,
        copy_index: u8,
        data: Data<'_>,
        heard: &Heard<'_>,
        turn: &mut Turn<'_>,
    ) {
        let _told = self.event_of_frame(session, fcnt, Copy::Later, copy_index, data, heard, turn, Fate::Told);
    }

    /// No window was free: the frame is delivered, but its copies are not gathered and it is not answered.
    fn deliver_unanswered(&mut self, session: u32, fcnt: u32, data: Data<'_>, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.drops.count(Drop::WindowFull);
        let kept = self.event_of_frame(session, fcnt, Copy::First, 0, data, heard, turn, Fate::KeptAndTold);
        self.note(session, kept);
        let _told = self.event_of_frame(session, fcnt, Copy::Best, 0, data, heard, turn, Fate::Told);
    }

    #[expect(clippy::too_many_arguments, reason = "each is of its own type")]
    fn event_of_frame(
        &self,
        place: u32,
        fcnt: u32,
        copy: Copy,
        copy_index: u8,
        data: Data<'_>,
        heard: &Heard<'_>,
        turn: &mut Turn<'_>,
        fate: Fate,
    ) -> Result<Ticket, NotKept> {
        let session = &self.sessions[place];
        if !turn.wants(Kind::Uplink, copy, Some(&self.devices[session.device])) {
            return match fate {
                Fate::Told => Ok(Ticket::KEPT),
                Fate::Kept | Fate::KeptAndTold => {
                    turn.sink.keep(self.owner(session.device), Change::Uplink(&self.advance(place), None))
                }
            };
        }
        let mut clear = [0; lorawan::PHY_BYTES_MAX];
        let clear = &mut clear[..data.frm_payload().len()];
        clear.copy_from_slice(data.frm_payload());
        if let Some(fport) = data.fport() {
            lorawan::crypt_payload(session.keys.of_port(fport), session.dev_addr, fcnt, Direction::Up, clear);
        }
        let reception = heard.reception.to_wire();
        let event = Event {
            copy,
            copy_index,
            mtype: data.mtype() as u8,
            fport: data.fport(),
            adr: data.fctrl().adr(),
            fcnt,
            frequency_hz: heard.frequency_hz,
            data_rate: heard.data_rate,
            receptions: Receptions::new(&reception),
            payload: clear,
            ..self.event(Kind::Uplink, session.device, turn.unix)
        };
        let kept = match fate {
            Fate::Told => Ok(Ticket::KEPT),
            Fate::Kept | Fate::KeptAndTold => {
                turn.sink.keep(self.owner(session.device), Change::Uplink(&self.advance(place), Some(&event)))
            }
        };
        if fate != Fate::Kept {
            turn.sink.event(&event);
        }
        kept
    }

    /// A frame that nobody here explains: for gateway streams, as it is.
    fn unknown(&mut self, hash: u64, drop: Drop, heard: &Heard<'_>, turn: &mut Turn<'_>) {
        self.counts.drops.count(drop);
        let mut window = Window::new(Frame::Unknown, turn.now, turn.unix);
        window.add(&heard.reception);
        if let Some(place) = self.windows.open(hash, &window) {
            self.arm(Timer::Window(place), turn.now.after(turn.rules.dedup_window(0)));
        }
        unknown_event(Copy::First, 0, heard, turn);
    }
}

fn cut(window: Duration, delay_s: u8) -> Duration {
    window.min(Duration::from_secs(u64::from(delay_s.max(1))) - ANSWER_MARGIN)
}

fn unknown_event(copy: Copy, copy_index: u8, heard: &Heard<'_>, turn: &mut Turn<'_>) {
    if !turn.wants(Kind::UnknownFrame, copy, None) {
        return;
    }
    let reception = heard.reception.to_wire();
    let mut event = Event {
        copy,
        copy_index,
        mtype: heard.phy.first().map_or(0, |mhdr| mhdr >> 5),
        frequency_hz: heard.frequency_hz,
        data_rate: heard.data_rate,
        gateway: heard.reception.gateway,
        receptions: Receptions::new(&reception),
        payload: &heard.phy[..heard.phy.len().min(lorawan::PHY_BYTES_MAX)],
        ..Event::new(Kind::UnknownFrame, turn.unix)
    };
    if let Ok(Phy::Data(data)) = Phy::parse(heard.phy) {
        event.dev_addr = data.dev_addr().0;
        event.fcnt = u32::from(data.fcnt16());
        event.fport = data.fport();
        event.adr = data.fctrl().adr();
    }
    turn.sink.event(&event);
}
