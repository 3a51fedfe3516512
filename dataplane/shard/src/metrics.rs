//! What a shard counts by itself, and the report in which everything that it counts leaves.
//!
//! A report travels to the shard empty, is filled there without allocating, and travels back to an ordinary thread.

use crate::keeping::Trouble;
use base::counters::{Counted, Counters as Family};
use hdrhistogram::Histogram;

base::counted! {
    /// Things dropped, refused or cut short by a shard, each with its reason.
    pub enum Drop {
        DatagramTruncated = "datagram_truncated": "A datagram was longer than a receive buffer.",
        DatagramOverrun = "datagram_overrun": "The kernel dropped a datagram because a socket's buffer was full.",
        GatewayForeign = "gateway_foreign": "A datagram reached a slot that its EUI does not map to.",
        RxpkCrcBad = "rxpk_crc_bad": "A frame arrived at the gateway with a bad CRC.",
        RxpkCrcAbsent = "rxpk_crc_absent": "A frame arrived at the gateway without a CRC.",
        StatusTooLong = "status_too_long": "A gateway's report was too long for an event.",
        AnswerBusy = "answer_busy": "A PUSH_ACK, PULL_ACK or PULL_RESP found no send slot.",
        AnswerFailed = "answer_failed": "The kernel refused to send a datagram.",
        HopHeard = "hop_heard": "A frame found the ring to its lane's shard full.",
        HopEvent = "hop_event": "An event found the ring to a consumer's shard full.",
        HopTransmit = "hop_transmit": "A downlink frame found the ring to its gateway's shard full.",
        HopTransmitted = "hop_transmitted": "A transmission's outcome found the ring back full.",
        HopCommand = "hop_command": "A downlink command found the ring to its device's shard full.",
        HopReply = "hop_reply": "The answer to a command found the ring back full.",
        HopPresence = "hop_presence": "Word of a stream's first or last consumer found a ring full; it is said again.",
        HopMalformed = "hop_malformed": "A record between shards could not be read: a defect of ours.",
        TemplateNoRoom = "template_no_room": "A rendered message exceeded the message limit.",
        QueueFull = "queue_full": "A consumer's queue was full.",
        PoolExhausted = "pool_exhausted": "The shard's queue memory was used up.",
        ConnectionRefused = "connection_refused": "The connection table or the descriptor table was full.",
        MoveRefused = "move_refused": "A connection could not move to the shard that its client identifier belongs to.",
        ConnectionLimit = "connection_limit": "A stream's connection limit was reached.",
        TlsFailed = "tls_failed": "A TLS handshake or record was refused.",
        HandshakeTimeout = "handshake_timeout": "TLS and upgrade took longer than permitted.",
        HeadTooLong = "head_too_long": "A request head exceeded its limit.",
        HeadMalformed = "head_malformed": "A request was no WebSocket upgrade.",
        TokenUnknown = "token_unknown": "No enabled stream has that token.",
        TokenMissing = "token_missing": "An upgrade carried no token.",
        FrameMalformed = "frame_malformed": "A WebSocket peer broke the protocol.",
        MessageTooLong = "message_too_long": "A consumer's message exceeded its limit.",
        Stalled = "stalled": "A consumer or MQTT client that took nothing for a second was cut off because output buffers ran short.",
        Overdue = "overdue": "A consumer was disconnected because its queue was full, as its stream says.",
        PongMissing = "pong_missing": "A consumer did not answer two pings.",
        DownlinkMalformed = "downlink_malformed": "A consumer's downlink could not be read.",
        DownlinkNotPermitted = "downlink_not_permitted": "The stream may not send downlinks to that device.",
        DownlinkRefused = "downlink_refused": "The device's queue or rules refused a downlink.",
        NoRoom = "no_room": "A device or gateway found its table full and is not in force.",
        HappenedDropped = "happened_dropped": "An operational event found the queue to the control thread full.",
        DownlinkNotRestored = "downlink_not_restored": "A kept downlink found no device, or no room, after a restart.",
        NotStored = "not_stored": "A message of a durable stream could not be kept.",
        HopMessage = "hop_message": "A message of a durable stream found the ring to its consumer's shard full; it is sent again.",
        FeedsFull = "feeds_full": "A session's group found no room for another feed.",
        FindRefused = "find_refused": "A message to begin with could not be looked for: the control thread is behind.",
        FindUnknown = "find_unknown": "A message to begin with is not there, or could not be looked for by the keeper.",
        AcknowledgementUnknown = "acknowledgement_unknown": "A consumer acknowledged what is not under way to it.",
        DeadLetter = "dead_letter": "A message was given up: its consumers did not take it.",
        MessageLost = "message_lost": "A message under way could not be read again: its segment is gone or damaged.",
        RecordCorrupt = "record_corrupt": "A damaged stretch of the journal was passed over.",
        SegmentUnreadable = "segment_unreadable": "A segment of the journal could not be opened or read.",
        JournalTrouble = "journal_trouble": "A record was not taken because the disk is full, fails or takes no writes.",
        JournalBehind = "journal_behind": "A record was not taken because the disk is too slow.",
        JournalNoSegment = "journal_no_segment": "A record was not taken because no segment was made in time, or the last epoch is used up.",
    }
}

