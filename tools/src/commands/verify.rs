//! `mapleaf verify`: judging every page. It only reads.

use crate::cli::{JsonArg, LogArg};
use crate::failure::{Failure, Outcome, Result, tell};
use crate::output::{print, print_json};
use crate::progress::Meter;
use crate::store::{open_to_read, shown};
use mapleaf::{Problem, VerifyReport};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// The arguments of verify.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads one snapshot, also of a store that others write to meanwhile, and changes nothing. Exit code 1 when anything is wrong; the problems are listed on standard output.\n\nExamples:\n  mapleaf verify app.maple\n  mapleaf verify --json app.maple | jq '.problems[].page'"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = match open_to_read(&args.file, args.log) {
        Err(Failure::Problem { place: None, message }) if args.json.json && args.file.is_file() => {
            return report_unopened(&message);
        }
        opened => opened?,
    };
    let report = {
        let mut meter = Meter::none();
        let mut begun = false;
        db.verify(&mut |progress| {
            if !begun {
                meter = Meter::new("verifying", "pages", Some(progress.page_count));
                begun = true;
            }
            meter.set(progress.pages);
        })?
    };
    match args.json.json {
        true => print_json(&document(&report))?,
        false => print_text(&report)?,
    };
    if report.is_clean() {
        return Ok(Outcome::Fine);
    }
    tell(&format!(
        "{}: {} found; keep a copy of the file as it is, save what can be read with \"mapleaf dump\", and restore a backup",
        args.file.display(),
        match report.problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        },
    ));
    Ok(Outcome::Problem)
}

/// A store that cannot even be opened is a finding too.
fn report_unopened(message: &str) -> Result {
    let problem = json!({ "page": Value::Null, "table": Value::Null, "detail": message });
    print_json(&json!({ "clean": false, "problems": [problem] }))?;
    Err(Failure::problem(message))
}

fn document(report: &VerifyReport) -> Value {
    let problem =
        |problem: &Problem| json!({ "page": problem.page, "table": problem.table, "detail": problem.detail });
    json!({
        "clean": report.is_clean(),
        "txn": report.txn,
        "page_count": report.page_count,
        "tables": report.tables,
        "entries": report.entries,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn print_text(report: &VerifyReport) -> Result {
    print(|output| {
        for problem in &report.problems {
            let page = problem.page.map(|page| format!("page {page}: "));
            let table = problem.table.as_ref().map(|table| format!("table {}: ", shown(table)));
            writeln!(output, "{}{}{}", page.unwrap_or_default(), table.unwrap_or_default(), problem.detail)?;
        }
        let VerifyReport { txn, page_count, tables, entries, .. } = report;
        let judgement = if report.is_clean() { "clean" } else { "damaged" };
        Ok(writeln!(
            output,
            "{judgement}: txn {txn}, {page_count} pages, {tables} tables, {entries} entries"
        )?)
    })
}
