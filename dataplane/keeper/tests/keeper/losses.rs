//! What disks, power cuts and damage may cost, and what not.

use super::*;
use crate::memory::DISK_BYTES;
use journal::{SegmentName, Wanted};
use keeper::Offline;

#[test]
fn a_damaged_manifest_is_refused_and_nothing_is_removed() {
    let (mut model, mut random, files) = (Model::default(), SplitMix64::new(5), Memory::default());
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..3000 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
    drop(run);
    let whole = files.bytes("manifest");
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    files.put("manifest", &damaged);
    let names = files.list().expect("memory");
    let Err(fault) = Run::start(&files) else { panic!("it started without the checkpoint") };
    assert!(matches!(&fault, Fault::Damaged { name } if name == "manifest"), "{fault}");
    assert_eq!((files.list().expect("memory"), files.bytes("manifest")), (names, damaged), "nothing was changed");
    files.put("manifest", &whole);
    agrees(&files, &model, "with the manifest put back");
}

#[test]
fn a_disk_that_fails_at_any_moment_costs_nothing_that_was_there() {
    let mut model = Model::default();
    let mut random = SplitMix64::new(77);
    let files = Memory::default();
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..2000 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, each| each(5)).expect("room");
    for _ in 0..2500 {
        step(&mut run, &mut model, &mut random);
    }
    drop(run);
    let retention = [Retention { stream: 5, age: Duration::from_secs(1 << 30), bytes: 1 << 40 }];
    for changes in 0..400 {
        let files = files.copy();
        let (mut run, _) = Run::start(&files).expect("readable");
        files.left.set(Some(changes));
        let folded = run.keeper.checkpoint(&mut |_, each| each(5));
        let removed = folded.as_ref().ok().map(|_| run.keeper.retain(&retention, UnixMicros(run.clock)));
        let wanted = run.log.wants().expect("a segment is wanted");
        let made = run.keeper.make(wanted, UnixMicros(run.clock));
        let done = folded.is_ok() && made.is_ok() && removed.is_some_and(|removed| removed.is_ok());
        drop(run);
        files.left.set(None);
        agrees(&files, &model, &format!("after {changes} changes"));
        if done {
            assert!(changes > 10, "it was met in the middle: {changes}");
            return;
        }
    }
    panic!("it never came to its end");
}

/// Changes that a checkpoint of these files makes.
fn changes_of_checkpoint(files: &Memory) -> usize {
    let files = files.copy();
    let (mut run, _) = Run::start(&files).expect("readable");
    files.left.set(Some(1000));
    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
    1000 - files.left.get().expect("set")
}

#[test]
fn a_checkpoint_that_a_manifest_may_name_is_never_written_over() {
    let (files, model) = two_thirds_folded(78);
    let count = changes_of_checkpoint(&files);
    for first in count.saturating_sub(8)..count {
        for second in (0..count + 8).step_by(3) {
            let what = format!("{first} changes, then {second}, of {count}");
            let (files, mut model, mut random) = (files.copy(), model.clone(), SplitMix64::new(first as u64));
            let (mut run, _) = Run::start(&files).expect("readable");
            files.left.set(Some(first));
            let done = run.keeper.checkpoint(&mut |_, _| ()).is_ok();
            files.left.set(None);
            // The second has other things to say.
            let unfolded = run.keeper.unfolded_bytes();
            while run.keeper.unfolded_bytes() <= unfolded {
                step(&mut run, &mut model, &mut random);
            }
            files.left.set(Some(second));
            let done_again = run.keeper.checkpoint(&mut |_, _| ()).is_ok();
            assert!(!done || first + 3 > count, "{what}");
            drop(run);
            files.left.set(None);
            agrees(&files, &model, &what);
            files.cut_power();
            agrees(&files, &model, &format!("{what}, and the power cut"));
            // Neither attempt leaves anything for ever.
            let (mut run, _) = Run::start(&files).expect("readable");
            run.keeper.checkpoint(&mut |_, _| ()).expect("room");
            let checkpoints = files.list().expect("memory").into_iter().filter(|name| name.ends_with(".ckp")).count();
            assert_eq!(checkpoints, 1, "{what}: {done_again}");
        }
    }
}

