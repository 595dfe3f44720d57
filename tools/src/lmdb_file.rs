//! Files of LMDB: their newest snapshot, and the records of its trees.
//!
//! Owns: the layouts that 64-bit programs on little-endian machines write, data versions 1 to 3 (see [`Layout`]). Promises: the file is only read, by
//! system calls; whatever its bytes are, each page is used once at most, so time and memory follow what is in the file; what
//! is wrong is told with its page, what was expected and what is there. Leaves to others: what becomes of databases and
//! records ([`crate::commands::import`]).
//!
//! No lock is taken, and others may write meanwhile. A txn of LMDB leaves the pages of the two snapshots before it alone, and
//! its meta goes where that of the snapshot two before it was. So a page is as snapshot N has it while the meta of N
//! is in its place: after each page is read that is looked at, before the page is used. So a meta that was read while it was written is
//! found too. Where another meta has come the snapshot has [moved](Snapshot::has_moved), and the reader can begin again with
//! the newest one.
//!
//! A meta page, behind the header that each page has:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 4 | data version |
//! | 8 | 16 | address and size of the map |
//! | 24 | 48 | record of the tree of free pages; its first 4 bytes are the size of a page, the next 2 the flags of the environment |
//! | 72 | 48 | record of the main tree |
//! | 120 | 8 | last page |
//! | 128 | 8 | txn |
//! | 136 | 8 | lmdb-js: which boot of the machine wrote it |
//!
//! A tree's record: 4 bytes (for values of one length that length), flags (2), depth (2), pages of branches, of leaves, and of
//! overflow runs, entries, root (8 each).

use crate::failure::{Failure, Result, tell};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const MAGIC: u32 = 0xbeef_c0de;
const NOT_LMDB: &str = "expected the file or the directory of an LMDB environment, found something else";
/// The root of a tree without entries.
const NO_PAGE: u64 = u64::MAX;
/// Levels of a tree; LMDB's cursors have no more.
const MAX_DEPTH: u16 = 32;
/// Where the record of the main tree is in a meta, and where a meta ends.
const MAIN_OFFSET: usize = 72;
const META_LEN: usize = 144;
/// A tree's record.
const TREE_LEN: usize = 48;
/// In front of a node's key.
const NODE_LEN: usize = 8;
/// Values up to here are read at once.
const WHOLE_LEN: usize = 1 << 20;

/// Within which a meta is written that was begun.
const PAUSE: Duration = Duration::from_millis(5);

/// Flags of an environment: lmdb-js had not flushed it; pages are encrypted.
const UNFLUSHED: u16 = 0x1000;
const ENCRYPTED: u16 = 0x2000;

/// Flags of a page that say what it is.
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
/// A leaf of values of one length, without nodes.
const FIXED: u16 = 0x20;
const SUB_PAGE: u16 = 0x40;

/// Flags of a node.
const BIG: u16 = 0x01;
const SUB: u16 = 0x02;
const DUP: u16 = 0x04;

/// What differs between the data versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    version: u32,
    /// Bytes of a page's header. From its end backwards: bounds of the free space, or pages of a run (4 bytes), flags (2), length of
    /// fixed values (2), and where there is room the txn that wrote the page; it begins with the number of the page.
    header_len: usize,
    /// Where offsets within a page begin.
    base: usize,
    /// Whether values begin at even offsets behind their keys.
    even: bool,
}

impl Layout {
    const ALL: [Layout; 3] = [
        // LMDB 0.9.
        Layout { version: 1, header_len: 16, base: 0, even: false },
        // lmdb-js, and the development of LMDB 1.0.
        Layout { version: 2, header_len: 24, base: 24, even: false },
        // LMDB 1.0.
        Layout { version: 3, header_len: 24, base: 24, even: true },
    ];

