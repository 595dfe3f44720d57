//! Writing large values without having them in memory, or without copying them.
//!
//! Owns: [`WriteTxn::reserve`], [`WriteTxn::put_from`]. Promises: what is at the key changes when the new value is whole,
//! and not before: a closure or a source that fails, or panics, leaves the txn as it was. Leaves to others: where values
//! lie ([`crate::dirty`]).

use super::{OpenTable, WriteTxn};
use crate::catalog::check_lens;
use crate::chunks::Chunks;
use crate::codec::{Codec, Encode, Key};
use crate::dirty::{Dirty, Streamed, WRITE_AT_ONCE, is_no_room};
use crate::error::{Error, Result};
use crate::format::OverflowRef;
use crate::redo::Change;
use crate::snapshot::PageSource;
use crate::space::Run;
use crate::table::{Table, decode_error, schema_of};
use crate::tree::insert::{self, Put};
use memmap2::MmapMut;
use std::any::TypeId;
use std::io::{ErrorKind, Read};

/// So much of a value is read from its source at a time.
const BUFFER_LEN: usize = 256 << 10;

impl WriteTxn {
    /// Puts at `key` a value of `len` bytes that `fill` writes into the memory it lies in, and returns what `fill` returns.
    /// The memory is zeros before.
    ///
    /// A value that goes into pages of its own is not copied: what `fill` has written is what goes to the file. One that
    /// stays in a leaf, at most half a page, is copied there. The memory is taken at once: for a value larger than that see
    /// [`WriteTxn::put_from`]. If `fill` panics, the value before stays, and the txn can go on.
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const IMAGES: Table<str, [u8]> = Table::new("images");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.reserve(IMAGES, "grey", 640 * 480, |pixels| pixels.fill(0x80))?;
    /// w.commit()?;
    /// assert_eq!(db.begin_read()?.get(IMAGES, "grey")?.unwrap()[7], 0x80);
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`WriteTxn::put`]; `Decode` when what was written is not a `V`, and `Io` when there is no memory: nothing is
    /// changed.
    pub fn reserve<K: Key + ?Sized, V: Codec + ?Sized, T>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        self.try_reserve(table, key, len, |value| Ok(fill(value)))
    }

    /// Like [`WriteTxn::reserve`], with a closure that can fail: then nothing is changed.
    /// ```
    /// # use mapleaf::{Database, Error, Table};
    /// const NOTES: Table<str, str> = Table::new("notes");
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.put(NOTES, "today", "rain")?;
    /// let failed = w.try_reserve(NOTES, "today", 3, |_| Err::<(), _>(Error::other("no forecast")));
    /// assert_eq!(failed.unwrap_err().to_string(), "no forecast");
    /// assert_eq!(w.get(NOTES, "today")?, Some("rain"));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `fill` and of [`WriteTxn::reserve`].
    pub fn try_reserve<K: Key + ?Sized, V: Codec + ?Sized, T>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<T>,
    ) -> Result<T> {
        let key = key.encode();
        self.check_put(table, key.as_ref(), len as u64)?;
        if len < WRITE_AT_ONCE {
            let mut value = self.zeros(len);
            let filled = fill(&mut value)?;
            self.put_taken(table, key.as_ref(), Taken::Memory(value))?;
            return Ok(filled);
        }
        let memory = MmapMut::map_anon(len);
        let mut value = memory.map_err(|error| Error::io("get memory for a value", error))?;
        let filled = fill(&mut value)?;
        V::decode(&value).map_err(|error| decode_error("value", error))?;
        let index = self.open_or_create(table)?;
        self.put_at(index, key.as_ref(), &value, true)?;
        Ok(filled)
    }

    /// Puts at `key` the next `len` bytes of `source`, and takes no more of it. Returns whether it replaced a value.
    ///
    /// From 1 MiB on the value goes straight to newly allocated pages of the file, 256 KiB at a time: the memory it takes
    /// does not depend on its length. The commit is a checkpoint then. If `source` fails, ends early, or panics, the value
    /// before stays, the pages are given back, and the txn can go on.
    /// ```
    /// # use mapleaf::{Database, Table};
    /// const FILES: Table<str, [u8]> = Table::new("files");
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("large.bin");
    /// # std::fs::write(&path, vec![7; 3_000_000]).unwrap();
    /// # let db = Database::temporary()?;
    /// let file = std::fs::File::open(&path).unwrap();
    /// let len = file.metadata().unwrap().len();
    /// db.write(|w| w.put_from(FILES, "large.bin", len, file))?;
    /// assert_eq!(db.begin_read()?.value_len(FILES, "large.bin")?, Some(3_000_000));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` when `source` fails, or ends too early (`UnexpectedEof`; the message says where), or the value cannot be written;
    /// `Full` or `Io` when there is no room for it; `Decode` when the bytes are not a `V` (those of another type than bytes
    /// are read back for that): nothing is changed. And those of [`WriteTxn::put`].
    pub fn put_from<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &(impl Encode<K> + ?Sized),
        len: u64,
        mut source: impl Read,
    ) -> Result<bool> {
        let key = key.encode();
        self.check_put(table, key.as_ref(), len)?;
        let value = self.take_in(len, &mut source)?;
        Ok(self.put_taken(table, key.as_ref(), value)? == Put::Replaced)
    }

    /// Like [`WriteTxn::put_from`], of raw bytes into an existing table of any types.
    /// ```
    /// # use mapleaf::{Database, Schema};
    /// # let db = Database::temporary()?;
    /// let mut w = db.begin_write()?;
    /// w.create_table("files", &Schema::bytes())?;
    /// w.raw_put_from("files", b"zeros", 1 << 21, std::io::repeat(0))?;
    /// assert_eq!(w.raw_table("files")?.unwrap().value_len(b"zeros")?, Some(1 << 21));
    /// # Ok::<_, mapleaf::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TableNotFound`, `InvalidArgument` for a multimap, and those of [`WriteTxn::put_from`]. The bytes are not checked
    /// against the types.
    pub fn raw_put_from(&mut self, table: &str, key: &[u8], len: u64, mut source: impl Read) -> Result<bool> {
        self.not_poisoned()?;
        let index = self.open_raw_single(table)?;
        let OpenTable { schema, tree, .. } = &self.tables[index];
        check_lens(schema, tree, key.len(), len as usize)?;
        let value = self.take_in(len, &mut source)?;
        Ok(self.put_taken_at(index, key, value)? == Put::Replaced)
    }

    /// The next `len` bytes of `source`.
    fn take_in(&mut self, len: u64, source: &mut dyn Read) -> Result<Taken> {
        if len >= WRITE_AT_ONCE as u64 {
            let value = self.begin_value(len)?;
            return stream(&mut self.dirty, value, len, source).map(Taken::File);
        }
        let mut value = self.zeros(len as usize);
        read_part(source, &mut value, 0, len)?;
        Ok(Taken::Memory(value))
    }

    /// Puts a value at `key`, if it is a `V`; else nothing is changed.
    fn put_taken<K: Key + ?Sized, V: Codec + ?Sized>(
        &mut self,
        table: Table<K, V>,
        key: &[u8],
        value: Taken,
    ) -> Result<Put> {
        // A codec of the caller's own may panic; nothing refers to the pages then.
        self.poisoned = true;
        let checked = self.check_taken::<V>(&value);
        self.poisoned = false;
        match (checked.and_then(|()| self.open_or_create(table)), value) {
            (Ok(index), value) => self.put_taken_at(index, key, value),
            (Err(error), Taken::Memory(_)) => Err(error),
            (Err(error), Taken::File(run)) => {
                self.dirty.drop_value(&run)?;
                Err(error)
            }
        }
    }

    /// That a value is a `V`. Bytes always are, and are not touched.
    fn check_taken<V: Codec + ?Sized>(&self, value: &Taken) -> Result<()> {
        let decoded = match value {
            _ if TypeId::of::<V>() == TypeId::of::<[u8]>() => return Ok(()),
            Taken::Memory(value) => V::decode(value),
            Taken::File(run) => V::decode(self.dirty.overflow(run)?),
        };
        decoded.map(drop).map_err(|error| decode_error("value", error))
    }

    fn put_taken_at(&mut self, index: usize, key: &[u8], value: Taken) -> Result<Put> {
        let tree = &self.tables[index].tree;
        match value {
            Taken::File(run) => {
                self.change(|dirty, tables, _| insert::put_run(dirty, &mut tables[index].tree, key, run))
            }
            Taken::Memory(value) if insert::is_inline(tree, key.len(), value.len()) => {
                self.put_at(index, key, &value, true)
            }
            // The memory becomes its place.
            Taken::Memory(value) => {
                self.redo.add(Change::Put { table: tree.table, key, value: &value });
                self.change(|dirty, tables, _| {
                    let run = dirty.keep_value(value);
                    insert::put_run(dirty, &mut tables[index].tree, key, run)
                })
            }
        }
    }

    /// Pages for a value of `len` bytes. Where there is no room for them nothing is changed.
    fn begin_value(&mut self, len: u64) -> Result<Streamed> {
        let begun = self.dirty.begin_value(len);
        if let Err(error) = &begun {
            let is_undone = is_no_room(error) && self.dirty.store.cut(self.dirty.space.page_count()).is_ok();
            self.poisoned = !is_undone;
        }
        begun
    }

    /// That such an entry can be put.
    fn check_put<K: Key + ?Sized, V: Codec + ?Sized>(
        &self,
        table: Table<K, V>,
        key: &[u8],
        len: u64,
    ) -> Result<()> {
        self.not_poisoned()?;
        check_lens(&schema_of::<K, V>(), &self.tree(table)?, key.len(), len as usize)
    }

    /// Memory for a value, with room behind it for its table of checksums.
    fn zeros(&self, len: usize) -> Vec<u8> {
        let mut value = vec![0; Chunks::of(len as u64, self.dirty.page_size()).stored_len() as usize];
        value.truncate(len);
        value
    }
}

