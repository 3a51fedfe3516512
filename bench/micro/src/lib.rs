//! The kernels that run per message, and whole nodes: what each costs, in operations that are checked.
//!
//! Owns the inputs: one uplink of 20 bytes as a gateway reports it, on its way to a WebSocket frame and a TLS record. Who
//! measures is elsewhere: `benches/kernels.rs` the time, `count` instructions (callgrind) and allocations (`alloc-guard`),
//! which it holds against `budgets`.
//!
//! ```text
//!   prepare -> run (so many times) -> check: the answer is right, and its hash tells two builds apart
//! ```

pub mod budgets;
pub mod count;
mod hop;
mod mqtt_packets;
pub mod node;
mod output;
mod outside;
mod sessions;
mod topics;
mod uplink;

use std::hint::black_box;

/// One thing that is measured.
pub struct Kernel {
    /// What it is called in records and budgets.
    pub name: &'static str,
    /// What one operation does.
    pub what: &'static str,
    /// Whether it takes gigabytes or many seconds to prepare: only for records.
    pub large: bool,
    /// Makes its inputs.
    pub prepare: fn() -> Box<dyn Work>,
}

/// A kernel with its inputs.
pub trait Work {
    /// Does it `count` times.
    fn run(&mut self, count: u64);

    /// The hash of the answer of the last operation, or of all of them.
    ///
    /// # Errors
    /// What is wrong with the answer.
    fn check(&mut self) -> Result<u64, String>;

    /// How many more operations these inputs are good for.
    fn left(&self) -> u64 {
        u64::MAX
    }
}

/// Every kernel, in the order of an uplink's way.
pub const KERNELS: &[Kernel] = &[
    uplink::DATAGRAM,
    uplink::BASE64,
    uplink::PHY,
    hop::HOP,
    sessions::DEDUP,
    sessions::THOUSAND,
    sessions::MILLION,
    sessions::TEN_MILLION,
    topics::MATCH_THOUSANDS,
    topics::MATCH_MILLIONS,
    uplink::MIC,
    uplink::DECRYPT,
    output::TEMPLATE,
    output::WEBSOCKET_FRAME,
    output::WEBSOCKET_UNMASK,
    output::TLS_RECORD,
    output::TLS_RECORD_FULL,
    mqtt_packets::PUBLISH_READ,
    mqtt_packets::PUBLISH_READ_V5,
    mqtt_packets::PUBACK_READ,
    mqtt_packets::PUBLISH_WRITTEN,
    mqtt_packets::PUBLISH_COPIED,
];

/// The kernel of that name.
#[must_use]
pub fn kernel(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.name == name)
}

/// What is counted: callgrind collects from here on until this returns.
#[inline(never)]
pub fn measured(work: &mut dyn Work, count: u64) {
    work.run(black_box(count));
    // Something must come after it, or this would be a jump there and no frame of its own.
    black_box(count);
}

/// A kernel over a state that an operation leaves as good as it found it.
struct Plain<S, O, A> {
    state: S,
    operation: O,
    answer: A,
    expected: Vec<u8>,
}

impl<S, O: Fn(&mut S), A: Fn(&S) -> Vec<u8>> Work for Plain<S, O, A> {
    fn run(&mut self, count: u64) {
        for _ in 0..count {
            (self.operation)(black_box(&mut self.state));
        }
    }

    fn check(&mut self) -> Result<u64, String> {
        let answer = (self.answer)(&self.state);
        if answer == self.expected {
            Ok(fnv(&answer))
        } else {
            Err(format!("answered {answer:02x?}, not {:02x?}", self.expected))
        }
    }
}

/// A kernel of this operation, whose answer afterwards is to be this.
fn plain<S: 'static>(
    state: S,
    operation: impl Fn(&mut S) + 'static,
    answer: impl Fn(&S) -> Vec<u8> + 'static,
    expected: Vec<u8>,
) -> Box<dyn Work> {
    Box::new(Plain { state, operation, answer, expected })
}

/// FNV-1a, enough to tell answers apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_answers_and_answers_the_same() {
        for kernel in KERNELS.iter().filter(|kernel| !kernel.large) {
            let mut work = (kernel.prepare)();
            work.run(1);
            let hash = work.check().unwrap_or_else(|wrong| panic!("{}: {wrong}", kernel.name));
            work.run(100);
            let again = work.check().unwrap_or_else(|wrong| panic!("{}: {wrong}", kernel.name));
            let counts = kernel.name == "dedup";
            assert!(counts || hash == again, "{} changes its mind", kernel.name);
        }
    }

    #[test]
    fn a_wrong_answer_is_said() {
        let mut work = plain(0u8, |answer| *answer = 7, |answer| vec![*answer], vec![7]);
        assert!(work.check().is_err(), "nothing was done yet");
        work.run(1);
        assert!(work.check().is_ok());
    }
}
