//! A trial: one server, one rate, some seconds, and what came of it.
//!
//! Owns the order: sign, start the server, connect, then the clock. The load keeps to the last core, the server to the first.

use crate::consumers::{Consumers, Heard};
use crate::frames::Frames;
use crate::gateways::{Gateways, Sent};
use crate::server::{Kind, Server};
use crate::{Workload, clock};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Between the last preparation and the first datagram.
const LEAD: Duration = Duration::from_millis(200);

/// The share of its core that the load may need before its figures say more of it than of the server.
pub const BUSY_MAX: f64 = 0.7;

/// What a trial came to.
#[derive(Debug)]
pub struct Outcome {
    /// Uplinks per second, by the clock.
    pub rate: u64,
    /// Uplinks that were sent.
    pub sent: Sent,
    /// What consumers got.
    pub heard: Heard,
    /// Processor time of the server, all its threads, from the first datagram until all came.
    pub server_cpu: Duration,
    /// Resident memory of the server at the end.
    pub server_resident_bytes: u64,
    /// The share of time in which the load's core was busy, whoever kept it so.
    pub load_busy: f64,
}

impl Outcome {
    /// Why nothing can be said of the server, if so.
    #[must_use]
    pub fn void(&self) -> Option<String> {
        (self.load_busy > BUSY_MAX).then(|| format!("the load's core was {:.0} % busy", self.load_busy * 100.0))
    }

    /// Uplinks that no consumer got.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.uplinks - self.heard.uplinks
    }

    /// Everything came once, whole, and in order per device.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.lost() == 0 && self.heard.duplicates == 0 && self.heard.wrong == 0 && self.heard.reordered == 0
    }

    /// Processor time of the server per uplink, microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.sent.uplinks.max(1) as f64
    }

    /// Microseconds from due to read, at this quantile.
    #[must_use]
    pub fn latency_us(&self, quantile: f64) -> u64 {
        self.heard.latency.value_at_quantile(quantile)
    }
}

/// Runs a trial.
///
/// # Errors
/// What the host or the server refuses.
pub fn run(kind: Kind, bin_dir: &Path, workload: Workload, rate: u64, span: Duration) -> io::Result<Outcome> {
    let frames = Arc::new(Frames::sign(workload, (span.as_secs_f64() * rate as f64) as u64));
    let server = Server::start(kind, bin_dir, &workload)?;
    let whole = kind == Kind::Trunkline;
    let consumers = Consumers::open(server.wss, &server.tls, &workload, frames.count(), whole)?;
    let (opened, open) = mpsc::channel();
    let (begin, begun) = mpsc::channel::<u64>();
    let (udp, sender_frames) = (server.udp, Arc::clone(&frames));
    let sender = thread::Builder::new().name("gateways".into()).spawn(move || {
        pin();
        let gateways = Gateways::open(udp, &workload);
        let heard = opened.send(gateways.as_ref().map(|_| ()).map_err(io::Error::to_string).map_err(io::Error::other));
        let start = heard.ok().and_then(|()| begun.recv().ok());
        Ok::<Sent, io::Error>(gateways?.run(&sender_frames, &workload, rate, start.unwrap_or_default()))
    })?;
    open.recv().map_err(io::Error::other)??;
    let over = Arc::new(AtomicBool::new(false));
    let (cpu, busy) = (server.cpu()?, core_times()?);
    let start = clock() + LEAD.as_nanos() as u64;
    begin.send(start).map_err(io::Error::other)?;
    let ended = Arc::clone(&over);
    let reader = thread::Builder::new().name("consumers".into()).spawn(move || {
        pin();
        consumers.run(rate, start, &ended)
    })?;
    let defect = |_| io::Error::other("a thread of the load ended by a defect");
    let sent = sender.join().map_err(defect)??;
    let load_busy = busy_between(busy, core_times()?);
    over.store(true, Ordering::Release);
    let heard = reader.join().map_err(defect)??;
    let server_cpu = server.cpu()?.saturating_sub(cpu);
    let server_resident_bytes = server.resident_bytes()?;
    Ok(Outcome { rate, sent, heard, server_cpu, server_resident_bytes, load_busy })
}

fn core() -> usize {
    thread::available_parallelism().map_or(1, usize::from) - 1
}

fn pin() {
    // Pinning is for evenness; a host that refuses it is measured all the same.
    let _pinned = uring::pin_to_core(core());
}

/// Idle and other time of the load's core, in ticks.
fn core_times() -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{} ", core());
    let line =
        text.lines().find_map(|line| line.strip_prefix(&name)).ok_or_else(|| io::Error::other("no such core"))?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait ...: proc(5)
    let idle = fields.get(3).unwrap_or(&0) + fields.get(4).unwrap_or(&0);
    Ok((idle, fields.iter().take(8).sum::<u64>() - idle))
}

fn busy_between(before: (u64, u64), after: (u64, u64)) -> f64 {
    let (idle, busy) = (after.0 - before.0, after.1 - before.1);
    busy as f64 / (idle + busy).max(1) as f64
}
