//! The frames of a body as a reader would find them who takes all the time and memory he wants; and bodies on which both
//! must agree, made of right and wrong members and of slips in what was seen in the field.
//!
//! `serde_json` says what is JSON and what a string means. Times, data rates and base64 are read by the same functions as
//! there: those have tests of their own.

use super::tests::{push, vector};
use super::*;
use base::mix::SplitMix64;
use base::{DataRate, UnixMicros};
use std::collections::BTreeSet;

enum Value {
    Number(String),
    /// As written between its quotes.
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
    Null,
    Bool,
}

/// Reads what is known to be JSON, byte by byte.
fn value(text: &[u8], at: &mut usize) -> Value {
    let white = |at: &mut usize| {
        while text.get(*at).is_some_and(u8::is_ascii_whitespace) {
            *at += 1;
        }
    };
    let string = |at: &mut usize| {
        let start = *at + 1;
        *at = start;
        while text[*at] != b'"' {
            *at += if text[*at] == b'\\' { 2 } else { 1 };
        }
        *at += 1;
        String::from_utf8(text[start..*at - 1].to_vec()).expect("UTF-8")
    };
    let (mut items, mut members) = (Vec::new(), Vec::new());
    white(at);
    let start = *at;
    let read = match text[start] {
        b'"' => Value::String(string(at)),
        open @ (b'{' | b'[') => loop {
            // Past the opening, or a comma.
            *at += 1;
            white(at);
            if !matches!(text[*at], b'}' | b']') {
                if open == b'{' {
                    let key = string(at);
                    white(at);
                    *at += 1;
                    members.push((key, value(text, at)));
                } else {
                    items.push(value(text, at));
                }
                white(at);
            }
            if text[*at] != b',' {
                *at += 1;
                break if open == b'{' { Value::Object(members) } else { Value::Array(items) };
            }
        },
        first => {
            while text.get(*at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
                *at += 1;
            }
            let word = String::from_utf8(text[start..*at].to_vec()).expect("ASCII");
            match first {
                b'n' => Value::Null,
                b't' | b'f' => Value::Bool,
                _ => Value::Number(word),
            }
        }
    };
    white(at);
    read
}

fn meaning(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}

/// The number times 10^`places`, half away from zero, and whether nothing was rounded.
fn moved(number: &str, places: i64) -> Option<(i64, bool)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().expect("a small exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let negative = whole.starts_with('-');
    let mut digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let shift = places + exponent - fraction.len() as i64;
    digits.push_str(&"0".repeat(shift.max(0) as usize));
    // Zeros in front, so that there is always something to cut.
    let digits = format!("{}{digits}", "0".repeat((-shift).max(0) as usize));
    let (kept, cut) = digits.split_at(digits.len() - (-shift).max(0) as usize);
    let kept = kept.trim_start_matches('0');
    let size: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let size = size + i128::from(cut.starts_with(|digit| digit >= '5'));
    let exact = cut.bytes().all(|digit| digit == b'0');
    Some((i64::try_from(if negative { -size } else { size }).ok()?, exact))
}

fn fixed<T: TryFrom<i64>>(value: &Value, places: i64) -> Option<T> {
    let Value::Number(number) = value else { return None };
    T::try_from(moved(number, places)?.0).ok()
}

fn whole<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    let Value::Number(number) = value else { return None };
    moved(number, 0).filter(|(_, exact)| *exact).and_then(|(value, _)| T::try_from(value).ok())
}

fn string(value: &Value) -> Option<&str> {
    if let Value::String(raw) = value { Some(raw) } else { None }
}

/// An entry's fields, each as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    tmst: Option<u32>,
    time: Option<UnixMicros>,
    tmms: Option<u64>,
    ftime: Option<u32>,
    small: [u8; 4],
    freq_hz: Option<u32>,
    crc: Crc,
    data_rate: Option<DataRate>,
    modulation: Option<String>,
    codr: Option<CodingRate>,
    rssi_deci: Option<i16>,
    snr_deci: i16,
    size: Option<u8>,
    data: Option<String>,
}

