//! The state of a device that must not go back: what is stored, and given back after a restart.
//!
//! Owns its byte layout. Fixed size, so that a store can keep records in place. Holds keys: treat as a secret.
//!
//! ```text
//!   0 version   1 flags   2 nonce count   3 0    4 dev_eui 8   12 root 8   20 session_count u32   24 join_nonce u32
//!  28 dev_nonces u16 x 32 (oldest first)    92 session 76    168 pending session 76                       = 244 bytes
//!
//!   session: 0 dev_addr u32   4 nwk_s_key 16   20 app_s_key 16   36 number u32   40 fcnt_up u32   44 fcnt_down u32
//!           48 last_mic u32  52 rx2_frequency_hz u32  56 rx1_delay_s  57 rx1_dr_offset  58 rx2_data_rate  59 sub_bands
//!           60 last_seen u64  68 last_gateway 8
//! ```

use base::{Eui64, UnixMicros};
use lorawan::{AesKey, DevAddr, SessionKeys};

/// DevNonces remembered of a device of LoRaWAN 1.0.3 or earlier.
pub const DEV_NONCE_COUNT: usize = 32;

/// Bytes of [`SessionRecord::to_wire`].
pub const RECORD_BYTES: usize = SESSIONS_AT + 2 * SESSION_BYTES;

const SESSIONS_AT: usize = 28 + 2 * DEV_NONCE_COUNT;
const SESSION_BYTES: usize = 76;
const VERSION: u8 = 1;
const FLAG_SESSION: u8 = 1;
const FLAG_PENDING: u8 = 2;

/// What is stored of one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// The device.
    pub dev_eui: Eui64,
    /// Tells, without revealing it, whether the root key is still the same; 0 for ABP.
    pub root: u64,
    /// Sessions that the device has had.
    pub session_count: u32,
    /// The last JoinNonce given out.
    pub join_nonce: u32,
    /// How many of `dev_nonces` are in use.
    pub dev_nonce_count: u8,
    /// DevNonces seen, the oldest first.
    pub dev_nonces: [u16; DEV_NONCE_COUNT],
    /// The session in use.
    pub session: Option<KeptSession>,
    /// A session that a JoinAccept has offered and no uplink has confirmed.
    pub pending: Option<KeptSession>,
}

/// What is stored of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptSession {
    /// Network address.
    pub dev_addr: DevAddr,
    /// Session keys.
    pub keys: SessionKeys,
    /// Counts the device's sessions.
    pub number: u32,
    /// The least FCntUp that will be accepted.
    pub fcnt_up: u32,
    /// The first FCntDown that has not been reserved: all below may have been used.
    pub fcnt_down: u32,
    /// MIC of the last accepted uplink, by which its repetition is known.
    pub last_mic: u32,
    /// RECEIVE_DELAY1, seconds.
    pub rx1_delay_s: u8,
    /// RX1DROffset.
    pub rx1_dr_offset: u8,
    /// RX2DataRate.
    pub rx2_data_rate: u8,
    /// RX2 carrier, Hz.
    pub rx2_frequency_hz: u32,
    /// The sub-bands that the device is known to use, as in a profile; 0 is all.
    pub sub_bands: u8,
    /// When the last accepted uplink came; 0 is never.
    pub last_seen: UnixMicros,
    /// The best gateway then.
    pub last_gateway: Eui64,
}

/// These bytes are no record of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRecord;

/// Why a stored record was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRestored {
    /// No device with this DevEUI lives here.
    UnknownDevice,
    /// The device's keys have been changed since.
    OtherKeys,
    /// No room for its sessions.
    Full,
}

impl SessionRecord {
    /// The record's bytes.
    #[must_use]
    pub fn to_wire(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[0] = VERSION;
        out[1] = if self.session.is_some() { FLAG_SESSION } else { 0 };
        out[1] |= if self.pending.is_some() { FLAG_PENDING } else { 0 };
        out[2] = self.dev_nonce_count;
        out[4..12].copy_from_slice(&self.dev_eui.0);
        out[12..20].copy_from_slice(&self.root.to_le_bytes());
        out[20..24].copy_from_slice(&self.session_count.to_le_bytes());
        out[24..28].copy_from_slice(&self.join_nonce.to_le_bytes());
        for (target, nonce) in out[28..SESSIONS_AT].chunks_exact_mut(2).zip(self.dev_nonces) {
            target.copy_from_slice(&nonce.to_le_bytes());
        }
        let (first, second) = out[SESSIONS_AT..].split_at_mut(SESSION_BYTES);
        for (target, session) in [(first, &self.session), (second, &self.pending)] {
            if let Some(session) = session {
                session.write(target);
            }
        }
        out
    }

