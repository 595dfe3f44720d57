//! `mapleaf trim`: free space goes back to the file system; the file keeps its length.

use crate::cli::{ReportArgs, TurnArg};
use crate::failure::{Failure, Result};
use crate::store::open_to_write;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The arguments of trim.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All that is free and large enough becomes holes in the file, which take no room on the disk; the file is as long as before. Others read and write meanwhile. What snapshots hold stays. Writing there again takes room again, and so does copying the file with a program that fills holes.\n\nA store gives large free runs back by itself. To make the file shorter: \"mapleaf compact\".\n\nExamples:\n  mapleaf trim app.maple\n  mapleaf trim app.maple --json"
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
    let trimmed = db.trim()?;
    db.close()?;
    let disk_bytes = std::fs::metadata(&args.file).map_or(0, |file| 512 * file.blocks());
    if !trimmed.is_supported {
        let file = args.file.display().to_string();
        return Err(Failure::elsewhere(
            file,
            "its file system cannot take space back from the middle of a file",
        ));
    }
    let line = format!("{} bytes given back, {disk_bytes} bytes on the disk now", trimmed.bytes);
    args.report.tell(&line, &json!({ "trimmed_bytes": trimmed.bytes, "disk_bytes": disk_bytes }))
}
