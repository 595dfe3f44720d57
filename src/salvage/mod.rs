//! Rescuing what is whole of a damaged file into a new one.
//!
//! Owns: [`Salvage`] and its report. Promises: the file is only read, with system calls; the new one is there whole or not
//! at all; what was recovered and what was not is said. Leaves to others: looking at every page ([`survey`]), rebuilding a
//! table ([`rebuild`]).
//!
//! Where both meta slots can be read, the newest is the root of everything, and its log is carried out in the end; only
//! what is behind damaged pages is looked for by other means. Where one cannot be, a checkpoint may be lost with it: then
//! only the pages themselves are believed, the newest births first.

pub mod rebuild;
pub mod survey;

use crate::catalog::{catalog_tree, check_entry, check_lens, check_name, check_possible, listed_table};
use crate::copies::{Copies, Kept};
use crate::create::{problems_of, slots_in};
use crate::disk::{Disk, Mapped};
use crate::error::{Error, Result};
use crate::format::{CATALOG_ID, MIN_PAGE_SIZE, Meta, RecordView, Schema, header};
use crate::lock;
use crate::log::{Log, Records};
use crate::options::Durability;
use crate::page::set::Set;
use crate::page::{LeafView, Stored};
use crate::redo::{Change, next_change};
use crate::shared::State;
use crate::space::{RunSet, Space};
use crate::tree::Tree;
use crate::txn::WriteTxn;
use crate::unfinished::Unfinished;
use crate::verify::{Behind, Progress};
use rebuild::{Found, Rebuild, Recovered, Rules, is_multi};
pub use rebuild::{Hole, LostValue};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
pub use survey::BadPage;
use survey::{Survey, Whole, guess_page_size};

/// A damaged file, and how it is to be rescued.
///
/// ```
/// # fn main() -> mapleaf::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let (path, rescued) = (directory.path().join("app.maple"), directory.path().join("rescued.maple"));
/// # const WORDS: mapleaf::Table<str, str> = mapleaf::Table::new("words");
/// # // SAFETY: only mapleaf changes the file.
/// # let db = unsafe { mapleaf::Database::open(&path)? };
/// # db.write(|w| (0..500).try_for_each(|i| w.put(WORDS, &i.to_string(), "word").map(drop)))?;
/// # db.close()?;
/// # let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
/// # std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8192], 0).unwrap();
/// // Both meta slots of app.maple are zeros: it cannot be opened any more.
/// let report = mapleaf::Salvage::of(&path)?.write_to(&rescued, &mut |_| {})?;
/// assert_eq!(report.tables[0].name, "words");
/// assert_eq!(report.tables[0].entries, 500);
/// # Ok(()) }
/// ```
pub struct Salvage {
    disk: Disk,
    len: u64,
    older_versions: bool,
}

/// What was recovered of a file, and what was not.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages of the file.
    pub page_count: u64,
    /// The checkpoint whose references were followed; `None`: it is not known which was the last.
    pub checkpoint: Option<u64>,
    /// Txns of the log that were carried out on top of it.
    pub log_txns: u64,
    /// What is wrong with the meta slots, the space records and the log.
    pub notes: Vec<String>,
    /// Pages that cannot be read, or are not whole. Pages of large values are judged with their values.
    pub bad_pages: Vec<BadPage>,
    /// The tables, in order of their names.
    pub tables: Vec<SalvagedTable>,
}

/// What was recovered of a table. Of the log's changes nothing is counted.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SalvagedTable {
    /// Its name; one that was made up from its id where the catalog has lost it.
    pub name: String,
    /// Whether the name and the types are those that it had.
    pub is_listed: bool,
    /// Types and layout.
    pub schema: Schema,
    /// Entries that were recovered, older versions included.
    pub entries: u64,
    /// Entries of them that are from older versions of lost pages, or may be: they may have been changed or deleted since.
    pub older: u64,
    /// Entries that the table had, where that is known.
    pub expected: Option<u64>,
    /// Ranges of keys of which something is lost.
    pub lost: Vec<LostRange>,
    /// Entries whose values are lost.
    pub lost_values: Vec<LostValue>,
}

