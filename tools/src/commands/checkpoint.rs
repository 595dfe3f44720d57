//! `mapleaf checkpoint`: everything committed is brought to its place, and the log is empty.

use crate::cli::{ReportArgs, TurnArg};
use crate::failure::Result;
use crate::output::counted;
use crate::store::open_to_write;
use serde_json::json;
use std::path::PathBuf;

/// The arguments of checkpoint.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Opening a store to write does this by itself; the last one to close it, too. Use it before copying a store that was not closed to a medium where it can only be read.\n\nExamples:\n  mapleaf checkpoint app.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    turn: TurnArg,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_write(&args.file, false, None)?;
    drop(args.turn.begin(&db)?);
    db.checkpoint()?;
    let (txn, replayed) = (db.begin_read()?.txn_id(), db.counters().replayed_txns);
    db.close()?;
    let line = format!("txn {txn}; {} replayed from the log", counted(replayed, "txn was", "txns were"));
    args.report.tell(&line, &json!({ "txn": txn, "replayed_txns": replayed }))
}
