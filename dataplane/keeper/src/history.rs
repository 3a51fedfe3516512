//! History: a stream's messages as they are kept, by time and device, a page at a time.
//!
//! Reads files only, those that are being written included: what is not whole there yet ends a page. A page costs its own
//! size: it begins where the one before has ended, times are looked up in the summaries of segments, and what lies behind
//! the last record of a segment that is being written is not read.

use crate::{Fault, Keeper};
use base::{Eui64, UnixMicros};
use event::Event;
use files::Files;
use journal::{Extent, Kind, Part, Position, Record};
use session::body::UplinkBody;

/// Bytes that are read for one page, about; so whoever asks for what is rare holds nobody up, and gets shorter pages.
const READ_BYTES_MAX: u64 = 32 << 20;

/// How far the clock may be set back while it is relied on that a record is no older than what it tells.
const CLOCK_SLACK_US: u64 = 60_000_000;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// Not before this.
    pub from: UnixMicros,
    /// Before this; 0 is open.
    pub to: UnixMicros,
    /// Of this device only.
    pub device: Option<Eui64>,
    /// Behind what earlier pages have given.
    pub after: Position,
    /// Messages of one page.
    pub limit: usize,
}

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Messages that were given.
    pub count: usize,
    /// Where the next page begins; `None` if there is none.
    pub next: Option<Position>,
}

impl<F: Files> Keeper<F> {
    /// Gives the messages that are asked for and that `wants` takes, in the order of the journal, until `each` has had
    /// [`Query::limit`] of them, has no room for one and says so, or enough was read for one page.
    ///
    /// # Errors
    /// The host's.
    pub fn history(
        &mut self,
        query: &Query,
        mut wants: impl FnMut(&Event<'_>) -> bool,
        mut each: impl FnMut(Position, &Event<'_>) -> bool,
    ) -> Result<Page, Fault> {
        let is_timed = query.from.0 > 0 || query.to.0 > 0;
        let mut page = Page { count: 0, next: None };
        let mut left = READ_BYTES_MAX;
        let parts = self.catalog.needed(u64::MAX, query.after).filter(|part| !part.info.is_awaited());
        for part in parts.collect::<Vec<_>>() {
            let name = part.info.name;
            let end = UnixMicros(part.info.last_at.0.saturating_add(CLOCK_SLACK_US));
            // An event is no younger than its record.
            if is_timed && end < query.from {
                continue;
            }
            if left == 0 {
                page.next = Some(name.position(part.extent.from));
                return Ok(page);
            }
            if is_timed && self.covered.contains_key(&name) {
                let read = self.summarize(name, left, None)?;
                left = left.saturating_sub(read.bytes);
                if !read.whole {
                    // The next one goes on with it.
                    page.next = Some(name.position(part.extent.from));
                    return Ok(page);
                }
            }
            let all = || vec![(part.extent.from, part.extent.until)];
            let summary = self.summaries.get(&name).filter(|_| is_timed);
            for (from, until) in summary.map_or_else(all, |summary| summary.within(&part, query.from, query.to)) {
                let stored = part.extent.stored.min(until);
                let part = Part { extent: Extent { from, until, stored }, ..part };
                let reached = self.read_part(&part, left.max(1), |position, _, record| {
                    let Some(event) = event_of(record) else { return true };
                    let in_time = event.at >= query.from && (query.to.0 == 0 || event.at < query.to);
                    let of_device = query.device.is_none_or(|device| event.dev_eui == device);
                    if position < query.after || !in_time || !of_device || !wants(&event) {
                        return true;
                    }
                    let taken = page.count < query.limit && each(position, &event);
                    page.count += usize::from(taken);
                    taken
                })?;
                left = left.saturating_sub(reached.bytes);
                if !reached.whole {
                    page.next = Some(name.position(reached.offset));
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }
}

/// The event of a record, if it has one.
pub(crate) fn event_of<'a>(record: &Record<'a>) -> Option<Event<'a>> {
    match record.kind {
        Kind::Uplink => UplinkBody::parse(record.body)?.event,
        Kind::Event => Event::parse(record.body).ok(),
        _ => None,
    }
}
