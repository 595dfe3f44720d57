//! The examples do what they claim: each ends well, by itself, and says so.
//!
//! `cargo test` builds them beside the tests; with `--test examples` alone they are as they were built last.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `target/PROFILE/examples/NAME`; this program is in `target/PROFILE/deps`.
fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(name)
}

/// Runs an example without input, and returns what it says.
#[track_caller]
fn run(name: &str, args: &[&str], place: &Path) -> String {
    let path = path(name);
    assert!(path.exists(), "{} is missing; run `cargo build --examples` first", path.display());
    let mut command = Command::new(&path);
    let Output { status, stdout, stderr } =
        command.args(args).env("TMPDIR", place).current_dir(place).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{name}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The line that an example without arguments says this in. Its temporary files go to a directory, which it must leave empty.
#[track_caller]
fn assert_says(name: &str, what: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let stdout = run(name, &[], place.path());
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{name} left {left:?}");
    let mut lines = stdout.lines();
    match lines.find(|line| line.contains(what)) {
        Some(line) => line.to_owned(),
        None => panic!("{name} does not say {what:?}:\n{stdout}"),
    }
}

#[test]
fn the_first_example_reads_in_place_from_a_second_process() {
    let place = tempfile::tempdir().unwrap();
    // The second time it begins anew.
    for _ in 0..2 {
        let said = run("first", &["kept.maple"], place.path());
        let page = include_str!("../docs/first-hour.md").replace("target/first.maple", "kept.maple");
        let page = page.replace("in the mapping of first.maple", "in the mapping of kept.maple");
        assert!(page.contains(&said), "docs/first-hour.md shows something else than\n{said}");
    }
}

#[test]
fn two_processes_read_and_write_one_file_at_once() {
    assert_says("two_processes", "and every sum was 300");
}

#[test]
fn a_forked_child_reads_the_snapshot_of_its_parent_and_newer_ones() {
    assert_says("fork_reader", "the child read the old snapshot and the newest one");
}

#[test]
fn a_store_is_passed_as_a_descriptor() {
    assert_says("pass_descriptor", "wrote the sum Some(500500)");
}

#[test]
fn a_snapshot_is_handed_to_another_process() {
    assert_says("snapshot_handover", "2000 sales, 10000 in all; by now it is 30000");
}

#[test]
fn producer_and_consumer_meet_in_shared_memory() {
    let line = assert_says("shared_memory", "took 1000 jobs out of ");
    let path = line.split(' ').next_back().unwrap();
    assert!(path.starts_with("/dev/shm/mapleaf-example-"), "{line}");
    assert!(
        !PathBuf::from(path).exists() && !PathBuf::from(format!("{path}-lock")).exists(),
        "{path} is left"
    );
}

#[test]
fn a_temporary_buffer_is_shared_without_a_name() {
    assert_says("temporary_buffer", "the other process read 16000 lines in order");
}

#[test]
fn a_listener_hears_of_every_commit() {
    assert_says("change_listener", "all 4 messages were heard");
}

#[test]
fn the_threads_of_a_pool_scan_a_table_in_parts() {
    assert_says("parallel_scan", "the snapshot: 149850000 milliseconds");
    assert_says("parallel_scan", "not committed yet: 149850000 milliseconds");
}
