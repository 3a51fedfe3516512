//! The virtual disk of a node: names, files, and what is being done to them. Shared by all hosts of the node.
//!
//! Owns every byte and the chance of every fault; one seed gives one history. Knows no clock: who asks says when it is.
//! Drivers ask for operations that end later (`file.rs`); the thread that may wait has them at once (`folder.rs`).
//!
//! ```text
//!   a host:    ask -> flight, due later -> settle(now) -> done -> the host's driver tells
//!   names:     made, renamed, removed -> pending, in order -> sync_directory -> stored
//!   kill:      the process is gone: its flights land, in part, or not; the cache stays
//!   power_cut: as kill for all; then of the pending names a prefix, and of each unsynced sector something
//! ```

use crate::disk_words::{DiskTally, Lie};
use crate::faults::{DiskFaults, between, strikes};
use crate::inode::Inode;
use crate::network::HostIndex;
use crate::witness::Witness;
use base::Monotonic;
use base::mix::{SplitMix64, mix64};
use driver::{Access, File, FileFault};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A disk, shared by the hosts, the keeper and the scenario of one thread.
pub type SharedDisk = Rc<RefCell<Disk>>;

pub(crate) const ENOENT: i32 = 2;
pub(crate) const EIO: i32 = 5;
pub(crate) const EBADF: i32 = 9;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// A change of names that is not stored.
#[derive(Clone, Debug)]
enum Naming {
    Made(String, usize),
    Renamed(String, String),
    Removed(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Made(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Renamed(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Removed(name) => {
                names.remove(name);
            }
        }
    }

    fn folder(&self) -> &str {
        let (Self::Made(name, _) | Self::Renamed(_, name) | Self::Removed(name)) = self;
        name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// What a driver asked for.
#[derive(Debug)]
pub(crate) enum What {
    Open { name: String, access: Access },
    Write { inode: usize, offset: usize, bytes: Vec<u8>, done: usize, sync: bool },
    Read { inode: usize, offset: u64, len: usize, buffer: u32 },
    Close { inode: usize },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Opened(Result<usize, i32>),
    Written(Result<(), FileFault>),
    Read { offset: u64, buffer: u32, bytes: Result<Vec<u8>, i32> },
    Closed,
}

#[derive(Debug)]
struct Flight {
    host: HostIndex,
    file: File,
    due: Monotonic,
    number: u64,
    what: What,
}

/// Everything that a node keeps.
#[derive(Debug)]
pub struct Disk {
    pub(crate) random: SplitMix64,
    /// How it treats those who trust it; may be changed at any time.
    pub faults: DiskFaults,
    /// Bytes that it has room for; may be changed at any time.
    pub capacity_bytes: u64,
    /// Nothing may be written; may be changed at any time.
    pub read_only: bool,
    /// Who asks for the free room is told of more than there is: others write, too. May be changed at any time.
    pub is_contended: bool,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    stored_names: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    /// Who has what open.
    open: Vec<(HostIndex, usize)>,
    flights: Vec<Flight>,
    made: u64,
    done: BTreeMap<HostIndex, VecDeque<(File, Outcome)>>,
    lies: Vec<Lie>,
    tally: DiskTally,
    /// Operations that are still done before everything ends; none is done behind the last one.
    fuse: Option<u64>,
    /// Before this nothing is answered.
    stalled_until: Monotonic,
    /// Of the last operation that was done.
    last_done: u64,
    witness: Witness,
    /// What hosts had their memory carry over, run after run: files of no disk, which go with the power.
    carried: Vec<(HostIndex, Vec<u8>)>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, faults: DiskFaults, capacity_bytes: u64) -> SharedDisk {
        Rc::new(RefCell::new(Self {
            random: SplitMix64::new(mix64(seed ^ 0xD15C)),
            faults,
            capacity_bytes,
            read_only: false,
            is_contended: false,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            stored_names: BTreeMap::new(),
            pending: Vec::new(),
            open: Vec::new(),
            flights: Vec::new(),
            made: 0,
            done: BTreeMap::new(),
            lies: Vec::new(),
            tally: DiskTally::default(),
            fuse: None,
            stalled_until: Monotonic(0),
            last_done: 0,
            witness: Witness::default(),
            carried: Vec::new(),
        }))
    }

    /// How often what happened so far.
    #[must_use]
    pub const fn tally(&self) -> DiskTally {
        self.tally
    }

    /// What the disk did against its word so far, in order.
    #[must_use]
    pub fn lies(&self) -> &[Lie] {
        &self.lies
    }

    /// Where who had what written.
    #[must_use]
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    // What befalls it.

    /// Everything ends after so many more operations, reads included: [`Disk::has_ended`] then says so, nothing more is
    /// done or answered, and whoever owns the hosts is to kill them at once or to cut the power.
    pub fn end_after(&mut self, operations: u64) {
        self.fuse = Some(operations);
    }

    /// Whether the last operation before an end was done. True until the next [`Disk::begin_anew`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.fuse == Some(0)
    }

    /// The end was made: operations are done again.
    pub fn begin_anew(&mut self) {
        self.fuse = None;
        self.stalled_until = Monotonic(0);
    }

    /// Nothing is answered until then.
    pub fn stall(&mut self, until: Monotonic) {
        self.tally.stalls += 1;
        self.tally.delayed += self.flights.len() as u64;
        self.stalled_until = until;
        for flight in &mut self.flights {
            flight.due =
                flight.due.max(until.after(between(&mut self.random, self.faults.delay_min, self.faults.delay_max)));
        }
    }

    /// Whether an operation is done at all.
    fn burn(&mut self) -> Result<(), i32> {
        match &mut self.fuse {
            None => return Ok(()),
            Some(0) => return Err(EIO),
            Some(left) => *left -= 1,
        }
        if self.fuse == Some(0) {
            self.tally.last_operations += 1;
            return Err(EIO);
        }
        Ok(())
    }

    /// What everybody sees of a file. Looking changes nothing and never fails.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|inode| self.inodes[*inode].cached())
    }

