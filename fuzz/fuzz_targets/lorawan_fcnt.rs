//! Bytes against `lorawan::fuzzing::fcnt`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lorawan::fuzzing::fcnt(bytes));
