//! LoRaWAN 1.0.x, sans-IO: frames, MIC and ciphers, MAC commands, frame counters, regions and device profiles.
//!
//! Owns no socket, clock, randomness or memory: every function maps bytes and keys to borrowed views, or values into the
//! caller's buffer. Both ends are here, so that a simulated device and the network server share one reading of the
//! specification. Bytes from outside end in [`Malformed`], never in a panic.
//!
//! ```text
//!   bytes -> Phy::parse -> JoinRequest -- mic_is_valid(AppKey)
//!                       -> Data ------- verify(NwkSKey, FCnt) -> Verified -- opening(keys) -> Opening::open(bytes)
//!                       -> SealedJoinAccept -- open(AppKey) -> JoinAccept            (the device's side)
//!   DataFrame / JoinAccept / JoinRequestFrame -- write(keys, &mut [u8]) -> count
//! ```
//!
//! Clauses are those of "LoRaWAN L2 1.0.4 Specification" (L2) and "RP002-1.0.4 Regional Parameters" (RP002).
#![cfg_attr(not(test), no_std)]

mod address;
mod crypto;
mod data;
mod fcnt;
pub mod fuzzing;
mod join;
pub mod mac;
mod phy;
pub mod profile;
pub mod region;
#[cfg(test)]
mod tests;

pub use address::{DevAddr, NetId, eui_from_wire, eui_to_wire};
pub use crypto::{AesKey, Direction, SessionKeys, crypt_payload};
pub use data::{Data, DataFrame, FCtrl, FOPTS_BYTES_MAX, Opening, Unwritable, Verified};
pub use fcnt::{FCnt, fcnt_extend};
pub use join::{
    CfList, DlSettings, JOIN_ACCEPT_BYTES, JOIN_REQUEST_BYTES, JoinAccept, JoinNonces, JoinRequest, JoinRequestFrame,
    NoRoom, SealedJoinAccept,
};
pub use phy::{MType, Malformed, PHY_BYTES_MAX, Phy};
pub use profile::{MacVersion, Profile};
pub use region::Region;
