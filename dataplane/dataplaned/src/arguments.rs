//! The command line.

use crate::offline::Journal;
use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Trunkline's dataplane: gateways in, streams out, one shard per core.
#[derive(Debug, Parser)]
#[command(name = "trunkline-dataplane", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the stored plan and the journal are kept.
    #[arg(long, env = "TRUNKLINE_DATA_DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,

    /// Shards, one pinned to each core; 0 is one per available core. More than cores is allowed.
    #[arg(long, default_value_t = 0)]
    pub(crate) cores: usize,

    /// What the shards run on: io_uring itself, or glommio, which is there to be measured beside it.
    #[arg(long, value_enum, default_value_t = Driver::Uring)]
    pub(crate) driver: Driver,

    /// Socket on which the control plane is obeyed.
    #[arg(long, default_value = "data/control.sock")]
    pub(crate) control_socket: PathBuf,

    /// Where gateways send Semtech UDP.
    #[arg(long, default_value = "[::]:1700")]
    pub(crate) udp_listen: SocketAddr,

    /// Where streams are opened by Secure WebSocket.
    #[arg(long, default_value = "[::]:8443")]
    pub(crate) wss_listen: SocketAddr,

    /// Certificate chain of the WSS listener, PEM.
    #[arg(long, default_value = "data/cert.pem")]
    pub(crate) cert: PathBuf,

    /// Its private key, PEM.
    #[arg(long, default_value = "data/key.pem")]
    pub(crate) key: PathBuf,

    /// Where Prometheus scrapes `/metrics`.
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub(crate) metrics_listen: SocketAddr,

    /// Where streams are opened by plain WebSocket; only loopback addresses. Off if absent.
    #[arg(long)]
    pub(crate) plain_listen: Option<SocketAddr>,

    /// Where MQTT clients connect without TLS, by TCP or WebSocket. Off if absent; port 1883 of 127.0.0.1 is the usual one.
    #[arg(long, requires = "mqtt_open")]
    pub(crate) mqtt_listen: Option<SocketAddr>,

    /// Where MQTT clients connect by TLS, straight or by WebSocket. Off if absent; port 8883 is the usual one.
    #[arg(long, requires = "mqtt_open")]
    pub(crate) mqtts_listen: Option<SocketAddr>,

    /// MQTT clients are not asked who they are: all share one space of topics, where each may publish and read everything. For
    /// closed networks, and for public conformance suites.
    #[arg(long)]
    pub(crate) mqtt_open: bool,

    /// The largest MQTT packet, KiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) mqtt_packet_kib: u32,

    /// Memory for MQTT messages, wills and retained messages, MiB, all shards together; retained messages are in each.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) mqtt_memory_mib: u32,

    /// Devices that all shards together can hold. Memory is used as they come.
    #[arg(long, default_value_t = 2_000_000)]
    pub(crate) devices_max: usize,

    /// Gateways that all shards together can hold.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) gateways_max: usize,

    /// Consumer connections that all shards together can hold; the descriptor limit may lower it.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) connections_max: u32,

    /// Memory for consumers' queues, MiB, all shards together.
    #[arg(long, default_value_t = 1024)]
    pub(crate) queue_memory_mib: usize,

    /// Bytes of one segment of the journal, MiB. Each shard has two at least.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) journal_segment_mib: u64,

    /// Memory for the newest part of the journal, MiB per shard: consumers that keep up are sent to from there.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) journal_memory_mib: u64,

    /// Directory in memory (tmpfs) where a killed dataplane leaves what it had not written to the journal yet, as much as
    /// `--journal-memory-mib` per shard. Elsewhere, or without it, the journal is written at every turn instead.
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) carry_dir: PathBuf,

    /// What all of the journal may take on disk, MiB; 0 is what the disk has room for.
    #[arg(long, default_value_t = 0)]
    pub(crate) journal_max_mib: u64,

    /// What the journal leaves free on its disk, MiB.
    #[arg(long, default_value_t = 256)]
    pub(crate) journal_reserve_mib: u64,

    /// How long an uplink may be held up on its way, microseconds, so that shards do at one turn what came in several
    /// moments. What comes after a longer pause is not held up. 0 is not at all; it needs Linux 6.12.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub(crate) gather_us: u64,

    /// Answer on /echo, for public WebSocket suites.
    #[arg(long)]
    pub(crate) echo: bool,

    #[command(flatten)]
    pub(crate) log: logs::Options,
}

/// What the shards may run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Driver {
    Uring,
    Glommio,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reads a data directory's journal: inspect, verify, export
    #[command(subcommand)]
    Journal(Journal),
}
