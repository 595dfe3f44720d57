//! What it does is said in `bodies/sidecar.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::sidecar::run(bytes));
