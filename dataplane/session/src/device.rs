//! What is kept of a device and of a session: the two structs whose size decides how many fit.
//!
//! ```text
//!   Device  (cold, <= 160 bytes)  identity, root key, nonces, queue -> session, pending session
//!   Session (hot, two cache lines) keys, counters, how it was last heard -> device
//! ```
//! An uplink touches the address index, the session's two lines and the first line of its device.

use crate::NONE;
use crate::change::Ticket;
use crate::downlinks::Queue;
use crate::record::{DEV_NONCE_COUNT, KeptSession};
use base::{Eui64, Monotonic, UnixMicros};
use lorawan::{AesKey, DevAddr, Profile, SessionKeys};

const _: () = assert!(size_of::<Session>() == 128 && align_of::<Session>() == 64);
const _: () = assert!(size_of::<Device>() <= 160);

/// One session.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Session {
    pub(crate) keys: SessionKeys,
    pub(crate) dev_addr: DevAddr,
    pub(crate) device: u32,
    /// Counts the device's sessions.
    pub(crate) number: u32,
    /// The least FCntUp that will be accepted: one more than the last.
    pub(crate) fcnt_up: u32,
    /// The next FCntDown.
    pub(crate) fcnt_down: u32,
    /// FCntDown below this may be used without storing first.
    pub(crate) fcnt_down_reserved: u32,
    /// MIC of the last accepted uplink: with an equal FCnt and a valid MIC, the frame is that one again.
    pub(crate) last_mic: u32,
    /// Answers to repetitions of the last uplink.
    pub(crate) repeat_count: u8,
    /// Copies of the last uplink, for the index of a late one.
    pub(crate) copy_count: u8,
    /// Tries to bring a MAC request home.
    pub(crate) request_count: u8,
    /// The last uplink could not be kept: it is not acknowledged, and its repetition is a second chance.
    pub(crate) unkept: bool,
    /// When the first copy of the last accepted uplink came.
    pub(crate) last_at: Monotonic,
    pub(crate) last_seen: UnixMicros,
    pub(crate) last_gateway: Eui64,
    pub(crate) rssi_deci: i16,
    pub(crate) snr_deci: i16,
    pub(crate) receive: Receive,
    /// The sub-bands that the device is known to use; 0 is all.
    pub(crate) sub_bands: u8,
    /// What the last LinkADRReq asked for.
    pub(crate) requested_sub_bands: u8,
    /// What the last RXParamSetupReq and RXTimingSetupReq asked for.
    pub(crate) requested: Receive,
    /// When a repetition was last acknowledged.
    pub(crate) repeat_at: Monotonic,
    /// Of the latest change that was kept: no frame leaves before it is.
    pub(crate) ticket: Ticket,
}

/// How the device listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Receive {
    pub(crate) rx2_frequency_hz: u32,
    pub(crate) rx1_delay_s: u8,
    pub(crate) rx1_dr_offset: u8,
    pub(crate) rx2_data_rate: u8,
}

/// In use; a freed place has no flag.
pub(crate) const LIVE: u8 = 2;
/// The device takes frames.
pub(crate) const ENABLED: u8 = 4;
/// It joins over the air.
pub(crate) const OTAA: u8 = 8;

/// One device.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Device {
    pub(crate) dev_eui: Eui64,
    pub(crate) join_eui: Eui64,
    pub(crate) tenant: u32,
    pub(crate) application: u32,
    pub(crate) profile: u32,
    /// The session in use.
    pub(crate) session: u32,
    /// A session that a JoinAccept has offered; the first uplink under its keys makes it the one in use.
    pub(crate) pending: u32,
    pub(crate) queue: Queue,
    /// Place of the answer under way.
    pub(crate) flight: u32,
    pub(crate) session_count: u32,
    /// The last JoinNonce given out.
    pub(crate) join_nonce: u32,
    pub(crate) app_key: AesKey,
    /// The oldest first.
    pub(crate) dev_nonces: [u16; DEV_NONCE_COUNT],
    pub(crate) dev_nonce_count: u8,
    pub(crate) flags: u8,
}

impl Receive {
    /// As the profile wants it.
    pub(crate) fn of(profile: &Profile) -> Self {
        Self {
            rx2_frequency_hz: profile.rx2_frequency_hz(),
            rx1_delay_s: profile.rx1_delay_s(),
            rx1_dr_offset: profile.rx1_dr_offset,
            rx2_data_rate: profile.rx2_data_rate(),
        }
    }

