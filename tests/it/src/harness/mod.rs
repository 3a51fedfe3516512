//! What every scenario stands on: processes, clients, a device, a gateway.

pub(crate) mod device;
pub(crate) mod disk;
pub(crate) mod faulty;
pub(crate) mod fixture;
pub(crate) mod foreign;
pub(crate) mod gateway;
pub(crate) mod metrics;
pub(crate) mod mqtt;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod rest;
pub(crate) mod socket;
pub(crate) mod system;
