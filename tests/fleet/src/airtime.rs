//! Time on air, by Semtech's formula (SX1276 datasheet §4.1.1.7, AN1200.13), for LoRaWAN's settings: preamble of 8
//! symbols, explicit header, coding rate 4/5.

use base::DataRate;
use core::time::Duration;

/// How long a PHYPayload of `bytes` takes. Uplinks carry a payload CRC, downlinks do not.
#[must_use]
pub fn airtime(data_rate: DataRate, bytes: usize, crc: bool) -> Duration {
    match data_rate {
        DataRate::Lora { sf, bw_khz } => {
            let (sf, bw_khz) = (u64::from(sf), u64::from(bw_khz).max(1));
            let symbol_ns = (1 << sf) * 1_000_000 / bw_khz;
            // Low data rate optimisation is on for symbols of 16 ms and more.
            let optimised = u64::from(symbol_ns >= 16_000_000);
            let bits = (8 * bytes as u64 + 28 + 16 * u64::from(crc)).saturating_sub(4 * sf);
            let symbols = 8 + bits.div_ceil(4 * (sf - 2 * optimised)) * 5;
            // The preamble: 8 symbols and 4.25 of synchronisation.
            Duration::from_nanos(symbol_ns * (4 * symbols + 49) / 4)
        }
        // Preamble 5, sync word 3, length 1, CRC 2 (RP002, FSK).
        DataRate::Fsk { bps } => Duration::from_nanos((bytes as u64 + 11) * 8 * 1_000_000_000 / u64::from(bps.max(1))),
        // 162 bit/s is the slower LR-FHSS rate; no simulated device sends it.
        DataRate::LrFhss { .. } => Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / 162),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sf: u8, bw_khz: u16, bytes: usize, crc: bool, expected_us: u128) {
        let got = airtime(DataRate::Lora { sf, bw_khz }, bytes, crc).as_micros();
        assert_eq!(got, expected_us, "SF{sf}BW{bw_khz} {bytes}");
    }

    /// Values of The Things Network's airtime calculator.
    #[test]
    fn agrees_with_the_usual_calculators() {
        check(7, 125, 13, true, 46_336);
        check(7, 125, 23, true, 61_696);
        check(10, 125, 23, true, 370_688);
        check(12, 125, 13, true, 1_155_072);
        check(12, 125, 64, true, 2_793_472);
        check(8, 500, 23, true, 28_288);
        assert_eq!(airtime(DataRate::Fsk { bps: 50_000 }, 14, true).as_micros(), 4_000);
    }
}
