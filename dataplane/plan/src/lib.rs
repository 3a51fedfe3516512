//! Configuration, checked, then compiled to the immutable tables that every shard consults.
//!
//! Owns the way from the contract's untrusted messages to a [`Plan`]: `spec` parses one object, [`Config`] holds a whole
//! that is consistent, [`Config::compile`] flattens it. The control plane calls the same functions before it stores
//! anything, so what it accepts can be loaded. Devices and gateways are not in the plan: they are a shard's state, and a
//! change of one costs what changed.
//!
//! ```text
//!   contract::Change -> spec::* -> Config (consistent) -> Plan (indexes, templates)  -> one boxed copy per shard
//! ```

mod compile;
mod config;
pub mod fuzzing;
mod spec;

pub use compile::{Format, Plan, StreamPlan};
pub use config::{Config, STREAM_COUNT_MAX, Upsert};
pub use spec::{
    Accept, Application, Copies, Delivery, Durable, Gateway, Level, Refusal, Settings, Stream, Tenant, Text, WhenFull,
};

#[cfg(test)]
mod tests;
