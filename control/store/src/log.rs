//! What the dataplane must be told: what changed since a revision, or everything.
//!
//! There is no log that grows: each thing remembers the revision that changed it last, and what is gone leaves its key
//! behind. A change is therefore told once, with the value the thing has now.

use crate::devices;
use crate::error::Error;
use crate::kept::{DEVICE_KIND, removal};
use crate::seal::Sealer;
use crate::store::{Reader, Store, eui_key};
use base::Eui64;
use model::change::{self, removed};
use model::{Application, Change, Profile, Stream, Tenant};
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;

/// Removals that are remembered. Who is further behind needs a snapshot.
const REMOVED_COUNT_MAX: u32 = 200_000;

/// A change and the revision that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The revision that changed the thing last.
    pub revision: u64,
    /// Its value now, or its removal.
    pub change: Change,
}

/// What lies after a revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Since {
    /// This, in order of revisions.
    Changes {
        /// The store's newest revision.
        latest: u64,
        /// The changes: of everything but devices all, of devices the first.
        logged: Vec<Logged>,
        /// Whether these are all. If not, the last revision among the devices may be incomplete.
        complete: bool,
    },
    /// The revision is unknown or too old: a snapshot is needed.
    TooFar {
        /// The store's newest revision.
        latest: u64,
    },
}

impl Reader<'_> {
    /// What changed after `revision`, with at most `device_count_max` devices.
    ///
    /// # Errors
    /// When the database fails.
    pub fn changes_since(&self, revision: u64, device_count_max: usize) -> Result<Since, Error> {
        let (latest, floor) = self.meta()?;
        if revision < floor || revision > latest {
            return Ok(Since::TooFar { latest });
        }
        let mut all = Vec::new();
        let settings = self.settings()?;
        if settings.revision > revision {
            all.push((settings.revision, change::settings(&settings.value)));
        }
        self.changed::<Tenant>(revision, &mut all)?;
        self.changed::<Application>(revision, &mut all)?;
        self.changed::<Profile>(revision, &mut all)?;
        self.gateways_changed(revision, &mut all)?;
        self.changed::<Stream>(revision, &mut all)?;
        self.removed_since("kind < ?1", revision, usize::MAX, &mut all)?;
        // Both are read to the same count, merged, and cut where the shorter view ends.
        let mut devices = self.devices_changed(revision, device_count_max)?;
        self.removed_since("kind = ?1", revision, device_count_max, &mut devices)?;
        devices.sort_by_key(|(revision, _)| *revision);
        let complete = devices.len() < device_count_max;
        devices.truncate(device_count_max);
        all.append(&mut devices);
        all.sort_by_key(|(revision, _)| *revision);
        let logged = all.into_iter().map(|(revision, change)| Logged { revision, change }).collect();
        Ok(Since::Changes { latest, logged, complete })
    }

    fn removed_since(
        &self,
        kinds: &str,
        revision: u64,
        limit: usize,
        out: &mut Vec<(u64, Change)>,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT kind, key, revision FROM removed WHERE {kinds} AND revision > ?2 ORDER BY revision LIMIT ?3"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query((DEVICE_KIND, revision as i64, limit))?;
        while let Some(row) = rows.next()? {
            out.push((row.get::<_, i64>(2)? as u64, removed(removal(row.get(0)?, row.get(1)?)?)));
        }
        Ok(())
    }

    fn meta(&self) -> Result<(u64, u64), Error> {
        Ok(self
            .conn
            .prepare_cached("SELECT revision, floor FROM meta")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))?)
    }

    /// Everything but gateways and devices, in an order in which each thing comes after what it refers to.
    pub(crate) fn structure(&self) -> Result<Vec<Change>, Error> {
        let mut all = vec![(0, change::settings(&self.settings()?.value))];
        self.changed::<Tenant>(0, &mut all)?;
        self.changed::<Application>(0, &mut all)?;
        self.changed::<Profile>(0, &mut all)?;
        self.changed::<Stream>(0, &mut all)?;
        Ok(all.into_iter().map(|(_, change)| change).collect())
    }
}

