//! A gateway that speaks the Semtech UDP packet forwarder protocol, as a packet forwarder does.
//!
//! Owns its sockets: like the real one it sends PUSH_DATA and PULL_DATA from different ports. What arrives between is
//! kept until somebody asks for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an acknowledgement or a downlink may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a frame was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) rssi: i32,
    pub(crate) snr: f64,
    pub(crate) frequency_mhz: f64,
    pub(crate) data_rate: &'static str,
}

impl Default for Heard {
    fn default() -> Self {
        Self { rssi: -57, snr: 9.5, frequency_mhz: 868.1, data_rate: "SF7BW125" }
    }
}

/// A PULL_RESP.
#[derive(Debug, Clone)]
pub(crate) struct Transmission {
    pub(crate) token: [u8; 2],
    pub(crate) txpk: Value,
    pub(crate) phy: Vec<u8>,
}

/// A simulated gateway.
pub(crate) struct Gateway {
    pub(crate) eui: u64,
    version: u8,
    push: UdpSocket,
    pull: UdpSocket,
    token: u16,
    start: Instant,
    waiting: VecDeque<Transmission>,
}

impl Gateway {
    /// A gateway that is connected to `server`; its return path is not open yet.
    pub(crate) fn new(eui: u64, server: SocketAddr) -> Self {
        let socket = || {
            let any: SocketAddr = if server.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
            let socket = UdpSocket::bind(any).expect("a UDP socket");
            socket.connect(server).expect("a loopback address");
            socket
        };
        Self {
            eui,
            version: 2,
            push: socket(),
            pull: socket(),
            token: 1,
            start: Instant::now(),
            waiting: VecDeque::new(),
        }
    }

    /// The same, opened: PULL_DATA was acknowledged.
    pub(crate) fn online(eui: u64, server: SocketAddr) -> Self {
        let mut gateway = Self::new(eui, server);
        assert!(gateway.open(), "PULL_DATA was not acknowledged");
        gateway
    }

    /// Speaks this protocol version from here on.
    pub(crate) fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Its EUI as the API writes it.
    pub(crate) fn name(&self) -> String {
        format!("{:016X}", self.eui)
    }

    /// Sends PULL_DATA, again and again as forwarders do; whether it was acknowledged.
    pub(crate) fn open(&mut self) -> bool {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let head = self.head(0x02);
            self.pull.send(&head).ok();
            let again = Instant::now() + Duration::from_millis(500);
            while let Some(datagram) = receive(&self.pull, again) {
                if datagram[3] == 0x04 && datagram[1..3] == head[1..3] {
                    return true;
                }
                self.keep(&datagram);
            }
        }
        false
    }

    /// The rxpk object of a frame that was heard now.
    pub(crate) fn rxpk(&self, phy: &[u8], heard: Heard) -> Value {
        json!({
            "tmst": self.counter(), "chan": 0, "rfch": 0, "freq": heard.frequency_mhz, "stat": 1, "modu": "LORA",
            "datr": heard.data_rate, "codr": "4/5", "rssi": heard.rssi, "lsnr": heard.snr, "size": phy.len(),
            "data": BASE64.encode(phy),
        })
    }

    /// The concentrator's counter, microseconds.
    pub(crate) fn counter(&self) -> u32 {
        self.start.elapsed().as_micros() as u32
    }

    /// Forwards a frame and waits for PUSH_ACK. Returns the counter at which it was heard.
    pub(crate) fn hear(&mut self, phy: &[u8], heard: Heard) -> u32 {
        let rxpk = self.rxpk(phy, heard);
        assert!(self.report(&json!({ "rxpk": [rxpk] })), "PUSH_DATA was not acknowledged");
        rxpk["tmst"].as_u64().and_then(|tmst| tmst.try_into().ok()).expect("a counter")
    }

    /// Sends PUSH_DATA with this body; whether it was acknowledged.
    pub(crate) fn report(&mut self, body: &Value) -> bool {
        let head = self.send(body);
        let deadline = Instant::now() + PATIENCE;
        while let Some(datagram) = receive(&self.push, deadline) {
            if datagram[3] == 0x01 && datagram[1..3] == head[1..3] {
                return true;
            }
        }
        false
    }

    /// Sends PUSH_DATA and waits for nothing.
    pub(crate) fn send(&mut self, body: &Value) -> Vec<u8> {
        let mut datagram = self.head(0x00);
        let head = datagram.clone();
        datagram.extend(body.to_string().as_bytes());
        // While the server is away the host says so of an earlier datagram.
        if self.push.send(&datagram).is_err() {
            self.push.send(&datagram).ok();
        }
        head
    }

    /// Sends any bytes from the port of PUSH_DATA.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.push.send(bytes).expect("sending to loopback");
    }

    /// The next PULL_RESP, if one comes in time.
    pub(crate) fn transmission(&mut self, patience: Duration) -> Option<Transmission> {
        let deadline = Instant::now() + patience;
        while self.waiting.is_empty() {
            let datagram = receive(&self.pull, deadline)?;
            self.keep(&datagram);
        }
        self.waiting.pop_front()
    }

    /// Answers a PULL_RESP with TX_ACK; `NONE` is success.
    pub(crate) fn tx_ack(&mut self, transmission: &Transmission, error: &str) {
        let mut datagram = self.head(0x05);
        datagram[1..3].copy_from_slice(&transmission.token);
        datagram.extend(json!({ "txpk_ack": { "error": error } }).to_string().as_bytes());
        self.pull.send(&datagram).ok();
    }

    /// Version, a new token, the identifier, the EUI.
    pub(crate) fn head(&mut self, identifier: u8) -> Vec<u8> {
        self.token = self.token.wrapping_add(1);
        let token = self.token.to_be_bytes();
        [&[self.version, token[0], token[1], identifier][..], &self.eui.to_be_bytes()].concat()
    }

    fn keep(&mut self, datagram: &[u8]) {
        if datagram[3] != 0x03 {
            return;
        }
        let body: Value = serde_json::from_slice(&datagram[4..]).expect("PULL_RESP holds JSON");
        let txpk = body["txpk"].clone();
        let phy = BASE64.decode(txpk["data"].as_str().expect("data is text")).expect("data is base64");
        assert_eq!(txpk["size"], phy.len(), "size counts the frame's bytes");
        self.waiting.push_back(Transmission { token: [datagram[1], datagram[2]], txpk, phy });
    }
}

/// The next datagram of at least a header before the deadline.
fn receive(socket: &UdpSocket, deadline: Instant) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        socket.set_read_timeout(Some(left)).expect("a timeout above zero");
        match socket.recv(&mut buffer) {
            Ok(count) if count >= 4 => return Some(buffer[..count].to_vec()),
            // Too short, interrupted, or an ICMP error of an earlier send while the server is away.
            Ok(_) | Err(_) => {}
        }
    }
}
