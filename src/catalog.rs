//! The catalog: the table of tables.
//!
//! Owns: reading its entries. Its key is a table's name, its value a [`TableRecord`](crate::format::TableRecord); the meta slot
//! has its root. Leaves to others: changing it ([`crate::txn`], [`crate::commit`]).

use crate::error::{Error, Result};
use crate::format::{CATALOG_ID, RecordView, Schema};
use crate::page::Stored;
use crate::readers::State;
use crate::snapshot::SourceObject;
use crate::tree::cursor::{Cursor, Place};
use crate::tree::{Tree, search};

/// What the catalog says of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// The id that its pages carry.
    pub id: u32,
    /// Number of entries.
    pub len: u64,
    /// Levels of its tree; 0 when it is empty.
    pub levels: u8,
    /// Pages of large values.
    pub overflow_pages: u64,
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
            overflow_pages: tree.overflow_pages,
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
        let name = std::str::from_utf8(name)
            .map_err(|_| Error::corrupt(catalog.root.page, "a table name is not UTF-8"))?;
        if tables.last().is_some_and(|(last, _, _): &(String, _, _)| &last[..] >= name) {
            return Err(Error::corrupt(catalog.root.page, "the catalog's names are not in order"));
        }
        let record = view_record(source, catalog, stored)?;
        tables.push((name.to_owned(), record.schema(), Tree::of(&record, catalog.layout.page_size)));
    }
    Ok(tables)
}
