//! Streams: standing, two-way taps.

use crate::{ApplicationId, Bounded, Name, TenantId};
use base::Eui64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stream, without its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its owner; without one it is the operator's.
    pub tenant: Option<TenantId>,
    /// For people, and for topics.
    pub name: Name,
    /// What it taps.
    pub level: Level,
    /// Which copies of one uplink it carries.
    pub copies: Copies,
    /// Names of event kinds; none is every kind. The dataplane's compiler knows which there are.
    pub kinds: Vec<String>,
    /// How its messages look.
    pub format: Format,
    /// Whether it carries anything.
    pub enabled: bool,
    /// Whether its sessions may send downlinks.
    pub downlinks: bool,
    /// Whether permessage-deflate is offered.
    pub deflate: bool,
    /// Bytes that may wait for one connection.
    pub queue_bytes_max: Option<Bounded<16_384, 67_108_864>>,
    /// What happens beyond that.
    pub when_full: WhenFull,
    /// Between pings.
    pub ping_interval_s: Option<Bounded<5, 3600>>,
    /// Connections, per shard.
    pub connection_count_max: Option<Bounded<1, 1_000_000>>,
    /// Whether its messages are kept for its consumers.
    pub delivery: Delivery,
}

/// Whether a stream's messages are kept for its consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Who is connected gets them.
    #[default]
    Live,
    /// Each group of consumers gets each at least once.
    Durable(Durable),
}

/// How a durable stream keeps its messages and gives them out. What is absent is the dataplane's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// What acceptance waits for.
    pub accept: Accept,
    /// The age up to which messages are kept.
    pub retention_s: Option<Bounded<60, 315_360_000>>,
    /// The bytes up to which messages are kept.
    pub retention_bytes: Option<RetentionBytes>,
    /// Unacknowledged messages per session.
    pub in_flight_max: Option<Bounded<1, 4096>>,
    /// Deliveries of one message before it is a dead letter.
    pub attempts_max: Option<Bounded<1, 100>>,
    /// Before a refused message is delivered again.
    pub retry_s: Option<Bounded<0, 86_400>>,
    /// Before an unacknowledged message is delivered again; without it only when its session has ended.
    pub ack_timeout_s: Option<Bounded<5, 86_400>>,
}

impl Delivery {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Durable(_) => "durable",
        }
    }

    /// How a durable stream does it; nothing for a live one.
    #[must_use]
    pub const fn durable(&self) -> Option<&Durable> {
        match self {
            Self::Live => None,
            Self::Durable(durable) => Some(durable),
        }
    }
}

impl Durable {
    /// The fields in which two mean something else, whether they say it or leave it to the default.
    pub fn differences(&self, other: &Self) -> impl Iterator<Item = &'static str> + use<> {
        let (mine, others) = (self.meant(), other.meant());
        mine.into_iter().zip(others).filter(|(mine, other)| mine != other).map(|((field, _), _)| field)
    }

    fn meant(&self) -> [(&'static str, u64); 7] {
        const DEFAULT: plan::Durable = plan::Durable::DEFAULT;
        fn or<const MIN: u32, const MAX: u32>(value: Option<Bounded<MIN, MAX>>, default: u64) -> u64 {
            value.map_or(default, |value| value.value().into())
        }
        [
            ("accept", self.accept as u64),
            ("retention_s", or(self.retention_s, DEFAULT.retention.as_secs())),
            ("retention_bytes", self.retention_bytes.map_or(DEFAULT.retention_bytes, RetentionBytes::value)),
            ("in_flight_max", or(self.in_flight_max, DEFAULT.in_flight_max.into())),
            ("attempts_max", or(self.attempts_max, DEFAULT.attempts_max.into())),
            ("retry_s", or(self.retry_s, DEFAULT.retry.as_secs())),
            ("ack_timeout_s", or(self.ack_timeout_s, 0)),
        ]
    }
}

/// What "accepted" waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// The message is on the disk: it survives power loss.
    #[default]
    Disk,
    /// The message is written: it survives the process.
    Memory,
}

impl Accept {
    /// The choice with this name.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "disk" => Ok(Self::Disk),
            "memory" => Ok(Self::Memory),
            _ => Err("must be disk or memory".into()),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

/// Bytes that a stream may keep: 1 MiB to 2^50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct RetentionBytes(u64);

impl RetentionBytes {
    /// The number, if it is in range.
    ///
    /// # Errors
    /// The reason, which names the range.
    pub fn new(value: u64) -> Result<Self, String> {
        const MIN: u64 = 1 << 20;
        const MAX: u64 = 1 << 50;
        if (MIN..=MAX).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("must be {MIN} to {MAX}, is {value}"))
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for RetentionBytes {
    type Error = String;

    fn try_from(value: u64) -> Result<Self, String> {
        Self::new(value)
    }
}

impl From<RetentionBytes> for u64 {
    fn from(value: RetentionBytes) -> Self {
        value.0
    }
}

/// What a stream taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One device, through any gateway.
    Device(Eui64),
    /// Every device of an application.
    Application(ApplicationId),
    /// Everything that passes one gateway.
    Gateway(Eui64),
    /// Everything of its tenant.
    Tenant,
    /// Everything.
    Operator,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Application(_) => "application",
            Self::Gateway(_) => "gateway",
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }
}

/// Which copies of one uplink a stream carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copies {
    /// Each gateway's, as it arrives.
    #[default]
    All,
    /// One after the dedup window, with every reception.
    Best,
    /// The first, at once.
    First,
}

impl Copies {
    /// The choice with this name.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "best" => Ok(Self::Best),
            "first" => Ok(Self::First),
            _ => Err("must be all, best or first".into()),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Best => "best",
            Self::First => "first",
        }
    }
}

/// What happens to a connection whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The new message is dropped and counted.
    #[default]
    DropNewest,
    /// The connection is closed.
    Disconnect,
}

impl WhenFull {
    /// The policy with this name.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "drop_newest" => Ok(Self::DropNewest),
            "disconnect" => Ok(Self::Disconnect),
            _ => Err("must be drop_newest or disconnect".into()),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropNewest => "drop_newest",
            Self::Disconnect => "disconnect",
        }
    }
}

/// How a stream's messages look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A shipped format, by name.
    Shipped(String),
    /// Own templates by event kind; kinds without one are not sent.
    Own(BTreeMap<String, String>),
}

impl Format {
    /// The longest template, in bytes.
    pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
    /// The templates in all streams of one owner, in bytes: every dataplane holds them, and reads them at its start.
    pub const OWNED_BYTES_MAX: usize = 4 << 20;

    /// The bytes of its templates.
    #[must_use]
    pub fn template_bytes(&self) -> usize {
        match self {
            Self::Shipped(_) => 0,
            Self::Own(templates) => templates.values().map(String::len).sum(),
        }
    }
}
