//! `mapleaf salvage`: rescuing what is whole of a damaged file into a new one. The damaged one is only read.

use crate::cli::JsonArg;
use crate::failure::{Failure, Outcome, Result, tell};
use crate::formats::{Codec, Format};
use crate::output::{Output, counted, plural, print, print_json};
use crate::progress::Meter;
use crate::store::{expect_absent, shown, unopened};
use indicatif::HumanCount;
use mapleaf::{Error, LostRange, LostValue, Salvage, SalvageReport, SalvagedTable};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// The arguments of salvage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Looks at every page. Where both meta slots can be read, the last checkpoint is followed, what is behind damaged pages is found by itself, and the log is carried out; else every table is put together from its pages, the newest first. The file is not changed; nobody can write to it meanwhile. Exit code 1 when something is lost or in doubt; what, is listed on standard output.\n\nExamples:\n  mapleaf salvage broken.maple --output rescued.maple\n  mapleaf salvage broken.maple --dry-run --json | jq '.tables[].lost'"
)]
pub struct Args {
    /// The damaged store
    pub file: PathBuf,
    /// The new store; there must be no such file
    #[arg(short = 'o', long, value_name = "NEW", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Only say what could be recovered
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    /// Leave out what is only found in older versions of lost pages
    #[arg(long)]
    no_older: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    args.output.as_deref().map_or(Ok(()), |output| expect_absent(output, &args.file))?;
    let salvage =
        Salvage::of(&args.file).map_err(|error| args.explained(error))?.older_versions(!args.no_older);
    let report = {
        let mut meter: Option<Meter> = None;
        let mut progress = |progress: mapleaf::Progress| {
            let meter =
                meter.get_or_insert_with(|| Meter::new("salvaging", "pages", Some(progress.page_count)));
            meter.set(progress.pages);
        };
        match &args.output {
            Some(output) => salvage.write_to(output, &mut progress),
            None => salvage.survey(&mut progress),
        }
        .map_err(|error| args.explained(error))?
    };
    match args.json.json {
        true => print_json(&document(&report))?,
        false => print(|output| print_text(output, &report))?,
    };
    if report.is_complete() {
        return Ok(Outcome::Fine);
    }
    tell(&format!(
        "{}: not everything could be recovered for certain; keep the file as it is",
        args.file.display()
    ));
    Ok(Outcome::Problem)
}

impl Args {
    /// Any damage is expected here, but for a file of which nothing is whole.
    fn explained(&self, error: Error) -> Failure {
        match error {
            Error::NotAStore { detail } => {
                let detail = detail.strip_prefix(&format!("{}: ", self.file.display())).unwrap_or(&detail);
                Failure::problem(format!("not a mapleaf store: {detail}"))
            }
            // Here is where one would be sent.
            Error::Corrupt { page, detail } => Failure::problem(format!("page {page}: {detail}")),
            other => unopened(&self.file, other),
        }
    }
}

fn codec_of(table: &SalvagedTable) -> Codec {
    Format::Auto.codec(&table.schema.key_type)
}

fn document(report: &SalvageReport) -> Value {
    let table = |table: &SalvagedTable| {
        let codec = codec_of(table);
        let range = |lost: &LostRange| {
            let to = lost.behind.to.as_ref().map(|to| codec.bound(to));
            json!({
                "page": lost.page, "detail": lost.detail, "from": codec.bound(&lost.behind.from), "to": to,
                "entries": lost.behind.entries, "found": lost.found, "older": lost.older,
            })
        };
        let value = |lost: &LostValue| json!({ "key": codec.bound(&lost.key), "detail": lost.detail });
        json!({
            "table": table.name, "listed": table.is_listed, "entries": table.entries, "older": table.older,
            "expected": table.expected,
            "lost": table.lost.iter().map(range).collect::<Vec<_>>(),
            "lost_values": table.lost_values.iter().map(value).collect::<Vec<_>>(),
        })
    };
    let page = |bad: &mapleaf::BadPage| json!({ "page": bad.page, "detail": bad.detail });
    json!({
        "complete": report.is_complete(),
        "page_size": report.page_size,
        "page_count": report.page_count,
        "checkpoint": report.checkpoint,
        "log_txns": report.log_txns,
        "notes": report.notes,
        "bad_pages": report.bad_pages.iter().map(page).collect::<Vec<_>>(),
        "tables": report.tables.iter().map(table).collect::<Vec<_>>(),
    })
}

