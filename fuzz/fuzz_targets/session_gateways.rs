//! Bytes against `session::fuzzing::gateways`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| session::fuzzing::gateways(bytes));
