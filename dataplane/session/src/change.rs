//! How a device's state changes: what is kept at once, record by record, so that nothing goes back after a crash.
//!
//! Owns the bytes of the small changes; a whole state is a [`SessionRecord`]. [`DeviceState`] is what the changes add up
//! to: whoever keeps them folds them in their order. Holds keys and payloads: treat as secrets.
//!
//! ```text
//!   advance   | dev_eui 8 | session u32 | fcnt_up u32 | mic u32 | gateway 8 |                              = 28 bytes
//!   downlink  | dev_eui 8 | id u64 | expires u64 | fport | confirmed | payload ... |
//!   dequeued  | dev_eui 8 | id u64 |
//! ```

use crate::lane::Lane;
use crate::record::{SessionRecord, take};
use crate::spec::PAYLOAD_BYTES_MAX;
use base::{Eui64, UnixMicros};
use event::Event;

/// Where in the owner's log something is kept. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Of what needs no waiting for.
    pub const KEPT: Self = Self(0);
}

/// Nothing can be kept now. Who keeps knows why, says and counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotKept;

/// Whose change it is: what a log files it under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The device's lane.
    pub lane: Lane,
    /// The device's tenant.
    pub tenant: u32,
}

/// A change of a device's state, to be kept.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// An uplink was accepted: its counter, and what it says if a stream may want it. Both are kept or neither is.
    Uplink(&'a Advance, Option<&'a Event<'a>>),
    /// All of it: a join, a block of FCntDown, other receive windows.
    Device(&'a SessionRecord),
    /// A downlink was queued.
    Queued(&'a KeptDownlink<'a>),
    /// A downlink left its queue: sent, acknowledged or given up.
    Dequeued(Dequeued),
    /// The device is gone, and all that was kept of it.
    Removed(Eui64),
}

/// What an accepted uplink changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advance {
    /// The device.
    pub dev_eui: Eui64,
    /// Number of the session. If it is the pending one's, that is the one in use from here on.
    pub session: u32,
    /// The least FCntUp that will be accepted.
    pub fcnt_up: u32,
    /// The frame's MIC, by which its repetition is known.
    pub mic: u32,
    /// The gateway of the first copy.
    pub gateway: Eui64,
}

/// Bytes of [`Advance::to_wire`].
pub const ADVANCE_BYTES: usize = 28;

impl Advance {
    /// Its bytes.
    #[must_use]
    pub fn to_wire(&self) -> [u8; ADVANCE_BYTES] {
        let mut out = [0; ADVANCE_BYTES];
        out[..8].copy_from_slice(&self.dev_eui.0);
        out[8..12].copy_from_slice(&self.session.to_le_bytes());
        out[12..16].copy_from_slice(&self.fcnt_up.to_le_bytes());
        out[16..20].copy_from_slice(&self.mic.to_le_bytes());
        out[20..28].copy_from_slice(&self.gateway.0);
        out
    }

    /// The inverse of [`Advance::to_wire`].
    #[must_use]
    pub fn from_wire(wire: &[u8; ADVANCE_BYTES]) -> Self {
        Self {
            dev_eui: Eui64(take(wire, 0)),
            session: u32::from_le_bytes(take(wire, 8)),
            fcnt_up: u32::from_le_bytes(take(wire, 12)),
            mic: u32::from_le_bytes(take(wire, 16)),
            gateway: Eui64(take(wire, 20)),
        }
    }
}

/// A downlink that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptDownlink<'a> {
    /// For whom.
    pub dev_eui: Eui64,
    /// Its id.
    pub id: u64,
    /// After this it is of no use; 0 is never.
    pub expires: UnixMicros,
    /// FPort.
    pub fport: u8,
    /// Whether the device shall acknowledge it.
    pub confirmed: bool,
    /// In the clear, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: &'a [u8],
}

const DOWNLINK_HEAD_BYTES: usize = 26;

/// The longest [`KeptDownlink`], bytes.
pub const DOWNLINK_BYTES_MAX: usize = DOWNLINK_HEAD_BYTES + PAYLOAD_BYTES_MAX;

