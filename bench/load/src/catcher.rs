//! The reader that lags: one session of the stream that keeps everything, from the earliest on and as fast as it can.
//!
//! Owns its connection and the book of what came. It gives way to every other thread of the load's core, so that what it
//! costs the others there is a switch and not a wait.

use crate::consumers::{Consumer, Keys, PING, PONG, READ_BYTES, TEXT, after, frame};
use crate::frames::{dev_eui, number, payload};
use crate::server::Server;
use crate::trial::pin;
use crate::{Workload, clock, plan, thread_time};
use floor::DIGIT_COUNT;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// As little of the core as there is: nice(2).
const NICE: i32 = 19;

/// What the reader got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caught {
    /// Messages, each the one that was to come next of its device.
    pub messages: u64,
    /// Messages that are not what was sent, or not the next of their device.
    pub wrong: u64,
    /// The share of a core that it took.
    pub busy: f64,
    /// Seconds for which it read.
    pub seconds: f64,
}

/// Reads until `over` is set. The first FCnt of every device is zero, and no device leaves one out.
///
/// # Errors
/// A connection that ends, or a server that breaks the protocol.
pub fn catch_up(server: &Server, workload: &Workload, over: &AtomicBool) -> io::Result<Caught> {
    pin();
    // A host that refuses it is measured all the same.
    let _nice = rustix::process::nice(NICE);
    let target = format!("{}&group=lags&from=earliest", plan::KEPT);
    let mut consumer = Consumer::open(server.wss, &server.tls, &target)?;
    let (began, cpu) = (clock(), thread_time());
    let mut next = vec![0; workload.devices as usize];
    let (mut caught, keys, mut cipher) = (Caught::default(), Keys::default(), vec![0; READ_BYTES]);
    while !over.load(Ordering::Acquire) {
        let mut polled = [PollFd::new(&consumer.tcp, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }))?;
        consumer.fill(&mut cipher)?;
        let bytes = std::mem::take(&mut consumer.rest);
        let (mut at, before) = (0, caught);
        while let Some((opcode, from, to)) = frame(&bytes[at..]) {
            let body = &bytes[at + from..at + to];
            at += to;
            match opcode {
                TEXT if is_next(body, workload, &mut next, &keys) => caught.messages += 1,
                TEXT => caught.wrong += 1,
                PING => consumer.say(PONG, body)?,
                _ => return Err(io::Error::other(format!("the server said {opcode:#x}"))),
            }
        }
        consumer.rest = bytes[at..].to_vec();
        let came = caught.messages + caught.wrong;
        if came > before.messages + before.wrong {
            consumer.say(TEXT, format!("{{\"AckThrough\":{came}}}").as_bytes())?;
        }
    }
    caught.seconds = (clock() - began) as f64 / 1e9;
    caught.busy = (thread_time() - cpu).as_secs_f64() / caught.seconds;
    Ok(caught)
}

/// Whether a message is whole and the one that was to come next of its device.
fn is_next(text: &[u8], workload: &Workload, next: &mut [u32], keys: &Keys) -> bool {
    let said = || {
        let eui = std::str::from_utf8(after(text, &keys.device_eui)?.get(..16)?).ok()?;
        let device = u64::from_str_radix(eui, 16).ok()?.checked_sub(dev_eui(0))?;
        let digits = after(text, &keys.fcnt)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        let fcnt = std::str::from_utf8(&digits[..end]).ok()?.parse::<u32>().ok()?;
        let data = after(text, &keys.data)?;
        let number = number(data.get(..DIGIT_COUNT)?)?;
        Some((u32::try_from(device).ok()?, fcnt, data, number))
    };
    let Some((device, fcnt, data, number)) = said() else { return false };
    let Some(next) = next.get_mut(device as usize) else { return false };
    let is_next = fcnt == *next && workload.device(number) == device;
    *next = fcnt + 1;
    is_next && data.starts_with(hex(&payload(number, device)).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_if_it_is_whole_and_its_turn() {
        let workload = Workload { devices: 3, ..Workload::default() };
        let message = |number: u64, fcnt: u32| {
            let device = workload.device(number);
            let (eui, data) = (dev_eui(device), hex(&payload(number, device)));
            format!("{{\"DeviceEUI\":\"{eui:016X}\",\"Data\":\"{data}\",\"FCnt\":{fcnt},\"Id\":\"x\"}}")
        };
        let mut next = [0; 3];
        let keys = Keys::default();
        let mut counts = |text: &str| is_next(text.as_bytes(), &workload, &mut next, &keys);
        assert!(counts(&message(1, 0)) && counts(&message(2, 0)) && counts(&message(4, 1)));
        assert!(!counts(&message(4, 1)), "once");
        assert!(!counts(&message(5, 2)), "one of its device is missing");
        assert!(counts(&message(5, 3)), "and the next one is in order again");
        assert!(!counts(&message(0, 0).replace("Data\":\"1", "Data\":\"2")) && !counts("{}"), "not what was sent");
    }
}
