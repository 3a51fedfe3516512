//! One thread that may wait, in a folder of the virtual disk.

use crate::model::{Model, Names};
use base::mix::SplitMix64;
use files::{Directory, Files};
use sim::{Disk, DiskFaults, DiskTally, Folder, Lie, SharedDisk};
use std::collections::BTreeMap;
use std::io;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

struct Keeper {
    disk: SharedDisk,
    folder: Folder,
    random: SplitMix64,
    models: Vec<Model>,
    names: Names,
    /// Cuts after which something was found that an honest disk would not have left.
    betrayed: u32,
    stored_bytes: usize,
}

impl Keeper {
    fn new(seed: u64, faults: DiskFaults) -> Self {
        let disk = Disk::new(seed, faults, 1 << 20);
        let folder = Folder::new(&disk, "journal");
        Self {
            disk,
            folder,
            random: SplitMix64::new(seed ^ 0xF01D),
            models: Vec::new(),
            names: Names::new(BTreeMap::new()),
            betrayed: 0,
            stored_bytes: 0,
        }
    }

    fn seen(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.borrow().seen(&format!("journal/{name}")).map(<[u8]>::to_vec)
    }

    fn lies(&self) -> bool {
        !self.disk.borrow().lies().is_empty()
    }

    fn step(&mut self) {
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize];
        let other = NAMES[self.random.below(NAMES.len() as u64) as usize];
        let known = self.names.present().get(name).copied();
        match self.random.below(40) {
            0..16 => self.write(name, known),
            16..22 => self.read(name, known),
            22..29 => self.sync(name, known),
            29..31 => self.truncate(name, known),
            31..33 => self.rename(name, other, known),
            33 => self.remove(name, known),
            34..37 => {
                let result = self.folder.sync_directory();
                if allowed(result, &[EIO, EROFS]) {
                    self.names.synced();
                }
            }
            37 => self.cut(),
            38 => {
                let mut disk = self.disk.borrow_mut();
                let used = disk.used_bytes();
                disk.capacity_bytes = used + self.random.below(8) * 4096;
            }
            _ => {
                let mut disk = self.disk.borrow_mut();
                disk.read_only = self.random.below(4) == 0;
            }
        }
        let names: Vec<&str> = self.names.present().keys().map(String::as_str).collect();
        assert_eq!(self.folder.list().expect("names"), names);
    }

    fn write(&mut self, name: &str, known: Option<usize>) {
        let offset = self.random.below(6000) as usize;
        let bytes: Vec<u8> = (0..1 + self.random.below(3000)).map(|_| self.random.next() as u8).collect();
        let result = self.folder.write_at(name, offset as u64, &bytes);
        let Some(seen) = self.seen(name) else {
            assert_eq!(result.expect_err("it was not made").raw_os_error(), Some(EROFS));
            return;
        };
        let id = known.unwrap_or_else(|| {
            self.models.push(Model::new());
            let id = self.models.len() - 1;
            self.names.change(|names| {
                names.insert(name.into(), id);
            });
            id
        });
        if allowed(result, &[EIO, ENOSPC, EROFS]) {
            self.models[id].write(offset, &bytes);
        } else if !self.lies() {
            self.models[id].write_partly(offset, &bytes, &seen);
        } else {
            self.models[id] = Model::found(&seen);
        }
    }

    fn read(&mut self, name: &str, known: Option<usize>) {
        let offset = self.random.below(7000) as usize;
        let mut target = vec![0; 1 + self.random.below(4000) as usize];
        let result = self.folder.read_at(name, offset as u64, &mut target);
        let Some(id) = known else {
            assert_eq!(result.expect_err("it is not there").raw_os_error(), Some(ENOENT));
            return;
        };
        let Ok(count) = result else { return assert!(!allowed(result.map(|_| ()), &[EIO])) };
        let rest = self.models[id].content().get(offset..).unwrap_or_default();
        assert_eq!(count == 0, rest.is_empty(), "nothing only at the end");
        if !self.lies() {
            assert_eq!(target[..count], rest[..count]);
        }
        assert_eq!(self.folder.len(name).expect("it is there"), self.models[id].content().len() as u64);
    }

    fn sync(&mut self, name: &str, known: Option<usize>) {
        let result = self.folder.sync(name);
        let Some(id) = known else {
            assert_eq!(result.expect_err("it is not there").raw_os_error(), Some(ENOENT));
            return;
        };
        match result.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => self.models[id].synced(),
            Err(Some(EIO)) => self.models[id].sync_failed(),
            Err(errno) => assert_eq!(errno, Some(EROFS)),
        }
    }

    fn truncate(&mut self, name: &str, known: Option<usize>) {
        let len = self.random.below(9000);
        let result = self.folder.truncate(name, len);
        let Some(id) = known else {
            assert_eq!(result.expect_err("it is not there").raw_os_error(), Some(ENOENT));
            return;
        };
        if allowed(result, &[EROFS]) {
            self.models[id].truncate(len as usize);
        }
    }

    fn rename(&mut self, from: &str, to: &str, known: Option<usize>) {
        let result = self.folder.rename(from, to);
        let Some(id) = known else {
            assert_eq!(result.expect_err("it is not there").raw_os_error(), Some(ENOENT));
            return;
        };
        let errno = result.err().and_then(|error| error.raw_os_error());
        assert!(matches!(errno, None | Some(EIO | EROFS)), "{errno:?}");
        if errno == Some(EROFS) {
            return;
        }
        self.names.change(|names| {
            names.remove(from);
            names.insert(to.into(), id);
        });
        if errno.is_none() {
            self.names.synced();
        }
    }

    fn remove(&mut self, name: &str, known: Option<usize>) {
        let result = self.folder.remove(name);
        if known.is_none() {
            assert_eq!(result.expect_err("it is not there").raw_os_error(), Some(ENOENT));
        } else if allowed(result, &[EROFS]) {
            self.names.change(|names| {
                names.remove(name);
            });
        }
    }

    fn cut(&mut self) {
        self.disk.borrow_mut().power_cut();
        let found: BTreeMap<String, Vec<u8>> = self
            .folder
            .list()
            .expect("names")
            .into_iter()
            .map(|name| (self.seen(&name).map(|content| (name, content))).expect("listed"))
            .collect();
        // The state of the names is one that there was, and each file is one that there may be.
        let mut complaints = Vec::new();
        let state = self.names.states().find(|state| {
            let same = state.keys().eq(found.keys());
            same && state.iter().all(|(name, id)| {
                let verdict = self.models[*id].allows(&found[name], 2);
                complaints.extend(verdict.clone().err().map(|complaint| format!("{name}: {complaint}")));
                verdict.is_ok()
            })
        });
        if let Some(state) = state {
            let whole = state.values().filter(|id| self.models[**id].is_stored());
            self.stored_bytes += whole.map(|id| self.models[*id].content().len()).sum::<usize>();
        } else {
            assert!(self.lies(), "an honest disk keeps what it said: {complaints:?}, {:?}", found.keys());
            self.betrayed += 1;
        }
        self.models = found.values().map(|content| Model::found(content)).collect();
        self.names = Names::new(found.into_keys().zip(0..).collect());
    }
}

