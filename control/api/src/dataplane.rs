//! What the API asks of the dataplane, whoever carries the question.
//!
//! Owns the plain types of questions and answers and the trait that the link implements (and the tests' double). Never
//! names a socket or the contract's messages. Whatever the API asks, it must have an answer in a bounded time: an
//! implementation never lets a future hang on an absent dataplane.

use base::Eui64;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::broadcast;

/// A boxed future, so that the trait can be an object.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The link to the dataplane.
pub trait Dataplane: Send + Sync + 'static {
    /// The store has committed everything up to `revision`: bring it to the dataplane. Returns at once.
    fn committed(&self, revision: u64);

    /// Waits until every shard has `revision` in force, at most for `patience`. Answers [`InForce::Pending`] at once if
    /// there is no dataplane.
    fn in_force(&self, revision: u64, patience: Duration) -> Reply<'_, InForce>;

    /// What the dataplane knows of these. Any number may be asked for; the implementation splits what is too much for
    /// one message. Unknown ones are absent from the answer.
    fn query(&self, query: Query) -> Reply<'_, Result<Answer, Unavailable>>;

    /// Queues a downlink.
    fn enqueue(&self, downlink: Enqueue) -> Reply<'_, Result<Queued, Unavailable>>;

    /// Empties a device's queue; answers with the count of downlinks that were in it.
    fn flush(&self, dev_eui: Eui64) -> Reply<'_, Result<u32, Unavailable>>;

    /// Lets a group of a durable stream read on elsewhere.
    fn seek_group(&self, seek: SeekGroup) -> Reply<'_, Result<(), Unavailable>>;

    /// Forgets a group of a durable stream.
    fn remove_group(&self, stream: u32, group: String) -> Reply<'_, Result<(), Unavailable>>;

    /// A page of what a durable stream kept.
    fn history(&self, history: History) -> Reply<'_, Result<HistoryPage, Unavailable>>;

    /// A page of what a durable stream could not deliver.
    fn dead_letters(&self, letters: DeadLetters) -> Reply<'_, Result<DeadLetterPage, Unavailable>>;

    /// Delivers dead letters again, all of the stream if none is named; answers with their count.
    fn put_back(&self, stream: u32, ids: Vec<String>) -> Reply<'_, Result<u32, Unavailable>>;

    /// Everything that happens from now on. A receiver that lags loses the oldest.
    fn events(&self) -> broadcast::Receiver<Happened>;

    /// The state of the link, now.
    fn status(&self) -> LinkStatus;
}

/// Whether a revision is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// On every shard.
    Yes,
    /// Stored; the dataplane will have it when it can.
    Pending,
}

/// There is no answer, or it is no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no link, or too many questions are open; nothing was sent.
    NotSent,
    /// The link broke or no answer came in time: a command may have taken effect.
    Unknown,
    /// The dataplane refused the question.
    Refused {
        /// The field it names.
        field: String,
        /// Why.
        reason: String,
    },
    /// The dataplane speaks an earlier version of the contract than the question needs; nothing was sent.
    TooOld {
        /// The one that it would have to speak, as `1.1`.
        needed: String,
        /// The one that it speaks.
        spoken: String,
    },
    /// The dataplane would not, for one of the contract's reasons, such as `unknown_group`.
    Rejected(String),
}

/// The state of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether a dataplane is connected and has said Hello.
    pub connected: bool,
    /// Its name and version.
    pub software: String,
    /// The version of the contract that it speaks, as `1.1`; empty before its first Hello.
    pub contract: String,
    /// Why it keeps no durable streams, if it does not.
    pub lacks_durable: Option<Unavailable>,
    /// By shard, the revision that it has in force.
    pub shards: Vec<u64>,
    /// The least of them, or 0 without a dataplane.
    pub revision: u64,
    /// Whether a snapshot is on its way.
    pub snapshot: bool,
    /// The last refusal of a delta or a snapshot, if nothing was accepted since.
    pub refused: Option<String>,
}

