//! Regional parameters as data: what may be sent where, how fast, how long, how loud (RP002-1.0.4).
//! Owns one constant table per region; another region joins by adding a table. Never holds a device's state.
//!
//! ```text
//!   uplink  (frequency, DataRate) -> channel index, data rate index
//!   RX1     = rx1_frequency_hz(uplink), rx1_data_rate(uplink index, offset)     after rx1_delay_s
//!   RX2     = rx2_frequency_hz, rx2_data_rate                                   one second later
//! ```

mod eu868;
mod us915;

use crate::Direction;
use crate::join::CfList;
use crate::mac::LinkAdrReq;
use base::DataRate;
use core::fmt;

/// A region that this build knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Region {
    /// Europe, 863-870 MHz.
    #[default]
    Eu868 = 1,
    /// United States and Canada, 902-928 MHz.
    Us915 = 2,
}

impl Region {
    /// Every region.
    pub const ALL: &'static [Self] = &[Self::Eu868, Self::Us915];

    /// The region's table.
    #[must_use]
    pub const fn plan(self) -> &'static RegionPlan {
        match self {
            Self::Eu868 => &eu868::PLAN,
            Self::Us915 => &us915::PLAN,
        }
    }

    /// The common name, `EU868`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.plan().name
    }

    /// The region of this common name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|region| region.name() == name)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How many data rate indexes there are: four bits.
pub const DATA_RATE_COUNT: usize = 16;

/// What one data rate index stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The modulation.
    pub data_rate: DataRate,
    /// M: the most bytes of MACPayload (FHDR, FPort and FRMPayload) without a repeater, dwell time unlimited.
    pub mac_payload_bytes_max: u8,
    /// Usable by devices.
    pub up: bool,
    /// Usable by the network.
    pub down: bool,
}

/// Equidistant channels that share a range of data rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Index of the first channel.
    pub index: u8,
    /// How many.
    pub count: u8,
    /// Frequency of the first, Hz.
    pub first_hz: u32,
    /// Distance, Hz.
    pub step_hz: u32,
    /// Least data rate index.
    pub data_rate_min: u8,
    /// Greatest data rate index.
    pub data_rate_max: u8,
}

impl Grid {
    /// The frequency of the grid's nth channel, counted from 0.
    #[must_use]
    pub const fn frequency_hz(&self, nth: u8) -> u32 {
        self.first_hz + nth as u32 * self.step_hz
    }

    /// Which of the grid's channels lies here.
    #[must_use]
    pub const fn nth(&self, frequency_hz: u32) -> Option<u8> {
        if frequency_hz < self.first_hz {
            return None;
        }
        let distance = frequency_hz - self.first_hz;
        let nth = distance / self.step_hz;
        if distance.is_multiple_of(self.step_hz) && nth < self.count as u32 { Some(nth as u8) } else { None }
    }
}

/// How a region lays out its channels, which decides RX1, CFList and channel masks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channels {
    /// A few channels that every device knows; the network adds others. RX1 is on the uplink's frequency; CFList type 0.
    Dynamic,
    /// All channels are known. RX1 is on `down[uplink channel mod down.count]`; CFList type 1.
    Fixed {
        /// The grid of RX1.
        down: Grid,
    },
}

/// Where downlinks may be how loud.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerBand {
    /// First frequency, Hz, inclusive.
    pub from_hz: u32,
    /// Last frequency, Hz, inclusive.
    pub to_hz: u32,
    /// Greatest EIRP of a gateway, dBm.
    pub eirp_max_dbm: u8,
}

/// The table of one region.
#[derive(Debug)]
pub struct RegionPlan {
    /// Common name.
    pub name: &'static str,
    /// Band edges, Hz, inclusive: no channel may lie outside.
    pub band_hz: (u32, u32),
    /// Data rates by index.
    pub rates: [Option<Rate>; DATA_RATE_COUNT],
    /// The uplink channels that every device knows, in the order of their indexes.
    pub uplink: &'static [Grid],
    /// Layout.
    pub channels: Channels,
    /// RX1 data rate index, by uplink data rate index, then by offset.
    pub rx1_data_rates: &'static [&'static [u8]],
    /// Default RX2 data rate index.
    pub rx2_data_rate: u8,
    /// Default RX2 frequency, Hz.
    pub rx2_frequency_hz: u32,
    /// Default delay to RX1, seconds; RX2 follows one second later.
    pub rx1_delay_s: u8,
    /// Delay from a join-request to RX1, seconds; RX2 follows one second later.
    pub join_accept_delay_s: u8,
    /// Default greatest EIRP of a device, dBm.
    pub device_eirp_max_dbm: u8,
    /// Greatest TXPower index; each step is 2 dB less.
    pub tx_power_max: u8,
    /// Downlink power by frequency; the first band that holds the frequency counts.
    pub downlink_power: &'static [PowerBand],
    /// Sub-bands of eight 125 kHz channels and one 500 kHz channel; 0 if the region has none.
    pub sub_band_count: u8,
}

