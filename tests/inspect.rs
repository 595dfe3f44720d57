//! What each page is, and trees page by page: held against the oracle, on damaged and crafted files, beside writers.

mod common;
mod oracle;

use common::TestDb;
use mapleaf::{
    Database, Error, MultiTable, Options, PageDetail, PageRef, PageUse, ReadTxn, Table, TreeItems, TreeValue,
};
use oracle::{CATALOG, Fixture, Image, closed, first_seed, many_tables, named};
use rand::prelude::*;
use std::collections::BTreeMap;

const WORDS: Table<str, str> = Table::new("words");
const FILES: Table<u64, [u8]> = Table::new("files");
const TAGS: MultiTable<str, u64> = MultiTable::new("tags");
const DETAILS: [PageDetail; 3] = [PageDetail::Space, PageDetail::Branches, PageDetail::Leaves];

/// What every page is; each was told once.
fn uses(r: &ReadTxn, detail: PageDetail) -> Result<BTreeMap<u64, PageUse>, Error> {
    let mut told = BTreeMap::new();
    r.visit_pages(detail, &mut |run| {
        assert!(run.pages > 0, "{run:?}");
        for page in run.first..run.first + run.pages {
            assert_eq!(told.insert(page, run.what), None, "page {page} was told twice, now as {run:?}");
        }
    })?;
    assert!(told.keys().copied().eq(0..r.page_count()), "not every page was told");
    Ok(told)
}

fn count(told: &BTreeMap<u64, PageUse>, is: impl Fn(PageUse) -> bool) -> u64 {
    told.values().filter(|what| is(**what)).count() as u64
}

fn opened(image: &Image) -> Result<(Database, tempfile::TempDir), Error> {
    let directory = oracle::memory_directory();
    let path = directory.path().join("inspected.maple");
    std::fs::write(&path, &image.bytes).unwrap();
    let options = Options::new().read_only(true).create(false).guarded_reads(true);
    common::try_open(&options, &path).map(|db| (db, directory))
}

fn agrees(fixture: &Fixture) {
    let (db, _directory) = opened(&fixture.image).unwrap();
    let (r, stats, live) = (db.begin_read().unwrap(), db.stats().unwrap(), &fixture.live);
    for detail in DETAILS {
        let told = uses(&r, detail).unwrap();
        let mut known = 0;
        for (page, node) in &live.nodes {
            let wanted = match (detail, node.table, node.level) {
                (PageDetail::Space, ..) => PageUse::Unread { table: None },
                (_, CATALOG, level) => PageUse::Catalog { level },
                (_, table, level) => PageUse::Table { table, level },
            };
            assert_eq!(told[page], wanted, "page {page}, {detail:?}");
            known += 1;
        }
        for (page, (table, _)) in &live.large {
            match (detail, told[page]) {
                (PageDetail::Leaves, PageUse::Value { table: found }) => assert_eq!(found, *table),
                // Only the oracle's table of words has such.
                (PageDetail::Branches, PageUse::Unread { table: Some(found) }) => assert_eq!(found, *table),
                (PageDetail::Space, PageUse::Unread { table: None }) => {}
                other => panic!("page {page}: {other:?}"),
            }
            known += 1;
        }
        let in_use = |what| {
            let is_tree = matches!(what, PageUse::Table { .. } | PageUse::Catalog { .. });
            is_tree || matches!(what, PageUse::Value { .. } | PageUse::Unread { .. })
        };
        assert_eq!(count(&told, in_use), known, "no others are in use");
        assert_eq!(count(&told, |what| what == PageUse::Free), stats.free_pages);
        assert_eq!(count(&told, |what| matches!(what, PageUse::Pending { .. })), stats.pending_pages);
        assert_eq!(count(&told, |what| what == PageUse::Log), stats.log_pages);
        assert_eq!(count(&told, |what| what == PageUse::Space), stats.space_pages);
        assert_eq!(count(&told, |what| what == PageUse::Meta), fixture.image.first_page());
    }
}

#[test]
fn every_page_is_told_once_as_what_it_is() {
    agrees(&closed(4096, 420));
    agrees(&closed(65536, 3000));
    agrees(&many_tables(300));
}