#[test]
fn nothing_goes_before_what_replaces_it_is_stored() {
    let (files, model) = two_thirds_folded(79);
    let count = changes_of_checkpoint(&files);
    let mut renamed = 0;
    for changes in count.saturating_sub(8)..count {
        for (tidies, then) in [true, false].into_iter().flat_map(|tidies| (0..6).map(move |then| (tidies, then))) {
            let files = files.copy();
            let (mut run, _) = Run::start(&files).expect("readable");
            let before = files.bytes("manifest");
            files.left.set(Some(changes));
            let failed = run.keeper.checkpoint(&mut |_, _| ()).is_err();
            files.left.set(None);
            renamed += usize::from(failed && files.bytes("manifest") != before);
            // The process ends here; the next one sees what the former had renamed, stored or not.
            drop(run);
            let (mut keeper, _) = Keeper::recover(files.clone(), LIMITS).expect("readable");
            files.left.set(Some(then));
            if tidies {
                let _done = keeper.begin();
            } else {
                let _done = keeper.retain(&[], UnixMicros(u64::MAX));
            }
            files.left.set(None);
            files.cut_power();
            agrees(&files, &model, &format!("{changes} changes of {count}, tidies: {tidies}, then {then}"));
        }
    }
    assert!(renamed > 0, "it was met between the rename and the sync");
}

#[test]
fn what_is_half_made_goes_before_the_next_is_made_and_is_no_damage() {
    for changes in 0..100 {
        let files = Memory::default();
        let (mut run, _) = Run::start(&files).expect("readable");
        let wanted = run.log.wants().expect("a segment");
        files.left.set(Some(changes));
        if run.keeper.make(wanted, UnixMicros(1)).is_ok() {
            assert!(changes > 2, "it was met in the middle: {changes}");
            return;
        }
        files.left.set(None);
        let mut offline = Offline::open(files.clone()).expect("readable");
        offline.segments(&mut |_, _| (), |_| ()).expect("readable");
        assert_eq!(offline.damages, [], "after {changes} changes");
        // A write has failed meanwhile: another one is wanted in its place.
        let name = SegmentName { number: wanted.name.number + 1, ..wanted.name };
        run.keeper.make(Wanted { name, ..wanted }, UnixMicros(1)).expect("room");
        let segments: Vec<_> =
            files.list().expect("memory").into_iter().filter(|name| name.ends_with(".seg")).collect();
        assert_eq!(segments, [name.to_string()], "after {changes} changes");
    }
    panic!("it was never made");
}

#[test]
fn no_epoch_is_given_twice() {
    let (files, _) = two_thirds_folded(80);
    let mut last = 1;
    // A disk without room for a segment, while retention takes what earlier runs have written.
    files.used.set(DISK_BYTES);
    for _ in 0..3 {
        let (mut run, recovered) = Run::start(&files).expect("readable");
        assert_eq!(recovered.epoch, last + 1);
        last = recovered.epoch;
        let wanted = run.log.wants().expect("a segment");
        assert!(matches!(run.keeper.make(wanted, UnixMicros(1)), Err(Fault::Full)));
        run.keeper.checkpoint(&mut |_, _| ()).expect("room");
        run.keeper.retain(&[], UnixMicros(u64::MAX)).expect("done");
        assert_eq!(run.keeper.catalog().iter().count(), 0);
    }
    // A run that could not even say so at first, but before it removes anything.
    files.left.set(Some(0));
    let (mut keeper, recovered) = Keeper::recover(files.clone(), LIMITS).expect("readable");
    assert!(keeper.begin().is_err());
    files.left.set(None);
    keeper.checkpoint(&mut |_, _| ()).expect("room");
    files.cut_power();
    let (_, after) = Run::start(&files).expect("readable");
    assert_eq!((recovered.epoch, after.epoch), (last + 1, last + 2));
    // One whose only segment cannot be read.
    files.used.set(0);
    files.clone().write_at("00077-00-0000000000.seg", 0, b"damaged").expect("room");
    let (_, recovered) = Run::start(&files).expect("readable");
    assert_eq!((recovered.epoch, recovered.counts.foreign), (78, 1));
    let marks = files.list().expect("memory").into_iter().filter(|name| name.starts_with("epoch-")).count();
    assert_eq!(marks, 1);
}

#[test]
fn damage_is_counted_and_costs_itself() {
    let files = Memory::default();
    let mut model = Model::default();
    let mut random = SplitMix64::new(8);
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..3000 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
    let mut copies = 0;
    for name in files.list().expect("memory") {
        let bytes = files.bytes(&name);
        for part in 1..8 {
            let at = bytes.len() * part / 8;
            if bytes.get(at).is_none_or(|byte| *byte == 0) || at < HEADER_BYTES {
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            files.put(&name, &damaged);
            match Keeper::recover(files.clone(), LIMITS) {
                Ok((keeper, mut recovered)) => {
                    for lane in 0..64 {
                        keeper.recover_lane(&mut recovered, lane, |_| ()).expect("readable");
                    }
                    let found = recovered.counts.corrupt > 0;
                    let covered = name.ends_with(".seg");
                    assert!(found || covered, "{name} at {at}");
                    copies += usize::from(found);
                }
                Err(fault) => panic!("{name} at {at}: {fault}"),
            }
            files.put(&name, &bytes);
        }
    }
    assert!(copies > 3, "{copies}");
}
