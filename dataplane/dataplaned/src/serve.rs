//! From arguments to serving shards, and back down.

use crate::arguments::Arguments;
use crate::backend::{Backend, ShardThread};
use crate::carried::Carried;
use crate::control::{Control, Kept, Parts, Scrape, Seat};
use crate::keeping::{self, Handle};
use crate::metrics::{Sources, Strays};
use crate::plan_log::{Fault, PlanLog};
use crate::{certificate, link, metrics, mqtt};
use crossbeam::channel::bounded;
use driver::{Listener, Socket};
use files::Directory;
use keeper::{Keeper, Recovered};
use shard::{JournalOptions, Mailbox, Options, shard_of_slot};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use uring::{HostLimits, ShardConfig, Sizing, Wanted};

/// Bytes of each ring between two shards.
const RING_BYTES: usize = 512 << 10;

/// Messages of each mailbox.
const MAILBOX_COUNT: usize = 4096;

const WSS: Listener = Listener(0);
const PLAIN: Listener = Listener(1);

/// How long the journal may be held by another process, and how often that is looked at.
const HOLD_PATIENCE: Duration = Duration::from_secs(2);
const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// Connections that may wait to be accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// One line for people: what failed and what to do.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let support = uring::probe()?;
    tracing::info!(%support, "io_uring");
    protect();
    let shard_count = shard_count(arguments)?;
    let limits = HostLimits::raise();
    let wanted = Wanted { connection_count: arguments.connections_max, ..Wanted::default() };
    let sizing = Sizing::from_limits(limits, shard_count as u32, wanted)?;
    tracing::info!(%sizing, "sizes");
    let backend = Backend::of(arguments.driver, &sizing)?;

    prepare(&arguments.data_dir)?;
    let tls = certificate::server_config(&arguments.cert, &arguments.key, &["http/1.1"])?;
    let plan_log = open_plan(&arguments.data_dir)?;
    let _held = hold(&arguments.data_dir.join("journal"))?;
    let carried = Carried::open(&arguments.data_dir, &arguments.carry_dir);
    let (keeper, recovered) = open_journal(arguments, &carried)?;

    let slot_key = slot_key(&arguments.data_dir)?;
    let slots = uring::gateway_slots(arguments.udp_listen, slot_key, uring::SLOT_RECEIVE_BYTES).map_err(text)?;
    tracing::info!(%slots, "gateway slots");
    let (wss, wss_address) = uring::tcp_listeners(arguments.wss_listen, shard_count, BACKLOG).map_err(text)?;
    let plain = plain_listeners(arguments, shard_count)?;
    let mqtt = mqtt::Doors::open(arguments, shard_count)?;

    let control_thread = thread::current();
    let notify: Arc<dyn Fn() + Send + Sync> = Arc::new(move || control_thread.unpark());
    let inbound = link::listen(&arguments.control_socket, Arc::clone(&notify))
        .map_err(|error| format!("control socket {}: {error}", arguments.control_socket.display()))?;
    let stop = stop_flag(Arc::clone(&notify))?;
    let (scrape_sender, scrapes) = bounded::<Scrape>(8);
    let strays: Arc<[Strays]> = (0..shard_count).map(|_| Strays::default()).collect();
    let sources = Sources { scrapes: scrape_sender, notify: Arc::clone(&notify), strays: Arc::clone(&strays) };
    let metrics_address = metrics::serve(arguments.metrics_listen, sources).map_err(text)?;

    let mut sockets: Vec<Vec<(Socket, OwnedFd)>> = (0..shard_count).map(|_| Vec::new()).collect();
    let udp_address = slots.address;
    for (slot, socket) in slots.sockets.into_iter().enumerate() {
        sockets[shard_of_slot(slot as u8, shard_count)].push((Socket(slot as u16), socket));
    }
    let mut listeners: Vec<Vec<(Listener, OwnedFd)>> = wss.into_iter().map(|fd| vec![(WSS, fd)]).collect();
    let mut plain_address = String::new();
    if let Some((fds, address)) = plain {
        tracing::warn!(%address, "streams are also served without TLS");
        plain_address = format!(", plain {address}");
        for (listeners, fd) in listeners.iter_mut().zip(fds) {
            listeners.push((PLAIN, fd));
        }
    }

    let mqtt_addresses = mqtt.addresses();
    let broker = mqtt.options(arguments, shard_count, wanted.connection_count)?;
    let broker_tls = mqtt.tls();
    mqtt.share_out(&mut listeners);

    let (doors, wakers) = uring::doors(shard_count).map_err(text)?;
    let journal = JournalOptions { epoch: recovered.epoch, limits: journal_limits(arguments, &sizing) };
    let directory = fs::File::open(&arguments.data_dir).map_err(text)?;
    let options = |index| Options {
        index,
        slot_key,
        network: session::Limits::for_devices(arguments.devices_max.div_ceil(shard_count)),
        gateways: session::gateways::Limits { gateway_count_max: arguments.gateways_max.div_ceil(shard_count).max(64) },
        queue_block_count: (arguments.queue_memory_mib << 20) / base::blocks::BLOCK_BYTES / shard_count,
        tls: Some(Arc::clone(&tls)),
        plain_listeners: 1 << PLAIN.0 | mqtt::PLAIN_SET,
        broker_tls: broker_tls.clone(),
        broker,
        echo: arguments.echo,
        journal: Some(journal),
    };
    let (started, starts) = bounded::<Result<(), String>>(shard_count);
    let mut seats = Vec::new();
    let mut threads = Vec::new();
    let mut ports = shard::fabric(shard_count, RING_BYTES);
    if let Some(broker) = &broker {
        shard::join_brokers(&mut ports, broker.limits.packet_bytes_max);
    }
    let parts = ports.into_iter().zip(doors).zip(sockets.into_iter().zip(listeners));
    for (index, ((ports, door), (sockets, listeners))) in parts.enumerate() {
        let mailbox = Mailbox::new(MAILBOX_COUNT, Arc::clone(&notify));
        seats.push(Seat { mailbox: mailbox.clone(), waker: wakers[index].clone() });
        let directory = Some(directory.try_clone().map_err(text)?.into());
        let config = ShardConfig { shard: index, sockets, listeners, sizing, door, peers: wakers.clone(), directory };
        let (options, strays, started) = (options(index), Arc::clone(&strays), started.clone());
        let carry = carried.make(recovered.epoch, index);
        let gather = gather(arguments, shard_count);
        let own = ShardThread { config, carry, options, gather, ports, mailbox, strays, started };
        let thread =
            thread::Builder::new().name(format!("shard-{index}")).spawn(move || own.run(backend)).map_err(text)?;
        threads.push(thread);
    }
    for _ in 0..shard_count {
        starts.recv().map_err(text)??;
    }

    let (handle, ends) = Handle::new();
    let parts = Parts { seats, plan_log, keeper: handle, inbound, scrapes, stop, slot_key };
    let mut control = Control::new(parts);
    let kept = Kept::new(&keeper, recovered);
    control.restore(kept).map_err(|fault| format!("{}: {fault}", arguments.data_dir.display()))?;
    control.start_keeper(keeper, ends, notify).map_err(text)?;
    say_ready(&format!(
        "ready: udp {udp_address}, wss {wss_address}{plain_address}{mqtt_addresses}, metrics {metrics_address}, control {}, {shard_count} shards",
        arguments.control_socket.display()
    ));
    let all_stored = control.run();
    for thread in threads {
        if thread.join().is_err() {
            return Err("a shard ended by a defect of ours; its message is above".into());
        }
    }
    if all_stored {
        carried.forget(journal.epoch);
    }
    link::remove(&arguments.control_socket);
    Ok(())
}

