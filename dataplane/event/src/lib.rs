//! The event: the typed record of something that happened to a device or a gateway, before any format.
//!
//! Owns its layout (hops between shards and, later, the journal carry it) and the names under which templates see its
//! fields. Never allocates, never reads a clock.
//!
//! ```text
//!   | head 104, fixed | receptions 28 x n | payload |                      see `layout`
//! ```

mod fields;
pub mod formats;
mod json;
mod layout;

pub use fields::SCHEMA;
pub use layout::{HEAD_BYTES, Malformed, RECEPTION_BYTES};

use base::{DataRate, Eui64, UnixMicros};

/// Receptions that one event can carry; more copies than this are counted, not listed.
pub const RECEPTION_COUNT_MAX: usize = 16;

/// The longest encoded event: head, every reception, the longest PHYPayload or gateway status text.
pub const EVENT_BYTES_MAX: usize = HEAD_BYTES + RECEPTION_COUNT_MAX * RECEPTION_BYTES + 1024;

/// What happened. The discriminant is the layout's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A data frame from a device, verified and decrypted.
    Uplink = 1,
    /// A JoinRequest as heard by a gateway, before any check (gateway streams).
    JoinRequest = 2,
    /// A device joined: a new session began.
    Joined = 3,
    /// A frame that no session or device here explains (gateway streams); the payload is the PHYPayload.
    UnknownFrame = 4,
    /// A queued downlink was handed to a gateway's transmitter.
    DownlinkSent = 5,
    /// A confirmed downlink was acknowledged by the device.
    DownlinkAcknowledged = 6,
    /// A downlink was given up; `failure` says why.
    DownlinkFailed = 7,
    /// A gateway reported on itself; the payload is the report's JSON object.
    GatewayStatus = 8,
    /// A gateway opened its return path.
    GatewayOnline = 9,
    /// A gateway has been silent for too long.
    GatewayOffline = 10,
}

impl Kind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Self; 10] = [
        Self::Uplink,
        Self::JoinRequest,
        Self::Joined,
        Self::UnknownFrame,
        Self::DownlinkSent,
        Self::DownlinkAcknowledged,
        Self::DownlinkFailed,
        Self::GatewayStatus,
        Self::GatewayOnline,
        Self::GatewayOffline,
    ];

    /// Its name in templates, configuration and the API, `snake_case`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::JoinRequest => "join_request",
            Self::Joined => "joined",
            Self::UnknownFrame => "unknown_frame",
            Self::DownlinkSent => "downlink_sent",
            Self::DownlinkAcknowledged => "downlink_acknowledged",
            Self::DownlinkFailed => "downlink_failed",
            Self::GatewayStatus => "gateway_status",
            Self::GatewayOnline => "gateway_online",
            Self::GatewayOffline => "gateway_offline",
        }
    }

    /// Its bit in a set of kinds.
    #[must_use]
    pub const fn bit(self) -> u16 {
        1 << (self as u8)
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which of several records of one uplink this is; a stream's `copies` chooses among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Copy {
    /// The first valid copy, as it arrived. Also everything that is not an uplink.
    #[default]
    First = 0,
    /// A later copy, through another gateway, antenna or repetition.
    Later = 1,
    /// All copies of the dedup window in one, the best reception first.
    Best = 2,
}

/// Why a downlink was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Failure {
    /// No gateway that heard the device could transmit it.
    NoGateway = 1,
    /// Every attempt came back from the gateways with an error.
    Transmission = 2,
    /// The device did not acknowledge any of the permitted repetitions.
    NotAcknowledged = 3,
    /// It waited longer than its expiry.
    Expired = 4,
    /// The payload exceeds what the data rate of the answer permits, and cannot shrink.
    TooLong = 5,
    /// The session it was queued for ended.
    SessionEnded = 6,
    /// The device was removed, or its queue flushed.
    Flushed = 7,
}

impl Failure {
    /// Its name in events, `snake_case`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoGateway => "no_gateway",
            Self::Transmission => "transmission",
            Self::NotAcknowledged => "not_acknowledged",
            Self::Expired => "expired",
            Self::TooLong => "too_long",
            Self::SessionEnded => "session_ended",
            Self::Flushed => "flushed",
        }
    }

    /// The inverse of the discriminant.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::NoGateway,
            2 => Self::Transmission,
            3 => Self::NotAcknowledged,
            4 => Self::Expired,
            5 => Self::TooLong,
            6 => Self::SessionEnded,
            7 => Self::Flushed,
            _ => return None,
        })
    }
}

