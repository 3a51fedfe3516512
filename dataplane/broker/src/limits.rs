//! How much there may be of everything, and what happens when a queue is full.

use core::num::NonZeroU16;

/// What becomes of a message for a session whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The message is dropped.
    DropNewest,
    /// The oldest that was not sent yet is dropped instead.
    DropOldest,
    /// The message is dropped and the client disconnected, with quota exceeded; one that is away loses the message alone.
    Disconnect,
}

/// The bounds of one shard's broker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions, those of clients that are away and stand-ins for other shards' members of shared groups included.
    pub session_count_max: usize,
    /// Subscriptions of all sessions.
    pub subscription_count_max: usize,
    /// Levels of all filters, as `topics::Limits` counts them.
    pub level_count_max: usize,
    /// Levels of one filter.
    pub depth_max: usize,
    /// Subscriptions of one session.
    pub filter_count_max: usize,
    /// Bytes of messages, wills, retained messages and topic aliases together; a power of two. All are reserved at once, and
    /// touched when they are first used.
    pub message_bytes_max: usize,
    /// Messages, as many as are kept for any reason.
    pub message_count_max: usize,
    /// Deliveries above QoS 0 that wait or are in flight, of all sessions.
    pub delivery_count_max: usize,
    /// Deliveries that wait for one session.
    pub queue_count_max: u32,
    /// Bytes of the messages that wait for one session.
    pub queue_bytes_max: u32,
    /// What happens beyond that.
    pub overflow: Overflow,
    /// Deliveries above QoS 0 in flight to one client, if its own receive maximum is not less.
    pub inflight_max: NonZeroU16,
    /// Messages above QoS 0 in flight from one client: the receive maximum that it is told (v5 3.2.2.3.3).
    pub receive_maximum: NonZeroU16,
    /// Bytes of the largest packet: the maximum packet size that clients are told (v5 3.2.2.3.6).
    pub packet_bytes_max: u32,
    /// The highest topic alias of a client (v5 3.2.2.3.8); 0: none.
    pub topic_alias_maximum: u16,
    /// Topic aliases for one client, if it takes so many.
    pub own_alias_count_max: u16,
    /// Seconds of the longest keep alive; clients of 5.0 that ask for more, or for none, are told so. 0: any will do.
    pub keep_alive_s_max: u16,
    /// Seconds of the longest session expiry; `u32::MAX`: sessions may last for ever. Sessions of 3.1.1 that are to be kept
    /// last so long.
    pub session_expiry_s_max: u32,
    /// Bytes that may wait in a connection's output before messages wait in its session's queue.
    pub output_bytes_max: usize,
    /// Buckets of what shards know of each other's filters: a byte each, and a bit for each shard. Eight for each filter of
    /// all shards keep messages from going to shards in vain.
    pub bucket_count: usize,
    /// Retained messages of a topic space.
    pub retained_count_max: usize,
    /// Bytes of retained messages of a topic space.
    pub retained_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_count_max: 100_000,
            subscription_count_max: 1_000_000,
            level_count_max: 2_000_000,
            depth_max: 128,
            filter_count_max: 10_000,
            message_bytes_max: 256 << 20,
            message_count_max: 1_000_000,
            delivery_count_max: 2_000_000,
            queue_count_max: 10_000,
            queue_bytes_max: 16 << 20,
            overflow: Overflow::DropNewest,
            inflight_max: NonZeroU16::new(128).expect("not 0"),
            receive_maximum: NonZeroU16::new(1024).expect("not 0"),
            packet_bytes_max: 1 << 20,
            topic_alias_maximum: 32,
            own_alias_count_max: 16,
            keep_alive_s_max: 0,
            session_expiry_s_max: u32::MAX,
            output_bytes_max: 256 << 10,
            bucket_count: 1 << 20,
            retained_count_max: 100_000,
            retained_bytes_max: 64 << 20,
        }
    }
}