/// An opened receive window: where and how a downlink must be sent to be heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Seconds after the end of the uplink.
    pub delay_s: u8,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Data rate index.
    pub data_rate: u8,
}

impl RegionPlan {
    /// What a data rate index stands for, if it may be used in this direction.
    #[must_use]
    pub fn rate(&self, index: u8, direction: Direction) -> Option<Rate> {
        let rate = (*self.rates.get(usize::from(index))?)?;
        let allowed = match direction {
            Direction::Up => rate.up,
            Direction::Down => rate.down,
        };
        allowed.then_some(rate)
    }

    /// The modulation of a data rate index.
    #[must_use]
    pub fn data_rate(&self, index: u8, direction: Direction) -> Option<DataRate> {
        self.rate(index, direction).map(|rate| rate.data_rate)
    }

    /// The index of a modulation. Where two indexes differ only in LR-FHSS coding rate, the lower, hence more robust, one.
    #[must_use]
    pub fn data_rate_index(&self, data_rate: DataRate, direction: Direction) -> Option<u8> {
        (0..DATA_RATE_COUNT as u8).find(|index| self.data_rate(*index, direction) == Some(data_rate))
    }

    /// N: the most bytes of FRMPayload beside `fopts_bytes` of FOpts: M less 7 of FHDR and 1 of FPort, less FOpts.
    ///
    /// `None` if the index is not usable in this direction.
    #[must_use]
    pub fn payload_bytes_max(&self, index: u8, direction: Direction, fopts_bytes: usize) -> Option<usize> {
        self.rate(index, direction).map(|rate| usize::from(rate.mac_payload_bytes_max - 8).saturating_sub(fopts_bytes))
    }

    /// The index of the channel, of those every device knows, that this uplink used.
    #[must_use]
    pub fn uplink_channel(&self, frequency_hz: u32, data_rate: DataRate) -> Option<u8> {
        let rate = self.data_rate_index(data_rate, Direction::Up)?;
        self.uplink.iter().find_map(|grid| {
            let fits = grid.data_rate_min <= rate && rate <= grid.data_rate_max;
            grid.nth(frequency_hz).filter(|_| fits).map(|nth| grid.index + nth)
        })
    }

    /// The frequency of a channel that every device knows.
    #[must_use]
    pub fn uplink_frequency_hz(&self, channel: u8) -> Option<u32> {
        self.uplink
            .iter()
            .find(|grid| grid.index <= channel && channel < grid.index + grid.count)
            .map(|grid| grid.frequency_hz(channel - grid.index))
    }

    /// The frequency of RX1 after this uplink; `None` if the uplink was on no channel of a fixed plan.
    #[must_use]
    pub fn rx1_frequency_hz(&self, uplink_hz: u32, uplink_rate: DataRate) -> Option<u32> {
        match &self.channels {
            Channels::Dynamic => Some(uplink_hz),
            Channels::Fixed { down } => {
                Some(down.frequency_hz(self.uplink_channel(uplink_hz, uplink_rate)? % down.count))
            }
        }
    }

    /// The data rate index of RX1 after an uplink of this index; `None` if either is not the region's.
    #[must_use]
    pub fn rx1_data_rate(&self, uplink_data_rate: u8, offset: u8) -> Option<u8> {
        self.rx1_data_rates.get(usize::from(uplink_data_rate))?.get(usize::from(offset)).copied()
    }

    /// The greatest RX1 offset.
    #[must_use]
    pub fn rx1_dr_offset_max(&self) -> u8 {
        self.rx1_data_rates[0].len() as u8 - 1
    }

    /// Whether a frequency lies in the band.
    #[must_use]
    pub const fn holds(&self, frequency_hz: u32) -> bool {
        self.band_hz.0 <= frequency_hz && frequency_hz <= self.band_hz.1
    }

    /// The greatest EIRP of a downlink on this frequency, dBm.
    #[must_use]
    pub fn downlink_eirp_max_dbm(&self, frequency_hz: u32) -> u8 {
        self.downlink_power
            .iter()
            .find(|band| band.from_hz <= frequency_hz && frequency_hz <= band.to_hz)
            .map_or(self.device_eirp_max_dbm, |band| band.eirp_max_dbm)
    }

