//! Bytes against `wire::fuzzing::json`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::json(bytes));
