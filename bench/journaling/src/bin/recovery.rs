//! `recovery`: how long a restart takes to have every session back, and what memory that takes. 10 million sessions unless
//! told otherwise; needs 700 bytes of disk for each.
//!
//! One process writes a journal as a dataplane of two shards would: every device through its log, folded and trimmed by
//! the keeper each time that enough has ended, and at last a tail that is in no checkpoint. Another one, whose tables hold
//! the devices as the plan says them, reads it, from the disk, as a dataplane does at start. Then every session and every
//! downlink in the tables is compared with what it should be, by a hash.
//!
//! ```text
//!   readers (2): lanes of the checkpoint and of the tail ──▶ mailbox of a shard ──▶ shards (2): session::Network
//! ```

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use base::mix::mix64;
use base::{Eui64, Monotonic, UnixMicros};
use crossbeam::queue::ArrayQueue;
use event::{Event, Kind as EventKind};
use journal::Kind;
use journaling::writer::{Writer, open};
use lorawan::{AesKey, DevAddr, JoinNonces, NetId, SessionKeys};
use session::body::{BODY_BYTES_MAX, UplinkBody};
use session::{
    Activation, Advance, DEV_NONCE_COUNT, DOWNLINK_BYTES_MAX, Dequeued, DeviceSpec, DeviceState, KeptDownlink,
    KeptSession, Lane, Lanes, Limits, Network, SessionRecord, lane_of_addr, lane_of_eui,
};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const SESSION_COUNT: u64 = 10_000_000;
const SHARD_COUNT: usize = 2;
const READER_COUNT: usize = 2;

/// As many as the dataplane's readers leave in one.
const MAILBOX_COUNT: usize = 64;

const NOW: UnixMicros = UnixMicros(1_760_000_000_000_000);

// Who does what behind the checkpoint, one in so many.
const UPLINKS: u64 = 10;
const REJOINS: u64 = 997;
const DOWNLINKS: u64 = 1000;

/// What is promised of ten million sessions.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

const USAGE: &str = "\
Usage: recovery [OPTIONS]
  --sessions N   How many (10000000); each needs 700 bytes of disk.
  --dir DIR      Where (the system's folder for what is temporary).
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let count_of = |text: &str| text.parse().ok().filter(|count| *count > 0);
    match arguments[..] {
        ["write", count, dir] => write(Path::new(dir), count_of(count).expect("a number of sessions")),
        ["read", count, dir] => {
            let count = count_of(count).expect("a number of sessions");
            return read(Path::new(dir), count).print(count);
        }
        _ => {
            let (mut count, mut dir) = (SESSION_COUNT, env::temp_dir());
            while let [option, value, ..] = arguments[..] {
                match (option, count_of(value)) {
                    ("--sessions", Some(sessions)) => count = sessions,
                    ("--dir", _) => dir = value.into(),
                    _ => break,
                }
                arguments.drain(..2);
            }
            if !arguments.is_empty() {
                eprint!("unknown option `{}`\n{USAGE}", arguments.join(" "));
                return ExitCode::from(2);
            }
            fs::create_dir_all(&dir).expect("a directory can be made");
            return both(count, &dir);
        }
    }
    ExitCode::SUCCESS
}

