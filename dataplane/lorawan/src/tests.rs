//! Vectors replayed (tests/vectors, each with its origin), and laws tried on random bytes.

use crate::mac::{DownlinkCommand, LinkAdrReq, UplinkCommand};
use crate::profile::OutOfRange;
use crate::region::ChannelMask;
use crate::{
    AesKey, CfList, Data, DataFrame, DevAddr, Direction, DlSettings, FCnt, FCtrl, JoinAccept, JoinRequestFrame,
    MacVersion, Malformed, NetId, Phy, Profile, Region, SessionKeys, Unwritable, fcnt_extend, fuzzing,
};
use base::mix::SplitMix64;
use base::{DataRate, Eui64};
use serde_json::Value;

const LORA_PACKET: &str = include_str!("../../../tests/vectors/field/lorawan_lora_packet.json");
const BROCAAR: &str = include_str!("../../../tests/vectors/field/lorawan_brocaar.json");
const CMAC: &str = include_str!("../../../tests/vectors/spec/aes_cmac_rfc4493.json");
const REGIONS: &str = include_str!("../../../tests/vectors/spec/lorawan_regions.json");

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("a vector file is JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits: Vec<u8> = value.as_str().expect("hex").bytes().filter(|digit| *digit != b' ').collect();
    let mut out = vec![0; digits.len() / 2];
    base::hex::decode(&digits, &mut out).expect("hex digits");
    out
}

fn number(value: &Value) -> u32 {
    match value {
        Value::String(digits) => u32::from_str_radix(digits, 16).expect("hex digits"),
        other => u32::try_from(other.as_u64().expect("a number")).expect("32 bits"),
    }
}

fn key(value: &Value) -> AesKey {
    AesKey::from_hex(value.as_str().expect("hex").as_bytes()).expect("32 digits")
}

fn eui(value: &Value) -> Eui64 {
    value.as_str().expect("hex").parse().expect("16 digits")
}

fn parsed_data(phy: &[u8]) -> Data<'_> {
    match Phy::parse(phy) {
        Ok(Phy::Data(data)) => data,
        other => panic!("not a data frame: {other:?}"),
    }
}

fn check_data(case: &Value) {
    let name = &case["name"];
    let mut phy = bytes(&case["phy"]);
    let keys = SessionKeys { nwk_s_key: key(&case["nwk_s_key"]), app_s_key: key(&case["app_s_key"]) };
    let fcnt = number(&case["fcnt"]);
    let (payload, fopts) = (bytes(&case["payload"]), bytes(&case["fopts"]));
    let fport = case["fport"].as_u64().map(|port| port as u8);
    let direction = if case["direction"] == "up" { Direction::Up } else { Direction::Down };

    let data = parsed_data(&phy);
    assert_eq!(data.direction(), direction, "{name}");
    assert_eq!(data.confirmed(), case["confirmed"], "{name}");
    assert_eq!(data.dev_addr(), DevAddr(number(&case["dev_addr"])), "{name}");
    assert_eq!(data.fcnt16(), fcnt as u16, "{name}");
    let fctrl = data.fctrl();
    assert_eq!(fctrl.adr(), case["adr"], "{name}");
    assert_eq!(fctrl.adr_ack_req(), case["adr_ack_req"], "{name}");
    assert_eq!(fctrl.ack(), case["ack"], "{name}");
    assert_eq!((fctrl.class_b(), fctrl.fpending()), (case["bit4"] == true, case["bit4"] == true), "{name}");
    assert_eq!((data.fopts(), data.fport()), (&fopts[..], fport), "{name}");
    assert!(data.mic_is_valid(&keys.nwk_s_key, fcnt), "{name}");
    assert!(!data.mic_is_valid(&keys.nwk_s_key, fcnt ^ 0x1_0000), "{name}: the high half is signed");
    assert!(data.verify(&AesKey([9; 16]), fcnt).is_none(), "{name}");

    let verified = data.verify(&keys.nwk_s_key, fcnt).expect("its MIC is valid");
    let mut clear = [0; 255];
    assert_eq!(verified.decrypt_into(&keys, &mut clear).expect("room"), payload, "{name}");
    assert_eq!(verified.fcnt(), fcnt);
    if !payload.is_empty() {
        assert!(verified.decrypt_into(&keys, &mut clear[..payload.len() - 1]).is_err(), "{name}");
    }

    let frame = DataFrame {
        direction,
        confirmed: case["confirmed"] == true,
        dev_addr: data.dev_addr(),
        fctrl,
        fcnt,
        fopts: &fopts,
        fport,
        payload: &payload,
    };
    let mut written = [0; 255];
    assert_eq!(frame.write(&keys, &mut written), Ok(phy.len()), "{name}");
    assert_eq!(written[..phy.len()], phy, "{name}");
    assert_eq!(frame.write(&keys, &mut written[..phy.len() - 1]), Err(Unwritable::NoRoom), "{name}");

    let opening = verified.opening(&keys);
    assert_eq!(opening.open(&mut phy), payload, "{name}: in place");
}

