//! TCP connections at work: accept, adopt, receive, send, and an end that leaves nothing in the kernel.
//!
//! Each connection is advanced by one function that looks at what holds and asks for what should. It may be called at
//! any time and any number of times. What it could not ask for, for want of room, it asks for at the next turn.
//!
//! ```text
//!   close:  send in flight done -> FIN -> discard until the peer's FIN, or LINGER -> receive ended -> close -> Closed
//!   abort:  recall the send, end the receive -> both completions -> reset -> Closed
//!   detach: end the receive -> its last completion -> Detached, with the descriptor
//! ```
//! The peer's FIN is awaited because closing with bytes unread resets the connection, and a reset overtakes what the
//! peer has not read yet (RFC 9112 §9.6 tells the same of HTTP).

use crate::reactor::{Pool, RETRY, STREAM_GROUP, Uring};
use crate::table::{Flags, Place};
use crate::tag::{self, Operation};
use driver::{Completion, Connection, Detached, End, Handle};
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// How long a peer that was sent FIN may take to send its own.
const LINGER: Duration = Duration::from_secs(1);

impl Uring {
    pub(crate) fn arm_gate(&mut self, index: usize) {
        let gate = &mut self.gates[index];
        if gate.armed || gate.retry > self.now {
            return;
        }
        let entry = opcode::AcceptMulti::new(Fd(gate.fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        gate.armed = self.ring.push(&entry.user_data(tag::encode(Operation::Accept, index as u32, 0)));
    }

    pub(crate) fn accepted(&mut self, index: usize, result: i32, flags: u32) -> Option<Completion> {
        let gate = &mut self.gates[index];
        let listener = gate.listener;
        if !cqueue::more(flags) {
            gate.armed = false;
            gate.retry = self.now;
        }
        if result < 0 {
            // These are of the connection that was to be accepted, not of the listener: accept(2), "Error handling".
            let passing = matches!(
                -result,
                libc::ECONNABORTED
                    | libc::EINTR
                    | libc::EAGAIN
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::EOPNOTSUPP
                    | libc::ENETUNREACH
                    | libc::ECANCELED
            );
            if !passing {
                gate.retry = self.now.after(RETRY);
            }
            let exhausted = matches!(-result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM);
            return exhausted.then_some(Completion::Refused { listener });
        }
        // SAFETY: a result that is not negative is a descriptor that the kernel made for this completion alone.
        let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(result) });
        // A connection that was reset meanwhile has no peer, and nobody misses it.
        let peer = stream.peer_addr().ok()?;
        let Some(place) = self.table.occupy(stream.as_raw_fd()) else { return Some(Completion::Refused { listener }) };
        // The place owns the descriptor from here on.
        let _ = ManuallyDrop::new(stream);
        self.mark(place);
        let generation = self.table.at(place).generation;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Some(Completion::Accepted { listener, connection: Connection { index: place, generation }, peer })
    }

    /// Asks for whatever should be in the kernel and is not; false if the queue has no room.
    pub(crate) fn advance(&mut self, index: u32) -> bool {
        let place = self.table.at(index);
        if !place.flags.has(Flags::OPEN) || place.flags.has(Flags::GONE) {
            return true;
        }
        let generation = place.generation;
        let tag = |operation| tag::encode(operation, index, generation);
        let fd = Fd(place.fd);
        if place.flags.has(Flags::QUEUED) {
            if place.flags.has(Flags::ABORT) {
                self.output.sent(place.output);
            } else {
                let len = place.len - place.done;
                let source = self.output.address(place.output, place.done as usize, len as usize).cast_const();
                let entry = opcode::Send::new(fd, source, len).flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
                if !self.ring.push(&entry.user_data(tag(Operation::Send))) {
                    return false;
                }
                place.flags.set(Flags::FLYING);
            }
            place.flags.clear(Flags::QUEUED);
        }
        if place.flags.has(Flags::ABORT) && place.flags.has(Flags::FLYING) && !place.flags.has(Flags::RECALLED) {
            if !self.ring.push(&cancel(tag(Operation::Send), tag(Operation::Cancel))) {
                return false;
            }
            place.flags.set(Flags::RECALLED);
        }
        let closing = place.flags.has(Flags::CLOSING);
        if closing && !place.flags.has(Flags::QUEUED | Flags::FLYING | Flags::ABORT | Flags::ENDED | Flags::LINGERING) {
            place.flags.set(Flags::LINGERING);
            finish_sending(place.fd);
            if self.lingering.len() < self.lingering.capacity() {
                self.lingering.push_back((self.now.after(LINGER), Connection { index, generation }));
            } else {
                place.flags.set(Flags::LINGERED);
            }
        }
        let unwanted = if closing { Flags::ABORT | Flags::LINGERED } else { Flags::PAUSED | Flags::DETACHING };
        let wanted = !place.flags.has(Flags::ENDED | unwanted);
        if place.flags.has(Flags::ARMED) {
            if !wanted && !place.flags.has(Flags::DISARMING) {
                if !self.ring.push(&cancel(tag(Operation::Receive), tag(Operation::Cancel))) {
                    return false;
                }
                place.flags.set(Flags::DISARMING);
            }
        } else if wanted && !place.flags.has(Flags::STARVED) {
            let entry = opcode::RecvMulti::new(fd, STREAM_GROUP).build();
            if !self.ring.push(&entry.user_data(tag(Operation::Receive))) {
                return false;
            }
            place.flags.set(Flags::ARMED);
        }
        let busy = place.flags.has(Flags::QUEUED | Flags::FLYING | Flags::ARMED);
        if closing && !busy && place.flags.has(Flags::ABORT | Flags::LINGERED | Flags::ENDED) {
            self.finish(index);
        } else if place.flags.has(Flags::DETACHING) && !closing && !busy {
            self.leave(index);
        }
        true
    }

