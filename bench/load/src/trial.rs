//! A trial: one server, one rate, some seconds, and what came of it.
//!
//! Owns the order: sign, start the server, connect, then the clock. The load is one thread on the last core, the server
//! keeps to the first.

use crate::consumers::{Consumers, Heard};
use crate::frames::Frames;
use crate::gateways::{Gateways, Sent};
use crate::server::{Kind, Server};
use crate::stages::{Stages, between};
use crate::{Workload, clock, thread_time};
use rustix::thread::Timespec;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Between the last preparation and the first datagram.
const LEAD: Duration = Duration::from_millis(200);

/// How often the load looks what is due and what has come. Both add up to this to a latency, of either server.
///
/// No part of the kernel's own tick, of 4 ms or 1 ms: by that it samples whether a core is idle, and all samples of a trial
/// would fall into the same part of the load's work, or of its sleep.
pub const TICK: Duration = Duration::from_micros(101);

/// How often it is looked whether the server has come to rest, and how long that may take: ten seconds.
const SETTLE_LOOK: Duration = Duration::from_millis(250);
const SETTLE_LOOKS_MAX: u32 = 40;

/// What has not come after so long is lost: a server that has to wait for its core is late, no more.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// Processor time of the load itself.
    pub load_cpu: Duration,
    /// What the trial added to the stages of which the server keeps time.
    pub stages: Stages,
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

    /// Processor time of the load itself per uplink, microseconds.
    #[must_use]
    pub fn load_cpu_us(&self) -> f64 {
        self.load_cpu.as_secs_f64() * 1e6 / self.sent.uplinks.max(1) as f64
    }

    /// Microseconds from due to read, at this quantile.
    #[must_use]
    pub fn latency_us(&self, quantile: f64) -> u64 {
        self.heard.latency.value_at_quantile(quantile)
    }
}

/// Runs a trial at a server of its own.
///
/// # Errors
/// What the host or the server refuses.
pub fn run(kind: Kind, bin_dir: &Path, workload: Workload, rate: u64, span: Duration) -> io::Result<Outcome> {
    let frames = Frames::sign(workload, (span.as_secs_f64() * rate as f64) as u64);
    let server = Server::start(kind, bin_dir, &workload)?;
    settle(&server)?;
    at(&server, &frames, workload, rate, matches!(kind, Kind::Trunkline(_)))
}

/// Runs a trial at a server that serves. Trunkline's messages are `whole`.
///
/// # Errors
/// What the host or the server refuses.
pub fn at(server: &Server, frames: &Frames, workload: Workload, rate: u64, whole: bool) -> io::Result<Outcome> {
    let consumers = Consumers::open(server.wss, &server.tls, &workload, frames.count(), whole)?;
    let load = Load { frames, workload, rate, consumers, server };
    let defect = |_| io::Error::other("the load ended by a defect");
    thread::scope(|scope| scope.spawn(|| load.run()).join().map_err(defect)?)
}

/// The load of a trial, on a thread of its own.
struct Load<'a> {
    frames: &'a Frames,
    workload: Workload,
    rate: u64,
    consumers: Consumers,
    server: &'a Server,
}

