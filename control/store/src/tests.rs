//! The store, from its first start to its last excuse.

use crate::{DeviceFilter, Error, Kept, Scope, Since, Store, Upserted};
use base::Eui64;
use model::change::{self, Removed};
use model::{
    Accept, Activation, ApiKey, Application, ApplicationId, Bounded, Change, Checker, Compiler, Copies, Delivery,
    DevAddr, Device, Durable, Fault, Format, Gateway, Key128, Level, MacVersion, Name, Place, Profile, ProfileId,
    Region, RetentionBytes, Role, Settings, Stream, SubBands, Tenant, TenantId, Token, WhenFull,
};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

struct Files {
    _folder: TempDir,
    path: PathBuf,
    key: PathBuf,
}

fn files() -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("control.sqlite"), folder.path().join("control.key"));
    Files { _folder: folder, path, key }
}

impl Files {
    fn open(&self) -> Store {
        Store::open(&self.path, &self.key, Box::<Compiler>::default()).expect("a store")
    }

    fn refusal(&self) -> String {
        let refusal =
            Store::open(&self.path, &self.key, Box::<Compiler>::default()).err().expect("no store").to_string();
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        refusal
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn profile() -> Profile {
    Profile {
        tenant: None,
        name: name("EU"),
        region: Region::EU868,
        mac_version: MacVersion::V1_0_4,
        rx1_delay_s: Some(Bounded::new(5).expect("in range")),
        rx1_dr_offset: Bounded::new(0).expect("in range"),
        rx2_data_rate: None,
        rx2_frequency_hz: None,
        sub_bands: SubBands(0),
        confirmed_attempts_max: None,
        fcnt_gap_max: None,
        queue_count_max: None,
    }
}

fn otaa(number: u64) -> Device {
    Device {
        join_eui: Eui64::new(u64::MAX),
        tenant: TenantId(1),
        application: ApplicationId(1),
        profile: ProfileId(1),
        name: None,
        enabled: true,
        activation: Activation::Otaa { app_key: Key128::new(u128::from(number).to_be_bytes()) },
    }
}

fn abp() -> Device {
    let activation = Activation::Abp {
        dev_addr: DevAddr(0xFC00_AC01),
        nwk_s_key: Key128::new([1; 16]),
        app_s_key: Key128::new([2; 16]),
        fcnt_up: u32::MAX,
        fcnt_down: 7,
    };
    Device { name: Some(name("Meter 1")), enabled: false, activation, ..otaa(0) }
}

fn stream(level: Level) -> Stream {
    Stream {
        tenant: Some(TenantId(1)),
        name: name("Tap"),
        level,
        copies: Copies::Best,
        kinds: vec!["uplink".into()],
        format: Format::Shipped("json".into()),
        enabled: true,
        downlinks: false,
        deflate: true,
        queue_bytes_max: Some(Bounded::new(65_536).expect("in range")),
        when_full: WhenFull::Disconnect,
        ping_interval_s: None,
        connection_count_max: None,
        delivery: Delivery::Live,
    }
}

fn durable() -> Delivery {
    Delivery::Durable(Durable {
        accept: Accept::Memory,
        retention_s: Some(Bounded::new(3600).expect("in range")),
        retention_bytes: Some(RetentionBytes::new(1 << 50).expect("in range")),
        retry_s: Some(Bounded::new(0).expect("in range")),
        ..Durable::default()
    })
}

/// One tenant, one application, one profile: all number 1.
fn furnish(store: &Store) {
    store
        .write(|writer| {
            assert_eq!(writer.insert(&Tenant { name: name("Acme") })?.number, TenantId(1));
            let application = Application { tenant: TenantId(1), name: name("Meters"), dedup_window_ms: None };
            assert_eq!(writer.insert(&application)?.number, ApplicationId(1));
            assert_eq!(writer.insert(&profile())?.number, ProfileId(1));
            Ok::<_, Error>(())
        })
        .expect("furnished");
}

fn insert<T: Kept>(store: &Store, value: &T) -> Result<T::Id, Error> {
    store.write(|writer| Ok(writer.insert(value)?.number)).map(|written| written.value)
}

fn put(store: &Store, eui: u64, device: &Device) -> Result<Upserted, Error> {
    let eui = Eui64::new(eui);
    let written = store.write(|writer| {
        let before = writer.device(eui)?;
        writer.upsert_device(eui, device, before.as_ref())
    });
    written.map(|written| written.value)
}

fn changes(store: &Store, revision: u64) -> Vec<(u64, Change)> {
    match store.changes_since(revision, 1000).expect("a log") {
        Since::Changes { logged, complete: true, latest } => {
            assert_eq!(latest, store.revision());
            logged.into_iter().map(|logged| (logged.revision, logged.change)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn keeps_everything_over_a_restart() {
    let files = files();
    let store = files.open();
    let identity = store.identity();
    assert_ne!(identity, 0);
    furnish(&store);
    let settings = Settings { accept_unknown_gateways: true, ..Settings::default() };
    let place = Place { latitude: 47.5, longitude: 19.0, altitude_m: None };
    let gateway = Gateway {
        tenant: Some(TenantId(1)),
        name: Some(name("Roof")),
        eirp_max_dbm: Some(Bounded::new(27).expect("in range")),
        place: Some(place),
    };
    let high = Eui64::new(0xFFFF_0000_0000_0001);
    store
        .write(|writer| {
            writer.set_settings(&settings)?;
            writer.insert_gateway(high, &gateway)?;
            writer.insert_device(Eui64::new(2), &otaa(2))?;
            writer.insert_device(high, &abp())?;
            let tap = writer.insert(&stream(Level::Device(high)))?;
            writer.insert_token(tap.number, &name("first"), None)?;
            writer.insert(&stream(Level::Gateway(high)))?;
            let own = Format::Own([("uplink".to_owned(), "{{dev_eui}}".to_owned())].into());
            writer.insert(&Stream { format: own, ..stream(Level::Application(ApplicationId(1))) })?;
            writer.insert(&Stream { delivery: durable(), ..stream(Level::Tenant) })?;
            Ok::<_, Error>(())
        })
        .expect("written");
    let revision = store.revision();
    drop(store);

    let store = files.open();
    assert_eq!((store.identity(), store.revision()), (identity, revision));
    store
        .read(|reader| {
            assert_eq!(reader.settings()?.value, settings);
            assert_eq!(reader.gateway(high)?.expect("there").value, gateway);
            let devices = reader.devices(DeviceFilter::default(), None, 10)?;
            let devices: Vec<_> = devices.into_iter().map(|row| (row.id, row.value)).collect();
            assert_eq!(devices, [(Eui64::new(2), otaa(2)), (high, abp())], "in the order of the EUIs");
            let streams = reader.list::<Stream>(Scope::default(), 0, 10)?;
            assert_eq!(streams[0].value, stream(Level::Device(high)));
            assert_eq!(streams[1].value.level, Level::Gateway(high));
            assert!(matches!(streams[2].value.format, Format::Own(_)));
            assert_eq!(streams[3].value.delivery, durable());
            let tokens = reader.tokens(streams[0].id.number)?;
            assert_eq!(reader.reveal_token(tokens[0].number)?.reveal().len(), 64);
            assert_eq!(
                reader
                    .by_uid::<Profile>(reader.uid_of::<Profile>(ProfileId(1))?.expect("a name"))?
                    .expect("there")
                    .value,
                profile()
            );
            Ok::<_, Error>(())
        })
        .expect("read");
}

#[test]
fn seals_secrets_and_knows_its_key_file() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let marker = *b"SIXTEEN SECRETS!";
    let device = Device { activation: Activation::Otaa { app_key: Key128::new(marker) }, ..otaa(1) };
    put(&store, 1, &device).expect("written");
    let tap = insert(&store, &stream(Level::Tenant)).expect("written");
    let token = Token::parse("token-that-nobody-guesses").expect("a token");
    store.write(|writer| writer.insert_token(tap, &name("t"), Some(token.clone()))).expect("written");
    let key = store.write(|writer| writer.insert_key(name("k"), Role::Operator)).expect("written").value;
    let secret = key.1.reveal().to_owned();
    store
        .read(|reader| {
            assert!(reader.key_of_secret("tlk_nonsense")?.is_none());
            assert_eq!(reader.key_of_secret(&secret)?.expect("found").id, key.0);
            Ok::<_, Error>(())
        })
        .expect("read");
    let taken = store.write(|writer| writer.insert_token(tap, &name("t"), Some(token.clone())));
    assert!(matches!(taken, Err(Error::Conflict(Fault { field, .. })) if field == "token"));
    drop(store);
    for suffix in ["", "-wal"] {
        let bytes = std::fs::read(format!("{}{suffix}", files.path.display())).unwrap_or_default();
        for secret in [&marker[..], token.reveal().as_bytes(), secret.as_bytes()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "in the clear in {suffix:?}");
        }
    }
    for path in [&files.key, &files.path] {
        let mode = std::fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    let own = std::fs::read(&files.key).expect("the key");
    std::fs::write(&files.key, "00".repeat(32)).expect("written");
    assert!(files.refusal().contains("does not belong to the store"));
    std::fs::write(&files.key, "nonsense").expect("written");
    assert!(files.refusal().contains("64 hexadecimal digits"));
    std::fs::remove_file(&files.key).expect("removed");
    assert!(files.refusal().contains("is missing"));
    std::fs::write(&files.key, own).expect("written");
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o644)).expect("set");
    assert!(files.refusal().contains("chmod 600"));
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).expect("set");
    files.open();
}

#[test]
fn a_row_that_was_moved_does_not_open() {
    let files = files();
    let store = files.open();
    furnish(&store);
    put(&store, 1, &otaa(1)).expect("written");
    put(&store, 2, &otaa(2)).expect("written");
    drop(store);
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    let sql = "UPDATE devices SET sealed = (SELECT sealed FROM devices ORDER BY eui LIMIT 1)";
    conn.execute(sql, []).expect("altered");
    drop(conn);
    let read = files.open().read(|reader| reader.device(Eui64::new(2)));
    assert!(matches!(read, Err(Error::Broken(_))));
}

#[test]
fn refuses_newer_schemas_and_others_files() {
    let files = files();
    drop(files.open());
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    conn.pragma_update(None, "user_version", 99).expect("set");
    drop(conn);
    assert!(files.refusal().contains("schema version 99"));

    let files = self::files();
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    conn.execute("CREATE TABLE theirs (a)", []).expect("made");
    drop(conn);
    assert!(files.refusal().contains("something else"));

    let files = self::files();
    std::fs::write(&files.path, [7; 5000]).expect("written");
    assert!(files.refusal().contains("cannot open the store") || files.refusal().contains("cannot read the store"));
}

/// A store as the first schema had it: streams knew nothing of delivery.
#[test]
fn streams_of_the_first_schema_are_live() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let id = insert(&store, &stream(Level::Tenant)).expect("written");
    let revision = store.revision();
    drop(store);
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    conn.execute("UPDATE streams SET body = json_remove(body, '$.durable')", []).expect("altered");
    conn.execute("ALTER TABLE meta DROP COLUMN device_count", []).expect("altered");
    conn.pragma_update(None, "user_version", 1).expect("set");
    drop(conn);

    let store = files.open();
    let read = |store: &Store| {
        let found = store.read(|reader| reader.by_number::<Stream>(id)).expect("read").expect("there");
        (found.value, found.revision)
    };
    assert_eq!(read(&store), (stream(Level::Tenant), revision), "nothing changed that anyone must be told");
    let next = Stream { delivery: durable(), ..stream(Level::Tenant) };
    store.write(|writer| writer.update(id, &next)).expect("it may become durable");
    drop(store);
    assert_eq!(read(&files.open()).0, next);
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    let version: i32 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
    assert_eq!(version, 3);
}

#[test]
fn a_failed_write_leaves_nothing() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let revision = store.revision();
    let check = |result: Result<(), Error>, is_expected: fn(&Error) -> bool| {
        let error = result.expect_err("refused");
        assert!(is_expected(&error), "{error:?}");
        assert_eq!(store.revision(), revision);
        let count = store.read(|reader| reader.count::<Tenant>()).expect("read");
        assert_eq!(count, 1);
    };
    check(
        store
            .write(|writer| {
                writer.insert(&Tenant { name: name("Other") })?;
                Err::<(), _>(Error::Absent)
            })
            .map(|_| ()),
        |error| matches!(error, Error::Absent),
    );
    let bad = Stream { format: Format::Shipped("nonsense".into()), ..stream(Level::Tenant) };
    check(insert(&store, &bad).map(|_| ()), |error| matches!(error, Error::Refused(fault) if fault.field == "format"));
    check(store.write(|writer| writer.remove::<Tenant>(TenantId(1))).map(|_| ()), |error| {
        matches!(error, Error::Conflict(_))
    });
    let trial = store.write(|writer| {
        writer.only_try();
        writer.insert(&Tenant { name: name("Other") })?;
        Ok::<_, Error>(())
    });
    assert_eq!(trial.expect("it would work").revision, revision);
    // A refused change does not linger in the checker.
    insert(&store, &stream(Level::Tenant)).expect("written");
}

