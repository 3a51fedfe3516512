//! Groups of consumers of a durable stream: what they are told to read, and how they are forgotten.
//!
//! A group is made by whoever opens the stream in its name; how it is going is part of the stream's state.

use crate::auth::Who;
use crate::dataplane::{Position, SeekGroup, Unavailable};
use crate::input::{GroupPath, Json};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::find;
use crate::state::{Api, Shared};
use crate::time::instant;
use axum::extract::State;
use axum::http::StatusCode;
use model::{Fault, Faults, Stream, Uid};
use serde::Deserialize;
use utoipa::ToSchema;

/// Where a group is to read on: one of the three.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct SeekBody {
    /// earliest, the oldest message that is kept, or latest, what comes next.
    #[serde(default)]
    #[schema(example = "earliest")]
    to: Option<String>,
    /// The first message of this time or later: RFC 3339, or Unix seconds.
    #[serde(default)]
    time: Option<String>,
    /// The message with this `Id`.
    #[serde(default)]
    id: Option<String>,
}

/// The longest `Id` of a message that is looked for, in bytes.
const ID_BYTES_MAX: usize = 128;

/// The stream's number for the dataplane, if the stream exists for them.
pub(crate) async fn number_of(api: &Api, who: Who, stream: Uid) -> Result<u32, Problem> {
    api.read(move |reader| Ok(find::<Stream>(reader, &who, stream)?.id.number.0)).await
}

/// Lets a group read on elsewhere; makes the group if there is none of that name. What it has in flight is forgotten.
#[utoipa::path(post, path = "/api/v1/streams/{id}/groups/{group}/seek", tag = "streams", request_body = SeekBody, params(
    ("id" = String, Path, description = "The stream's id"),
    ("group" = String, Path, description = "The group's name: 1 to 32 letters, digits or any of . _ -"),
), responses(
    (status = 204, description = "It reads on there"),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn seek(
    State(api): State<Shared>,
    who: Who,
    GroupPath(stream, group): GroupPath,
    Json(body): Json<SeekBody>,
) -> Result<StatusCode, Problem> {
    who.writer()?;
    let to = position(body).map_err(Faults::from)?;
    let stream = number_of(&api, who, stream).await?;
    api.dataplane.seek_group(SeekGroup { stream, group: group.to_string(), to }).await.map_err(moved)?;
    Ok(StatusCode::NO_CONTENT)
}

fn position(body: SeekBody) -> Result<Position, Fault> {
    match (body.to.as_deref(), body.time, body.id) {
        (Some("earliest"), None, None) => Ok(Position::Earliest),
        (Some("latest"), None, None) => Ok(Position::Latest),
        (Some(_), None, None) => Err(Fault::new("to", "must be earliest or latest")),
        (None, Some(time), None) => instant(&time).map(Position::Time).map_err(|reason| Fault::new("time", reason)),
        (None, None, Some(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Ok(Position::Id(id)),
        (None, None, Some(_)) => Err(Fault::new("id", format!("must have 1 to {ID_BYTES_MAX} bytes"))),
        (None, None, None) => Err(Fault::new("to", "is missing: one of to, time and id must be there")),
        _ => Err(Fault::new("to", "only one of to, time and id may be there")),
    }
}

/// Forgets a group and its dead letters; 409 while it has sessions.
#[utoipa::path(delete, path = "/api/v1/streams/{id}/groups/{group}", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("group" = String, Path, description = "The group's name"),
), responses(
    (status = 204, description = "It is gone"),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn remove(
    State(api): State<Shared>,
    who: Who,
    GroupPath(stream, group): GroupPath,
) -> Result<StatusCode, Problem> {
    who.writer()?;
    let stream = number_of(&api, who, stream).await?;
    api.dataplane.remove_group(stream, group.to_string()).await.map_err(moved)?;
    Ok(StatusCode::NO_CONTENT)
}

fn moved(error: Unavailable) -> Problem {
    match &error {
        Unavailable::Rejected(reason) if reason == "unknown_id" => {
            Problem::field("id", "there is no such message, or it is no longer kept")
        }
        _ => error.into(),
    }
}
