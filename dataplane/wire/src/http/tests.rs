use super::*;
use crate::websocket::DeflateParams;

/// The opening handshake of RFC 6455 §1.2.
const RFC: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn head(text: &str) -> Head<'_> {
    let (head, count) = Head::parse(text.as_bytes()).expect("a head").expect("all of it");
    assert_eq!(count, text.len());
    head
}

fn request(target: &str) -> String {
    RFC.replace("/chat", target)
}

#[test]
fn answers_the_rfcs_handshake() {
    let head = head(RFC);
    let upgrade = Upgrade::check(&head).expect("an upgrade");
    assert!(upgrade.offers("chat") && upgrade.offers("superchat") && !upgrade.offers("Chat") && !upgrade.offers(""));
    assert_eq!(upgrade.deflate(), None);
    let mut out = [0; 512];
    let count = upgrade.write(&Answer { protocol: Some("chat"), deflate: None }, &mut out).expect("room");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(core::str::from_utf8(&out[..count]), Ok(expected));
    for room in 0..count {
        assert!(upgrade.write(&Answer { protocol: Some("chat"), deflate: None }, &mut out[..room]).is_err());
    }
    assert_eq!(&accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn answers_browsers() {
    let text = RFC
        .replace("Connection: Upgrade", "connection: keep-alive,  UPGRADE")
        .replace("Upgrade: websocket", "UPGRADE: h2c, WebSocket")
        .replace("Origin", "Sec-WebSocket-Extensions: x-other\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin");
    let head = head(&text);
    let upgrade = Upgrade::check(&head).expect("an upgrade");
    let deflate = upgrade.deflate();
    assert_eq!(deflate, Some(DeflateParams { server_window_bits: 15, server_window_named: false }));
    let mut out = [0; 512];
    let count = upgrade.write(&Answer { protocol: None, deflate }, &mut out).expect("room");
    let answer = core::str::from_utf8(&out[..count]).expect("ASCII");
    let line =
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n";
    assert!(answer.ends_with(line), "{answer}");
}

#[test]
fn refuses_what_opens_no_websocket() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to, refused, code) in [
        ("GET", "POST", Refused::Method, 405),
        ("GET", "get", Refused::Method, 405),
        ("HTTP/1.1", "HTTP/1.0", Refused::HttpVersion, 400),
        ("Host: server.example.com\r\n", "", Refused::Host, 400),
        ("Origin", "Host: b\r\nOrigin", Refused::Host, 400),
        ("Origin", "Content-Length: 5\r\nOrigin", Refused::Body, 400),
        ("Origin", "Transfer-Encoding: chunked\r\nOrigin", Refused::Body, 400),
        ("Upgrade: websocket\r\n", "", Refused::NoUpgrade, 426),
        ("Upgrade: websocket", "Upgrade: websockets", Refused::NoUpgrade, 426),
        ("Connection: Upgrade\r\n", "", Refused::NoUpgrade, 426),
        ("Connection: Upgrade", "Connection: keep-alive", Refused::NoUpgrade, 426),
        ("Version: 13", "Version: 8", Refused::Version, 426),
        ("Version: 13", "Version: 13, 8", Refused::Version, 426),
        ("Sec-WebSocket-Version: 13\r\n", "", Refused::Version, 426),
        (key, "", Refused::Key, 400),
        (key, &format!("{key}{key}"), Refused::Key, 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", Refused::Key, 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=!", Refused::Key, 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTEy", Refused::Key, 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", Refused::Key, 400),
    ] {
        let text = RFC.replace(from, to);
        assert_ne!(text, RFC);
        let outcome = Upgrade::check(&head(&text)).map(|_| ());
        assert_eq!(outcome, Err(refused), "{to}");
        assert_eq!(refused.status().code(), code, "{to}");
    }
    let harmless = RFC.replace("Origin", "Content-Length: 0\r\nOrigin");
    assert!(Upgrade::check(&head(&harmless)).is_ok());
}

