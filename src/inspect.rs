//! What each page of a store is, and its trees page by page: for tools that show a store.
//!
//! Owns: [`PageRun`], told for every page of the file once, and [`TreePage`]. It reads with system calls, past the
//! mapping, and works beside writers, as of one snapshot. Promises: however damaged or crafted a file is, each page is
//! told once and the walk ends. Leaves to others: saying what is wrong ([`crate::verify`]), and what each byte of a page
//! means ([`crate::describe`]).

use crate::catalog::{catalog_tree, find_record, listed_table};
use crate::copies::{Copies, Kept};
use crate::error::{Error, Result};
use crate::format::{ChildRef, HEADER_LEN, MAX_LEVELS, header, meta_pages};
use crate::named;
use crate::page::set::Set;
use crate::page::{Branch, LeafView, Stored, branch, leaf_used};
use crate::space::{Run, Space, Status};
use crate::tree::multi::set_tree;
use crate::tree::{Tree, expect_table};
use crate::txn::ReadTxn;

/// How closely [`ReadTxn::visit_pages`] looks, which says what it costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PageDetail {
    /// At the space records alone: what is free, pending, log. O(free extents).
    Space,
    /// At the branches of all trees too, some 1/150 of the tables' pages: tables, levels and ages.
    Branches,
    /// At every page of the trees: also how full leaves are, and whose large values and sets are where.
    Leaves,
}

/// What a page is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum PageUse {
    /// It holds the meta slots.
    Meta,
    /// In the table of tables.
    Catalog {
        /// 0: a leaf.
        level: u8,
    },
    /// In the list of stored snapshots.
    Snapshots {
        /// 0: a leaf.
        level: u8,
    },
    /// In the tree of a table.
    Table {
        /// The table's [id](crate::TableInfo::id).
        table: u32,
        /// 0: a leaf.
        level: u8,
    },
    /// In the tree of the values of one key of a multimap.
    Set {
        /// The table's id.
        table: u32,
        /// 0: a leaf.
        level: u8,
    },
    /// Of a large value.
    Value {
        /// The table's id.
        table: u32,
    },
    /// In use by what was not looked at: trees; with [`PageDetail::Branches`] large values and sets of values, which only
    /// leaves refer to; or what is behind a damaged page.
    Unread {
        /// The table's id, where there is only one that it can be of.
        table: Option<u32>,
    },
    /// Of a space record.
    Space,
    /// Of the redo log.
    Log,
    /// It can be allocated.
    Free,
    /// Free, but its blocks were given back to the system; see [`Database::trim`](crate::Database::trim).
    Hole,
    /// Given up, and needed by snapshots of the txns from `birth` up to, not including, `death`, or by the last checkpoint.
    Pending {
        /// The txn that wrote it.
        birth: u64,
        /// The txn that gave it up.
        death: u64,
    },
    /// What a reference leads to is not there, or cannot be read. [`Database::verify`](crate::Database::verify) says why.
    Damaged,
}

/// Pages that lie side by side and are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageRun {
    /// The first.
    pub first: u64,
    /// How many.
    pub pages: u64,
    /// What they are.
    pub what: PageUse,
    /// The txn that wrote them, where it is known: of what trees refer to and was looked at, and of pending pages.
    pub birth: Option<u64>,
    /// Bytes in use, headers included, of pages in trees and large values that were read.
    pub used_bytes: Option<u64>,
}

/// What a reference to a page of a tree says: see [`ReadTxn::root_page`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageRef {
    /// The page.
    pub page: u64,
    /// The txn that wrote it.
    pub birth: u64,
    /// 0: a leaf.
    pub level: u8,
    /// Entries below it; in a multimap, values.
    pub entries: u64,
    tree: Tree,
}

/// A page of a tree: see [`ReadTxn::tree_page`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TreePage {
    /// What led to it.
    pub reference: PageRef,
    /// Bytes in use, the header included.
    pub used_bytes: u64,
    /// What it holds.
    pub items: TreeItems,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

/// What a page of a tree holds, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreeItems {
    /// Of a branch: the bytes from which on keys are below each child (of the first: none, there is no bound), and the child.
    Children(Vec<(Vec<u8>, PageRef)>),
    /// Of a leaf: keys, and what is at each.
    Entries(Vec<(Vec<u8>, TreeValue)>),
}

/// What a leaf has at a key.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TreeValue {
    /// The value.
    Here(Vec<u8>),
    /// The values of a key of a multimap.
    Values(Vec<Vec<u8>>),
    /// Where a large value is.
    Large {
        /// Its first page.
        first: u64,
        /// How many pages it takes, its checksums included.
        pages: u64,
        /// Its length in bytes.
        len: u64,
        /// The txn that wrote it.
        birth: u64,
    },
    /// The tree of the values of a key of a multimap. They are its keys; their values are empty.
    Set(PageRef),
}