    pub(crate) fn received(&mut self, connection: Connection, result: i32, flags: u32) -> Option<Completion> {
        let buffer = cqueue::buffer_select(flags).map(u32::from);
        if let Some(buffer) = buffer {
            self.streams.take(buffer as u16);
        }
        let Some(place) = self.table.holder(connection.index, connection.generation) else {
            // A place is vacated only after the receive's last completion.
            debug_assert!(false, "no receive outlives its holder");
            self.give_back(buffer);
            return None;
        };
        if !cqueue::more(flags) {
            place.flags.clear(Flags::ARMED | Flags::DISARMING);
        }
        let closing = place.flags.has(Flags::CLOSING);
        let mut completion = None;
        match result {
            1.. => {
                let buffer = buffer.expect("received bytes are in a buffer");
                if closing {
                    self.streams.give(buffer);
                } else {
                    completion =
                        Some(Completion::Received { connection, lease: Pool::Streams.lease(buffer, result as u32) });
                }
            }
            0 => {
                place.flags.set(Flags::ENDED);
                // A failure is told by the kernel once. Whoever adopts the socket finds only the end behind it.
                let failure = place.flags.failure();
                let end = if failure == 0 { End::Finished } else { End::Failed(failure) };
                completion = Some(Completion::Ended { connection, end });
                self.give_back(buffer);
            }
            _ => {
                match -result {
                    libc::ENOBUFS => self.starve(connection.index),
                    // Paused, closed, or to be armed again.
                    libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                    errno => {
                        place.flags.set(Flags::ENDED);
                        place.flags.fail(errno);
                        completion = Some(Completion::Ended { connection, end: End::Failed(errno) });
                    }
                }
                self.give_back(buffer);
            }
        }
        if closing || !cqueue::more(flags) {
            self.mark(connection.index);
        }
        completion.filter(|_| !closing)
    }

    pub(crate) fn sent(&mut self, connection: Connection, result: i32) -> Option<Completion> {
        let place = self.table.holder(connection.index, connection.generation).expect("no send outlives its holder");
        place.flags.clear(Flags::FLYING | Flags::RECALLED);
        let closing = place.flags.has(Flags::CLOSING);
        let output = place.output;
        if let Ok(count) = u32::try_from(result) {
            place.done += count;
            assert!(place.done <= place.len, "no more is sent than was asked");
        }
        let passing = result > 0 || matches!(-result, libc::EINTR | libc::EAGAIN);
        let completion = if place.done == place.len {
            self.output.sent(output);
            Completion::Sent { connection }
        } else if passing && !place.flags.has(Flags::ABORT) {
            // The rest of it, after a signal or in a moment without memory.
            place.flags.set(Flags::QUEUED);
            self.mark(connection.index);
            return None;
        } else {
            // With nobody to send to, there is nobody to wait for.
            place.flags.set(if closing { Flags::LINGERED } else { 0 });
            self.output.sent(output);
            Completion::SendFailed { connection, errno: if result < 0 { -result } else { libc::EPIPE } }
        };
        if closing {
            self.mark(connection.index);
            return None;
        }
        Some(completion)
    }

