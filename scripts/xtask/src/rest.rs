//! The REST API as far as the demonstration needs it.

use serde_json::Value;
use std::time::Duration;

/// The API at an address, with a key.
pub(crate) struct Api {
    base: String,
    key: String,
    agent: ureq::Agent,
}

impl Api {
    pub(crate) fn new(address: &str, key: &str) -> Self {
        let configuration = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = configuration.timeout_global(Some(Duration::from_secs(60))).build().into();
        Self { base: format!("http://{address}/api/v1"), key: key.into(), agent }
    }

    /// What lies at `path`, or `None` if nothing does.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>, String> {
        match self.call("GET", path, None)? {
            (404, _) => Ok(None),
            (_, value) => Ok(Some(value)),
        }
    }

    /// The item of a list whose `name` is this one.
    pub(crate) fn named(&self, path: &str, name: &str) -> Result<Option<Value>, String> {
        let mut after = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let (_, list) = self.call("GET", &format!("{path}{join}limit=1000{after}"), None)?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let found = items.into_iter().find(|item| item["name"] == name);
            match list["next"].as_str() {
                Some(next) if found.is_none() => after = format!("&after={next}"),
                _ => return Ok(found),
            }
        }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        Ok(self.call("POST", path, Some(body))?.1)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value, String> {
        Ok(self.call("PATCH", path, Some(body))?.1)
    }

    /// Imports devices, one JSON object a line. Returns the last line of the answer.
    pub(crate) fn import(&self, rows: &str) -> Result<Value, String> {
        let path = format!("{}/devices/import", self.base);
        let answer = self.agent.post(&path).header("Authorization", format!("Bearer {}", self.key));
        let answer = answer.header("Content-Type", "application/x-ndjson").send(rows);
        let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
        let text = text.map_err(|error| format!("POST {path}: {error}"))?;
        serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(|_| format!("POST {path}: {text}"))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), String> {
        self.call("DELETE", path, None).map(|_| ())
    }

    /// The answer of a call that succeeded or found nothing.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let failed = |reason: &dyn std::fmt::Display| format!("{method} {}{path}: {reason}", self.base);
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", "application/json");
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_string()).map_err(|error| failed(&error))?),
            None => self.agent.run(request.body(()).map_err(|error| failed(&error))?),
        };
        let mut answer = answer.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(|error| failed(&error))?;
        let nothing_there = status == 404 && method == "GET";
        if !nothing_there && !(200..300).contains(&status) {
            return Err(failed(&format!("{status} {text}")));
        }
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}
