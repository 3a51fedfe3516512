//! The keeper against a naive fold of everything that was written, over files that fail at any moment.

use base::mix::SplitMix64;
use base::{Eui64, UnixMicros};
use core::time::Duration;
use event::{Copy, Event, Kind as EventKind};
use files::Files;
use journal::{Cursor, CursorBody, HEADER_BYTES, Kind, Limits as LogLimits, Log, Position, Record};
use keeper::{
    CheckpointReport, Condition, Damage, Fault, Keeper, Limits, Offline, Query, Recovered, Retained, Retention,
    SegmentReport,
};
use lorawan::{AesKey, DevAddr, SessionKeys};
use session::body::{BODY_BYTES_MAX, DeadLetterBody, DeadReason, PutBackBody, UplinkBody};
use session::{Advance, DEV_NONCE_COUNT, Dequeued, DeviceState, KeptDownlink, KeptSession, SessionRecord};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

const LIMITS: Limits = Limits { bytes_max: 0, reserve_bytes: 0 };
const LONG_LOG: LogLimits = LogLimits { segment_bytes: 8 << 20, ..LOG };
const LOG: LogLimits = LogLimits {
    segment_bytes: 256 << 10,
    tail_bytes: 512 << 10,
    batch_bytes: 256 << 10,
    epoch_bytes: journal::OFFSET_END,
};

const EVERYTHING: Query =
    Query { from: UnixMicros(0), to: UnixMicros(0), device: None, after: Position::ZERO, limit: 100 };

/// Files in memory, which may fail from some change on.
#[derive(Clone, Default)]
struct Memory {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    /// Changes that still succeed.
    left: Rc<Cell<Option<usize>>>,
    /// Bytes that were read.
    read: Rc<Cell<usize>>,
}

impl Memory {
    fn change(&self) -> io::Result<()> {
        match self.left.get() {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                self.left.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn absent() -> io::Error {
        io::Error::from(io::ErrorKind::NotFound)
    }
}

impl Files for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.borrow().keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.files.borrow().get(name).map(|bytes| bytes.len() as u64).ok_or_else(Self::absent)
    }

