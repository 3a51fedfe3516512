//! Devices by the million: NDJSON or CSV in, a list of what failed out.
//!
//! Rows are upserted in batches, each a transaction, so that memory is bounded and a broken upload keeps what it said
//! before. A bad row costs itself only.
//!
//! ```text
//!   body chunks -> records (at most 64 KiB each) -> batches of 5000, or 4 MiB -> resolve, check, upsert -> commit -> push
//! ```

use crate::auth::Who;
use crate::dataplane::InForce;
use crate::devices::{AbpBody, DeviceBody, Keys, OtaaBody, Parts, device};
use crate::input::{Params, own_eui, parse};
use crate::openapi::Failed;
use crate::problem::{FieldProblem, Problem};
use crate::resource::refer;
use crate::state::{Shared, blocking};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::Eui64;
use csv_core::ReadRecordResult;
use futures_util::StreamExt;
use model::{Application, ApplicationId, Faults, Profile, ProfileId, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store::{Reader, Upserted, Writer};
use utoipa::{IntoParams, ToSchema};

/// Rows of one transaction, and the bytes of all of them.
const BATCH_COUNT: usize = 5000;
const BATCH_BYTES: usize = 4 << 20;
/// What is cut into rows before one looks whether a batch is full: short rows weigh far more than their bytes.
const PIECE_BYTES: usize = 64 << 10;
/// The longest row.
const ROW_BYTES_MAX: usize = 64 << 10;
/// Failed rows that are told, and the bytes of the telling; more are counted.
const TOLD_COUNT_MAX: usize = 10_000;
const TOLD_BYTES_MAX: usize = 4 << 20;
/// Devices that a dry run remembers to have found new. Beyond that, one in two batches counts as two.
const TRIED_COUNT_MAX: usize = 1 << 20;

/// How to import.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportParams {
    /// Checks everything and keeps nothing.
    #[serde(default)]
    dry_run: bool,
    /// The application's id, for rows that name none.
    #[serde(default)]
    application: Option<String>,
    /// The profile's id, for rows that name none.
    #[serde(default)]
    profile: Option<String>,
}

/// A row that was not imported.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FailedRow {
    /// Counts rows from 1; a CSV's header is no row.
    row: u64,
    /// Its DevEUI, if it has one.
    dev_eui: Option<String>,
    /// What is wrong with it.
    errors: Vec<FieldProblem>,
}

/// The last line of the answer.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Rows read.
    rows: u64,
    /// Devices that are new.
    created: u64,
    /// Devices that were different.
    updated: u64,
    /// Devices that were the same already.
    unchanged: u64,
    /// Rows that were not imported.
    failed: u64,
    /// Whether nothing was kept, because that was asked for.
    dry_run: bool,
    /// Whether everything is in force.
    applied: bool,
    /// The revision that has everything.
    revision: u64,
    /// Why it ended before the end of what was sent. What is counted was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    broke_off: Option<String>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    summary: &'a Summary,
}

