//! One mapping of zeroed, page-aligned memory that never moves: what the kernel is given addresses of, or what of a file in
//! memory outlives the process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// An anonymous private mapping. Its pages become resident when first touched.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

impl Region {
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1);
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A child must not inherit pages that the kernel writes to for us. Failure only costs that protection.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(start, bytes, libc::MADV_DONTFORK) };
        Ok(Self { start: NonNull::new(start.cast()).expect("a mapping is not at zero"), bytes })
    }

    /// The first bytes of a file, shared with it: what is written there is in the file at once. Its room is reserved, so that
    /// no write can find none; nobody may shorten it.
    fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let reserved = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
        if reserved != 0 {
            return Err(io::Error::from_raw_os_error(reserved));
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start.cast()).expect("a mapping is not at zero"), bytes })
    }

    /// The address of the byte at `offset`, with `len` bytes inside the mapping behind it.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.bytes), "range within the mapping");
        // SAFETY: asserted just above: the offset is inside the mapping, or one past its end with `len` zero.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// The mapping stays for as long as the process, whatever becomes of its owner.
    pub(crate) fn abandon(&mut self) {
        self.bytes = 0;
    }

    /// Bytes that the kernel does not hold.
    ///
    /// # Safety
    /// Nobody, the kernel included, may write to the range while the slice lives.
    pub(crate) unsafe fn slice(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let start = self.at(offset, len);
        // SAFETY: `at` proved the range; it is initialised (zeroed by the kernel); the caller rules out other writers
        // and `&mut self` rules out other borrows.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        // SAFETY: the mapping is ours and whole; who gave its addresses to the kernel took them back before (`Uring::drop`).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The first bytes of a file in memory, shared with it: what is put there is in the file at once, and stays when the process
/// ends.
#[derive(Debug)]
pub struct Carry(Region);

impl Carry {
    /// Reserves the bytes. Nobody may shorten the file while this lives.
    ///
    /// # Errors
    /// If the file system has no room for them, or the host refuses.
    pub fn reserve(file: &File, bytes: usize) -> io::Result<Self> {
        Region::of_file(file, bytes).map(Self)
    }

    /// Copies bytes to `offset`; false if they do not fit there.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.0.bytes) {
            return false;
        }
        // SAFETY: the range is within the mapping, which is ours alone to write to and of which nobody holds a slice.
        unsafe { self.0.at(offset, bytes.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }
}