    /// The CFList of a join-accept: type 1 for a fixed plan restricted to `sub_bands`, type 0 for `extra_hz` of a dynamic
    /// one; `None` if there is nothing to say. Only the first five frequencies fit.
    #[must_use]
    pub fn cf_list(&self, sub_bands: u8, extra_hz: &[u32]) -> Option<CfList> {
        match self.channels {
            Channels::Dynamic if extra_hz.is_empty() => None,
            Channels::Dynamic => Some(CfList::of_frequencies(&extra_hz[..extra_hz.len().min(5)])),
            Channels::Fixed { .. } if self.all_sub_bands(sub_bands) => None,
            Channels::Fixed { .. } => Some(CfList::of_masks(&ChannelMask::of_sub_bands(sub_bands).0)),
        }
    }

    /// The LinkADRReq commands, contiguous in one frame, that leave exactly `sub_bands` of a fixed plan enabled (0: all).
    /// `base` gives data rate, power and repetitions. Empty for a dynamic plan.
    ///
    /// First every 125 kHz channel is switched off or on together with the mask of the 500 kHz ones (ChMaskCntl 7 or 6),
    /// then one command per group of 16 that has a channel. Two sub-bands take at most 15 bytes, which FOpts can hold.
    pub fn sub_band_requests(&self, sub_bands: u8, base: LinkAdrReq) -> impl Iterator<Item = LinkAdrReq> + use<> {
        let fixed = matches!(self.channels, Channels::Fixed { .. });
        let all = self.all_sub_bands(sub_bands);
        let mask = ChannelMask::of_sub_bands(if all { 0xFF } else { sub_bands });
        let first = LinkAdrReq { ch_mask: mask.0[4], ch_mask_cntl: if all { 6 } else { 7 }, ..base };
        let groups = (0..4u8)
            .map(move |group| LinkAdrReq { ch_mask: mask.0[usize::from(group)], ch_mask_cntl: group, ..base })
            .filter(move |request| !all && request.ch_mask != 0);
        core::iter::once(first).chain(groups).filter(move |_| fixed)
    }

    /// Whether a sub-band set restricts nothing.
    #[must_use]
    pub const fn all_sub_bands(&self, sub_bands: u8) -> bool {
        self.sub_band_count == 0 || sub_bands == 0 || sub_bands == u8::MAX
    }
}

/// Which channels of a fixed plan are enabled: 64 of 125 kHz, then 8 of 500 kHz; groups of sixteen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelMask(pub [u16; 5]);

impl ChannelMask {
    /// Bit n enables channels 8n..8n+8 and 64+n; 0 enables all.
    #[must_use]
    pub const fn of_sub_bands(sub_bands: u8) -> Self {
        let sub_bands = if sub_bands == 0 { u8::MAX } else { sub_bands };
        let mut masks = [0, 0, 0, 0, sub_bands as u16];
        let mut sub_band = 0;
        while sub_band < 8 {
            if sub_bands >> sub_band & 1 == 1 {
                masks[sub_band / 2] |= 0xFF << (8 * (sub_band % 2));
            }
            sub_band += 1;
        }
        Self(masks)
    }

    /// Whether a channel is enabled.
    #[must_use]
    pub const fn has(&self, channel: u8) -> bool {
        let group = channel as usize / 16;
        group < self.0.len() && self.0[group] >> (channel % 16) & 1 == 1
    }

    /// The mask after one LinkADRReq of a fixed plan (the device's side); `None` for a reserved ChMaskCntl.
    #[must_use]
    pub const fn after(mut self, ch_mask_cntl: u8, ch_mask: u16) -> Option<Self> {
        match ch_mask_cntl {
            0..=4 => self.0[ch_mask_cntl as usize] = if ch_mask_cntl == 4 { ch_mask & 0xFF } else { ch_mask },
            // Each of the eight low bits speaks of a whole sub-band.
            5 if ch_mask & 0xFF == 0 => self.0 = [0; 5],
            5 => self = Self::of_sub_bands(ch_mask as u8),
            6 => self.0 = [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, ch_mask & 0xFF],
            7 => self.0 = [0, 0, 0, 0, ch_mask & 0xFF],
            _ => return None,
        }
        Some(self)
    }
}

/// A LoRa rate in a table.
const fn lora(sf: u8, bw_khz: u16, mac_payload_bytes_max: u8, up: bool, down: bool) -> Option<Rate> {
    Some(Rate { data_rate: DataRate::Lora { sf, bw_khz }, mac_payload_bytes_max, up, down })
}

/// An LR-FHSS rate in a table; uplink only.
const fn lr_fhss(ocw_khz: u16, mac_payload_bytes_max: u8) -> Option<Rate> {
    Some(Rate { data_rate: DataRate::LrFhss { ocw_khz }, mac_payload_bytes_max, up: true, down: false })
}
