//! The control plane as a process: the store and its API on one side, the link to the dataplane on the other.
//!
//! Owns the data directory, the certificates, the listener and the link's socket. Decides nothing about tenants or
//! devices; that is the model's and the store's business.

pub mod certificate;
pub mod files;
pub mod link;
pub mod options;
mod reader;
mod run;
pub mod serve;
mod stored;
mod translate;

pub use reader::{Source, View};
pub use run::run;
pub use stored::{Stored, StoredView};

#[cfg(test)]
mod tests;