impl<'a> KeptDownlink<'a> {
    /// Writes its bytes; says how many.
    ///
    /// # Panics
    /// If the payload exceeds its bound: our own mistake.
    pub fn write(&self, out: &mut [u8; DOWNLINK_BYTES_MAX]) -> usize {
        let count = DOWNLINK_HEAD_BYTES + self.payload.len();
        out[..8].copy_from_slice(&self.dev_eui.0);
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..24].copy_from_slice(&self.expires.0.to_le_bytes());
        out[24] = self.fport;
        out[25] = u8::from(self.confirmed);
        out[DOWNLINK_HEAD_BYTES..count].copy_from_slice(self.payload);
        count
    }

    /// Reads them; `None` if they are none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, payload) = bytes.split_first_chunk::<DOWNLINK_HEAD_BYTES>()?;
        (payload.len() <= PAYLOAD_BYTES_MAX && head[25] <= 1).then(|| Self {
            dev_eui: Eui64(take(head, 0)),
            id: u64::from_le_bytes(take(head, 8)),
            expires: UnixMicros(u64::from_le_bytes(take(head, 16))),
            fport: head[24],
            confirmed: head[25] == 1,
            payload,
        })
    }
}

/// A downlink that waits no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dequeued {
    /// For whom it was.
    pub dev_eui: Eui64,
    /// Its id.
    pub id: u64,
}

impl Dequeued {
    /// Its bytes.
    #[must_use]
    pub fn to_wire(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.dev_eui.0);
        out[8..].copy_from_slice(&self.id.to_le_bytes());
        out
    }

    /// The inverse of [`Dequeued::to_wire`].
    #[must_use]
    pub fn from_wire(wire: &[u8; 16]) -> Self {
        Self { dev_eui: Eui64(take(wire, 0)), id: u64::from_le_bytes(take(wire, 8)) }
    }
}

/// What the changes of one device add up to. Folding them again, from any of them on, leads to the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceState {
    /// Its sessions, if it has had any.
    pub record: Option<SessionRecord>,
    /// [`KeptDownlink`]s as bytes, the oldest first.
    pub queue: Vec<Vec<u8>>,
}

impl DeviceState {
    /// An uplink was accepted at this time.
    pub fn advance(&mut self, advance: &Advance, at: UnixMicros) {
        let Some(record) = &mut self.record else { return };
        if record.pending.is_some_and(|pending| pending.number == advance.session) {
            record.session = record.pending.take();
        }
        if let Some(session) = record.session.as_mut().filter(|session| session.number == advance.session)
            && session.fcnt_up < advance.fcnt_up
        {
            session.fcnt_up = advance.fcnt_up;
            session.last_mic = advance.mic;
            session.last_seen = at;
            session.last_gateway = advance.gateway;
        }
    }

    /// The state as a whole.
    pub fn replace(&mut self, record: SessionRecord) {
        self.record = Some(record);
    }

    /// A downlink was queued.
    pub fn queued(&mut self, downlink: &KeptDownlink<'_>) {
        if self.queue.iter().all(|kept| id_of(kept) != Some(downlink.id)) {
            let mut bytes = [0; DOWNLINK_BYTES_MAX];
            let count = downlink.write(&mut bytes);
            self.queue.push(bytes[..count].to_vec());
        }
    }

    /// A downlink left the queue.
    pub fn dequeued(&mut self, id: u64) {
        self.queue.retain(|kept| id_of(kept) != Some(id));
    }

    /// Whether nothing is known of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.is_none() && self.queue.is_empty()
    }
}

fn id_of(bytes: &[u8]) -> Option<u64> {
    KeptDownlink::parse(bytes).map(|downlink| downlink.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let advance = Advance {
            dev_eui: Eui64::new(0x70B3_D57E_D000_0001),
            session: 3,
            fcnt_up: 0x0001_0002,
            mic: 0xDEAD_BEEF,
            gateway: Eui64::new(9),
        };
        assert_eq!(Advance::from_wire(&advance.to_wire()), advance);
        let dequeued = Dequeued { dev_eui: Eui64::new(7), id: u64::MAX - 1 };
        assert_eq!(Dequeued::from_wire(&dequeued.to_wire()), dequeued);
        let mut out = [0; DOWNLINK_BYTES_MAX];
        for len in [0, 1, PAYLOAD_BYTES_MAX] {
            let payload = vec![0xA5; len];
            let downlink = KeptDownlink {
                dev_eui: Eui64::new(5),
                id: 77,
                expires: UnixMicros(4),
                fport: 10,
                confirmed: len == 1,
                payload: &payload,
            };
            let count = downlink.write(&mut out);
            assert_eq!(KeptDownlink::parse(&out[..count]), Some(downlink));
        }
        assert_eq!(KeptDownlink::parse(&[0; DOWNLINK_HEAD_BYTES - 1]), None);
        assert_eq!(KeptDownlink::parse(&[0; DOWNLINK_BYTES_MAX + 1]), None);
        out[25] = 2;
        assert_eq!(KeptDownlink::parse(&out), None);
    }
}
