//! What the measurements share: the data, and what the disk says it did.

use rand::prelude::*;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A random key of 24 bytes and a value of 150, the same for the same number.
pub fn pair(i: u64) -> ([u8; 24], [u8; 150]) {
    let mut random = SmallRng::seed_from_u64(i);
    let (mut key, mut value) = ([0; 24], [0; 150]);
    random.fill_bytes(&mut key);
    random.fill_bytes(&mut value);
    (key, value)
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
