//! Files in memory that fail when they are told to, and lose the names that were not stored when the power is cut; the bytes
//! too, of those that are told to keep only what was synced.

use files::Files;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// Files in memory, which may fail from some change on, and whose power may be cut.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    files: Rc<RefCell<Names>>,
    /// What power loss leaves: of the names that are not stored none is made or renamed, but all are removed.
    stored: Rc<RefCell<Names>>,
    /// Changes that still succeed.
    pub(crate) left: Rc<Cell<Option<usize>>>,
    /// Bytes that are taken of the disk.
    pub(crate) used: Rc<Cell<u64>>,
    /// Bytes that were read.
    pub(crate) read: Rc<Cell<usize>>,
    /// What each file held when it was synced last, once [`Memory::loses_bytes`] was called. Else what is written is stored
    /// at once.
    synced: Rc<RefCell<Option<Image>>>,
}

type Names = BTreeMap<String, Rc<RefCell<Vec<u8>>>>;

/// What files hold, by name.
type Image = BTreeMap<String, Vec<u8>>;

pub(crate) const DISK_BYTES: u64 = 1 << 40;

impl Memory {
    fn change(&self) -> io::Result<()> {
        match self.left.get() {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                self.left.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<Rc<RefCell<Vec<u8>>>> {
        self.files.borrow().get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// The same files elsewhere, all of them stored.
    pub(crate) fn copy(&self) -> Self {
        let copy = |(name, bytes): (&String, &Rc<RefCell<Vec<u8>>>)| (name.clone(), Rc::new(RefCell::clone(bytes)));
        let files: Names = self.files.borrow().iter().map(copy).collect();
        Self { stored: Rc::new(RefCell::new(files.clone())), files: Rc::new(RefCell::new(files)), ..Self::default() }
    }

    /// What the files hold.
    pub(crate) fn image(&self) -> Image {
        self.files.borrow().iter().map(|(name, bytes)| (name.clone(), bytes.borrow().clone())).collect()
    }

    /// Puts back what they held.
    pub(crate) fn restore(&self, image: &Image) {
        let file = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Rc::new(RefCell::new(bytes.clone())));
        *self.files.borrow_mut() = image.iter().map(file).collect();
    }

    /// A file that is gone, by nobody's doing.
    pub(crate) fn lose(&self, name: &str) {
        self.files.borrow_mut().remove(name);
    }

    pub(crate) fn cut_power(&self) {
        self.files.borrow_mut().clone_from(&self.stored.borrow());
        for (name, bytes) in self.synced.borrow().iter().flatten() {
            if let Some(file) = self.files.borrow().get(name) {
                file.borrow_mut().clone_from(bytes);
            }
        }
    }

    /// From now on power loss takes what is not synced.
    pub(crate) fn loses_bytes(&self) {
        *self.synced.borrow_mut() = Some(self.image());
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.find(name).expect("it is there").borrow().clone()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        *self.find(name).expect("it is there").borrow_mut() = bytes.to_vec();
    }
}

impl Files for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.borrow().keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.find(name)?.borrow().len() as u64)
    }

    fn read_at(&self, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let file = self.find(name)?;
        let file = file.borrow();
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        self.read.set(self.read.get() + count);
        Ok(count)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change()?;
        let file = Rc::clone(self.files.borrow_mut().entry(name.into()).or_default());
        let mut file = file.borrow_mut();
        let end = offset as usize + bytes.len();
        let len = file.len().max(end);
        file.resize(len, 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.change()?;
        if let Some(synced) = &mut *self.synced.borrow_mut() {
            synced.insert(name.to_owned(), self.find(name)?.borrow().clone());
        }
        Ok(())
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.change()?;
        self.find(name)?.borrow_mut().resize(len as usize, 0);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        let file = self.find(from)?;
        self.files.borrow_mut().remove(from);
        self.files.borrow_mut().insert(to.into(), file);
        // It may fail after it has taken effect.
        self.sync_directory()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change()?;
        self.find(name)?;
        self.files.borrow_mut().remove(name);
        self.stored.borrow_mut().remove(name);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.change()?;
        self.stored.borrow_mut().clone_from(&self.files.borrow());
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(DISK_BYTES - self.used.get())
    }
}
