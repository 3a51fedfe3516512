//! Bytes against `wire::fuzzing::http`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::http(bytes));
