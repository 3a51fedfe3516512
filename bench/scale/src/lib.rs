//! Very many of what a dataplane holds: sessions of devices, and connections that are idle. What each takes, and whether
//! many cost more than few.
//!
//! Owns the devices, the sockets and the process that is measured; knows it by its files, its sockets and `/proc` alone.
//! Every run checks what came: a fast or small server that is wrong has no figures.
//!
//! ```text
//!   devices: plan by the control socket, sessions by the journal ─▶ dataplane ◀─ traffic: frames out, messages back
//!                                                                       ▲─ socket: idle connections, a message at the end
//! ```

pub mod devices;
pub mod options;
pub mod plan;
pub mod prepare;
pub mod process;
pub mod socket;
pub mod traffic;

/// The median of some figures; not a number if there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
