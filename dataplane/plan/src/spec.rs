//! One object each: from the contract's message to a type that cannot be wrong, or a refusal that names the field.

use base::Eui64;
use contract::v1;
use core::fmt;
use core::time::Duration;
use event::Kind;
use lorawan::profile::Profile;
use lorawan::{AesKey, DevAddr, SessionKeys};
use session::{Activation, DeviceSpec};

/// The longest name of anything, bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Why a change cannot be put in force. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field, a path such as `stream.copies`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The same refusal, one level further out.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// A name or a template: checked for length, kept as it came.
pub type Text = Box<str>;

/// What holds for the whole dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The network's NetID, 24 bits.
    pub net_id: u32,
    /// Whether a gateway that nobody registered may speak.
    pub accept_unknown_gateways: bool,
    /// Datagrams per second of one gateway.
    pub gateway_rate_max: u32,
    /// Datagrams per second of one source address.
    pub address_rate_max: u32,
    /// Silence after which a gateway is offline.
    pub gateway_silence: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            net_id: 0,
            accept_unknown_gateways: false,
            gateway_rate_max: 1000,
            address_rate_max: 20_000,
            gateway_silence: Duration::from_secs(90),
        }
    }
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its number.
    pub id: u32,
    /// For people.
    pub name: Text,
}

/// A set of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its number.
    pub id: u32,
    /// Its owner.
    pub tenant: u32,
    /// For people.
    pub name: Text,
    /// How long copies of one frame are gathered.
    pub dedup_window: Duration,
}

/// A profile with its owner (0: everyone's).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnedProfile {
    pub(crate) id: u32,
    pub(crate) tenant: u32,
    pub(crate) profile: Profile,
}

/// What a stream taps, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One device, through any gateway.
    Device(Eui64),
    /// Every device of an application.
    Application(u32),
    /// Everything that passes one gateway.
    Gateway(Eui64),
    /// Everything of the stream's tenant.
    Tenant,
    /// Everything.
    Operator,
}

/// Which of the copies of one uplink a stream wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Each gateway's copy as it arrives.
    All,
    /// One message after the dedup window, with every reception.
    Best,
    /// The first copy, at once.
    First,
}

/// What happens to a connection whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The new message is dropped and counted; the consumer is told how many it missed.
    DropNewest,
    /// The connection is closed with 1013.
    Disconnect,
}

/// Whether a stream's messages are kept for its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Who is connected gets them.
    Live,
    /// Each group of consumers gets each at least once.
    Durable(Durable),
}

/// How a durable stream keeps its messages and gives them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// What acceptance waits for.
    pub accept: Accept,
    /// The age up to which messages are kept.
    pub retention: Duration,
    /// The bytes up to which messages are kept.
    pub retention_bytes: u64,
    /// Unacknowledged messages per session.
    pub in_flight_max: u16,
    /// Deliveries of one message before it is a dead letter.
    pub attempts_max: u8,
    /// Before a refused message is delivered again.
    pub retry: Duration,
    /// Before an unacknowledged message is delivered again; `None`: only when its session has ended.
    pub ack_timeout: Option<Duration>,
}

/// What "accepted" waits for. The greater is the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accept {
    /// The record is written: it survives the process.
    Memory,
    /// The record is stored: it survives power loss.
    Disk,
}

impl Delivery {
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
    /// What holds where a stream says nothing.
    pub const DEFAULT: Self = Self {
        accept: Accept::Disk,
        retention: Duration::from_secs(7 * 86_400),
        retention_bytes: 10 << 30,
        in_flight_max: 256,
        attempts_max: 5,
        retry: Duration::from_secs(10),
        ack_timeout: None,
    };
}

/// How a stream's messages look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FormatSpec {
    /// A shipped format, by name.
    Shipped(Text),
    /// Own templates by the number of the event kind.
    Own(Vec<(u8, Text)>),
}