    /// By the first bytes of a meta page.
    fn of(page: &[u8]) -> Result<Layout, String> {
        // Headers of 32-bit programs have 4 bytes less for each number.
        for header_len in [12, 16, 24] {
            let (magic, version) = (u32_at(page, header_len), u32_at(page, header_len + 4));
            if magic == MAGIC.swap_bytes() {
                return Err(
                    "LMDB as big-endian machines write it; mdb_dump -a on such a machine, and mapleaf load"
                        .into(),
                );
            }
            if magic != MAGIC {
                continue;
            }
            let version = version & 0xffff;
            let is_narrow = |layout: &Layout| {
                (layout.header_len, header_len) == (16, 12) || (layout.header_len, header_len) == (24, 16)
            };
            let mut known = Layout::ALL.into_iter().filter(|layout| layout.version == version);
            return match known.next() {
                Some(layout) if layout.header_len == header_len => Ok(layout),
                Some(layout) if is_narrow(&layout) => {
                    Err("LMDB as 32-bit programs write it; mdb_dump -a of that program, and mapleaf load"
                        .into())
                }
                _ => Err(format!(
                    "LMDB data version {version}; 1 (LMDB 0.9), 2 (lmdb-js) and 3 (LMDB 1.0) are read: mdb_dump -a of its own LMDB, and mapleaf load"
                )),
            };
        }
        Err(NOT_LMDB.into())
    }

    /// Whether pages say which txn wrote them.
    fn has_txn(self) -> bool {
        self.header_len == 24
    }
}

/// A database of LMDB.
#[derive(Clone, Debug)]
pub struct Tree {
    flags: u16,
    depth: u16,
    entries: u64,
    root: u64,
    /// Where this stands.
    page: u64,
}

impl Tree {
    fn of(record: &[u8], page: u64) -> Tree {
        Tree {
            flags: u16_at(record, 4),
            depth: u16_at(record, 6),
            entries: u64_at(record, 32),
            root: u64_at(record, 40),
            page,
        }
    }

