//! Sectors that cannot be read (F12): a read is EIO, and touching them in a mapping is SIGBUS.
//!
//! For more ways to read: [`UnreadableStore::make`] gives a closed store of which given pages cannot be read, on a file
//! system of its own; [`UnreadableStore::in_child`] tries something with it, and says whether that ended with a signal.

use super::disks::{cut_short, unreadable};
use super::ledger::{open, try_open};
use super::mounts::{Mounted, Skip, in_own_mounts, make_directory};
use super::tried;
use mapleaf::{Database, Options, Salvage, Table};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const VALUES: Table<u64, [u8]> = Table::new("values");
const KEYS: u64 = 2000;
const TRIED: &str = "MAPLEAF_UNREADABLE";

/// A closed store of which some pages cannot be read.
pub struct UnreadableStore {
    pub path: PathBuf,
    /// The pages, of 4 KiB.
    pub pages: Vec<u64>,
    _mounted: Mounted,
}

impl UnreadableStore {
    /// Those of these keys' leaves. `at` is an empty directory.
    pub fn make(keys: &[u64], at: &Path) -> Skip<Self> {
        let source = closed_store(at);
        let pages = keys.iter().map(|key| leaf_of(&source, *key)).collect::<Vec<_>>();
        let (mounted, path) = unreadable(&source, &pages, at)?;
        Ok(UnreadableStore { path, pages, _mounted: mounted })
    }

    /// That which holds these pages, whatever is in them.
    pub fn without(pages: Vec<u64>, at: &Path) -> Skip<Self> {
        let (mounted, path) = unreadable(&closed_store(at), &pages, at)?;
        Ok(UnreadableStore { path, pages, _mounted: mounted })
    }

    /// Runs the test `child` of this module with the word `what`. Returns what it has said, and the signal that has ended it.
    pub fn in_child(&self, what: &str) -> (String, Option<i32>) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "unreadable::child", "--nocapture", "--test-threads=1"])
            .env(TRIED, what)
            .env("MAPLEAF_STORE", &self.path)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let signal = output.status.signal();
        assert!(
            signal.is_some() || output.status.success(),
            "{what}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (said, signal)
    }
}

/// Does nothing unless it is run by [`UnreadableStore::in_child`]. What may be tried has its word here.
#[test]
fn child() {
    let Ok(what) = std::env::var(TRIED) else { return };
    let path = PathBuf::from(std::env::var_os("MAPLEAF_STORE").unwrap());
    println!();
    let result = tried_in_child(&what, &path);
    match result {
        Ok(found) => println!("found {found}"),
        Err(error) => println!("error {error}"),
    }
}

fn tried_in_child(what: &str, path: &Path) -> mapleaf::Result<String> {
    let (what, number) = what.split_once(' ').unwrap_or((what, "0"));
    let number: u64 = number.parse().unwrap();
    if what == "salvage" {
        let report = Salvage::of(path)?.survey(&mut |_| {})?;
        let found = report.tables.iter().map(|table| table.entries).sum::<u64>();
        return Ok(format!("{found} entries, {:?}, lost {:?}", report.bad_pages, report.tables[0].lost));
    }
    let db = try_open(&Options::new().guarded_reads(what.starts_with("guarded")), path)?;
    Ok(match what {
        "guarded-get" => format!("{:?}", db.begin_read()?.get(VALUES, &number)?.map(<[u8]>::len)),
        "guarded-scan" => format!("{}", db.begin_read()?.iter(VALUES)?.collect::<Result<Vec<_>, _>>()?.len()),
        "open" => String::new(),
        "get" => format!("{:?}", db.begin_read()?.get(VALUES, &number)?.map(<[u8]>::len)),
        "page" => {
            let dump = db.page(number)?;
            format!("{} {:?}", dump.kind, dump.problems)
        }
        "verify" => format!("{:?}", db.verify(&mut |_| {})?.problems),
        "preload" => format!("{:?}", db.preload()?),
        "write" => {
            db.write(|w| w.put(VALUES, &number, b"new"))?;
            String::new()
        }
        _ => panic!("{what}"),
    })
}

fn closed_store(at: &Path) -> PathBuf {
    let path = make_directory(at.join("source")).join("a.maple");
    let db = open(&path);
    fill(&db).unwrap();
    db.close().unwrap();
    path
}

fn value(key: u64) -> Vec<u8> {
    (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(60)
}

/// Values of which no two are alike.
fn fill(db: &Database) -> mapleaf::Result<()> {
    db.write(|w| {
        for key in 0..KEYS {
            w.put(VALUES, &key, &value(key))?;
        }
        Ok(())
    })
}

/// The page in which the value of a key lies.
fn leaf_of(path: &Path, key: u64) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let value = value(key);
    let places = bytes
        .chunks(4096)
        .enumerate()
        .filter(|(_, page)| page.windows(value.len()).any(|part| part == value));
    let places: Vec<u64> = places.map(|(page, _)| page as u64).collect();
    assert_eq!(places.len(), 1, "key {key}");
    places[0]
}

