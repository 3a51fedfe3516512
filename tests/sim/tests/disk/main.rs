//! The virtual disk beside a naive one, so that it is proven before a journal relies on it.
//!
//! Random operations with cuts and kills; after each, every synced byte is there, and every other sector is old, new or
//! torn.

mod by_driver;
mod by_folder;
mod model;
