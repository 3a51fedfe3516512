//! A file system in memory that fails when it is told to, served over FUSE.
//!
//! Owns what is on it. It outlives every process that writes to it, so that a kill loses what was never written and nothing
//! else. Each request reaches it, none is answered from a cache.

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenAccMode,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, Session, SessionACL, TimeOrNow, WriteFlags,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel keeps no names and sizes: what fails, fails from the next request on.
const TTL: Duration = Duration::ZERO;

const GENERATION: Generation = Generation(0);
const BLOCK_BYTES: u32 = 4096;

/// Blocks of the whole disk: 1 GiB, more than any scenario fills.
const BLOCK_COUNT: u64 = 1 << 18;

/// What ails the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ailment {
    Nothing,
    /// Whatever changes it gets EIO.
    Writes,
    /// Writes are taken, and each fsync and fdatasync gets EIO.
    Syncs,
    /// Whatever changes it gets EROFS.
    ReadOnly,
}

/// Who can make it fail and mend it.
#[derive(Debug, Clone)]
pub(crate) struct Switch(Arc<AtomicU8>);

impl Switch {
    /// From the next request on.
    pub(crate) fn set(&self, ailment: Ailment) {
        self.0.store(ailment as u8, SeqCst);
    }
}

/// Serves an empty file system, which is mounted on `channel`, until that is gone.
pub(crate) fn serve(channel: OwnedFd) -> std::io::Result<Switch> {
    let switch = Switch(Arc::new(AtomicU8::new(Ailment::Nothing as u8)));
    let root = Node { kind: FileType::Directory, bytes: Vec::new() };
    let nodes = Nodes { by_number: HashMap::from([(INodeNo::ROOT.0, root)]), names: BTreeMap::new(), last: 1 };
    let disk = Faulty { switch: switch.clone(), nodes: Mutex::new(nodes) };
    // The dataplane may be another user in its own namespace.
    let session = Session::from_fd(disk, channel, SessionACL::All, Config::default())?;
    std::thread::Builder::new().name("faulty disk".into()).spawn(move || session.run())?;
    Ok(switch)
}

struct Node {
    kind: FileType,
    bytes: Vec<u8>,
}

/// A node whose name is gone stays: somebody may have it open.
struct Nodes {
    by_number: HashMap<u64, Node>,
    names: BTreeMap<(u64, OsString), u64>,
    last: u64,
}

struct Faulty {
    switch: Switch,
    nodes: Mutex<Nodes>,
}

impl Nodes {
    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        self.names.get(&(parent.0, name.to_owned())).copied().ok_or(Errno::ENOENT)
    }

    fn node(&mut self, number: INodeNo) -> Result<&mut Node, Errno> {
        self.by_number.get_mut(&number.0).ok_or(Errno::ENOENT)
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, kind: FileType) -> Result<FileAttr, Errno> {
        if self.find(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        self.by_number.insert(self.last, Node { kind, bytes: Vec::new() });
        self.names.insert((parent.0, name.to_owned()), self.last);
        self.attributes(self.last)
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, Errno> {
        let node = self.by_number.get(&number).ok_or(Errno::ENOENT)?;
        let (size, at) = (node.bytes.len() as u64, SystemTime::now());
        let perm = if node.kind == FileType::Directory { 0o700 } else { 0o600 };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: at,
            mtime: at,
            ctime: at,
            crtime: UNIX_EPOCH,
            kind: node.kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }
}

impl Faulty {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no request ends by a panic")
    }

    fn ails(&self, ailment: Ailment) -> bool {
        self.switch.0.load(SeqCst) == ailment as u8
    }

    /// What is there, if it may be changed.
    fn to_change(&self) -> Result<MutexGuard<'_, Nodes>, Errno> {
        if self.ails(Ailment::Writes) {
            return Err(Errno::EIO);
        }
        if self.ails(Ailment::ReadOnly) {
            return Err(Errno::EROFS);
        }
        Ok(self.nodes())
    }

    fn store(&self, reply: ReplyEmpty) {
        if self.ails(Ailment::Syncs) { reply.error(Errno::EIO) } else { reply.ok() }
    }
}

fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
    match made {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

fn done(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Faulty {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let nodes = self.nodes();
        entry(reply, nodes.find(parent, name).and_then(|number| nodes.attributes(number)));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.nodes().attributes(number.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.to_change().and_then(|mut nodes| {
            if let Some(size) = size {
                nodes.node(number)?.bytes.resize(size as usize, 0);
            }
            nodes.attributes(number.0)
        });
        match changed {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.to_change().and_then(|mut nodes| nodes.make(parent, name, FileType::Directory)));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.to_change().and_then(|mut nodes| nodes.make(parent, name, FileType::RegularFile)) {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, GENERATION, FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.to_change().and_then(|mut nodes| {
            nodes.find(parent, name)?;
            nodes.names.remove(&(parent.0, name.to_owned()));
            Ok(())
        });
        done(reply, removed);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.to_change().and_then(|mut nodes| {
            let number = nodes.find(parent, name)?;
            nodes.names.remove(&(parent.0, name.to_owned()));
            nodes.names.insert((new_parent.0, new_name.to_owned()), number);
            Ok(())
        });
        done(reply, renamed);
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY && self.ails(Ailment::ReadOnly) {
            return reply.error(Errno::EROFS);
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.nodes().node(number) {
            Ok(node) => {
                let from = node.bytes.len().min(offset as usize);
                let until = node.bytes.len().min(from + size as usize);
                reply.data(&node.bytes[from..until]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.to_change().and_then(|mut nodes| {
            let bytes = &mut nodes.node(number)?.bytes;
            let (from, until) = (offset as usize, offset as usize + data.len());
            if bytes.len() < until {
                bytes.resize(until, 0);
            }
            bytes[from..until].copy_from_slice(data);
            Ok(())
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A close stores nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.store(reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.store(reply);
    }

    fn readdir(&self, _: &Request, folder: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let nodes = self.nodes();
        let inside = nodes.names.iter().filter(|((parent, _), _)| *parent == folder.0);
        for (place, ((_, name), number)) in inside.enumerate().skip(offset as usize) {
            let Some(node) = nodes.by_number.get(number) else { continue };
            if reply.add(INodeNo(*number), place as u64 + 1, node.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let nodes = self.nodes();
        let of_node = |number| nodes.by_number.get(number).map_or(0, |node: &Node| node.bytes.len() as u64);
        let used: u64 = nodes.names.values().map(of_node).sum();
        let free = BLOCK_COUNT.saturating_sub(used.div_ceil(u64::from(BLOCK_BYTES)));
        reply.statfs(BLOCK_COUNT, free, free, 0, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
