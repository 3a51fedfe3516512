//! What a killed run had only in memory.

use super::*;
use journal::CarryOver;

/// So much waits before it is written. A lap of the ring is longer.
pub(crate) const UNWRITTEN_BYTES: u64 = 300 << 10;

/// Puts what the log wants carried into the file.
pub(crate) fn carry(log: &mut Log, file: &mut Vec<u8>) {
    while let Some((at, bytes)) = log.uncarried() {
        let (at, count) = (at as usize, bytes.len());
        file.resize(file.len().max(at + count), 0);
        file[at..at + count].copy_from_slice(bytes);
        log.carried(count);
    }
}

#[test]
fn a_killed_run_loses_nothing_that_was_carried_over() {
    let mut carried = 0;
    for seed in 0..8 {
        let files = Memory::default();
        let (mut model, mut random) = (Model::default(), SplitMix64::new(seed));
        for start in 1..4 {
            let (mut run, _) = Run::start(&files).expect("readable");
            run.carry = Some(run.log.carry_header().to_vec());
            for _ in 0..random.below(3000) {
                step(&mut run, &mut model, &mut random);
                if random.below(300) == 0 {
                    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
                }
            }
            let (file, now) = (run.carry.take().expect("just given"), UnixMicros(run.clock));
            drop(run);
            let over = [CarryOver::parse(file).expect("a carry-over")];
            // A disk that refuses is asked again, and what it does not have is known all the same.
            let (mut keeper, recovered) = Keeper::recover_with(files.clone(), LIMITS, &over, now).expect("readable");
            carried += recovered.counts.carried;
            files.left.set(Some(random.below(8) as usize));
            let refused = keeper.begin().is_err();
            assert!(!refused || keeper.unfolded_bytes() == 0 || keeper.checkpoint(&mut |_, _| ()).is_err());
            files.left.set(None);
            keeper.begin().expect("room");
            assert!(keeper.has_all_carried());
            drop((keeper, recovered));
            let (_, recovered) = Keeper::recover_with(files.clone(), LIMITS, &over, now).expect("readable");
            assert_eq!(recovered.counts.carried, 0, "it was poured once");
            agrees(&files, &model, &format!("seed {seed}, start {start}"));
        }
    }
    assert!(carried > 10_000, "most of it was nowhere else: {carried}");
}

/// What a killed run wrote last was in the page cache alone; what was poured behind it was stored, and proved it.
#[test]
fn what_the_poured_follows_is_stored_before_it() {
    for refused in (0..6).map(Some).chain([None]) {
        let files = Memory::default();
        let (mut run, _) = Run::start(&files).expect("readable");
        run.append(Kind::Event, 1, b"stored");
        run.carry = Some(run.log.carry_header().to_vec());
        files.loses_bytes();
        run.append(Kind::Event, 1, b"written, and not stored");
        let write = run.log.next_write(false).expect("something waits");
        let mut bytes = vec![0; write.bytes];
        run.log.copy(&write, &mut bytes);
        files.clone().write_at(&write.segment.to_string(), write.file_offset, &bytes).expect("room");
        run.log.wrote(Ok(()));
        run.append(Kind::Event, 1, b"carried over");
        let over = [CarryOver::parse(run.carry.take().expect("just given")).expect("a carry-over")];
        drop(run);
        let (mut keeper, recovered) =
            Keeper::recover_with(files.clone(), LIMITS, &over, UnixMicros(1)).expect("readable");
        assert_eq!(recovered.counts.carried, 1);
        files.left.set(refused);
        assert_eq!(keeper.begin().is_err(), refused.is_some());
        files.left.set(None);
        keeper.begin().expect("room");
        drop((keeper, recovered));
        files.cut_power();
        let (keeper, recovered) = Keeper::recover(files, LIMITS).expect("readable");
        assert_eq!((keeper.take_damages(), recovered.counts.corrupt), (vec![], 0), "an honest disk is accused");
        assert_eq!(recovered.counts.records, 4, "three, and the mark of the first");
    }
}
