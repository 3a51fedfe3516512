//! Bounded buffers, units, identifiers and counters that every room shares.
//!
//! Owns no domain words, no clock, no randomness and no I/O. Everything here is sized once and never grows.

pub mod blocks;
pub mod counters;
pub mod decimal;
mod eui;
pub mod hex;
pub mod mix;
mod radio;
pub mod ring;
mod text_of_time;
mod time;

pub use eui::{Eui64, EuiError};
pub use radio::DataRate;
pub use text_of_time::NotATime;
pub use time::{Monotonic, UnixMicros};
