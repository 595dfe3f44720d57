//! Multimaps in damaged and crafted files: what verification says, what salvage brings back, and that no bytes make
//! anything panic, hang or answer with what was never put.

mod common;

use common::{TestDb, open, try_open};
use mapleaf::{Database, MultiTable, Options, Salvage, SalvageReport, Schema, WriteTxn};
use rand::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const PAGE: usize = 4096;
/// Set in the table id of pages of sets.
const SET_BIT: u32 = 1 << 31;
const NUMBERS: MultiTable<u64, u64> = MultiTable::new("numbers");
const WORDS: MultiTable<str, str> = MultiTable::new("words");

type Bytes = Vec<u8>;
type Pairs = BTreeSet<(Bytes, Bytes)>;
type Contents = BTreeMap<String, Pairs>;

struct Fixture {
    bytes: Bytes,
    contents: Contents,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let mut db = TestDb::new();
    db.write(fill).unwrap();
    db.checkpoint().unwrap();
    let contents = contents(&db);
    db.close().unwrap();
    let bytes = std::fs::read(db.path()).unwrap();
    Fixture { bytes, contents }
});

/// Keys with few values and with many, of one width and of any; trees of sets of one, two and three levels.
fn fill(w: &mut WriteTxn) -> mapleaf::Result<()> {
    for key in 0..400u64 {
        let count = if key % 97 == 13 { 1500 } else { key % 60 + 1 };
        for value in 0..count {
            w.put_value(NUMBERS, &key, &(value * 7))?;
        }
    }
    for key in 0..120u64 {
        let (count, len) = match key {
            7 => (600, 1000),
            key if key % 40 == 9 => (900, 80),
            key => (key as usize % 9 + 1, 90),
        };
        for value in 0..count {
            w.put_value(WORDS, &format!("key {key}"), &format!("{value:0width$}", width = len - value % 7))?;
        }
    }
    Ok(())
}

fn contents(db: &Database) -> Contents {
    let r = db.begin_read().unwrap();
    let pairs = |name: &str| {
        let view = r.raw_multi(name).unwrap().unwrap();
        view.iter().map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
    };
    r.tables().unwrap().into_iter().map(|info| (info.name.clone(), pairs(&info.name))).collect()
}

// ---- pages ----