fn check_join_request(case: &Value) {
    let (name, phy, app_key) = (&case["name"], bytes(&case["phy"]), key(&case["app_key"]));
    let Ok(Phy::JoinRequest(request)) = Phy::parse(&phy) else { panic!("{name}: not a join-request") };
    let frame = JoinRequestFrame {
        join_eui: eui(&case["join_eui"]),
        dev_eui: eui(&case["dev_eui"]),
        dev_nonce: number(&case["dev_nonce"]) as u16,
    };
    assert_eq!(request.join_eui(), frame.join_eui, "{name}");
    assert_eq!(request.dev_eui(), frame.dev_eui, "{name}");
    assert_eq!(request.dev_nonce(), frame.dev_nonce, "{name}");
    assert!(request.mic_is_valid(&app_key), "{name}");
    assert!(!request.mic_is_valid(&AesKey([0; 16])), "{name}");
    assert_eq!(frame.to_wire(&app_key)[..], phy, "{name}");
}

fn check_join_accept(case: &Value) {
    let (name, phy, app_key) = (&case["name"], bytes(&case["phy"]), key(&case["app_key"]));
    let accept = JoinAccept {
        join_nonce: number(&case["join_nonce"]),
        net_id: NetId(number(&case["net_id"])),
        dev_addr: DevAddr(number(&case["dev_addr"])),
        dl_settings: DlSettings::from_wire(number(&case["dl_settings"]) as u8),
        rx_delay_s: number(&case["rx_delay"]) as u8,
        cf_list: case.get("cf_list").map(|list| CfList(bytes(list).try_into().expect("sixteen bytes"))),
    };
    let mut written = [0; 33];
    assert_eq!(accept.write(&app_key, &mut written), Ok(phy.len()), "{name}");
    assert_eq!(written[..phy.len()], phy, "{name}");
    assert!(accept.write(&app_key, &mut written[..phy.len() - 1]).is_err(), "{name}");
    let Ok(Phy::JoinAccept(sealed)) = Phy::parse(&phy) else { panic!("{name}: not a join-accept") };
    assert_eq!(sealed.open(&app_key), Some(accept), "{name}");
    assert_eq!(sealed.open(&AesKey([1; 16])), None, "{name}");
    if let Some(nonce) = case.get("dev_nonce") {
        let keys = accept.session_keys(&app_key, number(nonce) as u16);
        assert_eq!(keys.nwk_s_key, key(&case["nwk_s_key"]), "{name}");
        assert_eq!(keys.app_s_key, key(&case["app_s_key"]), "{name}");
    }
}

