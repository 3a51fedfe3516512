use super::*;

const GOOD: &str = r#""Type":3,"DeviceEUI":"70B3D57ED0000001","Port":10,"Data":"0a0B""#;

fn check(members: &str, expected: Result<(), Refusal>) {
    let mut scratch = Scratch::default();
    let json = format!("{{{GOOD},{members}}}");
    let outcome = Downlink::parse(json.as_bytes(), &mut scratch).map(|_| ());
    assert_eq!(outcome, expected, "{members}");
}

#[test]
fn reads_a_downlink() {
    let mut scratch = Scratch::default();
    let plain = Downlink {
        confirmed: false,
        dev_eui: Eui64::new(0x70B3_D57E_D000_0001),
        port: 10,
        data: &[0x0A, 0x0B],
        id: None,
        expires: None,
    };
    assert_eq!(Downlink::parse(format!("{{{GOOD}}}").as_bytes(), &mut scratch), Ok(plain));
    let json = r#" { "expires":1.7e9, "ID":"m\u00fcne\"", "DATA":"", "port":223.0, "deviceeui":"70-b3-d5-7e-d0-00-00-01", "tYpE":5, "Else":[{}] } "#;
    let full =
        Downlink { confirmed: true, port: 223, data: &[], id: Some("müne\""), expires: Some(1_700_000_000), ..plain };
    assert_eq!(Downlink::parse(json.as_bytes(), &mut scratch), Ok(full));
    let longest = format!(r#"{{"Type":3,"DeviceEUI":"70B3D57ED0000001","Port":1,"Data":"{}"}}"#, "ab".repeat(242));
    assert_eq!(Downlink::parse(longest.as_bytes(), &mut scratch).map(|downlink| downlink.data.len()), Ok(242));
}

#[test]
fn names_the_field_at_fault() {
    for (members, refusal) in [
        (r#""Type":4"#, TYPE),
        (r#""Type":"3""#, TYPE),
        (r#""Type":null"#, TYPE),
        (r#""Type":3.5"#, TYPE),
        (r#""Port":0"#, PORT),
        (r#""Port":224"#, PORT),
        (r#""Port":-1"#, PORT),
        (r#""Port":1.5"#, PORT),
        (r#""Port":1e99"#, PORT),
        (r#""Port":"10""#, PORT),
        (r#""Port":{}"#, PORT),
        (r#""DeviceEUI":"70B3D57ED000000""#, DEVICE),
        (r#""DeviceEUI":"70B3D57ED000000G""#, DEVICE),
        (r#""DeviceEUI":7"#, DEVICE),
        (r#""DeviceEUI":null"#, DEVICE),
        (r#""DeviceEUI":"\ud800""#, DEVICE),
        (r#""Data":"abc""#, DATA_TYPE),
        (r#""Data":"0x12""#, DATA_TYPE),
        (r#""Data":5"#, DATA_TYPE),
        (r#""Data":null"#, DATA_TYPE),
        (r#""Id":5"#, ID),
        (r#""Id":"\ud800""#, ID),
        (r#""Expires":"soon""#, EXPIRES),
        (r#""Expires":-5"#, EXPIRES),
        (r#""Expires":1e30"#, EXPIRES),
        // The first in the order of the fields.
        (r#""Expires":-5,"Port":0,"Id":1"#, PORT),
    ] {
        check(members, Err(refusal));
    }
    check(&format!(r#""Data":"{}""#, "00".repeat(243)), Err(DATA_LENGTH));
    check(&format!(r#""Id":"{}""#, "x".repeat(65)), Err(ID));
    check(&format!(r#""Id":"{}\n""#, "x".repeat(64)), Err(ID));
    check(&format!(r#""Id":"{}""#, "x".repeat(64)), Ok(()));
    check(r#""Id":null,"Expires":null"#, Ok(()));
    check(r#""Port":0,"PORT":7"#, Ok(()));
    let mut scratch = Scratch::default();
    for json in ["", "[]", "{", "{}x", "3", "{\"Type\":3,}", "\u{feff}{}"] {
        assert_eq!(Downlink::parse(json.as_bytes(), &mut scratch), Err(NOT_JSON), "{json}");
    }
    assert_eq!(Downlink::parse(b"{\"Id\":\"\xFF\"}", &mut scratch), Err(NOT_JSON));
    assert_eq!(Downlink::parse(b"{}", &mut scratch), Err(TYPE));
}

#[test]
fn answers_repeat_the_askers_name() {
    let mut scratch = Scratch::default();
    let id = id_of(br#"{"Port":0,"id":"a\"b"}"#, &mut scratch);
    assert_eq!(id, Some("a\"b"));
    let mut out = [0; ANSWER_BYTES_MAX];
    let count = write_refused(PORT, id, &mut out).expect("room");
    assert_eq!(
        core::str::from_utf8(&out[..count]),
        Ok(r#"{"Event":"error","Field":"Port","Error":"must be 1 to 223","Id":"a\"b"}"#)
    );
    let count = write_refused(NOT_JSON, None, &mut out).expect("room");
    assert_eq!(core::str::from_utf8(&out[..count]), Ok(r#"{"Event":"error","Error":"must be a JSON object"}"#));
    let count = write_accepted(12, Eui64::new(0xAB), Some("mine"), &mut out).expect("room");
    assert_eq!(
        core::str::from_utf8(&out[..count]),
        Ok(r#"{"Event":"accepted","DownlinkId":12,"DeviceEUI":"00000000000000AB","Id":"mine"}"#)
    );
    for room in 0..count {
        assert!(write_accepted(12, Eui64::new(0xAB), Some("mine"), &mut out[..room]).is_err());
    }
    let longest = "\u{1}".repeat(ID_BYTES_MAX);
    assert!(write_accepted(u64::MAX, Eui64::new(0), Some(&longest), &mut out).is_ok());
    assert_eq!(id_of(b"{", &mut scratch), None);
    assert_eq!(id_of(br#"{"Id":5}"#, &mut scratch), None);
}
