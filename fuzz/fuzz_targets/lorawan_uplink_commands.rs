//! Bytes against `lorawan::fuzzing::uplink_commands`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lorawan::fuzzing::uplink_commands(bytes));
