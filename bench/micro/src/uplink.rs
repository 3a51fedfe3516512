//! An uplink as it comes in: datagram, base64, PHYPayload, MIC, cipher.

use crate::{Kernel, Work, plain};
use base::Eui64;
use lorawan::{AesKey, Data, DataFrame, DevAddr, Direction, FCtrl, Phy, SessionKeys, crypt_payload};
use std::hint::black_box;
use wire::semtech_udp::Datagram;

pub(crate) const DATAGRAM: Kernel = Kernel {
    name: "datagram",
    what: "PUSH_DATA with one rxpk, its JSON checked and read",
    large: false,
    prepare: datagram,
};
pub(crate) const BASE64: Kernel =
    Kernel { name: "base64", what: "33 bytes of PHYPayload decoded", large: false, prepare: base64 };
pub(crate) const PHY: Kernel =
    Kernel { name: "phy", what: "a PHYPayload's structure checked, its fields read", large: false, prepare: phy_parse };
pub(crate) const MIC: Kernel =
    Kernel { name: "mic", what: "a PHYPayload of 33 bytes and its MIC checked", large: false, prepare: mic };
pub(crate) const DECRYPT: Kernel =
    Kernel { name: "decrypt", what: "20 bytes of FRMPayload deciphered", large: false, prepare: decrypt };

pub(crate) const DEV_ADDR: DevAddr = DevAddr(0x2601_1BDA);
pub(crate) const PAYLOAD: &[u8; 20] = b"twenty bytes of data";
const FCNT: u32 = 7;

pub(crate) fn keys() -> SessionKeys {
    SessionKeys { nwk_s_key: AesKey([0x22; 16]), app_s_key: AesKey([0x33; 16]) }
}

/// The PHYPayload of an uplink.
pub(crate) fn phy(dev_addr: DevAddr, fcnt: u32) -> Vec<u8> {
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: false,
        dev_addr,
        fctrl: FCtrl(0),
        fcnt,
        fopts: &[],
        fport: Some(2),
        payload: PAYLOAD,
    };
    let mut out = vec![0; 255];
    let count = frame.write(&keys(), &mut out).expect("a frame that fits");
    out.truncate(count);
    out
}

fn digits(phy: &[u8]) -> Vec<u8> {
    let mut digits = vec![0; 400];
    let count = wire::base64::encode(phy, &mut digits).expect("room");
    digits.truncate(count);
    digits
}

/// PUSH_DATA with one frame.
pub(crate) fn push_data(gateway: Eui64, phy: &[u8]) -> Vec<u8> {
    let digits = digits(phy);
    let data = std::str::from_utf8(&digits).expect("base64");
    let body = format!(
        r#"{{"rxpk":[{{"tmst":3512348611,"chan":2,"rfch":0,"freq":868.1,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","rssi":-57,"lsnr":9.5,"size":{},"data":"{data}"}}]}}"#,
        phy.len()
    );
    [&[2, 0xAB, 0xCD, 0x00], &gateway.0[..], body.as_bytes()].concat()
}

fn datagram() -> Box<dyn Work> {
    struct State {
        datagram: Vec<u8>,
        tmst: u32,
        freq_hz: u32,
        deci: [i16; 2],
        digit_count: usize,
    }
    let datagram = push_data(Eui64::new(0xB827_EBFF_FE00_0001), &phy(DEV_ADDR, FCNT));
    let state = State { datagram, tmst: 0, freq_hz: 0, deci: [0; 2], digit_count: 0 };
    let operation = |state: &mut State| {
        let Ok(Datagram::PushData(push)) = Datagram::parse(&state.datagram) else { return };
        let Ok(body) = push.body() else { return };
        for rxpk in body.rxpk().flatten() {
            state.tmst = rxpk.tmst;
            state.freq_hz = rxpk.freq_hz;
            state.deci = [rxpk.rssi_deci, rxpk.snr_deci];
            state.digit_count = rxpk.data.chars().count();
        }
    };
    let answer = |state: &State| {
        let [rssi, snr] = state.deci.map(i16::to_le_bytes);
        let (tmst, freq) = (state.tmst.to_le_bytes(), state.freq_hz.to_le_bytes());
        [&tmst[..], &freq, &rssi, &snr, &[state.digit_count as u8]].concat()
    };
    let (tmst, freq) = (3_512_348_611u32.to_le_bytes(), 868_100_000u32.to_le_bytes());
    let expected = [&tmst[..], &freq, &(-570i16).to_le_bytes(), &95i16.to_le_bytes(), &[44]].concat();
    plain(state, operation, answer, expected)
}

fn base64() -> Box<dyn Work> {
    let phy = phy(DEV_ADDR, FCNT);
    let state = (digits(&phy), [0u8; 255], 0);
    plain(
        state,
        |(digits, out, count)| *count = wire::base64::decode(digits, out).unwrap_or(0),
        |(_, out, count)| out[..*count].to_vec(),
        phy,
    )
}

/// A data frame of these bytes, which are one.
fn data(bytes: &[u8]) -> Data<'_> {
    match Phy::parse(bytes) {
        Ok(Phy::Data(data)) => data,
        other => panic!("a data frame: {other:?}"),
    }
}

fn phy_parse() -> Box<dyn Work> {
    let state = (phy(DEV_ADDR, FCNT), 0u32, 0u16, 0u8, 0usize);
    let operation = |(bytes, dev_addr, fcnt, fport, count): &mut (Vec<u8>, u32, u16, u8, usize)| {
        let Ok(Phy::Data(data)) = Phy::parse(bytes) else { return };
        (*dev_addr, *fcnt) = (data.dev_addr().0, data.fcnt16());
        (*fport, *count) = (data.fport().unwrap_or(0), data.frm_payload().len());
    };
    let answer = |(_, dev_addr, fcnt, fport, count): &(Vec<u8>, u32, u16, u8, usize)| {
        [&dev_addr.to_le_bytes()[..], &fcnt.to_le_bytes(), &[*fport, *count as u8]].concat()
    };
    let expected = [&DEV_ADDR.0.to_le_bytes()[..], &(FCNT as u16).to_le_bytes(), &[2, PAYLOAD.len() as u8]].concat();
    plain(state, operation, answer, expected)
}

fn mic() -> Box<dyn Work> {
    let state = (phy(DEV_ADDR, FCNT), keys(), 0u8);
    plain(
        state,
        |(bytes, keys, valid)| *valid = u8::from(data(bytes).mic_is_valid(&keys.nwk_s_key, black_box(FCNT))),
        |(bytes, keys, valid)| {
            // The same frame under another counter has another MIC.
            vec![*valid, u8::from(data(bytes).mic_is_valid(&keys.nwk_s_key, FCNT + 1))]
        },
        vec![1, 0],
    )
}

fn decrypt() -> Box<dyn Work> {
    let bytes = phy(DEV_ADDR, FCNT);
    let cipher: [u8; 20] = data(&bytes).frm_payload().try_into().expect("20 bytes");
    plain(
        (cipher, [0u8; 20], keys()),
        |(cipher, plain, keys)| {
            *plain = *cipher;
            crypt_payload(&keys.app_s_key, DEV_ADDR, black_box(FCNT), Direction::Up, plain);
        },
        |(_, plain, _)| plain.to_vec(),
        PAYLOAD.to_vec(),
    )
}
