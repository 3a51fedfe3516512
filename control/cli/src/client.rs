//! The API as the commands call it: requests, problems in one line, pages, names instead of ids.

use crate::place::Place;
use crate::resource::{Resource, at, by_path};
use crate::trust::Trust;
use serde_json::Value;
use std::io::Read;
use std::time::Duration;
use ureq::http::{Request, Response};
use ureq::{Agent, Body, SendBody};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer: a full page of the longest streams, and some.
const ANSWER_BYTES_MAX: u64 = 2 << 30;
/// Things asked for at once.
const PAGE_COUNT: usize = 1000;
/// Things among which one is looked for by its name.
const SEARCH_COUNT_MAX: usize = 10_000;

/// The API with a key.
#[derive(Debug)]
pub(crate) struct Client {
    url: String,
    key: Option<String>,
    agent: Agent,
}

impl Client {
    /// `key` is the operator's of the data directory if none is given and the API is on this machine: what another
    /// machine is sent, it has.
    pub(crate) fn new(url: &str, key: Option<String>, trust: &Trust, place: &Place) -> Result<Self, String> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .tls_config(trust.for_requests()?)
            .build()
            .into();
        let key = key.or_else(|| place.api_key().filter(|_| is_here(url)));
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key, agent })
    }

    /// `GET`.
    pub(crate) fn read(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path, None)
    }

    /// A request with or without a JSON body; the answer's JSON, or null without any.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let text = body.map(Value::to_string);
        let kind = body.map(|_| "application/json");
        let mut bytes = text.as_deref().unwrap_or_default().as_bytes();
        let reader: Option<&mut dyn Read> = if body.is_some() { Some(&mut bytes) } else { None };
        let mut answer = self.send(method, path, kind, reader)?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| format!("the answer is not JSON: {error}"))
    }

    /// Any request; the answer, if it is a good one.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: Option<&mut dyn Read>,
    ) -> Result<Response<Body>, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        let unreachable = |error: ureq::Error| match error {
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("nothing answers at {}: is it started (`trunkline up`), is --url right?", self.url)
            }
            error => format!("{}: {error}", self.url),
        };
        let malformed = |error: ureq::http::Error| format!("{}{path}: {error}", self.url);
        let response = match body {
            Some(reader) => self.agent.run(request.body(SendBody::from_reader(reader)).map_err(malformed)?),
            None => self.agent.run(request.body(()).map_err(malformed)?),
        };
        let mut response = response.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        let hint = match (response.status().as_u16(), &self.key) {
            (401, None) if is_here(&self.url) => " (give --key, TRUNKLINE_API_KEY or --data-dir)",
            (401, None) => " (give --key or TRUNKLINE_API_KEY; the data directory's is for this machine only)",
            _ => "",
        };
        Err(format!("{}{hint}", problem(response.status().as_u16(), &text)))
    }

    /// Lines of text, and where those that follow are.
    pub(crate) fn lines(&self, path: &str) -> Result<(String, Option<String>), String> {
        let mut answer = self.send("GET", path, None, None)?;
        let link =
            answer.headers().get("Link").and_then(|link| link.to_str().ok()).and_then(next_of).map(str::to_owned);
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((text, link))
    }

    /// Everything in a list, up to `count_max`. `query` is `a=b&c=d` or empty.
    pub(crate) fn list(&self, path: &str, query: &str, count_max: usize) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let limit = PAGE_COUNT.min(count_max - items.len());
            let mut page = self.read(&format!("/api/v1/{path}?limit={limit}&{query}{after}"))?;
            if let Some(Value::Array(part)) = page.get_mut("items").map(Value::take) {
                items.extend(part);
            }
            match page["next"].as_str() {
                Some(next) if items.len() < count_max => after = format!("&after={}", encode(next)),
                _ => return Ok(items),
            }
        }
    }

    /// The id of what `text` names: an id as it is, else whatever alone has that name.
    pub(crate) fn id(&self, resource: &Resource, text: &str) -> Result<String, String> {
        if is_id(text) {
            return Ok(text.to_owned());
        }
        let all = self.list(resource.path, "", SEARCH_COUNT_MAX + 1)?;
        if all.len() > SEARCH_COUNT_MAX {
            return Err(format!("there are too many {}s to find `{text}` by its name: give the id", resource.name));
        }
        let mut named = all.iter().filter(|item| at(item, "name").and_then(Value::as_str) == Some(text));
        let what = resource.name;
        match (named.next(), named.next()) {
            (Some(item), None) => {
                let id = at(item, resource.id).and_then(Value::as_str);
                id.map(str::to_owned).ok_or_else(|| format!("the {what} `{text}` has no id"))
            }
            (None, _) => Err(format!("there is no {what} `{text}`")),
            (Some(_), Some(_)) => Err(format!("several of the {what}s are called `{text}`: give the id")),
        }
    }

    /// Puts ids in the place of names, in what is to be sent.
    pub(crate) fn resolve(&self, resource: &Resource, object: &mut Value) -> Result<(), String> {
        for (key, path) in resource.references() {
            if let Some(Value::String(text)) = at(object, key) {
                let id = self.id(by_path(path), text)?;
                crate::resource::put(object, key, id.into())?;
            }
        }
        Ok(())
    }
}

