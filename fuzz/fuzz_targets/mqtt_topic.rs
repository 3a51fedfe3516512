//! Bytes against `mqtt::fuzzing::topic`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mqtt::fuzzing::topic(bytes));