#[test]
fn frames_of_lora_packet() {
    let file = json(LORA_PACKET);
    let cases = file["cases"].as_array().expect("cases");
    for case in cases {
        match case["kind"].as_str() {
            Some("data") => check_data(case),
            Some("join_request") => check_join_request(case),
            Some("join_accept") => check_join_accept(case),
            other => panic!("unknown kind {other:?}"),
        }
        fuzzing::phy(&bytes(&case["phy"]));
    }
    assert_eq!(cases.len(), 35);
}

#[test]
fn frames_and_commands_of_brocaar() {
    let file = json(BROCAAR);
    let each = |name: &str, check: fn(&Value)| file[name].as_array().expect("cases").iter().for_each(check);
    each("data", check_data);
    each("join_request", check_join_request);
    each("join_accept", check_join_accept);
    each("uplink_commands", |case| {
        let wire = bytes(&case["hex"]);
        let (command, count) = UplinkCommand::read(&wire).expect("a command");
        assert_eq!(format!("{command:?}"), case["command"].as_str().expect("text"));
        let mut out = [0; 6];
        assert_eq!((command.write(&mut out), &out[..count]), (Ok(wire.len()), &wire[..]));
        assert!(command.write(&mut out[..count - 1]).is_err());
    });
    each("downlink_commands", |case| {
        let wire = bytes(&case["hex"]);
        let (command, count) = DownlinkCommand::read(&wire).expect("a command");
        assert_eq!(format!("{command:?}"), case["command"].as_str().expect("text"));
        let mut out = [0; 6];
        assert_eq!((command.write(&mut out), &out[..count]), (Ok(wire.len()), &wire[..]));
        assert!(command.write(&mut out[..count - 1]).is_err());
    });
    each("addresses", |case| {
        let (address, net_id) = (DevAddr(number(&case["dev_addr"])), NetId(number(&case["net_id"])));
        assert_eq!(address.to_string(), case["dev_addr"].as_str().expect("text"));
        assert_eq!(net_id.to_string(), case["net_id"].as_str().expect("text"));
        assert_eq!(address.net_id_type(), Some(net_id.kind()));
        assert_eq!(net_id.kind() as u64, case["kind"]);
        assert_eq!(DevAddr::compose(net_id, u32::MAX), address);
        assert_eq!(address.nwk_addr().count_ones(), address.nwk_addr_bits());
        assert!(net_id.contains(address) && !net_id.contains(DevAddr(u32::MAX)));
    });
}

#[test]
fn cmac_of_rfc_4493() {
    let file = json(CMAC);
    for case in file["cases"].as_array().expect("cases") {
        let message = bytes(&case["message"]);
        let (left, right) = message.split_at(message.len() / 2);
        assert_eq!(key(&file["key"]).cmac([left, right])[..], bytes(&case["mac"]));
    }
}

