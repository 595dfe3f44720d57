//! What the measurements share: the data, the stores, and what the disk says it did.
//!
//! [`compare`] is what its binary of that name does.

pub mod compare;
pub mod data;
pub mod engines;

use hdrhistogram::Histogram;
use mapleaf::Table;
use rand::prelude::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// mapleaf's table of the pairs.
pub const PAIRS: Table<[u8], [u8]> = Table::new("pairs");

pub type Pair = ([u8; 24], [u8; 150]);

/// A random key of 24 bytes and a value of 150, the same for the same number.
pub fn pair(i: u64) -> Pair {
    let mut random = SmallRng::seed_from_u64(i);
    let (mut key, mut value) = ([0; 24], [0; 150]);
    random.fill_bytes(&mut key);
    random.fill_bytes(&mut value);
    (key, value)
}

/// The key of pair `i`, and one of its values: the number of the version, then random bytes.
pub fn version(i: u64, version: u64) -> Pair {
    let (key, _) = pair(i);
    let (_, mut value) = pair(i ^ (version << 40));
    value[..8].copy_from_slice(&version.to_le_bytes());
    (key, value)
}

/// For latencies in nanoseconds, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are possible")
}

/// Bytes written by the block device on which `path` lies, since boot.
pub fn device_bytes(path: &Path) -> u64 {
    device_sectors(path, 6) * 512
}

/// Bytes read from it.
pub fn device_bytes_read(path: &Path) -> u64 {
    device_sectors(path, 2) * 512
}

/// A field of the device's statistics.
fn device_sectors(path: &Path, field: usize) -> u64 {
    let device = std::fs::metadata(path).expect("the file is there").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat =
        std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).expect("a block device");
    stat.split_whitespace().nth(field).expect("sectors").parse().expect("a number")
}

static CACHE_BYTES: AtomicUsize = AtomicUsize::new(1 << 30);

static MAP_BYTES: AtomicUsize = AtomicUsize::new(256 << 30);

/// How large a store may become that must know it when it is opened.
pub fn map_bytes() -> usize {
    MAP_BYTES.load(Ordering::Relaxed)
}

pub fn set_map_bytes(bytes: usize) {
    MAP_BYTES.store(bytes, Ordering::Relaxed);
}

/// The size of the cache that stores with one of their own are given.
pub fn cache_bytes() -> usize {
    CACHE_BYTES.load(Ordering::Relaxed)
}

pub fn set_cache_bytes(bytes: usize) {
    CACHE_BYTES.store(bytes, Ordering::Relaxed);
}

/// Median.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
