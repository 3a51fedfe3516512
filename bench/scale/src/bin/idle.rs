//! `trunkline-idle`: what connections that are idle take of a dataplane, with TLS and without, from a thousand to as many as
//! a process may have descriptors. Processor time as well, with every ping answered. In the end each gets one message.
//!
//! ```text
//!   steps: 1, 1 000, 6 000 ... connections -> resident memory at each -> what one more takes, between two steps
//! ```
//! Pools become resident as they are first used, whatever the number of connections: the one that is opened first asks for
//! signs of life until every buffer was in use, and what the others take counts from there. What is promised of one is judged
//! after every connection was pinged, for which room is borrowed from pools; that one more takes no more than one before is
//! judged before that, from the first step on.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use rustix::event::epoll;
use rustls::ClientConfig;
use scale::devices::fcnt_first;
use scale::options::Options;
use scale::prepare::prepare;
use scale::process::{Dataplane, Home};
use scale::socket::Socket;
use scale::traffic::{came, send};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uring::HostLimits;

/// What is promised: bytes of our memory for one.
const WSS_BYTES_MAX: f64 = 10.0 * 1024.0;
const PLAIN_BYTES_MAX: f64 = 1024.0;

/// What one more takes at most at one step, against the least at another.
const FLAT_RATIO_MAX: f64 = 1.25;

/// Below so many nothing is promised: pages and the allocator's own steps are as large.
const JUDGED_MIN: usize = 10_000;

/// After the last of a step, before memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Connections that are opened before those that wait are looked after.
const BATCH: usize = 100;

/// More than a shard has buffers to receive into, which take turns.
const WARMING_COUNT: u32 = 5000;

const DEVICES: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// For which idle connections are watched, unless told otherwise: each is pinged once a minute.
const SECONDS: u64 = 65;

const USAGE: &str = "\
Usage: trunkline-idle [OPTIONS]
  --steps N,N,...   Connections at which it is looked (1000,6000,12000,18000).
  --seconds S       For which idle connections are watched (65).
  --dir DIR         Where data may be put (the system's folder for what is temporary).
  --bin-dir DIR     Where trunkline-dataplane is (beside this program).
  --driver WHICH    What the dataplane runs on: uring (if nothing is said) or glommio, if it was built with it.
  --json FILE       Writes the figures there.
";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1), SECONDS) {
        Ok(options) => options,
        Err(wrong) => {
            eprint!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<bool> {
    let limits = HostLimits::raise();
    println!("{} descriptors for each process", limits.nofile);
    fs::create_dir_all(&options.dir)?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let home = Home::new(folder.path(), &options.bin_dir, &options.driver)?;
    prepare(&home, "idle", DEVICES)?;
    let plain = measure(options, &home, &Kind { name: "plain WebSocket", tls: None, device: 0 })?;
    let tls = Some(Arc::clone(&home.tls));
    let wss = measure(options, &home, &Kind { name: "secure WebSocket, TLS 1.3", tls, device: 1 })?;
    let last = options.steps.last().copied().unwrap_or_default();
    println!(
        "\nof a secure one TLS takes {:.0} bytes: rustls, its ciphers, and the box it is in",
        wss.slope - plain.slope
    );
    if let Some(path) = &options.json {
        let figures = serde_json::json!({
            "connections": last,
            "bytes_per_idle_ws": plain.slope,
            "bytes_per_idle_wss": wss.slope,
            "resident_by_connections_ws": plain.resident,
            "resident_by_connections_wss": wss.resident,
            "bytes_per_idle_ws_by_step": plain.by_step,
            "bytes_per_idle_wss_by_step": wss.by_step,
            "bytes_per_idle_ws_with_pools": plain.with_pools,
            "bytes_per_idle_wss_with_pools": wss.with_pools,
            "bytes_per_idle_wss_of_tls": wss.slope - plain.slope,
            "idle_cpu_share_ws": plain.cpu_share,
            "idle_cpu_share_wss": wss.cpu_share,
            "messages_ws": plain.messages,
            "messages_wss": wss.messages,
        });
        fs::write(path, format!("{figures:#}\n"))?;
    }
    let exact = [&plain, &wss].iter().all(|measured| measured.messages == last);
    let mut held = verdict(exact, "every connection got one message in the end");
    if last < JUDGED_MIN {
        println!("nothing more is promised of fewer than {JUDGED_MIN} connections");
        return Ok(held);
    }
    for (measured, most, name) in [(&plain, PLAIN_BYTES_MAX, "plain"), (&wss, WSS_BYTES_MAX, "secure")] {
        let what = format!("{:.0} bytes for one that is {name}, promised {most:.0}", measured.slope);
        held &= verdict(measured.slope <= most, &what);
        let (least, most) = measured
            .by_step
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), step| (least.min(*step), most.max(*step)));
        if measured.by_step.len() < 2 {
            println!("{name}: they were opened too slowly to say whether it is flat");
            continue;
        }
        let what = format!("flat: one more that is {name} takes {least:.0} to {most:.0} bytes, by step");
        held &= verdict(most <= least * FLAT_RATIO_MAX, &what);
    }
    Ok(held)
}

/// Which connections.
struct Kind {
    name: &'static str,
    tls: Option<Arc<ClientConfig>>,
    /// Whose uplink all of them get in the end.
    device: u64,
}