/// What to ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Devices.
    pub devices: Vec<Eui64>,
    /// Gateways.
    pub gateways: Vec<Eui64>,
    /// Streams, by their numbers.
    pub streams: Vec<u32>,
    /// The shards' journals.
    pub journal: bool,
}

/// What the dataplane knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Devices it has.
    pub devices: Vec<DeviceState>,
    /// Gateways it has.
    pub gateways: Vec<GatewayState>,
    /// Streams it has.
    pub streams: Vec<StreamState>,
    /// The journal of each shard.
    pub journal: Vec<JournalState>,
}

/// A device as its lane has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// Which.
    pub dev_eui: Eui64,
    /// Whether it has a session; without one the session's fields are 0.
    pub active: bool,
    /// Its address.
    pub dev_addr: u32,
    /// Counts its sessions.
    pub session: u32,
    /// The last FCntUp.
    pub fcnt_up: u32,
    /// The next FCntDown.
    pub fcnt_down: u32,
    /// Unix microseconds; 0 is never.
    pub last_seen_us: u64,
    /// The gateway of the last best reception; 0 is none.
    pub gateway: Eui64,
    /// Tenths of dBm.
    pub rssi_deci: i32,
    /// Tenths of dB.
    pub snr_deci: i32,
    /// Downlinks that wait.
    pub queue: Vec<QueuedDownlink>,
    /// The shard whose table is full: the device is not in force.
    pub no_room: Option<u32>,
}

/// A downlink that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuedDownlink {
    /// Its number.
    pub id: u64,
    /// FPort.
    pub fport: u8,
    /// Whether the device must acknowledge it.
    pub confirmed: bool,
    /// FRMPayload in the clear.
    pub payload: Vec<u8>,
    /// Transmissions so far.
    pub attempts: u32,
}

/// A gateway as its shard has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// Which.
    pub eui: Eui64,
    /// Whether it has been heard lately.
    pub online: bool,
    /// Unix microseconds; 0 is never.
    pub last_seen_us: u64,
    /// Where its downlinks go.
    pub address: String,
    /// The shard that serves it.
    pub shard: u32,
    /// The last report, a JSON object, or empty.
    pub status: String,
    /// Frames heard.
    pub uplinks: u64,
    /// Frames handed over for transmission.
    pub downlinks: u64,
    /// The shard whose table is full: the gateway is not in force.
    pub no_room: Option<u32>,
}

/// A stream as all shards together have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Which.
    pub id: u32,
    /// Open connections.
    pub connections: Vec<StreamConnection>,
    /// Messages that went out.
    pub delivered: u64,
    /// Bytes that went out.
    pub delivered_bytes: u64,
    /// What was dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Downlinks that came in.
    pub downlinks: u64,
    /// Of a durable stream: who shares its messages.
    pub groups: Vec<GroupState>,
    /// Of a durable stream: messages that are kept.
    pub retained_messages: u64,
    /// The bytes of their records.
    pub retained_bytes: u64,
    /// When the oldest message that is kept happened, Unix microseconds; 0 if none is.
    pub retained_oldest_us: u64,
    /// The age up to which they are kept, as it is in force; 0 if the dataplane does not say.
    pub retention_s: u32,
    /// The bytes up to which they are kept, likewise.
    pub retention_bytes: u64,
    /// Messages that should have been kept and the disk did not take.
    pub not_stored: u64,
}

/// A group of consumers of a durable stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub group: String,
    /// Messages that it has not acknowledged; 0 if that is not known.
    pub lag_messages: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// Messages that were sent and are not acknowledged.
    pub in_flight: u32,
    /// Its sessions.
    pub sessions: u32,
    /// Messages that were delivered again.
    pub redelivered: u64,
    /// Dead letters that wait to be put back.
    pub dead_letters: u64,
    /// When the oldest message that it has not acknowledged happened, Unix microseconds; 0 if there is none.
    pub oldest_us: u64,
}

