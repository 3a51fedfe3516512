//! `trunkline-dataplane journal inspect | verify | export`: a data directory's journal, read without serving from it.
//!
//! Never writes, and needs nobody to run; whoever does is not disturbed. Tells counts, times and places, and messages as
//! their streams say them; never a session's keys.
//!
//! ```text
//!   inspect   a line for each segment, the checkpoint          0
//!   verify    a line for each damage, one for all of it        0, or 1 if anything is damaged
//!   export    a line for each message that is kept             0
//! ```

use crate::plan_log::PlanLog;
use base::{Eui64, UnixMicros};
use clap::{Args, Subcommand};
use contract::v1;
use event::Event;
use files::Directory;
use journal::Position;
use keeper::{CheckpointReport, Fault, Offline, Query, SegmentReport};
use plan::{Config, Delivery, Plan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The longest rendered message, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Messages that are read at once.
const PAGE_COUNT: usize = 1000;

/// A journal, read without serving from it
#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// Shows what is in each segment, and in the checkpoint
    Inspect(Inspect),
    /// Checks every checksum; exit code 1 if anything is damaged
    #[command(
        after_help = "A torn tail is no damage: it is what a process was writing when it ended, and nobody was told\n\
        that it is kept."
    )]
    Verify(Source),
    /// Writes the messages that are kept, one JSON a line, as the API's history does
    #[command(after_help = "Example:\n  trunkline-dataplane journal export --data-dir .data/dataplane --stream live \
        --since 2026-01-01T00:00:00Z")]
    Export(Export),
}

/// Where the journal is
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The dataplane's data directory: the stored plan and the folder `journal` are in it
    #[arg(long, env = "TRUNKLINE_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    source: Source,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    source: Source,
    /// Only of this stream, by its name or number, in its format; else of all that are durable, as JSON
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only about the device with this DevEUI
    #[arg(long, value_name = "DEVEUI")]
    device: Option<Eui64>,
    /// Only of this time or later: RFC 3339, or Unix seconds
    #[arg(long, value_name = "TIME")]
    since: Option<UnixMicros>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<UnixMicros>,
}

/// Does it. Says whether all was well.
///
/// # Errors
/// One line for people.
pub(crate) fn run(journal: &Journal) -> Result<bool, String> {
    run_to(journal, &mut BufWriter::new(io::stdout().lock()))
}

