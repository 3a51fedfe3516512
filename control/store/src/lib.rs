//! The only room that knows the embedded store: one SQLite file, and a key file that seals the secrets in it.
//!
//! Owns the schema and its migrations, the revision that every write advances, and what changed at which revision. Never
//! judges a configuration (the [`model::Checker`] it is given does) and never speaks to the dataplane. Every call blocks:
//! asynchronous callers bring their own thread.
//!
//! ```text
//!   write: one connection, one transaction -> Checker -> commit -> revision + 1
//!   read:  any number of connections (WAL), each sees whole revisions
//!   changes_since(revision) / snapshot(): the same values as the dataplane is told of them
//! ```

mod devices;
mod error;
mod gateways;
mod kept;
mod keys;
mod log;
mod metrics;
mod rows;
mod schema;
mod seal;
mod store;

#[cfg(test)]
mod tests;

pub use devices::{DeviceFilter, Upserted};
pub use error::{Error, OpenError};
pub use kept::{Kept, Named, Scope};
pub use keys::TokenRow;
pub use log::{Logged, Since, Snapshot};
pub use metrics::Timing;
pub use store::{Reader, Store, Writer, Written};
