//! Where tasks and shard meet: events one way, requests the other, and the buffers that nobody has.
//!
//! Borrowed for a moment at a time, never across an await, and never while a task is made, for that runs it.

use crate::buffers::{Buffer, Kind, Pool};
use crate::files::Files;
use crate::table::{Flags, Table};
use base::Monotonic;
use driver::{Completion, Connection, Handle};
use glommio::GlommioError;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use uring::Sizing;

/// After an error that will not pass by itself at once (no descriptors, no memory).
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// How much a task does before it lets the others go on.
pub(crate) const STREAK: u32 = 32;

/// The hub, as every task holds it.
pub(crate) type Shared = Rc<RefCell<Hub>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    events: VecDeque<(Completion, Option<Buffer>)>,
    /// The turn that waits for an event.
    turn: Option<Waker>,
    /// Somebody knocked since the turn began.
    pub(crate) knocked: bool,
    pub(crate) datagrams: Pool,
    pub(crate) streams: Pool,
    pub(crate) output: Pool,
    pub(crate) file_buffers: Pool,
    pub(crate) table: Table,
    pub(crate) files: Files,
    /// Connections that have a place and no task yet.
    pub(crate) adopted: VecDeque<(Connection, OwnedFd)>,
    /// Connections whose tasks are to be woken; each at most once.
    pub(crate) dirty: Vec<u32>,
    /// Connections that found no buffer; each at most once.
    starved: VecDeque<u32>,
    /// Slots that found no buffer.
    thirsty: VecDeque<Waker>,
    /// When the peers of connections we closed have had their time, oldest first.
    pub(crate) lingering: VecDeque<(Monotonic, Connection)>,
    /// A slot received since slots were asked what they dropped.
    pub(crate) received: bool,
    /// When this turn began.
    pub(crate) now: Monotonic,
}

impl Hub {
    pub(crate) fn new(sizing: &Sizing, files: Files, now: Monotonic) -> Self {
        Self {
            events: VecDeque::new(),
            turn: None,
            knocked: false,
            datagrams: Pool::new(Kind::Datagrams, sizing.datagram_count, sizing.receive_bytes),
            streams: Pool::new(Kind::Streams, sizing.receive_count, sizing.receive_bytes),
            output: Pool::new(Kind::Output, sizing.output_count, sizing.output_bytes),
            file_buffers: Pool::new(Kind::Files, files.buffer_count(), sizing.file_buffer_bytes),
            table: Table::new(sizing.connection_count),
            files,
            adopted: VecDeque::new(),
            dirty: Vec::new(),
            starved: VecDeque::new(),
            thirsty: VecDeque::new(),
            lingering: VecDeque::new(),
            received: false,
            now,
        }
    }

    /// Something happened.
    pub(crate) fn tell(&mut self, completion: Completion) {
        self.events.push_back((completion, None));
        self.rouse();
    }

    /// Something happened, and the lease in it is of this buffer.
    pub(crate) fn tell_with(&mut self, completion: Completion, buffer: Buffer) {
        self.events.push_back((completion, Some(buffer)));
        self.rouse();
    }

    /// Somebody knocked at the door.
    pub(crate) fn knock(&mut self) {
        self.knocked = true;
        self.rouse();
    }

    fn rouse(&self) {
        if let Some(waker) = &self.turn {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn next(&mut self) -> Option<(Completion, Option<Buffer>)> {
        self.events.pop_front()
    }

    /// An event at the moment at which it is told: a last word frees its place. None if it was of a connection given away that
    /// is closed after all.
    pub(crate) fn settle(&mut self, completion: Completion) -> Option<Completion> {
        match completion {
            Completion::Closed { connection } => self.table.free(connection.index),
            Completion::Detached { connection, socket }
                if self.table.at(connection.index).flags.has(Flags::CLOSING) =>
            {
                self.take_in(connection, socket.into_parts().0);
                return None;
            }
            Completion::Detached { connection, .. } => {
                self.table.vacate(connection.index);
                self.table.free(connection.index);
            }
            _ => {}
        }
        Some(completion)
    }

    /// A connection has a place, and gets a task at the next turn.
    pub(crate) fn take_in(&mut self, connection: Connection, handle: Handle) {
        let Handle::Kernel(fd) = handle else { panic!("a socket of the kernel's") };
        self.adopted.push_back((connection, fd));
    }

    /// Whether the turn has nothing to wait for.
    pub(crate) fn has_news(&self) -> bool {
        self.knocked || !self.events.is_empty()
    }

    /// Whom to wake when there is news.
    pub(crate) fn await_news(&mut self, waker: Option<&Waker>) {
        self.turn = waker.cloned();
    }

    /// Has a connection's task look at it at the next turn.
    pub(crate) fn mark(&mut self, index: u32) {
        let flags = &mut self.table.at(index).flags;
        if !flags.has(Flags::DIRTY) {
            flags.set(Flags::DIRTY);
            self.dirty.push(index);
        }
    }

    /// A connection found no buffer for what it is to receive.
    pub(crate) fn starve(&mut self, index: u32) {
        let flags = &mut self.table.at(index).flags;
        if !flags.has(Flags::STARVED) {
            flags.set(Flags::STARVED);
            self.starved.push_back(index);
        }
    }

    /// Gives a buffer back from within a task, and wakes one that lacked it.
    pub(crate) fn give_streams(&mut self, buffer: Buffer) {
        self.streams.give(buffer);
        self.feed();
    }

    /// Wakes one connection that found no buffer.
    fn feed(&mut self) {
        while let Some(index) = self.starved.pop_front() {
            let place = self.table.at(index);
            // A place that was vacated meanwhile has no task to wake.
            if place.flags.has(Flags::STARVED) {
                place.flags.clear(Flags::STARVED);
                if let Some(waker) = &place.waker {
                    waker.wake_by_ref();
                }
                return;
            }
        }
    }

    /// Wakes the tasks that were marked, and those that can have a buffer. Inside the executor, where waking is cheap.
    pub(crate) fn wake_marked(&mut self) {
        for _ in 0..self.streams.available().min(self.starved.len()) {
            self.feed();
        }
        for index in std::mem::take(&mut self.dirty) {
            let place = self.table.at(index);
            place.flags.clear(Flags::DIRTY);
            if let Some(waker) = &place.waker {
                waker.wake_by_ref();
            }
        }
        for _ in 0..self.datagrams.available() {
            let Some(waker) = self.thirsty.pop_front() else { break };
            waker.wake();
        }
    }
}

/// A buffer for a datagram, as soon as there is one.
pub(crate) async fn datagram_buffer(hub: &Shared) -> Buffer {
    poll_fn(|context| {
        let mut hub = hub.borrow_mut();
        if let Some(buffer) = hub.datagrams.take() {
            return Poll::Ready(buffer);
        }
        hub.thirsty.push_back(context.waker().clone());
        Poll::Pending
    })
    .await
}

/// The errno in an error of glommio's; EIO if there is none.
pub(crate) fn errno(error: &GlommioError<()>) -> i32 {
    let source = match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        _ => return libc::EIO,
    };
    source.raw_os_error().unwrap_or(libc::EIO)
}
