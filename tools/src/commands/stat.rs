//! `mapleaf stat`: what the store and its tables consist of, counted page by page.

use super::{readers, snapshot, tables};
use crate::cli::{JsonArg, LogArg, TableArg};
use crate::failure::Result;
use crate::output::{Output, counted, plural, print, print_json};
use crate::prometheus::{self, Told};
use crate::space_map::bytes;
use crate::store::{choose, open_to_read, shown};
use indicatif::HumanCount;
use mapleaf::{FileUsage, LevelStats, Reader, Stats, StoredSnapshot, TableInfo, TableStats};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of stat.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every page is read, in one snapshot; pinned_txns has it too. Levels are counted from the leaves, which are level 0.\n\nExamples:\n  mapleaf stat app.maple\n  mapleaf stat --json app.maple | jq '.free_pages * .page_size'\n  mapleaf stat --prometheus app.maple > /var/lib/node_exporter/app.prom"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    log: LogArg,
    /// Only this table
    #[command(flatten)]
    table: TableArg,
    /// All tables (that is what it does without -s)
    #[arg(short = 'a', long = "all", conflicts_with = "table")]
    _all: bool,
    #[command(flatten)]
    json: JsonArg,
    /// Print text for Prometheus (OpenMetrics)
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
}

#[derive(Serialize)]
struct Document<'s> {
    store_id: String,
    txn: u64,
    checkpoint: u64,
    user_version: u64,
    page_size: u64,
    page_count: u64,
    file_bytes: u64,
    disk_bytes: u64,
    /// Not before Linux 6.5, as the next two.
    resident_bytes: Option<u64>,
    dirty_bytes: Option<u64>,
    write_back_bytes: Option<u64>,
    free_pages: u64,
    /// Free, without blocks on the disk.
    hole_pages: u64,
    pending_pages: u64,
    pending_for_checkpoint: u64,
    pending_for_nobody: u64,
    log_pages: u64,
    space_pages: u64,
    catalog_pages: u64,
    snapshots_pages: u64,
    entries: u64,
    pinned_txns: &'s [u64],
    readers: Vec<readers::Document<'s>>,
    snapshots: Vec<snapshot::Document<'s>>,
    meta_problems: &'s [String],
    tables: Vec<TableDocument<'s>>,
}

#[derive(Serialize)]
struct TableDocument<'s> {
    #[serde(flatten)]
    info: tables::Document<'s>,
    depth: usize,
    pages: u64,
    used_bytes: u64,
    /// From 0 to 1, of the pages of trees.
    fill: f64,
    level_stats: Vec<LevelDocument>,
    /// Of the trees of a multimap's larger sets, all together.
    set_level_stats: Vec<LevelDocument>,
}

#[derive(Serialize)]
struct LevelDocument {
    level: usize,
    pages: u64,
    entries: u64,
    used_bytes: u64,
    fill: f64,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    let mut stats = db.stats()?;
    if let Some(asked) = args.table.asked() {
        let infos: Vec<TableInfo> = stats.tables.iter().map(|table| table.info.clone()).collect();
        let chosen = choose(&infos, Some(asked))?;
        stats.tables.retain(|table| table.info.id == chosen.id);
    }
    let usage = db.file_usage()?;
    if args.prometheus {
        let told = Told { stats: &stats, usage, readers: &db.readers()?, snapshots: &db.snapshots()? };
        return print(|output| Ok(output.write_all(prometheus::text(&told).as_bytes())?));
    }
    match args.json.json {
        true => print_json(&document(&stats, usage, &db.readers()?, &db.snapshots()?)),
        false => print(|output| print_text(&stats, usage, output)),
    }
}

fn document<'s>(
    stats: &'s Stats,
    usage: FileUsage,
    readers: &'s [Reader],
    snapshots: &'s [StoredSnapshot],
) -> Document<'s> {
    Document {
        store_id: hex_id(stats),
        txn: stats.txn,
        checkpoint: stats.checkpoint,
        user_version: stats.user_version,
        page_size: stats.page_size,
        page_count: stats.page_count,
        file_bytes: usage.len,
        disk_bytes: usage.disk_bytes,
        resident_bytes: usage.cached.map(|cached| cached.resident),
        dirty_bytes: usage.cached.map(|cached| cached.dirty),
        write_back_bytes: usage.cached.map(|cached| cached.in_write_back),
        free_pages: stats.free_pages,
        hole_pages: stats.hole_pages,
        pending_pages: stats.pending_pages,
        pending_for_checkpoint: stats.pending_for_checkpoint,
        pending_for_nobody: stats.pending_for_nobody,
        log_pages: stats.log_pages,
        space_pages: stats.space_pages,
        catalog_pages: stats.catalog_pages,
        snapshots_pages: stats.snapshots_pages,
        entries: stats.tables.iter().map(|table| table.info.len).sum(),
        pinned_txns: &stats.pinned_txns,
        readers: readers.iter().map(readers::document).collect(),
        snapshots: snapshots.iter().map(snapshot::document).collect(),
        meta_problems: &stats.meta_problems,
        tables: stats.tables.iter().map(|table| table_document(table, stats.page_size)).collect(),
    }
}

