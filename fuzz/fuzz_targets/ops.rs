//! What it does is said in `bodies/ops.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::ops::run(bytes));
