//! Rescuing damaged files: what is whole comes out, what comes out is right or said to be old, and the report adds up.
//!
//! The oracle ([`oracle`]) reads pages by `docs/format.md` alone and knows every value that every key ever had. Each
//! damage is judged by what a user is owed: every entry of a whole leaf, nothing that never was, the original untouched, and
//! a report in which what was lost can be found. Seeds are printed when something fails; `MAPLEAF_SEED` sets the first.

mod common;
mod oracle;

use mapleaf::{Error, LostRange, Options, Salvage, SalvageReport, SalvagedTable, Schema};
use oracle::{
    CATALOG, Ever, Fixture, Image, Live, LiveTable, Scribe, closed, first_seed, many_tables, named, number,
    tried,
};
use rand::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

static SMALL: LazyLock<Fixture> = LazyLock::new(|| closed(4096, 700));
static LARGE_PAGES: LazyLock<Fixture> = LazyLock::new(|| closed(65536, 3000));
static MANY: LazyLock<Fixture> = LazyLock::new(|| many_tables(400));

type Tables = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

struct Rescued {
    report: SalvageReport,
    tables: Tables,
    user_version: u64,
}

fn salvage_file(path: &Path, output: &Path, older: bool) -> Result<Rescued, Error> {
    let before = std::fs::metadata(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let listing = names_in(path.parent().unwrap());
    let outcome = (|| {
        let salvage = Salvage::of(path)?.older_versions(older);
        let is_surveyed = crc32fast::hash(&bytes).is_multiple_of(4);
        let survey = is_surveyed.then(|| salvage.survey(&mut |_| {})).transpose()?;
        let mut last = 0;
        let report = salvage.write_to(output, &mut |progress| {
            assert!(
                progress.pages >= last && progress.pages <= progress.page_count,
                "{progress:?} after {last}"
            );
            last = progress.pages;
        })?;
        if let Some(survey) = survey {
            assert_eq!(survey.tables, report.tables, "the survey says the same");
        }
        Ok(report)
    })();
    let after = std::fs::metadata(path).unwrap();
    assert!(std::fs::read(path).unwrap() == bytes, "the original was changed");
    assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    let mut left = names_in(path.parent().unwrap());
    if outcome.is_ok() {
        left.remove(output);
    }
    assert_eq!(left, listing, "files beside it");
    let report = outcome?;
    let db = common::try_open(&Options::new().create(false), output).unwrap();
    common::assert_clean(&db);
    let (tables, user_version) = common::contents(&db.begin_read().unwrap());
    db.close().unwrap();
    std::fs::remove_file(output).unwrap();
    let _ = std::fs::remove_file(beside(output, "-lock"));
    Ok(Rescued { report, tables, user_version })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn names_in(directory: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn salvage(image: &Image, older: bool) -> Result<Rescued, Error> {
    let directory = oracle::memory_directory();
    let path = directory.path().join("damaged.maple");
    std::fs::write(&path, &image.bytes).unwrap();
    salvage_file(&path, &directory.path().join("rescued.maple"), older)
}

/// A damage, and what can be known of it.
struct Case<'f> {
    fixture: &'f Fixture,
    damaged: Image,
    changed: BTreeSet<u64>,
}

impl<'f> Case<'f> {
    fn new(fixture: &'f Fixture, damaged: Image) -> Self {
        let good = &fixture.image;
        let is_changed = |page: &u64| *page >= damaged.pages() || damaged.page(*page) != good.page(*page);
        let changed = (good.first_page()..good.pages()).filter(is_changed).collect();
        Case { fixture, damaged, changed }
    }

    fn has_metas(&self) -> bool {
        let slot = |image: &Image, at: usize| image.bytes.get(at..at + 512).map(<[u8]>::to_vec);
        [0, 4096].into_iter().all(|at| slot(&self.damaged, at) == slot(&self.fixture.image, at))
    }

    fn has_catalog(&self) -> bool {
        let of_catalog = |page: &u64| self.live().nodes.get(page).is_some_and(|node| node.table == CATALOG);
        !self.changed.iter().any(of_catalog)
    }

    /// Whether a page is in use, holds something old and whole, and what would tell so is lost as well: nobody can know.
    fn hides_a_stale_page(&self) -> bool {
        let is_known = |page: &u64| {
            let above = self.live().nodes.get(page).map(|node| &node.above);
            above.is_some_and(|above| !above.iter().any(|above| self.changed.contains(above)))
                && self.has_catalog()
        };
        let is_there = |page: &&u64| **page < self.damaged.pages() && self.damaged.is_whole(**page);
        self.changed.iter().filter(is_there).any(|page| !is_known(page))
    }

    /// What was damaged.
    fn describe(&self) -> String {
        let what = |page: &u64| match self.live().nodes.get(page) {
            Some(node) => format!("{page}: level {} of table {}", node.level, node.table),
            None if self.live().large.contains_key(page) => format!("{page}: large"),
            None if *page == self.live().space_page => format!("{page}: space"),
            None => format!("{page}"),
        };
        let pages: Vec<_> = self.changed.iter().take(30).map(what).collect();
        format!("metas {}, pages {pages:?}", self.has_metas())
    }

    fn has_space(&self) -> bool {
        !self.changed.contains(&self.live().space_page)
    }

    fn live(&self) -> &'f Live {
        &self.fixture.live
    }

    /// Entries that are owed: on a whole leaf, with a value that is there.
    fn owed<'t>(&self, table: &'t LiveTable) -> BTreeMap<&'t [u8], &'t [u8]> {
        let is_there = |stored: &oracle::Stored| match stored.run {
            None => true,
            Some((page, len, _)) => {
                let at = page as usize * self.damaged.page_size;
                self.damaged.bytes.get(at..at + len) == Some(&stored.value[..])
            }
        };
        let entries = table.entries.iter();
        let whole = entries.filter(|(_, (leaf, stored))| !self.changed.contains(leaf) && is_there(stored));
        whole.map(|(key, (_, stored))| (&key[..], &stored.value[..])).collect()
    }

    fn id_of(&self, name: &str) -> u32 {
        if let Some((id, _)) = self.live().tables.iter().find(|(_, table)| table.name == name) {
            return *id;
        }
        if let Some(ids) = self.fixture.names.get(name) {
            return *ids.last().unwrap();
        }
        let made_up = name.strip_prefix("salvaged-").and_then(|id| id.split('-').next());
        made_up.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("a table {name:?} from nowhere"))
    }

    fn judge(&self, older: bool) -> Rescued {
        let rescued = salvage(&self.damaged, older).unwrap_or_else(|error| panic!("salvage: {error}"));
        let report = &rescued.report;
        let names: Vec<_> = report.tables.iter().map(|table| &table.name).collect();
        assert_eq!(
            names,
            rescued.tables.keys().collect::<Vec<_>>(),
            "the tables of the report are those in the file"
        );
        let mut found = BTreeMap::new();
        for table in &report.tables {
            let entries = &rescued.tables[&table.name];
            assert_eq!(table.entries, entries.len() as u64, "entries of {}", table.name);
            assert!(table.older <= table.entries);
            assert!(older || table.older == 0, "older versions were not asked for: {table:?}");
            let id = self.id_of(&table.name);
            assert!(found.insert(id, entries).is_none(), "table {id} came out twice, also as {}", table.name);
            assert_were_once(&self.fixture.ever, id, entries);
            if self.has_metas() && self.has_space() && !self.hides_a_stale_page() {
                self.judge_doubt(id, table, entries);
                if self.has_catalog() {
                    self.judge_table(id, table, entries);
                }
            }
        }
        for (id, table) in &self.live().tables {
            let owed = self.owed(table);
            let nothing = BTreeMap::new();
            let entries = *found.get(id).unwrap_or(&&nothing);
            for (key, value) in owed {
                let came = entries.get(key).map(|value| &value[..]);
                assert!(
                    came == Some(value),
                    "{}: {} was whole and came out as {came:?}",
                    table.name,
                    key.escape_ascii()
                );
            }
        }
        if self.has_metas() && self.has_catalog() {
            let live: BTreeSet<_> = self.live().tables.keys().copied().collect();
            assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), live, "tables");
            assert_eq!(rescued.user_version, self.fixture.contents.1);
        }
        if report.is_complete() && !self.hides_a_stale_page() {
            assert!(rescued.tables == self.fixture.contents.0, "complete, but not equal");
        }
        rescued
    }

    /// What is not as it was last is counted as older.
    fn judge_doubt(&self, id: u32, table: &SalvagedTable, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let last = self.live().tables.get(&id);
        let is_last = |key: &Vec<u8>, value: &Vec<u8>| {
            last.and_then(|last| last.entries.get(key)).is_some_and(|(_, stored)| stored.value == *value)
        };
        let wrong: Vec<_> =
            entries.iter().filter(|(key, value)| !is_last(key, value)).map(|(key, _)| key).collect();
        assert!(
            wrong.len() as u64 <= table.older,
            "{}: {} entries are not the last versions, {} are said to be older; the first: {:?}",
            table.name,
            wrong.len(),
            table.older,
            wrong.first().map(|key| key.escape_ascii().to_string())
        );
    }

    /// The numbers of the report add up, and what is lost can be found in it.
    fn judge_table(&self, id: u32, table: &SalvagedTable, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let last = &self.live().tables[&id];
        assert!(table.is_listed, "{}", table.name);
        assert_eq!(table.expected, Some(last.expected), "{}", table.name);
        let tops = top_ranges(&table.lost);
        let lost_values: BTreeSet<_> = table.lost_values.iter().map(|lost| &lost.key).collect();
        let is_right =
            |key: &Vec<u8>| entries.get(key) == last.entries.get(key).map(|(_, stored)| &stored.value);
        for key in last.entries.keys().filter(|key| !is_right(key)) {
            let is_named = tops.iter().any(|lost| is_in(lost, key)) || lost_values.contains(key);
            assert!(is_named, "{}: {} is lost and not in the report", table.name, key.escape_ascii());
        }
        for lost in &table.lost {
            assert!(self.changed.contains(&lost.page), "{}: page {} is whole", table.name, lost.page);
            let inside = last.entries.keys().filter(|key| is_in(lost, key)).count() as u64;
            assert_eq!(lost.behind.entries, inside, "{}: entries of {lost:?}", table.name);
            let came = entries.keys().filter(|key| is_in(lost, key)).count() as u64;
            assert_eq!(lost.found + lost.older, came, "{}: found of {lost:?}", table.name);
            let right = last.entries.keys().filter(|key| is_in(lost, key) && is_right(key)).count() as u64;
            assert!(lost.found <= right, "{}: {right} are right of {lost:?}", table.name);
        }
        let missing: u64 = tops.iter().map(|lost| lost.behind.entries - lost.found).sum();
        let values =
            lost_values.iter().filter(|key| !tops.iter().any(|lost| is_in(lost, key))).count() as u64;
        assert_eq!(table.entries - table.older + missing + values, last.expected, "{table:?}");
    }

    /// A key that was deleted comes back only where the leaf is lost on which it would be.
    fn judge_deleted(&self, rescued: &Rescued) {
        for (name, entries) in &rescued.tables {
            let id = self.id_of(name);
            let Some(table) = self.live().tables.get(&id) else { continue };
            for key in entries.keys().filter(|key| !table.entries.contains_key(*key)) {
                let covers = |node: &oracle::Node| {
                    node.table == id
                        && node.level == 0
                        && node.low <= *key
                        && node.high.as_ref().is_none_or(|high| key < high)
                };
                let leaf = self.live().nodes.iter().find(|(_, node)| covers(node)).map(|(page, _)| *page);
                assert!(
                    leaf.is_some_and(|leaf| self.changed.contains(&leaf)),
                    "{name}: {} was deleted and came back; its leaf {leaf:?} is whole",
                    key.escape_ascii()
                );
            }
        }
    }
}

