//! The store as the link reads it.

use crate::reader::{Source, View};
use contract::v1::Change;
use contract::v1::change::Body;
use push::{Gap, Log, Logged, Page};
use std::collections::VecDeque;
use std::sync::Arc;
use store::{Since, Snapshot, Store};

/// Devices that are read for one delta: more do not fit the frame that is aimed at.
const DEVICE_COUNT_MAX: usize = 20_000;
/// Changes that are read at a time for a snapshot: about [`contract::APPLY_BYTES_TARGET`] at 80 bytes a device.
const PAGE_COUNT: usize = 10_000;

// One change is always sent: the greatest, a stream with its templates, is as long as the body of a request at most.
const _: () = assert!(contract::APPLY_BYTES_TARGET * 2 < contract::FRAME_BYTES_MAX);

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
        let view = |snapshot| StoredView { snapshot, waiting: VecDeque::new() };
        self.0.snapshot().map(view).map_err(|error| error.to_string())
    }
}

/// A snapshot of the store, cut into parts of about [`contract::APPLY_BYTES_TARGET`] in the store's order: a part may
/// name only what came before. It reads ahead, so as to know which part is the last.
pub struct StoredView {
    snapshot: Snapshot,
    waiting: VecDeque<Change>,
}

impl StoredView {
    /// Whether a change waits, after reading on if none did.
    fn has_more(&mut self) -> Result<bool, String> {
        while self.waiting.is_empty() {
            match self.snapshot.next(PAGE_COUNT).map_err(|error| error.to_string())? {
                Some(changes) => self.waiting.extend(changes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl View for StoredView {
    fn revision(&self) -> u64 {
        self.snapshot.revision()
    }

    fn page(&mut self) -> Result<Page, String> {
        let mut changes = Vec::new();
        let mut bytes = 0;
        while self.has_more()? {
            let Some(change) = self.waiting.front() else { break };
            bytes += push::bytes_of(change);
            if !changes.is_empty() && bytes > contract::APPLY_BYTES_TARGET {
                return Ok(Page { changes, last: false });
            }
            changes.extend(self.waiting.pop_front());
            if changes.len() == PAGE_COUNT {
                break;
            }
        }
        Ok(Page { changes, last: !self.has_more()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::v1::{Apply, ToDataplane, to_dataplane};
    use model::{Checker, Compiler, Copies, Delivery, Format, Level, Name, Stream, Tenant, WhenFull};
    use std::collections::BTreeMap;

    fn stream(tenant: model::TenantId, number: usize) -> Stream {
        let templates = BTreeMap::from([("uplink".to_owned(), "x".repeat(Format::TEMPLATE_BYTES_MAX))]);
        Stream {
            tenant: Some(tenant),
            name: Name::parse(format!("Stream {number}")).unwrap(),
            level: Level::Tenant,
            copies: Copies::All,
            kinds: Vec::new(),
            format: Format::Own(templates),
            enabled: true,
            downlinks: true,
            deflate: false,
            queue_bytes_max: None,
            when_full: WhenFull::DropNewest,
            ping_interval_s: None,
            connection_count_max: None,
            delivery: Delivery::Live,
        }
    }

    /// Structure alone is longer than a frame may be; every part fits one, and can be checked after those before it.
    #[test]
    fn parts_fit_frames_and_name_only_what_came_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trunkline.db");
        let store = Store::open(&path, &directory.path().join("store.key"), Box::<Compiler>::default()).unwrap();
        let count = contract::FRAME_BYTES_MAX / Format::TEMPLATE_BYTES_MAX + 2;
        let written = store.write(|writer| {
            let tenant = writer.insert(&Tenant { name: Name::parse("Acme").unwrap() })?.number;
            for number in 0..count {
                writer.insert(&stream(tenant, number))?;
            }
            Ok::<_, store::Error>(())
        });
        written.unwrap();
        let mut view = Stored(Arc::new(store)).open().unwrap();
        let mut compiler = Compiler::default();
        let (mut streams, mut parts) = (0, 0);
        loop {
            let Page { changes, last } = view.page().unwrap();
            compiler.check(&changes).unwrap();
            compiler.keep();
            streams += changes.iter().filter(|change| matches!(change.body, Some(Body::Stream(_)))).count();
            let body = Some(to_dataplane::Body::Apply(Apply { revision: 0, changes }));
            contract::frame::encode(&ToDataplane { request: u64::MAX, body }, &mut Vec::new()).unwrap();
            parts += 1;
            if last {
                break;
            }
        }
        assert_eq!(streams, count);
        assert!(parts > 4, "{parts} parts");
    }
}
