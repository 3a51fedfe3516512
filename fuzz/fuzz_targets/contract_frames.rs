//! Bytes against `contract::fuzzing::frames`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| contract::fuzzing::frames(bytes));
