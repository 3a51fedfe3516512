//! A virtual TCP connection: two ordered lanes of bytes, each with a window, an end and a death.
//!
//! Owns no clock: the network says when a segment arrives. Whoever writes sees only what room there is.
//!
//! ```text
//!   write -> flying (segments under way) -> arrived -> read        flying + arrived <= window
//! ```

use crate::network::HostIndex;
use base::Monotonic;
use driver::Listener;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Weak;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From the client to the host.
    Up,
    /// From the host to the client.
    Down,
}

/// What a segment carries besides bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    None,
    Fin,
    Reset,
}

/// Why a lane brings nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The other side has finished sending.
    Finished,
    /// The other side has reset the connection.
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    arrived: VecDeque<u8>,
    flying: usize,
    /// When the last segment that is under way arrives: none overtakes another.
    pub(crate) last: Monotonic,
    pub(crate) ended: Option<Ended>,
    /// The sender has said its last word.
    pub(crate) shut: bool,
}

impl Lane {
    /// Bytes that may be written now.
    pub(crate) fn room(&self, window: usize) -> usize {
        if self.shut { 0 } else { window.saturating_sub(self.flying + self.arrived.len()) }
    }

    /// Bytes set out.
    pub(crate) fn depart(&mut self, count: usize) {
        self.flying += count;
    }

    /// A segment is there.
    pub(crate) fn arrive(&mut self, bytes: &[u8], mark: Mark) {
        self.flying -= bytes.len();
        if self.ended.is_some() {
            return;
        }
        self.arrived.extend(bytes);
        match mark {
            Mark::None => {}
            Mark::Fin => self.ended = Some(Ended::Finished),
            Mark::Reset => {
                // What was not read yet is gone with the connection.
                self.arrived.clear();
                self.ended = Some(Ended::Reset);
            }
        }
    }

    /// Bytes that can be read.
    pub(crate) fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// Reads into the whole of `target`, which is no longer than what waits.
    pub(crate) fn read(&mut self, target: &mut [u8]) {
        let count = target.len();
        for (byte, arrived) in target.iter_mut().zip(self.arrived.drain(..count)) {
            *byte = arrived;
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) host: HostIndex,
    /// The host's life in which it was accepted; later lives know nothing of it.
    pub(crate) life: u32,
    pub(crate) listener: Listener,
    pub(crate) peer: SocketAddr,
    pub(crate) up: Lane,
    pub(crate) down: Lane,
    /// While no host has it: what its owner holds.
    pub(crate) adrift: Option<Weak<u64>>,
}

impl Stream {
    pub(crate) fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}
