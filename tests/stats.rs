//! Statistics: each number beside one that was counted another way.

mod common;

use common::TestDb;
use mapleaf::{Durability, LevelStats, MultiTable, Table};
use std::collections::BTreeMap;

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const TEXTS: Table<u64, [u8]> = Table::new("texts");
const TAGS: MultiTable<u64, [u8]> = MultiTable::new("tags");
const PAGE: usize = 4096;

/// No byte of it is zero.
fn scattered(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x0101_0101_0101_0101
}

fn value(i: u64, len: usize) -> Vec<u8> {
    vec![(i % 200) as u8 + 1; len]
}

/// What the tree pages of a file say of themselves: by table, whether it is of a set, and level.
fn raw_levels(bytes: &[u8]) -> BTreeMap<(u32, bool, u8), LevelStats> {
    let mut levels = BTreeMap::<_, LevelStats>::new();
    for (number, page) in bytes.chunks_exact(PAGE).enumerate().skip(2) {
        let is_own = page[8..16] == (number as u64).to_le_bytes();
        if !is_own || ![1, 2, 3, 5].contains(&page[4]) {
            continue;
        }
        let table = u32::from_le_bytes(page[24..28].try_into().unwrap());
        let level = levels.entry((table & !(1 << 31), table >> 31 == 1, page[5])).or_default();
        level.pages += 1;
        level.entries += u64::from(u16::from_le_bytes([page[6], page[7]]));
        // A page of fixed width has two gaps: behind its keys and behind its values.
        let zeros = page[32..].split(|byte| *byte != 0).map(<[u8]>::len);
        let gap: usize = zeros.filter(|len| *len > 16).sum();
        level.used_bytes += (PAGE - gap) as u64;
    }
    levels
}

/// A store of one txn has no page that was replaced.
#[test]
fn pages_entries_and_fill_of_each_level_are_those_that_the_file_shows() {
    let mut db = TestDb::new();
    db.write(|w| {
        w.set_durability(Durability::Ordered);
        for i in 0..30_000 {
            w.put(NUMBERS, &scattered(i), &scattered(i + 1))?;
        }
        for i in 0..3000 {
            let len = if i % 500 == 0 { 20_000 } else { 40 + i as usize % 900 };
            w.put(TEXTS, &scattered(i), &value(i, len)[..])?;
            w.put_value(
                TAGS,
                &scattered(i % 7),
                &[&scattered(i).to_be_bytes()[..], &value(i, 30)].concat()[..],
            )?;
        }
        Ok(())
    })
    .unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.txn, stats.pending_pages), (stats.checkpoint, 0));
    db.close().unwrap();
    let raw = raw_levels(&std::fs::read(db.path()).unwrap());
    let mut shown = 0;
    for table in &stats.tables {
        let (mut pages, mut used) = (0, 0);
        for (is_set, levels) in [(false, &table.levels), (true, &table.set_levels)] {
            for (level, found) in levels.iter().enumerate() {
                let (name, raw) = (&table.info.name, raw[&(table.info.id, is_set, level as u8)]);
                assert_eq!(
                    (found.pages, found.entries),
                    (raw.pages, raw.entries),
                    "{name:?}, {is_set}, level {level}"
                );
                // The gap may begin or end with zeros that are in use; branches are full of those.
                let off = found.used_bytes.abs_diff(raw.used_bytes) / found.pages;
                assert!(level > 0 || off <= 24, "{name:?}, {is_set}, level {level}: {found:?}, not {raw:?}");
                assert_eq!(found.fill(4096), found.used_bytes as f64 / (found.pages * 4096) as f64);
                (pages, used, shown) = (pages + found.pages, used + found.used_bytes, shown + 1);
            }
        }
        assert_eq!((table.depth(), table.pages()), (usize::from(table.info.levels), pages));
        assert_eq!(table.fill(4096), used as f64 / (pages * 4096) as f64);
    }
    let of_tables = |key: &&(u32, bool, u8)| stats.tables.iter().any(|table| table.info.id == key.0);
    assert_eq!(raw.keys().filter(of_tables).count(), shown, "no level is left out");
    let texts = stats.tables.iter().find(|table| table.info.name == "texts").unwrap();
    // Five pages, and no table of checksums.
    assert_eq!(texts.info.overflow_pages, 6 * 5);
    let free_and_all: u64 = stats.tables.iter().map(|table| table.pages() + table.info.overflow_pages).sum();
    let others =
        [stats.free_pages, stats.log_pages, stats.space_pages, stats.catalog_pages, stats.snapshots_pages];
    assert_eq!(free_and_all + others.iter().sum::<u64>() + 2, stats.page_count);
}

