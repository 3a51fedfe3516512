//! What streams retain, pages of history, and a directory read without anyone who serves from it.

use super::*;
use keeper::{CheckpointReport, Condition, Damage, Offline, Retained, SegmentReport};

/// What a stream retains is what its history gives, however much of it is folded, read already, or from an earlier run.
#[test]
fn what_is_retained_is_what_history_gives() {
    let files = Memory::default();
    let mut random = SplitMix64::new(11);
    let mut model = Model::default();
    let even = |event: &Event<'_>| event.dev_eui.to_u64().is_multiple_of(2);
    let mut compared = 0;
    for _ in 0..3 {
        let (mut run, _) = Run::start(&files).expect("readable");
        for turn in 0..1500 {
            step(&mut run, &mut model, &mut random);
            match random.below(200) {
                0 => drop(run.keeper.checkpoint(&mut |event, each| covering(event, each)).expect("room")),
                1 => {
                    let retention = |stream| Retention { stream, age: Duration::from_secs(1 << 30), bytes: 200_000 };
                    run.keeper.retain(&[retention(5), retention(6)], UnixMicros(run.clock)).expect("done");
                }
                _ => {}
            }
            if turn % 100 != 99 {
                continue;
            }
            while run.keeper.follow(&mut |event, each| covering(event, each), 100_000).expect("readable") {}
            let retained = run.keeper.retained();
            for stream in [5, 6] {
                let mut expected = Retained::default();
                let query = Query { limit: usize::MAX, ..EVERYTHING };
                let read = run.keeper.history(
                    &query,
                    |event| stream == 5 || even(event),
                    |_, event| {
                        expected.messages += 1;
                        expected.oldest = Some(expected.oldest.map_or(event.at, |oldest| oldest.min(event.at)));
                        true
                    },
                );
                read.expect("readable");
                let of_stream = retained.get(&stream).copied().unwrap_or_default();
                assert!(of_stream.bytes > 40 * of_stream.messages || of_stream.messages == 0);
                assert_eq!(Retained { bytes: 0, ..of_stream }, expected, "stream {stream}, turn {turn}");
                compared += usize::from(expected.messages > 0);
            }
        }
    }
    assert!(compared > 50, "{compared}");
}

/// Stream 5 has every event, stream 6 those of every other device.
fn covering(event: &Event<'_>, each: &mut dyn FnMut(u32)) {
    each(5);
    if event.dev_eui.to_u64().is_multiple_of(2) {
        each(6);
    }
}

/// A segment's end may be read before the keeper is told that it has ended: what lies behind the mark that closes is no damage.
#[test]
fn an_end_that_is_read_before_it_is_told_is_no_damage() {
    let mut random = SplitMix64::new(15);
    let mut ends_with_zeros = 0;
    for _ in 0..8 {
        let (mut run, _) = Run::start(&Memory::default()).expect("readable");
        let mut model = Model::default();
        run.untold = Some(Vec::new());
        // That there is more behind it says that all of the first one is stored.
        while run.untold.as_ref().is_some_and(|untold| untold.len() < 2) {
            step(&mut run, &mut model, &mut random);
        }
        let follow = |run: &mut Run| {
            while run.keeper.follow(&mut |event, each| covering(event, each), u64::MAX).expect("readable") {}
            run.keeper.retained().get(&5).map_or(0, |of_stream| of_stream.messages)
        };
        let before = follow(&mut run);
        for info in run.untold.take().expect("two of them") {
            let bytes = run.files.bytes(&info.name.to_string());
            ends_with_zeros += usize::from(bytes.ends_with(&[0; 8]));
            run.keeper.sealed(info);
        }
        assert_eq!((follow(&mut run), run.keeper.take_damages().len()), (before, 0));
        assert_eq!(before, model.events.len() as u64);
    }
    assert!(ends_with_zeros > 4, "{ends_with_zeros}");
}

/// Summing up reads what is new, not what is there.
#[test]
fn each_byte_is_read_once_for_the_sums() {
    let files = Memory::default();
    let mut random = SplitMix64::new(12);
    let mut model = Model::default();
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..2000 {
        step(&mut run, &mut model, &mut random);
    }
    let follow = |run: &mut Run| {
        let before = files.read.get();
        assert!(!run.keeper.follow(&mut |event, each| covering(event, each), u64::MAX).expect("readable"));
        files.read.get() - before
    };
    assert!(follow(&mut run) > 256 << 10, "all of it the first time");
    for _ in 0..20 {
        step(&mut run, &mut model, &mut random);
        // A piece of the segment that is written, and one of the next.
        assert!(follow(&mut run) <= 2 * (64 << 10));
    }
}

