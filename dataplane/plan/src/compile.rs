//! The plan: what a shard looks up while it serves. Immutable; replaced whole.
//!
//! ```text
//!   event -> device? application? tenant? gateway(s)? operator  -> stream indexes, dense, in this plan only
//!   token hash -> stream index            stream index -> StreamPlan -> format index -> templates by kind
//! ```
//!
//! A shard keeps what outlives a plan (presence, counters, connections) by stream id, and maps it over at a swap.

use crate::config::Config;
use crate::spec::{
    Accept, Application, Copies, Delivery, FormatSpec, Level, Refusal, Settings, Stream, Text, WhenFull,
};
use base::Eui64;
use base::mix::BuildMixHasher;
use core::time::Duration;
use emit::Template;
use event::{Copy, Event, Kind};
use lorawan::profile::Profile;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Table<K, V> = HashMap<K, V, BuildMixHasher>;

/// A stream as a shard sees it.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// Its number, for life.
    pub id: u32,
    /// Its owner; 0 is the operator.
    pub tenant: u32,
    /// What it taps.
    pub level: Level,
    /// Which copies.
    pub copies: Copies,
    /// A set of [`Kind::bit`]s.
    pub kinds: u16,
    /// Index into [`Plan::formats`].
    pub format: u32,
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
    /// Connections per shard.
    pub connection_count_max: u32,
    /// Whether messages are kept, and how.
    pub delivery: Delivery,
}

/// Templates of one format, by kind.
#[derive(Debug)]
pub struct Format {
    templates: [Option<Template>; Kind::ALL.len() + 1],
}

impl Format {
    /// The template of events of this kind; without one they are not sent.
    #[must_use]
    pub fn template(&self, kind: Kind) -> Option<&Template> {
        self.templates[kind as usize].as_ref()
    }
}

/// Everything a shard looks up.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Which configuration this is.
    pub revision: u64,
    /// What holds for the whole.
    pub settings: Settings,
    /// Dense; the index is valid in this plan only.
    pub streams: Vec<StreamPlan>,
    /// Shared by every shard's copy: compiled once, never written.
    pub formats: Vec<Arc<Format>>,
    applications: Table<u32, Arc<Application>>,
    profiles: Table<u32, Profile>,
    by_id: Table<u32, u32>,
    by_token: Table<[u8; 32], u32>,
    by_device: Table<Eui64, Box<[u32]>>,
    by_application: Table<u32, Box<[u32]>>,
    by_gateway: Table<Eui64, Box<[u32]>>,
    by_tenant: Table<u32, Box<[u32]>>,
    operator: Box<[u32]>,
    /// Whether any stream is enabled and durable: without one, nothing of a durable stream costs anything.
    durable: bool,
}

impl Plan {
    pub(crate) fn compile(config: &Config, revision: u64) -> Result<Self, Refusal> {
        let mut plan = Self { revision, settings: config.settings.clone(), ..Self::default() };
        plan.applications =
            config.applications.iter().map(|(id, application)| (*id, Arc::clone(application))).collect();
        plan.profiles = config.profiles.iter().map(|(id, owned)| (*id, owned.profile)).collect();
        let mut formats: BTreeMap<&FormatSpec, u32> = BTreeMap::new();
        let mut operator = Vec::new();
        let mut lists = Lists::default();
        for (index, stream) in config.streams.values().enumerate() {
            let index = index as u32;
            let within = |refusal: Refusal| refusal.within(&format!("streams[{}]", stream.id));
            let format = match formats.get(&stream.format) {
                Some(format) => *format,
                None => {
                    plan.formats.push(Arc::new(compile_format(&stream.format).map_err(within)?));
                    formats.insert(&stream.format, plan.formats.len() as u32 - 1);
                    plan.formats.len() as u32 - 1
                }
            };
            for hash in &stream.token_hashes {
                if plan.by_token.insert(*hash, index).is_some_and(|other| other != index) {
                    return Err(within(Refusal::new("token_hashes", "a token opens another stream already")));
                }
            }
            match stream.level {
                Level::Device(eui) => lists.device.entry(eui).or_default().push(index),
                Level::Application(id) => lists.application.entry(id).or_default().push(index),
                Level::Gateway(eui) => lists.gateway.entry(eui).or_default().push(index),
                Level::Tenant => lists.tenant.entry(stream.tenant).or_default().push(index),
                Level::Operator => operator.push(index),
            }
            plan.by_id.insert(stream.id, index);
            plan.durable |= stream.enabled && stream.delivery != Delivery::Live;
            plan.streams.push(stream_plan(stream, format));
        }
        plan.by_device = boxed(lists.device);
        plan.by_application = boxed(lists.application);
        plan.by_gateway = boxed(lists.gateway);
        plan.by_tenant = boxed(lists.tenant);
        plan.operator = operator.into();
        Ok(plan)
    }

