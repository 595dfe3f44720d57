//! What it does is said in `bodies/file.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::file::run(bytes));
