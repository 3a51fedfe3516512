//! Traffic as fast as the dataplane takes it: a fixed number of uplinks is under way, and each that comes back makes room
//! for the next.
//!
//! Owns one UDP socket for all gateways, one consumer, and each device's FCnt. Frames are made as they are sent. Every
//! message that comes is compared with what was sent.
//!
//! ```text
//!   frame of the next device ─UDP─▶ dataplane ─WSS─▶ consumer: whose, which FCnt, which bytes ─▶ room for the next
//! ```
//! A closed loop finds the highest rate at once, and says nothing of latency: `bench load` does, by an open one.

use crate::devices::{PHY_BYTES, dev_eui, fcnt_first, frame, gateway_eui, payload};
use crate::process::Dataplane;
use crate::socket::Socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConfig;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Uplinks under way.
const WINDOW: usize = 512;

/// Datagrams between two looks at what has come.
const BURST: usize = 32;

/// After so long what is under way is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the first uplink is sent again until it comes.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

const FIRST_PATIENCE: Duration = Duration::from_secs(120);

/// Which of all devices send, one after the other.
#[derive(Clone, Debug)]
pub struct Spread {
    all: u64,
    count: u64,
    stride: u64,
    next: u64,
}

impl Spread {
    /// `count` of `all` devices, each once before the first comes again, and no two neighbours in a row.
    #[must_use]
    pub fn new(all: u64, count: u64) -> Self {
        let mut stride = ((count as f64 * 0.618) as u64).max(1);
        while gcd(stride, count) != 1 {
            stride += 1;
        }
        Self { all, count, stride, next: 0 }
    }

    /// The next device.
    pub fn take(&mut self) -> u64 {
        let place = (u128::from(self.next) * u128::from(self.stride) % u128::from(self.count)) as u64;
        self.next += 1;
        (u128::from(place) * u128::from(self.all) / u128::from(self.count)) as u64
    }

    /// Different devices that have sent.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.next.min(self.count)
    }
}

const fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// What a trial came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Uplinks that came, and were right.
    pub heard: u64,
    /// Uplinks that never came.
    pub lost: u64,
    /// Messages that are not what was sent, or came again.
    pub wrong: u64,
    /// Uplinks per second.
    pub rate: f64,
    /// Processor time of the dataplane for one, microseconds.
    pub cpu_us: f64,
    /// The share of time in which the dataplane had a core.
    pub busy: f64,
    /// The same of this load.
    pub load_busy: f64,
}

/// Gateways, devices and the consumer.
pub struct Traffic {
    udp: UdpSocket,
    consumer: Socket,
    /// By device: uplinks sent.
    sent: Vec<u32>,
    /// By device: the FCnt that is under way.
    open: HashMap<u64, u32>,
    wrong: u64,
}

impl Traffic {
    /// Opens both ends; the devices are the first `count`.
    ///
    /// # Errors
    /// What the host or the dataplane refuses.
    pub fn open(dataplane: &Dataplane, tls: &Arc<ClientConfig>, count: u64) -> io::Result<Self> {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.connect(dataplane.udp)?;
        let consumer = Socket::open(dataplane.wss, Some(tls))?;
        Ok(Self { udp, consumer, sent: vec![0; count as usize], open: HashMap::new(), wrong: 0 })
    }

    /// Sends one uplink until it comes: what a dataplane that just started does not know yet it drops.
    ///
    /// # Errors
    /// If it does not come, or is not what was sent.
    pub fn first(&mut self, device: u64) -> io::Result<()> {
        let start = Instant::now();
        let fcnt = self.next_fcnt(device);
        while !self.open.is_empty() {
            if start.elapsed() > FIRST_PATIENCE {
                return Err(io::Error::other("the first uplink never came"));
            }
            send(&self.udp, device, fcnt)?;
            let since = Instant::now();
            while !self.open.is_empty() && since.elapsed() < FIRST_INTERVAL {
                self.wait(Duration::from_millis(1))?;
                self.hear()?;
            }
        }
        if self.wrong == 0 { Ok(()) } else { Err(io::Error::other("the first uplink is not what was sent")) }
    }

    /// Keeps the window full for a while.
    ///
    /// # Errors
    /// What the host or the dataplane refuses.
    pub fn run(&mut self, spread: &mut Spread, span: Duration, dataplane: &Dataplane) -> io::Result<Outcome> {
        // No device may have two under way.
        let window = WINDOW.min(spread.count as usize / 2).max(1);
        let mut outcome = Outcome::default();
        let (cpu, own, start) = (dataplane.cpu()?, thread_time(), Instant::now());
        let (mut sent, mut heard_at) = (0, start);
        loop {
            let over = start.elapsed() >= span;
            if over && self.open.is_empty() {
                break;
            }
            let room = if over { 0 } else { window - self.open.len() };
            for _ in 0..room.min(BURST) {
                let device = spread.take();
                let fcnt = self.next_fcnt(device);
                send(&self.udp, device, fcnt)?;
                sent += 1;
            }
            if room < BURST {
                self.wait(Duration::from_millis(10))?;
            }
            if self.hear()? > 0 {
                heard_at = Instant::now();
            } else if heard_at.elapsed() > PATIENCE {
                outcome.lost += self.open.len() as u64;
                self.open.clear();
                heard_at = Instant::now();
            }
        }
        let took = start.elapsed().as_secs_f64();
        let cpu = dataplane.cpu()?.saturating_sub(cpu).as_secs_f64();
        outcome.wrong = std::mem::take(&mut self.wrong);
        outcome.heard = sent - outcome.lost;
        outcome.rate = outcome.heard as f64 / took;
        outcome.cpu_us = cpu * 1e6 / outcome.heard.max(1) as f64;
        outcome.busy = cpu / took;
        outcome.load_busy = (thread_time() - own).as_secs_f64() / took;
        Ok(outcome)
    }

