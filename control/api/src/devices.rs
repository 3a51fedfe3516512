//! Devices, by DevEUI, with their sessions. Keys come in and go out by their own door only.

use crate::auth::Who;
use crate::dataplane::{DeviceState, Query};
use crate::input::{EuiPath, IfMatch, Json, Params, eui, own_eui};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::{merged, refer};
use crate::state::{Api, Done, Shared, located, tagged};
use crate::streams::yes;
use crate::view::{self, Meta, Page, seen};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Eui64;
use model::{Activation, Application, DevAddr, Device, Faults, Key128, Name, Profile, Stored, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use store::{DeviceFilter, Reader};
use utoipa::{IntoParams, ToSchema};

/// A LoRaWAN end device. It has either `otaa` or `abp`; where a change leaves both out, the stored keys stay.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeviceBody {
    /// 16 hexadecimal digits. May be left out where the path says it.
    #[serde(default)]
    #[schema(example = "70B3D57ED0000001")]
    pub(crate) dev_eui: Option<String>,
    /// AppEUI or JoinEUI; 0000000000000000 if absent.
    #[serde(default)]
    pub(crate) join_eui: Option<String>,
    /// The application's id.
    #[serde(default)]
    #[schema(required = true, nullable = false)]
    pub(crate) application: Option<String>,
    /// The profile's id.
    #[serde(default)]
    #[schema(required = true, nullable = false)]
    pub(crate) profile: Option<String>,
    /// 1 to 128 bytes.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Whether its frames are let in; true if absent.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// It joins over the air.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) otaa: Option<OtaaBody>,
    /// It is personalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) abp: Option<AbpBody>,
}

/// Over the air activation.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct OtaaBody {
    /// AppKey, 32 hexadecimal digits. Never shown, but by `/devices/{dev_eui}/keys`.
    pub(crate) app_key: String,
}

/// Activation by personalization.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AbpBody {
    /// 8 hexadecimal digits.
    #[schema(example = "26011BDA")]
    pub(crate) dev_addr: String,
    /// NwkSKey, 32 hexadecimal digits. Never shown, but by `/devices/{dev_eui}/keys`.
    pub(crate) nwk_s_key: String,
    /// AppSKey, 32 hexadecimal digits. Never shown, but by `/devices/{dev_eui}/keys`.
    pub(crate) app_s_key: String,
    /// FCntUp that the session starts with.
    #[serde(default)]
    pub(crate) fcnt_up: u32,
    /// FCntDown that the session starts with.
    #[serde(default)]
    pub(crate) fcnt_down: u32,
}

impl std::fmt::Debug for OtaaBody {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("OtaaBody(..)")
    }
}

impl std::fmt::Debug for AbpBody {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "AbpBody({}, ..)", self.dev_addr)
    }
}

/// A device with its session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DeviceView {
    /// 16 hexadecimal digits.
    dev_eui: String,
    /// AppEUI or JoinEUI.
    join_eui: String,
    /// The tenant's id.
    tenant: String,
    /// The application's id.
    application: String,
    /// The profile's id.
    profile: String,
    /// For people.
    name: Option<String>,
    /// Whether its frames are let in.
    enabled: bool,
    /// otaa or abp.
    activation: String,
    /// ABP: its configured address.
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_addr: Option<String>,
    #[serde(flatten)]
    meta: Meta,
    /// Whether the dataplane was asked; without it `session` is null.
    live: bool,
    /// Its session; null if it has none or the dataplane was not asked.
    session: Option<SessionLive>,
    /// RFC 3339; null if it was never seen or the dataplane was not asked.
    last_seen: Option<String>,
    /// The dataplane's shard whose table is full: the device is stored, and not in force until there is room. Null if it
    /// has room or the dataplane was not asked.
    no_room: Option<u32>,
    /// Downlinks that wait.
    queue: Vec<QueuedView>,
}

/// A device's session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SessionLive {
    /// 8 hexadecimal digits.
    dev_addr: String,
    /// Counts the device's sessions.
    number: u32,
    /// The last FCntUp.
    fcnt_up: u32,
    /// The next FCntDown.
    fcnt_down: u32,
    /// The gateway of the last best reception.
    gateway: Option<String>,
    /// dBm.
    rssi: Option<f64>,
    /// dB.
    snr: Option<f64>,
}

