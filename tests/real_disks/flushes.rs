//! Write-back that fails inside the file system (F7, F8): blocks that were never written cannot be, and later they can.
//!
//! A round: commits on a healthy disk; the disk fails at a random moment, so many new blocks later; commits fail; the disk
//! is healthy again, and the same process goes on; then the power is cut, at once or after more commits.

use super::disks::FragileDisk;
use super::ledger::{Ledger, Shape, open, try_open};
use super::mounts::{Kind, Skip, in_own_mounts, make_directory};
use super::{rounds, seed, tried};
use mapleaf::{Database, Error, Options};
use rand::Rng;
use std::path::Path;

/// What happened in the rounds of a test.
#[derive(Default, Debug)]
struct Counts {
    rounds: usize,
    commits: usize,
    failed_commits: usize,
    /// Rounds in which some commit failed because a flush did.
    failed_flushes: usize,
    /// Rounds in which the file system itself gave up.
    given_up: usize,
    /// Rounds in which the same process committed again once the disk was healthy.
    gone_on: usize,
    /// Of these, those in which a flush had failed.
    gone_on_after_failed_flush: usize,
}

#[test]
fn on_ext4_what_is_acknowledged_around_failed_flushes_survives_a_power_cut() {
    in_own_mounts("flushes::on_ext4_what_is_acknowledged_around_failed_flushes_survives_a_power_cut", |at| {
        many(
            Kind::Ext4,
            rounds(6),
            at,
            "on_ext4_what_is_acknowledged_around_failed_flushes_survives_a_power_cut",
        )
    });
}

#[test]
fn on_xfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut() {
    in_own_mounts("flushes::on_xfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut", |at| {
        many(
            Kind::Xfs,
            rounds(2),
            at,
            "on_xfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut",
        )
    });
}

#[test]
fn on_btrfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut() {
    in_own_mounts(
        "flushes::on_btrfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut",
        |at| {
            many(
                Kind::Btrfs,
                rounds(2),
                at,
                "on_btrfs_what_is_acknowledged_around_failed_flushes_survives_a_power_cut",
            )
        },
    );
}

fn many(kind: Kind, rounds: u64, at: &Path, test: &str) -> Skip<()> {
    let first = seed(1);
    let mut counts = Counts::default();
    for seed in first..first + rounds {
        println!("{kind:?}, seed {seed}");
        round(kind, seed, &make_directory(at.join(seed.to_string())), &mut counts)?;
    }
    println!("{kind:?}: {counts:?}");
    assert!(counts.failed_flushes > 0, "no flush has failed: {counts:?}");
    tried("F7, F8", test, counts.rounds);
    Ok(())
}

fn round(kind: Kind, seed: u64, at: &Path, counts: &mut Counts) -> Skip<()> {
    // With ordered data ext4 gives up soon.
    let options = if kind == Kind::Ext4 && !seed.is_multiple_of(4) { "data=writeback" } else { "rw" };
    let disk = FragileDisk::new(kind, options, at)?;
    let path = disk.join("a.maple");
    let mut ledger = Ledger::new(seed);
    let shape = if ledger.rng.random() { Shape::small() } else { Shape::mixed() };
    let options = random_options(&mut ledger);
    let is_created_in_failure = ledger.rng.random_ratio(1, 8);
    let mut db = None;
    if !is_created_in_failure {
        let store = try_open(&options, &path).unwrap();
        // The lock file has room for a reader before the disk fails.
        drop(store.begin_read().unwrap());
        commit_all(&mut ledger, &store, &shape, 1..60);
        db = Some(store);
    }
    let spared =
        if ledger.rng.random() { ledger.rng.random_range(0..20) } else { ledger.rng.random_range(0..3000) };
    disk.fail_after(spared);
    let (before, mut flushes_failed) = (ledger.failures, false);
    let attempts = ledger.rng.random_range(1..80);
    for _ in 0..attempts {
        match &db {
            None => db = try_open(&options, &path).ok(),
            Some(store) => {
                if let Some(error) = ledger.commit(store, &shape).error() {
                    flushes_failed |= is_about_flush(&error);
                    // Not in every round: a look at all pages may change what comes next.
                    if ledger.rng.random_ratio(1, 4) {
                        ledger.assert_seen(store);
                    }
                }
            }
        }
    }
    if let Some(store) = &db {
        ledger.assert_seen(store);
    }
    if ledger.rng.random_ratio(1, 6) {
        // The power goes while the disk fails.
        return end(disk, db, &ledger, counts, before, flushes_failed);
    }
    disk.heal();
    if ledger.rng.random_ratio(1, 6) {
        // Every process dies, and the store is opened anew from what the cache shows.
        drop(db.take());
        db = try_open(&options, &path).ok();
        if let Some(store) = &db {
            ledger.assert_seen(store);
        }
    }
    match &db {
        None => db = try_open(&options, &path).ok(),
        Some(store) => {
            let results: Vec<_> = (0..3).map(|_| ledger.commit(store, &shape)).collect();
            match results.iter().any(|ended| ended.is_ok()) {
                true => {
                    counts.gone_on += 1;
                    counts.gone_on_after_failed_flush += usize::from(flushes_failed);
                    commit_all(&mut ledger, store, &shape, 0..60);
                    ledger.assert_seen(store);
                }
                // The file system itself has given up.
                false => {
                    assert!(!disk.is_usable(), "the disk is healthy again: {results:?}");
                    counts.given_up += 1;
                }
            }
        }
    }
    end(disk, db, &ledger, counts, before, flushes_failed)
}

fn end(
    disk: FragileDisk,
    db: Option<Database>,
    ledger: &Ledger,
    counts: &mut Counts,
    before: usize,
    flushes_failed: bool,
) -> Skip<()> {
    disk.cut_power();
    let was_created = db.is_some();
    drop(db);
    let (mounted, _disk) = disk.after_power_cut()?;
    let path = mounted.join("a.maple");
    match was_created {
        true => ledger.assert_survived(&path),
        // There, or not, or blank: it opens.
        false => ledger.assert_possible(&open(&path)),
    }
    counts.rounds += 1;
    counts.commits += ledger.commits;
    counts.failed_commits += ledger.failures - before;
    counts.failed_flushes += usize::from(flushes_failed);
    Ok(())
}

fn random_options(ledger: &mut Ledger) -> Options {
    let rng = &mut ledger.rng;
    let log_limit = if rng.random() { 256 << 10 } else { 16 << 20 };
    let held_limit = if rng.random() { 256 << 10 } else { 16 << 20 };
    let page_size = if rng.random_ratio(1, 4) { 16384 } else { 4096 };
    Options::new().log_limit(log_limit).held_limit(held_limit).page_size(page_size).dirty_limit(1 << 20)
}

fn commit_all(ledger: &mut Ledger, db: &Database, shape: &Shape, count: std::ops::Range<u32>) {
    for _ in 0..ledger.rng.random_range(count) {
        let ended = ledger.commit(db, shape);
        assert!(ended.is_ok(), "the disk is healthy: {ended:?}");
    }
}

fn is_about_flush(error: &Error) -> bool {
    matches!(error, Error::Io { context, .. } if context.starts_with("flush"))
}
