//! MAC commands that a device sends (L2 §5, class B: §12).

use super::{NoRoom, bit, put};

/// A command from the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UplinkCommand {
    /// Asks how well it is heard.
    LinkCheckReq,
    /// Answers one LinkADRReq; a change holds only if all three are true.
    LinkAdrAns {
        /// The transmit power is possible.
        power_ok: bool,
        /// The data rate is possible.
        data_rate_ok: bool,
        /// The channel mask is possible.
        channel_mask_ok: bool,
    },
    /// Acknowledges DutyCycleReq.
    DutyCycleAns,
    /// Answers RXParamSetupReq; a change holds only if all three are true.
    RxParamSetupAns {
        /// The RX1 offset is possible.
        rx1_dr_offset_ok: bool,
        /// The RX2 data rate is possible.
        rx2_data_rate_ok: bool,
        /// The RX2 frequency is possible.
        channel_ok: bool,
    },
    /// Reports battery and reception.
    DevStatusAns {
        /// 0 external power, 1..=254 level, 255 unknown.
        battery: u8,
        /// SNR of the last DevStatusReq in dB, -32..=31.
        margin_db: i8,
    },
    /// Answers NewChannelReq.
    NewChannelAns {
        /// The data rate range is possible.
        data_rate_range_ok: bool,
        /// The frequency is possible.
        frequency_ok: bool,
    },
    /// Acknowledges RXTimingSetupReq.
    RxTimingSetupAns,
    /// Acknowledges TXParamSetupReq.
    TxParamSetupAns,
    /// Answers DlChannelReq.
    DlChannelAns {
        /// The uplink channel is defined.
        uplink_frequency_exists: bool,
        /// The frequency is possible.
        frequency_ok: bool,
    },
    /// Asks for the time (1.0.3 and later).
    DeviceTimeReq,
    /// Announces the class B ping slot periodicity.
    PingSlotInfoReq {
        /// A ping slot every 2^periodicity seconds, 0..=7.
        periodicity: u8,
    },
    /// Answers PingSlotChannelReq.
    PingSlotChannelAns {
        /// The data rate is possible.
        data_rate_ok: bool,
        /// The frequency is possible.
        frequency_ok: bool,
    },
    /// Asks when the next beacon is (deprecated by DeviceTimeReq).
    BeaconTimingReq,
    /// Answers BeaconFreqReq.
    BeaconFreqAns {
        /// The frequency is possible.
        frequency_ok: bool,
    },
}

/// Reads a device's commands in order.
#[derive(Clone, Debug)]
pub struct Uplinks<'a> {
    rest: &'a [u8],
}

impl<'a> Uplinks<'a> {
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

impl Iterator for Uplinks<'_> {
    type Item = UplinkCommand;

    fn next(&mut self) -> Option<UplinkCommand> {
        let (command, count) = UplinkCommand::read(self.rest)?;
        self.rest = &self.rest[count..];
        Some(command)
    }
}

impl UplinkCommand {
    /// The first command and the bytes it takes; `None` if it is unknown, cut short or absent.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let [cid, body @ ..] = bytes else { return None };
        let is = |index: usize, shift: u8| body[index] >> shift & 1 == 1;
        let count = 1 + body_bytes(*cid)?;
        if bytes.len() < count {
            return None;
        }
        let command = match cid {
            0x02 => Self::LinkCheckReq,
            0x03 => Self::LinkAdrAns { power_ok: is(0, 2), data_rate_ok: is(0, 1), channel_mask_ok: is(0, 0) },
            0x04 => Self::DutyCycleAns,
            0x05 => {
                Self::RxParamSetupAns { rx1_dr_offset_ok: is(0, 2), rx2_data_rate_ok: is(0, 1), channel_ok: is(0, 0) }
            }
            // Six bits, two's complement: shift the sign to bit 7 and back.
            0x06 => Self::DevStatusAns { battery: body[0], margin_db: ((body[1] << 2) as i8) >> 2 },
            0x07 => Self::NewChannelAns { data_rate_range_ok: is(0, 1), frequency_ok: is(0, 0) },
            0x08 => Self::RxTimingSetupAns,
            0x09 => Self::TxParamSetupAns,
            0x0A => Self::DlChannelAns { uplink_frequency_exists: is(0, 1), frequency_ok: is(0, 0) },
            0x0D => Self::DeviceTimeReq,
            0x10 => Self::PingSlotInfoReq { periodicity: body[0] & 7 },
            0x11 => Self::PingSlotChannelAns { data_rate_ok: is(0, 1), frequency_ok: is(0, 0) },
            0x12 => Self::BeaconTimingReq,
            0x13 => Self::BeaconFreqAns { frequency_ok: is(0, 0) },
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
            Self::LinkCheckReq => put(0x02, &[], out),
            Self::LinkAdrAns { power_ok, data_rate_ok, channel_mask_ok } => {
                put(0x03, &[bit(power_ok, 2) | bit(data_rate_ok, 1) | bit(channel_mask_ok, 0)], out)
            }
            Self::DutyCycleAns => put(0x04, &[], out),
            Self::RxParamSetupAns { rx1_dr_offset_ok, rx2_data_rate_ok, channel_ok } => {
                put(0x05, &[bit(rx1_dr_offset_ok, 2) | bit(rx2_data_rate_ok, 1) | bit(channel_ok, 0)], out)
            }
            Self::DevStatusAns { battery, margin_db } => put(0x06, &[battery, margin_db as u8 & 0x3F], out),
            Self::NewChannelAns { data_rate_range_ok, frequency_ok } => {
                put(0x07, &[bit(data_rate_range_ok, 1) | bit(frequency_ok, 0)], out)
            }
            Self::RxTimingSetupAns => put(0x08, &[], out),
            Self::TxParamSetupAns => put(0x09, &[], out),
            Self::DlChannelAns { uplink_frequency_exists, frequency_ok } => {
                put(0x0A, &[bit(uplink_frequency_exists, 1) | bit(frequency_ok, 0)], out)
            }
            Self::DeviceTimeReq => put(0x0D, &[], out),
            Self::PingSlotInfoReq { periodicity } => put(0x10, &[periodicity & 7], out),
            Self::PingSlotChannelAns { data_rate_ok, frequency_ok } => {
                put(0x11, &[bit(data_rate_ok, 1) | bit(frequency_ok, 0)], out)
            }
            Self::BeaconTimingReq => put(0x12, &[], out),
            Self::BeaconFreqAns { frequency_ok } => put(0x13, &[bit(frequency_ok, 0)], out),
        }
    }
}

const fn body_bytes(cid: u8) -> Option<usize> {
    match cid {
        0x02 | 0x04 | 0x08 | 0x09 | 0x0D | 0x12 => Some(0),
        0x03 | 0x05 | 0x07 | 0x0A | 0x10 | 0x11 | 0x13 => Some(1),
        0x06 => Some(2),
        _ => None,
    }
}
