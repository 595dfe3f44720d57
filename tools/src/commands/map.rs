//! `mapleaf map`: which page is what, as a picture.

use crate::cli::{JsonArg, LogArg, order};
use crate::drawing::PictureFormat;
use crate::failure::{Outcome, Result, tell};
use crate::output::{print, print_json, print_written};
use crate::progress::Meter;
use crate::space_map::{BESIDE, By, Entry, PICTURE_CELLS, Plot, SpaceMap, Whole};
use crate::store::open_to_read;
use crate::terminal::{self, Colors, When};
use mapleaf::{Database, PageDetail, ReadTxn};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The arguments of map.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A cell stands for so many pages that the file fits; one of several kinds of pages shows the mix. \
                  Rows run right, then left, so that what lies side by side in the file does so in the picture. It is of the newest \
                  state: a stored snapshot does not say what the pages are that it does not hold (\"mapleaf tree\" has --snapshot).\n\n\
                  It reads the branches of all tables, about one page in 150, and the space records; which table a large value \
                  or the values of a key of a multimap belong to only leaves tell, where several tables have such. --by fill \
                  and --leaves read every page of every table, though no large values.\n\n\
                  Examples:\n  mapleaf map app.maple\n  mapleaf map app.maple --by age -o age.png\n  \
                  mapleaf map --json app.maple | jq '.legend[] | {name, bytes}'"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// What the colours say
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Kind)]
    by: By,
    /// Write a picture: its name ends with .svg or .png
    #[arg(short, long, value_name = "PICTURE")]
    output: Option<PathBuf>,
    /// Read leaves too: tells whose large values and sets are where
    #[arg(long)]
    leaves: bool,
    /// Cells in a row; by default as many as fit
    #[arg(long, value_name = "CELLS", value_parser = clap::value_parser!(u16).range(8..=4096))]
    width: Option<u16>,
    /// Colours in text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, display_order = order::COLOR)]
    color: When,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Serialize)]
struct Document<'m> {
    txn: u64,
    page_size: u64,
    page_count: u64,
    by: By,
    legend: Vec<EntryDocument>,
    pages_per_cell: u64,
    /// For each cell, from the start of the file: numbers of entries of the legend, and pages of each.
    cells: &'m [Vec<(usize, u64)>],
}

#[derive(Serialize)]
struct EntryDocument {
    name: String,
    pages: u64,
    bytes: u64,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    args.output.as_deref().map_or(Ok(()), |path| PictureFormat::of(path).map(drop))?;
    let db = open_to_read(&args.file, args.log)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let width = args.width.map(usize::from);
    if let Some(path) = &args.output {
        let most = width.map_or(PICTURE_CELLS, |width| (width * width) as u64 / 2);
        let map = survey(&db, args, most)?;
        map.draw(&name, width).save(path)?;
        if args.json.json {
            print_written(path, &[])?;
        }
        return Ok(outcome(&map, &args.file));
    }
    let colors = Colors::of_output(args.color);
    let (columns, lines) = terminal::size();
    let columns = width.unwrap_or_else(|| round(columns.saturating_sub(BESIDE + 1).max(8)));
    let rows = lines.saturating_sub(18).max(8) * if colors == Colors::No { 1 } else { 2 };
    let map = survey(&db, args, (columns * rows) as u64)?;
    match args.json.json {
        true => print_json(&document(&map))?,
        false => print(|output| Ok(write!(output, "{}", map.text(&name, columns, colors))?))?,
    };
    Ok(outcome(&map, &args.file))
}

/// Sixteens, where there are two: rows of so many cells begin at round places.
fn round(columns: usize) -> usize {
    if columns < 32 { columns } else { columns / 16 * 16 }
}

fn survey(db: &Database, args: &Args, most_cells: u64) -> Result<SpaceMap> {
    let txn = db.begin_read()?;
    let detail = if args.leaves { PageDetail::Leaves } else { args.by.detail() };
    let mut plot = Plot::new(whole(db, &txn), args.by, most_cells);
    let (meter, mut seen) = (Meter::new("looking", "pages", Some(txn.page_count())), 0);
    txn.visit_pages(detail, &mut |run| {
        plot.add(run);
        seen += run.pages;
        meter.set(seen);
    })?;
    Ok(plot.finish())
}

/// The map is shown; damage in it is said besides.
fn outcome(map: &SpaceMap, file: &Path) -> Outcome {
    let Some(damaged) = map.damaged() else { return Outcome::Fine };
    let pages = if damaged == 1 { "1 page is".into() } else { format!("{damaged} pages are") };
    tell(&format!("{}: {pages} damaged; \"mapleaf verify\" says what was there", file.display()));
    Outcome::Problem
}

/// What a snapshot says of the store as a whole. Where the catalog or the list of snapshots is damaged it says less, and
/// the map shows the damage.
pub fn whole(db: &Database, txn: &ReadTxn) -> Whole {
    Whole {
        txn: txn.txn_id(),
        page_size: db.page_size() as u64,
        page_count: txn.page_count(),
        tables: txn.tables().unwrap_or_default(),
        snapshots: txn.snapshots().unwrap_or_default().iter().map(|snapshot| snapshot.txn_id).collect(),
    }
}

fn document(map: &SpaceMap) -> Document<'_> {
    let page_size = map.whole.page_size;
    let entry = |entry: &'_ Entry| EntryDocument {
        name: entry.name.clone(),
        pages: entry.pages,
        bytes: entry.pages * page_size,
    };
    Document {
        txn: map.whole.txn,
        page_size,
        page_count: map.whole.page_count,
        by: map.by,
        legend: map.legend.iter().map(entry).collect(),
        pages_per_cell: map.pages_per_cell,
        cells: &map.cells,
    }
}
