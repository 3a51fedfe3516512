//! The stored sessions: records of device state that must not go back, appended as the shards hand them out.
//!
//! Owns one file of fixed-size records, each with its checksum; the last record of a device counts. When most of it is
//! stale a thread writes what counts to a new file, while records go on to be appended; then the new file, with what was
//! appended meanwhile, takes the old one's place. Holds session keys: mode 0600.
//!
//! ```text
//!   | "TRKSESS1" |  then  | crc32 u32 | record (see `session::SessionRecord`) |
//! ```

use base::Eui64;
use session::{RECORD_BYTES, SessionRecord};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

const MAGIC: &[u8; 8] = b"TRKSESS1";
const ENTRY_BYTES: usize = 4 + RECORD_BYTES;

/// A log is not shortened below this.
const LENGTH_LEAST: u64 = 64 << 20;

/// The open log.
#[derive(Debug)]
pub(crate) struct SessionLog {
    path: PathBuf,
    writer: BufWriter<File>,
    unsynced: bool,
    length: u64,
    /// The length at which it is shortened.
    length_max: u64,
    shortening: Option<JoinHandle<io::Result<Shortened>>>,
}

/// A new file with what counted of the old one's beginning.
#[derive(Debug)]
struct Shortened {
    file: File,
    path: PathBuf,
    /// How much of the old one was read.
    until: u64,
    length: u64,
}

/// What was found at start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The last record of each device.
    pub(crate) records: HashMap<Eui64, SessionRecord>,
    /// Entries whose checksum or content was wrong; they were passed over.
    pub(crate) corrupt_count: usize,
    entry_count: usize,
}

