//! Identifiers: numbers towards the dataplane, UUIDs towards people.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u32 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

numbers! {
    /// A tenant's number. Never 0, never reused, as are all numbers.
    TenantId;
    /// An application's number.
    ApplicationId;
    /// A profile's number.
    ProfileId;
    /// A stream's number.
    StreamId;
    /// An API key's number.
    KeyId;
    /// A stream token's number.
    TokenId;
}

/// The name by which the outside calls a thing: a UUID of version 7 (RFC 9562 §5.7), so that they sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(uuid::Uuid);

impl Uid {
    /// A new one.
    #[must_use]
    pub fn now() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Its sixteen bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The inverse of [`Uid::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(out)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Uid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| "must be a UUID".into())
    }
}
