//! Gateways, by EUI, with what the dataplane knows of them.

use crate::auth::Who;
use crate::dataplane::{GatewayState, Query};
use crate::input::{EuiPath, IfMatch, Json, Params, own_eui};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::merged;
use crate::state::{Api, Done, Shared, located, tagged};
use crate::view::{ListParams, Meta, Page, seen};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Eui64;
use model::{Bounded, Faults, Gateway, Name, Place, Stored, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use store::Reader;
use utoipa::ToSchema;

/// A LoRaWAN gateway.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct GatewayBody {
    /// 16 hexadecimal digits. May be left out where the path says it.
    #[serde(default)]
    #[schema(example = "0016C001FF10A235")]
    eui: Option<String>,
    /// Its tenant's id. May be left out with a tenant's API key; an operator's gateway without one serves everyone.
    #[serde(default)]
    tenant: Option<String>,
    /// 1 to 128 bytes.
    #[serde(default)]
    name: Option<String>,
    /// Transmit power ceiling, 1 to 40 dBm EIRP; the region's if absent.
    #[serde(default)]
    eirp_max_dbm: Option<u32>,
    /// Where it stands.
    #[serde(default)]
    place: Option<PlaceBody>,
}

/// A place (WGS 84).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PlaceBody {
    /// Degrees north.
    latitude: f64,
    /// Degrees east.
    longitude: f64,
    /// Metres.
    #[serde(default)]
    altitude_m: Option<f64>,
}

/// A gateway with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GatewayView {
    #[serde(flatten)]
    value: GatewayBody,
    #[serde(flatten)]
    meta: Meta,
    /// Whether the dataplane was asked; without it `state` is null.
    live: bool,
    /// What the dataplane knows; null if it was not asked or does not know the gateway.
    state: Option<GatewayLive>,
    /// The dataplane's shard whose table is full: the gateway is stored, and not in force until there is room. Null if it
    /// has room or the dataplane was not asked.
    no_room: Option<u32>,
}

/// What the dataplane knows of a gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GatewayLive {
    /// Whether it was heard lately.
    online: bool,
    /// RFC 3339, or null.
    last_seen: Option<String>,
    /// Where its downlinks go.
    address: Option<String>,
    /// The shard that serves it.
    shard: u32,
    /// Frames heard since the dataplane started.
    uplinks: u64,
    /// Frames handed over for transmission since the dataplane started.
    downlinks: u64,
    /// Its last report, as it came.
    status: Value,
}

impl From<GatewayState> for GatewayLive {
    fn from(state: GatewayState) -> Self {
        Self {
            online: state.online,
            last_seen: seen(state.last_seen_us),
            address: (!state.address.is_empty()).then_some(state.address),
            shard: state.shard,
            uplinks: state.uplinks,
            downlinks: state.downlinks,
            status: serde_json::from_str(&state.status).unwrap_or(Value::Null),
        }
    }
}

fn check(
    body: GatewayBody,
    eui: Eui64,
    who: &Who,
    reader: &Reader<'_>,
    before: Option<&Gateway>,
) -> Result<Gateway, Problem> {
    let mut faults = Faults::default();
    if let Some(named) = faults.keep_if("eui", body.eui, |text| own_eui(&text))
        && named != eui
    {
        faults.push("eui", "cannot be changed");
    }
    let tenant = who.tenant(reader, body.tenant.as_deref(), &mut faults)?;
    if who.role.tenant().is_some() && before.is_some_and(|before| before.tenant != tenant) {
        faults.push("tenant", "can be changed by an operator only");
    }
    let name = faults.keep_if("name", body.name, Name::parse);
    let eirp_max_dbm = faults.keep_if("eirp_max_dbm", body.eirp_max_dbm, Bounded::new);
    let place =
        faults.keep_if("place", body.place, |place| Place::new(place.latitude, place.longitude, place.altitude_m));
    faults.none()?;
    Ok(Gateway { tenant, name, eirp_max_dbm, place })
}

