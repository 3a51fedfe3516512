//! Create, list, read, replace, merge and remove, once for every numbered thing.

use crate::auth::Who;
use crate::dataplane::LinkStatus;
use crate::input::{IfMatch, from_value, merge};
use crate::problem::Problem;
use crate::state::{Api, located, tagged};
use crate::view::{ListParams, Meta, Page, View};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{Stored, Uid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Kept, Named, Reader, Scope};

/// A numbered thing as the outside sees it.
pub(crate) trait Resource: Kept + Send + 'static {
    /// Its value, as it comes in and goes out.
    type Body: Serialize + DeserializeOwned + Send + 'static;
    /// For people.
    const NAME: &'static str;
    /// Below `/api/v1/`.
    const PATH: &'static str;

    /// Whether it exists for this caller.
    fn is_visible(&self, id: Self::Id, who: &Who) -> bool;

    /// Whether this caller may change it; asked of what is visible, and of new ones.
    ///
    /// # Errors
    /// Why not.
    fn may_write(&self, who: &Who) -> Result<(), Problem>;

    /// The value from what came in. `before` is what it replaces.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(body: Self::Body, who: &Who, reader: &Reader<'_>, before: Option<&Self>) -> Result<Self, Problem>;

    /// Whether the dataplane that is connected, if one is, can serve it instead of `before`.
    ///
    /// # Errors
    /// Why not.
    fn may_be_served(&self, _before: Option<&Self>, _link: &LinkStatus) -> Result<(), Problem> {
        Ok(())
    }

    /// What goes out.
    ///
    /// # Errors
    /// When the store fails.
    fn body(&self, reader: &Reader<'_>) -> Result<Self::Body, Problem>;

    /// What this caller's lists are confined to.
    ///
    /// # Errors
    /// When the tenant that is asked for does not exist.
    fn scope(who: &Who, reader: &Reader<'_>, params: &ListParams) -> Result<Scope, Problem> {
        who.scope(reader, params.tenant.as_deref())
    }
}

type Record<T> = Stored<Named<<T as Kept>::Id>, T>;

/// The thing with this name, if it exists for this caller.
pub(crate) fn find<T: Resource>(reader: &Reader<'_>, who: &Who, uid: Uid) -> Result<Record<T>, Problem> {
    let found = reader.by_uid::<T>(uid)?.filter(|found| found.value.is_visible(found.id.number, who));
    found.ok_or_else(|| Problem::absent(T::NAME))
}

/// The thing that a body refers to.
pub(crate) fn refer<T: Resource>(reader: &Reader<'_>, who: &Who, text: &str) -> Result<Record<T>, String> {
    let absent = || format!("there is no such {}", T::NAME);
    let uid = text.parse().map_err(|_| absent())?;
    find::<T>(reader, who, uid).map_err(|_| absent())
}

pub(crate) fn view<T: Resource>(
    record: &Record<T>,
    reader: &Reader<'_>,
    in_force: u64,
) -> Result<View<T::Body>, Problem> {
    Ok(View { id: record.id.uid.to_string(), value: record.value.body(reader)?, meta: Meta::of(record, in_force) })
}

pub(crate) async fn create<T: Resource>(api: &Api, who: Who, body: T::Body) -> Result<Response, Problem> {
    who.writer()?;
    let link = api.dataplane.status();
    let (mut view, done) = api
        .write(move |writer| {
            let value = T::check(body, &who, writer, None)?;
            value.may_write(&who)?;
            value.may_be_served(None, &link)?;
            let named = writer.insert(&value)?;
            let record = writer.by_number::<T>(named.number)?.ok_or_else(|| Problem::absent(T::NAME))?;
            view(&record, writer, 0)
        })
        .await?;
    view.meta.applied = done.applied;
    let path = format!("/api/v1/{}/{}", T::PATH, view.id);
    Ok(located(tagged(done.respond(StatusCode::CREATED, Some(&view)), done.revision), &path))
}

