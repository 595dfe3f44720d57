//! Transactions: a snapshot to read, or the turn to write.
//!
//! Owns: [`ReadTxn`], [`WriteTxn`], [`Savepoint`], [`Nested`]. Promises: a snapshot is what one commit left,
//! unchanged for as long as it is held; a write txn is seen by nobody until it is committed, whole,
//! and leaves nothing when it is dropped. Leaves to others: trees ([`crate::tree`]), the order of the
//! commit ([`crate::commit`]), whose turn it is ([`crate::store`]).

pub(crate) mod cursor;
pub(crate) mod entry;
pub(crate) mod nested;
pub(crate) mod removed;
mod diff;
mod large;
mod stored;

use crate::catalog::{
    TableInfo, catalog_tree, check_entry, check_name, check_possible, find_record, list_tables,
};
use crate::codec::{Codec, Encode, Key, KeyRange};
use crate::commit::{self, Changed, Changes, Failure, record_of};
use crate::dirty::{Dirty, Mark};
use crate::error::{Error, Result};
use crate::fork;
use crate::format::{OverflowRef, RecordView, SNAPSHOTS_ID, Schema, ShortRef};
use crate::group::Ticket;
use crate::multi::{MultiTable, MultiView, Values};
use crate::named;
use crate::options::Durability;
use crate::recover::recover;
use crate::redo::{Change, Redo};
use crate::shared::{Pin, State};
use crate::snapshot::{Advice, PageSource};
use crate::space::Space;
use crate::store::{Store, Wait, Writer};
use crate::table::cursor::Cursor;
use crate::table::{KeyValue, Range, Table, TableView, ValueReader, schema_of};
use crate::tree::insert::Put;
use crate::tree::{Tree, insert, remove};
use std::any::TypeId;
use std::ops::RangeBounds;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

pub(crate) mod bulk;
pub(crate) mod compact;
mod convenience;
pub(crate) mod convert;
mod delete_range;
pub(crate) mod migrate;
mod multi;
pub(crate) mod trim;

/// The table's stored schema must be the caller's. A table of bytes is what the tool makes; it does
/// not pass for another type either.
fn check_schema<K: Key + ?Sized, V: Codec + ?Sized>(name: &str, stored: &Schema) -> Result<()> {
    let requested = schema_of::<K, V>();
    if *stored == requested {
        return Ok(());
    }
    Err(stored.mismatch(name, &requested))
}

/// The same for a catalog entry, without copying its names.
fn check_record<K: Key + ?Sized, V: Codec + ?Sized>(name: &str, record: &RecordView<'_>) -> Result<()> {
    let same = record.key_type == K::type_name()
        && record.value_type == V::type_name()
        && record.key_width() == K::WIDTH
        && record.value_width() == V::WIDTH
        && record.value_align() == V::ALIGN
        && !record.is_multi();
    if same { Ok(()) } else { check_schema::<K, V>(name, &record.schema()) }
}

