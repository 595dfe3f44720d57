//! `mapleaf tables`: what tables there are.

use crate::cli::{JsonArg, LogArg, SnapshotArg};
use crate::failure::Result;
use crate::output::{Output, plural, print, print_document};
use crate::store::{open_to_read, shown};
use indicatif::HumanCount;
use mapleaf::TableInfo;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of tables.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The main table is the one named \"\".\n\nExamples:\n  mapleaf tables app.maple\n  mapleaf tables --json app.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

/// A table as JSON has it.
#[derive(Serialize)]
pub struct Document<'t> {
    name: &'t str,
    id: u32,
    entries: u64,
    levels: u8,
    overflow_pages: u64,
    key_type: &'t str,
    value_type: &'t str,
    key_width: Option<usize>,
    value_width: Option<usize>,
    value_align: usize,
    multimap: bool,
    set_trees: u64,
}

impl<'t> Document<'t> {
    /// What the catalog says of a table.
    pub fn of(table: &'t TableInfo) -> Self {
        Document {
            name: &table.name,
            id: table.id,
            entries: table.len,
            levels: table.levels,
            overflow_pages: table.overflow_pages,
            key_type: &table.schema.key_type,
            value_type: &table.schema.value_type,
            key_width: table.schema.key_width,
            value_width: table.schema.value_width,
            value_align: table.schema.value_align,
            multimap: table.schema.multi,
            set_trees: table.set_trees,
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let tables = args.snapshot.begin(&open_to_read(&args.file, args.log)?)?.tables()?;
    print(|output| print_tables(&tables, args.json.json, output))
}

/// Lists them.
pub fn print_tables(tables: &[TableInfo], json: bool, output: &mut Output) -> Result<()> {
    if json {
        return print_document(&tables.iter().map(Document::of).collect::<Vec<_>>(), output);
    }
    let width = tables.iter().map(|table| shown(&table.name).chars().count()).max().unwrap_or(0);
    for table in tables {
        let (name, len) = (shown(&table.name), HumanCount(table.len).to_string());
        let entries = plural(table.len, "entry", "entries");
        let levels = plural(table.levels.into(), "level", "levels");
        writeln!(
            output,
            "{name:width$}  {len:>12} {entries:7}  {} {levels:6}  {}",
            table.levels, table.schema
        )?;
    }
    Ok(())
}
