//! The keeper: everything about the journal that may block.
//!
//! Owns the files of the journal but for the bytes that shards write: it makes segments ahead, folds those that have ended
//! into a checkpoint, removes what nobody wants, and finds it all again at start. No clock, and no thread but those that
//! read lanes side by side at start: the dataplane's keeper thread and the simulator call the same functions.
//!
//! ```text
//!   EEEEE-LL-NNNNNNNNNN.seg    written by shards ── ended ──▶ folded, lane by lane ──▶ state-GGGGGGGGGG.ckp
//!   epoch-EEEEE                the last run's number, so that the next has another
//!   manifest                   which checkpoint counts, and which segments it stands for; replaced by rename
//! ```

mod carry;
mod checkpoint;
mod damage;
mod epoch;
mod fold;
mod history;
mod manifest;
mod offline;
mod read;
mod recover;
mod retain;
mod section;
mod summary;
mod unproven;

pub use damage::Stretch;
pub use fold::{DeadLetter, Globals, LetterKey};
pub use history::{Page, Query};
pub use offline::{CheckpointReport, Condition, Damage, Offline, SegmentReport};
pub use recover::{Counts, Recovered};
pub use retain::{Retention, Trimmed};
pub use summary::Retained;

use base::UnixMicros;
use checkpoint::Sections;
use damage::Damages;
use files::Files;
use journal::{Catalog, HEADER_BYTES, Header, SegmentInfo, SegmentName, Wanted};
use section::Section;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Bytes of a segment in the making that are written and stored at once. What shards store meanwhile waits behind no more:
/// with all 64 MiB stored in one go, one commit in a hundred took 30 ms.
const MADE_BYTES: usize = 256 << 10;

/// Bytes that are read or written at once.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Bytes and messages that a stream has in a segment, by stream.
pub type Usage = BTreeMap<u32, Used>;

/// What a stream has in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// Bytes of records.
    pub bytes: u64,
    /// Records.
    pub messages: u64,
}

/// Why something was not done.
#[derive(Debug)]
pub enum Fault {
    /// The host's word.
    Io(io::Error),
    /// Something was written by a later version, which this one would not understand.
    Newer {
        /// Which file.
        name: String,
        /// Its version.
        version: u16,
    },
    /// The manifest cannot be read, or the checkpoint that it names is not there. Without it checkpoints are of no use, and
    /// what they alone say would be lost.
    Damaged {
        /// Which file.
        name: String,
    },
    /// 65 535 runs: the journal must be moved away.
    EpochsUsedUp,
    /// Another segment would leave less than is kept free, or exceed what the journal may take.
    Full,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::Newer { name, version } => {
                write!(out, "{name} is of version {version}; this is an older Trunkline: use the one that wrote it")
            }
            Self::Damaged { name } => {
                write!(
                    out,
                    "{name} is damaged or missing: put it back from a copy, or remove the manifest and lose what only \
                     checkpoints say"
                )
            }
            Self::EpochsUsedUp => out.write_str("the journal has seen 65535 starts: move it away once it is read"),
            Self::Full => out.write_str("no room for another segment"),
        }
    }
}

impl core::error::Error for Fault {}

/// What the journal may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of all its files; 0 is no limit of its own.
    pub bytes_max: u64,
    /// Bytes that are left free on the disk.
    pub reserve_bytes: u64,
}

