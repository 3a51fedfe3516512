//! The devices: over the air, each with a session of its own, everything of them a function of their number.
//!
//! Owns no table: ten million of them take no memory here.

use base::mix::mix64;
use base::{Eui64, UnixMicros};
use contract::v1;
use journal::Kind;
use journaling::writer::Writer;
use lorawan::{AesKey, DataFrame, DevAddr, Direction, FCtrl, JoinNonces, NetId, SessionKeys};
use session::{DEV_NONCE_COUNT, KeptSession, SessionRecord, addr_in_lane, lane_of_eui};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// FRMPayload bytes of an uplink.
pub const PAYLOAD_BYTES: usize = 20;

/// MHDR 1, DevAddr 4, FCtrl 1, FCnt 2, FPort 1, payload, MIC 4.
pub const PHY_BYTES: usize = 13 + PAYLOAD_BYTES;

/// Joins that each device has behind it.
const JOINS: u32 = 3;

const FPORT: u8 = 2;

/// The device's DevEUI.
#[must_use]
pub fn dev_eui(device: u64) -> Eui64 {
    Eui64::new(0x70B3_D57E_D000_0000 + device)
}

fn key(device: u64, which: u64) -> AesKey {
    let half = |half| mix64(device << 3 | which << 1 | half).to_le_bytes();
    AesKey([half(0), half(1)].concat().try_into().expect("two halves"))
}

/// Its root key.
#[must_use]
pub fn app_key(device: u64) -> AesKey {
    key(device, 0)
}

/// The keys of its session.
#[must_use]
pub fn session_keys(device: u64) -> SessionKeys {
    SessionKeys { nwk_s_key: key(device, 1), app_s_key: key(device, 2) }
}

/// Its DevAddr, out of the share of its lane as the dataplane gives it; a few devices share one.
#[must_use]
pub fn dev_addr(device: u64) -> DevAddr {
    addr_in_lane(NetId(0), lane_of_eui(dev_eui(device)), device / 32)
}

/// The first FCntUp that its session accepts.
#[must_use]
pub const fn fcnt_first(device: u64) -> u32 {
    1 + (device % 1000) as u32
}

/// The device as the control plane says it.
#[must_use]
pub fn configured(device: u64) -> v1::Device {
    let app_key = app_key(device).0.to_vec();
    v1::Device {
        dev_eui: dev_eui(device).to_u64(),
        join_eui: 0x70B3_D57E_D000_FF00,
        tenant: 1,
        application: 1,
        profile: 1,
        enabled: true,
        activation: Some(v1::device::Activation::Otaa(v1::Otaa { app_key })),
    }
}

/// What the journal says of it.
fn record(device: u64, now: UnixMicros) -> SessionRecord {
    // As `session` tells root keys apart.
    let nonces = JoinNonces { join_nonce: 0, net_id: NetId(0), dev_nonce: 0 };
    let AesKey([head @ .., _, _, _, _, _, _, _, _]) = nonces.session_keys(&app_key(device)).nwk_s_key;
    let mut dev_nonces = [0; DEV_NONCE_COUNT];
    for (at, nonce) in dev_nonces[..JOINS as usize].iter_mut().enumerate() {
        *nonce = device as u16 ^ at as u16;
    }
    SessionRecord {
        dev_eui: dev_eui(device),
        root: u64::from_le_bytes(head),
        session_count: JOINS,
        join_nonce: JOINS,
        dev_nonce_count: JOINS as u8,
        dev_nonces,
        session: Some(KeptSession {
            dev_addr: dev_addr(device),
            keys: session_keys(device),
            number: JOINS,
            fcnt_up: fcnt_first(device),
            fcnt_down: 1,
            last_mic: mix64(device) as u32,
            rx1_delay_s: 1,
            rx1_dr_offset: 0,
            rx2_data_rate: 0,
            rx2_frequency_hz: 869_525_000,
            sub_bands: 0,
            last_seen: UnixMicros(now.0 - 60_000_000),
            last_gateway: Eui64::new(gateway_eui(device)),
        }),
        pending: None,
    }
}

/// Writes the sessions of the first `count` devices into the journal of a dataplane's data directory that runs no more.
/// Returns the bytes that they take.
///
/// # Panics
/// If the disk takes no more.
#[must_use]
pub fn write_sessions(data_dir: &Path, count: u64) -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMicros(since_epoch.as_micros() as u64);
    let mut writer = Writer::open(&data_dir.join("journal"), 1, count, now);
    for device in 0..count {
        writer.append(Kind::Device, lane_of_eui(dev_eui(device)), &record(device, now).to_wire());
    }
    writer.write_all();
    writer.fold_for_good();
    let (checkpoint, segments) = writer.finish();
    checkpoint + segments
}

/// The EUI of the gateway that hears a number.
#[must_use]
pub const fn gateway_eui(number: u64) -> u64 {
    0xB827_EBFF_FE00_0000 + number % GATEWAY_COUNT
}

/// Gateways.
pub const GATEWAY_COUNT: u64 = 1000;

/// The payload of a device's uplink: the device, its FCnt, and bytes that follow from both.
#[must_use]
pub fn payload(device: u64, fcnt: u32) -> [u8; PAYLOAD_BYTES] {
    let mut out = [0; PAYLOAD_BYTES];
    out[..4].copy_from_slice(&(device as u32).to_be_bytes());
    out[4..8].copy_from_slice(&fcnt.to_be_bytes());
    for (chunk, half) in out[8..].chunks_mut(8).zip(0..) {
        chunk.copy_from_slice(&mix64(device << 32 | u64::from(fcnt) << 1 | half).to_be_bytes()[..chunk.len()]);
    }
    out
}

/// The device's uplink with this FCnt, enciphered and signed.
#[must_use]
pub fn frame(device: u64, fcnt: u32) -> [u8; PHY_BYTES] {
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: false,
        dev_addr: dev_addr(device),
        fctrl: FCtrl(0),
        fcnt,
        fopts: &[],
        fport: Some(FPORT),
        payload: &payload(device, fcnt),
    };
    let mut phy = [0; PHY_BYTES];
    assert_eq!(frame.write(&session_keys(device), &mut phy), Ok(PHY_BYTES), "a whole frame");
    phy
}

#[cfg(test)]
mod tests {
    use super::*;
    use session::lane_of_addr;

    #[test]
    fn an_address_leads_to_the_lane_of_its_device() {
        for device in (0..10_000_000).step_by(9973) {
            assert_eq!(lane_of_addr(dev_addr(device)), lane_of_eui(dev_eui(device)));
        }
    }

    #[test]
    fn a_payload_tells_its_device_and_fcnt() {
        let payload = payload(9_999_999, 77);
        assert_eq!(payload[..8], [0x00, 0x98, 0x96, 0x7F, 0, 0, 0, 77]);
        assert_ne!(payload[8..], self::payload(9_999_999, 78)[8..]);
    }
}
