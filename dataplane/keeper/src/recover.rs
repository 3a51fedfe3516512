//! Recovery: from the files of a directory to what is known of every device, before anything is served.
//!
//! Never writes; so a start that fails changes nothing, and can be tried again.
//!
//! ```text
//!   segments behind the checkpoint, once, in order -> what they change, by lane ─┐
//!   manifest -> checkpoint, lane by lane, several side by side ──────────────────┴─▶ devices, one at a time
//! ```

use crate::carry;
use crate::checkpoint;
use crate::epoch;
use crate::fold::{Deltas, Fold, Globals};
use crate::manifest;
use crate::section::fill;
use crate::{Fault, Keeper, Limits};
use base::UnixMicros;
use files::Files;
use journal::{BadHeader, CarryOver, Catalog, Gap, HEADER_BYTES, Header, LANE_COUNT, SegmentInfo, SegmentName};
use session::DeviceState;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Devices that threads that read side by side give at once.
const BATCH_COUNT: usize = 64;

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
    /// Records that only memory had, of a run that was killed.
    pub carried: u64,
}

impl<F: Files> Keeper<F> {
    /// Finds what an earlier run left.
    ///
    /// # Errors
    /// [`Fault`]; nothing was changed.
    pub fn recover(files: F, limits: Limits) -> Result<(Self, Recovered), Fault> {
        Self::recover_with(files, limits, &[], UnixMicros(0))
    }

