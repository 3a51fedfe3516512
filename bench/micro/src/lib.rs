//! The kernels that run per message, each with an answer that is checked before it is timed.
//!
//! Owns the inputs: one uplink of 20 bytes as a gateway reports it, on its way to a WebSocket frame. A kernel returns a
//! hash of its answer, so that no work can be optimised away and two builds can be told apart.

use base::{DataRate, Eui64, UnixMicros};
use emit::Template;
use event::{Event, Kind, Reception, Receptions, SCHEMA};
use lorawan::{AesKey, DataFrame, DevAddr, Direction, FCtrl, Phy, SessionKeys};
use std::hint::black_box;
use wire::semtech_udp::Datagram;

/// One thing that is timed.
pub struct Kernel {
    /// What it is called in records.
    pub name: &'static str,
    /// Does it once and returns a hash of the answer.
    pub work: Box<dyn FnMut() -> u64>,
}

const DEV_ADDR: u32 = 0x2601_1BDA;
const PAYLOAD: &[u8; 20] = b"twenty bytes of data";

/// Every kernel, in the order of an uplink's way.
#[must_use]
pub fn kernels() -> Vec<Kernel> {
    vec![semtech_udp(), verify_and_decrypt(), json(), websocket_mask()]
}

fn keys() -> SessionKeys {
    SessionKeys { nwk_s_key: AesKey([0x22; 16]), app_s_key: AesKey([0x33; 16]) }
}

/// The PHYPayload of the uplink.
fn phy() -> Vec<u8> {
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: false,
        dev_addr: DevAddr(DEV_ADDR),
        fctrl: FCtrl(0),
        fcnt: 7,
        fopts: &[],
        fport: Some(2),
        payload: PAYLOAD,
    };
    let mut out = vec![0; 255];
    let count = frame.write(&keys(), &mut out).expect("a frame that fits");
    out.truncate(count);
    out
}

/// PUSH_DATA to PHYPayload: JSON checked, one rxpk read, base64 decoded.
fn semtech_udp() -> Kernel {
    let phy = phy();
    let mut digits = vec![0; 400];
    let count = wire::base64::encode(&phy, &mut digits).expect("room");
    let data = std::str::from_utf8(&digits[..count]).expect("base64").to_owned();
    let body = format!(
        r#"{{"rxpk":[{{"tmst":3512348611,"chan":2,"rfch":0,"freq":868.1,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","rssi":-57,"lsnr":9.5,"size":{},"data":"{data}"}}]}}"#,
        phy.len()
    );
    let head = [2, 0xAB, 0xCD, 0x00, 0xB8, 0x27, 0xEB, 0xFF, 0xFE, 0, 0, 1];
    let datagram = [&head[..], body.as_bytes()].concat();
    let work = move || {
        let Ok(Datagram::PushData(push)) = Datagram::parse(black_box(&datagram)) else { return 0 };
        let Ok(body) = push.body() else { return 0 };
        let mut out = [0; 255];
        let mut hash = 0;
        for rxpk in body.rxpk().flatten() {
            hash ^= rxpk.payload(&mut out).map_or(0, |payload| fnv(payload));
        }
        hash
    };
    Kernel { name: "semtech_udp", work: Box::new(work) }
}

/// PHYPayload to FRMPayload in the clear: parsed, MIC checked, deciphered in place.
fn verify_and_decrypt() -> Kernel {
    let (phy, keys) = (phy(), keys());
    let work = move || {
        let mut bytes = [0; 255];
        let bytes = &mut bytes[..phy.len()];
        bytes.copy_from_slice(black_box(&phy));
        let Ok(Phy::Data(data)) = Phy::parse(bytes) else { return 0 };
        let Some(verified) = data.verify(&keys.nwk_s_key, 7) else { return 0 };
        let opening = verified.opening(&keys);
        fnv(opening.open(bytes))
    };
    Kernel { name: "verify_and_decrypt", work: Box::new(work) }
}

/// Event to the default format's JSON.
fn json() -> Kernel {
    let format = event::formats::find(event::formats::DEFAULT).expect("the default is shipped");
    let (_, text) = format.templates.iter().find(|(kind, _)| *kind == Kind::Uplink).expect("uplinks have a template");
    let template = Template::parse(text, &SCHEMA).expect("shipped templates compile");
    let reception =
        Reception { gateway: Eui64::new(1), rssi_deci: -570, snr_deci: 95, ..Reception::default() }.to_wire();
    let work = move || {
        let event = Event {
            mtype: 2,
            fport: Some(2),
            dev_eui: Eui64::new(0x70B3_D57E_D000_0001),
            dev_addr: DEV_ADDR,
            fcnt: 7,
            frequency_hz: 868_100_000,
            data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
            receptions: Receptions::new(&reception),
            payload: black_box(PAYLOAD),
            ..Event::new(Kind::Uplink, UnixMicros(1_700_000_000_000_000))
        };
        let mut out = [0; 2048];
        template.run(&event, &mut out).map_or(0, |count| fnv(&out[..count]))
    };
    Kernel { name: "json", work: Box::new(work) }
}

/// 1 KiB unmasked, as every byte that a client sends is.
fn websocket_mask() -> Kernel {
    let payload: Vec<u8> = (0..1024u32).map(|at| at as u8).collect();
    let work = move || {
        let mut bytes = [0; 1024];
        bytes.copy_from_slice(black_box(&payload));
        wire::websocket::apply_mask(&mut bytes, [0x37, 0xFA, 0x21, 0x3D], 1);
        fnv(&bytes)
    };
    Kernel { name: "websocket_mask", work: Box::new(work) }
}

/// FNV-1a, enough to tell answers apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_answers_and_answers_the_same() {
        for mut kernel in kernels() {
            let hash = (kernel.work)();
            assert_ne!(hash, 0, "{} has no answer", kernel.name);
            assert!((0..100).all(|_| (kernel.work)() == hash), "{} changes its mind", kernel.name);
        }
    }

    #[test]
    fn the_answers_are_right() {
        let mut kernels = kernels();
        assert_eq!((kernels[0].work)(), fnv(&phy()));
        assert_eq!((kernels[1].work)(), fnv(PAYLOAD));
    }
}
