//! The naive disk: every version that every sector had since it was last surely stored.
//!
//! A sector's versions say what power loss may leave of it; a length's, how long the file may be.

use std::collections::BTreeMap;

pub(crate) const SECTOR_BYTES: usize = sim::SECTOR_BYTES;

type Block = [u8; SECTOR_BYTES];

/// One file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    content: Vec<u8>,
    sectors: Vec<Sector>,
    /// The present one last.
    lens: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Sector {
    /// The present one last.
    versions: Vec<Block>,
    /// A sync of it failed, and since then it was not written: no sync will store it.
    dropped: bool,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { lens: vec![0], ..Self::default() }
    }

    /// As it is found after a power loss.
    pub(crate) fn found(content: &[u8]) -> Self {
        let mut model = Self { lens: vec![content.len()], content: content.to_vec(), ..Self::default() };
        model.note(0..content.len());
        model.sectors.iter_mut().for_each(|sector| sector.versions = vec![*sector.versions.last().expect("noted")]);
        model
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[offset..end].copy_from_slice(bytes);
        self.note(offset..end);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        let before = self.content.len();
        self.content.resize(len, 0);
        self.note(len.min(before)..len.max(before));
    }

    /// A write of `bytes` ended somewhere: what is `seen` shows where. It must be a part of them from the front.
    pub(crate) fn write_partly(&mut self, offset: usize, bytes: &[u8], seen: &[u8]) {
        let before = &self.content;
        let count = if seen.len() > before.len() {
            seen.len() - offset
        } else {
            let changed = (0..before.len()).rev().find(|at| before[*at] != seen[*at]);
            changed.map_or(0, |at| at + 1 - offset)
        };
        assert!(count <= bytes.len(), "no more is written than was asked");
        self.write(offset, &bytes[..count]);
        assert!(self.content == seen, "a part of the bytes from the front, and nothing else");
    }

    pub(crate) fn synced(&mut self) {
        self.lens = vec![self.content.len()];
        for sector in self.sectors.iter_mut().filter(|sector| !sector.dropped) {
            sector.versions = vec![*sector.versions.last().expect("it has one")];
        }
    }

    pub(crate) fn sync_failed(&mut self) {
        for sector in &mut self.sectors {
            sector.dropped |= sector.versions.len() > 1;
        }
    }

    /// Whether power loss may leave this: each sector made of at most `runs` pieces of its versions.
    pub(crate) fn allows(&self, found: &[u8], runs: usize) -> Result<(), String> {
        let (least, most) = (self.lens.iter().min().expect("one"), self.lens.iter().max().expect("one"));
        if found.len() < *least || found.len() > *most {
            return Err(format!("{} bytes, not {least} to {most}", found.len()));
        }
        for (index, piece) in found.chunks(SECTOR_BYTES).enumerate() {
            let sector = self.sectors.get(index).ok_or("a sector that nobody wrote")?;
            let needed = pieces(piece, &sector.versions);
            if needed > runs {
                return Err(format!("sector {index} is of {needed} pieces of {} versions", sector.versions.len()));
            }
        }
        Ok(())
    }

    /// Whether nothing but this may be left.
    pub(crate) fn is_stored(&self) -> bool {
        self.lens.len() == 1 && self.sectors.iter().all(|sector| sector.versions.len() == 1)
    }

    /// The sectors of these bytes have a new version.
    fn note(&mut self, range: std::ops::Range<usize>) {
        if *self.lens.last().expect("one") != self.content.len() {
            self.lens.push(self.content.len());
        }
        // One that nobody wrote is zero.
        let blank = Sector { versions: vec![[0; SECTOR_BYTES]], dropped: false };
        let count = range.end.div_ceil(SECTOR_BYTES).max(self.sectors.len());
        self.sectors.resize(count, blank);
        for index in range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES) {
            let mut version = [0; SECTOR_BYTES];
            let rest = self.content.get(index * SECTOR_BYTES..).unwrap_or_default();
            let count = rest.len().min(SECTOR_BYTES);
            version[..count].copy_from_slice(&rest[..count]);
            self.sectors[index].dropped = false;
            self.sectors[index].versions.push(version);
        }
    }
}

/// Of how many pieces of `versions` a sector is at the least; more than it has bytes if it is of none.
fn pieces(found: &[u8], versions: &[Block]) -> usize {
    let (mut start, mut count) = (0, 0);
    while start < found.len() {
        let same = |version: &Block| found[start..].iter().zip(&version[start..]).take_while(|(a, b)| a == b).count();
        let longest = versions.iter().map(same).max().unwrap_or(0);
        if longest == 0 {
            return usize::MAX;
        }
        (start, count) = (start + longest, count + 1);
    }
    count
}

/// The names of a folder: every state since it was last surely stored, the present one last.
#[derive(Clone, Debug)]
pub(crate) struct Names(Vec<BTreeMap<String, usize>>);

impl Names {
    pub(crate) fn new(found: BTreeMap<String, usize>) -> Self {
        Self(vec![found])
    }

    pub(crate) fn present(&self) -> &BTreeMap<String, usize> {
        self.0.last().expect("one")
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        let mut next = self.present().clone();
        change(&mut next);
        self.0.push(next);
    }

    pub(crate) fn synced(&mut self) {
        self.0.drain(..self.0.len() - 1);
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &BTreeMap<String, usize>> {
        self.0.iter()
    }
}
