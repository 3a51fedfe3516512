//! A directory of the host.
//!
//! Keeps the descriptors of the files that were used last, so that a pass over one file opens it once. Threads may read at
//! the same time: what is locked is the list of descriptors, never a file.

use crate::Files;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Descriptors that are kept.
const OPEN_COUNT_MAX: usize = 8;

/// A directory of the host, and a few descriptors of its files.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    itself: File,
    /// The one used last stands last.
    open: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    name: String,
    writable: bool,
    file: Arc<File>,
}

impl Directory {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let itself = File::open(path)?;
        if !itself.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned(), itself, open: Mutex::default() })
    }

    /// Does `work` with a file, whose descriptor is kept for the next.
    fn with<R>(&self, name: &str, use_for: Use, work: impl FnOnce(&File) -> io::Result<R>) -> io::Result<R> {
        let file = self.file(name, use_for)?;
        work(&file)
    }

    fn file(&self, name: &str, use_for: Use) -> io::Result<Arc<File>> {
        assert!(is_plain(name), "a name of a file in this directory: {name:?}");
        let mut open = self.descriptors();
        let writable = use_for != Use::Reading;
        let place = open.iter().position(|kept| kept.name == name && (kept.writable || !writable));
        let kept = match place {
            Some(place) => open.remove(place),
            None => {
                open.retain(|kept| kept.name != name);
                let mut options = OpenOptions::new();
                options.read(true).write(writable).create(use_for == Use::Making).truncate(false).mode(0o600);
                let file = Arc::new(options.open(self.path.join(name))?);
                Open { name: name.to_owned(), writable, file }
            }
        };
        let file = Arc::clone(&kept.file);
        if open.len() == OPEN_COUNT_MAX {
            open.remove(0);
        }
        open.push(kept);
        Ok(file)
    }

    fn forget(&self, name: &str) {
        self.descriptors().retain(|kept| kept.name != name);
    }

    /// Whatever a thread did that ended in between, the list holds open files under their names.
    fn descriptors(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Reading,
    /// Writing what is there.
    Changing,
    /// Writing, and making it if it is not there.
    Making,
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // What is no file, or has no name that we could have given, is not ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.with(name, Use::Reading, |file| Ok(file.metadata()?.len()))
    }

    fn read_at(&self, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        self.with(name, Use::Reading, |file| {
            loop {
                match file.read_at(target, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        })
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(name, Use::Making, |file| file.write_all_at(bytes, offset))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.with(name, Use::Reading, File::sync_all)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.with(name, Use::Changing, |file| file.set_len(len))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        assert!(is_plain(from) && is_plain(to), "names of files in this directory: {from:?}, {to:?}");
        fs::rename(self.path.join(from), self.path.join(to))?;
        self.forget(from);
        self.forget(to);
        self.sync_directory()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        assert!(is_plain(name), "a name of a file in this directory: {name:?}");
        self.forget(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.itself.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let host = rustix::fs::fstatvfs(&self.itself)?;
        Ok(host.f_bavail.saturating_mul(host.f_frsize))
    }
}

/// Whether a name stays in its directory.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn fresh() -> (tempfile::TempDir, Directory) {
        let home = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(home.path()).expect("it is there");
        (home, directory)
    }

    fn whole(directory: &Directory, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; directory.len(name).expect("it is there") as usize + 10];
        let count = directory.read_at(name, 0, &mut bytes).expect("readable");
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn keeps_what_is_written_and_makes_what_is_not_there() {
        let (home, mut directory) = fresh();
        directory.write_at("one", 3, b"abc").expect("made");
        assert_eq!(whole(&directory, "one"), b"\0\0\0abc");
        directory.write_at("one", 0, b"xyz").expect("written");
        directory.sync("one").expect("stored");
        directory.sync_directory().expect("stored");
        assert_eq!(fs::read(home.path().join("one")).expect("the file"), b"xyzabc");
        let mode = fs::metadata(home.path().join("one")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
        directory.truncate("one", 4).expect("cut");
        assert_eq!((directory.len("one").expect("there"), whole(&directory, "one")), (4, b"xyza".to_vec()));
        directory.truncate("one", 6).expect("lengthened");
        assert_eq!(whole(&directory, "one"), b"xyza\0\0");
        assert_eq!(directory.read_at("one", 6, &mut [0; 4]).expect("the end"), 0);
        assert!(directory.free_bytes().expect("a file system") > 0);
    }

    #[test]
    fn a_name_is_never_mistaken_for_its_earlier_file() {
        let (home, mut directory) = fresh();
        directory.write_at("one", 0, b"first").expect("made");
        directory.write_at("two", 0, b"second").expect("made");
        assert_eq!(whole(&directory, "two"), b"second");
        directory.rename("two", "one").expect("in its place");
        assert_eq!(whole(&directory, "one"), b"second");
        assert_eq!(directory.len("two").expect_err("it is gone").kind(), io::ErrorKind::NotFound);
        directory.write_at("two", 0, b"third").expect("made anew");
        directory.remove("one").expect("it was there");
        for result in [
            directory.sync("one"),
            directory.truncate("one", 0),
            directory.remove("one"),
            directory.rename("one", "two"),
            directory.read_at("one", 0, &mut [0; 4]).map(|_| ()),
        ] {
            assert_eq!(result.expect_err("it is gone").kind(), io::ErrorKind::NotFound);
        }
        fs::create_dir(home.path().join("folder")).expect("a folder");
        assert_eq!(directory.list().expect("names"), ["two"]);
        assert_eq!(whole(&directory, "two"), b"third");
    }

    #[test]
    fn few_descriptors_serve_many_files() {
        let (home, mut directory) = fresh();
        for round in 0..3u8 {
            for index in 0..40u8 {
                let name = format!("{index:02}");
                directory.write_at(&name, u64::from(round), &[index]).expect("written");
                assert_eq!(whole(&directory, &name), vec![index; usize::from(round) + 1]);
                assert!(directory.descriptors().len() <= OPEN_COUNT_MAX);
            }
        }
        let names: Vec<String> = (0..40).map(|index| format!("{index:02}")).collect();
        assert_eq!(directory.list().expect("names"), names, "in order");
        // What is already open for reading only is opened again to be written.
        fs::write(home.path().join("late"), b"late").expect("a file");
        assert_eq!(whole(&directory, "late"), b"late");
        directory.write_at("late", 4, b"r").expect("written");
        assert_eq!(whole(&directory, "late"), b"later");
    }

    #[test]
    fn only_a_directory_is_one() {
        let (home, mut directory) = fresh();
        directory.write_at("file", 0, b"no").expect("made");
        let error = Directory::open(&home.path().join("file")).expect_err("a file");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert_eq!(Directory::open(&home.path().join("none")).expect_err("none").kind(), io::ErrorKind::NotFound);
        for name in ["", ".", "..", "a/b", "a\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
