//! Bytes against `mqtt::fuzzing::packet`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mqtt::fuzzing::packet(bytes));
