//! A journal, written as fast as its disk takes it: what a dataplane would have left, without one.
//!
//! Owns the logs of the shards and the keeper that tends them. Folds what has ended, so that the disk holds little more
//! than the checkpoint. Ends with everything stored.

use base::UnixMicros;
use files::{Directory, Files};
use journal::{Kind, Limits, Log, Record};
use keeper::{Keeper, Recovered};
use session::Lane;
use std::path::Path;

/// A checkpoint is made of so many segments: four times what the dataplane does, so that less is written in all.
const FOLDED_COUNT: u64 = 16;

/// As the dataplane has them, or small, so that a small journal has several.
const fn segment_bytes(device_count: u64) -> u64 {
    if device_count < 1_000_000 { 256 << 10 } else { 64 << 20 }
}

/// What a keeper finds in a directory.
///
/// # Panics
/// If the directory or what is in it cannot be read.
#[must_use]
pub fn open(dir: &Path) -> (Keeper<Directory>, Recovered) {
    let files = Directory::open(dir).expect("it is there");
    Keeper::recover(files, keeper::Limits { bytes_max: 0, reserve_bytes: 0 }).expect("readable")
}

/// The logs of the shards, and the keeper that tends them. Lanes are dealt to shards in turn.
pub struct Writer {
    keeper: Keeper<Directory>,
    files: Directory,
    logs: Vec<Log>,
    buffer: Vec<u8>,
    /// A checkpoint is made beyond this.
    fold_bytes: u64,
    now: UnixMicros,
}

impl Writer {
    /// Begins an epoch in a directory, for so many shards and about so many devices. All is written as of `now`.
    ///
    /// # Panics
    /// If the directory cannot be written to.
    #[must_use]
    pub fn open(dir: &Path, shard_count: usize, device_count: u64, now: UnixMicros) -> Self {
        let (mut keeper, recovered) = open(dir);
        keeper.begin().expect("room on the disk");
        let limits = Limits {
            segment_bytes: segment_bytes(device_count),
            tail_bytes: 16 << 20,
            batch_bytes: 1 << 20,
            epoch_bytes: journal::OFFSET_END,
        };
        let logs = (0..shard_count).map(|shard| Log::new(limits, recovered.epoch, shard as u8)).collect();
        let files = Directory::open(dir).expect("it is there");
        let fold_bytes = FOLDED_COUNT * segment_bytes(device_count);
        Self { keeper, files, logs, buffer: Vec::new(), fold_bytes, now }
    }

    /// Appends a record of tenant 1 to the log of the lane's shard.
    ///
    /// # Panics
    /// If the disk takes no more.
    pub fn append(&mut self, kind: Kind, lane: Lane, body: &[u8]) {
        let shard = usize::from(lane.0) % self.logs.len();
        let record = Record { kind, lane: lane.0, key: 0, tenant: 1, at: self.now, body };
        while self.logs[shard].append(&record).is_err() {
            self.write(shard);
        }
    }

    /// Writes what was appended, of every shard.
    ///
    /// # Panics
    /// If the disk takes no more.
    pub fn write_all(&mut self) {
        (0..self.logs.len()).for_each(|shard| self.write(shard));
    }

    /// Folds what has ended into a checkpoint; what comes later stays behind it.
    ///
    /// # Panics
    /// If the disk takes no more.
    pub fn fold_for_good(&mut self) {
        self.fold();
        self.fold_bytes = u64::MAX;
    }

    /// Writes the rest and has all of it on the disk. Returns the bytes of the checkpoint and of segments behind it.
    ///
    /// # Panics
    /// If the disk takes no more.
    pub fn finish(mut self) -> (u64, u64) {
        self.write_all();
        let (mut checkpoint, mut segments) = (0, 0);
        for name in self.files.list().expect("readable") {
            self.files.sync(&name).expect("a disk that works");
            let bytes = self.files.len(&name).expect("readable");
            *(if name.ends_with(".seg") { &mut segments } else { &mut checkpoint }) += bytes;
        }
        (checkpoint, segments)
    }

    fn write(&mut self, shard: usize) {
        loop {
            while let Some(wanted) = self.logs[shard].wants() {
                self.keeper.make(wanted, self.now).expect("room on the disk");
                assert!(self.logs[shard].ready(wanted.name), "it is wanted");
            }
            let Some(write) = self.logs[shard].next_write(true) else { break };
            self.buffer.resize(write.bytes, 0);
            self.logs[shard].copy(&write, &mut self.buffer);
            let name = write.segment.to_string();
            self.files.write_at(&name, write.file_offset, &self.buffer).expect("room on the disk");
            if write.sync {
                self.files.sync(&name).expect("a disk that works");
            }
            self.logs[shard].wrote(Ok(()));
            for info in self.logs[shard].sealed().collect::<Vec<_>>() {
                self.keeper.sealed(info);
            }
        }
        assert_eq!(self.logs[shard].stored(), self.logs[shard].head(), "all of it");
        if self.keeper.unfolded_bytes() >= self.fold_bytes {
            self.fold();
        }
    }

    fn fold(&mut self) {
        assert_eq!(self.keeper.checkpoint(&mut |_, _| ()).expect("room on the disk"), 0, "nothing is damaged");
        self.keeper.retain(&[], self.now).expect("a disk that works");
    }
}
