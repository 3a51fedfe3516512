//! The journals: what keeps durable streams and device state on the disk, shard by shard.

use crate::auth::Who;
use crate::dataplane::{JournalState, Query};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::Shared;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The journal of one shard.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct JournalView {
    /// Which.
    shard: u32,
    /// How its disk does: healthy, full, failing, read_only or unknown.
    #[schema(example = "healthy")]
    disk: String,
    /// Bytes that its segments take.
    bytes: u64,
    /// Bytes that its file system has left.
    free_bytes: u64,
    /// Its segments.
    segments: u32,
    /// Records that were stored since the start, as what follows.
    stored_records: u64,
    /// Their bytes.
    stored_bytes: u64,
    /// Writes and fdatasyncs that failed.
    failed_writes: u64,
    /// Records that could not be read and were passed over.
    corrupt_records: u64,
    /// What is wrong, for people; empty while the disk is healthy.
    detail: String,
}

/// The journals of all shards.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Journals {
    items: Vec<JournalView>,
}

fn view(state: JournalState) -> JournalView {
    JournalView {
        shard: state.shard,
        disk: state.disk.name().into(),
        bytes: state.bytes,
        free_bytes: state.free_bytes,
        segments: state.segments,
        stored_records: state.stored_records,
        stored_bytes: state.stored_bytes,
        failed_writes: state.failed_writes,
        corrupt_records: state.corrupt_records,
        detail: state.detail,
    }
}

/// Says how the journals do; for operators.
#[utoipa::path(get, path = "/api/v1/journal", tag = "status", responses(
    (status = 200, description = "The journal of each shard", body = Journals),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn read(State(api): State<Shared>, who: Who) -> Result<Response, Problem> {
    who.operator()?;
    let answer = api.dataplane.query(Query { journal: true, ..Query::default() }).await?;
    let mut items: Vec<_> = answer.journal.into_iter().map(view).collect();
    items.sort_by_key(|journal| journal.shard);
    Ok(axum::Json(Journals { items }).into_response())
}