/// A page costs its own size, whatever the segment that it is of holds beside it, is written to still or not; and so does
/// one of a time.
#[test]
fn a_page_costs_its_own_size() {
    // Of 100 messages, twice, and what pieces and stretches add.
    const PAGE_BYTES_MAX: usize = 256 << 10;
    let files = Memory::default();
    let mut random = SplitMix64::new(13);
    let mut model = Model::default();
    let (mut run, _) = Run::start_with(&files, LONG_LOG).expect("readable");
    while run.log.head().offset() < 12 << 20 {
        step(&mut run, &mut model, &mut random);
        if run.log.head().offset() > 9 << 20 && run.keeper.unfolded_bytes() > 0 {
            run.keeper.checkpoint(&mut |event, each| covering(event, each)).expect("room");
        }
    }
    while run.keeper.follow(&mut |event, each| covering(event, each), u64::MAX).expect("readable") {}
    let middle = model.events[model.events.len() / 2];
    let late = model.events[model.events.len() - 40];
    for (from, to) in [(0, 0), (middle.0, 0), (0, middle.0), (late.0, 0), (middle.0, middle.0 + 1)] {
        let mut query = Query { from: UnixMicros(from), to: UnixMicros(to), ..EVERYTHING };
        let mut told = Vec::new();
        loop {
            let before = files.read.get();
            let page = run.keeper.history(
                &query,
                |_| true,
                |_, event| {
                    told.push(event.at);
                    true
                },
            );
            let page = page.expect("readable");
            let read = files.read.get() - before;
            assert!(
                read <= PAGE_BYTES_MAX + (512 << 10) * usize::from(from > 0),
                "{read} bytes for {page:?}, from {from}"
            );
            let Some(next) = page.next else { break };
            query.after = next;
        }
        let in_time = |at: &UnixMicros| at.0 >= from && (to == 0 || at.0 < to);
        assert_eq!(told, model.events.iter().copied().filter(in_time).collect::<Vec<_>>(), "from {from} to {to}");
    }
}

/// What is rare is looked for a bounded while, and the next page goes on there, in the next run too.
#[test]
fn what_is_rare_comes_in_more_pages() {
    let files = Memory::default();
    let mut random = SplitMix64::new(14);
    let mut model = Model::default();
    let (mut run, _) = Run::start_with(&files, LONG_LOG).expect("readable");
    while run.log.head().offset() < 40 << 20 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |event, each| covering(event, each)).expect("room");
    let (mut run, _) = Run::start_with(&files, LONG_LOG).expect("readable");
    let late = model.events[model.events.len() - 5];
    for query in [Query { from: late, ..EVERYTHING }, Query { device: Some(Eui64::new(1 << 40)), ..EVERYTHING }] {
        let (mut query, mut pages, mut count) = (query, 0, 0);
        loop {
            let before = files.read.get();
            let page = run.keeper.history(&query, |_| true, |_, _| true).expect("readable");
            let read = files.read.get() - before;
            assert!(read < 40 << 20, "{read} bytes for {page:?} of {query:?}");
            (pages, count) = (pages + 1, count + page.count);
            assert!(pages < 10);
            let Some(next) = page.next else { break };
            query.after = next;
        }
        let late_count = model.events.iter().filter(|at| **at >= late).count();
        let expected = if query.device.is_some() { 0 } else { late_count };
        assert_eq!((count, pages > 1), (expected, query.device.is_some()));
    }
}

/// What is told of a directory: the segments, and the damages as files and offsets.
fn told(files: &Memory) -> Result<(Vec<SegmentReport>, CheckpointReport, Vec<Damage>), Fault> {
    let mut offline = Offline::open(files.clone())?;
    let mut reports = Vec::new();
    let checkpoint = offline.checkpoint()?;
    offline.segments(&mut |event, each| covering(event, each), |report| reports.push(report.clone()))?;
    Ok((reports, checkpoint, offline.damages))
}

/// Two runs; the first is in the checkpoint but for its last segment.
fn two_runs() -> (Memory, Model) {
    let (files, mut model, mut random) = (Memory::default(), Model::default(), SplitMix64::new(21));
    for number in 0..2 {
        let (mut run, _) = Run::start(&files).expect("readable");
        for _ in 0..8000 {
            step(&mut run, &mut model, &mut random);
        }
        if number == 0 {
            run.keeper.checkpoint(&mut |event, each| covering(event, each)).expect("room");
        }
    }
    (files, model)
}

