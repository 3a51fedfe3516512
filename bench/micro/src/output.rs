//! An event on its way out: template, WebSocket frame, TLS record; and what a client sends, unmasked.

use crate::uplink::{DEV_ADDR, PAYLOAD};
use crate::{Kernel, Work, fnv, plain};
use base::{DataRate, Eui64, UnixMicros};
use emit::Template;
use event::{Event, Kind, RECEPTION_BYTES, Reception, Receptions, SCHEMA};
use rustls::crypto::cipher::{InboundOpaqueMessage, MessageDecrypter};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    ServerConfig, SupportedCipherSuite,
};
use shard::tls::{Outlet, RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX, Scratch, Tls};
use std::hint::black_box;
use std::sync::Arc;
use wire::websocket::{FrameHead, HEAD_BYTES_MAX, Opcode, apply_mask};

pub(crate) const TEMPLATE: Kernel =
    Kernel { name: "template", what: "an uplink in the default format", large: false, prepare: template };
pub(crate) const WEBSOCKET_FRAME: Kernel = Kernel {
    name: "websocket_frame",
    what: "the head of a message of 280 bytes, before it",
    large: false,
    prepare: websocket_frame,
};
pub(crate) const WEBSOCKET_UNMASK: Kernel = Kernel {
    name: "websocket_unmask",
    what: "1 KiB of a client's, copied and unmasked",
    large: false,
    prepare: websocket_unmask,
};
pub(crate) const TLS_RECORD: Kernel = Kernel {
    name: "tls_record",
    what: "one message of 284 bytes as a record of TLS 1.3",
    large: false,
    prepare: || tls_record(284),
};
pub(crate) const TLS_RECORD_FULL: Kernel = Kernel {
    name: "tls_record_full",
    what: "57 such messages as one record",
    large: false,
    prepare: || tls_record(57 * 284),
};

const _: () = assert!(57 * 284 <= RECORD_PLAIN_BYTES_MAX);

/// Bytes of a message in the default format.
const MESSAGE_BYTES: usize = 280;

/// An uplink as it is told.
const JSON: &str = r#"{"Type":2,"DeviceEUI":"70B3D57ED0000001","AppEUI":"0000000000000000","Timestamp":1700000000,"Port":2,"Data":"7477656E7479206279746573206F662064617461","Frequency":868.1,"RSSI":-57,"SNR":9.5,"Gateway":"0000000000000001","DataRate":"SF7BW125","FCnt":7,"Id":"70B3D57ED0000001-0-7-0"}"#;

fn template() -> Box<dyn Work> {
    struct State {
        template: Template,
        reception: [u8; RECEPTION_BYTES],
        out: [u8; 2048],
        count: usize,
    }
    let format = event::formats::find(event::formats::DEFAULT).expect("the default is shipped");
    let (_, text) = format.templates.iter().find(|(kind, _)| *kind == Kind::Uplink).expect("uplinks have a template");
    let template = Template::parse(text, &SCHEMA).expect("shipped templates compile");
    let reception =
        Reception { gateway: Eui64::new(1), rssi_deci: -570, snr_deci: 95, ..Reception::default() }.to_wire();
    let operation = |state: &mut State| {
        let event = Event {
            mtype: 2,
            fport: Some(2),
            dev_eui: Eui64::new(0x70B3_D57E_D000_0001),
            dev_addr: DEV_ADDR.0,
            fcnt: 7,
            frequency_hz: 868_100_000,
            data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
            receptions: Receptions::new(&state.reception),
            payload: PAYLOAD,
            ..Event::new(Kind::Uplink, UnixMicros(1_700_000_000_000_000))
        };
        state.count = state.template.run(black_box(&event), &mut state.out).unwrap_or(0);
    };
    let state = State { template, reception, out: [0; 2048], count: 0 };
    plain(state, operation, |state| state.out[..state.count].to_vec(), JSON.as_bytes().to_vec())
}

