use super::*;
use base::mix::SplitMix64;

fn verdict(text: &[u8]) -> Option<ErrorKind> {
    validate(text).err().map(|error| error.kind)
}

/// Every alternative of the grammar of RFC 8259, once at least.
#[test]
fn takes_what_the_grammar_has() {
    for text in [
        "{}",
        "[]",
        "[[]]",
        "\"\"",
        "0",
        "-0",
        "true",
        "false",
        "null",
        " \t\r\n1\n",
        "[1,2 , 3]",
        "{\"a\":1}",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "{\"a\" : [ ] , \"b\":{}}",
        "1.5",
        "-0.0",
        "0.1e1",
        "1E+10",
        "1e-10",
        "10e0",
        "123",
        "1e999999999999999999",
        "0e+1",
        "20",
        "[1e2]",
        "[-1]",
        "[\"\\u0000\"]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u12aF\"",
        "\"\\uD834\\uDD1E\"",
        "\"\\uD800\"",
        "\"\u{7f}\u{80}\u{2028}\u{10FFFF}\"",
        "\"/\"",
        "\"€𝄞\"",
        "[\"a\",[{\"b\":[null]}]]",
        "-1.0e-1",
        "[[],[]]",
        "[{},{}]",
        "\"\\uFFFF\\uDBFF\"",
    ] {
        assert_eq!(validate(text.as_bytes()), Ok(()), "{text}");
        let mut reader = Reader::new(text.as_bytes()).expect("short UTF-8");
        assert_eq!(reader.skip(), Ok(text.trim_ascii()), "{text}");
    }
}