    /// How many records it says to have.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Keys in the order of their reversed bytes.
    pub fn has_reverse_keys(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// Several values a key.
    pub fn is_multi(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// Keys are integers in the order of the machine.
    pub fn has_integer_keys(&self) -> bool {
        self.flags & 0x08 != 0
    }

    /// Values of a key are integers in the order of the machine.
    pub fn has_integer_values(&self) -> bool {
        self.is_multi() && self.flags & 0x20 != 0
    }

    /// Values of a key in the order of their reversed bytes.
    pub fn has_reverse_values(&self) -> bool {
        self.is_multi() && self.flags & 0x40 != 0
    }
}

/// What belongs to a key.
pub enum Value<'v> {
    /// A value.
    Whole(&'v [u8]),
    /// A value that is longer than a MiB.
    Long(Run<'v>),
    /// A named database: the key is its name.
    Database(Tree),
}

/// A file of LMDB.
pub struct Environment {
    file: File,
    name: String,
}

impl Environment {
    /// Opens the file, or that of the directory.
    pub fn open(path: &Path) -> Result<Environment> {
        let name = path.display().to_string();
        let wrong = |error: io::Error| Failure::elsewhere(&*name, format!("cannot read: {error}"));
        let path = if path.is_dir() { path.join("data.mdb") } else { path.to_owned() };
        // Opening another kind, a pipe perhaps, could wait for ever.
        let kind = std::fs::metadata(&path).map_err(wrong)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(Failure::elsewhere(name, "cannot read: expected a file, found something else"));
        }
        let file = File::open(&path).map_err(wrong)?;
        Ok(Environment { file, name })
    }

    /// The newest snapshot. Where one of the two metas is damaged it is that of the other, which is told. One of up to so many
    /// bytes is read now, and cannot move; where others are faster even then it has moved when it is used.
    pub fn newest(&self, in_memory: u64) -> Result<Snapshot<'_>> {
        let wrong = |what: String| Failure::elsewhere(&*self.name, what);
        let len =
            (&self.file).seek(SeekFrom::End(0)).map_err(|error| wrong(format!("cannot read: {error}")))?;
        let (first, second) = match self.metas(len) {
            // One may just be written.
            (Err(_), _) | (_, Err(_)) => {
                sleep(PAUSE);
                self.metas(len)
            }
            whole => whole,
        };
        let is_whole = Cell::new(first.is_ok() && second.is_ok());
        let slot = match (first, second) {
            (Ok(first), Ok(second)) if second.txn > first.txn => second,
            (Ok(first), Ok(_)) => first,
            (Ok(slot), Err(what)) => slot.beside(self, 1, &what),
            (Err(what), Ok(slot)) => slot.beside(self, 0, &what),
            (Err(what), Err(_)) => return Err(wrong(what)),
        };
        let slot = slot.flushed(self);
        if slot.is_encrypted() {
            return Err(wrong(
                "the environment is encrypted; let the program that has the key write it without, or as a dump for mapleaf load"
                    .into(),
            ));
        }
        let pages = (slot.last_page + 1).min(len / slot.page_size);
        let seen = RefCell::new(HashMap::new());
        let mut snapshot =
            Snapshot { env: self, slot, is_whole, pages, seen, moved: Cell::new(false), copy: None };
        let len = pages * snapshot.slot.page_size;
        if len <= in_memory {
            let mut copy = vec![0; len as usize];
            match snapshot.read_at(&mut copy, 0, 0) {
                Err(failure) if !snapshot.has_moved() => return Err(failure),
                // The first page that is asked for says it.
                Err(_) => {}
                Ok(()) => snapshot.copy = Some(copy),
            }
        }
        Ok(snapshot)
    }

    /// Both metas, or why one is none.
    fn metas(&self, len: u64) -> (Result<Slot, String>, Result<Slot, String>) {
        let first = Slot::read(self, 0, len);
        let second = match &first {
            Ok(first) => {
                Slot::read(self, first.page_size, len).and_then(|second| match second.agrees(first) {
                    true => Ok(second),
                    false => Err("its version or size of a page is not that of page 0".into()),
                })
            }
            // The size of a page is not known: the second meta has it, and lies so far from the beginning.
            Err(_) => (8..=16)
                .filter_map(|bits| Slot::read(self, 1 << bits, len).ok())
                .find(|slot| slot.offset == slot.page_size)
                .ok_or_else(String::new),
        };
        (first, second)
    }
}

/// A meta, and where it is.
struct Slot {
    offset: u64,
    /// As it was read, from the header to the end.
    bytes: Vec<u8>,
    layout: Layout,
    page_size: u64,
    flags: u16,
    main: Tree,
    last_page: u64,
    txn: u64,
}

impl Slot {
    /// The meta that begins at this offset, if it can be one.
    fn read(env: &Environment, offset: u64, len: u64) -> Result<Slot, String> {
        let bytes = Self::bytes(env, offset)?;
        let layout = Layout::of(&bytes)?;
        let slot = Self::of(bytes, offset, layout);
        slot.judge(len).and_then(|()| slot.judge_tree()).map(|()| slot)
    }

