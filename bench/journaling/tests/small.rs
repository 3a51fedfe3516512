//! The measurements, small: they run, check what they wrote, and their sums add up.

use journaling::floor;
use journaling::load::{Load, What, run};
use std::time::Duration;

fn load(what: What, per_second: Option<u64>) -> Load {
    Load { what, per_second, span: Duration::from_millis(300) }
}

#[test]
fn uplinks_at_a_rate_are_stored_and_the_floors_write_the_same_batches() {
    let home = tempfile::tempdir().expect("a directory");
    let measured = run(home.path(), load(What::Uplinks, Some(5_000))).expect("all is stored and read back");
    assert!((1_400..=1_500).contains(&measured.records), "{} of 1500 came due", measured.records);
    assert_eq!(measured.wait.len(), measured.records, "each was waited for");
    assert_eq!(measured.commit.len(), measured.batches.len() as u64);
    assert_eq!(measured.batches.iter().map(|bytes| u64::from(*bytes)).sum::<u64>(), measured.bytes);
    let each = measured.bytes / measured.records;
    assert!((290..=360).contains(&each), "{each} bytes of one record and its share of marks");
    for floor in [floor::linked, floor::blocking] {
        let took = floor(home.path(), &measured.batches).expect("the disk takes them");
        assert_eq!(took.len(), measured.batches.len() as u64);
    }
}

#[test]
fn as_many_as_it_takes_are_stored() {
    let home = tempfile::tempdir().expect("a directory");
    let measured = run(home.path(), load(What::Uplinks, None)).expect("all is stored and read back");
    assert!(measured.records > 1_500, "more than at the rate of the other test: {}", measured.records);
}

#[test]
fn state_alone_waits_for_the_interval() {
    let home = tempfile::tempdir().expect("a directory");
    let measured = run(home.path(), load(What::State, Some(20_000))).expect("all is stored and read back");
    assert!((5_500..=6_000).contains(&measured.records), "{} of 6000 came due", measured.records);
    assert!(measured.bytes / measured.records <= 64, "{} bytes for {}", measured.bytes, measured.records);
    assert!(measured.batches.len() <= 8, "{} fdatasyncs in 0.3 s", measured.batches.len());
}
