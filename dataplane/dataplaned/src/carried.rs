//! What carries the journal's tail over the end of the process: a file per shard, in a directory that is in memory.
//!
//! Owns the files' names: whose they are, of which run, of which log. Never keeps a start from going on: without such a
//! file the journal is written at every turn.

use journal::CarryOver;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The magic numbers of tmpfs and ramfs: statfs(2).
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// The place for carry-overs.
pub(crate) struct Carried {
    /// `None` if there is none.
    directory: Option<PathBuf>,
    /// How the names of this data directory's files begin.
    prefix: String,
}

/// What earlier runs left.
pub(crate) struct Left {
    /// The carry-overs.
    pub(crate) overs: Vec<CarryOver>,
    paths: Vec<PathBuf>,
}

impl Carried {
    /// The place in `directory` for a data directory's.
    pub(crate) fn open(data_dir: &Path, directory: &Path) -> Self {
        let usable = is_in_memory(directory).and_then(|()| identity(data_dir));
        match usable {
            Ok(identity) => Self { directory: Some(directory.to_owned()), prefix: format!("trunkline-{identity}-") },
            Err(why) => {
                tracing::warn!(
                    directory = %directory.display(),
                    %why,
                    "the journal's tail cannot be carried over in memory: it is written at every turn"
                );
                Self { directory: None, prefix: String::new() }
            }
        }
    }

    /// What earlier runs left. What is no carry-over is told and left alone.
    ///
    /// # Errors
    /// One line, if one was written by a later version.
    pub(crate) fn find(&self) -> Result<Left, String> {
        let mut left = Left { overs: Vec::new(), paths: Vec::new() };
        for path in self.list() {
            match fs::read(&path).map(CarryOver::parse) {
                Ok(Ok(over)) => {
                    left.overs.push(over);
                    left.paths.push(path);
                }
                Ok(Err(journal::BadCarryOver::NewerVersion(version))) => {
                    return Err(format!(
                        "{} is of version {version}; this is an older Trunkline: use the one that wrote it",
                        path.display()
                    ));
                }
                // A run that ended before it wrote a header had nothing to carry.
                Ok(Err(journal::BadCarryOver::NotOurs)) => left.paths.push(path),
                Err(error) => tracing::error!(path = %path.display(), %error, "a carry-over cannot be read"),
            }
        }
        // One log after the other, and of one log the earlier run first.
        left.overs.sort_by_key(CarryOver::start);
        Ok(left)
    }

    /// A new file for a shard of this run.
    pub(crate) fn make(&self, epoch: u16, shard: usize) -> Option<fs::File> {
        let path = self.directory.as_ref()?.join(format!("{}{epoch:05}-{shard:02}", self.prefix));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Some(file.into()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no carry-over can be made: the journal is written at every turn");
                None
            }
        }
    }

    /// Removes this run's files: everything is stored.
    pub(crate) fn forget(&self, epoch: u16) {
        let own = format!("{}{epoch:05}-", self.prefix);
        let paths = self.list().into_iter();
        let paths = paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own)));
        Left { overs: Vec::new(), paths: paths.collect() }.remove();
    }

    fn list(&self) -> Vec<PathBuf> {
        let entries = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok());
        let paths = entries.into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let is_ours = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&self.prefix))
        };
        paths.filter(is_ours).collect()
    }
}

impl Left {
    /// Removes them: segments have it all.
    pub(crate) fn remove(&self) {
        for path in &self.paths {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a carry-over that is not needed any more stays");
            }
        }
    }
}

fn is_in_memory(directory: &Path) -> io::Result<()> {
    let kind = rustix::fs::statfs(directory)?.f_type as u32;
    IN_MEMORY.contains(&kind).then_some(()).ok_or_else(|| io::Error::other("it is not a file system in memory"))
}

/// What tells this data directory from all others, its copies included: a number made once and kept with it, and that of the
/// directory itself, which a copy has another of.
fn identity(data_dir: &Path) -> io::Result<String> {
    let place = fs::metadata(data_dir)?.ino();
    Ok(format!("{}-{place:x}", number(data_dir)?))
}

fn number(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join("carry.id");
    match fs::read_to_string(&path) {
        Ok(text) if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(text),
        Ok(_) => Err(io::Error::other(format!("{}: is not 16 hexadecimal digits; remove it", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0; 8];
            fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
            let text = format!("{:016x}", u64::from_le_bytes(random));
            fs::write(&path, &text)?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::{Limits, Log};

    const LIMITS: Limits =
        Limits { segment_bytes: 1 << 20, tail_bytes: 1 << 20, batch_bytes: 1 << 18, epoch_bytes: journal::OFFSET_END };

    #[test]
    fn a_data_directory_finds_its_own_and_only_these() {
        let (home, other) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
        let memory = tempfile::tempdir_in("/dev/shm").expect("memory");
        let carried = Carried::open(home.path(), memory.path());
        let log = Log::new(LIMITS, 7, 1);
        let file = carried.make(7, 1).expect("a file");
        rustix::io::pwrite(&file, &log.carry_header(), 0).expect("room");
        drop(carried.make(7, 2).expect("a file that nothing was ever put into"));
        // A copy of the directory is another one.
        fs::copy(home.path().join("carry.id"), other.path().join("carry.id")).expect("a file");
        let elsewhere = Carried::open(other.path(), memory.path());
        assert!(elsewhere.find().expect("readable").overs.is_empty());
        let left = Carried::open(home.path(), memory.path()).find().expect("readable");
        let found: Vec<_> = left.overs.iter().map(|over| (over.start().epoch(), over.log())).collect();
        assert_eq!((found, left.paths.len()), (vec![(7, 1)], 2));
        drop(carried.make(8, 0).expect("a file"));
        carried.forget(9);
        left.remove();
        assert_eq!(carried.find().expect("readable").paths.len(), 1, "that of another run");
        carried.forget(8);
        assert!(carried.find().expect("readable").paths.is_empty());
    }

    #[test]
    fn a_disk_is_no_memory() {
        let (home, disk) = (tempfile::tempdir().expect("home"), tempfile::tempdir_in(".").expect("a disk"));
        let carried = Carried::open(home.path(), disk.path());
        assert!(carried.make(1, 0).is_none() && carried.find().expect("nothing").paths.is_empty());
        assert!(!home.path().join("carry.id").exists());
    }
}