#[test]
fn finds_path_query_and_token() {
    let mut out = [0; 16];
    for (target, path, query, token) in [
        ("/?token=abc", "/", Some("token=abc"), Ok(Some("abc"))),
        ("?token=abc", "/", Some("token=abc"), Ok(Some("abc"))),
        ("/echo", "/echo", None, Ok(None)),
        ("/a/b?x=1&token=a%2Fb%3D&token=second", "/a/b", Some("x=1&token=a%2Fb%3D&token=second"), Ok(Some("a/b="))),
        ("/?token=a+b/c==", "/", Some("token=a+b/c=="), Ok(Some("a+b/c=="))),
        ("/?token", "/", Some("token"), Ok(Some(""))),
        ("/?token=", "/", Some("token="), Ok(Some(""))),
        ("/?Token=x", "/", Some("Token=x"), Ok(None)),
        ("/?xtoken=1&tokenx=2", "/", Some("xtoken=1&tokenx=2"), Ok(None)),
        ("/?token=%", "/", Some("token=%"), Err(QueryError::Escape)),
        ("/?token=%2", "/", Some("token=%2"), Err(QueryError::Escape)),
        ("/?token=%zz", "/", Some("token=%zz"), Err(QueryError::Escape)),
        ("/?token=%+1", "/", Some("token=%+1"), Err(QueryError::Escape)),
        ("/?token=%ff", "/", Some("token=%ff"), Err(QueryError::Utf8)),
        ("/?token=%c3%a9", "/", Some("token=%c3%a9"), Ok(Some("é"))),
        ("/?token=12345678901234567", "/", Some("token=12345678901234567"), Err(QueryError::TooLong)),
        ("/?token=%312345678901234567", "/", Some("token=%312345678901234567"), Err(QueryError::TooLong)),
        ("https://host:8443/x?token=t", "/x", Some("token=t"), Ok(Some("t"))),
        ("https://host?token=t", "/", Some("token=t"), Ok(Some("t"))),
        ("https://host", "/", None, Ok(None)),
        ("/?u=http://x/&token=t", "/", Some("u=http://x/&token=t"), Ok(Some("t"))),
    ] {
        let text = request(target);
        let head = head(&text);
        assert_eq!((head.path(), head.raw_query()), (path, query), "{target}");
        assert_eq!(head.query("token", &mut out), token, "{target}");
    }
}

#[test]
fn finds_fields_whatever_their_case() {
    let head_of = |value: &str| RFC.replace("Origin", &format!("aUTHORIZATION: {value}\r\nOrigin"));
    for (value, expected) in [
        ("Bearer abc", Some("abc")),
        ("bearer   abc", Some("abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearerabc", None),
    ] {
        let text = head_of(value);
        assert_eq!(head(&text).bearer(), expected, "{value}");
    }
    assert_eq!(head(RFC).bearer(), None);
    assert_eq!(head(RFC).field("hOST"), Some(&b"server.example.com"[..]));
    assert_eq!(head(RFC).field("Hos"), None);
}

#[test]
fn reads_a_head_as_it_arrives_and_no_further() {
    for cut in 0..RFC.len() {
        assert!(matches!(Head::parse(&RFC.as_bytes()[..cut]), Ok(None)), "{cut} bytes");
    }
    let more = format!("{RFC}\u{81}more");
    assert_eq!(Head::parse(more.as_bytes()).expect("a head").expect("all of it").1, RFC.len());
}

#[test]
fn keeps_to_its_bounds() {
    let outcome = |text: &str| Head::parse(text.as_bytes()).map(|head| head.is_some());
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(outcome(&fields(FIELD_COUNT_MAX)), Ok(true));
    assert_eq!(outcome(&fields(FIELD_COUNT_MAX + 1)), Err(HeadError::TooMany));
    let long = |count: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(count));
    assert_eq!(outcome(&long(8000)), Ok(false));
    assert_eq!(outcome(&long(8200)), Err(HeadError::TooLong));
    assert_eq!(outcome(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(9000))), Err(HeadError::TooLong));
    for text in [
        "\u{16}\u{3}\u{1}\u{2}",
        "GET\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "G T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA b\r\n\r\n",
    ] {
        assert_eq!(outcome(text), Err(HeadError::Grammar), "{text:?}");
    }
    let codes = [HeadError::TooLong, HeadError::TooMany, HeadError::Grammar].map(|error| error.status().code());
    assert_eq!(codes, [431, 431, 400]);
}

#[test]
fn refusals_are_whole_responses() {
    for status in Status::ALL {
        let mut out = [0; RESPONSE_BYTES_MAX];
        let count = write_response(status, &mut out).expect("room");
        for room in 0..count {
            assert!(write_response(status, &mut out[..room]).is_err());
        }
        let count = write_response(status, &mut out).expect("room");
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(at)) = response.parse(&out[..count]) else {
            panic!("no response");
        };
        assert_eq!((response.code, response.reason), (Some(status.code()), Some(status.reason())));
        let field = |name: &str| {
            let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| core::str::from_utf8(field.value).expect("ASCII"))
        };
        assert_eq!(field("Content-Length"), Some((count - at).to_string().as_str()));
        assert!(field("Connection").is_some_and(|value| value.contains("close")));
        assert_eq!(field("Sec-WebSocket-Version"), (status == Status::UpgradeRequired).then_some("13"));
        assert_eq!(field("Allow"), (status == Status::MethodNotAllowed).then_some("GET"));
        assert_eq!(field("WWW-Authenticate"), (status == Status::Unauthorized).then_some("Bearer"));
    }
}