    fn bytes(env: &Environment, offset: u64) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; 24 + META_LEN];
        match env.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NOT_LMDB.into()),
            Err(error) => Err(format!("cannot read: {error}")),
        }
    }

    fn of(mut bytes: Vec<u8>, offset: u64, layout: Layout) -> Slot {
        bytes.truncate(layout.header_len + META_LEN);
        let meta = &bytes[layout.header_len..];
        let page_size = u64::from(u32_at(meta, 24));
        Slot {
            offset,
            layout,
            page_size,
            flags: u16_at(meta, 28),
            // Of the three only one does not begin in page 0.
            main: Tree::of(&meta[MAIN_OFFSET..][..TREE_LEN], u64::from(offset == page_size)),
            last_page: u64_at(meta, 120),
            txn: u64_at(meta, 128),
            bytes,
        }
    }

    /// Whether it can be a meta in this place.
    fn judge(&self, len: u64) -> Result<(), String> {
        let flags = u16_at(&self.bytes, self.layout.header_len - 6);
        if flags & META == 0 {
            return self.wrong("flags", META, flags);
        }
        if !self.page_size.is_power_of_two() || !(256..=65536.min(len)).contains(&self.page_size) {
            return self.wrong("size of a page", "a power of two from 256 to 65536", self.page_size);
        }
        // A txn writes the meta of its parity.
        if self.txn != 0 && self.txn % 2 != self.number() {
            return self.wrong(
                "txn",
                if self.number() == 0 { "an even one" } else { "an odd one" },
                self.txn,
            );
        }
        Ok(())
    }

    fn judge_tree(&self) -> Result<(), String> {
        let Tree { root, depth, .. } = self.main;
        if !(1..1 << 48).contains(&self.last_page) {
            return self.wrong("last page", "1 or more", self.last_page);
        }
        if root != NO_PAGE && !(2..=self.last_page).contains(&root) {
            return self.wrong("root", format!("2 to {}", self.last_page), root);
        }
        if depth > MAX_DEPTH || (depth == 0) != (root == NO_PAGE) {
            return self.wrong("depth", format!("at most {MAX_DEPTH}, and 0 without a root"), depth);
        }
        Ok(())
    }

    /// The page it is in.
    fn number(&self) -> u64 {
        self.main.page
    }

    fn wrong(&self, what: &str, expected: impl Display, found: impl Display) -> Result<(), String> {
        Err(damage(self.number(), what, expected, found))
    }

    fn agrees(&self, other: &Slot) -> bool {
        (self.layout, self.page_size) == (other.layout, other.page_size)
    }

    /// The other meta is damaged.
    fn beside(self, env: &Environment, number: u64, what: &str) -> Slot {
        let what = if what == NOT_LMDB { "nothing that can be one is there" } else { what };
        tell(&format!(
            "{}: the meta in page {number} is damaged ({what}); importing the state of txn {}, which the other has",
            env.name, self.txn
        ));
        self
    }

    /// lmdb-js may write its meta before the pages, and says so; what is on the disk a third meta in the middle of page 0 says.
    /// After a restart that one holds.
    fn flushed(self, env: &Environment) -> Slot {
        let boot = u64_at(&self.bytes, self.layout.header_len + 136);
        if self.layout.version != 2 || self.flags & UNFLUSHED == 0 || boot_id() == Some(boot) {
            return self;
        }
        let offset = self.page_size / 2;
        let flushed = Self::bytes(env, offset).map(|bytes| Self::of(bytes, offset, self.layout));
        match flushed {
            Ok(flushed)
                if flushed.agrees(&self)
                    && flushed.judge_tree().is_ok()
                    && (1..self.txn).contains(&flushed.txn) =>
            {
                tell(&format!(
                    "{}: importing the state of txn {}, the last that was flushed before the machine was restarted",
                    env.name, flushed.txn
                ));
                flushed
            }
            _ => self,
        }
    }

    fn is_encrypted(&self) -> bool {
        self.layout.version > 1 && self.flags & ENCRYPTED != 0
    }
}

/// What lmdb-js takes for the boot: the first part of what the system says.
fn boot_id() -> Option<u64> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u64::from_str_radix(id.split('-').next()?, 16).ok()
}

/// A state of an environment.
pub struct Snapshot<'e> {
    env: &'e Environment,
    slot: Slot,
    /// Whether nothing was told that is wrong.
    is_whole: Cell<bool>,
    /// So many of its pages are in the file.
    pages: u64,
    /// The pages that were used, 64 in each number. A file may be much longer than what is in it.
    seen: RefCell<HashMap<u64, u64>>,
    moved: Cell<bool>,
    /// Its pages, where they were read at once.
    copy: Option<Vec<u8>>,
}