/// Holds the journal for this process alone, until it ends: two that write to it would destroy it.
fn hold(dir: &Path) -> Result<fs::File, String> {
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    prepare(dir)?;
    let itself = fs::File::open(dir).map_err(|error| format!("journal {}: {error}", dir.display()))?;
    let deadline = Instant::now() + HOLD_PATIENCE;
    loop {
        match rustix::fs::flock(&itself, NonBlockingLockExclusive) {
            Ok(()) => return Ok(itself),
            // Whoever looks whether it is held lets go at once, and whoever was killed soon.
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(HOLD_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(format!("journal {}: another dataplane runs on it", dir.display()));
            }
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be locked: see that no other dataplane runs on it");
                return Ok(itself);
            }
        }
    }
}

/// Finds what an earlier run left in the journal.
fn open_journal(arguments: &Arguments, carried: &Carried) -> Result<(Keeper<Directory>, Recovered), String> {
    let dir = arguments.data_dir.join("journal");
    prepare(&dir)?;
    let files = Directory::open(&dir).map_err(|error| format!("journal {}: {error}", dir.display()))?;
    let limits = keeper::Limits {
        bytes_max: arguments.journal_max_mib << 20,
        reserve_bytes: arguments.journal_reserve_mib << 20,
    };
    let left = carried.find()?;
    let (mut keeper, recovered) = Keeper::recover_with(files, limits, &left.overs, keeping::now())
        .map_err(|fault| journal_fault(arguments, &fault))?;
    if let Err(fault) = keeper.begin() {
        tracing::warn!(%fault, "the journal could not be made ready; it is tried again before it is made shorter");
    }
    // Else the next start needs them.
    if keeper.has_all_carried() {
        left.remove();
    }
    Ok((keeper, recovered))
}

