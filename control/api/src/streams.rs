//! Streams, with their connections and counters.

use crate::auth::Who;
use crate::dataplane::{LinkStatus, Query, StreamState};
use crate::input::{Params, UidPath, own_eui};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::{self, Resource, find, refer, writers};
use crate::state::{Api, Shared, tagged};
use crate::view::{ListParams, Page, View, rfc3339, seen};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{
    Accept, Application, Bounded, Copies, Delivery, Durable, Fault, Faults, Format, Level, Name, RetentionBytes,
    Stream, StreamId, Tenant, TenantId, WhenFull,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use store::Reader;
use utoipa::ToSchema;

/// A standing, two-way tap.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StreamBody {
    /// Its tenant's id. May be left out with a tenant's API key; operator streams and the operator's gateway streams have
    /// none. Never changes.
    #[serde(default)]
    tenant: Option<String>,
    /// 1 to 128 bytes.
    #[schema(example = "Dashboard")]
    name: String,
    /// What it taps: device, application, gateway, tenant or operator.
    #[schema(example = "application")]
    level: String,
    /// The application's id, for level application.
    #[serde(default)]
    application: Option<String>,
    /// The DevEUI, for level device.
    #[serde(default)]
    device: Option<String>,
    /// The gateway's EUI, for level gateway.
    #[serde(default)]
    gateway: Option<String>,
    /// Which copies of one uplink it carries: all (each gateway's), best (one with every reception), or first.
    #[serde(default = "all")]
    copies: String,
    /// Names of event kinds; every kind if empty.
    #[serde(default)]
    kinds: Vec<String>,
    /// The name of a shipped format; json if absent. Not with `templates`.
    #[serde(default)]
    format: Option<String>,
    /// Own templates by event kind; kinds without one are not sent.
    #[serde(default)]
    templates: BTreeMap<String, String>,
    /// Whether it carries anything; true if absent.
    #[serde(default = "yes")]
    enabled: bool,
    /// Whether its sessions may send downlinks; true if absent.
    #[serde(default = "yes")]
    downlinks: bool,
    /// Whether permessage-deflate is offered.
    #[serde(default)]
    deflate: bool,
    /// Bytes that may wait for one connection, 16384 to 67108864; 1 MiB if absent.
    #[serde(default)]
    queue_bytes_max: Option<u32>,
    /// What happens beyond that: drop_newest or disconnect.
    #[serde(default = "drop_newest")]
    when_full: String,
    /// Seconds between pings, 5 to 3600; 30 if absent.
    #[serde(default)]
    ping_interval_s: Option<u32>,
    /// Connections per shard; no limit if absent.
    #[serde(default)]
    connection_count_max: Option<u32>,
    /// Whether its messages are kept until each group of its consumers has acknowledged them: live (they are not) or
    /// durable. May be changed while messages flow. The fields below are for durable streams.
    #[serde(default = "live")]
    delivery: String,
    /// What acceptance (a LoRaWAN ACK, a join-accept) waits for: disk, so that the message survives power loss, or memory,
    /// so that it survives the process; disk if absent.
    #[serde(default)]
    accept: Option<String>,
    /// Seconds that messages are kept, 60 to 315360000; 604800, a week, if absent.
    #[serde(default)]
    retention_s: Option<u32>,
    /// Bytes that are kept at most, 1048576 to 1125899906842624; 10 GiB if absent or 0.
    #[serde(default)]
    retention_bytes: Option<u64>,
    /// Messages that one session may have unacknowledged, 1 to 4096; 256 if absent.
    #[serde(default)]
    in_flight_max: Option<u32>,
    /// Deliveries of one message before it is a dead letter, 1 to 100; 5 if absent.
    #[serde(default)]
    attempts_max: Option<u32>,
    /// Seconds before a refused message is delivered again, 0 to 86400; 10 if absent.
    #[serde(default)]
    retry_s: Option<u32>,
    /// Seconds before an unacknowledged message is delivered again, 5 to 86400; if absent or 0, only when its session has
    /// ended.
    #[serde(default)]
    ack_timeout_s: Option<u32>,
}

fn live() -> String {
    Delivery::Live.name().into()
}

fn all() -> String {
    Copies::All.name().into()
}

fn drop_newest() -> String {
    WhenFull::DropNewest.name().into()
}

pub(crate) const fn yes() -> bool {
    true
}