impl Snapshot<'_> {
    /// The main database.
    pub fn main(&self) -> &Tree {
        &self.slot.main
    }

    /// Whether nothing was found that is wrong, but does not keep it from being read; that is told.
    pub fn is_whole(&self) -> bool {
        self.is_whole.get()
    }

    /// Whether reading stopped because its pages may have been written anew.
    pub fn has_moved(&self) -> bool {
        self.moved.get()
    }

    /// Gives the records of a tree to `visit`, in order; of keys with several values one after the other.
    pub fn records(&self, tree: &Tree, visit: &mut dyn FnMut(&[u8], Value<'_>) -> Result<()>) -> Result<()> {
        let mut found = 0;
        self.leaves(tree, &mut |page| {
            if page.kind() != LEAF {
                return page.wrong("flags", LEAF, page.kind());
            }
            for index in 0..page.count()? {
                let node = page.node(index)?;
                match node.flags & (BIG | SUB | DUP) {
                    0 => visit(node.key, Value::Whole(node.value(page)?))?,
                    BIG => self.run(page, &node)?.visit(node.key, visit)?,
                    SUB => visit(node.key, Value::Database(node.tree(page)?))?,
                    DUP if tree.is_multi() => {
                        let values = page.sub_page(&node)?;
                        values.keys(&mut |value| {
                            found += 1;
                            visit(node.key, Value::Whole(value))
                        })?;
                        continue;
                    }
                    flags if flags == DUP | SUB && tree.is_multi() => {
                        let values = node.tree(page)?;
                        let mut of_key = 0;
                        self.leaves(&values, &mut |page| {
                            page.keys(&mut |value| {
                                of_key += 1;
                                visit(node.key, Value::Whole(value))
                            })
                        })?;
                        self.counted(&values, of_key)?;
                        found += of_key;
                        continue;
                    }
                    flags => return page.wrong("flags of a node", "those of a record", flags),
                }
                found += 1;
            }
            Ok(())
        })?;
        self.counted(tree, found)
    }

    /// Compares a count with that of the tree. In tables with several values a key it does not decide: LMDB before 0.9.12
    /// counts them wrongly.
    fn counted(&self, tree: &Tree, found: u64) -> Result<()> {
        if found == tree.entries {
            return Ok(());
        }
        if !tree.is_multi() {
            return self.wrong(tree.page, "a tree's entries", tree.entries, found);
        }
        tell(&format!(
            "{}: page {}: a tree's entries: expected {}, found {found}; LMDB before 0.9.12 counts so, or the file is damaged",
            self.env.name, tree.page, tree.entries
        ));
        self.is_whole.set(false);
        Ok(())
    }

    /// Gives the leaves of a tree to `visit`, in order.
    fn leaves(&self, tree: &Tree, visit: &mut dyn FnMut(&Page<'_>) -> Result<()>) -> Result<()> {
        match tree.depth {
            0 if tree.root == NO_PAGE => Ok(()),
            1..=MAX_DEPTH => self.descend(tree.root, tree.depth, tree.page, visit),
            depth => self.wrong(tree.page, "a tree's depth", format!("1 to {MAX_DEPTH}"), depth),
        }
    }

    /// The leaves below a page, which is `level` pages from the lowest, itself included, and which `parent` refers to.
    fn descend(
        &self,
        number: u64,
        level: u16,
        parent: u64,
        visit: &mut dyn FnMut(&Page<'_>) -> Result<()>,
    ) -> Result<()> {
        self.take(number, 1, parent)?;
        let bytes = self.read(number, self.slot.page_size as usize)?;
        let page = Page { snapshot: self, number, bytes: &bytes };
        match page.kind() {
            BRANCH if level > 1 => {
                for index in 0..page.count()? {
                    self.descend(page.node(index)?.child(), level - 1, number, visit)?;
                }
                Ok(())
            }
            kind if level == 1 && kind & !FIXED == LEAF => visit(&page),
            kind => page.wrong("flags", if level > 1 { BRANCH } else { LEAF }, kind),
        }
    }

    /// The pages of a value.
    fn run<'s>(&'s self, page: &Page<'_>, node: &Node<'_>) -> Result<Run<'s>> {
        let Layout { header_len, .. } = self.slot.layout;
        // Where pages have txns the count stands beside the page.
        let pointer_len = if self.slot.layout.has_txn() { 24 } else { 8 };
        let pointer = node.rest(page, pointer_len)?;
        let number = u64_at(pointer, 0);
        self.take(number, 1, page.number)?;
        let header = self.read(number, header_len)?;
        let first = Page { snapshot: self, number, bytes: &header };
        if first.kind() != OVERFLOW {
            return first.wrong("flags", OVERFLOW, first.kind());
        }
        let count = u64::from(u32_at(&header, header_len - 4));
        let (len, page_size) = (node.len as usize, self.slot.page_size);
        let needed = (header_len as u64 + len as u64).div_ceil(page_size);
        if count < needed {
            return first.wrong("pages of a value", format!("{needed} or more"), count);
        }
        if self.slot.layout.has_txn() && u64_at(pointer, 16) != count {
            return first.wrong("pages of a value", u64_at(pointer, 16), count);
        }
        self.take(number + 1, count - 1, page.number)?;
        Ok(Run { snapshot: self, number, offset: number * page_size + header_len as u64, left: len })
    }

    /// Sees that pages are in the file, and not used yet.
    fn take(&self, first: u64, count: u64, parent: u64) -> Result<()> {
        let last = first.saturating_add(count).saturating_sub(1);
        if count > 0 && (first < 2 || last >= self.pages) {
            return self.wrong(
                parent,
                "a page that it refers to",
                format!("2 to {}", self.pages - 1),
                if first < 2 { first } else { last },
            );
        }
        let mut seen = self.seen.borrow_mut();
        for page in first..first + count {
            let (word, bit) = (seen.entry(page / 64).or_default(), 1 << (page % 64));
            if *word & bit != 0 {
                return self.wrong(
                    parent,
                    "a page that it refers to",
                    "one that is used once",
                    format!("{page} again"),
                );
            }
            *word |= bit;
        }
        Ok(())
    }

    /// The first bytes of a page that is this page.
    fn read(&self, number: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_at(&mut bytes, number * self.slot.page_size, number)?;
        if u64_at(&bytes, 0) != number {
            return self.wrong(number, "its number", number, u64_at(&bytes, 0));
        }
        if self.slot.layout.has_txn() && u64_at(&bytes, 8) > self.slot.txn {
            return self.wrong(
                number,
                "the txn that wrote it",
                format!("at most {}", self.slot.txn),
                u64_at(&bytes, 8),
            );
        }
        Ok(bytes)
    }

    /// Bytes as this snapshot has them.
    fn read_at(&self, bytes: &mut [u8], offset: u64, number: u64) -> Result<()> {
        if let Some(copy) = &self.copy {
            bytes.copy_from_slice(&copy[offset as usize..][..bytes.len()]);
            return Ok(());
        }
        let file = &self.env.file;
        let failed = |error: io::Error| {
            Failure::elsewhere(&*self.env.name, format!("page {number}: cannot read: {error}"))
        };
        file.read_exact_at(bytes, offset).map_err(failed)?;
        let slot = &self.slot;
        let mut meta = [0; 24 + META_LEN];
        let meta = &mut meta[..slot.bytes.len()];
        file.read_exact_at(meta, slot.offset).map_err(failed)?;
        if *meta == slot.bytes {
            return Ok(());
        }
        self.moved.set(true);
        Err(Failure::elsewhere(
            &*self.env.name,
            "programs that write to it have written pages anew before they were read; stop them, or import what mdb_copy makes of it",
        ))
    }

    fn wrong<T>(&self, page: u64, what: &str, expected: impl Display, found: impl Display) -> Result<T> {
        Err(Failure::elsewhere(&*self.env.name, damage(page, what, expected, found)))
    }
}

