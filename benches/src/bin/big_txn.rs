//! `big_txn FILE [MEGABYTES [LIMIT]]`: one txn of so much data (5,000 by default) in random key order, in a process
//! whose private memory is limited to LIMIT megabytes (512 by default, by RLIMIT_DATA; the page cache is the
//! kernel's and shared).

use mapleaf::{Error, Options, Table};
use rand::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::time::Instant;

const BLOBS: Table<[u8], [u8]> = Table::new("blobs");

fn blob(i: u64) -> ([u8; 24], Vec<u8>) {
    let mut random = SmallRng::seed_from_u64(i);
    let (mut key, mut value) = ([0; 24], vec![0; 1000]);
    random.fill_bytes(&mut key);
    random.fill_bytes(&mut value);
    (key, value)
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: big_txn FILE [MEGABYTES [LIMIT]]");
    let mut number = |default: u64| arguments.next().map_or(default, |n| n.parse().expect("megabytes"));
    let (megabytes, limit) = (number(5000), number(512) << 20);
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum: Some(limit) }).expect("a lower limit");
    // SAFETY: the file is this program's own.
    let db = unsafe { Options::new().open(&path)? };
    let start = Instant::now();
    let blobs = megabytes * 1_000_000 / 1024;
    db.write(|w| {
        for i in 0..blobs {
            let (key, value) = blob(i);
            w.put(BLOBS, &key, &value[..])?;
        }
        Ok(())
    })?;
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let memory: Vec<&str> =
        status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("VmData")).collect();
    println!(
        "{blobs} entries in one txn of {:.0} s, then {}",
        start.elapsed().as_secs_f64(),
        memory.join(", ")
    );
    assert!(db.verify(&mut |_| {})?.is_clean());
    let r = db.begin_read()?;
    for i in (0..blobs).step_by(97) {
        let (key, value) = blob(i);
        assert_eq!(r.get(BLOBS, &key)?, Some(&value[..]));
    }
    println!("verified clean, {} bytes", std::fs::metadata(&path).map_or(0, |meta| meta.len()));
    Ok(())
}