#[test]
fn refuses_what_it_has_not_and_says_where() {
    use ErrorKind::*;
    for (text, kind, offset) in [
        ("", End, 0),
        (" ", End, 1),
        ("[", End, 1),
        ("{", End, 1),
        ("\"", End, 1),
        ("\"\\", End, 2),
        ("\"\\u12", End, 5),
        ("\"\\\"", End, 3),
        ("[1", End, 2),
        ("[1,", End, 3),
        ("{\"a\"", End, 4),
        ("{\"a\":", End, 5),
        ("{\"a\":1", End, 6),
        ("t", End, 0),
        ("[nul", End, 1),
        ("-", End, 1),
        ("1.", End, 2),
        ("1e", End, 2),
        ("1e+", End, 3),
        ("]", Unexpected, 0),
        ("}", Unexpected, 0),
        (",", Unexpected, 0),
        ("[,1]", Unexpected, 1),
        ("[1,]", Unexpected, 3),
        ("[1,,2]", Unexpected, 3),
        ("[1 2]", Unexpected, 3),
        ("[1}", Unexpected, 2),
        ("{]", Unexpected, 1),
        ("{1:1}", Unexpected, 1),
        ("{a:1}", Unexpected, 1),
        ("{'a':1}", Unexpected, 1),
        ("{\"a\" 1}", Unexpected, 5),
        ("{\"a\":}", Unexpected, 5),
        ("{\"a\":1,}", Unexpected, 7),
        ("{\"a\":1 \"b\":2}", Unexpected, 7),
        ("{,}", Unexpected, 1),
        ("{\"a\",\"b\"}", Unexpected, 4),
        ("[1,\u{a0}2]", Unexpected, 3),
        ("\u{feff}1", Unexpected, 0),
        ("\u{b}1", Unexpected, 0),
        ("+1", Unexpected, 0),
        (".5", Unexpected, 0),
        ("NaN", Unexpected, 0),
        ("Infinity", Unexpected, 0),
        ("//c\n1", Unexpected, 0),
        ("01", Number, 1),
        ("-01", Number, 2),
        ("-a", Number, 1),
        ("1.a", Number, 2),
        ("1.e1", Number, 2),
        ("1ea", Number, 2),
        ("1e+-1", Number, 3),
        ("-Infinity", Number, 1),
        ("[0.]", Number, 3),
        ("tru]", Literal, 0),
        ("True", Unexpected, 0),
        ("nULL", Literal, 0),
        ("falsy", Literal, 0),
        ("1 1", Trailing, 2),
        ("1a", Trailing, 1),
        ("0x10", Trailing, 1),
        ("{}}", Trailing, 2),
        ("[]/**/", Trailing, 2),
        ("\"a\"b", Trailing, 3),
        ("nulll", Trailing, 4),
        ("1\0", Trailing, 1),
        ("1.5.5", Trailing, 3),
        ("\"\n\"", Control, 1),
        ("\"abcdefgh\t\"", Control, 9),
        ("\"\u{1f}\"", Control, 1),
        ("\"\0\"", Control, 1),
        ("\"\\a\"", Escape, 2),
        ("\"\\'\"", Escape, 2),
        ("\"\\U0041\"", Escape, 2),
        ("\"\\u00g0\"", Escape, 5),
        ("\"\\u+123\"", Escape, 3),
        ("\"\\x00\"", Escape, 2),
        ("\"\\é\"", Escape, 2),
    ] {
        assert_eq!(validate(text.as_bytes()), Err(Error { kind, offset }), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_utf8() {
    let texts: [&[u8]; 7] = [
        b"\"\xFF\"",
        b"\"\xC0\x80\"",
        b"\"\xED\xA0\x80\"",
        b"\"\xF4\x90\x80\x80\"",
        b"\"\xE2\x82\"",
        b"\xFE\xFF",
        b"\"\x80\"",
    ];
    for text in texts {
        assert_eq!(verdict(text), Some(ErrorKind::Utf8), "{text:x?}");
    }
}

#[test]
fn keeps_to_its_limits() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert_eq!(verdict(&nested(32)), None);
    assert_eq!(validate(&nested(33)), Err(Error { kind: ErrorKind::Depth, offset: 32 }));
    assert_eq!(verdict(&nested(30_000)), Some(ErrorKind::Depth));
    assert_eq!(verdict(&b"{\"a\":".repeat(10_000)), Some(ErrorKind::Depth));
    let deep = nested(64);
    let mut reader = Reader::within(&deep, Limits { depth_max: 255, ..Limits::default() }).expect("short UTF-8");
    assert!(reader.skip().is_ok(), "64 levels are the most");
    let deeper = nested(65);
    let mut reader = Reader::within(&deeper, Limits { depth_max: 255, ..Limits::default() }).expect("short UTF-8");
    assert_eq!(reader.skip().map_err(|error| error.kind), Err(ErrorKind::Depth));
    let limits = Limits { bytes_max: 3, depth_max: 1 };
    assert!(Reader::within(b"123", limits).is_ok());
    assert_eq!(Reader::within(b"1234", limits).map_err(|error| error.kind).err(), Some(ErrorKind::TooLong));
}

#[test]
fn pulls_values_by_type() {
    let text = br#" {"name":"a\/b","list":[1,true,null,{"x":[]}],"skip":{"a":[1,{"b":"]}"}]},"n":-1.50e1} "#;
    let mut reader = Reader::new(text).expect("short UTF-8");
    reader.object().expect("an object");
    let mut seen = Vec::new();
    while let Some(key) = reader.key().expect("a key") {
        seen.push(key.raw());
        match key.plain().expect("a plain key") {
            "name" => {
                // The wrong type consumes nothing.
                assert_eq!(reader.number().map_err(|error| error.kind), Err(ErrorKind::Type));
                let name = reader.string().expect("a string");
                assert_eq!((name.plain(), name.is("a/b"), name.raw()), (None, true, "a\\/b"));
            }
            "list" => {
                reader.array().expect("an array");
                assert!(reader.item().expect("an item"));
                assert_eq!(reader.number().expect("a number").to_u64(), Some(1));
                assert!(reader.item().expect("an item"));
                assert!(reader.bool().expect("a truth"));
                assert!(reader.item().expect("an item"));
                reader.null().expect("null");
                assert!(reader.item().expect("an item"));
                assert_eq!(reader.skip(), Ok(r#"{"x":[]}"#));
                assert!(!reader.item().expect("the end"));
            }
            "skip" => assert_eq!(reader.skip(), Ok(r#"{"a":[1,{"b":"]}"}]}"#)),
            _ => assert_eq!(reader.number().expect("a number").decimal(), Some(Decimal { digits: -150, scale: 1 })),
        }
    }
    assert_eq!(seen, ["name", "list", "skip", "n"]);
    assert_eq!(reader.finish(), Ok(()));
}

fn number(text: &str) -> Number<'_> {
    let mut reader = Reader::new(text.as_bytes()).expect("short UTF-8");
    let number = reader.number().expect("a number");
    reader.finish().expect("nothing else");
    number
}

#[test]
fn moves_the_point_exactly() {
    for (text, places, expected) in [
        ("868.1", 6, Some(868_100_000)),
        ("868.100000", 6, Some(868_100_000)),
        ("868.1000000000001", 6, Some(868_100_000)),
        ("868.09999999999999999999999999", 6, Some(868_100_000)),
        ("8.681e2", 6, Some(868_100_000)),
        ("868100000e-6", 6, Some(868_100_000)),
        ("0.0008681E6", 6, Some(868_100_000)),
        ("867.1234565", 6, Some(867_123_457)),
        ("867.1234564999999999999999999", 6, Some(867_123_456)),
        ("-35.25", 1, Some(-353)),
        ("-35.24", 1, Some(-352)),
        ("-0.05", 1, Some(-1)),
        ("-0.04", 1, Some(0)),
        ("0.5", 0, Some(1)),
        ("0.05", 0, Some(0)),
        ("5e-1", 0, Some(1)),
        ("5e-2", 0, Some(0)),
        ("9.5", 0, Some(10)),
        ("0", 6, Some(0)),
        ("0e999999999999999999999", 6, Some(0)),
        ("1e-999999999999999999999", 6, Some(0)),
        ("1e999999999999999999999", 6, None),
        ("9223372036854775807", 0, Some(i64::MAX)),
        ("-9223372036854775808", 0, Some(i64::MIN)),
        ("9223372036854775808", 0, None),
        ("9223372036854775807.5", 0, None),
        ("92233720368547758.07", 2, Some(i64::MAX)),
        ("1e18", 0, Some(1_000_000_000_000_000_000)),
        ("1e19", 0, None),
        ("00000000000000000000000001e0".trim_start_matches('0'), 0, Some(1)),
        ("0.00000000000000000000000000000000000001e38", 0, Some(1)),
    ] {
        assert_eq!(number(text).fixed(places), expected, "{text} x 10^{places}");
    }
}

#[test]
fn reads_numbers_as_what_they_are() {
    for (text, signed, unsigned) in [
        ("0", Some(0), Some(0)),
        ("-0", Some(0), Some(0)),
        ("12", Some(12), Some(12)),
        ("12.0", Some(12), Some(12)),
        ("1.2e1", Some(12), Some(12)),
        ("120e-1", Some(12), Some(12)),
        ("12.5", None, None),
        ("-12", Some(-12), None),
        ("0.1", None, None),
        ("18446744073709551615", None, Some(u64::MAX)),
        ("18446744073709551616", None, None),
        ("1e400", None, None),
        ("1e-400", None, None),
    ] {
        assert_eq!((number(text).to_i64(), number(text).to_u64()), (signed, unsigned), "{text}");
    }
    assert_eq!(number("1e400").to_f64(), None);
    assert_eq!(number("-0.1").to_f64(), Some(-0.1));
    assert_eq!(number("868.100000").decimal(), Some(Decimal { digits: 868_100_000, scale: 6 }));
    assert_eq!(number("-5E+3").decimal(), Some(Decimal { digits: -5, scale: -3 }));
    assert_eq!(number("-9223372036854775808").decimal(), Some(Decimal { digits: i64::MIN, scale: 0 }));
    assert_eq!(number("9223372036854775808").decimal(), None);
    assert_eq!(number("1e99999999999").decimal(), None);
}

#[test]
fn unescapes_into_a_lent_buffer() {
    let text = br#""\u0041\t\"\\\/\b\f\n\r\u20ac\ud834\udd1e-x""#;
    let mut reader = Reader::new(text).expect("short UTF-8");
    let string = reader.string().expect("a string");
    let plain = "A\t\"\\/\u{8}\u{c}\n\r€𝄞-x";
    let mut out = [0; 64];
    assert_eq!(string.unescape(&mut out), Ok(plain));
    assert_eq!(string.unescape(&mut out[..plain.len()]), Ok(plain));
    assert_eq!(string.unescape(&mut out[..plain.len() - 1]), Err(TextError::TooLong));
    assert!(string.is(plain) && !string.is("A") && string.is_ignoring_case(&plain.to_ascii_lowercase()));
    for half in
        [r#""\ud834""#, r#""\udd1e""#, r#""\ud834\u0041""#, r#""\ud834x""#, r#""\ud834\ud834""#, r#""\ud834\n""#]
    {
        let string = Reader::new(half.as_bytes()).expect("short UTF-8").string().expect("a string");
        assert_eq!(string.unescape(&mut out), Err(TextError::Surrogate), "{half}");
        assert!(!string.is("x"), "{half}");
    }
}

#[test]
fn writes_what_it_reads() {
    let mut out = [0; 256];
    let mut json = Writer::new(&mut out);
    json.object().key("a\"").string("\u{1}\n€/\\").key("list").array();
    json.integer(-5)
        .unsigned(u64::MAX)
        .fixed(868_100_000, 6)
        .fixed(-5, 1)
        .fixed(7, 0)
        .bool(true)
        .null()
        .array()
        .end_array();
    json.end_array().key("hex").hex(&[0xAB, 1]).key("b64").base64(b"foob").key("raw").raw("{}").end_object();
    let count = json.finish().expect("room");
    let text = core::str::from_utf8(&out[..count]).expect("UTF-8");
    let expected = r#"{"a\"":"\u0001\n€/\\","list":[-5,18446744073709551615,868.100000,-0.5,7,true,null,[]],"hex":"AB01","b64":"Zm9vYg==","raw":{}}"#;
    assert_eq!(text, expected);
    assert_eq!(validate(text.as_bytes()), Ok(()));
    for room in 0..count {
        let mut json = Writer::new(&mut out[..room]);
        json.object().key("a\"").string("\u{1}\n€/\\").key("list").array().base64(&[0; 100]).end_array().end_object();
        assert!(json.finish().is_err());
    }
}

/// Texts made of the grammar's pieces, right and wrong; `serde_json` is the other opinion.
#[test]
fn agrees_with_another_parser() {
    const PIECES: [&str; 33] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"",
        "\\",
        "\\u00e9",
        "\\ud834\\udd1e",
        "1",
        "0",
        "-",
        ".",
        "e",
        "E+",
        "true",
        "false",
        "null",
        " ",
        "\n",
        "\"k\":",
        "[1,2]",
        "{\"a\":{}}",
        "é",
        "\t",
        "1.5e3",
        "tru",
        "\"\"",
        "/",
        "12345678901234567890",
        "\"x\\n\"",
    ];
    let mut random = SplitMix64::new(5);
    let mut right = 0;
    for _ in 0..200_000 {
        let mut text = String::new();
        for _ in 0..=random.below(7) {
            text.push_str(PIECES[random.below(PIECES.len() as u64) as usize]);
        }
        let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        assert_eq!(validate(text.as_bytes()).is_ok(), expected, "{text:?}");
        right += u32::from(expected);
    }
    assert!(right > 1000, "{right} texts were right");
}

/// Right texts, changed by one byte.
#[test]
fn agrees_with_another_parser_after_a_slip() {
    let source = br#"{"rxpk":[{"tmst":3512348611,"freq":866.349812,"stat":-1,"datr":"SF7BW125","x":[true,null,"\u00e9\n"],"e":-1.5E-3}]}"#;
    let mut random = SplitMix64::new(6);
    for _ in 0..100_000 {
        let mut text = source.to_vec();
        let at = random.below(text.len() as u64) as usize;
        match random.below(3) {
            0 => text[at] = b"{}[],:\"\\01.eE+-tn \x1f"[random.below(19) as usize],
            1 => {
                text.remove(at);
            }
            _ => text.truncate(at),
        }
        let expected = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        assert_eq!(validate(&text).is_ok(), expected, "{}", String::from_utf8_lossy(&text));
    }
}

/// Strings of random characters, escaped by the other writer.
#[test]
fn reads_another_writers_strings() {
    let mut random = SplitMix64::new(8);
    for _ in 0..20_000 {
        let text: String = (0..random.below(12))
            .filter_map(|_| {
                let bits = [7, 8, 11, 16, 21][random.below(5) as usize];
                char::from_u32(random.below(1 << bits) as u32)
            })
            .collect();
        let theirs = serde_json::to_string(&text).expect("a string");
        let (mut out, mut ours) = ([0; 64], [0; 128]);
        let string = Reader::new(theirs.as_bytes()).expect("short UTF-8").string().expect("a string");
        assert_eq!(string.unescape(&mut out), Ok(text.as_str()));
        assert!(string.is(&text));
        let count = Writer::new(&mut ours).string(&text).finish().expect("room");
        assert_eq!(serde_json::from_slice::<String>(&ours[..count]).expect("a string"), text);
    }
}
