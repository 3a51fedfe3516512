//! Who am I, how is it going, is it alive.

use crate::auth::Who;
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::Shared;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{Application, Profile, Role, Stream, Tenant};
use serde::Serialize;
use utoipa::ToSchema;

/// The holder of the API key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// The API key's id.
    key: String,
    /// The API key's name.
    name: String,
    /// operator, tenant_admin or tenant_viewer.
    role: String,
    /// The tenant's id, for tenants' roles.
    tenant: Option<String>,
    /// The tenant's name, for tenants' roles.
    tenant_name: Option<String>,
}

/// The state of the whole.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Trunkline's version.
    version: String,
    /// Seconds since the control plane started.
    uptime_s: u64,
    /// Where streams are opened.
    stream_url: String,
    /// The newest stored revision.
    revision: u64,
    /// Revisions that are stored and not yet in force.
    pending: u64,
    /// The dataplane.
    dataplane: DataplaneStatus,
    /// How many things there are; operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

/// The state of the dataplane.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DataplaneStatus {
    /// Whether it is connected.
    connected: bool,
    /// Its name and version.
    software: String,
    /// The version of the contract that it speaks; durable streams need 1.1.
    contract: String,
    /// The revision that is in force on every shard.
    revision: u64,
    /// By shard, the revision that is in force on it.
    shards: Vec<u64>,
    /// Whether everything is being sent to it.
    snapshot: bool,
    /// The last thing that it refused, if nothing was accepted since.
    refused: Option<String>,
}

/// How many things there are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Counts {
    tenants: u64,
    applications: u64,
    profiles: u64,
    devices: u64,
    gateways: u64,
    streams: u64,
}

/// Says whose API key this is.
#[utoipa::path(get, path = "/api/v1/me", tag = "status", responses(
    (status = 200, description = "Its holder", body = Me),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn me(State(api): State<Shared>, who: Who) -> Result<Response, Problem> {
    let me = api
        .read(move |reader| {
            let tenant = who.role.tenant().map(|tenant| reader.by_number::<Tenant>(tenant)).transpose()?.flatten();
            Ok(Me {
                key: who.key.uid.to_string(),
                name: who.name.to_string(),
                role: who.role.name().into(),
                tenant: tenant.as_ref().map(|tenant| tenant.id.uid.to_string()),
                tenant_name: tenant.map(|tenant| tenant.value.name.to_string()),
            })
        })
        .await?;
    Ok(axum::Json(me).into_response())
}

/// Says how it is going.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses(
    (status = 200, description = "The state of the whole", body = Status),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn status(State(api): State<Shared>, who: Who) -> Result<Response, Problem> {
    let link = api.dataplane.status();
    let counts = api
        .read(move |reader| {
            if who.role != Role::Operator {
                return Ok(None);
            }
            Ok(Some(Counts {
                tenants: reader.count::<Tenant>()?,
                applications: reader.count::<Application>()?,
                profiles: reader.count::<Profile>()?,
                devices: reader.device_count()?,
                gateways: reader.gateway_count()?,
                streams: reader.count::<Stream>()?,
            }))
        })
        .await?;
    let revision = api.store.revision();
    let status = Status {
        version: api.options.version.clone(),
        uptime_s: api.started.elapsed().as_secs(),
        stream_url: api.options.stream_url.clone(),
        revision,
        pending: revision.saturating_sub(link.revision),
        dataplane: DataplaneStatus {
            connected: link.connected,
            software: link.software,
            contract: link.contract,
            revision: link.revision,
            shards: link.shards,
            snapshot: link.snapshot,
            refused: link.refused,
        },
        counts,
    };
    Ok(axum::Json(status).into_response())
}

/// Alive: the process answers and its store can be read.
pub(crate) async fn health(State(api): State<Shared>) -> Result<&'static str, Problem> {
    api.read(|reader| Ok(reader.settings().map(|_| ())?)).await?;
    Ok("ok\n")
}