pub(crate) async fn list<T: Resource>(api: &Api, who: Who, params: ListParams) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let page = api
        .read(move |reader| {
            let limit = params.limit()?;
            let rows = reader.list::<T>(T::scope(&who, reader, &params)?, params.after_number()?, limit + 1)?;
            let (rows, next) = Page::<()>::cut(rows, limit, |row| row.id.number.into().to_string());
            // What is left out here is missing from a page that is full already: the scope has left it out.
            debug_assert!(rows.iter().all(|row| row.value.is_visible(row.id.number, &who)), "{}", T::NAME);
            let items = rows.iter().map(|row| view(row, reader, in_force)).collect::<Result<Vec<_>, _>>()?;
            Ok(Page { items, next })
        })
        .await?;
    Ok(Json(page).into_response())
}

pub(crate) async fn read<T: Resource>(api: &Api, who: Who, uid: Uid) -> Result<Response, Problem> {
    let in_force = api.in_force();
    let view = api.read(move |reader| view(&find::<T>(reader, &who, uid)?, reader, in_force)).await?;
    let revision = view.meta.revision;
    Ok(tagged(Json(view).into_response(), revision))
}

pub(crate) async fn replace<T: Resource>(
    api: &Api,
    who: Who,
    uid: Uid,
    seen: IfMatch,
    body: T::Body,
) -> Result<Response, Problem> {
    change::<T>(api, who, uid, seen, move |_| Ok(body)).await
}

pub(crate) async fn patch<T: Resource>(
    api: &Api,
    who: Who,
    uid: Uid,
    seen: IfMatch,
    patch: Value,
) -> Result<Response, Problem> {
    change::<T>(api, who, uid, seen, move |before| merged(&before, patch)).await
}

/// What a merge patch makes of a body.
pub(crate) fn merged<B: Serialize, T: DeserializeOwned>(before: &B, patch: Value) -> Result<T, Problem> {
    let mut value = serde_json::to_value(before).map_err(|error| Problem::field("body", error.to_string()))?;
    merge(&mut value, patch);
    from_value(value)
}

async fn change<T: Resource>(
    api: &Api,
    who: Who,
    uid: Uid,
    seen: IfMatch,
    next: impl FnOnce(T::Body) -> Result<T::Body, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    who.writer()?;
    let link = api.dataplane.status();
    let (mut view, done) = api
        .write(move |writer| {
            let record = find::<T>(writer, &who, uid)?;
            record.value.may_write(&who)?;
            seen.check(record.revision)?;
            let body = next(record.value.body(writer)?)?;
            let value = T::check(body, &who, writer, Some(&record.value))?;
            value.may_write(&who)?;
            value.may_be_served(Some(&record.value), &link)?;
            writer.update(record.id.number, &value)?;
            let record = find::<T>(writer, &who, uid)?;
            view(&record, writer, 0)
        })
        .await?;
    view.meta.applied = done.applied;
    Ok(tagged(done.respond(StatusCode::OK, Some(&view)), done.revision))
}

pub(crate) async fn remove<T: Resource>(api: &Api, who: Who, uid: Uid, seen: IfMatch) -> Result<Response, Problem> {
    who.writer()?;
    let ((), done) = api
        .write(move |writer| {
            let record = find::<T>(writer, &who, uid)?;
            record.value.may_write(&who)?;
            seen.check(record.revision)?;
            Ok(writer.remove::<T>(record.id.number)?)
        })
        .await?;
    Ok(done.respond_removed())
}

