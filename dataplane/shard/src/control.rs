//! What a shard and the control thread say to each other.
//!
//! Two bounded queues per shard, never waited on by the shard. Whatever was allocated is freed where it was allocated:
//! plans, queries and reports are boxes that travel to the shard and come back.

use crate::group::{From, Group, MessageId, NotFound};
use crate::hop::ReplyTo;
use crate::keeping::Trouble;
use crate::metrics::Report;
use crate::streams::StreamState;
use base::{Eui64, UnixMicros};
use crossbeam::queue::ArrayQueue;
use event::Kind;
use journal::{Catalog, Cursors, SegmentInfo, SegmentName, Wanted};
use plan::{Plan, Upsert};
use session::{Lane, SessionRecord};
use std::net::SocketAddr;
use std::sync::Arc;

/// Downlinks that a query lists for one device.
pub const QUEUE_LISTED_MAX: usize = 16;

/// A plan with the state that its streams will have here, allocated where it is compiled.
#[derive(Debug)]
pub struct Load {
    /// The plan to put in force.
    pub plan: Plan,
    /// Per stream, a bit for each shard with an open session.
    pub(crate) presence: Vec<u64>,
    pub(crate) streams: Vec<StreamState>,
}

impl Load {
    /// A plan, ready to travel.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let streams = plan.streams.iter().map(|stream| StreamState::new(stream.id)).collect();
        Self { presence: vec![0; plan.streams.len()], plan, streams }
    }
}

/// To a shard.
#[derive(Debug)]
pub enum ToShard {
    /// Put this plan in force; the old one comes back as [`FromShard::Retired`].
    Load(Box<Load>),
    /// A device or gateway changes. Given to every shard that it concerns.
    Upsert(Upsert),
    /// Sessions from storage, before serving. They come back as [`FromShard::SessionsTaken`].
    Restore(Vec<SessionRecord>),
    /// A waiting downlink from storage, before serving: a [`session::KeptDownlink`]'s bytes.
    RestoreDownlink(Box<[u8]>),
    /// Segments as the keeper knows them from here on. The former word comes back as [`FromShard::CatalogRetired`].
    Catalog(Box<Catalog>),
    /// Where groups of consumers were at the end of the last run, before serving: stream, group, cursors.
    Cursors(Box<Vec<(u32, Group, Cursors)>>),
    /// A group is to go on elsewhere.
    Seek {
        /// The stream.
        stream: u32,
        /// The group.
        group: Group,
        /// Where.
        from: From,
    },
    /// The answer to [`FromShard::Find`].
    Found {
        /// From the question.
        session: ReplyTo,
        /// Where its group begins.
        from: Result<From, NotFound>,
    },
    /// A group is to be forgotten, and where it was.
    RemoveGroup {
        /// Repeated in the answer.
        request: u64,
        /// The stream.
        stream: u32,
        /// The group.
        group: Group,
    },
    /// A dead letter is to be delivered again.
    PutBack {
        /// The lane of its device.
        lane: u8,
        /// The tenant of its device.
        tenant: u32,
        /// A [`session::body::PutBackBody`]'s bytes.
        body: Box<[u8]>,
    },
    /// The first copy of an uplink whose best copy a durable stream was promised when the last run ended.
    Owed(Box<[u8]>),
    /// The keeper has made this segment.
    SegmentMade(SegmentName),
    /// The keeper could not; it goes on trying.
    SegmentNotMade(Trouble),
    /// Everything before this is in force: answer [`FromShard::Acknowledged`].
    Mark(u64),
    /// Fill this in and send it back.
    Query(Box<Query>),
    /// Fill this in and send it back.
    Report(Box<Report>),
    /// Queue a downlink.
    Command(Box<CommandRequest>),
    /// Empty a device's queue.
    Flush {
        /// Repeated in the answer.
        request: u64,
        /// Whose.
        dev_eui: Eui64,
    },
    /// Close every connection with 1001 and stop.
    Stop,
}

/// From a shard.
#[derive(Debug)]
pub enum FromShard {
    /// To be freed.
    Retired(Box<Load>),
    /// Everything up to this mark is in force.
    Acknowledged(u64),
    /// Filled in.
    Queried(Box<Query>),
    /// Filled in.
    Reported(Box<Report>),
    /// Filled in.
    Commanded(Box<CommandRequest>),
    /// How many downlinks were flushed.
    Flushed {
        /// From the request.
        request: u64,
        /// Downlinks that were waiting.
        count: u32,
    },
    /// A group was forgotten here, and it is stored that it was; or it was not.
    GroupRemoved {
        /// From the request.
        request: u64,
        /// Whether the group was known.
        outcome: Result<bool, GroupRefused>,
    },
    /// A session's group is to begin at a message: where is it?
    Find {
        /// Whose.
        session: ReplyTo,
        /// The stream.
        stream: u32,
        /// Which message.
        id: MessageId,
    },
    /// A [`ToShard::Upsert`] found its table full: here it is again, to be tried when there is room.
    UpsertFull(Upsert),
    /// A device that was upserted here used to live in another shard's lane; it is to be removed there.
    Moved {
        /// Which.
        dev_eui: Eui64,
        /// Where it lived.
        before: Lane,
    },
    /// The journal needs this segment.
    MakeSegment(Wanted),
    /// A segment of the journal has ended.
    Sealed(SegmentInfo),
    /// A stretch of a segment is damaged: these bytes of its file were passed over. Said each time that it is met.
    Damaged {
        /// Which segment.
        name: SegmentName,
        /// The first byte.
        from: u64,
        /// Behind the last one.
        until: u64,
    },
    /// To be freed.
    CatalogRetired(Box<Catalog>),
    /// To be freed.
    CursorsTaken(Box<Vec<(u32, Group, Cursors)>>),
    /// To be freed.
    SessionsTaken(Vec<SessionRecord>),
    /// To be freed.
    Restored(Box<[u8]>),
    /// To be shown to people.
    Happened(Happened),
    /// The shard has stopped.
    Stopped {
        /// Everything in its log is stored.
        stored: bool,
    },
}

