//! CONNECT: the first packet of a connection, which settles the version of all that follow (3.1).
//!
//! | name length 2, name | level 1 | flags 1 | keep alive 2 | properties (v5) | client id | will | user name | password |
//!
//! What cannot be accepted is a [`Refusal`], which knows the CONNACK to send in the version that the client seems to speak.

use crate::decode::{Head, head};
use crate::put::{NoRoom, Put};
use crate::read::Read;
use crate::{Binary, Connack, Decoded, Failure, Place, Properties, PropertyId, Qos, Role, Text, TopicName, Version};

/// The first byte of a CONNECT.
const FIRST: u8 = 0x10;

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that it speaks.
    pub version: Version,
    /// No session is to be resumed. With 3.1.1 (where it is called clean session) none is to be kept either.
    pub clean_start: bool,
    /// Seconds within which a packet comes; 0: any time.
    pub keep_alive_s: u16,
    /// What identifies the session; empty: the server chooses. Empty with 3.1.1 only if nothing is to be kept.
    pub client_id: Text<'a>,
    /// What is published when the connection ends without a word.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub user_name: Option<Text<'a>>,
    /// How it proves that; with 3.1.1 never without a user name.
    pub password: Option<Binary<'a>>,
    /// With 5.0.
    pub properties: Properties<'a>,
}

/// A message that the server publishes for a client that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its quality of service.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Where it goes.
    pub topic: TopicName<'a>,
    /// What it says.
    pub payload: Binary<'a>,
    /// With 5.0.
    pub properties: Properties<'a>,
}

/// A connection that did not begin as it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub failure: Failure,
    /// The version to answer in, if what came names one.
    pub version: Option<Version>,
}

impl Refusal {
    /// The CONNACK to send before the connection is closed, if there is one. A 3.1.1 client hears of a level that is not
    /// spoken and of a missing client identifier alone (v3 3.1.4); one that speaks neither version, nothing.
    #[must_use]
    pub const fn answer(&self) -> Option<(Version, Connack<'static>)> {
        let Some(version) = self.version else {
            return None;
        };
        match (version, self.failure) {
            (Version::V5, _) | (Version::V3, Failure::ProtocolLevel | Failure::ClientId) => {
                Some((version, Connack::refused(self.failure.reason_code())))
            }
            (Version::V3, _) => None,
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.failure, out)
    }
}

impl core::error::Error for Refusal {}

/// Decodes the first packet of a connection, of which `input` is what has arrived so far.
///
/// # Errors
/// Why the connection is refused, and what to answer: as soon as the bytes show it, at the fixed header if the packet is
/// larger than `packet_bytes_max`.
pub fn first(input: &[u8], packet_bytes_max: u32) -> Result<Decoded<Connect<'_>>, Refusal> {
    let silent = |failure| Refusal { failure, version: None };
    match input.first() {
        None => return Ok(Decoded::Incomplete { needed: 2 }),
        Some(&FIRST) => {}
        Some(first) if first >> 4 == FIRST >> 4 => return Err(silent(Failure::Flags)),
        Some(_) => return Err(silent(Failure::NotConnect)),
    }
    let Some(Head { body_at, packet_bytes, is_padded }) = head(input).map_err(silent)? else {
        return Ok(Decoded::Incomplete { needed: input.len().max(1) + 1 });
    };
    let refused = |failure| Refusal { failure, version: spoken(&input[body_at..]) };
    if packet_bytes > packet_bytes_max as usize {
        return Err(refused(Failure::TooLarge));
    }
    let Some(body) = input.get(body_at..packet_bytes) else {
        return Ok(Decoded::Incomplete { needed: packet_bytes });
    };
    let connect = Connect::parse(Read(body)).map_err(refused)?;
    if is_padded && connect.version == Version::V5 {
        return Err(refused(Failure::RemainingLength));
    }
    Ok(Decoded::Packet(connect, packet_bytes))
}

/// The version that a client of this name and level understands an answer in. Bridges set the level's highest bit.
fn spoken(body: &[u8]) -> Option<Version> {
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => {
            Some(if *level & 0x7F <= Version::V3 as u8 { Version::V3 } else { Version::V5 })
        }
        // 3.1.
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Some(Version::V3),
        _ => None,
    }
}