/// A value that is there, but not in the tree yet.
enum Taken {
    Memory(Vec<u8>),
    /// In pages of this txn.
    File(OverflowRef),
}

/// A value that is being written; gives its pages back if that fails, or panics.
struct Unfinished<'d> {
    dirty: &'d mut Dirty,
    value: Option<Streamed>,
    run: Run,
}

impl Unfinished<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.dirty.write_part(self.value.as_mut().expect("not ended yet"), bytes)
    }

    fn end(mut self, last: &[u8]) -> Result<OverflowRef> {
        let ended = self.dirty.end_value(self.value.take().expect("not ended yet"), last)?;
        std::mem::forget(self);
        Ok(ended)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.dirty.drop_own(self.run).expect("they were allocated for it");
    }
}

/// Writes the next `len` bytes of `source` to the pages of `value`.
fn stream(dirty: &mut Dirty, value: Streamed, len: u64, source: &mut dyn Read) -> Result<OverflowRef> {
    let mut value = Unfinished { dirty, run: value.run, value: Some(value) };
    let mut buffer = vec![0; BUFFER_LEN];
    let mut at = 0;
    while len - at > BUFFER_LEN as u64 {
        read_part(source, &mut buffer, at, len)?;
        value.write(&buffer)?;
        at += BUFFER_LEN as u64;
    }
    let last = &mut buffer[..(len - at) as usize];
    read_part(source, last, at, len)?;
    value.end(last)
}

/// Fills `part`, which is that of a value of `len` bytes from `at` on.
fn read_part(source: &mut dyn Read, part: &mut [u8], at: u64, len: u64) -> Result<()> {
    let mut filled = 0;
    while filled < part.len() {
        let position = at + filled as u64;
        match source.read(&mut part[filled..]) {
            Ok(0) => {
                let context = format!("read a value of {len} bytes, of which its source has {position}");
                return Err(Error::io(context, ErrorKind::UnexpectedEof.into()));
            }
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                let context = format!("read a value of {len} bytes from its source, at byte {position}");
                return Err(Error::io(context, error));
            }
        }
    }
    Ok(())
}
