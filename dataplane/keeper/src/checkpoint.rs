//! Checkpoints: the state of every device, lane by lane, and what belongs to no device, in one file.
//!
//! Owns the file and the rule by which the next one is made: the former states and what the segments that have ended since
//! change of them. A new file and a new manifest take the place of the old by a rename; only then the old file goes.
//!
//! ```text
//!   state-GGGGGGGGGG.ckp   | lane 0: records | lane 1: records | ... | globals: records |
//!                          records as in a segment, their positions offsets in this file: each is checked by its crc
//! ```

use crate::fold::{Fold, Globals, place};
use crate::manifest::{self, Manifest};
use crate::{Fault, Keeper, PIECE_BYTES, Usage};
use base::{Eui64, UnixMicros};
use event::Event;
use files::Files;
use journal::{
    ALIGN_BYTES, CURSOR_BYTES_MAX, CursorBody, Kind, LANE_COUNT, Part, Position, RECORD_BYTES_MAX, Record, Scan,
    SegmentInfo, Step,
};
use session::body::{BODY_BYTES_MAX, UplinkBody};
use session::{Advance, DeviceState, KeptDownlink, SessionRecord};
use std::collections::BTreeMap;
use std::io;

/// One for each lane, and one for the globals.
pub(crate) const SECTION_COUNT: usize = LANE_COUNT as usize + 1;

const GLOBALS: usize = LANE_COUNT as usize;

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
struct Writer<'a, F> {
    files: &'a mut F,
    name: &'a str,
    /// Of the buffer's first byte.
    at: u64,
    buffer: Vec<u8>,
}

impl<F: Files> Writer<'_, F> {
    fn offset(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    fn put(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (position, start) = (place(self.offset()), self.buffer.len());
        self.buffer.resize(start + record.encoded_bytes(), 0);
        record.write(position, &mut self.buffer[start..]).expect("room was made");
        if self.buffer.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.files.write_at(self.name, self.at, &self.buffer)?;
            self.at += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

const fn record(kind: Kind, lane: u8, tenant: u32, at: UnixMicros, body: &[u8]) -> Record<'_> {
    Record { kind, lane, key: 0, tenant, at, body }
}

fn put_state<F: Files>(to: &mut Writer<'_, F>, lane: u8, state: &DeviceState) -> io::Result<()> {
    if let Some(device) = &state.record {
        to.put(&record(Kind::Device, lane, 0, UnixMicros(0), &device.to_wire()))?;
    }
    for downlink in &state.queue {
        to.put(&record(Kind::Queued, lane, 0, UnixMicros(0), downlink))?;
    }
    Ok(())
}

fn put_globals<F: Files>(to: &mut Writer<'_, F>, globals: &Globals) -> io::Result<()> {
    for ((stream, group), cursors) in &globals.cursors {
        for cursor in cursors.iter() {
            let mut bytes = [0; CURSOR_BYTES_MAX];
            let body = CursorBody { stream: *stream, group, cursor };
            let count = body.write(&mut bytes).expect("it was a cursor when it was read");
            to.put(&record(Kind::Cursor, 0, 0, UnixMicros(0), &bytes[..count]))?;
        }
    }
    for letter in globals.letters.values() {
        to.put(&record(Kind::DeadLetter, letter.lane, letter.tenant, letter.at, &letter.body))?;
    }
    for (lane, event) in globals.owed.values() {
        let Ok(event) = Event::parse(event) else { continue };
        let advance =
            Advance { dev_eui: event.dev_eui, session: event.session, fcnt_up: 0, mic: 0, gateway: Eui64::default() };
        let (at, tenant) = (event.at, event.tenant);
        let mut bytes = [0; BODY_BYTES_MAX];
        let count = UplinkBody { advance, event: Some(event), owes_best: true }.write(&mut bytes);
        to.put(&record(Kind::Uplink, *lane, tenant, at, &bytes[..count]))?;
    }
    Ok(())
}

/// Names to its second argument the durable streams that cover an event.
type Covering<'a> = dyn FnMut(&Event<'_>, &mut dyn FnMut(u32)) + 'a;

impl<F: Files> Keeper<F> {
    /// Folds the segments that have ended into the next checkpoint. `streams` names the durable streams that cover an
    /// event, so that it is known what each has in a segment. Says how many records could not be read.
    ///
    /// # Errors
    /// The host's; then the former checkpoint counts, and all is tried again next time.
    pub fn checkpoint(&mut self, streams: &mut Covering<'_>) -> Result<u64, Fault> {
        let mut ended: Vec<_> = self.ended.clone();
        ended.sort_unstable();
        let mut fold = Fold::new(self.globals.clone());
        let mut covered = self.covered.clone();
        let mut corrupt_count = 0;
        for name in &ended {
            let mut usage = Usage::new();
            if let Some(part) = self.catalog.part(*name) {
                corrupt_count += self.scan(&part, |_, record| {
                    fold.take(record);
                    use_of(record, streams, &mut usage);
                })?;
            }
            covered.insert(*name, usage);
        }
        let generation = self.generation + 1;
        let file = name(generation);
        let sections = match self.write_checkpoint(&file, &mut fold) {
            Ok((sections, lost)) => {
                corrupt_count += lost;
                sections
            }
            Err(error) => {
                let _removed = self.files.remove(&file);
                return Err(error.into());
            }
        };
        self.write_manifest(generation, &sections, &covered)?;
        let former = name(self.generation);
        (self.generation, self.sections, self.covered, self.globals) = (generation, sections, covered, fold.globals);
        self.ended.retain(|name| !ended.contains(name));
        if self.generation > 1 {
            // One that cannot be removed now is in nobody's way, and goes at the next start.
            let _removed = self.files.remove(&former);
        }
        Ok(corrupt_count)
    }

