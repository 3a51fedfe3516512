//! The law of the log: beside the list of what was appended, with a disk that fails, and is read after it all.

use super::Steps;
use crate::catalog::Catalog;
use crate::info::SegmentInfo;
use crate::log::{Fault, Full, Limits, Log, Tail, Write};
use crate::position::{OFFSET_END, Position};
use crate::record::{BODY_BYTES_MAX, Kind, MARK_BYTES, RECORD_BYTES_MAX, Record};
use crate::scan::{Extent, Scan, Step};
use crate::segment::{HEADER_BYTES, Header, SegmentName, Wanted};
use base::UnixMicros;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits {
    segment_bytes: (HEADER_BYTES + 2 * RECORD_BYTES_MAX + 8) as u64,
    tail_bytes: 4 * RECORD_BYTES_MAX,
    batch_bytes: 2 * RECORD_BYTES_MAX,
    epoch_bytes: OFFSET_END,
};

/// What may be lost of a write that was not synced lies in pages of this size.
const PAGE_BYTES: usize = 512;

/// A file: what a process that starts now would read, and what is left of it without power.
struct File {
    header: Header,
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<SegmentName, File>,
    /// What is in flight: its bytes.
    in_flight: Option<(Write, Vec<u8>)>,
    sealed: Vec<SegmentInfo>,
}

/// What was appended.
struct Model {
    bodies: Vec<u8>,
    /// Positions, ends and bodies, by how far into `bodies` each begins.
    records: Vec<(Position, Position, usize, usize)>,
    /// What each mark has to say.
    marks: BTreeMap<Position, u64>,
    /// Up to where the last mark says that the log is stored.
    marked: Position,
}

/// Whatever keepers and disks do: a record keeps its place; what memory and the disk give back are the records that were
/// appended, in order and without a hole, at least up to `written` after the end of the process, and at least up to `stored`
/// without power; nothing is taken for damage that is none; the tail refuses a record only when it is full.
pub fn log(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    // Every other time epochs are short.
    let epoch_bytes = if steps.byte() % 2 == 0 { OFFSET_END } else { 2 * LIMITS.segment_bytes };
    let mut log = Log::new(Limits { epoch_bytes, ..LIMITS }, 1, 2);
    let mut disk = Disk::default();
    let mut model = Model::new();
    let mut feed = log.tail_start();
    let mut read_count = 0;
    while !steps.0.is_empty() {
        match steps.byte() % 10 {
            0..=3 => append(&mut log, &mut model, &mut steps),
            4 => {
                if let Some(wanted) = log.wants() {
                    disk.make(wanted);
                    assert!(log.ready(wanted.name) && !log.ready(wanted.name), "it is wanted once");
                }
            }
            5 => {
                let (stored, head) = (log.stored(), log.head());
                let sync = steps.byte() % 2 == 0;
                if let Some(write) = log.next_write(sync) {
                    assert!(disk.in_flight.is_none() && write.bytes <= LIMITS.batch_bytes && (write.sync || !sync));
                    assert!(write.bytes > 0 || stored < log.written() && write.sync && stored < head);
                    let mut bytes = vec![9; write.bytes];
                    log.copy(&write, &mut bytes);
                    disk.in_flight = Some((write, bytes));
                }
            }
            6 | 7 => disk.finish(&mut log, &mut steps),
            8 => {
                disk.sealed.extend(log.sealed());
                if steps.byte() % 8 == 0 {
                    model.agree(&disk, &log, |file| file.without_power(&mut steps), log.stored());
                }
            }
            _ => {
                for _ in 0..steps.byte() {
                    match log.read(feed) {
                        Tail::Record { record, next } => {
                            model.check(feed, &record);
                            feed = next;
                            read_count += 1;
                        }
                        Tail::End => break,
                        Tail::Behind => feed = log.tail_start(),
                        Tail::Nowhere => panic!("{feed} was given by the log"),
                    }
                }
            }
        }
        assert!(log.tail_start() <= log.stored() && log.stored() <= log.written() && log.written() <= log.head());
    }
    disk.sealed.extend(log.sealed());
    for info in &disk.sealed {
        let end = info.name.position(info.end);
        assert!(end <= log.stored() || info.base == info.end, "what has ended is stored");
    }
    model.agree(&disk, &log, |file| file.written.clone(), log.written());
    model.agree(&disk, &log, |file| file.without_power(&mut steps), log.stored());
    assert!(read_count > 0 || log.written() == Position::new(1, 2, 0) || feed <= log.written());
}

fn append(log: &mut Log, model: &mut Model, steps: &mut Steps<'_>) {
    let choice = steps.byte();
    let body_bytes = match choice % 8 {
        0 => BODY_BYTES_MAX - usize::from(choice / 128),
        1..=3 => usize::from(choice) * 256 + 3,
        _ => usize::from(choice),
    };
    let start = model.records.len() * 7 % 251;
    let record = model.record(start, body_bytes);
    let before = log.head();
    let room = LIMITS.tail_bytes - log.bytes_since(log.stored()) as usize;
    match log.append(&record) {
        Ok(appended) => {
            assert!(appended.position >= before && appended.end == log.head());
            if appended.position > before {
                // Of the epoch in which it stands.
                let is_same = log.stored().epoch() == before.epoch();
                model.marks.insert(before, if is_same { log.stored().offset() } else { 0 });
                model.marked = log.stored();
            }
            assert_eq!(model.marked, log.stored(), "what is stored is told before the next record");
            model.records.push((appended.position, appended.end, start, body_bytes));
        }
        Err(full) => {
            assert!(
                full == if log.wants().is_some_and(|wanted| wanted.name.position(wanted.base) <= log.written()) {
                    Full::NoSegment
                } else {
                    Full::Tail
                }
            );
            assert!(room < 2 * record.encoded_bytes() + 2 * MARK_BYTES, "it is full");
            assert_eq!(log.head(), before);
        }
    }
}