fn assert_were_once(ever: &Ever, id: u32, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let ever = &ever[&id];
    for (key, value) in entries {
        let was_once = ever.get(key).is_some_and(|values| values.contains(value));
        assert!(was_once, "table {id}: {} never had {:?}", key.escape_ascii(), &value[..value.len().min(40)]);
    }
}

fn is_in(lost: &LostRange, key: &[u8]) -> bool {
    lost.behind.from[..] <= *key && lost.behind.to.as_ref().is_none_or(|to| *key < to[..])
}

/// The ranges that are in no other.
fn top_ranges(lost: &[LostRange]) -> Vec<&LostRange> {
    let contains = |outer: &LostRange, inner: &LostRange| {
        let below = match (&inner.behind.to, &outer.behind.to) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner <= outer,
        };
        outer.behind.from <= inner.behind.from && below
    };
    let is_top = |(i, range): &(usize, &LostRange)| {
        !lost
            .iter()
            .enumerate()
            .any(|(j, other)| j != *i && contains(other, range) && (!contains(range, other) || j < *i))
    };
    lost.iter().enumerate().filter(is_top).map(|(_, range)| range).collect()
}

fn with_pages_lost(fixture: &Fixture, pages: impl IntoIterator<Item = u64>) -> Case<'_> {
    let mut damaged = fixture.image.clone();
    pages.into_iter().for_each(|page| damaged.page_mut(page).fill(0xA5));
    Case::new(fixture, damaged)
}

// ---- nothing is lost ----