    fn next_fcnt(&mut self, device: u64) -> u32 {
        let sent = &mut self.sent[device as usize];
        let fcnt = fcnt_first(device) + *sent;
        *sent += 1;
        self.open.insert(device, fcnt);
        fcnt
    }

    fn wait(&self, patience: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        poll(&mut [PollFd::new(self.consumer.tcp(), PollFlags::IN)], Some(&timeout))?;
        Ok(())
    }

    /// Takes what came. Returns how many uplinks that were under way.
    fn hear(&mut self) -> io::Result<u64> {
        let (open, wrong) = (&mut self.open, &mut self.wrong);
        let mut heard = 0;
        self.consumer.take(|text| match came(text).filter(|(device, fcnt)| open.get(device) == Some(fcnt)) {
            Some((device, _)) => {
                open.remove(&device);
                heard += 1;
            }
            None => *wrong += 1,
        })?;
        Ok(heard)
    }
}

/// Sends an uplink by a gateway that hears this device; the socket is connected.
///
/// # Errors
/// What the host refuses.
pub fn send(udp: &UdpSocket, device: u64, fcnt: u32) -> io::Result<()> {
    let mut room = [0; DATAGRAM_BYTES_MAX];
    let count = datagram(device, fcnt, &mut room)?;
    udp.send(&room[..count]).map(drop)
}

/// The device and the FCnt of a message, if it is whole and its payload is theirs.
#[must_use]
pub fn came(text: &[u8]) -> Option<(u64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let eui = u64::from_str_radix(after(text, "\"DeviceEUI\":\"")?.get(..16)?, 16).ok()?;
    let device = eui.checked_sub(dev_eui(0).to_u64())?;
    let fcnt: u32 = after(text, "\"FCnt\":")?.split([',', '}']).next()?.parse().ok()?;
    let data = after(text, "\"Data\":\"")?.split('"').next()?;
    let payload = payload(device, fcnt);
    let mut digits = data.as_bytes().chunks_exact(2);
    let equal = |byte: &u8| digits.next().is_some_and(|pair| pair == hex(*byte));
    (data.len() == payload.len() * 2 && payload.iter().all(equal)).then_some((device, fcnt))
}

const fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// What stands behind the first `key`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, behind)| behind)
}

const DATAGRAM_BYTES_MAX: usize = 320;

/// PUSH_DATA with one uplink, by a gateway that hears this device. Returns its length.
fn datagram(device: u64, fcnt: u32, out: &mut [u8]) -> io::Result<usize> {
    let mut rest = &mut out[..];
    let room = rest.len();
    rest.write_all(&[2, device as u8, fcnt as u8, 0])?;
    rest.write_all(&gateway_eui(device).to_be_bytes())?;
    write!(
        rest,
        r#"{{"rxpk":[{{"tmst":{},"chan":0,"rfch":0,"freq":868.100000,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","lsnr":9.5,"rssi":-57,"size":33,"data":""#,
        device as u32
    )?;
    rest.write_all(&base64(&frame(device, fcnt)))?;
    rest.write_all(br#""}]}"#)?;
    Ok(room - rest.len())
}

const BASE64_BYTES: usize = PHY_BYTES / 3 * 4;
const _: () = assert!(PHY_BYTES == 33, "as `size` says, and whole groups of three bytes");

/// Base64 (RFC 4648 §4) of whole groups of three bytes.
fn base64(phy: &[u8; PHY_BYTES]) -> [u8; BASE64_BYTES] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = [0; BASE64_BYTES];
    for (group, target) in phy.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
        let word = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for (index, digit) in target.iter_mut().enumerate() {
            *digit = DIGITS[(word >> (18 - 6 * index) & 63) as usize];
        }
    }
    out
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_device_sends_once_before_the_first_comes_again() {
        for (all, count) in [(1000, 1000), (10_000, 1000), (77, 7), (10, 1)] {
            let mut spread = Spread::new(all, count);
            let devices: BTreeSet<u64> = (0..count).map(|_| spread.take()).collect();
            assert_eq!(devices.len() as u64, count);
            assert!(devices.iter().all(|device| *device < all));
            assert!(*devices.last().expect("one at least") >= (all - 1) / count * (count - 1));
        }
    }

    #[test]
    fn only_the_payload_of_its_device_and_fcnt_is_right() {
        let data: String = payload(5, 9).iter().map(|byte| format!("{byte:02X}")).collect();
        let message = |eui: u64, fcnt: u32| format!(r#"{{"DeviceEUI":"{eui:016X}","Data":"{data}","FCnt":{fcnt}}}"#);
        let eui = dev_eui(5).to_u64();
        assert_eq!(came(message(eui, 9).as_bytes()), Some((5, 9)));
        assert_eq!(came(message(eui, 8).as_bytes()), None);
        assert_eq!(came(message(eui + 1, 9).as_bytes()), None);
        assert_eq!(came(b"{}"), None);
    }

    #[test]
    fn a_datagram_has_room() {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let count = datagram(9_999_999, u32::MAX, &mut out).expect("room");
        assert!(out[..count].ends_with(b"\"}]}"));
    }
}
