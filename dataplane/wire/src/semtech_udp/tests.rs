use super::*;
use crate::base64;
use base::{DataRate, UnixMicros};

/// The datagrams of `tests/vectors/field/semtech_udp.txt`, which says where they come from.
pub(super) fn vector(name: &str) -> Vec<u8> {
    let file = include_str!("../../../../tests/vectors/field/semtech_udp.txt");
    let line = file.lines().find(|line| line.split(" | ").next() == Some(name)).expect("a vector of this name");
    let mut parts = line.splitn(3, " | ").skip(1);
    let mut header = [0; BODY_AT];
    base::hex::decode(parts.next().expect("a header").as_bytes(), &mut header).expect("hex");
    let body = parts.next().expect("a body").replace("\\0", "\0");
    [&header, body.as_bytes()].concat()
}

pub(super) fn push(json: &str) -> Vec<u8> {
    [&[2, 0xAB, 0xCD, PUSH_DATA, 1, 2, 3, 4, 5, 6, 7, 8], json.as_bytes()].concat()
}

fn body(datagram: &[u8]) -> Result<Body<'_>, Malformed> {
    match Datagram::parse(datagram)? {
        Datagram::PushData(push) => push.body(),
        other => panic!("no PUSH_DATA: {other:?}"),
    }
}

fn heard(datagram: &[u8]) -> Vec<Result<Rxpk<'_>, Refusal>> {
    body(datagram).expect("a body").rxpk().collect()
}

#[test]
fn reads_the_documents_frames() {
    let datagram = vector("doc_rxpk");
    let Ok(Datagram::PushData(push)) = Datagram::parse(&datagram) else {
        panic!("no PUSH_DATA");
    };
    assert_eq!((push.version, push.token, push.eui), (Version::V1, [0xAA, 0xBB], Eui64::new(0x0102_0304_0506_0708)));
    let entries = heard(&datagram);
    assert_eq!(entries.len(), 3);
    let mut out = [0; PAYLOAD_BYTES_MAX];

    let first = entries[0].expect("an entry");
    assert_eq!((first.tmst, first.freq_hz, first.chan, first.rfch), (3_512_348_611, 866_349_812, 2, 0));
    assert_eq!(first.time, Some(UnixMicros(1_364_746_877_528_002)));
    assert_eq!(first.data_rate, DataRate::Lora { sf: 7, bw_khz: 125 });
    assert_eq!(first.codr, Some(CodingRate { data: 4, total: 6 }));
    assert_eq!((first.rssi_deci, first.snr_deci, first.crc, first.size), (-350, 51, Crc::Ok, 32));
    assert_eq!(first.payload(&mut out), Err(Refusal::Data), "the document mixes alphabets");

    let second = entries[1].expect("an entry");
    assert_eq!((second.data_rate, second.freq_hz), (DataRate::Fsk { bps: 50_000 }, 869_100_000));
    assert_eq!((second.codr, second.rssi_deci, second.snr_deci), (None, -750, 0));
    assert_eq!(second.payload(&mut out).as_deref(), Ok(&b"TEST_PACKET_1234"[..]));

    let third = entries[2].expect("an entry");
    assert_eq!((third.freq_hz, third.snr_deci), (863_009_810, 55));
    assert_eq!(third.payload(&mut out).map(|payload| payload.len()), Ok(32), "padding is optional");
    assert_eq!(third.payload(&mut out[..31]), Err(Refusal::Size));
    assert!(body(&datagram).expect("a body").stat().is_none());
}

#[test]
fn reads_the_documents_status() {
    let datagram = vector("doc_stat");
    let body = body(&datagram).expect("a body");
    assert_eq!(body.rxpk().count(), 0);
    let stat = body.stat().expect("a status");
    assert_eq!(stat.time, Some(UnixMicros(1_389_517_168_000_000)));
    assert_eq!(
        (stat.latitude_micro, stat.longitude_micro, stat.altitude_m),
        (Some(46_240_000), Some(3_252_300), Some(145))
    );
    assert_eq!((stat.received, stat.received_ok, stat.forwarded), (Some(2), Some(2), Some(2)));
    assert_eq!((stat.acknowledged_permille, stat.downlinks, stat.transmitted), (Some(1000), Some(2), Some(2)));
    assert!(stat.json.starts_with("{\"time\"") && stat.json.ends_with('}'));
}