    fn write_checkpoint(&mut self, file: &str, fold: &mut Fold) -> io::Result<(Sections, u64)> {
        let mut sections = Sections::default();
        let mut lost = 0;
        let mut at = 0;
        for lane in 0..LANE_COUNT {
            let (mut states, corrupt) = self.states(lane)?;
            lost += corrupt;
            for (dev_eui, delta) in fold.lanes[usize::from(lane)].drain() {
                delta.onto(states.entry(dev_eui).or_default());
            }
            let mut writer = Writer { files: &mut self.files, name: file, at, buffer: Vec::new() };
            for state in states.values() {
                put_state(&mut writer, lane, state)?;
            }
            writer.flush()?;
            sections.0[usize::from(lane)] = (at, writer.at);
            at = writer.at;
        }
        let mut writer = Writer { files: &mut self.files, name: file, at, buffer: Vec::new() };
        put_globals(&mut writer, &fold.globals)?;
        writer.flush()?;
        sections.0[GLOBALS] = (at, writer.at);
        if writer.at == 0 {
            self.files.write_at(file, 0, &[])?;
        }
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

    /// The states of one lane, as the checkpoint has them, and how many of its records could not be read.
    pub(crate) fn states(&self, lane: u8) -> io::Result<(BTreeMap<Eui64, DeviceState>, u64)> {
        let mut states: BTreeMap<Eui64, DeviceState> = BTreeMap::new();
        let lost = self.section(usize::from(lane), |record| match record.kind {
            Kind::Device => {
                if let Some(device) = record.body.try_into().ok().and_then(|wire| SessionRecord::from_wire(wire).ok()) {
                    states.entry(device.dev_eui).or_default().replace(device);
                }
            }
            Kind::Queued => {
                if let Some(downlink) = KeptDownlink::parse(record.body) {
                    states.entry(downlink.dev_eui).or_default().queued(&downlink);
                }
            }
            _ => {}
        })?;
        Ok((states, lost))
    }

    pub(crate) fn globals_of_checkpoint(&self) -> io::Result<(Globals, u64)> {
        let mut fold = Fold::new(Globals::default());
        let lost = self.section(GLOBALS, |record| fold.take(record))?;
        Ok((fold.globals, lost))
    }

    /// Calls `each` with every record of a section; says how many could not be read. A damaged one costs itself.
    fn section(&self, section: usize, mut each: impl FnMut(&Record<'_>)) -> io::Result<u64> {
        let (start, end) = self.sections.0[section];
        let file = name(self.generation);
        let mut lost = 0;
        let mut at = start;
        let mut buffer: Vec<u8> = Vec::new();
        let mut begin = 0;
        while at < end {
            let have = buffer.len() - begin;
            let left = (end - at) as usize;
            if have < RECORD_BYTES_MAX.min(left) {
                buffer.drain(..begin);
                begin = 0;
                let want = PIECE_BYTES.min(left - have);
                buffer.resize(have + want, 0);
                let count = fill(&self.files, &file, at + have as u64, &mut buffer[have..])?;
                buffer.truncate(have + count);
            }
            if begin == buffer.len() {
                // The file ends before its section does.
                lost += 1;
                self.damages.borrow_mut().note(&file, at, end);
                break;
            }
            match Record::parse(place(at), &buffer[begin..]) {
                Ok((record, count)) => {
                    each(&record);
                    begin += count;
                    at += count as u64;
                }
                Err(_) => {
                    // Behind a damaged record the next one is found by its crc, which holds for its place alone.
                    lost += 1;
                    let damaged_from = at;
                    loop {
                        let count = (buffer.len() - begin).min(ALIGN_BYTES);
                        begin += count;
                        at += count as u64;
                        // One that goes on behind the buffer is looked at once more of it is there.
                        let whole = buffer.len() - begin >= RECORD_BYTES_MAX.min((end - at) as usize);
                        if begin == buffer.len() || !whole || Record::parse(place(at), &buffer[begin..]).is_ok() {
                            break;
                        }
                    }
                    self.damages.borrow_mut().note(&file, damaged_from, at);
                }
            }
        }
        Ok(lost)
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
                    self.damages.borrow_mut().note(&file, from, until);
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

/// Reads as much as there is, up to all of `target`.
pub(crate) fn fill<F: Files>(files: &F, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < target.len() {
        match files.read_at(name, offset + count as u64, &mut target[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}
