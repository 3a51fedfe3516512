//! The table of EU863-870 (RP002, chapter of that name).

use super::{Channels, Grid, PowerBand, Rate, RegionPlan, lora, lr_fhss};
use base::DataRate;

const fn both(sf: u8, bw_khz: u16, mac_payload_bytes_max: u8) -> Option<Rate> {
    lora(sf, bw_khz, mac_payload_bytes_max, true, true)
}

/// EIRP is ERP + 2.15 dB. ETSI EN 300 220 allows 500 mW ERP in 869.4-869.65 and 25 mW ERP elsewhere.
const LOUD: PowerBand = PowerBand { from_hz: 869_400_000, to_hz: 869_650_000, eirp_max_dbm: 29 };

pub(super) static PLAN: RegionPlan = RegionPlan {
    name: "EU868",
    band_hz: (863_000_000, 870_000_000),
    rates: [
        both(12, 125, 59),
        both(11, 125, 59),
        both(10, 125, 59),
        both(9, 125, 123),
        both(8, 125, 250),
        both(7, 125, 250),
        both(7, 250, 250),
        Some(Rate { data_rate: DataRate::Fsk { bps: 50_000 }, mac_payload_bytes_max: 250, up: true, down: true }),
        lr_fhss(137, 58),
        lr_fhss(137, 123),
        lr_fhss(336, 58),
        lr_fhss(336, 123),
        None,
        None,
        None,
        None,
    ],
    uplink: &[Grid { index: 0, count: 3, first_hz: 868_100_000, step_hz: 200_000, data_rate_min: 0, data_rate_max: 5 }],
    channels: Channels::Dynamic,
    rx1_data_rates: &[
        &[0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0],
        &[2, 1, 0, 0, 0, 0],
        &[3, 2, 1, 0, 0, 0],
        &[4, 3, 2, 1, 0, 0],
        &[5, 4, 3, 2, 1, 0],
        &[6, 5, 4, 3, 2, 1],
        &[7, 6, 5, 4, 3, 2],
        &[1, 0, 0, 0, 0, 0],
        &[2, 1, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0],
        &[2, 1, 0, 0, 0, 0],
    ],
    rx2_data_rate: 0,
    rx2_frequency_hz: 869_525_000,
    rx1_delay_s: 1,
    join_accept_delay_s: 5,
    device_eirp_max_dbm: 16,
    tx_power_max: 7,
    downlink_power: &[LOUD],
    sub_band_count: 0,
};
