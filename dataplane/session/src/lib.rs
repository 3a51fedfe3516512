//! The LoRaWAN network server of one shard, and the links of its gateways: conversations without I/O.
//!
//! Owns the devices of its lanes, their sessions, the dedup windows, the downlink queues and the answers under way, all in
//! tables of fixed size. Time, rules and the takers of output arrive as arguments. Never allocates after
//! [`Network::new`], never reads a clock, never speaks to a socket.
//!
//! ```text
//!   Heard -> [window by hash] -> session (FCnt filter, MIC) -> Event First/Later ... window ends -> Event Best
//!                                                                                    -> answer -> Transmit RX1
//!   transmitted(error) -> RX2 -> the next gateway -> back to the queue        Command -> queue -> the next answer
//! ```
//!
//! The owner's loop is: one call that changes something (`receive`, `enqueue`, `transmitted`, `expire` ...), whose output
//! went to its [`Sink`] before it returned, then arm [`Network::deadline`]. What changes is given to [`Sink::keep`] before
//! anything that depends on it; an answer is held until that is kept, and [`Network::kept`] lets it go.

mod answer;
pub mod body;
mod change;
mod counted;
mod device;
mod downlinks;
mod flight;
pub mod fuzzing;
pub mod gateways;
mod index;
mod join;
mod lane;
mod network;
mod queue;
mod record;
mod rules;
mod slab;
mod spec;
mod state;
mod timers;
mod uplink;
mod windows;

pub use change::{
    ADVANCE_BYTES, Advance, Change, DOWNLINK_BYTES_MAX, Dequeued, DeviceState, KeptDownlink, NotKept, Owner, Ticket,
};
pub use counted::{Achievement, Drop};
pub use lane::{LANE_COUNT, Lane, Lanes, addr_count, addr_in_lane, lane_of_addr, lane_of_eui, lane_of_frame};
pub use network::{Counts, Network};
pub use record::{BadRecord, DEV_NONCE_COUNT, KeptSession, NotRestored, RECORD_BYTES, SessionRecord};
pub use rules::{About, DEDUP_WINDOW, Heard, Outcome, Rules, Sink, Transmit, TransmitError};
pub use spec::{Activation, Command, DeviceSpec, Full, Limits, PAYLOAD_BYTES_MAX, Refusal, Upserted};
pub use state::{DownlinkQueue, QueuedDownlink, State};

/// No place in a table.
const NONE: u32 = u32::MAX;
