//! The answer to an uplink: one frame that acknowledges, answers MAC commands, asks for others, and carries the next
//! queued downlink, as far as the data rates of RX1 and RX2 permit.
//!
//! ```text
//!   FOpts <- answers, then requests if all fit 15 bytes     FPort, FRMPayload <- the head of the queue
//!   no queue and more than 15 bytes of commands: FPort 0 carries them instead
//! ```
//! Nothing to say means no frame.

use crate::NONE;
use crate::counted::{Achievement, Drop};
use crate::device::{OTAA, Receive, Session};
use crate::flight::{Flight, Slot};
use crate::network::{Network, Turn};
use crate::spec::PAYLOAD_BYTES_MAX;
use crate::windows::{ASKS_ACK, ASKS_LIFE, ASKS_LINK, ASKS_TIME, Window};
use base::DataRate;
use event::{Failure, Kind};
use lorawan::mac::{DownlinkCommand, LinkAdrReq};
use lorawan::region::Window as ReceiveWindow;
use lorawan::{DataFrame, Direction, DlSettings, FCtrl, Profile};

/// FCntDown is reserved in blocks of this size, so that it is stored seldom.
const FCNT_DOWN_BLOCK: u32 = 64;

/// A device that does not accept what it is asked is asked no more after this many frames.
const REQUEST_COUNT_MAX: u8 = 8;

/// FOptsLen has four bits.
const FOPTS_BYTES_MAX: usize = 15;

/// GPS time counts from 1980-01-06 and has no leap seconds; since 2017 it is 18 s ahead of UTC.
const GPS_EPOCH_US: u64 = 315_964_800_000_000;
const LEAP_US: u64 = 18_000_000;

/// MAC commands being written: two answers, five LinkADRReq, RXParamSetupReq and RXTimingSetupReq fit.
#[derive(Clone, Copy)]
struct Commands {
    bytes: [u8; 48],
    len: usize,
}

impl Commands {
    const EMPTY: Self = Self { bytes: [0; 48], len: 0 };

    fn push(&mut self, command: DownlinkCommand) {
        self.len += command.write(&mut self.bytes[self.len..]).expect("room for every command that is sent at once");
    }

