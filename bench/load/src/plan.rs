//! The plan of the workload, pushed over the control socket: the load is its own control plane.
//!
//! Owns the words of that short conversation. Done once every shard has put the plan in force.

use crate::Workload;
use crate::frames::{dev_addr, dev_eui, gateway_eui, keys};
use contract::v1::{self, change, device, from_dataplane, to_dataplane};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const REVISION: u64 = 1;

/// Changes of one message: well below the 4 MiB of a frame.
const CHANGES_PER_APPLY: usize = 5_000;

/// Longer than any dataplane takes to put a plan in force.
const PATIENCE: Duration = Duration::from_secs(60);

/// Far above any rate of the load: nothing is to be refused for its rate.
const RATE_MAX: u32 = 100_000_000;

/// The token that opens the stream of this index. The floor reads the index from it.
#[must_use]
pub fn token(stream: u32) -> String {
    format!("{stream:032x}")
}

/// The token of the stream that keeps everything.
pub const KEPT: &str = "keeps-every-uplink-of-the-tenant";

/// What may be under way to one session of it: as much as any stream may have.
const IN_FLIGHT_MAX: u32 = 4096;

/// Pushes the plan; returns once it is in force on every shard.
///
/// # Errors
/// What the host or the dataplane refuses.
pub fn push(socket: &Path, workload: &Workload) -> io::Result<()> {
    let mut link = UnixStream::connect(socket)?;
    link.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let hello = v1::Hello {
        major: contract::MAJOR,
        minor: contract::MINOR,
        software: "load".into(),
        store: 1,
        ..Default::default()
    };
    put(&mut bytes, to_dataplane::Body::Hello(hello))?;
    put(&mut bytes, to_dataplane::Body::SnapshotBegin(v1::SnapshotBegin { revision: REVISION, store: 1 }))?;
    let changes: Vec<v1::Change> = changes(workload).map(|body| v1::Change { body: Some(body) }).collect();
    for changes in changes.chunks(CHANGES_PER_APPLY) {
        put(&mut bytes, to_dataplane::Body::Apply(v1::Apply { revision: 0, changes: changes.to_vec() }))?;
    }
    put(&mut bytes, to_dataplane::Body::SnapshotEnd(v1::SnapshotEnd { revision: REVISION }))?;
    link.write_all(&bytes)?;
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

fn put(bytes: &mut Vec<u8>, body: to_dataplane::Body) -> io::Result<()> {
    let message = v1::ToDataplane { request: 1, body: Some(body) };
    contract::frame::encode(&message, bytes).map_err(|_| io::Error::other("a message of more than 4 MiB"))
}

fn changes(workload: &Workload) -> impl Iterator<Item = change::Body> {
    let workload = *workload;
    let settings = v1::Settings { gateway_rate_max: RATE_MAX, address_rate_max: RATE_MAX, ..Default::default() };
    let profile = v1::Profile {
        id: 1,
        tenant: 1,
        name: "profile".into(),
        region: v1::Region::Eu868 as i32,
        mac_version: v1::MacVersion::Lorawan103 as i32,
        ..Default::default()
    };
    let application = |id| v1::Application { id, tenant: 1, name: format!("application {id}"), ..Default::default() };
    let stream = |index: u32| v1::Stream {
        id: index + 1,
        tenant: 1,
        name: format!("stream {index}"),
        level: v1::Level::Application as i32,
        application: index + 1,
        copies: v1::Copies::First as i32,
        kinds: vec!["uplink".into()],
        format: "json".into(),
        token_hashes: vec![Sha256::digest(token(index)).to_vec()],
        enabled: true,
        queue_bytes_max: 16 << 20,
        ..Default::default()
    };
    let kept = v1::Stream {
        id: workload.streams() + 1,
        level: v1::Level::Tenant as i32,
        application: 0,
        token_hashes: vec![Sha256::digest(KEPT).to_vec()],
        delivery: v1::Delivery::Durable as i32,
        in_flight_max: IN_FLIGHT_MAX,
        ..stream(workload.streams())
    };
    let gateway = |index| v1::Gateway { eui: gateway_eui(index), tenant: 1, ..Default::default() };
    let device = move |index: u32| {
        let [nwk_s_key, app_s_key] = keys(index);
        let abp = v1::Abp {
            dev_addr: dev_addr(index),
            nwk_s_key: nwk_s_key.to_vec(),
            app_s_key: app_s_key.to_vec(),
            ..Default::default()
        };
        v1::Device {
            dev_eui: dev_eui(index),
            join_eui: 0x70B3_D57E_D000_FF00,
            tenant: 1,
            application: index / workload.devices_per_stream + 1,
            profile: 1,
            enabled: true,
            activation: Some(device::Activation::Abp(abp)),
        }
    };
    [
        change::Body::Settings(settings),
        change::Body::Tenant(v1::Tenant { id: 1, name: "tenant".into() }),
        change::Body::Profile(profile),
    ]
    .into_iter()
    .chain((1..=workload.streams()).map(move |id| change::Body::Application(application(id))))
    .chain((0..workload.streams()).map(move |index| change::Body::Stream(stream(index))))
    .chain(workload.kept_memory_mib.map(|_| change::Body::Stream(kept)))
    .chain((0..workload.gateways).map(move |index| change::Body::Gateway(gateway(index))))
    .chain((0..workload.devices).map(move |index| change::Body::Device(device(index))))
}
