//! A data directory as a run leaves it, made by the same journal, keeper and plan, and what the commands say of it.

use super::*;
use clap::Parser;
use files::Files;
use journal::{HEADER_BYTES, Kind, Limits, Log, Record};
use keeper::Keeper;
use session::body::{BODY_BYTES_MAX, UplinkBody};
use session::{Advance, SessionRecord};

const LIMITS: Limits = Limits {
    segment_bytes: 256 << 10,
    tail_bytes: 512 << 10,
    batch_bytes: 256 << 10,
    epoch_bytes: journal::OFFSET_END,
};
const START: u64 = 1_709_251_199_000_000;
const KEY: [u8; 16] = [0xAB; 16];

/// A data directory: a stored plan of two streams, and a run of 3000 uplinks of two devices, a second apart.
fn data() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let mut log = PlanLog::open(home.path()).expect("a plan");
    let level = v1::Level::Operator.into();
    let durable =
        v1::Stream { id: 7, level, enabled: true, delivery: v1::Delivery::Durable.into(), ..Default::default() };
    let live = v1::Stream { delivery: v1::Delivery::Live.into(), format: "xml".into(), ..durable.clone() };
    let streams =
        [v1::Stream { name: "kept".into(), ..durable }, v1::Stream { id: 8, name: "li\u{7}ve".into(), ..live }];
    let changes = streams.map(|stream| v1::Change { body: Some(v1::change::Body::Stream(stream)) });
    log.append(&changes, 3).expect("stored");
    std::fs::create_dir(home.path().join("journal")).expect("a folder");
    write_run(&home.path().join("journal"));
    home
}

fn write_run(dir: &Path) {
    let mut files = Directory::open(dir).expect("a folder");
    let limits = keeper::Limits { bytes_max: 0, reserve_bytes: 0 };
    let other = Directory::open(dir).expect("a folder");
    let (mut keeper, recovered) = Keeper::recover(other, limits).expect("readable");
    let mut log = Log::new(LIMITS, recovered.epoch, 0);
    for number in 0..3000_u32 {
        let (dev_eui, at) = (Eui64::new(1 + u64::from(number % 2)), UnixMicros(START + u64::from(number) * 1_000_000));
        let advance = Advance { dev_eui, session: 1, fcnt_up: number + 1, mic: 0, gateway: Eui64::new(9) };
        let payload = number.to_be_bytes();
        let event =
            Event { dev_eui, session: 1, fcnt: number, payload: &payload, ..Event::new(event::Kind::Uplink, at) };
        let mut body = [0; BODY_BYTES_MAX];
        let count = UplinkBody { advance, event: Some(event), owes_best: false }.write(&mut body);
        append(&mut keeper, &mut log, &mut files, Kind::Uplink, at, &body[..count]);
        if number == 10 {
            append(&mut keeper, &mut log, &mut files, Kind::Device, at, &session_of(dev_eui).to_wire());
        }
    }
    keeper.checkpoint(&mut |_, each| each(7)).expect("room");
}

fn session_of(dev_eui: Eui64) -> SessionRecord {
    let keys = lorawan::SessionKeys { nwk_s_key: lorawan::AesKey(KEY), app_s_key: lorawan::AesKey(KEY) };
    let session = session::KeptSession {
        dev_addr: lorawan::DevAddr(1),
        keys,
        number: 1,
        fcnt_up: 0,
        fcnt_down: 64,
        last_mic: 0,
        rx1_delay_s: 1,
        rx1_dr_offset: 0,
        rx2_data_rate: 0,
        rx2_frequency_hz: 869_525_000,
        sub_bands: 0,
        last_seen: UnixMicros(0),
        last_gateway: Eui64::default(),
    };
    SessionRecord {
        dev_eui,
        root: 7,
        session_count: 1,
        join_nonce: 1,
        dev_nonce_count: 0,
        dev_nonces: [0; session::DEV_NONCE_COUNT],
        session: Some(session),
        pending: None,
    }
}

