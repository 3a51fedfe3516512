use super::*;
use crate::record::{Kind, MARK_BYTES};
use base::UnixMicros;

const NAME: SegmentName = SegmentName { epoch: 3, log: 1, number: 4 };
const BASE: u64 = 800;
const ROOM: usize = 1200;
const HEADER: Header = Header { name: NAME, base: BASE, end: BASE + ROOM as u64, created: UnixMicros(1) };

/// Bytes behind the header, and where the records in them begin and end.
struct Segment {
    bytes: Vec<u8>,
    places: Vec<(u64, u64)>,
}

impl Segment {
    /// Three turns, each of them stored before the next is appended, and the mark of the last but one before the last.
    fn open() -> Self {
        let mut segment = Self { bytes: Vec::new(), places: Vec::new() };
        for turn in 0..3u8 {
            if turn > 0 {
                segment.mark(false);
            }
            for length in [0, 20, 40, 17] {
                let body: Vec<u8> = (0..length).map(|at| at ^ (turn * 64)).collect();
                segment.push(Record {
                    kind: Kind::Uplink,
                    lane: turn * 20,
                    key: 1,
                    tenant: 7,
                    at: UnixMicros(100 + u64::from(turn)),
                    body: &body,
                });
            }
        }
        segment.bytes.resize(ROOM, 0);
        segment
    }

    fn closed() -> Self {
        let mut segment = Self::open();
        segment.bytes.truncate((segment.end() - BASE) as usize);
        segment.mark(true);
        segment.bytes.resize(ROOM, 0);
        segment
    }

    fn mark(&mut self, closes: bool) {
        let stored = self.end().to_le_bytes();
        self.push(Record::mark(&stored, closes, UnixMicros(1)));
    }

    fn push(&mut self, record: Record<'_>) {
        let at = self.end();
        self.bytes.resize((at - BASE) as usize + record.encoded_bytes(), 0);
        record.write(NAME.position(at), &mut self.bytes[(at - BASE) as usize..]).expect("room");
        self.places.push((at, at + record.encoded_bytes() as u64));
    }

    fn end(&self) -> u64 {
        self.places.last().map_or(BASE, |(_, end)| *end)
    }

    /// What the last mark says.
    fn stored(&self) -> u64 {
        let mark = |(from, until): &&(u64, u64)| until - from == MARK_BYTES as u64;
        self.places.iter().rfind(mark).expect("it has marks").0
    }
}

struct Read {
    served: Vec<(u64, u64)>,
    corrupt: Vec<(u64, u64)>,
    found: Found,
    info: SegmentInfo,
}

fn read(bytes: &[u8], extent: Extent, chunk_bytes: usize) -> Read {
    let mut scan = Scan::new(&HEADER, extent);
    let (mut served, mut corrupt) = (Vec::new(), Vec::new());
    loop {
        match scan.step() {
            Step::Record { position, record, .. } => {
                let from = position.offset();
                served.push((from, from + record.encoded_bytes() as u64));
            }
            Step::Corrupt { from, until } => corrupt.push((from.offset(), until.offset())),
            Step::More => {
                let at = scan.wants() as usize - HEADER_BYTES;
                let piece = bytes.get(at..).unwrap_or(&[]);
                let piece = &piece[..piece.len().min(chunk_bytes)];
                if piece.is_empty() {
                    scan.finish();
                } else {
                    assert!(scan.feed(piece) > 0, "what was asked for is taken");
                }
            }
            Step::End => break,
        }
    }
    Read { served, corrupt, found: scan.found(), info: scan.info() }
}

fn sealed() -> Extent {
    Extent { stored: HEADER.end, ..Extent::whole(&HEADER) }
}

#[test]
fn a_whole_segment_in_pieces_of_any_size() {
    for (segment, extent, end) in [
        (Segment::open(), Extent::whole(&HEADER), Segment::open().end()),
        (Segment::closed(), Extent::whole(&HEADER), HEADER.end),
        (Segment::closed(), sealed(), HEADER.end),
    ] {
        for chunk_bytes in [1, 7, 8, 100, 5000] {
            let read = read(&segment.bytes, extent, chunk_bytes);
            assert_eq!(read.served, segment.places);
            assert_eq!(read.corrupt, []);
            let records = segment.places.len() as u64;
            let found = Found { records, end: NAME.position(segment.end()), ..Found::default() };
            assert_eq!((read.found, read.info.end), (found, end));
            assert_eq!(read.info.lanes, 1 | 1 << 20 | 1 << 40);
            assert_eq!((read.info.first_at, read.info.last_at), (UnixMicros(100), UnixMicros(102)));
        }
    }
}