/// A range of keys of which something is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LostRange {
    /// The page that is not whole.
    pub page: u64,
    /// What is wrong with it.
    pub detail: String,
    /// The keys, and how many entries there were.
    pub behind: Behind,
    /// Entries of them that were found in other pages, and are right.
    pub found: u64,
    /// Entries that were taken from older versions.
    pub older: u64,
}

impl SalvageReport {
    /// Whether nothing is known to be lost, and nothing is in doubt.
    pub fn is_complete(&self) -> bool {
        let whole = |table: &SalvagedTable| {
            table.is_listed && table.older == 0 && table.lost.is_empty() && table.lost_values.is_empty()
        };
        self.checkpoint.is_some() && self.notes.is_empty() && self.tables.iter().all(whole)
    }
}

/// Where recovered tables go.
trait Rescue {
    fn table(&mut self, name: &str, schema: &Schema) -> Result<()>;
    fn entry(&mut self, name: &str, key: &[u8], value: Recovered<'_>) -> Result<()>;
    fn user_version(&mut self, version: u64);
    /// Carries out what the log says; returns what could not be.
    fn log(&mut self, records: &Records, names: BTreeMap<u32, String>) -> Result<Vec<String>>;
}

/// Only looks whether a store would take it.
#[derive(Default)]
struct Nowhere {
    table: Option<(Schema, Tree)>,
}

impl Rescue for Nowhere {
    fn table(&mut self, name: &str, schema: &Schema) -> Result<()> {
        check_name(name)?;
        let tree = Tree::empty(0, schema.layout(MIN_PAGE_SIZE));
        self.table = Some((schema.clone(), tree));
        Ok(())
    }

    fn entry(&mut self, _: &str, key: &[u8], value: Recovered<'_>) -> Result<()> {
        let (schema, tree) = self.table.as_ref().expect("its table came first");
        match value {
            Recovered::Bytes(value) => check_entry(schema, tree, key, value),
            Recovered::Large(len, source) => {
                check_lens(schema, tree, key.len(), len as usize)?;
                let read = std::io::copy(source, &mut std::io::sink());
                read.map(drop).map_err(|error| Error::io("read a large value", error))
            }
        }
    }

    fn user_version(&mut self, _: u64) {}

    fn log(&mut self, _: &Records, _: BTreeMap<u32, String>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Rescue for WriteTxn {
    fn table(&mut self, name: &str, schema: &Schema) -> Result<()> {
        self.create_table(name, schema)
    }

    fn entry(&mut self, name: &str, key: &[u8], value: Recovered<'_>) -> Result<()> {
        match value {
            Recovered::Bytes(value) => self.raw_put_any(name, key, value),
            Recovered::Large(len, source) => self.raw_put_from(name, key, len, source).map(drop),
        }
    }

    fn user_version(&mut self, version: u64) {
        self.set_user_version(version);
    }

    fn log(&mut self, records: &Records, mut names: BTreeMap<u32, String>) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for record in records.found() {
            let mut input = records.changes(record);
            while let Some(change) = next_change(&mut input) {
                let carried = match change {
                    Ok(change) => carry_out(self, change, &mut names),
                    Err(()) => Err(Error::invalid("it cannot be read")),
                };
                match carried {
                    Err(error @ Error::Io { .. }) => return Err(error),
                    Err(error) => notes.push(format!("a change of txn {} in the log: {error}", record.txn)),
                    Ok(()) => {}
                }
            }
        }
        Ok(notes)
    }
}

fn carry_out(txn: &mut WriteTxn, change: Change<'_>, names: &mut BTreeMap<u32, String>) -> Result<()> {
    let unknown = |table: u32| Error::TableNotFound { table: format!("with id {table}") };
    match change {
        Change::Put { table, key, value } => {
            txn.raw_put_any(names.get(&table).ok_or_else(|| unknown(table))?, key, value)
        }
        Change::Delete { table, key } => {
            txn.raw_delete_any(names.get(&table).ok_or_else(|| unknown(table))?, key)
        }
        Change::DeleteValue { table, key, value } => {
            txn.raw_delete_value(names.get(&table).ok_or_else(|| unknown(table))?, key, value).map(drop)
        }
        Change::Create { name, record } => {
            let record = RecordView::parse(record).map_err(Error::invalid)?;
            txn.create_table(name, &record.schema())?;
            names.insert(record.id(), name.to_owned());
            Ok(())
        }
        Change::Drop { name } => {
            names.retain(|_, other| other != name);
            match txn.drop_table(name)? {
                true => Ok(()),
                // It may be among the tables whose names are lost.
                false => Err(Error::TableNotFound { table: name.to_owned() }),
            }
        }
        Change::Rename { from, to } => {
            txn.rename_table(from, to)?;
            names.values_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
            Ok(())
        }
        Change::UserVersion(version) => {
            txn.set_user_version(version);
            Ok(())
        }
        Change::DeleteRange { table, from, to } => {
            let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
            txn.raw_delete_range(names.get(&table).ok_or_else(|| unknown(table))?, range).map(drop)
        }
    }
}

impl Salvage {
    /// Opens the file for reading. Nobody can have it open to write meanwhile.
    ///
    /// # Errors
    /// `Busy` when somebody has it open; `NotAStore` when no page of it is whole; `Io`.
    pub fn of(path: impl AsRef<Path>) -> Result<Salvage> {
        let path = path.as_ref();
        let fail = |doing: &str, error| Error::io(format!("{doing} {}", path.display()), error);
        let file = File::open(path).map_err(|error| fail("open", error))?;
        let len = file.metadata().map_err(|error| fail("examine", error))?.size();
        lock::join(&file, lock::IMMUTABLE).map_err(|error| fail("lock", error))?;
        if !lock::is_alone_but_for(&file, Some(lock::IMMUTABLE)).map_err(|error| fail("lock", error))? {
            let detail = format!("{} is open; close it everywhere, or salvage a copy", path.display());
            return Err(Error::Busy { detail });
        }
        let mapped = Mapped::new(&file, 1)?;
        let disk = Disk::new(file, mapped, path, None, 0)?;
        Ok(Salvage { disk, len, older_versions: true })
    }

