//! The control socket: a Unix stream socket of mode 0600, one control plane at a time, peers checked by their credentials.
//!
//! Owns the listener's and the connections' threads; they only move frames. A newer connection takes the place of an
//! older one. What a connection sends arrives in [`Inbound`]; what is sent to it goes through a bounded queue, and a
//! control plane that does not read is disconnected, never waited for.

use contract::frame::Decoder;
use contract::v1;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Frames that may wait for the control plane.
const OUTBOUND_COUNT_MAX: usize = 4096;

/// Messages that may wait for the control thread; a connection is not read beyond them.
const INBOUND_COUNT_MAX: usize = 64;

/// How long one write to the control plane may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// From the socket's threads to the control thread.
pub(crate) enum Inbound {
    /// A control plane connected; it supersedes earlier ones.
    Opened(Link),
    /// It said something.
    Message(u64, Box<v1::ToDataplane>),
    /// It is gone, for this reason.
    Closed(u64, String),
}

/// The way to one connected control plane.
pub(crate) struct Link {
    /// Tells connections apart.
    pub(crate) number: u64,
    outbound: Sender<Vec<u8>>,
    stream: UnixStream,
}

impl Link {
    /// A link whose frames a test takes.
    #[cfg(test)]
    pub(crate) fn to_memory(number: u64) -> (Self, Receiver<Vec<u8>>) {
        let (outbound, frames) = bounded(OUTBOUND_COUNT_MAX);
        let (stream, _other) = UnixStream::pair().expect("a pair of sockets");
        (Self { number, outbound, stream }, frames)
    }

    /// Queues one message. A connection that does not keep up is closed.
    pub(crate) fn send(&self, message: &v1::FromDataplane) {
        let mut bytes = Vec::new();
        if contract::frame::encode(message, &mut bytes).is_err() {
            tracing::error!("an answer to the control plane exceeds the frame limit");
            return;
        }
        if let Err(TrySendError::Full(_)) = self.outbound.try_send(bytes) {
            tracing::warn!("the control plane does not read; closing its connection");
            self.close();
        }
    }

    /// Whether more than half of the queue is taken: what may be dropped should be.
    pub(crate) fn crowded(&self) -> bool {
        self.outbound.len() > OUTBOUND_COUNT_MAX / 2
    }

    /// Ends the connection; its threads end by themselves.
    pub(crate) fn close(&self) {
        // It may be closed already; either way it is closed now.
        let _closed = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Binds the socket at `path` and accepts on a thread of its own. `notify` is called after each message.
///
/// # Errors
/// When the path is taken by another dataplane, or by something that is no socket, or cannot be bound.
pub(crate) fn listen(path: &Path, notify: Arc<dyn Fn() + Send + Sync>) -> io::Result<Receiver<Inbound>> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let (sender, receiver) = bounded(INBOUND_COUNT_MAX);
    let numbers = AtomicU64::new(1);
    thread::Builder::new().name("control-accept".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream.and_then(admit) {
                Ok(stream) => {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = serve(number, stream, sender.clone(), Arc::clone(&notify)) {
                        tracing::warn!(%error, "a control connection could not be served");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a control connection was refused");
                    // Without descriptors the next attempt fails as fast.
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    })?;
    Ok(receiver)
}

/// Removes the socket file, if it is one.
pub(crate) fn remove(path: &PathBuf) {
    // It may be gone already; a file left behind is found stale at the next start.
    let _removed = std::fs::remove_file(path);
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
        }
        Ok(_) => {}
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another dataplane listens there"));
    }
    std::fs::remove_file(path)
}

/// Only our own user, or root, may control us.
fn admit(stream: UnixStream) -> io::Result<UnixStream> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    let own = rustix::process::geteuid();
    if peer.uid != own && !peer.uid.is_root() {
        let text = format!("its peer runs as user {}, not as {}", peer.uid.as_raw(), own.as_raw());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(stream)
}

fn serve(
    number: u64,
    stream: UnixStream,
    inbound: Sender<Inbound>,
    notify: Arc<dyn Fn() + Send + Sync>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (outbound, queue) = bounded::<Vec<u8>>(OUTBOUND_COUNT_MAX);
    let mut writer = stream.try_clone()?;
    thread::Builder::new().name("control-write".into()).spawn(move || {
        for bytes in queue {
            if writer.write_all(&bytes).is_err() {
                break;
            }
        }
        // The reader sees the end and says so.
        let _closed = writer.shutdown(std::net::Shutdown::Both);
    })?;
    let reader = stream.try_clone()?;
    let opened = Inbound::Opened(Link { number, outbound, stream });
    thread::Builder::new().name("control-read".into()).spawn(move || {
        let say = |what: Inbound| {
            let said = inbound.send(what).is_ok();
            notify();
            said
        };
        if !say(opened) {
            return;
        }
        let reason = read(number, reader, &say);
        say(Inbound::Closed(number, reason));
    })?;
    Ok(())
}

/// Reads until the end. Returns why it ended.
fn read(number: u64, mut stream: UnixStream, say: &dyn Fn(Inbound) -> bool) -> String {
    let mut decoder = Decoder::<v1::ToDataplane>::default();
    let mut bytes = vec![0; 256 << 10];
    loop {
        let count = match stream.read(&mut bytes) {
            Ok(0) => {
                return match decoder.finish() {
                    Ok(()) => "it closed the connection".into(),
                    Err(error) => error.to_string(),
                };
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return error.to_string(),
        };
        decoder.feed(&bytes[..count]);
        loop {
            match decoder.message() {
                Ok(Some(message)) => {
                    if !say(Inbound::Message(number, Box::new(message))) {
                        return "the dataplane stops".into();
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    // After a malformed frame nothing that follows can be understood.
                    let _closed = stream.shutdown(std::net::Shutdown::Both);
                    return error.to_string();
                }
            }
        }
    }
}
