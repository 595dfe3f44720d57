//! The fuzz targets without a fuzzer: every input that they start from, and every one that once made them fail.
//!
//! The inputs are in `fuzz/seeds` and `fuzz/finds` (its README tells the stories). Long runs are `fuzz/run`.

#![allow(unsafe_code)]

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// No input takes a second; one that takes so long never ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs all inputs of a target, and names those that make it fail.
fn each(target: &str, run: fn(&[u8])) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut failed = Vec::new();
    let mut count = 0;
    for kind in ["seeds", "finds"] {
        let Ok(entries) = std::fs::read_dir(home.join(kind).join(target)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            count += 1;
            let (done, outcome) = mpsc::channel();
            std::thread::spawn(move || done.send(catch_unwind(|| run(&input)).is_ok()));
            match outcome.recv_timeout(PATIENCE) {
                Ok(true) => {}
                Ok(false) => failed.push(path),
                Err(_) => panic!("{} does not end", path.display()),
            }
        }
    }
    assert!(count > 0, "no inputs of {target}");
    assert!(failed.is_empty(), "{failed:#?}");
    bodies::clean_up(target);
}

#[test]
fn damaged_and_crafted_files_are_read_rightly_or_refused() {
    each("file", bodies::file::run);
}

#[test]
fn sequences_of_operations_with_crashes_do_what_a_map_does() {
    each("ops", bodies::ops::run);
}

#[test]
fn nothing_in_the_lock_file_is_believed_or_does_harm() {
    each("sidecar", bodies::sidecar::run);
}

#[test]
fn whatever_the_log_says_the_store_is_whole_or_refused() {
    each("log", bodies::log::run);
}

#[test]
fn whatever_a_backup_says_the_store_is_whole_or_not_there() {
    each("backup", bodies::backup::run);
}

#[test]
fn encodings_keep_the_order_and_the_values() {
    each("codec", bodies::codec::run);
}

#[test]
fn dump_text_that_can_be_read_is_written_again_the_same() {
    each("dump_text", bodies::dump_text::run);
}
