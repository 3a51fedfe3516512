//! The doors of MQTT: listeners, their certificate, and how much there may be of everything behind them.

use crate::arguments::Arguments;
use crate::certificate;
use crate::serve::{BACKLOG, text};
use driver::Listener;
use rustls::ServerConfig;
use shard::BrokerOptions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const PLAIN: Listener = Listener(2);
const SECURE: Listener = Listener(3);

/// Listeners of MQTT that speak without TLS, as a set.
pub(crate) const PLAIN_SET: u64 = 1 << PLAIN.0;

/// What TLS may be asked for: a packet, or the upgrade to WebSocket, which are told apart by their first byte.
const PROTOCOLS: [&str; 2] = ["mqtt", "http/1.1"];

/// A listening address, with a socket for each shard.
struct Door {
    listener: Listener,
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

/// All of them.
pub(crate) struct Doors {
    doors: Vec<Door>,
    tls: Option<Arc<ServerConfig>>,
}

impl Doors {
    pub(crate) fn open(arguments: &Arguments, shard_count: usize) -> Result<Self, String> {
        let wanted = [(PLAIN, arguments.mqtt_listen), (SECURE, arguments.mqtts_listen)];
        let mut doors = Vec::new();
        for (listener, address) in wanted {
            let Some(address) = address else { continue };
            let (sockets, address) = uring::tcp_listeners(address, shard_count, BACKLOG).map_err(text)?;
            doors.push(Door { listener, address, sockets });
        }
        let secure = doors.iter().any(|door| door.listener == SECURE);
        let config = || certificate::server_config(&arguments.cert, &arguments.key, &PROTOCOLS);
        let tls = if secure { Some(config()?) } else { None };
        for door in &doors {
            tracing::warn!(address = %door.address, "MQTT clients are not asked who they are here");
        }
        Ok(Self { doors, tls })
    }

    /// For the line that says what is served where.
    pub(crate) fn addresses(&self) -> String {
        let name = |listener| if listener == SECURE { "mqtts" } else { "mqtt" };
        self.doors.iter().map(|door| format!(", {} {}", name(door.listener), door.address)).collect()
    }

    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.clone()
    }

    /// What the shards' brokers are told; nothing if there is no door.
    pub(crate) fn options(
        &self,
        arguments: &Arguments,
        shard_count: usize,
        connection_count: u32,
    ) -> Result<Option<BrokerOptions>, String> {
        if self.doors.is_empty() {
            return Ok(None);
        }
        let listeners = self.doors.iter().fold(0, |set, door| set | 1 << door.listener.0);
        let mut key = [0; 16];
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key)).map_err(text)?;
        let each = |all: usize| all.div_ceil(shard_count);
        let message_bytes = each((arguments.mqtt_memory_mib as usize) << 20);
        // A power of two: the greatest within what was said.
        let message_bytes_max = 1 << message_bytes.ilog2();
        let limits = broker::Limits {
            session_count_max: each(connection_count as usize).max(1024),
            packet_bytes_max: arguments.mqtt_packet_kib << 10,
            message_bytes_max,
            retained_bytes_max: message_bytes_max / 4,
            ..broker::Limits::default()
        };
        if message_bytes_max < 4 * limits.packet_bytes_max as usize {
            let least = (4 * limits.packet_bytes_max as usize * shard_count) >> 20;
            return Err(format!("--mqtt-memory-mib: four of the largest packets for each shard are {least} MiB"));
        }
        Ok(Some(BrokerOptions { limits, listeners, key }))
    }

    /// Gives each shard its socket of each door.
    pub(crate) fn share_out(self, shards: &mut [Vec<(Listener, OwnedFd)>]) {
        for Door { listener, sockets, .. } in self.doors {
            for (shard, socket) in shards.iter_mut().zip(sockets) {
                shard.push((listener, socket));
            }
        }
    }
}
