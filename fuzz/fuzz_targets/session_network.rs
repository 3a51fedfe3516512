//! Bytes against `session::fuzzing::network`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| session::fuzzing::network(bytes));