impl Load<'_> {
    /// Sends and reads every [`TICK`], until everything came or nothing came for [`PATIENCE`] after the last was sent.
    fn run(mut self) -> io::Result<Outcome> {
        pin();
        // Without slack a sleep ends when it was asked to.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let mut gateways = Gateways::open(self.server.udp, &self.workload)?;
        let stages = self.server.stages()?;
        let start = clock() + LEAD.as_nanos() as u64;
        sleep_until(start);
        let (cpu, idle_before, own) = (self.server.cpu()?, idle_time()?, thread_time());
        let (mut tick, mut sent_at) = (start, None);
        loop {
            let sent = gateways.step(self.frames, &self.workload, self.rate, start)?;
            self.consumers.step(self.rate, start)?;
            let now = clock();
            let since = *sent_at.get_or_insert(now);
            if !sent {
                sent_at = None;
            } else if self.consumers.have_all() || now - since > PATIENCE.as_nanos() as u64 {
                break;
            }
            tick = now.max(tick + TICK.as_nanos() as u64);
            sleep_until(tick);
        }
        let idle = idle_time()?;
        let load_cpu = thread_time().saturating_sub(own);
        // The load's own time is known exactly.
        let own_share = load_cpu.as_secs_f64() * 1e9 / (idle.1 - idle_before.1).max(1) as f64;
        let load_busy = busy_between(idle_before, idle).max(own_share);
        let server_cpu = self.server.cpu()?.saturating_sub(cpu);
        // Answers to the last uplinks are still on their way.
        let end = clock() + LEAD.as_nanos() as u64;
        while clock() < end {
            sleep_until(clock() + TICK.as_nanos() as u64);
            gateways.step(self.frames, &self.workload, self.rate, start)?;
            self.consumers.step(self.rate, start)?;
        }
        let server_resident_bytes = self.server.resident_bytes()?;
        let stages = between(&stages, self.server.stages()?);
        let (sent, heard) = (gateways.sent(), self.consumers.heard());
        Ok(Outcome { rate: self.rate, sent, heard, server_cpu, server_resident_bytes, load_busy, load_cpu, stages })
    }
}

/// Waits until a server that has started has nothing more to do: what a start costs once, segments of a journal, is no
/// uplink's.
fn settle(server: &Server) -> io::Result<()> {
    for _ in 0..SETTLE_LOOKS_MAX {
        let before = server.cpu()?;
        thread::sleep(SETTLE_LOOK);
        if server.cpu()?.saturating_sub(before) < SETTLE_LOOK / 50 {
            return Ok(());
        }
    }
    Err(io::Error::other("the server does not come to rest before the first uplink"))
}

/// Sleeps until this moment of the monotonic clock, nanoseconds; not at all if it is past.
fn sleep_until(moment: u64) {
    let request = Timespec { tv_sec: (moment / 1_000_000_000) as i64, tv_nsec: (moment % 1_000_000_000) as i64 };
    // A signal ends it early, and then less is due.
    let _interrupted = rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &request);
}

/// Keeps the calling thread on the load's core.
pub(crate) fn pin() {
    // Pinning is for evenness; a host that refuses it is measured all the same.
    let _pinned = uring::pin_to_core(core());
}

/// The load's core.
fn core() -> usize {
    thread::available_parallelism().map_or(1, usize::from) - 1
}

/// Idle time of the load's core, and the moment at which it was read.
fn idle_time() -> io::Result<(Duration, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    idle_of(&text, core()).map(|idle| (idle, clock())).ok_or_else(|| io::Error::other("no such core"))
}

/// What /proc/stat says of a core, in hundredths of a second: user nice system idle iowait ..., proc(5).
fn idle_of(stat: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let hundredths: u64 = line.split_whitespace().skip(3).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(hundredths * 10))
}

fn busy_between(before: (Duration, u64), after: (Duration, u64)) -> f64 {
    let span = Duration::from_nanos(after.1 - before.1);
    let idle = after.0.saturating_sub(before.0);
    1.0 - (idle.as_secs_f64() / span.as_secs_f64().max(f64::MIN_POSITIVE)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_idle_is_busy() {
        let stat = "cpu  9 9 9 9 9 9\ncpu0 1 2 3 400 5 6 7 8\ncpu1 1 2 3 100 50 6 7 8\ncpu10 0 0 0 7 0\n";
        let idle = |core| idle_of(stat, core);
        assert_eq!(
            (idle(1), idle(10), idle(2)),
            (Some(Duration::from_millis(1500)), Some(Duration::from_millis(70)), None)
        );
        let at = |idle_ms, seconds: u64| (Duration::from_millis(idle_ms), seconds * 1_000_000_000);
        assert!((busy_between(at(1000, 3), at(2200, 7)) - 0.7).abs() < 1e-9);
        assert!(busy_between(at(0, 0), at(1010, 1)).abs() < 1e-9, "a hundredth too many is rounding");
    }
}