/// Imports devices: each row creates one, or replaces the one with its DevEUI.
///
/// NDJSON: one device per line, as for creating one. CSV: a header line with any of dev_eui, join_eui, application,
/// profile, name, enabled, app_key, dev_addr, nwk_s_key, app_s_key, fcnt_up, fcnt_down. The answer is NDJSON: a line for
/// each row that failed (the first 10000, and 4 MiB), then `{"summary": ...}`.
#[utoipa::path(post, path = "/api/v1/devices/import", tag = "devices", params(ImportParams),
    request_body(content(("application/x-ndjson"), ("text/csv")), description = "The rows"), responses(
    (status = 200, description = "Lines of FailedRow, then one of Summary; what was imported is in force", body = String,
        content_type = "application/x-ndjson"),
    (status = 202, description = "The same; not yet in force", body = String, content_type = "application/x-ndjson"),
    (status = "4XX", response = Failed),
))]
pub(crate) async fn import(
    State(api): State<Shared>,
    who: Who,
    Params(params): Params<ImportParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    who.writer()?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let rows = match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-ndjson" | "application/jsonl" => Rows::Ndjson(Ndjson::default()),
        "text/csv" => Rows::Csv(Box::default()),
        _ => {
            let detail = "the body must be application/x-ndjson or text/csv";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let batch = Batch {
        who,
        defaults: (params.application, params.profile),
        dry_run: params.dry_run,
        summary: Summary { dry_run: params.dry_run, revision: api.store.revision(), ..Summary::default() },
        told: Vec::new(),
        known: Known::default(),
        tried: HashSet::new(),
    };
    let (Batch { mut summary, mut told, .. }, outcome) = all(&api, batch, rows, body).await?;
    if let Err(problem) = outcome {
        if summary.rows == 0 {
            return Err(problem);
        }
        // What was kept is kept: who sent it learns how much that is, and which rows failed.
        summary.broke_off = Some(problem.detail);
    }
    summary.applied =
        summary.dry_run || api.dataplane.in_force(summary.revision, api.options.patience).await == InForce::Yes;
    let line = serde_json::to_vec(&SummaryLine { summary: &summary }).unwrap_or_default();
    told.extend_from_slice(&line);
    told.push(b'\n');
    let status = if summary.applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, told).into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Takes everything in; also says what ended it early.
async fn all(
    api: &Shared,
    mut batch: Batch,
    mut rows: Rows,
    body: Body,
) -> Result<(Batch, Result<(), Problem>), Problem> {
    let mut waiting = Waiting::default();
    let mut outcome;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return Ok((batch, Err(Problem::new(StatusCode::BAD_REQUEST, "the upload broke off"))));
        };
        for piece in chunk.chunks(PIECE_BYTES) {
            outcome = rows.feed(piece, &mut waiting);
            if outcome.is_ok() && waiting.is_full() {
                (batch, waiting, outcome) = run(api, batch, waiting).await?;
            }
            if outcome.is_err() {
                return Ok((batch, outcome));
            }
        }
    }
    outcome = rows.finish(&mut waiting);
    if outcome.is_ok() {
        (batch, _, outcome) = run(api, batch, waiting).await?;
    }
    Ok((batch, outcome))
}

/// Writes what waits and tells the dataplane, on a thread that may block.
async fn run(api: &Shared, batch: Batch, waiting: Waiting) -> Result<(Batch, Waiting, Result<(), Problem>), Problem> {
    let shared = Arc::clone(api);
    blocking(move || {
        let (mut batch, mut waiting) = (batch, waiting);
        let outcome = waiting.rows.chunks_mut(BATCH_COUNT).try_for_each(|part| batch.write(&shared, part));
        waiting.rows.clear();
        waiting.bytes = 0;
        (batch, waiting, outcome)
    })
    .await
}

/// A row: a device, or why it is none.
struct Row(Result<DeviceBody, Problem>);

/// Rows that are to be written.
#[derive(Default)]
struct Waiting {
    rows: Vec<Row>,
    /// Those that they were cut out of.
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, row: Result<DeviceBody, Problem>, bytes: usize) {
        self.rows.push(Row(row));
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_COUNT || self.bytes >= BATCH_BYTES
    }
}

/// The state of an import between its batches.
struct Batch {
    who: Who,
    defaults: (Option<String>, Option<String>),
    dry_run: bool,
    summary: Summary,
    told: Vec<u8>,
    known: Known,
    /// Devices that a dry run found new in this batch or one before.
    tried: HashSet<Eui64>,
}

/// What ids in rows refer to. Valid within one transaction.
#[derive(Default)]
struct Known {
    applications: HashMap<String, Result<(TenantId, ApplicationId), String>>,
    profiles: HashMap<String, Result<(Option<TenantId>, ProfileId), String>>,
}