/// A standing tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Its owner; 0 is the operator.
    pub tenant: u32,
    /// For people, and for topics.
    pub name: Text,
    /// What it taps.
    pub level: Level,
    /// Which copies.
    pub copies: Copies,
    /// A set of [`Kind::bit`]s.
    pub kinds: u16,
    pub(crate) format: FormatSpec,
    /// SHA-256 of each token that opens it.
    pub token_hashes: Vec<[u8; 32]>,
    /// Whether it carries anything.
    pub enabled: bool,
    /// Whether its sessions may send downlinks.
    pub downlinks: bool,
    /// Whether permessage-deflate is offered.
    pub deflate: bool,
    /// Bytes that may wait for one connection.
    pub queue_bytes_max: u32,
    /// What happens beyond that.
    pub when_full: WhenFull,
    /// Between pings.
    pub ping_interval: Duration,
    /// Connections per shard; `u32::MAX` is no limit of its own.
    pub connection_count_max: u32,
    /// Whether messages are kept.
    pub delivery: Delivery,
}

/// A LoRaWAN gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its EUI.
    pub eui: Eui64,
    /// Its owner; 0 is the operator's.
    pub tenant: u32,
    /// Transmit ceiling, dBm EIRP; `None` is the region's.
    pub eirp_max_dbm: Option<u8>,
}

pub(crate) fn settings(message: &v1::Settings) -> Result<Settings, Refusal> {
    let default = Settings::default();
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    if message.net_id > 0x00FF_FFFF {
        return Err(Refusal::new("net_id", "must have 24 bits"));
    }
    let silence = or(message.gateway_silence_s, default.gateway_silence.as_secs() as u32);
    range("gateway_silence_s", silence, 5, 86_400)?;
    Ok(Settings {
        net_id: message.net_id,
        accept_unknown_gateways: message.accept_unknown_gateways,
        gateway_rate_max: or(message.gateway_rate_max, default.gateway_rate_max),
        address_rate_max: or(message.address_rate_max, default.address_rate_max),
        gateway_silence: Duration::from_secs(u64::from(silence)),
    })
}

pub(crate) fn tenant(message: &v1::Tenant) -> Result<Tenant, Refusal> {
    Ok(Tenant { id: id("id", message.id)?, name: name(&message.name)? })
}

pub(crate) fn application(message: &v1::Application) -> Result<Application, Refusal> {
    let window = if message.dedup_window_ms == 0 { 200 } else { message.dedup_window_ms };
    // The answer must still meet RX1, one second after the uplink, through the gateway's own network.
    range("dedup_window_ms", window, 20, 700)?;
    Ok(Application {
        id: id("id", message.id)?,
        tenant: id("tenant", message.tenant)?,
        name: name(&message.name)?,
        dedup_window: Duration::from_millis(u64::from(window)),
    })
}

