//! How a world begins: its configuration, its node, its gateways, devices and consumers.
//!
//! Owns the sizes of everything, which are small, so that every bound is met.

use super::{APPLICATION, EU868, SLOT_KEY, TENANT, World, address, gateway_eui};
use crate::consumer::{Consumer, Temper};
use crate::file::FileSizes;
use crate::machine::{Machine, Sizes};
use crate::story::{DURABLE, STREAMS, stream};
use base::mix::mix64;
use base::{Eui64, Monotonic};
use contract::v1;
use contract::v1::change::Body;
use fleet::{Activation, DeviceConfig, GatewayConfig, Link, Socket, Traffic};
use lorawan::{AesKey, DevAddr, MacVersion, Region, SessionKeys};
use shard::{JournalOptions, Options, Shard, fabric};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const QUEUE_BLOCKS: usize = 48;

const SIZES: Sizes = Sizes {
    connection_count: 20,
    receive_bytes: 2048,
    receive_count: 8,
    datagram_count: 16,
    output_bytes: 4096,
    output_count: 5,
};

const FILES: FileSizes = FileSizes { count: 8, buffer_bytes: JOURNAL.batch_bytes as u32, buffer_count: 3 };

/// Small, so that segments end.
pub(crate) const JOURNAL: journal::Limits = journal::Limits {
    segment_bytes: 160 << 10,
    tail_bytes: 264 << 10,
    batch_bytes: 136 << 10,
    epoch_bytes: (160 << 10) + 8,
};

impl World {
    pub(super) fn configure(&mut self) {
        let change = |body| v1::Change { body: Some(body) };
        let mut changes = vec![
            change(Body::Tenant(v1::Tenant { id: TENANT, name: "tenant".into() })),
            change(Body::Application(v1::Application {
                id: APPLICATION,
                tenant: TENANT,
                name: "application".into(),
                dedup_window_ms: 0,
            })),
            change(Body::Profile(v1::Profile {
                id: EU868,
                name: "EU868".into(),
                region: v1::Region::Eu868.into(),
                mac_version: v1::MacVersion::Lorawan104.into(),
                ..v1::Profile::default()
            })),
        ];
        changes.extend((0..STREAMS.len()).map(|index| change(Body::Stream(stream(index)))));
        self.control.apply(&changes);
    }

    /// Starts the node. One that dies while it starts is as it was: without power.
    pub(super) fn power_up(&mut self) {
        let count = self.story.shards;
        let Some((mailboxes, epoch)) = self.control.start(count) else { return self.end_at_operation() };
        let network = session::Limits {
            device_count_max: 64,
            pending_count_max: 64,
            redirect_count_max: 64,
            window_count_max: 64,
            transmission_count_max: 64,
            downlink_count_max: 256,
            queue_bytes_max: 64 << 10,
        };
        // Each ring holds some records of the greatest length, so that it is sometimes full.
        let ring_bytes = 5 * 4096;
        self.shards = fabric(count, ring_bytes)
            .into_iter()
            .zip(mailboxes)
            .enumerate()
            .map(|(index, (ports, mailbox))| {
                let machine = Machine::start(&self.network, index, SIZES).with_files(&self.disk, FILES);
                let options = Options {
                    index,
                    slot_key: SLOT_KEY,
                    network,
                    gateways: session::gateways::Limits { gateway_count_max: 16 },
                    queue_block_count: QUEUE_BLOCKS,
                    tls: None,
                    plain_listeners: 1,
                    broker_tls: None,
                    broker: None,
                    echo: false,
                    journal: Some(JournalOptions { epoch, limits: JOURNAL }),
                };
                Some(Shard::new(machine, options, ports, mailbox))
            })
            .collect();
        self.power_back = Monotonic::NEVER;
        self.watch.began();
    }

    pub(super) fn add_gateways(&mut self) {
        for index in 0..self.story.gateways {
            let eui = gateway_eui(index);
            let mut config = GatewayConfig::new(eui, Region::Eu868);
            config.version = if index % 3 == 2 { 1 } else { 2 };
            config.gps = index % 2 == 0;
            config.pull_interval = Duration::from_secs(2);
            self.fleet.add_gateway(config, self.network.borrow().now());
            self.network.borrow_mut().bind(address(index, Socket::Up));
            self.network.borrow_mut().bind(address(index, Socket::Down));
            let gateway = v1::Gateway { eui: eui.to_u64(), tenant: TENANT, name: String::new(), eirp_max_dbm: 0 };
            self.control.apply(&[v1::Change { body: Some(Body::Gateway(gateway)) }]);
        }
    }