/// What was recovered, table by table.
pub fn print_text(output: &mut Output, report: &SalvageReport) -> Result<()> {
    for note in &report.notes {
        writeln!(output, "{note}")?;
    }
    for bad in &report.bad_pages {
        writeln!(output, "page {}: {}", bad.page, bad.detail)?;
    }
    for table in &report.tables {
        print_table(output, table)?;
    }
    match report.checkpoint {
        Some(txn) => {
            let txns = counted(report.log_txns, "txn", "txns");
            writeln!(output, "from checkpoint {txn} and {txns} of the log")?
        }
        None => writeln!(output, "from the pages alone: which checkpoint was the last is not known")?,
    }
    Ok(writeln!(output, "{}", judgement(report))?)
}

/// What was rescued of what there was, and whether it is right.
fn judgement(report: &SalvageReport) -> String {
    let entries: u64 = report.tables.iter().map(|table| table.entries).sum();
    let tables = counted(report.tables.len() as u64, "table", "tables");
    if report.is_complete() {
        return format!("complete: {tables}, {}", counted(entries, "entry", "entries"));
    }
    let expected: Option<u64> = report.tables.iter().map(|table| table.expected).sum();
    let mut judgement = match expected.filter(|expected| *expected >= entries) {
        Some(expected) => {
            format!("rescued {} of {}", HumanCount(entries), counted(expected, "entry", "entries"))
        }
        None => format!("rescued {}", counted(entries, "entry", "entries")),
    };
    let is_torn = |table: &&SalvagedTable| !table.lost.is_empty() || !table.lost_values.is_empty();
    let torn = report.tables.iter().filter(is_torn).count() as u64;
    if torn > 0 {
        judgement += &format!("; {torn} of {tables} {} not whole", plural(torn, "is", "are"));
    }
    let older: u64 = report.tables.iter().map(|table| table.older).sum();
    if older > 0 {
        let are = plural(older, "is from an older version", "are from older versions");
        judgement += &format!("; {} {are} and may have been changed or deleted since", HumanCount(older));
    }
    let unlisted = report.tables.iter().filter(|table| !table.is_listed).count() as u64;
    if unlisted > 0 {
        let have = plural(unlisted, "table has lost its name", "tables have lost their names");
        judgement += &format!("; {unlisted} {have}");
    }
    if report.checkpoint.is_none() || !report.notes.is_empty() {
        judgement += "; whether that is the last that was committed is not certain";
    }
    judgement
}

fn print_table(output: &mut Output, table: &SalvagedTable) -> Result<()> {
    let codec = codec_of(table);
    let entries = match table.expected {
        Some(expected) => {
            format!("{} of {}", HumanCount(table.entries), counted(expected, "entry", "entries"))
        }
        None => counted(table.entries, "entry", "entries"),
    };
    let listed = if table.is_listed { "" } else { ", whose name and types are lost" };
    let older = match table.older {
        0 => String::new(),
        older => format!(", {older} of them from older versions"),
    };
    writeln!(output, "table {}{listed}: {entries}{older}", shown(&table.name))?;
    for lost in &table.lost {
        let keys = codec.range(&lost.behind.from, lost.behind.to.as_deref());
        let LostRange { page, detail, found, older, .. } = lost;
        let found = format!("{found} found elsewhere, {older} in older versions");
        let entries = counted(lost.behind.entries, "entry", "entries");
        writeln!(output, "  {keys}: {entries} behind page {page} ({detail}); {found}")?;
    }
    for lost in &table.lost_values {
        writeln!(output, "  the value of {}: {}", codec.quoted(&lost.key), lost.detail)?;
    }
    Ok(())
}