fn body(eui: Eui64, value: &Gateway, reader: &Reader<'_>) -> Result<GatewayBody, Problem> {
    let tenant = value.tenant.map(|tenant| reader.uid_of::<Tenant>(tenant)).transpose()?.flatten();
    Ok(GatewayBody {
        eui: Some(eui.to_string()),
        tenant: tenant.map(|uid| uid.to_string()),
        name: value.name.as_ref().map(ToString::to_string),
        eirp_max_dbm: value.eirp_max_dbm.map(Bounded::value),
        place: value.place.map(|place| PlaceBody {
            latitude: place.latitude,
            longitude: place.longitude,
            altitude_m: place.altitude_m,
        }),
    })
}

fn view(row: &Stored<Eui64, Gateway>, reader: &Reader<'_>, in_force: u64) -> Result<GatewayView, Problem> {
    Ok(GatewayView {
        value: body(row.id, &row.value, reader)?,
        meta: Meta::of(row, in_force),
        live: false,
        state: None,
        no_room: None,
    })
}

/// The gateway with this EUI, if it exists for this caller.
pub(crate) fn find(reader: &Reader<'_>, who: &Who, eui: Eui64) -> Result<Stored<Eui64, Gateway>, Problem> {
    let found = reader.gateway(eui)?.filter(|found| who.sees(found.value.tenant));
    found.ok_or_else(|| Problem::absent("gateway"))
}

/// Adds what the dataplane knows, if it can be asked.
async fn with_states(api: &Api, views: &mut [GatewayView]) {
    let euis: Vec<Eui64> = views.iter().filter_map(|view| view.value.eui.as_deref()?.parse().ok()).collect();
    let Ok(answer) = api.dataplane.query(Query { gateways: euis, ..Query::default() }).await else { return };
    let mut states: HashMap<_, _> = answer.gateways.into_iter().map(|state| (state.eui.to_string(), state)).collect();
    for view in views {
        view.live = true;
        let state = view.value.eui.as_ref().and_then(|eui| states.remove(eui));
        view.no_room = state.as_ref().and_then(|state| state.no_room);
        view.meta.applied &= view.no_room.is_none();
        view.state = state.filter(|state| state.no_room.is_none()).map(GatewayLive::from);
    }
}

/// Whether a write is in force: every shard has it, and the one that it concerns has room for it.
async fn applied(api: &Api, view: &mut GatewayView, done: Done) -> Done {
    view.meta.applied = done.applied;
    if done.applied {
        with_states(api, std::slice::from_mut(view)).await;
    }
    Done { applied: view.meta.applied, ..done }
}