impl Batch {
    fn write(&mut self, api: &Shared, rows: &mut [Row]) -> Result<(), Problem> {
        self.known = Known::default();
        let before = self.summary.clone();
        let told_before = self.told.len();
        let written = api.store.write(|writer| {
            if self.dry_run {
                writer.only_try();
            }
            for Row(row) in rows.iter_mut() {
                self.summary.rows += 1;
                let row = std::mem::replace(row, Ok(DeviceBody::default()));
                let dev_eui = row.as_ref().ok().and_then(|body| body.dev_eui.clone());
                match row.and_then(|body| self.upsert(writer, body)) {
                    Ok(Upserted::Created) => self.summary.created += 1,
                    Ok(Upserted::Updated) => self.summary.updated += 1,
                    Ok(Upserted::Unchanged) => self.summary.unchanged += 1,
                    Err(problem) if problem.status >= 500 => return Err(problem),
                    Err(problem) => self.fail(dev_eui, problem),
                }
            }
            Ok(())
        });
        match written {
            Ok(written) => {
                self.summary.revision = written.revision;
                // Here, not where the handler waits: whoever hangs up ends that, and what is stored must be told.
                api.dataplane.committed(written.revision);
                Ok(())
            }
            Err(problem) => {
                // Nothing of this batch was kept.
                self.summary = before;
                self.told.truncate(told_before);
                Err(problem)
            }
        }
    }

    fn upsert(&mut self, writer: &mut Writer<'_>, body: DeviceBody) -> Result<Upserted, Problem> {
        let mut faults = Faults::default();
        let dev_eui = faults.keep("dev_eui", body.dev_eui.as_deref().map_or(Err("is missing".into()), own_eui));
        let Some(dev_eui) = dev_eui else { return Err(faults.into()) };
        let before = writer.device(dev_eui)?;
        if before.as_ref().is_some_and(|before| !self.who.sees(Some(before.value.tenant))) {
            return Err(Problem::field("dev_eui", "there is a device with this DevEUI already"));
        }
        let (application, profile) = self.refer(writer, body.application, body.profile, &mut faults);
        let parts = Parts { join_eui: body.join_eui, name: body.name, enabled: body.enabled, application, profile };
        let keys = Keys { otaa: body.otaa, abp: body.abp };
        let value = device(parts, keys, before.as_ref().map(|before| &before.value), faults)?;
        let upserted = writer.upsert_device(dev_eui, &value, before.as_ref())?;
        // Of a dry run nothing is left for the next batch to find.
        let is_known = self.dry_run && upserted == Upserted::Created && self.tried.contains(&dev_eui);
        if self.dry_run && self.tried.len() < TRIED_COUNT_MAX {
            self.tried.insert(dev_eui);
        }
        Ok(if is_known { Upserted::Updated } else { upserted })
    }

    fn refer(
        &mut self,
        reader: &Reader<'_>,
        application: Option<String>,
        profile: Option<String>,
        faults: &mut Faults,
    ) -> (Option<(TenantId, ApplicationId)>, Option<ProfileId>) {
        let Self { who, known, defaults, .. } = self;
        let application = application.or_else(|| defaults.0.clone()).ok_or_else(|| "is missing".to_owned());
        let application = application.and_then(|text| {
            let look = |text: &String| {
                refer::<Application>(reader, who, text).map(|found| (found.value.tenant, found.id.number))
            };
            known.applications.entry(text).or_insert_with_key(look).clone()
        });
        let profile = profile.or_else(|| defaults.1.clone()).ok_or_else(|| "is missing".to_owned());
        let profile = profile.and_then(|text| {
            let look =
                |text: &String| refer::<Profile>(reader, who, text).map(|found| (found.value.tenant, found.id.number));
            known.profiles.entry(text).or_insert_with_key(look).clone()
        });
        let application = faults.keep("application", application);
        let profile = faults.keep("profile", profile);
        if let (Some((tenant, _)), Some((Some(owner), _))) = (application, profile)
            && owner != tenant
        {
            faults.push("profile", "belongs to another tenant");
        }
        (application, profile.map(|(_, id)| id))
    }