/// One gateway's hearing of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reception {
    /// The gateway.
    pub gateway: Eui64,
    /// The gateway's own time of reception, or 0 if it has no clock.
    pub time: UnixMicros,
    /// The concentrator's counter, microseconds, wraps.
    pub tmst: u32,
    /// Signal strength, tenths of dBm.
    pub rssi_deci: i16,
    /// Signal-to-noise ratio, tenths of dB.
    pub snr_deci: i16,
    /// Concentrator channel.
    pub channel: u8,
    /// Concentrator RF chain.
    pub rf_chain: u8,
    /// Antenna or board.
    pub antenna: u8,
}

/// The receptions of an event: a borrowed view over encoded ones.
#[derive(Clone, core::marker::Copy, PartialEq, Eq, Debug, Default)]
pub struct Receptions<'a>(&'a [u8]);

impl<'a> Receptions<'a> {
    /// A view over whole encoded receptions.
    ///
    /// # Panics
    /// If the length is no multiple of [`RECEPTION_BYTES`], or there are too many: our own mistake.
    #[must_use]
    pub fn new(encoded: &'a [u8]) -> Self {
        assert!(encoded.len().is_multiple_of(RECEPTION_BYTES), "whole receptions");
        assert!(encoded.len() <= RECEPTION_COUNT_MAX * RECEPTION_BYTES, "receptions within the bound");
        Self(encoded)
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len() / RECEPTION_BYTES
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The reception at `index`, or `None` past the end.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Reception> {
        let encoded = self.0.get(index * RECEPTION_BYTES..(index + 1) * RECEPTION_BYTES)?;
        Some(Reception::from_wire(encoded.try_into().expect("a reception's bytes")))
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Reception> + 'a {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// Something that happened. Absent identifiers are zero; what applies to which kind is said at [`Kind`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: Kind,
    /// Which record of one uplink.
    pub copy: Copy,
    /// Which copy, in the order of arrival; part of the stable id.
    pub copy_index: u8,
    /// LoRaWAN MType of the frame that this speaks of (L2 1.0.4 §4.2.1).
    pub mtype: u8,
    /// FPort, if the frame had one.
    pub fport: Option<u8>,
    /// The device asked for adaptive data rate.
    pub adr: bool,
    /// Why a downlink failed.
    pub failure: Option<Failure>,
    /// When the platform learned of it.
    pub at: UnixMicros,
    /// The owner; 0 is nobody's.
    pub tenant: u32,
    /// The device's application; 0 if it has none.
    pub application: u32,
    /// The device.
    pub dev_eui: Eui64,
    /// AppEUI / JoinEUI.
    pub join_eui: Eui64,
    /// Network address of the session.
    pub dev_addr: u32,
    /// Counts the device's sessions; part of the stable id.
    pub session: u32,
    /// The frame counter, all 32 bits: FCntUp of an uplink, FCntDown of a downlink.
    pub fcnt: u32,
    /// DevNonce of a join.
    pub dev_nonce: u16,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
    /// The downlink this speaks of, as its acceptance named it.
    pub downlink: u64,
    /// The gateway whose event this is (status), or that sent the downlink. For uplinks see `receptions`.
    pub gateway: Eui64,
    /// How the frame was heard; the best first.
    pub receptions: Receptions<'a>,
    /// FRMPayload in the clear, or what the kind says.
    pub payload: &'a [u8],
}

impl Event<'_> {
    /// An event of this kind about nobody yet.
    #[must_use]
    pub fn new(kind: Kind, at: UnixMicros) -> Self {
        Self {
            kind,
            copy: Copy::First,
            copy_index: 0,
            mtype: 0,
            fport: None,
            adr: false,
            failure: None,
            at,
            tenant: 0,
            application: 0,
            dev_eui: Eui64::default(),
            join_eui: Eui64::default(),
            dev_addr: 0,
            session: 0,
            fcnt: 0,
            dev_nonce: 0,
            frequency_hz: 0,
            data_rate: DataRate::default(),
            downlink: 0,
            gateway: Eui64::default(),
            receptions: Receptions::default(),
            payload: &[],
        }
    }

    /// Whether gateway `eui` heard or sent it.
    #[must_use]
    pub fn touches(&self, eui: Eui64) -> bool {
        self.gateway == eui || self.receptions.iter().any(|reception| reception.gateway == eui)
    }
}