#[test]
fn a_healthy_file_comes_out_equal_and_is_said_to_be_complete() {
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        for older in [true, false] {
            let case = Case::new(fixture, fixture.image.clone());
            let rescued = case.judge(older);
            assert!(rescued.report.is_complete(), "{:#?}", rescued.report);
            assert_eq!((rescued.tables, rescued.user_version), fixture.contents);
            assert_eq!(rescued.report.page_size, fixture.image.page_size as u64);
            assert_eq!(rescued.report.page_count, fixture.image.pages());
            assert_eq!(rescued.report.checkpoint, Some(fixture.live.txn));
            assert!(rescued.report.bad_pages.is_empty(), "{:?}", rescued.report.bad_pages);
        }
    }
    tried("F13", "a_healthy_file_comes_out_equal_and_is_said_to_be_complete", 6);
}

/// A store whose log creates, drops, renames, changes and sets the user version.
fn with_a_log() -> Fixture {
    let mut scribe = Scribe::new(4096);
    oracle::history(&mut scribe, 300);
    scribe.write(true, |w| w.put(oracle::GONE, "again", "and dropped again").map(drop));
    for i in 0..20 {
        scribe.write(false, |w| {
            w.set_user_version(1000 + i);
            w.put(oracle::NUMBERS, &(i * 17), &i)?;
            w.delete(oracle::WORDS, &oracle::word(i * 5)[..])?;
            w.put(mapleaf::Table::<str, str>::new("made in the log"), &i.to_string()[..], "new").map(drop)
        });
    }
    scribe.write(false, |w| w.drop_table("gone").map(drop));
    scribe.write(false, |w| w.rename_table("deep", "renamed in the log"));
    scribe.write(false, |w| w.rename_table("made in the log", "gone"));
    scribe.write(false, |w| w.raw_put("gone", b"key", b"value").map(drop));
    scribe.write(false, |w| w.put(mapleaf::Table::<u64, u64>::new("deep"), &1, &2).map(drop));
    scribe.write(false, |w| w.raw_put("renamed in the log", b"zz", &[9; 9000]).map(drop));
    scribe.die()
}

static LOGGED: LazyLock<Fixture> = LazyLock::new(with_a_log);

#[test]
fn the_log_is_carried_out_on_what_was_rescued() {
    let fixture = &*LOGGED;
    for older in [true, false] {
        let rescued = salvage(&fixture.image, older).unwrap();
        assert!(rescued.report.is_complete(), "{:#?}", rescued.report.notes);
        assert!(rescued.report.log_txns >= 24, "{}", rescued.report.log_txns);
        assert!((rescued.tables, rescued.user_version) == fixture.contents);
    }
    tried("F13", "the_log_is_carried_out_on_what_was_rescued", 2);
}

#[test]
fn one_lost_page_below_a_log_costs_no_other_entry() {
    let fixture = &*LOGGED;
    let (now, mut cases) = (&fixture.contents, 0);
    for (page, node) in fixture.live.nodes.iter().filter(|(_, node)| node.table != CATALOG) {
        let mut damaged = fixture.image.clone();
        damaged.page_mut(*page).fill(0);
        let rescued = named(format!("page {page}"), || salvage(&damaged, false).unwrap());
        assert_eq!(rescued.user_version, now.1);
        assert_eq!(rescued.tables.keys().collect::<Vec<_>>(), now.0.keys().collect::<Vec<_>>());
        for (name, entries) in &now.0 {
            for (key, value) in entries {
                let lost_leaf =
                    |table: &LiveTable| table.entries.get(key).is_some_and(|(leaf, _)| leaf == page);
                let is_lost = node.level == 0 && fixture.live.tables.get(&node.table).is_some_and(lost_leaf);
                let came = rescued.tables[name].get(key);
                assert!(
                    is_lost && came.is_none() || came == Some(value),
                    "page {page}, {name}: {}",
                    key.escape_ascii()
                );
            }
            let extra = rescued.tables[name].keys().find(|key| !entries.contains_key(*key));
            assert_eq!(extra, None, "page {page}, {name}");
        }
        cases += 1;
    }
    tried("F13", "one_lost_page_below_a_log_costs_no_other_entry", cases);
}

// ---- single pages ----

#[test]
fn each_page_lost_alone_costs_what_is_on_it_and_nothing_else() {
    let fixture = &*SMALL;
    let live = fixture.live.nodes.keys().chain(fixture.live.large.keys()).chain([&fixture.live.space_page]);
    let mut cases = 0;
    for (i, page) in live.enumerate() {
        // Of the many like pages of one table some are enough.
        let is_one_of_many = fixture.live.nodes.get(page).is_some_and(|node| {
            node.level == 0 && fixture.live.tables.get(&node.table).is_some_and(|table| table.name == "deep")
        });
        if is_one_of_many && !i.is_multiple_of(17) {
            continue;
        }
        let older = i.is_multiple_of(2);
        let mut damaged = fixture.image.clone();
        match i % 3 {
            0 => damaged.page_mut(*page).fill(0),
            1 => StdRng::seed_from_u64(*page).fill_bytes(damaged.page_mut(*page)),
            _ => damaged.page_mut(*page)[100] ^= 1,
        }
        let case = Case::new(fixture, damaged);
        let rescued = named(format!("page {page}, older {older}"), || case.judge(older));
        let is_leaf = fixture.live.nodes.get(page).is_some_and(|node| node.level == 0);
        cases += 1;
        if older || is_leaf {
            continue;
        }
        let lost: usize = rescued.report.tables.iter().map(|table| table.lost.len()).sum();
        assert_eq!(lost, 0, "page {page}: all its leaves are whole: {:#?}", rescued.report);
    }
    tried("F13", "each_page_lost_alone_costs_what_is_on_it_and_nothing_else", cases);
}

#[test]
fn a_lost_branch_all_of_whose_leaves_are_whole_costs_nothing_and_the_report_says_so() {
    let fixture = &*SMALL;
    let mut cases = 0;
    for name in ["words", "deep", "numbers"] {
        let (id, table) = fixture.live.table_named(name);
        for level in 1.. {
            let branches = fixture.live.on_level(id, level);
            if branches.is_empty() {
                break;
            }
            for lost in branches.iter().map(|page| vec![*page]).chain([branches.clone()]) {
                let case = with_pages_lost(fixture, lost.iter().copied());
                let rescued = case.judge(false);
                let of_table = rescued.report.tables.iter().find(|table| table.name == name).unwrap();
                assert_eq!(of_table.entries, table.expected);
                assert!(of_table.lost.is_empty() && of_table.lost_values.is_empty(), "{of_table:#?}");
                assert!(rescued.report.is_complete(), "{:#?}", rescued.report);
                lost.iter().for_each(|page| {
                    assert!(
                        rescued.report.bad_pages.iter().any(|bad| bad.page == *page)
                            || case.damaged.page(*page)[8] == 0xA5
                    )
                });
                cases += 1;
            }
        }
    }
    assert!(cases >= 5, "{cases} branches");
    tried("F13", "a_lost_branch_all_of_whose_leaves_are_whole_costs_nothing_and_the_report_says_so", cases);
}