impl Disk {
    fn make(&mut self, wanted: Wanted) {
        let header = Header::new(wanted, UnixMicros(1));
        let mut bytes = vec![0; wanted.file_bytes() as usize];
        header.write((&mut bytes[..HEADER_BYTES]).try_into().expect("a header"));
        let file = File { header, written: bytes.clone(), synced: bytes };
        assert!(self.files.insert(wanted.name, file).is_none(), "no segment is made twice");
    }

    fn finish(&mut self, log: &mut Log, steps: &mut Steps<'_>) {
        let Some((write, bytes)) = self.in_flight.take() else { return };
        let file = self.files.get_mut(&write.segment).expect("it was made");
        let outcome = match steps.byte() % 6 {
            0 => Err(Fault::Write),
            1 if write.sync => Err(Fault::Sync),
            _ => Ok(()),
        };
        let count = if outcome == Err(Fault::Write) { steps.wide() % (bytes.len() + 1) } else { bytes.len() };
        let at = write.file_offset as usize;
        file.written[at..at + count].copy_from_slice(&bytes[..count]);
        if outcome.is_ok() && write.sync {
            file.synced.copy_from_slice(&file.written);
        }
        log.wrote(outcome);
    }
}

impl File {
    /// Of what was not synced any page may be there.
    fn without_power(&self, steps: &mut Steps<'_>) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let choice = steps.byte();
        for (index, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
            if (choice >> (index % 8)) & 1 == 1 {
                page.copy_from_slice(&self.written[index * PAGE_BYTES..][..page.len()]);
            }
        }
        bytes
    }
}

impl Model {
    fn new() -> Self {
        let bodies = (0..BODY_BYTES_MAX + 251).map(|at| (at % 251) as u8 + 1).collect();
        Self { bodies, records: Vec::new(), marks: BTreeMap::new(), marked: Position::new(1, 2, 0) }
    }

    fn record(&self, start: usize, body_bytes: usize) -> Record<'_> {
        let body = &self.bodies[start..start + body_bytes];
        Record { kind: Kind::Uplink, lane: start as u8 % 64, key: 0, tenant: 1, at: UnixMicros(start as u64), body }
    }

    /// That a record is the one that was appended there, or a mark.
    fn check(&self, position: Position, record: &Record<'_>) {
        match self.records.binary_search_by_key(&position, |record| record.0) {
            Ok(index) => assert_eq!(*record, self.record(self.records[index].2, self.records[index].3)),
            Err(_) => assert_eq!(record.marked(), self.marks.get(&position).copied()),
        }
    }

    /// That the files give back the first records, at least those up to `least`.
    fn agree(&self, disk: &Disk, log: &Log, mut bytes_of: impl FnMut(&File) -> Vec<u8>, least: Position) {
        let files: BTreeMap<_, _> = disk.files.iter().map(|(name, file)| (*name, (file, bytes_of(file)))).collect();
        let mut catalog = Catalog::default();
        files.values().for_each(|(file, _)| catalog.insert(SegmentInfo::unread(&file.header)));
        assert_eq!(catalog.gaps().next(), None);
        // Once with headers alone, once with what the first reading has learned.
        for _ in 0..2 {
            let mut count = 0;
            let parts: Vec<_> = catalog.needed(u64::MAX, Position::ZERO).collect();
            for part in parts {
                let (file, bytes) = &files[&part.info.name];
                let header = Header::parse(part.info.name, bytes).expect("a header is stored before it is used");
                assert_eq!(header, file.header);
                let info = self.scan(&header, part.extent, bytes, &mut count);
                catalog.insert(info);
            }
            let end = count.checked_sub(1).map_or(Position::new(1, 2, 0), |last| self.records[last].1);
            let next = self.records.get(count).map_or(log.head(), |record| record.1);
            assert!(count == self.records.len() || next > least, "{end} is read, {least} was promised");
        }
        for info in &disk.sealed {
            let learned = catalog.get(info.name).expect("it has a file");
            let is_whole = info.end > info.base && catalog.part(info.name).is_some_and(|p| p.extent.until == info.end);
            assert!(!is_whole || learned.lanes == 0 || info.lanes & learned.lanes == learned.lanes);
        }
    }

    fn scan(&self, header: &Header, extent: Extent, bytes: &[u8], count: &mut usize) -> SegmentInfo {
        let mut scan = Scan::new(header, extent);
        loop {
            match scan.step() {
                Step::Record { position, record, .. } => {
                    self.check(position, &record);
                    if record.closes() {
                        let rest = header.file_offset(position.offset()) as usize + MARK_BYTES;
                        assert!(bytes[rest..].iter().all(|byte| *byte == 0), "what is left free is zeros");
                    }
                    if record.kind != Kind::Mark {
                        assert_eq!(position, self.records[*count].0, "without a hole");
                        *count += 1;
                    }
                }
                Step::Corrupt { from, .. } => panic!("nothing was damaged at {from}"),
                Step::More => {
                    let at = scan.wants() as usize;
                    scan.feed(&bytes[at..bytes.len().min(at + 40_000)]);
                }
                Step::End => return scan.info(),
            }
        }
    }
}
