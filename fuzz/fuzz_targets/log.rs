//! What it does is said in `bodies/log.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::log::run(bytes));