/// What the ordinary way of reading does, and what it does not: a value is read from the mapping, so that a page that cannot be
/// read ends the process; all others are read as ever.
#[test]
fn a_page_that_cannot_be_read_ends_who_touches_it_and_nobody_else() {
    in_own_mounts("unreadable::a_page_that_cannot_be_read_ends_who_touches_it_and_nobody_else", |at| {
        let store = UnreadableStore::make(&[700], at)?;
        assert_eq!(store.in_child("open").1, None);
        let (said, signal) = store.in_child("get 100");
        assert!(said.contains("found Some(480)") && signal.is_none(), "{signal:?} {said}");
        let (said, signal) = store.in_child("get 700");
        assert!(signal == Some(libc::SIGBUS), "{signal:?} {said}");
        // With debug assertions each commit looks at all pages.
        if !cfg!(debug_assertions) {
            let (said, signal) = store.in_child("write 100");
            assert!(said.contains("found") && signal.is_none(), "{signal:?} {said}");
            let (said, signal) = store.in_child("get 100");
            assert!(said.contains("found Some(3)") && signal.is_none(), "{signal:?} {said}");
        }
        tried("F12", "a_page_that_cannot_be_read_ends_who_touches_it_and_nobody_else", 5);
        Ok(())
    });
}

#[test]
fn with_guarded_reads_and_in_salvage_such_a_page_is_an_error_that_names_it() {
    in_own_mounts(
        "unreadable::with_guarded_reads_and_in_salvage_such_a_page_is_an_error_that_names_it",
        |at| {
            let store = UnreadableStore::make(&[700], at)?;
            let page = format!("page {}", store.pages[0]);
            let tries =
                [("guarded-get 100", "found Some(480)"), ("guarded-get 700", &page), ("guarded-scan", &page)];
            for (what, expected) in tries {
                let (said, signal) = store.in_child(what);
                assert!(said.contains(expected) && signal.is_none(), "{what}: {signal:?} {said}");
            }
            let (said, signal) = store.in_child("salvage");
            assert!(said.contains(&page) && signal.is_none(), "{signal:?} {said}");
            let lost = KEYS
                - said.split("found ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
            assert!((1..20).contains(&lost), "{lost} are lost: {said}");
            tried("F12", "with_guarded_reads_and_in_salvage_such_a_page_is_an_error_that_names_it", 4);
            Ok(())
        },
    );
}

#[test]
fn whoever_looks_at_a_page_that_cannot_be_read_gets_an_error_that_names_it() {
    in_own_mounts(
        "unreadable::whoever_looks_at_a_page_that_cannot_be_read_gets_an_error_that_names_it",
        |at| {
            let store = UnreadableStore::make(&[700, 1500], at)?;
            let mut wrong = Vec::new();
            for page in &store.pages {
                let (said, signal) = store.in_child(&format!("page {page}"));
                if signal.is_some() || !said.contains("error") || !said.contains(&page.to_string()) {
                    wrong.push(format!("page {page}: {signal:?} {said}"));
                }
            }
            let (said, signal) = store.in_child("verify");
            if signal.is_some() || !store.pages.iter().all(|page| said.contains(&page.to_string())) {
                wrong.push(format!("verify, of {:?}: {signal:?} {said}", store.pages));
            }
            let (said, signal) = store.in_child("preload");
            if signal.is_some() || !said.contains("error") {
                wrong.push(format!("preload: {signal:?} {said}"));
            }
            tried("F12", "whoever_looks_at_a_page_that_cannot_be_read_gets_an_error_that_names_it", 4);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            Ok(())
        },
    );
}

/// Where every page of the first in the file cannot be read, in turn: opening is an error or works.
#[test]
fn a_store_whose_first_pages_cannot_be_read_is_an_error_or_opens() {
    in_own_mounts("unreadable::a_store_whose_first_pages_cannot_be_read_is_an_error_or_opens", |at| {
        for page in 0..2 {
            let store = UnreadableStore::without(vec![page], &make_directory(at.join(page.to_string())))?;
            let before = std::fs::metadata(&store.path).unwrap().len();
            let (said, signal) = store.in_child("get 100");
            println!(
                "{}",
                said.lines()
                    .find(|line| line.starts_with("found") || line.starts_with("error"))
                    .unwrap_or("")
            );
            assert!(
                signal.is_none() && (said.contains("found Some(480)") || said.contains("error")),
                "{signal:?} {said}"
            );
            assert_eq!(std::fs::metadata(&store.path).unwrap().len(), before, "it is left as it was");
        }
        tried("F12", "a_store_whose_first_pages_cannot_be_read_is_an_error_or_opens", 2);
        Ok(())
    });
}

#[test]
fn on_a_disk_that_ends_inside_the_file_what_is_before_that_is_read() {
    in_own_mounts("unreadable::on_a_disk_that_ends_inside_the_file_what_is_before_that_is_read", |at| {
        let source = closed_store(at);
        let (mounted, path, first) = cut_short(&source, at)?;
        let key_of = |is_wanted: &dyn Fn(u64) -> bool| {
            (0..KEYS).step_by(10).find(|key| is_wanted(leaf_of(&source, *key)))
        };
        let before = key_of(&|page| page < first).expect("some leaf is before it");
        let behind = key_of(&|page| page >= first).expect("some leaf is behind it");
        let store = UnreadableStore { path, pages: vec![first], _mounted: mounted };
        let (said, signal) = store.in_child(&format!("get {before}"));
        // Unless the pages above the leaves are behind it.
        println!("key {before}, before page {first}: {signal:?} {}", said.trim());
        let (said, signal) = store.in_child(&format!("get {behind}"));
        assert!(signal == Some(libc::SIGBUS) || said.contains("error"), "key {behind}: {signal:?} {said}");
        // Opening looks at the pages that say what is free, which lie near the end.
        let (said, signal) = store.in_child(&format!("page {first}"));
        assert!(signal == Some(libc::SIGBUS) || said.contains("error"), "{signal:?} {said}");
        tried("F12", "on_a_disk_that_ends_inside_the_file_what_is_before_that_is_read", 3);
        Ok(())
    });
}