/// Each in a process of its own, so that what one has used is not taken for the other's.
fn both(count: u64, dir: &Path) -> ExitCode {
    let home = tempfile::tempdir_in(dir).expect("a directory");
    for step in ["write", "read"] {
        let mut command = Command::new(env::current_exe().expect("this program"));
        let done = command.args([step, &count.to_string()]).arg(home.path()).status().expect("it starts");
        if !done.success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

// The devices.

fn key(number: u64, which: u64) -> AesKey {
    let half = |half| mix64(number << 3 | which << 1 | half).to_le_bytes();
    AesKey([half(0), half(1)].concat().try_into().expect("two halves"))
}

fn dev_eui(number: u64) -> Eui64 {
    Eui64::new(0x70B3_D57E_D000_0000 + number)
}

/// One in sixteen is personalised.
const fn is_abp(number: u64) -> bool {
    number % 16 == 15
}

fn dev_addr(number: u64) -> DevAddr {
    DevAddr(0x2600_0000 | (number & 0x01FF_FFFF) as u32)
}

fn lane(number: u64) -> Lane {
    if is_abp(number) { lane_of_addr(dev_addr(number)) } else { lane_of_eui(dev_eui(number)) }
}

fn shard_of(lane: Lane) -> usize {
    usize::from(lane.0) % SHARD_COUNT
}

fn spec(number: u64) -> DeviceSpec {
    let session = session(number, 1);
    let activation = if is_abp(number) {
        Activation::Abp { dev_addr: session.dev_addr, keys: session.keys, fcnt_up: 0, fcnt_down: 0 }
    } else {
        Activation::Otaa { app_key: key(number, 0) }
    };
    DeviceSpec {
        dev_eui: dev_eui(number),
        join_eui: Eui64::new(number >> 10),
        tenant: 1,
        application: 1,
        profile: 1,
        enabled: true,
        activation,
    }
}

fn session(number: u64, which: u32) -> KeptSession {
    let random = mix64(number ^ u64::from(which) << 40);
    let keys = SessionKeys { nwk_s_key: key(number, 1), app_s_key: key(number, 2 + u64::from(which & 1)) };
    KeptSession {
        dev_addr: dev_addr(number),
        keys,
        number: which,
        fcnt_up: random as u32 >> 8,
        fcnt_down: (random >> 32) as u32 >> 8,
        last_mic: (random >> 16) as u32,
        rx1_delay_s: 1,
        rx1_dr_offset: 0,
        rx2_data_rate: (random & 7) as u8,
        rx2_frequency_hz: 869_525_000,
        sub_bands: 0,
        last_seen: UnixMicros(NOW.0 - (random & 0xFFFF_FFFF)),
        last_gateway: Eui64::new(random >> 40),
    }
}

/// A device as it was after so many joins.
fn joined(number: u64, joins: u32) -> SessionRecord {
    let mut record = SessionRecord {
        dev_eui: dev_eui(number),
        root: 0,
        session_count: joins,
        join_nonce: 0,
        dev_nonce_count: 0,
        dev_nonces: [0; DEV_NONCE_COUNT],
        session: Some(session(number, joins)),
        pending: None,
    };
    if !is_abp(number) {
        // As `session` tells root keys apart.
        let nonces = JoinNonces { join_nonce: 0, net_id: NetId(0), dev_nonce: 0 };
        let AesKey([head @ .., _, _, _, _, _, _, _, _]) = nonces.session_keys(&key(number, 0)).nwk_s_key;
        record.root = u64::from_le_bytes(head);
        record.join_nonce = joins;
        record.dev_nonce_count = (number % (DEV_NONCE_COUNT as u64 + 1)) as u8;
        for nonce in &mut record.dev_nonces[..usize::from(record.dev_nonce_count)] {
            *nonce = number as u16;
        }
        // One in 64 has been offered another session.
        record.pending = (number % 64 == 1).then(|| session(number, joins + 1));
    }
    record
}

/// What happened behind the checkpoint, in this order.
fn rejoin(number: u64) -> Option<SessionRecord> {
    (number % REJOINS == 5 && !is_abp(number)).then(|| joined(number, 3))
}

fn uplink(number: u64) -> Option<Advance> {
    let session = joined(number, if rejoin(number).is_some() { 3 } else { 1 }).session.expect("it has one");
    (number % UPLINKS == 3).then(|| Advance {
        dev_eui: dev_eui(number),
        session: session.number,
        fcnt_up: session.fcnt_up + 1,
        mic: mix64(number) as u32,
        gateway: Eui64::new(0xB827_EB00_0000_0000 + number % 1000),
    })
}

/// Of each two that are queued one has left the queue again.
fn downlinks(number: u64) -> Vec<(KeptDownlink<'static>, bool)> {
    let of = |index: u64| KeptDownlink {
        dev_eui: dev_eui(number),
        id: number << 8 | index << 6,
        expires: UnixMicros(0),
        fport: 3,
        confirmed: index == 1,
        payload: b"sixteen bytes...",
    };
    if number % DOWNLINKS == 7 { vec![(of(1), false), (of(2), true)] } else { Vec::new() }
}

/// What a device should be in the end.
fn expected(number: u64) -> DeviceState {
    let mut state = DeviceState::default();
    state.replace(rejoin(number).unwrap_or_else(|| joined(number, 1)));
    if let Some(advance) = uplink(number) {
        state.advance(&advance, NOW);
    }
    for (downlink, waits) in downlinks(number) {
        if waits {
            state.queued(&downlink);
        }
    }
    state
}

/// Adds up over devices in any order.
fn hash(record: &SessionRecord, downlinks: impl Iterator<Item = Vec<u8>>) -> u64 {
    let mut hash = 0;
    let mut take = |bytes: &[u8]| {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix64(hash ^ u64::from_le_bytes(word)).wrapping_add(chunk.len() as u64);
        }
    };
    take(&record.to_wire());
    downlinks.for_each(|downlink| take(&downlink));
    hash
}

fn bytes_of(downlink: &KeptDownlink<'_>) -> Vec<u8> {
    let mut bytes = [0; DOWNLINK_BYTES_MAX];
    let count = downlink.write(&mut bytes);
    bytes[..count].to_vec()
}

// Writing.

fn write(dir: &Path, count: u64) {
    let start = Instant::now();
    let mut writer = Writer::open(dir, SHARD_COUNT, count, NOW);
    for number in 0..count {
        writer.append(Kind::Device, lane(number), &joined(number, 1).to_wire());
    }
    writer.write_all();
    writer.fold_for_good();
    for number in 0..count {
        let lane = lane(number);
        if let Some(record) = rejoin(number) {
            writer.append(Kind::Device, lane, &record.to_wire());
        }
        if let Some(advance) = uplink(number) {
            let event = Event {
                tenant: 1,
                dev_eui: advance.dev_eui,
                session: advance.session,
                fcnt: advance.fcnt_up - 1,
                payload: b"twenty bytes of data",
                ..Event::new(EventKind::Uplink, NOW)
            };
            let mut body = [0; BODY_BYTES_MAX];
            let length = UplinkBody { advance, event: Some(event), owes_best: false }.write(&mut body);
            writer.append(Kind::Uplink, lane, &body[..length]);
        }
        let downlinks = downlinks(number);
        for (downlink, _) in &downlinks {
            writer.append(Kind::Queued, lane, &bytes_of(downlink));
        }
        for (downlink, _) in downlinks.iter().filter(|(_, waits)| !waits) {
            let dequeued = Dequeued { dev_eui: downlink.dev_eui, id: downlink.id };
            writer.append(Kind::Dequeued, lane, &dequeued.to_wire());
        }
    }
    let (checkpoint, segments) = writer.finish();
    println!(
        "written: {count} sessions, checkpoint {} MiB, segments behind it {} MiB, in {:.1} s",
        checkpoint >> 20,
        segments >> 20,
        start.elapsed().as_secs_f64()
    );
}

// Reading.

/// What a mailbox carries.
enum Mail {
    Sessions(Vec<SessionRecord>),
    Downlink(Box<[u8]>),
}

struct Result {
    tail: Duration,
    lanes: Duration,
    /// Of all threads.
    cpu: Duration,
    records: u64,
    /// Resident bytes: with the devices as the plan says them, with their sessions, and at most.
    before: u64,
    after: u64,
    peak: u64,
}

impl Result {
    /// Says whether it took no longer than is promised of ten million.
    fn print(&self, count: u64) -> ExitCode {
        let each = |bytes: u64| bytes as f64 / count as f64;
        println!("tail read       {:8.2} s   {} records", self.tail.as_secs_f64(), self.records);
        println!("sessions there  {:8.2} s", self.lanes.as_secs_f64());
        println!("recovery        {:8.2} s", (self.tail + self.lanes).as_secs_f64());
        println!("cpu             {:8.2} s   of all threads", self.cpu.as_secs_f64());
        println!("resident before {:8} MiB ({:.0} bytes a device)", self.before >> 20, each(self.before));
        println!("resident after  {:8} MiB ({:.0} bytes a session)", self.after >> 20, each(self.after));
        println!("peak            {:8} MiB ({:.0} bytes a session)", self.peak >> 20, each(self.peak));
        let holds = self.tail + self.lanes <= RECOVERY_MAX;
        let word = if holds { "held  " } else { "MISSED" };
        println!("{word} recovery of {count} sessions within {} s", RECOVERY_MAX.as_secs());
        if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn read(dir: &Path, count: u64) -> Result {
    let start = Instant::now();
    let mut networks: Vec<Network> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SHARD_COUNT).map(|shard| scope.spawn(move || with_devices(shard, count))).collect();
        threads.into_iter().map(|thread| thread.join().expect("room for its devices")).collect()
    });
    println!("devices there   {:8.2} s, without reading a plan", start.elapsed().as_secs_f64());
    forget(dir);
    let (before, cpu) = (resident("VmRSS:"), cpu());
    let start = Instant::now();
    let (keeper, mut recovered) = open(dir);
    let tail = start.elapsed();
    let mailboxes: Vec<ArrayQueue<Mail>> = (0..SHARD_COUNT).map(|_| ArrayQueue::new(MAILBOX_COUNT)).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (network, mailbox) in networks.iter_mut().zip(&mailboxes) {
            let over = &over;
            let shard = thread::Builder::new().name("shard".into());
            shard.spawn_scoped(scope, move || take(network, mailbox, over)).expect("a thread");
        }
        keeper.recover_lanes(&mut recovered, READER_COUNT, &|states| give(&mailboxes, states)).expect("readable");
        over.store(true, Ordering::Release);
    });
    let lanes = start.elapsed() - tail;
    let cpu = self::cpu() - cpu;
    let (after, peak) = (resident("VmRSS:"), resident("VmHWM:"));
    let counts = recovered.counts;
    assert_eq!((counts.corrupt, counts.foreign, counts.gaps, counts.unknown), (0, 0, 0, 0));
    check(&networks, count);
    Result { tail, lanes, cpu, records: counts.records, before, after, peak }
}

