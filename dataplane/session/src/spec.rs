//! What is configured: devices, sizes and commands, and how they are refused.

use crate::lane::{Lane, lane_of_addr, lane_of_eui};
use base::{Eui64, UnixMicros};
use lorawan::{AesKey, DevAddr, SessionKeys};

/// The longest FRMPayload any region permits (RP002-1.0.4 §2.5.6: N = 242 without FOpts).
pub const PAYLOAD_BYTES_MAX: usize = 242;

/// Sizes of everything; fixed at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Devices whose home is here.
    pub device_count_max: usize,
    /// Joins whose first uplink has not come yet, beside the sessions that they will replace.
    pub pending_count_max: usize,
    /// DevEUIs whose device lives in another shard's lane (ABP).
    pub redirect_count_max: usize,
    /// Frames whose copies are being gathered.
    pub window_count_max: usize,
    /// Downlinks that gateways have been asked for and have not answered.
    pub transmission_count_max: usize,
    /// Downlinks that wait, all devices together.
    pub downlink_count_max: usize,
    /// Room for their payloads.
    pub queue_bytes_max: usize,
}

impl Limits {
    /// Sizes that go with a number of devices on one shard.
    #[must_use]
    pub fn for_devices(device_count_max: usize) -> Self {
        Self {
            device_count_max,
            pending_count_max: (device_count_max / 16).clamp(64, 1 << 20),
            redirect_count_max: device_count_max,
            window_count_max: 8192,
            transmission_count_max: 4096,
            downlink_count_max: (device_count_max / 4).clamp(1024, 1 << 18),
            queue_bytes_max: (device_count_max * 16).clamp(256 << 10, 64 << 20),
        }
    }
}

/// A device as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpec {
    /// DevEUI.
    pub dev_eui: Eui64,
    /// AppEUI / JoinEUI.
    pub join_eui: Eui64,
    /// Its owner.
    pub tenant: u32,
    /// Its application.
    pub application: u32,
    /// Its profile.
    pub profile: u32,
    /// Whether its frames are taken.
    pub enabled: bool,
    /// How it gets a session.
    pub activation: Activation,
}

/// How a device gets a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activation {
    /// Over the air, by a join.
    Otaa {
        /// Root key.
        app_key: AesKey,
    },
    /// By personalisation.
    Abp {
        /// Network address.
        dev_addr: DevAddr,
        /// Session keys.
        keys: SessionKeys,
        /// The least FCntUp that will be accepted.
        fcnt_up: u32,
        /// The next FCntDown that will be used.
        fcnt_down: u32,
    },
}

impl DeviceSpec {
    /// The lane in which the device lives.
    #[must_use]
    pub const fn home(&self) -> Lane {
        match self.activation {
            Activation::Otaa { .. } => lane_of_eui(self.dev_eui),
            Activation::Abp { dev_addr, .. } => lane_of_addr(dev_addr),
        }
    }
}

/// What [`Network::upsert`](crate::Network::upsert) did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upserted {
    /// The device lives here. If its DevEUI is looked up here and was known to live in another lane, it must be removed there.
    Home {
        /// That other lane.
        before: Option<Lane>,
    },
    /// It lives elsewhere, and its DevEUI is looked up here. If it was known to live in another lane, it must be removed there.
    Redirected {
        /// That other lane.
        before: Option<Lane>,
    },
    /// No lane of this shard is concerned. If the device lived here until now, it does no more.
    Elsewhere,
}

/// A table sized by [`Limits`] is full; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A downlink to be queued.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// For whom.
    pub dev_eui: Eui64,
    /// FPort, 1..=223.
    pub fport: u8,
    /// Whether the device shall acknowledge it.
    pub confirmed: bool,
    /// In the clear, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: &'a [u8],
    /// After this it is of no use.
    pub expires: Option<UnixMicros>,
}

/// Why a downlink was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Refusal {
    /// No device with this DevEUI lives here.
    UnknownDevice,
    /// The device is disabled.
    Disabled,
    /// Its queue, or the shard's, is full.
    QueueFull,
    /// No data rate of its region carries so much.
    TooLong,
    /// FPort is outside 1..=223.
    BadPort,
    /// It has no session and no way to get one: its profile is missing.
    NoSession,
    /// It could not be kept: the disk is full, or fails.
    NotKept,
}

impl Refusal {
    /// As the contract spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownDevice => "unknown_device",
            Self::Disabled => "disabled",
            Self::QueueFull => "queue_full",
            Self::TooLong => "too_long",
            Self::BadPort => "bad_port",
            Self::NoSession => "no_session",
            Self::NotKept => "not_kept",
        }
    }
}
