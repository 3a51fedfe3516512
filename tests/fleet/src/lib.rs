//! A fleet of simulated LoRaWAN devices and gateways: they join, encipher, count, answer and retransmit, and speak
//! Semtech UDP as a packet forwarder does.
//!
//! Sans-IO: no socket, no clock, no thread; the same seed and inputs give the same outputs. `trunkline-fleet` drives it
//! over real sockets, the simulator in virtual time.
//!
//! ```text
//!   Device  --frame-->  air (Fleet)  --heard-->  Gateway  --PUSH_DATA-->  server
//!   Device  <--window-- air          <--tmst---  Gateway  <--PULL_RESP--  server
//! ```

mod airtime;
mod base64;
mod device;
mod fleet;
mod gateway;
#[cfg(test)]
mod tests;
mod text;

pub use airtime::airtime;
pub use base64::{decode as base64_decode, encode as base64_encode};
pub use device::{
    Activation, Device, DeviceConfig, DeviceEvent, DeviceOutput, Message, Saved, SavedSession, Traffic, Window,
};
pub use fleet::{Fleet, Input, Link, Output, Totals};
pub use gateway::{
    Concentrator, Gateway, GatewayConfig, GatewayCounts, GatewayOutput, Heard, Refusal, Socket, Transmission,
};
