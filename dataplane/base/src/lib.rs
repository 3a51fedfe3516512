//! Bounded buffers, units, identifiers and counters that every room shares.
//!
//! Owns no domain words, no clock, no randomness and no I/O. Everything here is sized once and never grows.

pub mod blocks;
pub mod counters;
mod eui;
pub mod hex;
pub mod mix;
mod radio;
pub mod ring;
mod time;

pub use eui::{Eui64, EuiError};
pub use radio::DataRate;
pub use time::{Monotonic, UnixMicros};
