//! The opening handshake, the server's side (RFC 6455 §4.2).

use super::{Head, Status};
use crate::put::Put;
use crate::websocket::{DeflateParams, negotiate};
use crate::{NoRoom, base64};
use sha1::{Digest, Sha1};

/// Characters of `Sec-WebSocket-Accept`.
pub const ACCEPT_BYTES: usize = 28;

/// What the key is joined with (RFC 6455 §1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

base::counted! {
    /// Why a request does not open a WebSocket.
    pub enum Refused {
        Method = "method": "The method is not GET.",
        HttpVersion = "http_version": "The HTTP version is not 1.1.",
        Body = "body": "The request brings a body.",
        Host = "host": "There is not exactly one Host field.",
        NoUpgrade = "no_upgrade": "The request asks for no upgrade to WebSocket.",
        Version = "version": "The WebSocket version is not 13.",
        Key = "key": "There is not exactly one key, of sixteen bytes in base64.",
    }
}

impl Refused {
    /// The status to refuse it with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Method => Status::MethodNotAllowed,
            Self::NoUpgrade | Self::Version => Status::UpgradeRequired,
            Self::HttpVersion | Self::Body | Self::Host | Self::Key => Status::BadRequest,
        }
    }
}

/// A request that may be answered with a WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'h, 'a> {
    head: &'h Head<'a>,
    accept: [u8; ACCEPT_BYTES],
}

/// What the answer says beside yes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The subprotocol chosen, one of those offered.
    pub protocol: Option<&'a str>,
    /// What [`Upgrade::deflate`] found.
    pub deflate: Option<DeflateParams>,
}

impl<'h, 'a> Upgrade<'h, 'a> {
    /// Checks a request.
    ///
    /// # Errors
    /// Why it opens no WebSocket.
    pub fn check(head: &'h Head<'a>) -> Result<Self, Refused> {
        if head.method() != "GET" {
            return Err(Refused::Method);
        }
        if !head.is_http_1_1() {
            return Err(Refused::HttpVersion);
        }
        if head.has_body() {
            return Err(Refused::Body);
        }
        if single(head, "Host").is_none() {
            return Err(Refused::Host);
        }
        if !lists(head, "Upgrade", "websocket") || !lists(head, "Connection", "Upgrade") {
            return Err(Refused::NoUpgrade);
        }
        if single(head, "Sec-WebSocket-Version") != Some(b"13") {
            return Err(Refused::Version);
        }
        let key = single(head, "Sec-WebSocket-Key").ok_or(Refused::Key)?;
        let mut nonce = [0; 16];
        // Twenty-four characters: padded, as RFC 4648 §4 has it.
        if key.len() != 24 || base64::decode(key, &mut nonce) != Ok(16) {
            return Err(Refused::Key);
        }
        Ok(Self { head, accept: accept_of(key) })
    }

    /// Whether the client offers this subprotocol; names are case-sensitive.
    #[must_use]
    pub fn offers(&self, protocol: &str) -> bool {
        tokens(self.head, "Sec-WebSocket-Protocol").any(|token| token == protocol.as_bytes())
    }

    /// The first offer of permessage-deflate that can be honoured.
    #[must_use]
    pub fn deflate(&self) -> Option<DeflateParams> {
        let mut values = self.head.fields("Sec-WebSocket-Extensions");
        values.find_map(|value| core::str::from_utf8(value).ok().and_then(negotiate))
    }

    /// Writes the answer that opens the WebSocket. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, answer: &Answer<'_>, out: &mut [u8]) -> Result<usize, NoRoom> {
        let mut out = Put::new(out);
        out.bytes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        out.bytes(b"Sec-WebSocket-Accept: ");
        out.bytes(&self.accept);
        out.bytes(b"\r\n");
        if let Some(protocol) = answer.protocol {
            debug_assert!(self.offers(protocol), "a subprotocol that was offered");
            out.bytes(b"Sec-WebSocket-Protocol: ");
            out.bytes(protocol.as_bytes());
            out.bytes(b"\r\n");
        }
        if let Some(deflate) = answer.deflate {
            out.bytes(b"Sec-WebSocket-Extensions: ");
            out.with(|out| deflate.write(out));
            out.bytes(b"\r\n");
        }
        out.bytes(b"\r\n");
        out.finish()
    }
}

/// What proves to the client that its key was read: base64 of SHA-1 of key and GUID (RFC 6455 §4.2.2).
#[must_use]
pub fn accept_of(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    base64::encode(&digest, &mut accept).expect("twenty bytes are twenty-eight digits");
    accept
}

/// The value of a field that must be there once.
fn single<'a>(head: &Head<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = head.fields(name);
    let value = values.next()?;
    values.next().is_none().then(|| value.trim_ascii())
}

fn lists(head: &Head<'_>, name: &str, token: &str) -> bool {
    tokens(head, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

/// The members of a field's comma-separated list, over all fields of the name (RFC 9110 §5.6.1).
fn tokens<'s>(head: &'s Head<'_>, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
    head.fields(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}
