//! What a file says, read by `docs/format.md` alone: which page is what, and which entries lie on it.
//!
//! Owns: [`Image`], a file in memory; [`Live`], what the newest meta slot of an undamaged one refers to; and [`Fixture`], a
//! store with a history. None of it uses the code under test to read a page.
#![allow(dead_code, missing_docs)]

use crate::common;
use mapleaf::{Database, Error, Options, Table};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

pub const CATALOG: u32 = 1;

/// A file in memory.
#[derive(Clone)]
pub struct Image {
    pub bytes: Vec<u8>,
    pub page_size: usize,
}

pub fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut whole = [0; 8];
    whole[..len].copy_from_slice(&bytes[at..at + len]);
    u64::from_le_bytes(whole)
}

/// What a leaf holds at one place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// First page, length, checksum of a large value.
    pub run: Option<(u64, usize, u32)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Child {
    pub page: u64,
    pub birth: u64,
    pub entries: u64,
}

impl Image {
    pub fn pages(&self) -> u64 {
        (self.bytes.len() / self.page_size) as u64
    }

    pub fn page(&self, page: u64) -> &[u8] {
        let at = page as usize * self.page_size;
        &self.bytes[at..at + self.page_size]
    }

    pub fn page_mut(&mut self, page: u64) -> &mut [u8] {
        let at = page as usize * self.page_size;
        &mut self.bytes[at..at + self.page_size]
    }

    /// First page that is not meta.
    pub fn first_page(&self) -> u64 {
        if self.page_size == 4096 { 2 } else { 1 }
    }

    /// Offset of the slot with the highest txn.
    pub fn newest_slot(&self) -> usize {
        if number(&self.bytes, 56, 8) > number(&self.bytes, 4096 + 56, 8) { 0 } else { 4096 }
    }

    pub fn seal_page(&mut self, page: u64) {
        let bytes = self.page_mut(page);
        let checksum = crc32fast::hash(&bytes[4..]).to_le_bytes();
        bytes[..4].copy_from_slice(&checksum);
    }

    pub fn seal_slot(&mut self, slot: usize) {
        let checksum = crc32fast::hash(&self.bytes[slot + 12..slot + 512]).to_le_bytes();
        self.bytes[slot + 8..slot + 12].copy_from_slice(&checksum);
    }

    pub fn seal_all(&mut self) {
        [0, 4096]
            .into_iter()
            .filter(|slot| slot + 512 <= self.bytes.len())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|slot| self.seal_slot(slot));
        (self.first_page()..self.pages()).for_each(|page| self.seal_page(page));
    }

    /// Whether number and checksum of a page are right.
    pub fn is_whole(&self, page: u64) -> bool {
        let bytes = self.page(page);
        number(bytes, 8, 8) == page && number(bytes, 0, 4) == u64::from(crc32fast::hash(&bytes[4..]))
    }

    /// The children of a branch and the separators in front of them.
    pub fn children(&self, page: u64) -> Vec<(Vec<u8>, Child)> {
        let bytes = self.page(page);
        let (count, prefix) = (number(bytes, 6, 2) as usize, number(bytes, 30, 2) as usize);
        let refs = 32 + prefix + 4 * count;
        let rests = refs + 8 * count;
        let offsets = rests + 9 * count;
        let cells = self.page_size - number(bytes, 28, 2) as usize;
        let cell = |i: usize| match i == count {
            true => self.page_size,
            false => cells + number(bytes, offsets + 2 * i, 2) as usize,
        };
        let separator = |i: usize| match i {
            0 => Vec::new(),
            _ => [&bytes[32..32 + prefix], &bytes[cell(i)..cell(i + 1)]].concat(),
        };
        let child = |i: usize| {
            let (short, rest) = (refs + 8 * i, rests + 9 * i);
            let birth = number(bytes, short + 5, 3) | number(bytes, rest, 3) << 24;
            Child { page: number(bytes, short, 5), birth, entries: number(bytes, rest + 3, 6) }
        };
        (0..count).map(|i| (separator(i), child(i))).collect()
    }

    /// The entries of a leaf. Large values are read from their runs.
    pub fn entries(&self, page: u64) -> Vec<Stored> {
        let bytes = self.page(page);
        let count = number(bytes, 6, 2) as usize;
        if bytes[4] == 3 {
            let (key, value) = (number(bytes, 28, 2) as usize, number(bytes, 30, 2) as usize);
            let values = self.page_size - (self.page_size - 32) / (key + value) * value;
            let entry = |i: usize| Stored {
                key: bytes[32 + i * key..][..key].to_vec(),
                value: bytes[values + i * value..][..value].to_vec(),
                run: None,
            };
            return (0..count).map(entry).collect();
        }
        (0..count).map(|i| self.cell(bytes, 32 + 4 * count + 6 * i)).collect()
    }

    fn cell(&self, bytes: &[u8], slot: usize) -> Stored {
        let start = self.page_size - number(bytes, slot, 2) as usize;
        let (key_len, value_len) = (number(bytes, slot + 2, 2) as usize, number(bytes, slot + 4, 2) as usize);
        let (is_large, key_len) = (key_len & 0x8000 != 0, key_len & 0x7fff);
        let value = &bytes[start..start + value_len];
        let key = bytes[start + value_len..][..key_len].to_vec();
        if !is_large {
            return Stored { key, value: value.to_vec(), run: None };
        }
        let (page, len) = (number(value, 0, 6), number(value, 12, 6) as usize);
        let at = page as usize * self.page_size;
        Stored {
            key,
            value: self.bytes[at..at + len].to_vec(),
            run: Some((page, len, number(value, 18, 4) as u32)),
        }
    }
}

