//! The law of the scan: beside a list of the records that were written and a map of the bytes that were damaged.

use super::Steps;
use crate::position::Position;
use crate::record::{Kind, Record};
use crate::scan::{Extent, Found, Scan, Step};
use crate::segment::{HEADER_BYTES, Header, SegmentName};
use base::UnixMicros;

const NAME: SegmentName = SegmentName { epoch: 1, log: 2, number: 3 };
const BASE: u64 = 80;
const ROOM: usize = 4000;
const HEADER: Header = Header { name: NAME, base: BASE, end: BASE + ROOM as u64, created: UnixMicros(0) };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    from: u64,
    until: u64,
    /// What it says, if it is a mark.
    stored: Option<u64>,
    closes: bool,
}

/// What a scan told, in order; the flag says whether it is a record.
type Told = (Vec<(u64, u64, bool)>, Found);

/// Whatever a segment is made of: a scan ends, tells of places that lie end to end, tells the same however the bytes come,
/// and serves no record that was not written there. Of one that was damaged it serves all that is intact, up to where it is
/// torn.
pub fn scan(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let stored = if steps.byte() % 2 == 0 { BASE } else { HEADER.end };
    let extent = Extent { stored, ..Extent::whole(&HEADER) };
    let chunk_bytes = 1 + steps.wide();
    if steps.byte() % 8 == 0 {
        let mut raw = steps.0.to_vec();
        raw.truncate(ROOM);
        let told = read(&raw, extent, chunk_bytes);
        assert_eq!(told, read(&raw, extent, 97));
        return;
    }
    let (mut segment, places) = written(&mut steps);
    let whole = segment.clone();
    damage(&mut segment, &mut steps);
    let told = read(&segment, extent, chunk_bytes);
    assert_eq!(told, read(&segment, extent, 8));
    let is_intact = |place: &Place| {
        let bytes = (place.from - BASE) as usize..(place.until - BASE) as usize;
        segment.get(bytes.clone()) == whole.get(bytes)
    };
    let intact: Vec<Place> = places.iter().copied().filter(is_intact).collect();
    assert_eq!(told.0, expected(&intact, stored));
}

fn written(steps: &mut Steps<'_>) -> (Vec<u8>, Vec<Place>) {
    let mut segment = vec![0; ROOM];
    let mut places: Vec<Place> = Vec::new();
    let mut at = BASE;
    loop {
        let choice = steps.byte();
        let body: Vec<u8> = (0..choice).map(|index| index.wrapping_mul(choice) | 1).collect();
        // A mark speaks of where some record before it ended, and never of less than the one before it.
        let marks = choice.is_multiple_of(4) && !places.is_empty();
        let said = places.iter().filter_map(|place| place.stored).next_back().unwrap_or(BASE);
        let last = places.len().saturating_sub(1 + steps.below(3));
        let stored = places.get(last).map_or(BASE, |place| place.until).max(said).to_le_bytes();
        let closes = marks && choice == 0;
        let record = if marks {
            Record::mark(&stored, closes, UnixMicros(5))
        } else {
            Record { kind: Kind::Event, lane: choice % 64, key: 0, tenant: 9, at: UnixMicros(5), body: &body }
        };
        let Some(count) = record.write(NAME.position(at), &mut segment[(at - BASE) as usize..]) else { break };
        let until = at + count as u64;
        places.push(Place { from: at, until, stored: record.marked(), closes });
        at = until;
        if closes || steps.0.is_empty() || choice == 1 {
            break;
        }
    }
    (segment, places)
}

fn damage(segment: &mut Vec<u8>, steps: &mut Steps<'_>) {
    for _ in 0..steps.below(4) {
        let at = steps.wide() % segment.len().max(1);
        let end = segment.len().min(at + 1 + steps.below(80));
        match steps.byte() % 4 {
            0 => segment.truncate(at),
            1 => segment[at..end].fill(0),
            2 if at < end => segment[at] ^= 1 << steps.below(8),
            _ => segment[at..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(0x35)),
        }
    }
}

/// The naive reading.
fn expected(intact: &[Place], known: u64) -> Vec<(u64, u64, bool)> {
    let stored = intact.iter().filter_map(|place| place.stored).fold(known, u64::max);
    let mut told = Vec::new();
    let mut at = BASE;
    for place in intact {
        if at < place.from {
            if at < stored {
                told.push((at, place.from.min(stored), false));
            }
            if place.from > stored {
                // It stands behind a torn place.
                return told;
            }
        }
        told.push((place.from, place.until, true));
        at = place.until;
        if place.closes {
            return told;
        }
    }
    if at < stored {
        told.push((at, stored, false));
    }
    told
}

fn read(segment: &[u8], extent: Extent, chunk_bytes: usize) -> Told {
    let mut scan = Scan::new(&HEADER, extent);
    let mut told = Vec::new();
    let mut again = Vec::new();
    let mut end = NAME.position(extent.from);
    let mut counted = Found::default();
    loop {
        match scan.step() {
            Step::Record { position, record, next } => {
                assert_eq!(position, end, "places lie end to end");
                let count = record.encoded_bytes();
                again.resize(count, 0);
                record.write(position, &mut again).expect("room");
                assert_eq!(Record::parse(position, &again), Ok((record, count)));
                end = position.checked_add(count as u64).expect("within the segment");
                assert_eq!(next, if record.closes() { NAME.position(HEADER.end) } else { end });
                told.push((position.offset(), end.offset(), true));
                counted.records += 1;
            }
            Step::Corrupt { from, until } => {
                assert!(from == end && until > from, "places lie end to end");
                end = until;
                told.push((from.offset(), until.offset(), false));
                counted.corrupt_records += 1;
                counted.corrupt_bytes += until.offset() - from.offset();
            }
            Step::More => {
                let at = (scan.wants() as usize - HEADER_BYTES).min(segment.len());
                let piece = &segment[at..segment.len().min(at + chunk_bytes)];
                if piece.is_empty() {
                    scan.finish();
                } else {
                    assert!(scan.feed(piece) > 0, "what was asked for is taken");
                }
            }
            Step::End => break,
        }
    }
    let found = scan.found();
    assert_eq!(found, Found { end, torn_bytes: found.torn_bytes, ..counted });
    assert!(Position::new(1, 2, BASE) <= end && end.offset() + found.torn_bytes <= HEADER.end.next_multiple_of(8));
    (told, found)
}