    fn read_at(&self, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let files = self.files.borrow();
        let rest = files.get(name).ok_or_else(Self::absent)?.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(target.len());
        target[..count].copy_from_slice(&rest[..count]);
        self.read.set(self.read.get() + count);
        Ok(count)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change()?;
        let mut files = self.files.borrow_mut();
        let file = files.entry(name.into()).or_default();
        let end = offset as usize + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        self.change()
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.change()?;
        self.files.borrow_mut().get_mut(name).ok_or_else(Self::absent)?.resize(len as usize, 0);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        let bytes = self.files.borrow_mut().remove(from).ok_or_else(Self::absent)?;
        self.files.borrow_mut().insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change()?;
        self.files.borrow_mut().remove(name).map(drop).ok_or_else(Self::absent)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.change()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

/// What all records add up to, told by the plainest means.
#[derive(Default)]
struct Model {
    states: BTreeMap<Eui64, DeviceState>,
    cursor: u64,
    letters: Vec<u64>,
    owed: BTreeSet<(Eui64, u32, u32)>,
    events: Vec<UnixMicros>,
}

/// A run of one shard.
struct Run {
    keeper: Keeper<Memory>,
    log: Log,
    files: Memory,
    clock: u64,
}

impl Run {
    /// Begins a run on what is there.
    fn start(files: &Memory) -> Result<(Self, Recovered), Fault> {
        Self::start_with(files, LOG)
    }

    fn start_with(files: &Memory, limits: LogLimits) -> Result<(Self, Recovered), Fault> {
        let (mut keeper, recovered) = Keeper::recover(files.clone(), LIMITS)?;
        keeper.tidy()?;
        let clock = 1_700_000_000_000_000 + u64::from(recovered.epoch) * 1_000_000_000;
        let log = Log::new(limits, recovered.epoch, 0);
        Ok((Self { keeper, log, files: files.clone(), clock }, recovered))
    }

    fn append(&mut self, kind: Kind, lane: u8, body: &[u8]) -> Position {
        self.append_record(|record| record, kind, lane, body)
    }

    fn append_record(
        &mut self,
        edit: impl FnOnce(Record<'_>) -> Record<'_>,
        kind: Kind,
        lane: u8,
        body: &[u8],
    ) -> Position {
        self.clock += 1000;
        let record = edit(Record { kind, lane, key: 0, tenant: 1, at: UnixMicros(self.clock), body });
        while self.log.wants().is_some() {
            let wanted = self.log.wants().expect("just seen");
            self.keeper.make(wanted, UnixMicros(self.clock)).expect("room");
            assert!(self.log.ready(wanted.name));
        }
        let position = self.log.append(&record).expect("room").position;
        while let Some(write) = self.log.next_write(true) {
            let mut bytes = vec![0; write.bytes];
            self.log.copy(&write, &mut bytes);
            self.files.clone().write_at(&write.segment.to_string(), write.file_offset, &bytes).expect("room");
            self.log.wrote(Ok(()));
            for info in self.log.sealed().collect::<Vec<_>>() {
                self.keeper.sealed(info);
            }
        }
        position
    }
}

fn kept(number: u32) -> KeptSession {
    KeptSession {
        dev_addr: DevAddr(number),
        keys: SessionKeys { nwk_s_key: AesKey([1; 16]), app_s_key: AesKey([2; 16]) },
        number,
        fcnt_up: 0,
        fcnt_down: 64,
        last_mic: 0,
        rx1_delay_s: 1,
        rx1_dr_offset: 0,
        rx2_data_rate: 0,
        rx2_frequency_hz: 869_525_000,
        sub_bands: 0,
        last_seen: UnixMicros(0),
        last_gateway: Eui64::default(),
    }
}

fn state(dev_eui: Eui64, number: u32, pending: bool) -> SessionRecord {
    SessionRecord {
        dev_eui,
        root: 7,
        session_count: number,
        join_nonce: number,
        dev_nonce_count: 0,
        dev_nonces: [0; DEV_NONCE_COUNT],
        session: (!pending).then(|| kept(number)),
        pending: pending.then(|| kept(number)),
    }
}

fn lane_of(dev_eui: Eui64) -> u8 {
    session::lane_of_eui(dev_eui).0
}

/// Does one thing that a shard might do, and says it to the model.
fn step(run: &mut Run, model: &mut Model, random: &mut SplitMix64) {
    let dev_eui = Eui64::new(1 + random.below(40));
    let lane = lane_of(dev_eui);
    let mut body = [0; BODY_BYTES_MAX];
    let known = model.states.entry(dev_eui).or_default();
    match random.below(12) {
        0 => {
            let record =
                state(dev_eui, known.record.as_ref().map_or(1, |it| it.session_count + 1), random.below(2) == 0);
            known.replace(record.clone());
            run.append(Kind::Device, lane, &record.to_wire());
        }
        1..=5 => {
            let Some(record) = &known.record else { return };
            let session = record.pending.or(record.session).expect("one of them");
            let advance = Advance {
                dev_eui,
                session: session.number,
                fcnt_up: session.fcnt_up + 1 + random.below(3) as u32,
                mic: random.next() as u32,
                gateway: Eui64::new(9),
            };
            known.advance(&advance, UnixMicros(run.clock + 1000));
            let payload = vec![5; random.below(200) as usize];
            let at = UnixMicros(run.clock + 1000);
            let event = Event {
                dev_eui,
                session: session.number,
                fcnt: advance.fcnt_up - 1,
                payload: &payload,
                ..Event::new(EventKind::Uplink, at)
            };
            let told = random.below(3);
            let owes_best = told == 2;
            let body_of = UplinkBody { advance, event: (told > 0).then(|| event.clone()), owes_best };
            let count = body_of.write(&mut body);
            run.append(Kind::Uplink, lane, &body[..count]);
            if told > 0 {
                model.events.push(at);
            }
            if owes_best && random.below(4) > 0 {
                let best = Event { copy: Copy::Best, ..event };
                let count = best.write(&mut body).expect("room");
                run.append(Kind::Event, lane, &body[..count]);
                model.events.push(at);
                model.owed.remove(&(dev_eui, event.session, event.fcnt));
            } else if owes_best {
                model.owed.insert((dev_eui, event.session, event.fcnt));
            }
        }
        6 | 7 => {
            let id = random.next() >> 12;
            let downlink =
                KeptDownlink { dev_eui, id, expires: UnixMicros(0), fport: 3, confirmed: true, payload: &[7; 20] };
            known.queued(&downlink);
            let mut bytes = [0; session::DOWNLINK_BYTES_MAX];
            let count = downlink.write(&mut bytes);
            run.append(Kind::Queued, lane, &bytes[..count]);
        }
        8 => {
            let Some(first) = known.queue.first() else { return };
            let id = KeptDownlink::parse(first).expect("its own bytes").id;
            known.dequeued(id);
            run.append(Kind::Dequeued, lane, &Dequeued { dev_eui, id }.to_wire());
        }
        9 => {
            let position = run.log.head();
            let cursor = Cursor { lanes: u64::MAX, position };
            if random.below(5) == 0 {
                // The group is gone, and its dead letters with it; its next cursor is that of a new one.
                let gone = Cursor { position: Position::END, ..cursor };
                let count = CursorBody { stream: 5, group: b"g", cursor: gone }.write(&mut body).expect("room");
                run.append(Kind::RemovedGroup, 0, &body[..count]);
                (model.cursor, model.letters) = (0, Vec::new());
                return;
            }
            // A group that was sent back stays there, however far it had come.
            let back = random.below(4) == 0;
            let position = if back { Position(position.0 / 16 * 8) } else { position };
            let cursor = Cursor { position, ..cursor };
            let count = CursorBody { stream: 5, group: b"g", cursor }.write(&mut body).expect("room");
            run.append_record(|record| if back { record.setting() } else { record }, Kind::Cursor, 0, &body[..count]);
            model.cursor = if back { position.0 } else { model.cursor.max(position.0) };
        }
        10 => {
            let event = Event { dev_eui, payload: b"dead", ..Event::new(EventKind::Uplink, UnixMicros(run.clock)) };
            let position = random.next() >> 1;
            if model.letters.len() > 3 {
                let back = PutBackBody { stream: 5, position: model.letters.remove(0), group: "g", event };
                let count = back.write(&mut body);
                run.append(Kind::PutBack, lane, &body[..count]);
            } else {
                let reason = DeadReason::Refused;
                let letter = DeadLetterBody { stream: 5, position, attempts: 5, reason, group: "g", event };
                let count = letter.write(&mut body);
                run.append(Kind::DeadLetter, lane, &body[..count]);
                model.letters.push(position);
            }
        }
        _ if random.below(4) == 0 => {
            model.states.remove(&dev_eui);
            run.append(Kind::Removed, lane, &dev_eui.0);
        }
        _ => {}
    }
}

/// What is recovered is what the model says.
fn agrees(files: &Memory, model: &Model, what: &str) -> u16 {
    let (keeper, mut recovered) = Keeper::recover(files.clone(), LIMITS).expect("what was left can be read");
    let mut states = BTreeMap::new();
    for lane in 0..64 {
        keeper
            .recover_lane(&mut recovered, lane, |state| {
                let dev_eui = state.record.as_ref().map(|record| record.dev_eui);
                let dev_eui = dev_eui.or_else(|| KeptDownlink::parse(&state.queue[0]).map(|downlink| downlink.dev_eui));
                let dev_eui = dev_eui.expect("of somebody");
                assert_eq!(lane_of(dev_eui), lane, "{what}");
                assert!(states.insert(dev_eui, state).is_none(), "{what}: told once");
            })
            .expect("readable");
    }
    let known: BTreeMap<_, _> =
        model.states.iter().filter(|(_, state)| !state.is_empty()).map(|(eui, state)| (*eui, state.clone())).collect();
    assert_eq!(states, known, "{what}");
    let globals = recovered.globals();
    let cursor = globals.cursors.get(&(5, b"g".to_vec())).map_or(0, |cursors| cursors.of_lane(3).0);
    assert_eq!(cursor, model.cursor, "{what}");
    let letters: Vec<u64> = globals.letters.keys().map(|key| key.position).collect();
    let mut expected = model.letters.clone();
    expected.sort_unstable();
    assert_eq!(letters, expected, "{what}");
    assert!(globals.owed.keys().eq(model.owed.iter()), "{what}");
    assert_eq!((recovered.counts.corrupt, recovered.counts.gaps, recovered.counts.unknown), (0, 0, 0), "{what}");
    recovered.epoch
}

#[test]
fn what_is_recovered_is_what_was_written_whatever_was_folded_meanwhile() {
    for seed in 0..12 {
        let files = Memory::default();
        let mut model = Model::default();
        let mut random = SplitMix64::new(seed);
        for start in 1..4 {
            let (mut run, recovered) = Run::start(&files).expect("readable");
            assert_eq!(recovered.epoch, start);
            drop(recovered);
            for _ in 0..1500 {
                step(&mut run, &mut model, &mut random);
                if random.below(300) == 0 {
                    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
                    assert_eq!(run.keeper.unfolded_bytes(), 0);
                }
            }
            drop(run);
            assert_eq!(agrees(&files, &model, &format!("seed {seed}, start {start}")), start + 1);
        }
    }
}

#[test]
fn a_damaged_manifest_is_refused_and_nothing_is_removed() {
    let (mut model, mut random, files) = (Model::default(), SplitMix64::new(5), Memory::default());
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..3000 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
    drop(run);
    let whole = files.files.borrow().clone();
    files.files.borrow_mut().get_mut("manifest").expect("written")[40] ^= 1;
    let damaged = files.files.borrow().clone();
    let Err(fault) = Run::start(&files) else { panic!("it started without the checkpoint") };
    assert!(matches!(&fault, Fault::Damaged { name } if name == "manifest"), "{fault}");
    assert!(*files.files.borrow() == damaged, "nothing was changed");
    *files.files.borrow_mut() = whole;
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
    let image = files.files.borrow().clone();
    let retention = [Retention { stream: 5, age: Duration::from_secs(1 << 30), bytes: 1 << 40 }];
    for changes in 0..400 {
        let files = Memory { files: Rc::new(RefCell::new(image.clone())), ..Memory::default() };
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

#[test]
fn retention_keeps_what_a_stream_wants_and_nothing_else() {
    let files = Memory::default();
    let mut model = Model::default();
    let mut random = SplitMix64::new(5);
    let (mut run, _) = Run::start(&files).expect("readable");
    while run.keeper.catalog().iter().count() < 8 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, each| each(5)).expect("room");
    let count = |run: &Run| run.keeper.catalog().iter().count();
    let keep = |age_s, bytes| [Retention { stream: 5, age: Duration::from_secs(age_s), bytes }];
    let now = UnixMicros(run.clock);
    let before = count(&run);
    assert_eq!(run.keeper.retain(&keep(1 << 30, 1 << 40), now).expect("done").segments, 0);
    let one = run.keeper.bytes_of(5) / 8;
    let trimmed = run.keeper.retain(&keep(1 << 30, 2 * one), now).expect("done");
    assert!(trimmed.segments >= 2 && count(&run) >= 4, "{trimmed:?} of {before}");
    agrees(&files, &model, "after some are gone");
    assert!(run.keeper.retain(&[], now).expect("done").segments > 0);
    assert_eq!(count(&run), 2, "the one in use and the next");
    agrees(&files, &model, "after all are gone");
    // The next run is another epoch all the same.
    let (_, recovered) = Run::start(&files).expect("readable");
    assert_eq!(recovered.epoch, 2);
}

#[test]
fn history_is_paged_and_by_time() {
    let files = Memory::default();
    let mut model = Model::default();
    let mut random = SplitMix64::new(6);
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..3000 {
        step(&mut run, &mut model, &mut random);
    }
    let mut query = EVERYTHING;
    let mut told = Vec::new();
    loop {
        let page = run
            .keeper
            .history(
                &query,
                |_| true,
                |_, event| {
                    told.push(event.at);
                    true
                },
            )
            .expect("readable");
        let Some(next) = page.next else { break };
        assert_eq!(page.count, 100);
        query.after = next;
    }
    assert_eq!(told, model.events);
    let middle = model.events[model.events.len() / 2];
    query = Query { from: middle, limit: 100_000, after: Position::ZERO, ..query };
    told.clear();
    run.keeper
        .history(
            &query,
            |_| true,
            |_, event| {
                told.push(event.at);
                true
            },
        )
        .expect("readable");
    assert_eq!(told, model.events.iter().copied().filter(|at| *at >= middle).collect::<Vec<_>>());
}

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
    let before = files.files.borrow().clone();
    let (reports, checkpoint, damages) = told(&files).expect("readable");
    assert!(*files.files.borrow() == before, "nothing was written");
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
    let whole = files.files.borrow().clone();
    let (reports, checkpoint, _) = told(&files).expect("readable");
    let change = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        *files.files.borrow_mut() = whole.clone();
        change(files.files.borrow_mut().get_mut(file).expect("a file"));
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
    *files.files.borrow_mut() = whole.clone();
    let second = reports.iter().filter(|report| report.info.name.epoch == 2).nth(1).expect("a second").info.name;
    files.files.borrow_mut().remove(&second.to_string());
    let (_, _, damages) = told(&files).expect("readable");
    assert!(matches!(&damages[..], [damage] if damage.what.contains("missing")), "{damages:?}");
    *files.files.borrow_mut() = whole.clone();
    files.files.borrow_mut().remove(&state);
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
        let bytes = files.files.borrow()[&name].clone();
        for part in 1..8 {
            let at = bytes.len() * part / 8;
            if bytes[at] == 0 || at < HEADER_BYTES {
                continue;
            }
            files.files.borrow_mut().get_mut(&name).expect("there")[at] ^= 4;
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
            files.files.borrow_mut().insert(name.clone(), bytes.clone());
        }
    }
    assert!(copies > 3, "{copies}");
}