/// A downlink that waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct QueuedView {
    /// Its id, a number below 2^53: the `DownlinkId` of events about it.
    #[schema(maximum = 9_007_199_254_740_991_u64, example = 1_838_407_238_843_416_u64)]
    id: u64,
    /// FPort.
    fport: u8,
    /// Whether the device must acknowledge it.
    confirmed: bool,
    /// FRMPayload in the clear, hexadecimal.
    data: String,
    /// Transmissions so far.
    attempts: u32,
}

/// A device's keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct KeysView {
    #[serde(skip_serializing_if = "Option::is_none")]
    otaa: Option<OtaaBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abp: Option<AbpBody>,
}

/// Which devices, and which part of the list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceParams {
    /// Devices in one answer, 1 to 1000; 100 if absent.
    #[serde(default)]
    limit: Option<usize>,
    /// The `next` of the answer before.
    #[serde(default)]
    after: Option<String>,
    /// Only devices of this tenant (operators).
    #[serde(default)]
    tenant: Option<String>,
    /// Only devices of this application.
    #[serde(default)]
    application: Option<String>,
    /// Only devices with this profile.
    #[serde(default)]
    profile: Option<String>,
}

/// The device from what came in.
pub(crate) fn check(
    body: DeviceBody,
    dev_eui: Eui64,
    who: &Who,
    reader: &Reader<'_>,
    before: Option<&Device>,
) -> Result<Device, Problem> {
    let mut faults = Faults::default();
    if let Some(named) = faults.keep_if("dev_eui", body.dev_eui, |text| own_eui(&text))
        && named != dev_eui
    {
        faults.push("dev_eui", "cannot be changed");
    }
    let named = |text: Option<String>| text.ok_or_else(|| "is missing".to_owned());
    let application = named(body.application).and_then(|text| refer::<Application>(reader, who, &text));
    let application = faults.keep("application", application);
    let profile = faults.keep("profile", named(body.profile).and_then(|text| refer::<Profile>(reader, who, &text)));
    if let (Some(application), Some(profile)) = (&application, &profile)
        && profile.value.tenant.is_some_and(|owner| owner != application.value.tenant)
    {
        faults.push("profile", "belongs to another tenant");
    }
    let keys = Keys { otaa: body.otaa, abp: body.abp };
    device(
        Parts {
            join_eui: body.join_eui,
            name: body.name,
            enabled: body.enabled,
            application: application.map(|found| (found.value.tenant, found.id.number)),
            profile: profile.map(|found| found.id.number),
        },
        keys,
        before,
        faults,
    )
}

/// What of a device does not concern its keys.
pub(crate) struct Parts {
    pub(crate) join_eui: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) application: Option<(model::TenantId, model::ApplicationId)>,
    pub(crate) profile: Option<model::ProfileId>,
}

/// What of a device concerns its keys.
pub(crate) struct Keys {
    pub(crate) otaa: Option<OtaaBody>,
    pub(crate) abp: Option<AbpBody>,
}

/// The device, once what it refers to is known.
pub(crate) fn device(parts: Parts, keys: Keys, before: Option<&Device>, mut faults: Faults) -> Result<Device, Problem> {
    let join_eui = parts.join_eui.as_deref().map_or(Ok(Eui64::default()), eui);
    let join_eui = faults.keep("join_eui", join_eui);
    let name = faults.keep_if("name", parts.name, Name::parse);
    let activation = match (keys.otaa, keys.abp, before) {
        (Some(_), Some(_), _) => {
            faults.push("abp", "a device has either otaa or abp");
            None
        }
        (Some(otaa), None, _) => {
            faults.keep("otaa.app_key", Key128::parse(&otaa.app_key)).map(|app_key| Activation::Otaa { app_key })
        }
        (None, Some(abp), _) => {
            let dev_addr = faults.keep("abp.dev_addr", DevAddr::parse(&abp.dev_addr));
            let nwk_s_key = faults.keep("abp.nwk_s_key", Key128::parse(&abp.nwk_s_key));
            let app_s_key = faults.keep("abp.app_s_key", Key128::parse(&abp.app_s_key));
            match (dev_addr, nwk_s_key, app_s_key) {
                (Some(dev_addr), Some(nwk_s_key), Some(app_s_key)) => Some(Activation::Abp {
                    dev_addr,
                    nwk_s_key,
                    app_s_key,
                    fcnt_up: abp.fcnt_up,
                    fcnt_down: abp.fcnt_down,
                }),
                _ => None,
            }
        }
        (None, None, Some(before)) => Some(before.activation.clone()),
        (None, None, None) => {
            faults.push("otaa", "is missing, and so is abp");
            None
        }
    };
    match (join_eui, parts.application, parts.profile, activation) {
        (Some(join_eui), Some((tenant, application)), Some(profile), Some(activation)) if faults.0.is_empty() => {
            Ok(Device { join_eui, tenant, application, profile, name, enabled: parts.enabled, activation })
        }
        _ => Err(faults.into()),
    }
}

