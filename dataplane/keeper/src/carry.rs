//! What a run that was killed had in memory and not in a segment goes into one of its own.
//!
//! Owns what a disk did not take yet: it is folded all the same, and tried again before any checkpoint, so that nothing is
//! folded behind what came later. The segment follows the one in which the log ends, as one does after a failed write.

use crate::fold::Fold;
use crate::{Fault, Keeper, PIECE_BYTES};
use base::UnixMicros;
use files::Files;
use journal::{CarryOver, HEADER_BYTES, Header, Position, Record, SegmentInfo, SegmentName, Wanted};
use std::io;

/// Records that stand behind each other in one segment's room, from the end of their log on.
#[derive(Debug)]
pub(crate) struct Stretch {
    header: Header,
    bytes: Vec<u8>,
}

impl Stretch {
    /// The segment that holds it, once one does.
    pub(crate) const fn name(&self) -> SegmentName {
        self.header.name
    }

    /// Takes its records, as if they stood in their segment. Returns their count.
    pub(crate) fn fold(&self, fold: &mut Fold) -> u64 {
        let (mut at, mut count) = (0, 0);
        while let Ok((record, bytes)) = Record::parse(self.position(at), &self.bytes[at..]) {
            fold.take(self.position(at), &record);
            at += bytes;
            count += 1;
        }
        count
    }

    fn position(&self, at: usize) -> Position {
        self.header.name.position(self.header.base + at as u64)
    }
}

impl<F: Files> Keeper<F> {
    /// Finds what of a log was carried over and is in no segment.
    pub(crate) fn find_carried(&self, over: &CarryOver, now: UnixMicros) -> Result<Vec<Stretch>, Fault> {
        let mut base = self.log_end(over)?;
        let mut number = self.segments_of(over).map(|name| name.number + 1).max().unwrap_or(0);
        let (mut stretches, mut next, mut bytes) = (Vec::new(), base, Vec::new());
        let mut put = |base: Position, end: Position, bytes: Vec<u8>| {
            let name = SegmentName { epoch: base.epoch(), log: base.log(), number };
            number += 1;
            let end = base.offset() + over.distance(base, end);
            let header = Header::new(Wanted { name, base: base.offset(), end }, now);
            stretches.push(Stretch { header, bytes });
        };
        while let Some((record, behind, closes)) = over.record(next) {
            bytes.extend_from_slice(record);
            next = behind;
            if closes {
                put(base, next, std::mem::take(&mut bytes));
                base = next;
            }
        }
        if !bytes.is_empty() {
            put(base, next, bytes);
        }
        Ok(stretches)
    }

    /// Behind the last record that the segments of a log hold.
    fn log_end(&self, over: &CarryOver) -> Result<Position, Fault> {
        for name in self.segments_of(over).rev() {
            if let Some(part) = self.catalog.part(name) {
                let (info, _, _) = self.scan_until(&part, |_, _| true)?;
                if info.holds_records() {
                    return Ok(name.position(info.end));
                }
            }
        }
        Ok(over.start())
    }

    /// The segments of the run whose log it is.
    fn segments_of(&self, over: &CarryOver) -> impl DoubleEndedIterator<Item = SegmentName> {
        let (first, log) = (over.start().epoch(), over.log());
        self.catalog.iter().map(|info| info.name).filter(move |name| name.epoch >= first && name.log == log)
    }

    /// Lets everybody know of the segments that are still to be made: nobody is to think that there is nothing.
    pub(crate) fn await_carried(&mut self) {
        self.unpoured.iter().for_each(|stretch| self.catalog.insert(SegmentInfo::awaited(&stretch.header)));
    }

    /// Writes and stores what was found, as far as the disk takes it; what it follows before it.
    pub(crate) fn pour(&mut self) -> Result<(), Fault> {
        self.prove()?;
        while let Some(stretch) = self.unpoured.first() {
            let name = stretch.header.name;
            if let Err(error) = write(&mut self.files, stretch) {
                // Half of it does no harm: it is of this log, and all of it is written again.
                let _removed = self.files.remove(&name.to_string());
                return Err(error.into());
            }
            self.catalog.insert(SegmentInfo::unread(&stretch.header));
            self.ended.push(name);
            self.unpoured.remove(0);
        }
        Ok(())
    }

    /// Whether everything is stored that earlier runs wrote or carried over.
    #[must_use]
    pub const fn has_all_carried(&self) -> bool {
        self.unpoured.is_empty() && self.unproven.is_empty()
    }
}

fn write<F: Files>(files: &mut F, stretch: &Stretch) -> io::Result<()> {
    let mut head = [0; HEADER_BYTES];
    stretch.header.write(&mut head);
    let file = stretch.header.name.to_string();
    files.write_at(&file, 0, &head)?;
    for (index, piece) in stretch.bytes.chunks(PIECE_BYTES).enumerate() {
        files.write_at(&file, (HEADER_BYTES + index * PIECE_BYTES) as u64, piece)?;
    }
    files.sync(&file)?;
    files.sync_directory()
}
