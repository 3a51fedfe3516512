//! Drivers of two hosts on one virtual disk: what `driver::Driver` promises of files, beside the naive model.
//!
//! Each file is written by one host, as a shard writes its segments, and read by both. Operations take time and overlap; so
//! of what a read gives, each byte is one that the file had since the read was asked for, or one of the write in flight.
//!
//! ```text
//!   host 0: open, write, read, close ──┐                       ┌── kill a host: its write is done, in part, or not
//!   host 1: open, write, read, close ──┴── one disk, time ─────┴── cut: every synced byte is there, the rest is old or new
//! ```

use crate::model::Model;
use base::Monotonic;
use base::mix::{SplitMix64, mix64};
use driver::{Access, Completion, Driver, File, FileFault};
use files::Files;
use sim::{Disk, DiskFaults, Faults, FileSizes, Folder, Machine, Network, Shared, SharedDisk, Sizes};
use std::collections::BTreeMap;
use std::time::Duration;

const HOSTS: usize = 2;
const FILES: usize = 4;
const FILE_BYTES: usize = 6 * sim::SECTOR_BYTES;
const BUFFER_BYTES: u32 = 2048;
const SIZES: FileSizes = FileSizes { count: 5, buffer_bytes: BUFFER_BYTES, buffer_count: 4 };
const NO_SOCKETS: Sizes = Sizes {
    connection_count: 1,
    receive_bytes: 64,
    receive_count: 1,
    datagram_count: 1,
    output_bytes: 64,
    output_count: 1,
};
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A read in flight: every content that the file had meanwhile.
struct Reading {
    len: usize,
    contents: Vec<Vec<u8>>,
}

/// A file that a host has open, or is opening.
struct Holding {
    number: usize,
    access: Access,
    ready: bool,
    closing: bool,
    /// By offset: several reads may be in flight, but here none twice from one place.
    reads: BTreeMap<u64, Reading>,
}

/// A write in flight.
struct Pending {
    offset: usize,
    bytes: Vec<u8>,
    sync: bool,
}

#[derive(Default, Debug)]
struct Seen {
    written: u64,
    synced: u64,
    write_faults: u64,
    sync_faults: u64,
    read: u64,
    read_faults: u64,
    refused_opens: u64,
    kills: u64,
    cuts: u64,
    stored_bytes: usize,
    /// Reads that were asked before a write was done and gave some of it.
    overlapped: u64,
}

struct World {
    network: Shared,
    disk: SharedDisk,
    random: SplitMix64,
    machines: Vec<Option<Machine>>,
    open: Vec<BTreeMap<(u16, u16), Holding>>,
    models: Vec<Model>,
    pending: Vec<Option<Pending>>,
    seen: Seen,
}

fn name(number: usize) -> String {
    format!("file-{number}")
}

fn key(file: File) -> (u16, u16) {
    (file.index, file.generation)
}

impl World {
    fn new(seed: u64) -> Self {
        let weather = Faults { busy: 100, ..Faults::calm() };
        let network = Network::new(seed, weather, HOSTS, 1, |slot| usize::from(slot) % HOSTS);
        let disk = Disk::new(seed, DiskFaults::calm(), 1 << 20);
        let mut folder = Folder::new(&disk, "journal");
        for number in 0..FILES {
            folder.write_at(&name(number), 0, &[0; FILE_BYTES]).expect("room");
            folder.sync(&name(number)).expect("a calm disk");
        }
        folder.sync_directory().expect("a calm disk");
        disk.borrow_mut().faults = DiskFaults::of(seed).honest();
        let mut world = Self {
            network,
            disk,
            random: SplitMix64::new(mix64(seed ^ 0xD21)),
            machines: (0..HOSTS).map(|_| None).collect(),
            open: (0..HOSTS).map(|_| BTreeMap::new()).collect(),
            models: (0..FILES).map(|_| Model::found(&[0; FILE_BYTES])).collect(),
            pending: (0..FILES).map(|_| None).collect(),
            seen: Seen::default(),
        };
        (0..HOSTS).for_each(|host| world.start(host));
        world
    }