impl Store {
    /// What changed after `revision`; see [`Reader::changes_since`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn changes_since(&self, revision: u64, device_count_max: usize) -> Result<Since, Error> {
        self.read(|reader| reader.changes_since(revision, device_count_max))
    }

    /// Forgets the oldest removals, if there are too many. Costs little if there are not: to be called
    /// now and then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_removals(&self) -> Result<(), Error> {
        self.keep_removals(REMOVED_COUNT_MAX)
    }

    /// Forgets the older half of the removals if there are more than `count_max`.
    pub(crate) fn keep_removals(&self, count_max: u32) -> Result<(), Error> {
        let newest_forgotten = self.read(|reader| {
            let count: u32 = reader.conn.query_row("SELECT count(*) FROM removed", [], |row| row.get(0))?;
            if count <= count_max {
                return Ok::<_, Error>(None);
            }
            let sql = "SELECT revision FROM removed ORDER BY revision DESC LIMIT 1 OFFSET ?1";
            Ok(reader.conn.query_row(sql, [count_max / 2], |row| row.get::<_, i64>(0)).optional()?)
        })?;
        let Some(newest_forgotten) = newest_forgotten else { return Ok(()) };
        self.write(|writer| {
            writer.conn.execute("DELETE FROM removed WHERE revision <= ?1", [newest_forgotten])?;
            writer.conn.execute("UPDATE meta SET floor = ?1", [newest_forgotten])?;
            Ok::<_, Error>(())
        })
        .map(|_| ())
    }
}

/// Everything at one revision, read in parts. Holds a read transaction of its own.
pub struct Snapshot {
    conn: Connection,
    sealer: Arc<Sealer>,
    revision: u64,
    stage: Stage,
}

enum Stage {
    Structure,
    Gateways(Option<Eui64>),
    Devices(Option<Eui64>),
    Done,
}

impl Snapshot {
    pub(crate) fn new(conn: Connection, sealer: Arc<Sealer>) -> Result<Self, Error> {
        conn.execute_batch("BEGIN")?;
        let revision: i64 = conn.query_row("SELECT revision FROM meta", [], |row| row.get(0))?;
        Ok(Self { conn, sealer, revision: revision as u64, stage: Stage::Structure })
    }

    /// The revision that it is.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The next part, of about `count` changes (the first holds all structure); `None` after the last.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next(&mut self, count: usize) -> Result<Option<Vec<Change>>, Error> {
        assert!(count > 0, "a part holds something");
        let reader = Reader { conn: &self.conn, sealer: &self.sealer };
        loop {
            match self.stage {
                Stage::Structure => {
                    self.stage = Stage::Gateways(None);
                    return reader.structure().map(Some);
                }
                Stage::Gateways(after) => {
                    let gateways = reader.gateways(crate::Scope::default(), after, count)?;
                    self.stage = gateways.last().map_or(Stage::Devices(None), |last| Stage::Gateways(Some(last.id)));
                    if !gateways.is_empty() {
                        let change = |row: &model::Stored<Eui64, _>| change::gateway(row.id, &row.value);
                        return Ok(Some(gateways.iter().map(change).collect()));
                    }
                }
                Stage::Devices(after) => {
                    let sql = devices::const_select(&format!("eui > ?1 ORDER BY eui LIMIT {count}"));
                    let mut statement = self.conn.prepare_cached(&sql)?;
                    // No EUI is 0, so every one comes after it.
                    let mut rows = statement.query([eui_key(after.unwrap_or_default())])?;
                    let mut part = Vec::with_capacity(count);
                    let mut last = None;
                    while let Some(row) = rows.next()? {
                        let device = devices::record(row, &self.sealer)?;
                        part.push(change::device(device.id, &device.value));
                        last = Some(device.id);
                    }
                    self.stage = last.map_or(Stage::Done, |last| Stage::Devices(Some(last)));
                    if !part.is_empty() {
                        return Ok(Some(part));
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }
}
