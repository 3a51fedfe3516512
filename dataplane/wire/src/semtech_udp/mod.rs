//! Semtech's packet forwarder protocol (GWMP), versions 1 and 2: gateways' datagrams and the server's answers.
//!
//! Owns the header, and the JSON objects within. Never authenticates (the protocol cannot), never matches tokens.
//! A datagram's JSON is checked whole at [`PushData::body`]; from then on one bad `rxpk` costs only itself.
//!
//! ```text
//!   | version 1 | token 2 | identifier 1 | EUI 8 (from gateways) | JSON … |
//!
//!   up    0x00 PUSH_DATA   0x02 PULL_DATA   0x05 TX_ACK (version 2)
//!   down  0x01 PUSH_ACK    0x04 PULL_ACK    0x03 PULL_RESP
//! ```

mod entry;
mod rxpk;
mod stat;
mod time;
mod txpk;

pub use rxpk::{CodingRate, Crc, PAYLOAD_BYTES_MAX, Refusal, Rxpk, Rxpks};
pub use stat::Stat;
pub use time::parse as parse_time;
pub use txpk::{PULL_RESP_BYTES_MAX, Txpk, When, write_pull_resp};

use crate::NoRoom;
use crate::json::{self, Kind, Reader, Text};
use base::Eui64;

const TOKEN_AT: usize = 1;
const IDENTIFIER_AT: usize = 3;
const EUI_AT: usize = 4;
const BODY_AT: usize = 12;

/// Bytes of PUSH_ACK and PULL_ACK, and of every header before the EUI.
pub const ACK_BYTES: usize = EUI_AT;

/// Identifiers that gateways send.
const PUSH_DATA: u8 = 0x00;
const PULL_DATA: u8 = 0x02;
const TX_ACK: u8 = 0x05;
/// Identifiers that servers send.
const PUSH_ACK: u8 = 0x01;
const PULL_RESP: u8 = 0x03;
const PULL_ACK: u8 = 0x04;

/// The protocol's version, which an answer repeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Version {
    /// Without TX_ACK; the token of a PULL_RESP means nothing.
    V1 = 1,
    /// PULL_RESP is answered by TX_ACK with the same token.
    V2 = 2,
}

base::counted! {
    /// Why a datagram is not one of the protocol.
    pub enum Malformed {
        Short = "short": "The datagram ends within the header.",
        Version = "version": "The version is neither 1 nor 2.",
        Identifier = "identifier": "The identifier is not one of the protocol.",
        Direction = "direction": "The identifier is one that only servers send.",
        TxAckVersion = "tx_ack_version": "A TX_ACK of version 1, which has none.",
        TooLong = "too_long": "The JSON text is longer than a datagram can be.",
        Utf8 = "utf8": "The JSON text is not UTF-8.",
        Depth = "depth": "The JSON text is nested too deeply.",
        Json = "json": "The text is not JSON.",
        Shape = "shape": "The JSON text is not an object of the protocol's members.",
    }
}

impl From<json::Error> for Malformed {
    fn from(error: json::Error) -> Self {
        match error.kind {
            json::ErrorKind::TooLong => Self::TooLong,
            json::ErrorKind::Utf8 => Self::Utf8,
            json::ErrorKind::Depth => Self::Depth,
            json::ErrorKind::Type => Self::Shape,
            _ => Self::Json,
        }
    }
}

/// A datagram from a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Frames heard, or a status; answered by PUSH_ACK at once, whatever its JSON is.
    PushData(PushData<'a>),
    /// Opens and keeps the return path; answered by PULL_ACK at once.
    PullData(PullData),
    /// What became of a PULL_RESP.
    TxAck(TxAck),
}

/// PUSH_DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushData<'a> {
    /// Repeated by the answer.
    pub version: Version,
    /// Repeated by the answer.
    pub token: [u8; 2],
    /// The gateway.
    pub eui: Eui64,
    /// The body, not yet checked.
    pub json: &'a [u8],
}

