//! The way of a million devices: import over HTTP, snapshot to the dataplane, then one change at a time.
//!
//! The store, the API, the link and the contract are real; the dataplane is a model that decodes, keeps and
//! acknowledges. Targets: import at 20 000 devices/s, snapshot in 10 s, a delta in force in 50 ms (p99).
//!
//! ```text
//! cargo bench -p controld --bench million            one million
//! DEVICES=100000 cargo bench -p controld --bench million
//! ```

use api::Api;
use api::dataplane::{Dataplane, InForce};
use base::mix::mix64;
use contract::frame::{Decoder, encode};
use contract::v1::{
    Acknowledged, FromDataplane, Hello, ToDataplane, change::Body as Changed, from_dataplane, to_dataplane,
};
use controld::Stored;
use controld::link::{DataplaneLink, Settings};
use hdrhistogram::Histogram;
use model::Compiler;
use push::Limits;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::Store;

const SHARDS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let count = std::env::var("DEVICES").ok().and_then(|text| text.parse().ok());
    let count: u64 = count.unwrap_or(if is_bench { 1_000_000 } else { 2000 });
    let deltas = if is_bench { 1000 } else { 20 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(count, deltas, is_bench));
}

async fn run(count: u64, deltas: u64, is_bench: bool) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let store = directory.path().join("trunkline.db");
    let store = Store::open(&store, &directory.path().join("store.key"), Box::<Compiler>::default()).unwrap();
    let store = Arc::new(store);
    let mut key = String::new();
    let keep = |secret: &str| {
        key.push_str(secret);
        Ok::<_, store::Error>(())
    };
    assert!(api::bootstrap(&store, keep).unwrap(), "a new store has no keys");
    let listener = UnixListener::bind(&socket).unwrap();
    let dataplane = serve(listener.try_clone().unwrap());

    let settings = Settings { socket, store: store.identity(), revision: store.revision(), limits: Limits::default() };
    let (link, _) = DataplaneLink::start(settings, Stored(Arc::clone(&store))).unwrap();
    let api = Api::new(Arc::clone(&store), Arc::clone(&link) as Arc<dyn Dataplane>, api::Options::default());
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(tcp, api::router(api)).await });

    // 1. Import, while the dataplane is there and follows.
    let start = Instant::now();
    let summary = tokio::task::spawn_blocking(move || import(address, &key, count)).await.unwrap();
    let import = start.elapsed();
    assert_eq!((summary["created"].as_u64(), summary["failed"].as_u64()), (Some(count), Some(0)), "{summary}");
    let lag = in_force(&link, store.revision()).await;

    // 2. One change at a time, each waited for.
    let mut delays = Histogram::<u64>::new(3).unwrap();
    for index in 0..deltas {
        let start = Instant::now();
        let eui = eui(mix64(index) % count);
        let store = Arc::clone(&store);
        let revision = tokio::task::spawn_blocking(move || touch(&store, eui)).await.unwrap();
        link.committed(revision);
        in_force(&link, revision).await;
        delays.record(start.elapsed().as_micros() as u64).unwrap();
    }

    // 3. The dataplane comes back with nothing and is given everything.
    link_down(dataplane);
    while link.status().connected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    let dataplane = serve(listener);
    while !link.status().connected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    in_force(&link, store.revision()).await;
    let snapshot = start.elapsed();
    let held = link_down(dataplane);
    assert_eq!(held.len() as u64, count, "every device arrived");
    let hash = held.iter().fold(0, |hash, eui| hash ^ mix64(*eui));
    let expected = (0..count).fold(0, |hash, index| hash ^ mix64(eui(index)));
    assert_eq!(hash, expected, "and no other");

    let rate = count as f64 / import.as_secs_f64();
    let quantile = |quantile| delays.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    eprintln!("devices            {count}  (hash {hash:016x})");
    eprintln!(
        "import             {:.2} s, {rate:.0}/s, in force {:.0} ms later",
        import.as_secs_f64(),
        lag.as_secs_f64() * 1e3
    );
    eprintln!("delta in force     p50 {p50:.2} ms, p99 {p99:.2} ms, of {deltas} including their commits");
    eprintln!("snapshot in force  {:.2} s", snapshot.as_secs_f64());
    if is_bench {
        assert!(rate >= 20_000.0, "import is slower than 20 000/s");
        assert!(snapshot <= Duration::from_secs(10), "the snapshot takes longer than 10 s");
        assert!(p99 <= 50.0, "a delta takes longer than 50 ms");
    }
}

async fn in_force(link: &DataplaneLink, revision: u64) -> Duration {
    let start = Instant::now();
    link.committed(revision);
    assert_eq!(link.in_force(revision, PATIENCE).await, InForce::Yes, "{:?}", link.status());
    start.elapsed()
}

const fn eui(index: u64) -> u64 {
    0x70B3_D57E_0000_0000 + index
}