impl Seen {
    fn of(rxpk: &Rxpk<'_>) -> Self {
        Self {
            tmst: Some(rxpk.tmst),
            time: rxpk.time,
            tmms: rxpk.tmms,
            ftime: rxpk.ftime,
            small: [rxpk.chan, rxpk.rfch, rxpk.mid, rxpk.ant],
            freq_hz: Some(rxpk.freq_hz),
            crc: rxpk.crc,
            data_rate: Some(rxpk.data_rate),
            modulation: None,
            codr: rxpk.codr,
            rssi_deci: Some(rxpk.rssi_deci),
            snr_deci: rxpk.snr_deci,
            size: Some(rxpk.size),
            data: Some(rxpk.data.raw().to_owned()),
        }
    }

    /// Takes the members; the antennas if there are any, or the first refusal.
    fn take<'v>(&mut self, members: &'v [(String, Value)]) -> Result<&'v [Value], Refusal> {
        let mut antennas: &[Value] = &[];
        let mut refused = None;
        for (key, value) in members {
            let small = ["chan", "rfch", "mid", "ant"];
            let key = meaning(key).unwrap_or_default();
            let key = if key == "brd" { "mid" } else { key.as_str() };
            let wrong = match key {
                "tmst" => some(&mut self.tmst, whole(value), Refusal::Tmst),
                "freq" => some(&mut self.freq_hz, fixed(value, 6).filter(|hz| *hz > 0), Refusal::Frequency),
                "size" => some(&mut self.size, whole(value), Refusal::Size),
                "data" => some(&mut self.data, string(value).map(str::to_owned), Refusal::Data),
                "rssi" | "rssic" => some(&mut self.rssi_deci, fixed(value, 1), Refusal::Rssi),
                "datr" => {
                    let lora = string(value).and_then(meaning).and_then(|text| DataRate::parse(text.as_bytes()));
                    let lora = lora.filter(|rate| !matches!(rate, DataRate::Fsk { .. }));
                    let fsk = whole(value).filter(|bps| *bps > 0 && *bps < 1 << 28).map(|bps| DataRate::Fsk { bps });
                    some(&mut self.data_rate, lora.or(fsk), Refusal::DataRate)
                }
                "modu" => {
                    let known = string(value)
                        .and_then(meaning)
                        .filter(|name| ["LORA", "FSK", "LR-FHSS"].contains(&name.as_str()));
                    some(&mut self.modulation, known, Refusal::Modulation)
                }
                "lsnr" => fixed(value, 1).map(|snr| self.snr_deci = snr).is_none().then_some(Refusal::Snr),
                "stat" => {
                    let crc = [(1, Crc::Ok), (-1, Crc::Bad), (0, Crc::None)];
                    let crc = crc.into_iter().find(|(stat, _)| whole(value) == Some(*stat));
                    crc.map(|(_, crc)| self.crc = crc).is_none().then_some(Refusal::Crc)
                }
                "time" => {
                    let plain = string(value).filter(|raw| !raw.contains('\\'));
                    self.time = plain.and_then(|text| parse_time(text.as_bytes()));
                    None
                }
                "tmms" => {
                    self.tmms = whole(value);
                    None
                }
                "ftime" => {
                    self.ftime = whole(value);
                    None
                }
                "codr" => {
                    let text: Vec<char> = string(value).and_then(meaning).unwrap_or_default().chars().collect();
                    self.codr = None;
                    if let [data @ '0'..='9', '/', total @ '0'..='9', ..] = text[..] {
                        self.codr = Some(CodingRate { data: data as u8 - b'0', total: total as u8 - b'0' });
                    }
                    None
                }
                "rsig" => {
                    antennas = if let Value::Array(list) = value { list } else { &[] };
                    (!matches!(value, Value::Array(_))).then_some(Refusal::Antenna)
                }
                _ => small.iter().position(|name| *name == key).and_then(|place| {
                    let number = whole(value);
                    self.small[place] = number.unwrap_or(0);
                    number.is_none().then_some(Refusal::Number)
                }),
            };
            refused = refused.or(wrong);
        }
        refused.map_or(Ok(antennas), Err)
    }

    fn finish(mut self) -> Result<Self, Refusal> {
        let rate = self.data_rate.ok_or(Refusal::DataRate)?;
        let of_rate = match rate {
            DataRate::Lora { .. } => "LORA",
            DataRate::Fsk { .. } => "FSK",
            DataRate::LrFhss { .. } => "LR-FHSS",
        };
        match self.modulation.take() {
            Some(name) if name != of_rate => Err(Refusal::Modulation),
            _ if self.tmst.is_none() => Err(Refusal::Tmst),
            _ if self.freq_hz.is_none() => Err(Refusal::Frequency),
            _ if self.rssi_deci.is_none() => Err(Refusal::Rssi),
            _ if self.size.is_none() => Err(Refusal::Size),
            _ if self.data.is_none() => Err(Refusal::Data),
            _ => Ok(self),
        }
    }
}