#[test]
fn a_directory_is_read_without_anyone_who_serves_from_it() {
    let (files, model) = two_runs();
    let before = files.image();
    let (reports, checkpoint, damages) = told(&files).expect("readable");
    assert!(files.image() == before, "nothing was written");
    assert_eq!(damages, []);
    let count = |condition| reports.iter().filter(|report| report.condition == condition).count();
    assert_eq!((count(Condition::Open), count(Condition::Empty), count(Condition::Damaged)), (2, 2, 0));
    let covered = reports.iter().filter(|report| report.is_covered).count();
    assert!(count(Condition::Sealed) > covered && covered > 1 && checkpoint.segments as usize == covered);
    assert_eq!((checkpoint.generation, checkpoint.kinds.get("event")), (1, None));
    assert!(checkpoint.kinds["device"] > 10 && checkpoint.bytes > 1000);
    let messages: u64 = reports.iter().filter_map(|report| report.streams.get(&5)).map(|used| used.messages).sum();
    assert_eq!(messages as usize, model.events.len());
    let kinds = |kind: &str| reports.iter().filter_map(|report| report.kinds.get(kind)).sum::<u64>();
    assert!(kinds("cursor") > 100 && kinds("mark") == 0 && kinds("unknown") == 0);
    // What is exported is the history.
    let mut offline = Offline::open(files.clone()).expect("readable");
    let query = Query { limit: usize::MAX, ..EVERYTHING };
    let page = offline.keeper().history(&query, |_| true, |_, _| true).expect("readable");
    assert_eq!((page.count, page.next), (model.events.len(), None));
}

#[test]
fn every_damage_is_found_and_located_and_a_torn_tail_is_none() {
    let (files, _) = two_runs();
    let whole = files.image();
    let (reports, checkpoint, _) = told(&files).expect("readable");
    let change = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        files.restore(&whole);
        let mut bytes = files.bytes(file);
        change(&mut bytes);
        files.put(file, &bytes);
        told(&files).map(|(reports, _, damages)| (reports, damages))
    };
    let flip = |file: &str, at: usize| {
        let (_, damages) = change(file, &|bytes| bytes[at] ^= 4).expect("readable");
        // A header that cannot be read leaves a gap as well.
        let (Some(damage), 1..=2) = (damages.first(), damages.len()) else { panic!("{file} at {at}: {damages:?}") };
        assert_eq!(damage.file, file);
        damage.offset.expect("it is located") as usize
    };
    for report in reports.iter().filter(|report| report.condition == Condition::Sealed) {
        let file = report.info.name.to_string();
        for at in [HEADER_BYTES + 40, HEADER_BYTES + 100_000] {
            let found = flip(&file, at);
            assert!(found <= at && at - found < 1200, "{file}: {at}, found at {found}");
        }
        assert_eq!(flip(&file, 100), 0, "the header");
    }
    let state = format!("state-{:010}.ckp", checkpoint.generation);
    let found = flip(&state, 5000);
    assert!((4000..=5000).contains(&found), "{found}");
    assert_eq!(flip("manifest", 50), 0);
    let open = reports.iter().rfind(|report| report.condition == Condition::Open).expect("one is written to");
    let file = open.info.name.to_string();
    let end = HEADER_BYTES + open.used_bytes as usize;
    // Half of the last record.
    let (torn, damages) = change(&file, &|bytes| bytes[end - 12..end].fill(0)).expect("readable");
    assert_eq!(damages, []);
    let torn = torn.iter().find(|report| report.info.name == open.info.name).expect("it is told of");
    assert!(torn.torn_bytes > 0 && torn.condition == Condition::Open);
    let (_, damages) = change(&file, &|bytes| bytes.truncate(end + 64)).expect("readable");
    assert_eq!(damages.iter().map(|damage| damage.offset).collect::<Vec<_>>(), [Some(end as u64 + 64)]);
    // A segment that is lost.
    files.restore(&whole);
    let second = reports.iter().filter(|report| report.info.name.epoch == 2).nth(1).expect("a second").info.name;
    files.lose(&second.to_string());
    let (_, _, damages) = told(&files).expect("readable");
    assert!(matches!(&damages[..], [damage] if damage.what.contains("missing")), "{damages:?}");
    files.restore(&whole);
    files.lose(&state);
    let (_, _, damages) = told(&files).expect("readable");
    assert!(matches!(&damages[..], [damage] if damage.file == state && damage.what.contains("missing")), "{damages:?}");
    // What a later version wrote.
    for (file, crc_at) in [(file.as_str(), HEADER_BYTES - 4), ("manifest", whole["manifest"].len() - 4)] {
        let newer = change(file, &|bytes| {
            bytes[8] = 9;
            let crc = crc32fast::hash(&bytes[..crc_at]);
            bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        });
        assert!(matches!(&newer, Err(Fault::Newer { name, version: 9 }) if name == file), "{file}: {newer:?}");
    }
}
