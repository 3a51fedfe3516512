//! Bytes against `wire::fuzzing::deflate`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::deflate(bytes));