/// What was measured of connections of one kind.
struct Measured {
    /// Bytes of one, between one and all of them, each pinged.
    slope: f64,
    /// The same between each two steps, as long as none was pinged.
    by_step: Vec<f64>,
    /// Connections, and resident bytes of the whole dataplane with them.
    resident: Vec<(usize, u64)>,
    /// Bytes of one with its share of the pools: all of them, over a process that has none.
    with_pools: f64,
    /// The share of a core that a dataplane takes with all of them idle.
    cpu_share: f64,
    /// Connections that got exactly one message.
    messages: usize,
}

fn measure(options: &Options, home: &Home, kind: &Kind) -> io::Result<Measured> {
    let dataplane = home.start("idle", DEVICES)?;
    dataplane.scrape()?;
    let empty = dataplane.resident_bytes()?;
    let mut crowd = Crowd::new()?;
    crowd.grow(&dataplane, kind.tls.as_ref(), 1)?;
    for _ in 0..WARMING_COUNT {
        crowd.sockets[0].ping()?;
    }
    let first = (1, dataplane.resident_bytes()?);
    println!(
        "\n{}: {} KiB without a connection, {} KiB with one and its pools in use",
        kind.name,
        empty >> 10,
        first.1 >> 10
    );
    println!("  connections   resident KiB   bytes for one more   opened in   pings until then");
    let (mut before, mut by_step, mut resident) = (first, Vec::new(), vec![first]);
    for step in &options.steps {
        let since = Instant::now();
        crowd.grow(&dataplane, kind.tls.as_ref(), *step)?;
        let took = since.elapsed().as_secs_f64();
        crowd.serve(SETTLE)?;
        let now = (*step, dataplane.resident_bytes()?);
        let more = slope(before, now);
        println!("  {step:>11}   {:>12}   {more:>18.0}   {took:>7.1} s   {:>16}", now.1 >> 10, crowd.pings);
        if before != first && crowd.pings == 0 {
            by_step.push(more);
        }
        before = now;
        resident.push(now);
    }
    let count = before.0;
    let (cpu, since) = (dataplane.cpu()?, Instant::now());
    crowd.serve(Duration::from_secs(options.seconds))?;
    let cpu_share = (dataplane.cpu()?.saturating_sub(cpu)).as_secs_f64() / since.elapsed().as_secs_f64();
    let bytes = dataplane.resident_bytes()?;
    let slope = slope(first, (count, bytes));
    println!(
        "  idle: {:.2} % of a core, {} pings answered; then {} KiB, {slope:.0} bytes for one",
        cpu_share * 100.0,
        crowd.pings,
        bytes >> 10
    );
    let messages = crowd.message(&dataplane, kind.device)?;
    println!("  one uplink: {messages} of {count} connections got it, once");
    drop(crowd);
    dataplane.stop()?;
    let with_pools = bytes.saturating_sub(empty) as f64 / count as f64;
    Ok(Measured { slope, by_step, resident, with_pools, cpu_share, messages })
}

/// Bytes for one more, between two counts of connections.
fn slope((count, bytes): (usize, u64), (more_count, more_bytes): (usize, u64)) -> f64 {
    (more_bytes as f64 - bytes as f64) / (more_count - count) as f64
}

/// All connections.
struct Crowd {
    sockets: Vec<Socket>,
    /// By connection: messages that it got.
    messages: Vec<u32>,
    wrong: u64,
    /// The device whose uplink is right.
    expected: u64,
    pings: u64,
    epoll: OwnedFd,
}

impl Crowd {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { sockets: Vec::new(), messages: Vec::new(), wrong: 0, expected: 0, pings: 0, epoll })
    }

    fn grow(&mut self, dataplane: &Dataplane, tls: Option<&Arc<ClientConfig>>, count: usize) -> io::Result<()> {
        let server = if tls.is_some() { dataplane.wss } else { dataplane.plain };
        while self.sockets.len() < count {
            let socket = Socket::open(server, tls)?;
            let data = epoll::EventData::new_u64(self.sockets.len() as u64);
            epoll::add(&self.epoll, socket.tcp(), data, epoll::EventFlags::IN)?;
            self.sockets.push(socket);
            self.messages.push(0);
            if self.sockets.len().is_multiple_of(BATCH) {
                self.serve(Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Takes what comes, for a while; answers pings.
    fn serve(&mut self, span: Duration) -> io::Result<()> {
        let end = Instant::now() + span;
        let mut events = Vec::with_capacity(1024);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = left.try_into().map_err(io::Error::other)?;
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                let (messages, wrong, expected) = (&mut self.messages[index], &mut self.wrong, self.expected);
                self.pings += self.sockets[index].take(|text| match came(text) {
                    Some((device, _)) if device == expected => *messages += 1,
                    _ => *wrong += 1,
                })?;
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Sends one uplink and has every connection hear it. Says how many did, exactly once and as it was sent.
    fn message(&mut self, dataplane: &Dataplane, device: u64) -> io::Result<usize> {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.connect(dataplane.udp)?;
        self.expected = device;
        send(&udp, device, fcnt_first(device))?;
        let since = Instant::now();
        while self.messages.contains(&0) && since.elapsed() < PATIENCE {
            self.serve(Duration::from_millis(50))?;
        }
        // What comes again would come soon.
        self.serve(Duration::from_millis(200))?;
        if self.wrong > 0 {
            return Err(io::Error::other(format!("{} messages are not what was sent", self.wrong)));
        }
        Ok(self.messages.iter().filter(|count| **count == 1).count())
    }
}

fn verdict(holds: bool, what: &str) -> bool {
    println!("{} {what}", if holds { "held  " } else { "MISSED" });
    holds
}