/// A page, or one within a node that has the values of its key.
struct Page<'p> {
    snapshot: &'p Snapshot<'p>,
    number: u64,
    bytes: &'p [u8],
}

impl<'p> Page<'p> {
    fn layout(&self) -> Layout {
        self.snapshot.slot.layout
    }

    fn kind(&self) -> u16 {
        let kinds = BRANCH | LEAF | OVERFLOW | META | FIXED | SUB_PAGE;
        u16_at(self.bytes, self.layout().header_len - 6) & kinds
    }

    /// How many entries it has.
    fn count(&self) -> Result<usize> {
        let Layout { header_len, base, .. } = self.layout();
        let lower = usize::from(u16_at(self.bytes, header_len - 4));
        match (header_len - base..=self.bytes.len() - base).contains(&lower) && lower % 2 == 0 {
            true => Ok((lower - (header_len - base)) / 2),
            false => self.wrong(
                "its free space",
                format!("from an even offset up to {}", self.bytes.len() - base),
                lower,
            ),
        }
    }

    /// An entry of a page that is not of fixed values.
    fn node(&self, index: usize) -> Result<Node<'p>> {
        let Layout { header_len, base, .. } = self.layout();
        let offset = base + usize::from(u16_at(self.bytes, header_len + 2 * index));
        let front = header_len + 2 * self.count()?;
        let inside = self.bytes.get(offset..).filter(|node| offset >= front && node.len() >= NODE_LEN);
        let Some(node) = inside else {
            return self.wrong(
                "place of a node",
                format!("{front} to {}", self.bytes.len() - NODE_LEN),
                offset,
            );
        };
        let key_len = usize::from(u16_at(node, 6));
        let len = u32_at(node, 0);
        let flags = u16_at(node, 4);
        match node[NODE_LEN..].split_at_checked(key_len) {
            Some((key, behind)) => Ok(Node { flags, len, key, behind }),
            None => self.wrong("length of a key", format!("at most {}", node.len() - NODE_LEN), key_len),
        }
    }

    /// Gives the keys to `visit`: of a page of fixed values these, else those of the nodes.
    fn keys(&self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let count = self.count()?;
        if self.kind() & FIXED == 0 {
            return (0..count).try_for_each(|index| visit(self.node(index)?.key));
        }
        let header_len = self.layout().header_len;
        let len = usize::from(u16_at(self.bytes, header_len - 8));
        let room = self.bytes.len() - header_len;
        if len == 0 || len * count > room {
            return self.wrong("length of a value", format!("1 to {}", room / count.max(1)), len);
        }
        self.bytes[header_len..].chunks_exact(len).take(count).try_for_each(visit)
    }

    /// The page within a node.
    fn sub_page<'n>(&'n self, node: &Node<'n>) -> Result<Page<'n>> {
        let bytes = node.value(self)?;
        if bytes.len() < self.layout().header_len {
            return self.wrong(
                "length of a page in a node",
                format!("{} or more", self.layout().header_len),
                bytes.len(),
            );
        }
        let page = Page { bytes, ..*self };
        match page.kind() & !FIXED == LEAF | SUB_PAGE {
            true => Ok(page),
            false => self.wrong("flags of a page in a node", LEAF | SUB_PAGE, page.kind()),
        }
    }

    fn wrong<T>(&self, what: &str, expected: impl Display, found: impl Display) -> Result<T> {
        self.snapshot.wrong(self.number, what, expected, found)
    }
}