/// Why a group is not forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupRefused {
    /// It has sessions.
    InUse,
    /// It could not be kept that it is gone.
    NotKept,
}

/// Something for the event list.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// What: an event kind, or a stream's session.
    pub what: What,
    /// When.
    pub at: UnixMicros,
    /// Whose; 0 is nobody's.
    pub tenant: u32,
    /// In which application.
    pub application: u32,
    /// Which device.
    pub dev_eui: Eui64,
    /// Which gateway.
    pub gateway: Eui64,
    /// Which stream.
    pub stream: u32,
    /// Why a downlink failed.
    pub failure: Option<event::Failure>,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// As the event's kind says.
    Event(Kind),
    /// A session opened on a stream.
    StreamOpened,
    /// A stream's session ended.
    StreamClosed,
}

impl What {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name(),
            Self::StreamOpened => "stream_opened",
            Self::StreamClosed => "stream_closed",
        }
    }
}

/// A downlink from the API.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Repeated in the answer.
    pub request: u64,
    /// For whom.
    pub dev_eui: Eui64,
    /// FPort.
    pub fport: u8,
    /// Whether to be acknowledged.
    pub confirmed: bool,
    /// In the clear.
    pub payload: Vec<u8>,
    /// When it is of no use any more.
    pub expires: Option<UnixMicros>,
    /// The answer: the downlink's id, or why not. A device that lives elsewhere is [`crate::Refused::UnknownDevice`].
    pub outcome: Result<u64, crate::Refused>,
}

/// Questions about the state of things, and room for the answers. The room is made by who asks.
#[derive(Debug, Default)]
pub struct Query {
    /// Repeated in the answer.
    pub request: u64,
    /// Which shard answered.
    pub shard: usize,
    /// Devices asked for.
    pub devices: Vec<Eui64>,
    /// Gateways asked for.
    pub gateways: Vec<Eui64>,
    /// Streams asked for.
    pub streams: Vec<u32>,
    /// Devices that live here.
    pub device_answers: Vec<DeviceAnswer>,
    /// Gateways that are known here.
    pub gateway_answers: Vec<GatewayAnswer>,
    /// This shard's part of the streams.
    pub stream_answers: Vec<StreamAnswer>,
    /// Connections of those streams.
    pub connection_answers: Vec<ConnectionAnswer>,
    /// Groups of consumers of those streams.
    pub group_answers: Vec<GroupAnswer>,
    /// Whether the journal is asked for.
    pub asks_journal: bool,
    /// How the journal fares, if it is asked for and there is one.
    pub journal_answer: Option<JournalAnswer>,
}

/// Groups that one query's answer lists per shard.
const GROUPS_LISTED_MAX: usize = 1024;

/// A group of consumers, as one shard's feed sees it.
#[derive(Clone, Copy, Debug)]
pub struct GroupAnswer {
    /// The stream.
    pub stream: u32,
    /// The group.
    pub group: Group,
    /// Messages under way.
    pub in_flight: u32,
    /// Sessions.
    pub sessions: u32,
    /// Messages delivered again.
    pub redelivered: u64,
    /// Messages given up.
    pub dead: u64,
    /// Bytes of the shard's log behind the cursor; at most, since what others have there counts too.
    pub lag_bytes: u64,
}

/// A shard's journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalAnswer {
    /// What ails the disk.
    pub trouble: Option<Trouble>,
    /// Records appended since start.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Writes and fdatasyncs that failed.
    pub failures: u64,
}

/// Connections that one query's answer lists per shard.
const CONNECTIONS_LISTED_MAX: usize = 1024;

impl Query {
    /// A query with room for every answer.
    #[must_use]
    pub fn new(request: u64, devices: Vec<Eui64>, gateways: Vec<Eui64>, streams: Vec<u32>) -> Self {
        Self {
            request,
            shard: 0,
            device_answers: Vec::with_capacity(devices.len()),
            gateway_answers: Vec::with_capacity(gateways.len()),
            stream_answers: Vec::with_capacity(streams.len()),
            connection_answers: Vec::with_capacity(if streams.is_empty() { 0 } else { CONNECTIONS_LISTED_MAX }),
            group_answers: Vec::with_capacity(if streams.is_empty() { 0 } else { GROUPS_LISTED_MAX }),
            asks_journal: false,
            journal_answer: None,
            devices,
            gateways,
            streams,
        }
    }
}