fn websocket_frame() -> Box<dyn Work> {
    let state = ([0u8; HEAD_BYTES_MAX + MESSAGE_BYTES], 0);
    plain(
        state,
        |(out, start)| {
            let head = FrameHead::message(Opcode::Text, black_box(MESSAGE_BYTES));
            *start = head.write_before(HEAD_BYTES_MAX, out).unwrap_or(0);
        },
        |(out, start)| out[*start..HEAD_BYTES_MAX].to_vec(),
        // FIN and text, then 126 for a length of two bytes (RFC 6455 §5.2).
        vec![0x81, 126, 1, 24],
    )
}

fn websocket_unmask() -> Box<dyn Work> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let clear: [u8; 1024] = std::array::from_fn(|at| at as u8);
    // The mask begins with its second byte: the payload goes on in the middle of a frame.
    let masked: [u8; 1024] = std::array::from_fn(|at| clear[at] ^ MASK[(at + 1) % 4]);
    plain(
        (masked, [0u8; 1024]),
        |(masked, out)| {
            *out = *masked;
            apply_mask(out, black_box(MASK), 1);
        },
        |(_, out)| out.to_vec(),
        clear.to_vec(),
    )
}

/// A server's connection after its handshake, and what its client deciphers with.
struct TlsRecord {
    server: Tls,
    decrypter: Box<dyn MessageDecrypter>,
    /// The number of the next record after the handshake.
    first: u64,
    plain: Vec<u8>,
    record: Vec<u8>,
    record_bytes: usize,
    count: u64,
}

/// After so many records a new connection is made: long before keys are changed.
const RECORDS_MAX: u64 = 1 << 20;

/// Type, version and length of a record (RFC 8446 §5.1).
const RECORD_HEAD_BYTES: usize = 5;

/// Bytes for the client.
struct Wire(Vec<u8>);

impl Outlet for Wire {
    fn plain(&mut self, _: &[u8]) {}

    fn cipher(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let certificate: CertificateDer<'static> = signed.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}

fn tls_record(plain_bytes: usize) -> Box<dyn Work> {
    let (server, client) = configurations();
    let mut server = Tls::new(&server).expect("a server");
    let mut client = ClientConnection::new(client, "localhost".try_into().expect("a name")).expect("a client");
    let (mut incoming, mut scratch) = (Vec::new(), Scratch::default());
    while client.is_handshaking() || client.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut incoming).expect("to memory");
        }
        let mut wire = Wire(Vec::new());
        let progress = server.receive(&mut incoming, &mut scratch, &mut wire);
        assert!(!progress.failed, "both speak TLS");
        incoming.drain(..progress.consumed);
        let mut rest = &wire.0[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("from memory");
            client.process_new_packets().expect("what the server says is TLS");
        }
    }
    assert!(incoming.is_empty(), "the handshake is over");
    let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else { panic!("TLS 1.3") };
    let (first, keys) = client.dangerous_extract_secrets().expect("extraction is on").rx;
    let (key, iv) = match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("unknown keys"),
    };
    let decrypter = suite.aead_alg.decrypter(key, iv);
    let plain = (0..plain_bytes).map(|at| at as u8).collect();
    let record = vec![0; plain_bytes + RECORD_OVERHEAD_BYTES];
    Box::new(TlsRecord { server, decrypter, first, plain, record, record_bytes: 0, count: 0 })
}

impl Work for TlsRecord {
    fn run(&mut self, count: u64) {
        for _ in 0..count {
            self.record_bytes = self.server.encrypt(&mut [], black_box(&self.plain), &mut self.record).unwrap_or(0);
        }
        self.count += count;
    }

    /// The client deciphers the last record, which must be the one of its place in the sequence.
    fn check(&mut self) -> Result<u64, String> {
        let mut bytes = self.record.get(RECORD_HEAD_BYTES..self.record_bytes).unwrap_or_default().to_vec();
        let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, &mut bytes);
        let number = (self.first + self.count).checked_sub(1).ok_or("nothing was enciphered")?;
        let clear = self.decrypter.decrypt(message, number).map_err(|error| error.to_string())?;
        if clear.payload == self.plain { Ok(fnv(clear.payload)) } else { Err("another plaintext".into()) }
    }

    fn left(&self) -> u64 {
        RECORDS_MAX - self.count
    }
}
