//! What must be seen from outside, a file per part of the promise.

mod allocation;
mod bad_input;
mod command_line;
mod disks;
mod downlinks;
mod durable;
mod faults;
mod foreign;
mod lagging;
mod logs;
mod measured;
mod mqtt;
mod newcomer;
mod no_room;
mod oracle;
mod retained;
mod steering;
mod streams;
mod transport;
mod uplinks;