fn number(page: &[u8], at: usize, len: usize) -> u64 {
    page[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

struct Page {
    number: usize,
    table: u32,
    level: u8,
}

/// The pages that the last txn wrote to trees of tables.
fn tree_pages() -> Vec<Page> {
    let bytes = &FIXTURE.bytes;
    let newest = bytes.chunks(PAGE).skip(2).map(|page| number(page, 16, 8)).max().unwrap();
    let mut pages = Vec::new();
    for (i, page) in bytes.chunks(PAGE).enumerate().skip(2) {
        let (kind, table) = (page[4], number(page, 24, 4) as u32);
        let is_live = number(page, 8, 8) == i as u64 && number(page, 16, 8) <= newest;
        if is_live && [1, 2, 3, 5].contains(&kind) && table & !SET_BIT > 1 {
            pages.push(Page { number: i, table, level: page[5] });
        }
    }
    pages
}

fn seal(bytes: &mut [u8], page: usize) {
    let page = &mut bytes[page * PAGE..(page + 1) * PAGE];
    let checksum = crc32fast::hash(&page[4..]);
    page[..4].copy_from_slice(&checksum.to_le_bytes());
}

struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn of(bytes: &[u8]) -> File {
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        std::fs::write(directory.path().join("a.maple"), bytes).unwrap();
        File { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("a.maple")
    }

    fn salvage(&self) -> (Contents, SalvageReport) {
        let output = self.directory.path().join("b.maple");
        let salvage = Salvage::of(self.path()).unwrap().older_versions(false);
        let report = salvage.write_to(&output, &mut |_| {}).unwrap();
        let db = open(&Options::new(), &output);
        common::assert_clean(&db);
        (contents(&db), report)
    }
}

fn lost(page: usize) -> File {
    let mut bytes = FIXTURE.bytes.clone();
    bytes[page * PAGE + 700..page * PAGE + 800].fill(0x5a);
    bytes[page * PAGE + 40] ^= 0xff;
    File::of(&bytes)
}

#[test]
fn the_fixture_has_trees_of_sets_of_several_levels() {
    let levels: BTreeSet<(bool, u8)> =
        tree_pages().iter().map(|page| (page.table & SET_BIT != 0, page.level)).collect();
    assert!([(true, 0), (true, 1), (true, 2), (false, 0), (false, 1)].iter().all(|it| levels.contains(it)));
    let report = open(&Options::new().read_only(true).create(false), &File::of(&FIXTURE.bytes).path());
    assert!(report.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_damaged_page_is_named_with_the_keys_behind_it() {
    for page in tree_pages().iter().step_by(7) {
        let file = lost(page.number);
        let db = open(&Options::new().read_only(true).create(false), &file.path());
        let report = db.verify(&mut |_| {}).unwrap();
        let named: Vec<_> = report.problems.iter().filter(|problem| problem.page.is_some()).collect();
        assert_eq!(named.len(), 1, "{:?}", report.problems);
        assert_eq!(named[0].page, Some(page.number as u64));
        let behind = named[0].behind.as_ref().unwrap();
        assert!(behind.entries > 0);
        if page.table & SET_BIT != 0 {
            let of_one_key = [&behind.from[..], &[0]].concat();
            assert_eq!(behind.to.as_ref(), Some(&of_one_key));
        }
        // Reading gives errors there, and nothing wrong elsewhere.
        let r = db.begin_read().unwrap();
        for info in r.tables().unwrap() {
            let view = r.raw_multi(&info.name).unwrap().unwrap();
            let pairs: Vec<_> = view.iter().collect();
            let right = &FIXTURE.contents[&info.name];
            let read = pairs.iter().flatten().map(|(key, value)| (key.to_vec(), value.to_vec()));
            assert!(read.zip(right).all(|(read, right)| read == *right));
            let is_hit = number(&FIXTURE.bytes[page.number * PAGE..], 24, 4) as u32 & !SET_BIT == info.id;
            assert_eq!(pairs.iter().any(|pair| pair.is_err()), is_hit);
        }
    }
}

#[test]
fn a_lost_page_of_a_set_costs_the_values_on_it_and_the_report_says_so() {
    let pages = tree_pages();
    let of_sets = pages.iter().filter(|page| page.table & SET_BIT != 0);
    let (leaves, branches): (Vec<&Page>, Vec<&Page>) = of_sets.partition(|page| page.level == 0);
    for page in leaves.iter().step_by(23).chain(branches.iter().step_by(3)) {
        let (rescued, report) = lost(page.number).salvage();
        let (mut missing, mut keys) = (0, BTreeSet::new());
        for (name, pairs) in &FIXTURE.contents {
            assert!(rescued[name].is_subset(pairs));
            missing += pairs.difference(&rescued[name]).count();
            keys.extend(pairs.difference(&rescued[name]).map(|(key, _)| key.clone()));
        }
        let said: Vec<_> = report.tables.iter().flat_map(|table| &table.lost_values).collect();
        assert_eq!((keys.len(), said.len()), (1, 1), "page {}: {said:?}", page.number);
        assert!(keys.contains(&said[0].key) && said[0].detail.contains(&format!("{missing} of its values")));
        assert!(!report.is_complete());
    }
}

#[test]
fn lost_pages_of_keys_cost_what_is_on_them() {
    for page in tree_pages().iter().filter(|page| page.table & SET_BIT == 0).step_by(5) {
        let (rescued, report) = lost(page.number).salvage();
        let mut missing = 0;
        for (name, pairs) in &FIXTURE.contents {
            assert!(rescued[name].is_subset(pairs));
            missing += pairs.difference(&rescued[name]).count() as u64;
        }
        let said = report.tables.iter().flat_map(|table| &table.lost);
        assert_eq!(missing, said.map(|lost| lost.behind.entries - lost.found).sum::<u64>());
        assert_eq!(missing == 0, page.level > 0, "page {}", page.number);
    }
}

#[test]
fn without_metas_and_catalog_a_multimap_is_known_by_its_leaves() {
    let mut bytes = FIXTURE.bytes.clone();
    bytes[..2 * PAGE].fill(0);
    for page in 2..bytes.len() / PAGE {
        if number(&bytes[page * PAGE..], 24, 4) == 1 {
            bytes[page * PAGE..(page + 1) * PAGE].fill(0);
        }
    }
    let (rescued, report) = File::of(&bytes).salvage();
    assert_eq!(rescued.values().collect::<BTreeSet<_>>(), FIXTURE.contents.values().collect());
    assert!(report.tables.iter().all(|table| table.schema.multi && !table.is_listed));
    let widths: BTreeSet<Option<usize>> =
        report.tables.iter().map(|table| table.schema.value_width).collect();
    assert_eq!(widths, [None, Some(8)].into());
}

#[test]
fn a_dead_store_is_rescued_with_the_values_that_its_log_adds_and_removes() {
    let db = TestDb::new();
    db.write(fill).unwrap();
    db.write(|w| w.put_value(WORDS, "new", "value")).unwrap();
    db.write(|w| {
        w.delete_value(NUMBERS, &13, &7)?;
        w.delete_values(NUMBERS, &5)?;
        w.delete_keys(NUMBERS, 100..200)
    })
    .unwrap();
    let (rescued, report) = File::of(&std::fs::read(db.path()).unwrap()).salvage();
    assert!(report.log_txns > 0 && report.is_complete(), "{report:?}");
    assert!(rescued == contents(&db));
    assert!(contents(&db.after_death()) == rescued);
}

/// Everything that can be done with a file, whatever is in it.
fn use_it(path: &Path) {
    let Ok(db) = try_open(&Options::new().create(false), path) else { return };
    let _ = db.verify(&mut |_| {});
    if let Ok(r) = db.begin_read() {
        for info in r.tables().into_iter().flatten() {
            let Ok(Some(view)) = r.raw_multi(&info.name) else { continue };
            let _ = (view.iter().take(300_000).count(), view.iter().rev().take(300_000).count());
            let groups = view.groups(..).take(2000).flatten();
            let _: Vec<_> = groups.map(|(_, values)| values.last().is_some()).collect();
            for rank in [0, 1, 77, 7000, view.len() / 2, view.len().saturating_sub(1)] {
                let _ = (view.nth(rank), view.iter().nth_back(rank as usize));
            }
            for key in [&b"key 7"[..], &13u64.to_be_bytes()] {
                let _ = (view.count_values(key), view.rank(key), view.rank_of(key, &[0; 8][..]));
                let _ = view.values(key).map(|values| values.range(&[0; 8][..]..).map(|range| range.count()));
            }
        }
    }
    for turn in 0..4 {
        let Ok(mut w) = db.begin_write() else { return };
        let _ = change(&mut w, turn);
    }
}

fn change(w: &mut WriteTxn, turn: u64) -> mapleaf::Result<()> {
    match turn {
        0 => {
            for key in 0..400u64 {
                w.put_value(NUMBERS, &key, &(key * 3 + 1))?;
                w.delete_value(NUMBERS, &key, &(key * 7))?;
            }
        }
        1 => {
            for key in 0..120u64 {
                w.delete_values(WORDS, &format!("key {key}"))?;
                w.put_value(WORDS, &format!("key {key}"), "x")?;
            }
        }
        2 => {
            w.delete_keys(NUMBERS, 5..300)?;
            w.delete_keys(WORDS, "key 3".."key 8")?;
        }
        _ => {
            w.drop_table("numbers")?;
            w.drop_table("words")?;
        }
    }
    Ok(())
}

#[test]
fn crafted_pages_with_right_checksums_make_nothing_panic() {
    let pages = tree_pages();
    // Most of the file is one set; it need not be crafted most of the time.
    let (rare, common): (Vec<&Page>, Vec<&Page>) =
        pages.iter().partition(|page| page.table & SET_BIT == 0 || page.level > 0);
    let random = &mut StdRng::seed_from_u64(7);
    for case in 0..80 {
        let mut bytes = FIXTURE.bytes.clone();
        for _ in 0..random.random_range(1..4) {
            let page = if random.random_bool(0.8) { rare.choose(random) } else { common.choose(random) };
            let page = page.unwrap().number;
            let at = page * PAGE
                + match random.random_range(0..4) {
                    0 => random.random_range(4..32),
                    1 => random.random_range(32..200),
                    2 => random.random_range(32..PAGE),
                    _ => PAGE - random.random_range(1..1200),
                };
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                _ => {
                    // Another page's bytes: references to what belongs elsewhere.
                    let other = rare.choose(random).unwrap().number * PAGE + at % PAGE;
                    let len = random.random_range(1..40).min(PAGE - at % PAGE);
                    let (from, to) = (bytes[other..other + len].to_vec(), at..at + len);
                    bytes[to].copy_from_slice(&from);
                }
            }
            seal(&mut bytes, page);
        }
        let file = File::of(&bytes);
        let used = catch_unwind(AssertUnwindSafe(|| {
            let output = file.directory.path().join("b.maple");
            let _ = Salvage::of(file.path()).and_then(|salvage| salvage.write_to(&output, &mut |_| {}));
            use_it(&file.path());
        }));
        assert!(used.is_ok(), "case {case}");
    }
}

#[test]
fn a_set_that_many_keys_refer_to_is_given_out_once() {
    let mut bytes = FIXTURE.bytes.clone();
    let mut references: Vec<(usize, usize)> = Vec::new();
    for page in tree_pages().iter().filter(|page| page.table & SET_BIT == 0 && page.level == 0) {
        let (start, count) = (page.number * PAGE, number(&bytes[page.number * PAGE..], 6, 2) as usize);
        for slot in (0..count).map(|i| start + 32 + 4 * count + 6 * i) {
            if bytes[slot + 3] & 0x80 != 0 {
                references.push((page.number, start + PAGE - number(&bytes, slot, 2) as usize));
            }
        }
    }
    assert!(references.len() > 6, "{references:?}");
    let largest = references.iter().max_by_key(|(_, at)| number(&bytes, at + 11, 6)).unwrap().1;
    let set = bytes[largest..largest + 18].to_vec();
    for (page, at) in &references {
        bytes[*at..at + 18].copy_from_slice(&set);
        seal(&mut bytes, *page);
    }
    let file = File::of(&bytes);
    let (rescued, _) = file.salvage();
    assert!(rescued["numbers"].len() <= FIXTURE.contents["numbers"].len());
    let db = open(&Options::new().create(false), &file.path());
    let report = db.verify(&mut |_| {}).unwrap();
    assert!(report.problems.iter().any(|problem| problem.detail.contains("used twice")));
    // It ends, and gives nothing up twice.
    let mut w = db.begin_write().unwrap();
    let dropped = w.drop_table("numbers").and_then(|_| w.commit());
    assert!(dropped.is_err());
}

#[test]
fn a_multimap_is_not_made_of_a_table_by_its_record() {
    let db = TestDb::new();
    let mut schema = Schema::bytes();
    (schema.multi, schema.value_align) = (true, 8);
    let refused = db.write(|w| w.create_table("aligned", &schema));
    assert!(refused.unwrap_err().to_string().contains("no alignment"));
}
