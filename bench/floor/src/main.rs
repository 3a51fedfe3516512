//! `trunkline-floor`: the floor as a process, so that it is measured as the dataplane is.
//!
//! Prints `ready: udp ADDRESS, wss ADDRESS` once it serves.

#![allow(clippy::print_stdout, reason = "a command line speaks on standard output")]

use driver::{Listener, Socket};
use floor::Floor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use uring::{HostLimits, ShardConfig, Sizing, Uring, Wanted};

const USAGE: &str = "\
Usage: trunkline-floor --cert FILE --key FILE --message-bytes N [--plain] [--gather-us N]
  Serves on free ports of 127.0.0.1 until it is ended. For bench/load.";

/// A sleep gathers as long as the dataplane's does if nothing is said: what it saves is the driver's doing, on both sides.
const GATHER_US: u64 = 100;

/// As a gateway slot of the dataplane asks for.
const RECEIVE_BYTES: usize = uring::SLOT_RECEIVE_BYTES;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut cert, mut key, mut message_bytes, mut plain) = (None, None, None, false);
    let mut gather_us = GATHER_US;
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--cert" => cert = arguments.next(),
            "--key" => key = arguments.next(),
            "--message-bytes" => message_bytes = arguments.next().and_then(|count| count.parse::<usize>().ok()),
            "--plain" => plain = true,
            "--gather-us" => gather_us = arguments.next().and_then(|span| span.parse().ok()).ok_or(USAGE)?,
            _ => return Err(format!("unknown option `{option}`\n{USAGE}").into()),
        }
    }
    let (Some(cert), Some(key), Some(message_bytes)) = (cert, key, message_bytes) else { return Err(USAGE.into()) };
    let tls = if plain { None } else { Some(server_config(Path::new(&cert), Path::new(&key))?) };

    let any: SocketAddr = "127.0.0.1:0".parse()?;
    let udp = UdpSocket::bind(any)?;
    // A host that grants less is measured with less, as the dataplane is.
    let _granted = rustix::net::sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BYTES);
    let udp_address = udp.local_addr()?;
    let (listener, wss_address) = uring::tcp_listener(any, 1024)?;
    // Pinning is for evenness; a host that refuses it is measured all the same.
    let _pinned = uring::pin_to_core(0);
    let sizing = Sizing::from_limits(HostLimits::raise(), 1, Wanted { connection_count: 4096, ..Wanted::default() })?;
    let (mut doors, peers) = uring::doors(1)?;
    let config = ShardConfig {
        shard: 0,
        sockets: vec![(Socket(0), udp.into())],
        listeners: vec![(Listener(0), listener)],
        sizing,
        door: doors.remove(0),
        peers,
        directory: None,
    };
    let mut uring = Uring::start(config)?;
    let _gathers = uring.gather(Duration::from_micros(gather_us));
    let mut floor = Floor::new(uring, tls, message_bytes);
    println!("ready: udp {udp_address}, wss {wss_address}");
    floor.run(&AtomicBool::new(false));
    Ok(())
}

fn server_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let secret = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    Ok(Arc::new(config))
}