/// A device's state.
#[derive(Clone, Debug)]
pub struct DeviceAnswer {
    /// Which.
    pub dev_eui: Eui64,
    /// Whether it has a session.
    pub active: bool,
    /// Network address of its session.
    pub dev_addr: u32,
    /// Counts its sessions.
    pub session: u32,
    /// The next FCntUp expected.
    pub fcnt_up: u32,
    /// The next FCntDown.
    pub fcnt_down: u32,
    /// When it was last heard; 0 is never.
    pub last_seen: UnixMicros,
    /// The gateway of its last best reception.
    pub gateway: Eui64,
    /// Its strength then, tenths of dBm.
    pub rssi_deci: i16,
    /// Its signal-to-noise ratio then, tenths of dB.
    pub snr_deci: i16,
    /// The oldest waiting downlinks.
    pub queue: [Option<QueuedAnswer>; QUEUE_LISTED_MAX],
}

/// A waiting downlink.
#[derive(Clone, Copy, Debug)]
pub struct QueuedAnswer {
    /// Its id.
    pub id: u64,
    /// FPort.
    pub fport: u8,
    /// Whether to be acknowledged.
    pub confirmed: bool,
    /// Transmissions so far.
    pub attempts: u8,
    /// Payload bytes in use.
    pub payload_bytes: u8,
    /// In the clear.
    pub payload: [u8; session::PAYLOAD_BYTES_MAX],
}

/// A gateway's state.
#[derive(Clone, Debug)]
pub struct GatewayAnswer {
    /// Which.
    pub eui: Eui64,
    /// Whether it has a return path and is not silent.
    pub online: bool,
    /// When it was last heard.
    pub last_seen: UnixMicros,
    /// Where downlinks go.
    pub address: Option<SocketAddr>,
    /// Frames it reported.
    pub uplinks: u64,
    /// Frames it was given to transmit.
    pub downlinks: u64,
    /// The last status report.
    pub status: [u8; session::gateways::STATUS_BYTES_MAX],
    /// Its bytes in use.
    pub status_bytes: u16,
}

/// A stream's state on one shard.
#[derive(Clone, Copy, Debug)]
pub struct StreamAnswer {
    /// Which.
    pub id: u32,
    /// Messages put into queues.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Messages that found a queue full.
    pub dropped_queue_full: u64,
    /// Messages that found the shard's queue memory used up.
    pub dropped_pool_exhausted: u64,
    /// Messages that were too long once rendered.
    pub dropped_no_room: u64,
    /// Messages that should have been kept.
    pub not_stored: u64,
    /// Downlinks accepted.
    pub downlinks: u64,
}

/// A connection of a stream.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionAnswer {
    /// The stream.
    pub stream: u32,
    /// Its other end.
    pub peer: SocketAddr,
    /// When it opened.
    pub since: UnixMicros,
    /// Messages put into its queue.
    pub delivered: u64,
    /// Messages it missed.
    pub dropped: u64,
    /// Bytes that wait.
    pub queued_bytes: u32,
}

/// One shard's queues to and from the control thread.
#[derive(Clone)]
pub struct Mailbox {
    /// To the shard. Whoever pushes wakes it afterwards.
    pub to: Arc<ArrayQueue<ToShard>>,
    /// From the shard. It calls `notify` after pushing.
    pub from: Arc<ArrayQueue<FromShard>>,
    /// Wakes the control thread; must not block.
    pub notify: Arc<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// Offers the control thread something that may be lost, if it has room beyond what must not be.
    pub(crate) fn offer(&self, message: FromShard) -> Result<(), NoRoom> {
        if self.from.len() >= self.from.capacity() / 2 {
            return Err(NoRoom);
        }
        self.push(message);
        Ok(())
    }

    /// Whether an answer that must not be lost has room.
    pub(crate) fn may_answer(&self) -> bool {
        self.from.len() + ANSWER_ROOM < self.from.capacity()
    }

    /// Gives the control thread an answer; [`Mailbox::may_answer`] was asked before.
    pub(crate) fn push(&self, message: FromShard) {
        assert!(self.from.push(message).is_ok(), "room was asked for");
        (self.notify)();
    }

    /// Queues of `capacity` messages each way.
    #[must_use]
    pub fn new(capacity: usize, notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { to: Arc::new(ArrayQueue::new(capacity)), from: Arc::new(ArrayQueue::new(capacity)), notify }
    }
}

/// The control thread is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoRoom;

/// Answers that one message may lead to, with room to spare.
const ANSWER_ROOM: usize = 8;

impl core::fmt::Debug for Mailbox {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Mailbox").field("to", &self.to.len()).field("from", &self.from.len()).finish_non_exhaustive()
    }
}
