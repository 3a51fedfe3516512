//! Reading a part of a segment: as much as is asked for, in pieces that begin small, and little more.
//!
//! A segment that is being written ends where nothing is written yet; one that has ended is read as recovery reads it.

use crate::{Fault, Keeper, PIECE_BYTES};
use files::Files;
use journal::{Header, Part, Position, Record, Scan, Step};

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
        let mut piece = Vec::new();
        // Of what is read at once the scan takes a part at a time.
        let (mut at, mut count, mut bytes) = (0, 0, 0);
        loop {
            match scan.step() {
                Step::Record { position, record, next } => {
                    if !each(position, next, &record) {
                        return Ok(Reached { offset: position.offset(), whole: false, bytes });
                    }
                }
                Step::Corrupt { .. } => {}
                Step::More => {
                    let wanted = scan.wants();
                    if !(at..at + count as u64).contains(&wanted) {
                        let offset = scan.found().end.offset();
                        if bytes >= budget && offset > extent.from {
                            return Ok(Reached { offset, whole: false, bytes });
                        }
                        let left = header.file_offset(extent.until) - wanted;
                        piece.resize((2 * piece.len()).clamp(FIRST_BYTES, PIECE_BYTES), 0);
                        let room = piece.len().min(left as usize);
                        (at, count) = (wanted, self.files.read_at(&file, wanted, &mut piece[..room])?);
                        bytes += count as u64;
                        if count == 0 {
                            scan.finish();
                            continue;
                        }
                    }
                    scan.feed(&piece[(wanted - at) as usize..count]);
                }
                Step::End => return Ok(Reached { offset: scan.found().end.offset(), whole: true, bytes }),
            }
        }
    }
}
