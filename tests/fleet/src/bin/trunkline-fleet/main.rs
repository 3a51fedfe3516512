//! `trunkline-fleet`: simulated gateways and devices over real UDP sockets.
//!
//! Owns sockets, threads and the clock; what is said is the library's business. One thread waits on each socket, the
//! main thread drives the fleet. Ends on SIGINT, SIGTERM, or, with `--until-eof`, at the end of standard input.
//!
//! ```text
//!   socket threads --datagram--\
//!   stdin thread   --command----> channel -> main: Fleet::handle, poll -> sockets
//!   signal thread  --stop------/
//! ```

mod report;
mod roster;
mod state;

use base::{Eui64, Monotonic, UnixMicros};
use clap::Parser;
use fleet::{Fleet, GatewayConfig, Input, Output, Socket, Traffic};
use lorawan::Region;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{BufRead as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often what must survive is written to the state file.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// Simulated LoRaWAN gateways and devices that speak Semtech UDP to a server.
#[derive(Parser)]
#[command(name = "trunkline-fleet", version)]
struct Options {
    /// The server's Semtech UDP address.
    #[arg(long, default_value = "127.0.0.1:1700", value_name = "HOST:PORT")]
    server: String,
    /// How many gateways; their EUIs are B827EBFFFE000001 and on.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    gateways: u32,
    /// EUIs of the gateways, in place of --gateways; may be repeated.
    #[arg(long = "gateway", value_name = "EUI")]
    gateway_euis: Vec<Eui64>,
    /// JSON file: an array of devices, or {"gateways": [EUI, ...], "devices": [...]}. A device has dev_eui and either
    /// join_eui and app_key, or dev_addr, nwk_s_key and app_s_key (or these under "otaa", "abp"); and, if it likes,
    /// region, sub_bands, mac_version, data_rate, adr, fcnt_up.
    #[arg(long, value_name = "FILE")]
    devices: PathBuf,
    /// Where nonces, sessions and counters are kept across runs.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Mean time between a device's uplinks, as 500ms, 2s or 1m; 0 lets devices speak only when told to.
    #[arg(long, default_value = "10s", value_parser = duration)]
    interval: Duration,
    /// How many uplinks of a hundred are confirmed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    confirmed_percent: u8,
    /// How many uplinks of a hundred carry LinkCheckReq or DeviceTimeReq.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    request_percent: u8,
    /// Frames of a hundred that each link loses, each way.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    loss_percent: u8,
    /// Most bytes of a payload.
    #[arg(long, default_value_t = 24, value_name = "BYTES")]
    payload_max: u8,
    /// Most gateways that hear one device.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    heard_by_max: usize,
    /// Region of gateways, and of devices that name none.
    #[arg(long, default_value = "EU868", value_parser = region)]
    region: Region,
    /// US915: sub-bands of gateways, and of devices that name none; bit n is sub-band n+1, 0 is all.
    #[arg(long, default_value_t = 0, value_name = "BITS")]
    sub_bands: u8,
    /// Semtech UDP version.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    protocol: u8,
    /// The same seed makes the same fleet; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Write one JSON object per line for everything that happens to a device.
    #[arg(long, short)]
    verbose: bool,
    /// End at the end of standard input. Until then each of its lines is a message to send:
    /// {"dev_eui": "...", "fport": 1, "payload": "hex", "confirmed": false}
    #[arg(long)]
    until_eof: bool,
}

enum Event {
    Datagram { gateway: usize, bytes: Vec<u8> },
    Command(String),
    Stop,
}

/// A gateway's two sockets, as a packet forwarder has them.
struct Sockets {
    up: UdpSocket,
    down: UdpSocket,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "trunkline-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let server = resolve(&options.server)?;
    let roster = roster::read(&options.devices, options.region, options.sub_bands)?;
    let mut saved = options.state.as_deref().map(state::State::read).transpose()?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock stands before 1970".to_owned())?;
    let (started, epoch) = (Instant::now(), UnixMicros(unix.as_micros() as u64));
    let seed = options.seed.unwrap_or(unix.as_nanos() as u64 ^ u64::from(std::process::id()) << 32);
    let (sender, events) = channel();
    stop_on_signals(sender.clone())?;

    let mut fleet = Fleet::new(seed, epoch);
    let mut sockets = Vec::new();
    for eui in gateway_euis(options, &roster) {
        let config = GatewayConfig {
            version: options.protocol,
            sub_bands: options.sub_bands,
            ..GatewayConfig::new(eui, options.region)
        };
        let index = fleet.add_gateway(config, Monotonic(0));
        sockets.push(open(server, index, &sender)?);
    }
    let traffic = (!options.interval.is_zero()).then_some(Traffic {
        interval: options.interval,
        confirmed_percent: options.confirmed_percent,
        request_percent: options.request_percent,
        payload_bytes: (1.min(options.payload_max), options.payload_max),
    });
    for entry in &roster.devices {
        let config = fleet::DeviceConfig { traffic, rejoin_after: 2, ..entry.config };
        let mut device = fleet::Device::new(config, seed, Monotonic(0));
        let known = saved.as_ref().and_then(|state| state.of(config.dev_eui, &device.saved()));
        if let Some(known) = known.or_else(|| entry.starting_with(&device)) {
            device.restore(&known);
        }
        let links = fleet.random_links(options.heard_by_max, options.loss_percent);
        fleet.add_prepared(device, links, Monotonic(0));
    }
    if options.until_eof {
        read_commands(sender);
    }
    let counts = format!("{} gateways and {} devices", fleet.gateway_count(), fleet.device_count());
    let _ = writeln!(std::io::stderr(), "trunkline-fleet: {counts} speak to {server} (seed {seed})");

    drive(&mut fleet, &events, &sockets, started, options.verbose, &mut saved)?;
    report::totals(&fleet.totals());
    saved.map_or(Ok(()), |mut state| state.write(&fleet, true))
}

/// The loop: hand in what came, carry out what is wanted, sleep until the next deadline.
fn drive(
    fleet: &mut Fleet,
    events: &Receiver<Event>,
    sockets: &[Sockets],
    started: Instant,
    verbose: bool,
    saved: &mut Option<state::State>,
) -> Result<(), String> {
    let now = || Monotonic(started.elapsed().as_nanos() as u64);
    let mut save_at = now();
    loop {
        while let Some(output) = fleet.poll() {
            match output {
                Output::Datagram { gateway, socket, bytes } => {
                    let sockets = &sockets[gateway];
                    // A server that is away refuses datagrams; a forwarder goes on, and so do we.
                    let _ = match socket {
                        Socket::Up => sockets.up.send(&bytes),
                        Socket::Down => sockets.down.send(&bytes),
                    };
                }
                Output::Device { device, event } if verbose => report::device(fleet.device(device), &event),
                Output::Refused { gateway, refusal } if verbose => {
                    report::refused(fleet.gateway(gateway).config().eui, refusal);
                }
                Output::Device { .. } | Output::Refused { .. } => {}
            }
        }
        if let Some(state) = saved.as_mut().filter(|_| now() >= save_at) {
            state.write(fleet, false)?;
            save_at = now().after(SAVE_INTERVAL);
        }
        let due = fleet.deadline().min(if saved.is_some() { save_at } else { Monotonic::NEVER });
        let wait = due.since(now()).min(SAVE_INTERVAL);
        match events.recv_timeout(wait) {
            Ok(Event::Datagram { gateway, bytes }) => {
                fleet.handle(Input::Datagram { gateway, bytes: &bytes }, now());
            }
            Ok(Event::Command(line)) => match roster::command(&line, fleet) {
                Ok((device, message)) => fleet.handle(Input::Send { device, message }, now()),
                Err(error) => {
                    let _ = writeln!(std::io::stderr(), "trunkline-fleet: {error}");
                }
            },
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => fleet.handle(Input::Due, now()),
        }
    }
}

fn resolve(server: &str) -> Result<SocketAddr, String> {
    let mut addresses = server.to_socket_addrs().map_err(|error| format!("--server {server}: {error}"))?;
    addresses.next().ok_or_else(|| format!("--server {server}: no address"))
}

fn gateway_euis(options: &Options, roster: &roster::Roster) -> Vec<Eui64> {
    if !options.gateway_euis.is_empty() {
        options.gateway_euis.clone()
    } else if !roster.gateways.is_empty() {
        roster.gateways.clone()
    } else {
        (1..=u64::from(options.gateways)).map(|number| Eui64::new(0xB827_EBFF_FE00_0000 + number)).collect()
    }
}

fn open(server: SocketAddr, gateway: usize, sender: &Sender<Event>) -> Result<Sockets, String> {
    let socket = || -> std::io::Result<UdpSocket> {
        let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(local)?;
        socket.connect(server)?;
        let (reader, sender) = (socket.try_clone()?, sender.clone());
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || listen(&reader, gateway, &sender))?;
        Ok(socket)
    };
    let pair = socket().and_then(|up| Ok(Sockets { up, down: socket()? }));
    pair.map_err(|error| format!("sockets of gateway {gateway}: {error}"))
}