fn keys(activation: &Activation) -> Keys {
    match activation {
        Activation::Otaa { app_key } => Keys { otaa: Some(OtaaBody { app_key: app_key.reveal() }), abp: None },
        Activation::Abp { dev_addr, nwk_s_key, app_s_key, fcnt_up, fcnt_down } => Keys {
            otaa: None,
            abp: Some(AbpBody {
                dev_addr: dev_addr.to_string(),
                nwk_s_key: nwk_s_key.reveal(),
                app_s_key: app_s_key.reveal(),
                fcnt_up: *fcnt_up,
                fcnt_down: *fcnt_down,
            }),
        },
    }
}

/// The names of a device's tenant, application and profile; looked up once per list.
#[derive(Default)]
struct Names {
    tenants: HashMap<u32, String>,
    applications: HashMap<u32, String>,
    profiles: HashMap<u32, String>,
}

impl Names {
    fn of(&mut self, device: &Device, reader: &Reader<'_>) -> Result<(String, String, String), Problem> {
        fn look<T: store::Kept>(
            known: &mut HashMap<u32, String>,
            id: T::Id,
            reader: &Reader<'_>,
        ) -> Result<String, Problem> {
            if let Some(name) = known.get(&id.into()) {
                return Ok(name.clone());
            }
            let name = reader.uid_of::<T>(id)?.map(|uid| uid.to_string()).unwrap_or_default();
            known.insert(id.into(), name.clone());
            Ok(name)
        }
        Ok((
            look::<Tenant>(&mut self.tenants, device.tenant, reader)?,
            look::<Application>(&mut self.applications, device.application, reader)?,
            look::<Profile>(&mut self.profiles, device.profile, reader)?,
        ))
    }
}

fn view_of(
    row: &Stored<Eui64, Device>,
    names: &mut Names,
    reader: &Reader<'_>,
    in_force: u64,
) -> Result<DeviceView, Problem> {
    let device = &row.value;
    let (tenant, application, profile) = names.of(device, reader)?;
    let (activation, dev_addr) = match &device.activation {
        Activation::Otaa { .. } => ("otaa", None),
        Activation::Abp { dev_addr, .. } => ("abp", Some(dev_addr.to_string())),
    };
    Ok(DeviceView {
        dev_eui: row.id.to_string(),
        join_eui: device.join_eui.to_string(),
        tenant,
        application,
        profile,
        name: device.name.as_ref().map(ToString::to_string),
        enabled: device.enabled,
        activation: activation.into(),
        dev_addr,
        meta: Meta::of(row, in_force),
        live: false,
        session: None,
        last_seen: None,
        no_room: None,
        queue: Vec::new(),
    })
}

fn body(row: &Stored<Eui64, Device>, reader: &Reader<'_>) -> Result<DeviceBody, Problem> {
    let (_, application, profile) = Names::default().of(&row.value, reader)?;
    let Keys { otaa, abp } = keys(&row.value.activation);
    Ok(DeviceBody {
        dev_eui: Some(row.id.to_string()),
        join_eui: Some(row.value.join_eui.to_string()),
        application: Some(application),
        profile: Some(profile),
        name: row.value.name.as_ref().map(ToString::to_string),
        enabled: row.value.enabled,
        otaa,
        abp,
    })
}

