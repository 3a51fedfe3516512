//! What comes in: strict JSON bodies, query parameters, paths, preconditions.

use crate::problem::Problem;
use crate::state::Shared;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base::Eui64;
use model::{Fault, Faults, GroupName, Uid};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Unknown fields that are named; who sent more knows what is wrong.
const UNKNOWN_COUNT_MAX: usize = 16;

/// A JSON body. Unknown fields, wrong types and trailing bytes are problems that name the field.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Shared) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !["application/json", "application/merge-patch+json"].contains(&kind) {
            let detail = "the body must be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let bytes = tokio::time::timeout(api.options.body_timeout, Bytes::from_request(request, api))
            .await
            .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))?
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        parse(&bytes).map(Self)
    }
}

/// Reads strict JSON.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = strict(&mut reader)?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// As [`parse`], from a value.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    strict(value)
}

fn strict<'de, T, D>(reader: D) -> Result<T, Problem>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let mut faults = Faults::default();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(reader, &mut track);
    let mut ignored = |path: serde_ignored::Path<'_>| {
        if faults.0.len() < UNKNOWN_COUNT_MAX {
            // It writes `?` for the step into an optional value.
            faults.push(&path.to_string().replace(".?", ""), "there is no such field");
        }
    };
    let value = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut ignored));
    let value = value.map_err(|error| {
        if !error.is_data() {
            return malformed(&error);
        }
        let path = track.path().to_string();
        // serde names a missing field in its message only.
        let text = error.to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let (field, reason) = match (missing, path.as_str()) {
            (Some(name), ".") => (name.to_owned(), "is missing".to_owned()),
            (Some(name), path) => (format!("{path}.{name}"), "is missing".to_owned()),
            (None, path) => (path.to_owned(), without_value(&text)),
        };
        Faults::from(Fault::new(field, reason)).into()
    })?;
    faults.none()?;
    Ok(value)
}

/// serde's words about a value, without the value: it may be a key that stands in the wrong place.
fn without_value(text: &str) -> String {
    // From the end: the value may hold these words too, what was expected does not.
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    match text.rsplit_once(", expected ") {
        Some((found, expected)) => {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}")
        }
        None => text.to_owned(),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: {error}");
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// A merge patch (RFC 7396): what is null goes, what is there replaces.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Query parameters; unknown ones are problems if the type says so.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        Ok(Self(params))
    }
}

/// A UUID in the path. What is no UUID names nothing.
pub(crate) struct UidPath(pub(crate) Uid);

impl<S: Send + Sync> FromRequestParts<S> for UidPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state).await?;
        uid(&text).map(Self)
    }
}

/// Two UUIDs in the path.
pub(crate) struct UidPaths(pub(crate) Uid, pub(crate) Uid);

impl<S: Send + Sync> FromRequestParts<S> for UidPaths {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (outer, inner): (String, String) = path(parts, state).await?;
        Ok(Self(uid(&outer)?, uid(&inner)?))
    }
}

/// A stream's UUID and the name of a group in the path.
pub(crate) struct GroupPath(pub(crate) Uid, pub(crate) GroupName);

impl<S: Send + Sync> FromRequestParts<S> for GroupPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (stream, group): (String, String) = path(parts, state).await?;
        let group = GroupName::parse(group).map_err(|reason| Problem::field("group", reason))?;
        Ok(Self(uid(&stream)?, group))
    }
}

/// An EUI in the path.
pub(crate) struct EuiPath(pub(crate) Eui64);

impl<S: Send + Sync> FromRequestParts<S> for EuiPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state).await?;
        text.parse().map(Self).map_err(|_| Problem::absent("object"))
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Problem> {
    let Path(text) = Path::from_request_parts(parts, state).await.map_err(|_| Problem::absent("object"))?;
    Ok(text)
}

fn uid(text: &str) -> Result<Uid, Problem> {
    text.parse().map_err(|_| Problem::absent("object"))
}

/// `If-Match` (RFC 9110 §13.1.1): the revisions that the caller has seen, if it says.
pub(crate) struct IfMatch(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default().to_owned());
        Ok(Self(value))
    }
}

impl IfMatch {
    /// Whether a thing of this revision may be changed.
    pub(crate) fn check(&self, revision: u64) -> Result<(), Problem> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let own = etag(revision);
        if wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag == own) {
            return Ok(());
        }
        let detail = format!("it was changed meanwhile: its ETag is {own}");
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
    }
}

/// The entity tag of a revision.
pub(crate) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// An optional EUI in a body.
pub(crate) fn eui(text: &str) -> Result<Eui64, String> {
    text.parse::<Eui64>().map_err(|error| error.to_string())
}

/// An EUI that names something: not 0.
pub(crate) fn own_eui(text: &str) -> Result<Eui64, String> {
    eui(text).and_then(|eui| if eui == Eui64::default() { Err("must not be 0".into()) } else { Ok(eui) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        number: u8,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
    }

    fn check(text: &str, status: u16, field: Option<&str>) {
        let problem = parse::<Outer>(text.as_bytes()).expect_err(text);
        assert_eq!(problem.status, status, "{text}: {problem:?}");
        assert_eq!(problem.errors.first().map(|error| error.field.as_str()), field, "{text}: {problem:?}");
    }

    #[test]
    fn says_which_field_is_wrong() {
        assert!(parse::<Outer>(br#"{"name":"a","inner":{"number":1}}"#).is_ok());
        check(r#"{"name":"a","inner":{"number":256}}"#, 422, Some("inner.number"));
        check(r#"{"name":"a","inner":{}}"#, 422, Some("inner.number"));
        check(r#"{"name":"a","inner":{"number":1,"more":1}}"#, 422, Some("inner.more"));
        check(r#"{"inner":null}"#, 422, Some("name"));
        check(r#"{"name":1}"#, 422, Some("name"));
        check(r#"{"name":"a","other":1}"#, 422, Some("other"));
        check(r#"{"name":"a"}}"#, 400, None);
        check(r#"{"name":"#, 400, None);
        check("", 400, None);
    }

    #[test]
    fn names_some_unknown_fields_and_no_values() {
        let many: String = (0..1000).map(|number| format!(",\"f{number}\":1")).collect();
        let problem = parse::<Outer>(format!(r#"{{"name":"a"{many}}}"#).as_bytes()).expect_err("unknown");
        assert_eq!(problem.errors.len(), UNKNOWN_COUNT_MAX);
        let secret = r#"SECRET\", expected SECRET at line 9"#;
        for (text, kind) in [
            (format!(r#"{{"name":"a","inner":"{secret}"}}"#), "invalid type: string, expected struct Inner"),
            (r#"{"name":5558}"#.to_owned(), "invalid type: integer, expected a string"),
            (r#"{"name":"a","inner":{"number":5558}}"#.to_owned(), "invalid value: integer, expected u8"),
            (r#"{"name":null}"#.to_owned(), "invalid type: null, expected a string"),
        ] {
            let problem = parse::<Outer>(text.as_bytes()).expect_err("refused");
            assert_eq!(problem.errors[0].reason, kind);
            let all = format!("{problem:?}");
            assert!(!all.contains("SECRET") && !all.contains("5558"), "{all}");
        }
    }

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merges_as_the_rfc_shows() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, patch);
            assert_eq!(target, expected);
        }
    }
}
