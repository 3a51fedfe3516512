//! The store: its connections, its transactions, its revision.

use crate::error::{Error, OpenError};
use crate::metrics::{Histogram, Timing};
use crate::schema;
use crate::seal::{Sealer, random};
use crate::{Snapshot, log};
use model::{Change, Checker};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::OpenOptions;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Idle connections that are kept for readers.
const IDLE_READER_COUNT_MAX: usize = 8;

/// Prepared statements that a connection remembers.
const STATEMENT_COUNT_MAX: usize = 128;

/// What the key check seals; any constant does.
const KEY_CHECK: &[u8] = b"trunkline";

/// An open store.
pub struct Store {
    path: PathBuf,
    identity: u64,
    revision: AtomicU64,
    sealer: Arc<Sealer>,
    writer: Mutex<WriterState>,
    idle: Mutex<Vec<Connection>>,
    reads: Histogram,
    writes: Histogram,
}

struct WriterState {
    conn: Connection,
    checker: Box<dyn Checker>,
}

/// What a write gave, and at which revision it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the closure returned.
    pub value: T,
    /// The store's revision that has it.
    pub revision: u64,
}

impl Store {
    /// Opens the store in `path`, whose secrets are sealed with the key in `key_path`. Both are made if neither exists.
    ///
    /// # Errors
    /// One line that says what is wrong: the schema is newer, the key file is another store's, the disk fails, or
    /// `checker` refuses what is stored.
    pub fn open(path: &Path, key_path: &Path, checker: Box<dyn Checker>) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        // SQLite gives its other files the mode of this one.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        file.map_err(|error| OpenError(format!("cannot open the store {shown}: {error}")))?;
        let mut conn =
            connect(path, true).map_err(|error| OpenError(format!("cannot open the store {shown}: {error}")))?;
        let failed = |error: Error| OpenError(format!("cannot read the store {shown}: {error}"));
        let is_new = schema::migrate(&mut conn, &shown)?;
        let has_meta = conn
            .query_row("SELECT count(*) FROM meta", [], |row| row.get::<_, i64>(0))
            .map_err(|error| failed(error.into()))?
            == 1;
        let sealer = Sealer::open(key_path, is_new || !has_meta)?;
        if !has_meta {
            create_meta(&conn, &sealer).map_err(|error| failed(error.into()))?;
        }
        let (identity, revision, key_check): (i64, i64, Vec<u8>) = conn
            .query_row("SELECT identity, revision, key_check FROM meta", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .map_err(|error| failed(error.into()))?;
        if sealer.open_sealed(b"meta", &key_check).is_err() {
            return Err(OpenError(format!(
                "the key file {} does not belong to the store {shown}: it cannot open its secrets",
                key_path.display()
            )));
        }
        let store = Self {
            path: path.to_owned(),
            identity: identity as u64,
            revision: AtomicU64::new(revision as u64),
            sealer: Arc::new(sealer),
            writer: Mutex::new(WriterState { conn, checker }),
            idle: Mutex::new(Vec::new()),
            reads: Histogram::default(),
            writes: Histogram::default(),
        };
        store.load_checker()?;
        Ok(store)
    }

    fn load_checker(&self) -> Result<(), OpenError> {
        let failed =
            |reason: String| OpenError(format!("the store {} cannot be loaded: {reason}", self.path.display()));
        let structure = self.read(|reader| reader.structure()).map_err(|error: Error| failed(error.to_string()))?;
        let mut state = lock(&self.writer);
        state.checker.check(&structure).map_err(|fault| failed(fault.to_string()))?;
        state.checker.keep();
        Ok(())
    }

    /// The random number made with the store, never 0.
    #[must_use]
    pub const fn identity(&self) -> u64 {
        self.identity
    }

    /// The newest committed revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// How long reads took, and writes.
    #[must_use]
    pub fn timings(&self) -> (Timing, Timing) {
        (self.reads.timing(), self.writes.timing())
    }

