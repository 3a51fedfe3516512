//! Bytes against `wire::fuzzing::base64`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::fuzzing::base64(bytes));
