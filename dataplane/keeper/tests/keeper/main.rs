//! The keeper against a naive fold of everything that was written, over files that fail at any moment.

use base::mix::SplitMix64;
use base::{Eui64, UnixMicros};
use core::time::Duration;
use event::{Copy, Event, Kind as EventKind};
use files::Files;
use journal::{Cursor, CursorBody, HEADER_BYTES, Kind, Limits as LogLimits, Log, Position, Record, SegmentInfo};
use keeper::{Fault, Keeper, Limits, Query, Recovered, Retention};
use lorawan::{AesKey, DevAddr, SessionKeys};
use session::body::{BODY_BYTES_MAX, DeadLetterBody, DeadReason, PutBackBody, UplinkBody};
use session::{Advance, DEV_NONCE_COUNT, Dequeued, DeviceState, KeptDownlink, KeptSession, SessionRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

mod carried;
mod losses;
mod memory;
mod reading;

use memory::Memory;

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

/// What all records add up to, told by the plainest means.
#[derive(Clone, Default)]
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
    /// The carry-over, if there is one: then most of the log is in no segment yet.
    carry: Option<Vec<u8>>,
    /// Segments that have ended and of which the keeper is not told yet, if it is to wait.
    untold: Option<Vec<SegmentInfo>>,
}

impl Run {
    /// Begins a run on what is there.
    fn start(files: &Memory) -> Result<(Self, Recovered), Fault> {
        Self::start_with(files, LOG)
    }

