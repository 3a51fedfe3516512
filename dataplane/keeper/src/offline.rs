//! Reading a directory that nobody needs to serve from: what is in it, and what of it cannot be read.
//!
//! Never writes. Whoever runs on the directory meanwhile is not disturbed; what is written after its segment was read is not
//! seen, and a segment that is removed meanwhile is passed over. Session keys are in what is read and never in what is told.

use crate::checkpoint::{Covering, GLOBALS, name as checkpoint_name, use_of};
use crate::fold::{Globals, place};
use crate::manifest::{self, Manifest};
use crate::read::Pieces;
use crate::section::fill;
use crate::{Fault, Keeper, Limits, Usage};
use files::Files;
use journal::{
    ALIGN_BYTES, BadHeader, Catalog, Gap, HEADER_BYTES, Header, Kind, Part, Record, Scan, SegmentInfo, SegmentName,
    Step,
};
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

/// Something that cannot be read, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The first byte of it, if it is not all of the file.
    pub offset: Option<u64>,
    /// What is wrong, for people.
    pub what: String,
}

/// How a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It has ended, and all of it can be read.
    Sealed,
    /// The last of its log: its run may still write to it, or has ended without closing it.
    Open,
    /// Nothing was ever written to it.
    Empty,
    /// Some of it cannot be read.
    Damaged,
}

/// What is in a segment.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// Where it stands, which times it holds.
    pub info: SegmentInfo,
    /// How it is.
    pub condition: Condition,
    /// The checkpoint stands for it.
    pub is_covered: bool,
    /// Records by kind, marks aside.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Bytes of what was read.
    pub used_bytes: u64,
    /// What durable streams have in it.
    pub streams: Usage,
    /// Bytes of a write that was not whole when its process ended: no damage, since nobody was told that they are stored.
    pub torn_bytes: u64,
}

/// What is in the checkpoint.
#[derive(Clone, Debug, Default)]
pub struct CheckpointReport {
    /// Counts checkpoints; 0 if there is none.
    pub generation: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Segments that it stands for and that are there.
    pub segments: u64,
    /// Records by kind.
    pub kinds: BTreeMap<&'static str, u64>,
}

/// A directory, opened to be read.
#[derive(Debug)]
pub struct Offline<F> {
    keeper: Keeper<F>,
    /// Met so far.
    pub damages: Vec<Damage>,
    /// Files that a crash left behind and that count for nothing: names.
    pub left_over: Vec<String>,
    /// Bytes of torn tails.
    torn: BTreeMap<SegmentName, u64>,
}

impl Condition {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Open => "open",
            Self::Empty => "empty",
            Self::Damaged => "damaged",
        }
    }
}

impl<F: Files> Offline<F> {
    /// Looks which segments there are, and how far each goes.
    ///
    /// # Errors
    /// The host's, and [`Fault::Newer`]: what a later version wrote may mean something else.
    pub fn open(files: F) -> Result<Self, Fault> {
        let names = files.list()?;
        let (mut damages, mut left_over) = (Vec::new(), Vec::new());
        let manifest = read_manifest(&files, &names, &mut damages)?;
        let limits = Limits { bytes_max: 0, reserve_bytes: 0 };
        let mut keeper = Keeper::nothing(files, limits, &manifest);
        let mut known: BTreeMap<SegmentName, (SegmentInfo, Usage)> =
            manifest.segments.into_iter().map(|(info, usage)| (info.name, (info, usage))).collect();
        let current = checkpoint_name(keeper.generation);
        for file in names {
            let Some(name) = SegmentName::parse(&file) else {
                if file == manifest::NEW_NAME || (file.starts_with("state-") && file != current) {
                    left_over.push(file);
                }
                continue;
            };
            let mut head = [0; HEADER_BYTES];
            let Some(count) = unless_gone(fill(&keeper.files, &file, 0, &mut head))? else { continue };
            let damage = |what: &str| Damage { file: file.clone(), offset: Some(0), what: what.into() };
            match Header::parse(name, &head[..count]) {
                Ok(header) => match known.remove(&name) {
                    Some((info, usage)) => {
                        keeper.catalog.insert(info);
                        keeper.covered.insert(name, usage);
                    }
                    None => keeper.catalog.insert(SegmentInfo::unread(&header)),
                },
                Err(BadHeader::NewerVersion(version)) => return Err(Fault::Newer { name: file, version }),
                // Whoever made it came to its end first: nothing was written to it yet.
                Err(_) if head[..count].iter().all(|byte| *byte == 0) => left_over.push(file),
                Err(BadHeader::NotOurs) => damages.push(damage("is no segment: its header does not begin as one")),
                Err(BadHeader::Corrupt) => {
                    damages.push(damage("the header's checksum is wrong: nothing of it is read"));
                }
                Err(BadHeader::OtherName(other)) => damages.push(damage(&format!("is {other}, under another name"))),
            }
        }
        // The last ones first: that a later one holds records proves that those before it are whole.
        let rest: Vec<_> =
            keeper.catalog.iter().map(|info| info.name).filter(|it| !keeper.covered.contains_key(it)).collect();
        let mut torn = BTreeMap::new();
        for name in rest.iter().rev() {
            if let Some(part) = keeper.catalog.part(*name)
                && let Some((info, torn_bytes)) = unless_missing(learn(&keeper, &part))?
            {
                keeper.catalog.insert(info);
                torn.insert(*name, torn_bytes);
            }
        }
        Ok(Self { keeper, damages, left_over, torn })
    }

