//! MAC commands that the network sends (L2 §5, class B: §12).

use super::{NoRoom, bit, put};
use crate::join::{DlSettings, frequency_from_wire, frequency_to_wire};

/// LinkADRReq: data rate, power and channels in one (L2 §5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkAdrReq {
    /// Data rate index, 0..=15; 15 keeps the present one (1.0.4).
    pub data_rate: u8,
    /// Transmit power index, 0..=15; 15 keeps the present one (1.0.4).
    pub tx_power: u8,
    /// Channels, what each bit means is `ch_mask_cntl`'s and the region's business.
    pub ch_mask: u16,
    /// Which channels `ch_mask` speaks of, 0..=7.
    pub ch_mask_cntl: u8,
    /// Transmissions of each unconfirmed uplink, 0..=15; 0 keeps (1.0.4) or means 1.
    pub nb_trans: u8,
}

/// A command to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DownlinkCommand {
    /// Answers LinkCheckReq.
    LinkCheckAns {
        /// dB above the demodulation floor of the best reception, 0..=254.
        margin_db: u8,
        /// How many gateways heard the request.
        gateway_count: u8,
    },
    /// Sets data rate, power and channels.
    LinkAdrReq(LinkAdrReq),
    /// Bounds the transmit duty cycle.
    DutyCycleReq {
        /// The aggregate duty cycle is 1 / 2^this, 0..=15.
        max_duty_cycle: u8,
    },
    /// Sets how the device listens.
    RxParamSetupReq {
        /// RX1 offset and RX2 data rate.
        dl_settings: DlSettings,
        /// RX2 frequency, Hz.
        frequency_hz: u32,
    },
    /// Asks for DevStatusAns.
    DevStatusReq,
    /// Creates, changes or (frequency 0) removes a channel.
    NewChannelReq {
        /// Channel index.
        index: u8,
        /// Frequency, Hz; 0 removes.
        frequency_hz: u32,
        /// Greatest data rate index.
        data_rate_max: u8,
        /// Least data rate index.
        data_rate_min: u8,
    },
    /// Sets the delay to RX1.
    RxTimingSetupReq {
        /// Seconds, 1..=15; 0 means 1.
        delay_s: u8,
    },
    /// Sets dwell time and greatest EIRP.
    TxParamSetupReq {
        /// Downlinks are limited to 400 ms.
        downlink_dwell: bool,
        /// Uplinks are limited to 400 ms.
        uplink_dwell: bool,
        /// Index into the specification's EIRP table, 0..=15.
        max_eirp_index: u8,
    },
    /// Moves a channel's RX1 to another frequency.
    DlChannelReq {
        /// Channel index.
        index: u8,
        /// Frequency, Hz.
        frequency_hz: u32,
    },
    /// Answers DeviceTimeReq with the time at the end of that uplink.
    DeviceTimeAns {
        /// Seconds since the GPS epoch, 1980-01-06T00:00:00Z, with leap seconds, modulo 2^32.
        gps_seconds: u32,
        /// 1/256 seconds.
        fraction: u8,
    },
    /// Acknowledges PingSlotInfoReq.
    PingSlotInfoAns,
    /// Sets the class B ping slot channel.
    PingSlotChannelReq {
        /// Frequency, Hz; 0 is the region's own.
        frequency_hz: u32,
        /// Data rate index.
        data_rate: u8,
    },
    /// Answers BeaconTimingReq (deprecated).
    BeaconTimingAns {
        /// Time to the next beacon in units of 30 ms.
        delay: u16,
        /// Its channel index.
        channel: u8,
    },
    /// Sets the beacon frequency.
    BeaconFreqReq {
        /// Frequency, Hz; 0 is the region's own.
        frequency_hz: u32,
    },
}

/// Reads the network's commands in order.
#[derive(Clone, Debug)]
pub struct Downlinks<'a> {
    rest: &'a [u8],
}

impl<'a> Downlinks<'a> {
    /// Over FOpts, or over the clear payload of FPort 0.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read: after the last command, an unknown CID or a command cut short with all that follows.
    #[must_use]
    pub const fn unread(&self) -> &'a [u8] {
        self.rest
    }
}

impl Iterator for Downlinks<'_> {
    type Item = DownlinkCommand;

    fn next(&mut self) -> Option<DownlinkCommand> {
        let (command, count) = DownlinkCommand::read(self.rest)?;
        self.rest = &self.rest[count..];
        Some(command)
    }
}