    fn start(&mut self, host: usize) {
        self.machines[host] = Some(Machine::start(&self.network, host, NO_SOCKETS).with_files(&self.disk, SIZES));
    }

    fn machine(&mut self, host: usize) -> &mut Machine {
        self.machines[host].as_mut().expect("it is up")
    }

    fn content(&self, number: usize) -> Vec<u8> {
        self.disk.borrow().seen(&format!("journal/{}", name(number))).expect("it is never removed").to_vec()
    }

    fn step(&mut self) {
        let host = self.random.below(HOSTS as u64) as usize;
        match self.random.below(60) {
            0..8 => self.open(host),
            8..24 => self.write(host),
            24..36 => self.read(host),
            36..40 => self.close(host),
            40..57 => self.pass(),
            57 if self.random.below(4) == 0 => self.kill(host),
            58 if self.random.below(4) == 0 => self.cut(),
            _ => {
                let mut disk = self.disk.borrow_mut();
                disk.read_only = self.random.below(5) == 0;
                let used = disk.used_bytes();
                disk.capacity_bytes = used + self.random.below(3) * 512;
            }
        }
    }

    fn open(&mut self, host: usize) {
        let number = self.random.below(FILES as u64) as usize;
        let access = if number % HOSTS == host { Access::Write } else { Access::Read };
        let held = self.open[host].len();
        match self.machine(host).open(&format!("journal/{}", name(number)), access) {
            Ok(file) => {
                let holding = Holding { number, access, ready: false, closing: false, reads: BTreeMap::new() };
                assert!(self.open[host].insert(key(file), holding).is_none(), "a handle is of one holder");
            }
            Err(_) => assert_eq!(held, SIZES.count as usize, "only a full table is busy"),
        }
    }

    /// A handle of the host that is open and may do `what`.
    fn handle(&mut self, host: usize, what: impl Fn(&Holding) -> bool) -> Option<(File, usize)> {
        let usable = self.open[host].iter().filter(|(_, it)| it.ready && !it.closing && what(it));
        let usable: Vec<_> = usable.map(|((index, generation), it)| (*index, *generation, it.number)).collect();
        let place = self.random.below(usable.len().max(1) as u64) as usize;
        let (index, generation, number) = *usable.get(place)?;
        Some((File { index, generation }, number))
    }

    fn write(&mut self, host: usize) {
        let Some((file, number)) = self.handle(host, |it| it.access == Access::Write) else { return };
        // One write is in flight per file, whichever handle it came by: a segment has one writer.
        if self.pending[number].is_some() {
            return;
        }
        let Ok(lease) = self.machine(host).file_buffer() else { return };
        let offset = self.random.below(FILE_BYTES as u64 + 200) as usize;
        let count = self.random.below(u64::from(BUFFER_BYTES)) as usize;
        let sync = count == 0 || self.random.below(2) == 0;
        let bytes: Vec<u8> = (0..count).map(|_| self.random.next() as u8).collect();
        let machine = self.machine(host);
        machine.bytes(&lease)[..count].copy_from_slice(&bytes);
        machine.write(file, offset as u64, lease, count, sync);
        self.pending[number] = Some(Pending { offset, bytes, sync });
    }

    fn read(&mut self, host: usize) {
        let offset = self.random.below(FILE_BYTES as u64 + 300);
        let len = 1 + self.random.below(u64::from(BUFFER_BYTES)) as usize;
        let Some((file, number)) = self.handle(host, |it| !it.reads.contains_key(&offset)) else { return };
        if self.machine(host).read(file, offset, len).is_ok() {
            let contents = vec![self.models[number].content().to_vec()];
            let holding = self.open[host].get_mut(&key(file)).expect("just seen");
            holding.reads.insert(offset, Reading { len, contents });
        }
    }

    fn close(&mut self, host: usize) {
        let Some((file, _)) = self.handle(host, |_| true) else { return };
        self.machine(host).close_file(file);
        self.open[host].get_mut(&key(file)).expect("just seen").closing = true;
    }