    /// The keeper, to read history with.
    pub const fn keeper(&mut self) -> &mut Keeper<F> {
        &mut self.keeper
    }

    /// Reads every segment, in order, and tells `each` of it. What is damaged is noted. `streams` names the durable streams
    /// that cover an event.
    ///
    /// # Errors
    /// The host's.
    pub fn segments(&mut self, streams: &mut Covering<'_>, mut each: impl FnMut(&SegmentReport)) -> Result<(), Fault> {
        let all: Vec<SegmentInfo> = self.keeper.catalog.iter().copied().collect();
        for info in all {
            let Some(report) = unless_missing(self.segment(&info, streams))? else { continue };
            each(&report);
        }
        for Gap { before, behind, bytes } in self.keeper.catalog.gaps() {
            let what = format!("{bytes} bytes are missing between {before} and this: a segment was lost");
            self.damages.push(Damage { file: behind.to_string(), offset: None, what });
        }
        Ok(())
    }

    fn segment(&mut self, info: &SegmentInfo, streams: &mut Covering<'_>) -> Result<SegmentReport, Fault> {
        let name = info.name;
        let mut report = SegmentReport {
            info: *info,
            condition: Condition::Empty,
            is_covered: self.keeper.covered.contains_key(&name),
            kinds: BTreeMap::new(),
            used_bytes: 0,
            streams: Usage::new(),
            torn_bytes: self.torn.get(&name).copied().unwrap_or(0),
        };
        let file = name.to_string();
        let file_bytes = self.keeper.files.len(&file)?;
        let before = self.damages.len();
        let part = self.keeper.catalog.part(name);
        // One that another took the place of counts for nothing; one that holds nothing was still being made.
        let counts = part.is_some() && (report.is_covered || info.holds_records());
        if file_bytes < info.bytes && counts {
            let what = format!("ends after {file_bytes} of {} bytes", info.bytes);
            self.damages.push(Damage { file, offset: Some(file_bytes), what });
        } else if file_bytes < info.bytes {
            self.left_over.push(file);
        }
        let Some(part) = part else { return Ok(report) };
        let closes = self.read(&part, streams, &mut report)?;
        let is_last = !self.keeper.catalog.iter().any(|other| {
            (other.name.epoch, other.name.log) == (name.epoch, name.log) && other.name > name && other.holds_records()
        });
        report.condition = match () {
            () if self.damages.len() > before => Condition::Damaged,
            () if report.kinds.is_empty() && report.used_bytes == 0 => Condition::Empty,
            () if is_last && !closes => Condition::Open,
            () => Condition::Sealed,
        };
        Ok(report)
    }

    /// Reads a part. Says whether it ends with the mark that closes.
    fn read(&mut self, part: &Part, streams: &mut Covering<'_>, report: &mut SegmentReport) -> Result<bool, Fault> {
        let Part { info, extent } = *part;
        let header =
            Header { name: info.name, base: info.base, end: info.end.max(extent.until), created: info.first_at };
        let file = info.name.to_string();
        let mut scan = Scan::new(&header, extent);
        let mut pieces = Pieces::default();
        let mut closes = false;
        loop {
            match scan.step() {
                Step::Record { record, .. } => {
                    closes = record.closes();
                    report.used_bytes += record.encoded_bytes() as u64;
                    if record.kind != Kind::Mark {
                        *report.kinds.entry(record.kind.name()).or_default() += 1;
                    }
                    use_of(&record, streams, &mut report.streams);
                }
                Step::Corrupt { from, until } => {
                    let bytes = until.offset() - from.offset();
                    let what = format!("{bytes} bytes were stored and cannot be read: no record with a right checksum");
                    let offset = Some(header.file_offset(from.offset()));
                    self.damages.push(Damage { file: file.clone(), offset, what });
                }
                Step::More => {
                    pieces.feed(&self.keeper.files, &file, &mut scan, u64::MAX)?;
                }
                Step::End => break,
            }
        }
        Ok(closes)
    }