/// Reading methods, the same for snapshots and write txns.
macro_rules! reading {
    () => {
        /// A table, for several reads: the lookup by name is done once.
        ///
        /// # Errors
        /// `SchemaMismatch` when it is stored with other types.
        pub fn table<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
        ) -> Result<TableView<'_, K, V>> {
            Ok(TableView::new(self, self.tree(table)?))
        }

        /// A table as raw bytes, whatever its types; `None` when there is no such table.
        ///
        /// # Errors
        /// `Corrupt` where the catalog is damaged, `InvalidArgument` where it is a multimap.
        pub fn raw_table(&self, name: &str) -> Result<Option<TableView<'_, [u8], [u8]>>> {
            let Some(tree) = self.table_tree(name)? else { return Ok(None) };
            multi::expect_single(name, tree.layout.set.is_some())?;
            Ok(Some(TableView::new(self, tree)))
        }

        /// The value at `key`. O(log n). See [`TableView::get`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`, `Decode`.
        #[inline]
        pub fn get<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<Option<V::View<'_>>> {
            TableView::<K, V>::new(self, self.tree(table)?).get(key)
        }

        /// Length in bytes of the encoded value at `key`. See [`TableView::value_len`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn value_len<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<Option<u64>> {
            self.table(table)?.value_len(key)
        }

        /// Part of the encoded value at `key`; the rest of it is not touched. See [`TableView::get_part`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn get_part<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
            part: impl RangeBounds<u64>,
        ) -> Result<Option<&[u8]>> {
            self.table(table)?.get_part(key, part)
        }

        /// The encoded value at `key` as an `io::Read` and `io::Seek`. See [`TableView::value_reader`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn value_reader<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<Option<ValueReader<'_>>> {
            self.table(table)?.value_reader(key)
        }

        /// The values at several keys. See [`TableView::get_many`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`, `Decode`.
        pub fn get_many<K: Key + ?Sized, V: Codec + ?Sized, Q: Encode<K>>(
            &self,
            table: Table<K, V>,
            keys: &[Q],
        ) -> Result<Vec<Option<V::View<'_>>>> {
            self.table(table)?.get_many(keys)
        }

        /// The entries with keys in `range`, from either end. See [`TableView::range`].
        ///
        /// # Errors
        /// `SchemaMismatch`; the steps have errors of their own.
        pub fn range<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            range: impl KeyRange<K>,
        ) -> Result<Range<'_, K, V>> {
            Ok(self.table(table)?.range(range))
        }

        /// All entries, from either end.
        ///
        /// # Errors
        /// `SchemaMismatch`; the steps have errors of their own.
        pub fn iter<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
        ) -> Result<Range<'_, K, V>> {
            Ok(self.table(table)?.iter())
        }

        /// A cursor, which stands before the first entry. See [`Cursor`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn cursor<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
        ) -> Result<Cursor<'_, K, V>> {
            self.table(table)?.cursor()
        }

        /// The first entry. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`, `Decode`.
        pub fn first<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
        ) -> Result<Option<KeyValue<'_, K, V>>> {
            self.table(table)?.first()
        }

        /// The last entry. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`, `Decode`.
        pub fn last<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
        ) -> Result<Option<KeyValue<'_, K, V>>> {
            self.table(table)?.last()
        }

        /// Number of entries. O(1) once the table was looked up.
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn len<K: Key + ?Sized, V: Codec + ?Sized>(&self, table: Table<K, V>) -> Result<u64> {
            Ok(self.table(table)?.len())
        }

        /// Number of entries with keys in `range`. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn count<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            range: impl KeyRange<K>,
        ) -> Result<u64> {
            self.table(table)?.count(range)
        }

        /// The entry with this rank, counted from 0. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`, `Decode`.
        pub fn nth<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            rank: u64,
        ) -> Result<Option<KeyValue<'_, K, V>>> {
            self.table(table)?.nth(rank)
        }

        /// Number of entries with keys below `key`. O(log n).
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`.
        pub fn rank<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<u64> {
            self.table(table)?.rank(key)
        }

        /// A multimap, for several reads: the lookup by name is done once.
        ///
        /// # Errors
        /// `SchemaMismatch` when it is stored with other types.
        pub fn multi<K: Key + ?Sized, V: Key + ?Sized>(
            &self,
            table: MultiTable<K, V>,
        ) -> Result<MultiView<'_, K, V>> {
            Ok(MultiView::new(self, self.multi_tree(table)?))
        }

        /// A multimap as raw bytes, whatever its types; `None` when there is no such table.
        ///
        /// # Errors
        /// `Corrupt` where the catalog is damaged, `InvalidArgument` where it is no multimap.
        pub fn raw_multi(&self, name: &str) -> Result<Option<MultiView<'_, [u8], [u8]>>> {
            let Some(tree) = self.table_tree(name)? else { return Ok(None) };
            multi::expect_multi(name, tree.layout.set.is_some())?;
            Ok(Some(MultiView::new(self, tree)))
        }

        /// The values of a multimap's key, in order. See [`MultiView::values`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `Corrupt`; the steps have errors of their own.
        pub fn values<K: Key + ?Sized, V: Key + ?Sized>(
            &self,
            table: MultiTable<K, V>,
            key: &(impl Encode<K> + ?Sized),
        ) -> Result<Values<'_, V>> {
            self.multi(table)?.values(key)
        }

        /// Divides the entries with keys in `range` into `parts` of equal size, for as many threads. See
        /// [`TableView::split`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `InvalidArgument` for no parts, `Corrupt`.
        pub fn split<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            range: impl KeyRange<K>,
            parts: usize,
        ) -> Result<Vec<Range<'_, K, V>>> {
            self.table(table)?.split(range, parts)
        }

        /// Draws `n` entries at random, with the random numbers of `below`. See [`TableView::sample`].
        ///
        /// # Errors
        /// `SchemaMismatch`, `InvalidArgument` for a number that is too large, `Corrupt`, `Decode`.
        pub fn sample<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            n: usize,
            below: impl FnMut(u64) -> u64,
        ) -> Result<Vec<KeyValue<'_, K, V>>> {
            self.table(table)?.sample(n, below)
        }

        /// The same of different entries, in order of their keys. See [`TableView::sample_distinct`].
        ///
        /// # Errors
        /// Those of `sample`.
        pub fn sample_distinct<K: Key + ?Sized, V: Codec + ?Sized>(
            &self,
            table: Table<K, V>,
            n: usize,
            below: impl FnMut(u64) -> u64,
        ) -> Result<Vec<KeyValue<'_, K, V>>> {
            self.table(table)?.sample_distinct(n, below)
        }
    };
}

/// A snapshot: what one commit left, unchanged for as long as this lives.
///
/// Beginning one takes no system call, no lock and no allocation once this process has a reader slot
/// free. It can be sent to and shared between threads. What it returns borrows from the mapping, for as
/// long as the txn lives; pages that it can see are not reused meanwhile, so drop it when done.
pub struct ReadTxn {
    store: Arc<Store>,
    /// Its slot; `None` when a descriptor pins it.
    pin: Option<Pin>,
    /// The generation of the process that is known to hold the pin.
    generation: AtomicU64,
    has_label: bool,
    /// Whether it is of a stored snapshot.
    is_stored: bool,
    state: State,
    /// Made with the first table, so that beginning writes little memory.
    cache: OnceLock<Box<[OnceLock<CachedTable>; 4]>>,
}

struct CachedTable {
    name: &'static str,
    types: TypeId,
    tree: Tree,
}

impl PageSource for ReadTxn {
    #[inline(always)]
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
        self.check_process()?;
        self.store.pages.read(page, birth, self.state.page_count)
    }

    #[inline(always)]
    fn known(&self, short: ShortRef) -> Option<&[u8]> {
        if self.check_process().is_err() {
            return None;
        }
        self.store.pages.known(short, self.state.page_count)
    }

    #[inline]
    fn prefetch(&self, page: u64) {
        self.store.pages.prefetch(page, self.state.page_count);
    }

    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
        self.check_process()?;
        // Unlike a page, a value does not say which version it is.
        self.store.heed_upsets();
        self.store.pages.read_overflow(run, self.state.page_count)
    }

    fn overflow_part(&self, run: &OverflowRef, part: std::ops::Range<u64>) -> Result<&[u8]> {
        self.check_process()?;
        self.store.heed_upsets();
        self.store.pages.read_part(run, part, self.state.page_count)
    }

    fn prefetch_all(&self, page: u64, birth: u64) -> bool {
        self.store.pages.prefetch_all(page, birth, self.state.page_count)
    }

    fn is_touched(&self, page: u64, birth: u64) -> bool {
        self.store.pages.is_touched(page, birth)
    }

    fn read_ahead(&self, pages: &mut [u64], expected: u64) {
        self.store.pages.read_ahead(pages, self.state.page_count, expected);
    }

    fn is_value_touched(&self, run: &OverflowRef) -> bool {
        self.store.pages.is_value_touched(run)
    }

    fn let_go(&self, runs: &mut [(u64, u64)]) {
        self.store.pages.let_go(runs, self.state.page_count);
    }

    fn advice(&self) -> Advice {
        self.store.pages.advice
    }
}

impl ReadTxn {
    #[inline]
    pub(crate) fn begin(store: Arc<Store>) -> Result<Self> {
        let (pin, state) = store.readers.pin()?;
        ReadTxn::of(store, Some(pin), state)
    }

    /// The snapshot of a state that is pinned.
    #[inline]
    pub(crate) fn of(store: Arc<Store>, pin: Option<Pin>, state: State) -> Result<Self> {
        store.heed_upsets();
        let pages = &store.pages;
        if let Err(error) = pages.disk.admit(state.page_count.saturating_mul(pages.page_size as u64)) {
            pin.into_iter().for_each(|pin| store.unpin(pin, state.txn));
            return Err(error);
        }
        let generation = AtomicU64::new(store.generation());
        Ok(ReadTxn {
            pin,
            generation,
            has_label: false,
            is_stored: false,
            state,
            cache: OnceLock::new(),
            store,
        })
    }

    /// In a forked process the pin may be the parent's alone; then nothing keeps the pages for this one.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        match self.generation.load(Relaxed) == fork::generation() {
            true => Ok(()),
            false => self.check_heritage(),
        }
    }

    #[cold]
    fn check_heritage(&self) -> Result<()> {
        if self.pin.is_some_and(|pin| self.store.inherited(pin, self.state.txn).is_none()) {
            return Err(Error::Forked);
        }
        self.generation.store(fork::generation(), Relaxed);
        Ok(())
    }

    /// Names the snapshot for [`Database::readers`](crate::Database::readers): up to 48 bytes are kept.
    pub fn set_label(&mut self, label: &str) {
        if let Some(pin) = self.pin.filter(|_| self.store.is_own_process()) {
            self.has_label = true;
            self.store.readers.set_label(pin, label);
        }
    }

    /// The txn whose state this is.
    pub fn txn_id(&self) -> u64 {
        self.state.txn
    }

    /// The application's own number, as of this snapshot.
    pub fn user_version(&self) -> u64 {
        self.state.user_version
    }

    /// All tables, in order of their names.
    ///
    /// # Errors
    /// `Corrupt` where the catalog is damaged.
    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        let tables = list_tables(self, &self.catalog())?.into_iter();
        Ok(tables.map(|(name, schema, tree)| TableInfo::new(name, schema, &tree)).collect())
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether it is of a stored snapshot.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Whether a descriptor pins it, and not a slot of this process.
    pub(crate) fn is_imported(&self) -> bool {
        self.pin.is_none()
    }

    fn catalog(&self) -> Tree {
        catalog_tree(&self.state, self.store.pages.page_size)
    }

    #[inline(always)]
    fn cached(&self, name: &'static str, types: TypeId) -> Option<Tree> {
        for place in self.cache.get().into_iter().flat_map(|cache| cache.iter()) {
            let cached = place.get()?;
            let same_name = std::ptr::eq(cached.name, name) || cached.name == name;
            if same_name && cached.types == types {
                return Some(cached.tree);
            }
        }
        None
    }

    #[inline]
    fn tree<K: Key + ?Sized, V: Codec + ?Sized>(&self, table: Table<K, V>) -> Result<Tree> {
        match self.cached(table.name(), table.type_id()) {
            Some(tree) => Ok(tree),
            None => self.look_up(table),
        }
    }

    #[cold]
    fn look_up<K: Key + ?Sized, V: Codec + ?Sized>(&self, table: Table<K, V>) -> Result<Tree> {
        let page_size = self.store.pages.page_size;
        let tree = match find_record(self, &self.catalog(), table.name())? {
            Some(record) => {
                check_record::<K, V>(table.name(), &record)?;
                Tree::of(&record, page_size)
            }
            None => Tree::empty(0, schema_of::<K, V>().layout(page_size)),
        };
        self.keep(table.name(), table.type_id(), tree);
        Ok(tree)
    }

    fn keep(&self, name: &'static str, types: TypeId, tree: Tree) {
        let mut cached = CachedTable { name, types, tree };
        for place in self.cache.get_or_init(Default::default).iter() {
            match place.set(cached) {
                Ok(()) => break,
                Err(rejected) => cached = rejected,
            }
        }
    }

    fn table_tree(&self, name: &str) -> Result<Option<Tree>> {
        let record = find_record(self, &self.catalog(), name)?;
        Ok(record.map(|record| Tree::of(&record, self.store.pages.page_size)))
    }

    reading!();
}

impl Drop for ReadTxn {
    fn drop(&mut self) {
        let Some(pin) = self.pin else { return };
        if self.has_label && self.store.is_own_process() {
            self.store.readers.set_label(pin, "");
        }
        self.store.unpin(pin, self.state.txn);
    }
}

impl std::fmt::Debug for ReadTxn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadTxn of txn {}", self.state.txn)
    }
}

#[derive(Clone)]
struct OpenTable {
    name: String,
    schema: Schema,
    /// The types that were found to match.
    types: Option<TypeId>,
    tree: Tree,
    /// The tree as the catalog has it.
    stored: Tree,
}

/// The tables that a txn has opened. Its own, so that a put looks at no count of references, until a
/// savepoint shares them.
enum OpenTables {
    Own(Vec<OpenTable>),
    Shared(Arc<Vec<OpenTable>>),
}

impl OpenTables {
    #[inline]
    fn to_mut(&mut self) -> &mut Vec<OpenTable> {
        if let OpenTables::Shared(tables) = self {
            *self = OpenTables::Own(Arc::unwrap_or_clone(std::mem::take(tables)));
        }
        match self {
            OpenTables::Own(tables) => tables,
            OpenTables::Shared(_) => unreachable!("they were just copied"),
        }
    }

    fn share(&mut self) -> Arc<Vec<OpenTable>> {
        let tables = match self {
            OpenTables::Own(tables) => Arc::new(std::mem::take(tables)),
            OpenTables::Shared(tables) => Arc::clone(tables),
        };
        *self = OpenTables::Shared(Arc::clone(&tables));
        tables
    }
}

impl std::ops::Deref for OpenTables {
    type Target = Vec<OpenTable>;

    fn deref(&self) -> &Vec<OpenTable> {
        match self {
            OpenTables::Own(tables) => tables,
            OpenTables::Shared(tables) => tables,
        }
    }
}

struct Saved {
    id: u64,
    mark: Mark,
    /// Whether a nested txn begins here.
    is_nested: bool,
    catalog: Tree,
    tables: Arc<Vec<OpenTable>>,
    next_table: u32,
    user_version: u64,
    snapshots: named::Changes,
    redo: usize,
}

/// A point in a write txn to which it can be rolled back. Costs O(1) to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint {
    id: u64,
}

/// The turn to write: one at a time, in all processes together.
///
/// Changes are seen by this txn's own reads, and by nobody else before [`WriteTxn::commit`]. Dropping
/// it undoes everything. It may be sent to another thread. What it returns borrows from it, so a value
/// cannot be held across a change. (`mem::forget` keeps the turn until the process ends.)
pub struct WriteTxn {
    dirty: Dirty,
    writer: Option<Writer>,
    catalog: Tree,
    tables: OpenTables,
    next_table: u32,
    user_version: u64,
    /// The list of stored snapshots, without what its commit does to it.
    named: Tree,
    /// Which snapshots its commit makes and drops.
    snapshots: named::Changes,
    redo: Redo,
    durability: Durability,
    saved: Vec<Saved>,
    poisoned: bool,
    /// Within a change. Outside of one: a panic has ended it, and nothing is known about what is in memory.
    changing: bool,
    committing: bool,
}

/// Numbers savepoints over all txns of the process, so that one never passes for another's.
static SAVEPOINTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl WriteTxn {
    pub(crate) fn begin(store: &Arc<Store>, wait: Wait) -> Result<Option<Self>> {
        let Some(writer) = store.begin_writer(wait)? else { return Ok(None) };
        let mut turn = Turn { store, writer: Some(writer) };
        let (state, failures) = prepare(store, turn.writer.as_mut().expect("just begun"))?;
        let mut writer = turn.writer.take().expect("just begun");
        let page_size = store.pages.page_size;
        let space = writer.space.take().unwrap_or_else(|| Space::empty(page_size));
        let heap = std::mem::take(&mut writer.heap);
        let mut dirty = Dirty::new(Arc::clone(store), state, writer.next_txn, space, heap);
        dirty.failures = failures;
        dirty.stored.clone_from(&writer.stored.1);
        store.counters().begun_txns.add(1);
        Ok(Some(WriteTxn {
            dirty,
            writer: Some(writer),
            catalog: catalog_tree(&state, page_size),
            tables: OpenTables::Own(Vec::new()),
            next_table: state.next_table,
            user_version: state.user_version,
            named: named::snapshots_tree(&state, page_size),
            snapshots: named::Changes::new(),
            redo: Redo::new((store.log_limit(&state) as usize).min(store.config.dirty_limit / 4)),
            durability: store.config.durability,
            saved: Vec::new(),
            poisoned: false,
            changing: false,
            committing: false,
        }))
    }

    /// Runs `write` in a txn and commits that.
    pub(crate) fn run<T>(store: &Arc<Store>, write: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        let mut txn = WriteTxn::begin_waiting(store)?;
        let value = write(&mut txn)?;
        txn.commit()?;
        Ok(value)
    }

    /// Begins when it is its turn.
    pub(crate) fn begin_waiting(store: &Arc<Store>) -> Result<Self> {
        Ok(WriteTxn::begin(store, Wait::Forever)?.expect("waits until it is its turn"))
    }

    /// The txn id that a commit will get.
    pub fn txn_id(&self) -> u64 {
        self.dirty.txn
    }

    /// What the commit of this txn promises, in place of [`Options::durability`](crate::Options::durability).
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// What the commit of this txn promises.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// What the store's options say.
    pub(crate) fn reset_durability(&mut self) {
        self.durability = self.dirty.store.config.durability;
    }

    // ---- changing ----

    /// Puts `value` at `key`. Returns whether it replaced one. The table is created if need be.
    /// O(log n): copies the path once per txn.
    ///
    /// # Errors
    /// `SchemaMismatch`, `KeyTooLong`, `ValueTooLong`, `WrongWidth`: nothing is changed. `Corrupt`, `Io`,
    /// `Full`: the txn can only be aborted.
    pub fn put<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        let index = self.open_or_create(table)?;
        let put = self.put_at(index, key.encode().as_ref(), value.encode().as_ref(), true)?;
        Ok(put == Put::Replaced)
    }

    /// Puts `value` at `key` unless there is one. Returns whether it was put.
    ///
    /// # Errors
    /// As for [`WriteTxn::put`].
    pub fn put_new<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        value: &(impl Encode<V> + ?Sized),
    ) -> Result<bool> {
        let index = self.open_or_create(table)?;
        let put = self.put_at(index, key.encode().as_ref(), value.encode().as_ref(), false)?;
        Ok(put == Put::Inserted)
    }

    /// Removes the entry at `key`. Returns whether there was one. O(log n).
    ///
    /// # Errors
    /// `SchemaMismatch`: nothing is changed. `Corrupt`, `Io`, `Full`: the txn can only be aborted.
    pub fn delete<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
    ) -> Result<bool> {
        match self.open(table)? {
            Some(index) => self.delete_at(index, key.encode().as_ref()),
            None => Ok(false),
        }
    }

    /// Like [`WriteTxn::put`], of raw bytes into an existing table of any types.
    ///
    /// # Errors
    /// `TableNotFound`, `InvalidArgument` for a multimap, and those of [`WriteTxn::put`]. The bytes are not checked against the types.
    pub fn raw_put(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<bool> {
        let index = self.open_raw_single(table)?;
        Ok(self.put_at(index, key, value, true)? == Put::Replaced)
    }

    /// Like [`WriteTxn::put_new`], of raw bytes into an existing table of any types.
    ///
    /// # Errors
    /// `TableNotFound`, `InvalidArgument` for a multimap, and those of [`WriteTxn::put`]. The bytes are not checked against the types.
    pub fn raw_put_new(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<bool> {
        let index = self.open_raw_single(table)?;
        Ok(self.put_at(index, key, value, false)? == Put::Inserted)
    }

    /// Like [`WriteTxn::delete`], by raw bytes in an existing table of any types.
    ///
    /// # Errors
    /// `TableNotFound`, `InvalidArgument` for a multimap, and those of [`WriteTxn::delete`].
    pub fn raw_delete(&mut self, table: &str, key: &[u8]) -> Result<bool> {
        let index = self.open_raw_single(table)?;
        self.delete_at(index, key)
    }

    fn put_at(&mut self, index: usize, key: &[u8], value: &[u8], replace: bool) -> Result<Put> {
        self.not_poisoned()?;
        check_entry(&self.tables[index].schema, &self.tables[index].tree, key, value)?;
        let put =
            self.change(|dirty, tables, _| insert::put(dirty, &mut tables[index].tree, key, value, replace))?;
        if put != Put::Kept {
            self.redo.add(Change::Put { table: self.tables[index].tree.table, key, value });
        }
        Ok(put)
    }

    fn delete_at(&mut self, index: usize, key: &[u8]) -> Result<bool> {
        let removed = self.change(|dirty, tables, _| remove::remove(dirty, &mut tables[index].tree, key))?;
        if removed {
            self.redo.add(Change::Delete { table: self.tables[index].tree.table, key });
        }
        Ok(removed)
    }

    /// Runs a change; an error in it leaves the txn poisoned.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Dirty, &mut Vec<OpenTable>, &mut Tree) -> Result<T>,
    ) -> Result<T> {
        self.not_poisoned()?;
        (self.poisoned, self.changing) = (true, true);
        let result = change(&mut self.dirty, self.tables.to_mut(), &mut self.catalog);
        let result = result.and_then(|value| self.make_memory().map(|()| value));
        (self.poisoned, self.changing) = (result.is_err(), false);
        result
    }

    /// Writes pages early where they take too much memory.
    fn make_memory(&mut self) -> Result<()> {
        if self.dirty.is_full() {
            return self.spill();
        }
        if self.dirty.is_beyond_log() {
            self.redo.give_up();
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let mut trees: Vec<&mut Tree> =
            self.tables.to_mut().iter_mut().map(|table| &mut table.tree).collect();
        let before = self.dirty.bytes();
        commit::spill(&mut self.dirty, &mut trees)?;
        self.dirty.spilled(before);
        // It will be a checkpoint; the memory is wanted for other things.
        self.redo.give_up();
        Ok(())
    }

    /// Whether it can only be aborted.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn not_poisoned(&self) -> Result<()> {
        self.dirty.store.check_process()?;
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    // ---- tables ----

    /// Creates an empty table.
    ///
    /// # Errors
    /// `TableExists`; `InvalidArgument` for a name of more than 512 bytes or an impossible schema.
    pub fn create_table(&mut self, name: &str, schema: &Schema) -> Result<()> {
        if self.find(name)?.is_some() {
            return Err(Error::TableExists { table: name.to_owned() });
        }
        self.create(name, schema.clone(), None).map(|_| ())
    }

    /// Removes a table and all its entries. Returns whether there was one. Reads the branches, and
    /// the leaves only if there are large values.
    ///
    /// # Errors
    /// `Corrupt` where a page is damaged: the txn can only be aborted.
    pub fn drop_table(&mut self, name: &str) -> Result<bool> {
        let Some(index) = self.find(name)? else { return Ok(false) };
        self.change(|dirty, tables, catalog| {
            let table = tables.remove(index);
            remove::drop_tree(dirty, &table.tree)?;
            remove::remove(dirty, catalog, name.as_bytes())
        })?;
        self.redo.add(Change::Drop { name });
        Ok(true)
    }

    /// Gives a table another name.
    ///
    /// # Errors
    /// `TableNotFound`, `TableExists`, `InvalidArgument` for a name of more than 512 bytes.
    pub fn rename_table(&mut self, from: &str, to: &str) -> Result<()> {
        check_name(to)?;
        let index = self.open_raw(from)?;
        if self.find(to)?.is_some() {
            return Err(Error::TableExists { table: to.to_owned() });
        }
        self.change(|dirty, tables, catalog| {
            let table = &mut tables[index];
            remove::remove(dirty, catalog, from.as_bytes())?;
            to.clone_into(&mut table.name);
            store_record(dirty, catalog, table)
        })?;
        self.redo.add(Change::Rename { from, to });
        Ok(())
    }

    /// All tables as this txn has them, in order of their names.
    ///
    /// # Errors
    /// `Corrupt` where the catalog is damaged.
    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        let listed = list_tables(&self.dirty, &self.catalog)?.into_iter();
        Ok(listed
            .map(|(name, schema, stored)| {
                let open = self.tables.iter().find(|table| table.name == name);
                TableInfo::new(name, schema, &open.map_or(stored, |table| table.tree))
            })
            .collect())
    }

    /// Sets the application's own number, which every later snapshot carries.
    pub fn set_user_version(&mut self, version: u64) {
        self.user_version = version;
        self.redo.add(Change::UserVersion(version));
    }

    /// The application's own number as this txn has it.
    pub fn user_version(&self) -> u64 {
        self.user_version
    }

    fn create(&mut self, name: &str, schema: Schema, types: Option<TypeId>) -> Result<usize> {
        check_name(name)?;
        check_possible(&schema)?;
        let id = self.next_table;
        if id >= SNAPSHOTS_ID {
            return Err(Error::invalid("all table ids are used; dump and load the store"));
        }
        let tree = Tree::empty(id, schema.layout(self.dirty.page_size()));
        let table = OpenTable { name: name.to_owned(), schema, types, tree, stored: tree };
        let record = record_of(&table.schema, &tree).to_bytes();
        self.next_table += 1;
        let index = self.change(|dirty, tables, catalog| {
            store_record(dirty, catalog, &table)?;
            tables.push(table);
            Ok(tables.len() - 1)
        })?;
        self.redo.add(Change::Create { name, record: &record });
        Ok(index)
    }

    fn open_or_create<K: Key + ?Sized, V: Codec + ?Sized>(&mut self, table: Table<K, V>) -> Result<usize> {
        match self.open(table)? {
            Some(index) => Ok(index),
            None => self.create(table.name(), schema_of::<K, V>(), Some(table.type_id())),
        }
    }

    fn open<K: Key + ?Sized, V: Codec + ?Sized>(&mut self, table: Table<K, V>) -> Result<Option<usize>> {
        let Some(index) = self.find(table.name())? else { return Ok(None) };
        if self.tables[index].types != Some(table.type_id()) {
            check_schema::<K, V>(table.name(), &self.tables[index].schema)?;
            self.tables.to_mut()[index].types = Some(table.type_id());
        }
        Ok(Some(index))
    }

    fn open_raw(&mut self, name: &str) -> Result<usize> {
        self.find(name)?.ok_or_else(|| Error::TableNotFound { table: name.to_owned() })
    }

    /// The index of a table among the open ones, opening it if need be.
    #[inline]
    fn find(&mut self, name: &str) -> Result<Option<usize>> {
        if let Some(index) = self.tables.iter().position(|table| table.name == name) {
            return Ok(Some(index));
        }
        self.find_stored(name)
    }

    #[cold]
    fn find_stored(&mut self, name: &str) -> Result<Option<usize>> {
        let Some(record) = find_record(&self.dirty, &self.catalog, name)? else { return Ok(None) };
        let (tree, schema) = (Tree::of(&record, self.dirty.page_size()), record.schema());
        let tables = self.tables.to_mut();
        tables.push(OpenTable { name: name.to_owned(), schema, types: None, tree, stored: tree });
        Ok(Some(tables.len() - 1))
    }

    fn tree<K: Key + ?Sized, V: Codec + ?Sized>(&self, table: Table<K, V>) -> Result<Tree> {
        let page_size = self.dirty.page_size();
        if let Some(open) = self.tables.iter().find(|open| open.name == table.name()) {
            if open.types != Some(table.type_id()) {
                check_schema::<K, V>(table.name(), &open.schema)?;
            }
            return Ok(open.tree);
        }
        match find_record(&self.dirty, &self.catalog, table.name())? {
            Some(record) => {
                check_record::<K, V>(table.name(), &record)?;
                Ok(Tree::of(&record, page_size))
            }
            None => Ok(Tree::empty(0, schema_of::<K, V>().layout(page_size))),
        }
    }

    fn table_tree(&self, name: &str) -> Result<Option<Tree>> {
        if let Some(open) = self.tables.iter().find(|open| open.name == name) {
            return Ok(Some(open.tree));
        }
        let record = find_record(&self.dirty, &self.catalog, name)?;
        Ok(record.map(|record| Tree::of(&record, self.dirty.page_size())))
    }

    reading!();

    // ---- savepoints ----

    /// A point to which this txn can be rolled back. O(1); pages changed before and again after it
    /// are kept twice, until it is [released](WriteTxn::release).
    pub fn savepoint(&mut self) -> Savepoint {
        self.save(false)
    }

    fn save(&mut self, is_nested: bool) -> Savepoint {
        let id = SAVEPOINTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.saved.push(Saved {
            id,
            is_nested,
            mark: self.dirty.mark(),
            catalog: self.catalog,
            tables: self.tables.share(),
            next_table: self.next_table,
            user_version: self.user_version,
            snapshots: self.snapshots.clone(),
            redo: self.redo.mark(),
        });
        Savepoint { id }
    }

    /// Undoes everything since the savepoint, which stays; later ones are gone. O(changed pages in memory). A txn that
    /// an error has poisoned since is as good as before.
    ///
    /// # Errors
    /// `UnknownSavepoint`; `InvalidArgument` within a [nested txn](WriteTxn::nested) for a savepoint from outside;
    /// `Poisoned` after a panic within a change, which may have left anything in memory.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<()> {
        let index = self.find_saved(savepoint)?;
        self.roll_back(index)
    }

    // ---- the end ----

    /// Makes the changes durable and visible, all of them or none, and waits for it. When this returns `Ok`
    /// they survive a power cut (but see [`Durability::Eventual`]). A txn that has changed nothing costs
    /// nothing. Threads that commit at the same time share a flush.
    ///
    /// # Errors
    /// `Poisoned`; `Full`, or `Io` with ENOSPC, when there is no room; `Io` when a write or flush failed, be
    /// it for this txn or for one that it was built on. The changes are visible to nobody then, in no
    /// process, and the store can be used as before.
    pub fn commit(self) -> Result<()> {
        self.commit_ticket()?.wait()
    }

    /// Hands the changes over and ends the turn, without waiting for the disk: the next txn can begin, and
    /// sees them. Readers see them when they are as durable as was asked for; [`Ticket::wait`] waits for that.
    /// Txns become visible in the order of their commits; if a flush fails, all txns fail that were not on
    /// the disk before, and what was built on them.
    ///
    /// # Errors
    /// Those of [`WriteTxn::commit`], but for a flush of the log that fails afterwards.
    pub fn commit_ticket(mut self) -> Result<Ticket> {
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<Ticket> {
        self.not_poisoned()?;
        self.not_nested()?;
        let (store, failures) = (Arc::clone(&self.dirty.store), self.dirty.failures);
        let eventual = self.durability == Durability::Eventual;
        if self.is_unchanged() {
            // What it has read need not be published yet.
            let base = self.dirty.base.txn;
            let done = eventual && store.readers.published().txn >= base;
            return Ok(Ticket::new(store, base, failures, done));
        }
        let tables = self.tables.to_mut().iter_mut().filter(|table| table.tree != table.stored);
        let tables = tables.map(|table| Changed::new(&table.name, &table.schema, &mut table.tree));
        let mut changes = Changes {
            tables: tables.collect(),
            catalog: &mut self.catalog,
            next_table: self.next_table,
            user_version: self.user_version,
            named: self.named,
            snapshots: &self.snapshots,
        };
        self.committing = true;
        match commit::commit(&mut self.dirty, &mut changes, &self.redo, self.durability) {
            Ok(state) => {
                self.committed(&state);
                Ok(Ticket::new(store, state.txn, failures, eventual))
            }
            Err(Failure::Clean(error)) => {
                store.counters().aborted_txns.add(1);
                let clean = self.dirty.undo();
                self.end(None, clean);
                Err(error)
            }
            Err(Failure::Unknown(error)) => {
                store.counters().aborted_txns.add(1);
                self.end(None, false);
                Err(error)
            }
        }
    }

    fn is_unchanged(&self) -> bool {
        self.tables.iter().all(|table| table.tree == table.stored)
            && self.catalog == catalog_tree(&self.dirty.base, self.dirty.page_size())
            && self.user_version == self.dirty.base.user_version
            && self.snapshots.is_empty()
            && !self.dirty.gives_back_all
            && self.dirty.tail().is_none()
    }

    fn committed(&mut self, state: &State) {
        let store = Arc::clone(&self.dirty.store);
        let mut space = std::mem::replace(&mut self.dirty.space, Space::empty(store.pages.page_size));
        if let Some(writer) = &mut self.writer
            && !writer.quarantine.is_empty()
        {
            writer.quarantine.clear();
            space.end_quarantine();
        }
        #[cfg(debug_assertions)]
        crate::verify::assert_accounting(&store, state, &space);
        debug_assert_eq!(state.txn, self.dirty.txn);
        self.end(Some(space), true);
    }

    /// Ends the turn. Without `space` the next writer reads it anew; unless `clean`, it puts right first
    /// what this one may have left, and does without the pages that this one took.
    fn end(&mut self, space: Option<Space>, clean: bool) {
        let Some(mut writer) = self.writer.take() else { return };
        if self.dirty.has_allocated() {
            // Its pages must not pass for those of the next txn.
            writer.next_txn = self.dirty.txn + 1;
        }
        if !clean {
            writer.quarantine.extend(self.dirty.taken_below(self.dirty.base.page_count));
        }
        writer.space = space;
        writer.heap = self.dirty.take_heap();
        self.dirty.store.end_writer(writer, clean);
    }

    /// Undoes everything; the same as dropping.
    pub fn abort(self) {}

    /// The space as this txn has it.
    #[cfg(test)]
    pub(crate) fn space(&self) -> &Space {
        &self.dirty.space
    }
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        // In a forked process it is the parent's to end.
        if self.writer.is_none() || !self.dirty.store.is_own_process() {
            return;
        }
        if self.poisoned || self.committing || !self.is_unchanged() {
            self.dirty.store.counters().aborted_txns.add(1);
        }
        if self.committing {
            // A panic within the commit: nothing is known about what was written.
            return self.end(None, false);
        }
        let clean = self.dirty.undo();
        let nothing = Space::empty(self.dirty.page_size());
        let space = std::mem::replace(&mut self.dirty.space, nothing);
        self.end(clean.then_some(space), clean);
    }
}

impl PageSource for WriteTxn {
    #[inline]
    fn page(&self, page: u64, birth: u64) -> Result<&[u8]> {
        self.dirty.store.check_process()?;
        self.dirty.page(page, birth)
    }

    #[inline]
    fn known(&self, short: ShortRef) -> Option<&[u8]> {
        if self.dirty.store.check_process().is_err() {
            return None;
        }
        self.dirty.known(short)
    }

    #[inline]
    fn prefetch(&self, page: u64) {
        self.dirty.prefetch(page);
    }

    fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
        self.dirty.store.check_process()?;
        self.dirty.overflow(run)
    }

    fn overflow_part(&self, run: &OverflowRef, part: std::ops::Range<u64>) -> Result<&[u8]> {
        self.dirty.store.check_process()?;
        self.dirty.overflow_part(run, part)
    }

    fn prefetch_all(&self, page: u64, birth: u64) -> bool {
        self.dirty.store.pages.prefetch_all(page, birth, self.dirty.space.page_count())
    }

    fn read_ahead(&self, pages: &mut [u64], expected: u64) {
        self.dirty.store.pages.read_ahead(pages, self.dirty.space.page_count(), expected);
    }

    fn is_value_touched(&self, run: &OverflowRef) -> bool {
        self.dirty.store.pages.is_value_touched(run)
    }

    fn let_go(&self, runs: &mut [(u64, u64)]) {
        self.dirty.store.pages.let_go(runs, self.dirty.space.page_count());
    }

    fn advice(&self) -> Advice {
        self.dirty.store.pages.advice
    }
}

impl std::fmt::Debug for WriteTxn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteTxn {}", self.dirty.txn)
    }
}

/// A turn that is being prepared; ends it if that fails, or panics.
struct Turn<'s> {
    store: &'s Store,
    writer: Option<Writer>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.store.end_writer(Writer { space: None, ..writer }, false);
        }
    }
}

/// Recovers a store that was just opened, where that is needed.
///
/// # Errors
/// Those of [`recover`].
pub(crate) fn settle(store: &Arc<Store>) -> Result<()> {
    let Some(writer) = store.begin_writer(Wait::Forever)? else { return Ok(()) };
    let mut turn = Turn { store, writer: Some(writer) };
    recover_where_needed(store, turn.writer.as_mut().expect("just begun")).map(|_| ())
}

/// The state to build on, behind recovery where that is needed, and the number of flushes that had failed
/// before: if there is one more at the commit, the state may be lost. The caller has the turn.
fn prepare(store: &Arc<Store>, writer: &mut Writer) -> Result<(State, u64)> {
    let failures = recover_where_needed(store, writer)?;
    let page_size = store.pages.page_size;
    let state = store.prepare(writer, |source, state| named::txns(source, state, page_size))?;
    Ok((state, failures))
}

/// Returns how many flushes had failed when nothing was open any more. The caller has the turn.
fn recover_where_needed(store: &Arc<Store>, writer: &mut Writer) -> Result<u64> {
    loop {
        let failures = store.readers.failures();
        if !store.is_unsettled()? {
            return Ok(failures);
        }
        recover(store, writer)?;
    }
}

/// Writes a table's catalog entry; the root that it names counts only once the txn is committed.
fn store_record(dirty: &mut Dirty, catalog: &mut Tree, table: &OpenTable) -> Result<()> {
    let record = record_of(&table.schema, &table.stored);
    insert::put(dirty, catalog, table.name.as_bytes(), &record.to_bytes(), true).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Observer, Op, Verdict};
    use crate::options::Config;
    use std::sync::atomic::{AtomicBool, Ordering};

    const BLOBS: Table<u64, [u8]> = Table::new("blobs");

    /// Fails one flush when told to.
    #[derive(Default)]
    struct FailOnce(AtomicBool);

    impl Observer for FailOnce {
        fn before(&self, op: &Op<'_>) -> Verdict {
            match op {
                Op::Sync { .. } if self.0.swap(false, Ordering::SeqCst) => {
                    Verdict::Fail(std::io::Error::from_raw_os_error(libc::EIO))
                }
                _ => Verdict::Proceed,
            }
        }
    }

    fn config(observer: Option<Arc<dyn Observer>>) -> Config {
        Config { dirty_limit: 1 << 20, observer, ..Config::default() }
    }

    fn put(store: &Arc<Store>, keys: std::ops::Range<u64>, fill: u8) -> Result<()> {
        let mut w = WriteTxn::begin(store, Wait::Forever)?.expect("waits");
        for key in keys {
            w.put(BLOBS, &key, &[fill; 1500])?;
        }
        w.commit()
    }

    #[test]
    fn pages_of_a_failed_commit_that_another_process_uses_since_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("two.maple");
        let failing = Arc::new(FailOnce::default());
        let a = Store::open_apart(&path, &config(Some(failing.clone()))).unwrap();
        let b = Store::open_apart(&path, &config(None)).unwrap();
        put(&a, 0..300, 1).unwrap();
        put(&a, 0..300, 2).unwrap();
        failing.0.store(true, Ordering::SeqCst);
        assert!(matches!(put(&a, 0..50, 3), Err(Error::Io { .. })));
        for round in 0..3 {
            put(&b, 0..50, 10 + round).unwrap();
        }
        for round in 0..5 {
            // In debug builds every commit asserts that each page is exactly one thing.
            put(&a, round * 20..round * 20 + 20, 20).unwrap();
        }
        let r = ReadTxn::begin(a).unwrap();
        for key in 0..300 {
            let expected = if key < 100 { 20 } else { 2 };
            assert_eq!(r.get(BLOBS, &key).unwrap(), Some(&[expected; 1500][..]));
        }
    }

    /// Panics when it is told to, at a write of pages, and notes where they are written.
    #[derive(Default)]
    struct PanicOnce {
        is_told: AtomicBool,
        written: parking_lot::Mutex<Vec<std::ops::Range<u64>>>,
    }

    impl Observer for PanicOnce {
        fn before(&self, op: &Op<'_>) -> Verdict {
            if let Op::Write { offset, data } = op {
                let len = data.iter().map(|part| part.len() as u64).sum::<u64>();
                self.written.lock().push(*offset..offset + len);
                let is_meta = *offset < 8192;
                assert!(is_meta || !self.is_told.swap(false, Ordering::SeqCst), "as it was told");
            }
            Verdict::Proceed
        }
    }

    /// In the file's records most of what was free to the commit that failed is still pending.
    #[test]
    fn pages_of_a_commit_that_a_panic_has_ended_are_not_the_next_ones() {
        let directory = tempfile::tempdir().unwrap();
        let panics = Arc::new(PanicOnce::default());
        let store =
            Store::open_apart(&directory.path().join("one.maple"), &config(Some(panics.clone()))).unwrap();
        let put = |keys: std::ops::Range<u64>, fill| {
            let mut w = WriteTxn::begin(&store, Wait::Forever)?.expect("waits");
            w.set_durability(Durability::Ordered);
            keys.into_iter().try_for_each(|key| w.put(BLOBS, &key, &[fill; 1500]).map(drop))?;
            w.commit()
        };
        put(0..3000, 1).unwrap();
        let mut reused = 0;
        for round in 0..20u8 {
            let begin = u64::from(round) * 100;
            put(begin..begin + 60, 2).unwrap();
            put(begin + 30..begin + 90, 3).unwrap();
            panics.written.lock().clear();
            panics.is_told.store(true, Ordering::SeqCst);
            let end = store.readers.head().page_count * store.pages.page_size as u64;
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| put(begin..begin + 20, 4)));
            assert!(ended.is_err(), "it panics");
            let failed = std::mem::take(&mut *panics.written.lock());
            reused += failed.iter().filter(|place| place.end <= end).count();
            put(begin + 50..begin + 70, 5).unwrap();
            for now in panics.written.lock().iter().filter(|now| now.start >= 8192) {
                let both = |old: &&std::ops::Range<u64>| old.start < now.end.min(end) && now.start < old.end;
                assert_eq!(failed.iter().find(both), None, "round {round}: {now:?} is written again");
            }
        }
        assert!(reused >= 20, "only {reused} of their writes went to pages that were used before");
    }
}
