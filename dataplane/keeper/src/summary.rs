//! Summaries: what durable streams have in a segment, and which times lie where in it.
//!
//! Owns them, in memory. [`Keeper::follow`] reads behind the shards what they have written since it was called last, so that
//! each byte is read once, whoever asks and however often; what is asked is answered from sums.
//!
//! ```text
//!   covered by the checkpoint ── the manifest has their usage ──┐
//!   ended, or being written ──── follow ──▶ Summary ────────────┴──▶ retained: messages, bytes, the oldest
//!                                            └ stretches of 256 KiB: first and last time ──▶ history
//! ```
//! Memory: 24 bytes a stretch, 6 KiB for a segment of 64 MiB, of at most [`SUMMARY_COUNT_MAX`] segments.

use crate::checkpoint::Covering;
use crate::history::event_of;
use crate::{Fault, Keeper};
use base::UnixMicros;
use event::Event;
use files::Files;
use journal::{Part, SegmentName};
use std::collections::{BTreeMap, BTreeSet};

/// A stretch is at least so long.
const STRETCH_BYTES: u64 = 256 << 10;

/// Segments of which summaries are kept; beyond it those of the oldest are made again when they are wanted.
const SUMMARY_COUNT_MAX: usize = 4096;

/// What a stream has in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Has {
    messages: u64,
    bytes: u64,
    oldest: UnixMicros,
}

/// Of a segment, from `from` on up to the next stretch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    from: u64,
    first_at: UnixMicros,
    last_at: UnixMicros,
}

/// What is known of a segment's messages.
#[derive(Debug)]
pub(crate) struct Summary {
    base: u64,
    /// Up to where it was read.
    until: u64,
    /// The segment has ended, and all of it was read.
    whole: bool,
    /// Streams were asked for what they have.
    counted: bool,
    streams: BTreeMap<u32, Has>,
    stretches: Vec<Stretch>,
}

/// What a reading has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// Bytes of records that are summed up now and were not before.
    pub(crate) bytes: u64,
    /// There is no more.
    pub(crate) whole: bool,
}

/// What is kept of a durable stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the oldest of them happened.
    pub oldest: Option<UnixMicros>,
}

/// Sums over the segments that the checkpoint stands for, and which of them has a stream's oldest message.
#[derive(Debug, Default)]
pub(crate) struct Base {
    /// Of which checkpoint, and of how many segments.
    of: (u64, usize),
    streams: BTreeMap<u32, (Retained, SegmentName)>,
}

impl Summary {
    const fn new(base: u64, counted: bool) -> Self {
        Self { base, until: base, whole: false, counted, streams: BTreeMap::new(), stretches: Vec::new() }
    }

    fn note(&mut self, offset: u64, at: UnixMicros) {
        match self.stretches.last_mut() {
            Some(last) if offset < last.from + STRETCH_BYTES => {
                last.first_at = last.first_at.min(at);
                last.last_at = last.last_at.max(at);
            }
            _ => self.stretches.push(Stretch { from: offset, first_at: at, last_at: at }),
        }
    }

    /// What of `part` may hold messages of these times, in order: `to` is not included, and open if it is 0. What was not
    /// read yet may.
    pub(crate) fn within(&self, part: &Part, from: UnixMicros, to: UnixMicros) -> Vec<(u64, u64)> {
        let (begin, end) = (part.extent.from, part.extent.until);
        let ends = self.stretches.iter().skip(1).map(|next| next.from).chain([self.until]);
        let known = self.stretches.iter().zip(ends).filter_map(|(stretch, end)| {
            let in_time = stretch.last_at >= from && (to.0 == 0 || stretch.first_at < to);
            in_time.then_some((stretch.from, end))
        });
        let rest = (!self.whole).then_some((self.until, end));
        let mut all: Vec<(u64, u64)> = Vec::new();
        for (from, until) in known.chain(rest) {
            let (from, until) = (from.max(begin), until.min(end));
            match all.last_mut() {
                _ if from >= until => {}
                Some(last) if last.1 == from => last.1 = until,
                _ => all.push((from, until)),
            }
        }
        all
    }
}

