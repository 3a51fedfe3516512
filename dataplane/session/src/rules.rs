//! What the network server asks of its owner, and what it hands over.
//!
//! [`Rules`] answers from the plan; [`Sink`] takes what comes out, at once and borrowed, so that nothing is queued or
//! allocated on the way. Both are implemented by the shard.

use crate::change::{Change, NotKept, Owner, Ticket};
use base::{DataRate, Eui64};
use core::time::Duration;
use event::{Copy, Event, Kind, Reception};

/// The dedup window of an application that names none.
pub const DEDUP_WINDOW: Duration = Duration::from_millis(200);

/// What the plan says. Cheap look-ups: some are asked for every frame.
pub trait Rules {
    /// The device profile with this id.
    fn profile(&self, id: u32) -> Option<&lorawan::Profile>;

    /// How long copies of one frame are gathered before it is answered.
    fn dedup_window(&self, application: u32) -> Duration {
        let _ = application;
        DEDUP_WINDOW
    }

    /// The NetID of joining devices.
    fn net_id(&self) -> lorawan::NetId;

    /// Whether some stream may want this event. What nobody wants is not built.
    fn wants(&self, about: &About) -> bool {
        let _ = about;
        true
    }
}

/// What can be known of an event before it is built. Absent identifiers are zero.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its kind.
    pub kind: Kind,
    /// Which record of one uplink.
    pub copy: Copy,
    /// The device's owner.
    pub tenant: u32,
    /// The device's application.
    pub application: u32,
    /// The device.
    pub dev_eui: Eui64,
}

/// Takes what comes out.
pub trait Sink {
    /// Something happened. Borrowed: encode it or drop it.
    fn event(&mut self, event: &Event<'_>);

    /// Ask a gateway to transmit. Its outcome comes back by [`Network::transmitted`](crate::Network::transmitted).
    fn transmit(&mut self, transmit: &Transmit<'_>);

    /// Keep this change, in order: what depends on it waits until [`Sink::is_kept`] says so of its ticket.
    ///
    /// # Errors
    /// [`NotKept`] when nothing can be kept now.
    fn keep(&mut self, owner: Owner, change: Change<'_>) -> Result<Ticket, NotKept>;

    /// Whether what has this ticket, and all before it, is kept. If not, somebody waits for it: see that it soon is.
    fn is_kept(&mut self, ticket: Ticket) -> bool;
}

/// One gateway's hearing of one PHYPayload.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The frame.
    pub phy: &'a [u8],
    /// Who heard it, when and how.
    pub reception: Reception,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
}

/// A frame for one gateway to transmit at one moment, with inverted polarity and without payload CRC.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Names this attempt; the outcome repeats it.
    pub transmission: u32,
    /// The gateway.
    pub gateway: Eui64,
    /// When, by its concentrator's counter: that of the reception plus the delay; wraps.
    pub tmst: u32,
    /// The reception that this answers (Basics Station wants it back: antenna, board).
    pub reception: &'a Reception,
    /// The delay between reception and transmission.
    pub delay: Duration,
    /// Carrier, Hz.
    pub frequency_hz: u32,
    /// Modulation.
    pub data_rate: DataRate,
    /// Radiated power (EIRP), dBm; a gateway's own ceiling may lower it.
    pub power_dbm: i8,
    /// The device, for protocols that name it.
    pub dev_eui: Eui64,
    /// The PHYPayload.
    pub phy: &'a [u8],
}

/// What became of a [`Transmit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The gateway took it, or has transmitted it.
    Sent,
    /// The gateway would not or could not transmit it.
    Error(TransmitError),
    /// There is no way to that gateway.
    NoPath,
}

/// A gateway's reasons, as TX_ACK spells them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TransmitError {
    /// `TOO_LATE`.
    TooLate,
    /// `TOO_EARLY`.
    TooEarly,
    /// `COLLISION_PACKET`.
    CollisionPacket,
    /// `COLLISION_BEACON`.
    CollisionBeacon,
    /// `TX_FREQ`.
    Frequency,
    /// `TX_POWER`.
    Power,
    /// `GPS_UNLOCKED`.
    GpsUnlocked,
    /// Any other.
    Other,
}