/// A stream with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StreamView {
    #[serde(flatten)]
    view: View<StreamBody>,
    /// Where it is opened; a token goes into the query as `?token=TOKEN` or into `Authorization: Bearer TOKEN`.
    url: String,
    /// Whether the dataplane was asked; without it `state` is null.
    live: bool,
    /// What the dataplane knows; null if it was not asked or does not know the stream.
    state: Option<StreamLive>,
}

/// What the dataplane knows of a stream, since it started.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StreamLive {
    /// Open connections.
    connections: Vec<ConnectionLive>,
    /// Messages that went out.
    delivered: u64,
    /// Bytes that went out.
    delivered_bytes: u64,
    /// What was dropped, by reason.
    drops: BTreeMap<String, u64>,
    /// Downlinks that came in.
    downlinks: u64,
    /// Durable streams: groups of consumers that share its messages.
    groups: Vec<GroupLive>,
    /// Durable streams: messages that are kept, as it was known a moment ago.
    retained_messages: u64,
    /// Bytes of their records.
    retained_bytes: u64,
    /// When the oldest message that is kept happened; RFC 3339.
    retained_oldest: Option<String>,
    /// The age up to which messages are kept, as it is in force; null if the dataplane does not say.
    retention_s: Option<u32>,
    /// The bytes up to which they are kept, likewise.
    retention_bytes: Option<u64>,
    /// Messages that should have been kept and the disk did not take.
    not_stored: u64,
}

/// A group of consumers of a durable stream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GroupLive {
    /// Its name.
    group: String,
    /// Messages that it has not acknowledged; null if only their bytes are known.
    lag_messages: Option<u64>,
    /// Bytes of the journal that it has not come through.
    lag_bytes: u64,
    /// Messages that were sent and are not acknowledged.
    in_flight: u32,
    /// Its sessions.
    sessions: u32,
    /// Messages that were delivered again.
    redelivered: u64,
    /// Dead letters that wait to be put back.
    dead_letters: u64,
    /// When the oldest message that it has not acknowledged happened; RFC 3339.
    oldest: Option<String>,
}

/// One connection.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionLive {
    /// The shard that serves it.
    shard: u32,
    /// The peer's address.
    peer: String,
    /// RFC 3339.
    since: String,
    /// Messages that went out.
    delivered: u64,
    /// Messages that were dropped.
    dropped: u64,
    /// Bytes that wait.
    queued_bytes: u64,
}

impl From<StreamState> for StreamLive {
    fn from(state: StreamState) -> Self {
        let connection = |connection: crate::dataplane::StreamConnection| ConnectionLive {
            shard: connection.shard,
            peer: connection.peer,
            since: rfc3339(connection.since_us),
            delivered: connection.delivered,
            dropped: connection.dropped,
            queued_bytes: connection.queued_bytes,
        };
        let group = |group: crate::dataplane::GroupState| GroupLive {
            group: group.group,
            lag_messages: (group.lag_messages > 0 || group.lag_bytes == 0).then_some(group.lag_messages),
            lag_bytes: group.lag_bytes,
            in_flight: group.in_flight,
            sessions: group.sessions,
            redelivered: group.redelivered,
            dead_letters: group.dead_letters,
            oldest: seen(group.oldest_us),
        };
        Self {
            connections: state.connections.into_iter().map(connection).collect(),
            delivered: state.delivered,
            delivered_bytes: state.delivered_bytes,
            drops: state.drops,
            downlinks: state.downlinks,
            groups: state.groups.into_iter().map(group).collect(),
            retained_messages: state.retained_messages,
            retained_bytes: state.retained_bytes,
            retained_oldest: seen(state.retained_oldest_us),
            retention_s: (state.retention_s > 0).then_some(state.retention_s),
            retention_bytes: (state.retention_bytes > 0).then_some(state.retention_bytes),
            not_stored: state.not_stored,
        }
    }
}

impl Resource for Stream {
    type Body = StreamBody;
    const NAME: &'static str = "stream";
    const PATH: &'static str = "streams";

    fn is_visible(&self, _: StreamId, who: &Who) -> bool {
        who.sees(self.tenant)
    }

    fn may_write(&self, who: &Who) -> Result<(), Problem> {
        if self.tenant.is_none() { who.operator() } else { Ok(()) }
    }

