//! Blocking files of one directory, for threads that may wait: the keeper beside the shards, and whoever recovers at start.
//!
//! Owns the words, and [`Directory`], which says them over the standard library; the simulator says them over a virtual
//! disk. Never interprets a byte. Shards do not wait, so they ask their driver instead.
//!
//! ```text
//!   write_at  ---->  cached  ---- sync ---------------->  stored: survives power loss
//!   creating, removing  ---- sync_directory, rename --->  the name too
//! ```

mod directory;

pub use directory::Directory;

use std::io;

/// Blocking files of one directory, for threads that may wait. A name is that of a file in it, without a slash.
///
/// What is written survives the process; it survives power loss once it was synced, and its name once the directory was.
/// After a sync that failed, nobody knows what of the file is stored, and a later one that succeeds says nothing of it.
pub trait Files {
    /// The names of all files, in order.
    ///
    /// # Errors
    /// The host's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Bytes of a file.
    ///
    /// # Errors
    /// The host's; `NotFound` if there is none.
    fn len(&self, name: &str) -> io::Result<u64>;

    /// Reads what there is at `offset`, up to the whole of `target`. Returns the count: 0 only at the end of the file.
    ///
    /// # Errors
    /// The host's; `NotFound` if there is none.
    fn read_at(&self, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. Creates the file if there is none, readable by its owner alone (mode 0600).
    ///
    /// # Errors
    /// The host's; any part of the bytes may then be in the file.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything written to the file is stored, its length too.
    ///
    /// # Errors
    /// The host's; `NotFound` if there is none.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Cuts the file to `len` bytes, or lengthens it with zeros.
    ///
    /// # Errors
    /// The host's; `NotFound` if there is none.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Gives a file another name, in place of whatever had it, and syncs the directory.
    ///
    /// # Errors
    /// The host's; after a power loss either name may then be there.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open goes on reading it.
    ///
    /// # Errors
    /// The host's; `NotFound` if there is none.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Returns once every name that was made or removed is stored.
    ///
    /// # Errors
    /// The host's.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Bytes that may still be written below this directory.
    ///
    /// # Errors
    /// The host's.
    fn free_bytes(&self) -> io::Result<u64>;
}
