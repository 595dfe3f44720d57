//! `mapleaf tree`: a table's tree, level by level.

use crate::cli::{Codecs, FormatArgs, JsonArg, LogArg, SnapshotArg, TableArg};
use crate::drawing::PictureFormat;
use crate::failure::{Outcome, Result, tell};
use crate::output::{print, print_json, print_written};
use crate::store::{choose, open_to_read};
use crate::tree_sketch::{COLUMNS, Found, Node, Pick, Sketch};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of tree.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only what is shown is read: of each branch the first and the last few children; for a picture at most 512 pages \
                  of each level, and the last child of each branch. So it costs the same whatever the size of the table.\n\n\
                  Examples:\n  mapleaf tree app.maple -s users\n  mapleaf tree app.maple -s users --children 20\n  \
                  mapleaf tree app.maple -s users -o users.svg"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    table: TableArg,
    /// Children of each branch that are shown, the last one among them
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..))]
    children: u16,
    /// Write a picture: its name ends with .svg or .png
    #[arg(short, long, value_name = "PICTURE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    snapshot: SnapshotArg,
    #[command(flatten)]
    formats: FormatArgs,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Serialize)]
struct Document<'s> {
    txn: u64,
    table: &'s str,
    entries: u64,
    levels: u8,
    overflow_pages: u64,
    set_trees: u64,
    page_size: u64,
    root: Option<PageDocument>,
}

#[derive(Serialize)]
struct PageDocument {
    page: u64,
    level: u8,
    birth: u64,
    entries: u64,
    from: String,
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    used_bytes: Option<u64>,
    items: Option<u64>,
    items_apart: Option<u64>,
    /// Those that are shown.
    children: Vec<PageDocument>,
    children_left_out: u64,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    args.output.as_deref().map_or(Ok(()), |path| PictureFormat::of(path).map(drop))?;
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    let tables = txn.tables()?;
    let table = choose(&tables, args.table.asked())?.clone();
    let codecs = args.formats.codecs(Some(&table));
    let pick = match args.output {
        Some(_) => Pick::Columns(COLUMNS, Vec::new()),
        None => Pick::Ends(usize::from(args.children)),
    };
    let sketch = Sketch::of(&txn, table, db.page_size() as u64, pick)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    match (&args.output, args.json.json) {
        (Some(path), json) => {
            sketch.draw(&name, &codecs).save(path)?;
            if json {
                print_written(path, &[])?;
            }
        }
        (None, true) => print_json(&document(&sketch, &codecs)).map(drop)?,
        (None, false) => {
            print(|output| Ok(write!(output, "{}", sketch.text(&name, &codecs))?)).map(drop)?;
        }
    }
    let damaged = sketch.damaged();
    if damaged.is_empty() {
        return Ok(Outcome::Fine);
    }
    let pages: Vec<String> = damaged.iter().map(u64::to_string).collect();
    let (file, pages) = (args.file.display(), pages.join(", "));
    tell(&format!("{file}: damaged: page {pages}; \"mapleaf verify\" lists all the damage"));
    Ok(Outcome::Problem)
}

fn document<'s>(sketch: &'s Sketch, codecs: &Codecs) -> Document<'s> {
    let table = &sketch.table;
    Document {
        txn: sketch.txn,
        table: &table.name,
        entries: table.len,
        levels: table.levels,
        overflow_pages: table.overflow_pages,
        set_trees: table.set_trees,
        page_size: sketch.page_size,
        root: sketch.root.as_ref().map(|root| page(root, codecs)),
    }
}

fn page(node: &Node, codecs: &Codecs) -> PageDocument {
    let (damaged, used_bytes, items, items_apart) = match &node.found {
        Found::Damaged(why) => (Some(why.clone()), None, None, None),
        Found::Page { used_bytes, items, apart } => (None, Some(*used_bytes), Some(*items), Some(*apart)),
    };
    PageDocument {
        page: node.reference.page,
        level: node.reference.level,
        birth: node.reference.birth,
        entries: node.reference.entries,
        from: if node.from.is_empty() { String::new() } else { codecs.key.bound(&node.from) },
        to: node.to.as_deref().map(|to| codecs.key.bound(to)),
        damaged,
        used_bytes,
        items,
        items_apart,
        children: node.children.iter().map(|(_, child)| page(child, codecs)).collect(),
        children_left_out: node.children.iter().map(|(omitted, _)| omitted).sum(),
    }
}
