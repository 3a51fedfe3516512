//! An open-loop load: gateways over Semtech UDP at an absolute schedule, consumers over secure WebSocket that check every
//! message, and the server between them as a process of its own.
//!
//! Owns the workload. What is late is late for everything that came due meanwhile: there is no coordinated omission.
//!
//! ```text
//!   frames: signed before the clock starts ─▶ gateways: due by the clock ─UDP─▶ server ─WSS─▶ consumers: which, when, whole
//! ```

pub mod catcher;
pub mod consumers;
pub mod frames;
pub mod gateways;
pub mod plan;
pub mod server;
pub mod stages;
pub mod trial;

use std::time::Duration;

/// What comes. The default is the canonical workload.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Gateways.
    pub gateways: u32,
    /// Devices, personalised, each with its session.
    pub devices: u32,
    /// Devices of one application, which has one stream, which has one consumer.
    pub devices_per_stream: u32,
    /// One uplink in this many comes by three gateways.
    pub copies_every: u32,
    /// One uplink in this many asks for an acknowledgement.
    pub confirmed_every: u32,
    /// The FCnt with which devices begin: a server that has heard of them wants later ones.
    pub fcnt_first: u32,
    /// A durable stream of the tenant keeps every uplink too, and the journal has this much memory, MiB.
    pub kept_memory_mib: Option<u32>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            gateways: 1000,
            devices: 10_000,
            devices_per_stream: 1000,
            copies_every: 5,
            confirmed_every: 20,
            fcnt_first: 0,
            kept_memory_mib: None,
        }
    }
}

impl Workload {
    /// Streams, each with a consumer.
    #[must_use]
    pub const fn streams(&self) -> u32 {
        self.devices.div_ceil(self.devices_per_stream)
    }

    /// The device of an uplink.
    #[must_use]
    pub const fn device(&self, number: u64) -> u32 {
        (number % self.devices as u64) as u32
    }

    /// The frame counter of an uplink.
    #[must_use]
    pub const fn fcnt(&self, number: u64) -> u32 {
        self.fcnt_first + (number / self.devices as u64) as u32
    }

    /// The stream that carries an uplink.
    #[must_use]
    pub const fn stream(&self, number: u64) -> u32 {
        self.device(number) / self.devices_per_stream
    }

    /// By how many gateways an uplink comes.
    #[must_use]
    pub const fn copies(&self, number: u64) -> u32 {
        if self.round(number).is_multiple_of(self.copies_every as u64) { 3 } else { 1 }
    }

    /// Whether an uplink asks for an acknowledgement.
    #[must_use]
    pub const fn confirmed(&self, number: u64) -> bool {
        self.round(number).is_multiple_of(self.confirmed_every as u64)
    }

    /// A number that wanders over devices as rounds go by, so that it is not the same devices that are heard thrice.
    const fn round(&self, number: u64) -> u64 {
        number + number / self.devices as u64
    }
}

/// How an uplink's number stands in its payload and in `tmst`, so that both servers carry it: ten decimal digits.
pub const NUMBER_BASE: u64 = 1_000_000_000;

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The monotonic clock, nanoseconds: the same for threads and processes.
pub(crate) fn clock() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