#[test]
fn numbers_are_never_reused() {
    let files = files();
    let store = files.open();
    let first = insert(&store, &Tenant { name: name("One") }).expect("written");
    store.write(|writer| writer.remove::<Tenant>(first)).expect("removed");
    drop(store);
    let second = insert(&files.open(), &Tenant { name: name("Two") }).expect("written");
    assert!(second > first);
}

#[test]
fn tells_what_changed_and_what_is_gone() {
    let files = files();
    let store = files.open();
    assert_eq!(changes(&store, store.revision()), []);
    furnish(&store);
    let start = store.revision();
    let eui = Eui64::new(5);
    put(&store, 5, &otaa(5)).expect("written");
    assert_eq!(changes(&store, start), [(start + 1, change::device(eui, &otaa(5)))]);
    assert_eq!(put(&store, 5, &otaa(5)).expect("written"), Upserted::Unchanged);
    put(&store, 5, &abp()).expect("written");
    // Told once, with the value it has now.
    assert_eq!(changes(&store, start), [(start + 3, change::device(eui, &abp()))]);
    store.write(|writer| writer.remove_device(eui)).expect("removed");
    assert_eq!(changes(&store, start), [(start + 4, change::removed(Removed::Device(eui)))]);
    put(&store, 5, &otaa(5)).expect("written");
    assert_eq!(changes(&store, start), [(start + 5, change::device(eui, &otaa(5)))]);

    let tap = insert(&store, &stream(Level::Device(eui))).expect("written");
    let before = store.revision();
    let made = store.write(|writer| writer.insert_token(tap, &name("t"), None)).expect("written").value;
    let [(_, told)] = &changes(&store, before)[..] else { panic!("a token changes its stream") };
    assert!(format!("{told:?}").contains("token_hashes: [["), "{told:?}");
    let refused = store.write(|writer| writer.remove_device(eui));
    assert!(matches!(refused, Err(Error::Conflict(_))), "a stream taps it");
    store.write(|writer| writer.remove_token(tap, made.0.number)).expect("removed");
    store.write(|writer| writer.remove::<Stream>(tap)).expect("removed");
    store.write(|writer| writer.remove_device(eui)).expect("removed");
    let told = changes(&store, before).into_iter().map(|(_, change)| change).collect::<Vec<_>>();
    assert_eq!(told, [change::removed(Removed::Stream(tap)), change::removed(Removed::Device(eui))]);
    let ahead = store.changes_since(store.revision() + 1, 10).expect("a log");
    assert!(matches!(ahead, Since::TooFar { .. }));
}

