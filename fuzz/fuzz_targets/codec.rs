//! What it does is said in `bodies/codec.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::codec::run(bytes));