/// Pages of a large value of less than a gigabyte: behind one of more than 16 stand four bytes for each 64 KiB.
pub fn pages_of_value(len: usize, page_size: usize) -> u64 {
    let table = if len > 16 * page_size { 4 * len.div_ceil(1 << 16) } else { 0 };
    (len + table).div_ceil(page_size) as u64
}

/// A page of a tree.
#[derive(Clone, Debug)]
pub struct Node {
    pub table: u32,
    pub level: u8,
    pub low: Vec<u8>,
    pub high: Option<Vec<u8>>,
    pub entries: u64,
    pub above: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct LiveTable {
    pub name: String,
    pub root: u64,
    pub expected: u64,
    /// Key, with the leaf it is on.
    pub entries: BTreeMap<Vec<u8>, (u64, Stored)>,
}

/// What the newest meta slot refers to.
pub struct Live {
    pub txn: u64,
    pub nodes: BTreeMap<u64, Node>,
    pub tables: BTreeMap<u32, LiveTable>,
    pub catalog_root: u64,
    pub space_page: u64,
    /// Pages of large values: table and key.
    pub large: BTreeMap<u64, (u32, Vec<u8>)>,
}

impl Live {
    pub fn of(image: &Image) -> Live {
        let slot = image.newest_slot();
        let word = |at: usize| number(&image.bytes, slot + at, 8);
        let mut live = Live {
            txn: word(56),
            nodes: BTreeMap::new(),
            tables: BTreeMap::new(),
            catalog_root: word(72),
            space_page: word(96),
            large: BTreeMap::new(),
        };
        let level = image.bytes[slot + 116];
        let mut catalog = BTreeMap::new();
        let root = Child { page: word(72), birth: word(80), entries: word(88) };
        live.tree(image, CATALOG, root, level, &mut catalog);
        for (name, (_, stored)) in catalog {
            let record = &stored.value;
            let root = Child {
                page: number(record, 8, 8),
                birth: number(record, 16, 8),
                entries: number(record, 24, 8),
            };
            let id = number(record, 4, 4) as u32;
            let mut entries = BTreeMap::new();
            live.tree(image, id, root, record[1], &mut entries);
            assert_eq!(entries.len() as u64, root.entries, "the oracle reads a table");
            let name = String::from_utf8(name).unwrap();
            live.tables.insert(id, LiveTable { name, root: root.page, expected: root.entries, entries });
        }
        live
    }

    fn tree(
        &mut self,
        image: &Image,
        table: u32,
        root: Child,
        level: u8,
        out: &mut BTreeMap<Vec<u8>, (u64, Stored)>,
    ) {
        if root.page != 0 {
            let node =
                Node { table, level, low: Vec::new(), high: None, entries: root.entries, above: Vec::new() };
            self.node(image, root, node, out);
        }
    }

    fn node(&mut self, image: &Image, child: Child, node: Node, out: &mut BTreeMap<Vec<u8>, (u64, Stored)>) {
        let bytes = image.page(child.page);
        assert!(
            image.is_whole(child.page) && number(bytes, 16, 8) == child.birth,
            "the oracle reads {child:?}"
        );
        assert_eq!((bytes[5], number(bytes, 24, 4) as u32), (node.level, node.table));
        if node.level == 0 {
            for stored in image.entries(child.page) {
                if let Some((first, len, _)) = stored.run {
                    let pages = first..first + pages_of_value(len, image.page_size);
                    self.large.extend(pages.map(|page| (page, (node.table, stored.key.clone()))));
                }
                out.insert(stored.key.clone(), (child.page, stored));
            }
        } else {
            let children = image.children(child.page);
            for (i, (separator, below)) in children.iter().enumerate() {
                let next = children.get(i + 1).map(|(separator, _)| separator.clone());
                let low = if i == 0 { node.low.clone() } else { separator.clone() };
                let above = [&node.above[..], &[child.page]].concat();
                let inside = Node {
                    table: node.table,
                    level: node.level - 1,
                    low,
                    high: next.or_else(|| node.high.clone()),
                    entries: below.entries,
                    above,
                };
                self.node(image, *below, inside, out);
            }
        }
        self.nodes.insert(child.page, node);
    }