impl ReadTxn {
    /// Pages of the file, those of the meta slots included, as of this snapshot.
    pub fn page_count(&self) -> u64 {
        self.state().page_count
    }

    /// Tells `visit` what every page of the file is, each page once, in no particular order; what lies side by side and is
    /// the same may be told at once. Damage is not an error but told ([`PageUse::Damaged`]). Takes a bit of memory for each
    /// page of the file; [`PageDetail`] says what it reads.
    ///
    /// ```
    /// # use mapleaf::{Database, PageDetail, PageUse, Table};
    /// # const STOCK: Table<str, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// db.write(|w| w.put(STOCK, "tea", &5))?;
    /// let (mut all, mut free) = (0, 0);
    /// db.begin_read()?.visit_pages(PageDetail::Branches, &mut |run| {
    ///     all += run.pages;
    ///     free += if run.what == PageUse::Free { run.pages } else { 0 };
    /// })?;
    /// assert_eq!(free, db.stats()?.free_pages);
    /// assert_eq!(all, db.stats()?.page_count);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a stored snapshot, which does not say what the other pages are; `Corrupt` where the space
    /// records are damaged; `Forked`; `Io` where they cannot be read.
    pub fn visit_pages(&self, detail: PageDetail, visit: &mut dyn FnMut(&PageRun)) -> Result<()> {
        self.check_process()?;
        if self.is_stored() {
            let what = "a stored snapshot does not say what every page is; take the newest state";
            return Err(Error::invalid(what));
        }
        let (copies, state) = (self.copies(), *self.state());
        let space = Space::load(&Kept::new(copies), &state, copies.page_size)?;
        let mut walk = Walk::new(copies, detail, visit);
        walk.tell(PageRun::of(0, meta_pages(copies.page_size), PageUse::Meta));
        if detail > PageDetail::Space {
            walk.tree(&catalog_tree(&state, copies.page_size), Kind::Catalog);
            walk.tree(&named::snapshots_tree(&state, copies.page_size), Kind::Snapshots);
        }
        for Run { start, len } in space.record_runs() {
            walk.tell(PageRun::of(start, len, PageUse::Space));
        }
        for (run, status) in space.extents() {
            walk.tell(unused(run, status));
        }
        walk.tell_rest();
        Ok(())
    }

    /// The reference to the root of a table's tree; `None` where the table is empty. Costs a search in the catalog.
    ///
    /// ```
    /// # use mapleaf::{Database, Table, TreeItems};
    /// # const STOCK: Table<u64, u64> = Table::new("stock");
    /// # let db = Database::temporary()?;
    /// db.write(|w| (0..10_000).try_for_each(|i| w.put(STOCK, &i, &i).map(|_| ())))?;
    /// let r = db.begin_read()?;
    /// let root = r.root_page("stock")?.expect("it has entries");
    /// assert_eq!(root.entries, 10_000);
    /// let TreeItems::Children(children) = r.tree_page(&root)?.items else { panic!("no leaf") };
    /// assert_eq!(children.iter().map(|(_, child)| child.entries).sum::<u64>(), 10_000);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TableNotFound`; `Corrupt` where the catalog is damaged.
    pub fn root_page(&self, table: &str) -> Result<Option<PageRef>> {
        let page_size = self.copies().page_size;
        let Some(record) = find_record(self, &catalog_tree(self.state(), page_size), table)? else {
            return Err(Error::TableNotFound { table: table.into() });
        };
        let tree = Tree::of(&record, page_size);
        Ok((!tree.is_empty()).then(|| PageRef::root(&tree)))
    }

    /// The page that a reference leads to, with what it holds. The reference must come from this snapshot, or the page may
    /// be another one by now, which is `Corrupt`. Reads one page, with a system call.
    ///
    /// # Errors
    /// `Corrupt` when the page is not what the reference says, or is damaged; `Io` when it cannot be read; `Forked`.
    pub fn tree_page(&self, reference: &PageRef) -> Result<TreePage> {
        self.check_process()?;
        let PageRef { page, birth, level, entries, tree } = *reference;
        let bytes = fetch(&self.copies(), &tree, ChildRef { page, birth, count: entries }, level)?;
        let (items, used_bytes) = match level {
            0 => {
                let leaf = LeafView::new(&bytes)?;
                let entry = |i| entry(&tree, &leaf, page, i);
                let entries = (0..leaf.count()).map(entry).collect::<Result<_>>()?;
                (TreeItems::Entries(entries), HEADER_LEN + leaf_used(&bytes, &tree.layout))
            }
            _ => {
                let branch = Branch::new(&bytes, level)?;
                let child = |i| child(&tree, &branch, i);
                let children = (0..branch.count()).map(child).collect::<Result<_>>()?;
                (TreeItems::Children(children), branch::used(&bytes))
            }
        };
        Ok(TreePage { reference: *reference, used_bytes: used_bytes as u64, items, bytes })
    }

