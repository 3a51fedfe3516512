//! Files at work: opened below one directory, written and then stored, read, closed; a task for each request.
//!
//! Buffered files, for a log is written at any offset and length, and glommio's direct ones take whole blocks only. glommio
//! takes the bytes of a write as a vector of its own and keeps it, so they are copied; it links no sync to a write, so the
//! sync is asked for when the write has come back, one turn of the executor later.
//!
//! ```text
//!   open -> Opened;  write, the rest of it if it was short, then fdatasync -> Written;  read -> Read
//!   close_file:  nothing in flight -> close -> FileClosed
//! ```

use crate::buffers::Buffer;
use crate::hub::{Shared, errno};
use driver::{Access, Completion, FILE_NAME_BYTES_MAX, File, FileFault};
use glommio::io::{BufferedFile, OpenOptions};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use uring::Sizing;

/// Where a place is in the life of its holder.
#[derive(Debug)]
enum Phase {
    Vacant,
    /// Being opened, or closed.
    Passing,
    Open(Rc<BufferedFile>),
    /// To be closed once nothing is in flight.
    Closing(Rc<BufferedFile>),
}

#[derive(Debug)]
struct Place {
    generation: u16,
    phase: Phase,
    writing: bool,
    /// Requests in flight.
    busy: u32,
}

/// Something asked of a file.
#[derive(Debug)]
pub(crate) enum Request {
    Open { file: File, path: String, access: Access },
    Write { file: File, offset: u64, buffer: Buffer, len: usize, sync: bool },
    Read { file: File, offset: u64, buffer: Buffer, len: usize },
    Close { file: File },
}

/// The files of a shard.
#[derive(Debug)]
pub(crate) struct Files {
    directory: Option<OwnedFd>,
    places: Vec<Place>,
    free: Vec<u16>,
    buffer_count: u32,
    /// What was asked since the last turn.
    pub(crate) asked: VecDeque<Request>,
    /// The shard ends: whatever opens is closed.
    ending: bool,
}

impl Files {
    /// Without a directory there is room for no file.
    pub(crate) fn new(directory: Option<OwnedFd>, sizing: &Sizing) -> Self {
        let (count, buffer_count) =
            if directory.is_some() { (sizing.file_count, sizing.file_buffer_count) } else { (0, 0) };
        let count = u16::try_from(count).expect("files fit their index");
        let vacant = |_| Place { generation: 0, phase: Phase::Vacant, writing: false, busy: 0 };
        Self {
            directory,
            places: (0..count).map(vacant).collect(),
            free: (0..count).rev().collect(),
            buffer_count,
            asked: VecDeque::new(),
            ending: false,
        }
    }

    pub(crate) const fn buffer_count(&self) -> u32 {
        self.buffer_count
    }

    pub(crate) fn count(&self) -> u32 {
        self.places.len() as u32
    }

    // What is asked.

    pub(crate) fn open(&mut self, name: &str, access: Access) -> Option<File> {
        assert!((1..=FILE_NAME_BYTES_MAX).contains(&name.len()), "a name of a file fits its place");
        assert!(!name.starts_with('/') && !name.contains('\0'), "a name is relative and of no NUL");
        let index = self.free.pop()?;
        let place = &mut self.places[usize::from(index)];
        (place.generation, place.phase) = (place.generation.wrapping_add(1), Phase::Passing);
        let file = File { index, generation: place.generation };
        let directory = self.directory.as_ref().expect("without a directory there are no places").as_raw_fd();
        // glommio opens by path alone. This one leads below the directory that we hold, whatever it is called by now.
        let path = format!("/proc/self/fd/{directory}/{name}");
        self.asked.push_back(Request::Open { file, path, access });
        Some(file)
    }

    pub(crate) fn write(&mut self, file: File, offset: u64, buffer: Buffer, len: usize, sync: bool) {
        let place = self.holder(file);
        assert!(!place.writing, "one write is in flight per file");
        (place.writing, place.busy) = (true, place.busy + 1);
        self.asked.push_back(Request::Write { file, offset, buffer, len, sync });
    }

    /// The file must be open, whatever comes of the read.
    pub(crate) fn assert_open(&mut self, file: File) {
        self.holder(file);
    }

    pub(crate) fn read(&mut self, file: File, offset: u64, buffer: Buffer, len: usize) {
        self.holder(file).busy += 1;
        self.asked.push_back(Request::Read { file, offset, buffer, len });
    }

    pub(crate) fn close(&mut self, file: File) {
        self.holder(file).close();
        self.close_idle(file);
    }

    fn holder(&mut self, file: File) -> &mut Place {
        let place = &mut self.places[usize::from(file.index)];
        let open = matches!(place.phase, Phase::Open(_)) && place.generation == file.generation;
        assert!(open, "the file is open");
        place
    }

    // What happened.

    /// The descriptor of a file with a request in flight.
    fn of(&self, file: File) -> Rc<BufferedFile> {
        match &self.places[usize::from(file.index)].phase {
            Phase::Open(open) | Phase::Closing(open) => Rc::clone(open),
            Phase::Vacant | Phase::Passing => unreachable!("a file with a request in flight is open"),
        }
    }

    fn opened(&mut self, file: File, open: BufferedFile) {
        self.places[usize::from(file.index)].phase = Phase::Open(Rc::new(open));
        if self.ending {
            self.close(file);
        }
    }

    /// A request came back.
    fn done(&mut self, file: File, wrote: bool) {
        let place = &mut self.places[usize::from(file.index)];
        place.busy -= 1;
        if wrote {
            place.writing = false;
        }
        self.close_idle(file);
    }