    /// An older dataplane would serve a durable stream live without a word.
    fn may_be_served(&self, before: Option<&Self>, link: &LinkStatus) -> Result<(), Problem> {
        let becomes_durable =
            self.delivery != Delivery::Live && before.is_none_or(|before| before.delivery == Delivery::Live);
        match &link.lacks_durable {
            Some(reason) if becomes_durable => Err(reason.clone().into()),
            _ => Ok(()),
        }
    }

    fn check(body: StreamBody, who: &Who, reader: &Reader<'_>, before: Option<&Self>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut tenant = who.tenant(reader, body.tenant.as_deref(), &mut faults)?;
        if let Some(before) = before {
            if body.tenant.is_some() && tenant != before.tenant && faults.0.is_empty() {
                faults.push("tenant", "cannot be changed");
            }
            tenant = before.tenant;
        }
        let name = faults.keep("name", Name::parse(body.name.clone()));
        let copies = faults.keep("copies", Copies::parse(&body.copies));
        let when_full = faults.keep("when_full", WhenFull::parse(&body.when_full));
        let queue_bytes_max = faults.keep_if("queue_bytes_max", body.queue_bytes_max, Bounded::new);
        let ping_interval_s = faults.keep_if("ping_interval_s", body.ping_interval_s, Bounded::new);
        let connection_count_max = faults.keep_if("connection_count_max", body.connection_count_max, Bounded::new);
        let delivery = delivery(&body, before, &mut faults);
        let format = format(&body).map_err(|fault| faults.0.push(fault)).ok();
        let level = level(&body, who, reader, &mut tenant)?.map_err(|fault| {
            if faults.0.iter().all(|known| known.field != fault.field) {
                faults.0.push(fault);
            }
        });
        let level = level.ok();
        // What an operator's stream is to tap may belong to a tenant: then it would be that tenant's.
        if level.is_some() && before.is_some_and(|before| before.tenant != tenant) {
            faults.push("tenant", "cannot be changed");
        }
        if let Some(format) = &format {
            owned_bytes(format, tenant, before, reader, &mut faults)?;
        }
        match (name, copies, when_full, format, level) {
            (Some(name), Some(copies), Some(when_full), Some(format), Some(level)) if faults.0.is_empty() => Ok(Self {
                tenant,
                name,
                level,
                copies,
                kinds: body.kinds,
                format,
                enabled: body.enabled,
                downlinks: body.downlinks,
                deflate: body.deflate,
                queue_bytes_max,
                when_full,
                ping_interval_s,
                connection_count_max,
                delivery,
            }),
            _ => Err(faults.into()),
        }
    }

    fn body(&self, reader: &Reader<'_>) -> Result<StreamBody, Problem> {
        let tenant = self.tenant.map(|tenant| reader.uid_of::<Tenant>(tenant)).transpose()?.flatten();
        let application = match self.level {
            Level::Application(id) => reader.uid_of::<Application>(id)?,
            _ => None,
        };
        let (format, templates) = match &self.format {
            Format::Shipped(name) => (Some(name.clone()), BTreeMap::new()),
            Format::Own(templates) => (None, templates.clone()),
        };
        let durable = self.delivery.durable();
        Ok(StreamBody {
            tenant: tenant.map(|uid| uid.to_string()),
            name: self.name.to_string(),
            level: self.level.name().into(),
            application: application.map(|uid| uid.to_string()),
            device: if let Level::Device(eui) = self.level { Some(eui.to_string()) } else { None },
            gateway: if let Level::Gateway(eui) = self.level { Some(eui.to_string()) } else { None },
            copies: self.copies.name().into(),
            kinds: self.kinds.clone(),
            format,
            templates,
            enabled: self.enabled,
            downlinks: self.downlinks,
            deflate: self.deflate,
            queue_bytes_max: self.queue_bytes_max.map(Bounded::value),
            when_full: self.when_full.name().into(),
            ping_interval_s: self.ping_interval_s.map(Bounded::value),
            connection_count_max: self.connection_count_max.map(Bounded::value),
            delivery: self.delivery.name().into(),
            accept: durable.map(|durable| durable.accept.name().into()),
            retention_s: durable.and_then(|durable| durable.retention_s.map(Bounded::value)),
            retention_bytes: durable.and_then(|durable| durable.retention_bytes.map(RetentionBytes::value)),
            in_flight_max: durable.and_then(|durable| durable.in_flight_max.map(Bounded::value)),
            attempts_max: durable.and_then(|durable| durable.attempts_max.map(Bounded::value)),
            retry_s: durable.and_then(|durable| durable.retry_s.map(Bounded::value)),
            ack_timeout_s: durable.and_then(|durable| durable.ack_timeout_s.map(Bounded::value)),
        })
    }
}

