//! The stored plan: the changes that the control plane made, so that the dataplane serves without it, also after a restart.
//!
//! Owns one file and its format. A log of the contract's own change messages; what follows the last commit never
//! happened. A snapshot goes to a new file that takes the old one's name when it is whole.
//!
//! ```text
//!   | "TRKPLAN1" | store u64 |  then records  | length u32 | crc32 u32 | kind u8 | body |
//!   kind 1: a contract Change        kind 2: commit, body = revision u64
//! ```
//!
//! Holds root keys: mode 0600.

use contract::v1;
use prost::Message;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TRKPLAN1";
const HEADER_BYTES: u64 = 16;
const RECORD_HEAD_BYTES: usize = 9;
const KIND_CHANGE: u8 = 1;
const KIND_COMMIT: u8 = 2;
const RECORD_BYTES_MAX: usize = contract::FRAME_BYTES_MAX;

/// What is wrong with a stored plan.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file could not be read or written.
    Io(io::Error),
    /// It is no stored plan of this version.
    NotOurs,
    /// A record's checksum or content is wrong; the offset says which.
    Corrupt(u64),
}

impl core::fmt::Display for Fault {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::NotOurs => out.write_str("not a stored plan of this version"),
            Self::Corrupt(offset) => write!(out, "corrupt at byte {offset}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The open log.
#[derive(Debug)]
pub(crate) struct PlanLog {
    path: PathBuf,
    file: File,
    /// Whose configuration it is; 0 before the first snapshot.
    pub(crate) store: u64,
    /// The last committed revision.
    pub(crate) revision: u64,
    /// Where that ends.
    end: u64,
    /// The file can be written to, and nothing stands behind the end.
    is_ready: bool,
}

/// What a change is about, for "the last one counts".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Settings,
    Tenant(u32),
    Application(u32),
    Profile(u32),
    Stream(u32),
    Gateway(u64),
    Device(u64),
}

/// The key of a change, and whether it removes. `None` for a change that says nothing.
pub(crate) fn key(change: &v1::Change) -> Option<(Key, bool)> {
    use v1::change::Body;
    Some(match change.body.as_ref()? {
        Body::Settings(_) => (Key::Settings, false),
        Body::Tenant(tenant) => (Key::Tenant(tenant.id), false),
        Body::Application(application) => (Key::Application(application.id), false),
        Body::Profile(profile) => (Key::Profile(profile.id), false),
        Body::Stream(stream) => (Key::Stream(stream.id), false),
        Body::Gateway(gateway) => (Key::Gateway(gateway.eui), false),
        Body::Device(device) => (Key::Device(device.dev_eui), false),
        Body::RemoveTenant(id) => (Key::Tenant(*id), true),
        Body::RemoveApplication(id) => (Key::Application(*id), true),
        Body::RemoveProfile(id) => (Key::Profile(*id), true),
        Body::RemoveStream(id) => (Key::Stream(*id), true),
        Body::RemoveGateway(eui) => (Key::Gateway(*eui), true),
        Body::RemoveDevice(eui) => (Key::Device(*eui), true),
    })
}

impl PlanLog {
    /// Opens the log in `dir`, making an empty one if there is none. A torn tail is cut to the last commit; where the disk
    /// takes no writes it is passed over, and cut before the next change.
    ///
    /// # Errors
    /// [`Fault`]; after [`Fault::Corrupt`] or [`Fault::NotOurs`] the caller may [`PlanLog::set_aside`] and open again.
    pub(crate) fn open(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join("plan.log");
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path).map_err(|_| error)?,
            opened => opened?,
        };
        if file.metadata()?.len() == 0 {
            file.write_all(MAGIC)?;
            file.write_all(&0u64.to_le_bytes())?;
            file.sync_all()?;
        }
        let mut log = Self::read(path, file)?;
        if let Err(error) = log.make_ready() {
            tracing::warn!(%error, "the stored plan is served and cannot be changed: its disk takes no writes");
        }
        Ok(log)
    }

    /// The log in `dir` to be read alone; `None` if there is none.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) fn open_to_read(dir: &Path) -> Result<Option<Self>, Fault> {
        let path = dir.join("plan.log");
        match File::open(&path) {
            Ok(file) => Self::read(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same log once more, to be read while this one is somebody else's.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub(crate) fn reader(&self) -> Result<Self, Fault> {
        let file = File::open(&self.path)?;
        Ok(Self {
            path: self.path.clone(),
            file,
            store: self.store,
            revision: self.revision,
            end: self.end,
            is_ready: false,
        })
    }

    fn read(path: PathBuf, mut file: File) -> Result<Self, Fault> {
        let mut header = [0; HEADER_BYTES as usize];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut header).map_err(|_| Fault::NotOurs)?;
        if &header[..8] != MAGIC {
            return Err(Fault::NotOurs);
        }
        let store = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
        let mut log = Self { path, file, store, revision: 0, end: HEADER_BYTES, is_ready: false };
        let mut end = HEADER_BYTES;
        let mut revision = 0;
        log.scan(u64::MAX, |record| {
            if record.kind == KIND_COMMIT {
                end = record.end;
                revision = u64::from_le_bytes(record.body.try_into().map_err(|_| Fault::Corrupt(record.end))?);
            }
            Ok(())
        })?;
        (log.revision, log.end) = (revision, end);
        Ok(log)
    }

    /// Moves a log that cannot be read out of the way. Returns its new place.
    pub(crate) fn set_aside(dir: &Path) -> io::Result<PathBuf> {
        let target = dir.join("plan.log.corrupt");
        std::fs::rename(dir.join("plan.log"), &target)?;
        Ok(target)
    }

    /// Calls `each` with the last change of every key that still exists: structure first, then gateways and devices. What
    /// stands behind the last commit never happened.
    ///
    /// Twice through the file, since what counts is known only at its end. In between, 16 bytes for each change of a gateway
    /// or device are held, and the places of those that do not count: few, for the log is written anew before they are many.
    pub(crate) fn replay(&mut self, mut each: impl FnMut(v1::Change)) -> Result<Replayed, Fault> {
        let end = self.end;
        let mut last: HashMap<Key, (u64, bool)> = HashMap::new();
        let mut structure = Vec::new();
        let (mut gateways, mut devices) = (Changes::default(), Changes::default());
        let mut change_count = 0;
        self.scan(end, |record| {
            if record.kind == KIND_CHANGE {
                let change = v1::Change::decode(record.body).map_err(|_| Fault::Corrupt(record.end))?;
                let (key, removed) = key(&change).ok_or(Fault::Corrupt(record.end))?;
                change_count += 1;
                match key {
                    Key::Gateway(eui) => gateways.push(eui, record.end, removed),
                    Key::Device(eui) => devices.push(eui, record.end, removed),
                    _ => {
                        last.insert(key, (record.end, removed));
                        structure.extend((!removed).then_some((key, record.end, change)));
                    }
                }
            }
            Ok(())
        })?;
        structure.retain(|(key, at, _)| last.get(key) == Some(&(*at, false)));
        structure.sort_by_key(|(key, _, _)| *key);
        let mut live_count = structure.len();
        structure.into_iter().for_each(|(_, _, change)| each(change));
        let mut overtaken = Vec::new();
        live_count += gateways.settle(&mut overtaken) + devices.settle(&mut overtaken);
        overtaken.sort_unstable();
        let mut overtaken = overtaken.into_iter().peekable();
        self.scan(end, |record| {
            if record.kind == KIND_CHANGE && overtaken.next_if_eq(&record.end).is_none() {
                let change = v1::Change::decode(record.body).map_err(|_| Fault::Corrupt(record.end))?;
                if key(&change).is_some_and(|(key, _)| key >= Key::Gateway(0)) {
                    each(change);
                }
            }
            Ok(())
        })?;
        Ok(Replayed { change_count, live_count })
    }

    /// Writes the live changes to a fresh log that takes this one's place.
    pub(crate) fn compact(&mut self) -> Result<(), Fault> {
        let mut staging = self.stage(self.store)?;
        let mut failed = None;
        self.replay(|change| {
            if failed.is_none() {
                failed = staging.push(&change).err();
            }
        })?;
        match failed {
            Some(error) => {
                staging.discard();
                Err(error.into())
            }
            None => Ok(self.adopt(staging, self.revision)?),
        }
    }

    /// Appends a delta and its commit; on disk when this returns.
    pub(crate) fn append(&mut self, changes: &[v1::Change], revision: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        for change in changes {
            record(&mut bytes, KIND_CHANGE, &change.encode_to_vec());
        }
        record(&mut bytes, KIND_COMMIT, &revision.to_le_bytes());
        self.make_ready()?;
        self.is_ready = false;
        if let Err(error) = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_data()) {
            // What is half written must not stand before the next commit. A disk that takes nothing may not take this either:
            // then it is done before that.
            let _cut = self.make_ready();
            return Err(error);
        }
        (self.revision, self.end, self.is_ready) = (revision, self.end + bytes.len() as u64, true);
        Ok(())
    }

    /// Opens the file to be written to and cuts what stands behind the last commit, unless that was done.
    fn make_ready(&mut self) -> io::Result<()> {
        if self.is_ready {
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        if file.metadata()?.len() > self.end {
            file.set_len(self.end)?;
        }
        (self.file, self.is_ready) = (file, true);
        Ok(())
    }

    /// Begins a snapshot beside the log.
    pub(crate) fn stage(&self, store: u64) -> io::Result<Staging> {
        let path = self.path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        writer.write_all(MAGIC)?;
        writer.write_all(&store.to_le_bytes())?;
        Ok(Staging { path, writer, store, bytes: Vec::new() })
    }

    /// Puts a whole snapshot in this log's place.
    pub(crate) fn adopt(&mut self, mut staging: Staging, revision: u64) -> io::Result<()> {
        let written = staging.write(KIND_COMMIT, &revision.to_le_bytes()).and_then(|()| staging.writer.flush());
        if let Err(error) = written.and_then(|()| staging.writer.get_ref().sync_all()) {
            staging.discard();
            return Err(error);
        }
        let (file, _nothing) = staging.writer.into_parts();
        let end = file.metadata()?.len();
        std::fs::rename(&staging.path, &self.path)?;
        // From here on it is what a start would find, whatever becomes of the rest.
        (self.file, self.end, self.is_ready) = (file, end, true);
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        self.store = staging.store;
        self.revision = revision;
        Ok(())
    }

    /// Reads records up to `end` or the first incomplete one.
    fn scan(&mut self, end: u64, mut each: impl FnMut(Record<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        self.file.seek(SeekFrom::Start(HEADER_BYTES))?;
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut at = HEADER_BYTES;
        let mut body = Vec::new();
        while at < end {
            let mut head = [0; RECORD_HEAD_BYTES];
            if !read_whole(&mut reader, &mut head)? {
                break;
            }
            let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
            let crc = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
            if length > RECORD_BYTES_MAX {
                return Err(Fault::Corrupt(at));
            }
            body.resize(length, 0);
            if !read_whole(&mut reader, &mut body)? {
                break;
            }
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&head[8..]);
            hasher.update(&body);
            if hasher.finalize() != crc {
                return Err(Fault::Corrupt(at));
            }
            at += (RECORD_HEAD_BYTES + length) as u64;
            each(Record { kind: head[8], body: &body, end: at })?;
        }
        Ok(())
    }
}

