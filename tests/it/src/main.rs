//! Integration: the real processes over real sockets on loopback, with clients of our own and of others.
//!
//! Each scenario starts its own control and dataplane on free ports in a temporary directory and leaves no process.

mod harness;
mod scenarios;
