//! LoRaWAN join-request and join-accept, both sides (L2 §6.2).
//! Never remembers a nonce; which DevNonce or JoinNonce is fresh is the session's business.
//!
//! ```text
//!   request  | MHDR | JoinEUI 8 | DevEUI 8 | DevNonce 2 | MIC 4 |                                          23 bytes
//!   accept   | MHDR | JoinNonce 3 | NetID 3 | DevAddr 4 | DLSettings 1 | RxDelay 1 | CFList 0,16 | MIC 4 | 17 or 33
//!            everything after the MHDR enciphered with AES *decrypt*, so that a device needs only encrypt   L2 §6.2.3
//! ```

use crate::crypto::{AesKey, SessionKeys};
use crate::phy::MType;
use crate::{DevAddr, NetId, eui_from_wire, eui_to_wire};
use base::Eui64;
use core::fmt;

/// Bytes of a join-request.
pub const JOIN_REQUEST_BYTES: usize = 23;

/// Bytes of a join-accept without CFList, and with it.
pub const JOIN_ACCEPT_BYTES: [usize; 2] = [17, 33];

/// The caller's buffer is too short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the buffer is too short")
    }
}

impl core::error::Error for NoRoom {}

/// A join-request, its MIC unproven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRequest<'a> {
    bytes: &'a [u8; JOIN_REQUEST_BYTES],
}

impl<'a> JoinRequest<'a> {
    pub(crate) const fn of(bytes: &'a [u8; JOIN_REQUEST_BYTES]) -> Self {
        Self { bytes }
    }

    /// The join server (AppEUI in older words).
    #[must_use]
    pub fn join_eui(&self) -> Eui64 {
        eui_from_wire(take(self.bytes, 1))
    }

    /// The device.
    #[must_use]
    pub fn dev_eui(&self) -> Eui64 {
        eui_from_wire(take(self.bytes, 9))
    }

    /// The device's nonce.
    #[must_use]
    pub fn dev_nonce(&self) -> u16 {
        u16::from_le_bytes(take(self.bytes, 17))
    }

    /// The message integrity code.
    #[must_use]
    pub fn mic(&self) -> [u8; 4] {
        take(self.bytes, 19)
    }

    /// Whether the MIC is that of this root key.
    #[must_use]
    pub fn mic_is_valid(&self, app_key: &AesKey) -> bool {
        app_key.mic([&self.bytes[..19], &[]]) == self.mic()
    }

    /// The whole PHYPayload.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8; JOIN_REQUEST_BYTES] {
        self.bytes
    }
}

/// A join-request to be written: the device's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRequestFrame {
    /// The join server.
    pub join_eui: Eui64,
    /// The device.
    pub dev_eui: Eui64,
    /// The device's nonce.
    pub dev_nonce: u16,
}

impl JoinRequestFrame {
    /// The signed PHYPayload.
    #[must_use]
    pub fn to_wire(&self, app_key: &AesKey) -> [u8; JOIN_REQUEST_BYTES] {
        let mut out = [0; JOIN_REQUEST_BYTES];
        out[0] = MType::JoinRequest.mhdr();
        out[1..9].copy_from_slice(&eui_to_wire(self.join_eui));
        out[9..17].copy_from_slice(&eui_to_wire(self.dev_eui));
        out[17..19].copy_from_slice(&self.dev_nonce.to_le_bytes());
        let mic = app_key.mic([&out[..19], &[]]);
        out[19..].copy_from_slice(&mic);
        out
    }
}

/// The DLSettings octet: how the device listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DlSettings {
    /// Offset between uplink and RX1 data rate, 0..=7.
    pub rx1_dr_offset: u8,
    /// RX2 data rate index, 0..=15.
    pub rx2_data_rate: u8,
}

impl DlSettings {
    /// The octet; OptNeg (bit 7) is zero in LoRaWAN 1.0.x.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        (self.rx1_dr_offset & 7) << 4 | self.rx2_data_rate & 15
    }

    /// Reads the octet; OptNeg is ignored.
    #[must_use]
    pub const fn from_wire(wire: u8) -> Self {
        Self { rx1_dr_offset: wire >> 4 & 7, rx2_data_rate: wire & 15 }
    }
}

/// The channel list of a join-accept, as sixteen bytes whose last is its type (RP002, "CFList").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CfList(pub [u8; 16]);

impl CfList {
    /// Type 0: up to five frequencies in Hz, multiples of 100; the rest is unused.
    #[must_use]
    pub fn of_frequencies(frequencies_hz: &[u32]) -> Self {
        let mut out = [0; 16];
        for (slot, hz) in out.chunks_exact_mut(3).zip(frequencies_hz) {
            slot.copy_from_slice(&frequency_to_wire(*hz));
        }
        Self(out)
    }

    /// Type 1: masks of 16 channels each.
    #[must_use]
    pub fn of_masks(masks: &[u16]) -> Self {
        let mut out = [0; 16];
        for (slot, mask) in out[..14].chunks_exact_mut(2).zip(masks) {
            slot.copy_from_slice(&mask.to_le_bytes());
        }
        out[15] = 1;
        Self(out)
    }

