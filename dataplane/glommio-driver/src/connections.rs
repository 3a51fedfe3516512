//! TCP connections at work: a task accepts for each listener, and a task serves each connection to an end that leaves nothing
//! in the kernel.
//!
//! A connection's task is one function that looks at what holds and does what can be done. It may be called at any time and
//! any number of times: woken by its socket, or by the shard through a mark.
//!
//! ```text
//!   close:  what is being sent is done -> FIN -> discard until the peer's FIN, or LINGER -> close -> Closed
//!   abort:  what is being sent is dropped -> reset -> Closed
//!   detach: what was received is told -> the descriptor once more, glommio's dropped -> Detached
//! ```
//! The peer's FIN is awaited because closing with bytes unread resets the connection, and a reset overtakes what the peer has
//! not read yet. Before a descriptor is closed both directions are shut, so that glommio's polls end at once: they would
//! hold the socket until they were cancelled, at some later turn.

use crate::hub::{RETRY, STREAK, Shared, errno};
use crate::table::{Flags, Sending};
use driver::{Completion, Connection, Detached, End, Handle, Listener};
use futures_lite::future::yield_now;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a peer that was sent FIN may take to send its own.
const LINGER: Duration = Duration::from_secs(1);

/// Connections that may linger at once; beyond it they close at once.
const LINGERING_MAX: usize = 65_536;

/// Accepts for ever.
pub(crate) async fn accept(hub: Shared, listener: Listener, socket: TcpListener) {
    for round in 1u32.. {
        match socket.shared_accept().await {
            Ok(accepted) => {
                // A connection that was reset meanwhile has no peer, and nobody misses it; glommio has closed it.
                let Ok(peer) = accepted.peer_addr() else { continue };
                let stream = accepted.bind_to_executor();
                let occupied = hub.borrow_mut().table.occupy();
                let Some((index, generation)) = occupied else {
                    drop(stream);
                    hub.borrow_mut().tell(Completion::Refused { listener });
                    continue;
                };
                let connection = Connection { index, generation };
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                hub.borrow_mut().tell(Completion::Accepted { listener, connection, peer });
                glommio::spawn_local(serve(Shared::clone(&hub), connection, stream)).detach();
            }
            Err(error) => {
                let errno = errno(&error);
                if matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) {
                    hub.borrow_mut().tell(Completion::Refused { listener });
                }
                // These are of the connection that was to be accepted, not of the listener: accept(2), "Error handling".
                let passing = matches!(
                    errno,
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
                );
                if !passing {
                    Timer::new(RETRY).await;
                }
            }
        }
        if round % STREAK == 0 {
            yield_now().await;
        }
    }
}

/// Begins to serve those that were adopted. Inside the executor.
pub(crate) fn begin(hub: &Shared) {
    loop {
        let adopted = hub.borrow_mut().adopted.pop_front();
        let Some((connection, fd)) = adopted else { return };
        glommio::spawn_local(serve(Shared::clone(hub), connection, uring::adopt(fd))).detach();
    }
}

/// Serves one connection to its end, or until it is given away.
async fn serve(hub: Shared, connection: Connection, stream: TcpStream) {
    let mut link = Link { hub, connection, stream };
    loop {
        let way = poll_fn(|context| link.advance(context)).await;
        if way == Way::Closed {
            break;
        }
        // glommio gives no descriptor back, so it is given another of the same socket.
        if let Ok(socket) = SockRef::from(&link.stream).try_clone() {
            let Link { hub, stream, .. } = link;
            drop(stream);
            let mut hub = hub.borrow_mut();
            let place = hub.table.at(connection.index);
            place.waker = None;
            let socket = Detached::new(Handle::Kernel(std::net::TcpStream::from(socket).into()), place.ended);
            hub.tell(Completion::Detached { connection, socket });
            return;
        }
        Timer::new(RETRY).await;
    }
    let Link { hub, connection, stream } = link;
    // It fails only if the connection is gone already.
    let _ = SockRef::from(&stream).shutdown(Shutdown::Both);
    drop(stream);
    let mut hub = hub.borrow_mut();
    hub.table.vacate(connection.index);
    hub.tell(Completion::Closed { connection });
}

/// How a connection leaves its task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Closed,
    Detached,
}

struct Link {
    hub: Shared,
    connection: Connection,
    stream: TcpStream,
}