/// An entry of a page.
struct Node<'p> {
    flags: u16,
    /// Bytes of the value; of a branch a part of the child.
    len: u32,
    key: &'p [u8],
    behind: &'p [u8],
}

impl<'p> Node<'p> {
    /// The page below.
    fn child(&self) -> u64 {
        u64::from(self.flags) << 32 | u64::from(self.len)
    }

    fn value(&self, page: &Page<'_>) -> Result<&'p [u8]> {
        self.rest(page, self.len as usize)
    }

    /// So many bytes behind the key.
    fn rest(&self, page: &Page<'_>, len: usize) -> Result<&'p [u8]> {
        let gap = if page.layout().even { self.key.len() % 2 } else { 0 };
        match self.behind.get(gap..).and_then(|behind| behind.get(..len)) {
            Some(value) => Ok(value),
            None => page.wrong(
                "length of a value",
                format!("at most {}", self.behind.len().saturating_sub(gap)),
                len,
            ),
        }
    }

    fn tree(&self, page: &Page<'_>) -> Result<Tree> {
        let record = self.value(page)?;
        match record.len() {
            TREE_LEN => Ok(Tree::of(record, page.number)),
            len => page.wrong("length of a tree's record", TREE_LEN, len),
        }
    }
}

/// A value in pages of its own.
pub struct Run<'s> {
    snapshot: &'s Snapshot<'s>,
    number: u64,
    offset: u64,
    left: usize,
}

impl Run<'_> {
    /// Bytes that were not read yet.
    pub fn len(&self) -> u64 {
        self.left as u64
    }

