//! Bytes against `plan::fuzzing::config`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plan::fuzzing::config(bytes));