#[test]
fn a_lost_page_of_a_large_value_costs_that_value_only() {
    for fixture in [&*SMALL, &*LARGE_PAGES] {
        let mut runs: Vec<u64> = fixture.live.large.keys().copied().collect();
        runs.dedup_by(|next, before| *next == *before + 1);
        for page in runs.iter().step_by(3) {
            let (id, key) = &fixture.live.large[page];
            let case = with_pages_lost(fixture, [*page]);
            for older in [false, true] {
                let rescued = case.judge(older);
                let table =
                    rescued.report.tables.iter().find(|table| case.id_of(&table.name) == *id).unwrap();
                assert_eq!(table.lost_values.iter().map(|lost| &lost.key).collect::<Vec<_>>(), [key]);
                assert!(table.lost.is_empty() && table.older == 0);
                assert_eq!(table.entries + 1, table.expected.unwrap());
                assert!(!rescued.report.is_complete());
            }
        }
    }
    tried("F13", "a_lost_page_of_a_large_value_costs_that_value_only", 2);
}

#[test]
fn a_stale_page_in_its_old_place_is_not_taken_for_the_new_one() {
    let fixture = &*SMALL;
    let live = fixture.stale.iter().filter(|(page, _)| fixture.live.nodes.contains_key(page));
    let mut cases = 0;
    for (page, bytes) in live {
        let mut damaged = fixture.image.clone();
        damaged.page_mut(*page).copy_from_slice(bytes);
        let case = Case::new(fixture, damaged);
        for older in [false, true] {
            named(format!("page {page}, older {older}"), || case.judge(older));
        }
        cases += 2;
    }
    assert!(cases > 20, "{cases} stale pages");
    tried("F13", "a_stale_page_in_its_old_place_is_not_taken_for_the_new_one", cases);
}

#[test]
fn swapped_pages_are_not_taken_for_each_other() {
    let fixture = &*SMALL;
    let pages: Vec<u64> = fixture.live.nodes.keys().copied().collect();
    let mut random = StdRng::seed_from_u64(first_seed());
    for round in 0..25 {
        let (one, other) = (*pages.choose(&mut random).unwrap(), *pages.choose(&mut random).unwrap());
        let mut damaged = fixture.image.clone();
        damaged.page_mut(one).copy_from_slice(fixture.image.page(other));
        damaged.page_mut(other).copy_from_slice(fixture.image.page(one));
        let case = Case::new(fixture, damaged);
        named(format!("pages {one} and {other}"), || case.judge(round % 2 == 0));
    }
    tried("F13", "swapped_pages_are_not_taken_for_each_other", 25);
}

// ---- metas and catalog ----

#[test]
fn both_metas_lost_cost_no_table_and_no_entry() {
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        for older in [false, true] {
            let mut damaged = fixture.image.clone();
            damaged.bytes[..512].fill(0);
            damaged.bytes[4096..4608].fill(0);
            let case = Case::new(fixture, damaged);
            let rescued = case.judge(older);
            assert_eq!(rescued.report.checkpoint, None);
            assert!(!rescued.report.is_complete());
            for (name, entries) in &fixture.contents.0 {
                assert!(rescued.tables.get(name) == Some(entries), "{name} is as it was");
                let table = rescued.report.tables.iter().find(|table| table.name == *name).unwrap();
                assert!(table.is_listed && table.schema == schema_in(fixture, name), "{table:?}");
            }
        }
    }
    tried("F14", "both_metas_lost_cost_no_table_and_no_entry", 6);
}

fn schema_in(fixture: &Fixture, name: &str) -> Schema {
    let directory = oracle::memory_directory();
    let path = directory.path().join("good.maple");
    std::fs::write(&path, &fixture.image.bytes).unwrap();
    let db = common::open(&Options::new(), &path);
    let tables = db.begin_read().unwrap().tables().unwrap();
    tables.into_iter().find(|table| table.name == name).unwrap().schema
}

#[test]
fn the_newest_checkpoint_comes_out_when_its_meta_slot_is_lost() {
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        let newest = fixture.image.newest_slot();
        for (slot, older) in [(newest, true), (newest, false), (4096 - newest, true), (4096 - newest, false)]
        {
            let mut damaged = fixture.image.clone();
            damaged.bytes[slot + 60] ^= 0x40;
            let rescued = Case::new(fixture, damaged).judge(older);
            assert!(
                rescued.report.notes.iter().any(|note| note.contains(&format!("meta slot {}", slot / 4096)))
            );
            for (name, entries) in &fixture.contents.0 {
                assert!(rescued.tables.get(name) == Some(entries), "{name} is as it was");
            }
        }
    }
    tried("F14", "the_newest_checkpoint_comes_out_when_its_meta_slot_is_lost", 12);
}

#[test]
fn a_lost_catalog_page_costs_names_at_most() {
    let fixture = &*MANY;
    let catalog: Vec<u64> =
        fixture.live.nodes.iter().filter(|(_, node)| node.table == CATALOG).map(|(page, _)| *page).collect();
    assert!(catalog.len() > 5, "{catalog:?}");
    let all = catalog.clone();
    let one_each = catalog.iter().map(|page| vec![*page]);
    let mut cases = 0;
    for lost in one_each.chain([all]) {
        for older in [false, true] {
            let case = with_pages_lost(fixture, lost.iter().copied());
            let rescued = named(format!("pages {lost:?}, older {older}"), || case.judge(older));
            // Fixed-width tables keep their widths, named or not.
            for table in rescued.report.tables.iter().filter(|table| table.entries > 0) {
                assert_eq!(
                    (table.schema.key_width, table.schema.value_width),
                    (Some(8), Some(8)),
                    "{table:?}"
                );
            }
            cases += 1;
        }
    }
    tried("F13", "a_lost_catalog_page_costs_names_at_most", cases);
}

#[test]
fn metas_and_catalog_lost_leave_every_entry() {
    for fixture in [&*SMALL, &*MANY, &*LARGE_PAGES] {
        let catalog =
            fixture.live.nodes.iter().filter(|(_, node)| node.table == CATALOG).map(|(page, _)| *page);
        let mut case = with_pages_lost(fixture, catalog);
        case.damaged.bytes[..512].fill(7);
        case.damaged.bytes[4096..4608].fill(7);
        for older in [false, true] {
            case.judge(older);
        }
    }
    tried("F14", "metas_and_catalog_lost_leave_every_entry", 6);
}

