//! An MQTT broker on one shard: sessions, what is in flight, what waits, wills, and who gets a message.
//!
//! Sans-IO. Owns sessions and messages; never reads a clock, draws randomness, or knows what a socket is: time arrives with
//! each call, everything else through the [`Host`]. Once warm it allocates for connects and subscriptions alone.
//!
//! ```text
//!   connect, packet, lost, failed, writable ->  Broker  -> Host::send, close, pause, resume      connections of this shard
//!   forwarded, word                         ->          -> Host::forward, tell                   other shards
//!   deadline, expire, turn                  ->          -> Host::happened, count                 presence, reasons
//! ```
//!
//! A client identifier belongs to one shard. A message is written once per shard and referred to by all who get it. Clauses are
//! cited as `v3` and `v5`, as the `mqtt` room does.

mod acknowledge;
mod aliases;
mod arena;
mod broker;
mod clients;
mod connect;
mod count;
mod deliveries;
mod end;
pub mod fuzzing;
mod groups;
mod hops;
mod host;
mod limits;
mod out;
mod peers;
mod publish;
mod retained;
mod session;
mod slab;
mod store;
mod subscribe;
#[cfg(test)]
mod tests;

pub use broker::Broker;
pub use count::Count;
pub use host::{Action, End, Full, Happened, Host, Identity, Link, Lost, Next, Now, Slot};
pub use limits::{Limits, Overflow};
pub use peers::{Directed, FORWARDED_HEAD_BYTES, Forwarded, Member, WORD_HEAD_BYTES, Word};