#[test]
fn txns_are_counted_as_they_end() {
    let db = TestDb::new();
    let mut last = db.counters();
    let mut since = || {
        let now = db.counters();
        let counted = [
            now.begun_txns - last.begun_txns,
            now.commits - last.commits,
            now.aborted_txns - last.aborted_txns,
        ];
        last = now;
        counted
    };
    db.write(|w| w.put(NUMBERS, &1, &1)).unwrap();
    assert_eq!(since(), [1, 1, 0], "a commit");
    db.begin_write().unwrap().commit().unwrap();
    drop(db.begin_write().unwrap());
    db.begin_read().unwrap();
    assert_eq!(since(), [2, 0, 0], "nothing was changed, nor counted for a reader");
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &2, &2).unwrap();
    drop(w);
    let mut w = db.begin_write().unwrap();
    w.set_user_version(3);
    w.abort();
    assert_eq!(since(), [2, 0, 2], "dropped and aborted");
    let mut w = db.begin_write().unwrap();
    w.put(NUMBERS, &3, &3).unwrap();
    let ticket = w.commit_ticket().unwrap();
    assert_eq!(since(), [1, 1, 0], "handed over");
    ticket.wait().unwrap();
    let failed: mapleaf::Result<()> = db.write(|w| {
        w.put(NUMBERS, &4, &4)?;
        Err(mapleaf::Error::other("no"))
    });
    assert!(failed.is_err());
    assert_eq!(since(), [1, 0, 1], "its closure has failed");
    db.checkpoint().unwrap();
    assert_eq!(since(), [1, 0, 0], "a checkpoint takes a turn");
    let counters = db.counters();
    let named: BTreeMap<&str, u64> = counters.iter().collect();
    assert_eq!(named["begun_txns"], counters.begun_txns);
    assert_eq!(named["written_bytes"], counters.written_bytes);
    assert!(named["checkpoints"] >= 1 && named.len() >= 15, "{named:?}");
}

#[test]
fn pending_pages_are_said_to_be_the_checkpoints_a_snapshots_or_nobodys() {
    let db = TestDb::new();
    // In txns that are small enough for the log.
    let put = |keys: std::ops::Range<u64>, durability| {
        for from in keys.step_by(20) {
            db.write(|w| {
                w.set_durability(durability);
                let mut keys = from..from + 20;
                keys.try_for_each(|key| w.put(TEXTS, &scattered(key), &value(key, 1900)[..]).map(drop))
            })
            .unwrap();
        }
    };
    put(0..200, Durability::Ordered);
    // Until the log is long enough.
    put(0..200, Durability::Eventual);
    db.checkpoint().unwrap();
    let before = db.stats().unwrap();
    let reader = db.begin_read().unwrap();
    put(0..100, Durability::Eventual);
    let stats = db.stats().unwrap();
    assert!(stats.pending_for_checkpoint >= 50, "{stats:?}");
    let found = &db.readers().unwrap()[0];
    assert!(found.pages_retained >= 50 && found.pages_alone == 0, "the checkpoint needs them too: {found:?}");
    db.checkpoint().unwrap();
    let stats = db.stats().unwrap();
    assert!(stats.pending_for_checkpoint < 10, "{stats:?}");
    assert!(db.readers().unwrap()[0].pages_alone >= 50);
    let nobodys = stats.pending_for_nobody;
    drop(reader);
    let stats = db.stats().unwrap();
    assert!(stats.pending_for_nobody >= nobodys + 50, "{stats:?}");
    assert!(stats.free_pages < 50 + before.free_pages, "a writer has not come by yet");
}
