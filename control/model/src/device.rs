//! Devices: who they are and how they come onto the network.

use crate::{ApplicationId, Key128, Name, ProfileId, TenantId};
use base::Eui64;
use core::fmt;

/// A LoRaWAN end device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// AppEUI or JoinEUI.
    pub join_eui: Eui64,
    /// Its owner, the application's.
    pub tenant: TenantId,
    /// Where it belongs.
    pub application: ApplicationId,
    /// What kind it is.
    pub profile: ProfileId,
    /// For people.
    pub name: Option<Name>,
    /// Whether its frames are let in.
    pub enabled: bool,
    /// How it gets its session.
    pub activation: Activation,
}

/// How a device gets its session (L2 1.0.4 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Over the air.
    Otaa {
        /// The root key.
        app_key: Key128,
    },
    /// By personalization.
    Abp {
        /// Its address.
        dev_addr: DevAddr,
        /// The network session key.
        nwk_s_key: Key128,
        /// The application session key.
        app_s_key: Key128,
        /// FCntUp that the session starts with.
        fcnt_up: u32,
        /// FCntDown that the session starts with.
        fcnt_down: u32,
    },
}

/// A DevAddr, written as 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DevAddr(pub u32);

impl DevAddr {
    /// The address written so.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 4];
        match base::hex::decode(text.as_bytes(), &mut bytes) {
            Ok(4) => Ok(Self(u32::from_be_bytes(bytes))),
            _ => Err("must be 8 hexadecimal digits".into()),
        }
    }
}

impl fmt::Display for DevAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08X}", self.0)
    }
}

impl fmt::Debug for DevAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
