use super::*;

/// What a reader said, chunks of a message joined.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Failed(Failure),
}

const LIMITS: Limits = Limits { frame_bytes_max: 70_000, message_bytes_max: 100_000 };

/// Reads `bytes` cut into pieces of `step`, without extensions.
fn read(role: Role, bytes: &[u8], step: usize) -> Vec<Seen> {
    let mut reader = Reader::new(role, LIMITS, false);
    let (mut seen, mut message, mut kind) = (Vec::new(), Vec::new(), MessageKind::Text);
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let mut input = piece.as_mut_slice();
        loop {
            match reader.next(&mut input) {
                Ok(None) => {
                    assert!(input.is_empty(), "all is taken");
                    break;
                }
                Ok(Some(event)) => match event {
                    Event::Start { kind: started, compressed } => {
                        assert!(!compressed && message.is_empty());
                        kind = started;
                    }
                    Event::Chunk(chunk) => message.extend_from_slice(chunk),
                    Event::End => {
                        let message = core::mem::take(&mut message);
                        seen.push(match kind {
                            MessageKind::Text => Seen::Text(String::from_utf8(message).expect("checked")),
                            MessageKind::Binary => Seen::Binary(message),
                        });
                    }
                    Event::Ping(payload) => seen.push(Seen::Ping(payload.to_vec())),
                    Event::Pong(payload) => seen.push(Seen::Pong(payload.to_vec())),
                    Event::Close(code, reason) => seen.push(Seen::Close(code.map(|code| code.0), reason.to_owned())),
                },
                Err(failure) => {
                    assert_eq!(reader.next(&mut input), Err(failure), "a failure is for good");
                    seen.push(Seen::Failed(failure));
                    return seen;
                }
            }
        }
    }
    seen
}

/// A client's frame: first byte as given, payload masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x9C, 0xE3, 0x5A];
    let head = FrameHead {
        fin: true,
        rsv1: false,
        opcode: Opcode::Text,
        mask: Some(mask),
        payload_bytes: payload.len() as u64,
    };
    let mut out = vec![0; HEAD_BYTES_MAX];
    let count = head.write(&mut out).expect("room");
    out.truncate(count);
    out[0] = first;
    let mut payload = payload.to_vec();
    apply_mask(&mut payload, mask, 0);
    [out, payload].concat()
}

/// Checks what a server sees in `bytes`, however they are cut.
fn check(what: &str, bytes: &[u8], expected: &[Seen]) {
    for step in [bytes.len().max(1), 1, 2, 3, 5, 7, 64, 1000] {
        assert_eq!(read(Role::Server, bytes, step), expected, "{what}, by {step}");
    }
}

