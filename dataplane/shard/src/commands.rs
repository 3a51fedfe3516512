//! Downlinks that consumers and the control plane ask for, on their way to the device's lane and their answers back.

use crate::control::{CommandRequest, FromShard};
use crate::hop::{CommandHop, Hop, Ports, ReplyHop, ReplyTo};
use crate::metrics::{Counters, Done, Drop};
use crate::{Now, Shard, shard_of_lane};
use base::{Eui64, UnixMicros};
use driver::Driver;
use session::{Refusal, Ticket, lane_of_eui};
use std::collections::VecDeque;

/// Why a downlink was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refused {
    /// No such device, or none that the stream covers: which of both is nobody's business.
    UnknownDevice = 1,
    /// The device is disabled.
    Disabled = 2,
    /// Its queue is full.
    QueueFull = 3,
    /// No data rate of its region carries so much.
    TooLong = 4,
    /// FPort is outside 1..=223.
    BadPort = 5,
    /// It has no session and no way to get one.
    NoSession = 6,
    /// The stream's sessions may not send downlinks.
    NotPermitted = 7,
    /// The shard of the device is too busy to listen.
    Busy = 8,
    /// It could not be kept: the disk is full, or fails.
    NotKept = 9,
}

impl Refused {
    /// As the contract and the streams spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownDevice => "unknown_device",
            Self::Disabled => "disabled",
            Self::QueueFull => "queue_full",
            Self::TooLong => "too_long",
            Self::BadPort => "bad_port",
            Self::NoSession => "no_session",
            Self::NotPermitted => "not_permitted",
            Self::Busy => "busy",
            Self::NotKept => "not_kept",
        }
    }

    /// The field of a stream's downlink that is to blame.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::UnknownDevice | Self::Disabled | Self::QueueFull | Self::NoSession => "DeviceEUI",
            Self::TooLong => "Data",
            Self::BadPort => "Port",
            Self::NotPermitted | Self::Busy | Self::NotKept => "Type",
        }
    }

    pub(crate) const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::UnknownDevice,
            2 => Self::Disabled,
            3 => Self::QueueFull,
            4 => Self::TooLong,
            5 => Self::BadPort,
            6 => Self::NoSession,
            7 => Self::NotPermitted,
            8 => Self::Busy,
            9 => Self::NotKept,
            _ => return None,
        })
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownDevice => Self::UnknownDevice,
            Refusal::Disabled => Self::Disabled,
            Refusal::QueueFull => Self::QueueFull,
            Refusal::TooLong => Self::TooLong,
            Refusal::BadPort => Self::BadPort,
            Refusal::NoSession => Self::NoSession,
            Refusal::NotKept => Self::NotKept,
        }
    }
}

/// The way out for a connection's commands.
pub(crate) struct Outgoing<'a> {
    pub(crate) ports: &'a mut Ports,
    pub(crate) counters: &'a Counters,
    pub(crate) shard: u8,
    pub(crate) shard_count: usize,
}

/// A command as a connection gives it.
pub(crate) struct Asked<'a> {
    pub(crate) index: u32,
    pub(crate) generation: u32,
    pub(crate) stream: u32,
    pub(crate) dev_eui: Eui64,
    pub(crate) fport: u8,
    pub(crate) confirmed: bool,
    pub(crate) expires: Option<UnixMicros>,
    pub(crate) id: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Outgoing<'_> {
    /// Sends a command to where its device is looked up. False if that shard cannot take it now.
    pub(crate) fn send(&mut self, asked: &Asked<'_>) -> bool {
        let command = CommandHop {
            reply_to: ReplyTo { shard: self.shard, index: asked.index, generation: asked.generation },
            stream: asked.stream,
            dev_eui: asked.dev_eui,
            fport: asked.fport,
            confirmed: asked.confirmed,
            redirected: false,
            expires: asked.expires.unwrap_or_default(),
            id: asked.id,
            payload: asked.payload,
        };
        let target = shard_of_lane(lane_of_eui(asked.dev_eui).0, self.shard_count);
        let sent = self.ports.send(target, &Hop::Command(command)).is_ok();
        if !sent {
            self.counters.drops.count(Drop::HopCommand);
        }
        sent
    }
}

impl<D: Driver> Shard<D> {
    /// A command has arrived at the shard that should know its device.
    pub(crate) fn command(&mut self, command: &CommandHop<'_>, now: Now) {
        let outcome = match self.network.state(command.dev_eui) {
            Some(state) => {
                let plan = &self.load.plan;
                let permitted = plan
                    .stream_of_id(command.stream)
                    .is_some_and(|index| plan.may_command(index, command.dev_eui, state.application, state.tenant));
                if permitted {
                    self.enqueue(command, now)
                } else {
                    self.counters.drops.count(Drop::DownlinkNotPermitted);
                    Err(Refused::UnknownDevice)
                }
            }
            None => match self.network.redirect(command.dev_eui).filter(|_| !command.redirected) {
                Some(lane) => {
                    let onward = Hop::Command(CommandHop { redirected: true, ..command.clone() });
                    if self.ports.send(shard_of_lane(lane.0, self.shard_count), &onward).is_ok() {
                        return;
                    }
                    self.counters.drops.count(Drop::HopCommand);
                    Err(Refused::Busy)
                }
                None => Err(Refused::UnknownDevice),
            },
        };
        match outcome {
            Ok((downlink, ticket)) => self.reply_once_kept(Waiting::Session(Reply::to(command, downlink)), ticket),
            Err(refused) => self.reply(&Reply { outcome: refused as u8, ..Reply::to(command, 0) }),
        }
    }