fn listen(socket: &UdpSocket, gateway: usize, sender: &Sender<Event>) {
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer) {
            Ok(count) => {
                if sender.send(Event::Datagram { gateway, bytes: buffer[..count].to_vec() }).is_err() {
                    return;
                }
            }
            // Refused: the server is away. Do not spin while the kernel says so.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn stop_on_signals(sender: Sender<Event>) -> Result<(), String> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = sender.send(Event::Stop);
        }
    });
    Ok(())
}

fn read_commands(sender: Sender<Event>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
            if sender.send(Event::Command(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Stop);
    });
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "a number and a unit, as 500ms, 2s or 1m".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("{unit} is no unit of time: ms, s or m")),
    }
}

fn region(text: &str) -> Result<Region, String> {
    Region::of_name(text).ok_or_else(|| {
        let names: Vec<&str> = Region::ALL.iter().map(|region| region.name()).collect();
        format!("known regions: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let check = |text, expected| assert_eq!(duration(text).ok(), expected, "{text}");
        check("500ms", Some(Duration::from_millis(500)));
        check("2s", Some(Duration::from_secs(2)));
        check("2", Some(Duration::from_secs(2)));
        check("3m", Some(Duration::from_secs(180)));
        check("0", Some(Duration::ZERO));
        check("s", None);
        check("2h", None);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