#[test]
fn reads_what_was_seen_in_the_field() {
    let mut out = [0; PAYLOAD_BYTES_MAX];
    for (name, size, freq_hz, crc) in [
        ("forwarder_rxpk", 18, 868_500_000, Crc::Ok),
        ("helium_router", 23, 868_500_000, Crc::Ok),
        ("sx1302_sf5", 254, 868_100_000, Crc::Bad),
        ("kerlink_us915", 23, 903_900_000, Crc::Ok),
    ] {
        let datagram = vector(name);
        let entries = heard(&datagram);
        let [Ok(rxpk)] = entries[..] else {
            panic!("{name}: {entries:?}");
        };
        assert_eq!((rxpk.freq_hz, rxpk.crc, usize::from(rxpk.size)), (freq_hz, crc, size), "{name}");
        assert_eq!(rxpk.payload(&mut out).map(|payload| payload.len()), Ok(size), "{name}");
    }
    let datagram = vector("helium_router");
    let stat = body(&datagram).expect("a body").stat().expect("a status");
    assert_eq!((stat.time, stat.received), (None, None));
    let datagram = vector("forwarder_stat");
    assert_eq!(body(&datagram).expect("a body").stat().expect("a status").acknowledged_permille, Some(0));
    for name in ["kerlink_tx_ack", "sx1302_tx_ack_bare", "sx1302_tx_ack_blank"] {
        let datagram = vector(name);
        let Ok(Datagram::TxAck(ack)) = Datagram::parse(&datagram) else {
            panic!("{name}");
        };
        assert_eq!((ack.outcome, ack.warning), (TxOutcome::Sent, None), "{name}");
    }
}

const GOOD: &str = r#""tmst":1,"freq":868.1,"datr":"SF7BW125","rssi":-50,"size":3,"data":"AQID""#;

