//! DISCONNECT, the last packet, and AUTH, of which a conversation about who it is consists (3.14, v5 3.15).
//!
//! | reason code (v5) | properties (v5) |, both left out if there is nothing to say

use crate::put::{NoRoom, Put, framed_bytes};
use crate::read::Read;
use crate::{Failure, Place, Properties, PropertyId, ReasonCode, Role, Version};

/// Ends a connection. With 3.1.1 only clients send it, without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; success is a normal disconnection.
    pub code: ReasonCode,
    /// With 5.0.
    pub properties: Properties<'a>,
}

/// A step of an authentication; with 5.0 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue, or begin anew.
    pub code: ReasonCode,
    /// With the method, unless there is nothing but success to say.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// One without properties.
    #[must_use]
    pub const fn new(code: ReasonCode) -> Self {
        Self { code, properties: Properties::NONE }
    }

    pub(crate) fn parse(mut read: Read<'a>, version: Version, receiver: Role) -> Result<Self, Failure> {
        if read.is_empty() {
            return Ok(Self::new(ReasonCode::Success));
        }
        if version == Version::V3 {
            return Err(Failure::Trailing);
        }
        let code = code(&mut read, Place::Disconnect, receiver)?;
        let properties = match read.is_empty() {
            true => Properties::NONE,
            false => Properties::read(&mut read, Place::Disconnect, receiver)?,
        };
        read.end()?;
        Ok(Self { code, properties })
    }

    fn body_bytes(&self, version: Version) -> usize {
        match (version, self.properties.encoded_bytes(), self.code) {
            (Version::V3, ..) | (Version::V5, 0, ReasonCode::Success) => 0,
            (Version::V5, 0, _) => 1,
            (Version::V5, ..) => 1 + self.properties.framed_bytes(),
        }
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        framed_bytes(self.body_bytes(version))
    }

    /// Writes the packet into the front of `out`, as short as it can be. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        let body_bytes = self.body_bytes(version);
        let (mut put, count) = Put::framed(0xE0, body_bytes, out)?;
        if body_bytes > 0 {
            put.one(self.code as u8);
        }
        if body_bytes > 1 {
            self.properties.put_framed(Place::Disconnect, &mut put);
        }
        put.end();
        Ok(count)
    }
}

impl<'a> Auth<'a> {
    pub(crate) fn parse(mut read: Read<'a>, receiver: Role) -> Result<Self, Failure> {
        if read.is_empty() {
            let code = ReasonCode::Success;
            return if code.fits(Place::Auth, receiver) {
                Ok(Self { code, properties: Properties::NONE })
            } else {
                Err(Failure::ReasonCode)
            };
        }
        let code = code(&mut read, Place::Auth, receiver)?;
        let properties = Properties::read(&mut read, Place::Auth, receiver)?;
        if !properties.has(PropertyId::AuthenticationMethod) {
            return Err(Failure::AuthMethod);
        }
        read.end()?;
        Ok(Self { code, properties })
    }

    fn body_bytes(&self) -> usize {
        match (self.properties.encoded_bytes(), self.code) {
            (0, ReasonCode::Success) => 0,
            _ => 1 + self.properties.framed_bytes(),
        }
    }

    /// Bytes of the packet; 0 with 3.1.1, which has none.
    #[must_use]
    pub fn encoded_bytes(&self, version: Version) -> usize {
        if version == Version::V3 { 0 } else { framed_bytes(self.body_bytes()) }
    }

    /// Writes the packet into the front of `out`, as short as it can be. Returns the count of bytes, as
    /// [`Self::encoded_bytes`] does.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit.
    pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
        if version == Version::V3 {
            return Ok(0);
        }
        let body_bytes = self.body_bytes();
        let (mut put, count) = Put::framed(0xF0, body_bytes, out)?;
        if body_bytes > 0 {
            put.one(self.code as u8);
            self.properties.put_framed(Place::Auth, &mut put);
        }
        put.end();
        Ok(count)
    }
}

fn code(read: &mut Read<'_>, place: Place, receiver: Role) -> Result<ReasonCode, Failure> {
    ReasonCode::from_wire(read.one()?).filter(|code| code.fits(place, receiver)).ok_or(Failure::ReasonCode)
}