    /// A cancellation failed. ENOENT: its target had ended. EALREADY: it was just being run, so ask again if still needed.
    pub(crate) fn not_cancelled(&mut self, connection: Connection, result: i32) {
        if result != -libc::EALREADY {
            return;
        }
        if let Some(place) = self.table.holder(connection.index, connection.generation) {
            place.flags.clear(Flags::RECALLED | Flags::DISARMING);
            self.mark(connection.index);
        }
    }

    /// Gives up waiting for peers that had their time.
    pub(crate) fn expire(&mut self) {
        while let Some(&(deadline, connection)) = self.lingering.front() {
            if deadline > self.now {
                break;
            }
            self.lingering.pop_front();
            if let Some(place) = self.table.holder(connection.index, connection.generation) {
                place.flags.set(Flags::LINGERED);
                self.mark(connection.index);
            }
        }
    }

    /// Lets those without a buffer try again, at most one for each buffer there is: what returns at once is then bounded
    /// by what was released.
    pub(crate) fn feed_starved(&mut self) {
        for _ in 0..self.streams.available() {
            let Some(index) = self.starved.pop_front() else { break };
            self.table.at(index).flags.clear(Flags::LISTED | Flags::STARVED);
            self.mark(index);
        }
    }

    fn starve(&mut self, index: u32) {
        let flags = &mut self.table.at(index).flags;
        flags.set(Flags::STARVED);
        if !flags.has(Flags::LISTED) {
            flags.set(Flags::LISTED);
            self.starved.push_back(index);
        }
    }

    fn give_back(&mut self, buffer: Option<u32>) {
        if let Some(buffer) = buffer {
            self.streams.give(buffer);
        }
    }

    /// The kernel holds nothing of it any more but the descriptor.
    fn finish(&mut self, index: u32) {
        let place = self.table.at(index);
        if place.flags.has(Flags::ABORT) {
            reset_on_close(place.fd);
        }
        drop(take_fd(place));
        self.leave(index);
    }

    /// Nothing is asked for any more; what is left is to tell it.
    fn leave(&mut self, index: u32) {
        let place = self.table.at(index);
        place.flags.set(Flags::GONE);
        self.gone.push_back(Connection { index, generation: place.generation });
    }

    /// The last completion of a connection, whose place is free from here on; none if it is not at its end after all.
    pub(crate) fn last_word(&mut self, connection: Connection) -> Option<Completion> {
        let place = self.table.holder(connection.index, connection.generation)?;
        if !place.flags.has(Flags::GONE) {
            return None;
        }
        let last = if place.flags.has(Flags::CLOSING) {
            Completion::Closed { connection }
        } else {
            let ended = match place.flags.failure() {
                0 => place.flags.has(Flags::ENDED).then_some(End::Finished),
                errno => Some(End::Failed(errno)),
            };
            Completion::Detached { connection, socket: Detached::new(Handle::Kernel(take_fd(place)), ended) }
        };
        self.table.vacate(connection.index);
        Some(last)
    }

    pub(crate) fn take_in(&mut self, socket: Detached) -> Result<Connection, Detached> {
        let (handle, ended) = socket.into_parts();
        let Handle::Kernel(fd) = handle else { panic!("a socket of the kernel's") };
        let Some(index) = self.table.occupy(fd.as_raw_fd()) else {
            return Err(Detached::new(Handle::Kernel(fd), ended));
        };
        // The place owns the descriptor from here on.
        let _ = ManuallyDrop::new(fd);
        let place = self.table.at(index);
        if let Some(End::Failed(errno)) = ended {
            place.flags.fail(errno);
        }
        let generation = place.generation;
        self.mark(index);
        Ok(Connection { index, generation })
    }
}

/// The descriptor, out of its place.
fn take_fd(place: &mut Place) -> OwnedFd {
    let fd = std::mem::replace(&mut place.fd, -1);
    assert!(fd >= 0 && !place.flags.has(Flags::FLYING | Flags::ARMED), "no request uses it, and it is taken once");
    // SAFETY: the place owned it, open, and has just forgotten it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn cancel(target: u64, user_data: u64) -> squeue::Entry {
    opcode::AsyncCancel2::new(CancelBuilder::user_data(target))
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(user_data)
}

fn finish_sending(fd: RawFd) {
    // SAFETY: the place owns the descriptor, which is open; the wrapper does not close it.
    let stream = ManuallyDrop::new(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }));
    // It fails only if the connection is gone already, and then the receive says so.
    let _ = stream.shutdown(Shutdown::Write);
}

fn reset_on_close(fd: RawFd) {
    // SAFETY: the place owns the descriptor, which is open; the wrapper does not close it.
    let stream = ManuallyDrop::new(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }));
    let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
}
