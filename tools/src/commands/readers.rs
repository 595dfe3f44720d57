//! `mapleaf readers`: who holds which snapshot, and what that costs.

use crate::cli::{JsonArg, LogArg};
use crate::failure::Result;
use crate::output::{Output, print, print_json, print_line};
use crate::store::{open_to_read, shown};
use crate::terminal::{padded, width};
use mapleaf::Reader;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// The arguments of readers.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Oldest txn first. A snapshot retains the pages that it sees and that are out of use otherwise: they are not reused before it ends. Several may see the same page; \"alone\" counts those that no other sees, so that they come free with this one. The pid is as its process knows it.\n\nWriters free the snapshots of dead processes by themselves before the file would grow. When nobody has the store open, nobody holds a snapshot of it.\n\nExamples:\n  mapleaf readers app.maple\n  mapleaf readers --json app.maple | jq '.[] | select(.dead).pid'\n  mapleaf readers --reap app.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// Free the snapshots of dead processes, and say how many, instead of listing
    #[arg(long)]
    reap: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// One as JSON has it.
#[derive(Serialize)]
pub struct Document<'r> {
    txn: u64,
    age_seconds: f64,
    pages_retained: u64,
    pages_alone: u64,
    label: &'r str,
    pid: u32,
    dead: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    // Whether a log waits to be replayed says nothing about who reads.
    let db = open_to_read(&args.file, LogArg { ignore_log: true })?;
    if args.reap {
        let freed = db.reap()?;
        return match args.json.json {
            true => print_json(&json!({ "freed": freed })),
            false => print_line(&told(freed)),
        };
    }
    let readers = db.readers()?;
    match args.json.json {
        true => print_json(&readers.iter().map(document).collect::<Vec<_>>()),
        false if readers.is_empty() => print_line("nobody holds a snapshot"),
        false => print(|output| print_table(&readers, output)),
    }
}

fn told(freed: usize) -> String {
    match freed {
        0 => "no dead process held a snapshot".into(),
        1 => "freed 1 snapshot of a dead process".into(),
        _ => format!("freed {freed} snapshots of dead processes"),
    }
}

/// What JSON says of one.
pub fn document(reader: &Reader) -> Document<'_> {
    Document {
        txn: reader.txn,
        age_seconds: reader.age.as_secs_f64(),
        pages_retained: reader.pages_retained,
        pages_alone: reader.pages_alone,
        label: &reader.label,
        pid: reader.pid,
        dead: reader.is_dead,
    }
}

/// Numbers to the right, words to the left; every column as wide as what is in it.
fn print_table(readers: &[Reader], output: &mut Output) -> Result<()> {
    let head = ["txn", "age", "retained", "alone", "label", "pid", "process"].map(String::from);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(readers.iter().map(row)).collect();
    let most = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(most);
    for [txn, age, retained, alone, label, pid, process] in &rows {
        let [a, b, c, d, e, f, _] = widths;
        writeln!(
            output,
            "{txn:>a$}  {age:>b$}  {retained:>c$}  {alone:>d$}  {}  {pid:>f$}  {process}",
            padded(label, e)
        )?;
    }
    Ok(())
}

fn row(reader: &Reader) -> [String; 7] {
    [
        reader.txn.to_string(),
        spoken(reader.age),
        reader.pages_retained.to_string(),
        reader.pages_alone.to_string(),
        // In quotes: another process chose it.
        shown(&reader.label),
        reader.pid.to_string(),
        if reader.is_dead { "dead" } else { "alive" }.into(),
    ]
}

/// A time in its two largest units.
fn spoken(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{:.1} s", age.as_millis() as f64 / 1000.0),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let told = |seconds: f64| spoken(Duration::from_secs_f64(seconds));
        assert_eq!(
            [0.0, 1.25, 59.949, 60.0, 3599.0, 3600.0, 86399.0, 200_000.0].map(told),
            ["0.0 s", "1.2 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "2 d 7 h"]
        );
    }
}
