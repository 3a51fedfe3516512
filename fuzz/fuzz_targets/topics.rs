//! Bytes against `topics::fuzzing::topics`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| topics::fuzzing::topics(bytes));
