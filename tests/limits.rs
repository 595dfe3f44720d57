//! A process with little of everything: errors or smaller steps, never a signal.
//!
//! The test runs itself again under the shell's `ulimit`.

mod common;

use mapleaf::{Error, Options, Table};
use std::process::Command;

const BLOBS: Table<u64, [u8]> = Table::new("blobs");

/// Runs the test of this name again, limited. `None` in the limited process itself.
fn limited(limit: &str, test: &str) -> Option<std::process::ExitStatus> {
    if std::env::var_os("MAPLEAF_LIMITED").is_some() {
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!("ulimit {limit} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program).env("MAPLEAF_LIMITED", "1").env("RUST_BACKTRACE", "0");
    Some(command.status().unwrap())
}

fn fill(db: &mapleaf::Database, keys: std::ops::Range<u64>) -> mapleaf::Result<()> {
    db.write(|w| {
        for key in keys {
            w.put(BLOBS, &key, &[7; 2000])?;
        }
        Ok::<_, Error>(())
    })
}

#[test]
fn a_store_that_outgrows_scarce_address_space_is_mapped_anew() {
    if let Some(status) = limited("-v 600000", "a_store_that_outgrows_scarce_address_space_is_mapped_anew") {
        return assert!(status.success());
    }
    let db = common::TestDb::with(Options::new().dirty_limit(1 << 20));
    fill(&db, 0..100).unwrap();
    let reader = db.begin_read().unwrap();
    let first = reader.get(BLOBS, &5).unwrap().unwrap();
    for round in 0..40 {
        fill(&db, round * 1000..round * 1000 + 1000).unwrap();
    }
    assert!(db.file_len() > 80 << 20);
    assert_eq!(first, [7; 2000], "the old mapping is where it was");
    assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 40_000);
}

#[test]
fn a_file_size_limit_is_an_error_and_the_store_goes_on() {
    if let Some(status) = limited("-f 4096", "a_file_size_limit_is_an_error_and_the_store_goes_on") {
        return assert!(status.success());
    }
    let db = common::TestDb::new();
    fill(&db, 0..100).unwrap();
    match fill(&db, 0..5000) {
        Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(27), "EFBIG"),
        other => panic!("{other:?}"),
    }
    assert_eq!(db.begin_read().unwrap().len(BLOBS).unwrap(), 100);
    fill(&db, 0..110).unwrap();
}
