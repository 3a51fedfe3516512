//! Bytes against `lorawan::fuzzing::phy`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lorawan::fuzzing::phy(bytes));
