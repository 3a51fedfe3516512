//! Retention: which segments may go, since no stream wants them and the checkpoint stands for their state.
//!
//! ```text
//!   a stream wants a segment in which it has messages, if the segment is young enough and if what it has in younger ones
//!   does not fill its bytes already
//! ```

use crate::{Fault, Keeper};
use base::UnixMicros;
use core::time::Duration;
use files::Files;
use journal::{SegmentInfo, SegmentName};
use std::collections::BTreeSet;
use std::io;

/// What a durable stream wants to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// The stream.
    pub stream: u32,
    /// The age up to which.
    pub age: Duration,
    /// The bytes up to which.
    pub bytes: u64,
}

/// What was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trimmed {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl<F: Files> Keeper<F> {
    /// Removes the segments that nobody wants.
    ///
    /// # Errors
    /// The host's; what was removed before is told by the catalog.
    pub fn retain(&mut self, streams: &[Retention], now: UnixMicros) -> Result<Trimmed, Fault> {
        let wanted: BTreeSet<SegmentName> = streams.iter().flat_map(|stream| self.wanted(stream, now)).collect();
        let goes = |info: &&SegmentInfo| {
            self.covered.contains_key(&info.name)
                && !wanted.contains(&info.name)
                && !self.is_before_uncovered(info.name)
        };
        let going: Vec<SegmentInfo> = self.catalog.iter().filter(goes).copied().collect();
        let mut trimmed = Trimmed::default();
        if going.is_empty() {
            return Ok(trimmed);
        }
        // A power loss could bring back the manifest before, for whose checkpoint these segments are needed.
        self.files.sync_directory()?;
        for info in going {
            match self.files.remove(&info.name.to_string()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                // One that somebody else has removed is gone as well.
                _ => {}
            }
            self.catalog.remove(info.name);
            self.covered.remove(&info.name);
            trimmed.segments += 1;
            trimmed.bytes += info.bytes;
        }
        self.files.sync_directory()?;
        Ok(trimmed)
    }

    /// Whether what follows in its log is in no checkpoint, or is still to be made: then that nothing is missing between
    /// them shows only while this one is there.
    fn is_before_uncovered(&self, name: SegmentName) -> bool {
        let counts = |name: &SegmentName| self.catalog.part(*name).is_some();
        let is_later = |other: &SegmentName| *other > name && (other.epoch, other.log) == (name.epoch, name.log);
        let behind = self.catalog.iter().map(|info| info.name).find(|other| is_later(other) && counts(other));
        let follows = match behind {
            Some(behind) => !self.covered.contains_key(&behind),
            None => self.epoch == name.epoch,
        };
        counts(&name) && follows
    }

    /// The segments in the checkpoint that a stream wants.
    fn wanted(&self, stream: &Retention, now: UnixMicros) -> Vec<SegmentName> {
        let oldest = UnixMicros(now.0.saturating_sub(stream.age.as_micros() as u64));
        let mut all: Vec<&SegmentInfo> =
            self.catalog.iter().filter(|info| self.covered.contains_key(&info.name)).collect();
        all.sort_by_key(|info| core::cmp::Reverse((info.last_at, info.name)));
        // What is not in the checkpoint yet is younger, and kept anyway; it is not counted here.
        let mut bytes = 0;
        let mut wanted = Vec::new();
        for info in all {
            let used = self.covered[&info.name].get(&stream.stream).copied().unwrap_or_default();
            if used.messages > 0 && bytes < stream.bytes && info.last_at >= oldest {
                wanted.push(info.name);
            }
            bytes += used.bytes;
        }
        wanted
    }

    /// Bytes that a stream has in segments that are in the checkpoint.
    #[must_use]
    pub fn bytes_of(&self, stream: u32) -> u64 {
        self.covered.values().filter_map(|usage| usage.get(&stream)).map(|used| used.bytes).sum()
    }
}
