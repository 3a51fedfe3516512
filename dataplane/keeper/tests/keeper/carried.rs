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