/// Checks the one entry that is made of the good members and then these, which come last and so count.
fn check(members: &str, expected: Result<(), Refusal>) {
    let datagram = push(&format!(r#"{{"rxpk":[{{{GOOD},{members}}},{{{GOOD}}}]}}"#));
    let entries = heard(&datagram);
    assert_eq!(entries.len(), 2, "{members}");
    let mut out = [0; PAYLOAD_BYTES_MAX];
    let outcome = entries[0].and_then(|rxpk| rxpk.payload(&mut out).map(|_| ()));
    assert_eq!(outcome, expected, "{members}");
    assert!(entries[1].is_ok(), "the neighbour of {members}");
}

#[test]
fn refuses_an_entry_with_its_reason_and_keeps_its_neighbour() {
    for (members, refusal) in [
        (r#""tmst":null"#, Refusal::Tmst),
        (r#""tmst":-1"#, Refusal::Tmst),
        (r#""tmst":4294967296"#, Refusal::Tmst),
        (r#""tmst":1.5"#, Refusal::Tmst),
        (r#""freq":"868.1""#, Refusal::Frequency),
        (r#""freq":0"#, Refusal::Frequency),
        (r#""freq":4294.967296"#, Refusal::Frequency),
        (r#""freq":1e300"#, Refusal::Frequency),
        (r#""datr":"SF13BW125""#, Refusal::DataRate),
        (r#""datr":"50000""#, Refusal::DataRate),
        (r#""datr":0"#, Refusal::DataRate),
        (r#""datr":[]"#, Refusal::DataRate),
        (r#""datr":"SF7BW1250000000000000000""#, Refusal::DataRate),
        (r#""modu":"CW""#, Refusal::Modulation),
        (r#""modu":"FSK""#, Refusal::Modulation),
        (r#""datr":50000,"modu":"LORA""#, Refusal::Modulation),
        (r#""stat":2"#, Refusal::Crc),
        (r#""stat":"ok""#, Refusal::Crc),
        (r#""rssi":99999"#, Refusal::Rssi),
        (r#""rssi":{}"#, Refusal::Rssi),
        (r#""lsnr":"x""#, Refusal::Snr),
        (r#""chan":256"#, Refusal::Number),
        (r#""rfch":-1"#, Refusal::Number),
        (r#""ant":"a""#, Refusal::Number),
        (r#""size":2"#, Refusal::Size),
        (r#""size":256"#, Refusal::Size),
        (r#""size":-1"#, Refusal::Size),
        (r#""data":null"#, Refusal::Data),
        (r#""data":"A""#, Refusal::Data),
        (r#""data":"AQI=AQID""#, Refusal::Data),
        (r#""data":"\ud800""#, Refusal::Data),
        (r#""rsig":{}"#, Refusal::Antenna),
        (r#""tmst":"a","freq":"b""#, Refusal::Tmst),
    ] {
        check(members, Err(refusal));
    }
    let long = format!(r#""size":255,"data":"{}""#, "A".repeat(344));
    check(&long, Err(Refusal::Size));
    for good in [
        r#""time":"yesterday""#,
        r#""time":5"#,
        r#""codr":5"#,
        r#""tmms":"x""#,
        r#""unknown":{"deep":[{}]}"#,
        r#""tmst":"bad","x":1,"tmst":2e0"#,
        r#""stat":0"#,
        r#""modu":"LORA""#,
        r#""t\u006dst":7"#,
        r#""rssi":-50.5"#,
        r#""rsig":[]"#,
    ] {
        match good {
            // A member that was refused stays refused: which of the two was meant is not known.
            r#""tmst":"bad","x":1,"tmst":2e0"# => check(good, Err(Refusal::Tmst)),
            _ => check(good, Ok(())),
        }
    }
}

#[test]
fn passes_over_what_is_no_entry() {
    let datagram = push(&format!(r#"{{"rxpk":[1,{{{GOOD}}},"x",null,[{{{GOOD}}}],{{}}]}}"#));
    let reasons: Vec<_> = heard(&datagram).into_iter().map(|entry| entry.err()).collect();
    let not = Some(Refusal::NotObject);
    assert_eq!(reasons, [not, None, not, not, not, Some(Refusal::DataRate)]);
}

#[test]
fn reads_members_however_they_are_written() {
    let datagram = push(
        r#" { "other":[{}], "rxpk" : [ { "data":"AP\/+","size":3.0,"rssi":-5.05e1,"\u0064atr":"SF12BW500","freq":9139e-1,
        "tmst":4294967295,"brd":1,"ant":2,"tmms":1000,"ftime":999999999,"lsnr":-7.25,"codr":"4\/8","stat":1} ] , "stat":null } "#,
    );
    let entries = heard(&datagram);
    let [Ok(rxpk)] = entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!((rxpk.freq_hz, rxpk.tmst, rxpk.rssi_deci, rxpk.snr_deci), (913_900_000, u32::MAX, -505, -73));
    assert_eq!(rxpk.data_rate, DataRate::Lora { sf: 12, bw_khz: 500 });
    assert_eq!((rxpk.codr, rxpk.mid, rxpk.ant), (Some(CodingRate { data: 4, total: 8 }), 1, 2));
    assert_eq!((rxpk.tmms, rxpk.ftime), (Some(1000), Some(999_999_999)));
    assert_eq!(rxpk.payload(&mut [0; 255]).as_deref(), Ok(&[0x00, 0xFF, 0xFE][..]), "an escaped slash is a slash");
}

#[test]
fn yields_one_frame_per_antenna() {
    let datagram = push(
        r#"{"rxpk":[{"tmst":9,"freq":868.1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","stat":1,"size":3,"data":"AQID","rsig":[
        {"ant":0,"chan":7,"rssic":-70,"rssis":-71,"lsnr":9.5},{"ant":1,"chan":23,"rssic":-80.5,"lsnr":"?"},3,{"ant":3,"rssic":-90,"lsnr":-2}]},
        {"tmst":10,"freq":868.3,"datr":"M0CW137","modu":"LR-FHSS","codr":"2/3","rssi":-100,"size":0,"data":""}]}"#,
    );
    let entries = heard(&datagram);
    assert_eq!(entries.len(), 5);
    let first = entries[0].expect("an antenna");
    assert_eq!((first.tmst, first.ant, first.chan, first.rssi_deci, first.snr_deci), (9, 0, 7, -700, 95));
    assert_eq!(entries[1], Err(Refusal::Snr));
    assert_eq!(entries[2], Err(Refusal::Antenna));
    let last = entries[3].expect("an antenna");
    assert_eq!((last.ant, last.chan, last.rssi_deci, last.snr_deci), (3, 0, -900, -20));
    assert_eq!(last.payload(&mut [0; 255]).as_deref(), Ok(&[1, 2, 3][..]));
    let frequency_hopping = entries[4].expect("an entry");
    assert_eq!(frequency_hopping.data_rate, DataRate::LrFhss { ocw_khz: 137 });
    assert_eq!(frequency_hopping.payload(&mut [0; 255]).as_deref(), Ok(&[][..]));
}

#[test]
fn refuses_what_is_no_datagram() {
    let good = push("{}");
    for cut in 0..BODY_AT {
        assert_eq!(Datagram::parse(&good[..cut]), Err(Malformed::Short), "{cut} bytes");
    }
    for (at, value, expected) in [
        (0, 0, Malformed::Version),
        (0, 3, Malformed::Version),
        (3, 6, Malformed::Identifier),
        (3, 1, Malformed::Direction),
        (3, 3, Malformed::Direction),
        (3, 4, Malformed::Direction),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Datagram::parse(&bad), Err(expected));
    }
    assert_eq!(Datagram::parse(&[1, 0, 0, TX_ACK, 1, 2, 3, 4, 5, 6, 7, 8]), Err(Malformed::TxAckVersion));
    for (json, expected) in [
        ("", Malformed::Json),
        ("{", Malformed::Json),
        ("{}x", Malformed::Json),
        ("[]", Malformed::Shape),
        ("null", Malformed::Shape),
        (r#"{"rxpk":{}}"#, Malformed::Shape),
        (r#"{"rxpk":[],"stat":[]}"#, Malformed::Shape),
        (r#"{"rxpk":[{"tmst":01}]}"#, Malformed::Json),
        (&"[".repeat(9000), Malformed::Shape),
    ] {
        assert_eq!(body(&push(json)).err(), Some(expected), "{json}");
    }
    assert_eq!(body(&push(&format!(r#"{{"x":{}"#, "[".repeat(99)))).err(), Some(Malformed::Depth));
    assert_eq!(body(&push(&format!(r#"{{"x":"{}"}}"#, "x".repeat(65_536)))).err(), Some(Malformed::TooLong));
    let not_utf8 = [push(r#"{"x":""#), b"\xFF\"}".to_vec()].concat();
    assert_eq!(body(&not_utf8).err(), Some(Malformed::Utf8));
    assert!(body(&push("{}\n\0\0")).is_ok(), "what C leaves behind");
}

#[test]
fn reads_what_became_of_a_downlink() {
    for (json, outcome, warning) in [
        ("", TxOutcome::Sent, None),
        ("\r\n\0", TxOutcome::Sent, None),
        ("{}", TxOutcome::Sent, None),
        (r#"{"txpk_ack":{"error":"NONE"}}"#, TxOutcome::Sent, None),
        (r#"{"txpk_ack":{"error":"TOO_LATE"}}"#, TxOutcome::TooLate, None),
        (r#"{"txpk_ack":{"error":"TOO_EARLY"}}"#, TxOutcome::TooEarly, None),
        (r#"{"txpk_ack":{"error":"COLLISION_PACKET"}}"#, TxOutcome::CollisionPacket, None),
        (r#"{"txpk_ack":{"error":"COLLISION_BEACON"}}"#, TxOutcome::CollisionBeacon, None),
        (r#"{"txpk_ack":{"error":"TX_FREQ"}}"#, TxOutcome::TxFreq, None),
        (r#"{"txpk_ack":{"error":"TX_POWER"}}"#, TxOutcome::TxPower, None),
        (r#"{"txpk_ack":{"error":"GPS_UNLOCKED"}}"#, TxOutcome::GpsUnlocked, None),
        (r#"{"txpk_ack":{"error":"TX_QUEUE_FULL"}}"#, TxOutcome::Other, None),
        (
            r#"{"txpk_ack":{"warn":"TX_POWER","value":20}}"#,
            TxOutcome::Sent,
            Some(TxWarning { what: TxOutcome::TxPower, value: Some(20) }),
        ),
        (
            r#"{"x":1,"txpk_ack":{"value":"?","error":null,"warn":"NEW"}}"#,
            TxOutcome::Sent,
            Some(TxWarning { what: TxOutcome::Other, value: None }),
        ),
    ] {
        let mut datagram = push(json);
        datagram[3] = TX_ACK;
        let ack = TxAck { token: [0xAB, 0xCD], eui: Eui64::new(0x0102_0304_0506_0708), outcome, warning };
        assert_eq!(Datagram::parse(&datagram), Ok(Datagram::TxAck(ack)), "{json}");
    }
    for (json, expected) in [("{", Malformed::Json), ("[]", Malformed::Shape), (r#"{"txpk_ack":1}"#, Malformed::Shape)]
    {
        let mut datagram = push(json);
        datagram[3] = TX_ACK;
        assert_eq!(Datagram::parse(&datagram), Err(expected), "{json}");
    }
}

#[test]
fn acknowledges_in_four_bytes() {
    let mut out = [0; 4];
    assert_eq!((write_push_ack(Version::V2, [3, 4], &mut out), out), (Ok(4), [2, 3, 4, 1]));
    assert_eq!((write_pull_ack(Version::V1, [3, 4], &mut out), out), (Ok(4), [1, 3, 4, 4]));
    assert_eq!(write_push_ack(Version::V2, [3, 4], &mut out[..3]), Err(NoRoom));
}

fn pull_resp(txpk: &Txpk<'_>) -> String {
    let mut out = [0; PULL_RESP_BYTES_MAX];
    let count = write_pull_resp(Version::V2, [7, 8], txpk, &mut out).expect("room");
    for room in 0..count {
        assert_eq!(write_pull_resp(Version::V2, [7, 8], txpk, &mut out[..room]), Err(NoRoom));
    }
    let count = write_pull_resp(Version::V2, [7, 8], txpk, &mut out).expect("room");
    assert_eq!(out[..4], [2, 7, 8, PULL_RESP]);
    let text = core::str::from_utf8(&out[4..count]).expect("UTF-8").to_owned();
    let _: serde_json::Value = serde_json::from_str(&text).expect("JSON by another's opinion");
    text
}

#[test]
fn asks_for_transmissions() {
    let rate = DataRate::Lora { sf: 9, bw_khz: 125 };
    let class_a = Txpk::downlink(When::Tmst(4_294_967_295), 868_100_001, rate, 14, b"foob");
    assert_eq!(
        pull_resp(&class_a),
        r#"{"txpk":{"imme":false,"tmst":4294967295,"freq":868.100001,"rfch":0,"powe":14,"modu":"LORA","datr":"SF9BW125","codr":"4/5","ipol":true,"ncrc":true,"size":4,"data":"Zm9vYg=="}}"#
    );
    let fsk = Txpk { data_rate: DataRate::Fsk { bps: 50_000 }, prea: Some(5), ..class_a };
    assert_eq!(
        pull_resp(&Txpk {
            when: When::Tmms(1_000_000_000_000),
            powe: -3,
            fdev: Some(25_000),
            ipol: false,
            ncrc: false,
            ..fsk
        }),
        r#"{"txpk":{"imme":false,"tmms":1000000000000,"freq":868.100001,"rfch":0,"powe":-3,"modu":"FSK","datr":50000,"fdev":25000,"ipol":false,"prea":5,"ncrc":false,"size":4,"data":"Zm9vYg=="}}"#
    );
    let at_once = pull_resp(&Txpk { when: When::Immediately, payload: &[], ..class_a });
    assert!(at_once.starts_with(r#"{"txpk":{"imme":true,"freq":"#) && at_once.ends_with(r#""size":0,"data":""}}"#));
    assert!(pull_resp(&fsk).contains(r#""fdev":25000"#), "half the bit rate");
}

/// What we ask a gateway to transmit, another gateway could hear.
#[test]
fn longest_payload_fits_both_ways() {
    let payload: Vec<u8> = (0..=254).collect();
    let rate = DataRate::LrFhss { ocw_khz: 336 };
    let when = When::Tmms(u64::MAX);
    let txpk = Txpk { prea: Some(u16::MAX), ..Txpk::downlink(when, u32::MAX, rate, i8::MIN, &payload) };
    let text = pull_resp(&txpk);
    let mut digits = [0; 344];
    base64::encode(&payload, &mut digits).expect("room");
    let digits = core::str::from_utf8(&digits[..340]).expect("ASCII");
    assert!(text.contains(digits));
    let datagram = push(&format!(r#"{{"rxpk":[{{{GOOD},"size":255,"data":"{}"}}]}}"#, digits.replace('/', "\\u002f")));
    let rxpk = heard(&datagram)[0].expect("an entry");
    assert_eq!(rxpk.payload(&mut [0; 255]).as_deref(), Ok(&payload[..]));
}
