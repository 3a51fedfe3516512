//! The REST API, as a script of a customer would use it: JSON in, JSON out, an API key.

use serde_json::Value;
use std::time::Duration;

/// An answer: its status, the headers that matter, its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// The API with one key.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    key: String,
    agent: ureq::Agent,
}

impl Api {
    /// The API on this loopback port.
    pub(crate) fn new(port: u16, key: &str) -> Self {
        let configuration = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = configuration.timeout_global(Some(Duration::from_secs(20))).build().into();
        Self { base: format!("http://127.0.0.1:{port}"), key: key.into(), agent }
    }

    /// The same API with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// Any request. `path` begins at the root.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same while the server may be away.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.key));
        }
        if body.is_some() && headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body.to_owned())?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, content_type) = (header("etag"), header("content-type").unwrap_or_default());
        let text = response.body_mut().read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), etag, content_type, text })
    }

    /// `GET`, which succeeds.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.succeed("GET", path, None)
    }

    /// `POST`, which succeeds.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.succeed("POST", path, Some(body))
    }

    /// `DELETE`, which succeeds.
    #[track_caller]
    pub(crate) fn delete(&self, path: &str) {
        let answer = self.send("DELETE", path, &[], None);
        assert!((200..300).contains(&answer.status), "DELETE {path}: {answer:?}");
    }

    #[track_caller]
    fn succeed(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = body.map(Value::to_string);
        let answer = self.send(method, path, &[], text.as_deref());
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.json()
    }
}