fn delivery(body: &StreamBody, before: Option<&Stream>, faults: &mut Faults) -> Delivery {
    let said = Durable {
        accept: faults.keep_if("accept", body.accept.as_deref(), Accept::parse).unwrap_or_default(),
        retention_s: faults.keep_if("retention_s", body.retention_s, Bounded::new),
        retention_bytes: faults.keep_if(
            "retention_bytes",
            body.retention_bytes.filter(|bytes| *bytes != 0),
            RetentionBytes::new,
        ),
        in_flight_max: faults.keep_if("in_flight_max", body.in_flight_max, Bounded::new),
        attempts_max: faults.keep_if("attempts_max", body.attempts_max, Bounded::new),
        retry_s: faults.keep_if("retry_s", body.retry_s, Bounded::new),
        ack_timeout_s: faults.keep_if(
            "ack_timeout_s",
            body.ack_timeout_s.filter(|seconds| *seconds != 0),
            Bounded::new,
        ),
    };
    match body.delivery.as_str() {
        "durable" => Delivery::Durable(said),
        "live" => {
            // What a stream had while it was durable comes along when it is patched, or written as it was read.
            let had = before.and_then(|before| before.delivery.durable()).copied().unwrap_or_default();
            let is_news = |field: &&str| said.differences(&had).any(|other| other == *field);
            for field in said.differences(&Durable::default()).filter(is_news) {
                faults.push(field, "is for durable streams only");
            }
            Delivery::Live
        }
        _ => {
            faults.push("delivery", "must be live or durable");
            Delivery::Live
        }
    }
}

fn format(body: &StreamBody) -> Result<Format, Fault> {
    if let Some((kind, _)) = body.templates.iter().find(|(_, text)| text.len() > Format::TEMPLATE_BYTES_MAX) {
        let reason = format!("must have at most {} bytes", Format::TEMPLATE_BYTES_MAX);
        return Err(Fault::new(format!("templates.{kind}"), reason));
    }
    match (&body.format, body.templates.is_empty()) {
        (Some(_), false) => {
            Err(Fault::new("templates", "a stream has either a shipped format or templates of its own"))
        }
        (Some(name), true) => Ok(Format::Shipped(name.clone())),
        (None, false) => Ok(Format::Own(body.templates.clone())),
        (None, true) => Ok(Format::Shipped("json".into())),
    }
}

/// That the templates of all streams of one owner stay within bounds. Who is beyond them may still make them fewer.
fn owned_bytes(
    format: &Format,
    tenant: Option<TenantId>,
    before: Option<&Stream>,
    reader: &Reader<'_>,
    faults: &mut Faults,
) -> Result<(), Problem> {
    let before = before.map_or(0, |before| before.format.template_bytes());
    let own = format.template_bytes();
    if own > before && reader.template_bytes(tenant)?.saturating_sub(before) + own > Format::OWNED_BYTES_MAX {
        let reason = format!(
            "the templates in all streams of one tenant may have at most {} bytes together",
            Format::OWNED_BYTES_MAX
        );
        faults.push("templates", reason);
    }
    Ok(())
}

