//! What is said about a simulated device: how it is configured, what it tells, what of it survives a power cycle.

use base::{DataRate, Eui64, Monotonic};
use core::time::Duration;
use lorawan::{AesKey, DevAddr, MacVersion, Region, SessionKeys};

/// How a device came to its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Over the air, with this root key.
    Otaa {
        /// AppKey.
        app_key: AesKey,
    },
    /// By personalisation.
    Abp {
        /// Its fixed address.
        dev_addr: DevAddr,
        /// Its fixed keys.
        keys: SessionKeys,
    },
}

/// What a device says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Mean time between messages; each gap is 75 to 125 % of it.
    pub interval: Duration,
    /// How many of a hundred are confirmed.
    pub confirmed_percent: u8,
    /// How many of a hundred carry a LinkCheckReq or DeviceTimeReq.
    pub request_percent: u8,
    /// Bytes of payload, least and most.
    pub payload_bytes: (u8, u8),
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// DevEUI.
    pub dev_eui: Eui64,
    /// JoinEUI.
    pub join_eui: Eui64,
    /// Its keys.
    pub activation: Activation,
    /// Where it is.
    pub region: Region,
    /// Which specification it follows.
    pub mac_version: MacVersion,
    /// Sub-bands it was provisioned for (US915); 0 is all.
    pub sub_bands: u8,
    /// Data rate index it starts with; `None` is the fastest LoRa rate of 125 kHz.
    pub data_rate: Option<u8>,
    /// Whether it sets ADR.
    pub adr: bool,
    /// Transmissions of one confirmed uplink before it gives up.
    pub confirmed_attempts_max: u8,
    /// An OTAA device joins anew after this many confirmed uplinks in a row were never acknowledged; 0 is never.
    pub rejoin_after: u8,
    /// What it says by itself; `None` only speaks when told to.
    pub traffic: Option<Traffic>,
}

impl DeviceConfig {
    /// A quiet device with defaults.
    #[must_use]
    pub const fn new(dev_eui: Eui64, join_eui: Eui64, activation: Activation, region: Region) -> Self {
        Self {
            dev_eui,
            join_eui,
            activation,
            region,
            mac_version: MacVersion::V1_0_3,
            sub_bands: 0,
            data_rate: None,
            adr: false,
            confirmed_attempts_max: 8,
            rejoin_after: 0,
            traffic: None,
        }
    }
}

/// A message of the device's application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// 1..=223.
    pub fport: u8,
    /// In the clear.
    pub payload: Vec<u8>,
    /// Whether the network is to acknowledge it.
    pub confirmed: bool,
}

/// What happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A join-request was sent.
    Joining {
        /// Its DevNonce.
        dev_nonce: u16,
    },
    /// A join-accept was read: a session begins.
    Joined {
        /// Its address.
        dev_addr: DevAddr,
    },
    /// A data frame was sent, or sent again.
    Sent {
        /// FCntUp.
        fcnt: u32,
        /// FPort, if it had one.
        fport: Option<u8>,
        /// The clear payload.
        payload: Vec<u8>,
        /// Whether it asks for acknowledgement.
        confirmed: bool,
        /// 1 the first time.
        attempt: u8,
        /// Whether it acknowledged a downlink.
        ack: bool,
    },
    /// A downlink was verified and read; not told again for a repeated one.
    Received {
        /// FCntDown.
        fcnt: u32,
        /// FPort, if it had one.
        fport: Option<u8>,
        /// The clear payload (application ports only).
        payload: Vec<u8>,
        /// Whether it asks for acknowledgement.
        confirmed: bool,
        /// Whether it acknowledges our last confirmed uplink.
        ack: bool,
    },
    /// A confirmed uplink was acknowledged.
    Acknowledged {
        /// Its FCntUp.
        fcnt: u32,
    },
    /// A confirmed uplink was never acknowledged.
    GaveUp {
        /// Its FCntUp.
        fcnt: u32,
    },
    /// The network answered LinkCheckReq.
    LinkChecked {
        /// dB above the floor.
        margin_db: u8,
        /// How many gateways heard it.
        gateway_count: u8,
    },
    /// The network answered DeviceTimeReq.
    TimeTold {
        /// Seconds since the GPS epoch.
        gps_seconds: u32,
    },
    /// A frame in one of our windows was not for us or not authentic.
    Ignored,
    /// A message was dropped: it fits no frame at the present data rate, or the outbox was full.
    Dropped,
}

/// What a device wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceOutput {
    /// Send these bytes now.
    Transmit {
        /// PHYPayload.
        phy: Vec<u8>,
        /// Carrier, Hz.
        frequency_hz: u32,
        /// Modulation.
        data_rate: DataRate,
    },
    /// For its owner to know.
    Event(DeviceEvent),
}

/// A receive window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it opens.
    pub at: Monotonic,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
}

/// What survives a power cycle of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The last DevNonce used.
    pub dev_nonce: u16,
    /// The session, if there is one.
    pub session: Option<SavedSession>,
}

/// A session's part that survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Address.
    pub dev_addr: DevAddr,
    /// Keys.
    pub keys: SessionKeys,
    /// The next FCntUp.
    pub fcnt_up: u32,
    /// The last FCntDown accepted.
    pub fcnt_down: Option<u32>,
    /// Seconds to RX1.
    pub rx1_delay_s: u8,
    /// Offset between uplink and RX1 data rate.
    pub rx1_dr_offset: u8,
    /// RX2 data rate index.
    pub rx2_data_rate: u8,
    /// RX2 frequency, Hz.
    pub rx2_frequency_hz: u32,
}
