//! What the fuzz targets do: one function `run(bytes)` each, which returns or panics.
//!
//! They are modules, so that `tests/fuzz_finds.rs` runs every seed and every past find through the same
//! functions, without a fuzzer.
#![allow(dead_code, missing_docs)]

pub mod codec;
pub mod dump_text;
pub mod file;
pub mod image;
pub mod input;
pub mod log;
pub mod ops;
#[cfg(fuzzing)]
pub mod page;
pub mod plan;
pub mod reading;
pub mod shadow;
pub mod sidecar;

use std::path::PathBuf;

/// A path of this process's own in memory; with libFuzzer that of the process that starts the jobs.
pub fn scratch(name: &str) -> PathBuf {
    let id = if cfg!(fuzzing) { std::os::unix::process::parent_id() } else { std::process::id() };
    let memory = std::path::Path::new("/dev/shm");
    let home = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = home.join(format!("mapleaf-fuzz-{id}"));
    std::fs::create_dir_all(&directory).expect("room in shared memory");
    directory.join(name)
}

/// Removes what [`scratch`] made.
pub fn clean_up() {
    let _ = std::fs::remove_dir_all(scratch(".").parent().expect("it was joined"));
}