impl Link {
    /// Does whatever can be done; ready when the connection may be closed, or given away.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Way> {
        let index = self.connection.index;
        {
            let mut hub = self.hub.borrow_mut();
            let place = hub.table.at(index);
            if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                place.waker = Some(context.waker().clone());
            }
        }
        if self.flags().has(Flags::ABORT | Flags::LEFT) {
            self.give_up();
            return Poll::Ready(Way::Closed);
        }
        self.send(context);
        if self.finish() {
            return Poll::Ready(Way::Closed);
        }
        for _ in 0..STREAK {
            let flags = self.flags();
            if flags.has(Flags::DETACHING) && !flags.has(Flags::CLOSING) {
                return Poll::Ready(Way::Detached);
            }
            let unwanted = if flags.has(Flags::CLOSING) { Flags::LINGERED } else { Flags::PAUSED | Flags::STARVED };
            if flags.has(Flags::ENDED | unwanted) {
                return if self.finish() { Poll::Ready(Way::Closed) } else { Poll::Pending };
            }
            if self.receive(context).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn flags(&self) -> Flags {
        self.hub.borrow_mut().table.at(self.connection.index).flags
    }

    /// Waits for nothing any more.
    fn give_up(&mut self) {
        let mut hub = self.hub.borrow_mut();
        let place = hub.table.at(self.connection.index);
        if place.flags.has(Flags::ABORT) {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        if let Some(sending) = place.sending.take() {
            hub.output.give(sending.buffer);
        }
    }

    /// Hands the kernel what it takes of the bytes on their way out.
    fn send(&mut self, context: &mut Context<'_>) {
        let (connection, index) = (self.connection, self.connection.index);
        let taken = self.hub.borrow_mut().table.at(index).sending.take();
        let Some(mut sending) = taken else { return };
        let outcome = loop {
            let rest = &sending.buffer.bytes[sending.done..sending.len];
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Pending => {
                    self.hub.borrow_mut().table.at(index).sending = Some(sending);
                    return;
                }
                Poll::Ready(Ok(count)) => {
                    sending.done += count;
                    if sending.done == sending.len {
                        break Completion::Sent { connection };
                    }
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    break Completion::SendFailed { connection, errno: error.raw_os_error().unwrap_or(libc::EPIPE) };
                }
            }
        };
        let Sending { buffer, .. } = sending;
        let mut hub = self.hub.borrow_mut();
        hub.output.give(buffer);
        let place = hub.table.at(index);
        if !place.flags.has(Flags::CLOSING) {
            hub.tell(outcome);
        } else if matches!(outcome, Completion::SendFailed { .. }) {
            // With nobody to send to, there is nobody to wait for.
            place.flags.set(Flags::LINGERED);
        }
    }

    /// On the way to its end: sends FIN once all else is sent. True when nothing is to be awaited any more.
    fn finish(&mut self) -> bool {
        let mut hub = self.hub.borrow_mut();
        let now = hub.now;
        let room = hub.lingering.len() < LINGERING_MAX;
        let place = hub.table.at(self.connection.index);
        if !place.flags.has(Flags::CLOSING) || place.sending.is_some() {
            return false;
        }
        if !place.flags.has(Flags::ENDED | Flags::LINGERING | Flags::LINGERED) {
            place.flags.set(Flags::LINGERING);
            // It fails only if the connection is gone already, and then the receive says so.
            let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
            if room {
                hub.lingering.push_back((now.after(LINGER), self.connection));
            } else {
                place.flags.set(Flags::LINGERED);
            }
        }
        hub.table.at(self.connection.index).flags.has(Flags::ENDED | Flags::LINGERED)
    }

    /// One receive, into a buffer that is given back if there is nothing.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection;
        let taken = self.hub.borrow_mut().streams.take();
        let Some(mut buffer) = taken else {
            self.hub.borrow_mut().starve(connection.index);
            return Poll::Pending;
        };
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut buffer.bytes);
        let mut hub = self.hub.borrow_mut();
        let Poll::Ready(outcome) = polled else {
            hub.give_streams(buffer);
            return Poll::Pending;
        };
        let place = hub.table.at(connection.index);
        let closing = place.flags.has(Flags::CLOSING);
        let end = match outcome {
            // A failure is told by the kernel once. Whoever adopts the socket finds only the end behind it.
            Ok(0) => place.ended.unwrap_or(End::Finished),
            Ok(count) => {
                if closing {
                    hub.give_streams(buffer);
                } else {
                    let completion = Completion::Received { connection, lease: buffer.lease(count as u32) };
                    hub.tell_with(completion, buffer);
                }
                return Poll::Ready(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                hub.give_streams(buffer);
                return Poll::Ready(());
            }
            Err(error) => End::Failed(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        place.flags.set(Flags::ENDED);
        place.ended = Some(end);
        hub.give_streams(buffer);
        if !closing {
            hub.tell(Completion::Ended { connection, end });
        }
        Poll::Ready(())
    }
}