    /// Reads the checkpoint. What is damaged is noted.
    ///
    /// # Errors
    /// The host's.
    pub fn checkpoint(&mut self) -> Result<CheckpointReport, Fault> {
        let Keeper { generation, .. } = self.keeper;
        let mut report =
            CheckpointReport { generation, segments: self.keeper.covered.len() as u64, ..Default::default() };
        if generation == 0 {
            return Ok(report);
        }
        let file = checkpoint_name(generation);
        let damage = |offset, what: String| Damage { file: file.clone(), offset, what };
        match self.keeper.files.len(&file) {
            Ok(bytes) => report.bytes = bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damages.push(damage(None, "is missing: the manifest names it".into()));
                return Ok(report);
            }
            Err(error) => return Err(error.into()),
        }
        let sections = self.keeper.sections.0;
        for (section, (start, end)) in sections.into_iter().enumerate() {
            let whose = if section == GLOBALS { "what belongs to no device".into() } else { format!("lane {section}") };
            if end < start || end > report.bytes {
                let what = format!("{whose} is to end at {end}: the file has {} bytes", report.bytes);
                self.damages.push(damage(Some(report.bytes), what));
                continue;
            }
            let mut bytes = vec![0; (end - start) as usize];
            let count = fill(&self.keeper.files, &file, start, &mut bytes)?;
            bytes.truncate(count);
            let mut at = 0;
            let record_at = |at: usize| Record::parse(place(start + at as u64), &bytes[at..]).ok();
            while at < bytes.len() {
                if let Some((record, count)) = record_at(at) {
                    *report.kinds.entry(record.kind.name()).or_default() += 1;
                    at += count;
                    continue;
                }
                let from = at;
                while at < bytes.len() && record_at(at).is_none() {
                    at += ALIGN_BYTES;
                }
                let what = format!("{} bytes of {whose} cannot be read", at.min(bytes.len()) - from);
                self.damages.push(damage(Some(start + from as u64), what));
            }
        }
        Ok(report)
    }
}

impl<F: Files> Keeper<F> {
    fn nothing(files: F, limits: Limits, manifest: &Manifest) -> Self {
        Self {
            files,
            limits,
            catalog: Catalog::default(),
            covered: BTreeMap::new(),
            epoch: 0,
            epoch_marked: false,
            generation: manifest.generation,
            last_generation: manifest.generation,
            settled: false,
            sections: manifest.sections.clone(),
            globals: Globals::default(),
            half_made: Vec::new(),
            ended: Vec::new(),
            unpoured: Vec::new(),
            unproven: Vec::new(),
            damages: Mutex::default(),
            summaries: BTreeMap::new(),
            base: Default::default(),
        }
    }
}

/// Reads a segment for what is to be known of it, and the bytes of its torn tail.
fn learn<F: Files>(keeper: &Keeper<F>, part: &Part) -> Result<(SegmentInfo, u64), Fault> {
    let Part { info, extent } = *part;
    let header = Header { name: info.name, base: info.base, end: info.end, created: info.first_at };
    let mut scan = Scan::new(&header, extent);
    let mut pieces = Pieces::default();
    loop {
        match scan.step() {
            Step::More => drop(pieces.feed(&keeper.files, &info.name.to_string(), &mut scan, u64::MAX)?),
            Step::End => return Ok((scan.info(), scan.found().torn_bytes)),
            Step::Record { .. } | Step::Corrupt { .. } => {}
        }
    }
}

fn read_manifest<F: Files>(files: &F, names: &[String], damages: &mut Vec<Damage>) -> Result<Manifest, Fault> {
    match manifest::read(files, names) {
        Err(Fault::Damaged { name }) => {
            let what = "its checksum is wrong: which checkpoint counts is not known, and none is read".into();
            damages.push(Damage { file: name, offset: Some(0), what });
            Ok(Manifest::default())
        }
        parsed => parsed,
    }
}

/// `None` if the file is gone: whoever runs on the directory has removed it.
fn unless_gone<T>(result: io::Result<T>) -> Result<Option<T>, Fault> {
    unless_missing(result.map_err(Fault::from))
}

fn unless_missing<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}