/// The handlers that change a resource, documented. Utoipa reads paths and types only as literals, hence macros.
macro_rules! writers {
    ($thing:ty, $body:ty, $tag:literal, $path:literal, $one:literal, $what:literal) => {
        #[utoipa::path(post, summary = concat!("Creates ", $what, "."), path = $path, tag = $tag, request_body = $body, responses(
            (status = 201, description = "Created and in force", body = View<$body>),
            (status = 202, description = "Created; not yet in force", body = View<$body>),
            (status = "4XX", response = crate::openapi::Failed),
        ))]
        pub(crate) async fn create(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::Json(body): crate::input::Json<$body>,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::create::<$thing>(&api, who, body).await
        }

        #[utoipa::path(put, summary = concat!("Replaces ", $what, "."), path = $one, tag = $tag, request_body = $body, params(
            ("id" = String, Path, description = "Its id"),
            ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
        ), responses(
            (status = 200, description = "Changed and in force", body = View<$body>),
            (status = 202, description = "Changed; not yet in force", body = View<$body>),
            (status = "4XX", response = crate::openapi::Failed),
        ))]
        pub(crate) async fn replace(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::UidPath(id): crate::input::UidPath,
            seen: crate::input::IfMatch,
            crate::input::Json(body): crate::input::Json<$body>,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::replace::<$thing>(&api, who, id, seen, body).await
        }

        #[utoipa::path(patch, summary = concat!("Changes parts of ", $what, " (RFC 7396: null removes)."), path = $one, tag = $tag,
            request_body(content = Object, content_type = "application/merge-patch+json"), params(
            ("id" = String, Path, description = "Its id"),
            ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
        ), responses(
            (status = 200, description = "Changed and in force", body = View<$body>),
            (status = 202, description = "Changed; not yet in force", body = View<$body>),
            (status = "4XX", response = crate::openapi::Failed),
        ))]
        pub(crate) async fn patch(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::UidPath(id): crate::input::UidPath,
            seen: crate::input::IfMatch,
            crate::input::Json(patch): crate::input::Json<serde_json::Value>,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::patch::<$thing>(&api, who, id, seen, patch).await
        }

        #[utoipa::path(delete, summary = concat!("Removes ", $what, "; 409 while others refer to it."), path = $one, tag = $tag, params(
            ("id" = String, Path, description = "Its id"),
            ("if-match" = Option<String>, Header, description = "Its ETag as last seen; 412 if it changed since"),
        ), responses(
            (status = 204, description = "Removed and in force"),
            (status = 202, description = "Removed; not yet in force"),
            (status = "4XX", response = crate::openapi::Failed),
        ))]
        pub(crate) async fn remove(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::UidPath(id): crate::input::UidPath,
            seen: crate::input::IfMatch,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::remove::<$thing>(&api, who, id, seen).await
        }
    };
}

/// All six handlers of a resource.
macro_rules! handlers {
    ($thing:ty, $body:ty, $tag:literal, $path:literal, $one:literal, $what:literal) => {
        crate::resource::writers!($thing, $body, $tag, $path, $one, $what);

        /// Lists those that the caller may see.
        #[utoipa::path(get, path = $path, tag = $tag, params(crate::view::ListParams), responses(
                    (status = 200, description = "A part of the list", body = Page<View<$body>>),
                    (status = "4XX", response = crate::openapi::Failed),
                ))]
        pub(crate) async fn list(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::Params(params): crate::input::Params<crate::view::ListParams>,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::list::<$thing>(&api, who, params).await
        }

        #[utoipa::path(get, summary = concat!("Reads ", $what, "."), path = $one, tag = $tag, params(("id" = String, Path, description = "Its id")), responses(
                    (status = 200, description = "Its value; the ETag header holds its revision", body = View<$body>),
                    (status = "4XX", response = crate::openapi::Failed),
                ))]
        pub(crate) async fn read(
            axum::extract::State(api): axum::extract::State<crate::state::Shared>,
            who: crate::auth::Who,
            crate::input::UidPath(id): crate::input::UidPath,
        ) -> Result<axum::response::Response, crate::problem::Problem> {
            crate::resource::read::<$thing>(&api, who, id).await
        }
    };
}
pub(crate) use {handlers, writers};
