//! `sustained FILE [SECONDS [PAIRS]]`: durable single puts on random pairs of a store of about 1 GB (5.5 million
//! pairs by default) for SECONDS (600 by default), while a second process gets random pairs, a new snapshot for
//! every 100 gets. Says what commits took, how the file grew, and what the reader did beside them.
//!
//! The second process is this program again, as `sustained read FILE PAIRS`; it ends with its standard input.

use mapleaf::{Database, Error, Options};
use mapleaf_bench::{PAIRS, histogram, pair, version};
use rand::prelude::*;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const GETS: usize = 100;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().expect("a number");
    match &arguments[..] {
        [read, path, pairs] if read == "read" => read_beside(Path::new(path), number(pairs)),
        [path, rest @ ..] if rest.len() <= 2 => {
            let seconds = Duration::from_secs(rest.first().map_or(600, number));
            commit_for(seconds, Path::new(path), rest.get(1).map_or(5_500_000, number))
        }
        _ => panic!("usage: sustained FILE [SECONDS [PAIRS]]"),
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    // SAFETY: the file is this program's own.
    unsafe { Options::new().open(path) }
}

fn commit_for(time: Duration, path: &Path, pairs: u64) -> Result<(), Error> {
    assert!(!path.exists(), "{} is there already", path.display());
    let db = open(path)?;
    db.write(|w| {
        for i in 0..pairs {
            let (key, value) = version(i, 0);
            w.put(PAIRS, &key, &value)?;
        }
        Ok(())
    })?;
    let len = || std::fs::metadata(path).expect("the file is there").len();
    let before = len();
    eprintln!("loaded {pairs} pairs, {before} bytes");

    let mut reader = Command::new(std::env::current_exe().expect("this program"))
        .args(["read".as_ref(), path.as_os_str(), pairs.to_string().as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut random = SmallRng::seed_from_u64(7);
    let mut latencies = histogram();
    let mut longest = (Duration::ZERO, Duration::ZERO);
    let start = Instant::now();
    while start.elapsed() < time {
        let (key, value) = version(random.random_range(0..pairs), latencies.len() + 1);
        let begun = Instant::now();
        db.write(|w| w.put(PAIRS, &key, &value)).expect("committed");
        let latency = begun.elapsed();
        latencies.record(latency.as_nanos() as u64).expect("it grows");
        longest = longest.max((latency, begun - start));
    }
    let elapsed = start.elapsed().as_secs_f64();
    let after = len();
    assert!(reader.wait().expect("a reader").success(), "the reader failed");

    println!("{} commits, {:.0} a second", latencies.len(), latencies.len() as f64 / elapsed);
    let [p50, p99, p999, max] =
        [0.5, 0.99, 0.999, 1.0].map(|quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0);
    println!("commit latency: p50 {p50:.1} µs, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}");
    let (stall, at) = (longest.0.as_secs_f64() * 1e3, longest.1.as_secs_f64());
    println!("longest stall: {stall:.1} ms, {at:.1} s after the start");
    let growth = 100.0 * (after as f64 / before as f64 - 1.0);
    println!("file: {before} -> {after} bytes, {growth:+.2} %");
    assert!(db.verify(&mut |_| {})?.is_clean());
    Ok(())
}

/// Gets until standard input ends. One value of each snapshot is compared byte by byte.
fn read_beside(path: &Path, pairs: u64) -> Result<(), Error> {
    let stop = AtomicBool::new(false);
    let db = open(path)?;
    let mut random = SmallRng::seed_from_u64(8);
    let (mut gets, mut getting) = (0, Duration::ZERO);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::stdin().read_to_end(&mut Vec::new()).expect("the writer's end");
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            let chosen: [u64; GETS] = std::array::from_fn(|_| random.random_range(0..pairs));
            let keys = chosen.map(|i| pair(i).0);
            let mut value = &[][..];
            let begun = Instant::now();
            let r = db.begin_read()?;
            for key in &keys {
                value = r.get(PAIRS, key)?.expect("loaded");
            }
            getting += begun.elapsed();
            gets += GETS;
            let number = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
            assert_eq!(value, version(chosen[GETS - 1], number).1, "a wrong value");
        }
        Ok(())
    })?;
    println!(
        "reader beside: {:.0} gets a second, {:.0} ns a get, with a snapshot for each {GETS}",
        gets as f64 / start.elapsed().as_secs_f64(),
        getting.as_nanos() as f64 / gets as f64
    );
    Ok(())
}
