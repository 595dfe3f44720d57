//! What it does is said in `bodies/dump_text.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::dump_text::run(bytes));
