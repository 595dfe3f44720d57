//! `mapleaf backup`: one state of a store to a file or a pipe, whole or as what was changed, while others
//! read and write.

use super::restore::expect_file;
use crate::cli::{LogArg, ReportArgs, SnapshotArg, TurnArg};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{counted, taken};
use crate::progress::Meter;
use crate::store::{open_to_read, open_to_write};
use mapleaf::{Backup, BackupInfo, BackupReport, Database, Error};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The arguments of backup.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The backup is of one commit; others read and write meanwhile. A file gets its name when all of it is on the disk: until then, and after any failure, a backup of that name stays as it was. What is there and is no backup is not replaced.\n\nWith --since only what was changed behind another backup is written, at a cost that follows the change. To restore it takes that one too, and those that it was made since: \"mapleaf restore\" gets all of them, in order. Of the other backup its first 128 bytes are enough.\n\nThe store is opened to write, and its newest state made a checkpoint, so that later backups can be made since this one. Who may only read it gets a backup too, mostly one that none can be made since.\n\nExamples:\n  mapleaf backup app.maple -o sunday.backup\n  mapleaf backup app.maple --since sunday.backup -o monday.backup\n  mapleaf backup app.maple -o - --throttle 20M | zstd | ssh host 'cat > app.backup.zst'\n  mapleaf restore sunday.backup monday.backup -o app.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// The backup; - is standard output
    #[arg(short = 'o', long, value_name = "BACKUP")]
    output: PathBuf,
    /// Only what was changed since this backup of the same store
    #[arg(long, value_name = "BACKUP")]
    since: Option<PathBuf>,
    #[command(flatten)]
    snapshot: SnapshotArg,
    /// Write at most so many bytes a second; K, M and G stand for 2^10, 2^20 and 2^30
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    throttle: Option<u64>,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    turn: TurnArg,
    #[command(flatten)]
    report: ReportArgs,
}

/// A number of bytes from the command line.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("expected a number, or one with K, M or G behind it".into()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "expected a number of bytes above 0".into())
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let is_stream = args.output.as_os_str() == "-";
    if is_stream && stdout().is_terminal() {
        return Err(Failure::Usage("standard output is a terminal: -o FILE, or a pipe behind it".into()));
    }
    if is_stream && args.report.is_json() {
        return Err(taken("the backup"));
    }
    // Before the store is touched.
    args.since.as_deref().map_or(Ok(()), expect_file)?;
    let base = args.since.as_ref().map(BackupInfo::read).transpose()?;
    let (db, unwritten) = args.open()?;
    let snapshot = args.snapshot.asked().map(|name| db.read_snapshot(name)).transpose()?;
    let backup = match &snapshot {
        Some(snapshot) => snapshot.backup(),
        None => db.backup(),
    }?;
    let backup = base.iter().try_fold(backup, |backup, base| backup.since(base))?;
    let backup = args.throttle.into_iter().fold(backup, Backup::throttle);
    let report = args.write(backup, is_stream)?;
    if !report.info.can_be_continued {
        let why = unwritten.map_or("its state is none".into(), |failure| failure.message());
        tell(&format!(
            "{}: no other backup can be made since this one, as it can only since a checkpoint: {why}",
            args.file.display()
        ));
    }
    match is_stream {
        true => Ok(Outcome::Fine),
        false => args.report.tell(&line(&report), &document(&report)),
    }
}

impl Args {
    /// To write, where that can be and is of use; else to read, and why.
    fn open(&self) -> Result<(Database, Option<Failure>)> {
        let read = || open_to_read(&self.file, self.log);
        if self.snapshot.asked().is_some() || self.log.ignore_log {
            return Ok((read()?, None));
        }
        match open_to_write(&self.file, false, None) {
            Ok(db) => {
                drop(self.turn.begin(&db)?);
                Ok((db, None))
            }
            Err(failure) => Ok((read()?, Some(failure))),
        }
    }

    fn write(&self, backup: Backup<'_>, is_stream: bool) -> Result<BackupReport> {
        let mut meter: Option<Meter> = None;
        let is_whole = self.since.is_none();
        let mut progress = |progress: mapleaf::Progress| {
            let total = Some(progress.page_count).filter(|_| is_whole);
            meter.get_or_insert_with(|| Meter::new("backing up", "pages", total)).set(progress.pages);
        };
        if !is_stream {
            return Ok(backup.write_to(&self.output, &mut progress)?);
        }
        let to = stdout().as_fd().try_clone_to_owned().map(File::from);
        let to = to.map_err(|error| Failure::elsewhere("standard output", error.to_string()))?;
        backup.stream_to(to, &mut progress).map_err(|error| match error {
            Error::Io { source, .. } => Failure::elsewhere(
                "standard output",
                format!("cannot write: {source}; what was written is no backup"),
            ),
            other => other.into(),
        })
    }
}

fn line(report: &BackupReport) -> String {
    let info = &report.info;
    let since = info.base.map(|base| format!(" since txn {base}")).unwrap_or_default();
    let (pages, bytes) = (counted(report.pages, "page", "pages"), counted(report.bytes, "byte", "bytes"));
    format!("txn {}{since}: {pages}, {bytes}", info.txn_id)
}

/// What a backup is.
pub fn document_of(info: &BackupInfo) -> Value {
    let id: String = info.store_id.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "backup": info.name, "store": id, "since": info.base, "txn": info.txn_id, "created": info.created,
        "page_size": info.page_size, "page_count": info.page_count, "tables": info.tables,
        "user_version": info.user_version, "can_be_continued": info.can_be_continued,
    })
}

fn document(report: &BackupReport) -> Value {
    let mut document = document_of(&report.info);
    document["pages"] = report.pages.into();
    document["bytes"] = report.bytes.into();
    document
}
