//! The data directory: who may read it, who holds it, and files that are secrets.

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The directory of a running control plane; others are kept out until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held, not read: the kernel releases the lock with the file, however the process ends.
    _lock: File,
}

impl DataDir {
    /// Opens the directory, which is made, for its owner alone, if it is not there.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => format!("{shown}: is not a directory"),
            _ => format!("{shown}: the data directory cannot be made: {error}"),
        })?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("control.lock"))
            .map_err(|error| format!("{shown}: the data directory cannot be written: {error}"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{shown}: another trunkline-control uses this data directory"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A file in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a file that only its owner may read; it appears whole or not at all.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let part = path.with_extension("part");
    let write = || {
        let _ = std::fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_directory_is_private_and_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/on/demand");
        let held = DataDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(DataDir::open(&path).expect_err("it is held").contains("another trunkline-control"));
        drop(held);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn what_is_no_directory_is_said_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        write_secret(&file, b"x").unwrap();
        assert!(DataDir::open(&file).expect_err("a file").ends_with("is not a directory"));
        let inside = write_secret(&file.join("inside"), b"x").expect_err("a file holds no file");
        assert_eq!(inside.lines().count(), 1);
    }
}
