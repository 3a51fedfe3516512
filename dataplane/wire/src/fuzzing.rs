//! Laws of the codecs, for fuzz targets and for the corpus that the tests replay.
//!
//! Every function takes any bytes and panics if a law is broken. They allocate: nothing that serves calls them.

use crate::base64;
use crate::downlink::{self, Downlink, Scratch};
use crate::http::{Answer, Head, Status, Upgrade, write_response};
use crate::json::{Kind, Reader, Writer, validate};
use crate::semtech_udp::{Datagram, PULL_RESP_BYTES_MAX, Txpk, Version, When, write_pull_resp};
use crate::websocket::{
    Deflater, EXTENSION_BYTES_MAX, Event, Failure, FrameHead, HEAD_BYTES_MAX, InflateError, Inflater, Limits,
    MessageKind, Opcode, Reader as FrameReader, Role, negotiate,
};

/// Whatever is a JSON text can be walked, and what the writer makes of it is the same text from then on. Errors lie
/// within the text.
pub fn json(bytes: &[u8]) {
    match validate(bytes) {
        Ok(()) => {
            let text = core::str::from_utf8(bytes).expect("JSON is UTF-8");
            let once = rewrite(text);
            assert_eq!(rewrite(&once), once, "writing is idempotent");
            validate(once.as_bytes()).expect("what was written is JSON");
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    }
}

fn rewrite(text: &str) -> String {
    // An escape may grow from two bytes to six; nothing else grows but numbers, which are copied.
    let mut out = vec![0; text.len() * 6 + 16];
    let mut writer = Writer::new(&mut out);
    let mut reader = Reader::over(text);
    let mut objects: Vec<bool> = Vec::new();
    let mut key = vec![0; text.len()];
    'values: loop {
        match reader.peek().expect("a value") {
            Kind::Object => {
                reader.object().expect("an object");
                writer.object();
                objects.push(true);
            }
            Kind::Array => {
                reader.array().expect("an array");
                writer.array();
                objects.push(false);
            }
            Kind::String => {
                let string = reader.string().expect("a string");
                match string.unescape(&mut key) {
                    Ok(plain) => {
                        assert!(string.is(plain) && string.is_ignoring_case(&plain.to_ascii_uppercase()));
                        writer.string(plain);
                    }
                    Err(_) => {
                        writer.raw(&format!("\"{}\"", string.raw()));
                    }
                }
            }
            Kind::Number => {
                let number = reader.number().expect("a number");
                if let Some(value) = number.to_i64() {
                    assert_eq!(number.fixed(0), Some(value));
                }
                if let (Some(decimal), Some(micros)) = (number.decimal(), number.fixed(6)) {
                    let exact = decimal.digits as f64 * 10f64.powi(-decimal.scale.clamp(-300, 300)) * 1e6;
                    assert!((exact - micros as f64).abs() <= exact.abs() * 1e-9 + 0.51, "{}", number.text());
                }
                writer.raw(number.text());
            }
            Kind::Bool => {
                writer.bool(reader.bool().expect("a truth"));
            }
            Kind::Null => {
                reader.null().expect("null");
                writer.null();
            }
        }
        loop {
            match objects.last() {
                None => break 'values,
                Some(true) => match reader.key().expect("a key or the end") {
                    Some(name) => {
                        // Half a surrogate pair cannot be written as a key; a mark keeps the place.
                        writer.key(name.unescape(&mut key).unwrap_or("?"));
                        break;
                    }
                    None => writer.end_object(),
                },
                Some(false) => {
                    if reader.item().expect("an item or the end") {
                        break;
                    }
                    writer.end_array()
                }
            };
            objects.pop();
        }
    }
    reader.finish().expect("all of it");
    let count = writer.finish().expect("room");
    out.truncate(count);
    String::from_utf8(out).expect("UTF-8")
}

/// Whatever decodes has one spelling with padding, and every byte string survives the round trip.
pub fn base64(bytes: &[u8]) {
    let mut decoded = vec![0; bytes.len()];
    let mut digits = vec![0; base64::encoded_len(bytes.len())];
    if let Ok(count) = base64::decode(bytes, &mut decoded) {
        let written = base64::encode(&decoded[..count], &mut digits).expect("room");
        let given = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == b'=').count();
        assert_eq!(&digits[..given], &bytes[..given]);
        assert!(digits[given..written].iter().all(|byte| *byte == b'='));
    }
    let written = base64::encode(bytes, &mut digits).expect("room");
    assert_eq!(base64::decode(&digits[..written], &mut decoded), Ok(bytes.len()));
    assert_eq!(decoded, bytes);
}