#[test]
fn an_extent_is_kept_to() {
    let segment = Segment::closed();
    for (first, (from, _)) in segment.places.iter().enumerate() {
        for (last, (until, _)) in segment.places.iter().enumerate().skip(first) {
            let extent = Extent { from: *from, until: *until, stored: *until };
            let read = read(&segment.bytes, extent, 64);
            assert_eq!(read.served, segment.places[first..last]);
            assert_eq!((read.found.corrupt_bytes, read.found.torn_bytes), (0, 0));
        }
    }
}

#[test]
fn every_flipped_bit_is_located() {
    for segment in [Segment::open(), Segment::closed()] {
        for extent in [Extent::whole(&HEADER), sealed()] {
            for bit in 0..(segment.end() - BASE) as usize * 8 {
                flip(&segment, extent, bit);
            }
        }
    }
}

fn flip(segment: &Segment, extent: Extent, bit: usize) {
    let mut bytes = segment.bytes.clone();
    bytes[bit / 8] ^= 1 << (bit % 8);
    let read = read(&bytes, extent, 300);
    let at = BASE + bit as u64 / 8;
    let hit = segment.places.iter().position(|(from, until)| (*from..*until).contains(&at)).expect("within a record");
    let (from, until) = segment.places[hit];
    // A mark that is hit says nothing; the one before it may.
    let marks = segment.places.iter().filter(|(a, b)| b - a == MARK_BYTES as u64 && *a != from);
    let stored = marks.map(|(from, _)| *from).max().unwrap_or(BASE).max(extent.stored);
    let mut others = segment.places.clone();
    others.remove(hit);
    if from < stored {
        let closes = Segment::closed().places.last() == Some(&(from, until));
        let open_and_sealed = segment.places.len() == Segment::open().places.len() && stored == HEADER.end;
        assert_eq!(read.served, others, "bit {bit}");
        let mut corrupt = vec![(from, if closes { HEADER.end } else { until })];
        if open_and_sealed {
            // Behind the last record the mark that closes is missing.
            if until == segment.end() {
                corrupt[0].1 = HEADER.end;
            } else {
                corrupt.push((segment.end(), HEADER.end));
            }
        }
        assert_eq!(read.corrupt, corrupt, "bit {bit}");
        assert_eq!(read.found.torn_bytes, 0);
    } else {
        assert_eq!(read.served, segment.places[..hit], "bit {bit}");
        assert_eq!((read.corrupt, read.found.end.offset()), (vec![], from));
        assert!(segment.end() - 8 <= from + read.found.torn_bytes && from + read.found.torn_bytes <= segment.end());
    }
}

#[test]
fn a_tail_is_torn_at_every_byte() {
    let segment = Segment::closed();
    for cut in 0..(segment.end() - BASE) as usize {
        let mut zeroed = segment.bytes.clone();
        zeroed[cut..].fill(0);
        for bytes in [&zeroed[..], &segment.bytes[..cut]] {
            // Its last bytes may have been zeros before.
            let intact = |(from, until): &(u64, u64)| {
                let place = (from - BASE) as usize..(until - BASE) as usize;
                bytes.get(place.clone()) == segment.bytes.get(place)
            };
            let whole: Vec<_> = segment.places.iter().copied().take_while(intact).collect();
            let read_open = read(bytes, Extent::whole(&HEADER), 100);
            assert_eq!((&read_open.served, read_open.corrupt), (&whole, vec![]), "cut to {cut}");
            let end = whole.last().map_or(BASE, |(_, end)| *end);
            assert_eq!(read_open.found.end.offset(), end);
            assert!(end + read_open.found.torn_bytes <= BASE + (cut as u64).next_multiple_of(8));
            // Of a segment that was stored whole, the same is damage, up to its end.
            let lost = if whole.len() == segment.places.len() { vec![] } else { vec![(end, HEADER.end)] };
            let read_sealed = read(bytes, sealed(), 100);
            assert_eq!(read_sealed.found.corrupt_bytes, lost.iter().map(|(from, until)| until - from).sum());
            assert_eq!((read_sealed.served, read_sealed.corrupt), (whole, lost));
        }
    }
}

