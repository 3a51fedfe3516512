//! Gateways.

use crate::{Bounded, Name, TenantId};

/// A LoRaWAN gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its owner; without one it is the operator's and serves everyone.
    pub tenant: Option<TenantId>,
    /// For people.
    pub name: Option<Name>,
    /// Transmit power ceiling, dBm EIRP; the region's if absent.
    pub eirp_max_dbm: Option<Bounded<1, 40>>,
    /// Where it stands.
    pub place: Option<Place>,
}

/// A place on Earth (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// Metres above the ellipsoid.
    pub altitude_m: Option<f64>,
}

impl Place {
    /// The place, if it is one.
    ///
    /// # Errors
    /// The reason.
    pub fn new(latitude: f64, longitude: f64, altitude_m: Option<f64>) -> Result<Self, String> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return Err("latitude must be -90 to 90, longitude -180 to 180".into());
        }
        if altitude_m.is_some_and(|altitude| !(-1_000.0..=100_000.0).contains(&altitude)) {
            return Err("altitude_m must be -1000 to 100000".into());
        }
        Ok(Self { latitude, longitude, altitude_m })
    }
}