/// PULL_DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullData {
    /// Repeated by the answer.
    pub version: Version,
    /// Repeated by the answer.
    pub token: [u8; 2],
    /// The gateway.
    pub eui: Eui64,
}

/// TX_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxAck {
    /// That of the PULL_RESP.
    pub token: [u8; 2],
    /// The gateway.
    pub eui: Eui64,
    /// Whether it will be, or why it will not be transmitted.
    pub outcome: TxOutcome,
    /// It is transmitted otherwise than asked.
    pub warning: Option<TxWarning>,
}

/// What was changed, as newer forwarders tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxWarning {
    /// What, in the words of errors (`TX_POWER`).
    pub what: TxOutcome,
    /// What it was changed to, if a number was given: dBm for power.
    pub value: Option<i32>,
}

base::counted! {
    /// What a gateway said of a PULL_RESP.
    pub enum TxOutcome {
        Sent = "none": "Accepted for transmission.",
        TooLate = "too_late": "It came too late to be transmitted.",
        TooEarly = "too_early": "Its time of transmission is too far ahead.",
        CollisionPacket = "collision_packet": "Another packet is to be transmitted at that time.",
        CollisionBeacon = "collision_beacon": "A beacon is to be transmitted at that time.",
        TxFreq = "tx_freq": "The frequency is outside the transmitter's range.",
        TxPower = "tx_power": "The power is outside the transmitter's range.",
        GpsUnlocked = "gps_unlocked": "A GPS time was asked for, and GPS is not locked.",
        Other = "other": "An error that the protocol's document does not list.",
    }
}

impl TxOutcome {
    /// The outcome of this name; those that are not in the protocol's document are [`TxOutcome::Other`].
    #[must_use]
    pub fn from_name(name: Text<'_>) -> Self {
        [
            ("NONE", Self::Sent),
            // Seen in the field beside an object without members.
            ("", Self::Sent),
            ("TOO_LATE", Self::TooLate),
            ("TOO_EARLY", Self::TooEarly),
            ("COLLISION_PACKET", Self::CollisionPacket),
            ("COLLISION_BEACON", Self::CollisionBeacon),
            ("TX_FREQ", Self::TxFreq),
            ("TX_POWER", Self::TxPower),
            ("GPS_UNLOCKED", Self::GpsUnlocked),
        ]
        .into_iter()
        .find(|(known, _)| name.is(known))
        .map_or(Self::Other, |(_, outcome)| outcome)
    }
}

impl<'a> Datagram<'a> {
    /// Reads a datagram: its header, and of a TX_ACK also its body.
    ///
    /// # Errors
    /// Why it is none of the protocol's.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let Some((header, rest)) = bytes.split_first_chunk::<EUI_AT>() else {
            return Err(Malformed::Short);
        };
        let version = match header[0] {
            1 => Version::V1,
            2 => Version::V2,
            _ => return Err(Malformed::Version),
        };
        let identifier = header[IDENTIFIER_AT];
        match identifier {
            PUSH_DATA | PULL_DATA | TX_ACK => {}
            PUSH_ACK | PULL_ACK | PULL_RESP => return Err(Malformed::Direction),
            _ => return Err(Malformed::Identifier),
        }
        let token = [header[TOKEN_AT], header[TOKEN_AT + 1]];
        let (eui, body) = rest.split_first_chunk::<{ BODY_AT - EUI_AT }>().ok_or(Malformed::Short)?;
        let eui = Eui64(*eui);
        Ok(match identifier {
            PUSH_DATA => Self::PushData(PushData { version, token, eui, json: trim(body) }),
            PULL_DATA => Self::PullData(PullData { version, token, eui }),
            _ if version == Version::V1 => return Err(Malformed::TxAckVersion),
            _ => {
                let (outcome, warning) = tx_ack_body(trim(body))?;
                Self::TxAck(TxAck { token, eui, outcome, warning })
            }
        })
    }

    /// The gateway that says it sent this.
    #[must_use]
    pub const fn eui(&self) -> Eui64 {
        match self {
            Self::PushData(push) => push.eui,
            Self::PullData(pull) => pull.eui,
            Self::TxAck(ack) => ack.eui,
        }
    }
}

