//! Bytes against `wire::fuzzing::downlink`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::downlink(bytes));