#[test]
fn old_removals_are_forgotten_and_said_to_be() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let start = store.revision();
    for number in 1..=10 {
        put(&store, number, &otaa(number)).expect("written");
        store.write(|writer| writer.remove_device(Eui64::new(number))).expect("removed");
    }
    store.keep_removals(10).expect("few enough");
    assert_eq!(changes(&store, start).len(), 10);
    store.keep_removals(8).expect("forgotten");
    assert!(matches!(store.changes_since(start, 100), Ok(Since::TooFar { .. })));
    // The newest four are told still: devices 7 to 10 went at every second revision.
    assert_eq!(changes(&store, start + 12).len(), 4);
    assert!(matches!(store.changes_since(start + 11, 100), Ok(Since::TooFar { .. })));
}

#[test]
fn a_long_delta_is_cut_among_devices() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let start = store.revision();
    for number in 1..=10 {
        put(&store, number, &otaa(number)).expect("written");
    }
    store.write(|writer| writer.remove_device(Eui64::new(1))).expect("removed");
    insert(&store, &Tenant { name: name("Late") }).expect("written");
    let Since::Changes { logged, complete, .. } = store.changes_since(start, 4).expect("a log") else { panic!() };
    assert!(!complete);
    let revisions: Vec<_> = logged.iter().map(|logged| logged.revision - start).collect();
    assert_eq!(revisions, [2, 3, 4, 5, 12], "everything but devices is whole");
}

