//! Bytes against `emit::fuzzing::template`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| emit::fuzzing::template(bytes, &event::SCHEMA));
