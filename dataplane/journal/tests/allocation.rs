//! Serving allocates nothing: a counting allocator watches a log that rolls, wraps and fails, readers of its tail and of its
//! segments, and the flights of a feed.

use base::{Monotonic, UnixMicros};
use core::time::Duration;
use journal::{
    CURSOR_BYTES_MAX, Cursor, CursorBody, Cursors, Extent, Fault, FlightLimits, Flights, HEADER_BYTES, Header, Kind,
    Limits, Log, NotRetried, Position, RECORD_BYTES_MAX, Record, Scan, Step, Tail,
};

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

const LIMITS: Limits = Limits {
    segment_bytes: (HEADER_BYTES + 2 * RECORD_BYTES_MAX) as u64,
    tail_bytes: 4 * RECORD_BYTES_MAX,
    batch_bytes: 2 * RECORD_BYTES_MAX,
    epoch_bytes: (9 * RECORD_BYTES_MAX) as u64,
};

/// One segment, over and over.
struct Disk {
    header: Header,
    bytes: Vec<u8>,
    sealed_count: u32,
}

fn turn(log: &mut Log, disk: &mut Disk, number: u32) {
    while let Some(wanted) = log.wants() {
        assert!(log.ready(wanted.name));
    }
    let write = log.next_write(number.is_multiple_of(3)).expect("something waits");
    log.copy(&write, &mut disk.bytes[..write.bytes]);
    log.wrote(if number % 50 == 7 { Err(Fault::Sync) } else { Ok(()) });
    disk.sealed_count += log.sealed().count() as u32;
}

fn scanned(scan: &mut Scan, disk: &Disk) -> u64 {
    scan.restart(&disk.header, Extent::whole(&disk.header));
    loop {
        match scan.step() {
            Step::More => {
                let at = scan.wants() as usize - HEADER_BYTES;
                scan.feed(&disk.bytes[at..]);
            }
            Step::End => return scan.found().records,
            Step::Record { .. } | Step::Corrupt { .. } => {}
        }
    }
}

fn fly(flights: &mut Flights, now: Monotonic, position: Position, end: Position) {
    flights.push(position, end, position.0 % 5).expect("room");
    let flight = flights.next_to_send(now).expect("nothing waits");
    let due = flights.refuse(flight.position, now).expect("the first time");
    flights.next_to_send(due).expect("it is due");
    assert_eq!(flights.refuse(flight.position, now), Err(NotRetried::DeadLetter));
    flights.release_all();
    assert_eq!(flights.deadline(), Monotonic::NEVER);
    flights.acknowledge_through(flight.position);
}

#[test]
fn serving_allocates_nothing() {
    let mut log = Log::new(LIMITS, 1, 2);
    let first = log.wants().expect("a segment");
    let mut disk =
        Disk { header: Header::new(first, UnixMicros(1)), bytes: vec![0; 2 * RECORD_BYTES_MAX], sealed_count: 0 };
    let mut scan = Scan::new(&disk.header, Extent::whole(&disk.header));
    let limits = FlightLimits { window_max: 8, attempts_max: 2, retry: Duration::from_secs(1) };
    let mut flights = Flights::new(limits, log.head());
    let mut cursors = Cursors::default();
    let body = [7; 9000];
    let (mut read_count, mut scanned_count) = (0, 0);
    alloc_guard::serving(true);
    let mut feed = log.tail_start();
    for number in 0..400 {
        let body = &body[..(number as usize * 37) % body.len()];
        let record = Record { kind: Kind::Uplink, lane: 3, key: 0, tenant: 1, at: UnixMicros(1), body };
        let appended = log.append(&record).expect("room");
        turn(&mut log, &mut disk, number);
        while let Tail::Record { record, next } = log.read(feed) {
            if record.kind != Kind::Mark {
                fly(&mut flights, Monotonic(u64::from(number)), feed, next);
            }
            read_count += 1;
            feed = next;
        }
        scanned_count += if number == 0 { scanned(&mut scan, &disk) } else { 0 };
        let mut out = [0; CURSOR_BYTES_MAX];
        let cursor = Cursor { lanes: 1 << 3, position: flights.cursor() };
        let count = CursorBody { stream: 1, group: b"g", cursor }.write(&mut out).expect("room");
        cursors.merge(CursorBody::parse(&out[..count]).expect("its own").cursor);
        assert!(cursors.least(1 << 3) <= appended.end && cursors.iter().count() <= 1);
    }
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 0, "allocations and frees while serving");
    assert!(disk.sealed_count > 10 && read_count > 400 && scanned_count == 1);
    assert!(log.tail_start() > Position::new(1, 2, 0), "the tail has wrapped");
}