/// Registers a gateway.
#[utoipa::path(post, path = "/api/v1/gateways", tag = "gateways", request_body = GatewayBody, responses(
    (status = 201, description = "Registered and in force", body = GatewayView),
    (status = 202, description = "Registered; not yet in force", body = GatewayView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn create(
    State(api): State<Shared>,
    who: Who,
    Json(body): Json<GatewayBody>,
) -> Result<Response, Problem> {
    who.writer()?;
    let text = body.eui.clone().ok_or_else(|| Problem::field("eui", "is missing"))?;
    let eui = own_eui(&text).map_err(|reason| Problem::field("eui", reason))?;
    let (mut view, done) = api
        .write(move |writer| {
            let value = check(body, eui, &who, writer, None)?;
            writer.insert_gateway(eui, &value)?;
            view(&find(writer, &who, eui)?, writer, 0)
        })
        .await?;
    let done = applied(&api, &mut view, done).await;
    let response = tagged(done.respond(StatusCode::CREATED, Some(&view)), done.revision);
    Ok(located(response, &format!("/api/v1/gateways/{eui}")))
}

/// Lists gateways.
#[utoipa::path(get, path = "/api/v1/gateways", tag = "gateways", params(ListParams), responses(
    (status = 200, description = "A part of the list", body = Page<GatewayView>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let mut page = api
        .read(move |reader| {
            let limit = params.limit()?;
            let scope = who.scope(reader, params.tenant.as_deref())?;
            let rows = reader.gateways(scope, params.after_eui()?, limit + 1)?;
            let (rows, next) = Page::<()>::cut(rows, limit, |row| row.id.to_string());
            let items = rows.iter().map(|row| view(row, reader, in_force)).collect::<Result<Vec<_>, _>>()?;
            Ok(Page { items, next })
        })
        .await?;
    with_states(&api, &mut page.items).await;
    Ok(axum::Json(page).into_response())
}

/// Reads a gateway with its state.
#[utoipa::path(get, path = "/api/v1/gateways/{eui}", tag = "gateways",
    params(("eui" = String, Path, description = "Its EUI")), responses(
    (status = 200, description = "The gateway", body = GatewayView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who, EuiPath(eui): EuiPath) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let mut view = [api.read(move |reader| view(&find(reader, &who, eui)?, reader, in_force)).await?];
    with_states(&api, &mut view).await;
    let [view] = view;
    let revision = view.meta.revision;
    Ok(tagged(axum::Json(view).into_response(), revision))
}

/// Replaces a gateway.
#[utoipa::path(put, path = "/api/v1/gateways/{eui}", tag = "gateways", request_body = GatewayBody, params(
    ("eui" = String, Path, description = "Its EUI"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = GatewayView),
    (status = 202, description = "Changed; not yet in force", body = GatewayView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn replace(
    State(api): State<Shared>,
    who: Who,
    EuiPath(eui): EuiPath,
    seen: IfMatch,
    Json(body): Json<GatewayBody>,
) -> Result<Response, Problem> {
    change(&api, who, eui, seen, move |_| Ok(body)).await
}

/// Changes parts of a gateway (RFC 7396: null removes).
#[utoipa::path(patch, path = "/api/v1/gateways/{eui}", tag = "gateways",
    request_body(content = Object, content_type = "application/merge-patch+json"), params(
    ("eui" = String, Path, description = "Its EUI"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = GatewayView),
    (status = 202, description = "Changed; not yet in force", body = GatewayView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn patch(
    State(api): State<Shared>,
    who: Who,
    EuiPath(eui): EuiPath,
    seen: IfMatch,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    change(&api, who, eui, seen, move |before| merged(&before, patch)).await
}

async fn change(
    api: &Api,
    who: Who,
    eui: Eui64,
    seen: IfMatch,
    next: impl FnOnce(GatewayBody) -> Result<GatewayBody, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    who.writer()?;
    let (mut view, done) = api
        .write(move |writer| {
            let before = find(writer, &who, eui)?;
            seen.check(before.revision)?;
            let body = next(body(eui, &before.value, writer)?)?;
            let value = check(body, eui, &who, writer, Some(&before.value))?;
            writer.update_gateway(eui, &value)?;
            view(&find(writer, &who, eui)?, writer, 0)
        })
        .await?;
    let done = applied(api, &mut view, done).await;
    Ok(tagged(done.respond(StatusCode::OK, Some(&view)), done.revision))
}

/// Removes a gateway; 409 while streams tap it.
#[utoipa::path(delete, path = "/api/v1/gateways/{eui}", tag = "gateways", params(
    ("eui" = String, Path, description = "Its EUI"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 204, description = "Removed and in force"),
    (status = 202, description = "Removed; not yet in force"),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn remove(
    State(api): State<Shared>,
    who: Who,
    EuiPath(eui): EuiPath,
    seen: IfMatch,
) -> Result<Response, Problem> {
    who.writer()?;
    let ((), done) = api
        .write(move |writer| {
            seen.check(find(writer, &who, eui)?.revision)?;
            Ok(writer.remove_gateway(eui)?)
        })
        .await?;
    Ok(done.respond_removed())
}