#[test]
fn regions_of_rp002() {
    for expected in json(REGIONS)["regions"].as_array().expect("regions") {
        let region = Region::of_name(expected["name"].as_str().expect("text")).expect("a region of ours");
        let plan = region.plan();
        for index in 0..16u8 {
            let rate = plan.rate(index, Direction::Up).or(plan.rate(index, Direction::Down));
            let at = usize::from(index);
            assert_eq!(rate.map(|rate| rate.data_rate.to_string()).as_deref(), expected["rates"][at].as_str());
            assert_eq!(rate.map(|rate| u64::from(rate.mac_payload_bytes_max)), expected["m"][at].as_u64());
            for direction in [Direction::Up, Direction::Down] {
                if let Some(bytes) = plan.payload_bytes_max(index, direction, 0) {
                    assert_eq!(Some(bytes as u64), expected["n"][at].as_u64(), "{region} {index}");
                    assert_eq!(plan.payload_bytes_max(index, direction, 5), Some(bytes.saturating_sub(5)));
                }
            }
            for offset in 0..8u8 {
                let ours = plan.rx1_data_rate(index, offset).map(u64::from);
                let theirs = &expected["rx1"][at];
                assert!(theirs.is_null() || ours == theirs[usize::from(offset)].as_u64(), "{region} {index} {offset}");
                assert!(ours.is_none_or(|rate| plan.rate(rate as u8, Direction::Down).is_some()));
            }
        }
        assert_eq!(plan.rx2_frequency_hz, number(&expected["rx2"]["frequency_hz"]));
        assert_eq!(u32::from(plan.rx2_data_rate), number(&expected["rx2"]["data_rate"]));
        assert_eq!((plan.rx1_delay_s, plan.join_accept_delay_s), (1, 5));
        for uplink in expected["uplinks"].as_array().expect("uplinks") {
            let hz = number(&uplink["frequency_hz"]);
            let rate = DataRate::parse(uplink["rate"].as_str().expect("text").as_bytes()).expect("a rate");
            let channel = plan.uplink_channel(hz, rate);
            assert_eq!(channel.map(u64::from), uplink["channel"].as_u64(), "{uplink}");
            assert_eq!(plan.rx1_frequency_hz(hz, rate).map(u64::from), uplink["rx1_hz"].as_u64(), "{uplink}");
            assert!(channel.is_none_or(|channel| plan.uplink_frequency_hz(channel) == Some(hz)));
        }
    }
}

#[test]
fn malformed_frames_name_their_reason() {
    let check = |phy: &[u8], expected: Malformed| match Phy::parse(phy) {
        Err(reason) => assert_eq!(reason, expected, "{phy:02x?}"),
        Ok(parsed) => panic!("{phy:02x?} was read as {parsed:?}"),
    };
    check(&[], Malformed::Empty);
    check(&[0x40; 256], Malformed::TooLong);
    check(&[0x41; 12], Malformed::Major);
    check(&[0x00; 22], Malformed::JoinRequestLength);
    check(&[0x00; 24], Malformed::JoinRequestLength);
    check(&[0x20; 16], Malformed::JoinAcceptLength);
    check(&[0x20; 34], Malformed::JoinAcceptLength);
    check(&[0xC0; 19], Malformed::RejoinRequest);
    check(&[0x40; 11], Malformed::DataTooShort);
    let mut overrun = [0x40; 26];
    overrun[5] = 0x0F;
    check(&overrun, Malformed::FOptsOverrun);
    // FOpts may fill the frame up to the MIC, with no port.
    let mut full = [0x40; 27];
    full[5] = 0x0F;
    assert!(Phy::parse(&full).is_ok());
    let mut twice = [0x40; 15];
    (twice[5], twice[9]) = (1, 0);
    check(&twice, Malformed::MacTwice);
    assert!(matches!(Phy::parse(&[0xE0, 1, 2]), Ok(Phy::Proprietary([1, 2]))));
}

#[test]
fn unwritable_frames_name_their_reason() {
    let frame = DataFrame {
        direction: Direction::Down,
        confirmed: false,
        dev_addr: DevAddr(1),
        fctrl: FCtrl::default().with_ack(true).with_fpending(true).with_adr(true).with_adr_ack_req(true),
        fcnt: 0,
        fopts: &[],
        fport: Some(1),
        payload: &[7; 242],
    };
    let check = |frame: DataFrame<'_>, expected| {
        assert_eq!(frame.write(&SessionKeys::default(), &mut [0; 300]), expected);
    };
    check(frame, Ok(255));
    check(DataFrame { payload: &[7; 243], ..frame }, Err(Unwritable::TooLong));
    check(DataFrame { fopts: &[2; 16], payload: &[], ..frame }, Err(Unwritable::FOptsTooLong));
    check(DataFrame { fport: None, payload: &[7], ..frame }, Err(Unwritable::PayloadWithoutPort));
    check(DataFrame { fport: Some(0), fopts: &[2], payload: &[2], ..frame }, Err(Unwritable::MacTwice));
    check(DataFrame { fport: None, payload: &[], ..frame }, Ok(12));
    assert_eq!(frame.fctrl.0, 0xF0);
}

