//! Bytes against `broker::fuzzing::session`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| broker::fuzzing::session(bytes));