    /// Whether what is lost is replaced by older versions, where there are some (default: yes). They may have been changed
    /// or deleted since; the report says how many there are, and where.
    #[must_use]
    pub fn older_versions(mut self, older: bool) -> Self {
        self.older_versions = older;
        self
    }

    /// Reads everything and says what could be recovered. Costs two readings of what is in use.
    ///
    /// # Errors
    /// As for [`Salvage::of`].
    pub fn survey(&self, progress: &mut dyn FnMut(Progress)) -> Result<SalvageReport> {
        self.judge(progress)?.rescue(&mut Nowhere::default())
    }

    /// Writes what can be recovered to a new store. It is built beside it under the name `OUTPUT.unfinished`, and gets its name when
    /// it is on the disk. `progress` counts pages, of twice those of the file: each is looked at, and what is in use read again.
    ///
    /// # Errors
    /// As for [`Salvage::of`]; `InvalidArgument` when there is a file of either name; `Io` when it cannot be written. Nothing is left then.
    pub fn write_to(
        &self,
        output: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SalvageReport> {
        let judged = self.judge(progress)?;
        let new = Unfinished::new(output.as_ref(), judged.copies.page_size)?;
        let mut txn = new.db().begin_write()?;
        txn.set_durability(Durability::Ordered);
        let report = judged.rescue(&mut txn)?;
        txn.commit()?;
        new.finish()?;
        Ok(report)
    }

    fn judge<'s>(&'s self, progress: &'s mut dyn FnMut(Progress)) -> Result<Judged<'s>> {
        let slots = slots_in(&self.disk);
        let best =
            slots.iter().filter_map(|slot| slot.as_ref().ok()).max_by_key(|meta| meta.txn.get()).copied();
        let page_size = best.map(|meta| meta.page_size.get() as usize);
        let Some(page_size) = page_size.or_else(|| guess_page_size(&self.disk, self.len)) else {
            let path = self.disk.path().display();
            let detail =
                format!("{path}: neither a meta slot nor any page is whole; there is nothing to recover");
            return Err(Error::NotAStore { detail });
        };
        let mut notes = problems_of(&slots);
        let page_count = self.len / page_size as u64;
        let copies = Copies { disk: &self.disk, page_size, page_count, mapped: None };
        let survey =
            Survey::of(&copies, &mut |pages| progress(Progress { pages, page_count: 2 * page_count }));
        let known = best.filter(|meta| notes.is_empty() || is_newest_checkpoint(&copies, &survey, meta));
        if let Some(meta) = best.filter(|_| known.is_none()) {
            notes.push(format!(
                "pages are newer than checkpoint {}, and no meta slot tells of them",
                meta.txn
            ));
        }
        let base = known.map(|meta| Base::new(&copies, &meta, &mut notes));
        let user_version = best.map_or(0, |meta| meta.user_version.get());
        let (taken, older_versions) = (RunSet::default(), self.older_versions);
        Ok(Judged { copies, survey, base, user_version, notes, progress, taken, older_versions })
    }
}

/// Where the other slot cannot be read: whether no commit is newer than this checkpoint and its log. Every one writes a root
/// of the catalog.
fn is_newest_checkpoint(copies: &Copies<'_>, survey: &Survey, meta: &Meta) -> bool {
    let records = Log::of(meta).records(copies.disk).ok();
    let last = records.and_then(|records| records.found().last().map(|record| record.txn));
    survey.newest_commit() <= last.unwrap_or(0).max(meta.txn.get())
}

/// The checkpoint that everything is known from.
struct Base {
    state: State,
    log: Option<Records>,
    /// Pages that nothing of the checkpoint is in.
    unused: Option<RunSet>,
}

impl Base {
    fn new(copies: &Copies<'_>, meta: &Meta, notes: &mut Vec<String>) -> Base {
        let state = State::from_meta(meta);
        let log = Log::of(meta).records(copies.disk);
        let space = Space::load(&Kept::new(*copies), &state, copies.page_size);
        let log = log.inspect(|records| notes.extend(records.check().err().map(|error| error.to_string())));
        let mut note = |what: &str, error: &Error| notes.push(format!("{what}: {error}"));
        let unused = space.map(|space| {
            let mut unused = RunSet::default();
            space.extents().for_each(|(run, _)| unused.insert(run));
            unused
        });
        Base {
            state,
            log: log.map_err(|error| note("the log", &error)).ok(),
            unused: unused.map_err(|error| note("the space records", &error)).ok(),
        }
    }