/// The changes of one kind of things that a log holds: of what, where, and whether it removes.
#[derive(Default)]
struct Changes(Vec<(u64, u64)>);

impl Changes {
    fn push(&mut self, eui: u64, end: u64, removed: bool) {
        self.0.push((eui, end << 1 | u64::from(removed)));
    }

    /// Adds where the changes end that do not count: those that have a later one, and removals. Returns how many count.
    fn settle(mut self, overtaken: &mut Vec<u64>) -> usize {
        self.0.sort_unstable();
        let before = overtaken.len();
        let mut rest = self.0.iter().peekable();
        while let Some((eui, place)) = rest.next() {
            let is_last = rest.peek().is_none_or(|(next, _)| next != eui);
            if !is_last || place & 1 == 1 {
                overtaken.push(place >> 1);
            }
        }
        self.0.len() - (overtaken.len() - before)
    }
}

/// How much of a log was live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) change_count: usize,
    pub(crate) live_count: usize,
}

/// A snapshot on its way into the log.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    writer: BufWriter<File>,
    store: u64,
    bytes: Vec<u8>,
}

impl Staging {
    /// Adds one change.
    pub(crate) fn push(&mut self, change: &v1::Change) -> io::Result<()> {
        self.write(KIND_CHANGE, &change.encode_to_vec())
    }