    fn fail(&mut self, dev_eui: Option<String>, problem: Problem) {
        self.summary.failed += 1;
        if self.summary.failed > TOLD_COUNT_MAX as u64 {
            return;
        }
        let errors = if problem.errors.is_empty() {
            vec![FieldProblem { field: String::new(), reason: problem.detail }]
        } else {
            problem.errors
        };
        let row = FailedRow { row: self.summary.rows, dev_eui, errors };
        let line = serde_json::to_vec(&row).unwrap_or_default();
        if self.told.len() + line.len() < TOLD_BYTES_MAX {
            self.told.extend(line);
            self.told.push(b'\n');
        }
    }
}

/// Cuts what comes in into rows.
enum Rows {
    Ndjson(Ndjson),
    Csv(Box<Csv>),
}

impl Rows {
    fn feed(&mut self, chunk: &[u8], out: &mut Waiting) -> Result<(), Problem> {
        match self {
            Self::Ndjson(rows) => {
                rows.feed(chunk, out);
                Ok(())
            }
            Self::Csv(rows) => rows.feed(chunk, out),
        }
    }

    fn finish(&mut self, out: &mut Waiting) -> Result<(), Problem> {
        match self {
            Self::Ndjson(rows) => rows.end(out),
            // An empty chunk is the end to the CSV reader.
            Self::Csv(rows) => rows.feed(&[], out)?,
        }
        Ok(())
    }
}

fn too_long() -> Problem {
    Problem::field("row", format!("has more than {ROW_BYTES_MAX} bytes"))
}

#[derive(Default)]
struct Ndjson {
    line: Vec<u8>,
    /// Whether the line is one that only its end is looked for.
    is_too_long: bool,
}

impl Ndjson {
    fn feed(&mut self, mut chunk: &[u8], out: &mut Waiting) {
        while let Some(at) = chunk.iter().position(|byte| *byte == b'\n') {
            self.add(&chunk[..at]);
            chunk = &chunk[at + 1..];
            self.end(out);
        }
        self.add(chunk);
    }

    fn add(&mut self, part: &[u8]) {
        self.is_too_long |= self.line.len() + part.len() > ROW_BYTES_MAX;
        if self.is_too_long {
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end(&mut self, out: &mut Waiting) {
        if std::mem::take(&mut self.is_too_long) {
            out.push(Err(too_long()), 0);
        } else if !self.line.trim_ascii().is_empty() {
            out.push(parse(&self.line), self.line.len());
        }
        self.line.clear();
    }
}

const COLUMNS: [&str; 12] = [
    "dev_eui",
    "join_eui",
    "application",
    "profile",
    "name",
    "enabled",
    "app_key",
    "dev_addr",
    "nwk_s_key",
    "app_s_key",
    "fcnt_up",
    "fcnt_down",
];

/// RFC 4180, as `csv-core` reads it.
struct Csv {
    reader: csv_core::Reader,
    text: Vec<u8>,
    text_count: usize,
    ends: [usize; 64],
    end_count: usize,
    /// Why the record, of which only the end is looked for, is none.
    fault: Option<Problem>,
    /// By field of the file, its column.
    header: Option<Vec<usize>>,
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            reader: csv_core::Reader::new(),
            text: vec![0; ROW_BYTES_MAX],
            text_count: 0,
            ends: [0; 64],
            end_count: 0,
            fault: None,
            header: None,
        }
    }
}