/// The device with this DevEUI, if it exists for this caller.
pub(crate) fn find(reader: &Reader<'_>, who: &Who, dev_eui: Eui64) -> Result<Stored<Eui64, Device>, Problem> {
    let found = reader.device(dev_eui)?.filter(|found| who.sees(Some(found.value.tenant)));
    found.ok_or_else(|| Problem::absent("device"))
}

pub(crate) fn queued(queue: Vec<crate::dataplane::QueuedDownlink>) -> Vec<QueuedView> {
    let view = |downlink: crate::dataplane::QueuedDownlink| QueuedView {
        id: downlink.id,
        fport: downlink.fport,
        confirmed: downlink.confirmed,
        data: downlink.payload.iter().flat_map(|byte| base::hex::upper(*byte)).map(char::from).collect(),
        attempts: downlink.attempts,
    };
    queue.into_iter().map(view).collect()
}

fn add_state(view: &mut DeviceView, state: DeviceState) {
    let has_gateway = state.gateway != Eui64::default();
    view.last_seen = seen(state.last_seen_us);
    view.session = state.active.then(|| SessionLive {
        dev_addr: DevAddr(state.dev_addr).to_string(),
        number: state.session,
        fcnt_up: state.fcnt_up,
        fcnt_down: state.fcnt_down,
        gateway: has_gateway.then(|| state.gateway.to_string()),
        rssi: has_gateway.then(|| f64::from(state.rssi_deci) / 10.0),
        snr: has_gateway.then(|| f64::from(state.snr_deci) / 10.0),
    });
    view.queue = queued(state.queue);
    view.no_room = state.no_room;
    view.meta.applied &= state.no_room.is_none();
}

/// Adds what the dataplane knows, if it can be asked.
async fn with_states(api: &Api, views: &mut [DeviceView]) {
    let devices: Vec<Eui64> = views.iter().filter_map(|view| view.dev_eui.parse().ok()).collect();
    let Ok(answer) = api.dataplane.query(Query { devices, ..Query::default() }).await else { return };
    let states = answer.devices.into_iter().map(|state| (state.dev_eui.to_string(), state));
    let mut states: HashMap<_, _> = states.collect();
    for view in views {
        view.live = true;
        if let Some(state) = states.remove(&view.dev_eui) {
            add_state(view, state);
        }
    }
}

/// Whether a write is in force: every shard has it, and the one that it concerns has room for it.
async fn applied(api: &Api, view: &mut DeviceView, done: Done) -> Done {
    view.meta.applied = done.applied;
    if done.applied {
        with_states(api, std::slice::from_mut(view)).await;
    }
    Done { applied: view.meta.applied, ..done }
}

/// Creates a device.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = DeviceBody, responses(
    (status = 201, description = "Created and in force", body = DeviceView),
    (status = 202, description = "Created; not yet in force", body = DeviceView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn create(
    State(api): State<Shared>,
    who: Who,
    Json(body): Json<DeviceBody>,
) -> Result<Response, Problem> {
    who.writer()?;
    let text = body.dev_eui.clone().ok_or_else(|| Problem::field("dev_eui", "is missing"))?;
    let dev_eui = own_eui(&text).map_err(|reason| Problem::field("dev_eui", reason))?;
    let (mut view, done) = api
        .write(move |writer| {
            let value = check(body, dev_eui, &who, writer, None)?;
            writer.insert_device(dev_eui, &value)?;
            view_of(&find(writer, &who, dev_eui)?, &mut Names::default(), writer, 0)
        })
        .await?;
    let done = applied(&api, &mut view, done).await;
    let response = tagged(done.respond(StatusCode::CREATED, Some(&view)), done.revision);
    Ok(located(response, &format!("/api/v1/devices/{dev_eui}")))
}

/// Lists devices with their sessions.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(DeviceParams), responses(
    (status = 200, description = "A part of the list", body = Page<DeviceView>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<DeviceParams>,
) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let mut page = api
        .read(move |reader| {
            let limit = view::limit(params.limit)?;
            let after = view::after_eui(params.after.as_deref())?;
            let wrong = |field: &'static str| move |reason: String| Problem::field(field, reason);
            let application = params.application.map(|text| refer::<Application>(reader, &who, &text)).transpose();
            let profile = params.profile.map(|text| refer::<Profile>(reader, &who, &text)).transpose();
            let filter = DeviceFilter {
                tenant: who.scope(reader, params.tenant.as_deref())?.tenant,
                application: application.map_err(wrong("application"))?.map(|found| found.id.number),
                profile: profile.map_err(wrong("profile"))?.map(|found| found.id.number),
            };
            let rows = reader.devices(filter, after, limit + 1)?;
            let (rows, next) = Page::<()>::cut(rows, limit, |row| row.id.to_string());
            let mut names = Names::default();
            let items = rows.iter().map(|row| view_of(row, &mut names, reader, in_force));
            Ok(Page { items: items.collect::<Result<Vec<_>, _>>()?, next })
        })
        .await?;
    with_states(&api, &mut page.items).await;
    Ok(axum::Json(page).into_response())
}

