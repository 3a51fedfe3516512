//! TLS in memory, against rustls' own client.

use super::*;
use driver::End;
use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use std::io::{Read, Write};

pub(super) fn configurations(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let certificate: CertificateDer<'static> = signed.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}

/// A client with its end of the wire.
pub(super) struct Secure {
    tls: ClientConnection,
    connection: Connection,
    plain: Vec<u8>,
}

impl Secure {
    fn connect(world: &mut World, config: &Arc<ClientConfig>) -> Self {
        let name = "localhost".try_into().expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Self { tls, connection: world.driver(0).connect(SECURE), plain: Vec::new() }
    }

    /// Bytes to and fro until both are silent.
    pub(super) fn exchange(&mut self, world: &mut World) {
        for _ in 0..8 {
            let mut out = Vec::new();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut out).expect("to memory");
            }
            // In crumbs, as a network may deliver them.
            for crumb in out.chunks(37) {
                world.driver(0).say(self.connection, crumb);
            }
            world.turns(2);
            let taken = std::mem::take(&mut world.driver(0).peer(self.connection).taken);
            let mut rest = &taken[..];
            while !rest.is_empty() {
                self.tls.read_tls(&mut rest).expect("from memory");
                self.tls.process_new_packets().expect("what the shard says is TLS");
                match self.tls.reader().read_to_end(&mut self.plain) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
        }
    }

    fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    /// A consumer with an open stream.
    pub(super) fn consumer(world: &mut World, config: &Arc<ClientConfig>) -> Self {
        let mut secure = Self::connect(world, config);
        secure.exchange(world);
        secure.tls.writer().write_all(request(&format!("/?token={TOKEN}")).as_bytes()).expect("to memory");
        secure.exchange(world);
        assert!(secure.read().starts_with(b"HTTP/1.1 101 "));
        secure
    }
}

#[test]
fn a_consumer_is_served_over_both_versions() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (server, client) = configurations(version);
        let mut world = World::new(&Sizes { tls: Some(server), ..Sizes::default() });
        world.load(&[stream(|_| {})]);
        let mut secure = Secure::consumer(&mut world, &client);
        let before = world.done(0, Done::RecordsSent);
        secure.tls.writer().write_all(&frame(9, b"one")).expect("to memory");
        for _ in 0..30 {
            world.report();
        }
        secure.exchange(&mut world);
        let taken = frames(&secure.read());
        assert_eq!(taken.iter().filter(|(opcode, _)| *opcode == 1).count(), 30);
        assert!(taken.contains(&(10, b"one".to_vec())));
        assert!(world.done(0, Done::RecordsSent) > before);
        // A message and close_notify at once: the message counts, and the connection ends.
        secure.tls.writer().write_all(&frame(9, b"last")).expect("to memory");
        secure.tls.send_close_notify();
        secure.exchange(&mut world);
        assert!(frames(&secure.read()).contains(&(10, b"last".to_vec())));
        assert_eq!(world.driver(0).peer(secure.connection).closed, Some(Closed::Gracefully));
        assert!(world.is_clean(0));
    }
}

#[test]
fn half_a_handshake_ends_by_fin_reset_or_time() {
    let (server, client) = configurations(&rustls::version::TLS13);
    for (number, end) in [Some(End::Finished), Some(End::Failed(104)), None].into_iter().enumerate() {
        let mut world = World::new(&Sizes { tls: Some(Arc::clone(&server)), ..Sizes::default() });
        let mut secure = Secure::connect(&mut world, &client);
        let mut hello = Vec::new();
        secure.tls.write_tls(&mut hello).expect("to memory");
        world.driver(0).say(secure.connection, &hello[..hello.len() - number]);
        world.turns(3);
        match end {
            Some(end) => world.driver(0).end(secure.connection, end),
            None => world.pass(Duration::from_secs(12)),
        }
        world.turns(3);
        assert!(!world.driver(0).peer(secure.connection).open, "case {number}");
        assert!(world.is_clean(0));
    }
}

#[test]
fn what_is_not_tls_is_answered_by_an_alert() {
    let (server, _) = configurations(&rustls::version::TLS13);
    let mut world = World::new(&Sizes { tls: Some(server), ..Sizes::default() });
    let connection = world.driver(0).connect(SECURE);
    world.driver(0).say(connection, request("/").as_bytes());
    world.turns(4);
    let peer = world.driver(0).peer(connection);
    assert_eq!((peer.taken.first(), peer.closed), (Some(&21), Some(Closed::Gracefully)), "{:?}", peer.taken);
    assert_eq!(world.drops(0, Drop::TlsFailed), 1);
    assert!(world.is_clean(0));
}

/// One byte of a handshake message after the handshake: rustls remembers where it lies, and looks there whenever it is
/// asked for anything.
#[test]
fn a_fragment_of_a_handshake_message_harms_nobody() {
    let (server, client) = configurations(&rustls::version::TLS13);
    let mut world = World::new(&Sizes { tls: Some(server), ..Sizes::default() });
    world.load(&[stream(|_| {})]);
    let secure = Secure::consumer(&mut world, &client);
    let connection = secure.connection;
    let Some(SupportedCipherSuite::Tls13(suite)) = secure.tls.negotiated_cipher_suite() else { panic!("TLS 1.3") };
    let (sequence, keys) = secure.tls.dangerous_extract_secrets().expect("extraction is on").tx;
    let (key, iv) = match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("unknown keys"),
    };
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    let mut record = |typ: ContentType, payload: &[u8], number: u64| {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
        encrypter.encrypt(message, sequence + number).expect("a record").encode()
    };
    // The first byte of a KeyUpdate.
    let fragment = record(ContentType::Handshake, &[24], 0);
    world.driver(0).say(connection, &fragment);
    world.turn();
    world.report();
    world.turns(3);
    let sent = world.driver(0).peer(connection).taken.len();
    assert!(sent > 900, "the event went out: {sent}");
    // Nothing may come between: the peer is told, and let go.
    let interloper = record(ContentType::ApplicationData, &frame(9, b""), 1);
    world.driver(0).say(connection, &interloper);
    world.turns(4);
    assert_eq!(world.drops(0, Drop::TlsFailed), 1);
    assert!(!world.driver(0).peer(connection).open);
    assert!(world.is_clean(0));
}
