//! The real thing: file systems that run full, disks whose flushes fail, sectors that cannot be read.
//!
//! Needs root, loop devices and the programs that make file systems; where these are missing a test says that it is
//! skipped. Each test runs again in a process with mounts of its own, so that nothing is left behind
//! ([`mounts::in_own_mounts`]). `MAPLEAF_ROUNDS` asks for more rounds, `MAPLEAF_SEED` for another seed.
//!
//! | module | owns |
//! |---|---|
//! | `mounts` | mounted file systems, and images of what a power cut would leave of them |
//! | `disks` | disks that fail: by a tmpfs that is full, by checksums that are wrong |
//! | `ledger` | which states a store may be in, by what it acknowledged |
//! | `full` | disks that are full |
//! | `holes` | space that was given back, and is missing later |
//! | `flushes` | write-back that fails inside the file system |
//! | `unreadable` | sectors that cannot be read |

mod disks;
mod flushes;
mod full;
mod holes;
mod ledger;
mod mounts;
mod unreadable;

/// What was tried, for whoever adds it up.
fn tried(class: &str, test: &str, cases: usize) {
    println!("tried: {class} | {test} | {cases}");
}

/// Rounds of a test: `MAPLEAF_ROUNDS`, or else so many.
fn rounds(few: u64) -> u64 {
    std::env::var("MAPLEAF_ROUNDS").map_or(few, |text| text.parse().expect("MAPLEAF_ROUNDS is a number"))
}

/// Where random numbers begin: `MAPLEAF_SEED`, or else this.
fn seed(usual: u64) -> u64 {
    std::env::var("MAPLEAF_SEED").map_or(usual, |text| text.parse().expect("MAPLEAF_SEED is a number"))
}