/// The keeper of one directory.
#[derive(Debug)]
pub struct Keeper<F> {
    pub(crate) files: F,
    pub(crate) limits: Limits,
    pub(crate) catalog: Catalog,
    /// Segments that the checkpoint stands for, with what streams have in them.
    pub(crate) covered: BTreeMap<SegmentName, Usage>,
    /// Of this run.
    pub(crate) epoch: u16,
    /// No later run can be given it.
    pub(crate) epoch_marked: bool,
    /// Of the checkpoint that counts.
    pub(crate) generation: u64,
    /// The greatest that a checkpoint's file was ever given. No number is given twice: a manifest whose rename was said to
    /// have failed may stand on the disk all the same, and name it.
    pub(crate) last_generation: u64,
    /// No manifest but the one that was read or written last can be on the disk, whatever happens.
    pub(crate) settled: bool,
    pub(crate) sections: Sections,
    /// As the checkpoint has them.
    pub(crate) globals: Globals,
    /// Of segments that could not be made, nor taken away again.
    pub(crate) half_made: Vec<String>,
    /// Segments that have ended and are not in the checkpoint.
    pub(crate) ended: Vec<SegmentName>,
    /// What was carried over from earlier runs and no segment has yet, in order.
    pub(crate) unpoured: Vec<carry::Stretch>,
    /// What earlier runs wrote and nothing says that it was stored.
    pub(crate) unproven: Vec<unproven::Unproven>,
    /// Whoever reads may find some, and several may read.
    pub(crate) damages: Mutex<Damages>,
    pub(crate) summaries: BTreeMap<SegmentName, summary::Summary>,
    pub(crate) base: summary::Base,
}

impl<F: Files> Keeper<F> {
    /// The segments, as far as they are known.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Damage that was found since this was asked last, wherever somebody read: each stretch once.
    pub fn take_damages(&self) -> Vec<Stretch> {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner).take_news()
    }

    pub(crate) fn note_damage(&self, file: &str, from: u64, until: u64) {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner).note(file, from, until);
    }

    /// What a reader of a section could not read. Says how many records.
    pub(crate) fn note_section(&self, section: &Section) -> u64 {
        for (from, until) in &section.stretches {
            self.note_damage(&section.file, *from, *until);
        }
        section.lost
    }

    /// Makes a segment: header and zeros, so that writing to it later changes nothing but bytes.
    ///
    /// # Errors
    /// [`Fault`]; nothing is left of it, or it goes before the next one is made.
    pub fn make(&mut self, wanted: Wanted, now: UnixMicros) -> Result<(), Fault> {
        let bytes = wanted.file_bytes();
        let exceeds = self.limits.bytes_max != 0 && self.catalog.bytes() + bytes > self.limits.bytes_max;
        if exceeds || self.files.free_bytes()? < self.limits.reserve_bytes + bytes {
            return Err(Fault::Full);
        }
        while let Some(name) = self.half_made.last() {
            remove_if_there(&mut self.files, name)?;
            self.half_made.pop();
        }
        let name = wanted.name.to_string();
        let header = Header::new(wanted, now);
        if let Err(error) = self.write_segment(&name, &header) {
            if remove_if_there(&mut self.files, &name).is_err() {
                self.half_made.push(name);
            }
            return Err(error.into());
        }
        self.catalog.insert(SegmentInfo::unread(&header));
        Ok(())
    }

    fn write_segment(&mut self, name: &str, header: &Header) -> io::Result<()> {
        let mut head = [0; HEADER_BYTES];
        header.write(&mut head);
        self.files.write_at(name, 0, &head)?;
        let zeros = vec![0; MADE_BYTES];
        let mut at = HEADER_BYTES as u64;
        while at < header.file_bytes() {
            let count = (header.file_bytes() - at).min(MADE_BYTES as u64);
            self.files.write_at(name, at, &zeros[..count as usize])?;
            self.files.sync(name)?;
            at += count;
        }
        self.files.sync_directory()
    }

    /// A shard has finished with a segment.
    pub fn sealed(&mut self, info: SegmentInfo) {
        self.catalog.insert(info);
        self.ended.push(info.name);
    }

    /// Bytes of segments that have ended and are in no checkpoint.
    #[must_use]
    pub fn unfolded_bytes(&self) -> u64 {
        self.ended.iter().filter_map(|name| self.catalog.get(*name)).map(|info| info.bytes).sum()
    }
}

fn remove_if_there<F: Files>(files: &mut F, name: &str) -> io::Result<()> {
    match files.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
