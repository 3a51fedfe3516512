//! Bytes against `lorawan::fuzzing::downlink_commands`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lorawan::fuzzing::downlink_commands(bytes));
