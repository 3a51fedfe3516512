//! One file of the virtual disk: the bytes that power loss leaves, and the bytes that everybody sees.
//!
//! Owns no name, no clock and no chance of a fault: the disk decides what happens, this says what it means.
//!
//! ```text
//!   write -> cached, its sectors dirty -> sync -> stored, clean
//!                                     \-> sync that fails -> clean, and not stored: what Linux does
//!   cut:  each dirty sector is old, new, or torn inside; the length is old, new, or between
//! ```

use crate::disk_words::Lost;
use base::mix::SplitMix64;
use std::collections::BTreeSet;
use std::ops::Range;

/// What a disk writes at once, if it has power.
pub const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Inode {
    stored: Vec<u8>,
    cached: Vec<u8>,
    /// Sectors that the next sync stores.
    dirty: BTreeSet<usize>,
    /// The length changed since it was stored.
    resized: bool,
    /// Sectors that take room on the disk.
    allocated: BTreeSet<usize>,
}

impl Inode {
    pub(crate) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(crate) fn stored(&self) -> &[u8] {
        &self.stored
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        (self.allocated.len() * SECTOR_BYTES) as u64
    }

    /// Whether there is nothing of it.
    pub(crate) fn is_blank(&self) -> bool {
        self.stored.is_empty() && self.cached.is_empty()
    }

    /// Whether a sync has something to do.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.resized || !self.dirty.is_empty()
    }

    /// Of `count` bytes at `offset`, how many have room if `free_bytes` are left.
    pub(crate) fn room(&self, offset: usize, count: usize, free_bytes: u64) -> usize {
        let mut free = free_bytes / SECTOR_BYTES as u64;
        for sector in sectors(offset, count) {
            if !self.allocated.contains(&sector) {
                if free == 0 {
                    return (sector * SECTOR_BYTES).saturating_sub(offset);
                }
                free -= 1;
            }
        }
        count
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if offset + bytes.len() > self.cached.len() {
            self.resize(offset + bytes.len());
        }
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.dirty.extend(sectors(offset, bytes.len()));
        self.allocated.extend(sectors(offset, bytes.len()));
    }

    /// Cuts it, or lengthens it with a hole.
    pub(crate) fn resize(&mut self, len: usize) {
        let before = self.cached.len();
        self.cached.resize(len, 0);
        if len < before {
            let end = len.div_ceil(SECTOR_BYTES);
            self.dirty.retain(|sector| *sector < end);
            self.allocated.retain(|sector| *sector < end);
        } else {
            // What was cut off before must not come back as content.
            self.dirty.extend(sectors(before, len - before));
        }
        self.resized |= len != before;
    }

    /// All that is dirty is stored, and the length.
    pub(crate) fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.store(sector, 0..SECTOR_BYTES);
        }
        self.stored.resize(self.cached.len(), 0);
        self.resized = false;
    }

    /// A sync failed: some sectors of it are stored, and none is tried again.
    pub(crate) fn sync_failed(&mut self, random: &mut SplitMix64) {
        for sector in std::mem::take(&mut self.dirty) {
            if random.below(2) == 0 {
                self.store(sector, 0..SECTOR_BYTES);
            }
        }
    }

    /// The kernel stores something by itself.
    pub(crate) fn write_back(&mut self, random: &mut SplitMix64) {
        let count = self.dirty.len() as u64;
        let Some(&sector) = self.dirty.iter().nth(random.below(count.max(1)) as usize) else { return };
        self.dirty.remove(&sector);
        self.store(sector, 0..SECTOR_BYTES);
    }

    /// Power is gone: what is stored, and of the rest whatever was just being stored.
    /// Says what became of the rest.
    pub(crate) fn cut(&mut self, random: &mut SplitMix64) -> Lost {
        let mut lost = Lost::default();
        for sector in std::mem::take(&mut self.dirty) {
            self.chance(sector, random, &mut lost);
        }
        if self.resized {
            let (least, most) = (self.cached.len().min(self.stored.len()), self.cached.len().max(self.stored.len()));
            let len = match random.below(3) {
                0 => least,
                1 => most,
                _ => least + random.below((most - least) as u64 + 1) as usize,
            };
            self.stored.resize(len, 0);
        }
        self.resized = false;
        self.cached.clone_from(&self.stored);
        let end = self.cached.len().div_ceil(SECTOR_BYTES);
        self.allocated.retain(|sector| *sector < end);
        lost
    }

    /// Flips a bit of what is stored or of what is seen.
    pub(crate) fn flip(&mut self, of_stored: bool, random: &mut SplitMix64) -> Option<u64> {
        let bytes = if of_stored { &mut self.stored } else { &mut self.cached };
        let offset = random.below(bytes.len() as u64) as usize;
        *bytes.get_mut(offset)? ^= 1 << random.below(8);
        Some(offset as u64)
    }

    /// A sector that was being stored, or not, when power went: old, new, or torn inside.
    fn chance(&mut self, sector: usize, random: &mut SplitMix64, lost: &mut Lost) {
        let within = random.below(SECTOR_BYTES as u64) as usize;
        match random.below(4) {
            0 => lost.vanished += 1,
            1 => {
                lost.survived += 1;
                // Sectors come in their order: something before it is gone.
                lost.reordered = lost.reordered.max(u64::from(lost.vanished > 0));
                self.store(sector, 0..SECTOR_BYTES);
            }
            2 => {
                lost.torn += 1;
                self.store(sector, 0..within);
            }
            _ => {
                lost.torn += 1;
                self.store(sector, within..SECTOR_BYTES);
            }
        }
    }

    /// Stores these bytes of a sector. Behind the stored end it makes the file longer there, too; what was cut off is zero.
    fn store(&mut self, sector: usize, within: Range<usize>) {
        let (start, end) = (sector * SECTOR_BYTES + within.start, sector * SECTOR_BYTES + within.end);
        let seen = self.cached.get(start..end.min(self.cached.len())).unwrap_or_default();
        if !seen.is_empty() && self.stored.len() < start + seen.len() {
            self.stored.resize(start + seen.len(), 0);
        }
        if let Some(target) = self.stored.get_mut(start..) {
            let (kept, cut_off) = target.split_at_mut(seen.len());
            kept.copy_from_slice(seen);
            let count = (end - start - seen.len()).min(cut_off.len());
            cut_off[..count].fill(0);
        }
    }
}

/// The sectors that `count` bytes at `offset` touch.
fn sectors(offset: usize, count: usize) -> Range<usize> {
    if count == 0 { 0..0 } else { offset / SECTOR_BYTES..(offset + count).div_ceil(SECTOR_BYTES) }
}