    fn is_unused(&self, page: u64) -> bool {
        self.unused.as_ref().is_some_and(|unused| unused.contains(page))
    }
}

/// A file of which every page was looked at.
struct Judged<'s> {
    copies: Copies<'s>,
    survey: Survey,
    base: Option<Base>,
    /// What the newest readable slot says.
    user_version: u64,
    notes: Vec<String>,
    /// Pages of large values that were given out.
    taken: RunSet,
    progress: &'s mut dyn FnMut(Progress),
    older_versions: bool,
}

/// A table, as far as the catalog tells of it.
struct Listed {
    name: String,
    schema: Schema,
    tree: Tree,
    is_listed: bool,
    /// Whether the root is the one as of the checkpoint.
    is_current: bool,
    /// Whether only an older version of the catalog speaks of it, and nothing tells whether it is still there.
    is_doubtful: bool,
}

impl Judged<'_> {
    fn rescue(mut self, rescue: &mut dyn Rescue) -> Result<SalvageReport> {
        let listed = self.list()?;
        let names = listed.iter().map(|table| (table.tree.table, table.name.clone())).collect();
        let mut tables = Vec::new();
        for table in &listed {
            let pages =
                self.copies.page_count + self.copies.page_count * tables.len() as u64 / listed.len() as u64;
            (self.progress)(Progress { pages, page_count: 2 * self.copies.page_count });
            if table.is_doubtful && !self.older_versions {
                self.notes.push(format!(
                    "table {:?} is only in older versions of the catalog, and left out",
                    table.name
                ));
                continue;
            }
            rescue.table(&table.name, &table.schema)?;
            tables.push(self.rebuild(table, &mut |key, value, _| rescue.entry(&table.name, key, value))?);
        }
        let mut log_txns = 0;
        rescue.user_version(self.user_version);
        if let Some(Base { log: Some(log), .. }) = &self.base {
            self.notes.extend(rescue.log(log, names)?);
            log_txns = log.found().len() as u64;
        }
        Ok(SalvageReport {
            page_size: self.copies.page_size as u64,
            page_count: self.copies.page_count,
            checkpoint: self.base.as_ref().map(|base| base.state.txn),
            log_txns,
            notes: self.notes,
            bad_pages: self.survey.bad,
            tables,
        })
    }