#[test]
fn ages_and_bytes_in_use_are_those_of_the_pages() {
    let fixture = closed(4096, 420);
    let (db, _directory) = opened(&fixture.image).unwrap();
    let (r, stats) = (db.begin_read().unwrap(), db.stats().unwrap());
    let mut used: BTreeMap<(u32, u8), u64> = BTreeMap::new();
    r.visit_pages(PageDetail::Leaves, &mut |run| {
        if let PageUse::Table { table, level } = run.what {
            assert_eq!((run.pages, run.birth), (1, Some(fixture.live.birth_of(&fixture.image, run.first))));
            *used.entry((table, level)).or_default() += run.used_bytes.unwrap();
        }
    })
    .unwrap();
    let mut levels = 0;
    for table in &stats.tables {
        for (level, stats) in table.levels.iter().enumerate() {
            assert_eq!(used[&(table.info.id, level as u8)], stats.used_bytes, "{} {level}", table.info.name);
            levels += 1;
        }
    }
    assert!(levels > 3 && levels == used.len());
}

/// Large values, sets of a multimap's keys in trees, a stored snapshot, and older txns.
fn store() -> TestDb {
    let db = TestDb::new();
    db.write(|w| {
        (0..3000).try_for_each(|i| w.put(WORDS, &format!("word {i:05}")[..], "meaning").map(drop))?;
        (0..9).try_for_each(|i| w.put(FILES, &i, &[i as u8; 20_000][..]).map(drop))?;
        (0..4000)
            .try_for_each(|i| w.put_value(TAGS, if i % 2 == 0 { "even" } else { "odd" }, &i).map(drop))?;
        w.create_snapshot("first")
    })
    .unwrap();
    db.write(|w| (0..9).step_by(2).try_for_each(|i| w.delete(FILES, &i).map(drop))).unwrap();
    db
}

#[test]
fn sets_and_what_snapshots_keep() {
    let db = store();
    let (r, stats) = (db.begin_read().unwrap(), db.stats().unwrap());
    let told = uses(&r, PageDetail::Leaves).unwrap();
    for table in &stats.tables {
        let id = table.info.id;
        let in_sets = count(&told, |what| matches!(what, PageUse::Set { table, .. } if table == id));
        assert_eq!(in_sets, table.set_levels.iter().map(|level| level.pages).sum::<u64>());
        let values = count(&told, |what| what == PageUse::Value { table: id });
        assert_eq!(values, table.info.overflow_pages);
    }
    assert!(count(&told, |what| matches!(what, PageUse::Set { level: 1, .. })) > 0);
    let snapshot = &db.snapshots().unwrap()[0];
    let is_kept = |what| match what {
        PageUse::Pending { birth, death } => (birth..death).contains(&snapshot.info.txn_id),
        _ => false,
    };
    assert_eq!(count(&told, is_kept), snapshot.pages_retained);
    assert!(snapshot.pages_retained >= 5 * 5);
    assert_eq!(count(&told, |what| matches!(what, PageUse::Snapshots { .. })), stats.snapshots_pages);
    // Two tables have what only leaves tell of.
    let told = uses(&r, PageDetail::Branches).unwrap();
    assert!(count(&told, |what| what == PageUse::Unread { table: None }) > 0);
    assert_eq!(count(&told, |what| matches!(what, PageUse::Unread { table: Some(_) })), 0);
}

#[test]
fn an_older_state_is_told_as_it_was() {
    let db = store();
    let r = db.begin_read().unwrap();
    let before = DETAILS.map(|detail| uses(&r, detail).unwrap());
    for round in 0..40u64 {
        db.write(|w| {
            (0..50).try_for_each(|i| {
                w.put(WORDS, &format!("word {:05}", i * 61 + round)[..], "another meaning").map(drop)
            })
        })
        .unwrap();
    }
    assert_eq!(DETAILS.map(|detail| uses(&r, detail).unwrap()), before);
    let stored = db.read_snapshot("first").unwrap();
    assert!(matches!(uses(&stored, PageDetail::Space), Err(Error::InvalidArgument { .. })));
}

/// Every key of the tree, by its pages; at most so many pages are read.
fn keys_below(r: &ReadTxn, page: &PageRef, left: &mut u64, keys: &mut Vec<Vec<u8>>) -> Result<(), Error> {
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    let page = r.tree_page(page)?;
    assert!(page.used_bytes <= page.bytes.len() as u64);
    match page.items {
        TreeItems::Children(children) => {
            children.iter().try_for_each(|(_, child)| keys_below(r, child, left, keys))
        }
        TreeItems::Entries(entries) => entries.into_iter().try_for_each(|(key, value)| {
            keys.push(key);
            match value {
                TreeValue::Set(root) => keys_below(r, &root, left, &mut Vec::new()),
                _ => Ok(()),
            }
        }),
    }
}

