//! History: a stream's messages as they are kept, by time and device, a page at a time; and what a journal is made of.
//!
//! Reads files only, those that are being written included: what is not whole there yet ends a page.

use crate::{Fault, Keeper};
use base::{Eui64, UnixMicros};
use event::Event;
use files::Files;
use journal::{Kind, Position, Record, SegmentInfo};
use session::body::UplinkBody;

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

/// What was found in a segment.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The segment.
    pub info: SegmentInfo,
    /// Records by kind.
    pub kinds: Vec<(String, u64)>,
    /// Stretches that could not be read.
    pub corrupt: u64,
}

impl<F: Files> Keeper<F> {
    /// Gives the messages that are asked for and that `wants` takes, in the order of the journal, until `each` has had
    /// [`Query::limit`] of them.
    ///
    /// # Errors
    /// The host's.
    pub fn history(
        &self,
        query: &Query,
        mut wants: impl FnMut(&Event<'_>) -> bool,
        mut each: impl FnMut(Position, &Event<'_>),
    ) -> Result<Page, Fault> {
        let mut count = 0;
        let mut next = None;
        for part in self.catalog.needed(u64::MAX, query.after) {
            let (_, whole, _) = self.scan_until(&part, |position, record| {
                let Some(event) = event_of(record) else { return true };
                let in_time = event.at >= query.from && (query.to.0 == 0 || event.at < query.to);
                let of_device = query.device.is_none_or(|device| event.dev_eui == device);
                if position < query.after || !in_time || !of_device || !wants(&event) {
                    return true;
                }
                if count == query.limit {
                    next = Some(position);
                    return false;
                }
                count += 1;
                each(position, &event);
                true
            })?;
            if !whole {
                break;
            }
        }
        Ok(Page { count, next })
    }

    /// Looks at every segment.
    ///
    /// # Errors
    /// The host's.
    pub fn inspect(&self, mut each: impl FnMut(&Inspected)) -> Result<(), Fault> {
        for info in self.catalog.iter() {
            let mut kinds = std::collections::BTreeMap::<String, u64>::new();
            let mut corrupt = 0;
            if let Some(part) = self.catalog.part(info.name) {
                corrupt = self.scan(&part, |_, record| *kinds.entry(format!("{:?}", record.kind)).or_default() += 1)?;
            }
            each(&Inspected { info: *info, kinds: kinds.into_iter().collect(), corrupt });
        }
        Ok(())
    }
}

/// The event of a record, if it has one.
fn event_of<'a>(record: &Record<'a>) -> Option<Event<'a>> {
    match record.kind {
        Kind::Uplink => UplinkBody::parse(record.body)?.event,
        Kind::Event => Event::parse(record.body).ok(),
        _ => None,
    }
}
