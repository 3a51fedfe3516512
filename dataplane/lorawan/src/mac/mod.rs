//! LoRaWAN MAC commands, both directions: read by iterators over borrowed bytes, written into the caller's (L2 §5).
//! Never keeps state and never judges a value; what an answer means is the session's business.
//!
//! ```text
//!   | CID 1 | body, its length fixed by CID and direction | CID | body | ...
//! ```
//!
//! An unknown CID has an unknown length, so nothing after it can be read (L2 §5): the iterator stops there and
//! [`Uplinks::unread`] / [`Downlinks::unread`] give the rest. Reserved bits read as nothing and are written as zero.

mod downlink;
mod uplink;

pub use downlink::{DownlinkCommand, Downlinks, LinkAdrReq};
pub use uplink::{UplinkCommand, Uplinks};

pub use crate::join::NoRoom;

/// The longest command, CID included: NewChannelReq and DeviceTimeAns.
pub const COMMAND_BYTES_MAX: usize = 6;

/// Copies `[cid] + body` into the front of `out`.
fn put(cid: u8, body: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    let count = 1 + body.len();
    let out = out.get_mut(..count).ok_or(NoRoom)?;
    out[0] = cid;
    out[1..].copy_from_slice(body);
    Ok(count)
}

/// One bit of an answer's status.
const fn bit(set: bool, shift: u8) -> u8 {
    (set as u8) << shift
}
