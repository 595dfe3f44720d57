//! `mapleaf compact`: making the file shorter, while others read and write.

use crate::cli::{ReportArgs, TurnArg};
use crate::failure::{Result, tell};
use crate::output::counted;
use crate::progress::Meter;
use crate::store::open_to_write;
use mapleaf::{Budget, Compacted, Database};
use serde_json::json;
use std::path::PathBuf;

/// The arguments of compact.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Pages at the end of the file are moved to free ones in front, and the end is cut off. Others read and write meanwhile: between the steps, each of which is a commit. What a snapshot holds, a reader's or a stored one, is not moved; where that keeps the file long it is said, with the txn (\"mapleaf readers\" and \"mapleaf snapshot list\" say whose it is). It can be stopped at any time.\n\nPages stay as full as they are. \"mapleaf copy --compact\" writes them full, to a new file.\n\nExamples:\n  mapleaf compact app.maple\n  mapleaf compact app.maple --step 64     # more commits, each shorter\n  mapleaf compact app.maple --json"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// Pages that one commit moves, at most
    #[arg(long, value_name = "PAGES", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
    #[command(flatten)]
    turn: TurnArg,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_write(&args.file, false, None)?;
    let done = compact(&db, args)?;
    let (page_size, len) = (db.page_size() as u64, db.file_usage()?.len);
    db.close()?;
    if let Some(txn) = done.held_by {
        tell(&format!(
            "{}: a snapshot of txn {txn} or older ones hold the file longer than it need be; see \"mapleaf readers\" and \
             \"mapleaf snapshot list\"",
            args.file.display()
        ));
    }
    let Compacted { moved_pages, steps, page_count, freed_bytes, held_by, .. } = done;
    let line = format!(
        "{} moved in {}; {} shorter, {} now",
        counted(moved_pages, "page", "pages"),
        counted(steps, "commit", "commits"),
        counted(freed_bytes, "byte", "bytes"),
        counted(len, "byte", "bytes"),
    );
    args.report.tell(
        &line,
        &json!({
            "moved_pages": moved_pages, "steps": steps, "page_count": page_count, "page_size": page_size,
            "freed_bytes": freed_bytes, "file_bytes": len, "held_by": held_by,
        }),
    )
}

/// Steps until nothing is left to do.
fn compact(db: &Database, args: &Args) -> Result<Compacted> {
    let mut all = Compacted::default();
    let mut meter = None;
    loop {
        drop(args.turn.begin(db)?);
        let done = db.compact(Budget::pages(args.step))?;
        all.moved_pages += done.moved_pages;
        all.steps += done.steps;
        all.freed_bytes += done.freed_bytes;
        (all.page_count, all.held_by) = (done.page_count, done.held_by);
        if done.is_done {
            return Ok(all);
        }
        // Mostly there is one pass that moves anything.
        let meter: &Meter =
            meter.get_or_insert_with(|| Meter::new("compacting", "pages", Some(done.pages_behind)));
        meter.set(all.moved_pages);
    }
}
