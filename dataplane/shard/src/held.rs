//! What a shard holds at one moment, each with its bound: for whoever proves that memory is bounded.
//!
//! Owns nothing and changes nothing. The bounds are those that rooms were reserved for; a count beyond one would be memory
//! that was taken while serving.

use crate::commands::REPLY_COUNT_MAX;
use crate::deliveries::SETTLED_COUNT_MAX;
use crate::feeds::{EARLY_COUNT_MAX, FEED_COUNT_MAX, MEMBER_COUNT_MAX};
use crate::{EARLY_PRESENCE_COUNT_MAX, Shard};
use driver::Driver;

/// Something of which there may be so much and no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// What.
    pub what: &'static str,
    /// How much there is.
    pub count: u64,
    /// How much there may be.
    pub bound: u64,
}

impl<D: Driver> Shard<D> {
    /// Calls `each` with everything that grows and shrinks while serving.
    pub fn held(&self, mut each: impl FnMut(Held)) {
        let mut say = |what, count: usize, bound: usize| each(Held { what, count: count as u64, bound: bound as u64 });
        let (clients, limits) = (&self.clients, self.driver.limits());
        let connections = limits.connection_count as usize;
        say("connections", clients.open_count, connections);
        say("queue_blocks", clients.pool.count() - clients.pool.free_count(), clients.pool.count());
        let (words, settled) = clients.unsaid.counts();
        say("unsaid_words", words, 2 * connections);
        say("unsaid_settled", settled, SETTLED_COUNT_MAX);
        say("replies", self.replies.count(), REPLY_COUNT_MAX);
        say("early_presence", self.early_presence.len(), EARLY_PRESENCE_COUNT_MAX);
        say("devices", self.network.device_count(), self.options.network.device_count_max);
        say("sessions", self.network.session_count(), self.options.network.device_count_max);
        say("gateways", self.gateways.count(), self.options.gateways.gateway_count_max);
        say("early_words", self.feeds.early_count(), EARLY_COUNT_MAX);
        say("feeds", self.feeds.table.len(), FEED_COUNT_MAX);
        for feed in self.feeds.table.iter().flatten() {
            let held = feed.held();
            say("flights", held.flights, held.window);
            // Each is of a message under way.
            say("graves", held.graves, held.window);
            say("members", held.members, MEMBER_COUNT_MAX);
        }
        if let (Some(keeping), Some(options)) = (&self.keeping, &self.options.journal) {
            let unstored = keeping.log.head().offset() - keeping.log.stored().offset();
            say("unstored_bytes", unstored as usize, options.limits.tail_bytes);
        }
    }
}