/// The checked body of a PUSH_DATA.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    rxpk: Option<rxpk::Array<'a>>,
    stat: Option<&'a str>,
}

impl<'a> PushData<'a> {
    /// Checks all of the body's JSON, and finds its members.
    ///
    /// # Errors
    /// Why it is not a body of the protocol; nothing of it can be used then.
    pub fn body(&self) -> Result<Body<'a>, Malformed> {
        let mut body = Body::default();
        let mut reader = Reader::new(self.json)?;
        reader.object()?;
        while let Some(key) = reader.key()? {
            // Some forwarders write null for "none".
            if key.is("rxpk") {
                rxpk::Array::read(&mut reader, &mut body.rxpk)?;
            } else if key.is("stat") {
                body.stat = stat(&mut reader)?;
            } else {
                reader.pass()?;
            }
        }
        reader.finish()?;
        Ok(body)
    }
}

impl<'a> Body<'a> {
    /// The frames heard, one per entry and antenna.
    #[must_use]
    pub fn rxpk(&self) -> Rxpks<'a> {
        Rxpks::new(self.rxpk)
    }

    /// The gateway's status, if it is one.
    #[must_use]
    pub fn stat(&self) -> Option<Stat<'a>> {
        self.stat.map(Stat::new)
    }
}

/// An object, or `null`, which stands for none.
fn stat<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Malformed> {
    let kind = reader.peek()?;
    let text = reader.skip()?;
    match kind {
        Kind::Null => Ok(None),
        Kind::Object => Ok(Some(text)),
        _ => Err(Malformed::Shape),
    }
}

fn tx_ack_body(json: &[u8]) -> Result<(TxOutcome, Option<TxWarning>), Malformed> {
    let (mut outcome, mut warning, mut value) = (TxOutcome::Sent, None, None);
    // Early forwarders say nothing when all is well.
    if json.is_empty() {
        return Ok((outcome, None));
    }
    let mut reader = Reader::new(json)?;
    reader.object()?;
    while let Some(key) = reader.key()? {
        if !key.is("txpk_ack") {
            reader.skip()?;
            continue;
        }
        reader.object()?;
        (outcome, warning, value) = (TxOutcome::Sent, None, None);
        while let Some(key) = reader.key()? {
            let kind = reader.peek()?;
            match kind {
                Kind::String if key.is("error") => outcome = TxOutcome::from_name(reader.string()?),
                Kind::String if key.is("warn") => warning = Some(TxOutcome::from_name(reader.string()?)),
                Kind::Number if key.is("value") => {
                    value = reader.number()?.fixed(0).and_then(|value| i32::try_from(value).ok());
                }
                _ => {
                    reader.skip()?;
                }
            }
        }
    }
    reader.finish()?;
    let warning = warning.filter(|what| *what != TxOutcome::Sent).map(|what| TxWarning { what, value });
    Ok((outcome, warning))
}

/// Without what forwarders written in C leave at the end: NUL bytes, line ends.
fn trim(mut body: &[u8]) -> &[u8] {
    while let [rest @ .., 0 | b' ' | b'\t' | b'\r' | b'\n'] = body {
        body = rest;
    }
    body
}

/// Answers a PUSH_DATA: received, which is no acceptance. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] below [`ACK_BYTES`].
pub fn write_push_ack(version: Version, token: [u8; 2], out: &mut [u8]) -> Result<usize, NoRoom> {
    header(version, token, PUSH_ACK, out)
}

/// Answers a PULL_DATA. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] below [`ACK_BYTES`].
pub fn write_pull_ack(version: Version, token: [u8; 2], out: &mut [u8]) -> Result<usize, NoRoom> {
    header(version, token, PULL_ACK, out)
}

fn header(version: Version, token: [u8; 2], identifier: u8, out: &mut [u8]) -> Result<usize, NoRoom> {
    let out = out.first_chunk_mut::<ACK_BYTES>().ok_or(NoRoom)?;
    *out = [version as u8, token[0], token[1], identifier];
    Ok(ACK_BYTES)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