/// The tables of a shard, with its devices and without their sessions.
fn with_devices(shard: usize, count: u64) -> Network {
    let per_shard = count as usize / SHARD_COUNT * 17 / 16 + 1024;
    let mut network = Network::new(Limits::for_devices(per_shard), Lanes::dealt(shard, SHARD_COUNT), 7);
    for number in 0..count {
        network.upsert(&spec(number), &mut Deaf, NOW).expect("room");
    }
    network
}

/// Has the kernel forget what it knows of the files, so that they come from the disk.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).expect("it is there") {
        let file = fs::File::open(entry.expect("readable").path()).expect("readable");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a file");
    }
}

fn give(mailboxes: &[ArrayQueue<Mail>], states: Vec<DeviceState>) {
    let mut sessions: Vec<Vec<SessionRecord>> = (0..SHARD_COUNT).map(|_| Vec::with_capacity(states.len())).collect();
    let mut downlinks = Vec::new();
    for state in states {
        let Some(record) = state.record else { continue };
        let lane = match record.session {
            Some(session) if record.root == 0 => lane_of_addr(session.dev_addr),
            _ => lane_of_eui(record.dev_eui),
        };
        sessions[shard_of(lane)].push(record);
        downlinks.extend(state.queue.into_iter().map(|downlink| (shard_of(lane), downlink)));
    }
    let push = |target: usize, mail| {
        let mut mail = mail;
        while let Err(back) = mailboxes[target].push(mail) {
            mail = back;
            thread::sleep(Duration::from_micros(200));
        }
    };
    for (target, sessions) in sessions.into_iter().enumerate().filter(|(_, sessions)| !sessions.is_empty()) {
        push(target, Mail::Sessions(sessions));
    }
    downlinks.into_iter().for_each(|(target, downlink)| push(target, Mail::Downlink(downlink.into())));
}