impl<F: Files> Keeper<F> {
    /// Reads what was written since the last call, at most some `budget` bytes of it. `streams` names the durable streams
    /// that cover an event. Says whether there is more to read.
    ///
    /// # Errors
    /// The host's; what was read before counts.
    pub fn follow(&mut self, streams: &mut Covering<'_>, budget: u64) -> Result<bool, Fault> {
        let catalog = &self.catalog;
        self.summaries.retain(|name, _| catalog.get(*name).is_some());
        self.sum_up();
        let written = self.catalog.iter().map(|info| info.name).filter(|name| !self.covered.contains_key(name));
        // Of the covered ones those are read whose usage does not say when the first message of a stream was.
        let oldest = self.base.streams.values().map(|(_, name)| *name);
        let names: BTreeSet<_> = written.chain(oldest).collect();
        let mut excess = self.summaries.len().saturating_sub(SUMMARY_COUNT_MAX);
        self.summaries.retain(|name, _| {
            let goes = excess > 0 && !names.contains(name);
            excess -= usize::from(goes);
            !goes
        });
        let mut left = budget;
        for name in names {
            let read = self.summarize(name, left, Some(&mut *streams))?;
            left = left.saturating_sub(read.bytes);
            if !read.whole || left == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on reading a segment for its summary.
    pub(crate) fn summarize(
        &mut self,
        name: SegmentName,
        budget: u64,
        mut streams: Option<&mut Covering<'_>>,
    ) -> Result<Read, Fault> {
        let nothing = Read { bytes: 0, whole: true };
        let Some(mut part) = self.catalog.part(name) else { return Ok(nothing) };
        let counted = streams.is_some();
        let former = self.summaries.remove(&name).filter(|former| {
            // A segment that was given up ends before what was read of it: that stands in another one.
            former.until <= part.extent.until && former.base == part.info.base && former.counted >= counted
        });
        let mut summary = former.unwrap_or_else(|| Summary::new(part.info.base, counted));
        if summary.whole {
            self.summaries.insert(name, summary);
            return Ok(nothing);
        }
        part.extent.from = summary.until.max(part.extent.from);
        let reached = self.read_part(&part, budget, |position, _, record| {
            if let Some(event) = event_of(record) {
                summary.note(position.offset(), event.at);
                if let Some(streams) = &mut streams {
                    let bytes = record.encoded_bytes() as u64;
                    streams(&event, &mut |stream| add(&mut summary.streams, stream, &event, bytes));
                }
            }
            true
        });
        let reached = reached?;
        let read = Read { bytes: reached.offset - part.extent.from, whole: reached.whole };
        summary.until = reached.offset;
        summary.whole = reached.whole && !part.info.is_unread();
        self.summaries.insert(name, summary);
        Ok(read)
    }

    /// What durable streams have, as far as it was read: their retention counts the segments that the checkpoint stands
    /// for, and this the younger ones too.
    #[must_use]
    pub fn retained(&mut self) -> BTreeMap<u32, Retained> {
        self.sum_up();
        let first_of = |stream: u32, name: SegmentName| {
            let known = self.summaries.get(&name).and_then(|summary| summary.streams.get(&stream));
            // Before it was read, it is known to be no older than this.
            known.map(|has| has.oldest).or_else(|| Some(self.catalog.get(name)?.first_at))
        };
        let mut all: BTreeMap<u32, Retained> = (self.base.streams.iter())
            .map(|(stream, (sum, name))| (*stream, Retained { oldest: first_of(*stream, *name), ..*sum }))
            .collect();
        for (_, summary) in self.summaries.iter().filter(|(name, _)| !self.covered.contains_key(name)) {
            for (stream, has) in &summary.streams {
                let sum = all.entry(*stream).or_default();
                sum.messages += has.messages;
                sum.bytes += has.bytes;
                sum.oldest = Some(sum.oldest.map_or(has.oldest, |oldest| oldest.min(has.oldest)));
            }
        }
        all
    }

    /// Sums up what the checkpoint stands for, if that has changed.
    fn sum_up(&mut self) {
        let of = (self.generation, self.covered.len());
        if self.base.of == of {
            return;
        }
        let mut streams: BTreeMap<u32, (Retained, SegmentName)> = BTreeMap::new();
        for (name, usage) in &self.covered {
            let first_at = |name: SegmentName| self.catalog.get(name).map_or(u64::MAX, |info| info.first_at.0);
            for (stream, used) in usage.iter().filter(|(_, used)| used.messages > 0) {
                let (sum, oldest) = streams.entry(*stream).or_insert((Retained::default(), *name));
                sum.messages += used.messages;
                sum.bytes += used.bytes;
                if first_at(*name) < first_at(*oldest) {
                    *oldest = *name;
                }
            }
        }
        self.base = Base { of, streams };
    }
}

fn add(streams: &mut BTreeMap<u32, Has>, stream: u32, event: &Event<'_>, bytes: u64) {
    let has = streams.entry(stream).or_insert(Has { messages: 0, bytes: 0, oldest: event.at });
    has.messages += 1;
    has.bytes += bytes;
    has.oldest = has.oldest.min(event.at);
}