impl SessionLog {
    /// Opens the log in `dir`, making an empty one if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is not one of ours.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, Found)> {
        let path = dir.join("sessions.log");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if file.metadata()?.len() == 0 {
            file.write_all(MAGIC)?;
        }
        let found = read_all(&mut file)?;
        let length = file.metadata()?.len();
        let stale = found.entry_count > 1024 && found.entry_count > 2 * found.records.len();
        let log = Self {
            path,
            writer: BufWriter::with_capacity(1 << 18, file),
            unsynced: false,
            length,
            length_max: if stale { 0 } else { length_max(length) },
            shortening: None,
        };
        Ok((log, found))
    }

    /// Appends one record. It is on disk after the next [`SessionLog::sync`].
    pub(crate) fn append(&mut self, record: &SessionRecord) -> io::Result<()> {
        self.unsynced = true;
        write_entry(&mut self.writer, record)?;
        self.length += ENTRY_BYTES as u64;
        Ok(())
    }

    /// Brings everything appended to the disk, and sees that the log does not grow for ever.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.writer.flush()?;
            self.writer.get_ref().sync_data()?;
            self.unsynced = false;
        }
        // A disk that is too full for a second file keeps nobody from being served: the log goes on as it is.
        if let Err(error) = self.tend() {
            tracing::warn!(%error, "the stored sessions could not be made shorter");
            let _removed = std::fs::remove_file(self.path.with_extension("new"));
            self.length_max = self.length + length_max(self.length);
        }
        Ok(())
    }

    fn tend(&mut self) -> io::Result<()> {
        match self.shortening.take_if(|thread| thread.is_finished()) {
            Some(thread) => {
                let shortened =
                    thread.join().map_err(|_| io::Error::other("its thread ended by a defect of ours"))??;
                self.adopt(shortened)
            }
            None if self.shortening.is_none() && self.length > self.length_max => {
                let (source, target, until) = (self.path.clone(), self.path.with_extension("new"), self.length);
                self.writer.flush()?;
                let thread = thread::Builder::new().name("sessions".into());
                self.shortening = Some(thread.spawn(move || shorten(&source, target, until))?);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Adds to the new file what the old one got meanwhile, and puts it in its place.
    fn adopt(&mut self, mut new: Shortened) -> io::Result<()> {
        self.writer.flush()?;
        let mut old = File::open(&self.path)?;
        old.seek(SeekFrom::Start(new.until))?;
        let added = io::copy(&mut old, &mut new.file)?;
        new.file.sync_all()?;
        std::fs::rename(&new.path, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        self.writer = BufWriter::with_capacity(1 << 18, new.file);
        self.length = new.length + added;
        self.length_max = length_max(self.length);
        Ok(())
    }
}

const fn length_max(length: u64) -> u64 {
    if length < LENGTH_LEAST / 3 { LENGTH_LEAST } else { length * 3 }
}

/// Copies the last intact entry of each device among the first `until` bytes of `source`.
fn shorten(source: &Path, target: PathBuf, until: u64) -> io::Result<Shortened> {
    let mut last: HashMap<Eui64, u64> = HashMap::new();
    entries(source, until, |at, _, record| {
        last.insert(record.dev_eui, at);
        Ok(())
    })?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&target)?;
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    writer.write_all(MAGIC)?;
    entries(
        source,
        until,
        |at, entry, record| {
            if last.get(&record.dev_eui) == Some(&at) { writer.write_all(entry) } else { Ok(()) }
        },
    )?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    let length = file.metadata()?.len();
    Ok(Shortened { file, path: target, until, length })
}

/// Calls `each` with every intact entry among the first `until` bytes, and its offset.
fn entries(
    source: &Path,
    until: u64,
    mut each: impl FnMut(u64, &[u8; ENTRY_BYTES], &SessionRecord) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(source)?);
    let mut at = MAGIC.len() as u64;
    reader.seek(SeekFrom::Start(at))?;
    let mut entry = [0; ENTRY_BYTES];
    while at + ENTRY_BYTES as u64 <= until {
        reader.read_exact(&mut entry)?;
        if let Some(record) = intact(&entry) {
            each(at, &entry, &record)?;
        }
        at += ENTRY_BYTES as u64;
    }
    Ok(())
}

fn intact(entry: &[u8; ENTRY_BYTES]) -> Option<SessionRecord> {
    let (crc, wire) = entry.split_first_chunk::<4>().expect("an entry is longer");
    let wire: &[u8; RECORD_BYTES] = wire.try_into().expect("an entry's rest is a record");
    if crc32fast::hash(wire) == u32::from_le_bytes(*crc) { SessionRecord::from_wire(wire).ok() } else { None }
}

fn write_entry(writer: &mut impl Write, record: &SessionRecord) -> io::Result<()> {
    let wire = record.to_wire();
    writer.write_all(&crc32fast::hash(&wire).to_le_bytes())?;
    writer.write_all(&wire)
}

fn read_all(file: &mut File) -> io::Result<Found> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, &*file);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "sessions.log is not a session log of this version"));
    }
    let mut found = Found::default();
    let mut entry = [0; ENTRY_BYTES];
    loop {
        match reader.read_exact(&mut entry) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        found.entry_count += 1;
        match intact(&entry) {
            Some(record) => drop(found.records.insert(record.dev_eui, record)),
            None => found.corrupt_count += 1,
        }
    }
    // A torn last entry is cut, so that the next one starts where an entry starts.
    let end = MAGIC.len() + found.entry_count * ENTRY_BYTES;
    file.set_len(end as u64)?;
    file.seek(SeekFrom::End(0))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use session::DEV_NONCE_COUNT;
    use std::time::Duration;

    fn record(device: u64, join_nonce: u32) -> SessionRecord {
        SessionRecord {
            dev_eui: Eui64::new(device),
            root: 7,
            session_count: 1,
            join_nonce,
            dev_nonce_count: 0,
            dev_nonces: [0; DEV_NONCE_COUNT],
            session: None,
            pending: None,
        }
    }

    fn nonces(found: &Found) -> Vec<(u64, u32)> {
        let mut all: Vec<_> = found.records.values().map(|it| (it.dev_eui.to_u64(), it.join_nonce)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_last_record_counts_and_damage_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = SessionLog::open(dir.path()).expect("a new log");
        for (device, nonce) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
            log.append(&record(device, nonce)).expect("room");
        }
        log.sync().expect("room");
        drop(log);
        let path = dir.path().join("sessions.log");
        let mut bytes = std::fs::read(&path).expect("readable");
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        bytes.extend([0; 17]);
        std::fs::write(&path, &bytes).expect("room");
        let (mut log, found) = SessionLog::open(dir.path()).expect("the same log");
        assert_eq!((nonces(&found), found.corrupt_count), (vec![(1, 2), (2, 1)], 1));
        log.append(&record(3, 9)).expect("room");
        log.sync().expect("room");
        drop(log);
        let (_, found) = SessionLog::open(dir.path()).expect("the same log");
        assert_eq!(nonces(&found), vec![(1, 2), (2, 1), (3, 9)], "a torn end was cut before more was appended");
    }

    #[test]
    fn a_stale_log_is_shortened_while_records_come() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = SessionLog::open(dir.path()).expect("a new log");
        for turn in 0..5_000 {
            log.append(&record(turn % 10, turn as u32)).expect("room");
        }
        log.sync().expect("room");
        drop(log);
        let path = dir.path().join("sessions.log");
        let long = std::fs::metadata(&path).expect("it is there").len();
        let (mut log, _) = SessionLog::open(dir.path()).expect("the same log");
        let mut turn = 5_000;
        log.sync().expect("room");
        assert!(log.shortening.is_some(), "most of it is stale");
        while log.shortening.is_some() {
            log.append(&record(turn % 10, turn as u32)).expect("room");
            turn += 1;
            std::thread::sleep(Duration::from_micros(100));
            log.sync().expect("room");
        }
        log.append(&record(99, 1)).expect("room");
        log.sync().expect("room");
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), log.length);
        assert!(log.length < long);
        drop(log);
        let (_, found) = SessionLog::open(dir.path()).expect("the same log");
        let mut expected: Vec<_> = (turn - 10..turn).map(|turn| (turn % 10, turn as u32)).collect();
        expected.push((99, 1));
        expected.sort_unstable();
        assert_eq!((nonces(&found), found.corrupt_count), (expected, 0));
    }
}
