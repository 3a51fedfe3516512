//! What a durable stream kept, one message a line.
//!
//! ```text
//!   from, to, device, limit ─▶ page ─▶ lines of JSON, and `Link: <the same request with page=...>; rel="next"`
//! ```

use crate::auth::Who;
use crate::dataplane::{History, HistoryPage, Unavailable};
use crate::groups::number_of;
use crate::input::{Params, UidPath, own_eui};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::Shared;
use crate::time::instant;
use crate::view::{cursor, page_of_cursor};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::{Faults, Uid};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt::Write;
use utoipa::IntoParams;

/// Which messages. All are texts, so that each can be told to be wrong by its name.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryParams {
    /// Only messages of this time or later: RFC 3339, or Unix seconds.
    #[serde(default)]
    from: Option<String>,
    /// Only messages before this time.
    #[serde(default)]
    to: Option<String>,
    /// Only messages about the device with this DevEUI.
    #[serde(default)]
    device: Option<String>,
    /// Messages in one answer, 1 to 1000; 100 if absent. There may be fewer although more follow.
    #[serde(default)]
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// Which part: from the `Link` header of the answer before.
    #[serde(default)]
    page: Option<String>,
}

impl HistoryParams {
    fn check(&self) -> Result<History, Faults> {
        let mut faults = Faults::default();
        let from_us = faults.keep_if("from", self.from.as_deref(), instant).unwrap_or(0);
        let to_us = faults.keep_if("to", self.to.as_deref(), instant);
        if to_us.is_some_and(|to_us| to_us <= from_us) {
            faults.push("to", "must be after from");
        }
        let device = faults.keep_if("device", self.device.as_deref(), own_eui);
        let limit = faults.keep_if("limit", self.limit.as_deref(), |text| {
            let limit = text.parse().ok().filter(|limit| (1..=1000).contains(limit));
            limit.ok_or_else(|| "must be 1 to 1000".to_owned())
        });
        let page = faults.keep_if("page", self.page.as_deref(), page_of_cursor).unwrap_or_default();
        faults.none()?;
        // The contract's open end is 0.
        Ok(History { stream: 0, from_us, to_us: to_us.unwrap_or(0), device, page, limit: limit.unwrap_or(100) })
    }
}

/// Reads what a durable stream kept: one message a line, in the stream's format; if that is no JSON, each as
/// `{"Message": "..."}`.
#[utoipa::path(get, path = "/api/v1/streams/{id}/history", tag = "streams",
    params(("id" = String, Path, description = "The stream's id"), HistoryParams), responses(
    (status = 200, description = "Messages, in order per device; the Link header with rel=\"next\", if there is one, \
        leads to those that follow", body = String, content_type = "application/x-ndjson"),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn read(
    State(api): State<Shared>,
    who: Who,
    UidPath(id): UidPath,
    Params(params): Params<HistoryParams>,
) -> Result<Response, Problem> {
    let history = params.check().map_err(Problem::query)?;
    let history = History { stream: number_of(&api, who, id).await?, ..history };
    let page = api.dataplane.history(history.clone()).await.map_err(|error| match &error {
        Unavailable::Rejected(reason) if reason == "bad_page" => {
            let mut faults = Faults::default();
            faults.push("page", "must be of another answer's Link header");
            Problem::query(faults)
        }
        _ => error.into(),
    })?;
    let mut response = lines(&page).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if !page.next.is_empty()
        && let Ok(link) = HeaderValue::from_str(&next(id, &history, &page))
    {
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

fn lines(page: &HistoryPage) -> String {
    let mut lines = String::with_capacity(page.messages.iter().map(|message| message.len() + 1).sum());
    for message in &page.messages {
        let text = String::from_utf8_lossy(message);
        if is_json(&text) {
            // A line break can only stand between the tokens of JSON, where a blank does as well (RFC 8259 §2).
            lines.extend(text.chars().map(|char| if matches!(char, '\n' | '\r') { ' ' } else { char }));
        } else {
            lines.push_str(&serde_json::json!({ "Message": text }).to_string());
        }
        lines.push('\n');
    }
    lines
}

/// Whether a line of it says what it is: a bare number is more likely a line of CSV.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The way to the page that follows (RFC 8288).
fn next(stream: Uid, history: &History, page: &HistoryPage) -> String {
    let mut link = format!("</api/v1/streams/{stream}/history?limit={}", history.limit);
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    for (name, us) in [("from", history.from_us), ("to", history.to_us)] {
        if us != 0 {
            let _ = write!(link, "&{name}={}", seconds(us));
        }
    }
    if let Some(device) = history.device {
        let _ = write!(link, "&device={device}");
    }
    let _ = write!(link, "&page={}>; rel=\"next\"", cursor(&page.next));
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_line_of_json() {
        let cases: [(&[u8], &str); 6] = [
            (br#"{"Type":2,"Data":"01"}"#, r#"{"Type":2,"Data":"01"}"#),
            (b"{\n \"a\": \"\\n\"\r\n}", "{  \"a\": \"\\n\"  }"),
            (b"[1,2]", "[1,2]"),
            (b"17", r#"{"Message":"17"}"#),
            (b"a;\"b\"\n", r#"{"Message":"a;\"b\"\n"}"#),
            (b"{not\xFF", "{\"Message\":\"{not\u{FFFD}\"}"),
        ];
        for (message, line) in cases {
            let page = HistoryPage { messages: vec![message.to_vec()], ..HistoryPage::default() };
            assert_eq!(lines(&page), format!("{line}\n"));
        }
    }
}