/// Reads a device with its session and queue.
#[utoipa::path(get, path = "/api/v1/devices/{dev_eui}", tag = "devices",
    params(("dev_eui" = String, Path, description = "Its DevEUI")), responses(
    (status = 200, description = "The device; the ETag header holds its revision", body = DeviceView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who, EuiPath(eui): EuiPath) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let view =
        api.read(move |reader| view_of(&find(reader, &who, eui)?, &mut Names::default(), reader, in_force)).await?;
    let mut view = [view];
    with_states(&api, &mut view).await;
    let [view] = view;
    let revision = view.meta.revision;
    Ok(tagged(axum::Json(view).into_response(), revision))
}

/// Shows a device's keys, to admins.
#[utoipa::path(get, path = "/api/v1/devices/{dev_eui}/keys", tag = "devices",
    params(("dev_eui" = String, Path, description = "Its DevEUI")), responses(
    (status = 200, description = "The keys", body = KeysView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn show_keys(State(api): State<Shared>, who: Who, EuiPath(eui): EuiPath) -> Result<Response, Problem> {
    who.writer()?;
    let Keys { otaa, abp } = api.read(move |reader| Ok(keys(&find(reader, &who, eui)?.value.activation))).await?;
    Ok(axum::Json(KeysView { otaa, abp }).into_response())
}

/// Replaces a device. If it names neither `otaa` nor `abp`, the stored keys stay.
#[utoipa::path(put, path = "/api/v1/devices/{dev_eui}", tag = "devices", request_body = DeviceBody, params(
    ("dev_eui" = String, Path, description = "Its DevEUI"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = DeviceView),
    (status = 202, description = "Changed; not yet in force", body = DeviceView),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn replace(
    State(api): State<Shared>,
    who: Who,
    EuiPath(eui): EuiPath,
    seen: IfMatch,
    Json(body): Json<DeviceBody>,
) -> Result<Response, Problem> {
    change(&api, who, eui, seen, move |_| Ok(body)).await
}

/// Changes parts of a device (RFC 7396: null removes). To change the activation, give one and null the other.
#[utoipa::path(patch, path = "/api/v1/devices/{dev_eui}", tag = "devices",
    request_body(content = Object, content_type = "application/merge-patch+json"), params(
    ("dev_eui" = String, Path, description = "Its DevEUI"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 200, description = "Changed and in force", body = DeviceView),
    (status = 202, description = "Changed; not yet in force", body = DeviceView),
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
    next: impl FnOnce(DeviceBody) -> Result<DeviceBody, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    who.writer()?;
    let (mut view, done) = api
        .write(move |writer| {
            let before = find(writer, &who, eui)?;
            seen.check(before.revision)?;
            let body = next(body(&before, writer)?)?;
            let value = check(body, eui, &who, writer, Some(&before.value))?;
            writer.update_device(eui, &value)?;
            view_of(&find(writer, &who, eui)?, &mut Names::default(), writer, 0)
        })
        .await?;
    let done = applied(api, &mut view, done).await;
    Ok(tagged(done.respond(StatusCode::OK, Some(&view)), done.revision))
}

/// Removes a device; 409 while streams tap it.
#[utoipa::path(delete, path = "/api/v1/devices/{dev_eui}", tag = "devices", params(
    ("dev_eui" = String, Path, description = "Its DevEUI"),
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
            Ok(writer.remove_device(eui)?)
        })
        .await?;
    Ok(done.respond_removed())
}
