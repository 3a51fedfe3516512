//! Device profiles: what a kind of device can do, and how it is to be treated.

use crate::{Bounded, Name, TenantId};
use serde::{Deserialize, Serialize};

/// A region's parameters (RP002).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Region {
    /// Europe.
    EU868,
    /// North America.
    US915,
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 2] = [Self::EU868, Self::US915];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EU868 => "EU868",
            Self::US915 => "US915",
        }
    }

    /// The region with this name.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|region| region.name() == text).ok_or_else(|| "must be EU868 or US915".into())
    }
}

/// A version of the LoRaWAN link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MacVersion {
    /// 1.0.0
    V1_0_0,
    /// 1.0.1
    V1_0_1,
    /// 1.0.2
    V1_0_2,
    /// 1.0.3
    V1_0_3,
    /// 1.0.4
    V1_0_4,
}

impl MacVersion {
    /// Every version.
    pub const ALL: [Self; 5] = [Self::V1_0_0, Self::V1_0_1, Self::V1_0_2, Self::V1_0_3, Self::V1_0_4];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0_0 => "1.0.0",
            Self::V1_0_1 => "1.0.1",
            Self::V1_0_2 => "1.0.2",
            Self::V1_0_3 => "1.0.3",
            Self::V1_0_4 => "1.0.4",
        }
    }

    /// The version with this name.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|version| version.name() == text)
            .ok_or_else(|| "must be 1.0.0, 1.0.1, 1.0.2, 1.0.3 or 1.0.4".into())
    }
}

/// Which of US915's eight sub-bands are on: bit n is sub-band n + 1. None is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubBands(pub u8);

impl SubBands {
    /// The set of these numbers, 1 to 8.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(numbers: &[u8]) -> Result<Self, String> {
        let bit = |set: u8, number: &u8| (1..=8).contains(number).then(|| set | 1 << (number - 1));
        numbers.iter().try_fold(0, bit).map(Self).ok_or_else(|| "must hold numbers from 1 to 8".into())
    }

    /// The numbers.
    #[must_use]
    pub fn numbers(self) -> Vec<u8> {
        (1..=8).filter(|number| self.0 & 1 << (number - 1) != 0).collect()
    }
}

/// A device profile. Absent numbers are the region's or the dataplane's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its owner; without one every tenant may use it.
    pub tenant: Option<TenantId>,
    /// For people.
    pub name: Name,
    /// Where the devices are.
    pub region: Region,
    /// What they speak.
    pub mac_version: MacVersion,
    /// RECEIVE_DELAY1.
    pub rx1_delay_s: Option<Bounded<1, 15>>,
    /// RX1DROffset.
    pub rx1_dr_offset: Bounded<0, 7>,
    /// Data rate of RX2.
    pub rx2_data_rate: Option<Bounded<0, 15>>,
    /// Frequency of RX2.
    pub rx2_frequency_hz: Option<Bounded<100_000_000, 1_000_000_000>>,
    /// Channels of US915.
    pub sub_bands: SubBands,
    /// Transmissions of one confirmed downlink before it fails.
    pub confirmed_attempts_max: Option<Bounded<1, 255>>,
    /// The greatest accepted gap in FCntUp.
    pub fcnt_gap_max: Option<Bounded<1, 65_535>>,
    /// Downlinks that may wait for one device.
    pub queue_count_max: Option<Bounded<1, 64>>,
}