#[test]
fn counters_roll_over() {
    let check = |last, low, gap_max, expected| assert_eq!(fcnt_extend(last, low, gap_max), expected, "{last:?} {low}");
    check(None, 0, 16_384, FCnt::New(0));
    check(None, 16_384, 16_384, FCnt::New(16_384));
    check(None, 16_385, 16_384, FCnt::Refused);
    check(Some(0), 0, 16_384, FCnt::Repeat(0));
    check(Some(10), 11, 16_384, FCnt::New(11));
    check(Some(10), 9, 16_384, FCnt::Refused);
    check(Some(10), 10 + 16_384, 16_384, FCnt::New(10 + 16_384));
    check(Some(10), 11 + 16_384, 16_384, FCnt::Refused);
    check(Some(0xFFFF), 0, 16_384, FCnt::New(0x1_0000));
    check(Some(0x1_FFFE), 3, 16_384, FCnt::New(0x2_0003));
    check(Some(0x1_0000), 0xFFFF, 16_384, FCnt::Refused);
    check(Some(0x1_0000), 0, 16_384, FCnt::Repeat(0x1_0000));
    check(Some(u32::MAX), 0, 16_384, FCnt::Refused);
    check(Some(u32::MAX - 1), 0xFFFF, 16_384, FCnt::New(u32::MAX));
    check(Some(5), 4, u32::MAX, FCnt::New(0x1_0004));
}

#[test]
fn sub_bands_become_masks() {
    let plan = Region::Us915.plan();
    let base = LinkAdrReq { data_rate: 3, tx_power: 0, ch_mask: 0, ch_mask_cntl: 0, nb_trans: 1 };
    let requests = |sub_bands| -> Vec<(u8, u16)> {
        plan.sub_band_requests(sub_bands, base).map(|request| (request.ch_mask_cntl, request.ch_mask)).collect()
    };
    assert_eq!(requests(0b10), [(7, 0x02), (0, 0xFF00)]);
    assert_eq!(requests(0b1000_0001), [(7, 0x81), (0, 0x00FF), (3, 0xFF00)]);
    assert_eq!(requests(0), [(6, 0xFF)]);
    assert_eq!(Region::Eu868.plan().sub_band_requests(0, base).count(), 0);
    for sub_bands in 1..=255u8 {
        let mask = ChannelMask::of_sub_bands(sub_bands);
        let start = ChannelMask([0x1234, 0x5678, 0, 0xFFFF, 0x55]);
        let after = requests(sub_bands).iter().try_fold(start, |mask, (cntl, bits)| mask.after(*cntl, *bits));
        assert_eq!(after, Some(mask), "a device that obeys ends with exactly these channels");
        for channel in 0..80 {
            let sub_band = if channel < 64 { channel / 8 } else { channel - 64 };
            assert_eq!(mask.has(channel), channel < 72 && sub_bands >> sub_band & 1 == 1, "{sub_bands} {channel}");
        }
        if let Some(list) = plan.cf_list(sub_bands, &[]) {
            assert_eq!((list.kind(), &list.masks()[..5]), (1, &mask.0[..]));
        }
    }
    assert_eq!(plan.cf_list(0, &[]), None);
    // The vector of lora-packet for sub-band 2 and for the five usual frequencies.
    assert_eq!(plan.cf_list(2, &[]).map(|list| list.0[..2] == [0x00, 0xFF]), Some(true));
    let usual = [867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000];
    let list = Region::Eu868.plan().cf_list(0, &usual).expect("a list");
    assert_eq!((list.kind(), list.frequencies_hz()), (0, usual));
    assert_eq!(list.0[..], bytes(&Value::from("184f84e85684b85e84886684586e8400")));
}