    /// The tables of the catalog, and those that only have pages.
    fn list(&mut self) -> Result<Vec<Listed>> {
        let page_size = self.copies.page_size;
        let mut listed: Vec<Listed> = Vec::new();
        let catalog = match &self.base {
            Some(base) => catalog_tree(&base.state, page_size),
            None => Tree::empty(CATALOG_ID, Schema::bytes().layout(page_size)),
        };
        let (mut unreadable, mut ids) = (Vec::new(), BTreeSet::new());
        let (has_base, is_known) = (self.base.is_some(), self.is_known());
        let is_newest = has_base || self.survey.has_newest_catalog();
        let mut sink = |name: &[u8], record: Recovered<'_>, found: Found| {
            let record = match record {
                Recovered::Bytes(record) => record,
                // None of ours is that long.
                Recovered::Large(len, _) => {
                    unreadable.push(format!("the catalog: a record of {len} bytes"));
                    return Ok(());
                }
            };
            match listed_table(name, record, page_size) {
                // Of two names of one table the first to come is the newer.
                Ok((name, schema, tree)) => {
                    if let Err(error) = check_possible(&schema).and_then(|()| check_name(&name)) {
                        unreadable.push(format!("the catalog, table {name:?}: {error}"));
                    } else if ids.insert(tree.table) {
                        let is_current = has_base && found == Found::BelowRoot;
                        let is_doubtful = is_newest && !is_known && found == Found::Older;
                        listed.push(Listed { name, schema, tree, is_listed: true, is_current, is_doubtful });
                    }
                }
                Err(error) => unreadable.push(format!("{error}")),
            }
            Ok(())
        };
        let catalog = Listed {
            name: String::new(),
            schema: Schema::bytes(),
            tree: catalog,
            is_listed: true,
            is_current: has_base,
            is_doubtful: false,
        };
        let found = self.rebuild(&catalog, &mut sink)?;
        for table in &mut listed {
            if let Some(note) = self.believe_leaves(table) {
                unreadable.push(note);
            }
        }
        let is_whole = found.lost.is_empty() && found.lost_values.is_empty() && unreadable.is_empty();
        let is_complete = has_base && is_whole;
        self.notes.extend(unreadable);
        for lost in found.lost {
            let LostRange { page, detail, behind, found, older } = lost;
            self.notes.push(format!(
                "the catalog, page {page}: {detail}; of {} tables behind it {found} were found, and {older} in older versions",
                behind.entries
            ));
        }
        if !is_complete {
            // Where the newest catalog is there, and whole, they were dropped.
            self.add_unlisted(&mut listed, is_newest && is_whole);
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed.dedup_by(|one, other| one.name == other.name);
        Ok(listed)
    }

    /// Whether a table is a multimap its leaves say as well. Returns what is wrong where the catalog says otherwise.
    fn believe_leaves(&self, table: &mut Listed) -> Option<String> {
        let leaf = self.survey.of_table(table.tree.table).iter().find(|whole| whole.level == 0)?;
        let bytes = self.copies.whole(leaf.page).ok()?;
        let multi = is_multi(&LeafView::new(&bytes).ok()?);
        if multi == table.schema.multi {
            return None;
        }
        table.schema = Schema { multi, value_align: 1, ..table.schema.clone() };
        Some(format!(
            "the catalog, table {:?}: whether it is a multimap is not what its leaves say",
            table.name
        ))
    }

    /// Tables whose names are lost.
    fn add_unlisted(&self, listed: &mut Vec<Listed>, is_doubtful: bool) {
        for table in self.survey.tables() {
            if table == CATALOG_ID || listed.iter().any(|other| other.tree.table == table) {
                continue;
            }
            let schema = self.schema_of_leaves(table);
            let names = std::iter::once(format!("salvaged-{table}"))
                .chain((2..).map(|i| format!("salvaged-{table}-{i}")));
            let is_free = |name: &String| listed.iter().all(|other| other.name != *name);
            let name = names.into_iter().find(is_free).expect("some name is free");
            let tree = Tree::empty(table, schema.layout(self.copies.page_size));
            listed.push(Listed { name, schema, tree, is_listed: false, is_current: false, is_doubtful });
        }
    }