pub(crate) fn profile(message: &v1::Profile) -> Result<OwnedProfile, Refusal> {
    use lorawan::profile::MacVersion;
    use lorawan::region::Region;
    let region = match v1::Region::try_from(message.region) {
        Ok(v1::Region::Eu868) => Region::Eu868,
        Ok(v1::Region::Us915) => Region::Us915,
        _ => return Err(Refusal::new("region", "must be EU868 or US915")),
    };
    let mac_version = match v1::MacVersion::try_from(message.mac_version) {
        Ok(v1::MacVersion::Lorawan100) => MacVersion::V1_0_0,
        Ok(v1::MacVersion::Lorawan101) => MacVersion::V1_0_1,
        Ok(v1::MacVersion::Lorawan102) => MacVersion::V1_0_2,
        Ok(v1::MacVersion::Lorawan103) => MacVersion::V1_0_3,
        Ok(v1::MacVersion::Lorawan104) => MacVersion::V1_0_4,
        _ => return Err(Refusal::new("mac_version", "must be LoRaWAN 1.0.0 to 1.0.4")),
    };
    let default = Profile { mac_version, ..Profile::from(region) };
    let byte = |field: &'static str, value: u32| {
        u8::try_from(value).map_err(|_| Refusal::new(field, format!("must be at most 255, is {value}")))
    };
    range("queue_count_max", message.queue_count_max, 0, 64)?;
    range("fcnt_gap_max", message.fcnt_gap_max, 0, 65_535)?;
    let profile = Profile {
        rx1_delay_s: byte("rx1_delay_s", message.rx1_delay_s)?,
        rx1_dr_offset: byte("rx1_dr_offset", message.rx1_dr_offset)?,
        rx2_data_rate: message.rx2_data_rate.map(|rate| byte("rx2_data_rate", rate)).transpose()?,
        rx2_frequency_hz: message.rx2_frequency_hz,
        sub_bands: byte("sub_bands", message.sub_bands)?,
        confirmed_attempts_max: byte("confirmed_attempts_max", message.confirmed_attempts_max)?,
        fcnt_gap_max: message.fcnt_gap_max,
        queue_count_max: byte("queue_count_max", message.queue_count_max)?,
        ..default
    }
    .checked()
    .map_err(|fault| Refusal::new(fault.field(), format!("must be {}", fault.allowed())))?;
    name(&message.name)?;
    Ok(OwnedProfile { id: id("id", message.id)?, tenant: message.tenant, profile })
}

pub(crate) fn stream(message: &v1::Stream) -> Result<Stream, Refusal> {
    let level = match v1::Level::try_from(message.level) {
        Ok(v1::Level::Device) => Level::Device(eui("device", message.device)?),
        Ok(v1::Level::Application) => Level::Application(id("application", message.application)?),
        Ok(v1::Level::Gateway) => Level::Gateway(eui("gateway", message.gateway)?),
        Ok(v1::Level::Tenant) => Level::Tenant,
        Ok(v1::Level::Operator) => Level::Operator,
        _ => return Err(Refusal::new("level", "must be device, application, gateway, tenant or operator")),
    };
    if level == Level::Operator && message.tenant != 0 {
        return Err(Refusal::new("level", "operator streams belong to no tenant"));
    }
    if level != Level::Operator && message.tenant == 0 && !matches!(level, Level::Gateway(_)) {
        return Err(Refusal::new("tenant", "only operator and gateway streams may belong to no tenant"));
    }
    let mut kinds = 0;
    for (index, text) in message.kinds.iter().enumerate() {
        let kind = Kind::from_name(text).ok_or_else(|| {
            let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            Refusal::new(format!("kinds[{index}]"), format!("must be one of {}", known.join(", ")))
        })?;
        kinds |= kind.bit();
    }
    if kinds == 0 {
        kinds = Kind::ALL.iter().fold(0, |set, kind| set | kind.bit());
    }
    let queue_bytes_max = if message.queue_bytes_max == 0 { 1 << 20 } else { message.queue_bytes_max };
    range("queue_bytes_max", queue_bytes_max, 16 << 10, 64 << 20)?;
    let ping = if message.ping_interval_s == 0 { 30 } else { message.ping_interval_s };
    range("ping_interval_s", ping, 5, 3600)?;
    if message.token_hashes.len() > 64 {
        return Err(Refusal::new("token_hashes", "at most 64 tokens"));
    }
    let token_hashes = message.token_hashes.iter().enumerate().map(|(index, hash)| {
        <[u8; 32]>::try_from(hash.as_slice())
            .map_err(|_| Refusal::new(format!("token_hashes[{index}]"), "must be a SHA-256, 32 bytes"))
    });
    Ok(Stream {
        id: id("id", message.id)?,
        tenant: message.tenant,
        name: name(&message.name)?,
        level,
        copies: match v1::Copies::try_from(message.copies) {
            Ok(v1::Copies::Unspecified | v1::Copies::All) => Copies::All,
            Ok(v1::Copies::Best) => Copies::Best,
            Ok(v1::Copies::First) => Copies::First,
            Err(_) => return Err(Refusal::new("copies", "must be all, best or first")),
        },
        kinds,
        format: format_spec(message)?,
        token_hashes: token_hashes.collect::<Result<_, _>>()?,
        enabled: message.enabled,
        downlinks: message.downlinks,
        deflate: message.deflate,
        queue_bytes_max,
        when_full: match v1::WhenFull::try_from(message.when_full) {
            Ok(v1::WhenFull::Unspecified | v1::WhenFull::DropNewest) => WhenFull::DropNewest,
            Ok(v1::WhenFull::Disconnect) => WhenFull::Disconnect,
            Err(_) => return Err(Refusal::new("when_full", "must be drop_newest or disconnect")),
        },
        ping_interval: Duration::from_secs(u64::from(ping)),
        connection_count_max: if message.connection_count_max == 0 { u32::MAX } else { message.connection_count_max },
        delivery: delivery(message)?,
    })
}