fn some<T>(field: &mut Option<T>, value: Option<T>, refusal: Refusal) -> Option<Refusal> {
    *field = value;
    field.is_none().then_some(refusal)
}

/// What a body says of frames; nothing if it is none.
fn expected(json: &[u8]) -> Option<Vec<Result<Seen, Refusal>>> {
    let _: serde::de::IgnoredAny = serde_json::from_str(core::str::from_utf8(json).ok()?).ok()?;
    let Value::Object(members) = value(json, &mut 0) else { return None };
    let mut entries: &[Value] = &[];
    for (key, value) in &members {
        match (meaning(key).as_deref(), value) {
            (Some("rxpk"), Value::Array(list)) => entries = list,
            (Some("rxpk"), Value::Null) => entries = &[],
            (Some("stat"), Value::Object(_) | Value::Null) => {}
            (Some("rxpk" | "stat"), _) => return None,
            _ => {}
        }
    }
    let mut seen = Vec::new();
    for entry in entries {
        let mut whole = Seen::default();
        let Value::Object(members) = entry else {
            seen.push(Err(Refusal::NotObject));
            continue;
        };
        match whole.take(members) {
            Err(refusal) => seen.push(Err(refusal)),
            Ok([]) => seen.push(whole.finish()),
            Ok(antennas) => seen.extend(antennas.iter().map(|antenna| {
                let Value::Object(members) = antenna else { return Err(Refusal::Antenna) };
                let mut heard = whole.clone();
                heard.take(members)?;
                heard.finish()
            })),
        }
    }
    Some(seen)
}

/// An entry's members, none of them wrong.
const GOOD: [&str; 2] = [
    r#""tmst":7,"freq":868.3,"datr":"SF9BW125","rssi":-3,"size":3,"data":"AQID""#,
    r#""tmst":7,"freq":868.3,"datr":50000,"rssi":-3,"size":0,"data":"","time":"2013-03-31T16:21:17Z","tmms":5,"ftime":6,"codr":"4/7""#,
];

#[rustfmt::skip]
const KEYS: [&str; 26] = [
    "tmst", "freq", "datr", "modu", "size", "data", "rssi", "rssic", "lsnr", "stat", "chan", "rfch", "mid", "brd", "ant",
    "rsig", "time", "tmms", "ftime", "codr", "t\\u006dst", "\\u0063odr", "none", "tms", "", "tmst\\n",
];

#[rustfmt::skip]
const VALUES: [&str; 44] = [
    "1", "-1", "0", "-0", "255", "256", "868.1", "868.1000005", "868.1000004999", "4294.967295", "4294967295",
    "4294967296", "1e3", "1.5e-1", "2e0", "25E-1", "12.0", "-3276.85", "99999999999999999999", "9223372036854775807",
    "-9223372036854775808", "9999999999999999999", "18446744073709551615", "0.00000000000000000000000001", "-0.05",
    "null", "true", "[]", "{}", "50000", "\"LORA\"", "\"FSK\"", "\"LR-FHSS\"", "\"SF7BW125\"", "\"SF12\\u0042W500\"",
    "\"M0CW137\"", "\"AQID\"", "\"4/5\"", "\"4\\/6\"", "\"2013-03-31T16:21:17.528002Z\"",
    "[{\"ant\":1,\"rssic\":-5},{\"chan\":7}]", "[{\"rssic\":\"x\"},3]", "\"\u{e9}\"", "[1,[2,{\"a\":[\"]\"]}]]",
];

