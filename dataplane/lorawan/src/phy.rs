//! LoRaWAN PHYPayload: which message it is, with its whole structure checked.
//! Never deciphers and never trusts a MIC; the views it gives do, when asked with a key.
//!
//! ```text
//!   | MHDR 1 | MACPayload .. | MIC 4 |        MHDR = | MType 3 | RFU 3 | Major 2 |          L2 §4.1, §4.2
//! ```

use crate::data::Data;
use crate::join::{JOIN_REQUEST_BYTES, JoinRequest, SealedJoinAccept};

/// The longest PHYPayload: the LoRa modem's length field is one byte.
pub const PHY_BYTES_MAX: usize = 255;

/// The MHDR's major version field for LoRaWAN R1.
const MAJOR_R1: u8 = 0;

base::counted! {
    /// Why bytes are not a LoRaWAN R1 frame.
    pub enum Malformed {
        Empty = "empty": "No byte at all.",
        TooLong = "too_long": "More than 255 bytes, which no LoRa frame can hold.",
        Major = "major": "The MHDR names a major version other than LoRaWAN R1.",
        JoinRequestLength = "join_request_length": "A join-request that is not 23 bytes.",
        JoinAcceptLength = "join_accept_length": "A join-accept that is neither 17 nor 33 bytes.",
        RejoinRequest = "rejoin_request": "A rejoin-request, which LoRaWAN 1.0.x does not have.",
        DataTooShort = "data_too_short": "A data frame of fewer than 12 bytes.",
        FOptsOverrun = "fopts_overrun": "FOptsLen reaches past the frame.",
        MacTwice = "mac_twice": "MAC commands both in FOpts and as payload of FPort 0.",
    }
}

impl core::error::Error for Malformed {}

/// The message type (L2 §4.2.1); its value is the field's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MType {
    /// Join-request.
    JoinRequest = 0,
    /// Join-accept.
    JoinAccept = 1,
    /// Unconfirmed data up.
    UnconfirmedUp = 2,
    /// Unconfirmed data down.
    UnconfirmedDown = 3,
    /// Confirmed data up.
    ConfirmedUp = 4,
    /// Confirmed data down.
    ConfirmedDown = 5,
    /// Rejoin-request of LoRaWAN 1.1; reserved in 1.0.x.
    RejoinRequest = 6,
    /// Proprietary.
    Proprietary = 7,
}

impl MType {
    /// The type that this MHDR names.
    #[must_use]
    pub const fn of(mhdr: u8) -> Self {
        match mhdr >> 5 {
            0 => Self::JoinRequest,
            1 => Self::JoinAccept,
            2 => Self::UnconfirmedUp,
            3 => Self::UnconfirmedDown,
            4 => Self::ConfirmedUp,
            5 => Self::ConfirmedDown,
            6 => Self::RejoinRequest,
            _ => Self::Proprietary,
        }
    }

    /// An MHDR of this type and LoRaWAN R1, its reserved bits zero.
    #[must_use]
    pub const fn mhdr(self) -> u8 {
        (self as u8) << 5 | MAJOR_R1
    }
}

/// A PHYPayload whose structure holds.
#[derive(Clone, Copy, Debug)]
pub enum Phy<'a> {
    /// A join-request.
    JoinRequest(JoinRequest<'a>),
    /// A join-accept, still enciphered.
    JoinAccept(SealedJoinAccept<'a>),
    /// A data frame, up or down.
    Data(Data<'a>),
    /// A proprietary frame: the bytes after the MHDR.
    Proprietary(&'a [u8]),
}

impl<'a> Phy<'a> {
    /// Reads a PHYPayload. Every length is checked here; no accessor of the result can fail.
    ///
    /// # Errors
    /// The first reason why the bytes are not a LoRaWAN R1 frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [mhdr, body @ ..] = bytes else { return Err(Malformed::Empty) };
        if bytes.len() > PHY_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        if mhdr & 3 != MAJOR_R1 {
            return Err(Malformed::Major);
        }
        match MType::of(*mhdr) {
            MType::JoinRequest => {
                let whole: &[u8; JOIN_REQUEST_BYTES] = bytes.try_into().map_err(|_| Malformed::JoinRequestLength)?;
                Ok(Self::JoinRequest(JoinRequest::of(whole)))
            }
            MType::JoinAccept => SealedJoinAccept::of(bytes).map(Self::JoinAccept).ok_or(Malformed::JoinAcceptLength),
            MType::UnconfirmedUp | MType::UnconfirmedDown | MType::ConfirmedUp | MType::ConfirmedDown => {
                Data::parse(bytes).map(Self::Data)
            }
            MType::RejoinRequest => Err(Malformed::RejoinRequest),
            MType::Proprietary => Ok(Self::Proprietary(body)),
        }
    }
}
