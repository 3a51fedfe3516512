//! `/metrics` of the control plane (Prometheus text format 0.0.4).

use crate::dataplane::{Disk, JournalState, Query};
use crate::problem::Problem;
use crate::state::Shared;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::Timing;

/// How long a scrape waits for the dataplane to say how its journals do.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// Requests by method, route and status.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(String, String, u16), u64>>);

/// Connections to the API's listener.
#[derive(Debug, Default)]
pub struct Connections {
    /// That are open.
    pub open: AtomicU64,
    /// That were accepted.
    pub accepted: AtomicU64,
    /// That were the next after as many as may be had been open.
    pub waited: AtomicU64,
}

/// Counts a request and says in the log what was asked, without its query and headers: they may hold secrets.
pub(crate) async fn count(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    // The route, not the path: paths are without number.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(method, path, status, ms = start.elapsed().as_millis() as u64, "request");
    *api.requests.0.lock().unwrap_or_else(PoisonError::into_inner).entry((method, route, status)).or_default() += 1;
    response
}

/// Says how it is going, in numbers.
pub(crate) async fn metrics(State(api): State<Shared>) -> Result<Response, Problem> {
    let mut out = String::new();
    let requests = api.requests.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    head(&mut out, "trunkline_control_requests_total", "counter", "Requests by method, route and status.");
    for ((method, route, status), count) in requests {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        let _ = writeln!(out, "trunkline_control_requests_total{{{labels}}} {count}");
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let Connections { open, accepted, waited } = &*api.connections;
    let counters = [
        ("trunkline_control_connections_total", "Connections that were accepted.", count(accepted)),
        (
            "trunkline_control_connections_waited_total",
            "Connections that were the next after all places had been taken.",
            count(waited),
        ),
    ];
    for (name, help, value) in counters {
        head(&mut out, name, "counter", help);
        let _ = writeln!(out, "{name} {value}");
    }
    let (reads, writes) = api.store.timings();
    let name = "trunkline_control_store_seconds";
    head(&mut out, name, "histogram", "Time that the store took, by operation.");
    histogram(&mut out, name, "read", &reads);
    histogram(&mut out, name, "write", &writes);
    let link = api.dataplane.status();
    let stored = api.store.revision();
    let gauges = [
        ("trunkline_control_revision_stored", "The newest stored revision.", stored),
        ("trunkline_control_revision_in_force", "The revision that is in force on every shard.", link.revision),
        (
            "trunkline_control_revisions_pending",
            "Revisions that are stored and not yet in force.",
            stored.saturating_sub(link.revision),
        ),
        ("trunkline_control_dataplane_connected", "Whether a dataplane is connected.", u64::from(link.connected)),
        ("trunkline_control_dataplane_shards", "Shards of the dataplane.", link.shards.len() as u64),
        ("trunkline_control_snapshot", "Whether a snapshot is on its way.", u64::from(link.snapshot)),
        (
            "trunkline_control_refused",
            "Whether the dataplane refused the last change.",
            u64::from(link.refused.is_some()),
        ),
        ("trunkline_control_connections", "Connections that are open.", count(open)),
        ("trunkline_control_uptime_seconds", "Since the start.", api.started.elapsed().as_secs()),
    ];
    for (name, help, value) in gauges {
        head(&mut out, name, "gauge", help);
        let _ = writeln!(out, "{name} {value}");
    }
    journals(&mut out, &journal_states(&api).await);
    let mut response = out.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// None while the dataplane is away, cannot answer, or does not answer in time.
async fn journal_states(api: &Shared) -> Vec<JournalState> {
    let asked = api.dataplane.query(Query { journal: true, ..Query::default() });
    match tokio::time::timeout(JOURNAL_PATIENCE, asked).await {
        Ok(Ok(answer)) => answer.journal,
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn journals(out: &mut String, states: &[JournalState]) {
    type Gauge = (&'static str, &'static str, fn(&JournalState) -> u64);
    let name = "trunkline_control_journal_disk";
    head(out, name, "gauge", "Whether a journal's disk is in this state, by shard.");
    for (state, disk) in states.iter().flat_map(|state| Disk::ALL.map(|disk| (state, disk))) {
        let labels = format!("shard=\"{}\",state=\"{}\"", state.shard, disk.name());
        let _ = writeln!(out, "{name}{{{labels}}} {}", u8::from(state.disk == disk));
    }
    let gauges: [Gauge; 3] = [
        ("trunkline_control_journal_bytes", "Bytes that a journal's segments take.", |state| state.bytes),
        ("trunkline_control_journal_free_bytes", "Bytes that a journal's file system has left.", |state| {
            state.free_bytes
        }),
        ("trunkline_control_journal_segments", "Segments of a journal.", |state| state.segments.into()),
    ];
    for (name, help, value) in gauges {
        head(out, name, "gauge", help);
        for state in states {
            let _ = writeln!(out, "{name}{{shard=\"{}\"}} {}", state.shard, value(state));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn histogram(out: &mut String, name: &str, operation: &str, timing: &Timing) {
    for (bound_us, count) in &timing.at_most {
        let le = *bound_us as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{operation=\"{operation}\",le=\"{le}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{operation=\"{operation}\",le=\"+Inf\"}} {}", timing.count);
    let _ = writeln!(out, "{name}_sum{{operation=\"{operation}\"}} {}", timing.sum_us as f64 / 1e6);
    let _ = writeln!(out, "{name}_count{{operation=\"{operation}\"}} {}", timing.count);
}
