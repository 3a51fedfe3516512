//! Problem details (RFC 9457): every error of the API, as the outside sees it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Fault, Faults};
use serde::{Deserialize, Serialize};
use store::Error;
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem; `about:blank` as the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// The fields that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Its path, such as `otaa.app_key`.
    pub field: String,
    /// What is allowed.
    pub reason: String,
}

impl Problem {
    /// A problem with this status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn absent(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn field(field: &str, reason: impl Into<String>) -> Self {
        Faults::from(Fault::new(field, reason)).into()
    }

    /// What is wrong with a query, by the names of its parameters.
    pub(crate) fn query(faults: Faults) -> Self {
        Self::new(StatusCode::BAD_REQUEST, faults.to_string()).with(faults.0)
    }

    fn with(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.errors.extend(faults.into_iter().map(|fault| FieldProblem { field: fault.field, reason: fault.reason }));
        self
    }
}

/// What was asked is understood and wrong.
impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, faults.to_string()).with(faults.0)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Absent => Self::absent("object"),
            Error::Conflict(fault) => Self::new(StatusCode::CONFLICT, fault.to_string()).with([fault]),
            Error::Refused(fault) => Faults::from(fault).into(),
            Error::Broken(reason) => {
                tracing::error!("the store failed: {reason}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the store failed; the log says more")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
