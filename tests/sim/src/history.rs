//! What happened, kept for the laws.
//!
//! Owns what everybody said, did and was told, and what was counted; the naive model beside the dataplane is in it: what
//! devices sent, what they were promised, what consumers asked for.

use crate::consumer::Consumer;
use crate::control::Control;
use crate::disk_words::{DiskTally, Lie};
use crate::network::Tally;
use crate::story::Story;
use crate::witness::Witness;
use base::Eui64;
use std::collections::{BTreeMap, BTreeSet};

/// A data frame as its device sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// FPort, if it had one.
    pub fport: Option<u8>,
    /// The clear payload.
    pub payload: Vec<u8>,
    /// Whether it asked for acknowledgement.
    pub confirmed: bool,
}

/// A downlink that a consumer asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// For whom.
    pub dev_eui: Eui64,
    /// Its payload, unique among all.
    pub payload: Vec<u8>,
    /// Whether it is to be acknowledged.
    pub confirmed: bool,
}

/// Everything that happened.
#[derive(Debug)]
pub struct History {
    /// What was told.
    pub story: Story,
    /// By device and FCntUp; several if the device joined again.
    pub sent: BTreeMap<(Eui64, u32), Vec<Sent>>,
    /// Downlinks that devices took: device, payload.
    pub heard: Vec<(Eui64, Vec<u8>)>,
    /// Uplinks that devices were told were taken.
    pub acknowledged: BTreeSet<(Eui64, u32)>,
    /// Uplinks that the journal has at the end.
    pub journaled: BTreeSet<(Eui64, u32)>,
    /// How many these are, told apart by session as well.
    pub journaled_count: u64,
    /// Downlinks by the consumer's own id.
    pub asked: BTreeMap<String, Asked>,
    /// Consumers, in the order of [`STREAMS`](crate::STREAMS) and then the others.
    pub consumers: Vec<Consumer>,
    /// The control thread, with the counters of the last life.
    pub control: Control,
    /// The network's tally.
    pub tally: Tally,
    /// The disk's.
    pub disk: DiskTally,
    /// What the disk did against its word.
    pub lies: Vec<Lie>,
    /// Where the shards had written what.
    pub witness: Witness,
    /// How often what happened to the world.
    pub befell: Befell,
    /// The fleet's totals.
    pub totals: fleet::Totals,
    /// Good frames that gateways forwarded.
    pub forwarded: u64,
    /// Devices in the order of the fleet.
    pub devices: Vec<Eui64>,
    /// The most bytes that ever waited in the network.
    pub held_bytes_max: usize,
    /// Buffers that machines had lent when their shard had stopped, and connections.
    pub lent: Vec<([usize; 3], usize)>,
    /// Whether every stream was open, and everything in force, before the first device spoke.
    pub ready: bool,
    /// The hash of it all.
    pub trace: u64,
}

/// How often what happened to a world that neither the network nor the disk knows of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Befell {
    /// The power went.
    pub power_cuts: u64,
    /// The process was killed.
    pub kills: u64,
    /// Of both, those between two operations of the disk while it was written to, or read at a start.
    pub crashes_at_operations: u64,
    /// The control plane came again.
    pub control_restarts: u64,
    /// The configuration changed while traffic flowed.
    pub plan_changes: u64,
}