#[test]
fn profiles_resolve_and_refuse() {
    let us = Profile { sub_bands: 2, rx1_dr_offset: 3, rx1_delay_s: 5, ..Profile::from(Region::Us915) };
    let rate = DataRate::Lora { sf: 10, bw_khz: 125 };
    let rx1 = us.rx1(903_900_000, rate).expect("channel 8");
    assert_eq!((rx1.delay_s, rx1.frequency_hz, rx1.data_rate), (5, 923_300_000, 8));
    assert_eq!((us.rx2().delay_s, us.rx2().frequency_hz, us.rx2().data_rate), (6, 923_300_000, 8));
    let (rx1, rx2) = us.join_windows(903_900_000, rate);
    assert_eq!(rx1.map(|window| (window.delay_s, window.data_rate)), Some((5, 10)));
    assert_eq!(rx2.delay_s, 6);
    assert!(us.cf_list().is_some());
    assert!(Profile { mac_version: MacVersion::V1_0_2, ..us }.cf_list().is_none());
    assert_eq!(us.checked(), Ok(us));
    assert_eq!((us.confirmed_attempts_max(), us.fcnt_gap_max(), us.queue_count_max()), (8, 16_384, 16));
    assert_eq!(MacVersion::V1_0_4.to_string(), "1.0.4");

    let check = |profile: Profile, expected| assert_eq!(profile.checked(), Err(expected), "{expected}");
    let eu = Profile::default();
    check(Profile { rx1_delay_s: 16, ..eu }, OutOfRange::Rx1Delay);
    check(Profile { rx1_dr_offset: 6, ..eu }, OutOfRange::Rx1DrOffset);
    check(Profile { rx1_dr_offset: 4, ..us }, OutOfRange::Rx1DrOffset);
    check(Profile { rx2_data_rate: Some(3), ..us }, OutOfRange::Rx2DataRate);
    check(Profile { rx2_frequency_hz: Some(915_000_000), ..eu }, OutOfRange::Rx2Frequency);
    check(Profile { rx2_frequency_hz: Some(869_525_001), ..eu }, OutOfRange::Rx2Frequency);
    check(Profile { sub_bands: 1, ..eu }, OutOfRange::SubBands);
    check(Profile { fcnt_gap_max: 65_536, ..eu }, OutOfRange::FCntGapMax);
    assert_eq!(eu.plan().downlink_eirp_max_dbm(869_525_000), 29);
    assert_eq!(eu.plan().downlink_eirp_max_dbm(868_100_000), 16);
}

#[test]
fn keys_hide_their_digits() {
    let key = AesKey::from_hex(b"00112233445566778899AABBCCDDEEFF").expect("32 digits");
    assert_eq!(format!("{key:?}"), "AesKey(..)");
    assert_eq!(AesKey::from_hex(b"00112233445566778899AABBCCDDEE"), None);
    assert_eq!(AesKey::from_hex(b"zz112233445566778899AABBCCDDEEFF"), None);
}

#[test]
fn laws_hold_for_random_bytes() {
    let mut random = SplitMix64::new(11);
    let frames = json(LORA_PACKET);
    let frames: Vec<Vec<u8>> =
        frames["cases"].as_array().expect("cases").iter().map(|case| bytes(&case["phy"])).collect();
    for _ in 0..60_000 {
        let mut input = if random.below(2) == 0 {
            frames[random.below(frames.len() as u64) as usize].clone()
        } else {
            (0..random.below(300)).map(|_| random.next() as u8).collect()
        };
        for _ in 0..random.below(4) {
            let at = random.below(input.len() as u64) as usize;
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        input.truncate(random.below(400) as usize);
        fuzzing::phy(&input);
        fuzzing::fcnt(&input);
        fuzzing::join_accept(&input);
        // Real CIDs, so that the iterators get somewhere.
        input.iter_mut().step_by(3).for_each(|byte| *byte &= 0x1F);
        fuzzing::uplink_commands(&input);
        fuzzing::downlink_commands(&input);
    }
}