#[test]
fn a_lost_space_record_is_noted_and_costs_no_entry() {
    for fixture in [&*SMALL, &*LARGE_PAGES, &*MANY] {
        let rescued = with_pages_lost(fixture, [fixture.live.space_page]).judge(true);
        assert!(rescued.tables == fixture.contents.0 && rescued.user_version == fixture.contents.1);
        assert!(!rescued.report.is_complete() && !rescued.report.notes.is_empty());
    }
    tried("F13", "a_lost_space_record_is_noted_and_costs_no_entry", 3);
}

// ---- truncated and foreign files ----

#[test]
fn a_truncated_file_gives_what_is_left_of_it() {
    let mut cases = 0;
    for (fixture, step) in [(&*SMALL, 61), (&*LARGE_PAGES, 17)] {
        let page_size = fixture.image.page_size;
        for page in (fixture.image.first_page()..fixture.image.pages()).step_by(step) {
            for extra in [0, 100, page_size / 2] {
                let mut damaged = fixture.image.clone();
                damaged.bytes.truncate(page as usize * page_size + extra);
                if damaged.bytes.len() < 8192 {
                    continue;
                }
                named(format!("page {page} + {extra}"), || Case::new(fixture, damaged).judge(extra == 0));
                cases += 1;
            }
        }
    }
    tried("F13", "a_truncated_file_gives_what_is_left_of_it", cases);
}

#[test]
fn what_is_not_a_store_is_refused_and_nothing_is_written() {
    let directory = oracle::memory_directory();
    let path = directory.path().join("foreign");
    let good = &SMALL.image.bytes;
    let mut noise = vec![0; 300_000];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let files =
        [Vec::new(), vec![0; 1], vec![0; 100_000], noise, b"text\n".repeat(9000), good[512..4096].to_vec()];
    for (i, bytes) in files.iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        let outcome = salvage_file(&path, &directory.path().join("out"), true);
        assert!(
            matches!(outcome, Err(Error::NotAStore { .. })),
            "file {i}: {:?}",
            outcome.map(|it| it.report)
        );
    }
    // The meta area alone, or a part of it: a store without pages, or none; never a panic, and nothing invented.
    for len in [1, 100, 511, 512, 4095, 4096, 4607, 4608, 8191, 8192] {
        std::fs::write(&path, &good[..len]).unwrap();
        match salvage_file(&path, &directory.path().join("out"), true) {
            Ok(rescued) => {
                assert!(rescued.tables.values().all(BTreeMap::is_empty), "{len} bytes");
                assert!(!rescued.report.is_complete(), "{len} bytes: {:?}", rescued.report);
            }
            Err(Error::NotAStore { .. }) => {}
            Err(error) => panic!("{len} bytes: {error:?}"),
        }
    }
    for missing in ["not there", "."] {
        let refused = Salvage::of(directory.path().join(missing)).map(drop);
        assert!(matches!(refused, Err(Error::Io { .. })), "{missing}: {refused:?}");
    }
    tried("F13", "what_is_not_a_store_is_refused_and_nothing_is_written", files.len() + 12);
}

// ---- many damages at once ----

fn damage(fixture: &Fixture, image: &mut Image, random: &mut StdRng) {
    let live: Vec<u64> = fixture.live.nodes.keys().chain(fixture.live.large.keys()).copied().collect();
    let pages = fixture.image.pages();
    let page = match random.random_range(0..4) {
        0 => random.random_range(image.first_page()..pages),
        _ => *live.choose(random).unwrap(),
    };
    match random.random_range(0..12) {
        0 => image.page_mut(page).fill(0),
        1 => random.fill_bytes(image.page_mut(page)),
        2 => {
            let from = fixture.image.page(random.random_range(image.first_page()..pages)).to_vec();
            image.page_mut(page).copy_from_slice(&from);
        }
        3..=5 => {
            let (page, bytes) = fixture.stale.choose(random).unwrap();
            image.page_mut(*page).copy_from_slice(bytes);
        }
        6 => {
            let slot = if random.random() { 0 } else { 4096 };
            image.bytes[slot + random.random_range(0..512)] ^= 1 << random.random_range(0..8);
        }
        7 => {
            for page in page..(page + random.random_range(1..20)).min(pages) {
                image.page_mut(page).fill(0xEE);
            }
        }
        _ => {
            for _ in 0..random.random_range(1..20) {
                let at = random.random_range(0..image.page_size);
                image.page_mut(page)[at] ^= 1 << random.random_range(0..8);
            }
        }
    }
}

const ROUNDS: u64 = 300;
static TINY: LazyLock<Fixture> = LazyLock::new(|| closed(4096, 160));

#[test]
fn random_damages_cost_what_they_hit_and_the_report_says_what() {
    for seed in first_seed()..first_seed() + ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let fixture = if seed.is_multiple_of(30) { &*LARGE_PAGES } else { &*TINY };
        let mut damaged = fixture.image.clone();
        (0..random.random_range(1..5)).for_each(|_| damage(fixture, &mut damaged, &mut random));
        if seed % 10 == 9 {
            let len = random.random_range(8192..damaged.bytes.len());
            damaged.bytes.truncate(len);
        }
        let case = Case::new(fixture, damaged);
        let what = case.describe();
        named(format!("seed {seed}: {what}"), || case.judge(random.random()));
    }
    tried("F13", "random_damages_cost_what_they_hit_and_the_report_says_what", ROUNDS);
}

