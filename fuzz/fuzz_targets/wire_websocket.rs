//! Bytes against `wire::fuzzing::websocket`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::websocket(bytes));
