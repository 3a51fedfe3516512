//! HTTP/1.1 as a listener for WebSockets needs it: a request's head in, an upgrade or a small refusal out.
//!
//! Owns no connection and no body: a request that brings one is refused. Never repeats a target or its query, in which
//! tokens travel. Bounds are fixed: bytes of a head, count of its fields.
//!
//! ```text
//!   GET /?token=… HTTP/1.1      -> Head -> Upgrade -> 101 Switching Protocols     RFC 9112, RFC 6455 section 4.2
//!   Host: …                                      \-> 400 401 403 404 405 408 426 431 503
//! ```

mod head;
mod respond;
mod upgrade;

pub use head::{FIELD_COUNT_MAX, HEAD_BYTES_MAX, Head, HeadError, QueryError};
pub use respond::{RESPONSE_BYTES_MAX, Status, write_response};
pub use upgrade::{ACCEPT_BYTES, Answer, Refused, Upgrade, accept_of};

#[cfg(test)]
mod tests;
