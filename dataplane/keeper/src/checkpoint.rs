//! Checkpoints: the state of every device, lane by lane, and what belongs to no device, in one file.
//!
//! Owns the file and the rule by which the next one is made: the former states and what the segments that have ended since
//! change of them. A new file and a new manifest take the place of the old by a rename; only then the old file goes. A file
//! is never written over: whether a rename that failed took effect is not known before the directory was synced.
//!
//! ```text
//!   state-GGGGGGGGGG.ckp   | lane 0: records | lane 1: records | ... | globals: records |
//!                          records as in a segment, their positions offsets in this file: each is checked by its crc
//! ```

use crate::fold::{Deltas, Fold, Globals, place};
use crate::manifest::{self, Manifest};
use crate::section::{Lane, Section};
use crate::{Fault, Keeper, PIECE_BYTES, Usage};
use base::{Eui64, UnixMicros};
use event::{Event, Kind as EventKind};
use files::Files;
use journal::{CURSOR_BYTES_MAX, CursorBody, Kind, LANE_COUNT, Part, Position, Record, Scan, SegmentInfo, Step};
use session::body::{BODY_BYTES_MAX, PutBackBody, UplinkBody};
use session::{Advance, DeviceState};
use std::collections::BTreeMap;
use std::io;

/// One for each lane, and one for the globals.
pub(crate) const SECTION_COUNT: usize = LANE_COUNT as usize + 1;

pub(crate) const GLOBALS: usize = LANE_COUNT as usize;

/// Where each section begins and ends in the checkpoint's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sections(pub(crate) [(u64, u64); SECTION_COUNT]);

impl Default for Sections {
    fn default() -> Self {
        Self([(0, 0); SECTION_COUNT])
    }
}

pub(crate) fn name(generation: u64) -> String {
    format!("state-{generation:010}.ckp")
}

pub(crate) fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("state-")?.strip_suffix(".ckp")?.parse().ok()
}

