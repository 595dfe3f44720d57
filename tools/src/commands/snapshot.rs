//! `mapleaf snapshot`: states of the store that have a name and stay until they are dropped.

use crate::cli::{JsonArg, LogArg, TurnArg};
use crate::failure::{Outcome, Result};
use crate::output::{Output, print, print_json, print_line};
use crate::store::{open_to_read, open_to_write, shown};
use mapleaf::{Error, StoredSnapshot, WriteTxn};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The arguments of snapshot.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A snapshot keeps the pages that it sees and that were replaced since: nothing is copied when it is made. get, scan, dump and tables read it with --snapshot NAME.\n\nExamples:\n  mapleaf snapshot create app.maple before-upgrade\n  mapleaf snapshot list app.maple\n  mapleaf scan app.maple --snapshot before-upgrade\n  mapleaf snapshot drop app.maple before-upgrade"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, with what each keeps from being reused
    List {
        /// The store
        file: PathBuf,
        #[command(flatten)]
        log: LogArg,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Give the newest state a name
    Create {
        /// The store
        file: PathBuf,
        /// The name
        name: String,
        #[command(flatten)]
        turn: TurnArg,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Take a snapshot's name away, so that what only it keeps comes free
    Drop {
        /// The store
        file: PathBuf,
        /// The name
        name: String,
        #[command(flatten)]
        turn: TurnArg,
        #[command(flatten)]
        json: JsonArg,
    },
}

impl Args {
    /// The store it works on.
    pub fn file(&self) -> &PathBuf {
        match &self.action {
            Action::List { file, .. } | Action::Create { file, .. } | Action::Drop { file, .. } => file,
        }
    }
}

/// One as JSON has it.
#[derive(Serialize)]
pub struct Document<'s> {
    name: &'s str,
    txn: u64,
    /// Seconds since 1970.
    created: u64,
    tables: u64,
    user_version: u64,
    pages_retained: u64,
    pages_alone: u64,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    match &args.action {
        Action::List { file, log, json } => {
            let snapshots = open_to_read(file, *log)?.snapshots()?;
            match json.json {
                true => print_json(&snapshots.iter().map(document).collect::<Vec<_>>()),
                false if snapshots.is_empty() => print_line("no snapshots"),
                false => print(|output| print_table(&snapshots, output)),
            }
        }
        Action::Create { file, name, turn, json } => {
            let txn = change(file, *turn, |txn| Ok(txn.create_snapshot(name)?))?;
            told(json, &json!({ "snapshot": name, "created": true, "txn": txn }))
        }
        Action::Drop { file, name, turn, json } => {
            let txn = change(file, *turn, |txn| {
                if txn.drop_snapshot(name)? {
                    return Ok(());
                }
                let known = txn.snapshots()?.into_iter().map(|snapshot| snapshot.name).collect();
                Err(Error::SnapshotNotFound { name: name.clone(), known }.into())
            })?;
            told(json, &json!({ "snapshot": name, "dropped": true, "txn": txn }))
        }
    }
}

/// Changes the store in a txn of its own, and returns which.
fn change(file: &Path, turn: TurnArg, change: impl FnOnce(&mut WriteTxn) -> Result<()>) -> Result<u64> {
    let db = open_to_write(file, false, None)?;
    let mut txn = turn.begin(&db)?;
    let id = txn.txn_id();
    change(&mut txn)?;
    txn.commit()?;
    db.close()?;
    Ok(id)
}

/// Who asks for no JSON knows already.
fn told(json: &JsonArg, document: &Value) -> Result {
    if json.json { print_json(document) } else { Ok(Outcome::Fine) }
}

/// What JSON says of one.
pub fn document(snapshot: &StoredSnapshot) -> Document<'_> {
    let StoredSnapshot { info, pages_retained, pages_alone, .. } = snapshot;
    Document {
        name: &info.name,
        txn: info.txn_id,
        created: info.created,
        tables: info.tables,
        user_version: info.user_version,
        pages_retained: *pages_retained,
        pages_alone: *pages_alone,
    }
}

/// Numbers to the right, names to the left; every column as wide as what is in it.
fn print_table(snapshots: &[StoredSnapshot], output: &mut Output) -> Result<()> {
    let head = ["txn", "created", "tables", "retained", "alone", "name"].map(String::from);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(snapshots.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e, _] = std::array::from_fn(width);
    for [txn, created, tables, retained, alone, name] in &rows {
        writeln!(output, "{txn:>a$}  {created:>b$}  {tables:>c$}  {retained:>d$}  {alone:>e$}  {name}")?;
    }
    Ok(())
}

fn row(snapshot: &StoredSnapshot) -> [String; 6] {
    let StoredSnapshot { info, pages_retained, pages_alone, .. } = snapshot;
    [
        info.txn_id.to_string(),
        date(info.created),
        info.tables.to_string(),
        pages_retained.to_string(),
        pages_alone.to_string(),
        shown(&info.name),
    ]
}

/// A number of seconds since 1970 as a time of UTC.
pub fn date(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    // The year 9999 is the last that has a date.
    let time = time.filter(|_| seconds < 253_402_300_800);
    time.map_or_else(
        || format!("second {seconds}"),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