    pub(super) fn add_devices(&mut self) {
        let now = self.now();
        let kept_quiet = Duration::from_secs(1 + self.random.below(5));
        for index in 0..self.story.devices {
            let dev_eui = Eui64::new(0x70B3_D57E_D000_0000 + index as u64);
            let join_eui = Eui64::new(0x70B3_D57E_D0FF_0000);
            let key = |salt: u64| {
                let word = |half| mix64(self.story.seed ^ (index as u64) << 8 ^ salt << 4 ^ half).to_be_bytes();
                [word(0), word(1)].concat().try_into().expect("sixteen bytes")
            };
            let (activation, told) = if index % 3 == 0 {
                // Two devices of three on one address: the MIC tells them apart.
                let dev_addr = 0x0100_0000 | (index as u32 / 6 + 1);
                let (nwk, app): ([u8; 16], [u8; 16]) = (key(1), key(2));
                let keys = SessionKeys { nwk_s_key: AesKey(nwk), app_s_key: AesKey(app) };
                let abp = v1::Abp { dev_addr, nwk_s_key: nwk.into(), app_s_key: app.into(), fcnt_up: 0, fcnt_down: 0 };
                (Activation::Abp { dev_addr: DevAddr(dev_addr), keys }, v1::device::Activation::Abp(abp))
            } else {
                let app_key: [u8; 16] = key(3);
                let otaa = v1::Otaa { app_key: app_key.into() };
                (Activation::Otaa { app_key: AesKey(app_key) }, v1::device::Activation::Otaa(otaa))
            };
            let device = v1::Device {
                dev_eui: dev_eui.to_u64(),
                join_eui: join_eui.to_u64(),
                tenant: TENANT,
                application: APPLICATION,
                profile: EU868,
                enabled: true,
                activation: Some(told),
            };
            self.told.push(device.clone());
            self.control.apply(&[v1::Change { body: Some(Body::Device(device)) }]);
            let mut config = DeviceConfig::new(dev_eui, join_eui, activation, Region::Eu868);
            config.mac_version = MacVersion::V1_0_4;
            config.adr = index % 2 == 0;
            config.traffic = Some(Traffic {
                interval: kept_quiet + Duration::from_millis(self.random.below(4000)),
                confirmed_percent: 30,
                request_percent: 10,
                payload_bytes: (0, 40),
            });
            let links: Vec<Link> = self.fleet.random_links(self.story.gateways, self.story.radio_loss_percent);
            self.fleet.add_device(config, links, now);
            self.devices.push(dev_eui);
        }
        self.downlink_due = now.after(Duration::from_secs(3));
    }

    pub(super) fn add_consumers(&mut self) {
        let mut add = |token: &str, group: &'static str, temper: Temper| {
            let address = SocketAddr::from(([10, 2, 0, self.consumers.len() as u8], 40_000));
            let mut consumer = Consumer::new(address, token, temper);
            consumer.acknowledges = token == DURABLE;
            consumer.group = group;
            self.consumers.push(consumer);
        };
        for stream in STREAMS {
            let temper = match self.random.below(3) {
                _ if stream.kept => Temper::Prompt,
                _ if stream.token == DURABLE => Temper::Fickle,
                0 => Temper::Prompt,
                1 => Temper::Slow,
                _ => Temper::Fickle,
            };
            add(stream.token, "default", temper);
        }
        add("first", "default", Temper::Deaf);
        add("operator", "default", Temper::Deaf);
        add("operator", "default", Temper::Fickle);
        add("all", "default", Temper::Slow);
        add("nobody", "default", Temper::Fickle);
        // Groups of their own, which must not be in each other's way.
        for (group, temper) in [("liars", Temper::Liar), ("deaf", Temper::Deaf), ("slow", Temper::Slow)] {
            add(DURABLE, group, temper);
        }
    }
}