    /// The inverse of [`SessionRecord::to_wire`].
    ///
    /// # Errors
    /// [`BadRecord`] if the version or a count is not ours.
    pub fn from_wire(wire: &[u8; RECORD_BYTES]) -> Result<Self, BadRecord> {
        let known = FLAG_SESSION | FLAG_PENDING;
        if wire[0] != VERSION || wire[1] & !known != 0 || usize::from(wire[2]) > DEV_NONCE_COUNT || wire[3] != 0 {
            return Err(BadRecord);
        }
        let mut dev_nonces = [0; DEV_NONCE_COUNT];
        for (nonce, source) in dev_nonces.iter_mut().zip(wire[28..SESSIONS_AT].chunks_exact(2)) {
            *nonce = u16::from_le_bytes([source[0], source[1]]);
        }
        let (first, second) = wire[SESSIONS_AT..].split_at(SESSION_BYTES);
        Ok(Self {
            dev_eui: Eui64(take(wire, 4)),
            root: u64::from_le_bytes(take(wire, 12)),
            session_count: u32::from_le_bytes(take(wire, 20)),
            join_nonce: u32::from_le_bytes(take(wire, 24)),
            dev_nonce_count: wire[2],
            dev_nonces,
            session: (wire[1] & FLAG_SESSION != 0).then(|| KeptSession::read(first)),
            pending: (wire[1] & FLAG_PENDING != 0).then(|| KeptSession::read(second)),
        })
    }
}

impl KeptSession {
    fn write(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.dev_addr.to_wire());
        out[4..20].copy_from_slice(&self.keys.nwk_s_key.0);
        out[20..36].copy_from_slice(&self.keys.app_s_key.0);
        out[36..40].copy_from_slice(&self.number.to_le_bytes());
        out[40..44].copy_from_slice(&self.fcnt_up.to_le_bytes());
        out[44..48].copy_from_slice(&self.fcnt_down.to_le_bytes());
        out[48..52].copy_from_slice(&self.last_mic.to_le_bytes());
        out[52..56].copy_from_slice(&self.rx2_frequency_hz.to_le_bytes());
        out[56] = self.rx1_delay_s;
        out[57] = self.rx1_dr_offset;
        out[58] = self.rx2_data_rate;
        out[59] = self.sub_bands;
        out[60..68].copy_from_slice(&self.last_seen.0.to_le_bytes());
        out[68..76].copy_from_slice(&self.last_gateway.0);
    }

    fn read(wire: &[u8]) -> Self {
        Self {
            dev_addr: DevAddr::from_wire(take(wire, 0)),
            keys: SessionKeys { nwk_s_key: AesKey(take(wire, 4)), app_s_key: AesKey(take(wire, 20)) },
            number: u32::from_le_bytes(take(wire, 36)),
            fcnt_up: u32::from_le_bytes(take(wire, 40)),
            fcnt_down: u32::from_le_bytes(take(wire, 44)),
            last_mic: u32::from_le_bytes(take(wire, 48)),
            rx2_frequency_hz: u32::from_le_bytes(take(wire, 52)),
            rx1_delay_s: wire[56],
            rx1_dr_offset: wire[57],
            rx2_data_rate: wire[58],
            sub_bands: wire[59],
            last_seen: UnixMicros(u64::from_le_bytes(take(wire, 60))),
            last_gateway: Eui64(take(wire, 68)),
        }
    }
}

pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a fixed field within a fixed record")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;

    fn kept(random: &mut SplitMix64) -> KeptSession {
        let mut key = || AesKey(core::array::from_fn(|_| random.next() as u8));
        let keys = SessionKeys { nwk_s_key: key(), app_s_key: key() };
        KeptSession {
            dev_addr: DevAddr(random.next() as u32),
            keys,
            number: random.next() as u32,
            fcnt_up: random.next() as u32,
            fcnt_down: random.next() as u32,
            last_mic: random.next() as u32,
            rx1_delay_s: 15,
            rx1_dr_offset: 3,
            rx2_data_rate: 8,
            rx2_frequency_hz: random.next() as u32,
            sub_bands: random.next() as u8,
            last_seen: UnixMicros(random.next()),
            last_gateway: Eui64::new(random.next()),
        }
    }

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let mut random = SplitMix64::new(5);
        for turn in 0..64 {
            let record = SessionRecord {
                dev_eui: Eui64::new(random.next()),
                root: random.next(),
                session_count: turn,
                join_nonce: random.next() as u32,
                dev_nonce_count: random.below(33) as u8,
                dev_nonces: core::array::from_fn(|_| random.next() as u16),
                session: (turn & 1 != 0).then(|| kept(&mut random)),
                pending: (turn & 2 != 0).then(|| kept(&mut random)),
            };
            let wire = record.to_wire();
            assert_eq!(SessionRecord::from_wire(&wire), Ok(record));
            for (at, value) in [(0, 2), (1, 4), (2, 33), (3, 1)] {
                let mut bad = wire;
                bad[at] = value;
                assert_eq!(SessionRecord::from_wire(&bad), Err(BadRecord));
            }
        }
    }
}
