//! What a disk says of itself: its lies, and how often what happened.
//!
//! Words only. Laws and tables are made of them; the dataplane never sees one.

/// What the disk did against its word. Whoever states a law of what is stored must know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lie {
    /// A sync of this file was said to be done, and stored nothing.
    LostSync(String),
    /// The same of the directory.
    LostDirectorySync,
    /// A stored byte changed.
    FlippedStored(String, u64),
    /// A byte changed that everybody sees.
    FlippedCached(String, u64),
}

/// How often what happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DiskTally {
    /// Writes that did something.
    pub writes: u64,
    /// Syncs of files that stored what they said.
    pub syncs: u64,
    /// Reads that gave something.
    pub reads: u64,
    /// Writes and reads that were cut short.
    pub short: u64,
    /// Sectors that the kernel stored by itself.
    pub written_back: u64,
    /// Writes for which there was no room.
    pub full: u64,
    /// Operations refused because nothing may be written.
    pub read_only: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Reads and openings that failed.
    pub read_errors: u64,
    /// Syncs that lied.
    pub lost_syncs: u64,
    /// Bits that flipped.
    pub flips: u64,
    /// Bytes that memory did not take, to be carried over.
    pub carries_refused: u64,
    /// Operations that a kill or a cut found in flight.
    pub interrupted: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Operations that were done before one that was asked for earlier.
    pub overtaken: u64,
    /// Times at which nothing was answered for a while.
    pub stalls: u64,
    /// Operations that this made late.
    pub delayed: u64,
    /// What cuts made of sectors that were written and not stored.
    pub lost: Lost,
    /// Operations between which everything ended.
    pub last_operations: u64,
}

/// What power loss made of sectors that were not stored.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lost {
    /// They are as they were before.
    pub vanished: u64,
    /// They are partly old, partly new.
    pub torn: u64,
    /// They were stored all the same.
    pub survived: u64,
    /// Cuts of a file after which a later sector is new and an earlier one old.
    pub reordered: u64,
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.vanished += other.vanished;
        self.torn += other.torn;
        self.survived += other.survived;
        self.reordered += other.reordered;
    }
}
