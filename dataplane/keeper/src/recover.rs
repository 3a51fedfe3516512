//! Recovery: from the files of a directory to what is known of every device, before anything is served.
//!
//! Never writes; so a start that fails changes nothing, and can be tried again.
//!
//! ```text
//!   manifest -> checkpoint -> segments behind it, once, in order -> deltas by lane -> states, one lane at a time
//! ```

use crate::checkpoint::{self, fill};
use crate::fold::{Fold, Globals};
use crate::manifest::{self, Manifest};
use crate::{Fault, Keeper, Limits};
use files::Files;
use journal::{BadHeader, Catalog, Gap, HEADER_BYTES, Header, LANE_COUNT, SegmentInfo, SegmentName};
use session::DeviceState;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// The epoch of the run that begins.
    pub epoch: u16,
    /// Counts, for the log line.
    pub counts: Counts,
    fold: Fold,
}

/// What recovery met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Segments, those in the checkpoint included.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Stretches of segments, and records of the checkpoint, that could not be read.
    pub corrupt: u64,
    /// Files that are called segments and are none.
    pub foreign: u64,
    /// Interruptions of logs: segments that are missing.
    pub gaps: u64,
    /// Records of a later version, passed over.
    pub unknown: u64,
}

impl<F: Files> Keeper<F> {
    /// Finds what an earlier run left.
    ///
    /// # Errors
    /// [`Fault`]; nothing was changed.
    pub fn recover(files: F, limits: Limits) -> Result<(Self, Recovered), Fault> {
        let mut counts = Counts::default();
        let names = files.list()?;
        let manifest = if names.iter().any(|name| name == manifest::NAME) {
            let mut bytes = vec![0; files.len(manifest::NAME)? as usize];
            let count = fill(&files, manifest::NAME, 0, &mut bytes)?;
            bytes.truncate(count);
            Manifest::parse(&bytes)?
        } else {
            Manifest::default()
        };
        let checkpoint = checkpoint::name(manifest.generation);
        if manifest.generation > 0 && !names.contains(&checkpoint) {
            return Err(Fault::Damaged { name: checkpoint });
        }
        let mut keeper = Self {
            files,
            limits,
            catalog: Catalog::default(),
            covered: BTreeMap::new(),
            generation: manifest.generation,
            sections: manifest.sections,
            globals: Globals::default(),
            ended: Vec::new(),
            damages: RefCell::default(),
        };
        let mut last_epoch = 0;
        for (info, usage) in manifest.segments {
            last_epoch = last_epoch.max(info.name.epoch);
            if names.iter().any(|name| SegmentName::parse(name) == Some(info.name)) {
                keeper.catalog.insert(info);
                keeper.covered.insert(info.name, usage);
            }
        }
        keeper.find_segments(&names, &mut counts)?;
        let epoch = last_epoch.max(keeper.catalog.last_epoch().unwrap_or(0));
        let epoch = epoch.checked_add(1).ok_or(Fault::EpochsUsedUp)?;
        let (globals, lost) =
            if keeper.generation == 0 { Default::default() } else { keeper.globals_of_checkpoint()? };
        counts.corrupt += lost;
        keeper.globals = globals;
        let fold = keeper.fold_rest(&mut counts)?;
        counts.gaps = keeper.gaps().count() as u64;
        counts.segments = keeper.catalog.iter().count() as u64;
        counts.unknown = fold.unknown_count;
        Ok((keeper, Recovered { epoch, counts, fold }))
    }

    /// Reads the headers of the segments that the manifest does not name.
    fn find_segments(&mut self, names: &[String], counts: &mut Counts) -> Result<(), Fault> {
        for file in names {
            let Some(name) = SegmentName::parse(file) else { continue };
            if self.covered.contains_key(&name) {
                continue;
            }
            let mut head = [0; HEADER_BYTES];
            let count = fill(&self.files, file, 0, &mut head)?;
            match Header::parse(name, &head[..count]) {
                Ok(header) => self.catalog.insert(SegmentInfo::unread(&header)),
                Err(BadHeader::NewerVersion(version)) => return Err(Fault::Newer { name: file.clone(), version }),
                // Half made when the power went, or damaged: nothing can be read from it.
                Err(_) => {
                    counts.foreign += 1;
                    self.damages.borrow_mut().note(file, 0, HEADER_BYTES as u64);
                }
            }
        }
        Ok(())
    }

    /// Reads the segments behind the checkpoint: the last ones first learn how far they go, since that proves that the ones
    /// before them are whole; then all of them, in order.
    fn fold_rest(&mut self, counts: &mut Counts) -> Result<Fold, Fault> {
        let rest: Vec<SegmentName> =
            self.catalog.iter().map(|info| info.name).filter(|name| !self.covered.contains_key(name)).collect();
        for name in rest.iter().rev() {
            if let Some(part) = self.catalog.part(*name) {
                let (info, _, _) = self.scan_until(&part, |_, _| true)?;
                self.catalog.insert(info);
            }
        }
        let mut fold = Fold::new(self.globals.clone());
        for name in &rest {
            let Some(part) = self.catalog.part(*name) else { continue };
            let mut records = 0;
            counts.corrupt += self.scan(&part, |_, record| {
                records += 1;
                fold.take(record);
            })?;
            counts.records += records;
        }
        self.ended = rest;
        Ok(fold)
    }

    /// Removes what earlier runs left half done: checkpoints that no manifest names. Call it once recovery has succeeded.
    ///
    /// # Errors
    /// The host's.
    pub fn tidy(&mut self) -> Result<(), Fault> {
        for name in self.files.list()? {
            let stale = checkpoint::generation_of(&name).is_some_and(|generation| generation != self.generation);
            if stale || name == manifest::NEW_NAME {
                self.files.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Calls `each` with the state of every device of one lane.
    ///
    /// # Errors
    /// The host's.
    pub fn recover_lane(
        &self,
        recovered: &mut Recovered,
        lane: u8,
        mut each: impl FnMut(DeviceState),
    ) -> Result<(), Fault> {
        let (mut states, lost) = if self.generation == 0 { Default::default() } else { self.states(lane)? };
        recovered.counts.corrupt += lost;
        for (dev_eui, delta) in recovered.fold.lanes[usize::from(lane % LANE_COUNT)].drain() {
            delta.onto(states.entry(dev_eui).or_default());
        }
        states.into_values().filter(|state| !state.is_empty()).for_each(&mut each);
        Ok(())
    }
}

impl<F: Files> Keeper<F> {
    /// What belongs to no device, by now: the checkpoint's, and what segments since have added.
    ///
    /// # Errors
    /// The host's.
    pub fn globals_now(&self) -> Result<Globals, Fault> {
        let mut fold = Fold::new(self.globals.clone());
        for name in self.catalog.iter().map(|info| info.name).filter(|name| !self.covered.contains_key(name)) {
            if let Some(part) = self.catalog.part(name) {
                self.scan(&part, |_, record| fold.take(record))?;
            }
        }
        Ok(fold.globals)
    }

    /// Where segments are missing that no checkpoint stands for. Those that it does stand for may have been removed.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.catalog.gaps().filter(|gap| !self.covered.contains_key(&gap.behind))
    }

    /// Bytes that the disk has room for; none if it does not say.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.files.free_bytes().unwrap_or(0)
    }
}

impl Recovered {
    /// What belongs to no device.
    #[must_use]
    pub const fn globals(&self) -> &Globals {
        &self.fold.globals
    }
}