    /// Some time passes, and hosts take turns whenever something happens.
    fn pass(&mut self) {
        let until = self.network.borrow().now().after(Duration::from_micros(1 + self.random.below(3000)));
        while self.network.borrow().now() < until {
            self.network.borrow_mut().advance(until);
            for host in 0..HOSTS {
                self.machine(host).turn(Monotonic::NEVER, &mut || true);
            }
            // All that was due is done by now, for both hosts: it is told afterwards.
            for host in 0..HOSTS {
                while let Some(completion) = self.machine(host).reap() {
                    self.complete(host, completion);
                }
            }
        }
    }

    fn complete(&mut self, host: usize, completion: Completion) {
        match completion {
            Completion::Opened { file, outcome } => match outcome {
                Ok(()) => self.open[host].get_mut(&key(file)).expect("it was asked for").ready = true,
                Err(errno) => {
                    let holding = self.open[host].remove(&key(file)).expect("it was asked for");
                    assert!(errno == EIO || (errno == EROFS && holding.access == Access::Write), "{errno}");
                    self.seen.refused_opens += 1;
                }
            },
            Completion::Written { file, outcome } => {
                let number = self.open[host][&key(file)].number;
                self.written(number, outcome);
            }
            Completion::Read { file, offset, outcome } => {
                let holding = self.open[host].get_mut(&key(file)).expect("it is open until the last word");
                let (number, reading) = (holding.number, holding.reads.remove(&offset).expect("it was asked for once"));
                match outcome {
                    Ok(lease) => {
                        let bytes = self.machine(host).bytes(&lease).to_vec();
                        self.machine(host).release(lease);
                        self.was_read(number, offset as usize, &reading, &bytes);
                    }
                    Err(errno) => {
                        assert_eq!(errno, EIO);
                        self.seen.read_faults += 1;
                    }
                }
            }
            Completion::FileClosed { file } => {
                let holding = self.open[host].remove(&key(file)).expect("it was open");
                assert!(holding.closing && holding.reads.is_empty(), "the last word comes last");
            }
            other => panic!("nobody has a socket: {other:?}"),
        }
    }

    fn written(&mut self, number: usize, outcome: Result<(), FileFault>) {
        let pending = self.pending[number].take().expect("a write was in flight");
        let seen = self.content(number);
        let model = &mut self.models[number];
        match outcome {
            Ok(()) => {
                model.write(pending.offset, &pending.bytes);
                self.seen.written += 1;
                if pending.sync {
                    model.synced();
                    self.seen.synced += 1;
                }
            }
            Err(FileFault::Sync(errno)) => {
                assert!(pending.sync && (errno == EIO || errno == EROFS), "{errno}");
                model.write(pending.offset, &pending.bytes);
                // What takes no writes has not even tried.
                if errno == EIO {
                    model.sync_failed();
                }
                self.seen.sync_faults += 1;
            }
            Err(FileFault::Write(errno)) => {
                assert!([EIO, ENOSPC, EROFS].contains(&errno), "{errno}");
                model.write_partly(pending.offset, &pending.bytes, &seen);
                self.seen.write_faults += 1;
            }
        }
        assert_eq!(model.content(), seen, "what is told is what is there");
        self.note(number);
    }

    /// The file has another content: whoever reads may get that.
    fn note(&mut self, number: usize) {
        let content = self.models[number].content().to_vec();
        let reads = self.open.iter_mut().flat_map(BTreeMap::values_mut).filter(|it| it.number == number);
        reads.flat_map(|it| it.reads.values_mut()).for_each(|reading| reading.contents.push(content.clone()));
    }

    fn was_read(&mut self, number: usize, offset: usize, reading: &Reading, bytes: &[u8]) {
        assert!(bytes.len() <= reading.len, "no more than was asked for");
        let pending = self.pending[number].as_ref();
        let in_flight = |at: usize| pending.and_then(|it| it.bytes.get(at.checked_sub(it.offset)?).copied());
        // A write that lengthens the file fills up with zeros before it.
        let fills = |at: usize| pending.is_some_and(|it| at < it.offset);
        let first = &reading.contents[0];
        for (place, byte) in bytes.iter().enumerate() {
            let at = offset + place;
            let known = reading.contents.iter().any(|content| content.get(at) == Some(byte));
            let known = known || in_flight(at) == Some(*byte) || (fills(at) && *byte == 0);
            assert!(known, "byte {at} of file {number} was never {byte}");
        }
        self.seen.overlapped += u64::from(!bytes.is_empty() && first.get(offset..offset + bytes.len()) != Some(bytes));
        if bytes.is_empty() {
            let shortest = reading.contents.iter().map(Vec::len).min().expect("at least one");
            assert!(offset >= shortest, "nothing only at the end: {offset} of {shortest}");
        }
        self.seen.read += 1;
    }