#[test]
fn a_snapshot_sees_one_revision() {
    let files = files();
    let store = files.open();
    furnish(&store);
    for number in 1..=25 {
        put(&store, number << 40, &otaa(number)).expect("written");
    }
    store
        .write(|writer| {
            let gateway = Gateway { tenant: None, name: None, eirp_max_dbm: None, place: None };
            writer.insert_gateway(Eui64::new(1), &gateway)?;
            writer.insert_gateway(Eui64::new(2), &gateway)
        })
        .expect("written");
    let mut snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(snapshot.revision(), store.revision());
    let mut all = snapshot.next(10).expect("read").expect("structure");
    assert_eq!(all.len(), 4, "settings, tenant, application, profile");
    put(&store, 99 << 40, &otaa(99)).expect("written");
    let mut parts = 0;
    while let Some(part) = snapshot.next(10).expect("read") {
        assert!(part.len() <= 10);
        all.extend(part);
        parts += 1;
    }
    assert_eq!((all.len(), parts), (4 + 2 + 25, 1 + 3));
    // Everything that was told can be loaded.
    Compiler::default().check(&all).expect("loads");
}

#[test]
fn owners_cannot_change_under_a_tap() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let other = insert(&store, &Tenant { name: name("Other") }).expect("written");
    let theirs = Application { tenant: other, name: name("Theirs"), dedup_window_ms: None };
    let theirs = insert(&store, &theirs).expect("written");
    put(&store, 1, &otaa(1)).expect("written");
    let tap = insert(&store, &stream(Level::Device(Eui64::new(1)))).expect("written");
    let moved = Device { tenant: other, application: theirs, ..otaa(1) };
    assert!(matches!(put(&store, 1, &moved), Err(Error::Conflict(_))));
    store.write(|writer| writer.remove::<Stream>(tap)).expect("removed");
    put(&store, 1, &moved).expect("moved");
}

