//! CONNACK: the server's answer to CONNECT (3.2).
//!
//! | flags 1: session present | reason or return code 1 | properties (v5) |

use crate::put::{NoRoom, Put, framed_bytes};
use crate::read::Read;
use crate::{Failure, Place, Properties, PropertyId, ReasonCode, Role, Version};

const FIRST: u8 = 0x20;

/// Whether a client is let in, and on what terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// The server has kept the session. Never so in a refusal.
    pub session_present: bool,
    /// Success, or why not.
    pub code: ReasonCode,
    /// With 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// Lets a client in.
    #[must_use]
    pub const fn accepted(session_present: bool, properties: Properties<'a>) -> Self {
        Self { session_present, code: ReasonCode::Success, properties }
    }

    /// Refuses a client, without properties.
    #[must_use]
    pub const fn refused(code: ReasonCode) -> Self {
        Self { session_present: false, code, properties: Properties::NONE }
    }

    pub(crate) fn parse(mut read: Read<'a>, version: Version) -> Result<Self, Failure> {
        let flags = read.one()?;
        if flags > 1 {
            return Err(Failure::ConnackFlags);
        }
        let number = read.one()?;
        let (code, properties) = match version {
            Version::V3 => (ReasonCode::from_connect_return_code(number), Properties::NONE),
            Version::V5 => (
                ReasonCode::from_wire(number).filter(|code| code.fits(Place::Connack, Role::Client)),
                Properties::read(&mut read, Place::Connack, Role::Client)?,
            ),
        };
        let code = code.ok_or(Failure::ReasonCode)?;
        if flags == 1 && code != ReasonCode::Success {
            return Err(Failure::ConnackFlags);
        }
        if properties.has(PropertyId::AuthenticationData) && !properties.has(PropertyId::AuthenticationMethod) {
            return Err(Failure::AuthMethod);
        }
        read.end()?;
        Ok(Self { session_present: flags == 1, code, properties })
    }

    /// The code on the wire; `None` if this version has none for it.
    const fn number(&self, version: Version) -> Option<u8> {
        match version {
            Version::V3 => self.code.connect_return_code(),
            Version::V5 => Some(self.code as u8),
        }
    }

    /// Bytes of the packet; 0 for a refusal that 3.1.1 has no return code for: the connection ends without a CONNACK.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        match (version, self.number(version)) {
            (_, None) => 0,
            (Version::V3, Some(_)) => framed_bytes(2),
            (Version::V5, Some(_)) => framed_bytes(2 + self.properties.framed_bytes()),
        }
    }

    /// Writes the packet into the front of `out`. Returns the count of bytes, as [`Self::encoded_bytes`] does.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        debug_assert!(self.code.fits(Place::Connack, Role::Client), "a code of CONNACK: {:?}", self.code);
        let Some(number) = self.number(version) else {
            return Ok(0);
        };
        let properties_bytes = if version == Version::V5 { self.properties.framed_bytes() } else { 0 };
        let (mut put, count) = Put::framed(FIRST, 2 + properties_bytes, out)?;
        put.one(u8::from(self.session_present && self.code == ReasonCode::Success));
        put.one(number);
        if version == Version::V5 {
            self.properties.put_framed(Place::Connack, &mut put);
        }
        put.end();
        Ok(count)
    }
}