/// The journal of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Which.
    pub shard: u32,
    /// How its disk does.
    pub disk: Disk,
    /// Bytes that its segments take.
    pub bytes: u64,
    /// Bytes that its file system has left.
    pub free_bytes: u64,
    /// Its segments.
    pub segments: u32,
    /// Records that were stored since the start, as what follows.
    pub stored_records: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Writes and fdatasyncs that failed.
    pub failed_writes: u64,
    /// Records that could not be read and were passed over.
    pub corrupt_records: u64,
    /// What is wrong, for people; empty while the disk is healthy.
    pub detail: String,
}

/// How a journal's disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// The dataplane did not say, or said something newer.
    #[default]
    Unknown,
    /// It takes what it is given.
    Healthy,
    /// It has no room.
    Full,
    /// Writes fail.
    Failing,
    /// It only reads.
    ReadOnly,
}

impl Disk {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Healthy, Self::Full, Self::Failing, Self::ReadOnly];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::ReadOnly => "read_only",
        }
    }
}

/// Where a group is to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekGroup {
    /// The stream's number.
    pub stream: u32,
    /// The group; it is made if there is none of that name.
    pub group: String,
    /// Where.
    pub to: Position,
}

/// A place in what a durable stream keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest message.
    Earliest,
    /// What comes next.
    Latest,
    /// The first message of that time or later, Unix microseconds.
    Time(u64),
    /// The message with this `Id`.
    Id(String),
}

/// Which of the messages that a durable stream kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The stream's number.
    pub stream: u32,
    /// Unix microseconds.
    pub from_us: u64,
    /// Unix microseconds, exclusive; 0 is open.
    pub to_us: u64,
    /// Only of this device.
    pub device: Option<Eui64>,
    /// The `next` of the page before; empty is the first.
    pub page: Vec<u8>,
    /// The most messages.
    pub limit: u32,
}

/// Some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// In the stream's format.
    pub messages: Vec<Vec<u8>>,
    /// The page behind; empty at the end.
    pub next: Vec<u8>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// The stream's number.
    pub stream: u32,
    /// The `next` of the page before; empty is the first.
    pub page: Vec<u8>,
    /// The most dead letters.
    pub limit: u32,
}

/// Some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The oldest first.
    pub letters: Vec<DeadLetter>,
    /// The page behind; empty at the end.
    pub next: Vec<u8>,
}

/// A message that a group could not take, or refused, too often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its own: one message may be a dead letter of several groups.
    pub id: String,
    /// Whose.
    pub group: String,
    /// Of the last refusal.
    pub reason: String,
    /// Deliveries.
    pub attempts: u32,
    /// When it became one, Unix microseconds.
    pub at_us: u64,
    /// In the stream's format.
    pub message: Vec<u8>,
}

/// One connection of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamConnection {
    /// The shard that serves it.
    pub shard: u32,
    /// The peer's address.
    pub peer: String,
    /// Unix microseconds.
    pub since_us: u64,
    /// Messages that went out.
    pub delivered: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// Bytes that wait.
    pub queued_bytes: u64,
}

/// A downlink to queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueue {
    /// For whom.
    pub dev_eui: Eui64,
    /// FPort, 1..=223.
    pub fport: u8,
    /// Whether the device must acknowledge it.
    pub confirmed: bool,
    /// FRMPayload in the clear.
    pub payload: Vec<u8>,
    /// Unix microseconds; 0 is never.
    pub expires_us: u64,
}

/// What became of a downlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits under this number.
    Accepted(u64),
    /// It does not: `unknown_device`, `queue_full`, `too_long`, `no_session`, `bad_port` or `disabled`.
    Rejected(String),
}

/// Something happened. Fields that do not apply are 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// What: an event kind's name, `stream_opened`, `stream_closed` or `no_room`.
    pub kind: String,
    /// Unix microseconds.
    pub at_us: u64,
    /// The tenant's number.
    pub tenant: u32,
    /// The application's number.
    pub application: u32,
    /// The device.
    pub dev_eui: Eui64,
    /// The gateway.
    pub gateway: Eui64,
    /// The stream's number.
    pub stream: u32,
    /// For people.
    pub detail: String,
}