#[test]
fn lists_go_on_where_they_ended() {
    let files = files();
    let store = files.open();
    furnish(&store);
    store
        .write(|writer| {
            for number in 0..7 {
                writer.insert_key(name(&format!("key {number}")), Role::TenantAdmin(TenantId(1)))?;
            }
            Ok::<_, Error>(())
        })
        .expect("written");
    let mut after = 0;
    let mut names = Vec::new();
    loop {
        let page = store.read(|reader| reader.list::<ApiKey>(Scope::default(), after, 3)).expect("read");
        let Some(last) = page.last() else { break };
        after = last.id.number.0;
        names.extend(page.iter().map(|key| key.value.name.to_string()));
    }
    assert_eq!(names, (0..7).map(|number| format!("key {number}")).collect::<Vec<_>>());
    let nobody = Scope { tenant: Some(TenantId(9)), ..Scope::default() };
    assert!(store.read(|reader| reader.list::<ApiKey>(nobody, 0, 3)).expect("read").is_empty());
}

/// Prints the speed; asserts only what it must not lose. The promise of 20 000 a second is the benchmark's.
#[test]
fn imports_in_batches() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let (batches, batch) = (4, 5000);
    let start = std::time::Instant::now();
    for first in 0..batches {
        store
            .write(|writer| {
                for number in first * batch + 1..=(first + 1) * batch {
                    let eui = Eui64::new(0x70B3_D57E_D000_0000 + number);
                    let before = writer.device(eui)?;
                    writer.upsert_device(eui, &otaa(number), before.as_ref())?;
                }
                Ok::<_, Error>(())
            })
            .expect("written");
    }
    let took = start.elapsed();
    eprintln!("{} devices in {took:?}: {:.0}/s", batches * batch, (batches * batch) as f64 / took.as_secs_f64());
    assert_eq!(store.read(|reader| reader.device_count()).expect("read"), batches * batch);
    assert_eq!(store.timings().1.count, batches + 1);
}

#[test]
fn devices_are_counted_as_they_come_and_go() {
    let files = files();
    let store = files.open();
    furnish(&store);
    let check = |store: &Store, expected: u64| {
        let counts = store.read(|reader| {
            let sql = "SELECT count(*) FROM devices";
            let rows = reader.conn.query_row(sql, [], |row| row.get::<_, i64>(0))? as u64;
            Ok::<_, Error>((reader.device_count()?, rows))
        });
        assert_eq!(counts.expect("read"), (expected, expected));
    };
    check(&store, 0);
    for (eui, expected) in [(1, Upserted::Created), (2, Upserted::Created), (2, Upserted::Unchanged)] {
        assert_eq!(put(&store, eui, &otaa(eui)).expect("put"), expected);
    }
    assert_eq!(put(&store, 2, &otaa(3)).expect("put"), Upserted::Updated);
    check(&store, 2);
    store.write(|writer| writer.insert_device(Eui64::new(5), &abp())).expect("made");
    store.write(|writer| writer.update_device(Eui64::new(5), &otaa(5))).expect("changed");
    check(&store, 3);
    store.write(|writer| writer.remove_device(Eui64::new(1))).expect("removed");
    store.write(|writer| writer.remove_device(Eui64::new(1))).expect_err("gone");
    store.write(|writer| writer.insert_device(Eui64::new(5), &abp())).expect_err("there");
    let tried = store.write(|writer| {
        writer.only_try();
        writer.insert_device(Eui64::new(6), &abp())
    });
    tried.expect("tried");
    check(&store, 2);
    drop(store);

    // A store of the first schema is counted once, as it is migrated.
    let conn = rusqlite::Connection::open(&files.path).expect("opened");
    conn.execute_batch("ALTER TABLE meta DROP COLUMN device_count; PRAGMA user_version = 1").expect("as it was");
    drop(conn);
    check(&files.open(), 2);
}