    fn visit(mut self, key: &[u8], visit: &mut dyn FnMut(&[u8], Value<'_>) -> Result<()>) -> Result<()> {
        if self.left > WHOLE_LEN {
            return visit(key, Value::Long(self));
        }
        let mut value = vec![0; self.left];
        self.fill(&mut value)?;
        visit(key, Value::Whole(&value))
    }

    /// The next bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.snapshot.read_at(bytes, self.offset, self.number)?;
        self.offset += bytes.len() as u64;
        self.left -= bytes.len();
        Ok(())
    }
}

impl Read for Run<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.left);
        self.fill(&mut bytes[..len]).map_err(|failure| io::Error::other(failure.message()))?;
        Ok(len)
    }
}

/// What is wrong with a page.
fn damage(page: u64, what: &str, expected: impl Display, found: impl Display) -> String {
    format!(
        "page {page}: {what}: expected {expected}, found {found}; the file is damaged: import a backup of it"
    )
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("as many bytes as were taken")
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "opening LMDB")]

    use super::*;
    use heed::types::Bytes;
    use heed::{EnvFlags, EnvOpenOptions};

    fn values(snapshot: &Snapshot<'_>) -> Result<Vec<Vec<u8>>> {
        let mut values = Vec::new();
        snapshot.records(snapshot.main(), &mut |_, value| match value {
            Value::Whole(value) => {
                values.push(value.to_vec());
                Ok(())
            }
            _ => panic!("no such value was put"),
        })?;
        Ok(values)
    }

    #[test]
    fn a_snapshot_is_whole_until_its_pages_may_be_reused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.mdb");
        let mut options = EnvOpenOptions::new();
        // SAFETY: the flag breaks none of LMDB's rules.
        unsafe { options.flags(EnvFlags::NO_SUB_DIR) };
        // SAFETY: nobody but LMDB changes the file.
        let lmdb = unsafe { options.open(&path) }.unwrap();
        let write = |value: u8| {
            let mut txn = lmdb.write_txn().unwrap();
            let table = lmdb.create_database::<Bytes, Bytes>(&mut txn, None).unwrap();
            (0..100_u8).for_each(|key| table.put(&mut txn, &[key], &[value; 200]).unwrap());
            txn.commit().unwrap();
        };
        write(1);
        write(2);
        let env = Environment::open(dir.path()).unwrap();
        let snapshot = env.newest(0).unwrap();
        write(3);
        assert_eq!(values(&snapshot).unwrap(), vec![vec![2; 200]; 100]);

        let (snapshot, copied) = (env.newest(0).unwrap(), env.newest(1 << 20).unwrap());
        write(4);
        // The next one to write may take its pages, and that it has not begun yet nobody knows.
        write(5);
        assert!(
            values(&snapshot)
                .unwrap_err()
                .message()
                .contains("have written pages anew before they were read")
        );
        assert!(snapshot.has_moved());
        assert_eq!(values(&copied).unwrap(), vec![vec![3; 200]; 100]);
        assert_eq!(values(&env.newest(0).unwrap()).unwrap(), vec![vec![5; 200]; 100]);
    }
}
