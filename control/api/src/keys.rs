//! API keys. The secret is in the answer that makes one, and nowhere else.

use crate::auth::Who;
use crate::input::{IfMatch, Json, Params, UidPath};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::{Shared, located, tagged};
use crate::view::{ListParams, Meta, Page, View};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{ApiKey, Faults, KeyId, Name, Role, Stored, Tenant};
use serde::{Deserialize, Serialize};
use store::{Named, Reader};
use utoipa::ToSchema;

/// An API key that is to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct NewKey {
    /// 1 to 128 bytes.
    #[schema(example = "Dashboard")]
    name: String,
    /// operator, tenant_admin or tenant_viewer.
    #[schema(example = "tenant_viewer")]
    role: String,
    /// The tenant's id, for tenants' roles. May be left out with a tenant's API key.
    #[serde(default)]
    tenant: Option<String>,
}

/// An API key, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeyBody {
    /// 1 to 128 bytes.
    name: String,
    /// operator, tenant_admin or tenant_viewer.
    role: String,
    /// The tenant's id, for tenants' roles.
    tenant: Option<String>,
    /// The beginning of the secret.
    hint: String,
}

/// An API key with its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The secret: shown now and never again. `Authorization: Bearer KEY`.
    key: String,
    #[serde(flatten)]
    view: View<KeyBody>,
}

/// A new name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct KeyName {
    /// 1 to 128 bytes.
    name: String,
}

fn view(record: &Stored<Named<KeyId>, ApiKey>, reader: &Reader<'_>) -> Result<View<KeyBody>, Problem> {
    let key = &record.value;
    let tenant = key.role.tenant().map(|tenant| reader.uid_of::<Tenant>(tenant)).transpose()?.flatten();
    let value = KeyBody {
        name: key.name.to_string(),
        role: key.role.name().into(),
        tenant: tenant.map(|uid| uid.to_string()),
        hint: key.hint.clone(),
    };
    // The dataplane knows nothing of API keys: they are always in force.
    Ok(View { id: record.id.uid.to_string(), value, meta: Meta::of(record, u64::MAX) })
}

fn find_key(reader: &Reader<'_>, who: &Who, uid: model::Uid) -> Result<Stored<Named<KeyId>, ApiKey>, Problem> {
    let found = reader.by_uid::<ApiKey>(uid)?.filter(|found| who.sees(found.value.role.tenant()));
    found.ok_or_else(|| Problem::absent("API key"))
}

/// Makes an API key and shows its secret, once.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "api-keys", request_body = NewKey, responses(
    (status = 201, description = "Made", body = MadeKey),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn create(State(api): State<Shared>, who: Who, Json(body): Json<NewKey>) -> Result<Response, Problem> {
    who.writer()?;
    let made = api
        .write_quietly(move |writer| {
            let mut faults = Faults::default();
            let name = faults.keep("name", Name::parse(body.name));
            let tenant = if body.role == "operator" && body.tenant.is_none() {
                who.operator()?;
                None
            } else {
                who.tenant(writer, body.tenant.as_deref(), &mut faults)?
            };
            let role = if faults.0.iter().any(|fault| fault.field == "tenant") {
                None
            } else {
                faults.keep("role", Role::parse(&body.role, tenant))
            };
            let (Some(name), Some(role)) = (name, role) else { return Err(faults.into()) };
            if role == Role::Operator {
                who.operator()?;
            }
            let (named, secret) = writer.insert_key(name, role)?;
            let record = find_key(writer, &who, named.uid)?;
            Ok(MadeKey { key: secret.reveal().to_owned(), view: view(&record, writer)? })
        })
        .await?;
    let path = format!("/api/v1/api-keys/{}", made.view.id);
    let revision = made.view.meta.revision;
    Ok(located(tagged((StatusCode::CREATED, axum::Json(made)).into_response(), revision), &path))
}

/// Lists API keys, without their secrets.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "api-keys", params(ListParams), responses(
    (status = 200, description = "A part of the list", body = Page<View<KeyBody>>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    who.writer()?;
    let page = api
        .read(move |reader| {
            let limit = params.limit()?;
            let scope = who.scope(reader, params.tenant.as_deref())?;
            let rows = reader.list::<ApiKey>(scope, params.after_number()?, limit + 1)?;
            let (rows, next) = Page::<()>::cut(rows, limit, |row| row.id.number.0.to_string());
            let items = rows.iter().map(|row| view(row, reader)).collect::<Result<Vec<_>, _>>()?;
            Ok(Page { items, next })
        })
        .await?;
    Ok(axum::Json(page).into_response())
}

/// Reads an API key, without its secret.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}", tag = "api-keys",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The key", body = View<KeyBody>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who, UidPath(id): UidPath) -> Result<Response, Problem> {
    who.writer()?;
    let view = api.read(move |reader| view(&find_key(reader, &who, id)?, reader)).await?;
    let revision = view.meta.revision;
    Ok(tagged(axum::Json(view).into_response(), revision))
}

/// Renames an API key. Its role never changes.
#[utoipa::path(put, path = "/api/v1/api-keys/{id}", tag = "api-keys", request_body = KeyName, params(
    ("id" = String, Path, description = "Its id"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 200, description = "The key", body = View<KeyBody>),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn replace(
    State(api): State<Shared>,
    who: Who,
    UidPath(id): UidPath,
    seen: IfMatch,
    Json(body): Json<KeyName>,
) -> Result<Response, Problem> {
    who.writer()?;
    let view = api
        .write_quietly(move |writer| {
            let record = find_key(writer, &who, id)?;
            seen.check(record.revision)?;
            let name = Name::parse(body.name).map_err(|reason| Problem::field("name", reason))?;
            writer.update(record.id.number, &ApiKey { name, ..record.value })?;
            view(&find_key(writer, &who, id)?, writer)
        })
        .await?;
    let revision = view.meta.revision;
    Ok(tagged(axum::Json(view).into_response(), revision))
}

/// Revokes an API key, at once.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "api-keys", params(
    ("id" = String, Path, description = "Its id"),
    ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
), responses(
    (status = 204, description = "Revoked"),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn remove(
    State(api): State<Shared>,
    who: Who,
    UidPath(id): UidPath,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    who.writer()?;
    api.write_quietly(move |writer| {
        let record = find_key(writer, &who, id)?;
        seen.check(record.revision)?;
        if record.id == who.key {
            let reason = "an API key cannot revoke itself; use another";
            return Err(Problem::new(StatusCode::CONFLICT, reason));
        }
        Ok(writer.remove::<ApiKey>(record.id.number)?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
