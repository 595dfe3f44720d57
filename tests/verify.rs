//! Verifying damaged stores: every bad page that the state needs is named, with its table and the keys behind it.
//!
//! The oracle ([`oracle`]) knows which page is what. Damage is put into the file of a closed store, which is then opened and
//! verified; what verification says is held against the pages that were changed.

mod common;
mod oracle;

use mapleaf::{Error, Options, Problem, VerifyReport};
use oracle::{CATALOG, Fixture, Image, closed, first_seed, many_tables, named, tried};
use rand::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static SMALL: LazyLock<Fixture> = LazyLock::new(|| closed(4096, 420));
static LARGE_PAGES: LazyLock<Fixture> = LazyLock::new(|| closed(65536, 3000));
static MANY: LazyLock<Fixture> = LazyLock::new(|| many_tables(300));

fn verify(image: &Image) -> Result<VerifyReport, Error> {
    let directory = oracle::memory_directory();
    let path = directory.path().join("damaged.maple");
    std::fs::write(&path, &image.bytes).unwrap();
    let db = common::try_open(&Options::new().read_only(true).create(false), &path)?;
    let mut last = 0;
    let report = db.verify(&mut |progress| {
        assert!(progress.pages >= last && progress.pages <= progress.page_count, "{progress:?} after {last}");
        last = progress.pages;
    })?;
    drop(db);
    assert!(std::fs::read(&path).unwrap() == image.bytes, "verifying changed the file");
    assert_eq!(report.omitted, 0);
    assert_eq!(report.is_clean(), report.problems.is_empty());
    Ok(report)
}

fn changed(fixture: &Fixture, damaged: &Image) -> BTreeSet<u64> {
    let good = &fixture.image;
    (good.first_page()..good.pages()).filter(|page| damaged.page(*page) != good.page(*page)).collect()
}

/// Every changed page that whole pages lead to is named, and nothing that is whole is.
fn judge(fixture: &Fixture, damaged: &Image, report: &VerifyReport) {
    let (live, changed) = (&fixture.live, changed(fixture, damaged));
    let is_catalog_whole =
        !changed.iter().any(|page| live.nodes.get(page).is_some_and(|node| node.table == CATALOG));
    for page in &changed {
        if let Some(node) = live.nodes.get(page) {
            let is_reached = !node.above.iter().any(|above| changed.contains(above))
                && (is_catalog_whole || node.table == CATALOG);
            if is_reached {
                judge_node(fixture, *page, report);
            }
        }
    }
    for (page, (id, key)) in &live.large {
        let (leaf, stored) = &live.tables[id].entries[key];
        let above = &live.nodes[leaf].above;
        let is_reached =
            is_catalog_whole && !changed.contains(leaf) && !above.iter().any(|above| changed.contains(above));
        let (first, len, _) = stored.run.unwrap();
        let at = first as usize * damaged.page_size;
        if *page == first && is_reached && damaged.bytes[at..at + len] != stored.value[..] {
            let problem = about(report, first);
            let behind = problem.behind.as_ref().unwrap();
            assert_eq!((&behind.from, behind.entries), (key, 1), "{problem:?}");
            assert_eq!(behind.to.as_deref(), Some(&[&key[..], &[0]].concat()[..]), "{problem:?}");
            assert_eq!(problem.table.as_ref(), Some(&live.tables[id].name));
        }
    }
    // What is not damaged is not blamed.
    for problem in &report.problems {
        let Some(page) = problem.page else { continue };
        let run = live.large.get(&page).and_then(|(id, key)| live.tables[id].entries[key].1.run);
        let is_in_run = run.is_some_and(|(first, len, _)| {
            let pages = first..first + oracle::pages_of_value(len, damaged.page_size);
            pages.into_iter().any(|page| changed.contains(&page))
        });
        assert!(changed.contains(&page) || is_in_run, "page {page} is whole: {problem:?}");
    }
}

fn about(report: &VerifyReport, page: u64) -> &Problem {
    let found = report.problems.iter().find(|problem| problem.page == Some(page));
    found.unwrap_or_else(|| panic!("page {page} is not named: {:#?}", report.problems))
}

fn judge_node(fixture: &Fixture, page: u64, report: &VerifyReport) {
    let node = &fixture.live.nodes[&page];
    let problem = about(report, page);
    let behind = problem.behind.as_ref().unwrap_or_else(|| panic!("keys behind {problem:?}"));
    assert_eq!(
        (&behind.from, &behind.to, behind.entries),
        (&node.low, &node.high, node.entries),
        "{problem:?}"
    );
    if node.table == CATALOG {
        return;
    }
    let table = &fixture.live.tables[&node.table];
    assert_eq!(problem.table.as_ref(), Some(&table.name), "{problem:?}");
    // Exactly the keys that cannot be read.
    let is_behind = |leaf: u64| leaf == page || fixture.live.nodes[&leaf].above.contains(&page);
    for (key, (leaf, _)) in &table.entries {
        let is_in = behind.from <= *key && behind.to.as_ref().is_none_or(|to| key < to);
        assert_eq!(is_in, is_behind(*leaf), "{} and {problem:?}", key.escape_ascii());
    }
}

