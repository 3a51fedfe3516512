//! Dead letters: what groups of a durable stream could not take, read and put back.

use crate::auth::Who;
use crate::dataplane::{DeadLetter, DeadLetters, Unavailable};
use crate::groups::number_of;
use crate::input::{Json, Params, UidPath};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::Shared;
use crate::view::{Page, cursor, limit, page_of_cursor, rfc3339};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Dead letters that one request may name.
const ID_COUNT_MAX: usize = 1000;

/// A message that a group could not take, or refused, too often.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// Its own: one message may be a dead letter of several groups.
    id: String,
    /// Whose.
    group: String,
    /// Of the last refusal, or not_acknowledged.
    reason: String,
    /// Deliveries.
    attempts: u32,
    /// When it became one; RFC 3339.
    at: String,
    /// The message, in the stream's format.
    message: String,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetterParams {
    /// Dead letters in one answer, 1 to 1000; 100 if absent.
    #[serde(default)]
    limit: Option<usize>,
    /// The `next` of the answer before.
    #[serde(default)]
    after: Option<String>,
}

/// Which dead letters to deliver again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct PutBackBody {
    /// Their ids, at most 1000; all of the stream if there are none.
    #[serde(default)]
    ids: Vec<String>,
}

/// What was put back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PutBackCount {
    /// Dead letters that are delivered again.
    count: u32,
}

fn view(letter: DeadLetter) -> DeadLetterView {
    DeadLetterView {
        id: letter.id,
        group: letter.group,
        reason: letter.reason,
        attempts: letter.attempts,
        at: rfc3339(letter.at_us),
        message: String::from_utf8_lossy(&letter.message).into_owned(),
    }
}

/// Lists a stream's dead letters, the oldest first.
#[utoipa::path(get, path = "/api/v1/streams/{id}/dead-letters", tag = "streams",
    params(("id" = String, Path, description = "The stream's id"), DeadLetterParams), responses(
    (status = 200, description = "A part of the list", body = Page<DeadLetterView>),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn list(
    State(api): State<Shared>,
    who: Who,
    UidPath(id): UidPath,
    Params(params): Params<DeadLetterParams>,
) -> Result<Response, Problem> {
    let limit = limit(params.limit)? as u32;
    let foreign = || Problem::field("after", "must be the `next` of another answer");
    let page = params.after.as_deref().map(page_of_cursor).transpose().map_err(|_| foreign())?.unwrap_or_default();
    let stream = number_of(&api, who, id).await?;
    let page = api.dataplane.dead_letters(DeadLetters { stream, page, limit }).await.map_err(|error| match &error {
        Unavailable::Rejected(reason) if reason == "bad_page" => foreign(),
        _ => error.into(),
    })?;
    let next = (!page.next.is_empty()).then(|| cursor(&page.next));
    let items: Vec<_> = page.letters.into_iter().map(view).collect();
    Ok(axum::Json(Page { items, next }).into_response())
}

/// Delivers dead letters again, to their groups and as if for the first time.
#[utoipa::path(post, path = "/api/v1/streams/{id}/dead-letters/put-back", tag = "streams", request_body = PutBackBody,
    params(("id" = String, Path, description = "The stream's id")), responses(
    (status = 200, description = "They are delivered again", body = PutBackCount),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn put_back(
    State(api): State<Shared>,
    who: Who,
    UidPath(id): UidPath,
    Json(body): Json<PutBackBody>,
) -> Result<Response, Problem> {
    who.writer()?;
    if body.ids.len() > ID_COUNT_MAX {
        return Err(Problem::field("ids", format!("must be at most {ID_COUNT_MAX}")));
    }
    let stream = number_of(&api, who, id).await?;
    let count = api.dataplane.put_back(stream, body.ids).await.map_err(|error| match &error {
        Unavailable::Rejected(reason) if reason == "unknown_id" => {
            Problem::field("ids", "there is no such dead letter; none was put back")
        }
        _ => error.into(),
    })?;
    Ok(axum::Json(PutBackCount { count }).into_response())
}