    /// Removes it: the disk may be full because of it.
    pub(crate) fn discard(self) {
        // What is buffered is of no use. A file that stays behind is truncated by the next snapshot.
        let (_file, _unwritten) = self.writer.into_parts();
        let _removed = std::fs::remove_file(&self.path);
    }

    fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.bytes.clear();
        record(&mut self.bytes, kind, body);
        self.writer.write_all(&self.bytes)
    }
}

struct Record<'a> {
    kind: u8,
    body: &'a [u8],
    /// Offset of the next record.
    end: u64,
}

fn record(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(body);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

/// Whether `target` could be filled; an end before that is a torn tail.
fn read_whole(reader: &mut impl Read, target: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::change::Body;

    fn tenant(id: u32, name: &str) -> v1::Change {
        v1::Change { body: Some(Body::Tenant(v1::Tenant { id, name: name.into() })) }
    }

    fn device(dev_eui: u64) -> v1::Change {
        v1::Change { body: Some(Body::Device(v1::Device { dev_eui, ..Default::default() })) }
    }

    fn remove_device(dev_eui: u64) -> v1::Change {
        v1::Change { body: Some(Body::RemoveDevice(dev_eui)) }
    }

    fn all(log: &mut PlanLog) -> Vec<v1::Change> {
        let mut all = Vec::new();
        log.replay(|change| all.push(change)).expect("readable");
        all
    }

    #[test]
    fn the_last_change_of_a_key_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        log.append(&[device(1), tenant(1, "old"), device(2)], 1).expect("room");
        log.append(&[tenant(1, "new"), remove_device(1), device(3)], 2).expect("room");
        let expected = vec![tenant(1, "new"), device(2), device(3)];
        assert_eq!(all(&mut log), expected);
        log.compact().expect("room");
        assert_eq!(all(&mut log), expected);
        drop(log);
        let mut log = PlanLog::open(dir.path()).expect("the same log");
        assert_eq!((log.revision, all(&mut log)), (2, expected));
    }

    #[test]
    fn of_many_changes_the_last_ones_are_replayed_in_their_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        let mut random = base::mix::SplitMix64::new(9);
        // By key: when it was changed last, and to what; nothing if it was removed.
        let mut model = HashMap::new();
        let changes: Vec<v1::Change> = (0..2000u32)
            .map(|at| {
                let eui = random.below(100);
                let body = match random.below(6) {
                    0 => Body::RemoveDevice(eui),
                    1 => Body::RemoveGateway(eui),
                    2 | 3 => Body::Gateway(v1::Gateway { eui, tenant: at, ..Default::default() }),
                    _ => Body::Device(v1::Device { dev_eui: eui, tenant: at, ..Default::default() }),
                };
                let change = v1::Change { body: Some(body) };
                let (key, removed) = key(&change).expect("it says something");
                model.insert(key, (at, (!removed).then(|| change.clone())));
                change
            })
            .collect();
        log.append(&changes, 1).expect("room");
        let mut expected: Vec<_> = model.into_values().filter_map(|(at, change)| Some((at, change?))).collect();
        expected.sort_by_key(|(at, _)| *at);
        let expected: Vec<_> = expected.into_iter().map(|(_, change)| change).collect();
        let mut found = Vec::new();
        let replayed = log.reader().and_then(|mut log| log.replay(|change| found.push(change))).expect("readable");
        assert_eq!((replayed.change_count, replayed.live_count), (2000, expected.len()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_torn_tail_never_happened() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plan.log");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        log.append(&[tenant(1, "kept")], 1).expect("room");
        let kept = std::fs::metadata(&path).expect("it is there").len();
        log.append(&[tenant(1, "lost"), device(7)], 2).expect("room");
        let whole = std::fs::read(&path).expect("readable");
        for cut in kept as usize..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("room");
            let mut log = PlanLog::open(dir.path()).expect("a torn log");
            assert_eq!((log.revision, all(&mut log)), (1, vec![tenant(1, "kept")]), "cut to {cut}");
        }
    }

    #[test]
    fn what_was_half_written_does_not_stand_before_the_next_commit() {
        for half in [0, 5, 20, usize::MAX] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("plan.log");
            let mut log = PlanLog::open(dir.path()).expect("a new log");
            log.append(&[tenant(1, "kept")], 1).expect("room");
            // A disk that took so much of the change before it failed, and not that it be cut.
            let whole = std::fs::read(&path).expect("readable");
            let records = &whole[HEADER_BYTES as usize..];
            std::fs::write(&path, [&whole, &records[..half.min(records.len())]].concat()).expect("room");
            log.file = File::open(&path).expect("to be read");
            log.append(&[tenant(1, "refused")], 2).expect_err("it takes no writes");
            assert_eq!((log.revision, all(&mut log)), (1, vec![tenant(1, "kept")]));
            log.append(&[tenant(2, "next")], 3).expect("it takes writes again");
            let mut again = PlanLog::open(dir.path()).expect("the same log");
            assert_eq!((again.revision, all(&mut again)), (3, vec![tenant(1, "kept"), tenant(2, "next")]));
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_set_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plan.log");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        log.append(&[tenant(1, "kept")], 1).expect("room");
        let whole = std::fs::read(&path).expect("readable");
        for at in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("room");
            assert!(matches!(PlanLog::open(dir.path()), Err(Fault::NotOurs)));
        }
        let mut bytes = whole.clone();
        bytes[HEADER_BYTES as usize + 12] ^= 0x10;
        std::fs::write(&path, &bytes).expect("room");
        assert!(matches!(PlanLog::open(dir.path()), Err(Fault::Corrupt(HEADER_BYTES))));
        let aside = PlanLog::set_aside(dir.path()).expect("renamed");
        assert!(aside.exists());
        assert_eq!(PlanLog::open(dir.path()).expect("a new log").revision, 0);
    }

    #[test]
    fn a_full_disk_refuses_a_snapshot_and_keeps_the_plan() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        log.append(&[tenant(1, "kept"), device(1)], 5).expect("room");
        // Whatever is written to this device finds the disk full.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("plan.new")).expect("a link");
        let mut staging = log.stage(77).expect("opened");
        staging.push(&tenant(2, "new")).expect("buffered");
        let error = log.adopt(staging, 9).expect_err("there is no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((log.store, log.revision), (0, 5));
        assert_eq!(all(&mut log), vec![tenant(1, "kept"), device(1)]);
        log.append(&[device(2)], 6).expect("room");
        drop(log);
        assert_eq!(PlanLog::open(dir.path()).expect("the same log").revision, 6);
    }

    #[test]
    fn a_snapshot_replaces_everything_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = PlanLog::open(dir.path()).expect("a new log");
        log.append(&[tenant(1, "old"), device(1)], 5).expect("room");
        let mut staging = log.stage(77).expect("room");
        staging.push(&tenant(2, "new")).expect("room");
        assert_eq!(all(&mut log), vec![tenant(1, "old"), device(1)], "the old one serves until then");
        log.adopt(staging, 9).expect("room");
        log.append(&[device(4)], 10).expect("room");
        drop(log);
        let mut log = PlanLog::open(dir.path()).expect("the same log");
        assert_eq!((log.store, log.revision), (77, 10));
        assert_eq!(all(&mut log), vec![tenant(2, "new"), device(4)]);
    }
}