/// What the stream taps, and so whose it is. A tap must belong to the same tenant as what it taps: nobody listens to
/// others' devices.
fn level(
    body: &StreamBody,
    who: &Who,
    reader: &Reader<'_>,
    tenant: &mut Option<TenantId>,
) -> Result<Result<Level, Fault>, Problem> {
    let names = [("application", &body.application), ("device", &body.device), ("gateway", &body.gateway)];
    for (name, value) in names {
        if value.is_some() && body.level != name {
            return Ok(Err(Fault::new(name, format!("is for level {name} only"))));
        }
    }
    // The owner follows from what is tapped, if the operator does not name one.
    let mut own = |owner: TenantId| {
        if *tenant.get_or_insert(owner) == owner {
            return Ok(());
        }
        Err(Fault::new(body.level.as_str(), "belongs to another tenant"))
    };
    let absent = |what: &str| Fault::new(what, format!("there is no such {what}"));
    let missing = |what: &str| Fault::new(what, "is missing");
    Ok(match body.level.as_str() {
        "application" => match &body.application {
            None => Err(missing("application")),
            Some(text) => match refer::<Application>(reader, who, text) {
                Ok(found) => own(found.value.tenant).map(|()| Level::Application(found.id.number)),
                Err(reason) => Err(Fault::new("application", reason)),
            },
        },
        "device" => match body.device.as_deref().map(own_eui) {
            None => Err(missing("device")),
            Some(Err(reason)) => Err(Fault::new("device", reason)),
            Some(Ok(eui)) => match reader.device(eui)?.filter(|found| who.sees(Some(found.value.tenant))) {
                Some(found) => own(found.value.tenant).map(|()| Level::Device(eui)),
                None => Err(absent("device")),
            },
        },
        "gateway" => match body.gateway.as_deref().map(own_eui) {
            None => Err(missing("gateway")),
            Some(Err(reason)) => Err(Fault::new("gateway", reason)),
            Some(Ok(eui)) => match (reader.gateway(eui)?.filter(|found| who.sees(found.value.tenant)), *tenant) {
                (None, _) => Err(absent("gateway")),
                (Some(found), Some(owner)) if found.value.tenant != Some(owner) => {
                    Err(Fault::new("gateway", "belongs to another tenant"))
                }
                (Some(_), _) => Ok(Level::Gateway(eui)),
            },
        },
        "tenant" if tenant.is_some() => Ok(Level::Tenant),
        "tenant" => Err(missing("tenant")),
        "operator" if who.operator().is_err() => Err(Fault::new("level", "is for operators only")),
        "operator" if tenant.is_some() => Err(Fault::new("tenant", "operator streams belong to no tenant")),
        "operator" => Ok(Level::Operator),
        _ => Err(Fault::new("level", "must be device, application, gateway, tenant or operator")),
    })
}

writers!(Stream, StreamBody, "streams", "/api/v1/streams", "/api/v1/streams/{id}", "a stream");

/// Adds what the dataplane knows, if it can be asked.
async fn with_states(api: &Api, rows: Vec<(StreamId, View<StreamBody>)>) -> Vec<StreamView> {
    let query = Query { streams: rows.iter().map(|(id, _)| id.0).collect(), ..Query::default() };
    let answer = api.dataplane.query(query).await;
    let live = answer.is_ok();
    let states = answer.map(|answer| answer.streams).unwrap_or_default();
    let mut states: HashMap<_, _> = states.into_iter().map(|state| (state.id, state)).collect();
    rows.into_iter()
        .map(|(id, view)| StreamView {
            view,
            url: format!("{}/", api.options.stream_url.trim_end_matches('/')),
            live,
            state: states.remove(&id.0).map(StreamLive::from),
        })
        .collect()
}

/// Lists streams with their state.
#[utoipa::path(get, path = "/api/v1/streams", tag = "streams", params(ListParams), responses(
    (status = 200, description = "A part of the list", body = Page<StreamView>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let (rows, next) = api
        .read(move |reader| {
            let limit = params.limit()?;
            let scope = who.scope(reader, params.tenant.as_deref())?;
            let rows = reader.list::<Stream>(scope, params.after_number()?, limit + 1)?;
            let (rows, next) = Page::<()>::cut(rows, limit, |row| row.id.number.0.to_string());
            let view = |row| Ok::<_, Problem>((id_of(row), resource::view(row, reader, in_force)?));
            Ok((rows.iter().map(view).collect::<Result<Vec<_>, _>>()?, next))
        })
        .await?;
    let items = with_states(&api, rows).await;
    Ok(axum::Json(Page { items, next }).into_response())
}

fn id_of(row: &model::Stored<store::Named<StreamId>, Stream>) -> StreamId {
    row.id.number
}

/// Reads a stream with its connections and counters.
#[utoipa::path(get, path = "/api/v1/streams/{id}", tag = "streams",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The stream; the ETag header holds its revision", body = StreamView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who, UidPath(id): UidPath) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let row = api
        .read(move |reader| {
            let row = find::<Stream>(reader, &who, id)?;
            Ok((row.id.number, resource::view(&row, reader, in_force)?))
        })
        .await?;
    let revision = row.1.meta.revision;
    let view = with_states(&api, vec![row]).await.pop().ok_or_else(|| Problem::absent("stream"))?;
    Ok(tagged(axum::Json(view).into_response(), revision))
}