    /// Asks for the close of a file that waits for it, once nothing is in flight.
    fn close_idle(&mut self, file: File) {
        let place = &self.places[usize::from(file.index)];
        if place.busy == 0 && matches!(place.phase, Phase::Closing(_)) {
            self.asked.push_back(Request::Close { file });
        }
    }

    /// The descriptor of a file to be closed, of which nobody else has a share.
    fn closing(&mut self, file: File) -> BufferedFile {
        let place = &mut self.places[usize::from(file.index)];
        let Phase::Closing(open) = std::mem::replace(&mut place.phase, Phase::Passing) else {
            unreachable!("a file is closed once")
        };
        Rc::into_inner(open).expect("nothing of it is in flight")
    }

    fn vacate(&mut self, file: File) {
        let place = &mut self.places[usize::from(file.index)];
        assert!(matches!(place.phase, Phase::Passing), "a place is vacated once, and closed");
        place.phase = Phase::Vacant;
        self.free.push(file.index);
    }

    /// The shard ends: what was not begun is not done any more, and every file closes after what was.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        for request in std::mem::take(&mut self.asked) {
            match request {
                Request::Open { file, .. } => self.vacate(file),
                Request::Write { file, .. } => self.done(file, true),
                Request::Read { file, .. } => self.done(file, false),
                Request::Close { .. } => self.asked.push_back(request),
            }
        }
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            let file = File { index: index as u16, generation: place.generation };
            if matches!(place.phase, Phase::Open(_)) {
                self.close(file);
            }
        }
    }

    /// Whether no place is held.
    pub(crate) fn is_vacant(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

impl Place {
    fn close(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Vacant) {
            Phase::Open(open) => Phase::Closing(open),
            other => other,
        };
    }
}

/// Begins everything that was asked. Inside the executor.
pub(crate) fn begin(hub: &Shared) {
    loop {
        let request = hub.borrow_mut().files.asked.pop_front();
        let Some(request) = request else { return };
        let hub = Shared::clone(hub);
        match request {
            Request::Open { file, path, access } => {
                glommio::spawn_local(open(hub, file, path, access)).detach();
            }
            Request::Write { file, offset, buffer, len, sync } => {
                let open = hub.borrow().files.of(file);
                glommio::spawn_local(async move {
                    let outcome = write(&open, offset, &buffer.bytes[..len], sync).await;
                    drop(open);
                    let mut shared = hub.borrow_mut();
                    shared.file_buffers.give(buffer);
                    shared.tell(Completion::Written { file, outcome });
                    shared.files.done(file, true);
                    drop(shared);
                    begin(&hub);
                })
                .detach();
            }
            Request::Read { file, offset, buffer, len } => {
                let open = hub.borrow().files.of(file);
                glommio::spawn_local(async move {
                    let outcome = open.read_at(offset, len).await;
                    drop(open);
                    let mut shared = hub.borrow_mut();
                    read(&mut shared, file, offset, outcome.map_err(|error| errno(&error)), buffer);
                    shared.files.done(file, false);
                    drop(shared);
                    begin(&hub);
                })
                .detach();
            }
            Request::Close { file } => {
                let open = hub.borrow_mut().files.closing(file);
                glommio::spawn_local(async move {
                    // The descriptor is gone whatever the kernel says of it.
                    let _ = open.close().await;
                    let mut hub = hub.borrow_mut();
                    hub.files.vacate(file);
                    hub.tell(Completion::FileClosed { file });
                })
                .detach();
            }
        }
    }
}

async fn open(hub: Shared, file: File, path: String, access: Access) {
    let opened = OpenOptions::new().read(true).write(access == Access::Write).buffered_open(&path).await;
    let mut shared = hub.borrow_mut();
    let outcome = match opened {
        Ok(open) => {
            shared.files.opened(file, open);
            Ok(())
        }
        Err(error) => {
            shared.files.vacate(file);
            Err(errno(&error))
        }
    };
    shared.tell(Completion::Opened { file, outcome });
    drop(shared);
    begin(&hub);
}

async fn write(open: &BufferedFile, offset: u64, bytes: &[u8], sync: bool) -> Result<(), FileFault> {
    let mut done = 0;
    while done < bytes.len() {
        match open.write_at(bytes[done..].to_vec(), offset + done as u64).await {
            // To write nothing and say no error would go on for ever.
            Ok(0) => return Err(FileFault::Write(libc::EIO)),
            Ok(count) => done += count,
            Err(error) => match errno(&error) {
                libc::EINTR | libc::EAGAIN => {}
                errno => return Err(FileFault::Write(errno)),
            },
        }
    }
    if sync {
        open.fdatasync().await.map_err(|error| FileFault::Sync(errno(&error)))?;
    }
    Ok(())
}

fn read(
    hub: &mut crate::hub::Hub,
    file: File,
    offset: u64,
    outcome: Result<glommio::io::ReadResult, i32>,
    mut buffer: Buffer,
) {
    match outcome {
        Ok(bytes) => {
            buffer.bytes[..bytes.len()].copy_from_slice(&bytes);
            let outcome = Ok(buffer.lease(bytes.len() as u32));
            hub.tell_with(Completion::Read { file, offset, outcome }, buffer);
        }
        Err(errno) => {
            hub.file_buffers.give(buffer);
            hub.tell(Completion::Read { file, offset, outcome: Err(errno) });
        }
    }
}