    /// The profile with this number.
    #[must_use]
    pub fn profile(&self, id: u32) -> Option<&Profile> {
        self.profiles.get(&id)
    }

    /// How long copies of an application's frames are gathered.
    #[must_use]
    pub fn dedup_window(&self, application: u32) -> Duration {
        self.applications.get(&application).map_or(Duration::from_millis(200), |application| application.dedup_window)
    }

    /// The stream that a token with this SHA-256 opens, if it is enabled.
    #[must_use]
    pub fn stream_of_token(&self, hash: &[u8; 32]) -> Option<u32> {
        self.by_token.get(hash).copied().filter(|index| self.streams[*index as usize].enabled)
    }

    /// The index of the stream with this id.
    #[must_use]
    pub fn stream_of_id(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Calls `each` with every enabled stream that is to carry `event`, once per stream.
    #[inline]
    pub fn covering(&self, event: &Event<'_>, mut each: impl FnMut(u32, &StreamPlan)) {
        let mut offer = |list: Option<&[u32]>| {
            for index in list.into_iter().flatten() {
                let stream = &self.streams[*index as usize];
                if stream.enabled
                    && stream.kinds & event.kind.bit() != 0
                    && takes(stream.copies, event)
                    && entitled(stream, event)
                {
                    each(*index, stream);
                }
            }
        };
        if event.dev_eui != Eui64::default() && concerns_device(event.kind) {
            offer(self.by_device.get(&event.dev_eui).map(AsRef::as_ref));
            offer(self.by_application.get(&event.application).map(AsRef::as_ref));
        }
        offer(self.by_tenant.get(&event.tenant).map(AsRef::as_ref));
        offer(Some(&self.operator));
        if self.by_gateway.is_empty() {
            return;
        }
        // A gateway may have heard one frame with several antennas; its streams still carry the event once.
        if event.receptions.is_empty() {
            offer(self.by_gateway.get(&event.gateway).map(AsRef::as_ref));
        }
        for (at, reception) in event.receptions.iter().enumerate() {
            if event.receptions.iter().take(at).all(|earlier| earlier.gateway != reception.gateway) {
                offer(self.by_gateway.get(&reception.gateway).map(AsRef::as_ref));
            }
        }
    }

    /// Whether stream `index` is to carry `event`: as [`Plan::covering`] says, for one stream.
    #[must_use]
    pub fn covers(&self, index: u32, event: &Event<'_>) -> bool {
        let stream = &self.streams[index as usize];
        let about_device = event.dev_eui != Eui64::default() && concerns_device(event.kind);
        let tapped = match stream.level {
            Level::Device(eui) => about_device && event.dev_eui == eui,
            Level::Application(id) => about_device && event.application == id,
            Level::Tenant => event.tenant == stream.tenant,
            Level::Operator => true,
            Level::Gateway(eui) if event.receptions.is_empty() => event.gateway == eui,
            Level::Gateway(eui) => event.receptions.iter().any(|reception| reception.gateway == eui),
        };
        tapped
            && stream.enabled
            && stream.kinds & event.kind.bit() != 0
            && takes(stream.copies, event)
            && entitled(stream, event)
    }

    /// Calls `each` with every enabled, durable stream that is to carry `event`, once per stream.
    #[inline]
    pub fn covering_durable(&self, event: &Event<'_>, mut each: impl FnMut(u32, &StreamPlan)) {
        if !self.durable {
            return;
        }
        self.covering(event, |index, stream| {
            if stream.delivery != Delivery::Live {
                each(index, stream);
            }
        });
    }

    /// What the acceptance of `event` waits for: the strictest of the durable streams that are to carry it; nothing if
    /// none is. Of an uplink each copy is asked for itself, as in [`Plan::covering`].
    #[inline]
    #[must_use]
    pub fn strictest(&self, event: &Event<'_>) -> Option<Accept> {
        let mut strictest = None;
        self.covering_durable(event, |_, stream| {
            strictest = strictest.max(stream.delivery.durable().map(|durable| durable.accept));
        });
        strictest
    }

    /// Whether any enabled stream is durable.
    #[must_use]
    pub const fn has_durable_streams(&self) -> bool {
        self.durable
    }

    /// Whether any stream taps a gateway.
    #[must_use]
    pub fn has_gateway_streams(&self) -> bool {
        !self.by_gateway.is_empty()
    }

    /// Whether a session of stream `index` may send a downlink to this device.
    ///
    /// A gateway's stream may if its owner owns the device, or it is the operator's.
    #[must_use]
    pub fn may_command(&self, index: u32, dev_eui: Eui64, application: u32, tenant: u32) -> bool {
        let stream = &self.streams[index as usize];
        let owned = stream.tenant == tenant;
        stream.enabled
            && stream.downlinks
            && match stream.level {
                Level::Device(eui) => owned && eui == dev_eui,
                Level::Application(id) => owned && id == application,
                Level::Tenant => owned,
                Level::Gateway(_) => owned || stream.tenant == 0,
                Level::Operator => true,
            }
    }
}

#[derive(Default)]
struct Lists {
    device: HashMap<Eui64, Vec<u32>>,
    application: HashMap<u32, Vec<u32>>,
    gateway: HashMap<Eui64, Vec<u32>>,
    tenant: HashMap<u32, Vec<u32>>,
}

fn boxed<K: core::hash::Hash + Eq>(lists: HashMap<K, Vec<u32>>) -> Table<K, Box<[u32]>> {
    lists.into_iter().map(|(key, list)| (key, list.into_boxed_slice())).collect()
}

const fn takes(copies: Copies, event: &Event<'_>) -> bool {
    if !matches!(event.kind, Kind::Uplink) {
        return true;
    }
    match copies {
        Copies::All => matches!(event.copy, Copy::First | Copy::Later),
        Copies::First => matches!(event.copy, Copy::First),
        Copies::Best => matches!(event.copy, Copy::Best),
    }
}

/// What was decrypted of a device is for its owner and the operator, whoever once owned its EUI or its application, and
/// whoever's gateway heard it. A frame that nobody decrypted belongs to the gateway too.
const fn entitled(stream: &StreamPlan, event: &Event<'_>) -> bool {
    stream.tenant == 0
        || stream.tenant == event.tenant
        || (matches!(stream.level, Level::Gateway(_)) && matches!(event.kind, Kind::JoinRequest | Kind::UnknownFrame))
}

/// Raw frames and gateways' own news belong to gateway, tenant and operator streams.
const fn concerns_device(kind: Kind) -> bool {
    matches!(kind, Kind::Uplink | Kind::Joined | Kind::DownlinkSent | Kind::DownlinkAcknowledged | Kind::DownlinkFailed)
}

fn stream_plan(stream: &Stream, format: u32) -> StreamPlan {
    StreamPlan {
        id: stream.id,
        tenant: stream.tenant,
        level: stream.level,
        copies: stream.copies,
        kinds: stream.kinds,
        format,
        enabled: stream.enabled,
        downlinks: stream.downlinks,
        deflate: stream.deflate,
        queue_bytes_max: stream.queue_bytes_max,
        when_full: stream.when_full,
        ping_interval: stream.ping_interval,
        connection_count_max: stream.connection_count_max,
        delivery: stream.delivery,
    }
}

fn compile_format(spec: &FormatSpec) -> Result<Format, Refusal> {
    let mut templates = core::array::from_fn(|_| None);
    let mut compile = |kind: Kind, text: &str, field: &str| {
        let template = Template::parse(text, &event::SCHEMA).map_err(|error| Refusal::new(field, error.to_string()))?;
        templates[kind as usize] = Some(template);
        Ok::<(), Refusal>(())
    };
    match spec {
        FormatSpec::Shipped(name) => {
            let shipped = event::formats::SHIPPED.iter().find(|format| format.name == &**name).ok_or_else(|| {
                let known: Vec<_> = event::formats::SHIPPED.iter().map(|format| format.name).collect();
                Refusal::new("format", format!("must be one of {}", known.join(", ")))
            })?;
            for (kind, text) in shipped.templates {
                compile(*kind, text, "format")?;
            }
        }
        FormatSpec::Own(own) => {
            for kind in Kind::ALL {
                let text: Option<&Text> = own.iter().find(|(number, _)| *number == kind as u8).map(|(_, text)| text);
                if let Some(text) = text {
                    compile(kind, text, &format!("templates.{}", kind.name()))?;
                }
            }
        }
    }
    Ok(Format { templates })
}