fn append(
    keeper: &mut Keeper<Directory>,
    log: &mut Log,
    files: &mut Directory,
    kind: Kind,
    at: UnixMicros,
    body: &[u8],
) {
    while let Some(wanted) = log.wants() {
        keeper.make(wanted, at).expect("room");
        assert!(log.ready(wanted.name));
    }
    log.append(&Record { kind, lane: 1, key: 0, tenant: 0, at, body }).expect("room");
    while let Some(write) = log.next_write(true) {
        let mut bytes = vec![0; write.bytes];
        log.copy(&write, &mut bytes);
        files.write_at(&write.segment.to_string(), write.file_offset, &bytes).expect("room");
        log.wrote(Ok(()));
        for info in log.sealed().collect::<Vec<_>>() {
            keeper.sealed(info);
        }
    }
}

/// What a command says, and whether all is well; or why it does nothing.
fn told(home: &Path, arguments: &[&str]) -> Result<(String, bool), String> {
    let data_dir = home.display().to_string();
    let line = [&["trunkline-dataplane", "journal"], arguments, &["--data-dir", &data_dir]].concat();
    let arguments = crate::arguments::Arguments::try_parse_from(line).map_err(|error| error.to_string())?;
    let Some(crate::arguments::Command::Journal(journal)) = arguments.command else { panic!("a command") };
    let mut out = Vec::new();
    let well = run_to(&journal, &mut out)?;
    Ok((String::from_utf8(out).expect("text"), well))
}

fn change(home: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = home.join("journal").join(file);
    let mut bytes = std::fs::read(&path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_journal_is_shown_to_people_and_programs() {
    let home = data();
    let (text, _) = told(home.path(), &["inspect"]).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("EPOCH  SHARD  SEGMENT  STATE "), "{text}");
    assert!(lines[1].contains("sealed") && lines[1].contains("checkpoint") && lines[1].contains("uplink"), "{text}");
    assert!(lines[1].contains("2024-02-29T23:59:59.000Z") && lines[1].contains("device 1"), "{text}");
    assert!(lines[1].contains("kept ") && !text.contains('\u{7}'), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("checkpoint 1: ") && line.contains("device 1")), "{text}");
    let (json, _) = told(home.path(), &["inspect", "--json"]).expect("readable");
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let segments = value["segments"].as_array().expect("segments");
    assert_eq!(segments.len(), lines.len() - 2, "{json}");
    let sum = |key: &str| segments.iter().filter_map(|segment| segment["records"][key].as_u64()).sum::<u64>();
    assert_eq!((sum("uplink"), sum("device")), (3000, 1));
    let messages = segments.iter().flat_map(|segment| segment["streams"].as_array().expect("streams"));
    let of = |stream: &Value| (stream["name"].clone(), stream["messages"].as_u64().expect("a count"));
    let all: Vec<_> = messages.map(of).collect();
    assert!(all.iter().all(|(name, _)| name == "kept") && all.iter().map(|(_, count)| count).sum::<u64>() == 3000);
    assert_eq!(segments.last().expect("one")["state"], "empty");
    assert_eq!(value["damages"], json!([]));
    // Keys are in what is read, never in what is told.
    for text in [text, json, told(home.path(), &["export"]).expect("readable").0] {
        let text = text.to_lowercase();
        assert!(!text.contains("abababab") && !text.contains("171, 171"), "a key is shown");
    }
}

