//! What is said waits for the journal, and the journal is what was said.

use super::*;
use driver::FileFault;
use journal::{HEADER_BYTES, Kind, Position, Record};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn journaled() -> Sizes {
    Sizes { journal: true, ..Sizes::default() }
}

fn durable() -> v1::Stream {
    stream(|it| it.delivery = v1::Delivery::Durable.into())
}

/// The records in the only shard's segment of this number.
pub(super) fn records(world: &mut World, number: u32) -> Vec<(Kind, Vec<u8>)> {
    let name = journal::SegmentName { epoch: 1, log: 0, number };
    let file = world.driver(0).files[&format!("journal/{name}")].clone();
    let mut position = Position::new(1, 0, 0);
    let mut rest = &file[HEADER_BYTES..];
    let mut all = Vec::new();
    while let Ok((record, count)) = Record::parse(position, rest) {
        all.push((record.kind, record.body.to_vec()));
        rest = &rest[count..];
        position = position.checked_add(count as u64).expect("within the log");
    }
    all
}

fn events(world: &mut World, number: u32) -> usize {
    records(world, number).iter().filter(|(kind, _)| *kind == Kind::Event).count()
}

#[test]
fn what_a_durable_stream_covers_is_in_the_journal() {
    let mut world = World::new(&journaled());
    world.load(&[stream(|_| ())]);
    world.report();
    world.turns(4);
    assert_eq!(events(&mut world, 0), 0, "a live stream keeps nothing");
    world.load(&[durable()]);
    world.report();
    world.report();
    world.turns(4);
    assert_eq!(events(&mut world, 0), 2);
}

#[test]
fn a_full_disk_keeps_live_streams_and_is_left_by_itself() {
    let mut world = World::new(&journaled());
    world.load(&[durable()]);
    let refused = |world: &World| world.drops(0, Drop::NotStored);
    world.report();
    world.turns(4);
    world.driver(0).file_fault = Some(FileFault::Write(ENOSPC));
    world.keeper = None;
    world.report();
    world.turns(4);
    assert_eq!(refused(&world), 0, "this one is not lost: it waits in memory");
    assert_eq!(world.shards[0].keeping.as_ref().and_then(|keeping| keeping.trouble()), Some(Trouble::Full));
    world.report();
    assert_eq!(refused(&world), 1);
    // There is room again: the keeper makes the segment that it was asked for.
    world.driver(0).file_fault = None;
    let wanted = world.heard.iter().rev().find_map(|message| match message {
        FromShard::MakeSegment(wanted) => Some(*wanted),
        _ => None,
    });
    let wanted = wanted.expect("a segment was asked for");
    world.driver(0).files.insert(format!("journal/{}", wanted.name), vec![0; wanted.file_bytes() as usize]);
    world.mailboxes[0].to.push(ToShard::SegmentMade(wanted.name)).expect("room");
    world.keeper = Some(9);
    world.turns(4);
    assert_eq!(world.shards[0].keeping.as_ref().and_then(|keeping| keeping.trouble()), None);
    world.report();
    world.turns(4);
    assert_eq!(refused(&world), 1);
    let keeping = world.shards[0].keeping.as_ref().expect("it journals");
    assert_eq!(keeping.log.stored(), keeping.log.head(), "what waited is stored, and what came after");
}

#[test]
fn a_failed_fdatasync_loses_nothing() {
    let mut world = World::new(&journaled());
    world.load(&[durable()]);
    world.report();
    world.turns(4);
    world.driver(0).file_fault = Some(FileFault::Sync(EIO));
    world.report();
    world.turn();
    world.driver(0).file_fault = None;
    world.turns(8);
    let keeping = world.shards[0].keeping.as_ref().expect("it journals");
    assert_eq!((keeping.log.stored(), keeping.trouble()), (keeping.log.head(), None));
    assert_eq!(keeping.failure_count, 1);
}
