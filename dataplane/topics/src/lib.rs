//! What an MQTT broker on one shard knows by topic: who subscribes, what is retained, and which other shards want a message.
//!
//! Sans-IO: no clock, no randomness, no socket. Topics are hostile input, so every hash has a key that the caller draws and
//! every table a limit that is an argument; what goes beyond is refused with an error value. Topic names and filters are
//! taken as valid: whoever reads them from a packet has looked.
//!
//! - [`Subscriptions`]: filters with wildcards and shared groups, to the sessions that subscribe.
//! - [`Fold`]: what a match found, by session.
//! - [`Retained`]: retained messages by topic, walked through for a filter step by step.
//! - [`Interests`], [`Summary`]: what a shard tells the others of its filters, and what it knows of theirs.
//!
//! Each call names a *space*: a tenant's own topics, which no other tenant's filters match.

mod chunks;
mod fold;
pub mod fuzzing;
mod groups;
mod hash;
mod heap;
mod levels;
mod links;
mod lists;
mod retained;
mod subscriber;
mod subscriptions;
mod summary;
mod table;
mod text;
mod tree;
mod walk;

pub use fold::{Delivery, Fold};
pub use groups::Fit;
pub use hash::Key;
pub use retained::{Cursor, Message, NotRetained, Retained, RetainedLimits, Usage};
pub use subscriber::{IDENTIFIER_MAX, Options, SESSION_COUNT_MAX};
pub use subscriptions::{Held, Limits, Match, Refused, Subscribed, Subscriptions, Unsubscribed};
pub use summary::{Delta, Interests, LEVELS, SHARD_COUNT_MAX, Summary};