/// Writes records one behind the other.
struct Writer<'a> {
    name: &'a str,
    /// Of the buffer's first byte.
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    const fn new(name: &'a str) -> Self {
        Self { name, at: 0, buffer: Vec::new() }
    }

    fn offset(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    fn put<F: Files>(&mut self, files: &mut F, record: &Record<'_>) -> io::Result<()> {
        let (position, start) = (place(self.offset()), self.buffer.len());
        self.buffer.resize(start + record.encoded_bytes(), 0);
        record.write(position, &mut self.buffer[start..]).expect("room was made");
        if self.buffer.len() >= PIECE_BYTES { self.flush(files) } else { Ok(()) }
    }

    fn flush<F: Files>(&mut self, files: &mut F) -> io::Result<()> {
        files.write_at(self.name, self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

const fn record(kind: Kind, lane: u8, tenant: u32, at: UnixMicros, body: &[u8]) -> Record<'_> {
    Record { kind, lane, key: 0, tenant, at, body }
}

fn put_state<F: Files>(to: &mut Writer<'_>, files: &mut F, lane: u8, state: &DeviceState) -> io::Result<()> {
    if let Some(device) = &state.record {
        to.put(files, &record(Kind::Device, lane, 0, UnixMicros(0), &device.to_wire()))?;
    }
    for downlink in &state.queue {
        to.put(files, &record(Kind::Queued, lane, 0, UnixMicros(0), downlink))?;
    }
    Ok(())
}

fn put_globals<F: Files>(to: &mut Writer<'_>, files: &mut F, globals: &Globals) -> io::Result<()> {
    for ((stream, group), cursors) in &globals.cursors {
        for cursor in cursors.iter() {
            let mut bytes = [0; CURSOR_BYTES_MAX];
            let body = CursorBody { stream: *stream, group, cursor };
            let count = body.write(&mut bytes).expect("it was a cursor when it was read");
            to.put(files, &record(Kind::Cursor, 0, 0, UnixMicros(0), &bytes[..count]))?;
        }
    }
    for letter in globals.letters.values() {
        to.put(files, &record(Kind::DeadLetter, letter.lane, letter.tenant, letter.at, &letter.body))?;
    }
    for (key, back) in &globals.put_back {
        let event = Event::new(EventKind::Uplink, back.at);
        let body = PutBackBody { stream: key.stream, position: key.position, group: &key.group, event };
        let mut bytes = [0; BODY_BYTES_MAX];
        let count = body.write(&mut bytes);
        to.put(files, &record(Kind::PutBack, 0, 0, back.at, &bytes[..count]))?;
    }
    for (lane, event) in globals.owed.values() {
        let Ok(event) = Event::parse(event) else { continue };
        let advance =
            Advance { dev_eui: event.dev_eui, session: event.session, fcnt_up: 0, mic: 0, gateway: Eui64::default() };
        let (at, tenant) = (event.at, event.tenant);
        let mut bytes = [0; BODY_BYTES_MAX];
        let count = UplinkBody { advance, event: Some(event), owes_best: true }.write(&mut bytes);
        to.put(files, &record(Kind::Uplink, *lane, tenant, at, &bytes[..count]))?;
    }
    Ok(())
}

/// Names to its second argument the durable streams that cover an event.
pub(crate) type Covering<'a> = dyn FnMut(&Event<'_>, &mut dyn FnMut(u32)) + 'a;

impl<F: Files> Keeper<F> {
    /// Folds the segments that have ended into the next checkpoint. `streams` names the durable streams that cover an
    /// event, so that it is known what each has in a segment. Says how many records could not be read.
    ///
    /// # Errors
    /// The host's; then the former checkpoint counts, and all is tried again next time.
    pub fn checkpoint(&mut self, streams: &mut Covering<'_>) -> Result<u64, Fault> {
        self.mark_epoch()?;
        self.pour()?;
        if !self.settled {
            self.tidy()?;
        }
        let mut ended: Vec<_> = self.ended.clone();
        ended.sort_unstable();
        let mut fold = Fold::new(self.globals.clone());
        let mut covered = self.covered.clone();
        let mut corrupt_count = 0;
        for name in &ended {
            let mut usage = Usage::new();
            if let Some(part) = self.catalog.part(*name) {
                corrupt_count += self.scan(&part, |position, record| {
                    fold.take(position, record);
                    use_of(record, streams, &mut usage);
                })?;
            }
            covered.insert(*name, usage);
        }
        // All of earlier epochs is folded by now: whose dead letter was not met has none.
        fold.globals.put_back.retain(|_, back| back.epoch == self.epoch);
        let generation = self.last_generation + 1;
        let file = name(generation);
        self.last_generation = generation;
        let sections = match self.write_checkpoint(&file, &mut fold) {
            Ok((sections, lost)) => {
                corrupt_count += lost;
                sections
            }
            Err(error) => {
                // No manifest names it.
                let _removed = self.files.remove(&file);
                return Err(error.into());
            }
        };
        self.settled = false;
        self.write_manifest(generation, &sections, &covered)?;
        self.settled = true;
        (self.generation, self.sections, self.covered, self.globals) = (generation, sections, covered, fold.globals);
        self.ended.retain(|name| !ended.contains(name));
        // One that cannot be removed now is in nobody's way, and goes with the next.
        let _removed = self.remove_stale(generation);
        Ok(corrupt_count)
    }

    /// Removes the checkpoints that count for neither the keeper nor the manifest on the disk, and what else is half done.
    fn remove_stale(&mut self, named: u64) -> io::Result<()> {
        for file in self.files.list()? {
            let stale = generation_of(&file).is_some_and(|other| other != self.generation && other != named);
            if stale || file == manifest::NEW_NAME {
                self.files.remove(&file)?;
            }
        }
        Ok(())
    }

    /// Removes what was left half done, by this run or an earlier one: checkpoints that no manifest names.
    pub(crate) fn tidy(&mut self) -> Result<(), Fault> {
        // A power loss could bring back the manifest before, with the checkpoint that it names.
        self.files.sync_directory()?;
        let on_disk = manifest::read(&self.files, &self.files.list()?)?;
        self.remove_stale(on_disk.generation)?;
        self.settled = true;
        Ok(())
    }

    fn write_checkpoint(&mut self, file: &str, fold: &mut Fold) -> io::Result<(Sections, u64)> {
        let mut sections = Sections::default();
        let mut lost = 0;
        let mut writer = Writer::new(file);
        for (lane, deltas) in (0..LANE_COUNT).zip(&mut fold.lanes) {
            let start = writer.offset();
            let mut devices = self.lane(lane, std::mem::take(deltas));
            while let Some(state) = devices.next(&self.files)? {
                put_state(&mut writer, &mut self.files, lane, &state)?;
            }
            lost += self.note_section(devices.section());
            sections.0[usize::from(lane)] = (start, writer.offset());
        }
        let start = writer.offset();
        put_globals(&mut writer, &mut self.files, &fold.globals)?;
        sections.0[GLOBALS] = (start, writer.offset());
        writer.flush(&mut self.files)?;
        self.files.sync(file)?;
        self.files.sync_directory()?;
        Ok((sections, lost))
    }

    pub(crate) fn write_manifest(
        &mut self,
        generation: u64,
        sections: &Sections,
        covered: &BTreeMap<journal::SegmentName, Usage>,
    ) -> io::Result<()> {
        let segments = covered.iter();
        let segments = segments.filter_map(|(name, usage)| Some((*self.catalog.get(*name)?, usage.clone())));
        let manifest = Manifest { generation, sections: sections.clone(), segments: segments.collect() };
        // Shorter than before, the rest of a former attempt would stay behind it.
        if self.files.len(manifest::NEW_NAME).is_ok() {
            self.files.remove(manifest::NEW_NAME)?;
        }
        self.files.write_at(manifest::NEW_NAME, 0, &manifest.write())?;
        self.files.sync(manifest::NEW_NAME)?;
        self.files.rename(manifest::NEW_NAME, manifest::NAME)
    }

    /// The devices of one lane, as the checkpoint has them, changed by `deltas`.
    pub(crate) fn lane(&self, lane: u8, deltas: Deltas) -> Lane {
        Lane::new(self.section(usize::from(lane)), deltas)
    }

    pub(crate) fn globals_of_checkpoint(&self) -> io::Result<(Globals, u64)> {
        let mut fold = Fold::of_globals(Globals::default());
        let mut section = self.section(GLOBALS);
        while section.next(&self.files, |record| fold.take(place(0), record))?.is_some() {}
        Ok((fold.globals, self.note_section(&section)))
    }

    fn section(&self, section: usize) -> Section {
        Section::new(name(self.generation), self.sections.0[section])
    }

    /// Calls `each` with every record of a part and its position; says how many stretches could not be read.
    pub(crate) fn scan(&self, part: &Part, mut each: impl FnMut(Position, &Record<'_>)) -> Result<u64, Fault> {
        let (_, _, lost) = self.scan_until(part, |position, record| {
            each(position, record);
            true
        })?;
        Ok(lost)
    }

    /// The same until `each` says no. Returns what was learned of the segment, whether all of it was read, and how many
    /// stretches could not be.
    pub(crate) fn scan_until(
        &self,
        part: &Part,
        mut each: impl FnMut(Position, &Record<'_>) -> bool,
    ) -> Result<(SegmentInfo, bool, u64), Fault> {
        let info = part.info;
        let header = journal::Header {
            name: info.name,
            base: info.base,
            end: info.end.max(part.extent.until),
            created: info.first_at,
        };
        let file = info.name.to_string();
        let mut scan = Scan::new(&header, part.extent);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match scan.step() {
                Step::Record { position, record, .. } => {
                    if !each(position, &record) {
                        return Ok((scan.info(), false, scan.found().corrupt_records));
                    }
                }
                Step::Corrupt { from, until } => {
                    let (from, until) = (header.file_offset(from.offset()), header.file_offset(until.offset()));
                    self.note_damage(&file, from, until);
                }
                Step::More => {
                    let count = self.files.read_at(&file, scan.wants(), &mut piece)?;
                    if count == 0 {
                        scan.finish();
                    } else {
                        scan.feed(&piece[..count]);
                    }
                }
                Step::End => return Ok((scan.info(), true, scan.found().corrupt_records)),
            }
        }
    }
}

/// Adds a record to what streams have in its segment.
pub(crate) fn use_of(record: &Record<'_>, streams: &mut Covering<'_>, usage: &mut Usage) {
    let event = match record.kind {
        Kind::Uplink => UplinkBody::parse(record.body).and_then(|uplink| uplink.event),
        Kind::Event => Event::parse(record.body).ok(),
        _ => None,
    };
    if let Some(event) = event {
        streams(&event, &mut |stream| {
            let used = usage.entry(stream).or_default();
            used.bytes += record.encoded_bytes() as u64;
            used.messages += 1;
        });
    }
}
