//! The catalog: the table of tables.
//!
//! Owns: reading its entries. Its key is a table's name, its value a [`TableRecord`](crate::format::TableRecord); the meta slot
//! has its root; and what names, schemas and entries a table can have. Leaves to others: changing it
//! ([`crate::txn`], [`crate::commit`]).

use crate::error::{Error, Result};
use crate::format::{CATALOG_ID, MAX_NAME_LEN, MAX_VALUE_LEN, OVERFLOW_REF_LEN, RecordView, Schema};
use crate::page::{Stored, entry_len, leaf_room};
use crate::shared::State;
use crate::tree::cursor::{Cursor, Place};
use crate::tree::search::SourceObject;
use crate::tree::{Tree, search};

/// What the catalog says of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// The id that its pages carry.
    pub id: u32,
    /// Number of entries; in a multimap each value of a key is one.
    pub len: u64,
    /// Levels of its tree; 0 when it is empty.
    pub levels: u8,
    /// Pages of large values.
    pub overflow_pages: u64,
    /// In a multimap the sets of values that are trees of their own.
    pub set_trees: u64,
    /// Types and layout.
    pub schema: Schema,
}

impl TableInfo {
    pub(crate) fn new(name: String, schema: Schema, tree: &Tree) -> Self {
        TableInfo {
            name,
            id: tree.table,
            len: tree.len(),
            levels: if tree.is_empty() { 0 } else { tree.level + 1 },
            overflow_pages: if schema.multi { 0 } else { tree.overflow_pages },
            set_trees: if schema.multi { tree.overflow_pages } else { 0 },
            schema,
        }
    }
}

/// The catalog as a tree of this state.
pub(crate) fn catalog_tree(state: &State, page_size: usize) -> Tree {
    Tree {
        root: state.catalog,
        level: state.catalog_level,
        ..Tree::empty(CATALOG_ID, Schema::bytes().layout(page_size))
    }
}

/// A table's entry, in place.
pub(crate) fn find_record<'s>(
    source: &'s SourceObject<'_>,
    catalog: &Tree,
    name: &str,
) -> Result<Option<RecordView<'s>>> {
    match search::find(source, catalog, name.as_bytes())? {
        Some(stored) => view_record(source, catalog, stored).map(Some),
        None => Ok(None),
    }
}

fn view_record<'s>(
    source: &'s SourceObject<'_>,
    catalog: &Tree,
    stored: Stored<'s>,
) -> Result<RecordView<'s>> {
    let bytes = search::resolve(source, stored)?;
    RecordView::parse(bytes).map_err(|detail| Error::corrupt(catalog.root.page, detail))
}

/// All tables of a catalog with their types and trees, in order of their names.
pub(crate) fn list_tables(source: &SourceObject<'_>, catalog: &Tree) -> Result<Vec<(String, Schema, Tree)>> {
    let mut tables = Vec::new();
    let mut cursor = Cursor::new(source, catalog, Place::Start)?;
    while let Some((name, stored)) = cursor.next()? {
        let record = search::resolve(source, stored)?;
        let table = listed_table(name, record, catalog.layout.page_size)?;
        if tables.last().is_some_and(|last: &(String, _, _)| last.0 >= table.0) {
            return Err(Error::corrupt(catalog.root.page, "the catalog's names are not in order"));
        }
        tables.push(table);
    }
    Ok(tables)
}

/// The table that an entry of the catalog speaks of.
pub(crate) fn listed_table(name: &[u8], record: &[u8], page_size: usize) -> Result<(String, Schema, Tree)> {
    let fail = |detail: String| Error::corrupt(0, format!("the catalog: {detail}"));
    let name = std::str::from_utf8(name).map_err(|_| fail("a table name is not UTF-8".into()))?;
    let record = RecordView::parse(record).map_err(fail)?;
    Ok((name.to_owned(), record.schema(), Tree::of(&record, page_size)))
}

/// A table name has an allowed length.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.len() <= MAX_NAME_LEN {
        return Ok(());
    }
    Err(Error::invalid(format!("table name of {} bytes, at most {MAX_NAME_LEN} are allowed", name.len())))
}

/// A schema can be that of a table.
pub(crate) fn check_possible(schema: &Schema) -> Result<()> {
    let aligned = matches!(schema.value_align, 1 | 2 | 4 | 8 | 16);
    let whole = schema.value_width.is_none_or(|width| width % schema.value_align.max(1) == 0);
    let named = schema.key_type.len() + schema.value_type.len() <= 512;
    let narrow =
        [schema.key_width, schema.value_width].into_iter().flatten().all(|width| width < u32::MAX as usize);
    if schema.multi && schema.value_align != 1 {
        return Err(Error::invalid(format!("schema {schema}: values of a multimap have no alignment")));
    }
    if aligned && whole && named && narrow {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "schema {schema}: alignment must be 1, 2, 4, 8 or 16 and divide the value width, type names have at most 512 bytes"
    )))
}

/// An entry fits into a table.
pub(crate) fn check_entry(schema: &Schema, tree: &Tree, key: &[u8], value: &[u8]) -> Result<()> {
    check_lens(schema, tree, key.len(), value.len())
}

/// An entry with a key and a value of these lengths fits into a table.
pub(crate) fn check_lens(schema: &Schema, tree: &Tree, key_len: usize, value_len: usize) -> Result<()> {
    let widths = [("key", schema.key_width, key_len), ("value", schema.value_width, value_len)];
    for (what, width, len) in widths {
        if let Some(width) = width.filter(|width| *width != len) {
            return Err(Error::WrongWidth { what, len, width });
        }
    }
    let room = leaf_room(&tree.layout) / 2;
    if tree.layout.fixed.is_none() && entry_len(&tree.layout, key_len, OVERFLOW_REF_LEN) > room {
        let align = tree.layout.align;
        let max = (room - crate::page::LEAF_SLOT_LEN) / align * align - OVERFLOW_REF_LEN;
        return Err(Error::KeyTooLong { len: key_len, max });
    }
    if tree.layout.set.is_some() && entry_len(&tree.layout, value_len, OVERFLOW_REF_LEN) > room {
        // Where there are many of a key they are keys themselves.
        let max = (room - crate::page::LEAF_SLOT_LEN - OVERFLOW_REF_LEN) as u64;
        return Err(Error::ValueTooLong { len: value_len as u64, max });
    }
    if value_len as u64 > MAX_VALUE_LEN {
        return Err(Error::ValueTooLong { len: value_len as u64, max: MAX_VALUE_LEN });
    }
    Ok(())
}
