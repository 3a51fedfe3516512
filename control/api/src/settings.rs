//! What holds for the whole dataplane: the operator's to change.

use crate::auth::Who;
use crate::input::{IfMatch, Json};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::merged;
use crate::state::{Api, Shared, tagged};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{Bounded, Faults, NetId, Settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Settings. What is absent is the dataplane's default.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SettingsBody {
    /// The network's LoRaWAN NetID, 6 hexadecimal digits.
    #[serde(default = "net_id")]
    #[schema(example = "000000")]
    net_id: String,
    /// Whether gateways that nobody registered may speak; only operator streams see them.
    #[serde(default)]
    accept_unknown_gateways: bool,
    /// Datagrams per second of one gateway; 1000 if absent.
    #[serde(default)]
    gateway_rate_max: Option<u32>,
    /// Datagrams per second of one source address; 20000 if absent.
    #[serde(default)]
    address_rate_max: Option<u32>,
    /// Seconds of silence after which a gateway is offline, 5 to 86400; 90 if absent.
    #[serde(default)]
    gateway_silence_s: Option<u32>,
}

fn net_id() -> String {
    NetId::default().to_string()
}

/// Settings with their revision.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SettingsView {
    #[serde(flatten)]
    value: SettingsBody,
    /// The revision that changed them last; also their ETag.
    revision: u64,
    /// Whether that revision is in force.
    applied: bool,
}

fn body(value: &Settings) -> SettingsBody {
    SettingsBody {
        net_id: value.net_id.to_string(),
        accept_unknown_gateways: value.accept_unknown_gateways,
        gateway_rate_max: value.gateway_rate_max.map(Bounded::value),
        address_rate_max: value.address_rate_max.map(Bounded::value),
        gateway_silence_s: value.gateway_silence_s.map(Bounded::value),
    }
}

fn check(body: &SettingsBody) -> Result<Settings, Problem> {
    let mut faults = Faults::default();
    let net_id = faults.keep("net_id", NetId::parse(&body.net_id));
    let gateway_rate_max = faults.keep_if("gateway_rate_max", body.gateway_rate_max, Bounded::new);
    let address_rate_max = faults.keep_if("address_rate_max", body.address_rate_max, Bounded::new);
    let gateway_silence_s = faults.keep_if("gateway_silence_s", body.gateway_silence_s, Bounded::new);
    match net_id {
        Some(net_id) if faults.0.is_empty() => Ok(Settings {
            net_id,
            accept_unknown_gateways: body.accept_unknown_gateways,
            gateway_rate_max,
            address_rate_max,
            gateway_silence_s,
        }),
        _ => Err(faults.into()),
    }
}

/// Reads the settings.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", responses(
    (status = 200, description = "The settings", body = SettingsView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who) -> Result<Response, Problem> {
    who.operator()?;
    let in_force = api.in_force();
    let stored = api.read(|reader| Ok(reader.settings()?)).await?;
    let applied = stored.revision <= in_force;
    let view = SettingsView { value: body(&stored.value), revision: stored.revision, applied };
    Ok(tagged(axum::Json(view).into_response(), stored.revision))
}

/// Replaces the settings.
#[utoipa::path(put, path = "/api/v1/settings", tag = "settings", request_body = SettingsBody, params(
    ("if-match" = Option<String>, Header, description = "The ETag as last seen; 412 if they changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = SettingsView),
    (status = 202, description = "Changed; not yet in force", body = SettingsView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn replace(
    State(api): State<Shared>,
    who: Who,
    seen: IfMatch,
    Json(body): Json<SettingsBody>,
) -> Result<Response, Problem> {
    change(&api, &who, seen, move |_| Ok(body)).await
}

/// Changes parts of the settings (RFC 7396: null removes).
#[utoipa::path(patch, path = "/api/v1/settings", tag = "settings",
    request_body(content = Object, content_type = "application/merge-patch+json"), params(
    ("if-match" = Option<String>, Header, description = "The ETag as last seen; 412 if they changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = SettingsView),
    (status = 202, description = "Changed; not yet in force", body = SettingsView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn patch(
    State(api): State<Shared>,
    who: Who,
    seen: IfMatch,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    change(&api, &who, seen, move |before| merged(&before, patch)).await
}

async fn change(
    api: &Api,
    who: &Who,
    seen: IfMatch,
    next: impl FnOnce(SettingsBody) -> Result<SettingsBody, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    who.operator()?;
    let (value, done) = api
        .write(move |writer| {
            let before = writer.settings()?;
            seen.check(before.revision)?;
            let value = check(&next(body(&before.value))?)?;
            writer.set_settings(&value)?;
            Ok(value)
        })
        .await?;
    let view = SettingsView { value: body(&value), revision: done.revision, applied: done.applied };
    Ok(tagged(done.respond(StatusCode::OK, Some(&view)), done.revision))
}