    pub fn table_named(&self, name: &str) -> (u32, &LiveTable) {
        let found = self.tables.iter().find(|(_, table)| table.name == name);
        found.map(|(id, table)| (*id, table)).unwrap()
    }

    /// Pages of a table on a level, in order of their keys.
    pub fn on_level(&self, table: u32, level: u8) -> Vec<u64> {
        let mut pages: Vec<_> =
            self.nodes.iter().filter(|(_, node)| (node.table, node.level) == (table, level)).collect();
        pages.sort_by(|one, other| one.1.low.cmp(&other.1.low));
        pages.into_iter().map(|(page, _)| *page).collect()
    }
}

/// Every value that a key of a table (by id) had after some commit.
pub type Ever = HashMap<u32, HashMap<Vec<u8>, BTreeSet<Vec<u8>>>>;

/// A store with a history.
pub struct Fixture {
    pub image: Image,
    pub live: Live,
    pub ever: Ever,
    /// Names that ids ever had.
    pub names: BTreeMap<String, BTreeSet<u32>>,
    /// What was once at a page and whole, and is not what is there now.
    pub stale: Vec<(u64, Vec<u8>)>,
    pub contents: common::Contents,
}

/// A store that remembers.
pub struct Scribe {
    pub db: Option<Database>,
    directory: tempfile::TempDir,
    page_size: usize,
    ever: Ever,
    names: BTreeMap<String, BTreeSet<u32>>,
    seen: BTreeMap<u64, BTreeSet<Vec<u8>>>,
}

pub fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap()
}

impl Scribe {
    pub fn new(page_size: usize) -> Self {
        let directory = memory_directory();
        let options = Options::new().page_size(page_size);
        let db = Some(common::open(&options, &directory.path().join("store.maple")));
        Scribe { db, directory, page_size, ever: Ever::new(), names: BTreeMap::new(), seen: BTreeMap::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("store.maple")
    }

    pub fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    /// One commit, put down in the history; in place when `ordered`.
    pub fn write(
        &mut self,
        ordered: bool,
        change: impl FnOnce(&mut mapleaf::WriteTxn) -> mapleaf::Result<()>,
    ) {
        self.db()
            .write(|w| {
                if ordered {
                    w.set_durability(mapleaf::Durability::Ordered);
                }
                change(w)
            })
            .unwrap();
        self.note();
    }

    fn note(&mut self) {
        let txn = self.db().begin_read().unwrap();
        for info in txn.tables().unwrap() {
            self.names.entry(info.name.clone()).or_default().insert(info.id);
            let ever = self.ever.entry(info.id).or_default();
            for entry in txn.raw_table(&info.name).unwrap().unwrap().iter() {
                let (key, value) = entry.unwrap();
                ever.entry(key.to_vec()).or_default().insert(value.to_vec());
            }
        }
        drop(txn);
        let image = Image { bytes: std::fs::read(self.path()).unwrap(), page_size: self.page_size };
        for page in image.first_page()..image.pages() {
            if image.is_whole(page) {
                self.seen.entry(page).or_default().insert(image.page(page).to_vec());
            }
        }
    }

    /// The file as it is, as the death of every process leaves it.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    pub fn close(mut self) -> Fixture {
        let contents = common::contents(&self.db().begin_read().unwrap());
        self.db.take().unwrap().close().unwrap();
        let image = Image { bytes: self.bytes(), page_size: self.page_size };
        self.fixture(image, contents)
    }

    /// With its log: the oracle knows the last checkpoint; `contents` are those of the last commit.
    pub fn die(self) -> Fixture {
        let contents = common::contents(&self.db().begin_read().unwrap());
        let image = Image { bytes: self.bytes(), page_size: self.page_size };
        self.fixture(image, contents)
    }

    fn fixture(mut self, image: Image, contents: common::Contents) -> Fixture {
        let is_stale = |page: u64, bytes: &Vec<u8>| page < image.pages() && image.page(page) != &bytes[..];
        let seen = std::mem::take(&mut self.seen).into_iter();
        let stale = seen
            .flat_map(|(page, all)| all.into_iter().map(move |bytes| (page, bytes)))
            .filter(|(page, bytes)| is_stale(*page, bytes))
            .collect();
        let live = Live::of(&image);
        let (ever, names) = (std::mem::take(&mut self.ever), std::mem::take(&mut self.names));
        Fixture { image, live, ever, names, stale, contents }
    }
}

