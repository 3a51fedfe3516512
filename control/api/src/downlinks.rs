//! Downlinks: handed to the dataplane, which owns the queues.

use crate::auth::Who;
use crate::dataplane::{Enqueue, Query, Queued};
use crate::devices::{QueuedView, find, queued};
use crate::input::{EuiPath, Json};
use crate::openapi::Failed;
use crate::problem::Problem;
use crate::state::Shared;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Faults;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// The longest FRMPayload of any data rate of any region.
const PAYLOAD_BYTES_MAX: usize = 242;

/// A downlink.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct NewDownlink {
    /// 1 to 223.
    fport: u32,
    /// FRMPayload in the clear, hexadecimal, at most 242 bytes.
    #[schema(example = "01FF")]
    data: String,
    /// Whether the device must acknowledge it.
    #[serde(default)]
    confirmed: bool,
    /// Given up if it was not sent within so many seconds; never if absent.
    #[serde(default)]
    expires_in_s: Option<u32>,
}

/// A downlink that waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AcceptedDownlink {
    /// Events about it carry this number as their `DownlinkId`. It is below 2^53, so that every JSON reader has it whole.
    #[schema(maximum = 9_007_199_254_740_991_u64, example = 1_838_407_238_843_416_u64)]
    id: u64,
}

/// A device's queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DownlinkQueue {
    /// The next first.
    items: Vec<QueuedView>,
}

/// What was removed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FlushedQueue {
    /// Downlinks that were in the queue.
    count: u32,
}

/// Queues a downlink for a device.
#[utoipa::path(post, path = "/api/v1/devices/{dev_eui}/downlinks", tag = "downlinks", request_body = NewDownlink,
    params(("dev_eui" = String, Path, description = "Its DevEUI")), responses(
    (status = 201, description = "It waits", body = AcceptedDownlink),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn create(
    State(api): State<Shared>,
    who: Who,
    EuiPath(dev_eui): EuiPath,
    Json(body): Json<NewDownlink>,
) -> Result<Response, Problem> {
    who.writer()?;
    let mut faults = Faults::default();
    let fport = u8::try_from(body.fport).ok().filter(|fport| (1..=223).contains(fport));
    let fport = faults.keep("fport", fport.ok_or_else(|| format!("must be 1 to 223, is {}", body.fport)));
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let count = base::hex::decode(body.data.as_bytes(), &mut payload).map_err(|error| match error {
        base::hex::HexError::TooLong => format!("must have at most {PAYLOAD_BYTES_MAX} bytes"),
        _ => "must be pairs of hexadecimal digits".to_owned(),
    });
    let count = faults.keep("data", count);
    let (Some(fport), Some(count)) = (fport, count) else { return Err(faults.into()) };
    api.read(move |reader| find(reader, &who, dev_eui).map(|_| ())).await?;
    let expires_us = body.expires_in_s.map_or(0, |seconds| now_us() + u64::from(seconds) * 1_000_000);
    let payload = payload[..count].to_vec();
    let downlink = Enqueue { dev_eui, fport, confirmed: body.confirmed, payload, expires_us };
    match api.dataplane.enqueue(downlink).await? {
        Queued::Accepted(id) => Ok((StatusCode::CREATED, axum::Json(AcceptedDownlink { id })).into_response()),
        Queued::Rejected(reason) => Err(match reason.as_str() {
            "too_long" => Problem::field("data", "is too long for the device's data rate"),
            "bad_port" => Problem::field("fport", "must be 1 to 223"),
            _ => Problem::new(StatusCode::CONFLICT, format!("the dataplane did not take it: {reason}")),
        }),
    }
}

/// Lists the downlinks that wait for a device.
#[utoipa::path(get, path = "/api/v1/devices/{dev_eui}/downlinks", tag = "downlinks",
    params(("dev_eui" = String, Path, description = "Its DevEUI")), responses(
    (status = 200, description = "The queue", body = DownlinkQueue),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn list(State(api): State<Shared>, who: Who, EuiPath(dev_eui): EuiPath) -> Result<Response, Problem> {
    api.read(move |reader| find(reader, &who, dev_eui).map(|_| ())).await?;
    let answer = api.dataplane.query(Query { devices: vec![dev_eui], ..Query::default() }).await?;
    let queue = answer.devices.into_iter().next().map(|device| device.queue).unwrap_or_default();
    Ok(axum::Json(DownlinkQueue { items: queued(queue) }).into_response())
}

/// Empties a device's queue.
#[utoipa::path(delete, path = "/api/v1/devices/{dev_eui}/downlinks", tag = "downlinks",
    params(("dev_eui" = String, Path, description = "Its DevEUI")), responses(
    (status = 200, description = "It is empty", body = FlushedQueue),
    (status = "4XX", response = Failed),
    (status = "5XX", response = Failed),
))]
pub(crate) async fn flush(State(api): State<Shared>, who: Who, EuiPath(dev_eui): EuiPath) -> Result<Response, Problem> {
    who.writer()?;
    api.read(move |reader| find(reader, &who, dev_eui).map(|_| ())).await?;
    let count = api.dataplane.flush(dev_eui).await?;
    Ok(axum::Json(FlushedQueue { count }).into_response())
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