    /// The profile with the device's present windows in place of the wanted ones.
    pub(crate) const fn over(&self, profile: &Profile) -> Profile {
        Profile {
            rx1_delay_s: self.rx1_delay_s,
            rx1_dr_offset: self.rx1_dr_offset,
            rx2_data_rate: Some(self.rx2_data_rate),
            rx2_frequency_hz: Some(self.rx2_frequency_hz),
            ..*profile
        }
    }
}

impl Session {
    pub(crate) fn new(device: u32, number: u32, dev_addr: DevAddr, keys: SessionKeys, receive: Receive) -> Self {
        Self {
            keys,
            dev_addr,
            device,
            number,
            fcnt_up: 0,
            fcnt_down: 0,
            fcnt_down_reserved: 0,
            last_mic: 0,
            last_at: Monotonic(0),
            last_seen: UnixMicros(0),
            last_gateway: Eui64::default(),
            rssi_deci: 0,
            snr_deci: 0,
            receive,
            repeat_count: 0,
            copy_count: 0,
            request_count: 0,
            unkept: false,
            sub_bands: 0,
            requested_sub_bands: 0,
            requested: receive,
            repeat_at: Monotonic(0),
            ticket: Ticket::KEPT,
        }
    }

    /// The session as it was stored: FCntDown goes on beyond what was reserved.
    pub(crate) fn restored(device: u32, kept: &KeptSession) -> Self {
        let receive = Receive {
            rx2_frequency_hz: kept.rx2_frequency_hz,
            rx1_delay_s: kept.rx1_delay_s,
            rx1_dr_offset: kept.rx1_dr_offset,
            rx2_data_rate: kept.rx2_data_rate,
        };
        Self {
            fcnt_up: kept.fcnt_up,
            fcnt_down: kept.fcnt_down,
            fcnt_down_reserved: kept.fcnt_down,
            last_mic: kept.last_mic,
            last_seen: kept.last_seen,
            last_gateway: kept.last_gateway,
            sub_bands: kept.sub_bands,
            ..Self::new(device, kept.number, kept.dev_addr, kept.keys, receive)
        }
    }

    pub(crate) fn kept(&self) -> KeptSession {
        KeptSession {
            dev_addr: self.dev_addr,
            keys: self.keys,
            number: self.number,
            // An uplink that could not be kept has not been, whatever else of the session is: after a restart its repetition
            // is taken as new, not for one that was accepted.
            fcnt_up: self.fcnt_up - u32::from(self.unkept),
            fcnt_down: self.fcnt_down_reserved,
            last_mic: self.last_mic,
            rx1_delay_s: self.receive.rx1_delay_s,
            rx1_dr_offset: self.receive.rx1_dr_offset,
            rx2_data_rate: self.receive.rx2_data_rate,
            rx2_frequency_hz: self.receive.rx2_frequency_hz,
            sub_bands: self.sub_bands,
            last_seen: self.last_seen,
            last_gateway: self.last_gateway,
        }
    }
}

impl Device {
    pub(crate) fn new(dev_eui: Eui64) -> Self {
        Self {
            dev_eui,
            join_eui: Eui64::default(),
            tenant: 0,
            application: 0,
            profile: 0,
            session: NONE,
            pending: NONE,
            queue: Queue::default(),
            flight: NONE,
            session_count: 0,
            join_nonce: 0,
            app_key: AesKey::default(),
            dev_nonces: [0; DEV_NONCE_COUNT],
            dev_nonce_count: 0,
            flags: LIVE,
        }
    }

    pub(crate) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8, value: bool) {
        self.flags = if value { self.flags | flag } else { self.flags & !flag };
    }

    /// DevNonces used, the oldest first.
    pub(crate) fn nonces(&self) -> &[u16] {
        &self.dev_nonces[..usize::from(self.dev_nonce_count)]
    }

    /// Remembers a DevNonce, and forgets the oldest beyond the bound.
    pub(crate) fn remember_nonce(&mut self, nonce: u16) {
        let count = usize::from(self.dev_nonce_count);
        if count < DEV_NONCE_COUNT {
            self.dev_nonces[count] = nonce;
            self.dev_nonce_count += 1;
        } else {
            self.dev_nonces.copy_within(1.., 0);
            self.dev_nonces[DEV_NONCE_COUNT - 1] = nonce;
        }
    }

    /// Tells, without revealing it, whether a root key is the same: one block under it that no session key is made from,
    /// since JoinNonces given out here begin with 1.
    pub(crate) fn root(&self) -> u64 {
        if !self.is(OTAA) {
            return 0;
        }
        let nonces = lorawan::JoinNonces { join_nonce: 0, net_id: lorawan::NetId(0), dev_nonce: 0 };
        let AesKey([head @ .., _, _, _, _, _, _, _, _]) = nonces.session_keys(&self.app_key).nwk_s_key;
        u64::from_le_bytes(head)
    }
}
