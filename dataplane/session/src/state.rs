//! What can be asked of a device: its session, how it was last heard, its queue.
//!
//! Borrowed views over the tables; owns nothing.

use crate::NONE;
use crate::downlinks::{Downlinks, Queue};
use crate::network::Network;
use crate::spec::PAYLOAD_BYTES_MAX;
use base::{Eui64, UnixMicros};
use lorawan::DevAddr;

impl Network {
    /// What is known of a device that lives here.
    #[must_use]
    pub fn state(&self, dev_eui: Eui64) -> Option<State<'_>> {
        let device = &self.devices[self.device(dev_eui)?];
        let place = if device.session == NONE { device.pending } else { device.session };
        let session = (place != NONE).then(|| &self.sessions[place]);
        Some(State {
            tenant: device.tenant,
            application: device.application,
            active: session.is_some(),
            dev_addr: session.map_or(DevAddr(0), |session| session.dev_addr),
            session: session.map_or(device.session_count, |session| session.number),
            fcnt_up: session.map_or(0, |session| session.fcnt_up),
            fcnt_down: session.map_or(0, |session| session.fcnt_down),
            last_seen: session.map_or(UnixMicros(0), |session| session.last_seen),
            gateway: session.map_or(Eui64::default(), |session| session.last_gateway),
            rssi_deci: session.map_or(0, |session| session.rssi_deci),
            snr_deci: session.map_or(0, |session| session.snr_deci),
            queue: DownlinkQueue { downlinks: &self.downlinks, queue: device.queue },
        })
    }
}

/// What is known of a device.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Its owner.
    pub tenant: u32,
    /// Its application.
    pub application: u32,
    /// Whether it has a session.
    pub active: bool,
    /// Network address.
    pub dev_addr: DevAddr,
    /// Counts its sessions.
    pub session: u32,
    /// The least FCntUp that will be accepted.
    pub fcnt_up: u32,
    /// The next FCntDown.
    pub fcnt_down: u32,
    /// When its last uplink came; 0 is never.
    pub last_seen: UnixMicros,
    /// The best gateway then.
    pub gateway: Eui64,
    /// How strongly that heard it, tenths of dBm.
    pub rssi_deci: i16,
    /// How clearly, tenths of dB.
    pub snr_deci: i16,
    /// Downlinks that wait.
    pub queue: DownlinkQueue<'a>,
}

/// Downlinks that wait for a device, the next one first.
#[derive(Clone, Copy, Debug)]
pub struct DownlinkQueue<'a> {
    downlinks: &'a Downlinks,
    queue: Queue,
}

/// A downlink that waits.
#[derive(Clone, Copy, Debug)]
pub struct QueuedDownlink {
    /// Its id.
    pub id: u64,
    /// FPort.
    pub fport: u8,
    /// Whether the device shall acknowledge it.
    pub confirmed: bool,
    /// Frames that carried it so far.
    pub attempts: u8,
    /// After this it is of no use; 0 is never.
    pub expires: UnixMicros,
    bytes: [u8; PAYLOAD_BYTES_MAX],
    len: usize,
}

impl QueuedDownlink {
    /// In the clear.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'a> DownlinkQueue<'a> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.queue.count)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.count == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = QueuedDownlink> + use<'a> {
        let downlinks = self.downlinks;
        downlinks.iter(&self.queue).map(|place| {
            let downlink = &downlinks[place];
            let mut bytes = [0; PAYLOAD_BYTES_MAX];
            let len = downlinks.payload(place, &mut bytes);
            QueuedDownlink {
                id: downlink.id,
                fport: downlink.fport,
                confirmed: downlink.confirmed,
                attempts: downlink.attempts,
                expires: downlink.expires,
                bytes,
                len,
            }
        })
    }
}
