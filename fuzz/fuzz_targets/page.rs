//! What it does is said in `bodies/page.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::page::run(bytes));