/// Whether it worked. If not, for one of these reasons.
fn allowed(result: io::Result<()>, errnos: &[i32]) -> bool {
    let Err(error) = result else { return true };
    assert!(error.raw_os_error().is_some_and(|errno| errnos.contains(&errno)), "{error}");
    false
}

fn run(seed: u64, faults: DiskFaults, steps: u32) -> Keeper {
    let mut keeper = Keeper::new(seed, faults);
    (0..steps).for_each(|_| keeper.step());
    keeper.cut();
    keeper
}

#[test]
fn what_was_synced_outlives_every_cut() {
    let (mut sum, mut stored_bytes) = (DiskTally::default(), 0);
    for seed in 0..300 {
        let faults = DiskFaults { lost_sync: 0, flip_stored: 0, flip_cached: 0, ..DiskFaults::of(seed) };
        assert!(!faults.may_lie());
        let keeper = std::panic::catch_unwind(|| run(seed, faults, 400)).unwrap_or_else(|_| panic!("seed {seed}"));
        assert_eq!((keeper.betrayed, keeper.lies()), (0, false));
        stored_bytes += keeper.stored_bytes;
        let tally = keeper.disk.borrow().tally();
        sum.cuts += tally.cuts;
        sum.sync_errors += tally.sync_errors;
        sum.write_errors += tally.write_errors;
        sum.read_errors += tally.read_errors;
        sum.full += tally.full;
        sum.read_only += tally.read_only;
        sum.written_back += tally.written_back;
        sum.short += tally.short;
    }
    assert!(stored_bytes > 1 << 20, "{stored_bytes} bytes were surely stored when power went");
    let met =
        [sum.sync_errors, sum.write_errors, sum.read_errors, sum.full, sum.read_only, sum.written_back, sum.short];
    assert!(sum.cuts > 2000 && met.iter().all(|count| *count > 100), "every fault was met: {sum:?}");
}

