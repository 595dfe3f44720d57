//! `mapleaf restore`: a new store from a backup, or from a chain of them.

use super::backup::document_of;
use super::snapshot::date;
use crate::cli::ReportArgs;
use crate::failure::{Failure, Outcome, Result};
use crate::output::{Output, counted, print, print_json};
use crate::progress::Meter;
use crate::store::expect_absent;
use mapleaf::{BackupInfo, Restore, RestoreReport};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write, stdin};
use std::path::{Path, PathBuf};

/// The arguments of restore.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The backups are given in the order in which they were made: a full one, then those that were made since the one before. What is missing, damaged, cut or of another store is refused, and named. The store gets its name when all of it was judged and is on the disk; until then, and after any failure, nothing is there. It is a store of its own, with an id of its own: its first backup is a full one.\n\nExamples:\n  mapleaf restore sunday.backup -o app.maple\n  mapleaf restore sunday.backup monday.backup tuesday.backup -o app.maple\n  mapleaf restore *.backup --to-txn 4711 -o monday.maple\n  mapleaf restore *.backup --dry-run\n  zstd -dc app.backup.zst | mapleaf restore - -o app.maple"
)]
pub struct Args {
    /// The backups; - is standard input
    #[arg(required = true, value_name = "BACKUP")]
    backups: Vec<PathBuf>,
    /// The new store; there must be no such file
    #[arg(short = 'o', long, value_name = "NEW", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// The state of this txn, one of those that were backed up; by default the newest
    #[arg(long, value_name = "TXN")]
    to_txn: Option<u64>,
    /// Only list the backups, and read all of them to see whether they are whole
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    #[command(flatten)]
    report: ReportArgs,
}

impl Args {
    /// What it works on, for messages.
    pub fn file(&self) -> &PathBuf {
        self.output.as_ref().unwrap_or(&self.backups[0])
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    if let Some(output) = &args.output {
        args.backups.iter().try_for_each(|backup| expect_absent(output, backup))?;
    }
    args.backups.iter().filter(|path| !is_stdin(path)).try_for_each(|path| expect_file(path))?;
    let restore = match args.backups.iter().filter(|path| is_stdin(path)).count() {
        0 => Restore::of(&args.backups)?,
        1 => Restore::of_streams(streams(&args.backups)?)?,
        _ => return Err(Failure::Usage("standard input can be one of the backups only".into())),
    };
    let known = restore.backups();
    let restore = args.to_txn.into_iter().try_fold(restore, Restore::up_to)?;
    let mut meter: Option<Meter> = None;
    let doing = if args.dry_run { "reading" } else { "restoring" };
    let mut progress = |progress: mapleaf::Progress| {
        let total = Some(progress.page_count).filter(|_| !args.dry_run);
        meter.get_or_insert_with(|| Meter::new(doing, "pages", total)).set(progress.pages);
    };
    match &args.output {
        Some(output) => {
            let report = restore.write_to(output, &mut progress)?;
            drop(meter);
            args.print_report(&report)
        }
        None => {
            let pages = restore.check(&mut progress)?;
            drop(meter);
            args.print_list(&known, pages)
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Fails where a backup cannot be read. What is a pipe is not opened twice.
pub fn expect_file(path: &Path) -> Result<()> {
    let name = path.display().to_string();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Failure::elsewhere(name, "a directory, and a backup is a file")),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::unread(name, &error)),
    }
}

fn streams(paths: &[PathBuf]) -> Result<Vec<(String, Box<dyn Read>)>> {
    let open = |path: &PathBuf| -> Result<(String, Box<dyn Read>)> {
        if is_stdin(path) {
            return Ok(("standard input".into(), Box::new(stdin().lock())));
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::unread(&name, &error))?;
        Ok((name, Box::new(BufReader::new(file))))
    };
    paths.iter().map(open).collect()
}

impl Args {
    fn print_report(&self, report: &RestoreReport) -> Result {
        let RestoreReport { txn_id, page_count, pages, tables, entries, .. } = report;
        self.report.tell(
            &format!(
                "txn {txn_id}: {} restored; {}, {}",
                counted(*pages, "page", "pages"),
                counted(*tables, "table", "tables"),
                counted(*entries, "entry", "entries"),
            ),
            &json!({
                "txn": txn_id, "page_count": page_count, "pages": pages, "tables": tables, "entries": entries,
            }),
        )
    }

    fn print_list(&self, known: &[BackupInfo], pages: u64) -> Result {
        if self.report.is_json() {
            let list: Vec<_> = known.iter().map(document_of).collect();
            return print_json(&json!({ "backups": list, "pages": pages, "whole": true }));
        }
        if self.report.is_quiet() {
            return Ok(Outcome::Fine);
        }
        print(|output| print_table(output, known, pages))
    }
}

fn print_table(output: &mut Output, known: &[BackupInfo], pages: u64) -> Result<()> {
    for info in known {
        let since = info.base.map_or("full".to_owned(), |base| format!("since txn {base}"));
        writeln!(output, "txn {}, {since}, {}: {}", info.txn_id, date(info.created), info.name)?;
    }
    Ok(writeln!(
        output,
        "whole: {} in {}",
        counted(pages, "page", "pages"),
        counted(known.len() as u64, "backup", "backups")
    )?)
}
