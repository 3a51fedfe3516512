//! Bytes against `wire::fuzzing::semtech_udp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::semtech_udp(bytes));