#[test]
fn a_healthy_store_is_clean() {
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        let report = verify(&fixture.image).unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
        let entries: u64 = fixture.live.tables.values().map(|table| table.expected).sum();
        assert_eq!((report.tables, report.entries), (fixture.live.tables.len() as u64, entries));
        assert_eq!((report.txn, report.page_count), (fixture.live.txn, fixture.image.pages()));
    }
    tried("F13", "a_healthy_store_is_clean", 3);
}

#[test]
fn each_damaged_page_is_named_with_its_table_and_the_keys_behind_it() {
    let mut cases = 0;
    for (fixture, step) in [(&*SMALL, 1), (&*LARGE_PAGES, 2), (&*MANY, 23)] {
        let live = fixture.live.nodes.keys().chain(fixture.live.large.keys());
        for (i, page) in live.step_by(step).enumerate() {
            let mut damaged = fixture.image.clone();
            match i % 3 {
                0 => damaged.page_mut(*page).fill(0xA5),
                1 => StdRng::seed_from_u64(*page).fill_bytes(damaged.page_mut(*page)),
                _ => damaged.page_mut(*page)[40] ^= 4,
            }
            named(format!("page {page}"), || {
                let report = verify(&damaged).unwrap();
                assert_eq!(report.is_clean(), changed(fixture, &damaged).is_empty());
                judge(fixture, &damaged, &report);
            });
            cases += 1;
        }
    }
    tried("F13", "each_damaged_page_is_named_with_its_table_and_the_keys_behind_it", cases);
}

#[test]
fn every_bit_of_a_page_counts() {
    let fixture = &*SMALL;
    let mut random = StdRng::seed_from_u64(first_seed());
    let pages: Vec<u64> = fixture.live.nodes.keys().copied().collect();
    for _ in 0..60 {
        let page = *pages.choose(&mut random).unwrap();
        let bit = random.random_range(0..4096 * 8);
        let mut damaged = fixture.image.clone();
        damaged.page_mut(page)[bit / 8] ^= 1 << (bit % 8);
        named(format!("page {page}, bit {bit}"), || judge(fixture, &damaged, &verify(&damaged).unwrap()));
    }
    tried("F13", "every_bit_of_a_page_counts", 60);
}

#[test]
fn stale_and_swapped_pages_are_named_like_any_other() {
    let fixture = &*SMALL;
    let mut cases = 0;
    for (page, bytes) in fixture.stale.iter().filter(|(page, _)| fixture.live.nodes.contains_key(page)) {
        let mut damaged = fixture.image.clone();
        damaged.page_mut(*page).copy_from_slice(bytes);
        named(format!("page {page}"), || judge(fixture, &damaged, &verify(&damaged).unwrap()));
        cases += 1;
    }
    let pages: Vec<u64> = fixture.live.nodes.keys().copied().collect();
    let mut random = StdRng::seed_from_u64(first_seed());
    for _ in 0..30 {
        let (one, other) = (*pages.choose(&mut random).unwrap(), *pages.choose(&mut random).unwrap());
        let mut damaged = fixture.image.clone();
        damaged.page_mut(one).copy_from_slice(fixture.image.page(other));
        damaged.page_mut(other).copy_from_slice(fixture.image.page(one));
        named(format!("pages {one} and {other}"), || judge(fixture, &damaged, &verify(&damaged).unwrap()));
        cases += 1;
    }
    assert!(cases > 32, "{cases}");
    tried("F13", "stale_and_swapped_pages_are_named_like_any_other", cases);
}

#[test]
fn many_damages_at_once_are_all_named() {
    for seed in first_seed()..first_seed() + 100 {
        let mut random = StdRng::seed_from_u64(seed);
        let fixture = if seed % 10 == 0 { &*MANY } else { &*SMALL };
        let live: Vec<u64> = fixture.live.nodes.keys().chain(fixture.live.large.keys()).copied().collect();
        let mut damaged = fixture.image.clone();
        for _ in 0..random.random_range(1..12) {
            let page = *live.choose(&mut random).unwrap();
            match random.random_range(0..3) {
                0 => damaged.page_mut(page).fill(0),
                1 => random.fill_bytes(damaged.page_mut(page)),
                _ => damaged.page_mut(page)[random.random_range(0..4096)] ^= 1,
            }
        }
        named(format!("seed {seed}"), || judge(fixture, &damaged, &verify(&damaged).unwrap()));
    }
    tried("F13", "many_damages_at_once_are_all_named", 100);
}