    /// Runs `f` on one state of the store.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn read<T, E: From<Error>>(&self, f: impl FnOnce(&Reader<'_>) -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let idle = lock(&self.idle).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => connect(&self.path, false).map_err(|error| E::from(error.into()))?,
        };
        let result = {
            let tx = conn.transaction().map_err(|error| E::from(error.into()))?;
            f(&Reader { conn: &tx, sealer: &self.sealer })
        };
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_READER_COUNT_MAX {
            idle.push(conn);
        }
        drop(idle);
        self.reads.add(start.elapsed());
        result
    }

    /// Runs `f` in the one write transaction there is at a time; what it wrote is kept if it, the checker and the disk
    /// agree, and then all of it under one new revision.
    ///
    /// # Errors
    /// Those of `f`, of the checker and of the database. Nothing was kept.
    pub fn write<T, E: From<Error>>(&self, f: impl FnOnce(&mut Writer<'_>) -> Result<T, E>) -> Result<Written<T>, E> {
        let start = Instant::now();
        let mut state = lock(&self.writer);
        let WriterState { conn, checker } = &mut *state;
        let broken = |error: rusqlite::Error| E::from(error.into());
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?;
        let before = self.revision.load(Ordering::Acquire);
        let mut writer = Writer {
            reader: Reader { conn: &tx, sealer: &self.sealer },
            revision: before + 1,
            now_us: now_us(),
            changes: Vec::new(),
            devices_added: 0,
            is_trial: false,
        };
        let value = f(&mut writer)?;
        let Writer { revision, changes, devices_added, is_trial, .. } = writer;
        if !changes.is_empty() {
            checker.check(&changes).map_err(|fault| E::from(Error::Refused(fault)))?;
        }
        if is_trial {
            return Ok(Written { value, revision: before });
        }
        tx.prepare_cached("UPDATE meta SET revision = ?1, device_count = device_count + ?2")
            .and_then(|mut statement| statement.execute([revision as i64, devices_added]))
            .map_err(broken)?;
        tx.commit().map_err(broken)?;
        if !changes.is_empty() {
            checker.keep();
        }
        self.revision.store(revision, Ordering::Release);
        drop(state);
        self.writes.add(start.elapsed());
        Ok(Written { value, revision })
    }

    /// Everything, as of now, in parts. It sees one revision however long it takes.
    ///
    /// # Errors
    /// When the database fails.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        log::Snapshot::new(connect(&self.path, false)?, Arc::clone(&self.sealer))
    }
}

/// One state of the store.
pub struct Reader<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) sealer: &'a Sealer,
}

/// A write transaction.
pub struct Writer<'a> {
    reader: Reader<'a>,
    pub(crate) revision: u64,
    pub(crate) now_us: u64,
    pub(crate) changes: Vec<Change>,
    /// Less those that were removed.
    pub(crate) devices_added: i64,
    is_trial: bool,
}

impl Writer<'_> {
    /// Lets everything be checked, and nothing be kept.
    pub const fn only_try(&mut self) {
        self.is_trial = true;
    }
}

impl<'a> Deref for Writer<'a> {
    type Target = Reader<'a>;

    fn deref(&self) -> &Reader<'a> {
        &self.reader
    }
}

/// Order of the column is the order of the EUIs.
pub(crate) const fn eui_key(eui: base::Eui64) -> i64 {
    (eui.to_u64() ^ 1 << 63) as i64
}

/// The inverse of [`eui_key`].
pub(crate) const fn key_eui(key: i64) -> base::Eui64 {
    base::Eui64::new(key as u64 ^ 1 << 63)
}

fn connect(path: &Path, is_writer: bool) -> rusqlite::Result<Connection> {
    let access = if is_writer {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    } else {
        // Not read-only: a reader may have to recover the WAL's index.
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(STATEMENT_COUNT_MAX);
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // An answered write survives power loss.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", if is_writer { -65_536 } else { -8_192 })?;
    if !is_writer {
        conn.pragma_update(None, "query_only", true)?;
    }
    Ok(conn)
}

fn create_meta(conn: &Connection, sealer: &Sealer) -> rusqlite::Result<()> {
    let identity = i64::from_ne_bytes(random()) | 1;
    conn.execute(
        "INSERT INTO meta (only, identity, revision, floor, key_check) VALUES (1, ?1, 1, 0, ?2)",
        (identity, sealer.seal(b"meta", KEY_CHECK)),
    )?;
    Ok(())
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A writer that panicked left a transaction that was rolled back: the state behind the lock is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
