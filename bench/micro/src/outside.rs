//! The simulated machine, marked as what is not counted.
//!
//! While it is counted, each call of a shard to its driver goes through [`door`]: callgrind stops collecting there and goes
//! on behind it, and what is allocated inside is not the shard's. At other times nobody collects, and no door may be passed:
//! it would begin to.

use base::{Monotonic, UnixMicros};
use driver::{Access, Busy, Completion, Connection, Detached, Driver, File, Lease, Limits, Socket};
use sim::Machine;
use std::hint::black_box;
use std::net::SocketAddr;

/// See the module.
pub(crate) struct Outside {
    machine: Machine,
    /// Whether it is counted.
    pub(crate) counted: bool,
}

/// Out of what is counted.
#[inline(never)]
fn door<M, R>(machine: M, work: impl FnOnce(M) -> R) -> R {
    alloc_guard::permitted(|| work(machine))
}

/// And into it again: a shard's own, which the machine asks for within its turn.
#[inline(never)]
fn inside(quiet: &mut dyn FnMut() -> bool) -> bool {
    let answer = quiet();
    black_box(answer)
}

impl Outside {
    /// The machine, not counted yet.
    pub(crate) const fn new(machine: Machine) -> Self {
        Self { machine, counted: false }
    }

    fn ask<'a, R>(&'a self, work: impl FnOnce(&'a Machine) -> R) -> R {
        if self.counted { door(&self.machine, work) } else { work(&self.machine) }
    }

    fn tell<'a, R>(&'a mut self, work: impl FnOnce(&'a mut Machine) -> R) -> R {
        if self.counted { door(&mut self.machine, work) } else { work(&mut self.machine) }
    }
}

impl Driver for Outside {
    fn limits(&self) -> Limits {
        self.ask(Driver::limits)
    }

    fn now(&self) -> Monotonic {
        self.ask(Driver::now)
    }

    fn instant(&self) -> Monotonic {
        self.ask(Driver::instant)
    }

    fn unix(&self) -> UnixMicros {
        self.ask(Driver::unix)
    }

    fn entropy(&mut self, target: &mut [u8]) {
        self.tell(|machine| machine.entropy(target));
    }

    fn turn(&mut self, until: Monotonic, quiet: &mut dyn FnMut() -> bool) {
        let counted = self.counted;
        let mut quiet = || if counted { inside(quiet) } else { quiet() };
        self.tell(|machine| machine.turn(until, &mut quiet));
    }

    fn reap(&mut self) -> Option<Completion> {
        self.tell(Driver::reap)
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        self.tell(|machine| machine.bytes(lease))
    }

    fn release(&mut self, lease: Lease) {
        self.tell(|machine| machine.release(lease));
    }

    fn output(&mut self) -> Result<Lease, Busy> {
        self.tell(Driver::output)
    }

    fn send(&mut self, connection: Connection, lease: Lease, count: usize) {
        self.tell(|machine| machine.send(connection, lease, count));
    }

    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        self.tell(|machine| machine.send_to(socket, target, bytes))
    }

    fn pause(&mut self, connection: Connection) {
        self.tell(|machine| machine.pause(connection));
    }

    fn resume(&mut self, connection: Connection) {
        self.tell(|machine| machine.resume(connection));
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        self.tell(|machine| machine.close(connection, abort));
    }

    fn detach(&mut self, connection: Connection) {
        self.tell(|machine| machine.detach(connection));
    }

    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached> {
        self.tell(|machine| machine.adopt(socket))
    }

    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy> {
        self.tell(|machine| machine.open(name, access))
    }

    fn file_buffer(&mut self) -> Result<Lease, Busy> {
        self.tell(Driver::file_buffer)
    }

    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool) {
        self.tell(|machine| machine.write(file, offset, lease, count, sync));
    }

    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy> {
        self.tell(|machine| machine.read(file, offset, count))
    }

    fn close_file(&mut self, file: File) {
        self.tell(|machine| machine.close_file(file));
    }

    fn wake(&mut self, peer: usize) {
        self.tell(|machine| machine.wake(peer));
    }
}