    /// What the leaves of a table say of its types: widths, whether it is a multimap, or nothing.
    fn schema_of_leaves(&self, table: u32) -> Schema {
        let leaf = self.survey.of_table(table).iter().find(|whole| whole.level == 0);
        let bytes = leaf.and_then(|leaf| self.copies.whole(leaf.page).ok());
        match bytes.as_deref().map(LeafView::new) {
            Some(Ok(LeafView::Fixed(leaf))) => {
                let (key, value) = leaf.widths();
                Schema { key_width: Some(key), value_width: Some(value), ..Schema::bytes() }
            }
            Some(Ok(leaf)) if is_multi(&leaf) => {
                Schema { value_width: width_in_sets(&leaf), multi: true, ..Schema::bytes() }
            }
            _ => Schema::bytes(),
        }
    }

    fn rebuild(&mut self, table: &Listed, sink: &mut rebuild::Sink<'_>) -> Result<SalvagedTable> {
        let Tree { root, level, table: id, .. } = table.tree;
        let is_root_known = match &self.base {
            Some(_) => table.is_current,
            None => table.is_listed && id != CATALOG_ID && self.is_newest(table),
        };
        let newest = self.newest();
        let Judged { copies, survey, base, taken, older_versions, .. } = self;
        let (whole, older) = (survey.of_table(id), *older_versions);
        let mut rebuild = Rebuild::new(*copies, id, table.schema.multi, taken, sink);
        match whole.first() {
            _ if is_root_known && root.page == 0 => {}
            _ if is_root_known => rebuild.walk_from(root, level)?,
            Some(first) if id == CATALOG_ID => rebuild.walk_from_newest(first)?,
            _ => rebuild.walk_from_nothing(),
        }
        let is_unused = |whole: &Whole| base.as_ref().is_some_and(|base| base.is_unused(whole.page));
        let is_late = |whole: &Whole| whole.birth > newest;
        let (first, last): (Vec<Whole>, Vec<Whole>) =
            whole.iter().partition(|whole| !is_unused(whole) && !is_late(whole));
        rebuild.fill(&first, &Rules { is_older: &|_| table.is_doubtful, older })?;
        rebuild.fill(&last, &Rules { is_older: &|_| true, older })?;
        let (entries, older) = rebuild.found;
        Ok(SalvagedTable {
            name: table.name.clone(),
            is_listed: table.is_listed,
            schema: table.schema.clone(),
            entries,
            older: if table.is_doubtful { entries } else { older },
            expected: is_root_known.then_some(root.count),
            lost: rebuild.holes.into_iter().filter_map(lost_range).collect(),
            lost_values: rebuild.lost_values,
        })
    }

    /// What is newer than this was never committed, or not as of the checkpoint.
    fn newest(&self) -> u64 {
        self.base.as_ref().map_or_else(|| self.survey.newest_commit(), |base| base.state.txn)
    }

    /// Whether it is known which pages are in use.
    fn is_known(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.unused.is_some())
    }

    /// Whether nothing of the table is newer than the root that the catalog names: every change writes a new root.
    fn is_newest(&self, table: &Listed) -> bool {
        let (root, newest) = (table.tree.root, self.newest());
        let mut whole = self.survey.of_table(table.tree.table).iter();
        whole.find(|whole| whole.birth <= newest).is_some_and(|newest| newest.birth <= root.birth)
            && self
                .copies
                .page(root.page, root.birth)
                .is_ok_and(|bytes| header(&bytes).level == table.tree.level)
    }
}

/// The width of the values in a multimap's leaf, where one of its sets tells it.
fn width_in_sets(leaf: &LeafView<'_>) -> Option<usize> {
    let set = |i| match leaf.stored(i) {
        Ok(Stored::Inline(bytes)) => Set::read_any(bytes),
        _ => None,
    };
    (0..leaf.count()).find_map(set).map(|set| set.width()).filter(|width| *width > 0)
}

/// A hole in which something is missing, unless only the root is.
fn lost_range(hole: Hole) -> Option<LostRange> {
    let Hole { page, detail, behind, found, found_older, is_older, .. } = hole;
    let is_lost = found != behind.entries || found_older > 0;
    (is_lost && !is_older).then_some(())?;
    Some(LostRange { page: page?, detail, behind, found, older: found_older })
}