#[test]
fn every_checksum_is_checked() {
    let home = data();
    let (text, well) = told(home.path(), &["verify"]).expect("readable");
    assert!(
        well && text.lines().count() == 1 && text.contains("3001 records") && text.ends_with("no damage\n"),
        "{text}"
    );
    let segment = "00001-00-0000000000.seg";
    change(home.path(), segment, |bytes| bytes[HEADER_BYTES + 5000] ^= 1);
    let (text, well) = told(home.path(), &["verify"]).expect("readable");
    assert!(!well && text.lines().count() == 2 && text.ends_with("1 damage\n"), "{text}");
    let offset =
        text.strip_prefix(&format!("{segment} at byte ")).and_then(|rest| rest.split_once(':')).expect("a place");
    let offset: usize = offset.0.parse().expect("a number");
    assert!(offset <= HEADER_BYTES + 5000 && HEADER_BYTES + 5000 - offset < 300, "{text}");
    let (shown, well) = told(home.path(), &["inspect"]).expect("readable");
    assert!(well && shown.contains("damaged: ") && shown.lines().nth(1).is_some_and(|line| line.contains("damaged")));
    change(home.path(), segment, |bytes| bytes[HEADER_BYTES + 5000] ^= 1);

    // The tail of the segment that was written to last.
    let (json, _) = told(home.path(), &["inspect", "--json"]).expect("readable");
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let open = value["segments"].as_array().expect("segments").iter().find(|it| it["state"] == "open").expect("one");
    let end = HEADER_BYTES + open["used_bytes"].as_u64().expect("bytes") as usize;
    let open = open["file"].as_str().expect("a name");
    change(home.path(), open, |bytes| bytes[end - 20..end].fill(0));
    let (text, well) = told(home.path(), &["verify"]).expect("readable");
    assert!(well && text.contains("3000 records") && text.contains("no damage, 1 torn tails"), "{text}");

    change(home.path(), open, |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    });
    for command in ["verify", "inspect", "export"] {
        let refused = told(home.path(), &[command]).expect_err("a later version's");
        assert!(refused.contains("version 2") && refused.lines().count() == 1, "{refused}");
    }
    let nothing = told(&home.path().join("none"), &["verify"]).expect_err("nothing there");
    assert!(nothing.contains("none/journal") && nothing.lines().count() == 1, "{nothing}");
}

#[test]
fn what_is_kept_is_exported_as_history_has_it() {
    let home = data();
    let export = |more: &[&str]| told(home.path(), &[&["export"], more].concat()).expect("readable").0;
    let all = export(&[]);
    assert_eq!(all.lines().count(), 3000);
    let first: Value = serde_json::from_str(all.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["DeviceEUI"], &first["Data"]), (&json!("0000000000000001"), &json!("00000000")), "{first}");
    assert_eq!(export(&["--stream", "kept"]), all);
    assert_eq!(export(&["--stream", "7", "--device", "0000000000000002"]).lines().count(), 1500);
    let some = export(&["--since", "2024-03-01T00:00:00Z", "--until", "1709251203.5"]);
    let data: Vec<Value> =
        some.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["Data"].clone()).collect();
    assert_eq!(data, ["00000001", "00000002", "00000003", "00000004"]);
    // A format that is no JSON.
    let xml = export(&["--stream", "8", "--until", "1709251200"]);
    let xml: Value = serde_json::from_str(xml.trim_end()).expect("one line of JSON");
    assert!(xml["Message"].as_str().is_some_and(|text| text.contains('<')), "{xml}");
    for (arguments, expected) in [
        (["--stream", "nobody"], "no stream of that name"),
        (["--stream", "9"], "no stream of that number"),
        (["--since", "yesterday"], "RFC 3339"),
        (["--device", "xyz"], "--device"),
    ] {
        let refused = told(home.path(), &[&["export"][..], &arguments].concat()).expect_err("misused");
        assert!(refused.contains(expected), "{refused}");
    }
    // Without a stored plan everything is written.
    std::fs::remove_file(home.path().join("plan.log")).expect("it was there");
    assert_eq!(export(&[]), all);
}

#[test]
fn serving_needs_no_command_and_a_command_no_serving() {
    let parse = |line: &[&str]| crate::arguments::Arguments::try_parse_from([&["trunkline-dataplane"], line].concat());
    assert!(parse(&["--cores", "2"]).is_ok_and(|arguments| arguments.command.is_none()));
    assert!(parse(&["journal"]).is_err() && parse(&["--cores", "2", "journal", "verify"]).is_err());
    assert!(parse(&["journal", "verify", "--json"]).is_err());
    let home = data();
    let held = std::fs::File::open(home.path().join("journal")).expect("it is there");
    assert!(!is_served(&home.path().join("journal")));
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("free");
    assert!(is_served(&home.path().join("journal")), "reading goes on, with a warning");
    assert!(told(home.path(), &["verify"]).is_ok_and(|(_, well)| well));
}
