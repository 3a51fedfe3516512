//! The network server from outside: devices join, speak, repeat themselves and are answered, in virtual time.

mod downlinks;
mod joins;
mod limits;
mod model;
mod uplinks;
mod world;