#[test]
fn what_lies_behind_a_torn_place_never_happened() {
    let segment = Segment::open();
    let stored = segment.stored();
    // A page of the last turn was not written, a later one was.
    let torn = segment.places.iter().rposition(|(from, _)| *from == stored).expect("the mark") + 1;
    let (from, until) = segment.places[torn];
    let mut bytes = segment.bytes.clone();
    bytes[(from - BASE) as usize..(until - BASE) as usize].fill(0);
    let read = read(&bytes, Extent::whole(&HEADER), 100);
    assert_eq!(read.served, segment.places[..torn]);
    assert_eq!((read.found.end.offset(), read.found.torn_bytes), (from, segment.end() - from));
}

#[test]
fn a_lost_page_is_damage_if_a_mark_says_so() {
    let segment = Segment::open();
    for first in 0..segment.places.len() {
        for last in first..segment.places.len() {
            let (from, until) = (segment.places[first].0, segment.places[last].1);
            let mut bytes = segment.bytes.clone();
            bytes[(from - BASE) as usize..(until - BASE) as usize].fill(0);
            let read = read(&bytes, Extent::whole(&HEADER), 100);
            let marks = segment.places.iter().filter(|(a, b)| b - a == MARK_BYTES as u64 && !(from..until).contains(a));
            let stored = marks.map(|(from, _)| *from).max().unwrap_or(BASE);
            if from < stored {
                assert_eq!(read.served, [&segment.places[..first], &segment.places[last + 1..]].concat());
                assert_eq!(read.corrupt, [(from, until)]);
            } else {
                assert_eq!((&*read.served, read.corrupt), (&segment.places[..first], vec![]));
            }
        }
    }
}

#[test]
fn a_mark_cannot_speak_of_what_stands_behind_it() {
    for stored in [HEADER.end, BASE + 4] {
        let mut segment = Segment { bytes: Vec::new(), places: Vec::new() };
        segment.push(Record::mark(&stored.to_le_bytes(), false, UnixMicros(1)));
        segment.bytes.resize(ROOM, 0);
        let read = read(&segment.bytes, Extent::whole(&HEADER), 100);
        assert_eq!((read.served, read.corrupt), (segment.places, vec![]));
    }
}

#[test]
fn a_crowd_of_heads_is_passed_in_bounded_work() {
    // Every eighth byte begins a head that claims the longest body there is.
    let header = Header { end: BASE + (1 << 21), ..HEADER };
    let bytes = [0, 0, 0, 0, 0, 0, 1, 0].repeat(1 << 18);
    let mut scan = Scan::new(&header, Extent { stored: header.end, ..Extent::whole(&header) });
    let mut hashed = 0;
    loop {
        let before = if let Mode::Passing { budget, .. } = scan.mode { budget } else { 0 };
        match scan.step() {
            Step::More => {
                let at = scan.wants() as usize - HEADER_BYTES;
                scan.feed(&bytes[at..bytes.len().min(at + 4096)]);
            }
            Step::Corrupt { .. } => {}
            Step::End => break,
            Step::Record { .. } => panic!("there is none"),
        }
        let after = if let Mode::Passing { budget, .. } = scan.mode { budget } else { 0 };
        hashed += before.saturating_sub(after);
    }
    assert_eq!(scan.found().corrupt_bytes, 1 << 21);
    assert!(hashed <= HASHED_FIRST + (HASHED_PER_BYTE << 21), "{hashed}");
}

/// What is being written ends where its writer has come to: no byte behind it is asked for, and nothing is taken for a
/// torn tail.
#[test]
fn a_growing_segment_is_read_up_to_its_writer() {
    let segment = Segment::open();
    let (from, until) = *segment.places.last().expect("it has records");
    let half = (from - BASE) as usize + 8;
    for cut in [(until - BASE) as usize, half] {
        let mut bytes = segment.bytes.clone();
        bytes[cut..].fill(0);
        let mut scan = Scan::new(&HEADER, Extent::whole(&HEADER));
        scan.grows();
        let (mut count, mut wanted) = (0, 0);
        loop {
            match scan.step() {
                Step::Record { .. } => count += 1,
                Step::Corrupt { .. } => panic!("nothing is damaged"),
                Step::More => {
                    let at = scan.wants() as usize - HEADER_BYTES;
                    scan.feed(&bytes[at..(at + 100).min(ROOM)]);
                    wanted = at + 100;
                }
                Step::End => break,
            }
        }
        let whole = segment.places.iter().filter(|(_, end)| (end - BASE) as usize <= cut).count();
        assert_eq!((count, scan.found().torn_bytes), (whole, 0), "cut to {cut}");
        assert!(wanted < cut + 200, "{wanted} of {cut}");
    }
}
