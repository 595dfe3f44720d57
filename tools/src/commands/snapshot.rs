//! `mapleaf snapshot`: states of the store that have a name and stay until they are dropped.

use crate::cli::{JsonArg, LogArg, TurnArg};
use crate::failure::Result;
use crate::output::{Output, print, print_document};
use crate::store::{open_to_read, open_to_write, shown};
use mapleaf::{Error, SnapshotInfo, StoredSnapshot, WriteTxn};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
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
    /// Unknown in a txn that is under way.
    pages_retained: Option<u64>,
    pages_alone: Option<u64>,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    if let Action::List { file, log, .. } = &args.action {
        let snapshots = open_to_read(file, *log)?.snapshots()?;
        return print(|output| args.print_list(&snapshots.iter().map(document).collect::<Vec<_>>(), output));
    }
    let db = open_to_write(args.file(), false, None)?;
    let mut txn = args.turn().begin(&db)?;
    let told = args.change(&mut txn)?;
    txn.commit()?;
    db.close()?;
    print(|output| args.print(&told, output))
}

impl Args {
    /// Whether they are listed, and nothing is changed.
    pub fn is_list(&self) -> bool {
        matches!(self.action, Action::List { .. })
    }

    /// How long it waits for its turn.
    pub fn turn(&self) -> TurnArg {
        match &self.action {
            Action::List { .. } => TurnArg::default(),
            Action::Create { turn, .. } | Action::Drop { turn, .. } => *turn,
        }
    }

    /// Makes it or drops it, and returns what JSON says of that.
    pub fn change(&self, txn: &mut WriteTxn) -> Result<Value> {
        let id = txn.txn_id();
        match &self.action {
            Action::List { .. } => Ok(Value::Null),
            Action::Create { name, .. } => {
                txn.create_snapshot(name)?;
                Ok(json!({ "snapshot": name, "created": true, "txn": id }))
            }
            Action::Drop { name, .. } if txn.drop_snapshot(name)? => {
                Ok(json!({ "snapshot": name, "dropped": true, "txn": id }))
            }
            Action::Drop { name, .. } => {
                let known = txn.snapshots()?.into_iter().map(|snapshot| snapshot.name).collect();
                Err(Error::SnapshotNotFound { name: name.clone(), known }.into())
            }
        }
    }

    /// Tells it. Who asks for no JSON knows already.
    pub fn print(&self, document: &Value, output: &mut Output) -> Result<()> {
        if self.is_json() { print_document(document, output) } else { Ok(()) }
    }

    /// Lists them.
    pub fn print_list(&self, snapshots: &[Document<'_>], output: &mut Output) -> Result<()> {
        match self.is_json() {
            true => print_document(&snapshots, output),
            false if snapshots.is_empty() => Ok(writeln!(output, "no snapshots")?),
            false => print_table(snapshots, output),
        }
    }

    fn is_json(&self) -> bool {
        let (Action::List { json, .. } | Action::Create { json, .. } | Action::Drop { json, .. }) =
            &self.action;
        json.json
    }
}

/// What JSON says of one.
pub fn document(snapshot: &StoredSnapshot) -> Document<'_> {
    let StoredSnapshot { info, pages_retained, pages_alone, .. } = snapshot;
    Document { pages_retained: Some(*pages_retained), pages_alone: Some(*pages_alone), ..of_txn(info) }
}

/// The same of one in a txn that is under way, which does not say what it costs.
pub fn of_txn(info: &SnapshotInfo) -> Document<'_> {
    Document {
        name: &info.name,
        txn: info.txn_id,
        created: info.created,
        tables: info.tables,
        user_version: info.user_version,
        pages_retained: None,
        pages_alone: None,
    }
}

/// Numbers to the right, names to the left; every column as wide as what is in it.
fn print_table(snapshots: &[Document<'_>], output: &mut Output) -> Result<()> {
    let head = ["txn", "created", "tables", "retained", "alone", "name"].map(String::from);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(snapshots.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e, _] = std::array::from_fn(width);
    for [txn, created, tables, retained, alone, name] in &rows {
        writeln!(output, "{txn:>a$}  {created:>b$}  {tables:>c$}  {retained:>d$}  {alone:>e$}  {name}")?;
    }
    Ok(())
}

fn row(snapshot: &Document<'_>) -> [String; 6] {
    let pages = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
    [
        snapshot.txn.to_string(),
        date(snapshot.created),
        snapshot.tables.to_string(),
        pages(snapshot.pages_retained),
        pages(snapshot.pages_alone),
        shown(snapshot.name),
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
