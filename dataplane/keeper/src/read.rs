//! Reading a part of a segment: as much as is asked for, in pieces that begin small, and little more.
//!
//! A segment that is being written ends where nothing is written yet; one that has ended is read as recovery reads it.

use crate::{Fault, Keeper, PIECE_BYTES};
use files::Files;
use journal::{Header, Part, Position, Record, Scan, Step};
use std::io;

/// The first piece. Each that follows is twice as long, up to [`PIECE_BYTES`].
const FIRST_BYTES: usize = 64 << 10;

/// How far a reading has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// Where the next one goes on.
    pub(crate) offset: u64,
    /// All that there is of the part was read.
    pub(crate) whole: bool,
    /// Bytes that were read from the file.
    pub(crate) bytes: u64,
}

/// Pieces of a file, each used up before the next is read: a scan takes a part of one at a time.
#[derive(Default)]
pub(crate) struct Pieces {
    piece: Vec<u8>,
    at: u64,
    count: usize,
}

impl Pieces {
    fn have(&self, offset: u64) -> bool {
        (self.at..self.at + self.count as u64).contains(&offset)
    }

    /// Gives a scan what it wants, of what stands before `end` in the file. Returns the count of bytes that were read for
    /// it.
    pub(crate) fn feed<F: Files>(&mut self, files: &F, name: &str, scan: &mut Scan, end: u64) -> io::Result<u64> {
        let wanted = scan.wants();
        let mut read = 0;
        if !self.have(wanted) {
            self.piece.resize((2 * self.piece.len()).clamp(FIRST_BYTES, PIECE_BYTES), 0);
            let room = self.piece.len().min(usize::try_from(end.saturating_sub(wanted)).unwrap_or(usize::MAX));
            (self.at, self.count) = (wanted, files.read_at(name, wanted, &mut self.piece[..room])?);
            read = self.count;
        }
        if self.count == 0 {
            scan.finish();
        } else {
            scan.feed(&self.piece[(wanted - self.at) as usize..self.count]);
        }
        Ok(read as u64)
    }
}

impl<F: Files> Keeper<F> {
    /// Calls `each` with every record of a part, its position and where the next one begins, until it says no; then that
    /// record is where the next reading goes on. Stops as well once `budget` bytes were read and any came of it.
    pub(crate) fn read_part(
        &self,
        part: &Part,
        budget: u64,
        mut each: impl FnMut(Position, Position, &Record<'_>) -> bool,
    ) -> Result<Reached, Fault> {
        let (info, extent) = (part.info, part.extent);
        let header =
            Header { name: info.name, base: info.base, end: info.end.max(extent.until), created: info.first_at };
        let file = info.name.to_string();
        let mut scan = Scan::new(&header, extent);
        if info.is_unread() {
            scan.grows();
        }
        let mut pieces = Pieces::default();
        let mut bytes = 0;
        // Behind the mark that closes this is the segment's end: what lies between is no record.
        let mut offset = extent.from;
        loop {
            match scan.step() {
                Step::Record { position, record, next } => {
                    if !each(position, next, &record) {
                        return Ok(Reached { offset: position.offset(), whole: false, bytes });
                    }
                    offset = next.offset();
                }
                Step::Corrupt { from, until } => {
                    offset = until.offset();
                    self.note_damage(&file, header.file_offset(from.offset()), header.file_offset(until.offset()));
                }
                Step::More => {
                    if bytes >= budget && offset > extent.from && !pieces.have(scan.wants()) {
                        return Ok(Reached { offset, whole: false, bytes });
                    }
                    bytes += pieces.feed(&self.files, &file, &mut scan, header.file_offset(extent.until))?;
                }
                Step::End => return Ok(Reached { offset, whole: true, bytes }),
            }
        }
    }
}
