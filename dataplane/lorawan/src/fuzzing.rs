//! Laws that hold for all bytes, as functions a fuzz target calls in one line. Each panics if its law is broken.

use crate::mac::{COMMAND_BYTES_MAX, DownlinkCommand, Downlinks, UplinkCommand, Uplinks};
use crate::{
    AesKey, CfList, Data, DataFrame, DevAddr, Direction, DlSettings, FCnt, JOIN_ACCEPT_BYTES, JoinAccept, NetId,
    PHY_BYTES_MAX, Phy, SessionKeys, fcnt_extend,
};

const KEYS: SessionKeys = SessionKeys { nwk_s_key: AesKey([0x5A; 16]), app_s_key: AesKey([0xA5; 16]) };

/// Parsing never panics; a data frame that is written again from its fields has the same bytes, its MIC aside and the
/// MHDR's reserved bits zero.
pub fn phy(bytes: &[u8]) {
    match Phy::parse(bytes) {
        Ok(Phy::Data(frame)) => data(frame),
        Ok(Phy::JoinRequest(request)) => {
            let _ = request.mic_is_valid(&KEYS.nwk_s_key);
            let frame = crate::JoinRequestFrame {
                join_eui: request.join_eui(),
                dev_eui: request.dev_eui(),
                dev_nonce: request.dev_nonce(),
            };
            assert_eq!(frame.to_wire(&KEYS.nwk_s_key)[1..19], bytes[1..19], "a join-request survives");
        }
        Ok(Phy::JoinAccept(accept)) => {
            if let Some(clear) = accept.open(&KEYS.nwk_s_key) {
                let _ = clear.cf_list.map(|list| (list.frequencies_hz(), list.masks()));
            }
        }
        Ok(Phy::Proprietary(body)) => assert_eq!(body.len() + 1, bytes.len(), "a proprietary frame is kept whole"),
        Err(_) => {}
    }
}

fn data(frame: Data<'_>) {
    let bytes = frame.bytes();
    let fcnt = u32::from(frame.fcnt16());
    let mut payload = [0; PHY_BYTES_MAX];
    let payload = &mut payload[..frame.frm_payload().len()];
    payload.copy_from_slice(frame.frm_payload());
    let key = KEYS.of_port(frame.fport().unwrap_or(0));
    crate::crypt_payload(key, frame.dev_addr(), fcnt, frame.direction(), payload);
    let again = DataFrame {
        direction: frame.direction(),
        confirmed: frame.confirmed(),
        dev_addr: frame.dev_addr(),
        fctrl: frame.fctrl(),
        fcnt,
        fopts: frame.fopts(),
        fport: frame.fport(),
        payload,
    };
    let mut out = [0; PHY_BYTES_MAX];
    let count = again.write(&KEYS, &mut out).expect("what was parsed can be written");
    assert_eq!(count, bytes.len());
    assert_eq!(out[0], bytes[0] & 0xE3, "the MHDR, its reserved bits zero");
    assert_eq!(out[1..count - 4], bytes[1..count - 4], "all but the MIC");
    let Ok(Phy::Data(written)) = Phy::parse(&out[..count]) else { panic!("what was written can be parsed") };
    let verified = written.verify(&KEYS.nwk_s_key, fcnt).expect("our own MIC is valid");
    let opening = verified.opening(&KEYS);
    assert_eq!(opening.open(&mut out[..count]), payload, "in place or not, the same clear payload");
    match frame.direction() {
        Direction::Up => uplink_commands(frame.fopts()),
        Direction::Down => downlink_commands(frame.fopts()),
    }
}

/// The iterator consumes no more than given, and what it read, written again, reads the same.
pub fn uplink_commands(bytes: &[u8]) {
    let mut commands = Uplinks::new(bytes);
    let mut consumed = 0;
    while let Some(command) = commands.next() {
        let mut out = [0; COMMAND_BYTES_MAX];
        let count = command.write(&mut out).expect("a command fits its bound");
        assert_eq!(UplinkCommand::read(&out[..count]), Some((command, count)));
        consumed += count;
        assert_eq!(consumed + commands.unread().len(), bytes.len(), "read and unread are all there is");
    }
}

/// The iterator consumes no more than given, and what it read, written again, reads the same.
pub fn downlink_commands(bytes: &[u8]) {
    let mut commands = Downlinks::new(bytes);
    let mut consumed = 0;
    while let Some(command) = commands.next() {
        let mut out = [0; COMMAND_BYTES_MAX];
        let count = command.write(&mut out).expect("a command fits its bound");
        assert_eq!(DownlinkCommand::read(&out[..count]), Some((command, count)));
        consumed += count;
        assert_eq!(consumed + commands.unread().len(), bytes.len(), "read and unread are all there is");
    }
}

/// A completed counter has the given low bits, lies ahead and within the gap. Takes `last 4 | low 2 | gap 4` bytes.
pub fn fcnt(bytes: &[u8]) {
    let Some((bytes, _)) = bytes.split_first_chunk::<10>() else { return };
    let last = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let low = u16::from_le_bytes([bytes[4], bytes[5]]);
    let gap_max = u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]);
    match fcnt_extend(Some(last), low, gap_max) {
        FCnt::New(next) => assert!(next > last && next - last <= gap_max && next as u16 == low),
        FCnt::Repeat(same) => assert!(same == last && same as u16 == low),
        FCnt::Refused => assert!(low != last as u16),
    }
}

/// A join-accept that is written can be opened with its key, and with no other. Takes 12 or more bytes of fields; a
/// CFList if there are 28.
pub fn join_accept(bytes: &[u8]) {
    let Some((fields, rest)) = bytes.split_first_chunk::<12>() else { return };
    let accept = JoinAccept {
        join_nonce: NetId::from_wire([fields[0], fields[1], fields[2]]).0,
        net_id: NetId::from_wire([fields[3], fields[4], fields[5]]),
        dev_addr: DevAddr::from_wire([fields[6], fields[7], fields[8], fields[9]]),
        dl_settings: DlSettings::from_wire(fields[10]),
        rx_delay_s: fields[11] & 15,
        cf_list: rest.first_chunk().map(|list| CfList(*list)),
    };
    let mut out = [0; JOIN_ACCEPT_BYTES[1]];
    let count = accept.write(&KEYS.nwk_s_key, &mut out).expect("room");
    let Ok(Phy::JoinAccept(sealed)) = Phy::parse(&out[..count]) else { panic!("what was written can be parsed") };
    assert_eq!(sealed.open(&KEYS.nwk_s_key), Some(accept), "read as written");
    assert_eq!(sealed.open(&KEYS.app_s_key), None, "another key opens nothing");
}
