//! Tokens that open a stream: made, shown on request, replaced, revoked; never listed.

use crate::auth::Who;
use crate::input::{Json, UidPath, UidPaths};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::resource::find;
use crate::state::{Api, Shared, located};
use crate::view::rfc3339;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{Faults, Name, Stream, StreamId, Token, Uid};
use serde::{Deserialize, Serialize};
use store::{Reader, TokenRow};
use utoipa::ToSchema;

/// A token that is to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct NewToken {
    /// 1 to 128 bytes; "token" if absent.
    #[serde(default)]
    name: Option<String>,
    /// A token of your own, 16 to 128 letters, digits or any of - . _ ~; a random one is made if absent.
    #[serde(default)]
    token: Option<String>,
}

/// A token, not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenInfo {
    /// A UUID.
    id: String,
    /// For people.
    name: String,
    /// RFC 3339.
    created_at: String,
}

/// The tokens of a stream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenList {
    items: Vec<TokenInfo>,
}

/// A token, shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenShown {
    #[serde(flatten)]
    info: TokenInfo,
    /// The token.
    token: String,
    /// Opens the stream with it.
    url: String,
}

fn info(row: &TokenRow) -> TokenInfo {
    TokenInfo { id: row.uid.to_string(), name: row.name.to_string(), created_at: rfc3339(row.created_us) }
}

fn shown(api: &Api, row: &TokenRow, token: &Token) -> TokenShown {
    let base = api.options.stream_url.trim_end_matches('/');
    let url = format!("{base}/?token={}", token.reveal());
    TokenShown { info: info(row), token: token.reveal().to_owned(), url }
}

/// The stream, for those who may see its tokens.
fn stream_of(reader: &Reader<'_>, who: &Who, stream: Uid) -> Result<StreamId, Problem> {
    who.writer()?;
    Ok(find::<Stream>(reader, who, stream)?.id.number)
}

fn token_of(reader: &Reader<'_>, stream: StreamId, token: Uid) -> Result<TokenRow, Problem> {
    let found = reader.tokens(stream)?.into_iter().find(|row| row.uid == token);
    found.ok_or_else(|| Problem::absent("token"))
}

/// Makes a token and shows it.
#[utoipa::path(post, path = "/api/v1/streams/{id}/tokens", tag = "streams", request_body = NewToken,
    params(("id" = String, Path, description = "The stream's id")), responses(
    (status = 201, description = "Made and in force", body = TokenShown),
    (status = 202, description = "Made; not yet in force", body = TokenShown),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn create(
    State(api): State<Shared>,
    who: Who,
    UidPath(stream): UidPath,
    Json(body): Json<NewToken>,
) -> Result<Response, Problem> {
    let ((row, token), done) = api
        .write(move |writer| {
            let id = stream_of(writer, &who, stream)?;
            let mut faults = Faults::default();
            let name = faults.keep("name", Name::parse(body.name.unwrap_or_else(|| "token".into())));
            let token = faults.keep_if("token", body.token, |text| Token::parse(&text));
            let (Some(name), true) = (name, faults.0.is_empty()) else { return Err(faults.into()) };
            Ok(writer.insert_token(id, &name, token)?)
        })
        .await?;
    let view = shown(&api, &row, &token);
    let path = format!("/api/v1/streams/{stream}/tokens/{}", row.uid);
    Ok(located(done.respond(StatusCode::CREATED, Some(&view)), &path))
}

/// Lists a stream's tokens, without showing them.
#[utoipa::path(get, path = "/api/v1/streams/{id}/tokens", tag = "streams",
    params(("id" = String, Path, description = "The stream's id")), responses(
    (status = 200, description = "The tokens", body = TokenList),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn list(State(api): State<Shared>, who: Who, UidPath(stream): UidPath) -> Result<Response, Problem> {
    let rows = api.read(move |reader| Ok(reader.tokens(stream_of(reader, &who, stream)?)?)).await?;
    Ok(axum::Json(TokenList { items: rows.iter().map(info).collect() }).into_response())
}

/// Shows a token.
#[utoipa::path(get, path = "/api/v1/streams/{id}/tokens/{token}", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("token" = String, Path, description = "The token's id"),
), responses(
    (status = 200, description = "The token", body = TokenShown),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn read(
    State(api): State<Shared>,
    who: Who,
    UidPaths(stream, token): UidPaths,
) -> Result<Response, Problem> {
    let (row, token) = api
        .read(move |reader| {
            let row = token_of(reader, stream_of(reader, &who, stream)?, token)?;
            let token = reader.reveal_token(row.number)?;
            Ok((row, token))
        })
        .await?;
    Ok(axum::Json(shown(&api, &row, &token)).into_response())
}

/// Replaces a token by a random one of the same name, in one step.
#[utoipa::path(post, path = "/api/v1/streams/{id}/tokens/{token}/rotate", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("token" = String, Path, description = "The token's id"),
), responses(
    (status = 201, description = "Replaced and in force", body = TokenShown),
    (status = 202, description = "Replaced; not yet in force", body = TokenShown),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn rotate(
    State(api): State<Shared>,
    who: Who,
    UidPaths(stream, token): UidPaths,
) -> Result<Response, Problem> {
    let ((row, token), done) = api
        .write(move |writer| {
            let id = stream_of(writer, &who, stream)?;
            let before = token_of(writer, id, token)?;
            writer.remove_token(id, before.number)?;
            Ok(writer.insert_token(id, &before.name, None)?)
        })
        .await?;
    let view = shown(&api, &row, &token);
    let path = format!("/api/v1/streams/{stream}/tokens/{}", row.uid);
    Ok(located(done.respond(StatusCode::CREATED, Some(&view)), &path))
}

/// Revokes a token: it opens no more sessions.
#[utoipa::path(delete, path = "/api/v1/streams/{id}/tokens/{token}", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("token" = String, Path, description = "The token's id"),
), responses(
    (status = 204, description = "Revoked and in force"),
    (status = 202, description = "Revoked; not yet in force"),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn remove(
    State(api): State<Shared>,
    who: Who,
    UidPaths(stream, token): UidPaths,
) -> Result<Response, Problem> {
    let ((), done) = api
        .write(move |writer| {
            let id = stream_of(writer, &who, stream)?;
            let row = token_of(writer, id, token)?;
            Ok(writer.remove_token(id, row.number)?)
        })
        .await?;
    Ok(done.respond_removed())
}
