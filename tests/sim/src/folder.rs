//! A folder of the virtual disk for threads that may wait: `files::Files`, done at once.
//!
//! Same disk, same faults as the drivers meet. In the simulation such a thread takes no virtual time.

use crate::disk::SharedDisk;
use files::Files;
use std::io;

/// A folder of a virtual disk.
#[derive(Clone, Debug)]
pub struct Folder {
    disk: SharedDisk,
    name: String,
}

impl Folder {
    /// The files whose names begin with `name` and a slash, as drivers name them; with an empty name, those without.
    #[must_use]
    pub fn new(disk: &SharedDisk, name: &str) -> Self {
        Self { disk: disk.clone(), name: name.into() }
    }

    fn path(&self, name: &str) -> String {
        assert!(!name.is_empty() && !name.contains(['/', '\0']), "a name of a file in this folder: {name:?}");
        if self.name.is_empty() { name.into() } else { format!("{}/{name}", self.name) }
    }
}

impl Files for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.disk.borrow();
        let own = disk.names().filter_map(|path| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            (folder == self.name).then(|| name.to_owned())
        });
        Ok(own.collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let disk = self.disk.borrow();
        let inode = disk.find(&self.path(name)).map_err(error)?;
        Ok(disk.len(inode) as u64)
    }

    fn read_at(&self, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk.borrow_mut();
        let inode = disk.find(&self.path(name)).map_err(error)?;
        let bytes = disk.read(inode, offset, target.len()).map_err(error)?;
        target[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        let inode = disk.make(&self.path(name)).map_err(error)?;
        let mut done = 0;
        while done < bytes.len() {
            done += disk.write(inode, offset as usize + done, &bytes[done..]).map_err(error)?;
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        let inode = disk.find(&self.path(name)).map_err(error)?;
        disk.sync(inode).map_err(error)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        let inode = disk.find(&self.path(name)).map_err(error)?;
        disk.resize(inode, len as usize).map_err(error)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.disk.borrow_mut().rename(&self.path(from), &self.path(to)).map_err(error)?;
        self.sync_directory()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk.borrow_mut().remove(&self.path(name)).map_err(error)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.disk.borrow_mut().sync_directory(&self.name).map_err(error)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.disk.borrow();
        Ok(if disk.is_contended { disk.capacity_bytes } else { disk.free_bytes() })
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