/// Whether a URL names this machine, whatever is written into it.
fn is_here(url: &str) -> bool {
    let Ok(url) = url.parse::<ureq::http::Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A UUID, or an EUI in any of its spellings.
fn is_id(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    let is_spelt = text.chars().all(|char| char.is_ascii_hexdigit() || char == '-' || char == ':');
    is_spelt && (digits == 16 || (digits == 32 && text.len() == 36))
}

/// Where a `Link` header (RFC 8288) says that more follows, if that is a path of the API.
fn next_of(link: &str) -> Option<&str> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    (rest.trim() == "; rel=\"next\"" && path.starts_with("/api/")).then_some(path)
}

/// A problem document (RFC 9457) in one line; what is none is quoted.
fn problem(status: u16, text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        let text: String = text.chars().filter(|char| !char.is_control()).take(200).collect();
        return format!("HTTP {status} {text}").trim_end().to_owned();
    };
    let detail = value["detail"].as_str().or(value["title"].as_str()).unwrap_or("it failed");
    let fields = value["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields: Vec<String> = fields.iter().map(field).collect();
    if fields.is_empty() { detail.to_owned() } else { fields.join("; ") }
}

/// One wrong field as words.
pub(crate) fn field(error: &Value) -> String {
    let (field, reason) = (error["field"].as_str().unwrap_or_default(), error["reason"].as_str().unwrap_or_default());
    if field.is_empty() { reason.to_owned() } else { format!("{field}: {reason}") }
}

/// A path's or a query's part, everything but letters, digits and `-._~` as `%XX` (RFC 3986 §2.1).
pub(crate) fn encode(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names() {
        for id in ["70B3D57ED0000001", "70-B3-D5-7E-D0-00-00-01", "0190a3f2-7c1e-7d3a-9b1c-2f4e6a8c0d1e"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["acme", "decade", "70B3D57ED000000", "g0b3d57ed0000001", ""] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn the_operators_key_stays_on_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("operator.key"), "secret").unwrap();
        let place = Place::find(Some(directory.path()));
        let key = |url, given: Option<&str>| {
            Client::new(url, given.map(str::to_owned), &Trust::default(), &place).unwrap().key
        };
        for here in ["http://127.0.0.1:8080", "https://localhost/", "http://[::1]:1", "http://LOCALHOST:1"] {
            assert_eq!(key(here, None).as_deref(), Some("secret"), "{here}");
        }
        for other in ["http://192.0.2.1", "http://localhost@evil.example:80", "http://127.0.0.1.evil.example", "x y"] {
            assert_eq!(key(other, None), None, "{other}");
            assert_eq!(key(other, Some("given")).as_deref(), Some("given"));
        }
    }

    #[test]
    fn problems_name_the_fields() {
        let text = r#"{"detail":"copies: must be all","errors":[{"field":"copies","reason":"must be all"},
            {"field":"","reason":"b"}]}"#;
        assert_eq!(problem(422, text), "copies: must be all; b");
        assert_eq!(
            problem(404, r#"{"title":"Not Found","detail":"there is no such tenant"}"#),
            "there is no such tenant"
        );
        assert_eq!(problem(502, "<html>\u{1b}bad</html>"), "HTTP 502 <html>bad</html>");
        assert_eq!(problem(500, ""), "HTTP 500");
    }

    #[test]
    fn only_the_api_says_what_follows() {
        assert_eq!(next_of("</api/v1/x?page=AB>; rel=\"next\""), Some("/api/v1/x?page=AB"));
        for link in ["", "</api/v1/x>; rel=\"prev\"", "<https://elsewhere/api/>; rel=\"next\"", "/api/v1/x"] {
            assert_eq!(next_of(link), None, "{link}");
        }
    }

    #[test]
    fn what_is_not_plain_is_escaped() {
        assert_eq!(encode("a b/ü~"), "a%20b%2F%C3%BC~");
    }
}