    fn copies(&self) -> Copies<'_> {
        let pages = &self.store().pages;
        let page_count = self.state().page_count;
        Copies { disk: &pages.disk, page_size: pages.page_size, page_count, mapped: None }
    }
}

impl PageRef {
    fn root(tree: &Tree) -> Self {
        PageRef::to(tree, tree.root, tree.level)
    }

    fn to(tree: &Tree, ChildRef { page, birth, count }: ChildRef, level: u8) -> Self {
        PageRef { page, birth, level, entries: count, tree: *tree }
    }
}

impl PageRun {
    /// A run as [`ReadTxn::visit_pages`] tells them: for testing what shows them.
    pub fn new(first: u64, pages: u64, what: PageUse, birth: Option<u64>, used_bytes: Option<u64>) -> Self {
        PageRun { first, pages, what, birth, used_bytes }
    }

    fn of(first: u64, pages: u64, what: PageUse) -> Self {
        PageRun { first, pages, what, birth: None, used_bytes: None }
    }
}

fn child(tree: &Tree, branch: &Branch<'_>, i: usize) -> Result<(Vec<u8>, PageRef)> {
    let mut separator = Vec::new();
    branch.separator(i, &mut separator)?;
    Ok((separator, PageRef::to(tree, branch.child(i)?, branch.level() - 1)))
}

fn entry(tree: &Tree, leaf: &LeafView<'_>, page: u64, i: usize) -> Result<(Vec<u8>, TreeValue)> {
    let (key, stored) = leaf.entry(i)?;
    let value = match (stored, tree.layout.set) {
        (Stored::Inline(set), Some(width)) => {
            let values = Set::read(set, width).and_then(|set| set.values().collect::<Option<Vec<_>>>());
            let values = values.ok_or_else(|| Error::corrupt(page, "not a set of values"))?;
            TreeValue::Values(values.into_iter().map(<[u8]>::to_vec).collect())
        }
        (Stored::Inline(value), None) => TreeValue::Here(value.to_vec()),
        (Stored::Overflow(run), _) => {
            let pages = run.pages(tree.layout.page_size);
            TreeValue::Large { first: run.page, pages, len: run.len, birth: run.birth }
        }
        (Stored::Set(set), _) => TreeValue::Set(PageRef::root(&set_tree(tree, &set)?)),
    };
    Ok((key.to_vec(), value))
}

/// The bytes of a page of a tree.
fn fetch(copies: &Copies<'_>, tree: &Tree, child: ChildRef, level: u8) -> Result<Vec<u8>> {
    let bytes = copies.page(child.page, child.birth)?;
    expect_table(&bytes, tree.table)?;
    match header(&bytes).level {
        found if found == level => Ok(bytes),
        found => Err(Error::corrupt(child.page, format!("level {found}, expected {level}"))),
    }
}

fn unused(Run { start, len }: Run, status: Status) -> PageRun {
    let (what, birth) = match status {
        Status::Free | Status::Quarantined => (PageUse::Free, None),
        Status::Hole => (PageUse::Hole, None),
        Status::Pending { birth, death } => (PageUse::Pending { birth, death }, Some(birth)),
        Status::Log => (PageUse::Log, None),
    };
    PageRun { birth, ..PageRun::of(start, len, what) }
}

/// What a tree is the tree of.
#[derive(Clone, Copy)]
enum Kind {
    Catalog,
    Snapshots,
    Table(u32),
    Set(u32),
}

impl Kind {
    fn page(self, level: u8) -> PageUse {
        match self {
            Kind::Catalog => PageUse::Catalog { level },
            Kind::Snapshots => PageUse::Snapshots { level },
            Kind::Table(table) => PageUse::Table { table, level },
            Kind::Set(table) => PageUse::Set { table, level },
        }
    }
}

/// Whose the pages are that nobody has told.
#[derive(Clone, Copy)]
enum Rest {
    Nobody,
    Of(u32),
    Several,
}

struct Walk<'w> {
    copies: Copies<'w>,
    detail: PageDetail,
    visit: &'w mut dyn FnMut(&PageRun),
    /// A bit for each page that was told.
    told: Vec<u64>,
    rest: Rest,
}

impl<'w> Walk<'w> {
    fn new(copies: Copies<'w>, detail: PageDetail, visit: &'w mut dyn FnMut(&PageRun)) -> Self {
        let told = vec![0; (copies.page_count as usize).div_ceil(64)];
        Walk { copies, detail, visit, told, rest: Rest::Nobody }
    }