    fn enqueue(&mut self, command: &CommandHop<'_>, now: Now) -> Result<(u64, Ticket), Refused> {
        if self.replies.is_full() {
            return Err(Refused::Busy);
        }
        let queued = session::Command {
            dev_eui: command.dev_eui,
            fport: command.fport,
            confirmed: command.confirmed,
            payload: command.payload,
            expires: (command.expires != UnixMicros::default()).then_some(command.expires),
        };
        let (network, rules, mut outlets) = self.split(now);
        let outcome = network.enqueue(&queued, &rules, &mut outlets, now.monotonic, now.unix).map_err(Refused::from);
        match outcome {
            Ok(_) => self.counters.done.count(Done::CommandsAccepted),
            Err(_) => self.counters.drops.count(Drop::DownlinkRefused),
        }
        outcome
    }

    /// Answers a command that was accepted, once what it changed is kept.
    pub(crate) fn reply_once_kept(&mut self, waiting: Waiting, ticket: Ticket) {
        if self.keeping.as_mut().is_none_or(|keeping| keeping.is_kept(ticket)) {
            self.say(waiting);
        } else {
            self.replies.push(waiting, ticket);
        }
    }

    /// Gives the answers whose commands are kept by now. They wait in the order in which they are kept.
    pub(crate) fn release_replies(&mut self) {
        while let Some(&(ref waiting, ticket)) = self.replies.0.front() {
            let room = matches!(waiting, Waiting::Session(_)) || self.mailbox.may_answer();
            if !room || self.keeping.as_mut().is_some_and(|keeping| !keeping.is_kept(ticket)) {
                return;
            }
            let (waiting, _) = self.replies.0.pop_front().expect("just seen");
            self.say(waiting);
        }
    }

    fn say(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Session(reply) => self.reply(&reply),
            Waiting::Control(command) => self.mailbox.push(FromShard::Commanded(command)),
            Waiting::Group(request, known) => {
                self.mailbox.push(FromShard::GroupRemoved { request, outcome: Ok(known) });
            }
        }
    }

    fn reply(&mut self, reply: &Reply) {
        let hop = ReplyHop {
            reply_to: reply.reply_to,
            outcome: reply.outcome,
            downlink: reply.downlink,
            dev_eui: reply.dev_eui,
            id: &reply.id[..usize::from(reply.id_bytes)],
        };
        if self.ports.send(usize::from(reply.reply_to.shard), &Hop::Reply(hop)).is_err() {
            self.counters.drops.count(Drop::HopReply);
        }
    }
}

/// The longest id that a consumer may give a downlink.
const ID_BYTES_MAX: usize = 64;

/// An answer that waits.
pub(crate) struct Reply {
    reply_to: ReplyTo,
    /// 0 accepted, else a [`Refused`].
    outcome: u8,
    downlink: u64,
    dev_eui: Eui64,
    id: [u8; ID_BYTES_MAX],
    id_bytes: u8,
}

impl Reply {
    fn to(command: &CommandHop<'_>, downlink: u64) -> Self {
        let mut id = [0; ID_BYTES_MAX];
        id[..command.id.len()].copy_from_slice(command.id);
        let id_bytes = command.id.len() as u8;
        Self { reply_to: command.reply_to, outcome: 0, downlink, dev_eui: command.dev_eui, id, id_bytes }
    }
}

/// Who is to be answered.
pub(crate) enum Waiting {
    /// A consumer's session.
    Session(Reply),
    /// The control plane.
    Control(Box<CommandRequest>),
    /// The control plane, of a group that was forgotten: its request, and whether the group was known.
    Group(u64, bool),
}

/// Answers to accepted commands, in the order of their tickets.
pub(crate) struct Replies(VecDeque<(Waiting, Ticket)>);

/// Commands that may wait for the disk at once; more find the shard busy.
pub(crate) const REPLY_COUNT_MAX: usize = 4096;

impl Default for Replies {
    fn default() -> Self {
        Self(VecDeque::with_capacity(REPLY_COUNT_MAX))
    }
}

impl Replies {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() == REPLY_COUNT_MAX
    }

    fn push(&mut self, waiting: Waiting, ticket: Ticket) {
        assert!(!self.is_full(), "room was asked for");
        self.0.push_back((waiting, ticket));
    }
}