#[test]
fn crafted_files_cannot_make_it_panic_or_fail() {
    let rounds = 150;
    for seed in first_seed()..first_seed() + rounds {
        let mut random = StdRng::seed_from_u64(seed);
        let fixture = &*TINY;
        let mut crafted = fixture.image.clone();
        for _ in 0..random.random_range(1..5) {
            let nodes: Vec<_> = fixture.live.nodes.iter().collect();
            let (page, node) = nodes.choose(&mut random).unwrap();
            match random.random_range(0..8) {
                0 => damage(fixture, &mut crafted, &mut random),
                1 => {
                    let slot = crafted.newest_slot();
                    crafted.bytes[slot + random.random_range(56..280)] ^= 1 << random.random_range(0..8);
                }
                2..=4 => {
                    // The header and what is right behind it.
                    let at = random.random_range(4..120);
                    crafted.page_mut(**page)[at] = random.random();
                }
                5 => crafted.page_mut(fixture.live.space_page)[random.random_range(32..90)] = random.random(),
                6 => {
                    let root = fixture.live.catalog_root;
                    let from = crafted.page_size - 600;
                    crafted.page_mut(root)[random.random_range(from..from + 600)] = random.random();
                }
                _ => {
                    let other = *nodes.choose(&mut random).unwrap().0;
                    let bytes = fixture.image.page(other).to_vec();
                    crafted.page_mut(**page)[16..].copy_from_slice(&bytes[16..]);
                    crafted.page_mut(**page)[4..8].copy_from_slice(&bytes[4..8]);
                    let _ = node;
                }
            }
        }
        crafted.seal_all();
        let outcome = named(format!("seed {seed}"), || salvage(&crafted, random.random()));
        match outcome {
            Ok(rescued) => {
                let bytes: usize =
                    rescued.tables.values().flatten().map(|(key, value)| key.len() + value.len()).sum();
                assert!(
                    bytes <= 2 * crafted.bytes.len(),
                    "seed {seed}: {bytes} bytes of {}",
                    crafted.bytes.len()
                );
            }
            Err(Error::NotAStore { .. }) => {}
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
    }
    tried("F28", "crafted_files_cannot_make_it_panic_or_fail", rounds);
}

// ---- other files, other processes ----

fn file_of(fixture: &Fixture, directory: &Path) -> PathBuf {
    let path = directory.join("store.maple");
    std::fs::write(&path, &fixture.image.bytes).unwrap();
    path
}

#[test]
fn a_file_that_is_open_anywhere_is_refused() {
    let directory = oracle::memory_directory();
    let path = file_of(&TINY, directory.path());
    for options in [Options::new(), Options::new().read_only(true)] {
        let db = common::open(&options, &path);
        let refused = Salvage::of(&path).map(drop);
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
        drop(db);
        assert!(Salvage::of(&path).is_ok());
    }
    tried("F13", "a_file_that_is_open_anywhere_is_refused", 2);
}

#[test]
fn nobody_can_open_a_file_to_write_while_it_is_being_salvaged() {
    let directory = oracle::memory_directory();
    let path = file_of(&TINY, directory.path());
    let salvage = Salvage::of(&path).unwrap();
    let refuse = || {
        let refused = common::try_open(&Options::new(), &path).map(drop);
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    };
    refuse();
    let mut calls = 0;
    let mut progress = |_| {
        if calls == 5 {
            refuse();
        }
        calls += 1;
    };
    salvage.write_to(directory.path().join("out"), &mut progress).unwrap();
    assert!(calls > 5);
    refuse();
    drop(salvage);
    common::assert_clean(&common::open(&Options::new(), &path));
    tried("F13", "nobody_can_open_a_file_to_write_while_it_is_being_salvaged", 3);
}

#[test]
fn files_of_the_output_s_name_are_neither_replaced_nor_removed() {
    let directory = oracle::memory_directory();
    let path = file_of(&TINY, directory.path());
    let output = directory.path().join("out");
    for occupied in [output.clone(), beside(&output, ".unfinished"), path.clone()] {
        let output = if occupied == path { &path } else { &output };
        if occupied != path {
            std::fs::write(&occupied, "mine").unwrap();
        }
        let before = std::fs::read(&occupied).unwrap();
        let names = names_in(directory.path());
        let refused = Salvage::of(&path).unwrap().write_to(output, &mut |_| {}).map(drop);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
        assert_eq!(std::fs::read(&occupied).unwrap(), before);
        assert_eq!(names_in(directory.path()), names);
        if occupied != path {
            std::fs::remove_file(&occupied).unwrap();
        }
    }
    // One that comes while it works; a dangling link; a stale lock file of an earlier store of that name.
    let mut is_first = true;
    let refused = Salvage::of(&path).unwrap().write_to(&output, &mut |_| {
        if std::mem::take(&mut is_first) {
            std::fs::write(&output, "mine").unwrap();
        }
    });
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(std::fs::read(&output).unwrap(), b"mine");
    assert!(!beside(&output, ".unfinished").exists());
    std::fs::remove_file(&output).unwrap();
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &output).unwrap();
    assert!(Salvage::of(&path).unwrap().write_to(&output, &mut |_| {}).is_err());
    assert!(output.symlink_metadata().unwrap().is_symlink());
    std::fs::remove_file(&output).unwrap();
    std::fs::write(beside(&output, "-lock"), [0x5A; 9000]).unwrap();
    let rescued = salvage_file(&path, &output, true).unwrap();
    assert!(rescued.tables == TINY.contents.0);
    tried("F13", "files_of_the_output_s_name_are_neither_replaced_nor_removed", 6);
}

/// A file system in memory, unmounted when dropped; `None` where that is not allowed.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(size: &str) -> Option<Mount> {
        let mount = Mount(tempfile::tempdir().unwrap());
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(mount.0.path())
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success()).then_some(mount)
    }

    fn set_read_only(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

#[test]
fn nothing_is_left_where_the_output_cannot_be_written() {
    let directory = oracle::memory_directory();
    let path = file_of(&SMALL, directory.path());
    let missing = directory.path().join("no such directory/out");
    let refused = Salvage::of(&path).unwrap().write_to(&missing, &mut |_| {}).map(drop);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    let mut cases = 1;
    for size in ["4k", "8k", "16k", "64k", "256k", "600k", "read-only"] {
        let Some(mount) = Mount::new(if size == "read-only" { "64m" } else { size }) else {
            println!("skipped: no file system can be mounted here");
            break;
        };
        if size == "read-only" {
            mount.set_read_only();
        }
        let output = mount.0.path().join("out");
        let refused = Salvage::of(&path).unwrap().write_to(&output, &mut |_| {}).map(drop);
        assert!(matches!(refused, Err(Error::Io { .. })), "{size}: {refused:?}");
        assert_eq!(names_in(mount.0.path()), BTreeSet::new(), "{size}");
        cases += 1;
    }
    assert!(std::fs::read(&path).unwrap() == SMALL.image.bytes);
    tried("F10", "nothing_is_left_where_the_output_cannot_be_written", cases);
}

const CHILD_FILE: &str = "MAPLEAF_SALVAGE_CHILD";
/// Where one that is not killed writes to, which must fail.
const CHILD_OUTPUT: &str = "MAPLEAF_SALVAGE_CHILD_OUTPUT";

/// Does nothing unless the test below has started it: salvages again and again until it is killed.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD_FILE).map(PathBuf::from) else { return };
    if let Some(output) = std::env::var_os(CHILD_OUTPUT) {
        let refused = Salvage::of(&path).unwrap().write_to(output, &mut |_| {});
        assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
        return;
    }
    loop {
        let output = beside(&path, "-out");
        let _ = Salvage::of(&path).unwrap().write_to(&output, &mut |_| {}).unwrap();
        std::fs::rename(&output, beside(&path, "-done")).unwrap();
    }
}