impl Csv {
    fn feed(&mut self, mut chunk: &[u8], out: &mut Waiting) -> Result<(), Problem> {
        loop {
            let (result, read, written, ended) =
                self.reader.read_record(chunk, &mut self.text[self.text_count..], &mut self.ends[self.end_count..]);
            chunk = &chunk[read..];
            self.text_count += written;
            self.end_count += ended;
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
                ReadRecordResult::OutputFull => self.drop_record(too_long())?,
                ReadRecordResult::OutputEndsFull => {
                    self.drop_record(Problem::field("row", format!("has more than {} fields", self.ends.len())))?;
                }
                ReadRecordResult::Record => {
                    if let Some(row) = self.record()? {
                        out.push(row, self.text_count);
                    }
                    self.text_count = 0;
                    self.end_count = 0;
                }
            }
        }
    }

    /// Forgets what has been read of a record. Without its header a CSV is none.
    fn drop_record(&mut self, fault: Problem) -> Result<(), Problem> {
        (self.text_count, self.end_count) = (0, 0);
        match self.header {
            Some(_) => self.fault = Some(fault),
            None => return Err(fault),
        }
        Ok(())
    }

    fn record(&mut self) -> Result<Option<Result<DeviceBody, Problem>>, Problem> {
        if let Some(fault) = self.fault.take() {
            return Ok(Some(Err(fault)));
        }
        let mut fields = Vec::with_capacity(self.end_count);
        let mut start = 0;
        for end in &self.ends[..self.end_count] {
            fields.push(std::str::from_utf8(&self.text[start..*end]).map(str::trim));
            start = *end;
        }
        let Some(header) = &self.header else {
            self.header = Some(header_of(&fields)?);
            return Ok(None);
        };
        Ok(Some(device_of(header, &fields)))
    }
}

type Field<'a> = Result<&'a str, std::str::Utf8Error>;

fn header_of(fields: &[Field<'_>]) -> Result<Vec<usize>, Problem> {
    let column = |field: &Field<'_>| {
        let name = field.unwrap_or("").trim_start_matches('\u{FEFF}').to_ascii_lowercase();
        COLUMNS.iter().position(|column| *column == name).ok_or_else(|| {
            let detail = format!("the CSV's header names an unknown column {name:?}; there are {}", COLUMNS.join(", "));
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    };
    fields.iter().map(column).collect()
}

fn device_of(header: &[usize], fields: &[Field<'_>]) -> Result<DeviceBody, Problem> {
    let mut faults = Faults::default();
    let mut columns: [Option<String>; COLUMNS.len()] = Default::default();
    if fields.len() != header.len() {
        return Err(Problem::field("row", format!("has {} fields, the header has {}", fields.len(), header.len())));
    }
    for (column, field) in header.iter().zip(fields) {
        match field {
            Ok("") => {}
            Ok(text) => columns[*column] = Some((*text).to_owned()),
            Err(_) => faults.push(COLUMNS[*column], "is not UTF-8"),
        }
    }
    let [dev_eui, join_eui, application, profile, name, enabled, app_key, dev_addr, nwk, app, fcnt_up, fcnt_down] =
        columns;
    let enabled = faults.keep_if("enabled", enabled, |text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    });
    let count = |text: String| text.parse::<u32>().map_err(|_| "must be 0 to 4294967295".to_owned());
    let fcnt_up = faults.keep_if("fcnt_up", fcnt_up, count);
    let fcnt_down = faults.keep_if("fcnt_down", fcnt_down, count);
    let is_abp = dev_addr.is_some() || nwk.is_some() || app.is_some();
    let abp = is_abp.then(|| AbpBody {
        dev_addr: dev_addr.unwrap_or_default(),
        nwk_s_key: nwk.unwrap_or_default(),
        app_s_key: app.unwrap_or_default(),
        fcnt_up: fcnt_up.unwrap_or(0),
        fcnt_down: fcnt_down.unwrap_or(0),
    });
    faults.none()?;
    let otaa = app_key.map(|app_key| OtaaBody { app_key });
    Ok(DeviceBody { dev_eui, join_eui, application, profile, name, enabled: enabled.unwrap_or(true), otaa, abp })
}