fn journal_fault(arguments: &Arguments, fault: &keeper::Fault) -> String {
    format!("journal {}: {fault}", arguments.data_dir.join("journal").display())
}

fn journal_limits(arguments: &Arguments, sizing: &Sizing) -> journal::Limits {
    journal::Limits {
        segment_bytes: arguments.journal_segment_mib << 20,
        tail_bytes: (arguments.journal_memory_mib << 20) as usize,
        batch_bytes: sizing.file_buffer_bytes as usize,
        epoch_bytes: journal::OFFSET_END,
    }
}

/// Each shard's part of what an uplink may be held up on its way: of its gateway, its lane and its consumer, each may have
/// a shard of its own.
fn gather(arguments: &Arguments, shard_count: usize) -> Duration {
    Duration::from_micros(arguments.gather_us) / shard_count.min(3) as u32
}

fn shard_count(arguments: &Arguments) -> Result<usize, String> {
    let available = thread::available_parallelism().map_or(1, usize::from);
    let count = if arguments.cores == 0 { available.min(64) } else { arguments.cores };
    if count > 64 {
        return Err(format!("--cores: at most 64 shards, not {count}"));
    }
    Ok(count)
}

fn plain_listeners(
    arguments: &Arguments,
    shard_count: usize,
) -> Result<Option<(Vec<OwnedFd>, std::net::SocketAddr)>, String> {
    let Some(address) = arguments.plain_listen else { return Ok(None) };
    if !address.ip().is_loopback() {
        return Err(format!("--plain-listen {address}: streams without TLS are served on loopback only"));
    }
    uring::tcp_listeners(address, shard_count, BACKLOG).map(Some).map_err(text)
}

/// The data directory, readable by its owner alone.
fn prepare(dir: &Path) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| format!("data directory {}: {error}", dir.display()))
}

fn open_plan(dir: &Path) -> Result<PlanLog, String> {
    match PlanLog::open(dir) {
        Err(fault @ (Fault::Corrupt(_) | Fault::NotOurs)) => {
            let aside = PlanLog::set_aside(dir).map_err(|error| format!("stored plan: {fault}, and {error}"))?;
            tracing::error!(
                %fault,
                kept = %aside.display(),
                "the stored plan cannot be used and was set aside; waiting for the control plane to push it again"
            );
            PlanLog::open(dir)
        }
        opened => opened,
    }
    .map_err(|fault| format!("stored plan in {}: {fault}", dir.display()))
}

/// The key that steers gateways to slots: made once, kept, so that a restart steers as before.
fn slot_key(dir: &Path) -> Result<u32, String> {
    let path = dir.join("slot.key");
    let say = |error: io::Error| format!("{}: {error}", path.display());
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes: [u8; 4] =
                bytes.try_into().map_err(|_| format!("{}: is not 4 bytes; remove it", path.display()))?;
            Ok(u32::from_le_bytes(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 4];
            fs::File::open("/dev/urandom")
                .and_then(|mut file| io::Read::read_exact(&mut file, &mut key))
                .map_err(say)?;
            fs::write(&path, key).map_err(say)?;
            Ok(u32::from_le_bytes(key))
        }
        Err(error) => Err(say(error)),
    }
}

/// Session keys must not reach a core file, nor another process of the same user.
fn protect() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
}

/// Set by SIGINT and SIGTERM.
fn stop_flag(notify: Arc<dyn Fn() + Send + Sync>) -> Result<Arc<AtomicBool>, String> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(text)?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                flag.store(true, Ordering::Release);
                notify();
            }
        })
        .map_err(text)?;
    Ok(stop)
}

/// One line that scripts and people wait for.
fn say_ready(line: &str) {
    tracing::info!("{line}");
    let mut out = io::stdout().lock();
    // Whoever started us may not listen.
    let _said = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
