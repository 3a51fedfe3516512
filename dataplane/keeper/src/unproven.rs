//! What an earlier run wrote and nothing says that it was stored: a kill leaves it in the page cache, and it is read from
//! there as if it were.
//!
//! Owns the list of it. It is stored before anything follows it in its log, since what follows proves what stands before: a
//! power loss would be taken for damage. It is written once more before, with the bytes that are there: after a sync that failed
//! under the run before, one that succeeds says nothing.

use crate::{Fault, Keeper, PIECE_BYTES};
use files::Files;
use journal::{HEADER_BYTES, Part, Position, Record, SegmentInfo, SegmentName};
use std::io;

/// Bytes of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unproven {
    name: SegmentName,
    /// Offset in the file.
    from: u64,
    until: u64,
}

impl<F: Files> Keeper<F> {
    /// Reads a segment behind which its log holds nothing, and takes note of what of it may not be stored.
    pub(crate) fn scan_last(&mut self, part: &Part) -> Result<SegmentInfo, Fault> {
        let SegmentInfo { name, base, .. } = part.info;
        let (mut stored, mut end) = (base, base);
        let (info, _, _) = self.scan_until(part, |position: Position, record: &Record<'_>| {
            let marked = record.marked().filter(|marked| *marked <= position.offset());
            stored = stored.max(marked.unwrap_or(base));
            end = position.offset() + record.encoded_bytes() as u64;
            true
        })?;
        if stored < end {
            let place = |offset| HEADER_BYTES as u64 + offset - base;
            self.unproven.push(Unproven { name, from: place(stored), until: place(end) });
        }
        Ok(info)
    }

    /// Stores it, as far as the disk takes it.
    pub(crate) fn prove(&mut self) -> Result<(), Fault> {
        while let Some(unproven) = self.unproven.last() {
            store(&mut self.files, unproven)?;
            self.unproven.pop();
        }
        Ok(())
    }
}

fn store<F: Files>(files: &mut F, unproven: &Unproven) -> io::Result<()> {
    let file = unproven.name.to_string();
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = unproven.from;
    while at < unproven.until {
        let room = piece.len().min(usize::try_from(unproven.until - at).unwrap_or(usize::MAX));
        let count = files.read_at(&file, at, &mut piece[..room])?;
        if count == 0 {
            break;
        }
        files.write_at(&file, at, &piece[..count])?;
        at += count as u64;
    }
    files.sync(&file)
}