fn take(network: &mut Network, mailbox: &ArrayQueue<Mail>, over: &AtomicBool) {
    loop {
        // Looked at before: what was given until then is still taken.
        let over = over.load(Ordering::Acquire);
        while let Some(mail) = mailbox.pop() {
            match mail {
                Mail::Sessions(records) => {
                    assert_eq!(network.restore_all(&records), records.len(), "devices with these keys");
                }
                Mail::Downlink(bytes) => {
                    let downlink = KeptDownlink::parse(&bytes).expect("whole");
                    assert!(network.restore_downlink(&downlink, Monotonic(0), NOW), "room");
                }
            }
        }
        if over {
            return;
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Every session and every downlink is what it should be, and there are no others.
fn check(networks: &[Network], count: u64) {
    let found = thread::scope(|scope| {
        let threads: Vec<_> = networks.iter().map(|network| scope.spawn(|| hash_of(network))).collect();
        threads.into_iter().map(|thread| thread.join().expect("readable")).fold((0, 0), add)
    });
    let wanted = thread::scope(|scope| {
        let half = |from: u64| {
            (from..count).step_by(2).map(expected).fold((0, 0), |sum, state| {
                let record = state.record.expect("every device is known");
                add(sum, (1, hash(&record, state.queue.into_iter())))
            })
        };
        let threads: Vec<_> = (0..2).map(|from| scope.spawn(move || half(from))).collect();
        threads.into_iter().map(|thread| thread.join().expect("arithmetic")).fold((0, 0), add)
    });
    assert_eq!(found, wanted, "devices, and the hash of all that is known of them");
    println!("checked         {} devices, hash {:016x}", found.0, found.1);
}

fn add(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1.wrapping_add(other.1))
}

fn hash_of(network: &Network) -> (u64, u64) {
    network.records().fold((0, 0), |sum, record| {
        let queue = network.state(record.dev_eui).expect("it lives here").queue;
        let downlinks = queue.iter().map(|downlink| {
            bytes_of(&KeptDownlink {
                dev_eui: record.dev_eui,
                id: downlink.id,
                expires: downlink.expires,
                fport: downlink.fport,
                confirmed: downlink.confirmed,
                payload: downlink.payload(),
            })
        });
        add(sum, (1, hash(&record, downlinks)))
    })
}

/// Bytes, as the kernel counts them under this name.
fn resident(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// What this process has used, all its threads together.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Takes what a network says, and does nothing of it.
struct Deaf;

impl session::Sink for Deaf {
    fn event(&mut self, _: &Event<'_>) {}
    fn transmit(&mut self, _: &session::Transmit<'_>) {}
    fn keep(
        &mut self,
        _: session::Owner,
        _: session::Change<'_>,
    ) -> core::result::Result<session::Ticket, session::NotKept> {
        Ok(session::Ticket::KEPT)
    }
    fn is_kept(&mut self, _: session::Ticket) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_comes_back_as_it_was() {
        let home = tempfile::tempdir().expect("a directory");
        write(home.path(), 20_000);
        let result = read(home.path(), 20_000);
        assert!(result.records > 2000, "the tail was read: {}", result.records);
        assert!(result.peak >= result.after && result.after > 0);
    }
}