/// Nothing panics; what a gateway heard can be asked of another to transmit, in JSON.
pub fn semtech_udp(bytes: &[u8]) {
    let Ok(Datagram::PushData(push)) = Datagram::parse(bytes) else {
        return;
    };
    let Ok(body) = push.body() else {
        return;
    };
    assert!(body.rxpk().count() <= push.json.len(), "no more frames than bytes");
    if let Some(stat) = body.stat() {
        validate(stat.json.as_bytes()).expect("a status is JSON");
    }
    for rxpk in body.rxpk().flatten() {
        let mut payload = [0; 255];
        let Ok(payload) = rxpk.payload(&mut payload) else {
            continue;
        };
        assert_eq!(payload.len(), usize::from(rxpk.size));
        let txpk = Txpk::downlink(When::Tmst(rxpk.tmst), rxpk.freq_hz, rxpk.data_rate, 14, payload);
        let mut out = [0; PULL_RESP_BYTES_MAX];
        let count = write_pull_resp(Version::V2, push.token, &txpk, &mut out).expect("room");
        validate(&out[4..count]).expect("a request is JSON");
    }
}

/// A head takes what it says and not a byte more; every request gets an answer that is whole.
pub fn http(bytes: &[u8]) {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Some(params) = negotiate(text)
    {
        let mut out = [0; EXTENSION_BYTES_MAX];
        let count = params.write(&mut out).expect("room");
        let answer = core::str::from_utf8(&out[..count]).expect("ASCII");
        assert_eq!(negotiate(answer), Some(params));
    }
    let mut out = [0; 1024];
    let (head, count) = match Head::parse(bytes) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return,
        Err(error) => {
            write_response(error.status(), &mut out).expect("room");
            return;
        }
    };
    assert!(count <= bytes.len());
    assert!(matches!(Head::parse(&bytes[..count]), Ok(Some((_, again))) if again == count));
    assert!(matches!(Head::parse(&bytes[..count - 1]), Ok(None) | Err(_)));
    let mut token = [0; 64];
    let status = match (head.query("token", &mut token), head.bearer()) {
        (Err(_), _) => Status::BadRequest,
        (Ok(None), None) => Status::Unauthorized,
        _ if head.path() != "/" => Status::NotFound,
        _ => Status::Forbidden,
    };
    write_response(status, &mut out).expect("room");
    match Upgrade::check(&head) {
        Ok(upgrade) => {
            let count = upgrade.write(&Answer { protocol: None, deflate: upgrade.deflate() }, &mut out).expect("room");
            assert!(out[..count].starts_with(b"HTTP/1.1 101 ") && out[..count].ends_with(b"\r\n\r\n"));
        }
        Err(refused) => {
            write_response(refused.status(), &mut out).expect("room");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Message(MessageKind, bool, Vec<u8>),
    Control(Opcode, Vec<u8>),
    Failed(Failure),
}

fn frames(bytes: &[u8], role: Role, deflate: bool, step: usize) -> Vec<Seen> {
    let limits = Limits { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20 };
    let mut reader = FrameReader::new(role, limits, deflate);
    let mut seen = Vec::new();
    let mut message = (MessageKind::Text, false, Vec::new());
    let mut bytes = bytes.to_vec();
    for mut piece in bytes.chunks_mut(step) {
        loop {
            match reader.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Start { kind, compressed })) => message = (kind, compressed, Vec::new()),
                Ok(Some(Event::Chunk(chunk))) => message.2.extend_from_slice(chunk),
                Ok(Some(Event::End)) => {
                    if let (MessageKind::Text, false, payload) = &message {
                        assert!(core::str::from_utf8(payload).is_ok(), "text is UTF-8");
                    }
                    seen.push(Seen::Message(message.0, message.1, core::mem::take(&mut message.2)));
                }
                Ok(Some(Event::Ping(payload))) => seen.push(Seen::Control(Opcode::Ping, payload.to_vec())),
                Ok(Some(Event::Pong(payload))) => seen.push(Seen::Control(Opcode::Pong, payload.to_vec())),
                Ok(Some(Event::Close(code, reason))) => {
                    let code = code.map_or(Vec::new(), |code| code.0.to_be_bytes().to_vec());
                    seen.push(Seen::Control(Opcode::Close, [code, reason.as_bytes().to_vec()].concat()));
                }
                Err(failure) => {
                    seen.push(Seen::Failed(failure));
                    return seen;
                }
            }
        }
        assert!(piece.is_empty(), "all input is taken");
    }
    seen
}

