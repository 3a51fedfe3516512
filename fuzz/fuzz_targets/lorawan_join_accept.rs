//! Bytes against `lorawan::fuzzing::join_accept`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lorawan::fuzzing::join_accept(bytes));