fn delivery(message: &v1::Stream) -> Result<Delivery, Refusal> {
    let durable = durable(message)?;
    match v1::Delivery::try_from(message.delivery) {
        Ok(v1::Delivery::Durable) => Ok(Delivery::Durable(durable)),
        Ok(v1::Delivery::Unspecified | v1::Delivery::Live) => match first_difference(&durable, &Durable::DEFAULT) {
            Some(field) => Err(Refusal::new(field, "is of durable streams only: delivery is live")),
            None => Ok(Delivery::Live),
        },
        Err(_) => Err(Refusal::new("delivery", "must be live or durable")),
    }
}

/// What a stream says about being durable, whether it is or not: a value out of its range is wrong either way.
fn durable(message: &v1::Stream) -> Result<Durable, Refusal> {
    const DEFAULT: Durable = Durable::DEFAULT;
    let or = |value: u32, default: u64| if value == 0 { default as u32 } else { value };
    let retention_s = or(message.retention_s, DEFAULT.retention.as_secs());
    range("retention_s", retention_s, 60, 3650 * 86_400)?;
    let retention_bytes = if message.retention_bytes == 0 { DEFAULT.retention_bytes } else { message.retention_bytes };
    if !(1 << 20..=1 << 50).contains(&retention_bytes) {
        let reason = format!("must be {} to {}, is {retention_bytes}", 1_u64 << 20, 1_u64 << 50);
        return Err(Refusal::new("retention_bytes", reason));
    }
    let in_flight_max = or(message.in_flight_max, DEFAULT.in_flight_max.into());
    range("in_flight_max", in_flight_max, 1, 4096)?;
    let attempts_max = or(message.attempts_max, DEFAULT.attempts_max.into());
    range("attempts_max", attempts_max, 1, 100)?;
    let retry_s = message.retry_s.unwrap_or(DEFAULT.retry.as_secs() as u32);
    range("retry_s", retry_s, 0, 86_400)?;
    let ack_timeout_s = message.ack_timeout_s;
    if ack_timeout_s != 0 {
        range("ack_timeout_s", ack_timeout_s, 5, 86_400)?;
    }
    Ok(Durable {
        accept: match v1::Accept::try_from(message.accept) {
            Ok(v1::Accept::Unspecified | v1::Accept::Disk) => Accept::Disk,
            Ok(v1::Accept::Memory) => Accept::Memory,
            Err(_) => return Err(Refusal::new("accept", "must be disk or memory")),
        },
        retention: Duration::from_secs(retention_s.into()),
        retention_bytes,
        in_flight_max: in_flight_max as u16,
        attempts_max: attempts_max as u8,
        retry: Duration::from_secs(retry_s.into()),
        ack_timeout: (ack_timeout_s != 0).then(|| Duration::from_secs(ack_timeout_s.into())),
    })
}

