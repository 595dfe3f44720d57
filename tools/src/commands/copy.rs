//! `mapleaf copy`: one state of a store as another store, while others read and write.
//!
//! It is a backup that is restored at once, through a pipe, so nothing but the copy is written; with `--compact`, every table is put anew.

use super::backup::parse_bytes;
use crate::cli::{LogArg, ReportArgs, SnapshotArg};
use crate::failure::{Failure, Result};
use crate::output::counted;
use crate::progress::Meter;
use crate::store::{expect_absent, open_to_read};
use mapleaf::{Backup, Error, ReadTxn, Restore, RestoreReport};
use serde_json::json;
use std::fs;
use std::io::{BufReader, Read, pipe};
use std::path::{Path, PathBuf};
use std::thread;

/// The arguments of copy.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The copy is of one commit; others read and write meanwhile (cp would mix several states). It gets its name when every page was judged and is on the disk; until then, and after any failure, nothing is there. It is a store of its own, with an id of its own, without the stored snapshots.\n\nExamples:\n  mapleaf copy app.maple copy.maple\n  mapleaf copy app.maple monday.maple --snapshot monday --throttle 50M\n  mapleaf copy --compact app.maple small.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// The copy; there must be no such file
    #[arg(value_name = "NEW")]
    to: PathBuf,
    #[command(flatten)]
    snapshot: SnapshotArg,
    /// Read at most so many bytes a second; K, M and G stand for 2^10, 2^20 and 2^30
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    throttle: Option<u64>,
    /// Write every table anew, in order of its keys, into full pages; costs reading and putting every entry
    #[arg(short = 'c', long, conflicts_with = "throttle")]
    compact: bool,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    expect_absent(&args.to, &args.file)?;
    let db = open_to_read(&args.file, args.log)?;
    let txn = args.snapshot.begin(&db)?;
    let entries = match args.compact {
        true => compacted(&txn, &args.to)?,
        false => {
            let backup = args.throttle.into_iter().fold(txn.backup()?, Backup::throttle);
            copied(backup, &args.file, &args.to)?.entries
        }
    };
    let (txn, len) = (txn.txn_id(), fs::metadata(&args.to).map_or(0, |file| file.len()));
    let line =
        format!("{} of txn {txn}, {}", counted(entries, "entry", "entries"), counted(len, "byte", "bytes"));
    args.report.tell(&line, &json!({ "entries": entries, "txn": txn, "file_bytes": len }))
}

/// Makes a new store of a backup.
pub fn copied(backup: Backup<'_>, store: &Path, to: &Path) -> Result<RestoreReport> {
    let broken = |error: std::io::Error| Failure::problem(format!("cannot make a pipe: {error}"));
    let (from, into) = pipe().map_err(broken)?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || backup.stream_to(into, &mut |_| {}));
        let mut meter: Option<Meter> = None;
        let restored = {
            let from: Box<dyn Read> = Box::new(BufReader::with_capacity(1 << 20, from));
            Restore::of_streams([(store.display().to_string(), from)]).and_then(|restore| {
                restore.write_to(to, &mut |progress| {
                    let total = Some(progress.page_count);
                    meter.get_or_insert_with(|| Meter::new("copying", "pages", total)).set(progress.pages);
                })
            })
        };
        drop(meter);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (restored, sent) {
            (Ok(report), _) => Ok(report),
            // What the sender found is why the rest was missed; but not that nobody reads any more.
            (Err(_), Err(error)) if !is_closed(&error) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
        }
    })
}

/// Makes a new store of every table, and returns how many entries it has.
fn compacted(from: &ReadTxn, to: &Path) -> Result<u64> {
    let tables = from.tables()?;
    let meter = Meter::new("copying", "entries", Some(tables.iter().map(|table| table.len).sum()));
    Ok(from.copy_compact(to, &mut |entries| meter.set(entries))?)
}

fn is_closed(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}