    /// The same, with what its logs had carried over. [`Keeper::begin`] puts that into segments.
    ///
    /// # Errors
    /// [`Fault`]; nothing was changed.
    pub fn recover_with(
        files: F,
        limits: Limits,
        carried: &[CarryOver],
        now: UnixMicros,
    ) -> Result<(Self, Recovered), Fault> {
        let mut counts = Counts::default();
        let names = files.list()?;
        let manifest = manifest::read(&files, &names)?;
        let named = checkpoint::name(manifest.generation);
        if manifest.generation > 0 && !names.contains(&named) {
            return Err(Fault::Damaged { name: named });
        }
        let generations = names.iter().filter_map(|name| checkpoint::generation_of(name));
        let mut keeper = Self {
            files,
            limits,
            catalog: Catalog::default(),
            epoch: 0,
            epoch_marked: false,
            covered: BTreeMap::new(),
            generation: manifest.generation,
            last_generation: generations.fold(manifest.generation, u64::max),
            settled: false,
            sections: manifest.sections,
            globals: Globals::default(),
            half_made: Vec::new(),
            ended: Vec::new(),
            unpoured: Vec::new(),
            unproven: Vec::new(),
            damages: Mutex::default(),
            summaries: BTreeMap::new(),
            base: Default::default(),
        };
        let mut last_epoch = epoch::last(&names);
        for (info, usage) in manifest.segments {
            last_epoch = last_epoch.max(info.name.epoch);
            if names.iter().any(|name| SegmentName::parse(name) == Some(info.name)) {
                keeper.catalog.insert(info);
                keeper.covered.insert(info.name, usage);
            }
        }
        keeper.find_segments(&names, &mut counts)?;
        for over in carried {
            let stretches = keeper.find_carried(over, now)?;
            keeper.unpoured.extend(stretches);
        }
        keeper.unpoured.sort_by_key(carry::Stretch::name);
        last_epoch = keeper.unpoured.iter().map(|stretch| stretch.name().epoch).fold(last_epoch, u16::max);
        keeper.epoch = last_epoch.checked_add(1).ok_or(Fault::EpochsUsedUp)?;
        let (globals, lost) =
            if keeper.generation == 0 { Default::default() } else { keeper.globals_of_checkpoint()? };
        counts.corrupt += lost;
        keeper.globals = globals;
        let fold = keeper.fold_rest(&mut counts)?;
        keeper.await_carried();
        counts.gaps = keeper.gaps().count() as u64;
        counts.segments = keeper.catalog.iter().count() as u64;
        counts.unknown = fold.unknown_count;
        let epoch = keeper.epoch;
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
                    self.note_damage(file, 0, HEADER_BYTES as u64);
                }
            }
        }
        Ok(())
    }

    /// Reads the segments behind the checkpoint, in order. Before that the last one of each log that holds anything, since it
    /// proves that the ones before it are whole.
    fn fold_rest(&mut self, counts: &mut Counts) -> Result<Fold, Fault> {
        let rest: Vec<SegmentName> =
            self.catalog.iter().map(|info| info.name).filter(|name| !self.covered.contains_key(name)).collect();
        let mut proven = None;
        for name in rest.iter().rev() {
            let log = Some((name.epoch, name.log));
            if let Some(part) = self.catalog.part(*name).filter(|_| proven != log) {
                let info = self.scan_last(&part)?;
                self.catalog.insert(info);
                proven = if info.holds_records() { log } else { proven };
            }
        }
        let mut fold = Fold::new(self.globals.clone());
        let mut carried = self.unpoured.iter().peekable();
        for name in &rest {
            // In one epoch a lane belongs to one log, which ends with what was carried over.
            while let Some(stretch) = carried.next_if(|stretch| stretch.name().epoch < name.epoch) {
                counts.carried += stretch.fold(&mut fold);
            }
            let Some(part) = self.catalog.part(*name) else { continue };
            let mut records = 0;
            let (info, _, lost) = self.scan_until(&part, |position, record| {
                records += 1;
                fold.take(position, record);
                true
            })?;
            self.catalog.insert(info);
            counts.corrupt += lost;
            counts.records += records;
        }
        counts.carried += carried.map(|stretch| stretch.fold(&mut fold)).sum::<u64>();
        self.ended = rest;
        Ok(fold)
    }

    /// Calls `each` with the state of every device of one lane.
    ///
    /// # Errors
    /// The host's.
    pub fn recover_lane(
        &self,
        recovered: &mut Recovered,
        lane: u8,
        each: impl FnMut(DeviceState),
    ) -> Result<(), Fault> {
        let deltas = std::mem::take(&mut recovered.fold.lanes[usize::from(lane % LANE_COUNT)]);
        recovered.counts.corrupt += self.read_lane(lane, deltas, each)?;
        Ok(())
    }

    /// Calls `each` with the states of all devices, some at a time, by as many threads as are asked for: each reads one lane
    /// after the other.
    ///
    /// # Errors
    /// The host's; some devices were given then.
    pub fn recover_lanes(
        &self,
        recovered: &mut Recovered,
        thread_count: usize,
        each: &(dyn Fn(Vec<DeviceState>) + Sync),
    ) -> Result<(), Fault>
    where
        F: Sync,
    {
        let lanes = std::mem::take(&mut recovered.fold.lanes);
        let lanes = Mutex::new((0..LANE_COUNT).zip(lanes).collect::<Vec<_>>());
        let next = || lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let read = || {
            let mut lost = 0;
            while let Some((lane, deltas)) = next() {
                let mut batch = Vec::with_capacity(BATCH_COUNT);
                lost += self.read_lane(lane, deltas, |state| {
                    batch.push(state);
                    if batch.len() == BATCH_COUNT {
                        each(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_COUNT)));
                    }
                })?;
                each(batch);
            }
            Ok(lost)
        };
        let results: Vec<Result<u64, Fault>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..thread_count.max(1)).map(|_| scope.spawn(read)).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join();
            threads.into_iter().map(join).map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        for lost in results {
            recovered.counts.corrupt += lost?;
        }
        Ok(())
    }

    /// Says how many records could not be read.
    fn read_lane(&self, lane: u8, deltas: Deltas, mut each: impl FnMut(DeviceState)) -> Result<u64, Fault> {
        let mut devices = self.lane(lane, deltas);
        while let Some(state) = devices.next(&self.files)? {
            each(state);
        }
        Ok(self.note_section(devices.section()))
    }
}

impl<F: Files> Keeper<F> {
    /// What belongs to no device, by now: the checkpoint's, and what segments since have added.
    ///
    /// # Errors
    /// The host's.
    pub fn globals_now(&self) -> Result<Globals, Fault> {
        let mut fold = Fold::of_globals(self.globals.clone());
        for name in self.catalog.iter().map(|info| info.name).filter(|name| !self.covered.contains_key(name)) {
            if let Some(part) = self.catalog.part(name) {
                self.scan(&part, |position, record| fold.take(position, record))?;
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