fn any<'t>(random: &mut SplitMix64, of: &[&'t str]) -> &'t str {
    of[random.below(of.len() as u64) as usize]
}

/// A body of entries that are made of members, some of them wrong.
fn made(random: &mut SplitMix64) -> Vec<u8> {
    let entries: Vec<String> = (0..random.below(4))
        .map(|_| {
            let mut members = Vec::new();
            if random.below(3) > 0 {
                members.push(any(random, &GOOD).to_owned());
            }
            for _ in 0..random.below(4) {
                let key = any(random, &KEYS);
                // Now and then twice, since the last counts.
                for _ in 0..=random.below(4) / 3 {
                    let [before, behind] = [any(random, &["", "", " "]), any(random, &["", "", "\n"])];
                    let value = any(random, &VALUES);
                    members.push(format!("{before}\"{key}\"{behind}:{before}{value}{behind}"));
                }
            }
            let [first, last] = [random.below(16), random.below(16)].map(|one_in| if one_in == 0 { "," } else { "" });
            format!("{{{first}{}{last}}}", members.join(","))
        })
        .collect();
    let more =
        ["", "", ",\"stat\":{\"rxnb\":1}", ",\"rxpk\":null", ",\"rxpk\":[{}]", ",\"x\":[]", ",4", ",\"stat\":[]"];
    format!("{{\"rxpk\":[{}]{}}}", entries.join(","), any(random, &more)).into_bytes()
}

/// One slip of a machine or a line.
fn slip(random: &mut SplitMix64, text: &mut Vec<u8>) {
    let at = random.below(text.len() as u64) as usize;
    let byte = b"{}[],:\"\\01.eE+-tn /u\x1f\xC3"[random.below(21) as usize];
    match random.below(6) {
        0 => text[at] = byte,
        1 => text.insert(at, byte),
        2 => text.truncate(at + 1),
        3 => drop(text.splice(at..at, any(random, &VALUES).bytes())),
        4 => {
            let end = at + random.below((text.len() - at) as u64) as usize;
            let piece = text[at..end].to_vec();
            let to = random.below(text.len() as u64) as usize;
            drop(text.splice(to..to, piece));
        }
        _ => drop(text.remove(at)),
    }
}

#[test]
fn agrees_with_a_reader_who_takes_his_time() {
    let field = ["doc_rxpk", "forwarder_rxpk", "helium_router", "sx1302_sf5", "kerlink_us915", "doc_stat"];
    let field = field.map(|name| vector(name)[BODY_AT..].trim_ascii_end().to_vec());
    let mut random = SplitMix64::new(9);
    let (mut heard, mut none) = (0, 0);
    let mut refusals = BTreeSet::new();
    for _ in 0..40_000 {
        let mut json = if random.below(4) == 0 { field[random.below(6) as usize].clone() } else { made(&mut random) };
        for _ in 0..random.below(3) {
            if !json.is_empty() {
                slip(&mut random, &mut json);
            }
        }
        let datagram = [push(""), json].concat();
        let Ok(Datagram::PushData(push)) = Datagram::parse(&datagram) else { panic!("no PUSH_DATA") };
        // Exponents beyond what a naive reader can write out have their place in the tests of numbers.
        let told = String::from_utf8_lossy(push.json).into_owned();
        let far = told
            .split(['e', 'E'])
            .skip(1)
            .any(|rest| rest.trim_start_matches(['+', '-']).bytes().take_while(u8::is_ascii_digit).count() > 3);
        if far {
            continue;
        }
        let body = push.body().ok();
        let found = body.map(|body| body.rxpk().map(|entry| entry.map(|rxpk| Seen::of(&rxpk))).collect::<Vec<_>>());
        assert_eq!(found, expected(push.json), "{told}");
        none += u32::from(found.is_none());
        for entry in found.into_iter().flatten() {
            heard += u32::from(entry.is_ok());
            refusals.extend(entry.err().map(|refusal| refusal as usize));
        }
    }
    assert!(heard > 5000 && none > 10_000, "{heard} frames, {none} bodies that are none");
    assert_eq!(refusals.len(), 12, "every reason: {refusals:?}");
}