#[test]
fn trees_page_by_page_have_what_iterators_have() {
    let db = store();
    let r = db.begin_read().unwrap();
    for table in ["words", "files"] {
        let (mut keys, mut left) = (Vec::new(), u64::MAX);
        keys_below(&r, &r.root_page(table).unwrap().unwrap(), &mut left, &mut keys).unwrap();
        let view = r.raw_table(table).unwrap().unwrap();
        let wanted: Vec<Vec<u8>> = view.iter().map(|entry| entry.unwrap().0.to_vec()).collect();
        assert!(keys == wanted, "{table}");
    }
    let TreeItems::Entries(tags) = r.tree_page(&r.root_page("tags").unwrap().unwrap()).unwrap().items else {
        panic!("two keys are in a leaf")
    };
    let values = |value: &TreeValue| match value {
        TreeValue::Set(root) => root.entries,
        other => panic!("{other:?}"),
    };
    let tags: Vec<_> = tags.iter().map(|(key, value)| (&key[..], values(value))).collect();
    assert_eq!(tags, [(&b"even"[..], 2000), (b"odd", 2000)]);
    assert!(matches!(r.root_page("nothing"), Err(Error::TableNotFound { .. })));
    db.write(|w| w.clear_table(FILES).map(drop)).unwrap();
    assert_eq!(db.begin_read().unwrap().root_page("files").unwrap(), None);
}

#[test]
fn a_damaged_leaf_is_seen_only_by_who_reads_leaves() {
    let fixture = closed(4096, 420);
    let mut image = Image { bytes: fixture.image.bytes.clone(), page_size: 4096 };
    let (words, _) = fixture.live.table_named("words");
    let (leaf, branch) = (fixture.live.on_level(words, 0)[1], fixture.live.on_level(words, 1)[0]);
    image.page_mut(leaf)[200] ^= 1;
    let told = |image: &Image, detail| {
        let (db, _directory) = opened(image).unwrap();
        uses(&db.begin_read().unwrap(), detail).unwrap()
    };
    assert_eq!(told(&image, PageDetail::Branches)[&leaf], PageUse::Table { table: words, level: 0 });
    assert_eq!(told(&image, PageDetail::Leaves)[&leaf], PageUse::Damaged);
    image.page_mut(branch)[200] ^= 1;
    let told = told(&image, PageDetail::Branches);
    assert_eq!((told[&branch], told[&leaf]), (PageUse::Damaged, PageUse::Unread { table: None }));
}

/// Whatever is in a file, the walks end, and tell each page once.
#[test]
fn damaged_and_crafted_files() {
    let fixtures = [closed(4096, 200), many_tables(150)];
    let (mut told_all, mut refused) = (0, 0);
    for seed in first_seed()..first_seed() + 300 {
        named(format!("seed {seed}"), || {
            let mut random = SmallRng::seed_from_u64(seed);
            let good = &fixtures[seed as usize % 2].image;
            let mut image = Image { bytes: good.bytes.clone(), page_size: good.page_size };
            for _ in 0..random.random_range(1..30) {
                let page = random.random_range(image.first_page()..image.pages());
                let at = match random.random_range(0..3) {
                    0 => random.random_range(0..64),
                    _ => random.random_range(32..4096),
                };
                let other = image.page(random.random_range(0..image.pages())).to_vec();
                match random.random_range(0..8) {
                    0 => image.page_mut(page).copy_from_slice(&other),
                    1 => image.page_mut(page)[at] = 255,
                    _ => image.page_mut(page)[at] = random.random(),
                }
            }
            if seed % 3 > 0 {
                image.seal_all();
            }
            let Ok((db, _directory)) = opened(&image) else { return };
            let r = db.begin_read().unwrap();
            for detail in DETAILS {
                match uses(&r, detail) {
                    Ok(_) => told_all += 1,
                    Err(Error::Corrupt { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            for table in r.tables().unwrap_or_default() {
                if let Ok(Some(root)) = r.root_page(&table.name) {
                    let _ = keys_below(&r, &root, &mut 10_000, &mut Vec::new());
                }
            }
        });
    }
    println!("{told_all} walks went through, {refused} were refused");
    assert!(told_all > 300, "{told_all} of 900, {refused} refused");
}
