//! The plan of the devices, pushed over the control socket: the bench is its own control plane.
//!
//! Owns the words of that short conversation; done once every shard has put the plan in force. Devices are said as they
//! are made, so that as many as there may be take no memory here.

use crate::devices::{GATEWAY_COUNT, configured, gateway_eui};
use contract::v1::{self, change::Body, from_dataplane, to_dataplane};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What opens the stream.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const REVISION: u64 = 1;

/// Changes of one message: well below the 4 MiB of a frame.
const CHANGES_PER_APPLY: usize = 5_000;

/// Longer than any dataplane takes to put a plan in force.
const PATIENCE: Duration = Duration::from_secs(300);

/// Far above any rate of a bench: nothing is to be refused for its rate.
const RATE_MAX: u32 = 100_000_000;

/// Long enough for all idle connections to be opened before the first is pinged.
const PING_INTERVAL_S: u32 = 60;

/// So that at the highest rate no frame finds every window taken.
const DEDUP_WINDOW_MS: u32 = 20;

/// Pushes the plan with the first `count` devices; returns once it is in force on every shard.
///
/// # Errors
/// What the host or the dataplane refuses.
pub fn push(socket: &Path, count: u64) -> io::Result<()> {
    let mut link = UnixStream::connect(socket)?;
    link.set_read_timeout(Some(PATIENCE))?;
    let hello = v1::Hello {
        major: contract::MAJOR,
        minor: contract::MINOR,
        software: "scale".into(),
        store: 1,
        ..Default::default()
    };
    say(&mut link, to_dataplane::Body::Hello(hello))?;
    say(&mut link, to_dataplane::Body::SnapshotBegin(v1::SnapshotBegin { revision: REVISION, store: 1 }))?;
    let devices = (0..count).map(|device| Body::Device(configured(device)));
    let mut changes = structure().chain(devices).map(|body| v1::Change { body: Some(body) });
    loop {
        let changes: Vec<_> = changes.by_ref().take(CHANGES_PER_APPLY).collect();
        if changes.is_empty() {
            break;
        }
        say(&mut link, to_dataplane::Body::Apply(v1::Apply { revision: 0, changes }))?;
    }
    say(&mut link, to_dataplane::Body::SnapshotEnd(v1::SnapshotEnd { revision: REVISION }))?;
    in_force(&mut link)
}

/// Waits until every shard has said so.
fn in_force(link: &mut UnixStream) -> io::Result<()> {
    let mut decoder = contract::frame::Decoder::<v1::FromDataplane>::default();
    let (mut shards, mut done) = (None, BTreeSet::new());
    let mut piece = [0; 16 << 10];
    while shards.is_none_or(|shards| done.len() < shards as usize) {
        let count = link.read(&mut piece)?;
        if count == 0 {
            return Err(io::Error::other("the dataplane hung up"));
        }
        decoder.feed(&piece[..count]);
        while let Some(message) = decoder.message().map_err(|error| io::Error::other(format!("{error:?}")))? {
            match message.body {
                Some(from_dataplane::Body::Hello(hello)) => shards = Some(hello.shard_count),
                Some(from_dataplane::Body::Acknowledged(said)) if said.revision >= REVISION => {
                    done.insert(said.shard);
                }
                Some(from_dataplane::Body::Refused(said)) => {
                    return Err(io::Error::other(format!("{}: {}", said.field, said.reason)));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn say(link: &mut UnixStream, body: to_dataplane::Body) -> io::Result<()> {
    let mut bytes = Vec::new();
    let message = v1::ToDataplane { request: 1, body: Some(body) };
    contract::frame::encode(&message, &mut bytes).map_err(|_| io::Error::other("a message of more than 4 MiB"))?;
    link.write_all(&bytes)
}

/// One tenant, one application, one stream that covers it, and the gateways.
fn structure() -> impl Iterator<Item = Body> {
    let settings = v1::Settings { gateway_rate_max: RATE_MAX, address_rate_max: RATE_MAX, ..Default::default() };
    let application =
        v1::Application { id: 1, tenant: 1, name: "application".into(), dedup_window_ms: DEDUP_WINDOW_MS };
    let profile = v1::Profile {
        id: 1,
        tenant: 1,
        name: "profile".into(),
        region: v1::Region::Eu868 as i32,
        mac_version: v1::MacVersion::Lorawan103 as i32,
        ..Default::default()
    };
    let stream = v1::Stream {
        id: 1,
        tenant: 1,
        name: "stream".into(),
        level: v1::Level::Application as i32,
        application: 1,
        copies: v1::Copies::First as i32,
        kinds: vec!["uplink".into()],
        format: "json".into(),
        token_hashes: vec![Sha256::digest(TOKEN).to_vec()],
        enabled: true,
        queue_bytes_max: 16 << 20,
        ping_interval_s: PING_INTERVAL_S,
        ..Default::default()
    };
    let gateway = |number| v1::Gateway { eui: gateway_eui(number), tenant: 1, ..Default::default() };
    [
        Body::Settings(settings),
        Body::Tenant(v1::Tenant { id: 1, name: "tenant".into() }),
        Body::Profile(profile),
        Body::Application(application),
        Body::Stream(stream),
    ]
    .into_iter()
    .chain((0..GATEWAY_COUNT).map(move |number| Body::Gateway(gateway(number))))
}