base::counted! {
    /// Things done.
    pub enum Done {
        DatagramsReceived = "datagrams_received": "Datagrams from gateways.",
        DatagramsSent = "datagrams_sent": "Datagrams to gateways.",
        RxpkReceived = "rxpk_received": "Frames reported by gateways.",
        HeardForwarded = "heard_forwarded": "Frames that went on to another shard's lane.",
        EventsMatched = "events_matched": "Events that at least one stream with a consumer took.",
        EventsForwarded = "events_forwarded": "Copies of events sent to other shards' consumers.",
        MessagesDelivered = "messages_delivered": "Messages put into consumers' queues.",
        BytesDelivered = "bytes_delivered": "Their payload bytes.",
        RecordsSent = "records_sent": "TLS records with application data.",
        SendsSubmitted = "sends_submitted": "Writes to consumers' sockets.",
        ConnectionsAccepted = "connections_accepted": "Connections accepted.",
        ConnectionsClosed = "connections_closed": "Connections closed.",
        ConnectionsMoved = "connections_moved": "Connections that went on to the shard of their client identifier.",
        StreamsOpened = "streams_opened": "WebSocket sessions opened on streams.",
        RecordsKept = "records_kept": "Records appended to the journal.",
        RecordBytesKept = "record_bytes_kept": "Their bytes, heads aside.",
        MessagesAcknowledged = "messages_acknowledged": "Messages of durable streams that consumers are done with.",
        MessagesRefused = "messages_refused": "Messages that consumers refused, to be delivered again.",
        MessagesRedelivered = "messages_redelivered": "Messages that were delivered again.",
        SegmentReads = "segment_reads": "Pieces of segments read for consumers that lag.",
        SegmentBytesRead = "segment_bytes_read": "Their bytes.",
        JournalWrites = "journal_writes": "Writes to the journal.",
        CommandsAccepted = "commands_accepted": "Downlinks accepted.",
        PlansLoaded = "plans_loaded": "Plans put in force.",
        Turns = "turns": "Turns of the loop.",
    }
}

/// One declared metric: the report's values follow the order of [`descriptors`].
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Metric name without the `trunkline_` prefix and `_total` suffix.
    pub family: &'static str,
    /// Value of the label `reason` (or `what`).
    pub label: &'static str,
    /// For people.
    pub help: &'static str,
}

/// Gauges of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Open connections.
    pub connections: u64,
    /// Devices held.
    pub devices: u64,
    /// Sessions held.
    pub sessions: u64,
    /// Gateways known.
    pub gateways: u64,
    /// Gateways with a return path.
    pub gateways_online: u64,
    /// Free blocks of queue memory.
    pub queue_blocks_free: u64,
    /// The plan in force.
    pub plan_revision: u64,
    /// Nanoseconds spent working, since start.
    pub busy_ns: u64,
    /// What ails the journal's disk.
    pub trouble: Option<Trouble>,
}

/// Latencies of one shard, in nanoseconds up to a minute, three digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Datagram read to message in a consumer's queue.
    pub uplink: Histogram<u64>,
    /// Lane's shard to consumer's shard.
    pub hop: Histogram<u64>,
    /// Work of one turn.
    pub turn: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants");
        Self { uplink: histogram(), hop: histogram(), turn: histogram() }
    }
}

impl Latencies {
    pub(crate) fn reset(&mut self) {
        for histogram in [&mut self.uplink, &mut self.hop, &mut self.turn] {
            histogram.reset();
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (target, source) in
            [(&mut self.uplink, &other.uplink), (&mut self.hop, &other.hop), (&mut self.turn, &other.turn)]
        {
            target.add(source).expect("the bounds are the same");
        }
    }
}

/// Everything a shard counts, at one moment.
#[derive(Debug)]
pub struct Report {
    /// Which shard; set by it.
    pub shard: usize,
    /// Values in the order of [`descriptors`].
    pub values: Vec<u64>,
    /// As they are.
    pub gauges: Gauges,
    /// Since start.
    pub latencies: Latencies,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            shard: 0,
            values: Vec::with_capacity(descriptors().len()),
            gauges: Gauges::default(),
            latencies: Latencies::default(),
        }
    }
}

impl Report {
    pub(crate) fn take<C: Counted>(&mut self, counters: &Family<C>) {
        self.values.extend(C::ALL.iter().map(|what| counters.value(*what)));
    }
}

/// Every counter that a report carries, in its order.
#[must_use]
pub fn descriptors() -> Vec<Descriptor> {
    fn family<C: Counted>(family: &'static str) -> impl Iterator<Item = Descriptor> {
        C::ALL.iter().map(move |what| Descriptor { family, label: what.name(), help: what.help() })
    }
    let mut all: Vec<Descriptor> = family::<Drop>("shard_drops").collect();
    all.extend(family::<Done>("shard_done"));
    all.extend(family::<wire::semtech_udp::Malformed>("semtech_udp_malformed"));
    all.extend(family::<wire::semtech_udp::Refusal>("rxpk_refusals"));
    all.extend(family::<session::gateways::Refused>("gateway_refusals"));
    all.extend(family::<session::Drop>("lorawan_drops"));
    all.extend(family::<session::Achievement>("lorawan_done"));
    all.extend(family::<broker::Count>("mqtt"));
    all
}

/// The counters that a shard itself keeps.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) drops: base::counters::Counters<Drop>,
    pub(crate) done: base::counters::Counters<Done>,
    pub(crate) datagrams: base::counters::Counters<wire::semtech_udp::Malformed>,
    pub(crate) rxpk: base::counters::Counters<wire::semtech_udp::Refusal>,
    pub(crate) broker: base::counters::Counters<broker::Count>,
}
