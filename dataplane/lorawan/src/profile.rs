//! A device profile: how one kind of device speaks LoRaWAN, with the region's defaults resolved.
//! Parsed, not validated: [`Profile::checked`] is the only way from numbers of unknown worth to one that others rely on.

use crate::Direction;
use crate::join::{CfList, DlSettings};
use crate::region::{Region, RegionPlan, Window};
use base::DataRate;
use core::fmt;

/// A LoRaWAN 1.0.x version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
#[allow(non_camel_case_types, reason = "the versions are spelt as the standard's")]
pub enum MacVersion {
    /// 1.0.0
    V1_0_0 = 1,
    /// 1.0.1
    V1_0_1 = 2,
    /// 1.0.2
    V1_0_2 = 3,
    /// 1.0.3
    #[default]
    V1_0_3 = 4,
    /// 1.0.4
    V1_0_4 = 5,
}

impl MacVersion {
    /// Whether DevNonce counts up (1.0.4) instead of being random.
    #[must_use]
    pub const fn dev_nonce_counts(self) -> bool {
        matches!(self, Self::V1_0_4)
    }

    /// Whether the device understands CFList type 1, channel masks (US915 since 1.0.3).
    #[must_use]
    pub fn reads_cf_list_masks(self) -> bool {
        self >= Self::V1_0_3
    }

    /// Whether LinkADRReq 15 keeps data rate and power (1.0.4).
    #[must_use]
    pub fn keeps_with_fifteen(self) -> bool {
        self >= Self::V1_0_4
    }
}

impl fmt::Display for MacVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "1.0.{}", *self as u8 - 1)
    }
}

/// How one kind of device speaks. `None` and 0 stand for the defaults that the accessors resolve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Where it is used.
    pub region: Region,
    /// Which specification it follows.
    pub mac_version: MacVersion,
    /// Seconds to RX1, 1..=15; 0 is the region's default.
    pub rx1_delay_s: u8,
    /// Offset between uplink and RX1 data rate.
    pub rx1_dr_offset: u8,
    /// RX2 data rate index; `None` is the region's default.
    pub rx2_data_rate: Option<u8>,
    /// RX2 frequency; `None` is the region's default.
    pub rx2_frequency_hz: Option<u32>,
    /// Bit n enables sub-band n+1 of a region that has them; 0 enables all.
    pub sub_bands: u8,
    /// Transmissions of one confirmed downlink before it fails; 0 is 8.
    pub confirmed_attempts_max: u8,
    /// The greatest gap in FCntUp that is accepted, at most 65535; 0 is 16384.
    pub fcnt_gap_max: u32,
    /// Downlinks that may wait for one device; 0 is 16.
    pub queue_count_max: u8,
}

/// Which field of a profile is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutOfRange {
    /// `rx1_delay_s`
    Rx1Delay,
    /// `rx1_dr_offset`
    Rx1DrOffset,
    /// `rx2_data_rate`
    Rx2DataRate,
    /// `rx2_frequency_hz`
    Rx2Frequency,
    /// `sub_bands`
    SubBands,
    /// `fcnt_gap_max`
    FCntGapMax,
}

impl OutOfRange {
    /// The field's name.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Rx1Delay => "rx1_delay_s",
            Self::Rx1DrOffset => "rx1_dr_offset",
            Self::Rx2DataRate => "rx2_data_rate",
            Self::Rx2Frequency => "rx2_frequency_hz",
            Self::SubBands => "sub_bands",
            Self::FCntGapMax => "fcnt_gap_max",
        }
    }

    /// What would be in range.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Rx1Delay => "0 to 15",
            Self::Rx1DrOffset => "0 to 5 in EU868, 0 to 3 in US915",
            Self::Rx2DataRate => "a data rate that the region allows for downlinks",
            Self::Rx2Frequency => "a multiple of 100 Hz in the region's band",
            Self::SubBands => "0 in a region without sub-bands",
            Self::FCntGapMax => "0 to 65535",
        }
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} must be {}", self.field(), self.allowed())
    }
}

impl core::error::Error for OutOfRange {}

