//! What the fuzz targets do: one function `run(bytes)` each, which returns or panics.
//!
//! They are modules, so that `tests/fuzz_finds.rs` runs every seed and every past find through the same
//! functions, without a fuzzer.
#![allow(dead_code, missing_docs)]

pub mod backup;
pub mod changes;
pub mod codec;
pub mod contents;
pub mod dump_text;
pub mod file;
pub mod image;
pub mod input;
pub mod log;
pub mod look;
pub mod ops;
#[cfg(fuzzing)]
pub mod page;
pub mod plan;
pub mod reading;
pub mod shadow;
pub mod sidecar;

use std::path::PathBuf;

/// A path of this process's own in memory, for a target; below `MAPLEAF_SCRATCH` where that is set, as `fuzz/run` does:
/// libFuzzer's jobs are processes, and some of them are killed.
pub fn scratch(target: &str, name: &str) -> PathBuf {
    let directory = home(target);
    std::fs::create_dir_all(&directory).expect("room in shared memory");
    directory.join(name)
}

fn home(target: &str) -> PathBuf {
    if let Some(home) = std::env::var_os("MAPLEAF_SCRATCH") {
        return PathBuf::from(home).join(target);
    }
    let memory = std::path::Path::new("/dev/shm");
    let home = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    home.join(format!("mapleaf-fuzz-{}", std::process::id())).join(target)
}

/// Removes what [`scratch`] made for a target.
pub fn clean_up(target: &str) {
    let home = home(target);
    let _ = std::fs::remove_dir_all(&home);
    // The last one takes the directory along.
    let _ = std::fs::remove_dir(home.parent().expect("it was joined"));
}