/// How bytes are cut changes nothing; what was read, written again for the other role, reads the same. The first byte
/// chooses the cuts, the role and whether compression was agreed on.
pub fn websocket(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let (deflate, step) = (choice & 2 != 0, usize::from(choice >> 2) + 1);
    let whole = frames(bytes, role, deflate, bytes.len().max(1));
    assert_eq!(frames(bytes, role, deflate, step), whole, "frames depend on how their bytes were cut");

    let mut written = Vec::new();
    let mut put = |opcode, rsv1, payload: &[u8]| {
        let head = FrameHead { fin: true, rsv1, opcode, mask: None, payload_bytes: payload.len() as u64 };
        let mut out = [0; HEAD_BYTES_MAX];
        let count = head.write(&mut out).expect("room");
        written.extend_from_slice(&out[..count]);
        written.extend_from_slice(payload);
    };
    let mut readable = whole;
    readable.retain(|seen| !matches!(seen, Seen::Failed(_)));
    for seen in &readable {
        match seen {
            Seen::Message(MessageKind::Text, rsv1, payload) => put(Opcode::Text, *rsv1, payload),
            Seen::Message(MessageKind::Binary, rsv1, payload) => put(Opcode::Binary, *rsv1, payload),
            Seen::Control(opcode, payload) => put(*opcode, false, payload),
            Seen::Failed(_) => {}
        }
    }
    assert_eq!(frames(&written, Role::Client, deflate, step), readable);
}

/// Inflating keeps to its buffer, and says the same however large that is beyond need; what was deflated inflates to what
/// it was.
pub fn deflate(bytes: &[u8]) {
    let mut inflater = Inflater::default();
    let mut out = vec![0; 1 << 16];
    match inflater.inflate(bytes, &mut out) {
        Ok(count) => {
            let mut exact = vec![0; count];
            assert_eq!(inflater.inflate(bytes, &mut exact), Ok(count));
            assert_eq!(exact, out[..count]);
            if count > 0 {
                assert_eq!(inflater.inflate(bytes, &mut exact[1..]), Err(InflateError::TooBig));
            }
        }
        Err(InflateError::TooBig | InflateError::Data) => {}
    }
    let bits = 8 + bytes.first().map_or(0, |first| first & 7);
    let mut compressed = vec![0; bytes.len() + 8];
    if let Some(count) = Deflater::new(bits - 7).deflate(bytes, bits, &mut compressed) {
        assert!(bytes.len() <= 1 << bits && count < bytes.len());
        let mut back = vec![0; bytes.len()];
        assert_eq!(inflater.inflate(&compressed[..count], &mut back), Ok(bytes.len()));
        assert_eq!(back, bytes);
    }
}

/// A downlink keeps to its ranges; whatever was asked, there is an answer in JSON.
pub fn downlink(bytes: &[u8]) {
    let (mut scratch, mut other) = (Scratch::default(), Scratch::default());
    let mut out = [0; downlink::ANSWER_BYTES_MAX];
    let count = match Downlink::parse(bytes, &mut scratch) {
        Ok(asked) => {
            assert!((1..=223).contains(&asked.port) && asked.data.len() <= downlink::DATA_BYTES_MAX);
            assert_eq!(downlink::id_of(bytes, &mut other), asked.id);
            downlink::write_accepted(u64::MAX, asked.dev_eui, asked.id, &mut out)
        }
        Err(refusal) => downlink::write_refused(refusal, downlink::id_of(bytes, &mut other), &mut out),
    };
    validate(&out[..count.expect("room")]).expect("an answer is JSON");
}