    /// A host's process dies: its writes are done, in part, or not at all; whatever it had open is closed.
    fn kill(&mut self, host: usize) {
        self.network.borrow_mut().kill(host);
        self.machines[host] = None;
        self.open[host].clear();
        for number in (0..FILES).filter(|number| number % HOSTS == host) {
            let Some(pending) = self.pending[number].take() else { continue };
            let seen = self.content(number);
            self.models[number].write_partly(pending.offset, &pending.bytes, &seen);
            self.note(number);
        }
        self.start(host);
        self.seen.kills += 1;
    }

    /// The node loses power.
    fn cut(&mut self) {
        for number in 0..FILES {
            // It may have been done, in part, or not at all: as if somebody had written it and not synced.
            if let Some(pending) = self.pending[number].take() {
                self.models[number].write(pending.offset, &pending.bytes);
            }
        }
        self.disk.borrow_mut().power_cut();
        for host in 0..HOSTS {
            self.network.borrow_mut().kill(host);
            self.machines[host] = None;
            self.open[host].clear();
        }
        for number in 0..FILES {
            let found = self.content(number);
            let model = &self.models[number];
            // Old, new, or torn; and a write in flight ends anywhere.
            model.allows(&found, 3).unwrap_or_else(|complaint| panic!("file {number}: {complaint}"));
            self.seen.stored_bytes += if model.is_stored() { found.len() } else { 0 };
            self.models[number] = Model::found(&found);
        }
        (0..HOSTS).for_each(|host| self.start(host));
        self.seen.cuts += 1;
    }

    /// Everything is closed, and everything that was lent is given back.
    fn end(&mut self) {
        self.disk.borrow_mut().read_only = false;
        for _ in 0..100 {
            for host in 0..HOSTS {
                while let Some((file, _)) = self.handle(host, |_| true) {
                    self.machine(host).close_file(file);
                    self.open[host].get_mut(&key(file)).expect("just seen").closing = true;
                }
            }
            self.pass();
        }
        for host in 0..HOSTS {
            let left: Vec<_> =
                self.open[host].values().map(|it| (it.number, it.access, it.ready, it.closing)).collect();
            assert!(
                left.is_empty(),
                "everything that was asked for has ended: {left:?}, {:?}",
                self.machine(host).files_held()
            );
            assert_eq!(self.machine(host).files_held(), (0, 0));
        }
        self.cut();
    }
}

fn run(seed: u64) -> Seen {
    let mut world = World::new(seed);
    (0..900).for_each(|_| world.step());
    world.end();
    world.seen
}

#[test]
fn two_hosts_get_what_the_model_has() {
    let mut sum = Seen::default();
    for seed in 0..150 {
        let seen = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        sum.written += seen.written;
        sum.synced += seen.synced;
        sum.write_faults += seen.write_faults;
        sum.sync_faults += seen.sync_faults;
        sum.read += seen.read;
        sum.read_faults += seen.read_faults;
        sum.refused_opens += seen.refused_opens;
        sum.kills += seen.kills;
        sum.cuts += seen.cuts;
        sum.stored_bytes += seen.stored_bytes;
        sum.overlapped += seen.overlapped;
    }
    let met =
        [sum.write_faults, sum.sync_faults, sum.read_faults, sum.refused_opens, sum.kills, sum.cuts, sum.overlapped];
    assert!(met.iter().all(|count| *count > 100), "everything was met: {sum:?}");
    assert!(sum.written > 5000 && sum.synced > 2000 && sum.read > 5000 && sum.stored_bytes > 1 << 20, "{sum:?}");
}