    fn with(mut self, more: &Self) -> Self {
        self.bytes[self.len..self.len + more.len].copy_from_slice(more.bytes());
        self.len += more.len;
        self
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A receive window and what fits into it.
#[derive(Clone, Copy)]
struct Way {
    slot: Slot,
    payload_bytes_max: usize,
    /// A gateway can still be asked in time.
    open: bool,
}

impl Way {
    /// Whether a payload fits beside this much of FOpts.
    const fn fits(&self, payload_bytes: usize, fopts_bytes: usize) -> bool {
        payload_bytes + fopts_bytes <= self.payload_bytes_max
    }
}

/// What the frame will be made of.
struct Contents {
    commands: Commands,
    requests: bool,
    downlink: u32,
}

impl Network {
    /// Answers the uplink of a window that has ended, if there is something to say.
    pub(crate) fn answer(&mut self, place: u32, session: u32, turn: &mut Turn<'_>) {
        let device = self.windows[place].device;
        let rules = turn.rules;
        let Some(profile) = rules.profile(self.devices[device].profile) else {
            return self.counts.drops.count(Drop::ProfileUnknown);
        };
        if self.devices[device].flight != NONE {
            // The device speaks again, so that answer is over, whatever the gateway has not said of it.
            self.counts.drops.count(Drop::TransmissionSilent);
            self.end_flight(device);
        }
        let ways = self.ways(place, session, profile, turn);
        self.settle_head(device, profile, &ways, turn);

        if self.sessions[session].unkept {
            // What was not kept is not acknowledged: the device repeats itself, and that is a second chance.
            self.windows[place].asks &= !ASKS_ACK;
        }
        let window = &self.windows[place];
        let asks = window.asks;
        let answers = answers(window, self.sessions[session].snr_deci);
        let requests = requests(&self.sessions[session], self.devices[device].is(OTAA), profile, window.data_rate);
        let contents = self.contents(device, &ways, answers, requests);
        let asked = asks & (ASKS_ACK | ASKS_LIFE) != 0 || contents.commands.len > 0;
        let waiting = self.devices[device].queue.head != NONE;
        if (asked || waiting) && !ways.iter().flatten().any(|way| way.open) {
            return self.counts.drops.count(Drop::AnswerTooLate);
        }
        if !asked && contents.downlink == NONE {
            return;
        }
        let Some(fcnt) = self.next_fcnt_down(session, turn) else { return };
        let Some(flight) = self.seal(place, session, fcnt, &ways, &contents) else { return };

        self.counts.achieved.count(Achievement::Answers);
        if asks & ASKS_ACK != 0 {
            self.counts.achieved.count(Achievement::Acknowledgements);
        }
        let answered = u64::from((asks & (ASKS_LINK | ASKS_TIME)).count_ones());
        self.counts.achieved.add(Achievement::MacAnswers, answered);
        if contents.requests {
            self.counts.achieved.count(Achievement::MacRequests);
            let session = &mut self.sessions[session];
            session.request_count += 1;
            session.requested = Receive::of(profile);
            session.requested_sub_bands = wanted_sub_bands(profile);
        }
        if contents.downlink != NONE {
            let downlink = &mut self.downlinks[contents.downlink];
            downlink.attempts += 1;
            downlink.fcnt = fcnt;
        }
        self.launch(flight, turn);
    }

    /// RX1 and RX2, as far as the region has them and a gateway can still be asked.
    fn ways(&self, place: u32, session: u32, profile: &Profile, turn: &Turn<'_>) -> [Option<Way>; 2] {
        let window = &self.windows[place];
        let session = &self.sessions[session];
        let otaa = self.devices[window.device].is(OTAA);
        // A joined device listens as it was told; a personalised one as its profile says.
        let listens = if otaa { session.receive.over(profile) } else { *profile };
        let way = |receive: ReceiveWindow| {
            let slot = Slot::of(&listens, receive)?;
            Some(Way {
                slot,
                payload_bytes_max: profile.plan().payload_bytes_max(receive.data_rate, Direction::Down, 0)?,
                open: slot.is_open(window.opened, turn.now),
            })
        };
        [listens.rx1(window.frequency_hz, window.data_rate).and_then(way), way(listens.rx2())]
    }

    /// Gives up the heads of the queue that are past hope, so that the next one gets its turn.
    fn settle_head(&mut self, device: u32, profile: &Profile, ways: &[Option<Way>; 2], turn: &mut Turn<'_>) {
        let largest = ways.iter().flatten().map(|way| way.payload_bytes_max).max().unwrap_or(0);
        while self.devices[device].queue.head != NONE {
            let head = self.devices[device].queue.head;
            let downlink = &self.downlinks[head];
            let failure = if downlink.has_expired(turn.unix) {
                Failure::Expired
            } else if downlink.sent && downlink.attempts >= profile.confirmed_attempts_max() {
                Failure::NotAcknowledged
            } else if usize::from(downlink.len) > largest {
                Failure::TooLong
            } else {
                return;
            };
            self.fail_downlink(head, failure, turn.sink, turn.unix);
        }
    }

    /// What goes into the frame: answers always, a downlink if it fits beside them, requests if they fit as well.
    fn contents(&self, device: u32, ways: &[Option<Way>; 2], answers: Commands, requests: Commands) -> Contents {
        let both = answers.with(&requests);
        let has_requests = requests.len > 0;
        let head = self.devices[device].queue.head;
        if head != NONE {
            let len = usize::from(self.downlinks[head].len);
            let open = || ways.iter().flatten().filter(|way| way.open);
            let fits =
                |commands: &Commands| commands.len <= FOPTS_BYTES_MAX && open().any(|way| way.fits(len, commands.len));
            if fits(&both) {
                return Contents { commands: both, requests: has_requests, downlink: head };
            }
            if fits(&answers) {
                return Contents { commands: answers, requests: false, downlink: head };
            }
        }
        Contents { commands: both, requests: has_requests, downlink: NONE }
    }

    /// The next FCntDown; a new block is kept before its first is used.
    fn next_fcnt_down(&mut self, place: u32, turn: &mut Turn<'_>) -> Option<u32> {
        let session = &mut self.sessions[place];
        if session.fcnt_down == u32::MAX {
            self.counts.drops.count(Drop::FcntExhausted);
            return None;
        }
        let (fcnt, device, reserved) = (session.fcnt_down, session.device, session.fcnt_down_reserved);
        if fcnt >= reserved {
            session.fcnt_down_reserved = fcnt.saturating_add(FCNT_DOWN_BLOCK);
            if self.store(device, turn).is_err() {
                self.sessions[place].fcnt_down_reserved = reserved;
                return None;
            }
        }
        self.sessions[place].fcnt_down += 1;
        Some(fcnt)
    }

    /// Writes the frame.
    fn seal(
        &self,
        place: u32,
        session: u32,
        fcnt: u32,
        ways: &[Option<Way>; 2],
        contents: &Contents,
    ) -> Option<Flight> {
        let window = &self.windows[place];
        let session = &self.sessions[session];
        let waiting = self.devices[window.device].queue.count;
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let (fopts, fport, payload, confirmed, left) = if contents.downlink != NONE {
            let downlink = &self.downlinks[contents.downlink];
            let len = self.downlinks.payload(contents.downlink, &mut payload);
            (contents.commands.bytes(), Some(downlink.fport), &payload[..len], downlink.confirmed, waiting - 1)
        } else if contents.commands.len > FOPTS_BYTES_MAX {
            (&[][..], Some(0), contents.commands.bytes(), false, waiting)
        } else {
            (contents.commands.bytes(), None, &[][..], false, waiting)
        };
        let frame = DataFrame {
            direction: Direction::Down,
            confirmed,
            dev_addr: session.dev_addr,
            fctrl: FCtrl::default().with_ack(window.asks & ASKS_ACK != 0).with_fpending(left > 0),
            fcnt,
            fopts,
            fport,
            payload,
        };
        let slots =
            ways.map(|way| way.filter(|way| way.open && way.fits(payload.len(), fopts.len())).map(|way| way.slot));
        let mut flight = Flight::new(window.device, window.opened, slots);
        flight.downlink = contents.downlink;
        flight.ticket = session.ticket;
        // The parts were sized by the region's tables, which stay below a PHYPayload's bound.
        flight.len = frame.write(&session.keys, &mut flight.phy).ok()? as u8;
        flight.gather(window.receptions());
        Some(flight)
    }

    /// The device acknowledges the last confirmed frame: the head of its queue, if that was sent.
    pub(crate) fn acknowledged(&mut self, device: u32, turn: &mut Turn<'_>) {
        let head = self.devices[device].queue.head;
        if head == NONE {
            return;
        }
        let flying = self.in_flight(device, head);
        let downlink = self.downlinks[head];
        if !downlink.confirmed || !(downlink.sent || flying) {
            return;
        }
        if flying {
            self.end_flight(device);
        }
        self.counts.achieved.count(Achievement::DownlinksAcknowledged);
        turn.sink.event(&self.downlink_event(Kind::DownlinkAcknowledged, head, turn.unix));
        self.take_downlink(head, turn.sink);
    }
}

/// Answers to what the device asked.
fn answers(window: &Window, snr_deci: i16) -> Commands {
    let mut commands = Commands::EMPTY;
    if window.asks & ASKS_LINK != 0 {
        let floor_deci = floor_deci(window.data_rate);
        let margin_db = (i32::from(snr_deci) - floor_deci).div_euclid(10).clamp(0, 254) as u8;
        commands.push(DownlinkCommand::LinkCheckAns { margin_db, gateway_count: gateway_count(window) });
    }
    if window.asks & ASKS_TIME != 0 {
        // The time at the end of the uplink (L2 §5.9): the gateway's own if it has a clock, else when the frame came.
        let heard = window.receptions().iter().map(|reception| reception.time.0).find(|time| *time != 0);
        let gps_us = heard.unwrap_or(window.unix.0).saturating_sub(GPS_EPOCH_US) + LEAP_US;
        commands.push(DownlinkCommand::DeviceTimeAns {
            gps_seconds: (gps_us / 1_000_000) as u32,
            fraction: (gps_us % 1_000_000 * 256 / 1_000_000) as u8,
        });
    }
    commands
}

/// What the profile wants of the device and the device does not do yet.
fn requests(session: &Session, otaa: bool, profile: &Profile, uplink: DataRate) -> Commands {
    let mut commands = Commands::EMPTY;
    if session.request_count >= REQUEST_COUNT_MAX {
        return commands;
    }
    let plan = profile.plan();
    if session.sub_bands != wanted_sub_bands(profile) {
        // Before 1.0.4 nothing says "keep": the present data rate and full power are named instead (L2 §5.2).
        let keeps = profile.mac_version.keeps_with_fifteen();
        let base = LinkAdrReq {
            data_rate: if keeps { 15 } else { plan.data_rate_index(uplink, Direction::Up).unwrap_or(0) },
            tx_power: if keeps { 15 } else { 0 },
            nb_trans: u8::from(!keeps),
            ..LinkAdrReq::default()
        };
        for request in plan.sub_band_requests(profile.sub_bands, base) {
            commands.push(DownlinkCommand::LinkAdrReq(request));
        }
    }
    let wanted = Receive::of(profile);
    let present = session.receive;
    if otaa && present != (Receive { rx1_delay_s: present.rx1_delay_s, ..wanted }) {
        commands.push(DownlinkCommand::RxParamSetupReq {
            dl_settings: DlSettings { rx1_dr_offset: wanted.rx1_dr_offset, rx2_data_rate: wanted.rx2_data_rate },
            frequency_hz: wanted.rx2_frequency_hz,
        });
    }
    if otaa && present.rx1_delay_s != wanted.rx1_delay_s {
        commands.push(DownlinkCommand::RxTimingSetupReq { delay_s: wanted.rx1_delay_s });
    }
    commands
}

/// The profile's sub-bands; 0 is all.
fn wanted_sub_bands(profile: &Profile) -> u8 {
    if profile.plan().all_sub_bands(profile.sub_bands) { 0 } else { profile.sub_bands }
}

/// The SNR at which a frame is just received, tenths of dB: 2.5 dB for each spreading factor (SX1301 data sheet, table 3).
fn floor_deci(data_rate: DataRate) -> i32 {
    match data_rate {
        DataRate::Lora { sf, .. } => 100 - 25 * i32::from(sf),
        DataRate::Fsk { .. } | DataRate::LrFhss { .. } => 0,
    }
}

fn gateway_count(window: &Window) -> u8 {
    let receptions = window.receptions();
    let distinct = receptions.iter().enumerate().filter(|(index, reception)| {
        !receptions.iter().take(*index).any(|earlier| earlier.gateway == reception.gateway)
    });
    distinct.count() as u8
}