#[test]
fn behind_a_lost_catalog_root_it_goes_on_and_names_the_bad_pages_there() {
    let mut cases = 0;
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        let (root, live) = (fixture.live.catalog_root, &fixture.live);
        let below: Vec<u64> = live.nodes.keys().copied().filter(|page| *page != root).collect();
        for other in below.iter().step_by(below.len() / 8) {
            let mut damaged = fixture.image.clone();
            damaged.page_mut(root)[60] ^= 1;
            damaged.page_mut(*other)[70] ^= 1;
            let report = verify(&damaged).unwrap();
            about(&report, root);
            about(&report, *other);
            judge(fixture, &damaged, &report);
            let unreached =
                report.problems.iter().find(|problem| problem.detail.contains("could not be reached"));
            let detail = &unreached.unwrap_or_else(|| panic!("{:#?}", report.problems)).detail;
            let count: u64 = detail.split(' ').next().unwrap().parse().unwrap();
            let large: u64 = live.large.len() as u64;
            assert_eq!(count, live.nodes.len() as u64 - 1 + large, "pages that were not reached: {detail}");
            cases += 1;
        }
    }
    tried("F13", "behind_a_lost_catalog_root_it_goes_on_and_names_the_bad_pages_there", cases);
}

#[test]
fn behind_a_lost_catalog_leaf_the_other_tables_are_still_judged() {
    let fixture = &*MANY;
    let leaves = fixture.live.on_level(CATALOG, 0);
    assert!(leaves.len() > 3);
    let (lost, kept) = (leaves[1], leaves[3]);
    let high = fixture.live.nodes[&kept].low.clone();
    let table = fixture.live.tables.values().find(|table| table.name.as_bytes() >= &high[..]).unwrap();
    let mut damaged = fixture.image.clone();
    damaged.page_mut(lost).fill(0);
    damaged.page_mut(table.root).fill(0);
    let report = verify(&damaged).unwrap();
    judge_node(fixture, lost, &report);
    let problem = about(&report, table.root);
    assert_eq!(problem.table.as_ref(), Some(&table.name));
    let behind = problem.behind.as_ref().unwrap();
    assert_eq!((behind.from.len(), &behind.to, behind.entries), (0, &None, table.expected));
    assert_eq!(report.tables, fixture.live.tables.len() as u64 - fixture.live.nodes[&lost].entries);
    tried("F13", "behind_a_lost_catalog_leaf_the_other_tables_are_still_judged", 1);
}

#[test]
fn a_lost_meta_slot_and_a_lost_space_record_are_said() {
    let mut cases = 0;
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        for slot in [0, 4096] {
            let mut damaged = fixture.image.clone();
            damaged.bytes[slot + 300] ^= 1;
            let report = verify(&damaged).unwrap();
            let slot_name = format!("meta slot {}", slot / 4096);
            assert!(
                report.problems.iter().any(|problem| problem.detail.contains(&slot_name)),
                "{:#?}",
                report.problems
            );
            cases += 1;
        }
        let mut damaged = fixture.image.clone();
        damaged.page_mut(fixture.live.space_page)[50] ^= 1;
        let report = verify(&damaged).unwrap();
        about(&report, fixture.live.space_page);
        cases += 1;
    }
    tried("F14", "a_lost_meta_slot_and_a_lost_space_record_are_said", cases);
}

#[test]
fn crafted_pages_with_right_checksums_do_not_make_it_panic_or_loop() {
    let rounds = 120;
    for seed in first_seed()..first_seed() + rounds {
        let mut random = StdRng::seed_from_u64(seed);
        let fixture = &*SMALL;
        let nodes: Vec<u64> = fixture.live.nodes.keys().copied().collect();
        let mut crafted = fixture.image.clone();
        for _ in 0..random.random_range(1..6) {
            let page = *nodes.choose(&mut random).unwrap();
            match random.random_range(0..3) {
                0 => crafted.page_mut(page)[random.random_range(4..100)] = random.random(),
                1 => {
                    let other = *nodes.choose(&mut random).unwrap();
                    let bytes = fixture.image.page(other)[32..].to_vec();
                    crafted.page_mut(page)[32..].copy_from_slice(&bytes);
                }
                _ => crafted.page_mut(fixture.live.space_page)[random.random_range(32..90)] = random.random(),
            }
        }
        crafted.seal_all();
        named(format!("seed {seed}"), || match verify(&crafted) {
            Ok(_) | Err(Error::Corrupt { .. } | Error::NotAStore { .. }) => {}
            Err(error) => panic!("{error:?}"),
        });
    }
    tried("F28", "crafted_pages_with_right_checksums_do_not_make_it_panic_or_loop", rounds);
}