    /// The type: 0 frequencies, 1 masks.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.0[15]
    }

    /// The five frequencies of type 0 in Hz; 0 is unused.
    #[must_use]
    pub fn frequencies_hz(&self) -> [u32; 5] {
        core::array::from_fn(|index| frequency_from_wire(take(&self.0, index * 3)))
    }

    /// The masks of type 1.
    #[must_use]
    pub fn masks(&self) -> [u16; 7] {
        core::array::from_fn(|index| u16::from_le_bytes(take(&self.0, index * 2)))
    }
}

/// A frequency as LoRaWAN carries it: 24 bits of 100 Hz.
pub(crate) const fn frequency_to_wire(hz: u32) -> [u8; 3] {
    let bytes = (hz / 100).to_le_bytes();
    [bytes[0], bytes[1], bytes[2]]
}

pub(crate) const fn frequency_from_wire(wire: [u8; 3]) -> u32 {
    u32::from_le_bytes([wire[0], wire[1], wire[2], 0]) * 100
}

/// A join-accept in the clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JoinAccept {
    /// The network's nonce (AppNonce in older words), 24 bits.
    pub join_nonce: u32,
    /// The network.
    pub net_id: NetId,
    /// The address of the new session.
    pub dev_addr: DevAddr,
    /// How the device is to listen.
    pub dl_settings: DlSettings,
    /// Seconds from the end of an uplink to RX1; 0 and 1 both mean one.
    pub rx_delay_s: u8,
    /// Channels beside the region's own.
    pub cf_list: Option<CfList>,
}

impl JoinAccept {
    /// Writes the PHYPayload, signed and enciphered, into the front of `out`. Returns its length.
    ///
    /// # Errors
    /// [`NoRoom`]; `out` is untouched.
    pub fn write(&self, app_key: &AesKey, out: &mut [u8]) -> Result<usize, NoRoom> {
        let count = JOIN_ACCEPT_BYTES[usize::from(self.cf_list.is_some())];
        let out = out.get_mut(..count).ok_or(NoRoom)?;
        let (message, mic) = out.split_at_mut(count - 4);
        message[0] = MType::JoinAccept.mhdr();
        message[1..4].copy_from_slice(&NetId(self.join_nonce).to_wire());
        message[4..7].copy_from_slice(&self.net_id.to_wire());
        message[7..11].copy_from_slice(&self.dev_addr.to_wire());
        message[11] = self.dl_settings.to_wire();
        message[12] = self.rx_delay_s & 15;
        if let Some(list) = &self.cf_list {
            message[13..].copy_from_slice(&list.0);
        }
        mic.copy_from_slice(&app_key.mic([message, &[]]));
        app_key.decrypt_blocks(&mut out[1..]);
        Ok(count)
    }

    /// The keys of the session that this accept opens.
    #[must_use]
    pub fn session_keys(&self, app_key: &AesKey, dev_nonce: u16) -> SessionKeys {
        JoinNonces { join_nonce: self.join_nonce, net_id: self.net_id, dev_nonce }.session_keys(app_key)
    }
}

/// What session keys are derived from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JoinNonces {
    /// The network's nonce, 24 bits.
    pub join_nonce: u32,
    /// The network.
    pub net_id: NetId,
    /// The device's nonce.
    pub dev_nonce: u16,
}

impl JoinNonces {
    /// `aes128_encrypt(AppKey, 01 or 02 | JoinNonce | NetID | DevNonce | 0…)` (L2 §6.2.3).
    #[must_use]
    pub fn session_keys(&self, app_key: &AesKey) -> SessionKeys {
        let derive = |first: u8| {
            let mut block = [0; 16];
            block[0] = first;
            block[1..4].copy_from_slice(&NetId(self.join_nonce).to_wire());
            block[4..7].copy_from_slice(&self.net_id.to_wire());
            block[7..9].copy_from_slice(&self.dev_nonce.to_le_bytes());
            AesKey(app_key.encrypt(block))
        };
        SessionKeys { nwk_s_key: derive(1), app_s_key: derive(2) }
    }
}

/// A join-accept as received: enciphered, its MIC unproven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedJoinAccept<'a> {
    bytes: &'a [u8],
}

impl<'a> SealedJoinAccept<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        JOIN_ACCEPT_BYTES.contains(&bytes.len()).then_some(Self { bytes })
    }

    /// The whole PHYPayload.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The accept in the clear, or `None` if its MIC is not that of this root key: the device's side.
    #[must_use]
    pub fn open(&self, app_key: &AesKey) -> Option<JoinAccept> {
        let mut clear = [0; JOIN_ACCEPT_BYTES[1]];
        let clear = &mut clear[..self.bytes.len()];
        clear.copy_from_slice(self.bytes);
        app_key.encrypt_blocks(&mut clear[1..]);
        let (message, mic) = clear.split_at(clear.len() - 4);
        if app_key.mic([message, &[]]) != mic {
            return None;
        }
        Some(JoinAccept {
            join_nonce: NetId::from_wire(take(message, 1)).0,
            net_id: NetId::from_wire(take(message, 4)),
            dev_addr: DevAddr::from_wire(take(message, 7)),
            dl_settings: DlSettings::from_wire(message[11]),
            rx_delay_s: message[12] & 15,
            cf_list: (message.len() > 13).then(|| CfList(take(message, 13))),
        })
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
