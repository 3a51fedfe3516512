//! TLS of one server connection, sans-IO, over rustls' unbuffered interface: its buffers are ours.
//!
//! Owns the rustls state and nothing else: undecrypted rests, plaintext and ciphertext live with the caller. rustls
//! makes one heap buffer per record, so a record carries as many messages as wait (DESIGN.md, "Dependencies").
//!
//! ```text
//!   incoming bytes ->  receive  -> plaintext to `plain`,  handshake and alert bytes to `cipher`
//!   plaintext      ->  encrypt  -> one record into the caller's output buffer
//! ```

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// Plaintext bytes of one record at most (RFC 8446 §5.1).
pub const RECORD_PLAIN_BYTES_MAX: usize = 16_384;

/// What a record adds to its plaintext at most, TLS 1.2 explicit nonce included.
pub const RECORD_OVERHEAD_BYTES: usize = 64;

/// The longest single piece of a handshake flight that is encoded at once.
const FLIGHT_BYTES_MAX: usize = 32 << 10;

/// A server's side of one TLS connection.
pub struct Tls(Box<UnbufferedServerConnection>);

/// What came of received bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Bytes at the front of the input that are done with; the rest must be given again, with more behind.
    pub consumed: usize,
    /// The handshake is complete: application data may be sent.
    pub ready: bool,
    /// The peer said close_notify.
    pub peer_closed: bool,
    /// The peer broke the protocol; an alert was written, if one applies, and the connection is over.
    pub failed: bool,
}

/// What [`Tls::receive`] gives out.
pub trait Outlet {
    /// Decrypted application data.
    fn plain(&mut self, bytes: &[u8]);
    /// Bytes for the peer: handshake, alerts.
    fn cipher(&mut self, bytes: &[u8]);
}

/// The connection cannot send: its handshake is incomplete, it has failed, or the buffer is too small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsendable;

impl Tls {
    /// A connection that waits for its ClientHello.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self(Box::new(UnbufferedServerConnection::new(Arc::clone(config))?)))
    }

    /// Takes everything received and not yet consumed, in one piece. `scratch` serves for outgoing flights.
    pub fn receive(&mut self, incoming: &mut [u8], scratch: &mut Scratch, outlet: &mut dyn Outlet) -> Progress {
        let mut progress = Progress::default();
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.0.process_tls_records(&mut incoming[progress.consumed..]);
            let mut turn_over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        outlet.plain(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => match encode.encode(&mut scratch.0[..]) {
                    Ok(count) => outlet.cipher(&scratch.0[..count]),
                    Err(_) => {
                        progress.failed = true;
                        turn_over = true;
                    }
                },
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => progress.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(_)) => {
                    progress.ready = true;
                    turn_over = true;
                }
                Ok(ConnectionState::BlockedHandshake) => turn_over = true,
                Ok(ConnectionState::Closed) => {
                    progress.peer_closed = true;
                    turn_over = true;
                }
                // Early data is not offered; what else a later rustls may add is not understood either.
                Ok(_) | Err(_) => {
                    progress.failed = true;
                    turn_over = true;
                }
            }
            progress.consumed += discard;
            if turn_over {
                break;
            }
        }
        if progress.failed {
            self.flush_alert(&mut incoming[progress.consumed..], scratch, outlet);
        }
        progress
    }

    /// Encrypts `plain` (at most [`RECORD_PLAIN_BYTES_MAX`]) as one record into the front of `out`.
    ///
    /// `incoming` is a copy of what [`Tls::receive`] left over: rustls remembers where in it an unfinished handshake
    /// message lies, and panics if it is not there.
    pub fn encrypt(&mut self, incoming: &mut [u8], plain: &[u8], out: &mut [u8]) -> Result<usize, Unsendable> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { state, .. } = self.0.process_tls_records(incoming);
            match state {
                // A key update or a ticket that became due goes first.
                Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                    at += encode.encode(&mut out[at..]).map_err(|_| Unsendable)?;
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return traffic.encrypt(plain, &mut out[at..]).map(|count| at + count).map_err(|_| Unsendable);
                }
                _ => return Err(Unsendable),
            }
        }
    }

    /// Writes close_notify into the front of `out`. Returns the count of bytes; 0 if none can be said any more.
    /// `incoming` as in [`Tls::encrypt`].
    pub fn close_notify(&mut self, incoming: &mut [u8], out: &mut [u8]) -> usize {
        loop {
            let UnbufferedStatus { state, .. } = self.0.process_tls_records(incoming);
            match state {
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return traffic.queue_close_notify(out).unwrap_or(0),
                _ => return 0,
            }
        }
    }

    fn flush_alert(&mut self, incoming: &mut [u8], scratch: &mut Scratch, outlet: &mut dyn Outlet) {
        if let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut encode)), .. } =
            self.0.process_tls_records(incoming)
            && let Ok(count) = encode.encode(&mut scratch.0[..])
        {
            outlet.cipher(&scratch.0[..count]);
        }
    }
}

/// Room for one outgoing flight; one per shard.
pub struct Scratch(Box<[u8; FLIGHT_BYTES_MAX]>);

impl Default for Scratch {
    fn default() -> Self {
        Self(Box::new([0; FLIGHT_BYTES_MAX]))
    }
}