/// Changes one device; answers the revision.
fn touch(store: &Store, eui: u64) -> u64 {
    let eui = base::Eui64::new(eui);
    let written = store.write(|writer| {
        let mut device = writer.device(eui)?.expect("it was imported").value;
        device.enabled = !device.enabled;
        writer.update_device(eui, &device)
    });
    written.unwrap_or_else(|error: store::Error| panic!("{error}")).revision
}

/// Makes a tenant, an application and a profile, then imports; answers the summary.
fn import(address: SocketAddr, key: &str, count: u64) -> Value {
    let post = |path: &str, body: Value| -> Value {
        let body = body.to_string();
        let answer = request(address, key, path, "application/json", body.len(), |socket| {
            socket.write_all(body.as_bytes()).unwrap();
        });
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    };
    let tenant = post("/api/v1/tenants", json!({ "name": "tenant" }))["id"].clone();
    let application = post("/api/v1/applications", json!({ "name": "application", "tenant": tenant }))["id"].clone();
    let profile = json!({ "name": "profile", "tenant": tenant, "region": "EU868", "mac_version": "1.0.3" });
    let profile = post("/api/v1/profiles", profile)["id"].clone();
    let path = format!(
        "/api/v1/devices/import?application={}&profile={}",
        application.as_str().unwrap(),
        profile.as_str().unwrap()
    );
    let row = |index: u64, text: &mut String| {
        let (eui, key) = (eui(index), mix64(index));
        writeln!(
            text,
            r#"{{"dev_eui":"{eui:016X}","join_eui":"70B3D57ED000FF00","otaa":{{"app_key":"{key:016X}{eui:016X}"}}}}"#
        )
        .unwrap();
    };
    let mut text = String::new();
    row(0, &mut text);
    let length = text.len() * count as usize;
    let answer = request(address, key, &path, "application/x-ndjson", length, |socket| {
        let mut text = String::with_capacity(1 << 20);
        for index in 0..count {
            row(index, &mut text);
            if text.len() >= 1 << 19 || index + 1 == count {
                socket.write_all(text.as_bytes()).unwrap();
                text.clear();
            }
        }
    });
    let last = answer.lines().last().unwrap_or_default();
    serde_json::from_str::<Value>(last).unwrap_or_else(|error| panic!("{error}: {last}"))["summary"].clone()
}

/// One request on a connection of its own; the body of the answer.
fn request(
    address: SocketAddr,
    key: &str,
    path: &str,
    kind: &str,
    length: usize,
    body: impl FnOnce(&mut TcpStream),
) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    body(&mut socket);
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{answer}");
    body.to_owned()
}

/// A model dataplane: it serves one connection and keeps the devices it was told of.
struct Model {
    connection: UnixStream,
    thread: JoinHandle<HashSet<u64>>,
}

/// Ends a model; what it held.
fn link_down(model: JoinHandle<Model>) -> HashSet<u64> {
    let model = model.join().unwrap();
    model.connection.shutdown(std::net::Shutdown::Both).unwrap();
    model.thread.join().unwrap()
}

fn serve(listener: UnixListener) -> JoinHandle<Model> {
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = socket.try_clone().unwrap();
        Model { connection, thread: std::thread::spawn(move || obey(socket)) }
    })
}

fn obey(mut socket: UnixStream) -> HashSet<u64> {
    let mut devices = HashSet::new();
    let mut decoder = Decoder::<ToDataplane>::default();
    let mut bytes = vec![0; 256 << 10];
    while let Ok(count @ 1..) = socket.read(&mut bytes) {
        decoder.feed(&bytes[..count]);
        while let Some(message) = decoder.message().unwrap() {
            let mut answer = Vec::new();
            let mut say = |request, body| encode(&FromDataplane { request, body: Some(body) }, &mut answer).unwrap();
            let revision = match message.body.unwrap() {
                to_dataplane::Body::Hello(_) => {
                    let hello = Hello { major: 1, shard_count: SHARDS, ..Hello::default() };
                    say(message.request, from_dataplane::Body::Hello(hello));
                    0
                }
                to_dataplane::Body::SnapshotBegin(_) => {
                    devices.clear();
                    0
                }
                to_dataplane::Body::SnapshotEnd(end) => end.revision,
                to_dataplane::Body::Apply(apply) => {
                    for change in apply.changes {
                        match change.body {
                            Some(Changed::Device(device)) => drop(devices.insert(device.dev_eui)),
                            Some(Changed::RemoveDevice(dev_eui)) => drop(devices.remove(&dev_eui)),
                            _ => {}
                        }
                    }
                    apply.revision
                }
                _ => 0,
            };
            if revision > 0 {
                for shard in 0..SHARDS {
                    say(0, from_dataplane::Body::Acknowledged(Acknowledged { shard, revision }));
                }
            }
            if socket.write_all(&answer).is_err() {
                return devices;
            }
        }
    }
    devices
}