pub const NUMBERS: Table<u64, u64> = Table::new("numbers");
pub const WORDS: Table<str, [u8]> = Table::new("words");
pub const DEEP: Table<str, [u8]> = Table::new("deep");
pub const GONE: Table<str, str> = Table::new("gone");

pub fn word(i: u64) -> String {
    format!("some/common/prefix/{:06}", i * 7919 % 1_000_003)
}

pub fn value(i: u64, round: u64) -> Vec<u8> {
    let len = if i.is_multiple_of(40) { 9000 + 100 * round } else { 20 + i % 300 };
    let mut value = vec![(i * 3 + round) as u8; len as usize];
    value[..8].copy_from_slice(&(i * 1000 + round).to_le_bytes());
    value
}

/// Puts many, changes and deletes some, in several txns: old versions of pages lie about.
pub fn history(scribe: &mut Scribe, scale: u64) {
    scribe.write(true, |w| {
        for i in 0..scale {
            w.put(WORDS, &word(i)[..], &value(i, 0)[..])?;
            w.put(NUMBERS, &(i * 2), &(i * i))?;
            w.put(GONE, &word(i)[..], "was dropped")?;
        }
        Ok(())
    });
    scribe.write(true, |w| {
        (0..scale / 2).try_for_each(|i| w.put(DEEP, &word(i)[..], &[i as u8; 1500][..]).map(drop))
    });
    for round in 1..5 {
        scribe.write(round % 2 == 0, |w| {
            for i in (round..scale).step_by(29) {
                w.put(WORDS, &word(i)[..], &value(i, round)[..])?;
                w.put(NUMBERS, &(i * 2), &(i * i + round))?;
                w.delete(WORDS, &word(i + 3)[..])?;
                w.delete(NUMBERS, &(i * 2 + 6))?;
            }
            Ok(())
        });
    }
    scribe.write(true, |w| w.drop_table("gone").map(drop));
    scribe.write(true, |w| {
        w.set_user_version(77);
        w.put(NUMBERS, &1, &1).map(drop)
    });
}

/// A store that was closed.
pub fn closed(page_size: usize, scale: u64) -> Fixture {
    let mut scribe = Scribe::new(page_size);
    history(&mut scribe, scale);
    scribe.close()
}

/// A store of many small tables: its catalog has branches.
pub fn many_tables(count: u64) -> Fixture {
    let mut scribe = Scribe::new(4096);
    scribe.write(true, |w| {
        for i in 0..count {
            let name = format!("table number {i:04}");
            w.put(Table::<u64, u64>::new(Box::leak(name.into_boxed_str())), &i, &(i * 7))?;
        }
        Ok(())
    });
    scribe.write(true, |w| {
        (0..count).step_by(5).try_for_each(|i| {
            let name = format!("table number {i:04}");
            w.put(Table::<u64, u64>::new(Box::leak(name.into_boxed_str())), &(i + 1), &1).map(drop)
        })
    });
    scribe.close()
}

pub type Outcome<T> = Result<T, Error>;

impl Live {
    /// The catalog leaf of a table's record, and where the record is in it.
    pub fn record_of(image: &Image, live: &Live, name: &str) -> (u64, usize) {
        let page = live.catalog_root;
        let bytes = image.page(page);
        assert_eq!(bytes[5], 0, "a catalog of one leaf");
        let count = number(bytes, 6, 2) as usize;
        let slots = (0..count).map(|i| 32 + 4 * count + 6 * i);
        let cells = slots.map(|slot| {
            (image.page_size - number(bytes, slot, 2) as usize, number(bytes, slot + 4, 2) as usize)
        });
        let mut found = cells.filter(|(at, len)| bytes[at + len..].starts_with(name.as_bytes()));
        (page, found.next().expect("it is listed").0)
    }

    pub fn birth_of(&self, image: &Image, page: u64) -> u64 {
        number(image.page(page), 16, 8)
    }
}

pub fn tried(class: &str, test: &str, cases: impl std::fmt::Display) {
    println!("tried: {class} | {test} | {cases}");
}

pub fn first_seed() -> u64 {
    std::env::var("MAPLEAF_SEED").map_or(0, |seed| seed.parse().unwrap())
}

/// Names the seed or page when the case fails.
pub fn named<T>(what: impl std::fmt::Display, case: impl FnOnce() -> T) -> T {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            eprintln!("failed with {what}");
            std::panic::resume_unwind(panic)
        }
    }
}