#[test]
fn a_killed_salvage_leaves_its_output_whole_or_absent() {
    let directory = oracle::memory_directory();
    let path = file_of(&TINY, directory.path());
    let mut random = StdRng::seed_from_u64(first_seed());
    let rounds = 12;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--test-threads=1"])
            .env(CHILD_FILE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let unfinished = beside(&path, "-out.unfinished");
        while !unfinished.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL),
            "round {round}"
        );
        assert!(std::fs::read(&path).unwrap() == TINY.image.bytes);
        for output in [beside(&path, "-out"), beside(&path, "-done")].iter().filter(|output| output.exists())
        {
            let db = common::open(&Options::new().create(false), output);
            common::assert_clean(&db);
            assert!(common::contents(&db.begin_read().unwrap()) == TINY.contents, "round {round}");
        }
        for suffix in ["-out", "-done", "-out.unfinished", "-out.unfinished-lock", "-out-lock", "-done-lock"]
        {
            let _ = std::fs::remove_file(beside(&path, suffix));
        }
        assert_eq!(names_in(directory.path()), BTreeSet::from([path.clone()]), "round {round}");
    }
    tried("F15", "a_killed_salvage_leaves_its_output_whole_or_absent", rounds);
}

// ---- doubts ----

#[test]
fn deleted_keys_between_whole_leaves_do_not_come_back_when_a_branch_is_lost() {
    let (fixture, mut cases) = (&*SMALL, 0);
    for name in ["words", "numbers", "deep"] {
        let (id, _) = fixture.live.table_named(name);
        for level in 1..3 {
            for page in fixture.live.on_level(id, level) {
                let case = with_pages_lost(fixture, [page]);
                let rescued = named(format!("page {page}"), || case.judge(true));
                case.judge_deleted(&rescued);
                assert!(rescued.report.is_complete(), "{:#?}", rescued.report);
                cases += 1;
            }
        }
    }
    tried("F13", "deleted_keys_between_whole_leaves_do_not_come_back_when_a_branch_is_lost", cases);
}

#[test]
fn dropped_tables_do_not_come_back_when_both_metas_are_lost_and_the_catalog_is_whole() {
    let mut scribe = Scribe::new(4096);
    let table = |name| mapleaf::Table::<u64, u64>::new(name);
    for name in ["kept", "gone too", "zebra, the last name"] {
        scribe.write(true, |w| (0..50).try_for_each(|i| w.put(table(name), &i, &i).map(drop)));
    }
    scribe.write(true, |w| w.drop_table("zebra, the last name").map(drop));
    scribe.write(true, |w| w.drop_table("gone too").map(drop));
    scribe.write(true, |w| w.put(table("kept"), &50, &50).map(drop));
    let fixture = scribe.close();
    for older in [false, true] {
        let mut damaged = fixture.image.clone();
        damaged.bytes[..8192].fill(0);
        let rescued = Case::new(&fixture, damaged).judge(older);
        for table in rescued.report.tables.iter().filter(|table| table.name != "kept") {
            assert_eq!(table.entries, table.older, "dropped, and said to be as it was: {table:?}");
            assert!(older, "older versions were not asked for: {table:?}");
        }
    }
    tried("F14", "dropped_tables_do_not_come_back_when_both_metas_are_lost_and_the_catalog_is_whole", 2);
}

/// After a power cut: the log is there, the pages that were not flushed are not.
fn cut_behind_the_log() -> (Image, common::Contents) {
    let mut scribe = Scribe::new(4096);
    scribe.write(true, |w| {
        w.set_user_version(5);
        (0..500).try_for_each(|i| w.put(oracle::NUMBERS, &i, &i).map(drop))
    });
    scribe.write(true, |w| w.put(oracle::NUMBERS, &7, &7).map(drop));
    let before = scribe.bytes();
    for i in 0..10 {
        scribe.write(false, |w| w.put(oracle::NUMBERS, &(1000 + i), &i).map(drop));
    }
    let contents = common::contents(&scribe.db().begin_read().unwrap());
    let mut image = Image { bytes: scribe.bytes(), page_size: 4096 };
    let checkpoint = number(&image.bytes, image.newest_slot() + 56, 8);
    for page in 2..image.pages() {
        if image.is_whole(page) && number(image.page(page), 16, 8) > checkpoint {
            let at = page as usize * 4096;
            let old = before.get(at..at + 4096).map_or(vec![0; 4096], <[u8]>::to_vec);
            image.page_mut(page).copy_from_slice(&old);
        }
    }
    (image, contents)
}

#[test]
fn a_lost_older_meta_slot_does_not_cost_what_is_in_the_log() {
    let (mut image, contents) = cut_behind_the_log();
    assert!((salvage(&image, false).unwrap().tables, 5) == contents, "while both slots are whole");
    let slot = 4096 - image.newest_slot();
    image.bytes[slot + 60] ^= 1;
    let directory = oracle::memory_directory();
    let path = directory.path().join("damaged");
    std::fs::write(&path, &image.bytes).unwrap();
    let opened = common::contents(&common::open(&Options::new(), &path).begin_read().unwrap());
    assert!(opened == contents, "opening it replays the log");
    let rescued = salvage(&image, false).unwrap();
    assert_eq!(rescued.tables["numbers"].len(), contents.0["numbers"].len(), "{:#?}", rescued.report);
    assert!(rescued.tables == contents.0 && rescued.user_version == 5, "{:#?}", rescued.report);
    tried("F14", "a_lost_older_meta_slot_does_not_cost_what_is_in_the_log", 1);
}

#[test]
fn what_was_never_committed_does_not_come_out_when_the_metas_are_lost() {
    let directory = oracle::memory_directory();
    let path = directory.path().join("store.maple");
    let db = common::open(&Options::new().dirty_limit(1 << 20), &path);
    // Room inside the file, which outlives the txn.
    db.write(|w| w.put(oracle::GONE, "large", &"x".repeat(8 << 20)).map(drop)).unwrap();
    db.write(|w| w.drop_table("gone").map(drop)).unwrap();
    for i in 0..2 {
        db.write(|w| {
            (i * 50..i * 50 + 50)
                .try_for_each(|i| w.put(oracle::WORDS, &oracle::word(i)[..], &[1; 1000][..]).map(drop))
        })
        .unwrap();
        db.checkpoint().unwrap();
    }
    let mut w = db.begin_write().unwrap();
    for i in 0..2500 {
        w.put(oracle::WORDS, &oracle::word(i)[..], &[2; 1000][..]).unwrap();
    }
    w.abort();
    db.close().unwrap();
    let mut image = Image { bytes: std::fs::read(&path).unwrap(), page_size: 4096 };
    let live = Live::of(&image);
    let is_spilled = |page: &u64| image.is_whole(*page) && number(image.page(*page), 16, 8) > live.txn;
    println!("{} pages of the aborted txn are in the file", (2..image.pages()).filter(is_spilled).count());
    image.bytes[..8192].fill(0);
    for older in [false, true] {
        let rescued = salvage(&image, older).unwrap();
        let words = &rescued.tables["words"];
        let wrong = words.values().filter(|value| value[0] == 2).count();
        assert_eq!((words.len(), wrong), (100, 0), "entries, and those that were never committed");
    }
    tried("F14", "what_was_never_committed_does_not_come_out_when_the_metas_are_lost", 2);
}