impl From<Region> for Profile {
    /// The region's defaults and LoRaWAN 1.0.3.
    fn from(region: Region) -> Self {
        Self {
            region,
            mac_version: MacVersion::default(),
            rx1_delay_s: 0,
            rx1_dr_offset: 0,
            rx2_data_rate: None,
            rx2_frequency_hz: None,
            sub_bands: 0,
            confirmed_attempts_max: 0,
            fcnt_gap_max: 0,
            queue_count_max: 0,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::from(Region::default())
    }
}

impl Profile {
    /// The profile, if every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn checked(self) -> Result<Self, OutOfRange> {
        let plan = self.plan();
        let checks = [
            (self.rx1_delay_s <= 15, OutOfRange::Rx1Delay),
            (self.rx1_dr_offset <= plan.rx1_dr_offset_max(), OutOfRange::Rx1DrOffset),
            (plan.rate(self.rx2_data_rate(), Direction::Down).is_some(), OutOfRange::Rx2DataRate),
            (
                plan.holds(self.rx2_frequency_hz()) && self.rx2_frequency_hz().is_multiple_of(100),
                OutOfRange::Rx2Frequency,
            ),
            (self.sub_bands == 0 || plan.sub_band_count > 0, OutOfRange::SubBands),
            (self.fcnt_gap_max <= u32::from(u16::MAX), OutOfRange::FCntGapMax),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, out_of_range)) => Err(*out_of_range),
            None => Ok(self),
        }
    }

    /// The region's table.
    #[must_use]
    pub const fn plan(&self) -> &'static RegionPlan {
        self.region.plan()
    }

    /// Seconds from the end of an uplink to RX1.
    #[must_use]
    pub const fn rx1_delay_s(&self) -> u8 {
        if self.rx1_delay_s == 0 { self.plan().rx1_delay_s } else { self.rx1_delay_s }
    }

    /// RX2 data rate index.
    #[must_use]
    pub fn rx2_data_rate(&self) -> u8 {
        self.rx2_data_rate.unwrap_or(self.plan().rx2_data_rate)
    }

    /// RX2 frequency, Hz.
    #[must_use]
    pub fn rx2_frequency_hz(&self) -> u32 {
        self.rx2_frequency_hz.unwrap_or(self.plan().rx2_frequency_hz)
    }

    /// Transmissions of one confirmed downlink before it fails.
    #[must_use]
    pub const fn confirmed_attempts_max(&self) -> u8 {
        if self.confirmed_attempts_max == 0 { 8 } else { self.confirmed_attempts_max }
    }

    /// The greatest gap in FCntUp that is accepted. The default is MAX_FCNT_GAP of LoRaWAN before 1.0.4.
    #[must_use]
    pub const fn fcnt_gap_max(&self) -> u32 {
        if self.fcnt_gap_max == 0 { 16_384 } else { self.fcnt_gap_max }
    }

    /// Downlinks that may wait for one device.
    #[must_use]
    pub const fn queue_count_max(&self) -> u8 {
        if self.queue_count_max == 0 { 16 } else { self.queue_count_max }
    }

    /// What a join-accept tells the device of its windows.
    #[must_use]
    pub fn dl_settings(&self) -> DlSettings {
        DlSettings { rx1_dr_offset: self.rx1_dr_offset, rx2_data_rate: self.rx2_data_rate() }
    }

    /// The CFList of a join-accept, if the device can read it and there is something to say.
    #[must_use]
    pub fn cf_list(&self) -> Option<CfList> {
        if self.mac_version.reads_cf_list_masks() { self.plan().cf_list(self.sub_bands, &[]) } else { None }
    }

    /// RX1 after an uplink so received; `None` if that was no uplink of the region.
    #[must_use]
    pub fn rx1(&self, uplink_hz: u32, uplink_rate: DataRate) -> Option<Window> {
        let plan = self.plan();
        let uplink = plan.data_rate_index(uplink_rate, Direction::Up)?;
        Some(Window {
            delay_s: self.rx1_delay_s(),
            frequency_hz: plan.rx1_frequency_hz(uplink_hz, uplink_rate)?,
            data_rate: plan.rx1_data_rate(uplink, self.rx1_dr_offset)?,
        })
    }

    /// RX2, whatever the uplink was.
    #[must_use]
    pub fn rx2(&self) -> Window {
        Window {
            delay_s: self.rx1_delay_s() + 1,
            frequency_hz: self.rx2_frequency_hz(),
            data_rate: self.rx2_data_rate(),
        }
    }

    /// RX1 and RX2 of a join-accept: the region's defaults, for the device knows nothing else yet.
    #[must_use]
    pub fn join_windows(&self, uplink_hz: u32, uplink_rate: DataRate) -> (Option<Window>, Window) {
        let fresh = Self { rx1_delay_s: self.plan().join_accept_delay_s, ..Self::from(self.region) };
        (fresh.rx1(uplink_hz, uplink_rate), fresh.rx2())
    }
}