    /// What power loss would leave of a file at the least, under whatever name.
    #[must_use]
    pub fn stored(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|inode| self.inodes[*inode].stored())
    }

    /// Bytes that files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let held = |inode: &usize| {
            self.inodes[*inode].used_bytes() > 0
                && (self.is_named(*inode) || self.open.iter().any(|(_, open)| open == inode))
        };
        (0..self.inodes.len()).filter(held).map(|inode| self.inodes[inode].used_bytes()).sum()
    }

    /// Bytes that still have room.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    // Memory.

    /// Puts bytes where the end of the process leaves them, unless memory is short.
    pub(crate) fn carry(&mut self, host: HostIndex, offset: u64, bytes: &[u8]) -> bool {
        let scarce = if offset == 0 { 4 } else { 4096 };
        if self.has_ended() || self.random.below(scarce) == 0 {
            self.tally.carries_refused += 1;
            return false;
        }
        if offset == 0 {
            self.carried.push((host, Vec::new()));
        }
        let Some((_, file)) = self.carried.iter_mut().rfind(|(holder, _)| *holder == host) else { return false };
        let end = offset as usize + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
        true
    }

    /// What hosts had carried over.
    #[must_use]
    pub fn carried(&self) -> Vec<Vec<u8>> {
        self.carried.iter().map(|(_, file)| file.clone()).collect()
    }

    /// Segments have it.
    pub fn forget_carried(&mut self) {
        self.carried.clear();
    }

    // Ends.

    /// A host's process dies. What it had in flight happens, happens in part, or does not; what was written stays.
    pub fn kill(&mut self, host: HostIndex) {
        let (gone, stay) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.host == host);
        self.flights = stay;
        self.land(gone);
        self.done.remove(&host);
        self.open.retain(|(holder, _)| *holder != host);
        self.forget_orphans();
    }

    /// The node loses power. Machines that used this disk are to be dropped.
    pub fn power_cut(&mut self) {
        self.tally.cuts += 1;
        self.carried.clear();
        let gone = std::mem::take(&mut self.flights);
        self.land(gone);
        self.done.clear();
        self.open.clear();
        let kept = self.random.below(self.pending.len() as u64 + 1) as usize;
        for naming in std::mem::take(&mut self.pending).into_iter().take(kept) {
            naming.apply(&mut self.stored_names);
        }
        self.names.clone_from(&self.stored_names);
        for inode in &mut self.inodes {
            self.tally.lost += inode.cut(&mut self.random);
        }
        self.forget_orphans();
    }

    /// Flights whose asker is gone.
    fn land(&mut self, mut gone: Vec<Flight>) {
        gone.sort_by_key(|flight| flight.number);
        for flight in gone {
            self.tally.interrupted += 1;
            let What::Write { inode, offset, bytes, done, sync } = flight.what else { continue };
            let rest = &bytes[done..];
            let chance = self.random.below(3);
            let count = match chance {
                0 => 0,
                1 => self.random.below(rest.len() as u64 + 1) as usize,
                _ => rest.len(),
            };
            let room = self.inodes[inode].room(offset + done, count, self.free_bytes());
            if self.read_only {
                continue;
            }
            self.inodes[inode].write(offset + done, &rest[..room]);
            if room == rest.len() && sync && self.random.below(2) == 0 {
                self.inodes[inode].sync();
            }
        }
    }

    fn is_named(&self, inode: usize) -> bool {
        self.names.values().any(|named| *named == inode)
    }

    /// Files that nobody can reach any more, not even after a cut, take no room.
    fn forget_orphans(&mut self) {
        for inode in 0..self.inodes.len() {
            if self.inodes[inode].is_blank() {
                continue;
            }
            let is_stored = self.stored_names.values().any(|named| *named == inode);
            let is_pending =
                self.pending.iter().any(|naming| matches!(naming, Naming::Made(_, made) if *made == inode));
            let is_open = self.open.iter().any(|(_, open)| *open == inode);
            if !(self.is_named(inode) || is_stored || is_pending || is_open) {
                self.inodes[inode] = Inode::default();
            }
        }
    }

    // Flights.

    /// Something that a driver wants done; returns when to look again.
    pub(crate) fn ask(&mut self, host: HostIndex, file: File, what: What, now: Monotonic) -> Monotonic {
        if let What::Write { inode, offset, bytes, .. } = &what {
            let name = self.name_of(*inode);
            self.witness.wrote(&name, *offset, bytes);
        }
        self.tally.delayed += u64::from(self.stalled_until > now);
        let now = now.max(self.stalled_until);
        let due = now.after(between(&mut self.random, self.faults.delay_min, self.faults.delay_max));
        self.made += 1;
        self.flights.push(Flight { host, file, due, number: self.made, what });
        due
    }

    /// Something that needs no disk to be refused.
    pub(crate) fn refuse(&mut self, host: HostIndex, file: File, outcome: Outcome) {
        self.done.entry(host).or_default().push_back((file, outcome));
    }

    /// When the next of a host's operations gets on.
    pub(crate) fn next_due(&self, host: HostIndex) -> Monotonic {
        let own = self.flights.iter().filter(|flight| flight.host == host);
        own.map(|flight| flight.due).min().unwrap_or(Monotonic::NEVER)
    }

    /// Does what is due, of every host and in order.
    pub(crate) fn settle(&mut self, now: Monotonic) {
        while !self.has_ended() {
            let due = self.flights.iter().enumerate().filter(|(_, flight)| flight.due <= now);
            let Some((place, _)) = due.min_by_key(|(_, flight)| (flight.due, flight.number)) else { break };
            let flight = self.flights.swap_remove(place);
            self.tally.overtaken += u64::from(flight.number < self.last_done);
            self.last_done = flight.number;
            self.step(flight);
        }
    }

    pub(crate) fn done(&mut self, host: HostIndex) -> Option<(File, Outcome)> {
        self.done.get_mut(&host)?.pop_front()
    }

    fn step(&mut self, mut flight: Flight) {
        let outcome = match &mut flight.what {
            What::Open { name, access } => {
                let outcome = self.find_to_open(name, *access);
                if let Ok(inode) = outcome {
                    self.open.push((flight.host, inode));
                }
                Outcome::Opened(outcome)
            }
            What::Read { inode, offset, len, buffer } => {
                let bytes = self.read(*inode, *offset, *len);
                Outcome::Read { offset: *offset, buffer: *buffer, bytes }
            }
            What::Close { inode } => {
                let held = self.open.iter().position(|open| *open == (flight.host, *inode));
                self.open.swap_remove(held.expect("what is closed was open"));
                self.forget_orphans();
                Outcome::Closed
            }
            What::Write { inode, offset, bytes, done, sync } => {
                let rest = &bytes[*done..];
                let is_short = rest.len() > 1 && strikes(&mut self.random, self.faults.short_write);
                let count = if is_short { 1 + self.random.below(rest.len() as u64 - 1) as usize } else { rest.len() };
                self.tally.short += u64::from(is_short);
                let step = if rest.is_empty() {
                    self.sync(*inode).map_err(FileFault::Sync).map(|()| *sync = false)
                } else {
                    let written = self.write(*inode, *offset + *done, &rest[..count]);
                    written.map_err(FileFault::Write).map(|count| *done += count)
                };
                if step.is_ok() && (*done < bytes.len() || *sync) {
                    let most = if *done < bytes.len() { self.faults.delay_max } else { self.faults.sync_delay_max };
                    flight.due = flight.due.after(between(&mut self.random, self.faults.delay_min.min(most), most));
                    self.flights.push(flight);
                    return;
                }
                Outcome::Written(step)
            }
        };
        if !self.has_ended() {
            self.done.entry(flight.host).or_default().push_back((flight.file, outcome));
        }
    }

    fn find_to_open(&mut self, name: &str, access: Access) -> Result<usize, i32> {
        self.burn()?;
        let inode = self.find(name)?;
        if strikes(&mut self.random, self.faults.read_error) {
            self.tally.read_errors += 1;
            return Err(EIO);
        }
        if access == Access::Write {
            self.writable()?;
        }
        Ok(inode)
    }

    // Operations, as the kernel has them.

    pub(crate) fn find(&self, name: &str) -> Result<usize, i32> {
        self.names.get(name).copied().ok_or(ENOENT)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    pub(crate) fn len(&self, inode: usize) -> usize {
        self.inodes[inode].cached().len()
    }

    /// The file of a name, made if there is none.
    pub(crate) fn make(&mut self, name: &str) -> Result<usize, i32> {
        if let Ok(inode) = self.find(name) {
            return Ok(inode);
        }
        self.burn()?;
        self.writable()?;
        self.inodes.push(Inode::default());
        self.rename_with(Naming::Made(name.into(), self.inodes.len() - 1));
        Ok(self.inodes.len() - 1)
    }

    /// Writes what there is room for. Returns the count, which is not zero.
    pub(crate) fn write(&mut self, inode: usize, offset: usize, bytes: &[u8]) -> Result<usize, i32> {
        self.burn()?;
        self.decay();
        self.writable()?;
        if offset == 0 {
            let name = self.name_of(inode);
            self.witness.wrote(&name, offset, bytes);
        }
        if strikes(&mut self.random, self.faults.write_error) {
            self.tally.write_errors += 1;
            let count = self.random.below(bytes.len() as u64 + 1) as usize;
            let room = self.inodes[inode].room(offset, count, self.free_bytes());
            self.inodes[inode].write(offset, &bytes[..room]);
            return Err(EIO);
        }
        let room = self.inodes[inode].room(offset, bytes.len(), self.free_bytes());
        if room == 0 && !bytes.is_empty() {
            self.tally.full += 1;
            return Err(ENOSPC);
        }
        self.tally.writes += 1;
        self.inodes[inode].write(offset, &bytes[..room]);
        if strikes(&mut self.random, self.faults.write_back) {
            self.tally.written_back += 1;
            self.inodes[inode].write_back(&mut self.random);
        }
        Ok(room)
    }

    pub(crate) fn sync(&mut self, inode: usize) -> Result<(), i32> {
        self.burn()?;
        self.decay();
        if !self.inodes[inode].is_unsynced() {
            return Ok(());
        }
        self.writable()?;
        if strikes(&mut self.random, self.faults.sync_error) {
            self.tally.sync_errors += 1;
            self.inodes[inode].sync_failed(&mut self.random);
            return Err(EIO);
        }
        if strikes(&mut self.random, self.faults.lost_sync) {
            self.tally.lost_syncs += 1;
            self.lies.push(Lie::LostSync(self.name_of(inode)));
            return Ok(());
        }
        self.tally.syncs += 1;
        self.inodes[inode].sync();
        Ok(())
    }

    pub(crate) fn read(&mut self, inode: usize, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        self.burn()?;
        self.decay();
        if strikes(&mut self.random, self.faults.read_error) {
            self.tally.read_errors += 1;
            return Err(EIO);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.inodes[inode].cached().get(start..).unwrap_or_default();
        let most = rest.len().min(len);
        let is_short = most > 1 && strikes(&mut self.random, self.faults.short_read);
        let count = if is_short { 1 + self.random.below(most as u64 - 1) as usize } else { most };
        self.tally.short += u64::from(is_short);
        self.tally.reads += u64::from(count > 0);
        Ok(self.inodes[inode].cached().get(start..).unwrap_or_default()[..count].to_vec())
    }

    pub(crate) fn resize(&mut self, inode: usize, len: usize) -> Result<(), i32> {
        self.burn()?;
        self.writable()?;
        self.inodes[inode].resize(len);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), i32> {
        self.find(from)?;
        self.burn()?;
        self.writable()?;
        self.rename_with(Naming::Renamed(from.into(), to.into()));
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), i32> {
        self.find(name)?;
        self.burn()?;
        self.writable()?;
        self.rename_with(Naming::Removed(name.into()));
        Ok(())
    }

    fn rename_with(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending.push(naming);
        self.forget_orphans();
    }

    /// Stores what was made, renamed and removed in a folder. After a failure it is all tried again: it is in the file
    /// system's own log, not among the file's pages.
    pub(crate) fn sync_directory(&mut self, folder: &str) -> Result<(), i32> {
        self.burn()?;
        if !self.pending.iter().any(|naming| naming.folder() == folder) {
            return Ok(());
        }
        self.writable()?;
        if strikes(&mut self.random, self.faults.sync_error) {
            self.tally.sync_errors += 1;
            return Err(EIO);
        }
        if strikes(&mut self.random, self.faults.lost_sync) {
            self.tally.lost_syncs += 1;
            self.lies.push(Lie::LostDirectorySync);
            return Ok(());
        }
        for naming in std::mem::take(&mut self.pending) {
            if naming.folder() == folder {
                naming.apply(&mut self.stored_names);
            } else {
                self.pending.push(naming);
            }
        }
        self.forget_orphans();
        Ok(())
    }

    fn writable(&mut self) -> Result<(), i32> {
        if self.read_only {
            self.tally.read_only += 1;
            return Err(EROFS);
        }
        Ok(())
    }

    fn name_of(&self, inode: usize) -> String {
        self.names.iter().find(|(_, named)| **named == inode).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Bits flip where nobody looks.
    fn decay(&mut self) {
        for (chance, of_stored) in [(self.faults.flip_stored, true), (self.faults.flip_cached, false)] {
            if self.inodes.is_empty() || !strikes(&mut self.random, chance) {
                continue;
            }
            let inode = self.random.below(self.inodes.len() as u64) as usize;
            if let Some(offset) = self.inodes[inode].flip(of_stored, &mut self.random) {
                self.tally.flips += 1;
                let name = self.name_of(inode);
                self.lies.push(if of_stored {
                    Lie::FlippedStored(name, offset)
                } else {
                    Lie::FlippedCached(name, offset)
                });
            }
        }
    }
}
