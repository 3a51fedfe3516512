//! The store as the link reads it.

use crate::reader::{Source, View};
use contract::v1::change::Body;
use push::{Gap, Log, Logged, Page};
use std::sync::Arc;
use store::{Since, Snapshot, Store};

/// Devices that are read for one delta: more do not fit the frame that is aimed at.
const DEVICE_COUNT_MAX: usize = 20_000;
/// Changes that are read for one part of a snapshot: about [`contract::APPLY_BYTES_TARGET`] at 80 bytes a device.
const PAGE_COUNT: usize = 10_000;

/// A store that a link follows.
pub struct Stored(pub Arc<Store>);

impl Source for Stored {
    type View = StoredView;

    fn gap(&self, after: u64) -> Result<Gap, String> {
        match self.0.changes_since(after, DEVICE_COUNT_MAX).map_err(|error| error.to_string())? {
            Since::TooFar { .. } => Ok(Gap::TooFar),
            Since::Changes { latest, logged, complete } => {
                let mut log = Log { latest, complete, ..Log::default() };
                for store::Logged { revision, change } in logged {
                    match change.body {
                        Some(Body::Device(_) | Body::RemoveDevice(_)) => log.devices.push(Logged { revision, change }),
                        _ => log.others.push(change),
                    }
                }
                Ok(push::delta(log, contract::APPLY_BYTES_TARGET))
            }
        }
    }

    fn open(&self) -> Result<StoredView, String> {
        self.0.snapshot().map(|snapshot| StoredView { snapshot, next: None }).map_err(|error| error.to_string())
    }
}

/// A snapshot of the store. It reads one part ahead, so as to know which is the last.
pub struct StoredView {
    snapshot: Snapshot,
    next: Option<Vec<contract::v1::Change>>,
}

impl View for StoredView {
    fn revision(&self) -> u64 {
        self.snapshot.revision()
    }

    fn page(&mut self) -> Result<Page, String> {
        let mut read = || self.snapshot.next(PAGE_COUNT).map_err(|error| error.to_string());
        let part = match self.next.take() {
            Some(part) => Some(part),
            None => read()?,
        };
        let Some(changes) = part else { return Ok(Page { changes: Vec::new(), last: true }) };
        self.next = read()?;
        Ok(Page { changes, last: self.next.is_none() })
    }
}
