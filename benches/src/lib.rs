//! What the measurements share: the data, the stores, and what the disk says it did.

pub mod engines;

use hdrhistogram::Histogram;
use mapleaf::Table;
use rand::prelude::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    let device = std::fs::metadata(path).expect("the file is there").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat =
        std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).expect("a block device");
    stat.split_whitespace().nth(6).expect("sectors written").parse::<u64>().expect("a number") * 512
}

/// Median.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
