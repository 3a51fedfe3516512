//! Values that try to break out of their document: whatever gateways and devices say, the output stays one valid message.

use base::mix::SplitMix64;
use base::{DataRate, Eui64, UnixMicros};
use emit::{Template, fuzzing};
use event::formats::SHIPPED;
use event::{Copy, Event, Failure, Kind, RECEPTION_BYTES, RECEPTION_COUNT_MAX, Receptions, SCHEMA};

const STATUSES: [&[u8]; 12] = [
    b"{\"desc\":\"a\\\"}\\u0000<&>\"}",
    b"{}",
    b" {\"a\":[{},[],-0.5e+7,true,false,null]} \n",
    b"{\"a\":1}{",
    b"{\"a\":1},\"Gateway\":\"0\"",
    b"{\"a\":\"\n\"}",
    b"{\"a\":01}",
    b"{\"a\":1,}",
    b"{\"\xFF\":1}",
    b"[1]",
    b"",
    b"{\"a\":\"\\x\"}",
];

fn event<'a>(random: &mut SplitMix64, receptions: &'a [u8], payload: &'a [u8]) -> Event<'a> {
    let kind = Kind::ALL[random.below(10) as usize];
    let any = random.next();
    let status = kind == Kind::GatewayStatus && random.below(4) > 0;
    Event {
        copy: [Copy::First, Copy::Later, Copy::Best][(any % 3) as usize],
        copy_index: any as u8,
        mtype: (any >> 8) as u8,
        fport: (any & 0x100 != 0).then_some((any >> 16) as u8),
        adr: any & 0x200 != 0,
        failure: Failure::from_u8((any >> 24) as u8 % 9),
        dev_eui: Eui64::new(if any & 0x400 == 0 { 0 } else { random.next() }),
        join_eui: Eui64::new(random.next()),
        dev_addr: random.next() as u32,
        session: random.next() as u32,
        fcnt: random.next() as u32,
        dev_nonce: random.next() as u16,
        frequency_hz: if any & 0x800 == 0 { 0 } else { random.next() as u32 },
        data_rate: DataRate::from_wire((random.next() as u32).to_le_bytes()),
        downlink: random.next(),
        gateway: Eui64::new(random.next()),
        receptions: Receptions::new(receptions),
        payload: if status { STATUSES[random.below(12) as usize] } else { payload },
        ..Event::new(kind, UnixMicros(random.next() >> random.below(64)))
    }
}

#[test]
fn messages_stay_whole() {
    let mut random = SplitMix64::new(23);
    let mut out = vec![0; 16 * 1024];
    let compiled: Vec<_> = SHIPPED
        .iter()
        .flat_map(|format| format.templates.iter().map(move |(kind, text)| (format, *kind, text)))
        .map(|(format, kind, text)| (format, kind, Template::parse(text, &SCHEMA).expect("compiles")))
        .collect();
    for _ in 0..4_000 {
        let receptions: Vec<u8> = (0..random.below(RECEPTION_COUNT_MAX as u64 + 1) as usize * RECEPTION_BYTES)
            .map(|_| random.next() as u8)
            .collect();
        let payload: Vec<u8> = (0..random.below(243)).map(|_| random.next() as u8).collect();
        let event = event(&mut random, &receptions, &payload);
        for (format, _, template) in compiled.iter().filter(|(_, kind, _)| *kind == event.kind) {
            fuzzing::fills_exactly(template, &event);
            let count = template.run(&event, &mut out).expect("room");
            let text = core::str::from_utf8(&out[..count]).expect("UTF-8");
            match format.content_type {
                "application/json" => {
                    let value: serde_json::Value =
                        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                    assert!(value.is_object(), "one object: {text}");
                }
                "application/xml" => assert!(balanced(text), "elements open and close: {text}"),
                _ => assert!(!text.contains(['\n', '\r']), "one row: {text}"),
            }
        }
    }
}

#[test]
fn reports_are_passed_on_only_if_they_are_json_objects() {
    let format = event::formats::find("json").expect("shipped");
    let (_, text) = format.templates.iter().find(|(kind, _)| *kind == Kind::GatewayStatus).expect("a template");
    let template = Template::parse(text, &SCHEMA).expect("compiles");
    for status in STATUSES {
        let event = Event { payload: status, ..Event::new(Kind::GatewayStatus, UnixMicros(1)) };
        let mut out = [0; 512];
        let count = template.run(&event, &mut out).expect("room");
        let message: serde_json::Value = serde_json::from_slice(&out[..count]).expect("JSON");
        let oracle: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
        let expected = if oracle.is_object() { oracle } else { serde_json::Value::Null };
        assert_eq!(message["Status"], expected, "{:?}", String::from_utf8_lossy(status));
    }
}

/// Whether every element that opens closes in order, and `<` and `&` stand nowhere else. Our templates have no
/// empty-element tags and no quoted `>`.
fn balanced(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>") else {
        return false;
    };
    let mut open = Vec::new();
    while let Some(at) = rest.find('<') {
        let Some(end) = rest.find('>') else {
            return false;
        };
        let entities_end = rest[..at].split('&').skip(1).all(|entity| entity.contains(';'));
        let tag = &rest[at + 1..end];
        match tag.strip_prefix('/') {
            Some(name) if open.pop() == Some(name) => {}
            Some(_) => return false,
            None => open.push(tag.split(' ').next().unwrap_or("")),
        }
        if !entities_end {
            return false;
        }
        rest = &rest[end + 1..];
    }
    open.is_empty() && rest.is_empty()
}
