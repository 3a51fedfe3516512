//! Sans-IO frames of everything but LoRaWAN: what gateways, applications and their transports put on the wire.
//!
//! Owns layouts and grammars. Never reads a clock, never does I/O; nothing here allocates per message: parsers borrow
//! from the bytes they are given, writers fill the buffer that the caller lends. Bad input is an error that says why.
//!
//! ```text
//!   semtech_udp   gateways' datagrams (GWMP)          over json, base64
//!   json          RFC 8259, a pull parser and a small writer
//!   base64        RFC 4648 section 4
//!   http          a request for an upgrade and its answers   over httparse, sha1
//!   websocket     RFC 6455, RFC 7692        over flate2
//!   downlink      what stream clients ask for, and are told
//!   acknowledgement   what they say of messages that they were sent
//! ```

pub mod acknowledgement;
pub mod base64;
pub mod downlink;
pub mod fuzzing;
pub mod http;
pub mod json;
mod put;
pub mod semtech_udp;
pub mod websocket;

/// The caller's buffer is too small for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("the buffer is too small")
    }
}

impl core::error::Error for NoRoom {}