#[test]
fn a_lost_branch_and_a_lost_space_record_bring_nothing_back_unsaid() {
    let (fixture, mut cases) = (&*SMALL, 0);
    for name in ["words", "numbers", "deep"] {
        let (id, table) = fixture.live.table_named(name);
        for page in fixture.live.on_level(id, 1) {
            let case = with_pages_lost(fixture, [page, fixture.live.space_page]);
            for older in [false, true] {
                let rescued = case.judge(older);
                let of_table = rescued.report.tables.iter().find(|table| table.name == name).unwrap();
                let extra =
                    rescued.tables[name].keys().filter(|key| !table.entries.contains_key(*key)).count()
                        as u64;
                assert!(
                    extra <= of_table.older,
                    "page {page}: {extra} deleted entries are back, {} said",
                    of_table.older
                );
                cases += 1;
            }
        }
    }
    tried("F13", "a_lost_branch_and_a_lost_space_record_bring_nothing_back_unsaid", cases);
}

#[test]
fn an_impossible_schema_in_a_crafted_catalog_costs_its_table_only() {
    let fixture = &*TINY;
    let (_, stored) = Live::record_of(&fixture.image, &fixture.live, "words");
    let made_up = format!("salvaged-{}", fixture.live.table_named("words").0);
    for (offset, byte) in [(2, 3), (40, 7), (44, 9), (59, 9), (3, 1), (48, 1), (0, 9), (47, 0x7f)] {
        let mut crafted = fixture.image.clone();
        let at = fixture.live.catalog_root as usize * 4096 + stored + offset;
        crafted.bytes[at] = byte;
        crafted.seal_page(fixture.live.catalog_root);
        let outcome = salvage(&crafted, true);
        let rescued =
            outcome.unwrap_or_else(|error| panic!("byte {offset} of a record is {byte}: {error:?}"));
        assert!(rescued.tables["numbers"] == fixture.contents.0["numbers"]);
        println!("byte {offset}: {:?}", rescued.report.notes);
        let words = rescued.report.tables.iter().find(|table| ["words", &made_up].contains(&&table.name[..]));
        let words = words
            .unwrap_or_else(|| panic!("byte {offset}: whole leaves, no table: {:?}", rescued.report.notes));
        let all = words.entries + words.lost_values.len() as u64;
        assert_eq!(all, fixture.contents.0["words"].len() as u64, "byte {offset}: {words:?}");
    }
    tried("F28", "an_impossible_schema_in_a_crafted_catalog_costs_its_table_only", 8);
}

#[test]
fn crafted_references_to_one_large_value_do_not_multiply_it() {
    let (mut scribe, value) = (Scribe::new(4096), vec![7; 1 << 17]);
    scribe.write(true, |w| {
        w.put(oracle::WORDS, "0", &value[..])?;
        (1..200).try_for_each(|i| w.put(oracle::WORDS, &i.to_string()[..], &[i as u8; 22][..]).map(drop))
    });
    let fixture = scribe.close();
    let mut crafted = fixture.image.clone();
    let (id, table) = fixture.live.table_named("words");
    let run = table.entries[&b"0"[..]].1.run.unwrap();
    let reference = [
        &run.0.to_le_bytes()[..6],
        &fixture.live.birth_of(&fixture.image, table.entries[&b"0"[..]].0).to_le_bytes()[..6],
        &(run.1 as u64).to_le_bytes()[..6],
        &run.2.to_le_bytes(),
    ]
    .concat();
    for leaf in fixture.live.on_level(id, 0) {
        let page = crafted.page_mut(leaf);
        let count = number(page, 6, 2) as usize;
        for slot in (0..count).map(|i| 32 + 4 * count + 6 * i) {
            let at = 4096 - number(page, slot, 2) as usize;
            assert_eq!(number(page, slot + 4, 2), 22);
            page[at..at + 22].copy_from_slice(&reference);
            page[slot + 3] |= 0x80;
        }
    }
    fixture.live.on_level(id, 0).into_iter().for_each(|leaf| crafted.seal_page(leaf));
    let rescued = salvage(&crafted, true).unwrap();
    let words = &rescued.report.tables[0];
    println!("{} entries, {:?}", words.entries, words.lost_values.first());
    let bytes: usize = rescued.tables.values().flatten().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= 2 * crafted.bytes.len(), "{bytes} bytes came out of {}", crafted.bytes.len());
    tried("F28", "crafted_references_to_one_large_value_do_not_multiply_it", 1);
}

#[test]
fn a_full_disk_is_an_error_at_any_size_and_never_a_signal() {
    let directory = oracle::memory_directory();
    let path = file_of(&TINY, directory.path());
    let mut cases = 0;
    for kilobytes in [4, 8, 12, 16, 20, 32, 48, 64, 68, 72, 100, 200] {
        let Some(mount) = Mount::new(&format!("{kilobytes}k")) else {
            println!("skipped: no file system can be mounted here");
            return;
        };
        let output = mount.0.path().join("out");
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--test-threads=1"])
            .env(CHILD_FILE, &path)
            .env(CHILD_OUTPUT, &output)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{kilobytes} KiB: {status}");
        assert_eq!(names_in(mount.0.path()), BTreeSet::new(), "{kilobytes} KiB");
        cases += 1;
    }
    tried("F10", "a_full_disk_is_an_error_at_any_size_and_never_a_signal", cases);
}

#[test]
fn more_entries_than_the_reference_promised_are_a_doubt() {
    let mut cases = 0;
    let stale =
        [&*TINY, &*SMALL].into_iter().flat_map(|fixture| fixture.stale.iter().map(move |it| (fixture, it)));
    for (fixture, (page, bytes)) in stale {
        let Some(node) = fixture.live.nodes.get(page).filter(|node| node.level == 0 && node.table != CATALOG)
        else {
            continue;
        };
        let Some(above) = node.above.last() else { continue };
        let mut damaged = fixture.image.clone();
        damaged.page_mut(*above).fill(0xA5);
        damaged.page_mut(*page).copy_from_slice(bytes);
        let rescued = salvage(&damaged, false).unwrap();
        let entries = |tables: &Tables| tables.values().map(BTreeMap::len).sum::<usize>();
        if rescued.report.is_complete() {
            assert_eq!(entries(&rescued.tables), entries(&fixture.contents.0), "page {page}: complete");
        }
        cases += 1;
    }
    tried("F13", "more_entries_than_the_reference_promised_are_a_doubt", cases);
}