impl DownlinkCommand {
    /// The first command and the bytes it takes; `None` if it is unknown, cut short or absent.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [cid, body @ ..] = bytes else { return None };
        let count = 1 + body_bytes(*cid)?;
        if bytes.len() < count {
            return None;
        }
        let frequency = |at: usize| frequency_from_wire([body[at], body[at + 1], body[at + 2]]);
        let command = match cid {
            0x02 => Self::LinkCheckAns { margin_db: body[0], gateway_count: body[1] },
            0x03 => Self::LinkAdrReq(LinkAdrReq {
                data_rate: body[0] >> 4,
                tx_power: body[0] & 15,
                ch_mask: u16::from_le_bytes([body[1], body[2]]),
                ch_mask_cntl: body[3] >> 4 & 7,
                nb_trans: body[3] & 15,
            }),
            0x04 => Self::DutyCycleReq { max_duty_cycle: body[0] & 15 },
            0x05 => Self::RxParamSetupReq { dl_settings: DlSettings::from_wire(body[0]), frequency_hz: frequency(1) },
            0x06 => Self::DevStatusReq,
            0x07 => Self::NewChannelReq {
                index: body[0],
                frequency_hz: frequency(1),
                data_rate_max: body[4] >> 4,
                data_rate_min: body[4] & 15,
            },
            0x08 => Self::RxTimingSetupReq { delay_s: body[0] & 15 },
            0x09 => Self::TxParamSetupReq {
                downlink_dwell: body[0] & 0x20 != 0,
                uplink_dwell: body[0] & 0x10 != 0,
                max_eirp_index: body[0] & 15,
            },
            0x0A => Self::DlChannelReq { index: body[0], frequency_hz: frequency(1) },
            0x0D => Self::DeviceTimeAns {
                gps_seconds: u32::from_le_bytes([body[0], body[1], body[2], body[3]]),
                fraction: body[4],
            },
            0x10 => Self::PingSlotInfoAns,
            0x11 => Self::PingSlotChannelReq { frequency_hz: frequency(0), data_rate: body[3] & 15 },
            0x12 => Self::BeaconTimingAns { delay: u16::from_le_bytes([body[0], body[1]]), channel: body[2] },
            0x13 => Self::BeaconFreqReq { frequency_hz: frequency(0) },
            _ => return None,
        };
        Some((command, count))
    }

    /// Writes the command into the front of `out`. Returns its length.
    ///
    /// # Errors
    /// [`NoRoom`]; `out` is untouched.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        match *self {
            Self::LinkCheckAns { margin_db, gateway_count } => put(0x02, &[margin_db, gateway_count], out),
            Self::LinkAdrReq(LinkAdrReq { data_rate, tx_power, ch_mask, ch_mask_cntl, nb_trans }) => {
                let [low, high] = ch_mask.to_le_bytes();
                put(0x03, &[data_rate << 4 | tx_power & 15, low, high, (ch_mask_cntl & 7) << 4 | nb_trans & 15], out)
            }
            Self::DutyCycleReq { max_duty_cycle } => put(0x04, &[max_duty_cycle & 15], out),
            Self::RxParamSetupReq { dl_settings, frequency_hz } => {
                let [a, b, c] = frequency_to_wire(frequency_hz);
                put(0x05, &[dl_settings.to_wire(), a, b, c], out)
            }
            Self::DevStatusReq => put(0x06, &[], out),
            Self::NewChannelReq { index, frequency_hz, data_rate_max, data_rate_min } => {
                let [a, b, c] = frequency_to_wire(frequency_hz);
                put(0x07, &[index, a, b, c, data_rate_max << 4 | data_rate_min & 15], out)
            }
            Self::RxTimingSetupReq { delay_s } => put(0x08, &[delay_s & 15], out),
            Self::TxParamSetupReq { downlink_dwell, uplink_dwell, max_eirp_index } => {
                put(0x09, &[bit(downlink_dwell, 5) | bit(uplink_dwell, 4) | max_eirp_index & 15], out)
            }
            Self::DlChannelReq { index, frequency_hz } => {
                let [a, b, c] = frequency_to_wire(frequency_hz);
                put(0x0A, &[index, a, b, c], out)
            }
            Self::DeviceTimeAns { gps_seconds, fraction } => {
                let [a, b, c, d] = gps_seconds.to_le_bytes();
                put(0x0D, &[a, b, c, d, fraction], out)
            }
            Self::PingSlotInfoAns => put(0x10, &[], out),
            Self::PingSlotChannelReq { frequency_hz, data_rate } => {
                let [a, b, c] = frequency_to_wire(frequency_hz);
                put(0x11, &[a, b, c, data_rate & 15], out)
            }
            Self::BeaconTimingAns { delay, channel } => {
                let [low, high] = delay.to_le_bytes();
                put(0x12, &[low, high, channel], out)
            }
            Self::BeaconFreqReq { frequency_hz } => put(0x13, &frequency_to_wire(frequency_hz), out),
        }
    }
}

const fn body_bytes(cid: u8) -> Option<usize> {
    match cid {
        0x06 | 0x10 => Some(0),
        0x04 | 0x08 | 0x09 => Some(1),
        0x02 => Some(2),
        0x12 | 0x13 => Some(3),
        0x03 | 0x05 | 0x0A | 0x11 => Some(4),
        0x07 | 0x0D => Some(5),
        _ => None,
    }
}