/// The contract's name of the first field in which two differ.
fn first_difference(one: &Durable, other: &Durable) -> Option<&'static str> {
    let differs = [
        ("accept", one.accept != other.accept),
        ("retention_s", one.retention != other.retention),
        ("retention_bytes", one.retention_bytes != other.retention_bytes),
        ("in_flight_max", one.in_flight_max != other.in_flight_max),
        ("attempts_max", one.attempts_max != other.attempts_max),
        ("retry_s", one.retry != other.retry),
        ("ack_timeout_s", one.ack_timeout != other.ack_timeout),
    ];
    differs.iter().find(|(_, differs)| *differs).map(|(field, _)| *field)
}

fn format_spec(message: &v1::Stream) -> Result<FormatSpec, Refusal> {
    if message.templates.is_empty() {
        let name = if message.format.is_empty() { "json" } else { &message.format };
        return Ok(FormatSpec::Shipped(name.into()));
    }
    if !message.format.is_empty() {
        return Err(Refusal::new("templates", "a stream has either a shipped format or templates of its own"));
    }
    let mut own = message
        .templates
        .iter()
        .map(|(key, text)| {
            let kind = Kind::from_name(key)
                .ok_or_else(|| Refusal::new(format!("templates.{key}"), "is not the name of an event kind"))?;
            Ok((kind as u8, text.as_str().into()))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    own.sort();
    Ok(FormatSpec::Own(own))
}

pub(crate) fn gateway(message: &v1::Gateway) -> Result<Gateway, Refusal> {
    name(&message.name)?;
    range("eirp_max_dbm", message.eirp_max_dbm, 0, 40)?;
    Ok(Gateway {
        eui: eui("eui", message.eui)?,
        tenant: message.tenant,
        eirp_max_dbm: (message.eirp_max_dbm != 0).then_some(message.eirp_max_dbm as u8),
    })
}

pub(crate) fn device(message: &v1::Device) -> Result<DeviceSpec, Refusal> {
    let activation = match &message.activation {
        Some(v1::device::Activation::Otaa(otaa)) => Activation::Otaa { app_key: key("otaa.app_key", &otaa.app_key)? },
        Some(v1::device::Activation::Abp(abp)) => Activation::Abp {
            dev_addr: DevAddr(abp.dev_addr),
            keys: SessionKeys {
                nwk_s_key: key("abp.nwk_s_key", &abp.nwk_s_key)?,
                app_s_key: key("abp.app_s_key", &abp.app_s_key)?,
            },
            fcnt_up: abp.fcnt_up,
            fcnt_down: abp.fcnt_down,
        },
        None => return Err(Refusal::new("activation", "must be otaa or abp")),
    };
    Ok(DeviceSpec {
        dev_eui: eui("dev_eui", message.dev_eui)?,
        join_eui: Eui64::new(message.join_eui),
        tenant: id("tenant", message.tenant)?,
        application: id("application", message.application)?,
        profile: id("profile", message.profile)?,
        enabled: message.enabled,
        activation,
    })
}

fn key(field: &'static str, bytes: &[u8]) -> Result<AesKey, Refusal> {
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| Refusal::new(field, "must be 16 bytes"))?;
    Ok(AesKey(bytes))
}

fn id(field: &'static str, value: u32) -> Result<u32, Refusal> {
    if value == 0 { Err(Refusal::new(field, "must not be 0")) } else { Ok(value) }
}

pub(crate) fn eui(field: &'static str, value: u64) -> Result<Eui64, Refusal> {
    if value == 0 { Err(Refusal::new(field, "must not be 0")) } else { Ok(Eui64::new(value)) }
}

fn name(text: &str) -> Result<Text, Refusal> {
    if text.len() > NAME_BYTES_MAX {
        return Err(Refusal::new("name", format!("must have at most {NAME_BYTES_MAX} bytes")));
    }
    Ok(text.into())
}

fn range(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refusal::new(field, format!("must be {least} to {most}, is {value}")))
}