fn vector(name: &str) -> Vec<u8> {
    let file = include_str!("../../../../tests/vectors/spec/websocket.txt");
    let line = file.lines().find(|line| line.split(" | ").next() == Some(name)).expect("a vector of this name");
    let digits = line.rsplit(" | ").next().expect("hex");
    let mut out = vec![0; digits.len() / 2];
    base::hex::decode(digits.as_bytes(), &mut out).expect("hex");
    out
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// RFC 6455 §5.7.
#[test]
fn reads_the_rfcs_frames() {
    let hello = text("Hello");
    for (name, role, expected) in [
        ("unmasked_text", Role::Client, hello.clone()),
        ("masked_text", Role::Server, hello.clone()),
        ("fragmented_text", Role::Client, hello),
        ("ping", Role::Client, Seen::Ping(b"Hello".to_vec())),
        ("masked_pong", Role::Server, Seen::Pong(b"Hello".to_vec())),
    ] {
        let bytes = vector(name);
        for step in 1..=bytes.len() {
            assert_eq!(read(role, &bytes, step), core::slice::from_ref(&expected), "{name}");
        }
    }
    for (name, count) in [("binary_256_head", 256), ("binary_64k_head", 65_536)] {
        let payload = vec![0xA5; count];
        let head = vector(name);
        assert_eq!(read(Role::Client, &[head.clone(), payload.clone()].concat(), 1000), [Seen::Binary(payload)]);
        let mut out = [0; HEAD_BYTES_MAX];
        let written = FrameHead::message(Opcode::Binary, count).write(&mut out).expect("room");
        assert_eq!(out[..written], head, "the writer agrees");
    }
}

fn inflate(name: &str) -> Result<Vec<String>, Failure> {
    let mut assembler = Assembler::new(Role::Client, LIMITS, true);
    let mut bytes = vector(name);
    let mut input = bytes.as_mut_slice();
    let (mut message, mut out, mut inflater) = ([0; 64], [0; 64], Inflater::default());
    let mut seen = Vec::new();
    loop {
        let mut lent = Lent { message: &mut message, inflate: Some((&mut inflater, &mut out)) };
        match assembler.next(&mut input, &mut lent)? {
            Some(Message::Text(text)) => seen.push(text.to_owned()),
            Some(other) => panic!("no text: {other:?}"),
            None => return Ok(seen),
        }
    }
}

/// RFC 7692 §7.2.3.
#[test]
fn inflates_the_rfcs_messages() {
    for name in ["one_block", "fragmented", "stored_block", "final_block", "two_blocks"] {
        assert_eq!(inflate(&format!("deflate_{name}")), Ok(vec!["Hello".to_owned()]), "{name}");
    }
    assert_eq!(inflate("deflate_empty"), Ok(vec![String::new()]));
    // We always agree on no context takeover, so the second message refers to what is no more: it reads as zeros, and
    // nothing of the message before, which may have been another tenant's.
    assert_eq!(inflate("deflate_shared_window"), Ok(vec!["Hello".to_owned(), "H\0\0\0\0".to_owned()]));
}

#[test]
fn reads_messages_however_fragmented() {
    check("empty text", &frame(0x81, b""), &[text("")]);
    check("empty fragments", &[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")].concat(), &[text("")]);
    let long = "ä€𝄞x".repeat(6000);
    check("a long text", &frame(0x81, long.as_bytes()), &[text(&long)]);
    let cut: Vec<u8> = "ä€𝄞".bytes().enumerate().flat_map(|(at, byte)| frame(u8::from(at == 0), &[byte])).collect();
    check("code points over fragments", &[cut, frame(0x80, b"")].concat(), &[text("ä€𝄞")]);
    let between = [
        frame(0x02, b"a"),
        frame(0x89, b"one"),
        frame(0x00, b"b"),
        frame(0x8A, b""),
        frame(0x89, &[7; 125]),
        frame(0x80, b"c"),
        frame(0x81, b"d"),
    ];
    let expected = [
        Seen::Ping(b"one".to_vec()),
        Seen::Pong(vec![]),
        Seen::Ping(vec![7; 125]),
        Seen::Binary(b"abc".to_vec()),
        text("d"),
    ];
    check("control frames between fragments", &between.concat(), &expected);
    check("bytes that are no text", &frame(0x82, b"\xFF\xC0\x80"), &[Seen::Binary(b"\xFF\xC0\x80".to_vec())]);
    for count in [125, 126, 127, 65_535, 65_536] {
        check("lengths", &frame(0x82, &vec![3; count]), &[Seen::Binary(vec![3; count])]);
    }
}

/// By hand, after the chapters of public conformance suites: frames that a server must fail, and with what.
#[test]
fn fails_what_breaks_the_protocol() {
    use Failure::*;
    let start = frame(0x01, b"a");
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    let close = |payload: &[u8]| frame(0x88, payload);
    for (what, bytes, failure) in [
        ("RSV1 without extension", frame(0xC1, b"a"), Rsv),
        ("RSV2", frame(0xA1, b"a"), Rsv),
        ("RSV3", frame(0x91, b"a"), Rsv),
        ("RSV1 on ping", frame(0xC9, b""), Rsv),
        ("RSV3 on close", frame(0x98, b""), Rsv),
        ("RSV2 on continuation", [start.clone(), frame(0xA0, b"")].concat(), Rsv),
        ("opcode 3", frame(0x83, b""), Opcode),
        ("opcode 4", frame(0x84, b"a"), Opcode),
        ("opcode 5", frame(0x05, b""), Opcode),
        ("opcode 6", frame(0x86, b""), Opcode),
        ("opcode 7", frame(0x87, b""), Opcode),
        ("opcode 11", frame(0x8B, b""), Opcode),
        ("opcode 12", frame(0x8C, b"a"), Opcode),
        ("opcode 13", frame(0x8D, b""), Opcode),
        ("opcode 14", frame(0x8E, b""), Opcode),
        ("opcode 15", frame(0x8F, b""), Opcode),
        ("ping of 126", frame(0x89, &[0; 126]), ControlLength),
        ("close of 126", close(&[0; 126]), ControlLength),
        ("pong of 70000", frame(0x8A, &[0; 70_000]), ControlLength),
        ("fragmented ping", frame(0x09, b"a"), ControlFragment),
        ("fragmented close", frame(0x08, b""), ControlFragment),
        ("fragmented pong", frame(0x0A, b""), ControlFragment),
        ("continuation of nothing", frame(0x80, b"a"), Continuation),
        ("continuation to be continued", frame(0x00, b"a"), Continuation),
        ("text within text", [start.clone(), frame(0x81, b"b")].concat(), Interleaved),
        ("binary within text", [start.clone(), frame(0x89, b"").split_off(6), frame(0x02, b"b")].concat(), Interleaved),
        ("unmasked text", unmasked(0x81, b"a"), MaskMissing),
        ("unmasked empty close", unmasked(0x88, b""), MaskMissing),
        ("close of one byte", close(&[3]), CloseLength),
        ("reason not UTF-8", close(b"\x03\xE8\xC3"), CloseReason),
        ("reason of surrogates", close(b"\x03\xE8\xED\xA0\x80"), CloseReason),
        ("text not UTF-8", frame(0x81, b"\xFF"), Utf8),
        ("overlong", frame(0x81, b"\xC0\xAF"), Utf8),
        ("surrogate", frame(0x81, b"\xED\xA0\x80"), Utf8),
        ("above U+10FFFF", frame(0x81, b"\xF4\x90\x80\x80"), Utf8),
        ("text that ends within a code point", frame(0x81, b"\xE2\x82"), Utf8),
        ("fragments that end within one", [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat(), Utf8),
        (
            "a fragment that cannot be right",
            [frame(0x01, b"\xCE\xBA\xE1\xBD\xB9\xED\xA0"), frame(0x00, b"a")].concat(),
            Utf8,
        ),
        ("two bytes for a short length", [&[0x81, 0xFE, 0, 125][..], &[0; 129]].concat(), LengthForm),
        (
            "eight bytes for a medium length",
            [&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF][..], &[0; 9]].concat(),
            LengthForm,
        ),
        ("a length of 2^63", [&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &[0; 9]].concat(), LengthForm),
        (
            "a length of 2^63 - 1",
            [&[0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255][..], &[0; 9]].concat(),
            FrameTooBig,
        ),
        ("a frame above the limit", frame(0x82, &[0; 70_001]), FrameTooBig),
    ] {
        check(what, &bytes, &[Seen::Failed(failure)]);
    }
    let half = vec![0; 60_000];
    check(
        "fragments above the limit",
        &[frame(0x02, &half), frame(0x80, &half)].concat(),
        &[Seen::Failed(MessageTooBig)],
    );
    check(
        "a failure after a message",
        &[frame(0x81, b"a"), frame(0x83, b"")].concat(),
        &[text("a"), Seen::Failed(Opcode)],
    );
    assert_eq!(read(Role::Client, &frame(0x81, b"a"), 1), [Seen::Failed(MaskPresent)]);
}

/// Told at the byte that shows it, not when the frame is complete.
#[test]
fn fails_fast() {
    for (what, bytes, at, failure) in [
        ("a reserved opcode", frame(0x83, b""), 1, Failure::Opcode),
        ("a long ping", frame(0x89, &[0; 200]), 2, Failure::ControlLength),
        ("a missing mask", vec![0x81, 5], 2, Failure::MaskMissing),
        ("a long frame", frame(0x82, &[0; 70_001]), 14, Failure::FrameTooBig),
        (
            "bad UTF-8 early in a long frame",
            frame(0x81, &[b"abc\xF8".as_slice(), &[b'x'; 500]].concat()),
            12,
            Failure::Utf8,
        ),
        ("a surrogate's second byte", frame(0x81, b"\xED\xA0\x80"), 8, Failure::Utf8),
    ] {
        let mut reader = Reader::new(Role::Server, LIMITS, false);
        let failed = bytes.iter().position(|byte| {
            let mut byte = [*byte];
            let mut input = &mut byte[..];
            loop {
                match reader.next(&mut input) {
                    Ok(Some(_)) => {}
                    Ok(None) => return false,
                    Err(error) => {
                        assert_eq!(error, failure, "{what}");
                        return true;
                    }
                }
            }
        });
        assert_eq!(failed, Some(at - 1), "{what}");
    }
}

#[test]
fn closes_with_the_codes_that_may_be_sent() {
    check("close of nothing", &frame(0x88, b""), &[Seen::Close(None, String::new())]);
    let reason = [b"\x03\xE8".as_slice(), "é".repeat(61).as_bytes(), b"x"].concat();
    check("the longest reason", &frame(0x88, &reason), &[Seen::Close(Some(1000), format!("{}x", "é".repeat(61)))]);
    let after = [frame(0x88, b"\x0B\xB8"), frame(0x81, b"ignored"), vec![0xFF; 50]].concat();
    check("what follows a close", &after, &[Seen::Close(Some(3000), String::new())]);
    let within = [frame(0x01, b"a"), frame(0x88, b"\x03\xE9")].concat();
    check("a close within a message", &within, &[Seen::Close(Some(1001), String::new())]);
    let may = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let may_not = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    for code in may {
        let bytes = frame(0x88, &u16::to_be_bytes(code));
        assert_eq!(read(Role::Server, &bytes, 3), [Seen::Close(Some(code), String::new())]);
    }
    for code in may_not {
        let bytes = frame(0x88, &u16::to_be_bytes(code));
        assert_eq!(read(Role::Server, &bytes, 3), [Seen::Failed(Failure::CloseCode)], "{code}");
    }
    let codes = [Failure::Rsv, Failure::CloseCode, Failure::Utf8, Failure::CloseReason, Failure::FrameTooBig];
    assert_eq!(codes.map(|failure| failure.close_code().0), [1002, 1002, 1007, 1007, 1009]);
}

#[test]
fn writes_control_frames_that_it_reads() {
    let mut out = [0; CONTROL_FRAME_BYTES_MAX];
    let count = write_control(Opcode::Pong, b"Hello", Some([0x37, 0xFA, 0x21, 0x3D]), &mut out).expect("room");
    assert_eq!(out[..count], vector("masked_pong"));
    let count = write_control(Opcode::Ping, b"Hello", None, &mut out).expect("room");
    assert_eq!(out[..count], vector("ping"));
    let count = write_control(Opcode::Ping, &[1; 125], Some([1; 4]), &mut out).expect("room");
    assert_eq!((count, read(Role::Server, &out[..count], 9)), (131, vec![Seen::Ping(vec![1; 125])]));
    let count = write_close(Some(CloseCode::TOO_BIG), &"€".repeat(99), None, &mut out).expect("room");
    assert_eq!(read(Role::Client, &out[..count], 9), [Seen::Close(Some(1009), "€".repeat(41))]);
    let count = write_close(None, "", None, &mut out).expect("room");
    assert_eq!(out[..count], [0x88, 0]);
    for room in 0..7 {
        assert!(write_control(Opcode::Ping, b"Hello", None, &mut out[..room]).is_err());
    }
    let mut buffer = *b"__________Hello";
    let head = FrameHead::message(Opcode::Text, 5);
    assert_eq!(head.write_before(10, &mut buffer), Some(8));
    assert_eq!(buffer[8..], vector("unmasked_text"));
    assert_eq!(head.write_before(1, &mut buffer), None);
    assert_eq!(FrameHead::message(Opcode::Text, 65_536).encoded_bytes(), 10);
}

#[test]
fn rsv1_is_claimed_by_deflate_on_first_data_frames_alone() {
    let outcome = |bytes: &[u8]| {
        let mut reader = Reader::new(Role::Server, LIMITS, true);
        let mut bytes = bytes.to_vec();
        let mut input = bytes.as_mut_slice();
        loop {
            match reader.next(&mut input) {
                Ok(Some(Event::Start { compressed, .. })) => return Ok(compressed),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(failure) => return Err(failure),
            }
        }
    };
    assert_eq!(outcome(&frame(0xC1, b"x")), Ok(true));
    assert_eq!(outcome(&frame(0x42, b"x")), Ok(true));
    assert_eq!(outcome(&frame(0x81, b"x")), Ok(false), "any message may go uncompressed");
    assert_eq!(outcome(&frame(0xC9, b"x")), Err(Failure::Rsv));
    assert_eq!(outcome(&frame(0xA1, b"x")), Err(Failure::Rsv));
    let mut reader = Reader::new(Role::Server, LIMITS, true);
    let mut bytes = [frame(0x41, b"x"), frame(0xC0, b"x")].concat();
    let mut input = bytes.as_mut_slice();
    let mut last = reader.next(&mut input).map(|event| event.is_some());
    while last == Ok(true) {
        last = reader.next(&mut input).map(|event| event.is_some());
    }
    assert_eq!(last, Err(Failure::Rsv), "a continuation says nothing of compression");
}

#[test]
fn assembles_within_the_lent_buffer() {
    let mut message = [0; 8];
    let mut assembler = Assembler::new(Role::Server, LIMITS, false);
    let mut bytes = [frame(0x01, b"12345"), frame(0x89, b"p"), frame(0x80, b"678"), frame(0x82, b"123456789")].concat();
    let mut input = bytes.as_mut_slice();
    let mut lent = Lent { message: &mut message, inflate: None };
    assert_eq!(assembler.next(&mut input, &mut lent), Ok(Some(Message::Ping(b"p"))));
    assert_eq!(assembler.held(), 5, "the lent bytes are in use");
    assert_eq!(assembler.next(&mut input, &mut lent), Ok(Some(Message::Text("12345678"))));
    assert_eq!(assembler.held(), 0);
    assert_eq!(assembler.next(&mut input, &mut lent), Err(Failure::MessageTooBig));
    assert_eq!(assembler.next(&mut input, &mut lent), Err(Failure::MessageTooBig));
}

#[test]
fn deflate_round_trips_within_bounds() {
    let mut random = base::mix::SplitMix64::new(21);
    let (mut deflater, mut inflater) = (Deflater::new(6), Inflater::default());
    let mut compressed_count = 0;
    for _ in 0..2000 {
        let alphabet = 1 + random.below(255);
        let message: Vec<u8> = (0..random.below(3000)).map(|_| random.below(alphabet) as u8).collect();
        let bits = 8 + random.below(8) as u8;
        let (mut out, mut back) = (vec![0; 4096], vec![0; 4096]);
        let Some(count) = deflater.deflate(&message, bits, &mut out) else {
            continue;
        };
        assert!(message.len() <= 1 << bits && count < message.len());
        compressed_count += 1;
        assert_eq!(inflater.inflate(&out[..count], &mut back), Ok(message.len()));
        assert_eq!(back[..message.len()], message);
        // Exactly enough room is enough, one less is not.
        assert_eq!(inflater.inflate(&out[..count], &mut back[..message.len()]), Ok(message.len()));
        let short = inflater.inflate(&out[..count], &mut back[..message.len() - 1]);
        assert_eq!(short, Err(InflateError::TooBig));
        assert_eq!(deflater.deflate(&message, bits, &mut out[..count - 1]), None);
    }
    assert!(compressed_count > 300, "{compressed_count} messages shrank");
    assert_eq!(deflater.deflate(&[0; 257], 8, &mut [0; 300]), None, "longer than the window");
    assert!(deflater.deflate(&[0; 256], 8, &mut [0; 300]).is_some());
}

/// 64 MiB of zeros in 64 KiB.
#[test]
fn bombs_are_too_big() {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(1 << 20);
    compress.compress_vec(&vec![0; 64 << 20], &mut bomb, flate2::FlushCompress::Sync).expect("compresses");
    assert_eq!(compress.total_in(), 64 << 20);
    let (mut inflater, mut out) = (Inflater::default(), vec![0; 100_000]);
    assert_eq!(inflater.inflate(&bomb, &mut out), Err(InflateError::TooBig));
    assert_eq!(inflater.inflate(b"\xF2\x48\xCD\xC9\xC9\x07\x00", &mut out), Ok(5), "and nothing is left of it");
    assert_eq!(inflater.inflate(b"\x07\xFF\xFF", &mut out), Err(InflateError::Data));
}

#[test]
fn negotiates_what_it_can_honour() {
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offer, answer) in [
        ("permessage-deflate", Some(plain.to_owned())),
        ("permessage-deflate; client_max_window_bits", Some(plain.to_owned())),
        ("permessage-deflate;client_max_window_bits=8", Some(plain.to_owned())),
        ("Permessage-Deflate ; server_no_context_takeover;client_no_context_takeover", Some(plain.to_owned())),
        ("permessage-deflate; server_max_window_bits=8", Some(format!("{plain}; server_max_window_bits=8"))),
        ("permessage-deflate; server_max_window_bits=\"10\"", Some(format!("{plain}; server_max_window_bits=10"))),
        ("permessage-deflate; server_max_window_bits = 15", Some(format!("{plain}; server_max_window_bits=15"))),
        ("x-webkit-deflate-frame, permessage-deflate", Some(plain.to_owned())),
        ("x; y=\"a, permessage-deflate; b\\\"\", permessage-deflate", Some(plain.to_owned())),
        (
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9",
            Some(format!("{plain}; server_max_window_bits=9")),
        ),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=08", None),
        ("permessage-deflate; server_max_window_bits=1\\0", None),
        ("permessage-deflate; server_max_window_bits=\"10", None),
        ("permessage-deflate; client_max_window_bits=20", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", None),
        ("permessage-deflate; ", None),
        ("permessage-bzip2", None),
        ("\"permessage-deflate\"", None),
        ("", None),
        (",,", None),
    ] {
        let written = negotiate(offer).map(|params| {
            let mut out = [0; EXTENSION_BYTES_MAX];
            let count = params.write(&mut out).expect("room");
            String::from_utf8(out[..count].to_vec()).expect("ASCII")
        });
        assert_eq!(written, answer, "{offer}");
    }
}
