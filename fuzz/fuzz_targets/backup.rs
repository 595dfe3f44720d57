//! What it does is said in `bodies/backup.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::backup::run(bytes));