    /// Tells a run, if it lies in the file and nothing of it was told before; says whether that is so.
    fn tell(&mut self, run: PageRun) -> bool {
        let end = run.first.checked_add(run.pages).filter(|end| *end <= self.copies.page_count);
        let Some(end) = end.filter(|end| !(run.first..*end).any(|page| self.is_told(page))) else {
            self.rest = Rest::Several;
            return false;
        };
        (run.first..end).for_each(|page| self.told[page as usize / 64] |= 1 << (page % 64));
        if run.pages > 0 {
            (self.visit)(&run);
        }
        true
    }

    fn is_told(&self, page: u64) -> bool {
        self.told[page as usize / 64] & 1 << (page % 64) != 0
    }

    fn tell_rest(&mut self) {
        let table = match self.rest {
            Rest::Of(table) if self.detail == PageDetail::Branches => Some(table),
            _ => None,
        };
        let mut page = 0;
        while page < self.copies.page_count {
            let len = (page..self.copies.page_count).take_while(|page| !self.is_told(*page)).count() as u64;
            if len > 0 {
                (self.visit)(&PageRun::of(page, len, PageUse::Unread { table }));
            }
            page += len.max(1);
        }
    }

    fn tree(&mut self, tree: &Tree, kind: Kind) {
        if tree.is_empty() {
            return;
        }
        if let (Kind::Table(table), true) = (kind, tree.overflow_pages > 0) {
            self.rest = match self.rest {
                Rest::Nobody => Rest::Of(table),
                _ => Rest::Several,
            };
        }
        if usize::from(tree.level) >= MAX_LEVELS {
            return self.damaged(tree.root.page);
        }
        self.children(tree, kind, vec![tree.root], tree.level);
    }

    fn damaged(&mut self, page: u64) {
        self.rest = Rest::Several;
        self.tell(PageRun::of(page, 1, PageUse::Damaged));
    }

    /// Tells the pages of one level below one branch, in the order of the file.
    fn children(&mut self, tree: &Tree, kind: Kind, mut children: Vec<ChildRef>, level: u8) {
        children.sort_unstable_by_key(|child| child.page);
        if level == 0 && self.detail < PageDetail::Leaves && !matches!(kind, Kind::Catalog) {
            let beside =
                |one: &ChildRef, next: &ChildRef| one.page + 1 == next.page && one.birth == next.birth;
            for run in children.chunk_by(beside) {
                let birth = Some(run[0].birth);
                let run = PageRun::of(run[0].page, run.len() as u64, kind.page(0));
                self.tell(PageRun { birth, ..run });
            }
            return;
        }
        for child in children {
            if self.page(tree, kind, child, level).is_err() {
                self.damaged(child.page);
            }
        }
    }

    /// Tells a page and what is below it.
    fn page(&mut self, tree: &Tree, kind: Kind, child: ChildRef, level: u8) -> Result<()> {
        let bytes = fetch(&self.copies, tree, child, level)?;
        let told = PageRun { birth: Some(child.birth), ..PageRun::of(child.page, 1, kind.page(level)) };
        let used = |bytes: usize| PageRun { used_bytes: Some(bytes as u64), ..told };
        if level == 0 {
            let leaf = LeafView::new(&bytes)?;
            leaf.validate(&tree.layout)?;
            if self.tell(used(HEADER_LEN + leaf_used(&bytes, &tree.layout))) {
                (0..leaf.count()).for_each(|i| self.entry(tree, kind, &leaf, i));
            }
            return Ok(());
        }
        let branch = Branch::new(&bytes, level)?;
        let children = (0..branch.count()).map(|i| branch.child(i)).collect::<Result<Vec<_>>>()?;
        if self.tell(used(branch::used(&bytes))) {
            self.children(tree, kind, children, level - 1);
        }
        Ok(())
    }

    /// Tells what an entry of a leaf refers to. What cannot be made out is left to the rest.
    fn entry(&mut self, tree: &Tree, kind: Kind, leaf: &LeafView<'_>, i: usize) {
        let page_size = self.copies.page_size;
        match (leaf.entry(i), kind) {
            (Ok((name, Stored::Inline(record))), Kind::Catalog) => {
                match listed_table(name, record, page_size) {
                    Ok((_, _, tree)) => self.tree(&tree, Kind::Table(tree.table)),
                    Err(_) => self.rest = Rest::Several,
                }
            }
            (Ok((_, Stored::Overflow(run))), Kind::Table(table)) => {
                let told = PageRun::of(run.page, run.pages(page_size), PageUse::Value { table });
                self.tell(PageRun { birth: Some(run.birth), used_bytes: Some(run.len), ..told });
            }
            (Ok((_, Stored::Set(set))), Kind::Table(table)) => match set_tree(tree, &set) {
                Ok(values) => self.tree(&values, Kind::Set(table)),
                Err(_) => self.rest = Rest::Several,
            },
            (Ok((_, Stored::Inline(_))), _) => {}
            _ => self.rest = Rest::Several,
        }
    }
}
