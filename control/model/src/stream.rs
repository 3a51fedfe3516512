//! Streams: standing, two-way taps.

use crate::{ApplicationId, Bounded, Name, TenantId};
use base::Eui64;
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
