//! `--lagging`: what live consumers notice while somebody catches up from the disk at full speed.
//!
//! Owns one server that keeps everything, its backlog, and the rounds: in turn without and with a reader that lags. A round
//! in which the reader was not read for from the disk throughout is void.
//!
//! ```text
//!   backlog ──▶ alone ──▶ catching up ──▶ alone ──▶ catching up ...      each by the same clock, at the same server
//! ```

use crate::figures::spread;
use crate::{Arguments, HEADER, line, row, verdict};
use load::Workload;
use load::catcher::{Caught, catch_up};
use load::frames::Frames;
use load::server::{Kind, Server};
use load::trial::{self, BUSY_MAX, Outcome};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is promised: the p99 of live consumers, while somebody catches up, against theirs without.
const P99_RATIO_MAX: f64 = 2.0;

/// The backlog comes so many times as fast as the rounds' uplinks.
const FILL_FACTOR: u64 = 4;

/// How often it is seen whether the reader is read for: each time it has to have been.
const LOOK: Duration = Duration::from_millis(250);

/// Longer than a session of a stream takes until it is read for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The counter of what shards read of segments for consumers that lag, bytes.
const COUNTER: &str = "segment_bytes_read";

/// What a reader came to in a round.
struct Behind {
    caught: Caught,
    /// Bytes of segments read for it while live uplinks came.
    segment_bytes: u64,
    /// Of these, bytes that storage and not the page cache gave.
    storage_bytes: u64,
    seconds: f64,
    /// Looks at the counter, and those between which nothing was read.
    looks: u32,
    idle: u32,
}

impl Behind {
    /// Why nothing can be said of a round, if so.
    fn void(&self, outcome: &Outcome) -> Option<String> {
        let others = outcome.load_busy - self.caught.busy;
        if self.looks == 0 || self.idle > 0 {
            return Some(format!("nothing was read from the disk in {} of {} looks", self.idle, self.looks));
        }
        (others > BUSY_MAX).then(|| format!("the load's core was {:.0} % busy beside the reader", others * 100.0))
    }
}

/// Measures. Whether the promise holds and everything was exact.
pub(crate) fn measure(arguments: &Arguments, rate: u64) -> io::Result<bool> {
    let mut workload = Workload { kept_memory_mib: Some(arguments.memory_mib), ..arguments.workload };
    let server = Server::start(Kind::Trunkline(arguments.one_driver()), &arguments.bin_dir, &workload)?;
    let whole_rounds = |count: u64| count.max(1).next_multiple_of(u64::from(workload.devices));
    let (backlog, uplinks) = (whole_rounds(arguments.backlog), whole_rounds(arguments.span.as_secs() * rate));
    println!(
        "{} gateways, {} devices, {} live streams and one that keeps all of it; one shard, {} MiB of memory for its journal",
        workload.gateways,
        workload.devices,
        workload.streams(),
        arguments.memory_mib
    );
    println!(
        "\nbacklog: {backlog} uplinks; then rounds of {uplinks} at {rate}/s, alone and beside a reader that catches up\n{HEADER}"
    );
    let mut run = |rate: u64, count: u64| {
        let frames = Frames::sign(workload, count);
        let outcome = trial::at(&server, &frames, workload, rate, true);
        workload.fcnt_first += (count / u64::from(workload.devices)) as u32;
        outcome
    };
    let filled = run(rate * FILL_FACTOR, backlog)?;
    println!("{}", row("backlog", &filled));
    let mut held = filled.is_exact();
    let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..arguments.rounds {
        let alone = run(rate, uplinks)?;
        println!("{}", row("alone", &alone));
        server.forget_journal()?;
        let (beside, behind) = beside_a_reader(&server, &arguments.workload, || run(rate, uplinks))?;
        let void = alone.void().or_else(|| behind.void(&beside));
        let void = void.map(|reason| format!("   void: {reason}")).unwrap_or_default();
        println!("{}{void}\n{}", line("beside", &beside), told(&behind));
        held &= alone.is_exact() && beside.is_exact() && behind.caught.wrong == 0;
        if void.is_empty() {
            for (ratios, quantile) in ratios.iter_mut().zip([0.5, 0.99, 0.999]) {
                ratios.push(beside.latency_us(quantile) as f64 / alone.latency_us(quantile) as f64);
            }
        }
    }
    let [p50, p99, p999] = ratios.each_mut().map(|ratios| spread(ratios));
    let (Some(p50), Some(p99), Some(p999)) = (p50, p99, p999) else {
        println!("every round was void");
        return Ok(false);
    };
    println!(
        "\nlive consumers while somebody catches up, against alone: p50 {} x, p99 {} x, p99.9 {} x",
        p50.1, p99.1, p999.1
    );
    held &= verdict(p99.0 <= P99_RATIO_MAX, &format!("p99 of live consumers {} x, promised {P99_RATIO_MAX}", p99.1));
    Ok(held)
}

fn told(behind: &Behind) -> String {
    let mib = |bytes: u64| bytes as f64 / behind.seconds / f64::from(1 << 20);
    let caught = &behind.caught;
    format!(
        "  reader: {:.0} messages/s, {} of them wrong or out of order; {:.1} MiB/s of segments read, {:.1} MiB/s by storage; {:.0} % of the load's core",
        caught.messages as f64 / caught.seconds,
        caught.wrong,
        mib(behind.segment_bytes),
        mib(behind.storage_bytes),
        caught.busy * 100.0
    )
}

/// A trial beside a reader that is behind from its beginning to its end.
fn beside_a_reader(
    server: &Server,
    workload: &Workload,
    trial: impl FnOnce() -> io::Result<Outcome>,
) -> io::Result<(Outcome, Behind)> {
    let (reads_over, looks_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        // However this ends, both threads end too.
        let _ends = Ends([&reads_over, &looks_over]);
        let before = server.done(COUNTER)?;
        let reader = scope.spawn(|| catch_up(server, workload, &reads_over));
        let deadline = Instant::now() + PATIENCE;
        while server.done(COUNTER)? == before && !reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let (began, first, stored) = (Instant::now(), server.done(COUNTER)?, server.storage_read_bytes()?);
        let looks = scope.spawn(|| look(server, &looks_over));
        let outcome = trial()?;
        looks_over.store(true, Ordering::Release);
        let segment_bytes = server.done(COUNTER)? - first;
        let storage_bytes = server.storage_read_bytes()? - stored;
        let seconds = began.elapsed().as_secs_f64();
        reads_over.store(true, Ordering::Release);
        let defect = |_| io::Error::other("a thread of the load ended by a defect");
        let (looks, idle) = looks.join().map_err(defect)??;
        let caught = reader.join().map_err(defect)??;
        Ok((outcome, Behind { caught, segment_bytes, storage_bytes, seconds, looks, idle }))
    })
}

/// Sets its flags when it goes.
struct Ends<'a>([&'a AtomicBool; 2]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|flag| flag.store(true, Ordering::Release));
    }
}

/// Looks at the counter until it is over: how often, and how often it had not moved.
fn look(server: &Server, over: &AtomicBool) -> io::Result<(u32, u32)> {
    let (mut looks, mut idle, mut before) = (0, 0, server.done(COUNTER)?);
    loop {
        thread::sleep(LOOK);
        if over.load(Ordering::Acquire) {
            return Ok((looks, idle));
        }
        let now = server.done(COUNTER)?;
        looks += 1;
        idle += u32::from(now == before);
        before = now;
    }
}