impl<'a> Connect<'a> {
    /// A CONNECT with nothing but a client identifier, which starts clean and keeps alive for a minute.
    #[must_use]
    pub const fn new(version: Version, client_id: Text<'a>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_s: 60,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::NONE,
        }
    }

    fn parse(mut read: Read<'a>) -> Result<Self, Failure> {
        let name = read.text()?;
        let level = match name.as_bytes() {
            b"MQTT" => read.one()?,
            b"MQIsdp" => return Err(Failure::ProtocolLevel),
            _ => return Err(Failure::ProtocolName),
        };
        let version = match level {
            4 => Version::V3,
            5 => Version::V5,
            _ => return Err(Failure::ProtocolLevel),
        };
        let flags = read.one()?;
        if flags & 1 != 0 {
            return Err(Failure::ConnectFlags);
        }
        let will_qos = Qos::from_wire(flags >> 3 & 3).ok_or(Failure::WillFlags)?;
        if flags & WILL == 0 && (will_qos != Qos::AtMostOnce || flags & WILL_RETAIN != 0) {
            return Err(Failure::WillFlags);
        }
        if version == Version::V3 && flags & (USER_NAME | PASSWORD) == PASSWORD {
            return Err(Failure::PasswordAlone);
        }
        let clean_start = flags & CLEAN_START != 0;
        let keep_alive_s = read.two()?;
        let own = properties(&mut read, version, Place::Connect)?;
        if own.has(PropertyId::AuthenticationData) && !own.has(PropertyId::AuthenticationMethod) {
            return Err(Failure::AuthMethod);
        }
        let client_id = read.text()?;
        if version == Version::V3 && client_id.is_empty() && !clean_start {
            return Err(Failure::ClientId);
        }
        let will = match flags & WILL {
            0 => None,
            _ => Some(Will {
                qos: will_qos,
                retain: flags & WILL_RETAIN != 0,
                properties: properties(&mut read, version, Place::Will)?,
                topic: read.name()?,
                payload: read.binary()?,
            }),
        };
        let user_name = if flags & USER_NAME == 0 { None } else { Some(read.text()?) };
        let password = if flags & PASSWORD == 0 { None } else { Some(read.binary()?) };
        read.end()?;
        Ok(Self { version, clean_start, keep_alive_s, client_id, will, user_name, password, properties: own })
    }

    fn body_bytes(&self) -> usize {
        let is_v5 = self.version == Version::V5;
        let properties = |properties: &Properties<'_>| if is_v5 { properties.framed_bytes() } else { 0 };
        let counted = |bytes: &[u8]| 2 + bytes.len();
        let will = self.will.as_ref().map_or(0, |will| {
            properties(&will.properties) + counted(will.topic.as_bytes()) + counted(will.payload.as_bytes())
        });
        10 + properties(&self.properties)
            + counted(self.client_id.as_bytes())
            + will
            + self.user_name.map_or(0, |name| counted(name.as_bytes()))
            + self.password.map_or(0, |password| counted(password.as_bytes()))
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        crate::put::framed_bytes(self.body_bytes())
    }

    /// Writes the packet into the front of `out`. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        debug_assert!(
            self.version == Version::V5 || self.user_name.is_some() || self.password.is_none(),
            "a password of 3.1.1 has a user name"
        );
        let (mut put, count) = Put::framed(FIRST, self.body_bytes(), out)?;
        put.counted(b"MQTT");
        put.one(self.version as u8);
        put.one(self.flags());
        put.two(self.keep_alive_s);
        if self.version == Version::V5 {
            self.properties.put_framed(Place::Connect, &mut put);
        }
        put.counted(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                will.properties.put_framed(Place::Will, &mut put);
            }
            put.counted(will.topic.as_bytes());
            put.counted(will.payload.as_bytes());
        }
        if let Some(name) = self.user_name {
            put.counted(name.as_bytes());
        }
        if let Some(password) = self.password {
            put.counted(password.as_bytes());
        }
        put.end();
        Ok(count)
    }

    fn flags(&self) -> u8 {
        let set = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| WILL | (will.qos as u8) << 3 | set(will.retain, WILL_RETAIN));
        set(self.clean_start, CLEAN_START)
            | will
            | set(self.password.is_some(), PASSWORD)
            | set(self.user_name.is_some(), USER_NAME)
    }
}

fn properties<'a>(read: &mut Read<'a>, version: Version, place: Place) -> Result<Properties<'a>, Failure> {
    match version {
        Version::V3 => Ok(Properties::NONE),
        Version::V5 => Properties::read(read, place, Role::Server),
    }
}