fn table_document(table: &TableStats, page_size: u64) -> TableDocument<'_> {
    let level = |(level, stats): (usize, &LevelStats)| LevelDocument {
        level,
        pages: stats.pages,
        entries: stats.entries,
        used_bytes: stats.used_bytes,
        fill: stats.fill(page_size),
    };
    TableDocument {
        info: tables::Document::of(&table.info),
        depth: table.depth(),
        pages: table.pages() + table.info.overflow_pages,
        used_bytes: table.levels.iter().chain(&table.set_levels).map(|level| level.used_bytes).sum(),
        fill: table.fill(page_size),
        level_stats: table.levels.iter().enumerate().map(level).collect(),
        set_level_stats: table.set_levels.iter().enumerate().map(level).collect(),
    }
}

fn tree_pages(levels: &[LevelStats]) -> u64 {
    levels.iter().map(|level| level.pages).sum()
}

fn hex_id(stats: &Stats) -> String {
    stats.store_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn print_text(stats: &Stats, usage: FileUsage, output: &mut Output) -> Result<()> {
    let Stats { txn, checkpoint, page_size, page_count, free_pages, pending_pages, log_pages, .. } = stats;
    let Stats { space_pages, catalog_pages, .. } = stats;
    writeln!(output, "store       {}, user version {}", hex_id(stats), stats.user_version)?;
    writeln!(output, "txn         {txn}, the last checkpoint is {checkpoint}")?;
    writeln!(
        output,
        "file        {} of {page_size} bytes, {} in all, {} on the disk",
        pages(*page_count),
        bytes(page_count * page_size),
        bytes(usage.disk_bytes)
    )?;
    if let Some(cached) = usage.cached {
        let (resident, dirty) = (bytes(cached.resident), bytes(cached.dirty + cached.in_write_back));
        writeln!(output, "memory      {resident} in the page cache, {dirty} of it not on the disk yet")?;
    }
    writeln!(output, "free        {}, {}", pages(*free_pages), bytes(free_pages * page_size))?;
    if stats.hole_pages > 0 {
        let holes = bytes(stats.hole_pages * page_size);
        writeln!(
            output,
            "holes       {}, {holes}, free too, given back to the system",
            pages(stats.hole_pages)
        )?;
    }
    writeln!(
        output,
        "pending     {}, {}; {} for the checkpoint, {} for nobody",
        pages(*pending_pages),
        bytes(pending_pages * page_size),
        HumanCount(stats.pending_for_checkpoint),
        HumanCount(stats.pending_for_nobody)
    )?;
    writeln!(output, "log         {}, {}", pages(*log_pages), bytes(log_pages * page_size))?;
    writeln!(output, "accounting  {} for space, {catalog_pages} for the catalog", pages(*space_pages))?;
    if stats.snapshots_pages > 0 {
        writeln!(
            output,
            "snapshots   {} for the list of those that are stored",
            pages(stats.snapshots_pages)
        )?;
    }
    match &stats.pinned_txns[..] {
        [] => writeln!(output, "pinned      no txn")?,
        pinned => writeln!(output, "pinned      txns {pinned:?}, {txn} by this command itself")?,
    }
    for problem in &stats.meta_problems {
        writeln!(output, "problem     {problem}")?;
    }
    for table in &stats.tables {
        print_table(table, *page_size, output)?;
    }
    Ok(())
}

fn print_table(table: &TableStats, page_size: u64, output: &mut Output) -> Result<()> {
    let TableInfo { name, id, len, schema, overflow_pages, set_trees, .. } = &table.info;
    writeln!(output, "\ntable {}  id {id}, {schema}", shown(name))?;
    let (own, more) = (pages(tree_pages(&table.levels)), HumanCount(*overflow_pages));
    match schema.multi {
        false => {
            writeln!(output, "  {}, {own}, {more} more for large values", counted(*len, "entry", "entries"))?;
        }
        true => {
            let (values, more) =
                (counted(*len, "value", "values"), HumanCount(tree_pages(&table.set_levels)));
            let sets = counted(*set_trees, "large set", "large sets");
            writeln!(output, "  {values}, {own}, {more} more for {sets}")?;
        }
    }
    print_levels("level", &table.levels, page_size, output)?;
    print_levels("sets, level", &table.set_levels, page_size, output)
}

fn print_levels(what: &str, levels: &[LevelStats], page_size: u64, output: &mut Output) -> Result<()> {
    for (level, stats) in levels.iter().enumerate().rev() {
        let full = 100.0 * stats.fill(page_size);
        let (pages, entries) = (HumanCount(stats.pages).to_string(), HumanCount(stats.entries).to_string());
        let (page, entry) = (plural(stats.pages, "page", "pages"), plural(stats.entries, "entry", "entries"));
        writeln!(
            output,
            "  {what} {level}: {pages:>11} {page:5} {entries:>13} {entry:7}  {full:5.1} % full"
        )?;
    }
    Ok(())
}

fn pages(count: u64) -> String {
    counted(count, "page", "pages")
}
