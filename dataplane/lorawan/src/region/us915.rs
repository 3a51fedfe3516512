//! The table of US902-928 (RP002, chapter of that name).

use super::{Channels, Grid, PowerBand, RegionPlan, lora, lr_fhss};

/// FCC 15.247 allows 30 dBm conducted with 6 dBi; 27 dBm is what the concentrators in the field can do.
const WHOLE: PowerBand = PowerBand { from_hz: 902_000_000, to_hz: 928_000_000, eirp_max_dbm: 27 };

pub(super) static PLAN: RegionPlan = RegionPlan {
    name: "US915",
    band_hz: (902_000_000, 928_000_000),
    rates: [
        lora(10, 125, 19, true, false),
        lora(9, 125, 61, true, false),
        lora(8, 125, 133, true, false),
        lora(7, 125, 250, true, false),
        lora(8, 500, 250, true, false),
        lr_fhss(1523, 58),
        lr_fhss(1523, 133),
        None,
        lora(12, 500, 61, false, true),
        lora(11, 500, 137, false, true),
        lora(10, 500, 250, false, true),
        lora(9, 500, 250, false, true),
        lora(8, 500, 250, false, true),
        lora(7, 500, 250, false, true),
        None,
        None,
    ],
    uplink: &[
        Grid { index: 0, count: 64, first_hz: 902_300_000, step_hz: 200_000, data_rate_min: 0, data_rate_max: 3 },
        Grid { index: 64, count: 8, first_hz: 903_000_000, step_hz: 1_600_000, data_rate_min: 4, data_rate_max: 6 },
    ],
    channels: Channels::Fixed {
        down: Grid { index: 0, count: 8, first_hz: 923_300_000, step_hz: 600_000, data_rate_min: 8, data_rate_max: 13 },
    },
    rx1_data_rates: &[
        &[10, 9, 8, 8],
        &[11, 10, 9, 8],
        &[12, 11, 10, 9],
        &[13, 12, 11, 10],
        &[13, 13, 12, 11],
        &[10, 9, 8, 8],
        &[11, 10, 9, 8],
    ],
    rx2_data_rate: 8,
    rx2_frequency_hz: 923_300_000,
    rx1_delay_s: 1,
    join_accept_delay_s: 5,
    device_eirp_max_dbm: 30,
    tx_power_max: 14,
    downlink_power: &[WHOLE],
    sub_band_count: 8,
};
