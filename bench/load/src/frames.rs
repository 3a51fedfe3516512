//! The uplinks, enciphered and signed before the clock starts, and the datagrams that carry them.
//!
//! Owns the PHYPayloads of a run, 37 bytes each. A datagram is put together as it is sent: header, ten digits, base64.

use crate::{NUMBER_BASE, Workload};
use floor::{COPY, DIGIT_COUNT, DIGITS_AT};
use lorawan::{AesKey, DataFrame, DevAddr, Direction, FCtrl, SessionKeys};

/// FRMPayload bytes.
pub const PAYLOAD_BYTES: usize = 20;

/// MHDR 1, DevAddr 4, FCtrl 1, FCnt 2, FPort 1, payload, MIC 4.
const PHY_BYTES: usize = 13 + PAYLOAD_BYTES;

const FPORT: u8 = 2;

/// The EUI of a gateway, as a number.
#[must_use]
pub fn gateway_eui(index: u32) -> u64 {
    0xB827_EBFF_FE00_0000 + u64::from(index)
}

/// The DevEUI of a device, as a number.
#[must_use]
pub fn dev_eui(index: u32) -> u64 {
    0x70B3_D57E_D000_0000 + u64::from(index)
}

/// The DevAddr of a device: spread over the lanes.
#[must_use]
pub fn dev_addr(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761) & 0x01FF_FFFF
}

/// NwkSKey and AppSKey of a device.
#[must_use]
pub fn keys(index: u32) -> [[u8; 16]; 2] {
    let of = |salt: u8| {
        let index = index.to_le_bytes();
        core::array::from_fn(|at| index[at % 4].wrapping_mul(31).wrapping_add(salt ^ at as u8))
    };
    [of(0x11), of(0x77)]
}

/// The payload of an uplink: its ten digits as BCD, its device, and bytes that follow from both.
#[must_use]
pub fn payload(number: u64, device: u32) -> [u8; PAYLOAD_BYTES] {
    let mut out = [0; PAYLOAD_BYTES];
    let mut rest = NUMBER_BASE + number;
    for byte in out[..DIGIT_COUNT / 2].iter_mut().rev() {
        *byte = (((rest / 10 % 10) << 4) | (rest % 10)) as u8;
        rest /= 100;
    }
    out[5..9].copy_from_slice(&device.to_be_bytes());
    for (at, byte) in out[9..].iter_mut().enumerate() {
        *byte = (number as u8).wrapping_mul(7) ^ device as u8 ^ at as u8;
    }
    out
}

/// The uplinks of a run.
pub struct Frames {
    workload: Workload,
    phys: Vec<[u8; PHY_BYTES]>,
}

impl Frames {
    /// Signs the first `count` uplinks of a workload.
    ///
    /// # Panics
    /// Never: the frames are well formed.
    #[must_use]
    pub fn sign(workload: Workload, count: u64) -> Self {
        let keys: Vec<SessionKeys> = (0..workload.devices)
            .map(|device| {
                let [nwk_s_key, app_s_key] = keys(device);
                SessionKeys { nwk_s_key: AesKey(nwk_s_key), app_s_key: AesKey(app_s_key) }
            })
            .collect();
        let sign = |number: u64| {
            let device = workload.device(number);
            let payload = payload(number, device);
            let frame = DataFrame {
                direction: Direction::Up,
                confirmed: workload.confirmed(number),
                dev_addr: DevAddr(dev_addr(device)),
                fctrl: FCtrl(0),
                fcnt: workload.fcnt(number),
                fopts: &[],
                fport: Some(FPORT),
                payload: &payload,
            };
            let mut phy = [0; PHY_BYTES];
            assert_eq!(frame.write(&keys[device as usize], &mut phy), Ok(PHY_BYTES), "a whole frame");
            phy
        };
        Self { workload, phys: (0..count).map(sign).collect() }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.phys.len() as u64
    }

    /// Writes the datagram by which copy number `copy` of an uplink comes. Returns its length.
    pub fn datagram(&self, number: u64, copy: u32, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> usize {
        let gateway = (number.wrapping_mul(7919) as u32).wrapping_add(copy) % self.workload.gateways;
        let token = self.workload.stream(number) as u16 | if copy == 0 { 0 } else { COPY };
        out[0] = 2;
        out[1..3].copy_from_slice(&token.to_be_bytes());
        out[3] = 0;
        out[4..12].copy_from_slice(&gateway_eui(gateway).to_be_bytes());
        let mut at = 12;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(BEFORE);
        put(&digits(number));
        put(BETWEEN);
        put(&encoded(&self.phys[number as usize]));
        put(BEHIND);
        at
    }
}

const BEFORE: &[u8] = br#"{"rxpk":[{"tmst":"#;
const BETWEEN: &[u8] = br#","chan":0,"rfch":0,"freq":868.100000,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","lsnr":9.5,"rssi":-57,"size":33,"data":""#;
const BEHIND: &[u8] = br#""}]}"#;
const BASE64_BYTES: usize = PHY_BYTES.div_ceil(3) * 4;

const _: () = assert!(PHY_BYTES == 33, "as `size` says");
const _: () = assert!(12 + BEFORE.len() == DIGITS_AT, "where the floor looks for the digits");

/// Bytes of a datagram.
pub const DATAGRAM_BYTES_MAX: usize = 12 + BEFORE.len() + DIGIT_COUNT + BETWEEN.len() + BASE64_BYTES + BEHIND.len();

/// Ten decimal digits of an uplink's number.
#[must_use]
pub fn digits(number: u64) -> [u8; DIGIT_COUNT] {
    let mut out = [b'0'; DIGIT_COUNT];
    let mut rest = NUMBER_BASE + number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out
}

/// The inverse of [`digits`].
#[must_use]
pub fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for digit in digits {
        number = number * 10 + u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    number.checked_sub(NUMBER_BASE)
}

/// Base64 (RFC 4648 §4) of whole groups of three bytes.
fn encoded(phy: &[u8; PHY_BYTES]) -> [u8; BASE64_BYTES] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = [0; BASE64_BYTES];
    for (group, target) in phy.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
        let word = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for (index, digit) in target.iter_mut().enumerate() {
            *digit = DIGITS[(word >> (18 - 6 * index) & 63) as usize];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplink_is_found_again_by_its_digits_in_datagram_and_payload() {
        let workload = Workload { devices: 3, ..Workload::default() };
        let frames = Frames::sign(workload, 10);
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let count = frames.datagram(7, 1, &mut out);
        assert_eq!(count, DATAGRAM_BYTES_MAX);
        assert_eq!(number(&out[DIGITS_AT..DIGITS_AT + DIGIT_COUNT]), Some(7));
        let hex: String = payload(7, 1).iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(number(&hex.as_bytes()[..DIGIT_COUNT]), Some(7));
        assert!(out[12..count].starts_with(b"{\"rxpk\":[{\"tmst\":1000000007,") && out[..count].ends_with(b"\"}]}"));
    }

    #[test]
    fn every_fifth_comes_thrice_and_every_twentieth_asks() {
        let workload = Workload::default();
        let share = |what: &dyn Fn(u64) -> bool| (0..100_000).filter(|number| what(*number)).count();
        assert_eq!(share(&|number| workload.copies(number) == 3), 20_000);
        assert_eq!(share(&|number| workload.confirmed(number)), 5_000);
    }
}