#[test]
fn a_lie_is_on_record_before_it_is_found_out() {
    let (mut betrayed, mut seen) = (0, [0; 4]);
    for seed in 0..200 {
        let faults = DiskFaults { lost_sync: 200, flip_stored: 4, flip_cached: 4, ..DiskFaults::of(seed) };
        let keeper = std::panic::catch_unwind(|| run(seed, faults, 400)).unwrap_or_else(|_| panic!("seed {seed}"));
        betrayed += keeper.betrayed;
        let disk = keeper.disk.borrow();
        assert_eq!(disk.lies().len() as u64, disk.tally().lost_syncs + disk.tally().flips);
        for lie in disk.lies() {
            seen[match lie {
                Lie::LostSync(_) => 0,
                Lie::LostDirectorySync => 1,
                Lie::FlippedStored(..) => 2,
                Lie::FlippedCached(..) => 3,
            }] += 1;
        }
    }
    assert!(betrayed > 100 && seen.iter().all(|count| *count > 50), "{betrayed} betrayals, {seen:?}");
}

#[test]
fn one_seed_has_one_disk() {
    let kept = |seed| {
        let keeper = run(seed, DiskFaults::of(seed), 400);
        let names = keeper.folder.list().expect("names");
        let content: Vec<_> = names.iter().map(|name| keeper.seen(name)).collect();
        (names, content, keeper.disk.borrow().tally())
    };
    for seed in 0..10 {
        assert_eq!(kept(seed), kept(seed));
    }
    assert_ne!(kept(1), kept(2));
}

/// The same operations on a real directory and on a calm virtual disk have the same answers.
#[test]
fn a_folder_answers_as_a_directory_does() {
    fn apply(files: &mut dyn Files, random: &mut SplitMix64) -> Result<Vec<u8>, Option<i32>> {
        let name = NAMES[random.below(NAMES.len() as u64) as usize];
        let other = NAMES[random.below(NAMES.len() as u64) as usize];
        let nothing = |()| Vec::new();
        let result = match random.below(9) {
            0 | 1 => {
                let bytes: Vec<u8> = (0..random.below(2000)).map(|_| random.next() as u8).collect();
                files.write_at(name, random.below(5000), &bytes).map(nothing)
            }
            2 => {
                let mut target = vec![0; random.below(5000) as usize];
                files.read_at(name, random.below(5000), &mut target).map(|count| {
                    target.truncate(count);
                    target
                })
            }
            3 => files.sync(name).map(nothing),
            4 => files.truncate(name, random.below(5000)).map(nothing),
            5 => files.rename(name, other).map(nothing),
            6 => files.remove(name).map(nothing),
            7 => files.len(name).map(|len| len.to_be_bytes().to_vec()),
            _ => files.list().map(|names| names.join(",").into_bytes()),
        };
        result.map_err(|error| error.raw_os_error())
    }
    for seed in 0..20 {
        let home = tempfile::tempdir().expect("a directory");
        let mut directory = Directory::open(home.path()).expect("it is there");
        let mut folder = Folder::new(&Disk::new(seed, DiskFaults::calm(), 1 << 20), "");
        let (mut random, mut same) = (SplitMix64::new(seed), SplitMix64::new(seed));
        for step in 0..300 {
            let expected = apply(&mut directory, &mut random);
            assert_eq!(apply(&mut folder, &mut same), expected, "seed {seed}, step {step}");
        }
    }
}
