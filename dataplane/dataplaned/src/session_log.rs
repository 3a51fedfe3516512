//! The stored sessions: records of device state that must not go back, appended as the shards hand them out.
//!
//! Owns one file of fixed-size records, each with its checksum; the last record of a device counts. Rewritten at start
//! when most of it is stale. Holds session keys: mode 0600.
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

const MAGIC: &[u8; 8] = b"TRKSESS1";
const ENTRY_BYTES: usize = 4 + RECORD_BYTES;

/// The open log.
#[derive(Debug)]
pub(crate) struct SessionLog {
    path: PathBuf,
    writer: BufWriter<File>,
    unsynced: bool,
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
        let mut log = Self { path, writer: BufWriter::with_capacity(1 << 18, file), unsynced: false };
        if found.entry_count > 1024 && found.entry_count > 2 * found.records.len() {
            // A disk that is full keeps nobody from being served.
            if let Err(error) = log.rewrite(&found.records) {
                tracing::warn!(%error, "the stored sessions could not be made shorter");
                let _removed = std::fs::remove_file(log.path.with_extension("new"));
            }
        }
        Ok((log, found))
    }

    /// Appends one record. It is on disk after the next [`SessionLog::sync`].
    pub(crate) fn append(&mut self, record: &SessionRecord) -> io::Result<()> {
        self.unsynced = true;
        write_entry(&mut self.writer, record)
    }

    /// Brings everything appended to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.writer.flush()?;
            self.writer.get_ref().sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn rewrite(&mut self, records: &HashMap<Eui64, SessionRecord>) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut writer = BufWriter::with_capacity(1 << 18, file);
        writer.write_all(MAGIC)?;
        for record in records.values() {
            write_entry(&mut writer, record)?;
        }
        writer.flush()?;
        writer.get_ref().sync_all()?;
        std::fs::rename(&path, &self.path)?;
        self.writer = writer;
        Ok(())
    }
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
        let (crc, wire) = entry.split_first_chunk::<4>().expect("an entry is longer");
        let wire: &[u8; RECORD_BYTES] = wire.try_into().expect("an entry's rest is a record");
        let intact = crc32fast::hash(wire) == u32::from_le_bytes(*crc);
        match intact.then(|| SessionRecord::from_wire(wire).ok()).flatten() {
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