    fn start_with(files: &Memory, limits: LogLimits) -> Result<(Self, Recovered), Fault> {
        let (mut keeper, recovered) = Keeper::recover(files.clone(), LIMITS)?;
        keeper.begin()?;
        let clock = 1_700_000_000_000_000 + u64::from(recovered.epoch) * 1_000_000_000;
        let log = Log::new(limits, recovered.epoch, 0);
        Ok((Self { keeper, log, files: files.clone(), clock, carry: None, untold: None }, recovered))
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
        if let Some(carry) = &mut self.carry {
            carried::carry(&mut self.log, carry);
            if self.log.unwritten_bytes() < carried::UNWRITTEN_BYTES {
                return position;
            }
        }
        while let Some(write) = self.log.next_write(true) {
            let mut bytes = vec![0; write.bytes];
            self.log.copy(&write, &mut bytes);
            self.files.clone().write_at(&write.segment.to_string(), write.file_offset, &bytes).expect("room");
            self.log.wrote(Ok(()));
            for info in self.log.sealed().collect::<Vec<_>>() {
                match &mut self.untold {
                    Some(untold) => untold.push(info),
                    None => self.keeper.sealed(info),
                }
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

/// Files that hold a checkpoint and much behind it, and what all of it adds up to.
fn two_thirds_folded(seed: u64) -> (Memory, Model) {
    let (mut model, mut random, files) = (Model::default(), SplitMix64::new(seed), Memory::default());
    let (mut run, _) = Run::start(&files).expect("readable");
    for _ in 0..2000 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
    for _ in 0..1000 {
        step(&mut run, &mut model, &mut random);
    }
    (files, model)
}

#[test]
fn lanes_are_read_side_by_side() {
    let (files, model) = two_thirds_folded(81);
    let home = tempfile::tempdir().expect("a directory");
    for name in files.list().expect("memory") {
        std::fs::write(home.path().join(&name), files.bytes(&name)).expect("room");
    }
    for thread_count in [0, 1, 3, 100] {
        let files = files::Directory::open(home.path()).expect("it is there");
        let (keeper, mut recovered) = Keeper::recover(files, LIMITS).expect("readable");
        let states = Mutex::new(Vec::new());
        let each = |some: Vec<DeviceState>| states.lock().expect("nobody panics").extend(some);
        keeper.recover_lanes(&mut recovered, thread_count, &each).expect("readable");
        let mut states: Vec<DeviceState> = states.into_inner().expect("nobody panics");
        let known: Vec<&DeviceState> = model.states.values().filter(|state| !state.is_empty()).collect();
        states.sort_by_key(|state| match &state.record {
            Some(record) => record.dev_eui,
            None => KeptDownlink::parse(&state.queue[0]).expect("its own bytes").dev_eui,
        });
        assert!(states.iter().eq(known), "{thread_count} threads");
        assert_eq!(recovered.counts.corrupt, 0);
    }
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
    assert_eq!(count(&run), 3, "the last that ended, the one in use and the next");
    agrees(&files, &model, "after all are gone");
    // The next run is another epoch all the same, and misses nothing.
    let (_, recovered) = Run::start(&files).expect("readable");
    assert_eq!((recovered.epoch, recovered.counts.gaps), (2, 0));
    // But one that no checkpoint stands for is missed.
    let (mut run, _) = Run::start(&files).expect("readable");
    let ended = run.keeper.catalog().iter().map(|info| info.name).max().expect("some");
    while run.keeper.catalog().iter().filter(|info| info.name > ended).count() < 4 {
        step(&mut run, &mut model, &mut random);
    }
    let lost = run.keeper.catalog().iter().map(|info| info.name).filter(|name| *name > ended).nth(1).expect("of four");
    drop(run);
    files.lose(&lost.to_string());
    assert_eq!(Run::start(&files).expect("readable").1.counts.gaps, 1);
}

/// What a shard might say of a dead letter, when its clock shows `at`.
fn letter(log: &mut Run, kind: Kind, at: u64) {
    let event = Event { payload: b"dead", ..Event::new(EventKind::Uplink, UnixMicros(1)) };
    let (stream, position, group) = (5, 88, "g");
    let mut body = [0; BODY_BYTES_MAX];
    let count = match kind {
        Kind::PutBack => PutBackBody { stream, position, group, event }.write(&mut body),
        _ => {
            DeadLetterBody { stream, position, attempts: 5, reason: DeadReason::Refused, group, event }.write(&mut body)
        }
    };
    log.clock = at;
    log.append(kind, 3, &body[..count]);
}

/// Fills the segment in use, so that it ends.
fn seal(run: &mut Run) {
    let unfolded = run.keeper.unfolded_bytes();
    while run.keeper.unfolded_bytes() == unfolded {
        run.append(Kind::Removed, 1, &[0; 8]);
    }
}

#[test]
fn what_was_put_back_stays_so_whichever_log_is_folded_first() {
    use Kind::{DeadLetter as Dead, PutBack as Back};
    // By log: what it says, and when. The logs are folded in this order, at once or one by one.
    let check = |logs: [&[(Kind, u64)]; 2], expected: usize, what: &str| {
        for folds in [false, true] {
            let files = Memory::default();
            let (mut run, recovered) = Run::start(&files).expect("readable");
            for (log, said) in logs.iter().enumerate() {
                run.log = Log::new(LOG, recovered.epoch, log as u8);
                for (kind, at) in *said {
                    letter(&mut run, *kind, *at);
                }
                seal(&mut run);
                if folds {
                    run.keeper.checkpoint(&mut |_, _| ()).expect("room");
                }
            }
            let now = run.keeper.globals_now().expect("readable");
            assert_eq!(now.letters.len(), expected, "{what}, folds: {folds}");
            drop(run);
            for start in 0..3 {
                let (mut run, recovered) = Run::start(&files).expect("readable");
                assert_eq!(recovered.globals().letters.len(), expected, "{what}, folds: {folds}, start {start}");
                run.keeper.checkpoint(&mut |_, _| ()).expect("room");
            }
        }
    };
    check([&[(Back, 20)], &[(Dead, 10)]], 0, "in another log");
    check([&[(Dead, 10), (Back, 20)], &[]], 0, "in its own");
    check([&[(Back, 20)], &[(Dead, 10), (Dead, 30)]], 1, "given up again later");
    check([&[(Dead, 30)], &[(Back, 20)]], 1, "given up again before the word of it came");
    check([&[(Back, 20), (Back, 21)], &[(Dead, 10)]], 0, "twice");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let files = Memory::default();
    let (mut model, mut random) = (Model::default(), SplitMix64::new(7));
    let (mut run, _) = Run::start(&files).expect("readable");
    while run.keeper.catalog().iter().count() < 6 {
        step(&mut run, &mut model, &mut random);
    }
    run.keeper.checkpoint(&mut |_, each| each(5)).expect("room");
    drop(run);
    let (name, whole) = files.image().into_iter().find(|(name, _)| name.ends_with(".ckp")).expect("it was made");
    let read = || {
        let (run, mut recovered) = Run::start(&files).expect("readable");
        for lane in 0..64 {
            run.keeper.recover_lane(&mut recovered, lane, |_| ()).expect("readable");
        }
        (recovered.counts.corrupt, run.keeper.take_damages())
    };
    assert_eq!(read(), (0, Vec::new()));
    let end = whole.len() as u64;
    for cut in [whole.len() - 1, whole.len() - 13, whole.len() / 2 + 3, 5, 0] {
        files.put(&name, &whole[..cut]);
        let (corrupt, damages) = read();
        assert!(corrupt > 0, "cut to {cut}");
        assert!(damages.iter().all(|damage| damage.file == name && damage.until <= end), "{damages:?}");
        assert!(damages.iter().any(|damage| damage.until == end), "cut to {cut}: {damages:?}");
    }
    let mut flipped = whole;
    flipped[30] ^= 4;
    files.put(&name, &flipped);
    let (corrupt, damages) = read();
    assert_eq!((corrupt, damages.len(), damages[0].from), (1, 1, 0), "one record, and where it stands: {damages:?}");
    files.lose(&name);
    assert!(matches!(Run::start(&files), Err(Fault::Damaged { name: missing }) if missing == name));
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
