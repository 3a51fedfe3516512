//! What holds for the whole dataplane.

use crate::Bounded;
use serde::{Deserialize, Serialize};

/// Settings. Absent numbers are the dataplane's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The network's NetID.
    pub net_id: NetId,
    /// Whether gateways that nobody registered may speak.
    pub accept_unknown_gateways: bool,
    /// Datagrams per second of one gateway.
    pub gateway_rate_max: Option<Bounded<1, 10_000_000>>,
    /// Datagrams per second of one source address.
    pub address_rate_max: Option<Bounded<1, 10_000_000>>,
    /// Silence after which a gateway is offline.
    pub gateway_silence_s: Option<Bounded<5, 86_400>>,
}

/// A NetID: 24 bits, written as 6 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetId(u32);

impl NetId {
    /// The NetID written so.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 3];
        match base::hex::decode(text.as_bytes(), &mut bytes) {
            Ok(3) => Ok(Self(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))),
            _ => Err("must be 6 hexadecimal digits".into()),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl core::fmt::Display for NetId {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "{:06X}", self.0)
    }
}
