//! Tenants, keys, applications, profiles, devices, gateways and streams as types that cannot be wrong.
//!
//! Owns what a value of each must satisfy, and how it is said to the dataplane ([`change`]). Never knows where it is
//! stored or how it came: parsers take plain values and answer with a [`Fault`] that names the field and what is allowed.
//! What only the dataplane's compiler can judge (templates, regions, references) is judged by it, in `plan`, through
//! [`Compiler`], before anything is stored.

mod bounded;
pub mod change;
mod compiler;
mod device;
mod fault;
mod gateway;
mod ids;
mod profile;
mod secret;
mod settings;
mod stream;
mod tenancy;
mod text;

#[cfg(test)]
mod tests;

pub use bounded::Bounded;
pub use change::Checker;
pub use compiler::Compiler;
pub use device::{Activation, DevAddr, Device};
pub use fault::{Fault, Faults};
pub use gateway::{Gateway, Place};
pub use ids::{ApplicationId, KeyId, ProfileId, StreamId, TenantId, TokenId, Uid};
pub use profile::{MacVersion, Profile, Region, SubBands};
pub use secret::{ApiSecret, Key128, Token};
pub use settings::{NetId, Settings};
pub use stream::{Accept, Copies, Delivery, Durable, Format, Level, RetentionBytes, Stream, WhenFull};
pub use tenancy::{ApiKey, Application, Role, Tenant};
pub use text::{GroupName, Name};

/// The contract's message of a change, as the store logs it.
pub use contract::v1::Change;

/// A value with what the store knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<I, T> {
    /// Its number (or EUI), for life.
    pub id: I,
    /// The revision that changed it last.
    pub revision: u64,
    /// Unix microseconds.
    pub created_us: u64,
    /// Unix microseconds.
    pub updated_us: u64,
    /// The value.
    pub value: T,
}