fn run_to(journal: &Journal, out: &mut impl Write) -> Result<bool, String> {
    let source = match journal {
        Journal::Inspect(inspect) => &inspect.source,
        Journal::Verify(source) => source,
        Journal::Export(export) => &export.source,
    };
    let dir = source.data_dir.join("journal");
    let say = |reason: &dyn core::fmt::Display| format!("journal {}: {reason}", dir.display());
    if is_served(&dir) {
        let seen = "what it writes or removes meanwhile may be missing here, and what it writes now may seem torn";
        warn(&say(&format_args!("a dataplane runs on it: {seen}")));
    }
    let files = Directory::open(&dir).map_err(|error| say(&error))?;
    let mut offline = Offline::open(files).map_err(|fault| say(&fault))?;
    let done = match journal {
        Journal::Inspect(inspect) => show(&mut offline, &Streams::read(&source.data_dir), &dir, inspect.json, out),
        Journal::Verify(_) => verify(&mut offline, &dir, out),
        Journal::Export(asked) => export(&mut offline, &Streams::read(&source.data_dir), asked, out),
    };
    match done.and_then(|well| Ok(out.flush().map(|()| well)?)) {
        // Whoever reads has had enough.
        Err(Stop::Host(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(Stop::Host(error)) => Err(format!("standard output: {error}")),
        Err(Stop::Journal(fault)) => Err(say(&fault)),
        Err(Stop::Misused(reason)) => Err(reason),
        Ok(well) => Ok(well),
    }
}

/// Why it ends early.
enum Stop {
    Host(io::Error),
    Journal(Fault),
    Misused(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Journal(fault)
    }
}

fn warn(text: &str) {
    // What cannot be said keeps nobody from reading.
    let _said = writeln!(io::stderr(), "trunkline-dataplane: {text}");
}

/// Whether a dataplane holds the directory, see `serve`.
fn is_served(dir: &Path) -> bool {
    std::fs::File::open(dir).is_ok_and(|itself| {
        let shared = rustix::fs::FlockOperation::NonBlockingLockShared;
        rustix::fs::flock(&itself, shared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// The streams of the stored plan.
#[derive(Default)]
struct Streams {
    plan: Plan,
    names: BTreeMap<u32, String>,
}

impl Streams {
    /// Without a plan that can be read, streams are not known, which is said.
    fn read(data_dir: &Path) -> Self {
        match Self::try_read(data_dir) {
            Ok(streams) => streams,
            Err(reason) => {
                warn(&format!("stored plan in {}: {reason}; streams are not known", data_dir.display()));
                Self::default()
            }
        }
    }

    fn try_read(data_dir: &Path) -> Result<Self, String> {
        let Some(mut log) = PlanLog::open_to_read(data_dir).map_err(|fault| fault.to_string())? else {
            return Err("there is none".into());
        };
        let mut changes = Vec::new();
        let replayed = log.replay(|change| {
            use v1::change::Body;
            if !matches!(change.body, Some(Body::Device(_) | Body::Gateway(_))) {
                changes.push(change);
            }
        });
        replayed.map_err(|fault| fault.to_string())?;
        let mut config = Config::default();
        crate::control::apply_what_can_be(&mut config, &changes, &mut Vec::new());
        let plan = config.compile(log.revision).map_err(|refusal| refusal.to_string())?;
        let names =
            plan.streams.iter().filter_map(|stream| Some((stream.id, config.stream(stream.id)?.name.to_string())));
        Ok(Self { names: names.collect(), plan })
    }

    /// The index in the plan of the stream with this name or number.
    fn index(&self, text: &str) -> Result<u32, String> {
        let by_name = self.names.iter().filter(|(_, name)| *name == text).map(|(id, _)| *id);
        let ids: Vec<u32> = by_name.collect();
        let id = match &ids[..] {
            [id] => *id,
            [] => text.parse().map_err(|_| format!("--stream {text}: the stored plan has no stream of that name"))?,
            several => {
                let all: Vec<String> = several.iter().map(u32::to_string).collect();
                return Err(format!("--stream {text}: several have that name; give the number: {}", all.join(", ")));
            }
        };
        self.plan
            .stream_of_id(id)
            .ok_or_else(|| format!("--stream {text}: the stored plan has no stream of that number"))
    }

    fn name(&self, id: u32) -> String {
        // A terminal obeys control characters.
        let name = self.names.get(&id).map(|name| name.chars().filter(|char| !char.is_control()).collect());
        name.unwrap_or_else(|| format!("stream {id}"))
    }
}

fn covering(plan: &Plan) -> impl FnMut(&Event<'_>, &mut dyn FnMut(u32)) + '_ {
    move |event, each| plan.covering_durable(event, |_, stream| each(stream.id))
}

fn show(
    offline: &mut Offline<Directory>,
    streams: &Streams,
    dir: &Path,
    as_json: bool,
    out: &mut impl Write,
) -> Result<bool, Stop> {
    let checkpoint = offline.checkpoint()?;
    let mut segments = Vec::new();
    offline.segments(&mut covering(&streams.plan), |report| segments.push(report.clone()))?;
    if as_json {
        let damages = offline.damages.iter();
        let value = json!({
            "journal": dir.display().to_string(),
            "segments": segments.iter().map(|segment| segment_json(segment, streams)).collect::<Vec<_>>(),
            "checkpoint": checkpoint_json(&checkpoint),
            "damages": damages
                .map(|damage| json!({ "file": damage.file, "offset": damage.offset, "what": damage.what }))
                .collect::<Vec<_>>(),
            "left_over": offline.left_over,
        });
        writeln!(out, "{value:#}")?;
        return Ok(true);
    }
    table(&segments, streams, out)?;
    match checkpoint.generation {
        0 => writeln!(out, "no checkpoint")?,
        generation => writeln!(
            out,
            "checkpoint {generation}: {} bytes, stands for {} of these segments; {}",
            checkpoint.bytes,
            checkpoint.segments,
            counts(&checkpoint.kinds)
        )?,
    }
    for damage in &offline.damages {
        writeln!(out, "damaged: {}", place(damage))?;
    }
    for file in &offline.left_over {
        writeln!(out, "left over, of no use: {file}")?;
    }
    Ok(true)
}

fn counts(kinds: &BTreeMap<&'static str, u64>) -> String {
    let all: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if all.is_empty() { "no records".into() } else { all.join(", ") }
}

fn table(segments: &[SegmentReport], streams: &Streams, out: &mut impl Write) -> io::Result<()> {
    let titles = ["EPOCH", "SHARD", "SEGMENT", "STATE", "KEPT", "BYTES", "OF", "FIRST", "LAST", "RECORDS", "STREAMS"];
    let mut rows: Vec<[String; 11]> = vec![titles.map(String::from)];
    for segment in segments {
        let info = &segment.info;
        let at = |at: UnixMicros| if info.holds_records() { at.rfc3339() } else { "-".into() };
        let of = |(id, used): (&u32, &keeper::Used)| format!("{} {}", streams.name(*id), used.messages);
        let state = match segment.torn_bytes {
            0 => segment.condition.name().into(),
            torn => format!("{}, {torn} torn", segment.condition.name()),
        };
        rows.push([
            info.name.epoch.to_string(),
            info.name.log.to_string(),
            info.name.number.to_string(),
            state,
            if segment.is_covered { "checkpoint" } else { "-" }.into(),
            segment.used_bytes.to_string(),
            info.bytes.to_string(),
            at(info.first_at),
            at(info.last_at),
            counts(&segment.kinds),
            segment.streams.iter().map(of).collect::<Vec<_>>().join(", "),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 11] = core::array::from_fn(width);
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn segment_json(segment: &SegmentReport, streams: &Streams) -> Value {
    let info = &segment.info;
    let at = |at: UnixMicros| info.holds_records().then(|| at.rfc3339());
    let of = |(id, used): (&u32, &keeper::Used)| {
        let name = streams.names.get(id);
        json!({ "stream": id, "name": name, "messages": used.messages, "bytes": used.bytes })
    };
    json!({
        "file": info.name.to_string(),
        "epoch": info.name.epoch,
        "shard": info.name.log,
        "segment": info.name.number,
        "state": segment.condition.name(),
        "in_checkpoint": segment.is_covered,
        "records": segment.kinds,
        "used_bytes": segment.used_bytes,
        "file_bytes": info.bytes,
        "torn_bytes": segment.torn_bytes,
        "first": at(info.first_at),
        "last": at(info.last_at),
        "streams": segment.streams.iter().map(of).collect::<Vec<_>>(),
    })
}

fn checkpoint_json(checkpoint: &CheckpointReport) -> Value {
    json!({
        "generation": checkpoint.generation,
        "bytes": checkpoint.bytes,
        "segments": checkpoint.segments,
        "records": checkpoint.kinds,
    })
}

fn place(damage: &keeper::Damage) -> String {
    match damage.offset {
        Some(offset) => format!("{} at byte {offset}: {}", damage.file, damage.what),
        None => format!("{}: {}", damage.file, damage.what),
    }
}

fn verify(offline: &mut Offline<Directory>, dir: &Path, out: &mut impl Write) -> Result<bool, Stop> {
    let checkpoint = offline.checkpoint()?;
    let (mut segments, mut records, mut torn) = (0_u64, 0, 0_u64);
    offline.segments(&mut |_, _| (), |report| {
        segments += 1;
        records += report.kinds.values().sum::<u64>();
        torn += u64::from(report.torn_bytes > 0);
    })?;
    for damage in &offline.damages {
        writeln!(out, "{}", place(damage))?;
    }
    let state: u64 = checkpoint.kinds.values().sum();
    let tails = if torn > 0 { format!(", {torn} torn tails, which are none") } else { String::new() };
    let found = match offline.damages.len() {
        0 => "no damage".into(),
        1 => "1 damage".into(),
        count => format!("{count} damages"),
    };
    let dir = dir.display();
    writeln!(
        out,
        "journal {dir}: {segments} segments with {records} records, {state} in the checkpoint: {found}{tails}"
    )?;
    Ok(offline.damages.is_empty())
}

fn export(
    offline: &mut Offline<Directory>,
    streams: &Streams,
    asked: &Export,
    out: &mut impl Write,
) -> Result<bool, Stop> {
    let stream = asked.stream.as_deref().map(|text| streams.index(text)).transpose().map_err(Stop::Misused)?;
    // Without a stream, messages are in the format that a stream has which names none.
    let plain = if stream.is_none() { Some(plain_plan()) } else { None };
    let wants = |event: &Event<'_>| match stream {
        Some(stream) => streams.plan.covers(stream, event),
        None if streams.names.is_empty() => true,
        None => streams.plan.strictest(event).is_some(),
    };
    if stream.is_some_and(|stream| streams.plan.streams[stream as usize].delivery == Delivery::Live) {
        warn("the stream is not durable now: what it kept while it was is written as far as others kept it too");
    }
    let plan = plain.as_ref().unwrap_or(&streams.plan);
    let format = &plan.formats[plan.streams[stream.unwrap_or(0) as usize].format as usize];
    let mut query = Query {
        from: asked.since.unwrap_or_default(),
        to: asked.until.unwrap_or_default(),
        device: asked.device,
        after: Position::ZERO,
        limit: PAGE_COUNT,
    };
    let mut text = vec![0; MESSAGE_BYTES_MAX];
    let mut unsaid = 0_u64;
    loop {
        let mut written = Ok(());
        let page = offline.keeper().history(&query, wants, |_, event| {
            let Some(template) = format.template(event.kind) else { return true };
            match template.run(event, &mut text) {
                Ok(count) if written.is_ok() => written = writeln!(out, "{}", line(&text[..count])),
                Ok(_) => {}
                Err(_) => unsaid += 1,
            }
            written.is_ok()
        })?;
        written?;
        match page.next {
            Some(next) => query.after = next,
            None => break,
        }
    }
    if unsaid > 0 {
        warn(&format!("{unsaid} messages are too long in their format, and left out"));
    }
    // Messages are read past what is damaged; which that is a second reading tells.
    offline.segments(&mut |_, _| (), |_| ())?;
    for damage in &offline.damages {
        warn(&format!("damaged, and left out: {}", place(damage)));
    }
    Ok(true)
}

/// The plan of one stream of everything, in the format of streams that name none.
fn plain_plan() -> Plan {
    let level = v1::Level::Operator.into();
    let stream = v1::Stream { id: 1, level, enabled: true, ..Default::default() };
    let change = v1::Change { body: Some(v1::change::Body::Stream(stream)) };
    let config = Config::default().apply(&[change], &mut Vec::new()).expect("a stream of the operator's is consistent");
    config.compile(1).expect("a shipped format compiles")
}

/// A message as one line of JSON, as the API's history has it: if it is none by itself, under `Message`.
fn line(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let is_json = text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(&text).is_ok();
    if is_json {
        // A line break can only stand between the tokens of JSON, where a blank does as well (RFC 8259 §2).
        text.chars().map(|char| if matches!(char, '\n' | '\r') { ' ' } else { char }).collect()
    } else {
        json!({ "Message": text }).to_string()
    }
}

#[cfg(test)]
mod tests;
